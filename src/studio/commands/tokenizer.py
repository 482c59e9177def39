"""`studio tokenizer train|encode|decode`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from studio.commands.output import Commands, group, show, verb

if TYPE_CHECKING:
    from studio.services.tokenizers import TokenizerService

TOKENIZER_HELP = "a name, a folder, a run id or its beginning, or latest"


def add_parser(commands: Commands) -> None:
    actions = group(
        commands,
        "tokenizer",
        summary="train and use tokenizers",
        example="studio tokenizer encode latest 'the red ball'",
    )
    train = verb(
        actions,
        "train",
        summary="train a tokenizer from a file or folder",
        example="studio tokenizer train books/ --name books --type bpe --vocab-size 4000",
        run=_train,
    )
    train.add_argument("source", type=Path, help="file or folder of text")
    train.add_argument("--name", default="tokenizer", help="name in the home (default: tokenizer)")
    train.add_argument("--type", default="unigram", choices=["unigram", "bpe", "char", "word"], help="default: unigram")
    train.add_argument("--vocab-size", type=int, default=8000, help="number of tokens (default: 8000)")
    encode = verb(
        actions,
        "encode",
        summary="show the token ids of a text",
        example="studio tokenizer encode latest 'hola'",
        run=_encode,
    )
    encode.add_argument("tokenizer", help=TOKENIZER_HELP)
    encode.add_argument("text")
    decode = verb(
        actions,
        "decode",
        summary="show the text of token ids",
        example="studio tokenizer decode latest 12 99 4",
        run=_decode,
    )
    decode.add_argument("tokenizer", help=TOKENIZER_HELP)
    decode.add_argument("ids", nargs="+", type=int)


def _service() -> TokenizerService:
    from studio.services.studio import open_studio

    return open_studio().tokenizers


def _train(arguments: argparse.Namespace) -> int:
    from studio.config.base import parse
    from studio.config.text import CleaningConfig, TokenizerConfig

    config = parse(
        TokenizerConfig, {"model_type": arguments.type, "vocab_size": arguments.vocab_size}, where="tokenizer"
    )
    made = _service().train(arguments.name, arguments.source, config, CleaningConfig())
    lines = [f"tokenizer {made['path']}: {made['vocab_size']:,} tokens", *made["problems"]]
    show(arguments, made, [*lines, made["note"]] if made["note"] else lines)
    return 0


def _encode(arguments: argparse.Namespace) -> int:
    ids = _service().encode(arguments.tokenizer, arguments.text)
    show(arguments, {"ids": ids}, [" ".join(map(str, ids))])
    return 0


def _decode(arguments: argparse.Namespace) -> int:
    text = _service().decode(arguments.tokenizer, arguments.ids)
    show(arguments, {"text": text}, [text])
    return 0
