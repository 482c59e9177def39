"""One training stage by itself (`studio train STAGE`): the same stages as a pipeline, without 003's ranges and phases.

A stage on new weights trains its tokenizer first; a stage on a trained model uses that model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from studio.config.base import parse
from studio.config.model import ModelConfig
from studio.config.pipeline import ModelArchitecture, PipelineConfiguration
from studio.config.run import TrainRun
from studio.core.events import Emit
from studio.core.fsio import atomic_write_json, sha256_file
from studio.core.paths import Home
from studio.core.stopping import StopFlag
from studio.pipeline.context import RunContext, recorded_stages
from studio.pipeline.runner import REPORT
from studio.pipeline.stage import Artefact
from studio.pipeline.stages import conversations, corpus, tokenizer, training


class Job(Protocol):
    """What is used of a job's spec."""

    @property
    def job_id(self) -> str: ...

    @property
    def payload(self) -> Mapping[str, Any]: ...

    @property
    def home(self) -> str: ...

    @property
    def threads(self) -> int: ...


def run_train_job(spec: Job, job_dir: Path, emit: Emit, stop: StopFlag) -> Mapping[str, Any]:
    """Kind `train`: payload {config, model?, continues?} -> {model, report}. `model` is the folder to start from."""
    run = parse(TrainRun, spec.payload["config"], where="config")
    continues = spec.payload.get("continues")
    context = RunContext(
        spec.job_id,
        carrier(run),
        Home(Path(spec.home)),
        job_dir,
        emit,
        stop,
        threads=spec.threads,
        previous=recorded_stages(Path(continues)) if continues else {},
    )
    start = spec.payload.get("model")
    model = train(context, run, Path(start) if start else None)
    context.report["model"] = str(model)
    atomic_write_json(job_dir / REPORT, context.report)
    return {"model": str(model), "report": context.report["training"][run.train.stage]}


def carrier(run: TrainRun) -> PipelineConfiguration:
    """The run's settings under the names that stages read. Built without validation: 003's ranges bind pipelines
    only.
    """
    values = {name: getattr(run, name) for name in TrainRun.model_fields if name in PipelineConfiguration.model_fields}
    values["model"] = ModelArchitecture.model_construct(**run.model.model_dump())
    values["sft"] = run.train if run.train.stage == "sft" else None
    values["pretrain"] = run.train
    values["midtrain"] = None
    return PipelineConfiguration.model_construct(**values)


def train(context: RunContext, run: TrainRun, start: Path | None) -> Path:
    """Folder of the trained model."""
    model, starting = _begin(context, start)
    if run.train.stage == "sft":
        data = conversations.build_tokens(context)
    else:
        if "corpus" not in context.artefacts:
            corpus.run(context)
        data = training.build_tokens(context, run.corpus.all_sources)
    return training.train_and_export(context, training.Plan(run.train, model, data, starting)).folder


def _begin(context: RunContext, start: Path | None) -> tuple[ModelConfig, training.StartingModel | None]:
    """The architecture and the weights to start from, with the tokenizer put among the artefacts."""
    if start is None:
        corpus.run(context)
        tokenizer.run(context)
        return training.model_config(context), None
    from studio.nn.checkpoint import read_config, verify_checkpoint

    verify_checkpoint(start)
    config = read_config(start)
    digest = sha256_file(start / "tokenizer.json")
    summary = {"vocab_size": config.vocab_size}
    context.artefacts["tokenizer"] = Artefact("tokenizer", start, digest, digest, summary, 0.0, reused=True)
    return config, training.StartingModel(start, sha256_file(start / training.WEIGHTS[0]))
