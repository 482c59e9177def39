"""One training run, from a job to an outcome: the only way in for whoever wants a model trained.

It knows how the parts fit together, and refuses to know records, pipelines and processes: artefacts in, artefacts and
events out. Whatever ends a run early leaves a checkpoint directory from which `resume` goes on as if nothing had
happened.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from lightning.pytorch import Trainer

from studio.config.model import ModelConfig
from studio.config.training import TrainConfig
from studio.core.errors import ConfigError, IncompatibleError, Interrupted, StudioError
from studio.core.events import Emit
from studio.core.fsio import sha256_file
from studio.core.ids import new_id
from studio.core.stopping import StopFlag
from studio.nn import checkpoint as checkpoints
from studio.nn.compiling import maybe_compile
from studio.nn.gpt import GPT
from studio.nn.memory import keep_freed_memory
from studio.text.tokenizers import Tokenizer
from studio.training.callbacks import RunPlan, StepBoundary
from studio.training.checkpoint_io import DirectoryCheckpointIO
from studio.training.datamodule import BatchShape, TokenDataModule
from studio.training.journal import Journal, OfflineWandb
from studio.training.machine import choose_machine
from studio.training.memory import explain, is_out_of_memory
from studio.training.metrics import TrainingMetrics
from studio.training.modules import BeforeBatch, LanguageModule
from studio.training.patience import Abandoned
from studio.training.randomness import seed_all
from studio.training.resume import Start, starting_point
from studio.training.samples import GreedySampler

CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
TRAINING_METRICS = "training_metrics.json"


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What to train, on what, and where to put it."""

    train: TrainConfig
    model: ModelConfig
    data_dir: Path
    """A token dataset."""
    tokenizer_dir: Path
    out_dir: Path
    """Gets metrics.jsonl, training_metrics.json and checkpoints/."""
    init_from: Path | None = None
    """A checkpoint whose weights are the beginning (mid-training, SFT)."""
    resume: bool = False
    """Go on from the last checkpoint in `out_dir`, if there is one."""
    run_id: str = field(default_factory=new_id)
    """The pipeline's id when a pipeline runs it."""
    training_config: dict[str, Any] = field(default_factory=dict)
    """The configuration as its owner knows it, kept in every checkpoint (003 TrainingCheckpoint)."""
    cache_dir: Path | None = None
    """Where compiled code is kept between runs."""
    before_batch: BeforeBatch | None = None
    """Called with the number of rows before each micro batch."""


@dataclass(frozen=True, slots=True)
class TrainingOutcome:
    """How a run ended."""

    best: Path
    """The checkpoint with the lowest validation loss, or the last one without validation."""
    last: Path
    metrics: TrainingMetrics
    steps: int
    tokens: int
    """Trained tokens, since the run began."""
    tokens_per_second: float
    """Trained tokens per second of training, pauses for evaluation, samples and saves excluded."""
    stopped_early: bool
    interrupted: bool
    """Stopped on request; resume to go on."""


def run_training(job: TrainingJob, *, emit: Emit, stop: StopFlag) -> TrainingOutcome:
    """Train until the end, an early stop, or `stop`.

    Raises IncompatibleError for a checkpoint of another vocabulary, tokenizer or architecture, ConflictError for a
    folder with checkpoints when not resuming, OutOfMemory naming the batch that fits, DiskSpaceError when a checkpoint
    does not fit (the one before stays `last`), Interrupted when stopped before the first step.
    """
    job.out_dir.mkdir(parents=True, exist_ok=True)
    start = starting_point(
        job.out_dir / CHECKPOINTS, job.train, job.model, job.tokenizer_dir, init_from=job.init_from, resume=job.resume
    )
    try:
        return _run(job, start, emit, stop)
    except RuntimeError as error:
        if job.train.compile != "auto" or not _failed_to_compile(error):
            raise
        emit("compile_failed", reason=str(error).splitlines()[0])
        return _run(replace(job, train=job.train.model_copy(update={"compile": "off"})), start, emit, stop)


