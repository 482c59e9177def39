"""One training stage: optimizer, schedule, batch, saving, evaluating (001 TrainingConfiguration, 002 §2.1).

Knows the rules between the numbers; importing it loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from studio.config.base import BatchSize, Frozen, LearningRate, refuse, rule

Stage = Literal["pretrain", "midtrain", "sft"]
OptimizerType = Literal["muon", "adamw", "sgd"]
SchedulerType = Literal["cosine", "linear", "constant", "wsd"]
Beta = Annotated[float, Field(gt=0.0, lt=1.0)]


class OptimizerConfig(Frozen):
    """001 OptimizerConfig. `muon` means Muon for matrices and AdamW for embeddings, norms and head."""

    optimizer_type: OptimizerType = "muon"
    """muon, adamw or sgd."""
    learning_rate: LearningRate = 3e-4
    """Peak rate of AdamW or SGD, above 0; under muon that of embeddings, norms and head."""
    muon_learning_rate: LearningRate = 0.02
    """Peak rate of Muon's matrices, above 0; the other types do not use it."""
    muon_momentum: float = Field(default=0.95, ge=0.0, lt=1.0)
    """Momentum of Muon, 0 to below 1."""
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)
    """Momentum of SGD, 0 to below 1."""
    weight_decay: float = Field(default=0.01, ge=0.0)
    """Decoupled weight decay of matrices, per unit of learning rate; 0 or more."""
    beta1: Beta = 0.9
    """Decay of AdamW's mean, between 0 and 1."""
    beta2: Beta = 0.95
    """Decay of AdamW's variance, between 0 and 1."""
    eps: float = Field(default=1e-8, gt=0.0)
    """Added to AdamW's denominator, above 0."""

    @field_validator("optimizer_type", mode="before")
    @classmethod
    def _names_of_other_tools(cls, value: Any) -> Any:
        return {"adamw_torch": "adamw", "adam": "adamw"}.get(str(value).lower(), str(value).lower())


SPEC_002_OPTIMIZER = {"optimizer_type": "adamw", "learning_rate": 2e-5}
"""What 002 §2.1 says when a stage names no optimizer; the variants in conf/optim/ say muon."""


