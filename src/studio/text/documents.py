"""Documents from files: .txt .md .json .jsonl .csv .parquet, one file or a folder of them.

Everything streams; no file needs memory of its own size. A file, row or list element that cannot be read is reported
with file, place and remedy and costs nothing but itself; in `strict` mode it ends the reading. Ids are unique in a
corpus and the same on every machine: the file's path below the corpus folder and a number, or the id that the
document carries. JSON documents are `[{id?, title?, language?, text}]`; JSON lines, CSV columns and Parquet columns
use the same names. It cleans nothing.
"""

import csv
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import orjson

from studio.core.errors import DataError, NotFoundError, UsageError
from studio.text import languages
from studio.text.encodings import detect_encoding, looks_binary, read_pieces
from studio.text.json_elements import MOST_CHARS, NotAList, iter_elements
from studio.text.passages import PASSAGE_CHARS, split_text, title_of
from studio.text.reports import CorpusReport, FileReport, Problem

__all__ = ["FORMATS", "CorpusReport", "Document", "FileReport", "Problem", "corpus_files", "read_documents"]

Format = Literal["text", "markdown", "json", "jsonl", "csv", "parquet"]
FORMATS: dict[str, Format] = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}
"""Which suffix is read as what."""

_SAVE_UTF8 = "Save the file again, whole, as UTF-8."


@dataclass(frozen=True, slots=True)
class Document:
    """A piece of text that is never split between training and validation. `index`: its place in its file, from 0."""

    id: str
    text: str
    title: str = ""
    language: str = languages.UNKNOWN
    source: str = ""
    index: int = 0


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    name: str
    report: FileReport
    corpus: CorpusReport
    language: str
    passage_chars: int | None
    detect: bool

    def problem(self, place: str, what: str, remedy: str, *, warning: bool = False) -> None:
        self.corpus.add(self.report, place, what, remedy, "warning" if warning else "error")

    def document(self, text: str, *, wanted_id: str = "", title: str = "", language: str = "") -> Document:
        index = self.report.documents
        language = language or self.language
        if language == languages.UNKNOWN and self.detect:
            language = languages.detect(text)
        self.report.documents += 1
        return Document(
            id=self.corpus.unique_id(wanted_id or f"{self.name}#{index:05d}"),
            text=text,
            title=title,
            language=language,
            source=self.name,
            index=index,
        )


def read_documents(
    path: Path,
    *,
    report: CorpusReport,
    strict: bool = False,
    format: str = "auto",
    language: str | None = None,
    passage_chars: int | None = PASSAGE_CHARS,
    detect: bool = True,
) -> Iterator[Document]:
    """The documents of a file or of every file below a folder, in the order of their paths.

    `report` is filled on the way. `format` overrides the suffix, `language` (any ISO 639 code) the file's own; where
    neither a row, nor `language`, nor the file's name says one, it is detected (`detect`, about half a millisecond).
    Plain text is cut into passages of `passage_chars` (see `passages`; None: a file is one document, and is then
    held in memory whole). NotFoundError when there is no `path`, DataError when a folder holds no file that can be
    read as text, and in `strict` mode for the first problem.
    """
    report.strict = report.strict or strict
    files = corpus_files(path, report=report, format=format)
    if not files:
        raise DataError("no file here can be read as text", where=str(path), remedy=f"Known: {', '.join(FORMATS)}.")
    root = path if path.is_dir() else path.parent
    for file in files:
        entry = FileReport(file.relative_to(root).as_posix(), file.stat().st_size)
        report.files.append(entry)
        spoken = languages.iso3(language) if language else languages.from_filename(file)
        kind = FORMATS.get(file.suffix.lower(), "") if format == "auto" else format
        yield from _read_file(_File(file, entry.path, entry, report, spoken, passage_chars, detect), kind)


