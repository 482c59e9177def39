"""`studio chat MODEL`: a conversation in the terminal, or answers to the lines of a pipe.

It knows prompts, keys and how an answer is shown. What a conversation is and how tokens are made is `inference`'s.
On a terminal answers stream, Ctrl-C stops an answer and Ctrl-D leaves; in a pipe each line of stdin is a message,
stdout holds the answers and nothing else, figures go to stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import orjson

from studio.commands.output import Commands, verb

if TYPE_CHECKING:
    from studio.config.generation import GenerationParams
    from studio.inference.opening import BackendName
    from studio.inference.sessions import InferenceSession, Reply

HELP = """\
/reset            forget the conversation
/system TEXT      set the system message and start anew (without TEXT: none)
/params [K=V ...] show or change temperature, top_k, top_p, max_tokens, seed, stop
/quit             leave (or Ctrl-D); Ctrl-C stops an answer"""
SAMPLING = ("temperature", "top_k", "top_p", "max_tokens", "seed")


def add_parser(commands: Commands) -> None:
    parser = verb(commands, "chat", summary="talk to a model in the terminal", example="studio chat latest", run=_run)
    parser.add_argument("model", nargs="?", default="latest", help="model folder, id of a model or run, or latest")
    parser.add_argument("--system", default="", help="system message")
    parser.add_argument("--backend", default="auto", help="auto, onnx, onnx-fp32, onnx-int8 or torch (default auto)")
    for name in SAMPLING:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, help=f"sampling: {name}")


def _run(arguments: argparse.Namespace) -> int:
    given = {name: getattr(arguments, name) for name in SAMPLING if getattr(arguments, name) is not None}
    return run(
        _model_dir(arguments.model),
        system=arguments.system,
        params=_changed(None, given),
        backend=arguments.backend,
        as_json=arguments.json,
    )


def _model_dir(text: str) -> Path:
    if Path(text).is_dir():
        return Path(text)
    from studio.services.studio import open_studio

    return Path(open_studio().models.resolve(text))


def run(
    model_dir: Path,
    *,
    system: str = "",
    params: GenerationParams | None = None,
    backend: BackendName = "auto",
    as_json: bool = False,
    lines: TextIO | None = None,
) -> int:
    """Chat until the input ends; the exit code. StudioError when the model cannot be opened."""
    from studio.inference.opening import open_engine
    from studio.inference.sessions import InferenceSession

    source = lines or sys.stdin
    on_terminal = source.isatty() and sys.stdout.isatty() and not as_json
    with open_engine(model_dir, backend=backend, max_batch=1) as engine:
        chat = Chat(InferenceSession(engine, params=params, system=system), on_terminal=on_terminal, as_json=as_json)
        if on_terminal:
            name = f"{model_dir.name} · {engine.backend.name} · context {engine.context_len} tokens"
            print(f"{name}\n/help for what else you can type")
        for line in _typed() if on_terminal else source:
            if not chat.take(line.rstrip("\n")):
                break
    return 1 if chat.failed and not on_terminal else 0


def _typed() -> Iterator[str]:
    """Lines from the keyboard with history and editing; Ctrl-C at the prompt clears the line."""
    from prompt_toolkit import PromptSession

    prompt: PromptSession[str] = PromptSession()
    while True:
        try:
            yield prompt.prompt("you ▸ ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return


class Chat:
    """One conversation: takes lines, prints answers."""

    def __init__(self, session: InferenceSession, *, on_terminal: bool = False, as_json: bool = False) -> None:
        self.session = session
        self.failed = False
        self._on_terminal, self._as_json = on_terminal, as_json
        self._commands: dict[str, Callable[[str], None]] = {
            "/reset": self._reset,
            "/system": self._system,
            "/params": self._params,
            "/help": lambda _: self._note(HELP),
        }

    def take(self, line: str) -> bool:
        """A message or a command; False when the conversation is over. A user's mistake is told, not raised."""
        from studio.core.errors import StudioError

        word, _, rest = line.strip().partition(" ")
        if word in ("/quit", "/exit"):
            return False
        try:
            if word in self._commands:
                self._commands[word](rest.strip())
            elif word.startswith("/"):
                self._note(f"no command {word}\n{HELP}")
            elif line.strip():
                self._answer(line.strip())
        except StudioError as error:
            self.failed = True
            self._note(str(error))
        return True

    def _answer(self, text: str) -> None:
        tokens = self.session.ask(text)
        try:
            if self._on_terminal:
                self._write("model ▸ ")
            for token in tokens:
                if not self._as_json:
                    self._write(token.text)
        except KeyboardInterrupt:
            tokens.close()  # type: ignore[attr-defined]  # a generator: its end keeps the part that was said
            if not self._on_terminal:
                raise
        reply = self.session.last_reply
        assert reply is not None
        if self._as_json:
            self._write(orjson.dumps(_document(reply)).decode() + "\n")
        else:
            self._write("\n")
            self._note(_figures(reply))

    def _reset(self, _: str) -> None:
        self.session.conversation.reset()
        self._note("forgotten")

    def _system(self, text: str) -> None:
        self.session.conversation.restart(text)
        self._note("new conversation with this system message" if text else "new conversation without system message")

    def _params(self, text: str) -> None:
        conversation = self.session.conversation
        changes = dict(pair.partition("=")[::2] for pair in text.split())
        conversation.generation_params = _changed(conversation.generation_params, changes)
        self._note("  ".join(f"{key}={value}" for key, value in conversation.generation_params.model_dump().items()))

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def _note(self, text: str) -> None:
        """A line that is no answer: dimmed on a terminal, on stderr in a pipe."""
        if self._on_terminal:
            self._write(f"\033[2m{text}\033[0m\n")
        else:
            print(text, file=sys.stderr)


def _changed(params: GenerationParams | None, changes: dict[str, str]) -> GenerationParams:
    """Parameters with some values typed by a user; what was not set stays a default. ConfigError names the key."""
    from studio.config.base import parse
    from studio.config.generation import GenerationParams

    explicit = {} if params is None else params.model_dump(include=params.model_fields_set)
    return parse(GenerationParams, explicit | {key: _value(text) for key, text in changes.items()}, where="params")


def _value(text: str) -> Any:
    try:
        return orjson.loads("null" if text.lower() in ("none", "") else text)
    except orjson.JSONDecodeError:
        return text


def _figures(reply: Reply) -> str:
    generation = reply.generation
    parts = [
        f"{generation.completion_tokens} tokens",
        f"{generation.tokens_per_second:,.0f} tokens/s",
        f"{reply.context_left} tokens of context left",
    ]
    if generation.finish_reason != "stop":
        parts.append("stopped" if generation.finish_reason == "cancelled" else "cut at max_tokens")
    if reply.dropped_messages:
        parts.append(f"the {reply.dropped_messages} oldest messages are out of view")
    return f"[{' · '.join(parts)}]"


def _document(reply: Reply) -> dict[str, Any]:
    generation = reply.generation
    return {
        "answer": generation.text,
        "finish_reason": generation.finish_reason,
        "prompt_tokens": generation.prompt_tokens,
        "completion_tokens": generation.completion_tokens,
        "tokens_per_second": round(generation.tokens_per_second, 1),
        "context_left": reply.context_left,
        "dropped_messages": reply.dropped_messages,
        "seed": generation.seed,
    }
