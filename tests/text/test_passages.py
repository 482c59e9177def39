import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.text.passages import split_text, title_of
from tests.text.sample import paragraphs

BOOK = "\n\n".join(paragraphs(400))


def pieces_of(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def test_a_short_text_is_one_document() -> None:
    assert list(split_text([BOOK[:900]], 500)) == [BOOK[:900]]
    assert list(split_text([], 500)) == []


@pytest.mark.parametrize("size", [1, 37, 1000, len(BOOK)])
def test_cuts_do_not_depend_on_how_the_file_is_read(size: int) -> None:
    whole = list(split_text([BOOK], 500))
    assert list(split_text(pieces_of(BOOK, size), 500)) == whole
    assert "".join(whole) == BOOK


def test_a_book_is_cut_where_paragraphs_end() -> None:
    documents = list(split_text([BOOK], 500))
    assert len(documents) > 20
    assert all(document.endswith("\n\n") for document in documents[:-1])
    assert all(500 <= len(document) <= 1000 for document in documents[:-1])


def test_a_chapter_begins_a_document() -> None:
    text = "".join(f"{paragraph}\n\n" for paragraph in paragraphs(12))
    for heading in ("Chapter IV", "CAPÍTULO 3", "## Two", "Libro primero"):
        # two fifths of a passage in: a place where a paragraph alone would not end a document
        at = text.index("\n\n", 200) + 2
        documents = list(split_text([text[:at] + heading + "\n\n" + text[at:]], 500))
        assert [title_of(document) for document in documents][:2] == ["", heading.lstrip("# ")]


@pytest.mark.parametrize(
    ("unit", "end"), [("word ", " "), ("A sentence. ", ". "), ("line\n", "\n"), ("x", "x"), ("日本語。", "")]
)
def test_text_without_paragraphs_is_cut_as_gently_as_possible(unit: str, end: str) -> None:
    text = unit * 3000
    documents = list(split_text([text], 500))
    assert "".join(documents) == text
    assert all(len(document) <= 1000 for document in documents)
    assert all(document.endswith(end) for document in documents)


@given(text=st.text(alphabet="ab .\n#1", max_size=3000), size=st.integers(1, 400))
def test_nothing_is_lost(text: str, size: int) -> None:
    documents = list(split_text(pieces_of(text, size), 100))
    assert "".join(documents) == text
    assert all(0 < len(document) <= 200 for document in documents)