def corpus_files(path: Path, *, report: CorpusReport | None = None, format: str = "auto") -> list[Path]:
    """`path`, or the readable files below it sorted by path; hidden ones are passed over, unknown ones noted."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise NotFoundError("no such file or folder", where=str(path), remedy="Check the path of the corpus.")
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    found = sorted((file for file in found if file.is_file()), key=lambda file: file.relative_to(path).as_posix())
    kept = [file for file in found if format != "auto" or file.suffix.lower() in FORMATS]
    for file in sorted(set(found) - set(kept)):
        if report is None:
            break
        entry = FileReport(file.relative_to(path).as_posix(), file.stat().st_size)
        report.files.append(entry)
        report.add(entry, "", f"passed over: {file.suffix or 'no suffix'} is no known text format", severity="note")
    return kept


def _read_file(file: _File, kind: str) -> Iterator[Document]:
    entry, reader = file.report, _READERS.get(kind)
    if reader is None:
        what = f"unknown format {kind or file.path.suffix!r}"
        raise UsageError(what, where=str(file.path), remedy=f"Known: {', '.join(_READERS)}.")
    if entry.bytes == 0:
        file.problem("", "the file is empty", "Remove it, or put text into it.")
        return
    try:
        yield from reader(file)
    except DataError as error:
        if file.corpus.strict:
            raise
        place = error.where.removeprefix(str(file.path)).removeprefix(", ")
        file.problem(place, error.what, error.remedy)
    except OSError as error:
        file.problem("", f"cannot be read: {error.strerror}", "Check its permissions and the disk.")
    if not entry.documents and not entry.problems:
        file.problem("", "holds no text", "Remove it, or put text into it.")


# -- plain text -----------------------------------------------------------------------------------------------------


def _pieces(file: _File, *, newline: str | None = None) -> Iterator[str]:
    """The decoded file; NUL becomes a space (it separates words), and what was done is reported."""
    encoding = detect_encoding(file.path)
    file.report.encoding, file.report.converted = encoding.codec, encoding.converted
    if encoding.torn_tail_bytes:
        what = f"ends in the middle of a character; its last {encoding.torn_tail_bytes} bytes are left out"
        file.problem(f"byte {file.report.bytes - encoding.torn_tail_bytes}", what, _SAVE_UTF8, warning=True)
    if encoding.converted:
        file.problem("", f"not UTF-8: read as {encoding.codec}", "Save it as UTF-8 to be sure.", warning=True)
    nul, first_nul, seen = 0, 0, 0
    for piece in read_pieces(file.path, encoding, newline=newline):
        if seen == 0 and looks_binary(piece[:65536]):
            raise DataError("not a text file: control characters all over", where=str(file.path), remedy="Remove it.")
        if "\x00" in piece:
            first_nul = first_nul if nul else seen + piece.index("\x00")
            nul += piece.count("\x00")
            piece = piece.replace("\x00", " ")
        seen += len(piece)
        yield piece
    if nul:
        what = f"{nul} NUL characters, read as spaces"
        file.problem(f"character {first_nul}", what, "Remove them if words were not meant to end there.", warning=True)


def _read_text(file: _File) -> Iterator[Document]:
    pieces = _pieces(file)
    for text in ["".join(pieces)] if file.passage_chars is None else split_text(pieces, file.passage_chars):
        if text.strip():
            yield file.document(text, title=title_of(text))


# -- rows -----------------------------------------------------------------------------------------------------------


def _from_row(file: _File, row: Any, place: str) -> Document | None:
    """A document from `{id?, title?, language?, text}`; None, and a problem, when it is none. Other keys are
    ignored.
    """
    if not isinstance(row, Mapping):
        file.problem(place, f"{_kind_of(row)} where a document was expected", 'Write {"text": "…"}.')
        return None
    text, wanted = row.get("text"), row.get("id")
    if not isinstance(text, str):
        what = "no text" if text is None else f"text is {_kind_of(text)}, not a string"
        file.problem(place, what, 'Give it a "text" (a string), or remove it.')
        return None
    if not text.strip():
        file.problem(place, "empty text, left out", "Remove it, or put text into it.", warning=True)
        return None
    if wanted is not None and (isinstance(wanted, bool) or not isinstance(wanted, str | int)):
        file.problem(place, f"id is {_kind_of(wanted)}; a number is given instead", "Use a string.", warning=True)
        wanted = None
    title, language = row.get("title"), row.get("language")
    if "\x00" in text:
        file.problem(place, "NUL characters, read as spaces", "Remove them.", warning=True)
    document = file.document(
        text.replace("\x00", " "),
        wanted_id="" if wanted is None else str(wanted),
        title=title if isinstance(title, str) else "",
        language=languages.iso3(language) if isinstance(language, str) and language else "",
    )
    if wanted not in (None, "") and document.id != str(wanted):
        what = f"id {wanted!r} was already used; this document is called {document.id!r}"
        file.problem(place, what, "Give every document an id of its own.", warning=True)
    return document


def _kind_of(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _read_json(file: _File) -> Iterator[Document]:
    try:
        for element in iter_elements(_pieces(file)):
            if element.fault:
                file.problem(element.place, element.fault, _JSON_REMEDIES.get(element.fault, "Correct it there."))
                continue
            try:
                row = orjson.loads(element.text)
            except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
                what = f"not valid JSON: {getattr(error, 'msg', 'a lone surrogate')}"
                file.problem(element.place, what, "NaN and Infinity are no JSON; check quotes and commas.")
                continue
            document = _from_row(file, row, element.place)
            if document:
                yield document
    except NotAList as error:
        file.problem("line 1", str(error), 'Write a list: [{"text": "…"}, …]; for one object per line use .jsonl.')


_JSON_REMEDIES = {
    "the file ends inside this document": "The file is cut off: copy it again, whole.",
    "the file ends inside the list": "The file is cut off: copy it again, whole.",
    "an empty place": "Remove the comma that is too much.",
}


def _read_jsonl(file: _File) -> Iterator[Document]:
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        if len(line) > MOST_CHARS:
            file.problem(place, f"longer than {MOST_CHARS:,} characters", "Split the document.")
            continue
        try:
            row = orjson.loads(line)
        except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
            file.problem(place, f"not valid JSON: {getattr(error, 'msg', 'a lone surrogate')}", "Correct or remove it.")
            continue
        document = _from_row(file, row, place)
        if document:
            yield document


def _lines(file: _File, *, newline: str | None = None) -> Iterator[str]:
    """Lines with their ends. Only `\\n` ends one (str.splitlines would also cut at U+2028, which JSON text may
    hold).
    """
    held: list[str] = []
    size = 0
    for piece in _pieces(file, newline=newline):
        *whole, rest = piece.split("\n")
        for line in whole:
            held.append(line + "\n")
            yield "".join(held)
            held, size = [], 0
        size += len(rest)
        # a line beyond the limit is refused anyway: keep one character too many, not the rest of it
        held = [*held, rest] if size <= MOST_CHARS else ["x" * (MOST_CHARS + 1)]
    if held and any(held):
        yield "".join(held)


def _read_csv(file: _File) -> Iterator[Document]:
    csv.field_size_limit(MOST_CHARS)
    rows = csv.DictReader(_lines(file, newline=""), strict=True)
    try:
        columns = list(rows.fieldnames or [])
        if "text" not in columns:
            file.problem("line 1", f"no column called text; columns: {', '.join(columns)[:200]}", "Rename the column.")
            return
        for row in rows:
            document = _from_row(file, row, f"line {rows.line_num}")
            if document:
                yield document
    except csv.Error as error:
        # the reader counts a line when it has made sense of it
        file.problem(
            f"line {rows.line_num + 1}", f"not valid CSV: {error}", "Check its quotes; rows before it were read."
        )


def _read_parquet(file: _File) -> Iterator[Document]:
    import pyarrow as pa  # 0.3 s, only for those who have such files
    import pyarrow.parquet as pq

    handle: BinaryIO
    with file.path.open("rb") as handle:
        try:
            table = pq.ParquetFile(handle)
            columns = [name for name in ("id", "title", "language", "text") if name in table.schema_arrow.names]
            if "text" not in columns:
                names = ", ".join(table.schema_arrow.names)[:200]
                file.problem("", f"no column called text; columns: {names}", "Rename the column.")
                return
            number = 0
            for batch in table.iter_batches(batch_size=256, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    document = _from_row(file, row, f"row {number}")
                    if document:
                        yield document
        except (pa.ArrowException, UnicodeDecodeError) as error:
            first = str(error).split("\n", 1)[0]
            file.problem("", f"not valid Parquet: {first}", "Write the file again, whole.")


_READERS: dict[str, Callable[[_File], Iterator[Document]]] = {
    "text": _read_text,
    "markdown": _read_text,
    "json": _read_json,
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "parquet": _read_parquet,
}
