"""`studio chat` over a fake backend: commands, figures, exit codes."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.commands.chat import Chat
from studio.config.generation import GenerationParams
from studio.inference.engine import Engine
from studio.inference.exporting import export_verified
from studio.inference.sessions import InferenceSession
from tests.inference.models import CountingBackend, make_checkpoint, small_tokenizer


@pytest.fixture
def session() -> Iterator[InferenceSession]:
    tokenizer = small_tokenizer()
    backend = CountingBackend(context_len=96)
    backend.after[tokenizer.assistant_id] = 100
    with Engine(backend, tokenizer, max_batch=1) as engine:
        yield InferenceSession(engine, params=GenerationParams(temperature=0, max_tokens=8))


def test_an_answer_goes_to_stdout_and_its_figures_to_stderr(
    session: InferenceSession, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = Chat(session)
    assert chat.take("hello")
    assert not chat.failed
    out, err = capsys.readouterr()
    assert out == session.engine.tokenizer.decode(range(100, 108)) + "\n"
    assert "8 tokens" in err
    assert "tokens/s" in err
    assert "tokens of context left" in err
    assert "cut at max_tokens" in err


def test_json_holds_one_document_per_answer(session: InferenceSession, capsys: pytest.CaptureFixture[str]) -> None:
    Chat(session, as_json=True).take("hello")
    document = json.loads(capsys.readouterr().out)
    assert document["completion_tokens"] == 8
    assert document["finish_reason"] == "length"
    assert document["answer"] == session.engine.tokenizer.decode(range(100, 108))


def test_commands(session: InferenceSession, capsys: pytest.CaptureFixture[str]) -> None:
    chat = Chat(session)
    for line in (
        "hello",
        "/reset",
        "",
        "/system be brief",
        "/params top_k=3 seed=none temperature=0.5",
        "/help",
        "/what",
    ):
        assert chat.take(line)
    assert [str(m.role) for m in session.conversation.messages] == ["system"]
    params = session.conversation.generation_params
    assert (params.top_k, params.temperature, params.max_tokens) == (3, 0.5, 8)
    assert params.model_fields_set == {"top_k", "seed", "temperature", "max_tokens"}
    err = capsys.readouterr().err
    assert "forgotten" in err
    assert "top_k=3" in err
    assert "no command /what" in err
    assert not chat.failed
    assert not chat.take("/quit")
    assert not chat.take("/exit")


def test_a_mistake_is_one_line_and_the_chat_goes_on(
    session: InferenceSession, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = Chat(session)
    assert chat.take("/params temperature=9")
    assert chat.failed
    assert chat.take("too long " * 100)
    assert chat.take("hello")
    out, err = capsys.readouterr()
    assert "Temperature out of range" in err
    assert "does not fit the model's context" in err
    assert "Traceback" not in err
    assert out.count("\n") == 1


def test_what_left_the_view_is_said(session: InferenceSession, capsys: pytest.CaptureFixture[str]) -> None:
    chat = Chat(session)
    for number in range(10):
        chat.take(f"{number} where is the red ball")
    assert "oldest messages are out of view" in capsys.readouterr().err


def test_ctrl_c_on_a_terminal_stops_the_answer_only(
    session: InferenceSession, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = Chat(session, on_terminal=True)
    written: list[str] = []

    def interrupted(text: str) -> None:
        written.append(text)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(chat, "_write", interrupted)
    assert chat.take("hello")
    assert session.last_reply is not None
    assert session.last_reply.generation.finish_reason in ("cancelled", "length")
    assert chat.take("hello again")


def test_a_real_terminal(tmp_path: Path) -> None:
    """prompt_toolkit on a pseudo-terminal: the answer streams, figures follow, Ctrl-D leaves."""
    model = make_checkpoint(tmp_path / "model")
    export_verified(model, int8=False, prompts=8)
    code = (
        "import sys; from pathlib import Path; from studio.commands.chat import run; sys.exit(run(Path(sys.argv[1])))"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(model)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        read_until(ours, "you")
        os.write(ours, b"/params max_tokens=5 temperature=0\r")
        read_until(ours, "max_tokens=5")
        os.write(ours, b"hello\r")
        shown = read_until(ours, "context left")
        if "you" not in shown.partition("context left")[2]:
            read_until(ours, "you")  # a key between two prompts goes to the terminal, not to the prompt
        os.write(ours, b"\x04")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(descriptor: int, text: str, seconds: float = 30) -> str:
    """What the terminal shows until `text` appears."""
    shown, deadline = "", time.monotonic() + seconds
    while text not in shown:
        ready, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            pytest.fail(f"no {text!r} within {seconds} s, only: {shown[-500:]!r}")
        shown += os.read(descriptor, 4096).decode(errors="replace")
    return shown
