import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from studio.core.errors import DataError, NotFoundError, UsageError
from studio.text import documents as module
from studio.text.documents import CorpusReport, Document, read_documents
from tests.text.sample import paragraphs

ROWS = [
    {"id": "one", "title": "First", "language": "en", "text": "The old clock.\nIt rings."},
    {"id": 2, "text": "El reloj viejo, «canta»"},
    {"text": "no id \u2028 here", "extra": {"kept": False}},
]


def read(path: Path, **options: object) -> tuple[list[Document], CorpusReport]:
    report = CorpusReport()
    return list(read_documents(path, report=report, **options)), report  # type: ignore[arg-type]


def write_json(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8")


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n\n" for row in ROWS), encoding="utf-8")


def write_csv(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "title", "language", "text"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(ROWS)


def write_parquet(path: Path) -> None:
    columns = {
        name: [str(row[name]) if name in row else None for row in ROWS] for name in ("id", "title", "language", "text")
    }
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize("write", [write_json, write_jsonl, write_csv, write_parquet])
def test_rows_of_every_format_become_the_same_documents(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / f"rows.es.{write.__name__.removeprefix('write_')}"
    write(path)
    found, report = read(path)
    assert found == [
        Document("one", "The old clock.\nIt rings.", "First", "eng", path.name, 0),
        Document("2", "El reloj viejo, «canta»", "", "spa", path.name, 1),
        Document(f"{path.name}#00002", "no id \u2028 here", "", "spa", path.name, 2),
    ]
    assert report.problems == []
    assert (report.documents, report.bytes) == (3, path.stat().st_size)


def test_text_and_markdown(tmp_path: Path) -> None:
    (tmp_path / "a.en.txt").write_text("Hello.\r\nYou.", encoding="utf-8", newline="")
    (tmp_path / "b.md").write_text("# Title\n\ntext", encoding="utf-8")
    found, _ = read(tmp_path)
    assert [(d.id, d.text, d.language, d.title) for d in found] == [
        ("a.en.txt#00000", "Hello.\nYou.", "eng", ""),
        ("b.md#00000", "# Title\n\ntext", "und", "Title"),
    ]


def test_a_book_becomes_many_documents_with_stable_ids(tmp_path: Path) -> None:
    text = "\n\n".join(paragraphs(300))
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    found, _ = read(tmp_path / "book.txt")
    again, _ = read(tmp_path)
    assert len(found) > 8
    assert found == again
    assert "".join(document.text for document in found) == text
    assert [document.id for document in found[:2]] == ["book.txt#00000", "book.txt#00001"]
    small, _ = read(tmp_path, passage_chars=300)
    assert len(small) > 4 * len(found)
    (whole,) = read(tmp_path, passage_chars=None)[0]
    assert whole.text == text


def test_a_folder_is_read_in_order_and_other_files_are_noted(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/b.txt", ".hidden.txt", ".git/x.txt", "c.PDF", "B.TXT"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name, encoding="utf-8")
    found, report = read(tmp_path)
    assert [document.source for document in found] == ["B.TXT", "a/b.txt", "a/z.txt", "b.txt"]
    assert [str(problem) for problem in report.problems] == ["c.PDF: passed over: .PDF is no known text format."]
    assert report.problems[0].severity == "note"


def test_declared_language_and_format_win(tmp_path: Path) -> None:
    path = tmp_path / "rows.es.dat"
    write_jsonl(path)
    found, _ = read(path, format="jsonl", language="fr")
    assert [document.language for document in found] == ["eng", "fra", "fra"]
    with pytest.raises(UsageError, match="unknown format"):
        read(path)


def test_language_is_detected_where_nothing_says_it(tmp_path: Path) -> None:
    english, spanish = paragraphs(2)
    (tmp_path / "a.txt").write_text(spanish, encoding="utf-8")
    (tmp_path / "b.fr.txt").write_text(spanish, encoding="utf-8")
    (tmp_path / "c.jsonl").write_text(json.dumps({"text": english}) + "\n", encoding="utf-8")
    assert [document.language for document in read(tmp_path)[0]] == ["spa", "fra", "eng"]
    assert [document.language for document in read(tmp_path, detect=False)[0]] == ["und", "fra", "und"]


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file or folder"):
        read(tmp_path / "absent")
    with pytest.raises(DataError, match="no file here can be read as text"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "kept", "what"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": \n{"text": "y"}\n', 2, "a.jsonl, line 2: not valid JSON"),
        ("a.jsonl", b'{"text": "x"}\n[1]\n', 1, "a.jsonl, line 2: a list where a document was expected"),
        ("a.jsonl", b'{"text": 4}\n{"text": "y"}\n', 1, "a.jsonl, line 1: text is a number, not a string"),
        ("a.jsonl", b'{"text": "\\ud800"}\n{"text": "y"}\n', 1, "a.jsonl, line 1: not valid JSON"),
        ("a.jsonl", b'{"a": ' + b"[" * 9000 + b'\n{"text": "y"}\n', 1, "a.jsonl, line 1: not valid JSON"),
        ("a.jsonl", b'{"text": " "}\n{"text": "y"}\n', 1, "a.jsonl, line 1: empty text, left out"),
        ("a.jsonl", b'{"id": [1], "text": "y"}\n', 1, "a.jsonl, line 1: id is a list; a number is given instead"),
        ("a.json", b'[{"text": "x"}, {"text": "y"}', 1, "a.json, document 2 (line 1, column 17): the file ends inside"),
        ("a.json", b'[{"text": "x"}, , {"text": "y"}]', 2, "a.json, document 2 (line 1, column 17): an empty place"),
        ("a.json", b'{"text": "x"}\n{"text": "y"}', 0, "a.json, line 1: an object, not a list"),
        ("a.csv", b'id,text\n1,"x\n', 0, "a.csv, line 2: not valid CSV"),
        ("a.csv", b"id,body\n1,x\n", 0, "a.csv, line 1: no column called text; columns: id, body"),
        ("a.csv", b"id,text\n1,x\n2\n", 1, "a.csv, line 3: no text"),
        ("a.parquet", b"PAR1 not really", 0, "a.parquet: not valid Parquet"),
        (
            "a.txt",
            b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
            0,
            "a.txt, byte 0: not UTF-8, and its encoding is not certain",
        ),
        ("a.txt", b"\x01\x02\x03\x04ab" * 40, 0, "a.txt: not a text file: control characters all over"),
        ("a.txt", b"  \n ", 0, "a.txt: holds no text"),
        ("a.csv", b"", 0, "a.csv: the file is empty"),
    ],
)
def test_a_problem_costs_only_itself(tmp_path: Path, name: str, content: bytes, kept: int, what: str) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "z.txt").write_text("another file", encoding="utf-8")
    found, report = read(tmp_path)
    assert len(found) == kept + 1
    assert found[-1].text == "another file"
    (problem,) = report.problems
    assert str(problem).startswith(what)
    assert problem.remedy
    assert report.files[0].refused == (kept == 0)
    if problem.severity == "error":
        with pytest.raises(DataError) as caught:
            read(tmp_path, strict=True)
        assert problem.what in str(caught.value)
        assert name in caught.value.where


def test_ids_are_unique_across_files(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        (tmp_path / name).write_text('{"id": "x", "text": "y"}\n', encoding="utf-8")
    found, report = read(tmp_path)
    assert [document.id for document in found] == ["x", "x~2", "x~3"]
    assert [problem.severity for problem in report.problems] == ["warning", "warning"]


def test_a_row_that_is_too_long_is_refused_without_holding_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CHARS", 100)
    (tmp_path / "a.jsonl").write_text('{"text": "' + "x" * 5000 + '"}\n{"text": "y"}\n', encoding="utf-8")
    found, report = read(tmp_path)
    assert [document.text for document in found] == ["y"]
    assert str(report.problems[0]).startswith("a.jsonl, line 1: longer than 100 characters")


def test_a_file_that_cannot_be_opened_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x", encoding="utf-8")
    (tmp_path / "b.txt").write_text("y", encoding="utf-8")
    opened = Path.open

    def failing(path: Path, *arguments: object, **options: object) -> object:
        if path.name == "a.txt":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", failing)
    found, report = read(tmp_path)
    assert [document.text for document in found] == ["y"]
    assert str(report.problems[0]) == "a.txt: cannot be read: Permission denied. Check its permissions and the disk."


def test_a_report_is_plain_data(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": 1}\n{"text": "y"}\n', encoding="utf-8")
    _, report = read(tmp_path)
    assert json.loads(json.dumps(report.to_dict()))["files"][0]["problems"][0]["place"] == "line 1"
    assert report.to_dict()["documents"] == 1