def _run(job: TrainingJob, start: Start, emit: Emit, stop: StopFlag) -> TrainingOutcome:
    with _Assembly(job, start, emit, stop) as run:
        run.fit()
        return run.outcome()


class _Assembly:
    """All parts of a run, put together; a context that closes its files."""

    def __init__(self, job: TrainingJob, start: Start, emit: Emit, stop: StopFlag) -> None:
        self.job, self.start, self.emit, self.stop = job, start, emit, stop
        train, length = job.train, job.train.sequence_len or job.model.sequence_len
        tokenizer = Tokenizer.load(job.tokenizer_dir)
        if length > job.model.sequence_len:
            raise ConfigError(
                f"{length} tokens are more than the model's sequence_len {job.model.sequence_len}", key="sequence_len"
            )
        shape = BatchShape(train.per_device_batch_size, train.gradient_accumulation_steps, length)
        self.data = TokenDataModule(job.data_dir, train, shape, tokenizer.byte_lengths, seed=train.seed)
        if self.data.dataset.tokenizer_sha256 != tokenizer.sha256:
            raise IncompatibleError(
                "the dataset was made with another tokenizer",
                where=str(job.data_dir),
                remedy="Build the dataset again.",
            )
        self.total_steps = train.max_steps or self.data.order.steps_for(train.num_epochs)
        self.machine = choose_machine(train, job.model, total_steps=self.total_steps, before=start.machine)
        self.module = self._module()
        self.journal = self._journal()
        self.boundary = self._boundary(tokenizer)
        self.trainer = self._trainer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.journal.close()

    def _module(self) -> LanguageModule:
        job = self.job
        torch.set_num_threads(self.machine.threads)
        keep_freed_memory()
        seed_all(job.train.seed)
        gpt = GPT(job.model)
        if job.init_from is not None and self.start.resume_from is None:
            checkpoints.load_weights(gpt, job.init_from)
        mode = job.train.compile if self.machine.compile else "off"
        if self.machine.compile:
            _forget_compiled_models()
        loss = maybe_compile(gpt.loss, mode, cache_dir=job.cache_dir)
        self.emit(
            "machine",
            **self.machine.as_tree(),
            compiled=loss.compiled,
            compile_reason=loss.reason,
            steps=self.total_steps,
        )
        return LanguageModule(
            gpt, job.train, total_steps=self.total_steps, loss_fn=loss.call, before_batch=job.before_batch
        )

    def _journal(self) -> Journal:
        job, resumed = self.job, self.start.resume_from
        step = None if resumed is None else checkpoints.open_checkpoint(resumed).metadata.global_step
        config = {"model": job.model.model_dump(mode="json"), "train": job.train.model_dump(mode="json")}
        wandb = OfflineWandb(job.out_dir, job.run_id, config) if job.train.wandb else None
        return Journal(job.out_dir / METRICS, self.emit, resume_step=step, wandb=wandb)

    def _boundary(self, tokenizer: Tokenizer) -> StepBoundary:
        job, train = self.job, self.job.train
        plan = RunPlan(
            train=train,
            total_steps=self.total_steps,
            checkpoint_dir=job.out_dir / CHECKPOINTS,
            metrics_path=job.out_dir / TRAINING_METRICS,
            run_id=self.start.run_id or job.run_id,
            facts={
                "train": train.model_dump(mode="json"),
                "machine": self.machine.as_tree(),
                "training_config": job.training_config,
            },
        )
        sampler = GreedySampler(
            tokenizer, train.sample_prompts, chat=train.stage == "sft", max_tokens=train.sample_max_tokens
        )
        boundary = StepBoundary(plan, journal=self.journal, sampler=sampler, emit=self.emit, stop=self.stop)
        boundary.last = self.start.resume_from
        return boundary

    def _trainer(self) -> Trainer:
        train = self.job.train
        with _only_relevant_talk():
            trainer = Trainer(
                accelerator=self.machine.accelerator,
                devices=1,
                precision=self.machine.precision,
                max_steps=self.total_steps,
                max_epochs=-1,
                accumulate_grad_batches=train.gradient_accumulation_steps,
                deterministic=train.deterministic,
                limit_val_batches=0,
                num_sanity_val_steps=0,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                callbacks=[self.boundary],
                plugins=[self._checkpoint_io()],
                default_root_dir=self.job.out_dir,
            )
        # whoever runs us decides what a signal means, and tells us by the stop flag
        trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        return trainer

    def _checkpoint_io(self) -> DirectoryCheckpointIO:
        job = self.job
        parents = {
            "tokenizer": sha256_file(job.tokenizer_dir / "tokenizer.json"),
            "dataset": self.data.dataset.sha256,
        }
        if job.init_from is not None:
            parents["checkpoint"] = checkpoints.verify_checkpoint(job.init_from)["hashes"]["weights"]
        return DirectoryCheckpointIO(
            config=job.model,
            tokenizer_dir=job.tokenizer_dir,
            parents=parents,
            version=self.start.version,
            training_args=job.train.model_dump(mode="json"),
            accumulate=job.train.gradient_accumulation_steps,
        )

    def fit(self) -> None:
        """Train; what a killed run left to do after its very last save is done here as well."""
        resume_from = self.start.resume_from
        if resume_from is not None:
            parents = checkpoints.open_checkpoint(resume_from).metadata.parents
            same_data = parents.get("dataset") == self.data.dataset.sha256
            self.emit("resumed", path=str(resume_from), same_data=same_data)
        if self.stop.is_set():
            raise Interrupted(f"stopped by {self.stop.reason} before the first step")
        try:
            with _only_relevant_talk():
                self.trainer.fit(self.module, datamodule=self.data, ckpt_path=resume_from, weights_only=True)
        except Abandoned:
            return  # what was there before is still there
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, StudioError) or not is_out_of_memory(error):
                raise
            error.__traceback__ = None  # its frames hold the tensors that did not fit
            length = self.data.shape.length
            raise explain(self.module.gpt, self.job.train, length, self.job.before_batch, error) from None
        finally:
            self.boundary.first_step.close()
        self.boundary.settle(self.trainer, self.module)

    def outcome(self) -> TrainingOutcome:
        """What came of it. Interrupted when there is not even one step to keep."""
        progress, last = self.boundary.progress, self.boundary.last
        interrupted = self.stop.is_set() and progress.settled_step < self.total_steps and not progress.stopped_early
        if last is None:
            raise Interrupted(f"stopped by {self.stop.reason} before the first step")
        metrics = self.boundary.metrics()
        metrics.write(self.job.out_dir / TRAINING_METRICS)
        return TrainingOutcome(
            best=checkpoints.best(self.job.out_dir / CHECKPOINTS) or last,
            last=last,
            metrics=metrics,
            steps=progress.global_step,
            tokens=progress.tokens,
            tokens_per_second=progress.tokens / progress.busy_seconds if progress.busy_seconds > 0 else 0.0,
            stopped_early=progress.stopped_early,
            interrupted=interrupted,
        )


def _forget_compiled_models() -> None:
    """Those of earlier stages in this process would fill the compiler's cache, and ours would run eager."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the compiler, on import, warns of torch's own past
        torch.compiler.reset()


def _failed_to_compile(error: BaseException) -> bool:
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))


@contextmanager
def _only_relevant_talk() -> Iterator[None]:
    """Lightning advises on loaders, loggers and devices that were chosen here on purpose."""
    talkers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [talker.level for talker in talkers]
    for talker in talkers:
        talker.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for talker, level in zip(talkers, levels, strict=True):
            talker.setLevel(level)
