"""The world goes wrong around a pipeline: full disk, misbehaving server, too little memory (issue: Faults)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.core.errors import DiskSpaceError, NetworkError, OutOfMemory
from studio.core.paths import Home
from studio.pipeline.context import Seams
from studio.pipeline.download import DownloadPolicy
from studio.pipeline.status import ErrorType, Phase
from studio.training.run import TrainingJob, TrainingOutcome, run_training
from tests.faults.loopback import Trouble, misbehaving_server
from tests.pipeline.tiny import TINY, Ran, run_tiny

MB = 1_000_000
IMPATIENT = DownloadPolicy(timeout_s=0.4, sleep=lambda seconds: None)
NO_SFT = ("sft=null", "tokenizer.vocab_size=1000")


@pytest.fixture(scope="module")
def server() -> Iterator[Trouble]:
    with misbehaving_server() as trouble:
        yield trouble


def download_run(home: Home, url: str, seams: Seams) -> Ran:
    return run_tiny(home, *NO_SFT, f"corpus.path={url}", seams=seams)


def test_a_full_disk_is_found_before_any_download(server: Trouble, tmp_path: Path) -> None:
    asked = sum(server.calls.values())
    seams = Seams(free_bytes=lambda path: 50 * MB, policy=IMPATIENT)
    ran = download_run(Home(tmp_path), f"{server.url}/good.txt", seams)
    assert isinstance(ran.error, DiskSpaceError)
    assert sum(server.calls.values()) == asked
    details = ran.status.error_details
    assert details is not None
    assert (details.failed_phase, details.error_type) == (Phase.PREREQUISITE_CHECK, ErrorType.DISK_SPACE)
    assert "50 MB free" in details.error_message
    assert "DiskSpaceError" in details.stderr_output


@pytest.mark.parametrize(("free_mb", "enough"), [(108, False), (112, True)])
def test_the_disk_check_counts_corpus_parameters_and_buffer(free_mb: int, enough: bool, tmp_path: Path) -> None:
    """3 MB + 0.46 M parameters x 4 bytes x 3 + 100 MB = 108.5 MB."""
    seams = Seams(free_bytes=lambda path: free_mb * MB, train=refuse_to_train)
    ran = run_tiny(Home(tmp_path), seams=seams)
    assert isinstance(ran.error, DiskSpaceError) is not enough


def refuse_to_train(job: TrainingJob, **seams: Any) -> TrainingOutcome:
    raise ValueError("far enough")


@pytest.mark.parametrize("kind", ["stall", "cut", "short", "empty"])
def test_a_server_that_misbehaves_gets_three_tries_then_network(kind: str, server: Trouble, tmp_path: Path) -> None:
    ran = download_run(Home(tmp_path), f"{server.url}/{kind}.txt", Seams(policy=IMPATIENT))
    assert isinstance(ran.error, NetworkError)
    details = ran.status.error_details
    assert details is not None
    assert (details.failed_phase, details.error_type) == (Phase.CORPUS_DOWNLOAD, ErrorType.NETWORK)
    assert [row["try_number"] for name, row in ran.events if name == "download_retry"] == [1, 2, 3]
    assert list((tmp_path / "stages" / "download").rglob("*.txt")) == []


def test_a_server_that_refuses_gets_three_tries_then_network(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ran = download_run(Home(tmp_path), f"http://127.0.0.1:{port}/book.txt", Seams(policy=IMPATIENT))
    details = ran.status.error_details
    assert details is not None
    assert (details.failed_phase, details.error_type) == (Phase.PREREQUISITE_CHECK, ErrorType.NETWORK)
    assert "after 3 of 3 tries" in details.error_message


def limited(rows_that_fit: int) -> Seams:
    """Training on a machine in whose memory only so many rows fit."""

    def before_batch(rows: int) -> None:
        if rows > rows_that_fit:
            raise RuntimeError(f"DefaultCPUAllocator: can't allocate memory for {rows} rows")

    def train(job: TrainingJob, **seams: Any) -> TrainingOutcome:
        return run_training(replace(job, before_batch=before_batch), **seams)

    return Seams(train=train)


def test_out_of_memory_names_the_batch_that_fits_and_the_retry_finishes(tmp_path: Path) -> None:
    ran = run_tiny(Home(tmp_path), "sft=null", "pretrain.batch_size=16", "pretrain.max_steps=2", seams=limited(4))
    assert ran.error is None, ran.status.error_details
    assert ran.status.current_phase is Phase.COMPLETE
    retries = [row["batch_size"] for kind, row in ran.events if kind == "oom_retry"]
    assert retries == [4]
    assert any("per_device_batch_size=4" in message for message in ran.context.report["warnings"])


def test_without_retry_the_run_fails_with_the_batch_that_fits(tmp_path: Path) -> None:
    ran = run_tiny(
        Home(tmp_path),
        "sft=null",
        "pretrain.batch_size=16",
        "pretrain.max_steps=2",
        "retry_oom=false",
        seams=limited(4),
    )
    assert isinstance(ran.error, OutOfMemory)
    assert ran.error.fits_batch_size == 4
    details = ran.status.error_details
    assert details is not None
    assert (details.failed_phase, details.error_type) == (Phase.MODEL_TRAINING, ErrorType.OOM)
    assert "per_device_batch_size=4" in details.error_message


def test_a_model_that_fits_in_no_batch_fails(tmp_path: Path) -> None:
    ran = run_tiny(Home(tmp_path), "sft=null", "pretrain.max_steps=2", seams=limited(0))
    assert isinstance(ran.error, OutOfMemory)
    assert ran.error.fits_batch_size is None
    assert "oom_retry" not in ran.kinds()


def test_a_missing_corpus_is_found_before_anything_is_made(tmp_path: Path) -> None:
    ran = run_tiny(Home(tmp_path), *NO_SFT, f"corpus.path={tmp_path / 'nowhere'}", base=TINY)
    assert ran.status.error_details is not None
    assert ran.status.error_details.failed_phase is Phase.PREREQUISITE_CHECK
    assert ran.made() == set()


def test_a_validation_that_fails_says_why_and_keeps_the_results(tmp_path: Path) -> None:
    ran = run_tiny(Home(tmp_path), "sft=null", "pretrain.max_steps=2", "validation.max_val_loss=0.1")
    details = ran.status.error_details
    assert details is not None
    assert (details.failed_phase, details.error_type) == (Phase.VALIDATION, ErrorType.VALIDATION_FAILURE)
    assert "is above 0.1" in details.error_message
    assert ran.status.validation_results is not None
    assert ran.status.validation_results.final_val_loss is not None
