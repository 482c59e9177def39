"""Issue 2, "Shown by": other programs open a checkpoint as theirs, caches change nothing, corruption is named."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from studio.core.errors import IntegrityError, ParityError
from studio.core.fsio import atomic_write_json, read_json
from studio.inference.backends.base import Backend, greedy
from studio.inference.backends.onnx import OnnxBackend
from studio.inference.backends.torch import TorchBackend
from studio.inference.exporting import BackendScorer, export_verified, judge
from studio.inference.opening import open_backend
from studio.nn.checkpoint import load_model
from studio.nn.export import export_onnx
from studio.nn.exported import read_export
from studio.nn.gpt import GPT
from studio.text.templates import render_chat
from studio.text.tokenizers import Tokenizer
from tests.inference.models import SENTENCES, lively_model, make_checkpoint

SHAPES = {
    "tied": {"tie_word_embeddings": True},
    "untied": {"tie_word_embeddings": False, "n_layer": 3, "n_kv_head": 1, "rope_theta": 50000.0},
}
CHATS = [
    [
        {"role": "user", "content": text},
        {"role": "assistant", "content": text},
        {"role": "user", "content": "¿Y ahora?"},
    ]
    for text in SENTENCES
]


@pytest.fixture(scope="module", params=SHAPES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_checkpoint(tmp_path_factory.mktemp("parity") / "model", **SHAPES[request.param])
    export_verified(folder)
    return folder


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> GPT:
    return load_model(checkpoint)


@pytest.fixture(params=["onnx-fp32", "torch"])
def backend(request: pytest.FixtureRequest, checkpoint: Path) -> Iterator[Backend]:
    opened = open_backend(checkpoint, backend=request.param, max_batch=16)
    yield opened
    opened.close()


def full_forward(model: GPT, ids: list[int]) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.tensor([ids]))[0].numpy()


def some_ids(count: int, vocab_size: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(8, vocab_size, count).tolist()


def test_transformers_opens_the_checkpoint_with_the_same_ids_logits_and_greedy_tokens(
    checkpoint: Path, model: GPT
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    their_tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    ours = Tokenizer.load(checkpoint)
    for text in SENTENCES:
        assert their_tokenizer.encode(text, add_special_tokens=False) == ours.encode(text)
        assert their_tokenizer.decode(ours.encode(text)) == text
    for chat in CHATS:
        rendered = their_tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        assert rendered == render_chat(ours, chat, add_generation_prompt=True)
    ids = some_ids(64, model.config.vocab_size)
    with torch.inference_mode():
        their_logits = theirs(torch.tensor([ids])).logits[0].numpy()
    assert np.abs(their_logits - full_forward(model, ids)).max() <= 1e-4
    asked = torch.tensor([ids[:8]])
    made = theirs.generate(
        asked,
        attention_mask=torch.ones_like(asked),
        max_new_tokens=100,
        min_new_tokens=100,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=2,
    )
    assert made[0, 8:].tolist() == greedy(TorchBackend(model, max_batch=1), [ids[:8]], 100)[0]


def test_cached_logits_are_those_of_the_full_forward_pass(backend: Backend, model: GPT) -> None:
    ids = some_ids(100, model.config.vocab_size)
    wanted = full_forward(model, ids)
    worst = float(np.abs(backend.prefill(0, ids[:10], 0) - wanted[9]).max())
    for place in range(10, 100):
        row = backend.decode(np.array(ids[place : place + 1]), np.array([place]))[0]
        worst = max(worst, float(np.abs(row - wanted[place]).max()))
    assert worst <= 1e-4


def test_a_batch_of_streams_equals_them_one_by_one(backend: Backend, model: GPT) -> None:
    assert batch_against_one_by_one(backend, model.config.vocab_size) <= 1e-4


def test_int8_streams_do_not_touch_each_other_either(checkpoint: Path) -> None:
    """Whatever rounding does, a stream's logits must not depend on the batch, nor on prefill against decode."""
    backend = OnnxBackend(checkpoint / "onnx" / "model.int8.onnx", read_export(checkpoint / "onnx"), max_batch=16)
    assert batch_against_one_by_one(backend, backend.vocab_size) <= 1e-4
    ids = some_ids(60, backend.vocab_size)
    scored = backend.score(ids)
    backend.prefill(0, ids[:30], 0)
    for place in range(30, 60):
        row = backend.decode(np.array(ids[place : place + 1]), np.array([place]))[0]
        assert np.abs(row - scored[place]).max() <= 1e-4


