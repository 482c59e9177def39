"""Conversations (spec 001): messages with their token counts, what of them the model sees, and where an answer stands.

It knows messages, templates and the context's length. It refuses to know how tokens are made: an `Engine` does that.

What happens when the context is full: the system message and the newest whole turns stay, the oldest turns leave the
model's view first (never the history), and every answer says how many messages it no longer saw. A turn is a user's
message with the answers that follow it. A single message that alone exceeds the context is an error.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from studio.config.generation import GenerationParams, check_prompt
from studio.core.clock import utc_now
from studio.core.errors import ConflictError, DataError, LimitError, NotFoundError, StudioError
from studio.core.ids import new_id
from studio.inference.engine import Engine
from studio.inference.session_state import INFERENCE_STATES, InferenceState
from studio.inference.streams import Generation, Stream, Token
from studio.text.templates import render_chat
from studio.text.tokenizers import Tokenizer

MIN_ANSWER_TOKENS = 16  # room that truncation keeps free when `max_tokens` is only a default


class MessageRole(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `token_count` is the number of tokens of `content` alone, without role and end tokens."""

    role: MessageRole
    content: str
    timestamp: datetime
    token_count: int

    @classmethod
    def create(cls, role: str, content: str, tokenizer: Tokenizer, *, timestamp: datetime | None = None) -> "Message":
        """A message that holds 001's rules. DataError for an unknown role or empty content."""
        if role not in tuple(MessageRole):
            allowed = ", ".join(MessageRole)
            raise DataError(f"unknown role {role!r}", where="message.role", remedy=f"Use one of: {allowed}.")
        if not content:
            raise DataError("content must not be empty", where="message.content")
        check_prompt(content)
        return cls(MessageRole(role), content, timestamp or utc_now(), len(tokenizer.encode(content)))

    def check(self, tokenizer: Tokenizer) -> None:
        """DataError unless the rules hold for this message as it is (one that was read from somewhere)."""
        counted = Message.create(self.role, self.content, tokenizer).token_count
        if counted != self.token_count:
            raise DataError(
                f"token_count is {self.token_count}, the content has {counted} tokens", where="message.token_count"
            )


@dataclass(frozen=True, slots=True)
class View:
    """What of a conversation the model sees: prompt ids, and the number of oldest messages left out."""

    ids: list[int]
    dropped_messages: int


