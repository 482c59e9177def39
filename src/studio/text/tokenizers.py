"""Text to token ids and back: training, saving, loading and checking of tokenizers.

Design choices:
- Encoding never yields a special token: "<|user|>" typed by a user is plain text. Ids of special tokens are put in
  by `templates` and `shards`.
- Decoding joins the bytes of the ids, so that a stream of ids and a list of ids give the same text, even when it is no
  valid UTF-8 (U+FFFD then).
- `tokenizer.json` is what `transformers` loads; its SHA-256 is the tokenizer's identity.
It knows nothing of models, shards or corpora.
"""

import codecs
import heapq
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer as Backend
from tokenizers import pre_tokenizers

from studio.core.errors import DataError, IntegrityError, NotFoundError, UsageError
from studio.core.fsio import atomic_write_json, atomic_write_text, sha256_bytes
from studio.text.chat_template import CHAT_TEMPLATE
from studio.text.tokenizer_files import check_document, merge_pair, read_config, read_document, special_tokens_map
from studio.text.tokenizer_state import TOKENIZER_STATES, TokenizerState
from studio.text.vocabularies import BYTE_TOKENS, ESCAPE, SPACE, SPECIAL_TOKENS, SPECIALS, train_backend

if TYPE_CHECKING:
    from studio.config.text import TokenizerConfig

__all__ = ["SPECIALS", "SPECIAL_TOKENS", "StreamDecoder", "Tokenizer", "TokenizerState", "train_tokenizer"]

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


