"""Compiled where a compiler is found; otherwise eager, with the reason."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from studio.core.errors import UsageError
from studio.nn import compiling, memory
from studio.nn.compiling import maybe_compile


def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2 + 1


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    compiling.why_not.cache_clear()
    yield
    compiling.why_not.cache_clear()


def test_off_is_the_function_itself() -> None:
    chosen = maybe_compile(double, "off")
    assert chosen.call is double
    assert not chosen.compiled
    assert chosen.reason == "compilation is switched off"


@pytest.mark.usefixtures("no_compiler")
def test_auto_without_a_compiler_is_eager_and_says_why() -> None:
    chosen = maybe_compile(double, "auto")
    assert chosen.call is double
    assert chosen.reason == "eager mode: no C++ compiler found (looked for g++, clang++, c++)"


@pytest.mark.usefixtures("no_compiler")
def test_on_without_a_compiler_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"^compile=on: cannot compile: no C\+\+ compiler found .*\. Use compile=auto"):
        maybe_compile(double, "on")


def test_a_named_compiler_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    compiling.why_not.cache_clear()
    try:
        assert compiling.why_not() == "no C++ compiler found (looked for no-such-compiler)"
    finally:
        compiling.why_not.cache_clear()


@pytest.mark.slow
def test_compiled_code_is_kept_in_the_given_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    if compiling.why_not():
        pytest.skip(compiling.why_not())
    chosen = maybe_compile(double, "on", cache_dir=tmp_path / "inductor")
    assert chosen.compiled
    assert torch.equal(chosen.call(torch.ones(37)), double(torch.ones(37)))
    assert any((tmp_path / "inductor").rglob("*.so"))


def test_a_folder_from_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")
    compiling.use_cache(tmp_path)
    assert compiling.os.environ["TORCHINDUCTOR_CACHE_DIR"] == "elsewhere"


def test_memory_is_kept_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert memory.keep_freed_memory() is False
