"""Conversations in a pipeline: where they come from, their token shards, and the questions that were held out of them.

Only a run with an sft stage has any. The starter world brings its own; other corpora name theirs in `sft_data`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.core.errors import NotFoundError
from studio.pipeline.context import RunContext
from studio.pipeline.download import is_url
from studio.pipeline.stage import Artefact, Stage
from studio.pipeline.stages.corpus import content_hash, downloaded, starter_world

from studio.text.tokenizers import Tokenizer

STARTER_CONVERSATIONS = "sft.jsonl"
HELD_OUT = "heldout.jsonl"


def source(context: RunContext) -> Path | None:
    """The file of conversations, or None without an sft stage."""
    if context.config.sft is None:
        return None
    wanted = context.config.sft_data
    if wanted is None or wanted.source_type == "starter":
        return starter_world(context).path / STARTER_CONVERSATIONS
    if is_url(wanted.path):
        return downloaded(context, 0, wanted)
    path = Path(wanted.path)
    if not path.exists():
        raise NotFoundError("the conversations do not exist", where=str(path), remedy="check sft_data.path")
    return path


def identity(path: Path | None) -> Any:
    """What a stage that uses the conversations is keyed by."""
    return None if path is None else content_hash(path)


def texts(path: Path) -> Iterator[str]:
    """Everything said, for the tokenizer."""
    for conversation in read_conversations(path):
        for message in conversation.messages:
            yield message["content"]


def build_tokens(context: RunContext) -> Artefact:
    """The conversations as token shards with a mask; resumable shard by shard."""
    path = source(context)
    assert path is not None
    data = context.config.data
    tokenizer_dir = context.artefacts["tokenizer"].path
    stage = Stage(
        name="sft-tokens",
        version=1,
        inputs={
            "conversations": content_hash(path),
            "tokenizer": context.artefacts["tokenizer"].output_hash,
            "data": data.model_dump(mode="json", exclude={"workers", "dedup"}),
        },
        resumable=True,
    )

    def build(directory: Path) -> dict[str, Any]:
        dataset = build_conversation_dataset(
            lambda: read_conversations(path),
            Tokenizer.load(tokenizer_dir),
            directory,
            data,
            seed=data.seed,
            emit=context.emit,
            stop=context.stop,
        )
        return {"total_tokens": dataset.total_tokens, "shards": len(dataset.shards)}

    return context.ensure(stage, build)
