"""The text of a store file: one JSON document, one record per line, so that a diff shows what changed.

    {"studio_store":{"format":1,"schema":0,"revision":7,"stamp":"5be1c0de"},
    "tables":{
    "models":{
    "<id>":{"id":"<id>","name":"..."}
    }
    }}

An `Image` is one such text in memory: the rendered line of every record beside its parsed form, so that a write renders
only what changed and a reload parses only what another process changed. It knows no files and no TinyDB.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from studio.core.errors import DataError, IncompatibleError, StoreError
from studio.core.fsio import dump_json

FORMAT = 1
Document = dict[str, Any]
HEADER_BYTES = 256
"""How much of a file `stamp_of` needs."""
_HEADER = re.compile(
    rb'\{"studio_store":\{"format":(\d{1,6}),"schema":(\d{1,6}),"revision":(\d{1,18}),"stamp":"([0-9a-f]{8})"\},\n'
)
_TABLES = b'"tables":{'
_END = b"}}"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")


class BrokenFile(StoreError):
    """Not a whole JSON document: empty, cut off or damaged."""


class ForeignFile(StoreError):
    """A whole JSON document that is no store of ours."""


@dataclass(slots=True)
class TableImage:
    """The records of one table in order of insertion, by id: rendered line, and parsed form (never handed out)."""

    lines: dict[str, bytes] = field(default_factory=dict)
    documents: dict[str, Document] = field(default_factory=dict)

    def copy(self) -> "TableImage":
        """A table that can be changed without changing this one (the documents are shared and never changed)."""
        return TableImage(dict(self.lines), dict(self.documents))

    def put(self, table: str, record_id: str, document: Mapping[str, Any]) -> None:
        """Render and keep a record; DataError on a name or a value that JSON, or one line of it, cannot hold."""
        body = _rendered(table, record_id, document)
        self.lines[record_id] = b'"%s":%s' % (record_id.encode(), body)
        self.documents[record_id] = orjson.loads(body)

    def drop(self, record_id: str) -> None:
        """Forget a record; a missing one is no error."""
        self.lines.pop(record_id, None)
        self.documents.pop(record_id, None)


@dataclass(frozen=True, slots=True)
class Image:
    """One state of the whole store. `stamp` names it: no two writes share one."""

    stamp: str = ""
    revision: int = 0
    schema: int = 0
    tables: Mapping[str, TableImage] = field(default_factory=dict)
    seen: tuple[int, int] = (0, 0)
    """Size in bytes and modification time in ns of the file it was read from or written to."""

    def table(self, name: str) -> TableImage:
        """Table `name`, to look at only; an empty one when there is none."""
        return self.tables.get(name, _NO_TABLE)

    def table_copy(self, name: str) -> dict[str, Document]:
        """The records of table `name` by id, parsed anew: the caller's own."""
        return {key: orjson.loads(line.partition(b'":')[2]) for key, line in self.table(name).lines.items()}

    def successor(self, tables: Mapping[str, TableImage], *, schema: int | None = None) -> "Image":
        """The next state, with these tables and a fresh stamp."""
        new_schema = self.schema if schema is None else schema
        return Image(secrets.token_hex(4), self.revision + 1, new_schema, tables)

    def render(self) -> bytes:
        """The text of the store file."""
        header = b'{"studio_store":{"format":%d,"schema":%d,"revision":%d,"stamp":"%s"},\n' % (
            FORMAT,
            self.schema,
            self.revision,
            self.stamp.encode(),
        )
        parts = [header, _TABLES]
        for name, table in self.tables.items():
            parts += (b"\n" if parts[-1] is _TABLES else b",\n", b'"%s":{\n' % name.encode())
            parts += (b",\n".join(table.lines.values()), b"\n}" if table.lines else b"}")
        return b"".join((*parts, b"\n", _END, b"\n"))


