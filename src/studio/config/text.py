"""From sources to token shards: what is read, cleaned, deduplicated, tokenized and split.

Importing it loads no tokenizer library and no torch.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from studio.config.base import Frozen, refuse

SourceType = Literal["file", "url", "huggingface", "starter"]
DataFormat = Literal["auto", "text", "markdown", "json", "jsonl", "csv", "parquet"]
TokenizerType = Literal["unigram", "bpe", "char", "word"]
MAX_PATH_CHARS = 4096
URL_SCHEMES = ("http://", "https://")


class DataSource(Frozen):
    """001 DataSource: one place that text comes from, and how much of it is drawn."""

    source_type: SourceType = "file"
    """file (file or folder), url (http, https), huggingface (local folder of a data set) or starter (built in)."""
    path: str = Field(default="", max_length=MAX_PATH_CHARS)
    """Path, URL or folder; empty for the starter world."""
    format: DataFormat = "auto"
    """Format of the files; auto: by their suffix."""
    weight: float = Field(default=1.0, gt=0.0)
    """How often the source is drawn against the others, above 0."""
    language: str | None = Field(default=None, pattern=r"^[a-z]{2,3}$")
    """Language of all its documents (ISO 639); null: by file name, then by text."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")
    """Checksum of a downloaded file; null: not checked."""

    @classmethod
    def prepare(cls, data: dict[str, Any]) -> dict[str, Any]:
        """A URL needs no `source_type`."""
        if "source_type" not in data and str(data.get("path", "")).startswith(URL_SCHEMES):
            data["source_type"] = "url"
        return data

    @model_validator(mode="after")
    def _path_is_valid(self) -> Self:
        if self.source_type == "starter":
            return self
        if not self.path.strip():
            raise refuse(f"path is required for a source of type {self.source_type}", "path")
        if "\0" in self.path:
            raise refuse("path holds a NUL character", "path")
        if self.source_type == "url" and not self.path.startswith(URL_SCHEMES):
            raise refuse("path must be an http or https URL for a source of type url", "path")
        return self


class CorpusConfig(Frozen):
    """The texts of a run: one path, or several weighted sources."""

    name: str = Field(default="corpus", min_length=1, max_length=100, pattern=r"^[\w][\w.\- ]*$")
    """Name shown in reports and used for the corpus file."""
    path: str | None = Field(default=None, max_length=MAX_PATH_CHARS)
    """File, folder or URL; when given it is the only source."""
    sources: tuple[DataSource, ...] = ()
    """Weighted sources, used when there is no `path`."""
    size_mb: int = Field(default=3, gt=0)
    """Expected size in MB, for the disk check before a download; typically 1 to 100."""
    strict: bool = False
    """Refuse the whole corpus at the first file that cannot be read; false: report it and go on."""

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if self.path is not None and not self.path.strip():
            raise refuse("path must not be empty", "path")
        if self.path is None and not self.sources:
            raise refuse("a corpus needs a path or at least one source; give corpus.path=FOLDER", "path")
        return self

    @property
    def all_sources(self) -> tuple[DataSource, ...]:
        """The sources to read: `path` alone when it is given."""
        if self.path is None:
            return self.sources
        return (DataSource.model_validate({"path": self.path}),)

    @property
    def is_starter(self) -> bool:
        """Whether any text comes from the built-in starter world."""
        return any(source.source_type == "starter" for source in self.all_sources)


class CleaningConfig(Frozen):
    """What is mended in a text before anything else sees it."""

    unicode_form: Literal["none", "NFC", "NFKC"] = "NFC"
    """Unicode normal form; NFKC also folds look-alikes."""
    normalize_newlines: bool = True
    """CR LF and CR become LF."""
    strip_control: bool = True
    """Remove control characters other than tab and newline, and a byte order mark."""
    strip_boilerplate: bool = True
    """Remove the licence text around Project Gutenberg books."""
    collapse_spaces: bool = False
    """Several spaces inside a line become one."""
    strip_trailing_spaces: bool = True
    """Remove spaces at the ends of lines."""
    max_blank_lines: int | None = Field(default=2, ge=0)
    """Longer runs of blank lines are cut to this many; null: kept."""
    min_chars: int = Field(default=1, ge=0)
    """Documents with fewer characters are dropped."""
    max_chars: int | None = Field(default=None, ge=1)
    """Documents with more characters are dropped; null: none are."""


class DedupConfig(Frozen):
    """Which documents count as the same."""

    exact: bool = True
    """Drop a document whose text, white space aside, was seen before."""
    near: bool = True
    """Drop a document that is nearly one seen before (MinHash)."""
    threshold: float = Field(default=0.85, gt=0.0, le=1.0)
    """Jaccard similarity of word shingles from which two documents are near-duplicates, above 0, up to 1."""
    num_perm: int = Field(default=128, ge=16, le=1024)
    """Hash functions of MinHash: more are slower and sharper."""
    shingle_words: int = Field(default=5, ge=1, le=32)
    """Words per shingle."""
    min_words: int = Field(default=20, ge=1)
    """Shorter documents are compared exactly only."""
    seed: int = Field(default=1, ge=0)
    """Seed of the hash functions."""


class TokenizerConfig(Frozen):
    """What kind of tokenizer is trained, and how large."""

    model_type: TokenizerType = "unigram"
    """unigram, bpe (on bytes), char or word."""
    vocab_size: int = Field(default=8000, ge=9)
    """Tokens with the 8 special ones; a pipeline allows 1,000 to 32,000."""
    byte_fallback: bool = True
    """unigram: a character without a token is written as its bytes, so that every text survives."""
    min_frequency: int = Field(default=2, ge=1)
    """bpe, char and word: rarer pieces get no token."""
    max_piece_chars: int = Field(default=16, ge=1, le=64)
    """Longest token of unigram and bpe, in characters."""
    max_train_mb: float = Field(default=64.0, gt=0.0)
    """MB of text that the tokenizer learns from; the rest only gets encoded."""
    seed: int = Field(default=1337, ge=0)
    """Which documents it learns from, where there are more than `max_train_mb`."""

    @field_validator("model_type", mode="before")
    @classmethod
    def _lower_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value


class DataConfig(Frozen):
    """How documents become token shards."""

    validation_fraction: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Share of the documents that is held out for validation, between 0 and 1."""
    passage_chars: int | None = Field(default=4000, ge=200)
    """Plain text files are cut at paragraphs into documents of about this many characters, so that a book can be split
    between training and validation; null: one document per file."""
    shard_tokens: int = Field(default=1_000_000, ge=1000)
    """Tokens per shard file."""
    workers: int | None = Field(default=None, ge=1)
    """Processes that tokenize; null: the cores of the machine."""
    dedup: DedupConfig = DedupConfig()
    """Which documents count as the same."""
    seed: int = Field(default=1337, ge=0, lt=2**63)
    """Decides which documents are held out."""