class TrainConfig(Frozen):
    """One stage of training: names and defaults of 002 §2.1."""

    stage: Stage = "pretrain"
    """pretrain, midtrain (both on raw text) or sft (conversations, loss on the assistant's tokens)."""
    model_name: Annotated[str, rule("Model name required", lambda name: bool(name.strip()))] | None = None
    """Model that the stage starts from: name or path; null: new weights, or the stage before."""
    output_dir: Annotated[str, Field(min_length=1)] | None = None
    """Folder for checkpoints; null: chosen under the home."""
    num_epochs: int = Field(default=3, ge=1, le=100)
    """Passes over the training tokens, 1 to 100; `max_steps` beats it."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; null: `num_epochs` decides."""
    per_device_batch_size: BatchSize = 4
    """Sequences in one forward pass on one device."""
    gradient_accumulation_steps: int = Field(default=4, ge=1)
    """Forward passes per optimizer step."""
    batch_size: BatchSize = 16
    """Sequences per optimizer step on one device: `per_device_batch_size` x `gradient_accumulation_steps`; given
    alone, one forward pass takes all of it."""
    optim: OptimizerConfig = Field(default=OptimizerConfig(optimizer_type="adamw", learning_rate=2e-5))
    """Optimizer and its rates."""
    lr_scheduler_type: SchedulerType = "cosine"
    """Shape of the rate after warm-up: cosine, linear, constant or wsd (warm-up, stable, decay)."""
    warmup_ratio: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of all steps with a rising rate, 0 to 1; `warmup_steps` beats it."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Steps with a rising rate, at most `max_steps`; null: `warmup_ratio` decides."""
    decay_ratio: float = Field(default=0.2, ge=0.0, le=1.0)
    """wsd only: share of all steps with a falling rate, at the end."""
    min_lr_ratio: float = Field(default=0.0, ge=0.0, le=1.0)
    """Rate at the last step as a share of the peak, 0 to 1."""
    max_grad_norm: float = Field(default=1.0, ge=0.0)
    """Gradients are scaled down to this norm; 0: no clipping."""
    bf16: bool = True
    """bfloat16 arithmetic where the machine has it, else float32."""
    fp16: bool = False
    """float16 arithmetic (accelerators only); not together with `bf16`."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: as `bf16` and `fp16` say and the machine can; a named one is kept or refused."""
    save_steps: int = Field(default=500, ge=1)
    """Optimizer steps between checkpoints."""
    save_every_epoch: bool = False
    """A checkpoint at the end of every epoch as well."""
    save_total_limit: int | None = Field(default=3, ge=1)
    """Newest checkpoints kept beside best and last; null: all."""
    logging_steps: int = Field(default=10, ge=1)
    """Optimizer steps between two metric lines."""
    eval_steps: int = Field(default=500, ge=1)
    """Optimizer steps between validations."""
    eval_every_epoch: bool = False
    """A validation at the end of every epoch as well."""
    eval_batches: int | None = Field(default=None, ge=1)
    """Batches of one validation; null: all."""
    early_stop_patience: int | None = Field(default=None, ge=1)
    """Validations without a better loss before the stage ends; null: never."""
    early_stop_min_delta: float = Field(default=0.0, ge=0.0)
    """Smallest drop of the validation loss, in nats per token, that counts as better."""
    sample_prompts: list[str] = Field(default=[], max_length=64)
    """Texts that the model continues while it trains."""
    sample_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps between samples; null: at every validation."""
    sample_max_tokens: int = Field(default=48, ge=1, le=4096)
    """Longest sample, in tokens."""
    sequence_len: int | None = Field(default=None, ge=2)
    """Training window in tokens; null: the model's `sequence_len`."""
    mask_documents: bool = True
    """Attention stays inside one document where several share a row."""
    seed: int = Field(default=1337, ge=0, lt=2**63)
    """Decides weights, order of batches and dropout."""
    threads: int | None = Field(default=None, ge=1)
    """Arithmetic threads; null: the cores of the machine. Kept on resume."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile: auto falls back to eager mode where there is no C++ compiler, on is refused there."""
    deterministic: bool = False
    """Only kernels that give the same bits on every run."""
    wandb: bool = False
    """Metrics to Weights & Biases as well (offline unless its own settings say otherwise)."""
    z_loss: float = Field(default=0.0, ge=0.0)
    """Weight of the squared log-partition penalty that keeps logits small; 0: none."""

    @classmethod
    def prepare(cls, data: dict[str, Any]) -> dict[str, Any]:
        """002's optimizer where none is named, and the batch numbers that follow from those given."""
        optim = data.get("optim", {})
        if isinstance(optim, str):
            data["optim"] = SPEC_002_OPTIMIZER | {"optimizer_type": optim}
        elif isinstance(optim, Mapping):
            data["optim"] = SPEC_002_OPTIMIZER | OptimizerConfig.canonical(optim)
        if data.get("fp16") is True:
            data.setdefault("bf16", False)
        return data | _batch(data)

    @field_validator("model_name")
    @classmethod
    def _model_name_stays_inside(cls, name: str | None) -> str | None:
        if name is not None and ".." in name.replace("\\", "/").split("/"):
            raise refuse("Invalid model path")
        return name

    @field_validator("lr_scheduler_type", mode="before")
    @classmethod
    def _long_name_of_wsd(cls, value: Any) -> Any:
        return "wsd" if value == "warmup_stable_decay" else value

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        product = self.per_device_batch_size * self.gradient_accumulation_steps
        if self.batch_size != product:
            raise refuse(
                f"batch_size {self.batch_size} must be per_device_batch_size {self.per_device_batch_size}"
                f" x gradient_accumulation_steps {self.gradient_accumulation_steps} = {product}"
            )
        if self.max_steps is not None and self.warmup_steps is not None and self.warmup_steps > self.max_steps:
            raise refuse(f"warmup_steps {self.warmup_steps} must be at most max_steps {self.max_steps}")
        if self.bf16 and self.fp16:
            raise refuse("bf16 and fp16 cannot both be true")
        return self

    def with_device_batch(self, size: int) -> TrainConfig:
        """The same optimizer step from smaller forward passes, for a machine with less memory.

        `size` is lowered to the next divisor of `batch_size`, so that the step stays the same.
        """
        fits = max(divisor for divisor in range(1, max(1, size) + 1) if self.batch_size % divisor == 0)
        changes = {"per_device_batch_size": fits, "gradient_accumulation_steps": self.batch_size // fits}
        return self.model_copy(update=changes)


def _batch(data: Mapping[str, Any]) -> dict[str, Any]:
    """The batch numbers that follow from those given; wrong types are left to the field validators."""
    names = ("batch_size", "per_device_batch_size", "gradient_accumulation_steps")
    total, device, passes = (data.get(name) for name in names)
    given = [number for number in (total, device, passes) if number is not None]
    if not all(type(number) is int and number >= 1 for number in given):
        return {}
    if total is None:
        device, passes = device or 4, passes or 4
        total = device * passes
    elif device is None:
        passes = passes or 1
        device = max(1, total // passes)
    elif passes is None:
        passes = max(1, total // device)
    return dict(zip(names, (total, device, passes), strict=True))