def _rendered(table: str, record_id: str, document: Mapping[str, Any]) -> bytes:
    for name in (table, record_id):
        if not _NAME.match(name):
            raise DataError(f"{name[:80]!r} cannot name a table or a record", remedy="Use letters, digits, . _ and -.")
    try:
        return dump_json(dict(document))
    except (TypeError, ValueError) as error:
        raise DataError(f"the record cannot be stored: {error}", where=f"{table}/{record_id}") from error


def stamp_of(start: bytes) -> str:
    """The stamp in the first bytes of a store file, or "" when they are not the start of one."""
    match = _HEADER.match(start)
    return match[4].decode() if match else ""


def parse(data: bytes, previous: Image | None = None) -> Image:
    """The image of a store file's text. BrokenFile, ForeignFile, or IncompatibleError for a newer format.

    Lines that `previous` holds too are taken over unparsed.
    """
    if not data.strip():
        raise BrokenFile("the file is empty")
    image = _parse_lines(data, previous or Image())
    return image if image is not None else _parse_document(data)


def _parse_lines(data: bytes, previous: Image) -> Image | None:
    """The quick way, for a text exactly as `render` writes it; None for any other."""
    header = _HEADER.match(data)
    if header is None or int(header[1]) != FORMAT:
        return None
    lines = data[header.end() :].split(b"\n")
    if len(lines) < 3 or lines[0] != _TABLES or lines[-2:] != [_END, b""]:
        return None
    tables: dict[str, TableImage] = {}
    table: TableImage | None = None
    for line in lines[1:-2]:
        if table is None:
            name = line[1:-3].decode("ascii", "replace")
            if line[:1] != b'"' or line[-3:] != b'":{' or not _NAME.match(name) or name in tables:
                return None
            table, known = tables.setdefault(name, TableImage()), previous.table(name)
        elif line in (b"}", b"},"):
            table = None
        elif not _take_line(table, line[:-1] if line[-1:] == b"," else line, known):
            return None
    if table is not None:
        return None
    return Image(header[4].decode(), int(header[3]), int(header[2]), tables)


_NO_TABLE = TableImage()


def _take_line(table: TableImage, line: bytes, known: TableImage) -> bool:
    key, colon, body = line.partition(b'":')
    record_id = key[1:].decode("ascii", "replace")
    if known.lines.get(record_id) == line:
        table.lines[record_id] = known.lines[record_id]
        table.documents[record_id] = known.documents[record_id]
        return True
    if not colon or key[:1] != b'"' or record_id in table.lines or not _NAME.match(record_id):
        return False
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    table.lines[record_id] = line
    table.documents[record_id] = document
    return isinstance(document, dict)


def _parse_document(data: bytes) -> Image:
    """The patient way: any JSON document with the right content, such as one that an editor laid out anew."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BrokenFile(f"not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    header, tables = _sections(document)
    if header["format"] != FORMAT:
        raise IncompatibleError(
            f"store format {header['format']} is not the format {FORMAT} of this version", remedy="Use a newer Studio."
        )
    images: dict[str, TableImage] = {}
    for name, records in tables.items():
        image = images[name] = TableImage()
        for record_id, record in records.items():
            image.put(name, record_id, record)
    return Image(str(header.get("stamp") or secrets.token_hex(4)), header["revision"], header["schema"], images)


def _sections(document: Any) -> tuple[dict[str, Any], dict[str, dict[str, Document]]]:
    header = document.get("studio_store") if isinstance(document, dict) else None
    tables = document.get("tables") if isinstance(document, dict) else None
    if not isinstance(header, dict) or not all(
        isinstance(header.get(key), int) for key in ("format", "schema", "revision")
    ):
        raise ForeignFile("valid JSON, but not a Studio store")
    if not isinstance(tables, dict) or not all(
        isinstance(records, dict) and all(isinstance(record, dict) for record in records.values())
        for records in tables.values()
    ):
        raise BrokenFile("the tables of the store are not tables of records")
    return header, tables
