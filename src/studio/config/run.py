"""The configuration of `studio train STAGE`: one stage on one corpus, of any size.

003's ranges do not bind here. Importing it loads no torch.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from studio.config.base import Frozen, refuse
from studio.config.model import LoraConfig, ModelShape
from studio.config.text import CleaningConfig, CorpusConfig, DataConfig, DataSource, TokenizerConfig
from studio.config.training import TrainConfig

STARTER = CorpusConfig(name="starter", sources=(DataSource(source_type="starter"),))


class TrainRun(Frozen):
    """001 TrainingConfiguration: model and training settings of one stage, and the text it learns from."""

    name: str = Field(default="train", min_length=1, max_length=100, pattern=r"^[\w][\w.\- ]*$")
    """Name shown in lists and reports."""
    seed: int = Field(default=1337, ge=0, lt=2**63)
    """Seed of the starter world."""
    corpus: CorpusConfig = STARTER
    """Texts to learn from."""
    starter_scale: float = Field(default=1.0, gt=0.0, le=100.0)
    """Amount of text in the starter world, as a multiple of about 3 MB."""
    cleaning: CleaningConfig = CleaningConfig()
    """What is mended in a text."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """Tokenizer that is trained where the stage starts from new weights."""
    model: ModelShape = ModelShape()
    """Network that is trained where the stage starts from new weights."""
    data: DataConfig = DataConfig()
    """How documents become token shards."""
    train: TrainConfig = TrainConfig()
    """The stage."""
    sft_data: DataSource | None = None
    """Conversations of the sft stage; null: those of the starter world."""
    adapter: LoraConfig | None = None
    """Low-rank adapter; null: all weights are trained."""
    resume: bool = False
    """Continue from the last checkpoint in the output folder."""
    config_version: Literal[2] = 2
    """Version of this form."""

    @model_validator(mode="after")
    def _stage_has_its_inputs(self) -> Self:
        if self.train.stage in ("midtrain", "sft") and self.train.model_name is None:
            what = f"train.model_name is required: {self.train.stage} goes on from a trained model"
            raise refuse(what, "train.model_name")
        if self.adapter is not None:
            raise refuse("adapter: adapters cannot be trained yet; use adapter=none", "adapter")
        return self
