"""One stream of generated tokens: what the caller holds, and what the model thread feeds.

It knows ids, text and why it ended. It refuses to know models and batches. The caller's side may be used from any
thread; the feeding side (`accept`, `finish`, `fail`) belongs to the engine's.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from studio.inference.sampling import Sampler, StopScanner
from studio.text.tokenizers import StreamDecoder

if TYPE_CHECKING:
    from studio.config.generation import GenerationParams

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token; `text` is what became readable with it ("" while a character or stop string is open).

    A last `Token` with id None carries text that was held back until the end.
    """

    id: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished stream. `ids` are the generated tokens without the one that ended it; `seed` repeats the result."""

    text: str
    ids: list[int]
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    first_token_s: float
    seed: int

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens by the time since submission."""
        return self.completion_tokens / self.seconds if self.seconds > 0 else 0.0


class Stream:
    """An answer being made. Iterate it for `Token`s as they come, or wait for `result()`.

    As a context manager it is cancelled when the block is left early. An error of the model thread is raised to
    whoever iterates or waits.
    """

    def __init__(
        self,
        prompt: list[int],
        params: "GenerationParams",
        decoder: StreamDecoder,
        *,
        ends: frozenset[int],
        on_end: Callable[["Stream"], None],
    ) -> None:
        self.prompt, self.params = prompt, params
        self.sampler = Sampler(params)
        self.ids: list[int] = []
        self.fed = 0  # prompt tokens that are in the cache
        self._decoder, self._stops = decoder, StopScanner(params.stop)
        self._ends, self._on_end = ends, on_end
        self._texts: list[str] = []
        self._tokens: queue.SimpleQueue[Token | None] = queue.SimpleQueue()
        self._done = threading.Event()
        self._cancelled = False
        self._error: BaseException | None = None
        self._reason: FinishReason = "length"
        self._started = self._first = self._ended = time.perf_counter()

    # -- the caller's side ------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop within one step; what was generated stays. Harmless when already finished."""
        self._cancelled = True

    def result(self, timeout_s: float | None = None) -> Generation:
        """Wait for the end. TimeoutError after `timeout_s`; the model thread's error if there was one."""
        if not self._done.wait(timeout_s):
            raise TimeoutError(f"no result within {timeout_s:g} s")
        self._raise_error()
        return Generation(
            text="".join(self._texts),
            ids=list(self.ids),
            finish_reason=self._reason,
            prompt_tokens=len(self.prompt),
            completion_tokens=len(self.ids),
            seconds=self.seconds,
            first_token_s=self._first - self._started,
            seed=self.sampler.seed,
        )

    def __iter__(self) -> Iterator[Token]:
        while (token := self._tokens.get()) is not None:
            yield token
        self._tokens.put(None)  # a second iteration ends too
        self._raise_error()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.cancel()

    # -- the model thread's side ------------------------------------------------------------------------------------

    @property
    def cancelled(self) -> bool:
        """Whether the caller wants no more."""
        return self._cancelled

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return self._done.is_set()

    @property
    def status(self) -> Literal["ok", "cancelled", "error"]:
        """How it ended, as spec 002 §5.3 labels it."""
        if self._error is not None:
            return "error"
        return "cancelled" if self._reason == "cancelled" else "ok"

    @property
    def seconds(self) -> float:
        """From submission to the end."""
        return self._ended - self._started

    def accept(self, token_id: int) -> bool:
        """Take the next id; True when the stream ended with it."""
        if not self.ids:
            self._first = time.perf_counter()
        if token_id in self._ends:
            self.finish("stop")
            return True
        self.ids.append(token_id)
        text, stopped = self._stops.push(self._decoder.push(token_id))
        self._give(Token(token_id, text))
        if stopped:
            self._finish("stop")
        elif len(self.ids) >= self.params.max_tokens:
            self.finish("length")
        return self.finished

    def finish(self, reason: FinishReason) -> None:
        """End, after letting out what was held back."""
        text, stopped = self._stops.push(self._decoder.flush())
        text += "" if stopped else self._stops.flush()
        if text:
            self._give(Token(None, text))
        self._finish("stop" if stopped else reason)

    def fail(self, error: BaseException) -> None:
        """End with an error that the caller gets."""
        self._error = error
        self._finish("cancelled")

    def _give(self, token: Token) -> None:
        self._texts.append(token.text)
        self._tokens.put(token)

    def _finish(self, reason: FinishReason) -> None:
        self._reason = reason
        self._ended = time.perf_counter()
        self._on_end(self)
        self._done.set()
        self._tokens.put(None)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
