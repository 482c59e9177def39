"""Both backends against the plain forward pass: caches, batches, pieces, seeds."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from studio.config.generation import GenerationParams
from studio.config.model import ModelConfig
from studio.core.errors import IncompatibleError
from studio.inference.backends.base import Backend, greedy
from studio.inference.backends.onnx import OnnxBackend
from studio.inference.backends.torch import TorchBackend
from studio.inference.opening import open_backend, open_engine
from studio.nn.checkpoint import load_model
from studio.nn.exported import read_export
from studio.nn.gpt import GPT
from tests.inference.models import lively_model

LENGTHS = (5, 23, 1, 40)


@pytest.fixture(scope="module")
def model(model_dir: Path) -> GPT:
    return load_model(model_dir)


@pytest.fixture(params=["onnx-fp32", "torch"])
def backend(request: pytest.FixtureRequest, model_dir: Path) -> Iterator[Backend]:
    opened = open_backend(model_dir, backend=request.param, max_batch=4)
    yield opened
    opened.close()


def forward(model: GPT, ids: list[int]) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.tensor([ids]))[0].numpy()


def prompts(model: GPT) -> list[list[int]]:
    random = np.random.default_rng(3)
    return [random.integers(0, model.config.vocab_size, n).tolist() for n in LENGTHS]


def test_a_prefill_in_pieces_gives_the_logits_of_the_whole(backend: Backend, model: GPT) -> None:
    ids = prompts(model)[3]
    wanted = forward(model, ids)
    for pieces in ([40], [1, 39], [13, 13, 14]):
        start = 0
        for size in pieces:
            row = backend.prefill(2, ids[start : start + size], start)
            start += size
            assert np.abs(row - wanted[start - 1]).max() <= 1e-4


def test_scores_are_the_forward_pass(backend: Backend, model: GPT) -> None:
    ids = prompts(model)[1]
    assert np.abs(backend.score(ids) - forward(model, ids)).max() <= 1e-4


def test_streams_can_be_moved_and_shrink_and_grow(backend: Backend, model: GPT) -> None:
    asked = prompts(model)
    for slot, ids in enumerate(asked):
        backend.prefill(slot, ids, 0)
    backend.move(3, 1, len(asked[3]))
    rows = backend.decode(np.array([9, 8]), np.array([len(asked[0]), len(asked[3])])).copy()
    assert np.abs(rows[0] - forward(model, [*asked[0], 9])[-1]).max() <= 1e-4
    assert np.abs(rows[1] - forward(model, [*asked[3], 8])[-1]).max() <= 1e-4
    backend.prefill(2, asked[1], 0)
    lengths = np.array([len(asked[0]) + 1, len(asked[3]) + 1, len(asked[1])])
    rows = backend.decode(np.array([7, 7, 7]), lengths)
    assert np.abs(rows[2] - forward(model, [*asked[1], 7])[-1]).max() <= 1e-4
    assert np.abs(rows[0] - forward(model, [*asked[0], 9, 7])[-1]).max() <= 1e-4


def test_the_context_can_be_filled_to_its_last_token(backend: Backend, model: GPT) -> None:
    ids = np.random.default_rng(0).integers(0, backend.vocab_size, backend.context_len).tolist()
    backend.prefill(0, ids[:-1], 0)
    row = backend.decode(np.array(ids[-1:]), np.array([len(ids) - 1]))[0]
    assert np.abs(row - forward(model, ids)[-1]).max() <= 1e-4


def test_a_seeded_stream_does_not_depend_on_its_neighbours(model_dir: Path) -> None:
    asked = [[0, *range(50, 50 + n)] for n in (3, 9, 5, 7, 2)]
    for name in ("onnx-fp32", "onnx-int8", "torch"):
        if name == "onnx-int8" and "int8" not in _usable(model_dir):
            continue
        with open_engine(model_dir, backend=name, max_batch=4) as engine:
            params = GenerationParams(temperature=1.2, seed=11, max_tokens=40)
            alone = [engine.generate([prompt], params)[0].ids for prompt in asked]
            together = [answer.ids for answer in engine.generate(asked, params)]
            again = [answer.ids for answer in engine.generate(asked[::-1], params)][::-1]
        assert alone == together == again
        assert len({tuple(ids) for ids in alone}) == len(asked)


def _usable(model_dir: Path) -> str:
    try:
        open_backend(model_dir, backend="onnx-int8").close()
    except IncompatibleError:
        return ""
    return "int8"


def test_batched_greedy_is_greedy_one_by_one(backend: Backend, model: GPT) -> None:
    asked = [*prompts(model), *prompts(model)[:2]]
    assert greedy(backend, asked, 12) == [greedy(backend, [prompt], 12)[0] for prompt in asked]


def test_torch_decodes_the_live_model_and_leaves_its_mode(model_dir: Path) -> None:
    config = ModelConfig(vocab_size=64, n_embd=32, n_head=2, sequence_len=32, intermediate_size=48, dropout=0.5)
    model = lively_model(config).train()
    backend = TorchBackend(model, max_batch=2)
    first = backend.prefill(0, [1, 2, 3], 0)
    assert model.training
    assert np.array_equal(first, backend.prefill(0, [1, 2, 3], 0)), "dropout was active"
    with torch.no_grad():
        model.model.norm.weight.mul_(2)
    assert np.allclose(backend.prefill(0, [1, 2, 3], 0), 2 * first, rtol=1e-4)


@pytest.mark.parametrize("shape", [(40, 4, 2), (24, 2, 1), (60, 2, 2), (48, 3, 1)])
def test_heads_of_any_even_width_export(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    from studio.nn.exported import ExportInfo
    from studio.nn.graph import build_graph, padded_head_dim

    width, heads, kv_heads = shape
    config = ModelConfig(
        vocab_size=50, n_embd=width, n_head=heads, n_kv_head=kv_heads, sequence_len=24, intermediate_size=40
    )
    model = lively_model(config)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    (tmp_path / "model.onnx").write_bytes(build_graph(config, weights, int8=False).SerializeToString())
    info = ExportInfo(
        vocab_size=50,
        sequence_len=24,
        n_layer=2,
        n_kv_head=kv_heads,
        head_dim=padded_head_dim(config),
        parameters=config.parameters,
        variants=("model.onnx",),
        checkpoint_sha256="",
    )
    backend = OnnxBackend(tmp_path / "model.onnx", info, max_batch=2)
    ids = list(range(20))
    assert np.abs(backend.score(ids) - forward(model, ids)).max() <= 1e-4
    row = backend.decode(np.array([7]), np.array([20]))[0]
    assert np.abs(row - forward(model, [*ids, 7])[-1]).max() <= 1e-4


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, model_dir: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no graph at all")
    with pytest.raises(IncompatibleError, match="cannot open the graph"):
        OnnxBackend(tmp_path / "model.onnx", read_export(model_dir / "onnx"))


def test_torch_decodes_in_the_weights_own_type() -> None:
    config = ModelConfig(vocab_size=64, n_embd=32, n_head=2, sequence_len=32, intermediate_size=48)
    exact = TorchBackend(lively_model(config)).prefill(0, [1, 2, 3], 0)
    backend = TorchBackend(lively_model(config).to(torch.bfloat16))
    row = backend.prefill(0, [1, 2, 3], 0)
    assert row.dtype == np.float32
    assert 0 < np.abs(row - exact).max() < 0.2
    assert np.isfinite(backend.decode(np.array([5]), np.array([3]))).all()
