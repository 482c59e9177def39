"""Tokenizers by themselves: train one from files, and encode or decode with any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.core.errors import ConflictError, NotFoundError, UsageError
from studio.core.fsio import staged_directory
from studio.core.paths import Home, safe_child

if TYPE_CHECKING:
    from studio.config.text import CleaningConfig, TokenizerConfig
    from studio.services.models import ModelService
    from studio.text.reports import CorpusReport
    from studio.text.tokenizers import Tokenizer


class TokenizerService:
    """Named tokenizers of a home, and those inside models."""

    def __init__(self, home: Home, models: ModelService) -> None:
        self._home = home
        self._models = models

    def train(self, name: str, source: Path, config: TokenizerConfig, cleaning: CleaningConfig) -> dict[str, Any]:
        """Train from a file or folder into the home, under a new name. {path, vocab_size, lossless, problems}."""
        from studio.text.reports import CorpusReport
        from studio.text.tokenizers import train_tokenizer

        target = safe_child(self._home.tokenizers, name)
        if target.exists():
            raise ConflictError(f"there is a tokenizer '{name}'", where=str(target), remedy="choose another --name")
        target.parent.mkdir(parents=True, exist_ok=True)
        report = CorpusReport()
        tokenizer = train_tokenizer(_texts(source, cleaning, report), config)
        with staged_directory(target) as folder:
            tokenizer.save(folder)
        return {
            "path": str(target),
            "vocab_size": tokenizer.vocab_size,
            "lossless": tokenizer.lossless,
            "note": tokenizer.shortfall,
            "problems": [str(problem) for problem in report.problems],
        }

    def open(self, text: str) -> Tokenizer:
        """By name, folder, or model (path, run id, latest)."""
        from studio.text.tokenizers import Tokenizer

        return Tokenizer.load(self._folder(text))

    def encode(self, text: str, words: str) -> list[int]:
        """Token ids of a text."""
        return self.open(text).encode(words)

    def decode(self, text: str, ids: Sequence[int]) -> str:
        """Text of token ids; UsageError for an id that the vocabulary does not have."""
        tokenizer = self.open(text)
        wrong = [number for number in ids if not 0 <= number < tokenizer.vocab_size]
        if wrong:
            raise UsageError(f"there is no token {wrong[0]}", remedy=f"ids go from 0 to {tokenizer.vocab_size - 1}")
        return tokenizer.decode(list(ids))

    def _folder(self, text: str) -> Path:
        if (Path(text) / "tokenizer.json").is_file():
            return Path(text)
        named = self._home.tokenizers / text
        if text.replace("-", "").replace("_", "").isalnum() and (named / "tokenizer.json").is_file():
            return named
        try:
            return self._models.resolve(text)
        except NotFoundError:
            raise NotFoundError(
                f"no tokenizer or model '{text}'",
                where=str(self._home.tokenizers),
                remedy="studio tokenizer train FILE",
            ) from None


def _texts(source: Path, cleaning: CleaningConfig, report: CorpusReport) -> Iterator[str]:
    from studio.text.cleaning import clean
    from studio.text.documents import read_documents

    for document in read_documents(source, report=report):
        yield clean(document.text, cleaning)
