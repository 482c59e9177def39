"""Sources, corpora, tokenizers and splits."""

from typing import Any

import pytest

from studio.config.base import parse
from studio.config.text import CorpusConfig, DataConfig, DataSource, TokenizerConfig
from studio.core.errors import ConfigError


@pytest.mark.parametrize("kind", ["file", "url", "huggingface", "starter"])
def test_source_types(kind: str):
    source = DataSource(source_type=kind, path="https://example.org/a.txt")
    assert source.source_type == kind


@pytest.mark.parametrize("form", ["text", "markdown", "json", "jsonl", "csv", "parquet", "auto"])
def test_formats(form: str):
    assert DataSource(path="a", format=form).format == form


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"path": ""}, "path is required for a source of type file"),
        ({"path": "a\0b"}, "path holds a NUL character"),
        ({"path": "a.txt", "source_type": "url"}, "path must be an http or https URL"),
        ({"path": "a.txt", "weight": 0}, "weight: must be greater than 0, got 0"),
        ({"path": "a.txt", "weight": -1.0}, "weight: must be greater than 0, got -1.0"),
        ({"path": "a.doc", "format": "doc"}, "format: must be 'auto', 'text'"),
        ({"path": "a.txt", "source_type": "ftp"}, "source_type: must be 'file'"),
        ({"path": "a.txt", "sha256": "12"}, "sha256: String should match pattern"),
        ({"path": "a.txt", "language": "Spanish"}, "language: String should match pattern"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused(given: dict[str, Any], said: str):
    with pytest.raises(ConfigError) as caught:
        parse(DataSource, given)
    assert said in str(caught.value)


def test_a_url_needs_no_type():
    assert parse(DataSource, {"path": "https://example.org/a.txt"}).source_type == "url"


def test_a_path_is_the_only_source():
    corpus = CorpusConfig(path="texts", sources=(DataSource(source_type="starter"),))
    assert [source.path for source in corpus.all_sources] == ["texts"]
    assert not corpus.is_starter


def test_a_corpus_without_a_source_is_refused():
    with pytest.raises(ConfigError, match="a corpus needs a path or at least one source"):
        parse(CorpusConfig, {})
    with pytest.raises(ConfigError, match="size_mb: must be greater than 0"):
        parse(CorpusConfig, {"path": "a", "size_mb": 0})


@pytest.mark.parametrize("kind", ["unigram", "bpe", "char", "word", "BPE"])
def test_tokenizer_types(kind: str):
    assert parse(TokenizerConfig, {"model_type": kind}).model_type == kind.lower()


def test_a_tokenizer_outside_the_pipeline_may_have_any_size():
    assert TokenizerConfig(vocab_size=100_000).vocab_size == 100_000
    with pytest.raises(ConfigError, match="vocab_size: must be greater than or equal to 9"):
        parse(TokenizerConfig, {"vocab_size": 8})


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_the_validation_share_is_a_true_share(fraction: float):
    with pytest.raises(ConfigError, match="validation_fraction"):
        parse(DataConfig, {"validation_fraction": fraction})
