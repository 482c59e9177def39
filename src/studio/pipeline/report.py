"""The report of a run: one JSON document from what the run left on disk, and the same as lines for a terminal.

It computes nothing: figures come from status, stages and metrics as they were written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from studio.core.events import read_events
from studio.core.fsio import read_json
from studio.pipeline.runner import REPORT, STATUS
from studio.pipeline.status import StatusFile

SAMPLE_CHARACTERS = 160
EVENTS = "events.jsonl"


def build(run_dir: Path) -> dict[str, Any]:
    """{"pipeline_id", "directory", "status", "report", "progress"}; the report is empty until a phase has ended, and
    progress holds the newest metrics of a run that has not.
    """
    status = StatusFile(run_dir / STATUS).read()
    path = run_dir / REPORT
    return {
        "pipeline_id": status.pipeline_id,
        "directory": str(run_dir),
        "status": status.model_dump(mode="json"),
        "report": read_json(path) if path.exists() else {},
        "progress": None if status.finished else newest_metrics(run_dir / EVENTS),
    }


def newest_metrics(events: Path) -> dict[str, Any] | None:
    """The last training metrics of the newest attempt, or None when it does not train."""
    newest = None
    for _, event in read_events(events):
        if event["kind"] == "metrics":
            newest = event
        elif event["kind"] in ("job_start", "stage_end"):
            newest = None
    return newest


def render(document: Mapping[str, Any]) -> Iterator[str]:
    """The report as lines."""
    status, report = document["status"], document["report"]
    yield f"pipeline {document['pipeline_id']}: {status['current_phase']}"
    yield from _phases(status)
    yield from _progress(document.get("progress"))
    yield from _corpus(report)
    yield from _training(report)
    yield from _export(report)
    yield from _scores(report)
    yield from _validation(status)
    yield from _samples(report)
    yield from (f"note: {message}" for message in report.get("warnings", []))
    yield from _end(document, status, report)


def _phases(status: Mapping[str, Any]) -> Iterator[str]:
    for phase, seconds in status["phase_timings"].items():
        mark = "done" if phase in status["completed_phases"] else ("now" if phase == status["current_phase"] else "-")
        yield f"  {phase:<20} {seconds:>8.1f} s  {mark}"
    if status["phase_timings"]:
        yield f"  {'total':<20} {sum(status['phase_timings'].values()):>8.1f} s"


def _progress(metrics: Mapping[str, Any] | None) -> Iterator[str]:
    if metrics is not None:
        total = f" of {metrics['total_steps']:,}" if metrics.get("total_steps") else ""
        yield f"now: step {metrics['global_step']:,}{total}, loss {_loss(metrics.get('loss'))}"


def _corpus(report: Mapping[str, Any]) -> Iterator[str]:
    corpus = report.get("corpus")
    if not corpus:
        return
    languages = ", ".join(f"{name} {count}" for name, count in corpus["languages"].items())
    yield f"corpus: {corpus['documents']:,} documents, {corpus['bytes'] / 1e6:.2f} MB ({languages})"
    encodings = {
        name: count for name, count in corpus.get("encodings", {}).items() if name.lower() not in ("utf-8", "ascii", "")
    }
    if encodings:
        yield "  converted to UTF-8: " + ", ".join(f"{count} from {name}" for name, count in encodings.items())
    if corpus["duplicates_dropped"]:
        yield f"  duplicates dropped: {corpus['duplicates_dropped']:,}"
    yield from (f"  {problem}" for problem in corpus.get("problems", [])[:5])
    if report.get("tokens"):
        yield f"  {report['tokens']['total_tokens']:,} tokens, vocabulary {report['tokenizer']['vocab_size']:,}"


def _training(report: Mapping[str, Any]) -> Iterator[str]:
    for stage, row in report.get("training", {}).items():
        yield (
            f"{stage}: {row['steps']:,} steps in {row['seconds']:.1f} s, {row['tokens_per_second']:,.0f} tokens/s,"
            f" loss {_loss(row['final_train_loss'])}, validation {_loss(row['best_val_loss'])}"
            + (" (stopped early)" if row["stopped_early"] else "")
        )


def _export(report: Mapping[str, Any]) -> Iterator[str]:
    for stage, parity in report.get("export", {}).items():
        for name, row in (parity or {}).get("variants", {}).items():
            used = "used" if name == parity["use"] else "kept"
            yield (
                f"export {stage} {name}: max |Δlogit| {row['max_logit_delta']:.2g},"
                f" greedy agreement {row['greedy_agreement']:.1%} ({used})"
            )


def _scores(report: Mapping[str, Any]) -> Iterator[str]:
    scores = report.get("scores")
    if not scores:
        return
    yield "held-out questions, answered exactly (before and after sft):"
    after = scores["after"]
    yield f"  {'kind':<14}" + "".join(f"{language + ' before':>14}{'after':>14}" for language in after)
    for kind in dict.fromkeys(kind for row in after.values() for kind in row["kinds"]):
        rows = [scores[when][language]["kinds"].get(kind) for language in after for when in ("before", "after")]
        yield f"  {kind:<14}" + "".join(f"{_share(row):>14}" for row in rows)
    totals = [scores[when][language] for language in after for when in ("before", "after")]
    yield f"  {'all':<14}" + "".join(f"{_share(row):>14}" for row in totals)


def _share(row: Mapping[str, Any] | None) -> str:
    return f"{row['share']:.0%} of {row['total']}" if row and row["total"] else "-"


def _validation(status: Mapping[str, Any]) -> Iterator[str]:
    results = status["validation_results"]
    if not results:
        return
    yield f"losses: training {_loss(results['final_train_loss'])}, validation {_loss(results['final_val_loss'])}"
    figures = results["inference_metrics"]
    if figures:
        within = "within" if results["constitutional_compliance"] else "over"
        yield (
            f"inference: {figures['tokens_per_sec']:,.0f} tokens/s, next token p95 {figures['latency_p95_ms']} ms,"
            f" {figures['rss_mb']} MB, peak {figures['peak_mb']} MB ({within} the budget)"
        )


def _samples(report: Mapping[str, Any]) -> Iterator[str]:
    for sample in report.get("samples", []):
        text = " ".join(str(sample["output"]).split())[:SAMPLE_CHARACTERS]
        prompt = " ".join(str(sample["prompt"]).split())[-SAMPLE_CHARACTERS:]
        yield f"  [{sample['language']}] {prompt} ▸ {text}"


def _end(document: Mapping[str, Any], status: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    error = status["error_details"]
    short = document["pipeline_id"][:8]
    if error:
        yield f"failed in {error['failed_phase']} ({error['error_type']}): {error['error_message']}"
        yield f"next: studio pipeline resume {short}"
    elif status["current_phase"] == "complete":
        yield f"model: {report.get('model')}"
        yield f"next: studio chat {short}"
    else:
        yield f"next: studio pipeline status {short}"


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
