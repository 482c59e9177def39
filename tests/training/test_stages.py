"""SFT and mid-training on conversations: what is trained, what may see what, and that it is learned."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from studio.config.text import DataConfig, DataSource
from studio.core.errors import IncompatibleError
from studio.core.stopping import StopFlag
from studio.nn import checkpoint as checkpoints
from studio.text.conversations import Conversation, build_conversation_dataset
from studio.text.templates import render_training
from studio.text.token_dataset import TokenDataset
from studio.text.tokenizers import Tokenizer
from studio.training.datamodule import BatchShape, TokenDataModule
from studio.training.packing import IGNORE, ConversationRows
from studio.training.run import run_training
from studio.training.samples import GreedySampler
from tests.training.world import ANIMALS, World, build_world


def conversations(count: int = 80) -> list[Conversation]:
    return [
        Conversation(
            id=f"talk-{i}",
            messages=(("user", f"Who is number {i % 10}?"), ("assistant", f"The {ANIMALS[i % 5]}.")),
        )
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = build_world(tmp_path_factory.mktemp("stages"), num_epochs=1)
    tokenizer = Tokenizer.load(world.tokenizer_dir)
    data = DataConfig(validation_fraction=0.1, workers=1)
    folder = world.root / "talks"
    build_conversation_dataset(conversations(), tokenizer, folder, data, sources=[DataSource(path="talks.jsonl")])
    return world


def module(world: World, **train: Any) -> TokenDataModule:
    config = world.config(**train)
    tokenizer = Tokenizer.load(world.tokenizer_dir)
    return TokenDataModule(world.root / "talks", config, BatchShape(4, 2, 32), tokenizer.byte_lengths, seed=config.seed)


def talks(world: World, out: Path, **train: Any) -> Any:
    more = {key: train.pop(key) for key in ("init_from",) if key in train}
    job = replace(world.job(out, config=world.config(**train), **more), data_dir=world.root / "talks")
    return run_training(job, emit=lambda kind, /, **fields: None, stop=StopFlag())


def test_sft_trains_on_the_assistants_tokens_only(world: World) -> None:
    tokenizer = Tokenizer.load(world.tokenizer_dir)
    data = module(world, stage="sft")
    assert isinstance(data.rows, ConversationRows)
    trained = [int(token) for step in range(12) for batch in data.step_batches(step) for token in _wanted(batch)]
    dataset = TokenDataset.open(world.root / "talks")
    in_train = {row["id"] for row in dataset.documents("train")}
    wanted: list[int] = []
    for talk in conversations():
        if talk.id in in_train:
            ids, mask = render_training(tokenizer, talk.as_messages)
            wanted += [token for token, counts in zip(ids, mask, strict=True) if counts]
    assert set(trained) == set(wanted)
    assert tokenizer.end_id in trained
    assert tokenizer.bos_id not in trained


def _wanted(batch: Any) -> Any:
    return batch.targets[batch.targets != IGNORE]


def test_midtraining_on_conversations_trains_on_every_token(world: World) -> None:
    sft, whole = (module(world, stage=stage).step_batches(0) for stage in ("sft", "midtrain"))
    assert sum(batch.tokens for batch in whole) > 2 * sum(batch.tokens for batch in sft)


def test_weights_of_the_micro_batches_make_every_token_count_the_same(world: World) -> None:
    parts = module(world, stage="sft").step_batches(3)
    total = sum(batch.tokens for batch in parts)
    # Lightning divides by the number of micro batches; mean loss x weight / number = sum of losses / all tokens
    for batch in parts:
        assert batch.weight / len(parts) == pytest.approx(batch.tokens / total)


def test_a_packed_conversation_has_the_loss_that_it_has_alone(world: World, tmp_path: Path) -> None:
    model = checkpoints.load_model(talks(world, tmp_path, stage="sft", max_steps=2).last)
    data = module(world, stage="sft")
    batch = data.step_batches(0)[0]
    assert batch.segments is not None
    packed = 0.0
    with torch.no_grad():
        loss, count = model.loss(batch.ids, batch.targets, batch.segments)
        packed = float(loss * count)
        alone = 0.0
        for ids, targets, segments in zip(batch.ids, batch.targets, batch.segments, strict=True):
            for number in set(segments.tolist()) - {0}:
                inside = segments == number
                loss, count = model.loss(ids[inside][None], targets[inside][None])
                alone += float(loss * count)
    assert packed == pytest.approx(alone, rel=1e-4)


def test_bytes_of_a_batch_are_those_of_its_trained_text(world: World) -> None:
    tokenizer = Tokenizer.load(world.tokenizer_dir)
    batch = module(world, stage="sft").step_batches(0)[0]
    text = tokenizer.decode(_wanted(batch).tolist())
    assert batch.text_bytes == pytest.approx(len(text.encode()), abs=text.count(".") + 1)


def test_the_way_from_text_to_answers(world: World, tmp_path: Path) -> None:
    first = world.run(tmp_path / "pretrain", config=world.config(num_epochs=2))
    rates = {"optimizer_type": "muon", "learning_rate": 1e-2}
    last = talks(
        world, tmp_path / "sft", stage="sft", init_from=first.last, num_epochs=20, optim=rates, save_steps=500,
        eval_steps=500,
    ).last  # fmt: skip
    sampler = GreedySampler(
        Tokenizer.load(world.tokenizer_dir), [f"Who is number {i}?" for i in range(10)], chat=True, max_tokens=8
    )
    holder = torch.nn.Module()
    holder.gpt = checkpoints.load_model(last)
    answers = sampler(holder, StopFlag())  # type: ignore[arg-type]
    right = [answer == f"The {ANIMALS[i % 5]}." for i, (_, answer) in enumerate(answers)]
    assert sum(right) >= 8, answers


def test_a_dataset_of_another_tokenizer_is_refused(world: World, tmp_path: Path) -> None:
    other = build_world(tmp_path / "other", documents=40, vocab_size=300)
    job_folder = tmp_path / "run"
    job = replace(world.job(job_folder), data_dir=other.data_dir)
    with pytest.raises(IncompatibleError, match="the dataset was made with another tokenizer"):
        run_training(job, emit=lambda kind, /, **fields: None, stop=StopFlag())


def test_batches_are_a_function_of_the_step(world: World) -> None:
    first, second = module(world, stage="sft"), module(world, stage="sft")
    forward = [first.step_batches(step)[1].ids.numpy().copy() for step in range(9)]
    assert np.array_equal(second.step_batches(8)[1].ids.numpy(), forward[8])
    second.load_state_dict({"optimizer_steps": 5})
    assert np.array_equal(next(iter(second.train_dataloader())).ids.numpy(), first.step_batches(5)[0].ids.numpy())
