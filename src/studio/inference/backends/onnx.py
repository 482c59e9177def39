"""Decoding by ONNX Runtime on the CPU: the default, and what a slim process without torch runs.

It knows an exported graph (`nn.graph`) and its cache. It refuses to know torch, tokenizers and whether the export may
be trusted: `inference.opening` asks the parity gate first.

Design choices:
- Every array that a step reads or writes is allocated once and bound once per batch size; a step copies nothing but
  the new ids. The cache is one array in which the rows of slots 0..n-1 of a layer lie together, so that any n of them
  can be bound without a copy.
- Memory of the cache is asked for, not touched: pages become resident as contexts grow.
- A tiny model runs on one thread: below some 8 M parameters the hand-over costs more than the second core brings.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from studio.core.errors import IncompatibleError
from studio.inference.backends.base import Ints, Logits
from studio.nn.exported import ExportInfo

SINGLE_THREAD_PARAMETERS = 8_000_000


class OnnxBackend:
    """Slots of one exported graph. `threads` None picks by size; raises IncompatibleError for a foreign graph."""

    def __init__(self, graph: Path, info: ExportInfo, *, max_batch: int = 16, threads: int | None = None) -> None:
        self.name = f"onnx/{graph.stem}"
        self.vocab_size, self.context_len, self.max_batch = info.vocab_size, info.sequence_len, max_batch
        self._session = _open_session(graph, threads or _threads_for(info.parameters))
        shape = (info.n_layer, 2, max_batch, info.n_kv_head, info.sequence_len, info.head_dim)
        self._cache = np.zeros(shape, np.float32)  # (L, key or value, slot, KV, capacity, head_dim)
        self._ids = np.zeros((max_batch, 1), np.int64)
        self._seqlens = np.zeros(max_batch, np.int32)
        self._total = np.zeros((), np.int32)
        self._rows = np.arange(max_batch, dtype=np.int64)
        self._logits = np.zeros((max_batch, info.vocab_size), np.float32)
        self._bindings: dict[int, Any] = {}

    def prefill(self, slot: int, ids: Sequence[int], start: int) -> Logits:
        """See `Backend.prefill`."""
        last: Logits = self._feed(slot, ids, start, np.array([len(ids) - 1], np.int64))[0]
        return last

    def score(self, ids: Sequence[int]) -> Logits:
        """See `Backend.score`."""
        return self._feed(0, ids, 0, np.arange(len(ids), dtype=np.int64))

    def decode(self, ids: Ints, lengths: Ints) -> Logits:
        """See `Backend.decode`."""
        count = len(ids)
        self._ids[:count, 0] = ids
        self._seqlens[:count] = lengths
        self._total[...] = lengths.max() + 1
        self._session.run_with_iobinding(self._bindings.get(count) or self._bind_decode(count))
        return self._logits[:count]

    def move(self, source: int, target: int, length: int) -> None:
        """See `Backend.move`."""
        self._cache[:, :, target, :, :length] = self._cache[:, :, source, :, :length]

    def close(self) -> None:
        """See `Backend.close`."""
        self._bindings.clear()

    def _feed(self, slot: int, ids: Sequence[int], start: int, rows: NDArray[np.int64]) -> Logits:
        total = start + len(ids)
        logits = np.empty((len(rows), self.vocab_size), np.float32)
        inputs: dict[str, NDArray[Any]] = {
            "ids": np.array(ids, np.int64)[None],
            "seqlens": np.array([total - 1], np.int32),
            "total": np.array(total, np.int32),
            "rows": rows,
        }
        self._session.run_with_iobinding(self._bind(slot, 1, inputs, logits))
        return logits

    def _bind_decode(self, count: int) -> Any:
        inputs: dict[str, NDArray[Any]] = {
            "ids": self._ids[:count],
            "seqlens": self._seqlens[:count],
            "total": self._total,
            "rows": self._rows[:count],
        }
        self._bindings[count] = self._bind(0, count, inputs, self._logits[:count])
        return self._bindings[count]

    def _bind(self, slot: int, count: int, inputs: dict[str, NDArray[Any]], logits: Logits) -> Any:
        """A binding whose past and present are the same memory; the caller keeps the arrays alive."""
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        binding.bind_output("logits", "cpu", 0, np.float32, logits.shape, logits.ctypes.data)
        for layer, pair in enumerate(self._cache):
            for what, cache in zip(("key", "value"), pair, strict=True):
                view = cache[slot : slot + count]  # (count, KV, capacity, head_dim), contiguous
                memory = (np.float32, view.shape, view.ctypes.data)
                binding.bind_input(f"past_{what}_{layer}", "cpu", 0, *memory)
                binding.bind_output(f"present_{what}_{layer}", "cpu", 0, *memory)
        return binding


def _threads_for(parameters: int) -> int:
    return 1 if parameters < SINGLE_THREAD_PARAMETERS else len(os.sched_getaffinity(0))


def _open_session(graph: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Waiting threads sleep: spinning is a fifth faster alone, and several times slower beside training on these cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions share no base but this
        raise IncompatibleError(
            f"ONNX Runtime cannot open the graph: {error}", where=str(graph), remedy="Export the checkpoint again."
        ) from error
