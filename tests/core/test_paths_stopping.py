"""Names become paths in one place; a stop is a flag."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.core.errors import UsageError
from studio.core.paths import open_home, safe_child
from studio.core.stopping import StopFlag, install_signals


def test_home_is_made_for_its_owner(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    assert home.root.stat().st_mode & 0o777 == 0o700
    assert home.store == home.root / "studio.json"
    parts = (home.pipelines, home.stages, home.tokenizers, home.corpora, home.models, home.logs, home.cache)
    assert len({*parts, home.store}) == 8
    assert all(part.parent == home.root for part in parts)


def test_home_by_environment_then_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STUDIO_HOME", raising=False)
    assert open_home().root == tmp_path / "outputs"
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "elsewhere"))
    assert open_home().root == tmp_path / "elsewhere"
    assert open_home(tmp_path / "given").root == tmp_path / "given"


def test_a_file_in_the_place_of_the_home_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="STUDIO_HOME"):
        open_home(tmp_path / "file")


@pytest.mark.parametrize("name", ["model", "café ñ", ".hidden", "a=b", "x" * 255, "-rf", "CONTENT", "nullable.txt"])
def test_plain_names_are_taken(tmp_path: Path, name: str) -> None:
    assert safe_child(tmp_path, "models", name) == tmp_path / "models" / name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "/etc/passwd",
        "..\\x",
        "a\x00b",
        "a\nb",
        "é" * 128,
        "CON",
        "nul.txt",
        "lpt1",
        "end.",
        "end ",
        "\ud800",
    ],
)
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        safe_child(tmp_path, "models", name)
    assert list(tmp_path.iterdir()) == []


def test_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        safe_child(tmp_path)


def test_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "inside").mkdir()
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to(root / "inside")
    with pytest.raises(UsageError, match="leads out"):
        safe_child(root, "out", "x")
    assert safe_child(root, "in", "x") == root / "in" / "x"


def test_the_first_reason_stays() -> None:
    flag = StopFlag()
    assert (flag.is_set(), flag.reason) == (False, "")
    flag.set("SIGTERM")
    flag.set("later")
    assert (flag.is_set(), flag.reason) == (True, "SIGTERM")


@pytest.fixture
def handlers() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_signals_set_the_flag_and_a_second_interrupt_raises() -> None:
    flag = StopFlag()
    install_signals(flag)
    os.kill(os.getpid(), signal.SIGTERM)
    assert flag.reason == "SIGTERM"
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
