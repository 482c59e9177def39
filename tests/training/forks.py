"""A server process that has torch and Lightning loaded and forks a child per call: a killed run costs no import.

Run as `python -m tests.training.forks`; `ForkServer` is its client. It never computes anything itself, so that it has
no threads when it forks.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Child:
    """A forked process."""

    server: "ForkServer"
    pid: int

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = 120) -> int:
        """Its exit code; negative is the signal that ended it. It is killed after `timeout_s`."""
        return int(self.server.ask({"wait": self.pid, "timeout_s": timeout_s})["code"])


class ForkServer:
    """Starts the server; `spawn` forks. Environment variables beyond ours go to `environment`."""

    def __init__(self, **environment: str) -> None:
        variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=variables,
            text=True,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One question, one answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    def spawn(self, function: str, **arguments: Any) -> Child:
        """Call `module:name` in a forked child."""
        return Child(self, int(self.ask({"call": function, "arguments": arguments})["pid"]))

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=30)


def _serve() -> None:
    import lightning.pytorch  # noqa: F401  the reason for this process

    import studio.training.run  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        answer = {"code": _wait(**_named(request))} if "wait" in request else {"pid": _fork(request)}
        print(json.dumps(answer), flush=True)


def _named(request: dict[str, Any]) -> dict[str, Any]:
    return {"pid": request["wait"], "timeout_s": request["timeout_s"]}


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        # what the child prints must not reach the protocol
        os.dup2(2, 1)
        module, name = request["call"].split(":")
        getattr(importlib.import_module(module), name)(**request["arguments"])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait(pid: int, timeout_s: float) -> int:
    end = time.monotonic() + timeout_s
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


if __name__ == "__main__":
    _serve()
