"""int8 weights: a folder in the layout of 002 §4.3 that gives nearly the same logits back."""

from pathlib import Path

import pytest
import torch

from studio.core.errors import ConflictError, IncompatibleError, IntegrityError
from studio.core.fsio import atomic_write_json, read_json
from studio.nn.checkpoint import TOKENIZER_FILES, load_model
from studio.nn.checkpoint_files import describe_files, write_manifest
from studio.nn.quantised import dequantise, load_quantised, quantise, write_quantised
from tests.nn.test_checkpoint import CONFIG, write


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for name in TOKENIZER_FILES:
        (folder / name).write_text(f'{{"file": "{name}"}}')
    return write(tmp_path, folder)


def test_an_element_is_at_most_half_a_scale_off() -> None:
    torch.manual_seed(0)
    weight = torch.randn(7, 33) * torch.logspace(-3, 3, 7)[:, None]
    weight[3] = 0
    whole, scale = quantise(weight)
    assert whole.dtype is torch.int8
    assert ((dequantise(whole, scale) - weight).abs() <= 0.5001 * scale[:, None]).all()
    assert (dequantise(whole, scale)[3] == 0).all()


def test_the_folder_has_the_files_of_the_spec(checkpoint: Path, tmp_path: Path) -> None:
    folder = write_quantised(checkpoint, tmp_path / "int8")
    wanted = {"config.json", "generation_config.json", "model.safetensors", "quant_config.json"}
    assert {path.name for path in folder.iterdir()} == wanted | set(TOKENIZER_FILES) | {"manifest.json"}
    assert read_json(folder / "quant_config.json")["bits"] == 8
    assert (folder / "model.safetensors").stat().st_size < 0.45 * (checkpoint / "model.safetensors").stat().st_size
    for name in ("config.json", "generation_config.json", *TOKENIZER_FILES):
        assert (folder / name).read_bytes() == (checkpoint / name).read_bytes()
    with pytest.raises(ConflictError):
        write_quantised(checkpoint, folder)


def test_logits_stay_close(checkpoint: Path, tmp_path: Path) -> None:
    ids = torch.randint(CONFIG.vocab_size, (2, CONFIG.sequence_len))
    exact = load_model(checkpoint)(ids)
    near = load_quantised(write_quantised(checkpoint, tmp_path / "int8"))(ids)
    assert 0 < (exact - near).abs().max() < 0.05 * exact.abs().max()


def test_a_damaged_or_foreign_folder_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = write_quantised(checkpoint, tmp_path / "int8")
    atomic_write_json(folder / "quant_config.json", {**read_json(folder / "quant_config.json"), "method": "other"})
    with pytest.raises(IntegrityError, match="quant_config"):
        load_quantised(folder)
    write_manifest(folder, {"files": describe_files(folder)})
    with pytest.raises(IncompatibleError, match="other"):
        load_quantised(folder)
