"""One part of a corpus as shard files, written so that a kill leaves either all of it or nothing that counts.

A part gives at most one shard per split: `train-00003.bin` (token ids, little-endian uint16 or uint32), `.idx`
(int64: where each document starts, and the end), `.docs.jsonl` (id, source, language, tokens and bytes of each
document) and, for conversations, `.mask` (uint8, 1 = trained). `part-00003.json` is written last: with it the part
is finished. It knows no tokenizers and no corpora.
"""

import hashlib
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from studio.core.fsio import atomic_write_json, crc32_file, sync_directory
from studio.text.splits import SPLITS, Split


@dataclass(frozen=True, slots=True)
class Encoded:
    """A document as token ids, with BOS and EOS (or the chat's tokens) in place."""

    id: str
    split: Split
    ids: NDArray[np.integer]
    source: str
    language: str
    bytes: int
    mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a dataset, as it was written."""

    name: str
    bytes: int
    crc32: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Shard:
    """The tokens of one part and split. `source`: number of its data source. `bytes`: UTF-8 bytes of its text."""

    name: str
    split: Split
    source: int
    tokens: int
    documents: int
    bytes: int
    files: dict[str, StoredFile] = field(default_factory=dict)
    """By kind: bin, idx, docs and perhaps mask."""

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Shard":
        """Inverse of `dataclasses.asdict`."""
        return cls(**{**row, "files": {kind: StoredFile(**file) for kind, file in row["files"].items()}})


def write_part(
    folder: Path, number: int, key: str, source: int, documents: Iterable[Encoded], dtype: str
) -> list[Shard]:
    """Write the shards of part `number` and then its `part-*.json`, which remembers `key`."""
    writers: dict[Split, _ShardWriter] = {}
    for document in documents:
        if document.split not in writers:
            writers[document.split] = _ShardWriter(folder, document.split, number, source, dtype)
        writers[document.split].add(document)
    shards = [writers[split].finish() for split in SPLITS if split in writers]
    sync_directory(folder)
    atomic_write_json(part_file(folder, number), {"key": key, "shards": [asdict(shard) for shard in shards]})
    return shards


def finished_part(folder: Path, number: int, key: str) -> list[Shard] | None:
    """The shards of a part that was written whole under `key` and whose files are unharmed; None: write it (again)."""
    try:
        row = orjson.loads(part_file(folder, number).read_bytes())
        shards = [Shard.from_json(shard) for shard in row["shards"]]
        if row["key"] != key:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    unharmed = all(not fault_of(folder, file) for shard in shards for file in shard.files.values())
    return shards if unharmed else None


def fault_of(folder: Path, file: StoredFile, *, checksum: bool = True) -> str:
    """What is wrong with a stored file, or ""."""
    path = folder / file.name
    if not path.is_file():
        return "the file is missing"
    if path.stat().st_size != file.bytes:
        return f"{path.stat().st_size} bytes, {file.bytes} were written"
    if checksum and crc32_file(path) != file.crc32:
        return "its CRC32 is not the one that was written"
    return ""


def part_file(folder: Path, number: int) -> Path:
    """The mark of a finished part."""
    return folder / f"part-{number:05d}.json"


class _ShardWriter:
    def __init__(self, folder: Path, split: Split, number: int, source: int, dtype: str) -> None:
        self._name, self._split, self._source = f"{split}-{number:05d}", split, source
        self._folder, self._dtype = folder, np.dtype(dtype).newbyteorder("<")
        self._files: dict[str, _HashedFile] = {}
        self._starts = [0]
        self._bytes = 0

    def _file(self, kind: str) -> "_HashedFile":
        if kind not in self._files:
            suffix = {"docs": "docs.jsonl"}.get(kind, kind)
            self._files[kind] = _HashedFile(self._folder / f"{self._name}.{suffix}")
        return self._files[kind]

    def add(self, document: Encoded) -> None:
        self._file("bin").write(document.ids.astype(self._dtype, copy=False).tobytes())
        if document.mask is not None:
            self._file("mask").write(document.mask.astype(np.uint8, copy=False).tobytes())
        row = {
            "id": document.id,
            "source": document.source,
            "language": document.language,
            "tokens": len(document.ids),
            "bytes": document.bytes,
        }
        self._file("docs").write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        self._starts.append(self._starts[-1] + len(document.ids))
        self._bytes += document.bytes

    def finish(self) -> Shard:
        self._file("idx").write(np.array(self._starts, dtype="<i8").tobytes())
        files = {kind: file.finish() for kind, file in self._files.items()}
        return Shard(
            name=self._name,
            split=self._split,
            source=self._source,
            tokens=self._starts[-1],
            documents=len(self._starts) - 1,
            bytes=self._bytes,
            files=files,
        )


class _HashedFile:
    """Written under a temporary name with running checksums; takes its own name when it is whole and on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.tmp")
        self._file = self._temporary.open("wb")
        self._crc, self._sha, self._size = 0, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._crc = zlib.crc32(data, self._crc)
        self._sha.update(data)
        self._size += len(data)

    def finish(self) -> StoredFile:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self._path)
        return StoredFile(self._path.name, self._size, f"{self._crc:08x}", self._sha.hexdigest())
