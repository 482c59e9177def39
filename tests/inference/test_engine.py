"""The engine over a fake backend: joining, leaving, errors, cancellation; over real ones: independence of streams."""

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from studio.config.generation import GenerationParams
from studio.core.errors import ConfigError, ConflictError, LimitError, UsageError
from studio.inference.backends.base import Logits
from studio.inference.engine import PREFILL_TOKENS, Engine
from studio.inference.streams import Token
from studio.text.tokenizers import Tokenizer
from tests.inference.models import CountingBackend, small_tokenizer

GREEDY = GenerationParams(temperature=0, max_tokens=10)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


@pytest.fixture
def backend() -> CountingBackend:
    return CountingBackend()


@pytest.fixture
def engine(backend: CountingBackend, tokenizer: Tokenizer) -> Iterator[Engine]:
    with Engine(backend, tokenizer, max_batch=4) as engine:
        yield engine


def greedy(tokens: int) -> GenerationParams:
    return GenerationParams(temperature=0, max_tokens=tokens)


def test_streams_of_different_lengths_keep_their_own_course(engine: Engine) -> None:
    lengths = [3, 20, 1, 7, 12, 5, 9, 2]
    streams = [engine.submit([100 + 20 * i] * (i + 1), greedy(n)) for i, n in enumerate(lengths)]
    for i, (stream, n) in enumerate(zip(streams, lengths, strict=True)):
        result = stream.result(10)
        assert result.ids == [100 + 20 * i + step for step in range(1, n + 1)]
        assert (result.finish_reason, result.prompt_tokens, result.completion_tokens) == ("length", i + 1, n)


