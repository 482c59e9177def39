"""The files of a saved tokenizer: what they must hold, and what is wrong when they do not.

It knows JSON and the rules of spec 001 (*Tokenizer*), and nothing of encoding.
"""

import json
from pathlib import Path
from typing import Any

from studio.core.errors import DataError, IntegrityError
from studio.core.fsio import read_json
from studio.text.vocabularies import SPECIAL_TOKENS, SPECIALS


def special_tokens_map() -> dict[str, Any]:
    """What special_tokens_map.json holds."""
    named = {f"{name}_token": SPECIALS[name] for name in ("bos", "eos", "pad", "unk")}
    return {**named, "additional_special_tokens": [SPECIALS[n] for n in ("system", "user", "assistant", "end")]}


def merge_pair(rule: Any) -> tuple[str, str]:
    """A merge of either notation: "a b" or ["a", "b"]."""
    left, right = rule.split(" ") if isinstance(rule, str) else rule
    return left, right


def read_document(path: Path) -> str:
    """The text of tokenizer.json; IntegrityError when it is none."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise IntegrityError("not UTF-8 text", where=str(path)) from error


def read_config(path: Path) -> dict[str, Any]:
    """tokenizer_config.json, whose `tokenizer_type` and `byte_fallback` are ours; IntegrityError without them."""
    try:
        config = read_json(path)
    except DataError as error:
        raise IntegrityError(error.what, where=str(path)) from error
    known = isinstance(config, dict) and config.get("tokenizer_type") in ("bpe", "unigram", "char", "word")
    if not known or not isinstance(config.get("byte_fallback"), bool):
        raise IntegrityError("tokenizer_type or byte_fallback is missing or unknown", where=str(path))
    return dict(config)


def check_document(path: Path, text: str) -> None:
    """Spec 001: vocabulary and its inverse agree, the special tokens have their ids, merges build known tokens."""
    try:
        model = json.loads(text)["model"]
        entries = model["vocab"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(f"not a tokenizer: {error}", where=str(path)) from error
    pairs = [(token, i) for i, (token, _) in enumerate(entries)] if isinstance(entries, list) else list(entries.items())
    vocab = dict(pairs)
    if len(vocab) != len(pairs):
        raise IntegrityError("the vocabulary names a token twice", where=str(path))
    if sorted(vocab.values()) != list(range(len(vocab))):
        raise IntegrityError("the ids of the vocabulary are not 0, 1, 2 …, each once", where=str(path))
    for index, token in enumerate(SPECIAL_TOKENS):
        if vocab.get(token) != index:
            raise IntegrityError(f"special token {token} must have id {index}, has {vocab.get(token)}", where=str(path))
    for rule in model.get("merges", []):
        left, right = merge_pair(rule)
        if not {left, right, left + right} <= vocab.keys():
            raise IntegrityError(f"merge {left!r} + {right!r} is not in the vocabulary", where=str(path))
