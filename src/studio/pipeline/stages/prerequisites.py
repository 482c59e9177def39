"""Phase prerequisite_check: what can be known to fail before anything is downloaded or trained (spec 003, Disk Space,
Memory).

Errors stop the run; recommendations of 003 are warnings. Nothing is written but a probe file in the output directory.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from studio.config.model import ModelConfig
from studio.config.pipeline import PipelineConfiguration
from studio.core.errors import DataError, DiskSpaceError, IncompatibleError, NotFoundError, UsageError
from studio.pipeline.context import RunContext
from studio.pipeline.download import check_reachable, is_url

MB = 1_000_000
CHECKPOINTS_KEPT = 3
BYTES_PER_PARAMETER = 4
BUFFER_MB = 100
TRAINING_BYTES_PER_PARAMETER = 16
"""Weights, gradients and two moments, fp32."""
MEMORY_SHARE = 0.9
TYPICAL_CORPUS_MB = range(1, 101)
LARGE_BATCH = 64
HIGH_RATE_FOR_LARGE_BATCH = 3e-3
LEAST_PYTHON = (3, 11)
FLOORS: dict[str, str] = {
    "torch": "2.13.0",
    "lightning": "2.6.6",
    "tokenizers": "0.22",
    "transformers": "5.5",
    "hydra-core": "1.3.8",
    "onnxruntime": "1.20",
    "tinydb": "4.8",
    "filelock": "3.13",
    "orjson": "3.10",
}
STARTER_MB = 4


def run(context: RunContext) -> None:
    """Raise the first thing that would make the run fail later; warn of what only makes it worse."""
    config = context.config
    check_versions()
    check_stages(config)
    check_previous(context)
    check_output(context)
    check_disk(context, needed_disk_mb(config.corpus.size_mb, model_of(config).parameters))
    size_mb = check_corpus(context)
    needed = needed_disk_mb(size_mb, model_of(config).parameters)
    check_disk(context, needed)
    context.report["prerequisites"] = {"disk_needed_mb": round(needed, 1), **memory_estimate(config)}
    for message in recommendations(config, size_mb):
        context.warn(message)


def model_of(config: PipelineConfiguration) -> ModelConfig:
    """The architecture with the vocabulary that the tokenizer is asked for."""
    return config.model.with_vocab(config.tokenizer.vocab_size)


def needed_disk_mb(corpus_size_mb: float, parameters: int) -> float:
    """003: corpus + parameters × 4 bytes × 3 checkpoints + 100 MB."""
    return corpus_size_mb + parameters * BYTES_PER_PARAMETER * CHECKPOINTS_KEPT / MB + BUFFER_MB


def check_disk(context: RunContext, needed_mb: float) -> None:
    """DiskSpaceError when a file system that the run writes to has less room than it needs."""
    for place in write_places(context):
        free_mb = context.seams.free_bytes(place) / MB
        if free_mb < needed_mb:
            raise DiskSpaceError(
                f"{free_mb:,.0f} MB free, this run needs {needed_mb:,.0f} MB",
                where=str(place),
                remedy="free some space, or set STUDIO_HOME or output_directory to another disk",
            )


def check_stages(config: PipelineConfiguration) -> None:
    """UsageError for a setting that only a single stage has."""
    for train in config.stages:
        if train.model_name is not None:
            raise UsageError(
                "a pipeline's stages start from new weights and from each other",
                where=f"{train.stage}.model_name",
                remedy=f"studio train {train.stage} train.model_name={train.model_name}",
            )


def check_previous(context: RunContext) -> None:
    """IncompatibleError when the run to continue has another vocabulary or architecture (003, Validation on Resume)."""
    record = context.previous.get("pretrain")
    if record is None:
        return
    found, wanted = record.inputs["model"], model_of(context.config).model_dump(mode="json")
    ignored = {"dropout"}
    other = [
        f"{name} {found.get(name)}, not {wanted[name]}"
        for name in wanted
        if name not in ignored and found.get(name) != wanted[name]
    ]
    if other:
        raise IncompatibleError(
            f"cannot continue from this checkpoint: {'; '.join(other)}",
            where=str(record.directory),
            remedy="start a new run (resume_from_checkpoint=false), or keep vocabulary and architecture",
        )


def write_places(context: RunContext) -> list[Path]:
    places = [context.home.root]
    if context.config.output_directory:
        places.append(Path(context.config.output_directory))
    return places


def check_output(context: RunContext) -> None:
    """UsageError when a place cannot be written."""
    for place in write_places(context):
        try:
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=place, prefix=".studio-probe-"):
                pass
        except OSError as error:
            raise UsageError(
                f"cannot write here ({error.strerror})", where=str(place), remedy="choose another output_directory"
            ) from error


def check_corpus(context: RunContext) -> float:
    """The corpus in MB, after looking that it can be had: HTTP 200, or the file exists and is not empty."""
    size = 0.0
    config = context.config
    conversations = [config.sft_data] if config.sft is not None and config.sft_data is not None else []
    for source in [*config.corpus.all_sources, *conversations]:
        if source.source_type == "starter":
            size += STARTER_MB
        elif is_url(source.path):
            size += (check_reachable(source.path, policy=context.seams.policy) or 0) / MB
        else:
            size += local_bytes(Path(source.path)) / MB
    return max(float(config.corpus.size_mb), size)


def local_bytes(path: Path) -> int:
    """Bytes of a file or of all files below a folder; NotFoundError, or DataError when there is nothing."""
    if not path.exists():
        raise NotFoundError("the corpus does not exist", where=str(path), remedy="check corpus.path")
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    total = sum(file.stat().st_size for file in files)
    if total == 0:
        raise DataError("the corpus is empty", where=str(path), remedy="check corpus.path")
    return total


def check_versions() -> None:
    """IncompatibleError for a Python or library below the floor, or a release known to be harmful."""
    if sys.version_info[:2] < LEAST_PYTHON:
        raise IncompatibleError(f"Python {sys.version.split()[0]} is too old", remedy="use Python 3.11 or newer")
    for name, floor in FLOORS.items():
        try:
            have = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise NotFoundError(f"the library {name} is not installed", remedy="run scripts/install") from None
        if version_key(have) < version_key(floor) or (name == "lightning" and have in ("2.6.2", "2.6.3")):
            raise IncompatibleError(f"{name} {have} is below {floor} or harmful", remedy="run scripts/install")


def version_key(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split("+")[0].split("."):
        digits = "".join(character for character in part if character.isdigit())
        numbers.append(int(digits) if digits else 0)
    return tuple(numbers)


def memory_estimate(config: PipelineConfiguration) -> dict[str, float]:
    """Training memory by batch × sequence, in MB. A rough upper figure; nothing is allocated."""
    model = model_of(config)
    train = config.pretrain
    tokens = train.per_device_batch_size * model.sequence_len
    per_token = 4 * (
        model.n_layer * (12 * model.n_embd + 4 * model.intermediate_size) + 4 * model.n_embd + model.vocab_size
    )
    return {
        "memory_needed_mb": round((model.parameters * TRAINING_BYTES_PER_PARAMETER + tokens * per_token) / MB, 1),
        "memory_available_mb": round(available_memory_bytes() / MB, 1),
        "batch_times_sequence": tokens,
    }


def available_memory_bytes() -> int:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def recommendations(config: PipelineConfiguration, size_mb: float) -> Iterator[str]:
    """003's soft rules."""
    vocab = config.tokenizer.vocab_size
    if vocab & (vocab - 1):
        below = 1 << (vocab.bit_length() - 1)
        yield f"tokenizer.vocab_size {vocab} is not a power of two; {below} or {2 * below} are recommended"
    if not (TYPICAL_CORPUS_MB.start <= size_mb < TYPICAL_CORPUS_MB.stop):
        yield f"the corpus has {size_mb:.3g} MB; 1 to 100 MB is typical"
    train = config.pretrain
    if train.per_device_batch_size >= LARGE_BATCH and train.optim.learning_rate > HIGH_RATE_FOR_LARGE_BATCH:
        rate = train.optim.learning_rate
        yield f"pretrain.optim.learning_rate {rate:g} is high for batch {train.per_device_batch_size}"
    memory = memory_estimate(config)
    needed, available = memory["memory_needed_mb"], memory["memory_available_mb"]
    if needed > MEMORY_SHARE * available > 0:
        yield (
            f"batch × sequence needs about {needed:,.0f} MB of {available:,.0f} MB free;"
            " a smaller pretrain.per_device_batch_size would be safer"
        )
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        yield "no C++ compiler found: training runs in eager mode, more slowly"
