"""Export: files, shapes, quantisation, padding."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from studio.core.errors import DataError, IncompatibleError, NotFoundError
from studio.core.fsio import atomic_write_json, read_json
from studio.nn import export
from studio.nn.export import differing_weights, export_onnx, read_weights
from studio.nn.exported import read_export
from studio.nn.graph import pad_heads, quantize_blocks
from tests.inference.models import make_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("export") / "model", n_layer=1)


def test_an_export_holds_graphs_tokenizer_and_description(checkpoint: Path, tmp_path: Path) -> None:
    graphs = export_onnx(checkpoint, tmp_path / "out", int8=True)
    assert [path.name for path in graphs] == ["model.onnx", "model.int8.onnx"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *("model.onnx", "model.int8.onnx", "export.json", "config.json", "generation_config.json"),
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    }
    info = read_export(tmp_path / "out")
    assert (info.n_layer, info.n_kv_head, info.head_dim, info.sequence_len) == (1, 2, 16, 192)
    assert info.variants == ("model.onnx", "model.int8.onnx")
    for path in graphs:
        assert {value.name for value in onnx.load(path).graph.input} >= {"ids", "seqlens", "total", "rows"}
    assert graphs[1].stat().st_size < 0.6 * graphs[0].stat().st_size


def test_without_int8_there_is_one_graph(checkpoint: Path, tmp_path: Path) -> None:
    assert [path.name for path in export_onnx(checkpoint, tmp_path, int8=False)] == ["model.onnx"]


def test_large_weights_lie_beside_the_graph(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from studio.inference.backends.onnx import OnnxBackend

    (inside,) = export_onnx(checkpoint, tmp_path / "inside", int8=False)
    monkeypatch.setattr(export, "EXTERNAL_BYTES", 1000)
    (beside,) = export_onnx(checkpoint, tmp_path / "beside", int8=False)
    assert (tmp_path / "beside" / "model.onnx.data").stat().st_size > 10 * beside.stat().st_size
    info = read_export(tmp_path / "beside")
    one, other = (OnnxBackend(path, info, max_batch=1).score([1, 2, 3]) for path in (inside, beside))
    assert np.array_equal(one, other)


def test_missing_files_and_weights_that_do_not_fit_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no config\.json"):
        export_onnx(tmp_path, tmp_path / "out", int8=False)
    atomic_write_json(tmp_path / "config.json", {**read_json(checkpoint / "config.json"), "num_hidden_layers": 2})
    (tmp_path / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes())
    with pytest.raises(IncompatibleError, match=r"model\.layers\.1"):
        export_onnx(tmp_path, tmp_path / "out", int8=False)
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(DataError, match=r"model\.safetensors: not a readable"):
        read_weights(tmp_path / "model.safetensors")


def test_a_changed_constant_is_named(checkpoint: Path, tmp_path: Path) -> None:
    (graph,) = export_onnx(checkpoint, tmp_path, int8=False)
    assert differing_weights(checkpoint, graph) == []
    model = onnx.load(graph)
    tensor = next(t for t in model.graph.initializer if t.name == "down0.weight")
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[3, 4] += 1
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save_model(model, graph)
    assert differing_weights(checkpoint, graph) == ["down0.weight"]


@given(st.integers(1, 5), st.integers(1, 80), st.integers(0, 1000))
def test_blocks_of_8_bits_are_within_half_a_step(rows: int, columns: int, seed: int) -> None:
    weight = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    quantized, scales = quantize_blocks(weight)
    restored = ((quantized.astype(np.float32) - 128) * scales[:, :, None]).reshape(rows, -1)[:, :columns]
    steps = np.repeat(scales, 32, axis=1)[:, :columns]
    assert (np.abs(restored - weight) <= steps * 0.5001).all()
    assert (np.abs(restored[:, :0]) == 0).all()
    assert quantized.shape == (rows, -(-columns // 32), 32)


def test_a_block_of_zeros_stays_zero() -> None:
    quantized, scales = quantize_blocks(np.zeros((2, 32), np.float32))
    assert (quantized == 128).all()
    assert (scales == 1).all()


def test_padding_keeps_each_half_of_a_head_in_place() -> None:
    weight = np.arange(2 * 6, dtype=np.float32)[:, None]  # two heads of 6
    padded = pad_heads(weight, 2, 3, 16).ravel()
    assert padded[[0, 1, 2, 8, 9, 10]].tolist() == [0, 1, 2, 3, 4, 5]
    assert padded[[16, 17, 18, 24, 25, 26]].tolist() == [6, 7, 8, 9, 10, 11]
    assert padded.sum() == weight.sum()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_weights_of_any_float_type_are_read_as_fp32(tmp_path: Path, dtype: torch.dtype) -> None:
    values = torch.tensor([[1.0, -2.5, 0.375]])
    save_file({"w": values.to(dtype)}, tmp_path / "w.safetensors")
    read = read_weights(tmp_path / "w.safetensors")["w"]
    assert read.dtype == np.float32
    assert np.array_equal(read, values.numpy())
