"""Files that are old or new, never between; hashes; JSON lines; staged folders; locks."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.core import fsio
from studio.core.errors import ConflictError, DataError, DiskSpaceError, NotFoundError
from studio.core.fsio import (
    JsonlWriter,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    crc32_file,
    dump_json,
    file_lock,
    free_bytes,
    iter_jsonl,
    read_json,
    sha256_bytes,
    sha256_file,
    sha256_json,
    staged_directory,
    sweep_staging,
)


def test_atomic_write_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic_write_text(path, "first and longer")
    atomic_write_text(path, "second é")
    assert path.read_text() == "second é"
    assert path.stat().st_mode & 0o777 == 0o644
    atomic_write_bytes(path, b"third", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failing_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    path = tmp_path / "a.txt"
    atomic_write_text(path, "old")

    def fail(*arguments: Any, **keywords: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(DiskSpaceError if number == errno.ENOSPC else OSError):
            atomic_write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    atomic_write_bytes(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_the_file_then_the_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        real_fsync(descriptor)

    def replace(source: Any, target: Any) -> None:
        order.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    atomic_write_bytes(tmp_path / "a", b"x")
    assert order == ["file", "rename", "folder"]


def test_json_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    value = {"text": "é\u2028", "number": 1.5, "none": None, "path": Path("a/b")}
    atomic_write_json(path, value)
    assert read_json(path) == {**value, "path": "a/b"}
    assert path.read_text().count("\n") > 4
    atomic_write_json(path, value, indent=False)
    assert path.read_text().count("\n") == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"a": [1, x]}, lambda x: {"a": {"b": (x,)}}])
def test_nan_is_refused(tmp_path: Path, bad: float, wrap: Any) -> None:
    with pytest.raises(ValueError, match="no JSON form"):
        atomic_write_json(tmp_path / "a.json", wrap(bad))
    assert not (tmp_path / "a.json").exists()
    with pytest.raises(ValueError, match="JSON"):
        sha256_json(wrap(bad))


def test_numpy_goes_in_and_its_nan_does_not() -> None:
    numpy = pytest.importorskip("numpy")
    assert dump_json({"a": numpy.arange(2)}) == b'{"a":[0,1]}'
    with pytest.raises(ValueError, match="no JSON form"):
        dump_json({"a": numpy.array([1.0, float("nan")])})


def test_broken_json_names_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{\n "a": 1,\n "b": oops\n}')
    with pytest.raises(DataError, match=r"a\.json: .*line 3, column"):
        read_json(path)
    with pytest.raises(NotFoundError, match=r"b\.json"):
        read_json(tmp_path / "b.json")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_canonical_hash_does_not_depend_on_order(value: Any) -> None:
    def turned(x: Any) -> Any:
        if isinstance(x, dict):
            return {key: turned(inner) for key, inner in reversed(x.items())}
        return [turned(inner) for inner in x] if isinstance(x, list) else x

    assert sha256_json(value) == sha256_json(turned(value))


def test_hashes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    data = bytes(range(256)) * 9000
    path.write_bytes(data)
    assert sha256_file(path) == sha256_bytes(data)
    assert crc32_file(path) == f"{zlib.crc32(data):08x}"
    path.write_bytes(b"")
    assert crc32_file(path) == "00000000"
    assert sha256_json({"a": 1}) != sha256_json({"a": 1.0})


def test_jsonl_round_trip_and_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with JsonlWriter(path) as writer:
        writer.write({"a": 1})
        writer.write({"a": "é"})
    path.write_bytes(path.read_bytes() + b'{"a": "torn')
    with JsonlWriter(path) as writer:
        writer.write({"a": 3})
        writer.flush()
    assert list(iter_jsonl(path)) == [(1, {"a": 1}), (2, {"a": "é"}), (3, {"a": 3})]
    with JsonlWriter(path) as writer, pytest.raises(ValueError, match="no JSON form"):
        writer.write({"a": float("nan")})


def test_a_full_disk_leaves_no_part_of_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    real = os.write
    room = iter([5])

    def nearly_full(descriptor: int, data: bytes) -> int:
        for size in room:
            return real(descriptor, data[:size])
        raise OSError(errno.ENOSPC, "no space left on device")

    with JsonlWriter(path) as writer:
        writer.write({"a": 1})
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", nearly_full)
            with pytest.raises(DiskSpaceError, match=r"rows\.jsonl"):
                writer.write({"a": 2})
        assert path.read_text() == '{"a":1}\n'
        writer.write({"a": 3})
    assert [row for _, row in iter_jsonl(path)] == [{"a": 1}, {"a": 3}]


def test_new_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(fsio, "sync_directory", synced.append)
    fsio.make_directory(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]
    fsio.make_directory(tmp_path / "a" / "b")
    assert len(synced) == 2


def test_a_file_that_is_one_torn_line_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"x" * (3 << 20))
    JsonlWriter(path).close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("line", ["{", "[1]", '"text"', '{"a": NaN}'])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"a": 1}}\n\n{line}\n')
    rows = iter_jsonl(path)
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(DataError, match=r"rows\.jsonl, line 3"):
        next(rows)


def test_staged_directory_appears_whole(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "model"
    with staged_directory(final) as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "a").write_text("x")
        assert not final.exists()
        assert staging.parent == final.parent
    assert (final / "sub" / "a").read_text() == "x"
    assert list(final.parent.iterdir()) == [final]


def test_a_failed_block_leaves_nothing(tmp_path: Path) -> None:
    def fail(staging: Path) -> None:
        (staging / "a").write_text("x")
        raise RuntimeError

    with pytest.raises(RuntimeError), staged_directory(tmp_path / "model") as staging:
        fail(staging)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_target_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(ConflictError, match="model"), staged_directory(tmp_path / "model"):
        pass
    with pytest.raises(ConflictError, match="other"), staged_directory(tmp_path / "other"):
        (tmp_path / "other").mkdir()  # somebody was quicker
    assert {path.name for path in tmp_path.iterdir()} == {"model", "other"}


def test_sweeping_spares_the_living(tmp_path: Path) -> None:
    dead = tmp_path / ".model.staging-0badcafe"
    dead.mkdir()
    (dead / "a").write_text("x")
    (tmp_path / "model").mkdir()
    with staged_directory(tmp_path / "other") as staging:
        assert sweep_staging(tmp_path) == 1
        assert staging.exists()
    assert not dead.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"model", "other"}
    assert sweep_staging(tmp_path / "absent") == 0


def test_a_killed_writer_is_swept(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib\nfrom studio.core.fsio import staged_directory\n"
        "with staged_directory(pathlib.Path(sys.argv[1]) / 'm') as s:\n (s / 'a').write_text('x'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) == 1
    assert sweep_staging(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_free_bytes_of_a_folder_to_be(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") > 0


def test_a_lock_keeps_others_out_and_names_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with file_lock(path), pytest.raises(ConflictError, match=r"a\.lock"), file_lock(path, timeout_s=0):
        pass
    with file_lock(path, timeout_s=0):
        pass


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    code = (
        "import sys, time, pathlib\nfrom studio.core.fsio import file_lock\n"
        "with file_lock(pathlib.Path(sys.argv[1])):\n print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConflictError), file_lock(path, timeout_s=0):
            pass
        holder.kill()
        holder.wait()
    with file_lock(path, timeout_s=5):
        pass


def test_a_waiting_thread_gets_the_lock(tmp_path: Path) -> None:
    got = threading.Event()

    def wait() -> None:
        with file_lock(tmp_path / "a.lock", timeout_s=10):
            got.set()

    with file_lock(tmp_path / "a.lock"):
        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.05)
        assert not got.is_set()
    thread.join()
    assert got.is_set()


def test_no_heavy_import() -> None:
    code = (
        "import sys; import studio.core.fsio, studio.core.logs\n"
        "print([name for name in ('torch', 'numpy', 'pydantic') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"


def test_public_json_matches_the_standard_library() -> None:
    value = {"b": [1, 2.5, None, True], "a": "ü"}
    assert json.loads(fsio.dump_json(value)) == value
