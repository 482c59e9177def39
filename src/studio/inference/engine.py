"""The engine: one model thread that serves many streams at once, each joining and leaving when it likes.

It knows a backend's slots and when each stream is fed. It refuses to know conversations, files and HTTP.

Design choices:
- Slots 0..n-1 decode together, one token each per step; a stream that ends hands its slot to the last one, so the batch
  never has holes. A newcomer is fed between steps, at most `PREFILL_TOKENS` per step, so that a long prompt does not
  stall the others and a cancelled one stops within a step.
- Nothing is shared between streams but the batch: random numbers, stop strings and text are each stream's own.
- Whatever goes wrong in the thread reaches the callers: a failed prefill ends its stream, a failed step all that took
  part; the engine goes on.
"""

import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from studio.core.errors import ConflictError, LimitError, UsageError
from studio.inference.backends.base import Backend, Logits
from studio.inference.metrics import InferenceMetrics
from studio.inference.streams import Generation, Stream
from studio.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from studio.config.generation import GenerationParams

PREFILL_TOKENS = 256


class Engine:
    """Streams over one backend; `max_batch` of them run at once, the rest wait in order.

    `close()` (or leaving a `with` block) cancels what runs and joins the thread. All methods may be called from any
    thread.
    """

    def __init__(self, backend: Backend, tokenizer: Tokenizer, *, max_batch: int = 16, model: str = "") -> None:
        if not 1 <= max_batch <= backend.max_batch:
            raise UsageError(f"max_batch {max_batch} is outside 1..{backend.max_batch}", where="engine")
        self.backend, self.tokenizer, self.max_batch = backend, tokenizer, max_batch
        self.metrics = InferenceMetrics(model or backend.name)
        self._vocab = min(backend.vocab_size, tokenizer.vocab_size)  # a padded head has rows that are no token
        self._ends = frozenset((tokenizer.eos_id, tokenizer.end_id))
        self._waiting: deque[Stream] = deque()
        self._active: list[Stream] = []
        self._joining: Stream | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="studio-model", daemon=True)
        self._thread.start()

    @property
    def context_len(self) -> int:
        """Most tokens that a prompt and its answer may have together."""
        return self.backend.context_len

    def submit(self, prompt_ids: Sequence[int], params: "GenerationParams | None" = None) -> Stream:
        """Queue a prompt; the stream starts as soon as there is a slot.

        UsageError for an empty prompt or unknown ids, LimitError when it fills the context, ConfigError for
        parameters outside of spec 001's ranges, ConflictError when the engine is closed.
        """
        prompt = [int(token) for token in prompt_ids]
        self._check_prompt(prompt)
        room = self.context_len - len(prompt)
        checked = (params or _default_params()).checked_for(self._vocab, room)
        stream = Stream(prompt, checked, self.tokenizer.stream(), ends=self._ends, on_end=self.metrics.finished)
        with self._changed:
            if self._closing:
                raise ConflictError("the engine is closed", where="engine")
            self._waiting.append(stream)
            self.metrics.started()
            self._changed.notify()
        return stream

    def generate(self, prompts: Sequence[Sequence[int]], params: "GenerationParams | None" = None) -> list[Generation]:
        """Answers to many prompts, in order."""
        streams = [self.submit(prompt, params) for prompt in prompts]
        try:
            return [stream.result() for stream in streams]
        except BaseException:
            for stream in streams:
                stream.cancel()
            raise

    def close(self) -> None:
        """Cancel every stream, stop the thread, free the backend. Harmless when already closed."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_prompt(self, prompt: list[int]) -> None:
        if not prompt:
            raise UsageError("the prompt is empty", where="prompt")
        if min(prompt) < 0 or max(prompt) >= self._vocab:
            raise UsageError(f"the prompt holds ids outside 0..{self._vocab - 1}", where="prompt")
        if len(prompt) >= self.context_len:
            raise LimitError(
                f"the prompt has {len(prompt)} tokens, the model's context is {self.context_len}",
                where="prompt",
                remedy="Shorten it.",
            )

    # -- the model thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._sweep()
                self._prefill()
                self._step()
        finally:
            self._end_all()
            self.backend.close()

    def _wait_for_work(self) -> bool:
        """Block while there is nothing to do; False once the engine closes."""
        with self._changed:
            while not (self._closing or self._waiting or self._active or self._joining):
                self._changed.wait()
            return not self._closing

    def _sweep(self) -> None:
        """Let go of finished and cancelled streams; the last slots move into the holes."""
        for index in range(len(self._active) - 1, -1, -1):
            if self._ended(self._active[index]):
                self._release(index)
        if self._joining is not None and self._ended(self._joining):
            self._joining = None

    def _ended(self, stream: Stream) -> bool:
        if stream.finished:
            return True
        if stream.cancelled:
            stream.finish("cancelled")
        return stream.finished

    def _release(self, index: int) -> None:
        last = len(self._active) - 1
        moved = self._active.pop()
        if index != last:
            self._active[index] = moved
            self.backend.move(last, index, _cached(moved))
        if self._joining is not None:  # it sits right behind the active ones
            self.backend.move(last + 1, last, self._joining.fed)

    def _prefill(self) -> None:
        budget = PREFILL_TOKENS
        while budget > 0 and (stream := self._next_joining()) is not None:
            piece = stream.prompt[stream.fed : stream.fed + budget]
            budget -= len(piece)
            try:
                row = self.backend.prefill(len(self._active), piece, stream.fed)
                stream.fed += len(piece)
                if stream.fed == len(stream.prompt):
                    self._joining = None
                    self._active.append(stream)
                    stream.accept(stream.sampler.pick(row[: self._vocab]))
            except Exception as error:  # whatever it is, it belongs to the caller of this stream
                _fail([stream], error)
            self._sweep()

    def _next_joining(self) -> Stream | None:
        """The stream being fed: the one begun before, or the next that waits and was not cancelled."""
        while self._joining is None and self._waiting and len(self._active) < self.max_batch:
            stream = self._waiting.popleft()
            if not self._ended(stream):
                self._joining = stream
        return self._joining

    def _step(self) -> None:
        active = list(self._active)
        if not active:
            return
        try:
            ids = np.array([stream.ids[-1] for stream in active])
            lengths = np.array([_cached(stream) for stream in active])
            logits = self.backend.decode(ids, lengths)[:, : self._vocab]
            for stream, token in zip(active, _pick(active, logits), strict=True):
                stream.accept(token)
        except Exception as error:  # every stream of the step lost its next token
            _fail(active, error)
        self._sweep()

    def _end_all(self) -> None:
        with self._changed:
            self._closing = True
            streams = [*self._active, *([self._joining] if self._joining else []), *self._waiting]
            self._waiting.clear()
        for stream in streams:
            if not stream.finished:
                stream.finish("cancelled")


def _default_params() -> "GenerationParams":
    from studio.config.generation import GenerationParams  # a slim process that never samples does without pydantic

    return GenerationParams()


def _fail(streams: Sequence[Stream], error: BaseException) -> None:
    for stream in streams:
        if not stream.finished:
            stream.fail(error)


def _cached(stream: Stream) -> int:
    """Tokens of a decoding stream that are in the cache: all but the one that the next step feeds."""
    return len(stream.prompt) + len(stream.ids) - 1


def _pick(streams: Sequence[Stream], logits: Logits) -> list[int]:
    """The next id of every stream; greedy ones in one go."""
    best: list[int] = logits.argmax(axis=1).tolist()
    return [
        best[row] if stream.sampler.greedy else stream.sampler.pick(logits[row]) for row, stream in enumerate(streams)
    ]
