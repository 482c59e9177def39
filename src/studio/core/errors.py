"""The one error tree: what was wrong, where, and what to do about it.

A user's mistake becomes one of these and is shown as one line, never as a traceback; `assert` and the built-in
exceptions stay for our own bugs. This module knows no other module of the house and does no input or output.
"""

from typing import ClassVar, Literal

ErrorType = Literal["disk_space", "network", "oom", "validation_failure", "interrupted", "internal"]
ParityCause = Literal["template", "tokenizer", "weights", "dtype"]


class StudioError(Exception):
    """Anything that Studio refuses on purpose.

    `error_type` is the category that spec 003 (`PipelineStatus.error_details`) records, `exit_code` what the
    command line ends with. `str(error)` is one line: "{where}: {what}. {remedy}".
    """

    error_type: ClassVar[ErrorType] = "internal"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what = _one_line(what)
        self.where = _one_line(where)
        self.remedy = _one_line(remedy)
        super().__init__(self.what, self.where, self.remedy)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if not self.remedy:
            return text
        return f"{text.rstrip('.')}. {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        # keyword-only arguments do not survive BaseException's own pickling (worker processes send these back)
        return _rebuild, (type(self), dict(self.__dict__))


class UsageError(StudioError):
    """The call itself is wrong: a bad argument, a path outside its root, a missing choice."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration value was refused; `key` is its dotted name ("" when the whole document is wrong)."""

    error_type = "validation_failure"

    def __init__(self, what: str, *, where: str = "", remedy: str = "", key: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.key = key


class DataError(StudioError):
    """A file that someone gave us does not hold what it should."""

    error_type = "validation_failure"


class NotFoundError(StudioError):
    """No such record, file or model."""


class ConflictError(StudioError):
    """Something else already has this name, this lock or this place."""


class TransitionError(StudioError):
    """A state change that the transition table does not list."""


class IntegrityError(StudioError):
    """Bytes on disk are not the bytes that were written; `where` names the file."""

    error_type = "validation_failure"


class IncompatibleError(StudioError):
    """Two things that do not fit together: another vocabulary, architecture or format version."""

    error_type = "validation_failure"


class StoreError(StudioError):
    """The record store cannot be read or written."""


class DiskSpaceError(StudioError):
    """Not enough room on the file system."""

    error_type = "disk_space"


class NetworkError(StudioError):
    """A transfer failed for good, after its retries."""

    error_type = "network"


class OutOfMemory(StudioError):
    """Memory ran out; `fits_batch_size` is the batch that would fit, None when not even one sample does."""

    error_type = "oom"

    def __init__(self, what: str, *, where: str = "", remedy: str = "", fits_batch_size: int | None = None) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.fits_batch_size = fits_batch_size


class ValidationFailure(StudioError):
    """A result did not meet its own criteria."""

    error_type = "validation_failure"


class ParityError(ValidationFailure):
    """An exported model does not agree with the trainer; `cause` says which part differs."""

    def __init__(self, what: str, *, cause: ParityCause, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.cause: ParityCause = cause


class Interrupted(StudioError):
    """Stopped on request before the end; what was done so far is kept."""

    error_type = "interrupted"


class LimitError(StudioError):
    """A limit on size, length or number was reached."""


def _one_line(text: str) -> str:
    return " ".join(str(text).split())


def _rebuild(cls: type[StudioError], state: dict[str, object]) -> StudioError:
    error = cls.__new__(cls)
    error.__dict__.update(state)
    error.args = (state["what"], state["where"], state["remedy"])
    return error
