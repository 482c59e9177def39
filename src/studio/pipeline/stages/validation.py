"""Phase validation: does what was made hold up? Files, samples in each language, losses, cost of inference, held-out
questions.

Everything found goes into `ValidationResults` and the report first; only then is the run judged, with every reason
named.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from studio.config.generation import GenerationParams
from studio.core.errors import ValidationFailure
from studio.core.fsio import read_json
from studio.pipeline.context import RunContext
from studio.pipeline.stage import open_artefact
from studio.pipeline.stages import conversations
from studio.pipeline.stages.training import TRAINING_METRICS, beginnings
from studio.pipeline.status import InferenceMetrics, ValidationResults
from studio.text.templates import render_chat

if TYPE_CHECKING:
    from studio.inference.engine import Engine

PROBE_TIMEOUT_S = 300
PROMPT_TOKENS = 12
PROMPT_CHARACTERS = 400
NGRAM = 4


def run(context: RunContext) -> None:
    """Fill the results, then raise ValidationFailure with every reason, if there is one."""
    model = Path(context.report["model"])
    check_artefacts(context, model)
    samples = generate_samples(context, model)
    context.report["samples"] = samples
    losses = final_losses(context)
    figures = measure_inference(context, model)
    context.report["scores"] = conversations.scores(context)
    context.validation = ValidationResults(
        sample_generations=tuple(sample["output"] for sample in samples),
        final_train_loss=losses["train"],
        final_val_loss=losses["validation"],
        inference_metrics=figures,
        constitutional_compliance=figures is not None and figures.within_budget,
    )
    reasons = [
        *_judge_samples(context, samples),
        *_judge_losses(context, losses),
        *_judge_cost(context, figures),
        *_judge_scores(context),
    ]
    context.report["reasons"] = reasons
    if reasons:
        raise ValidationFailure(
            "; ".join(reasons), where="validation", remedy=f"see: studio pipeline status {context.run_id[:8]}"
        )


def check_artefacts(context: RunContext, model: Path) -> None:
    """Every artefact is whole and not empty, and the model's checkpoint verifies; IntegrityError names the file."""
    from studio.nn.checkpoint import verify_checkpoint

    for artefact in context.artefacts.values():
        open_artefact(artefact.path)
    verify_checkpoint(model)
    required = [context.artefacts["corpus"].path / "corpus.txt", model / "tokenizer.json", model / "model.safetensors"]
    empty = [str(path) for path in required if not path.is_file() or path.stat().st_size == 0]
    if empty:
        raise ValidationFailure(
            f"empty or missing: {', '.join(empty)}", where="validation", remedy="run the pipeline again"
        )


def generate_samples(context: RunContext, model: Path) -> list[dict[str, Any]]:
    """What the model writes in each language: {language, prompt, output, repeated_4grams}.

    After sft it answers messages of the conversations, before it goes on with beginnings of documents.
    """
    from studio.inference.opening import open_engine

    config = context.config.validation
    chat = context.config.sft is not None
    prompts = (
        conversations.openings(context, config.samples_per_language)
        if chat
        else beginnings(context.artefacts["corpus"], config.samples_per_language)
    )
    with open_engine(model) as engine:
        ids = [_chat_ids(engine, text) if chat else _text_ids(engine, text) for _, text in prompts]
        room = min(config.sample_tokens, engine.context_len - max(map(len, ids)))
        params = GenerationParams(temperature=config.temperature, max_tokens=max(1, room), seed=config.seed)
        answers = engine.generate(ids, params)
        return [
            {
                "language": language,
                "prompt": text if chat else engine.tokenizer.decode(prompt),
                "output": answer.text,
                "repeated_4grams": round(repeated_ngrams(answer.ids), 4),
            }
            for (language, text), prompt, answer in zip(prompts, ids, answers, strict=True)
        ]


def _text_ids(engine: Engine, text: str) -> list[int]:
    return [engine.tokenizer.bos_id, *engine.tokenizer.encode(text[:PROMPT_CHARACTERS])][: PROMPT_TOKENS + 1]


def _chat_ids(engine: Engine, text: str) -> list[int]:
    ids = render_chat(engine.tokenizer, [{"role": "user", "content": text}], add_generation_prompt=True)
    return ids[-(engine.context_len // 2) :]


def repeated_ngrams(ids: Sequence[int], size: int = NGRAM) -> float:
    """Share of n-grams that occurred before in the same text, 0 to 1."""
    grams = [tuple(ids[start : start + size]) for start in range(len(ids) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def final_losses(context: RunContext) -> dict[str, float | None]:
    """Last training loss and best validation loss of pretraining, nats per token."""
    history = read_json(context.artefacts["pretrain"].path / TRAINING_METRICS)["epoch_history"]
    validation = [row["validation_loss"] for row in history if row["validation_loss"] is not None]
    return {
        "train": history[-1]["train_loss"] if history else None,
        "validation": min(validation) if validation else None,
    }


def measure_inference(context: RunContext, model: Path) -> InferenceMetrics | None:
    """003's inference metrics from a process of its own without torch; None without an ONNX export."""
    if not context.config.export.onnx:
        context.warn("inference was not measured: export.onnx is off")
        return None
    done = subprocess.run(
        [sys.executable, "-m", "studio.inference.probe", str(model)],
        capture_output=True,
        timeout=PROBE_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise ValidationFailure(
            "the model could not be measured: " + done.stderr.decode(errors="replace")[-400:], where=str(model)
        )
    return InferenceMetrics.model_validate(orjson.loads(done.stdout))


def _judge_samples(context: RunContext, samples: Sequence[dict[str, Any]]) -> list[str]:
    limit = context.config.validation.max_repeated_4gram_ratio
    reasons = []
    for language in dict.fromkeys(sample["language"] for sample in samples):
        own = [sample for sample in samples if sample["language"] == language]
        mean = sum(sample["repeated_4grams"] for sample in own) / len(own)
        if not any(sample["output"].strip() for sample in own):
            reasons.append(f"the samples in {language} are empty")
        if mean > limit:
            reasons.append(f"{mean:.0%} repeated 4-grams in the samples in {language}, at most {limit:.0%} are allowed")
    return reasons


def _judge_losses(context: RunContext, losses: dict[str, float | None]) -> list[str]:
    limit, found = context.config.validation.max_val_loss, losses["validation"]
    if limit is not None and found is not None and found > limit:
        return [f"validation loss {found:.3f} is above {limit:g}"]
    return []


def _judge_cost(context: RunContext, figures: InferenceMetrics | None) -> list[str]:
    config = context.config.validation
    if figures is None or (figures.rss_mb <= config.max_rss_mb and figures.peak_mb <= config.max_peak_mb):
        return []
    return [
        f"inference takes {figures.rss_mb} MB (peak {figures.peak_mb} MB),"
        f" {config.max_rss_mb} MB (peak {config.max_peak_mb} MB) are allowed"
    ]


def _judge_scores(context: RunContext) -> list[str]:
    least = context.config.validation.min_accuracy
    after = (context.report.get("scores") or {}).get("after")
    if least is None or not after:
        return []
    return [
        f"{row['share']:.0%} of the held-out questions in {language} are right, {least:.0%} are required"
        for language, row in after.items()
        if row["share"] < least
    ]
