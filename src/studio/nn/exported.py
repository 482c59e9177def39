"""An exported model on disk: its files, what they say it is, and whether they are still those that were judged.

It reads and hashes; it refuses to know graphs, weights, tokenizers and how the judgement was made (`nn.export` and
`nn.parity` do), so that a slim process can open an export without their libraries.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from studio.core.clock import iso
from studio.core.errors import DataError, IncompatibleError, IntegrityError, NotFoundError, ValidationFailure
from studio.core.fsio import atomic_write_json, read_json, sha256_file

FORMAT_VERSION = "1.0.0"
EXPORT_FOLDER = "onnx"
"""Of a checkpoint: where engines look for its export."""
FP32_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"
EXPORT_FILE = "export.json"
PARITY_FILE = "parity.json"


@dataclass(frozen=True, slots=True)
class ExportInfo:
    """What `export.json` says: enough to allocate a cache and feed the graph without reading it."""

    vocab_size: int
    sequence_len: int
    n_layer: int
    n_kv_head: int
    head_dim: int  # of the cache: padded to what the kernel takes
    parameters: int
    variants: tuple[str, ...]
    checkpoint_sha256: str  # of the checkpoint's model.safetensors
    format_version: str = FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two sides compare over some prompts.

    `greedy_agreement` is the share of positions, along the trainer's greedy continuations, where both choose the same
    token; `same_continuations` the share of prompts whose free-running continuations are equal to the last token.
    """

    prompts: int
    positions: int
    max_logit_delta: float
    mean_kl: float  # nats
    greedy_agreement: float
    same_continuations: float
    limit_logit_delta: float
    limit_greedy: float

    @property
    def holds(self) -> bool:
        """Whether the limits are kept."""
        return self.max_logit_delta <= self.limit_logit_delta and self.greedy_agreement >= self.limit_greedy


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The verdict that lies in an export as `parity.json`."""

    use: str  # the graph an engine opens by default
    variants: dict[str, Agreement]
    texts: int
    conversations: int
    checkpoint_sha256: str
    files: dict[str, str] = field(default_factory=dict)  # name to SHA-256, every file but parity.json
    created_at: str = field(default_factory=iso)


def read_export(folder: Path) -> ExportInfo:
    """`export.json` of an export; NotFoundError, or IncompatibleError for another major format version."""
    fields: dict[str, Any] = read_json(folder / EXPORT_FILE)
    version = str(fields.get("format_version", ""))
    if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise IncompatibleError(
            f"export format {version or 'unknown'}, this version reads {FORMAT_VERSION}",
            where=str(folder / EXPORT_FILE),
            remedy="Export the checkpoint again.",
        )
    try:
        return ExportInfo(**{**fields, "variants": tuple(fields["variants"])})
    except (KeyError, TypeError) as error:
        raise DataError(f"not an export description: {error}", where=str(folder / EXPORT_FILE)) from error


def write_parity(export_dir: Path, report: ParityReport) -> ParityReport:
    """Write the verdict with the hash of every file now in the export; returns it as written."""
    files = {path.name: sha256_file(path) for path in sorted(export_dir.iterdir()) if path.name != PARITY_FILE}
    fields = {**asdict(report), "files": files}
    atomic_write_json(export_dir / PARITY_FILE, fields)
    return _parse(fields, export_dir)


def verify_export(export_dir: Path) -> ParityReport:
    """The verdict of an export whose files are still those that were judged.

    ValidationFailure when it was never judged, IntegrityError naming the first file that changed, went or came.
    """
    try:
        report = _parse(read_json(export_dir / PARITY_FILE), export_dir)
    except NotFoundError as error:
        raise ValidationFailure(
            "this export has not passed the parity gate", where=str(export_dir), remedy="Export the checkpoint again."
        ) from error
    present = {path.name for path in export_dir.iterdir()} - {PARITY_FILE}
    for name in sorted(present | report.files.keys()):
        _check_file(export_dir / name, report.files.get(name))
    if report.use not in report.files:
        raise IntegrityError(f"it names no graph of this export: {report.use}", where=str(export_dir / PARITY_FILE))
    return report


def _check_file(path: Path, wanted: str | None) -> None:
    if wanted is None:
        what = "the file came after the parity gate judged this export"
    elif not path.is_file():
        what = "the file that the parity gate judged is gone"
    elif sha256_file(path) != wanted:
        what = "the file changed after the parity gate judged it"
    else:
        return
    raise IntegrityError(what, where=str(path), remedy="Export the checkpoint again.")


def _parse(fields: dict[str, Any], folder: Path) -> ParityReport:
    try:
        variants = {name: _agreement(agreement) for name, agreement in fields["variants"].items()}
        return ParityReport(**{**fields, "variants": variants})
    except (KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"not a parity report: {error}", where=str(folder / PARITY_FILE)) from error


def _agreement(fields: dict[str, Any]) -> Agreement:
    if not all(isinstance(value, int | float) for value in fields.values()):
        raise TypeError("an agreement holds numbers")
    return Agreement(**fields)