class Tokenizer:
    """One tokenizer (spec 001). Get one from `train_tokenizer` or `Tokenizer.load`; it never changes afterwards."""

    bos_id, eos_id, pad_id, unk_id, system_id, user_id, assistant_id, end_id = range(len(SPECIAL_TOKENS))

    def __init__(self) -> None:
        self.state = TOKENIZER_STATES.initial
        self._trained: Backend | None = None
        self._json = ""
        self.model_type = ""
        self.byte_fallback = False
        self.requested_vocab_size = 0

    def _become(self, wanted: TokenizerState) -> None:
        self.state = TOKENIZER_STATES.check(self.state, wanted)

    def train(self, texts: Iterable[str], cfg: "TokenizerConfig") -> None:
        """Learn the vocabulary from `texts` (read once, not kept). ConfigError or DataError; state of 001."""
        self._become(TokenizerState.TRAINING)
        try:
            sample = _sample(_checked(texts), int(cfg.max_train_mb * 1e6), cfg.seed)
            backend = train_backend(
                cfg.model_type,
                sample,
                cfg.vocab_size,
                byte_fallback=cfg.byte_fallback,
                min_frequency=cfg.min_frequency,
                max_piece_chars=cfg.max_piece_chars,
            )
        except UnicodeEncodeError as error:
            raise _surrogate(error.object, "a training text") from error
        self.model_type = str(cfg.model_type)
        self.byte_fallback = bool(cfg.byte_fallback) and self.model_type != "bpe"
        self.requested_vocab_size = cfg.vocab_size
        self._adopt(backend.to_str(pretty=True))
        self._become(TokenizerState.TRAINED)

    def _adopt(self, text: str) -> None:
        self._json = text
        self._trained = Backend.from_str(text)
        # without this, "<|user|>" inside a text would become the special token
        self._trained.encode_special_tokens = True

    @property
    def _backend(self) -> Backend:
        if self._trained is None:
            raise UsageError(f"tokenizer is {self.state}", remedy="Train it or load it first.")
        return self._trained

    # -- text to ids ------------------------------------------------------------------------------------------------

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; never a special token, no BOS or EOS added. DataError for a lone surrogate."""
        try:
            return self._backend.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError) as error:
            raise _surrogate(text) from error

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for many texts, on all cores."""
        try:
            return [e.ids for e in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]
        except (UnicodeEncodeError, TypeError) as error:
            raise _surrogate(next((text for text in texts if _has_surrogate(text)), "")) from error

    # -- ids to text ------------------------------------------------------------------------------------------------

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Text of `ids`; special tokens are left out, or written as their text. UsageError for an unknown id."""
        stream = self.stream(skip_special=skip_special)
        return "".join([stream.push_many(ids), stream.flush()])

    def stream(self, *, skip_special: bool = True) -> "StreamDecoder":
        """A decoder that is given one id at a time."""
        return StreamDecoder(self, skip_special=skip_special)

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The bytes that each id stands for; b"" for special tokens."""
        size = self.vocab_size
        table = [b""] * size
        for token, index in self.vocab.items():
            if index >= len(SPECIAL_TOKENS):
                table[index] = self._bytes_of(token)
        return table

    def _bytes_of(self, token: str) -> bytes:
        if self.model_type == "bpe":
            return bytes(_byte_of_character()[character] for character in token)
        if self.byte_fallback and token in _BYTE_VALUES:
            return bytes([_BYTE_VALUES[token]])
        return (token.replace(SPACE, " ") if self.model_type == "unigram" else token).encode()

    @cached_property
    def byte_lengths(self) -> np.ndarray:
        """int32 array, (vocab_size,): bytes of text per id, 0 for special tokens; what bits per byte divides by.

        An escaped "▁" of unigram counts 4 bytes instead of 3.
        """
        return np.array([len(piece) for piece in self.token_bytes], dtype=np.int32)

    # -- what it is -------------------------------------------------------------------------------------------------

    @cached_property
    def vocab(self) -> dict[str, int]:
        """Token to id."""
        return dict(self._backend.get_vocab(with_added_tokens=True))

    @cached_property
    def vocab_inverse(self) -> dict[int, str]:
        """Id to token."""
        return {index: token for token, index in self.vocab.items()}

    @property
    def special_tokens(self) -> dict[str, int]:
        """Name of each special token (bos, eos, pad, unk, system, user, assistant, end) and its id."""
        return {name: index for index, name in enumerate(SPECIALS)}

    @cached_property
    def merges(self) -> list[tuple[str, str]]:
        """BPE merge rules in order of rank; empty for the other types."""
        model = json.loads(self._json)["model"] if self._json else {}
        return [merge_pair(rule) for rule in model.get("merges", [])]

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones and bytes included."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    @property
    def shortfall(self) -> str:
        """Why there are fewer tokens than asked for, or ""."""
        if not self.requested_vocab_size or self.vocab_size >= self.requested_vocab_size:
            return ""
        return (
            f"the text only yields {self.vocab_size} tokens of type {self.model_type}, "
            f"{self.requested_vocab_size} were asked for"
        )

    @property
    def lossless(self) -> bool:
        """Whether decode(encode(text)) == text for every Unicode string."""
        return self.model_type == "bpe" or self.byte_fallback

    @property
    def lossless_reason(self) -> str:
        """Why it is lossless, or what gets lost."""
        if self.model_type == "bpe":
            return "byte-level: every byte is a token"
        if self.byte_fallback:
            return "characters outside of the vocabulary are spelled in bytes"
        return f"{self.model_type} without byte_fallback: what is not in the vocabulary becomes {SPECIALS['unk']}"

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of `tokenizer.json`."""
        return sha256_bytes(self._json.encode())

    # -- files ------------------------------------------------------------------------------------------------------

    def save(self, directory: Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json, each atomically."""
        assert self._backend is not None
        directory.mkdir(parents=True, exist_ok=True)
        atomic_write_text(directory / "tokenizer.json", self._json)
        atomic_write_json(directory / "tokenizer_config.json", self._config())
        atomic_write_json(directory / "special_tokens_map.json", special_tokens_map())

    def _config(self) -> dict[str, Any]:

        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": 1_000_000_000,
            "clean_up_tokenization_spaces": False,
            "add_bos_token": False,
            "add_eos_token": False,
            "chat_template": CHAT_TEMPLATE,
            "tokenizer_type": self.model_type,
            "byte_fallback": self.byte_fallback,
            "requested_vocab_size": self.requested_vocab_size,
            **special_tokens_map(),
        }

    @classmethod
    def load(cls, directory: Path) -> "Tokenizer":
        """The tokenizer saved in `directory`. NotFoundError; IntegrityError naming the file that does not add up."""
        path = directory / "tokenizer.json"
        if not path.is_file():
            raise NotFoundError("no tokenizer.json", where=str(directory), remedy="Train a tokenizer first.")
        tokenizer = cls()
        config = read_config(directory / "tokenizer_config.json")
        text = read_document(path)
        check_document(path, text)
        tokenizer.model_type = config["tokenizer_type"]
        tokenizer.byte_fallback = config["byte_fallback"]
        tokenizer.requested_vocab_size = config.get("requested_vocab_size", 0)
        try:
            tokenizer._adopt(text)
        except Exception as error:  # the library raises plain Exception
            raise IntegrityError(f"not a tokenizer: {error}", where=str(path)) from error
        tokenizer.state = TokenizerState.TRAINED  # what the file holds
        tokenizer._become(TokenizerState.LOADED)
        _check_consistent(tokenizer, path)
        return tokenizer


