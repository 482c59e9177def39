"""Conversations of spec 001: their rules, the truncation policy, the lifecycle around an engine."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from studio.config.generation import GenerationParams
from studio.core.clock import utc_now
from studio.core.errors import ConfigError, ConflictError, DataError, LimitError, NotFoundError, TransitionError
from studio.inference.engine import Engine
from studio.inference.sessions import (
    INFERENCE_STATES,
    ConversationSession,
    InferenceSession,
    InferenceState,
    Message,
    MessageRole,
    SessionBook,
)
from studio.text.templates import render_chat
from studio.text.tokenizers import Tokenizer
from tests.inference.models import CountingBackend, small_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


@pytest.fixture
def engine(tokenizer: Tokenizer) -> Iterator[Engine]:
    backend = CountingBackend(context_len=96)
    backend.after[tokenizer.assistant_id] = 100
    with Engine(backend, tokenizer, max_batch=2) as engine:
        yield engine


def test_a_message_counts_the_tokens_of_its_content(tokenizer: Tokenizer) -> None:
    message = Message.create("user", "the red ball", tokenizer)
    assert message.token_count == len(tokenizer.encode("the red ball"))
    assert message.role is MessageRole.USER


@pytest.mark.parametrize(
    ("role", "content", "text"), [("user", "", "empty"), ("robot", "hi", "user, assistant, system")]
)
def test_a_message_needs_content_and_a_known_role(tokenizer: Tokenizer, role: str, content: str, text: str) -> None:
    with pytest.raises(DataError, match=text):
        Message.create(role, content, tokenizer)


def test_a_message_longer_than_the_limit_of_002_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="Prompt too long"):
        Message.create("user", "a" * 100_001, tokenizer)


def test_a_wrong_token_count_is_refused(tokenizer: Tokenizer) -> None:
    wrong = Message(MessageRole.USER, "the red ball", utc_now(), 99)
    with pytest.raises(DataError, match="token_count is 99"):
        ConversationSession(tokenizer, 64, messages=[wrong])


def test_messages_are_chronological(tokenizer: Tokenizer) -> None:
    session = ConversationSession(tokenizer, 64)
    session.add("user", "hi")
    with pytest.raises(DataError, match="chronological"):
        session.append(Message.create("assistant", "no", tokenizer, timestamp=utc_now() - timedelta(seconds=9)))


def test_a_system_message_comes_first(tokenizer: Tokenizer) -> None:
    session = ConversationSession(tokenizer, 64)
    session.add("user", "hi")
    with pytest.raises(DataError, match="must come first"):
        session.add("system", "be brief")


def test_a_context_window_longer_than_the_context_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="65 ids exceed the context of 64"):
        ConversationSession(tokenizer, 64, context_window=[1] * 65)


def test_ids_are_unique_and_activity_is_noted(tokenizer: Tokenizer) -> None:
    first, second = ConversationSession(tokenizer, 64), ConversationSession(tokenizer, 64)
    assert first.session_id != second.session_id
    before = first.last_activity
    first.add("user", "hi")
    assert first.last_activity >= before >= first.created_at


def conversation(tokenizer: Tokenizer, turns: int, context_len: int = 96) -> ConversationSession:
    session = ConversationSession(tokenizer, context_len)
    session.add("system", "be kind")
    for number in range(turns):
        session.add("user", f"{number} where is the red ball")
        session.add("assistant", "on the table")
    session.add("user", "and Ana?")
    return session


def test_while_everything_fits_nothing_is_dropped(tokenizer: Tokenizer) -> None:
    session = conversation(tokenizer, 1)
    view = session.view()
    plain = [{"role": str(m.role), "content": m.content} for m in session.messages]
    assert view.ids == render_chat(tokenizer, plain, add_generation_prompt=True)
    assert view.dropped_messages == 0


def test_a_full_context_keeps_the_system_message_and_the_newest_whole_turns(tokenizer: Tokenizer) -> None:
    session = conversation(tokenizer, 12)
    view = session.view()
    assert view.dropped_messages > 0
    assert view.dropped_messages % 2 == 0
    kept = [session.messages[0], *session.messages[1 + view.dropped_messages :]]
    assert kept[1].role is MessageRole.USER
    plain = [{"role": str(m.role), "content": m.content} for m in kept]
    assert view.ids == render_chat(tokenizer, plain, add_generation_prompt=True)
    more = [session.messages[0], *session.messages[view.dropped_messages - 1 :]]
    plain = [{"role": str(m.role), "content": m.content} for m in more]
    assert len(render_chat(tokenizer, plain, add_generation_prompt=True)) + 16 > 96, "one turn more would have fitted"
    assert len(session.messages) == 26, "the history itself stays whole"


def test_an_explicit_length_takes_its_room_from_the_history(tokenizer: Tokenizer) -> None:
    session = conversation(tokenizer, 12)
    default = session.view()
    session.generation_params = GenerationParams(max_tokens=60)
    wanted = session.view()
    assert wanted.dropped_messages > default.dropped_messages
    assert len(wanted.ids) + 60 <= 96


def test_one_message_longer_than_the_context_is_an_error_that_names_it(tokenizer: Tokenizer) -> None:
    session = ConversationSession(tokenizer, 32)
    message = session.add("user", "the red ball is on the table " * 20)
    with pytest.raises(LimitError, match=f"the user message has {message.token_count} tokens"):
        session.view()


def test_nothing_to_answer_is_an_error(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="no message"):
        ConversationSession(tokenizer, 32).view()


def test_reset_keeps_the_system_message(tokenizer: Tokenizer) -> None:
    session = conversation(tokenizer, 2)
    session.reset()
    assert [message.role for message in session.messages] == [MessageRole.SYSTEM]


def test_an_answer_becomes_a_message(engine: Engine) -> None:
    session = InferenceSession(engine, params=GenerationParams(temperature=0, max_tokens=8), system="be kind")
    assert session.state is InferenceState.READY
    reply = session.reply("hi")
    assert session.state is InferenceState.COMPLETE
    assert [str(m.role) for m in session.conversation.messages] == ["system", "user", "assistant"]
    assert reply.message is not None
    assert reply.message.content == reply.generation.text
    assert reply.context_left == 96 - reply.generation.prompt_tokens - 8
    assert len(session.conversation.context_window) <= engine.context_len


def test_a_long_conversation_goes_on_and_says_what_left_the_view(engine: Engine) -> None:
    session = InferenceSession(engine, params=GenerationParams(temperature=0, max_tokens=8))
    replies = [session.reply(f"{number} where is the red ball?") for number in range(12)]
    assert replies[0].dropped_messages == 0 < replies[-1].dropped_messages
    assert len(session.conversation.messages) == 24
    assert all(reply.generation.prompt_tokens + 8 <= engine.context_len for reply in replies)


def test_states_while_streaming(engine: Engine) -> None:
    session = InferenceSession(engine, params=GenerationParams(temperature=0, max_tokens=30))
    tokens = session.ask("hi")
    assert session.state is InferenceState.PROCESSING
    with pytest.raises(ConflictError, match="Processing"):
        session.ask("again")
    next(tokens)
    assert session.state is InferenceState.STREAMING
    for _ in tokens:
        pass
    assert session.state is InferenceState.COMPLETE


def test_leaving_an_answer_keeps_what_was_said(engine: Engine) -> None:
    session = InferenceSession(engine, params=GenerationParams(temperature=0, max_tokens=60))
    tokens = session.ask("hi")
    next(tokens)
    tokens.close()  # type: ignore[attr-defined]
    assert session.last_reply is not None
    assert session.last_reply.generation.finish_reason in ("cancelled", "length")
    assert session.state is InferenceState.COMPLETE
    assert session.reply("and now?").generation.completion_tokens > 0


def test_an_answer_that_nobody_listens_to_can_be_cancelled(engine: Engine) -> None:
    session = InferenceSession(engine, params=GenerationParams(temperature=0, max_tokens=60))
    session.ask("hello")
    with pytest.raises(ConflictError, match="cancel it"):
        session.ask("again")
    session.cancel()
    assert session.state is InferenceState.COMPLETE
    assert session.last_reply is not None
    assert session.last_reply.generation.finish_reason in ("cancelled", "stop", "length")
    assert session.reply("once more").generation.ids


def test_a_message_that_does_not_fit_is_not_kept_and_the_session_recovers(engine: Engine) -> None:
    session = InferenceSession(engine, params=GenerationParams(temperature=0, max_tokens=8))
    with pytest.raises(LimitError):
        session.reply("the red ball " * 100)
    assert session.state is InferenceState.ERROR
    assert session.conversation.messages == []
    assert session.reply("hi").message is not None


def test_an_error_of_the_model_is_raised_and_the_session_recovers(engine: Engine) -> None:
    backend = engine.backend
    assert isinstance(backend, CountingBackend)
    session = InferenceSession(engine, params=GenerationParams(temperature=0, max_tokens=8))
    backend.fail_decode = True
    with pytest.raises(RuntimeError, match="decode broke"):
        session.reply("hi")
    assert session.state is InferenceState.ERROR
    backend.fail_decode = False
    assert session.reply("hi").message is not None


def test_an_id_names_one_session(engine: Engine) -> None:
    book = SessionBook()
    session = book.add(InferenceSession(engine, session_id="a"))
    assert book.add(session) is book.get("a") is session
    with pytest.raises(ConflictError, match="session a exists already"):
        book.add(InferenceSession(engine, session_id="a"))
    book.remove("a")
    with pytest.raises(NotFoundError, match="no open session a"):
        book.get("a")


@pytest.mark.parametrize("current", INFERENCE_STATES.states)
@pytest.mark.parametrize("wanted", list(InferenceState))
def test_every_pair_of_states(current: InferenceState, wanted: InferenceState) -> None:
    order = [InferenceState(s) for s in ("Created", "Model Loaded", "Ready", "Processing", "Streaming", "Complete")]
    forward = (current in order and wanted in order) and order.index(wanted) == order.index(current) + 1
    error = wanted is InferenceState.ERROR and current not in (InferenceState.COMPLETE, InferenceState.ERROR)
    again = wanted is InferenceState.READY and current in (InferenceState.COMPLETE, InferenceState.ERROR)
    empty = (current, wanted) == (InferenceState.PROCESSING, InferenceState.COMPLETE)
    if forward or error or again or empty:
        assert INFERENCE_STATES.check(current, wanted) is wanted
    else:
        with pytest.raises(TransitionError, match="it cannot become"):
            INFERENCE_STATES.check(current, wanted)
