"""Token datasets on disk (spec 001, *TrainingDataset*): memory-mapped shards, opened and checked against their
manifest.

It reads; `shards` writes. It knows no tokenizers and no text; how rows are cut from the tokens is `training.packing`'s
business.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from studio.core.errors import DataError, IncompatibleError, IntegrityError, NotFoundError
from studio.core.fsio import iter_jsonl, read_json, sha256_json
from studio.text.shard_files import Shard, fault_of
from studio.text.token_streams import Int, TokenStream, mixture

FORMAT_VERSION = "1.0.0"
MANIFEST = "manifest.json"


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
        version = str(self.metadata["version"])
        if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
            raise IncompatibleError(f"format {version}, this program reads {FORMAT_VERSION}", where=where)
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
    def sources(self) -> list[dict[str, Any]]:
        """The fields of each data source, as configured."""
        return [dict(source) for source in self.manifest["sources"]]

    @property
    def preprocessing_steps(self) -> list[dict[str, Any]]:
        """What was done to the texts before: `{name, parameters}`, in order."""
        return [dict(step) for step in self.manifest["preprocessing_steps"]]

    @property
    def metadata(self) -> dict[str, Any]:
        """`{name, version, kind, documents, bytes}`; kind is text or conversations, bytes are UTF-8 bytes of text."""
        return dict(self.manifest["metadata"])

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