def batch_against_one_by_one(backend: Backend, vocab_size: int) -> float:
    """Largest |Δlogit| over 16 streams of different lengths and 20 steps."""
    streams = [some_ids(5 + 7 * n + 20, vocab_size, seed=n) for n in range(16)]
    cuts = [len(ids) - 20 for ids in streams]
    for slot, (ids, cut) in enumerate(zip(streams, cuts, strict=True)):
        backend.prefill(slot, ids[:cut], 0)
    together = []
    for step in range(20):
        tokens = np.array([ids[cut + step] for ids, cut in zip(streams, cuts, strict=True)])
        together.append(backend.decode(tokens, np.array(cuts) + step).copy())
    worst = 0.0
    for row, (ids, cut) in enumerate(zip(streams, cuts, strict=True)):
        backend.prefill(0, ids[:cut], 0)
        for step in range(20):
            alone = backend.decode(np.array([ids[cut + step]]), np.array([cut + step]))[0]
            worst = max(worst, float(np.abs(together[step][row] - alone).max()))
    return worst


def test_a_verified_export_says_how_well_it_agrees(checkpoint: Path) -> None:
    report = read_json(checkpoint / "onnx" / "parity.json")
    exact = report["variants"]["model.onnx"]
    assert exact["prompts"] == 64
    assert exact["max_logit_delta"] <= 1e-4
    assert exact["greedy_agreement"] == exact["same_continuations"] == 1.0
    rounded = report["variants"]["model.int8.onnx"]
    assert rounded["greedy_agreement"] > 0.9
    assert rounded["mean_kl"] < 0.01
    held = rounded["greedy_agreement"] >= rounded["limit_greedy"]
    assert report["use"] == ("model.int8.onnx" if held else "model.onnx")


# -- corruption ------------------------------------------------------------------------------------


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    shutil.rmtree(copy / "onnx")
    return copy


def judged(checkpoint: Path, export: Path, graphs: list[Path]) -> None:
    trainer = BackendScorer(TorchBackend(load_model(checkpoint)))
    judge(export, graphs, trainer, Tokenizer.load(checkpoint), checkpoint_dir=checkpoint, prompts=16)


def test_a_corrupted_chat_template_is_caught_and_named(copy: Path) -> None:
    graphs = export_onnx(copy, copy / "onnx", int8=False)
    path = copy / "onnx" / "tokenizer_config.json"
    config = read_json(path)
    atomic_write_json(path, {**config, "chat_template": config["chat_template"].replace("<|user|>", "<|usr|>", 1)[1:]})
    with pytest.raises(ParityError, match=r"tokenizer_config\.json: .*template") as caught:
        judged(copy, copy / "onnx", graphs)
    assert caught.value.cause == "template"
    assert not (copy / "onnx" / "parity.json").exists()


def test_a_corrupted_tokenizer_is_caught_and_named(copy: Path) -> None:
    graphs = export_onnx(copy, copy / "onnx", int8=False)
    path = copy / "onnx" / "tokenizer.json"
    document = read_json(path)
    document["model"]["merges"] = document["model"]["merges"][20:]
    atomic_write_json(path, document)
    with pytest.raises(ParityError, match=r"tokenizer\.json: the export's tokenizer gives other ids") as caught:
        judged(copy, copy / "onnx", graphs)
    assert caught.value.cause == "tokenizer"


@pytest.mark.parametrize("name", ["qkv0.weight", "down1.weight", "embed", "k_norm1.weight", "rope_cos"])
def test_a_corrupted_weight_is_caught_and_named(copy: Path, name: str) -> None:
    (graph,) = export_onnx(copy, copy / "onnx", int8=False)
    model = onnx.load(graph)
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[1:2] += 0.5
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
    onnx.save_model(model, graph)
    with pytest.raises(ParityError, match=rf"model\.onnx: .*not the trainer's: {name}") as caught:
        judged(copy, copy / "onnx", [graph])
    assert caught.value.cause == "weights"


def test_an_export_of_other_weights_than_the_trainer_holds_is_not_published(copy: Path, model: GPT) -> None:
    stranger = lively_model(model.config, seed=99)
    with pytest.raises(ParityError) as caught:
        export_verified(copy, int8=False, prompts=16, trainer=stranger)
    assert caught.value.cause == "weights"
    assert not (copy / "onnx").exists()
    assert [path.name for path in copy.iterdir() if path.name.startswith(".")] == []


def test_a_flipped_byte_of_the_checkpoint_is_caught_before_the_export(copy: Path) -> None:
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=r"model\.safetensors"):
        export_verified(copy, int8=False, prompts=8)
