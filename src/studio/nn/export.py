"""From a checkpoint folder to a folder that ONNX Runtime serves: the graphs, the tokenizer files, what was exported.

It reads `config.json` and safetensors and writes files; it needs no torch. It refuses to know whether the result is any
good: `nn.parity` judges that, and without its verdict (`parity.json`) no engine opens the folder.
"""

import shutil
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from studio.config.model import ModelConfig
from studio.core.errors import DataError, IncompatibleError, NotFoundError
from studio.core.fsio import atomic_write_json, read_json, sha256_file
from studio.nn.exported import EXPORT_FILE, FP32_FILE, INT8_FILE, ExportInfo
from studio.nn.graph import build_graph, padded_head_dim

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
COPIED_FILES = ("config.json", "generation_config.json", *TOKENIZER_FILES)
EXTERNAL_BYTES = 256 << 20  # above this, weights lie beside the graph: a protobuf message ends at 2 GiB


def export_onnx(checkpoint_dir: Path, out_dir: Path, *, int8: bool) -> list[Path]:
    """Write `model.onnx` (and `model.int8.onnx`), tokenizer files and `export.json` of a checkpoint into `out_dir`.

    Returns the graphs' paths, fp32 first. NotFoundError when the checkpoint lacks a file, IncompatibleError when its
    weights do not have the shapes that its `config.json` says. Half a minute per billion parameters, one core.
    """
    config = ModelConfig.from_hf(read_json(_existing(checkpoint_dir / "config.json")))
    weights = read_weights(_existing(checkpoint_dir / "model.safetensors"))
    out_dir.mkdir(parents=True, exist_ok=True)
    graphs = []
    for name in (FP32_FILE, INT8_FILE) if int8 else (FP32_FILE,):
        write_graph(_graph(config, weights, name, checkpoint_dir), out_dir / name)
        graphs.append(out_dir / name)
    for name in COPIED_FILES:
        if (checkpoint_dir / name).is_file():
            shutil.copyfile(checkpoint_dir / name, out_dir / name)
    info = ExportInfo(
        vocab_size=config.vocab_size,
        sequence_len=config.sequence_len,
        n_layer=config.n_layer,
        n_kv_head=config.n_kv_head,
        head_dim=padded_head_dim(config),
        parameters=sum(weight.size for weight in weights.values()),
        variants=tuple(path.name for path in graphs),
        checkpoint_sha256=sha256_file(checkpoint_dir / "model.safetensors"),
    )
    atomic_write_json(out_dir / EXPORT_FILE, {name: getattr(info, name) for name in ExportInfo.__slots__})
    return graphs


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Every tensor of a safetensors file as fp32; DataError when it is no such file."""
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: np.asarray(file.get_tensor(name), dtype=np.float32) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise DataError(f"not a readable safetensors file: {error}", where=str(path)) from error


def write_graph(model: onnx.ModelProto, path: Path) -> None:
    """Save a graph; its weights go to `<name>.data` beside it when they are large."""
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) <= EXTERNAL_BYTES:
        onnx.save_model(model, path)
        return
    onnx.save_model(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=f"{path.name}.data")


def differing_weights(checkpoint_dir: Path, graph: Path) -> list[str]:
    """Names of the graph's constants that the checkpoint's weights do not give: what a failed parity points at."""
    config = ModelConfig.from_hf(read_json(checkpoint_dir / "config.json"))
    weights = read_weights(checkpoint_dir / "model.safetensors")
    wanted = build_graph(config, weights, int8=graph.name == INT8_FILE).graph.initializer
    found = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(graph).graph.initializer}
    return [
        tensor.name
        for tensor in wanted
        if not np.array_equal(found.get(tensor.name, np.empty(0)), onnx.numpy_helper.to_array(tensor))
    ]


def _graph(config: ModelConfig, weights: dict[str, NDArray[np.float32]], name: str, source: Path) -> onnx.ModelProto:
    try:
        return build_graph(config, weights, int8=name == INT8_FILE)
    except (KeyError, ValueError) as error:
        raise IncompatibleError(
            f"the weights do not fit config.json: {error}", where=str(source / "model.safetensors")
        ) from error


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise NotFoundError(f"no {path.name}", where=str(path.parent))
    return path