@dataclass(slots=True)
class ConversationSession:
    """Spec 001's entity. `context_window` holds the ids of the last prompt and its answer, never more than fit."""

    tokenizer: Tokenizer
    context_len: int
    generation_params: GenerationParams = field(default_factory=GenerationParams)
    session_id: str = field(default_factory=new_id)
    messages: list[Message] = field(default_factory=list)
    context_window: list[int] = field(default_factory=list)
    created_at: datetime = field(default_factory=utc_now)
    last_activity: datetime = field(default_factory=utc_now)

    def __post_init__(self) -> None:
        """DataError when given messages or ids break 001's rules."""
        if len(self.context_window) > self.context_len:
            raise DataError(
                f"{len(self.context_window)} ids exceed the context of {self.context_len}", where="context_window"
            )
        given, self.messages = self.messages, []
        for message in given:
            message.check(self.tokenizer)
            self.append(message)

    def add(self, role: str, content: str) -> Message:
        """Append a message made now; DataError when it breaks 001's rules."""
        message = Message.create(role, content, self.tokenizer)
        self.append(message)
        return message

    def append(self, message: Message) -> None:
        """Append a message; DataError when it is older than the last one or a system message that is not first."""
        if self.messages and message.timestamp < self.messages[-1].timestamp:
            raise DataError("messages must be in chronological order", where="messages")
        if message.role is MessageRole.SYSTEM and self.messages:
            raise DataError("a system message must come first", where="messages")
        self.messages.append(message)
        self.last_activity = utc_now()

    def view(self) -> View:
        """The prompt for the next answer, oldest turns dropped as needed.

        LimitError when the system message and the newest turn do not fit by themselves.
        """
        room = self._answer_room()
        system = self.messages[:1] if self.messages and self.messages[0].role is MessageRole.SYSTEM else []
        turns = _turns(self.messages[len(system) :])
        for first in range(len(turns)):
            kept = [*system, *(message for turn in turns[first:] for message in turn)]
            ids = self._render(kept)
            if len(ids) + room <= self.context_len:
                return View(ids, len(self.messages) - len(kept))
        raise self._too_long(system, turns, room)

    def context_left(self) -> int:
        """Tokens that still fit behind the context window."""
        return self.context_len - len(self.context_window)

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages = [message for message in self.messages if message.role is MessageRole.SYSTEM]
        self.context_window = []
        self.last_activity = utc_now()

    def restart(self, system: str = "") -> None:
        """Forget everything and begin with this system message, or with none."""
        self.messages, self.context_window = [], []
        if system:
            self.add(MessageRole.SYSTEM, system)

    def _answer_room(self) -> int:
        params = self.generation_params
        if "max_tokens" in params.model_fields_set:
            return params.max_tokens
        return min(params.max_tokens, MIN_ANSWER_TOKENS, self.context_len // 4)

    def _render(self, messages: Sequence[Message]) -> list[int]:
        plain = [{"role": str(message.role), "content": message.content} for message in messages]
        return render_chat(self.tokenizer, plain, add_generation_prompt=True)

    def _too_long(self, system: list[Message], turns: list[list[Message]], room: int) -> StudioError:
        if not turns:
            return DataError("there is no message to answer", where="messages")
        longest = max((*system, *turns[-1]), key=lambda message: message.token_count)
        return LimitError(
            f"the {longest.role} message has {longest.token_count} tokens; with {room} for the answer "
            f"it does not fit the model's context of {self.context_len}",
            where="messages",
            remedy="Shorten it, or lower max_tokens.",
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and what it cost: `dropped_messages` of the history were no longer in the model's view."""

    message: Message | None  # None when nothing readable was generated
    generation: Generation
    dropped_messages: int
    context_left: int


class InferenceSession:
    """Spec 001's lifecycle around one conversation and one engine; one answer at a time."""

    def __init__(
        self, engine: Engine, *, params: GenerationParams | None = None, system: str = "", session_id: str | None = None
    ) -> None:
        self.state = INFERENCE_STATES.initial
        self.engine = engine
        self._become(InferenceState.MODEL_LOADED)
        self.conversation = ConversationSession(
            engine.tokenizer, engine.context_len, params or GenerationParams(), session_id or new_id()
        )
        self.conversation.restart(system)
        self._become(InferenceState.READY)
        self._stream: Stream | None = None
        self._unheard: View | None = None  # of an answer whose iterator has not been started
        self.last_reply: Reply | None = None

    def ask(self, content: str) -> Iterator[Token]:
        """Add a user's message and stream the answer; afterwards `last_reply` holds it.

        A message that does not fit is not added. Stopping to iterate, or `cancel`, keeps what was generated. Errors
        are those of `ConversationSession.view` and `Engine.submit`; ConflictError while an answer is being made.
        """
        if self.state is InferenceState.COMPLETE or self.state is InferenceState.ERROR:
            self._become(InferenceState.READY)
        if self.state is not InferenceState.READY:
            raise ConflictError(f"the session is {self.state}", remedy="Wait for the answer, or cancel it.")
        stream, view = self._submit(content)
        self._stream, self._unheard = stream, view
        return self._relay(stream, view)

    def reply(self, content: str) -> Reply:
        """`ask`, waiting for the whole answer."""
        for _ in self.ask(content):
            pass
        assert self.last_reply is not None
        return self.last_reply

    def cancel(self) -> None:
        """Stop the answer within one step; one that nobody has begun to listen to is over with it."""
        if self._stream is not None:
            self._stream.cancel()
            if self._unheard is not None:
                self._finish(self._stream, self._unheard)

    def _become(self, wanted: InferenceState) -> None:
        self.state = INFERENCE_STATES.check(self.state, wanted)

    def _submit(self, content: str) -> tuple[Stream, View]:
        self._become(InferenceState.PROCESSING)
        conversation = self.conversation
        before = len(conversation.messages)
        try:
            conversation.add(MessageRole.USER, content)
            view = conversation.view()
            return self.engine.submit(view.ids, conversation.generation_params), view
        except StudioError:
            del conversation.messages[before:]
            self._become(InferenceState.ERROR)
            raise

    def _relay(self, stream: Stream, view: View) -> Iterator[Token]:
        self._unheard = None
        try:
            for token in stream:
                if self.state is InferenceState.PROCESSING:
                    self._become(InferenceState.STREAMING)
                yield token
        except (GeneratorExit, KeyboardInterrupt):  # the listener left: what was said so far stays
            stream.cancel()
            self._finish(stream, view)
            raise
        except BaseException:
            self._become(InferenceState.ERROR)
            self._stream = None
            raise
        self._finish(stream, view)

    def _finish(self, stream: Stream, view: View) -> None:
        generation = stream.result()
        conversation = self.conversation
        message = conversation.add(MessageRole.ASSISTANT, generation.text) if generation.text else None
        conversation.context_window = [*view.ids, *generation.ids][: conversation.context_len]
        self.last_reply = Reply(message, generation, view.dropped_messages, conversation.context_left())
        self._stream = self._unheard = None
        self._become(InferenceState.COMPLETE)


class SessionBook:
    """The conversations that are open now, by id; safe from any thread. An id names one conversation (spec 001)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, InferenceSession] = {}

    def add(self, session: InferenceSession) -> InferenceSession:
        """Keep a session; ConflictError when its id is taken."""
        name = session.conversation.session_id
        with self._lock:
            if self._sessions.setdefault(name, session) is not session:
                raise ConflictError(f"session {name} exists already", where="session_id", remedy="Use another id.")
        return session

    def get(self, session_id: str) -> InferenceSession:
        """The open session of that id; NotFoundError."""
        with self._lock:
            if session_id not in self._sessions:
                raise NotFoundError(f"no open session {session_id}", where="session_id")
            return self._sessions[session_id]

    def remove(self, session_id: str) -> None:
        """Stop its answer and let it go; NotFoundError."""
        self.get(session_id).cancel()
        with self._lock:
            self._sessions.pop(session_id, None)


def _turns(messages: Sequence[Message]) -> list[list[Message]]:
    """Each user's message with what follows it; what comes before the first is a turn too."""
    turns: list[list[Message]] = []
    for message in messages:
        if message.role is MessageRole.USER or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns
