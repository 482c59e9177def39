"""Text: hostile files, real books, tokenizers that give every text back and that `transformers` opens alike."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.config.text import CleaningConfig, DataConfig, DataSource, TokenizerConfig
from studio.core.errors import DataError
from studio.text.cleaning import clean
from studio.text.documents import CorpusReport, Document, FileReport, read_documents
from studio.text.shards import build_token_dataset
from studio.text.templates import render_chat
from studio.text.tokenizers import SPECIAL_TOKENS, Tokenizer, train_tokenizer

ROOT = Path(__file__).resolve().parent.parent.parent
KINDS = ("bpe", "unigram", "char", "word")


def read(path: Path) -> tuple[list[Document], CorpusReport]:
    report = CorpusReport()
    return list(read_documents(path, report=report)), report


def joined(documents: list[Document]) -> str:
    return "".join(document.text for document in documents)


# -- every file of the bad corpus -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """What one hostile file has to give: its documents' texts in order, and its only problem, if any."""

    texts: Callable[[Path], list[str]]
    problem: str = ""
    severity: str = ""
    encoding: str = "utf-8"
    remedy: str = ""


def nothing(path: Path) -> list[str]:
    return []


def first_of_truncated(path: Path) -> list[str]:
    whole = json.loads((path.parent.parent / "json" / "pride-and-prejudice-01.json").read_text(encoding="utf-8"))
    cut = path.read_text(encoding="utf-8")
    (document,) = [row["text"] for row in whole if json.dumps(row["text"]) in cut]
    return [document]


def decoded(codec: str) -> Callable[[Path], list[str]]:
    return lambda path: [path.read_bytes().decode(codec).replace("\r\n", "\n")]


BAD = {
    "deep.json": Wanted(nothing, "document 1 (line 1, column 2): nested deeper than 64 levels", "error"),
    "duplicate-ids.json": Wanted(
        lambda path: ["one", "two"],
        "document 2 (line 1, column 26): id 'a' was already used; this document is called 'a~2'",
        "warning",
        remedy="Give every document an id of its own.",
    ),
    "empty.json": Wanted(nothing, "the file is empty", "error", encoding="", remedy="Remove it, or put text into it."),
    "missing-text.json": Wanted(nothing, "document 1 (line 1, column 2): no text", "error", remedy='Give it a "text"'),
    "nan.json": Wanted(
        nothing, "document 1 (line 1, column 2): not valid JSON", "error", remedy="NaN and Infinity are no JSON"
    ),
    "not-a-list.json": Wanted(nothing, "line 1: an object, not a list", "error", remedy='Write a list: [{"text"'),
    "nul-bytes.txt": Wanted(
        lambda path: ["plain text with nul\n" * 50], "character 5: 100 NUL characters, read as spaces", "warning"
    ),
    "one-long-line.txt": Wanted(lambda path: ["word " * 400_000]),
    "truncated.json": Wanted(
        first_of_truncated,
        "document 2 (line 1, column 5001): the file ends inside this document",
        "error",
        remedy="The file is cut off: copy it again, whole.",
    ),
    "utf8-bom-crlf.txt": Wanted(decoded("utf-8-sig"), encoding="utf-8-sig"),
    "windows-1251-russian.txt": Wanted(
        decoded("cp1251"), "not UTF-8: read as cp1251", "warning", encoding="cp1251", remedy="Save it as UTF-8"
    ),
    "windows-1252.txt": Wanted(
        decoded("cp1252"), "not UTF-8: read as cp1252", "warning", encoding="cp1252", remedy="Save it as UTF-8"
    ),
}


def check_report(name: str, entry: FileReport, wanted: Wanted) -> None:
    assert entry.encoding == wanted.encoding
    assert entry.converted == wanted.encoding.startswith("cp")
    if not wanted.problem:
        assert entry.problems == []
        return
    (problem,) = entry.problems
    separator = ", " if problem.place else ": "
    assert str(problem).startswith(f"{name}{separator}{wanted.problem}")
    assert problem.severity == wanted.severity
    assert problem.remedy
    assert problem.remedy.startswith(wanted.remedy)


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_file_is_read_rightly_or_refused(corpora: Path, name: str) -> None:
    wanted, path = BAD[name], corpora / "bad" / name
    documents, report = read(path)
    texts = [document.text for document in documents]
    if path.suffix == ".txt":
        assert joined(documents) == "".join(wanted.texts(path))
        assert all(0 < len(text) <= 8000 for text in texts)
    else:
        assert texts == wanted.texts(path)
    check_report(name, report.files[0], wanted)
    assert report.files[0].refused == (not texts)
    if wanted.severity == "error":
        with pytest.raises(DataError):
            list(read_documents(path, report=CorpusReport(), strict=True))


