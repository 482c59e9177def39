"""Phase tokenizer_training: one tokenizer from the cleaned corpus, and from the conversations that follow it.

003's `bilingual_8k.model` and `.vocab` are here `tokenizer.json` (vocabulary included) and its two companions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studio.core.errors import ValidationFailure
from studio.pipeline.context import RunContext
from studio.pipeline.stage import Stage
from studio.pipeline.stages import conversations
from studio.pipeline.stages.corpus import read_corpus
from studio.text.tokenizers import Tokenizer, train_tokenizer

PROBE = "¡Hola! Where is the red ball? 12 + 7 = 19"


def run(context: RunContext) -> None:
    """Train or find the tokenizer; ValidationFailure when it cannot encode and decode."""
    chats = conversations.source(context)
    config = context.config.tokenizer
    stage = Stage(
        name="tokenizer",
        version=1,
        inputs={
            "corpus": context.artefacts["corpus"].output_hash,
            "conversations": conversations.identity(chats),
            "config": config.model_dump(mode="json"),
        },
    )

    def build(directory: Path) -> dict[str, Any]:
        tokenizer = train_tokenizer(_texts(context, chats), config)
        tokenizer.save(directory)
        return {"vocab_size": tokenizer.vocab_size, "lossless": tokenizer.lossless, "shortfall": tokenizer.shortfall}

    artefact = context.ensure(stage, build)
    _check(artefact.path)
    context.report["tokenizer"] = dict(artefact.summary)
    if artefact.summary["shortfall"]:
        context.warn(str(artefact.summary["shortfall"]))


def _texts(context: RunContext, chats: Path | None) -> Iterator[str]:
    for document in read_corpus(context.artefacts["corpus"].path):
        context.check_stop()
        yield document.text
    if chats is not None:
        yield from conversations.texts(chats)


def _check(directory: Path) -> None:
    tokenizer = Tokenizer.load(directory)
    ids = tokenizer.encode(PROBE)
    if not ids or (tokenizer.lossless and tokenizer.decode(ids) != PROBE):
        raise ValidationFailure(
            "the tokenizer does not give a text back", where=str(directory), remedy="use byte fallback"
        )
