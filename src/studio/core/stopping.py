"""A polite request to stop, passed down as `stop: StopFlag` and looked at between steps.

Knows nothing of what stops: whoever holds the flag saves its own work and ends.
"""

import signal
from types import FrameType


class StopFlag:
    """Set once, from a signal handler or another thread; the first reason is kept.

    A plain attribute, not a `threading.Event`: a signal handler that runs while the main thread is inside the event's
    own lock would deadlock, and assigning an attribute is atomic.
    """

    def __init__(self) -> None:
        self._reason: str | None = None

    def set(self, reason: str) -> None:
        """Ask to stop; a later reason does not replace the first."""
        if self._reason is None:
            self._reason = reason

    def is_set(self) -> bool:
        """Whether somebody asked to stop."""
        return self._reason is not None

    @property
    def reason(self) -> str:
        """Why, or "" while nobody asked."""
        return self._reason or ""


def install_signals(flag: StopFlag) -> None:
    """SIGTERM and SIGINT set `flag`; a second SIGINT raises KeyboardInterrupt. Call it from the main thread."""

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and flag.is_set():
            raise KeyboardInterrupt
        flag.set(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
