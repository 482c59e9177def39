"""How each tokenizer type is built and trained, on top of the `tokenizers` library.

Design choices:
- Ids 0..7 are the special tokens, always; where bytes are a fallback, ids 8..263 are the 256 bytes.
- bpe works on bytes. unigram, char and word work on characters and spell out what they do not know in bytes.
- The library's unigram uses "▁" for a space, so a "▁" of the text itself is escaped on the way in (ESCAPE + "1", and
  ESCAPE itself as ESCAPE + "0") and restored on the way out.
- Every type splits text before "<|" and "<0", so that no piece of user text can be matched to the entry of a special
  token or of a byte ("<|user|>", "<0x41>") in the vocabulary.
- Digits stand alone: a small model learns sums digit by digit.
This module knows no files and no configuration objects.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from studio.core.errors import ConfigError
from studio.text.unigram import train_unigram

SPECIALS: dict[str, str] = {
    "bos": "<|bos|>",
    "eos": "<|eos|>",
    "pad": "<|pad|>",
    "unk": "<|unk|>",
    "system": "<|system|>",
    "user": "<|user|>",
    "assistant": "<|assistant|>",
    "end": "<|end|>",
}
"""Name and text of each special token; its id is its place here."""

SPECIAL_TOKENS: tuple[str, ...] = tuple(SPECIALS.values())
BYTE_TOKENS: tuple[str, ...] = tuple(f"<0x{byte:02X}>" for byte in range(256))
UNK_ID = SPECIAL_TOKENS.index("<|unk|>")
SPACE = "▁"
ESCAPE = "\ue000"

PIECES = r" ?[\p{L}\p{M}]+|\p{N}| ?(?:(?!<[|0])[^\s\p{L}\p{M}\p{N}])+| ?<|\n+|\s+(?!\S)|\s"
"""Words and runs of signs with the space before them, single digits, newlines, other white space."""


def train_backend(
    kind: str, texts: Iterable[str], vocab_size: int, *, byte_fallback: bool, min_frequency: int, max_piece_chars: int
) -> Backend:
    """A trained backend of type `kind` (bpe, unigram, char, word) with at most `vocab_size` tokens.

    bpe, char and word leave out what occurs less than `min_frequency` times; tokens of bpe and unigram have at most
    `max_piece_chars` characters.

    ConfigError when the special tokens and bytes alone need more than `vocab_size`.
    """
    byte_tokens = BYTE_TOKENS if byte_fallback or kind == "bpe" else ()
    least = len(SPECIAL_TOKENS) + len(byte_tokens) + 1
    if vocab_size < least:
        raise ConfigError(
            f"vocab_size {vocab_size} is too small: {len(SPECIAL_TOKENS)} special tokens and {len(byte_tokens)} bytes "
            f"need at least {least}",
            key="tokenizer.vocab_size",
            remedy="Raise vocab_size, or turn byte_fallback off (unigram, char and word only).",
        )
    if kind == "bpe":
        return _finished(_train_bpe(texts, vocab_size, min_frequency, max_piece_chars))
    if kind == "unigram":
        return _finished(_train_unigram(texts, vocab_size, max_piece_chars, byte_fallback=byte_fallback))
    entries = (
        _most_common_characters(texts, min_frequency)
        if kind == "char"
        else _most_common_words(texts, vocab_size, min_frequency)
    )
    return _finished(_whole_entries(kind, entries, vocab_size, byte_fallback=byte_fallback))


def _finished(backend: Backend) -> Backend:
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return backend


def _train_bpe(texts: Iterable[str], vocab_size: int, min_frequency: int, max_piece_chars: int) -> Backend:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=min_frequency,
        max_token_length=max_piece_chars,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def _train_unigram(texts: Iterable[str], vocab_size: int, max_piece_chars: int, *, byte_fallback: bool) -> Backend:
    backend = Backend(models.Unigram())
    backend.normalizer = normalizers.Sequence(
        [normalizers.Replace(ESCAPE, f"{ESCAPE}0"), normalizers.Replace(SPACE, f"{ESCAPE}1")]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="never", split=False),
        ]
    )
    backend.decoder = _unescaping_decoder()
    byte_tokens = BYTE_TOKENS if byte_fallback else ()
    base = [(token, 0.0) for token in (*SPECIAL_TOKENS, *byte_tokens)]
    # the scores of special tokens and bytes are never looked at: text is split so that it cannot match them
    learned = train_unigram(_counted_pieces(backend, texts), vocab_size - len(base), max_piece_chars)
    backend.model = models.Unigram([*base, *learned], UNK_ID, byte_fallback)
    return backend


def _counted_pieces(backend: Backend, texts: Iterable[str]) -> Counter[str]:
    """How often each piece that the backend's rules cut text into occurs."""
    counts: Counter[str] = Counter()
    for text in texts:
        pieces = backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))
        counts.update([piece for piece, _ in pieces])
    return counts


def _unescaping_decoder() -> Any:
    return decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace(SPACE, " "),
            decoders.Replace(f"{ESCAPE}1", SPACE),
            decoders.Replace(f"{ESCAPE}0", ESCAPE),
        ]
    )


def _most_common_characters(texts: Iterable[str], min_frequency: int) -> list[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    return _by_frequency(counts, min_frequency)


def _by_frequency(counts: Counter[str], min_frequency: int) -> list[str]:
    common = [(-count, entry) for entry, count in counts.items() if count >= min_frequency]
    return [entry for _, entry in sorted(common)]


def _most_common_words(texts: Iterable[str], vocab_size: int, min_frequency: int) -> list[str]:
    """Words by frequency, after the single characters that spell the unknown ones (an eighth of the room at most)."""
    characters: Counter[str] = Counter()

    def counted() -> Iterator[str]:
        for text in texts:
            characters.update(text)
            yield text

    backend = Backend(models.WordLevel(unk_token=SPECIALS["unk"]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=[], show_progress=False
    )
    backend.train_from_iterator(counted(), trainer)
    by_id = sorted(backend.get_vocab().items(), key=lambda item: item[1])
    common = _by_frequency(characters, min_frequency)[: max(1, vocab_size // 8)]
    return list(dict.fromkeys([*common, *(word for word, _ in by_id)]))


def _whole_entries(kind: str, entries: list[str], vocab_size: int, *, byte_fallback: bool) -> Backend:
    """char and word: the library's BPE without merges takes whole entries, else characters, else bytes."""
    base = (*SPECIAL_TOKENS, *BYTE_TOKENS) if byte_fallback else SPECIAL_TOKENS
    taken = set(base)
    kept = [entry for entry in entries if entry not in taken][: vocab_size - len(base)]
    vocab = {token: index for index, token in enumerate((*base, *kept))}
    backend = Backend(
        models.BPE(
            vocab=vocab,
            merges=[],
            unk_token=SPECIALS["unk"],
            byte_fallback=byte_fallback,
            ignore_merges=kind == "word",
        )
    )
    if kind == "word":
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return backend
