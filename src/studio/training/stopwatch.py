"""A stop-watch for training: it tells time spent in steps from time spent in between. It knows seconds only."""

from studio.core.clock import monotonic_s


class StopWatch:
    """A stop-watch that tells training time from the pauses in it, in seconds."""

    def __init__(self) -> None:
        self._began = monotonic_s()
        self._idle = 0.0

    def restart(self) -> tuple[float, float]:
        """(time without pauses, whole time) since the last restart."""
        now = monotonic_s()
        whole, idle = now - self._began, self._idle
        self._began, self._idle = now, 0.0
        return whole - idle, whole

    def paused(self) -> "_Pause":
        """A block whose time is not training."""
        return _Pause(self)

    def add_idle(self, seconds: float) -> None:
        """Count a pause."""
        self._idle += seconds


class _Pause:
    def __init__(self, watch: StopWatch) -> None:
        self._watch = watch

    def __enter__(self) -> None:
        self._from = monotonic_s()

    def __exit__(self, *exc: object) -> None:
        self._watch.add_idle(monotonic_s() - self._from)
