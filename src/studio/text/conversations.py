"""Conversations for fine-tuning: rows of `{"messages": [{"role", "content"}, …], "id"?, "language"?}` as .jsonl or
.json list.

They become the same shards as text does (see `shards`), with a mask file beside the tokens: 1 where the model is
trained (the assistant's words and the `<|end|>` after them). It knows no other formats; those are imports of
`text.formats`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from studio.core.errors import DataError
from studio.core.events import Emit, silent
from studio.core.fsio import iter_jsonl
from studio.core.stopping import StopFlag
from studio.text import languages
from studio.text.encodings import detect_encoding, read_pieces
from studio.text.json_elements import NotAList, iter_elements
from studio.text.shards import Recipe, Source, build_rows
from studio.text.templates import check_messages, render_training
from studio.text.token_dataset import TokenDataset
from studio.text.tokenizers import Tokenizer

if TYPE_CHECKING:
    from studio.config.text import DataConfig


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation. `messages` is a tuple of (role, content)."""

    id: str
    messages: tuple[tuple[str, str], ...]
    language: str = languages.UNKNOWN
    source: str = ""

    @property
    def text(self) -> str:
        """Role and content of every message; what hashes and sizes are taken of."""
        return "\n".join(f"{role}\t{content}" for role, content in self.messages)

    @property
    def as_messages(self) -> list[dict[str, str]]:
        """What `templates` take."""
        return [{"role": role, "content": content} for role, content in self.messages]


def read_conversations(path: Path) -> Iterator[Conversation]:
    """The conversations of a .jsonl file or a .json list, in order.

    DataError naming file, row and message for a row that is none, and for one without an assistant's message: there is
    nothing in it to learn. An id that is missing or used twice becomes the row's number.
    """
    used: set[str] = set()
    for place, number, row in _rows(path):
        try:
            yield _conversation(row, number, path.name, used)
        except DataError as error:
            where = ", ".join(part for part in (str(path), place, error.where) if part)
            raise DataError(error.what, where=where, remedy=error.remedy) from error


def build_conversation_dataset(
    conversations: Callable[[], Iterable[Conversation]] | Sequence[Conversation],
    tokenizer: Tokenizer,
    out_dir: Path,
    data: "DataConfig",
    *,
    sources: Sequence[Source],
    source_of: Callable[[Conversation], int] = lambda conversation: 0,
    preprocessing_steps: Sequence[Mapping[str, Any]] = (),
    name: str = "conversations",
    emit: Emit = silent,
    stop: StopFlag | None = None,
) -> TokenDataset:
    """`shards.build_token_dataset` for conversations: rendered by the chat template, with masks."""
    recipe = Recipe(
        kind="conversations",
        encode=_encode,
        sources=sources,
        source_of=source_of,
        steps=preprocessing_steps,
        name=name,
    )
    return build_rows(conversations, tokenizer, out_dir, data, recipe, emit=emit, stop=stop)


def _encode(tokenizer: Tokenizer, rows: Sequence[Conversation]) -> Iterator[tuple[list[int], list[bool]]]:
    for row in rows:
        yield render_training(tokenizer, row.as_messages)


def _rows(path: Path) -> Iterator[tuple[str, int, Any]]:
    """(place for messages, number from 1, row)."""
    if path.suffix.lower() != ".json":
        for number, row in iter_jsonl(path):
            yield f"line {number}", number, row
        return
    try:
        for element in iter_elements(read_pieces(path, detect_encoding(path))):
            if element.fault:
                raise DataError(element.fault, where=f"{path}, {element.place}")
            yield element.place, element.number, orjson.loads(element.text)
    except (NotAList, orjson.JSONDecodeError) as error:
        raise DataError(f"not a JSON list of conversations: {error}", where=str(path)) from error


def _conversation(row: Any, number: int, name: str, used: set[str]) -> Conversation:
    messages = row.get("messages") if isinstance(row, Mapping) else None
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        raise DataError("no list of messages", remedy='Write {"messages": [{"role": "user", "content": "…"}, …]}.')
    check_messages(messages)
    if not any(message["role"] == "assistant" for message in messages):
        raise DataError(
            "no message of the assistant: there is nothing to learn", remedy="Add the answer, or remove it."
        )
    wanted = row.get("id")
    unique = str(wanted) if isinstance(wanted, str | int) and str(wanted) not in used else f"{name}#{number:06d}"
    used.add(unique)
    language = row.get("language")
    return Conversation(
        id=unique,
        messages=tuple((message["role"], message["content"]) for message in messages),
        language=languages.iso3(language) if isinstance(language, str) else languages.UNKNOWN,
        source=name,
    )
