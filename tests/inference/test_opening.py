"""Which backend a folder opens with, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from studio.core.errors import IncompatibleError, IntegrityError, NotFoundError, UsageError, ValidationFailure
from studio.core.fsio import atomic_write_json, read_json
from studio.inference.exporting import export_verified
from studio.inference.opening import open_backend, open_engine


@pytest.fixture
def copy(model_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_dir, tmp_path / "model"))


def test_a_verified_export_is_the_default(model_dir: Path) -> None:
    with open_engine(model_dir) as engine:
        assert engine.backend.name.startswith("onnx/")
        assert engine.generate([[0, 9, 10]])[0].completion_tokens >= 0


def test_an_export_works_without_its_checkpoint(copy: Path) -> None:
    alone = copy.parent / "slim"
    shutil.move(copy / "onnx", alone)
    with open_engine(alone) as engine:
        assert engine.backend.name.startswith("onnx/")


def test_without_an_export_torch_decodes(copy: Path) -> None:
    shutil.rmtree(copy / "onnx")
    with open_engine(copy) as engine:
        assert engine.backend.name == "torch"
    with pytest.raises(NotFoundError, match="no ONNX export"):
        open_backend(copy, backend="onnx")


def test_an_export_that_was_never_judged_is_refused(copy: Path) -> None:
    (copy / "onnx" / "parity.json").unlink()
    with pytest.raises(ValidationFailure, match="has not passed the parity gate"):
        open_engine(copy)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "tokenizer_config.json", "export.json"])
def test_a_file_that_changed_after_the_judgement_is_refused_and_named(copy: Path, name: str) -> None:
    path = copy / "onnx" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=f"{name}: the file changed after"):
        open_engine(copy)


def test_a_file_that_is_gone_or_new_is_named(copy: Path) -> None:
    (copy / "onnx" / "extra.bin").write_bytes(b"x")
    with pytest.raises(IntegrityError, match=r"extra\.bin: the file came after"):
        open_engine(copy)
    (copy / "onnx" / "extra.bin").unlink()
    (copy / "onnx" / "model.int8.onnx").unlink()
    with pytest.raises(IntegrityError, match=r"model\.int8\.onnx: the file that .* is gone"):
        open_engine(copy)


def test_a_verdict_that_is_no_verdict_is_refused(copy: Path) -> None:
    atomic_write_json(copy / "onnx" / "parity.json", {"use": "model.onnx"})
    with pytest.raises(IntegrityError, match="not a parity report"):
        open_engine(copy)


def test_a_verdict_with_missing_figures_is_refused(copy: Path) -> None:
    path = copy / "onnx" / "parity.json"
    report = read_json(path)
    report["variants"]["model.onnx"]["limit_logit_delta"] = None
    atomic_write_json(path, report)
    with pytest.raises(IntegrityError, match="not a parity report: an agreement holds numbers"):
        open_engine(copy)


def test_weights_that_changed_beside_the_export_are_refused(copy: Path) -> None:
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=r"model\.safetensors: the weights are not those"):
        open_engine(copy)


def test_a_variant_below_its_limit_is_not_opened(copy: Path) -> None:
    path = copy / "onnx" / "parity.json"
    report = read_json(path)
    report["variants"]["model.int8.onnx"]["greedy_agreement"] = 0.5
    path.write_text(json.dumps(report))
    with pytest.raises(IncompatibleError, match=r"greedy agreement 50\.0%"):
        open_backend(copy, backend="onnx-int8")


def test_another_format_version_is_refused(copy: Path) -> None:
    shutil.rmtree(copy / "onnx")
    export_verified(copy, int8=False, prompts=8)
    path = copy / "onnx" / "export.json"
    atomic_write_json(path, {**read_json(path), "format_version": "2.0.0"})
    report = read_json(copy / "onnx" / "parity.json")
    from studio.core.fsio import sha256_file

    report["files"]["export.json"] = sha256_file(path)
    atomic_write_json(copy / "onnx" / "parity.json", report)
    with pytest.raises(IncompatibleError, match="export format 2"):
        open_engine(copy)


def test_an_export_that_still_holds_is_kept_and_a_stale_one_is_made_again(copy: Path) -> None:
    first = export_verified(copy, prompts=8)
    made = (copy / "onnx" / "model.onnx").stat().st_mtime_ns
    assert export_verified(copy, prompts=8).created_at == first.created_at
    assert (copy / "onnx" / "model.onnx").stat().st_mtime_ns == made
    (copy / "onnx" / "model.onnx").write_bytes(b"damaged")
    assert export_verified(copy, prompts=8).created_at != first.created_at
    open_engine(copy).close()


def test_unknown_backends_and_folders_are_refused(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="auto, onnx, onnx-fp32"):
        open_backend(model_dir, backend="cuda")  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match="no such model folder"):
        open_backend(tmp_path / "none")
