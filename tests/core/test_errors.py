"""One tree of errors, each one line and each able to leave its process."""

import pickle

import pytest

from studio.core import errors
from studio.core.errors import ConfigError, OutOfMemory, ParityError, StudioError, UsageError

ALL = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, StudioError)),
    key=lambda kind: kind.__name__,
)


def make(kind: type[StudioError]) -> StudioError:
    if kind is ParityError:
        return ParityError("logits differ", cause="weights", where="m/onnx", remedy="Export again.")
    return kind("it broke", where="here", remedy="Mend it.")


@pytest.mark.parametrize(
    ("where", "remedy", "line"),
    [("", "", "it broke"), ("a.txt", "", "a.txt: it broke"), ("a.txt", "Mend it.", "a.txt: it broke. Mend it.")],
)
def test_an_error_is_one_line(where: str, remedy: str, line: str) -> None:
    assert str(StudioError("it broke", where=where, remedy=remedy)) == line
    assert str(StudioError("it\nbroke", where=where, remedy=remedy)) == line


def test_a_sentence_gets_one_full_stop() -> None:
    assert str(StudioError("It broke.", remedy="Mend it.")) == "It broke. Mend it."


def test_categories_and_exit_codes() -> None:
    categories = {kind.__name__: kind.error_type for kind in ALL}
    assert categories == {
        "ConfigError": "validation_failure",
        "ConflictError": "internal",
        "DataError": "validation_failure",
        "DiskSpaceError": "disk_space",
        "IncompatibleError": "validation_failure",
        "IntegrityError": "validation_failure",
        "Interrupted": "interrupted",
        "LimitError": "internal",
        "NetworkError": "network",
        "NotFoundError": "internal",
        "OutOfMemory": "oom",
        "ParityError": "validation_failure",
        "StoreError": "internal",
        "StudioError": "internal",
        "TransitionError": "internal",
        "UsageError": "internal",
        "ValidationFailure": "validation_failure",
    }
    assert {kind.__name__ for kind in ALL if kind.exit_code == 2} == {"ConfigError", "UsageError"}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling(kind: type[StudioError]) -> None:
    error = make(kind)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


def test_extra_facts() -> None:
    assert OutOfMemory("full", fits_batch_size=4).fits_batch_size == 4
    assert ConfigError("bad", key="optim.eps").key == "optim.eps"
    assert ParityError("bad", cause="tokenizer").cause == "tokenizer"
    assert issubclass(ConfigError, UsageError)
