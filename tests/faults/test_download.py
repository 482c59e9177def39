"""Downloads against a loopback server that refuses, stalls, cuts and lies about length (issue: Faults)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.core.errors import IntegrityError, NetworkError, UsageError
from studio.core.events import silent
from studio.core.fsio import sha256_bytes
from studio.core.stopping import StopFlag
from studio.pipeline.download import DownloadPolicy, check_reachable, download
from tests.faults.loopback import BODY, Trouble, misbehaving_server


@pytest.fixture(scope="module")
def server() -> Iterator[Trouble]:
    with misbehaving_server() as trouble:
        yield trouble


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def policy(waits: list[float]) -> DownloadPolicy:
    return DownloadPolicy(timeout_s=0.4, sleep=waits.append)


def fetch(url: str, target: Path, policy: DownloadPolicy, sha256: str | None = None) -> Path:
    return download(url, target, sha256=sha256, policy=policy, emit=silent, stop=StopFlag())


def test_a_good_server_is_asked_once(server: Trouble, policy: DownloadPolicy, tmp_path: Path) -> None:
    path = fetch(f"{server.url}/good.txt", tmp_path / "good.txt", policy, sha256_bytes(BODY))
    assert path.read_bytes() == BODY
    assert server.calls["good"] == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["broken", "stall", "cut", "short", "empty"])
def test_trouble_gets_three_tries_then_network(
    kind: str, server: Trouble, policy: DownloadPolicy, waits: list[float], tmp_path: Path
) -> None:
    with pytest.raises(NetworkError, match="after 3 of 3 tries") as caught:
        fetch(f"{server.url}/{kind}.txt", tmp_path / "book.txt", policy)
    assert server.calls[kind] == 3
    assert waits == [1.0, 2.0]
    assert caught.value.error_type == "network"
    assert not (tmp_path / "book.txt").exists()


def test_a_closed_port_gets_three_tries_then_network(
    policy: DownloadPolicy, waits: list[float], tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(NetworkError, match="refused"):
        fetch(f"http://127.0.0.1:{port}/book.txt", tmp_path / "book.txt", policy)
    assert waits == [1.0, 2.0]


def test_a_missing_page_is_not_asked_for_again(server: Trouble, policy: DownloadPolicy, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="HTTP 404"):
        fetch(f"{server.url}/missing.txt", tmp_path / "book.txt", policy)
    assert server.calls["missing"] == 1


def test_a_server_that_recovers_is_enough(server: Trouble, policy: DownloadPolicy, tmp_path: Path) -> None:
    assert fetch(f"{server.url}/flaky.txt", tmp_path / "book.txt", policy).read_bytes() == BODY


def test_a_cut_download_continues_where_it_stopped(server: Trouble, policy: DownloadPolicy, tmp_path: Path) -> None:
    path = fetch(f"{server.url}/ranges.txt", tmp_path / "book.txt", policy, sha256_bytes(BODY))
    assert path.read_bytes() == BODY
    assert server.calls[f"from {len(BODY) // 2}"] == 1


def test_a_wrong_checksum_is_refused_and_leaves_nothing(
    server: Trouble, policy: DownloadPolicy, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError, match="SHA-256"):
        fetch(f"{server.url}/good.txt", tmp_path / "book.txt", policy, "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_only_web_addresses_are_downloaded(policy: DownloadPolicy, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="http"):
        fetch("ftp://127.0.0.1/book.txt", tmp_path / "book.txt", policy)


def test_the_check_before_a_run_tells_the_size(server: Trouble, policy: DownloadPolicy) -> None:
    assert check_reachable(f"{server.url}/good.txt", policy=policy) == len(BODY)
    with pytest.raises(NetworkError):
        check_reachable(f"{server.url}/broken.txt", policy=policy)
