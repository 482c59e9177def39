"""Conversations in a pipeline: where they come from, their token shards, and the questions that were held out of them.

Only a run with an sft stage has any. The starter world brings its own; other corpora name theirs in `sft_data`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.config.generation import GenerationParams
from studio.config.text import DataSource
from studio.core.errors import NotFoundError
from studio.pipeline.context import RunContext
from studio.pipeline.download import is_url
from studio.pipeline.stage import Artefact, Stage
from studio.pipeline.stages.corpus import content_hash, downloaded, starter_world
from studio.text.conversations import Conversation, build_conversation_dataset, read_conversations
from studio.text.starter.scoring import read_cases, score
from studio.text.templates import render_chat
from studio.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from studio.text.starter.split import Case

ANSWER_TOKENS = 64
STARTER_CONVERSATIONS = "sft.jsonl"
HELD_OUT = "heldout.jsonl"
MODEL_FOLDER = "model"


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
        for _, content in conversation.messages:
            yield content


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
            sources=[context.config.sft_data or DataSource(source_type="starter")],
            emit=context.emit,
            stop=context.stop,
        )
        return {"total_tokens": dataset.total_tokens, "shards": len(dataset.shards)}

    return context.ensure(stage, build)


def openings(context: RunContext, per_language: int) -> list[tuple[str, str]]:
    """(language, first message of a user), some for every language of the conversations."""
    path = source(context)
    found: dict[str, list[str]] = defaultdict(list)
    for conversation in read_conversations(path) if path else []:
        text = first_question(conversation)
        if text and len(found[conversation.language]) < per_language:
            found[conversation.language].append(text)
    return [(language, text) for language, texts in found.items() for text in texts]


def first_question(conversation: Conversation) -> str:
    return next((content for role, content in conversation.messages if role == "user"), "")


def scores(context: RunContext) -> dict[str, Any] | None:
    """Exact answers to the starter world's held-out questions before and after sft; None where there are none."""
    limit = context.config.validation.heldout_questions
    world = context.artefacts.get("starter")
    if world is None or context.config.sft is None or limit == 0:
        return None
    cases = spread(read_cases(world.path / HELD_OUT), limit)
    base = "midtrain-model" if "midtrain-model" in context.artefacts else "pretrain-model"
    models = {"before": context.artefacts[base].path, "after": context.artefacts["sft-model"].path}
    return {when: score(cases, answers(path / MODEL_FOLDER, cases)).to_json() for when, path in models.items()}


def spread(cases: Sequence[Case], per_language: int) -> list[Case]:
    """At most this many cases of each language, evenly over their order, so that every kind is among them."""
    by_language: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_language[case.language].append(case)
    return [
        own[number * len(own) // min(per_language, len(own))]
        for own in by_language.values()
        for number in range(min(per_language, len(own)))
    ]


def answers(model: Path, cases: Sequence[Case]) -> list[str]:
    """What a model answers when it always takes the likeliest token."""
    from studio.inference.opening import open_engine

    with open_engine(model) as engine:
        prompts = [
            render_chat(engine.tokenizer, [{"role": "user", "content": case.question}], add_generation_prompt=True)
            for case in cases
        ]
        room = min(ANSWER_TOKENS, engine.context_len - max(map(len, prompts)))
        params = GenerationParams(temperature=0.0, max_tokens=max(1, room))
        return [answer.text for answer in engine.generate(prompts, params)]
