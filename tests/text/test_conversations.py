import json
from pathlib import Path

import numpy as np
import pytest

from studio.config.text import DataConfig, DataSource
from studio.core.errors import DataError
from studio.text.conversations import Conversation, build_conversation_dataset, read_conversations
from studio.text.templates import render_training
from studio.text.tokenizers import Tokenizer
from tests.text.sample import paragraphs

DATA = DataConfig.model_validate({"shard_tokens": 1000, "validation_fraction": 0.1})


def rows(count: int = 60) -> list[dict[str, object]]:
    texts = paragraphs(2 * count)
    return [
        {
            "id": f"c{number}",
            "language": ("en", "es")[number % 2],
            "messages": [
                {"role": "user", "content": texts[2 * number]},
                {"role": "assistant", "content": texts[2 * number + 1]},
            ],
        }
        for number in range(count)
    ]


def write(path: Path, found: list[dict[str, object]]) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(found), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["sft.jsonl", "sft.json"])
def test_rows_become_conversations(tmp_path: Path, name: str) -> None:
    found = list(read_conversations(write(tmp_path / name, rows())))
    assert [conversation.id for conversation in found] == [f"c{number}" for number in range(60)]
    assert found[1].language == "spa"
    assert found[1].as_messages == rows()[1]["messages"]
    assert found[1].source == name


def test_missing_and_repeated_ids_become_numbers(tmp_path: Path) -> None:
    many = rows(3)
    del many[0]["id"]
    many[2]["id"] = "c1"
    found = list(read_conversations(write(tmp_path / "x.jsonl", many)))
    assert [conversation.id for conversation in found] == ["x.jsonl#000001", "c1", "x.jsonl#000003"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": "x"}, "line 2: no list of messages"),
        ({"messages": ["x"]}, "line 2: no list of messages"),
        ({"messages": [{"role": "user", "content": "x"}]}, "line 2: no message of the assistant"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "line 2, message 1: unknown role 'bot'"),
        ({"messages": [{"role": "user", "content": None}]}, "line 2, message 1: content is missing or no text"),
    ],
)
def test_what_is_no_conversation_is_refused_by_line(tmp_path: Path, row: dict[str, object], says: str) -> None:
    path = write(tmp_path / "x.jsonl", [*rows(1), row])
    with pytest.raises(DataError) as caught:
        list(read_conversations(path))
    assert str(caught.value).startswith(f"{path}, {says}")


def test_broken_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{\n")
    (tmp_path / "a.json").write_text('[{"messages": ')
    for path in tmp_path.iterdir():
        with pytest.raises(DataError):
            list(read_conversations(path))


def test_tokens_and_masks_are_those_of_the_template(trained: dict[str, Tokenizer], tmp_path: Path) -> None:
    tokenizer = trained["bpe"]
    path = write(tmp_path / "sft.jsonl", rows())
    dataset = build_conversation_dataset(
        lambda: read_conversations(path), tokenizer, tmp_path / "set", DATA, sources=[DataSource(path=str(path))]
    )
    by_id: dict[str, Conversation] = {conversation.id: conversation for conversation in read_conversations(path)}
    seen = 0
    for split in ("train", "validation"):
        mask = dataset.mask(split)
        assert mask is not None
        tokens, flags, bounds = np.asarray(dataset.tokens(split)), np.asarray(mask), dataset.boundaries(split)
        assert len(tokens) == len(flags)
        for row, start, end in zip(dataset.documents(split), bounds, bounds[1:], strict=False):
            ids, wanted = render_training(tokenizer, by_id[row["id"]].as_messages)
            assert tokens[start:end].tolist() == ids
            assert flags[start:end].astype(bool).tolist() == wanted
            seen += 1
    assert seen == 60
    assert dataset.metadata["kind"] == "conversations"
