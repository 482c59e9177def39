"""One file over HTTP, or a clear NetworkError: three tries with back-off, time-outs, length and checksum.

The body goes into `<target>.part` and is renamed when it is whole; a further try continues a part where the server
gives ranges. Refuses to know what the file is for.
"""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from studio.core.clock import monotonic_s
from studio.core.errors import IntegrityError, NetworkError, UsageError
from studio.core.events import Emit
from studio.core.fsio import sha256_file
from studio.core.stopping import StopFlag

TRIES = 3
CHUNK_BYTES = 1 << 16
USER_AGENT = "studio/0.1"
FINAL_STATUSES = frozenset({400, 401, 403, 404, 405, 410, 414, 451})
"""Answers that another try will not change."""


@dataclass(frozen=True, slots=True)
class DownloadPolicy:
    """How patient a download is."""

    tries: int = TRIES
    backoff_s: float = 1.0
    """Wait before the second try; doubles each time."""
    timeout_s: float = 30.0
    """Longest silence of the server."""
    max_bytes: int = 8 << 30
    sleep: Callable[[float], None] = time.sleep


class _TryFailed(Exception):
    """One try did not work; `final` when there is no point in another."""

    def __init__(self, why: str, *, final: bool = False) -> None:
        super().__init__(why)
        self.final = final


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def download(url: str, target: Path, *, sha256: str | None, policy: DownloadPolicy, emit: Emit, stop: StopFlag) -> Path:
    """Fetch `url` into `target`. NetworkError after the last try, IntegrityError when the bytes are not the promised
    ones.
    """
    if not is_url(url):
        raise UsageError("only http and https are downloaded", where=url, remedy="give a URL or a local path")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    why = ""
    for number in range(1, policy.tries + 1):
        try:
            _fetch(url, part, policy, stop)
            _check_sum(url, part, sha256)
            os.replace(part, target)
            return target
        except _TryFailed as failed:
            why = str(failed)
            emit("download_retry", url=url, try_number=number, tries=policy.tries, reason=why)
            if failed.final or stop.is_set():
                break
            if number < policy.tries:
                policy.sleep(policy.backoff_s * 2 ** (number - 1))
    raise NetworkError(
        f"download failed after {number} of {policy.tries} tries: {why}",
        where=url,
        remedy="check the address and the connection, or name a local file",
    )


def check_reachable(url: str, *, policy: DownloadPolicy) -> int | None:
    """Content length in bytes of a URL that answers 200, None when it does not say; NetworkError after the last try."""
    why = ""
    for number in range(1, policy.tries + 1):
        try:
            request = urllib.request.Request(url, headers={"User-Agent": USER_AGENT, "Range": "bytes=0-0"})
            with urllib.request.urlopen(request, timeout=policy.timeout_s) as answer:
                return _total_bytes(answer)
        except (OSError, http.client.HTTPException) as error:
            why = _reason(error)
            if isinstance(error, urllib.error.HTTPError) and error.code in FINAL_STATUSES:
                break
        if number < policy.tries:
            policy.sleep(policy.backoff_s * 2 ** (number - 1))
    raise NetworkError(
        f"the corpus cannot be reached after {number} of {policy.tries} tries: {why}",
        where=url,
        remedy="check the address and the connection, or name a local file",
    )


def _fetch(url: str, part: Path, policy: DownloadPolicy, stop: StopFlag) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": USER_AGENT} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=policy.timeout_s) as answer:
            if have and answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                have = 0
            _receive(answer, part, have, policy, stop)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
            raise _TryFailed("the server refused to continue the file") from error
        raise _TryFailed(f"HTTP {error.code}", final=error.code in FINAL_STATUSES) from error
    except (OSError, http.client.HTTPException) as error:
        raise _TryFailed(_reason(error)) from error


def _receive(answer: http.client.HTTPResponse, part: Path, have: int, policy: DownloadPolicy, stop: StopFlag) -> None:
    """Read until the connection ends and count ourselves: the declared length is checked, not believed."""
    declared = answer.length
    answer.length = None
    got = 0
    began = monotonic_s()
    with part.open("ab" if have else "wb") as file:
        while not (declared is not None and got >= declared and _ended(answer)):
            if stop.is_set():
                raise _TryFailed("stopped", final=True)
            block = answer.read1(CHUNK_BYTES)
            if not block:
                break
            got += file.write(block)
            if have + got > policy.max_bytes:
                raise _TryFailed(f"the file is larger than {policy.max_bytes} bytes", final=True)
        file.flush()
        os.fsync(file.fileno())
    if declared is not None and got != declared:
        if got > declared:
            part.unlink()
        raise _TryFailed(f"the server announced {declared} bytes and sent {got} in {monotonic_s() - began:.1f} s")
    if have + got == 0:
        raise _TryFailed("the server sent an empty file")


def _ended(answer: http.client.HTTPResponse) -> bool:
    """Whether nothing follows the declared end; a server that keeps the connection open has ended too."""
    connection = getattr(getattr(answer.fp, "raw", None), "_sock", None)
    if connection is None:
        return True
    patience = connection.gettimeout()
    connection.settimeout(0.2)
    try:
        return not answer.fp.peek(1)
    except OSError:
        return True
    finally:
        connection.settimeout(patience)


def _check_sum(url: str, part: Path, sha256: str | None) -> None:
    if sha256 is None:
        return
    found = sha256_file(part)
    if found != sha256.lower():
        part.unlink()
        raise IntegrityError(
            f"the file has SHA-256 {found[:12]}…, expected {sha256[:12]}…",
            where=url,
            remedy="the file was changed at its source or on the way; check the checksum in the config",
        )


def _total_bytes(answer: http.client.HTTPResponse) -> int | None:
    _, _, total = (answer.headers.get("Content-Range") or "").partition("/")
    if total.isdigit():
        return int(total)
    return answer.length


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    if isinstance(inner, BaseException):
        error = inner
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