def test_no_bad_file_is_forgotten(corpora: Path) -> None:
    assert {path.name for path in (corpora / "bad").iterdir()} == set(BAD)


def test_bad_files_cost_their_neighbours_nothing(corpora: Path) -> None:
    documents, report = read(corpora / "bad")
    alone = [document for name in sorted(BAD) for document in read(corpora / "bad" / name)[0]]
    assert [document.text for document in documents] == [document.text for document in alone]
    assert len({document.id for document in documents}) == len(documents)
    for entry in report.files:
        check_report(entry.path, entry, BAD[entry.path])


def test_legacy_text_equals_the_true_text(corpora: Path) -> None:
    for name, book, begins in (
        ("windows-1252.txt", "pride_and_prejudice.en.txt", "[Illustration:"),
        ("utf8-bom-crlf.txt", "don_quijote.es.txt", "El ingenioso hidalgo don Quijote de la Mancha\n\n\n"),
    ):
        text = joined(read(corpora / "bad" / name)[0])
        true = (corpora / "text" / book).read_text(encoding="utf-8")
        body = text[text.index(begins) :]
        assert len(body) > 30_000
        assert true.startswith(body)
    quotes = joined(read(corpora / "bad" / "windows-1252.txt")[0])
    assert "between “loving\nby allowance” and “loving with personal love.”" in quotes
    russian = joined(read(corpora / "bad" / "windows-1251-russian.txt")[0])
    assert russian.startswith("Лев Николаевич Толстой\nВойна и мир\n")


def test_licence_leaves_and_the_book_stays(corpora: Path) -> None:
    for name, begins in (("windows-1252.txt", "[Illustration:"), ("utf8-bom-crlf.txt", "El ingenioso hidalgo")):
        documents, _ = read(corpora / "bad" / name)
        text = "".join(clean(document.text, CleaningConfig()) for document in documents)
        assert "gutenberg" not in text.lower()
        assert text.lstrip().startswith(begins)
        assert len(text) > 30_000


# -- real text ------------------------------------------------------------------------------------------------------


def test_three_books_become_many_documents(corpora: Path) -> None:
    documents, report = read(corpora / "text")
    assert report.problems == []
    by_file = {entry.path: [d for d in documents if d.source == entry.path] for entry in report.files}
    for name, found in by_file.items():
        assert joined(found) == (corpora / "text" / name).read_text(encoding="utf-8")
        assert len(found) > 100
        assert {document.language for document in found} == {"spa" if ".es." in name else "eng"}
    assert len({document.id for document in documents}) == len(documents)


def test_json_chapters_are_read_whole(corpora: Path) -> None:
    documents, report = read(corpora / "json")
    rows = [row for path in sorted((corpora / "json").iterdir()) for row in json.loads(path.read_bytes())]
    assert report.problems == []
    assert [(d.id, d.title, d.language, d.text) for d in documents] == [
        (row["id"], row["title"], row["language"], row["text"]) for row in rows
    ]


