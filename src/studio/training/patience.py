"""Giving up a step that takes very long because it is being compiled, when somebody asks to stop meanwhile.

A stop is otherwise looked at between steps only, and the first step of a compiled run may take half a minute. Nothing
is lost by dropping it: no step of this process is done yet. It knows signals and the stop flag.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from studio.core.stopping import StopFlag

LOOK_EVERY_S = 0.5


class Abandoned(BaseException):
    """The step was dropped. Not an Exception: the compiler would wrap it and try something else."""


@contextmanager
def abandon_when_stopped(stop: StopFlag) -> Iterator[None]:
    """Raise Abandoned inside the block soon after `stop` is set; in other threads than the main one, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def look(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise Abandoned

    handler = signal.signal(signal.SIGALRM, look)
    timer = signal.setitimer(signal.ITIMER_REAL, LOOK_EVERY_S, LOOK_EVERY_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)
