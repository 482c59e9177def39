"""Phase model_training: token shards, then pretrain → (midtrain) → (sft), each with its verified export.

Every step is a stage of its own, keyed by what goes in. A training stage is resumable: a killed run continues from its
last checkpoint, and a run with other hyperparameters may begin from another run's checkpoint of the same model.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.config.model import ModelConfig
from studio.config.text import DataSource
from studio.config.training import TrainConfig
from studio.core.errors import IncompatibleError, Interrupted, OutOfMemory
from studio.core.fsio import atomic_write_json, read_json, sha256_file, staged_directory
from studio.pipeline.context import RunContext
from studio.pipeline.stage import MANIFEST, Artefact, Stage
from studio.pipeline.stages import conversations
from studio.pipeline.stages.corpus import read_corpus
from studio.text.cleaning import steps as cleaning_steps
from studio.text.shards import build_token_dataset
from studio.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from studio.training.run import TrainingOutcome

WEIGHTS = ("model.safetensors",)
FITTED = "fitted.json"
CHECKPOINTS = "checkpoints"
TRAINING_METRICS = "training_metrics.json"
METRICS = "metrics.jsonl"
MODEL = "model"
PROMPT_CHARACTERS = 60


def run(context: RunContext) -> None:
    """Train every configured stage; the last one's model is the run's."""
    model = model_config(context)
    tokens = build_tokens(context, context.config.corpus.all_sources)
    context.report["tokens"] = dict(tokens.summary)
    start: StartingModel | None = None
    for train in context.config.stages:
        data = tokens if train.stage != "sft" else conversations.build_tokens(context)
        start = train_and_export(context, Plan(train, model, data, start))
    assert start is not None
    context.report["model"] = str(start.folder)
    _publish(context)


@dataclass(frozen=True, slots=True)
class StartingModel:
    """A model folder that a stage begins with."""

    folder: Path
    weights_sha256: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One training stage: how, what, on which tokens, from which weights (None: new ones)."""

    train: TrainConfig
    model: ModelConfig
    data: Artefact
    start: StartingModel | None = None


def train_and_export(context: RunContext, plan: Plan) -> StartingModel:
    """The stage's best model with its export, finished or found."""
    plan = replace(plan, train=_with_prompts(context, plan.train))
    artefact = export_stage(context, plan.train.stage, train_stage(context, plan))
    folder = artefact.path / MODEL
    if plan.train.output_dir is not None:
        _replace_tree(folder, Path(plan.train.output_dir) / MODEL)
    return StartingModel(folder, str(artefact.summary["weights_sha256"]))


def _with_prompts(context: RunContext, train: TrainConfig) -> TrainConfig:
    """Prompts of the data's own, where none are configured: samples on the way say more than a loss."""
    if train.sample_prompts:
        return train
    chat = train.stage == "sft" or "corpus" not in context.artefacts
    found = conversations.openings(context, 1) if chat else beginnings(context.artefacts["corpus"], 1)
    prompts = [text if chat else text[:PROMPT_CHARACTERS] for _, text in found]
    return train.model_copy(update={"sample_prompts": prompts})


def beginnings(corpus: Artefact, per_language: int) -> list[tuple[str, str]]:
    """(language, text) of documents in every language of a corpus, spread over its length."""
    counts: dict[str, int] = dict(corpus.summary["languages"])
    taken: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    found: list[tuple[str, str]] = []
    for document in read_corpus(corpus.path):
        language = document.language
        if taken[language] < per_language and seen[language] >= taken[language] * counts[language] // per_language:
            found.append((language, document.text.strip()))
            taken[language] += 1
        seen[language] += 1
    return found


def model_config(context: RunContext) -> ModelConfig:
    """The architecture with the vocabulary that the tokenizer really has."""
    return context.config.model.with_vocab(int(context.artefacts["tokenizer"].summary["vocab_size"]))


