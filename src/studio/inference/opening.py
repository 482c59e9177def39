"""From a model folder to a running engine: which backend, and whether its files may be trusted.

It knows folders, hashes and backends; it refuses to know what will be asked. Torch is imported only when it decodes.
"""

from pathlib import Path
from typing import Literal

from studio.core.errors import IncompatibleError, IntegrityError, NotFoundError, StudioError, UsageError
from studio.core.fsio import sha256_file
from studio.inference.backends.base import Backend
from studio.inference.backends.onnx import OnnxBackend
from studio.inference.engine import Engine
from studio.nn.exported import (
    EXPORT_FOLDER,
    FP32_FILE,
    INT8_FILE,
    PARITY_FILE,
    ParityReport,
    read_export,
    verify_export,
)
from studio.text.tokenizers import Tokenizer

BackendName = Literal["auto", "onnx", "onnx-fp32", "onnx-int8", "torch"]
BACKENDS: tuple[BackendName, ...] = ("auto", "onnx", "onnx-fp32", "onnx-int8", "torch")


def open_engine(
    model_dir: Path, *, backend: BackendName = "auto", max_batch: int = 16, threads: int | None = None
) -> Engine:
    """An engine for a checkpoint folder (with its `onnx/`) or for an export by itself.

    `auto` takes the verified export, and torch where there is none; `onnx` takes the export's own choice of fp32 or
    int8. An export that exists but was changed, never judged or made from other weights is an error whatever the
    backend asks, except `torch`: IntegrityError or ValidationFailure naming the file.
    """
    opened = open_backend(model_dir, backend=backend, max_batch=max_batch, threads=threads)
    return Engine(opened, _tokenizer(model_dir, opened), max_batch=max_batch, model=model_dir.name)


def open_backend(
    model_dir: Path, *, backend: BackendName = "auto", max_batch: int = 16, threads: int | None = None
) -> Backend:
    """The backend alone; see `open_engine`."""
    if backend not in BACKENDS:
        raise UsageError(f"unknown backend {backend!r}", where="backend", remedy=f"Use one of: {', '.join(BACKENDS)}.")
    if not model_dir.is_dir():
        raise NotFoundError("no such model folder", where=str(model_dir))
    export = export_dir(model_dir)
    if backend == "torch" or (backend == "auto" and export is None):
        return _open_torch(model_dir, max_batch)
    if export is None:
        raise NotFoundError("this model has no ONNX export", where=str(model_dir), remedy="Use the torch backend.")
    report = check_export(export)
    info = read_export(export)
    return OnnxBackend(export / _graph(report, backend, export), info, max_batch=max_batch, threads=threads)


def export_dir(model_dir: Path) -> Path | None:
    """The export of a model folder, or the folder itself when it is one; None when there is none."""
    below = model_dir / EXPORT_FOLDER
    if below.is_dir():
        return below
    exported = any((model_dir / name).is_file() for name in (PARITY_FILE, FP32_FILE, INT8_FILE))
    return model_dir if exported else None


def check_export(folder: Path) -> ParityReport:
    """`verify_export`, and that the weights beside it are those it was made from."""
    report = verify_export(folder)
    weights = folder.parent / "model.safetensors"
    if folder.name == EXPORT_FOLDER and weights.is_file() and sha256_file(weights) != report.checkpoint_sha256:
        raise IntegrityError(
            "the weights are not those that the export beside them was made from",
            where=str(weights),
            remedy="Export the checkpoint again.",
        )
    return report


def _graph(report: ParityReport, backend: BackendName, folder: Path) -> str:
    wanted = {"onnx-fp32": FP32_FILE, "onnx-int8": INT8_FILE}.get(backend, report.use)
    if wanted not in report.variants:
        raise NotFoundError(f"the export has no {wanted}", where=str(folder))
    if not report.variants[wanted].holds:
        raise IncompatibleError(
            f"it did not hold the parity gate's limits (greedy agreement "
            f"{report.variants[wanted].greedy_agreement:.1%})",
            where=str(folder / wanted),
            remedy="Use fp32.",
        )
    return wanted


def _open_torch(model_dir: Path, max_batch: int) -> Backend:
    from studio.inference.backends.torch import TorchBackend
    from studio.nn.checkpoint import load_model

    return TorchBackend(load_model(model_dir, device=_device()), max_batch=max_batch)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _tokenizer(model_dir: Path, backend: Backend) -> Tokenizer:
    """The tokenizer that was judged with the graph, or the checkpoint's own."""
    export = export_dir(model_dir) if backend.name.startswith("onnx") else None
    try:
        return Tokenizer.load(export or model_dir)
    except StudioError:
        backend.close()
        raise
