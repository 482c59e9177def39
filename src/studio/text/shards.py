"""Token datasets (spec 001, *TrainingDataset*): documents as token ids in memory-mapped shards with a manifest.

Design choices:
- Documents are gathered into parts of bounded size; a part is keyed by the hash of its documents and of the
  tokenizer. Parts are written in parallel, each whole or not at all, so that a killed build goes on with the parts
  that are missing, and an edited document costs one part.
- A document belongs to training or validation by the hash of its id and the seed, wherever it stands.
- `manifest.json` comes last; `TokenDataset.open` checks it against the files.
It knows no models; how rows are cut from the tokens is `training.packing`'s business.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from studio.core.errors import DataError, DiskSpaceError, IntegrityError, Interrupted, NotFoundError
from studio.core.events import Emit, silent
from studio.core.fsio import atomic_write_json, file_lock, free_bytes, iter_jsonl, read_json, sha256_json
from studio.core.stopping import StopFlag
from studio.text.documents import Document
from studio.text.shard_files import SPLITS, Encoded, Shard, Split, fault_of, finished_part, part_file, write_part
from studio.text.token_streams import Int, TokenStream, mixture
from studio.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from studio.config.text import DataConfig

FORMAT_VERSION = "1.0.0"
MANIFEST = "manifest.json"
_BYTES_PER_TOKEN = 4
_BATCH_CHARS = 1 << 20


class Source(Protocol):
    """What is kept of a data source (spec 001, *DataSource*); `config.text.DataSource` is one."""

    @property
    def weight(self) -> float:
        """Share of the tokens that this source shall have, relative to the others."""
        ...

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Its fields, for the manifest."""
        ...


Encode = Callable[[Tokenizer, Sequence[Any]], Iterator[tuple[list[int], "list[bool] | None"]]]