def build_tokens(context: RunContext, sources: Sequence[DataSource]) -> Artefact:
    """The corpus as token shards, split by document; resumable shard by shard."""
    data, corpus = context.config.data, context.artefacts["corpus"]
    tokenizer_dir = context.artefacts["tokenizer"].path
    stage = Stage(
        name="tokens",
        version=1,
        inputs={
            "corpus": corpus.output_hash,
            "tokenizer": context.artefacts["tokenizer"].output_hash,
            "weights": [source.weight for source in sources],
            "data": data.model_dump(mode="json", exclude={"workers", "dedup"}),
        },
        resumable=True,
    )

    def build(directory: Path) -> dict[str, Any]:
        dataset = build_token_dataset(
            lambda: read_corpus(corpus.path),
            Tokenizer.load(tokenizer_dir),
            directory,
            data,
            sources=sources,
            source_of=lambda document: int(document.source),
            preprocessing_steps=cleaning_steps(context.config.cleaning),
            emit=context.emit,
            stop=context.stop,
        )
        return {"total_tokens": dataset.total_tokens, "shards": len(dataset.shards)}

    return context.ensure(stage, build)


def train_stage(context: RunContext, plan: Plan) -> Artefact:
    """The training alone, finished or found."""
    train = plan.train
    stage = Stage(
        name=train.stage,
        version=1,
        inputs={
            "train": train.model_dump(mode="json", exclude={"output_dir", "model_name", "wandb"}),
            "model": plan.model.model_dump(mode="json"),
            "tokenizer": context.artefacts["tokenizer"].output_hash,
            "data": plan.data.output_hash,
            "init_from": plan.start.weights_sha256 if plan.start else None,
        },
        resumable=True,
        essential=WEIGHTS,
    )
    if context.fresh and context.cache.unfinished(stage):
        context.cache.discard(stage)
    _adopt(context, stage)

    def build(directory: Path) -> dict[str, Any]:
        return summarise(directory, _train(context, plan, directory))

    artefact = context.ensure(stage, build)
    context.report.setdefault("training", {})[train.stage] = {**artefact.summary, "seconds": artefact.seconds}
    return artefact


def _train(context: RunContext, plan: Plan, directory: Path) -> TrainingOutcome:
    """Run it; after running out of memory again with the batch that fits, which is remembered for a resume."""
    train, fitted = plan.train, directory / FITTED
    if fitted.exists():
        train = train.with_device_batch(int(read_json(fitted)["per_device_batch_size"]))
    try:
        return _train_once(context, replace(plan, train=train), directory)
    except OutOfMemory as error:
        if not context.config.retry_oom or error.fits_batch_size is None:
            raise
        smaller = train.with_device_batch(error.fits_batch_size)
        if smaller.per_device_batch_size >= train.per_device_batch_size:
            raise
        context.warn(f"{error} It goes on with batch {smaller.per_device_batch_size}.")
        context.emit("oom_retry", stage=train.stage, batch_size=smaller.per_device_batch_size)
        atomic_write_json(fitted, {"per_device_batch_size": smaller.per_device_batch_size})
    return _train(context, plan, directory)


def _train_once(context: RunContext, plan: Plan, directory: Path) -> TrainingOutcome:
    from studio.training.run import TrainingJob

    threads = plan.train.threads or context.threads
    job = TrainingJob(
        train=plan.train.model_copy(update={"threads": threads}),
        model=plan.model,
        data_dir=plan.data.path,
        tokenizer_dir=context.artefacts["tokenizer"].path,
        out_dir=directory,
        init_from=plan.start.folder if plan.start else None,
        resume=True,
        run_id=context.run_id,
        training_config=context.config.model_dump(mode="json"),
        cache_dir=context.home.cache / "inductor",
    )
    outcome = context.seams.train(job, emit=context.emit, stop=context.stop)
    if outcome.interrupted:
        raise Interrupted(
            f"stopped by {context.stop.reason} in {plan.train.stage}, step {outcome.steps}; the checkpoint is kept",
            where=str(outcome.last),
            remedy=f"studio pipeline resume {context.run_id[:8]}",
        )
    return outcome


def summarise(directory: Path, outcome: TrainingOutcome) -> dict[str, Any]:
    """What later phases and reports need of a finished training."""
    history = outcome.metrics.epoch_history
    losses = [epoch.validation_loss for epoch in history if epoch.validation_loss is not None]
    return {
        "best": outcome.best.relative_to(directory).as_posix(),
        "last": outcome.last.relative_to(directory).as_posix(),
        "steps": outcome.steps,
        "tokens": outcome.tokens,
        "tokens_per_second": round(outcome.tokens_per_second, 1),
        "stopped_early": outcome.stopped_early,
        "epochs": len(history),
        "final_train_loss": history[-1].train_loss if history else None,
        "best_val_loss": min(losses) if losses else None,
        "last_val_loss": losses[-1] if losses else None,
    }