def test_waiting_streams_join_as_others_leave(
    engine: Engine, backend: CountingBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody_waits, prefill = threading.Event(), backend.prefill

    def held_back(slot: int, ids: Sequence[int], start: int) -> Logits:
        assert everybody_waits.wait(10)
        return prefill(slot, ids, start)

    monkeypatch.setattr(backend, "prefill", held_back)
    streams = [engine.submit([50], greedy(6)) for _ in range(9)]
    everybody_waits.set()
    assert [stream.result(10).ids for stream in streams] == [list(range(51, 57))] * 9
    assert max(backend.batches) == 4


def test_a_long_prompt_is_fed_in_pieces(tokenizer: Tokenizer) -> None:
    backend = CountingBackend(context_len=2 * PREFILL_TOKENS + 100)
    with Engine(backend, tokenizer, max_batch=4) as engine:
        short = engine.submit([10], greedy(50))
        long = engine.submit([30] * (2 * PREFILL_TOKENS + 9), greedy(3))
        assert long.result(10).ids == [31, 32, 33]
        assert short.result(10).ids == list(range(11, 61))
    assert max(backend.pieces) <= PREFILL_TOKENS


def test_end_tokens_end_a_stream_and_are_not_part_of_it(engine: Engine, tokenizer: Tokenizer) -> None:
    result = engine.submit([tokenizer.eos_id - 1 if tokenizer.eos_id else 0], greedy(5)).result(10)
    assert (result.ids, result.text, result.finish_reason) == ([], "", "stop")
    assert engine.submit([tokenizer.end_id - 1], greedy(5)).result(10).finish_reason == "stop"


def test_stop_strings_work_across_tokens(engine: Engine, tokenizer: Tokenizer) -> None:
    whole = tokenizer.decode(range(101, 121))
    stop = whole[6:9]
    result = engine.submit([100], GenerationParams(temperature=0, max_tokens=20, stop=[stop])).result(10)
    assert result.text == whole[: whole.find(stop)]
    assert result.finish_reason == "stop"


def test_iterating_gives_the_same_text_as_the_result(engine: Engine, tokenizer: Tokenizer) -> None:
    stream = engine.submit([100], greedy(20))
    tokens = list(stream)
    assert "".join(token.text for token in tokens) == stream.result().text == tokenizer.decode(range(101, 121))
    assert [token.id for token in tokens if token.id is not None] == list(range(101, 121))
    assert list(stream) == []


def test_a_character_over_several_tokens_appears_whole(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("日本🙂")
    assert len(ids) > 3

    class Scripted(CountingBackend):
        def _row(self, slot: int) -> np.ndarray:
            row = np.zeros(self.vocab_size, np.float32)
            row[[*ids, tokenizer.end_id][len(self.slots[slot]) - 1]] = 1
            return row

    with Engine(Scripted(), tokenizer, max_batch=1) as engine:
        texts = [token.text for token in engine.submit([0], GREEDY)]
    assert [text for text in texts if text] == ["日", "本", "🙂"]


def test_half_a_character_at_the_end_is_replaced(tokenizer: Tokenizer) -> None:
    first = tokenizer.encode("🙂")[0]
    backend = CountingBackend()
    with Engine(backend, tokenizer, max_batch=1) as engine:
        stream = engine.submit([first - 1], greedy(1))
        assert list(stream)[-1] == Token(None, "\ufffd")
        assert stream.result().text == "\ufffd"


def test_cancelling_stops_within_a_step_and_keeps_what_there_is(engine: Engine, backend: CountingBackend) -> None:
    gate, steps = threading.Event(), []
    decode = backend.decode

    def slow(ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        gate.wait(5)
        steps.append(len(ids))
        return decode(ids, lengths)

    backend.decode = slow  # type: ignore[method-assign]
    stream = engine.submit([100], greedy(50))
    assert next(iter(stream)).id == 101
    stream.cancel()
    gate.set()
    result = stream.result(5)
    assert result.finish_reason == "cancelled"
    assert 1 <= len(result.ids) <= 2
    assert len(steps) <= 1


def test_leaving_the_block_early_cancels(engine: Engine) -> None:
    with engine.submit([100], greedy(60)) as stream:
        next(iter(stream))
    assert stream.result(5).finish_reason in ("cancelled", "length")
    assert stream.cancelled


def test_a_stream_cancelled_while_it_waits_never_runs(engine: Engine, backend: CountingBackend) -> None:
    running = [engine.submit([100], greedy(60)) for _ in range(4)]
    waiting = engine.submit([333], greedy(5))
    waiting.cancel()
    [stream.result(5) for stream in running]
    result = waiting.result(5)
    assert result.finish_reason in ("cancelled", "length")
    if result.finish_reason == "cancelled":
        assert all(333 not in slot for slot in backend.slots)


def test_an_error_of_a_prefill_reaches_its_caller_alone(engine: Engine, backend: CountingBackend) -> None:
    backend.fail_prefill_on = 77
    good, bad = engine.submit([100], greedy(20)), engine.submit([77], greedy(20))
    with pytest.raises(RuntimeError, match="prefill broke"):
        bad.result(5)
    with pytest.raises(RuntimeError, match="prefill broke"):
        list(bad)
    assert good.result(5).ids == list(range(101, 121))
    assert engine.submit([100], greedy(2)).result(5).ids == [101, 102]


def test_an_error_of_a_step_reaches_everybody_in_it_and_the_engine_goes_on(
    engine: Engine, backend: CountingBackend
) -> None:
    backend.fail_decode = True
    with pytest.raises(RuntimeError, match="decode broke"):
        engine.generate([[100], [120]], greedy(20))
    backend.fail_decode = False
    assert engine.generate([[100]], greedy(3))[0].ids == [101, 102, 103]


def test_close_joins_cancels_and_frees(backend: CountingBackend, tokenizer: Tokenizer) -> None:
    engine = Engine(backend, tokenizer, max_batch=1)
    streams = [engine.submit([100], greedy(60)) for _ in range(3)]
    engine.close()
    engine.close()
    assert backend.closed
    assert all(stream.result(1).finish_reason in ("cancelled", "length") for stream in streams)
    assert not any(thread.name == "studio-model" for thread in threading.enumerate())
    with pytest.raises(ConflictError, match="closed"):
        engine.submit([1])


def test_metrics_count_what_happened(engine: Engine, backend: CountingBackend) -> None:
    engine.generate([[100]] * 3, greedy(4))
    backend.fail_decode = True
    with pytest.raises(RuntimeError):
        engine.submit([100], greedy(4)).result(5)
    reading = engine.metrics.snapshot()
    assert reading.inference_requests_total == {"ok": 3, "error": 1}
    assert reading.tokens_generated_total == 13  # the failed one had its first token
    assert reading.active_requests == 0
    assert reading.inference_latency_seconds[60.0] == 4
    assert reading.tokens_per_second > 0
    assert reading.gpu_memory_used_bytes == {}


@pytest.mark.parametrize(
    ("prompt", "params", "error", "text"),
    [
        ([], GREEDY, UsageError, "empty"),
        ([400], GREEDY, UsageError, "ids outside 0"),
        ([-1], GREEDY, UsageError, "ids outside 0"),
        ([9] * 64, GREEDY, LimitError, "context is 64"),
        ([9] * 60, GenerationParams(max_tokens=5), ConfigError, "Invalid max_tokens"),
        ([9], GenerationParams(top_k=401), ConfigError, "top_k"),
    ],
)
def test_wrong_requests_are_refused(
    engine: Engine, prompt: list[int], params: GenerationParams, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        engine.submit(prompt, params)


def test_a_default_length_is_clamped_to_the_room_left(engine: Engine) -> None:
    result = engine.submit([9] * 60, GenerationParams(temperature=0)).result(5)
    assert (result.completion_tokens, result.finish_reason) == (4, "length")


def test_rows_of_a_padded_head_are_never_chosen(tokenizer: Tokenizer) -> None:
    backend = CountingBackend(vocab_size=tokenizer.vocab_size + 64)
    with Engine(backend, tokenizer, max_batch=1) as engine:
        result = engine.submit([tokenizer.vocab_size - 3], greedy(10)).result(5)
    last = tokenizer.vocab_size - 1
    assert result.ids == [last - 1, last, 0]  # the best of what is a token: row 0; then eos


def test_more_streams_than_the_backend_holds_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(UsageError, match=r"1\.\.4"):
        Engine(CountingBackend(), tokenizer, max_batch=5)


def test_callers_from_many_threads(engine: Engine) -> None:
    results: dict[int, list[int]] = {}

    def ask(start: int) -> None:
        for _ in range(5):
            results[start] = engine.submit([start], greedy(8)).result(10).ids
            time.sleep(0)

    threads = [threading.Thread(target=ask, args=(20 * i + 20,)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {start: list(range(start + 1, start + 9)) for start in range(20, 220, 20)}
