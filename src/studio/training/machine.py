"""What a run computes on: device, number format, threads, compiled or not. Part of a checkpoint, kept on resume.

It knows the machine and a training configuration, and nothing of models and data.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from studio.config.model import ModelConfig
from studio.config.training import TrainConfig
from studio.core.errors import UsageError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
COMPILE_FROM_FLOP = 1e13
"""Work of a run, in floating-point operations, from which compiling pays: about as long in eager mode as it takes to
compile. The shortest runs, tests among them, stay eager."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The choices that fix a run's arithmetic."""

    accelerator: Literal["cpu", "cuda"]
    precision: Precision
    threads: int
    compile: bool
    """Whether compiling is wanted; without a compiler the run is eager all the same."""

    def as_tree(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return asdict(self)


def choose_machine(
    train: TrainConfig, model: ModelConfig, *, total_steps: int, before: Mapping[str, Any] | None = None
) -> Machine:
    """The machine for a run; `before` is what the checkpoint it resumes from ran on, and wins wherever it can."""
    before = before or {}
    accelerator: Literal["cpu", "cuda"] = "cuda" if torch.cuda.is_available() else "cpu"
    same = before.get("accelerator") == accelerator
    return Machine(
        accelerator=accelerator,
        precision=_precision(train, accelerator),
        threads=train.threads or int(before.get("threads", len(os.sched_getaffinity(0)))),
        compile=bool(before["compile"]) if same and train.compile == "auto" else _compile(train, model, total_steps),
    )


def _precision(train: TrainConfig, accelerator: str) -> Precision:
    wanted = train.precision
    if wanted == "auto":
        half = "fp16" if train.fp16 else "bf16" if train.bf16 else "fp32"
        wanted = "fp32" if obstacle(half, accelerator) else half  # type: ignore[assignment]
    why_not = obstacle(wanted, accelerator)
    if why_not:
        raise UsageError(why_not, where=f"precision={wanted}", remedy="Use precision=auto.")
    formats: dict[str, Precision] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
    return formats[wanted]


def obstacle(number_format: str, accelerator: str) -> str:
    """Why this machine cannot train in a number format; empty when it can."""
    if number_format == "fp16" and accelerator != "cuda":
        return "float16 training needs a CUDA accelerator"
    if number_format == "bf16" and not has_bf16(accelerator):
        return "this machine has no bfloat16 arithmetic"
    return ""


def has_bf16(accelerator: str) -> bool:
    """Whether bfloat16 arithmetic is done by the hardware (on CPU: AVX512-BF16 or AMX)."""
    if accelerator == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16") or abilities.get("bf16"))


def _compile(train: TrainConfig, model: ModelConfig, total_steps: int) -> bool:
    if train.compile != "auto":
        return train.compile == "on"
    tokens = total_steps * train.batch_size * (train.sequence_len or model.sequence_len)
    return 6.0 * model.parameters * tokens >= COMPILE_FROM_FLOP
