"""A checkpoint directory is whole or refused, and transformers opens it as its own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.core.errors import IntegrityError
from studio.nn import checkpoint as checkpoints
from studio.text.tokenizers import Tokenizer
from tests.training.world import World, build_world

LAYOUT_002 = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "trainer_state.json",
    "training_args.bin",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("checkpoints"), num_epochs=1)


@pytest.fixture(scope="module")
def checkpoint(world: World) -> Path:
    return world.run(world.root / "run").last


def test_one_flipped_byte_in_any_file_is_refused_and_the_file_named(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / checkpoint.name
    shutil.copytree(checkpoint, copy)
    checkpoints.verify_checkpoint(copy)
    files = sorted(copy.iterdir())
    assert {path.name for path in files} > LAYOUT_002
    for path in files:
        data = path.read_bytes()
        for place in _places(path, data):
            _flip(path, data, place)
            with pytest.raises(IntegrityError) as refusal:
                checkpoints.load_model(copy)
            assert Path(refusal.value.where) == path, f"byte {place} of {path.name}"
        path.write_bytes(data)
    checkpoints.verify_checkpoint(copy)


def _places(path: Path, data: bytes) -> list[int]:
    """Every byte of the manifest, which has nobody else to vouch for it; of the others the first, middle and last."""
    return list(range(len(data))) if path.name == "manifest.json" else [0, len(data) // 2, len(data) - 1]


def _flip(path: Path, data: bytes, place: int) -> None:
    flipped = bytearray(data)
    flipped[place] ^= 1 << place % 8
    path.write_bytes(flipped)


def test_a_truncated_or_missing_file_is_refused_and_named(checkpoint: Path, tmp_path: Path) -> None:
    for name in [path.name for path in checkpoint.iterdir()]:
        copy = tmp_path / name / checkpoint.name
        shutil.copytree(checkpoint, copy)
        (copy / name).write_bytes((copy / name).read_bytes()[:-1])
        with pytest.raises(IntegrityError, match=name):
            checkpoints.verify_checkpoint(copy)
        (copy / name).unlink()
        with pytest.raises(IntegrityError, match=name):
            checkpoints.verify_checkpoint(copy)


def test_resuming_from_a_damaged_last_goes_back_to_the_one_before(world: World, tmp_path: Path) -> None:
    out = tmp_path / "run"
    last = world.run(out, config=world.config(max_steps=10)).last
    data = (last / "optimizer.safetensors").read_bytes()
    _flip(last / "optimizer.safetensors", data, len(data) // 2)
    before = checkpoints.latest(out / "checkpoints")
    assert before is not None
    assert before != last
    events: list[tuple[str, dict[str, Any]]] = []
    world.run(
        out, resume=True, config=world.config(max_steps=10), emit=lambda kind, **fields: events.append((kind, fields))
    )
    assert ("resumed", {"path": str(before), "same_data": True}) in events
    checkpoints.verify_checkpoint(last)  # written again


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("tied", [True, False])
def test_transformers_opens_it(world: World, tmp_path: Path, tied: bool) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shape = world.model.model_copy(update={"tie_word_embeddings": tied, "n_kv_head": 1, "sequence_len": 160})
    config = world.config(max_steps=8, sequence_len=32)
    checkpoint = world.run(tmp_path / "run", config=config, model=shape).last
    ours, theirs = checkpoints.load_model(checkpoint), AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer, foreign = Tokenizer.load(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    text = "The cat number 7 sat on the roof. ¿Qué? 🦊\n"
    assert foreign.encode(text, add_special_tokens=False) == tokenizer.encode(text)
    ids = torch.tensor([[tokenizer.bos_id, *tokenizer.encode("The cat")]])
    with torch.no_grad():
        difference = (ours(ids) - theirs(ids).logits).abs().max()
    assert float(difference) <= 1e-4
    assert theirs.dtype == torch.float32
    generated = theirs.generate(ids, do_sample=False, max_new_tokens=100, min_new_tokens=100, eos_token_id=None)
    assert generated[0, ids.shape[1] :].tolist() == _greedy(ours, ids, 100)


@torch.no_grad()
def _greedy(model: torch.nn.Module, ids: torch.Tensor, count: int) -> list[int]:
    for _ in range(count):
        ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], dim=1)
    return ids[0, -count:].tolist()


def test_the_layout_is_that_of_002_with_the_state_beside_it(checkpoint: Path) -> None:
    names = {path.name for path in checkpoint.iterdir()}
    assert names >= LAYOUT_002 | {"manifest.json", "optimizer.safetensors", "optimizer.json", "rng.safetensors"}
    assert names >= {f"{part}.json" for part in ("scheduler", "loops", "rng", "data", "callbacks")}
    config = json.loads((checkpoint / "config.json").read_text())
    assert {"head_dim", "rope_parameters", "rope_theta", "dtype"} <= config.keys()
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    assert {"global_step", "epoch", "log_history", "loss_history", "training_config"} <= state.keys()


def test_no_pickle_is_ever_read(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    world.run(out, config=world.config(max_steps=5))

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr("pickle.load", refuse)
    monkeypatch.setattr("pickle.loads", refuse)
    monkeypatch.setattr("pickle.Unpickler", refuse)
    monkeypatch.setattr("torch.load", refuse)
    outcome = world.run(out, resume=True, config=world.config(max_steps=10))
    checkpoints.load_model(outcome.last)
