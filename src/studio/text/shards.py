"""Building token datasets (spec 001, *TrainingDataset*): documents as token ids in shards, in parallel and resumable.

Design choices:
- Documents are gathered into parts of bounded size; a part is keyed by the hash of its documents and of the tokenizer.
  Parts are written in parallel, each whole or not at all, so that a killed build goes on with the parts that are
  missing, and an edited document costs one part.
- `manifest.json` comes last: without it there is no dataset.
Reading is `token_dataset`'s business, which this module offers under its own name too.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from studio.core.errors import DataError, DiskSpaceError, Interrupted
from studio.core.events import Emit, silent
from studio.core.fsio import atomic_write_json, file_lock, free_bytes, sha256_json
from studio.core.stopping import StopFlag
from studio.text.documents import Document
from studio.text.shard_files import Encoded, Shard, finished_part, part_file, write_part
from studio.text.splits import Splitter
from studio.text.token_dataset import FORMAT_VERSION, MANIFEST, TokenDataset
from studio.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from studio.config.text import DataConfig

__all__ = ["Recipe", "Source", "TokenDataset", "build_rows", "build_token_dataset"]

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What rows are and how they become tokens."""

    kind: str
    encode: Encode
    sources: Sequence[Source]
    source_of: Callable[[Any], int]
    steps: Sequence[Mapping[str, Any]]
    name: str


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
    name: str = "tokens",
    emit: Emit = silent,
    stop: StopFlag | None = None,
) -> TokenDataset:
    """Tokenize documents (each as BOS, tokens, EOS) into `out_dir`; the finished dataset.

    `documents` is gone through twice. `sources[source_of(document)]` says where each comes from and how much it
    weighs. Call it again after a kill: only parts that are missing, harmed or changed are written, and the result is
    the same to the byte. Emits `shards` {part, tokens, written} per part. DataError without documents,
    DiskSpaceError, Interrupted.
    """
    recipe = Recipe(
        kind="text",
        encode=_encode_documents,
        sources=sources,
        source_of=source_of,
        steps=preprocessing_steps,
        name=name,
    )
    return build_rows(documents, tokenizer, out_dir, data, recipe, emit=emit, stop=stop)


def build_rows(
    rows: Callable[[], Iterable[Any]] | Sequence[Any],
    tokenizer: Tokenizer,
    out_dir: Path,
    data: "DataConfig",
    recipe: Recipe,
    *,
    emit: Emit,
    stop: StopFlag | None,
) -> TokenDataset:
    """What text and conversations share: any rows with id, text, source and language."""
    again: Callable[[], Iterable[Any]] = rows if callable(rows) else lambda: rows
    look = _first_look(again(), data.validation_fraction, data.seed)
    _check_room(out_dir, look.bytes, tokenizer.vocab_size)
    out_dir.mkdir(parents=True, exist_ok=True)
    dtype = "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"
    work = _Work(tokenizer, out_dir, look.splitter, dtype, recipe.encode, f"{FORMAT_VERSION} {recipe.kind} {dtype}")
    with file_lock(out_dir / ".lock", timeout_s=0):
        parts = _parts(again(), recipe.source_of, data.shard_tokens * _BYTES_PER_TOKEN)
        shards = _run_all(work, parts, data.workers or os.cpu_count() or 1, emit, stop)
        _sweep(out_dir, shards)
        atomic_write_json(out_dir / MANIFEST, _manifest(recipe, work, data, look, shards))
    dataset = TokenDataset.open(out_dir)
    emit("token_dataset", path=str(out_dir), total_tokens=dataset.total_tokens, shards=len(shards))
    return dataset


@dataclass(frozen=True, slots=True)
class _Look:
    splitter: Splitter
    documents: int
    bytes: int


def _manifest(recipe: Recipe, work: _Work, data: "DataConfig", look: _Look, shards: list[Shard]) -> dict[str, Any]:
    tokenizer = work.tokenizer
    return {
        "metadata": {
            "name": recipe.name,
            "version": FORMAT_VERSION,
            "kind": recipe.kind,
            "documents": look.documents,
            "bytes": look.bytes,
        },
        "sources": [source.model_dump(mode="json") for source in recipe.sources],
        "preprocessing_steps": [dict(step) for step in recipe.steps],
        "tokenizer": {
            "sha256": tokenizer.sha256,
            "vocab_size": tokenizer.vocab_size,
            "bos_id": tokenizer.bos_id,
            "eos_id": tokenizer.eos_id,
            "pad_id": tokenizer.pad_id,
        },
        "dtype": work.dtype,
        "seed": data.seed,
        "validation_fraction": data.validation_fraction,
        "validation_threshold": look.splitter.threshold,
        "total_tokens": sum(shard.tokens for shard in shards),
        "shards": [asdict(shard) for shard in shards],
    }


def _first_look(rows: Iterable[Any], fraction: float, seed: int) -> _Look:
    total, count = 0, 0

    def ids() -> Iterator[str]:
        nonlocal total, count
        for row in rows:
            total += _text_bytes(row)
            count += 1
            yield row.id

    splitter = Splitter.over(ids(), fraction, seed)
    if not count:
        raise DataError("there are no documents to tokenize", remedy="Check what reading and cleaning left of them.")
    return _Look(splitter, count, total)


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
    """Remove what builds of other documents and killed ones left behind; the lock says that nobody else writes here."""
    parts = {part_file(folder, int(shard.name.rsplit("-", 1)[1])).name for shard in shards}
    kept = {file.name for shard in shards for file in shard.files.values()} | parts
    for pattern in ("part-*.json", "train-*", "validation-*", ".train-*.tmp", ".validation-*.tmp", ".*.json.tmp-*"):
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
