"""Tokenizers of every type, trained once on a small text."""

import pytest

from studio.config.text import TokenizerConfig
from studio.text.tokenizers import Tokenizer, train_tokenizer
from tests.text.sample import paragraphs

KINDS = ("bpe", "unigram", "char", "word")


@pytest.fixture(scope="session")
def trained() -> dict[str, Tokenizer]:
    """By type, with bytes to fall back on."""
    texts = paragraphs(200)
    return {kind: train_tokenizer(texts, TokenizerConfig(model_type=kind, vocab_size=420)) for kind in KINDS}


@pytest.fixture(params=KINDS)
def tokenizer(request: pytest.FixtureRequest, trained: dict[str, Tokenizer]) -> Tokenizer:
    """Each of them in turn."""
    return trained[request.param]
