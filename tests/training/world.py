"""A corpus, tokenizer and model so small that a run takes a second, shared by the tests of training."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.config.model import ModelConfig
from studio.config.text import DataConfig, DataSource, TokenizerConfig
from studio.config.training import TrainConfig
from studio.core.events import silent
from studio.core.stopping import StopFlag
from studio.text.documents import Document
from studio.text.shards import build_token_dataset
from studio.text.tokenizers import train_tokenizer
from studio.training.run import TrainingJob, TrainingOutcome, run_training

ANIMALS = ("cat", "dog", "hen", "fox", "owl")
PLACES = ("mat", "hill", "roof", "barn")


def sentences(count: int) -> list[str]:
    """Short texts with something to learn in them."""
    return [
        f"The {ANIMALS[i % 5]} number {i} sat on the {PLACES[i % 4]}. It saw {i * 7 % 13} birds and went home."
        for i in range(count)
    ]


@dataclass(slots=True)
class World:
    """Where the parts lie, and how to train on them."""

    root: Path
    model: ModelConfig
    train: dict[str, Any] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path:
        """The token dataset."""
        return self.root / "data"

    @property
    def tokenizer_dir(self) -> Path:
        """The tokenizer."""
        return self.root / "tokenizer"

    def config(self, **changes: Any) -> TrainConfig:
        """The training configuration with changes."""
        return TrainConfig(**(self.train | changes))

    def job(self, out_dir: Path, *, config: TrainConfig | None = None, **more: Any) -> TrainingJob:
        """A job that writes to `out_dir`."""
        model = more.pop("model", self.model)
        return TrainingJob(config or self.config(), model, self.data_dir, self.tokenizer_dir, out_dir, **more)

    def run(
        self, out_dir: Path, *, emit: Callable[..., None] = silent, stop: StopFlag | None = None, **more: Any
    ) -> TrainingOutcome:
        """Train; `more` goes to `job`."""
        return run_training(self.job(out_dir, **more), emit=emit, stop=stop or StopFlag())


def build_world(
    root: Path, *, documents: int = 120, dropout: float = 0.1, vocab_size: int = 320, **train: Any
) -> World:
    """Everything a run needs, below `root`. Eager fp32 on one thread, so that a result has one bit pattern."""
    texts = sentences(documents)
    tokenizer = train_tokenizer(texts, TokenizerConfig(model_type="bpe", vocab_size=vocab_size))
    world = World(
        root, ModelConfig(vocab_size=tokenizer.vocab_size, n_embd=32, n_head=2, sequence_len=32, dropout=dropout)
    )
    world.tokenizer_dir.mkdir(parents=True)
    tokenizer.save(world.tokenizer_dir)
    rows = [Document(id=f"doc-{i}", text=text) for i, text in enumerate(texts)]
    data = DataConfig(validation_fraction=0.1, workers=1)
    build_token_dataset(rows, tokenizer, world.data_dir, data, sources=[DataSource(path="texts.txt")])
    settings: dict[str, Any] = {
        "stage": "pretrain",
        "num_epochs": 3,
        "per_device_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "optim": {"optimizer_type": "muon", "learning_rate": 3e-3},
        "save_steps": 5,
        "eval_steps": 10,
        "logging_steps": 3,
        "precision": "fp32",
        "compile": "off",
        "threads": 1,
    }
    world.train = settings | train
    (root / "world.json").write_text(json.dumps({"model": world.model.model_dump(mode="json"), "train": world.train}))
    return world


def world_at(root: Path) -> World:
    """The world that another process has built below `root`."""
    facts = json.loads((root / "world.json").read_text())
    return World(root, ModelConfig(**facts["model"]), facts["train"])