def train_tokenizer(texts: Iterable[str], cfg: "TokenizerConfig") -> Tokenizer:
    """Train a tokenizer of `cfg.model_type` with `cfg.vocab_size` tokens (fewer if the text has no more: `shortfall`).

    `texts` is read once; of more than `cfg.max_train_mb` a random choice is kept. DataError when there is
    no text at all or a text holds a lone surrogate; ConfigError when vocab_size is too small.
    """
    tokenizer = Tokenizer()
    tokenizer.train(texts, cfg)
    return tokenizer


class StreamDecoder:
    """Turns ids into text as they come; what is still half a character stays inside until it is whole."""

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool = True) -> None:
        self._bytes = tokenizer.token_bytes
        self._skip_special = skip_special
        self._escapes = tokenizer.model_type == "unigram"
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def push(self, token_id: int) -> str:
        """The text that `token_id` completes; "" while a character is unfinished."""
        return self.push_many([token_id])

    def push_many(self, ids: Iterable[int]) -> str:
        """`push` for several ids at once."""
        return self._unescaped(self._utf8.decode(b"".join([self._piece(index) for index in ids])))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for half a character."""
        text = self._unescaped(self._utf8.decode(b"", True)) + self._held
        self._held = ""
        return text

    def _piece(self, index: int) -> bytes:
        if not 0 <= index < len(self._bytes):
            raise UsageError(f"token id {index} is outside of the vocabulary of {len(self._bytes)} tokens")
        if index < len(SPECIAL_TOKENS) and not self._skip_special:
            return SPECIAL_TOKENS[index].encode()
        return self._bytes[index]

    def _unescaped(self, text: str) -> str:
        if not self._escapes:
            return text
        text = self._held + text
        self._held = ""
        if text.endswith(ESCAPE):
            text, self._held = text[:-1], ESCAPE
        if ESCAPE not in text:
            return text
        return text.replace(f"{ESCAPE}1", SPACE).replace(f"{ESCAPE}0", ESCAPE)


_BYTE_VALUES = {token: value for value, token in enumerate(BYTE_TOKENS)}
_BYTE_OF_CHARACTER: dict[str, int] = {}


def _byte_of_character() -> Mapping[str, int]:
    """GPT-2's printable stand-in for each byte, inverted (as the library's ByteLevel uses it)."""
    if not _BYTE_OF_CHARACTER:
        printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        others = [byte for byte in range(256) if byte not in printable]
        _BYTE_OF_CHARACTER.update({chr(byte): byte for byte in printable})
        _BYTE_OF_CHARACTER.update({chr(256 + place): byte for place, byte in enumerate(others)})
        assert set(_BYTE_OF_CHARACTER) == set(pre_tokenizers.ByteLevel.alphabet())
    return _BYTE_OF_CHARACTER


def _checked(texts: Iterable[str]) -> Iterator[str]:
    seen = 0
    for text in texts:
        if _has_surrogate(text):
            raise _surrogate(text, "a training text")
        seen += not text.isspace() and bool(text)
        yield text
    if not seen:
        raise DataError("there is no text to train a tokenizer on", remedy="Check the corpus: every text is empty.")


def _sample(texts: Iterable[str], most_chars: int, seed: int) -> Iterator[str]:
    """All texts, or a random choice by `seed` of at most `most_chars` characters, in their order; one pass."""
    chance = random.Random(seed)
    kept: list[tuple[float, int, str]] = []  # a heap: the text with the highest draw leaves first
    size = 0
    for number, text in enumerate(texts):
        heapq.heappush(kept, (-chance.random(), number, text))
        size += len(text)
        while size > most_chars and len(kept) > 1:
            size -= len(heapq.heappop(kept)[2])
    return (text for _, _, text in sorted(kept, key=lambda entry: entry[1]))


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _surrogate(text: str, what: str = "the text") -> DataError:
    place = next((i for i, character in enumerate(text) if "\ud800" <= character <= "\udfff"), 0)
    return DataError(
        f"{what} holds a lone surrogate at character {place}, which is no Unicode text",
        remedy="Decode the text with its right encoding, or remove that character.",
    )


def _check_consistent(tokenizer: Tokenizer, path: Path) -> None:
    if len(tokenizer.vocab) != tokenizer.vocab_size or len(tokenizer.vocab_inverse) != tokenizer.vocab_size:
        raise IntegrityError(f"vocab_size {tokenizer.vocab_size} is not the size of the vocabulary", where=str(path))
