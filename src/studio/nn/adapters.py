"""Low-rank adapters (LoRA, arXiv:2106.09685) and their folder of spec 002 §4.2, with the names that PEFT reads.

A target layer computes `x W + (alpha / r) x A B`, where W is frozen, A (r, in) is random and B (out, r) starts at zero,
so that a fresh adapter changes nothing. It knows layers and files; how an adapter is trained is the trainer's business.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from studio.config.model import LoraConfig
from studio.core.errors import IncompatibleError
from studio.core.fsio import atomic_write_json, atomic_write_text, read_json, staged_directory
from studio.nn.checkpoint_files import read_tensors, write_tensors
from studio.nn.gpt import GPT

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."


class LoraLinear(nn.Module):
    """A frozen linear layer and its low-rank correction."""

    def __init__(self, base: nn.Linear, config: LoraConfig) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = config.lora_alpha / config.r
        self.dropout = nn.Dropout(config.lora_dropout)
        self.lora_A = nn.Parameter(base.weight.new_empty(config.r, base.in_features))
        self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_features, config.r))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)"""
        low: Tensor = self.dropout(x) @ self.lora_A.T @ self.lora_B.T
        out: Tensor = self.base(x)
        return out + self.scaling * low

    def merged(self) -> nn.Linear:
        """The plain layer that computes the same."""
        with torch.no_grad():
            self.base.weight += self.scaling * self.lora_B @ self.lora_A
        return self.base


def add_adapter(model: GPT, config: LoraConfig) -> GPT:
    """Freeze `model` and give every target layer a fresh adapter, in place; IncompatibleError when a target is none."""
    model.requires_grad_(False)
    for target in config.target_modules:
        found = [
            (parent, layer)
            for parent in list(model.modules())
            for name, layer in list(parent.named_children())
            if name == target and isinstance(layer, nn.Linear)
        ]
        if not found:
            raise IncompatibleError(f"the model has no linear layer {target}", remedy="See target_modules.")
        for parent, layer in found:
            setattr(parent, target, LoraLinear(layer, config))
    return model


def merge_adapter(model: GPT) -> GPT:
    """Put every adapter into its layer's weights, in place, and make all weights trainable again."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, LoraLinear):
                setattr(parent, name, layer.merged())
    return model.requires_grad_(True)


def _adapters(model: GPT) -> Iterator[tuple[str, LoraLinear]]:
    return ((name, layer) for name, layer in model.named_modules() if isinstance(layer, LoraLinear))


def write_adapter(model: GPT, config: LoraConfig, out_dir: Path, *, base_model: str) -> Path:
    """Write the adapters of `model` without its weights, whole or not at all; ConflictError when `out_dir` exists.

    `base_model` says in the model card what they belong to.
    """
    tensors: dict[str, Tensor] = {}
    for name, layer in _adapters(model):
        tensors[f"{_PREFIX}{name}.lora_A.weight"] = layer.lora_A
        tensors[f"{_PREFIX}{name}.lora_B.weight"] = layer.lora_B
    document = {
        "peft_type": "LORA",
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        **config.model_dump(mode="json"),
    }
    with staged_directory(out_dir) as folder:
        write_tensors(folder / ADAPTER_WEIGHTS, tensors)
        atomic_write_json(folder / ADAPTER_CONFIG, document)
        atomic_write_text(folder / "README.md", _card(config, base_model))
    return out_dir


def _card(config: LoraConfig, base_model: str) -> str:
    return (
        f"---\nbase_model: {base_model}\nlibrary_name: peft\n---\n\n# LoRA adapter\n\n"
        f"Rank {config.r}, alpha {config.lora_alpha}, on {', '.join(config.target_modules)} of `{base_model}`.\n"
    )


def load_adapter(model: GPT, folder: Path) -> GPT:
    """Give `model` the adapters of `folder`, in place. IncompatibleError when they belong to another architecture."""
    found = read_json(folder / ADAPTER_CONFIG)
    config = LoraConfig(**{name: found[name] for name in LoraConfig.model_fields if name in found})
    tensors = read_tensors(folder / ADAPTER_WEIGHTS)
    add_adapter(model, config)
    for name, layer in _adapters(model):
        for part in ("lora_A", "lora_B"):
            tensor = tensors.pop(f"{_PREFIX}{name}.{part}.weight", None)
            parameter: Tensor = getattr(layer, part)
            if tensor is None or tensor.shape != parameter.shape:
                raise IncompatibleError(f"no fitting {part} for {name}", where=str(folder / ADAPTER_WEIGHTS))
            with torch.no_grad():
                parameter.copy_(tensor)
    if tensors:
        raise IncompatibleError(f"unknown adapter weights, such as {min(tensors)}", where=str(folder / ADAPTER_WEIGHTS))
    return model