def big_text(path: Path, size: int) -> None:
    paragraph = ("The old baker carries the clock over the bridge. " * 9 + "\n\n").encode()
    with path.open("wb") as file:
        for _ in range(size // (1 << 20)):
            file.write((paragraph * ((1 << 20) // len(paragraph) + 1))[: 1 << 20])


def big_line(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size // (1 << 20)):
            file.write(b"word " * ((1 << 20) // 5) + b"x")


def big_json(path: Path, size: int) -> None:
    row = json.dumps({"text": 'The "old" baker [sings]. ' * 40, "nested": [[{}]]}, ensure_ascii=False)
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number in range(size // (len(row) + 2)):
            file.write((",\n" if number else "") + row)
        file.write("]")


def big_jsonl(path: Path, size: int) -> None:
    row = json.dumps({"text": "El panadero viejo lleva el reloj. " * 40}, ensure_ascii=False) + "\n"
    with path.open("w", encoding="utf-8") as file:
        for _ in range(size // len(row)):
            file.write(row)


def big_csv(path: Path, size: int) -> None:
    row = '"El panadero ""viejo"",\nlleva el reloj. ' + "x " * 400 + '"\n'
    with path.open("w", encoding="utf-8") as file:
        file.write("text\n")
        for _ in range(size // len(row)):
            file.write(row)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (big_text, "a.en.txt"),
        (big_line, "b.en.txt"),
        (big_json, "a.en.json"),
        (big_jsonl, "a.es.jsonl"),
        (big_csv, "a.es.csv"),
    ],
)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, long: bool, write: Callable[..., None], name: str) -> None:
    """48 MB in CI, 1 GB in the long form; both within 30 MB."""
    size = (1 << 30) if long else (48 << 20)
    write(tmp_path / name, size)
    command = [sys.executable, "-m", "tests.acceptance.text_reader", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    documents, characters, memory = map(int, ended.stdout.split())
    assert documents > size / (1 << 20) * 20
    assert characters > 0.7 * size
    assert memory < 30 << 20


# -- tokenizers -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts(corpora: Path) -> list[str]:
    return [document.text for document in read(corpora / "text")[0]]


@pytest.fixture(scope="module")
def tokenizers(texts: list[str]) -> dict[str, Tokenizer]:
    """On a tenth of the corpus, both languages."""
    return {
        kind: train_tokenizer(texts[::10], TokenizerConfig.model_validate({"model_type": kind, "vocab_size": 2000}))
        for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS)
def test_any_unicode_text_comes_back(tokenizers: dict[str, Tokenizer], kind: str, long: bool) -> None:
    tokenizer = tokenizers[kind]
    assert tokenizer.lossless
    anything = st.characters(exclude_categories=["Cs"])
    troublesome = st.sampled_from(["▁", "\ue000", "<0x41>", *SPECIAL_TOKENS, "  ", "\r\n", "ﷺ", "👩‍👩‍👧", "é", "\x00"])

    @settings(max_examples=5000 if long else 250, deadline=None)
    @given(parts=st.lists(st.one_of(st.text(alphabet=anything), troublesome), max_size=20))
    def check(parts: list[str]) -> None:
        text = "".join(parts)
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert min(ids, default=8) >= len(SPECIAL_TOKENS)
        stream = tokenizer.stream()
        assert "".join([stream.push(index) for index in ids]) + stream.flush() == text

    check()


def test_types_that_lose_text_say_so(texts: list[str]) -> None:
    for kind in ("unigram", "char", "word"):
        options = {"model_type": kind, "vocab_size": 500, "byte_fallback": False}
        tokenizer = train_tokenizer(texts[::50], TokenizerConfig.model_validate(options))
        assert not tokenizer.lossless
        assert "becomes <|unk|>" in tokenizer.lossless_reason
        assert tokenizer.unk_id in tokenizer.encode("日本")


@pytest.mark.slow
def test_unigram_of_the_bilingual_corpus(corpora: Path, texts: list[str], tmp_path: Path) -> None:
    """Spec 003's tokenizer and shards: 8,000 unigram tokens on 2.99 MB, exactly; every byte accounted for."""
    tokenizer = train_tokenizer(texts, TokenizerConfig())
    assert (tokenizer.model_type, tokenizer.vocab_size, tokenizer.shortfall) == ("unigram", 8000, "")
    documents, _ = read(corpora / "text")
    dataset = build_token_dataset(
        documents, tokenizer, tmp_path / "tokens", DataConfig(), sources=[DataSource(path=str(corpora / "text"))]
    )
    for split in ("train", "validation"):
        stored = sum(int(tokenizer.byte_lengths[piece].sum()) for piece in [dataset.tokens(split)[:]])
        assert stored == dataset.text_bytes(split)
    assert dataset.text_bytes("train") + dataset.text_bytes("validation") == 1489149 + 604851 + 900000
    assert {row["language"] for row in dataset.documents("validation")} == {"eng", "spa"}
    assert dataset.total_tokens < 850_000


MESSAGES = [
    {"role": "system", "content": " Sé amable.\n"},
    {"role": "user", "content": "What does <0x41> ▁ mean?  "},
    {"role": "assistant", "content": "日本, “yes”\n\n ok"},
    {"role": "user", "content": ""},
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_opens_it_with_the_same_ids(
    tokenizers: dict[str, Tokenizer], texts: list[str], tmp_path: Path, kind: str
) -> None:
    from transformers import AutoTokenizer

    ours = tokenizers[kind]
    ours.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert len(theirs) == ours.vocab_size
    assert theirs.get_vocab() == ours.vocab
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id, theirs.unk_token_id) == (0, 1, 2, 3)
    for text in [*texts[::70], "  two  spaces\n\n▁ \ue000 <0x41> 日本 🧑‍🚀 don't , you", ""]:
        ids = theirs(text)["input_ids"]
        assert ids == ours.encode(text)
        assert theirs.decode(ids) == text
    for count in range(1, len(MESSAGES) + 1):
        for prompt in (True, False):
            rendered = theirs.apply_chat_template(MESSAGES[:count], add_generation_prompt=prompt, tokenize=False)
            ids = theirs(rendered, add_special_tokens=False)["input_ids"]
            assert ids == render_chat(ours, MESSAGES[:count], add_generation_prompt=prompt)