@dataclass(frozen=True, slots=True)
class Splitter:
    """Training or validation, by the hash of a document's id."""

    seed: int
    threshold: float
    """Documents whose hash, as a number in [0, 1), is below it are for validation."""

    @classmethod
    def over(cls, ids: Iterable[str], fraction: float, seed: int) -> "Splitter":
        """About `fraction` of the documents for validation: at least one if there are two, and never all of them."""
        splitter = cls(seed, fraction)
        least, most, count = 1.0, 0.0, 0
        for document_id in ids:
            place = splitter.place(document_id)
            least, most, count = min(least, place), max(most, place), count + 1
        if fraction <= 0 or count < 2:
            return cls(seed, 0.0)
        return cls(seed, min(max(fraction, float(np.nextafter(least, 1.0))), most))

    def place(self, document_id: str) -> float:
        """The hash as a number in [0, 1)."""
        digest = hashlib.sha256(f"{self.seed}\0{document_id}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:6], "big") / 2**48

    def split(self, document_id: str) -> Split:
        """Where the document belongs."""
        return "validation" if self.place(document_id) < self.threshold else "train"


@dataclass(slots=True)
class _Part:
    number: int
    source: int
    rows: list[Any] = field(default_factory=list)
    bytes: int = 0
    hash: Any = field(default_factory=hashlib.sha256)


@dataclass(frozen=True, slots=True)
class _Work:
    """Everything that turns parts into shards, the same for each."""

    tokenizer: Tokenizer
    folder: Path
    splitter: Splitter
    dtype: str
    encode: Encode
    salt: str

    def key(self, part: _Part) -> str:
        """Changes with the documents, the tokenizer, the split and the format, and with nothing else."""
        salt = {"salt": self.salt, "tokenizer": self.tokenizer.sha256, "split": asdict(self.splitter)}
        return sha256_json({**salt, "source": part.source, "rows": part.hash.hexdigest()})

    def run(self, part: _Part) -> tuple[list[Shard], bool]:
        """The part's shards, and whether they had to be written."""
        key = self.key(part)
        done = finished_part(self.folder, part.number, key)
        if done is not None:
            return done, False
        return write_part(self.folder, part.number, key, part.source, self._encoded(part), self.dtype), True

    def _encoded(self, part: _Part) -> Iterator[Encoded]:
        encoded = self.encode(self.tokenizer, part.rows)
        for row, (ids, mask) in zip(part.rows, encoded, strict=True):
            yield Encoded(
                id=row.id,
                split=self.splitter.split(row.id),
                ids=np.array(ids, dtype=np.int64),
                source=row.source,
                language=row.language,
                bytes=_text_bytes(row),
                mask=None if mask is None else np.array(mask, dtype=np.uint8),
            )


def build_token_dataset(
    documents: Callable[[], Iterable[Document]] | Sequence[Document],
    tokenizer: Tokenizer,
    out_dir: Path,
    data: "DataConfig",
    *,
    sources: Sequence[Source],
    source_of: Callable[[Document], int] = lambda document: 0,
    preprocessing_steps: Sequence[Mapping[str, Any]] = (),
    emit: Emit = silent,
    stop: StopFlag | None = None,
) -> "TokenDataset":
    """Tokenize documents (each as BOS, tokens, EOS) into `out_dir`; the finished dataset.

    `documents` is gone through twice. `sources[source_of(document)]` says where each comes from and how much it
    weighs. Call it again after a kill: only parts that are missing, harmed or changed are written, and the result is
    the same to the byte. Emits `shards` {part, tokens, written} per part. DataError without documents,
    DiskSpaceError, Interrupted.
    """
    return build_rows(
        documents, tokenizer, out_dir, data, sources=sources, source_of=source_of,
        steps=preprocessing_steps, emit=emit, stop=stop, encode=_encode_documents, kind="text",
    )  # fmt: skip


def build_rows(
    rows: Any, tokenizer: Tokenizer, out_dir: Path, data: "DataConfig", *, sources: Sequence[Source],
    source_of: Callable[[Any], int], steps: Sequence[Mapping[str, Any]], emit: Emit, stop: StopFlag | None,
    encode: Encode, kind: str,
) -> "TokenDataset":  # fmt: skip
    """What text and conversations share: any rows with id, text, source and language, and how they become ids and
    masks.
    """
    again: Callable[[], Iterable[Any]] = rows if callable(rows) else lambda: rows
    splitter, text_bytes = _first_look(again(), data.validation_fraction, data.seed)
    _check_room(out_dir, text_bytes, tokenizer.vocab_size)
    out_dir.mkdir(parents=True, exist_ok=True)
    dtype = "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"
    work = _Work(tokenizer, out_dir, splitter, dtype, encode, f"{FORMAT_VERSION} {kind} {dtype}")
    with file_lock(out_dir / ".lock", timeout_s=0):
        parts = _parts(again(), source_of, data.shard_tokens * _BYTES_PER_TOKEN)
        shards = _run_all(work, parts, data.workers or os.cpu_count() or 1, emit, stop)
        manifest = {
            "format_version": FORMAT_VERSION,
            "kind": kind,
            "tokenizer": {"sha256": tokenizer.sha256, "vocab_size": tokenizer.vocab_size,
                          "bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id, "pad_id": tokenizer.pad_id},
            "dtype": dtype,
            "seed": data.seed,
            "validation_fraction": data.validation_fraction,
            "validation_threshold": splitter.threshold,
            "sources": [source.model_dump(mode="json") for source in sources],
            "preprocessing_steps": [dict(step) for step in steps],
            "total_tokens": sum(shard.tokens for shard in shards),
            "shards": [asdict(shard) for shard in shards],
        }  # fmt: skip
        _sweep(out_dir, shards)
        atomic_write_json(out_dir / MANIFEST, manifest)
    dataset = TokenDataset.open(out_dir)
    emit("token_dataset", path=str(out_dir), total_tokens=dataset.total_tokens, shards=len(shards))
    return dataset


def _first_look(rows: Iterable[Any], fraction: float, seed: int) -> tuple[Splitter, int]:
    total = 0
    count = 0

    def ids() -> Iterator[str]:
        nonlocal total, count
        for row in rows:
            total += _text_bytes(row)
            count += 1
            yield row.id

    splitter = Splitter.over(ids(), fraction, seed)
    if not count:
        raise DataError("there are no documents to tokenize", remedy="Check what reading and cleaning left of them.")
    return splitter, total


def _check_room(folder: Path, text_bytes: int, vocab_size: int) -> None:
    # a token stands for two bytes of text or more, except where a text is mostly bytes that the tokenizer spells
    needed = text_bytes * (1 if vocab_size <= 1 << 16 else 2) + (10 << 20)
    free = free_bytes(folder)
    if free < needed:
        raise DiskSpaceError(
            f"token shards need about {needed >> 20} MB, {free >> 20} MB are free",
            where=str(folder),
            remedy="Free some space, or choose another folder.",
        )


def _text_bytes(row: Any) -> int:
    return len(row.text.encode("utf-8", "surrogatepass"))


def _parts(rows: Iterable[Any], source_of: Callable[[Any], int], part_bytes: int) -> Iterator[_Part]:
    """Rows in parts of about `part_bytes`, each of one source; the numbers are in the order in which parts begin."""
    open_parts: dict[int, _Part] = {}
    number = 0
    for row in rows:
        source = source_of(row)
        if source not in open_parts:
            open_parts[source] = _Part(number, source)
            number += 1
        part = open_parts[source]
        part.rows.append(row)
        for piece in (row.id, row.text, row.source, row.language):
            data = piece.encode("utf-8", "surrogatepass")
            part.hash.update(len(data).to_bytes(8, "little") + data)
        part.bytes += _text_bytes(row)
        if part.bytes >= part_bytes:
            yield open_parts.pop(source)
    yield from open_parts.values()


def _run_all(work: _Work, parts: Iterator[_Part], workers: int, emit: Emit, stop: StopFlag | None) -> list[Shard]:
    """All parts by a few threads (the tokenizer works outside of Python's lock); few parts are in memory at a time."""
    found: list[tuple[int, list[Shard]]] = []

    def collect(done: Iterable[Future[tuple[int, list[Shard], bool]]]) -> None:
        for future in done:
            number, shards, written = future.result()
            found.append((number, shards))
            emit("shards", part=number, tokens=sum(shard.tokens for shard in shards), written=written)

    def run(part: _Part) -> tuple[int, list[Shard], bool]:
        return part.number, *work.run(part)

    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="shards") as pool:
        pending: set[Future[tuple[int, list[Shard], bool]]] = set()
        try:
            for part in parts:
                if stop and stop.is_set():
                    raise Interrupted(f"stopped ({stop.reason}); finished shards are kept", where=str(work.folder))
                pending.add(pool.submit(run, part))
                if len(pending) > workers:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    collect(done)
            collect(wait(pending).done)
        except BaseException:
            for future in pending:
                future.cancel()
            raise
    return [shard for _, shards in sorted(found, key=lambda item: item[0]) for shard in shards]


def _sweep(folder: Path, shards: Sequence[Shard]) -> None:
    """Remove what an earlier build of other documents left behind."""
    parts = {part_file(folder, int(shard.name.rsplit("-", 1)[1])).name for shard in shards}
    kept = {file.name for shard in shards for file in shard.files.values()} | parts
    for pattern in ("part-*.json", "train-*", "validation-*", ".train-*.tmp", ".validation-*.tmp"):
        for path in folder.glob(pattern):
            if path.name not in kept:
                path.unlink()


def _encode_documents(tokenizer: Tokenizer, rows: Sequence[Document]) -> Iterator[tuple[list[int], None]]:
    waiting = iter(rows)
    while batch := _batch(waiting):
        try:
            encoded = tokenizer.encode_batch([row.text for row in batch])
        except DataError as error:
            bad = next((row for row in batch if not _encodable(row.text)), batch[0])
            raise DataError(error.what, where=f"{bad.source}, document {bad.id}", remedy=error.remedy) from error
        for ids in encoded:
            yield [tokenizer.bos_id, *ids, tokenizer.eos_id], None


def _batch(waiting: Iterator[Any]) -> list[Any]:
    batch, size = [], 0
    for row in waiting:
        batch.append(row)
        size += len(row.text)
        if size >= _BATCH_CHARS:
            break
    return batch


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class TokenDataset:
    """A finished token dataset. Opening checks the rules of 001 and every file's size, `verify` also its CRC32."""

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.shards = [Shard.from_json(row) for row in manifest["shards"]]

    @classmethod
    def open(cls, path: Path, *, verify: bool = False) -> "TokenDataset":
        """NotFoundError without a manifest; IntegrityError naming the file that is missing, harmed or inconsistent."""
        where = path / MANIFEST
        if not where.is_file():
            raise NotFoundError("no token dataset", where=str(path), remedy="Build it, or finish the build.")
        try:
            dataset = cls(path, read_json(where))
            dataset._check(verify)
        except (DataError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(f"not a token dataset's manifest: {error}", where=str(where)) from error
        return dataset

    def _check(self, verify: bool) -> None:
        where = str(self.path / MANIFEST)
        if not self.manifest["sources"]:
            raise IntegrityError("a token dataset needs at least one source", where=where)
        total = sum(shard.tokens for shard in self.shards)
        if self.total_tokens != total:
            raise IntegrityError(f"total_tokens is {self.total_tokens}, its shards hold {total}", where=where)
        for shard in self.shards:
            for file in shard.files.values():
                fault = fault_of(self.path, file, checksum=verify)
                if fault:
                    raise IntegrityError(fault, where=str(self.path / file.name), remedy="Build the dataset again.")
            if shard.files["bin"].bytes != shard.tokens * self.dtype.itemsize:
                raise IntegrityError(f"{shard.name} does not hold {shard.tokens} tokens", where=where)

    @property
    def total_tokens(self) -> int:
        """Tokens of both splits, each document once."""
        return int(self.manifest["total_tokens"])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the token files: little-endian uint16 or uint32."""
        dtype: np.dtype[Any] = np.dtype(str(self.manifest["dtype"])).newbyteorder("<")
        return dtype

    @property
    def bos_id(self) -> int:
        """What every document starts with."""
        return int(self.manifest["tokenizer"]["bos_id"])

    @property
    def pad_id(self) -> int:
        """What rows may be filled up with."""
        return int(self.manifest["tokenizer"]["pad_id"])

    @property
    def tokenizer_sha256(self) -> str:
        """Which tokenizer made it."""
        return str(self.manifest["tokenizer"]["sha256"])

    @property
    def weights(self) -> list[float]:
        """One per source."""
        return [float(source["weight"]) for source in self.manifest["sources"]]

    @cached_property
    def sha256(self) -> str:
        """Identity: hash over what is in the dataset, not over where it lies."""
        return sha256_json(self.manifest)

    def tokens(self, split: str) -> NDArray[np.integer]:
        """The token ids of a split as one array-like: length, slices, `np.asarray`; nothing is loaded before.

        Training tokens of sources with different weights are mixed (see `token_streams.mixture`): an epoch of them
        holds some documents several times. Otherwise, and for validation, every document comes once, in order.
        """
        return cast(NDArray[np.integer], self._stream(split, "bin", self.dtype))

    def mask(self, split: str) -> NDArray[np.integer] | None:
        """uint8 for each of `tokens(split)`, 1 where it is trained; None when everything is (plain text)."""
        if any("mask" not in shard.files for shard in self.of(split)):
            return None
        return cast(NDArray[np.integer], self._stream(split, "mask", np.dtype(np.uint8)))

    def of(self, split: str) -> list[Shard]:
        """The shards of a split."""
        return [shard for shard in self.shards if shard.split == split]

    def text_bytes(self, split: str) -> int:
        """UTF-8 bytes of the documents of a split, each once."""
        return sum(shard.bytes for shard in self.of(split))

    def _stream(self, split: str, kind: str, dtype: np.dtype[Any]) -> TokenStream | NDArray[np.integer]:
        shards = self.of(split)
        arrays: list[NDArray[np.integer]] = [self._map(shard, kind, dtype) for shard in shards]
        order = self._order(split)
        if order is None:
            if len(arrays) == 1:
                return arrays[0]
            sizes = np.array([shard.tokens for shard in shards], dtype=np.int64)
            return TokenStream(arrays, np.arange(len(shards)), np.zeros(len(shards), dtype=np.int64), sizes)
        which, starts, sizes = self._places(split)
        return TokenStream(arrays, which[order], starts[order], sizes[order])

    def _map(self, shard: Shard, kind: str, dtype: np.dtype[Any]) -> NDArray[np.integer]:
        if not shard.files[kind].bytes:
            return np.empty(0, dtype=dtype)
        return np.memmap(self.path / shard.files[kind].name, dtype=dtype, mode="r")

    def _order(self, split: str) -> Int | None:
        """Documents in the order of the mixed stream; None when there is nothing to mix."""
        if split != "train" or len(set(self.weights)) < 2:
            return None
        which, _, sizes = self._places(split)
        sources = np.array([shard.source for shard in self.of(split)], dtype=np.int64)[which]
        return mixture(sources, sizes, self.weights, seed=int(self.manifest["seed"]))

    def _places(self, split: str) -> tuple[Int, Int, Int]:
        """Of every document: its shard's number, its start there, its tokens."""
        shards = self.of(split)
        offsets = [np.asarray(self._map(shard, "idx", np.dtype("<i8")), dtype=np.int64) for shard in shards]
        which = np.repeat(np.arange(len(shards)), [len(offset) - 1 for offset in offsets])
        starts = np.concatenate([offset[:-1] for offset in offsets]) if offsets else np.empty(0, dtype=np.int64)
        sizes = np.concatenate([np.diff(offset) for offset in offsets]) if offsets else np.empty(0, dtype=np.int64)
        return which.astype(np.int64), starts, sizes

    def boundaries(self, split: str) -> Int:
        """Where each document of `tokens(split)` starts, and at last the end: int64, (documents + 1,)."""
        sizes = self._places(split)[2]
        order = self._order(split)
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes if order is None else sizes[order])])

    def documents(self, split: str) -> Iterator[dict[str, Any]]:
        """`{id, source, language, tokens, bytes}` of each document of a split, once, in the order of the shards."""
        for shard in self.of(split):
            for _, row in iter_jsonl(self.path / shard.files["docs"].name):
                yield row


__all__ = ["SPLITS", "Shard", "Splitter", "TokenDataset", "build_rows", "build_token_dataset"]