def export_stage(context: RunContext, name: str, trained: Artefact) -> Artefact:
    """The best checkpoint as a model folder: a copy, with its ONNX export behind the parity gate."""
    config = context.config.export
    best = trained.path / trained.summary["best"]
    stage = Stage(
        name=f"{name}-model",
        version=1,
        inputs={
            "trained": trained.output_hash,
            "best": trained.summary["best"],
            "export": config.model_dump(mode="json"),
        },
        essential=WEIGHTS,
    )

    def build(directory: Path) -> dict[str, Any]:
        folder = directory / MODEL
        shutil.copytree(best, folder)
        summary: dict[str, Any] = {"weights_sha256": sha256_file(folder / WEIGHTS[0])}
        if config.onnx:
            summary["parity"] = _export(context, folder)
        return summary

    artefact = context.ensure(stage, build)
    context.report.setdefault("export", {})[name] = artefact.summary.get("parity")
    return artefact


def _export(context: RunContext, folder: Path) -> dict[str, Any]:
    from studio.inference.exporting import export_verified

    config = context.config.export
    report = export_verified(
        folder,
        int8=config.int8,
        max_logit_delta=config.max_logit_delta,
        min_greedy_int8=config.min_greedy_agreement_int8,
        prompts=config.parity_prompts,
        texts=sample_texts(context),
    )
    return {
        "use": report.use,
        "variants": {
            name: {"max_logit_delta": agreement.max_logit_delta, "greedy_agreement": agreement.greedy_agreement}
            for name, agreement in report.variants.items()
        },
    }


def sample_texts(context: RunContext, count: int = 8, characters: int = 200) -> list[str]:
    """Beginnings of documents, or of conversations where there are no documents, for the parity gate."""
    corpus = context.artefacts.get("corpus")
    found = conversations.openings(context, count) if corpus is None else beginnings(corpus, count)
    return [text[:characters] for _, text in found[:count]]


def _adopt(context: RunContext, stage: Stage) -> None:
    """Take over another run's checkpoints of this stage, when only hyperparameters differ; IncompatibleError when its
    tokenizer is another one.
    """
    source = context.previous.get(stage.name)
    target = context.cache.directory(stage)
    if source is None or source.directory == target or not (source.directory / CHECKPOINTS).is_dir():
        return
    if source.inputs["tokenizer"] != stage.inputs["tokenizer"]:
        raise IncompatibleError(
            "cannot continue from this checkpoint: it was trained with another tokenizer",
            where=str(source.directory),
            remedy="start a new run (resume_from_checkpoint=false), or keep corpus and tokenizer",
        )
    # after other weights than before, the old checkpoint of this stage lies on another way
    if target.exists() or source.inputs["init_from"] != stage.inputs["init_from"]:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with staged_directory(target) as folder:
        shutil.copytree(source.directory / CHECKPOINTS, folder / CHECKPOINTS)
        for name in (METRICS, TRAINING_METRICS):
            if (source.directory / name).exists():
                shutil.copy2(source.directory / name, folder / name)
    context.emit("adopted", stage=stage.name, path=str(source.directory))


def _publish(context: RunContext) -> None:
    """`training_metrics.json` in the run's directory and the output directory; the model and its sources in the
    latter.
    """
    places = [context.run_dir]
    if context.config.output_directory is not None:
        places.append(Path(context.config.output_directory))
        _publish_artefacts(context, places[-1])
    for train in context.config.stages:
        row = {**read_json(context.artefacts[train.stage].path / TRAINING_METRICS), "run_id": context.run_id}
        name = TRAINING_METRICS if train.stage == "pretrain" else f"training_metrics.{train.stage}.json"
        for place in places:
            atomic_write_json(place / name, row)
            context.paths.append(place / name)


def _publish_artefacts(context: RunContext, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _replace_tree(Path(context.report["model"]), folder / "best_model")
    _replace_tree(context.artefacts["tokenizer"].path, folder / "tokenizer")
    shutil.copy2(context.artefacts["corpus"].path / "corpus.txt", folder / "corpus.txt")
    context.paths.extend(folder / name for name in ("best_model", "tokenizer", "corpus.txt"))


def _replace_tree(source: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(MANIFEST))
