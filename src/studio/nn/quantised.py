"""A model with int8 weights, in the layout of spec 002 §4.3: a quarter of the bytes, computed in fp32 after loading.

Every matrix is rounded to -127..127 with one scale per output row (symmetric, absolute maximum); vectors stay as they
are. A tensor `x` of the checkpoint becomes `x` (int8) and `x_scale` (fp32, one per row). The folder vouches for its
bytes as a checkpoint does. It knows nothing of activations or kernels: decoding in int8 is the exported model's
business.
"""

import shutil
from pathlib import Path

import torch
from torch import Tensor

from studio.core.errors import IncompatibleError
from studio.core.fsio import atomic_write_json, read_json, sha256_file, staged_directory
from studio.nn.checkpoint import TOKENIZER_FILES, WEIGHTS, read_config, verify_checkpoint
from studio.nn.checkpoint_files import (
    check_files,
    describe_files,
    read_manifest,
    read_tensors,
    write_manifest,
    write_tensors,
)
from studio.nn.gpt import GPT

QUANT_CONFIG = "quant_config.json"
METHOD = "int8_weight_only"
_FORMAT = "studio-quantised"
_SCALE = "_scale"
_COPIED = ("config.json", "generation_config.json", *TOKENIZER_FILES)


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(R, C) float -> (R, C) int8 and (R,) fp32 scales; a row of zeros has scale 1."""
    weight = weight.float()
    peak = weight.abs().amax(dim=1)
    scale = torch.where(peak > 0, peak / 127, torch.ones_like(peak))
    return (weight / scale[:, None]).round().clamp(-127, 127).to(torch.int8), scale


def dequantise(weight: Tensor, scale: Tensor) -> Tensor:
    """The inverse up to rounding: at most half a scale off per element."""
    return weight.float() * scale[:, None]


def write_quantised(checkpoint: Path, out_dir: Path) -> Path:
    """Write the int8 form of a checkpoint to `out_dir`, whole or not at all.

    The checkpoint is verified first (IntegrityError); ConflictError when `out_dir` exists.
    """
    verify_checkpoint(checkpoint)
    tensors: dict[str, Tensor] = {}
    for name, tensor in read_tensors(checkpoint / WEIGHTS).items():
        if tensor.ndim == 2:
            tensors[name], tensors[name + _SCALE] = quantise(tensor)
        else:
            tensors[name] = tensor
    with staged_directory(out_dir) as folder:
        for name in _COPIED:
            shutil.copyfile(checkpoint / name, folder / name)
        write_tensors(folder / WEIGHTS, tensors)
        source = sha256_file(checkpoint / WEIGHTS)
        atomic_write_json(folder / QUANT_CONFIG, {**_settings(), "source_weights_sha256": source})
        write_manifest(folder, {"format": _FORMAT, "format_version": "1.0.0", "files": describe_files(folder)})
    return out_dir


def _settings() -> dict[str, object]:
    return {"method": METHOD, "bits": 8, "symmetric": True, "granularity": "output_row", "scale_suffix": _SCALE}


def load_quantised(folder: Path) -> GPT:
    """The model with its weights in fp32 again, in evaluation mode.

    IntegrityError names a damaged file, IncompatibleError tells of another method.
    """
    check_files(folder, read_manifest(folder)["files"])
    found = read_json(folder / QUANT_CONFIG)
    if {key: found.get(key) for key in _settings()} != _settings():
        raise IncompatibleError(f"quantised by {found.get('method')}, this version reads {METHOD}", where=str(folder))
    tensors = read_tensors(folder / WEIGHTS)
    weights = {
        name: dequantise(tensor, tensors[name + _SCALE]) if name + _SCALE in tensors else tensor
        for name, tensor in tensors.items()
        if not name.endswith(_SCALE)
    }
    with torch.random.fork_rng(devices=[]):
        model = GPT(read_config(folder))
    model.load_state_dict(weights)
    return model.eval()
