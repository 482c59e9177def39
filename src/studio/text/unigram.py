"""Training of a unigram vocabulary: which pieces, and how likely each is.

The method is Kudo's (2018, "Subword Regularization", §3.2) as SentencePiece does it: start from every substring that
occurs often, fit probabilities by expectation maximisation, drop the pieces whose loss costs least, repeat. Written
here with numpy rather than taken from the `tokenizers` library because the library's trainer sums in the order of a
randomly seeded hash table: two runs on one text gave different scores and ids, and a resumed pipeline could not be
proved equal to one that was never killed. It knows counted words and no text, files or special tokens.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.signedinteger]
"""Places and numbers; those of edges are 32 bits wide, for there are many of them."""
Float = NDArray[np.float64]

MOST_WORD_CHARS = 32
"""Longer words are cut for training; it also keeps products of probabilities within a double's range."""
MOST_CHARS = 800_000
"""Of the words only the most frequent, with so many characters together, are learned from: about 100,000 words."""
_SEEDS_PER_PIECE = 8
_KEPT_SHARE = 0.75
_EM_ROUNDS = 2
_LEAST_EXPECTED = 0.5


def train_unigram(words: Mapping[str, int], size: int, max_piece_chars: int) -> list[tuple[str, float]]:
    """At most `size` pieces with their natural log-probabilities, most likely first.

    `words` counts the pieces of text that no learned piece may cross. Every frequent character is a piece, so each
    word of such characters can be spelled. The same `words` give the same result, in any order.
    """
    characters = _characters(words, size)
    counted = _most_frequent(_cut(words, frozenset(characters)))
    if not counted:
        return []
    corpus = _Corpus.of(counted)
    seeds, frequencies = corpus.substrings(max_piece_chars, _SEEDS_PER_PIECE * size)
    pieces = [*characters, *seeds]
    weights = np.array([*characters.values(), *frequencies], dtype=np.float64)
    return _shrink(corpus, pieces, np.log(weights / weights.sum()), len(characters), size)


def _characters(words: Mapping[str, int], size: int) -> dict[str, int]:
    """Characters that occur twice or more, most frequent first; at most half of the room."""
    counts: dict[str, int] = {}
    for word, count in words.items():
        for character in word:
            counts[character] = counts.get(character, 0) + count
    common = sorted((-count, character) for character, count in counts.items() if count > 1)
    return {character: -count for count, character in common[: max(1, size // 2)]}


def _cut(words: Mapping[str, int], known: frozenset[str]) -> dict[str, int]:
    """Words of known characters, of at most MOST_WORD_CHARS."""
    counts: dict[str, int] = {}
    for word, count in words.items():
        if known.issuperset(word):
            for start in range(0, len(word), MOST_WORD_CHARS):
                piece = word[start : start + MOST_WORD_CHARS]
                counts[piece] = counts.get(piece, 0) + count
    return counts


def _most_frequent(words: Mapping[str, int]) -> list[tuple[str, int]]:
    """In the order of their characters, so that nothing depends on the order of a mapping."""
    kept, room = [], MOST_CHARS
    for word, count in sorted(words.items(), key=lambda item: (-item[1], item[0])):
        room -= len(word)
        if room < 0:
            break
        kept.append((word, count))
    return sorted(kept)


def _shrink(corpus: "_Corpus", pieces: list[str], scores: Float, fixed: int, size: int) -> list[tuple[str, float]]:
    lattice = corpus.lattice(_Index(pieces))
    while True:
        for _ in range(_EM_ROUNDS):
            expected = lattice.expected_counts(scores)
            expected[:fixed] = np.maximum(expected[:fixed], _LEAST_EXPECTED)
            scores = _maximised(expected)
        if len(pieces) <= size:
            break
        keep = _survivors(lattice, pieces, scores, expected, fixed, max(size, int(len(pieces) * _KEPT_SHARE)))
        pieces, scores, lattice = [pieces[index] for index in keep], scores[keep], lattice.kept(keep)
    return sorted(zip(pieces, scores.tolist(), strict=True), key=lambda item: (-item[1], item[0]))


def _maximised(expected: Float) -> Float:
    """Log-probabilities from expected counts; the digamma makes rare pieces rarer (variational Bayes, as
    SentencePiece).
    """
    floor = np.maximum(expected, 0.1)
    return np.asarray(_digamma(floor) - _digamma(np.array([floor.sum()])), dtype=np.float64)


def _digamma(x: Float) -> Float:
    result = np.zeros_like(x)
    x = x.copy()
    while np.any(small := x < 7):
        result[small] -= 1 / x[small]
        x[small] += 1
    x -= 0.5
    square = 1 / (x * x)
    result += np.log(x) + square * (1 / 24 - square * (7 / 960 - square * 31 / 8064))
    return result


def _survivors(lattice: "_Lattice", pieces: list[str], scores: Float, expected: Float, fixed: int, size: int) -> Int:
    """The `size` pieces whose removal would cost the likelihood most, and all characters; ascending numbers.

    A piece's cost is what its text would lose if each of its places in the best segmentations were spelled by the best
    other segmentation of the piece.
    """
    used = lattice.best_counts(scores)
    total = used.sum()
    spelled = _Corpus.of([(piece, 1) for piece in pieces]).lattice(_Index(pieces))
    alternative = spelled.without_whole().best_pieces(scores)
    with np.errstate(divide="ignore"):
        own = np.log(used) - np.log(total)
    other = np.zeros(len(pieces))
    number = np.zeros(len(pieces))
    np.add.at(number, alternative.word, 1)
    new_total = total + used * np.maximum(number - 1, 0)
    with np.errstate(divide="ignore"):
        share = np.log(used[alternative.piece] + used[alternative.word]) - np.log(new_total[alternative.word])
    np.add.at(other, alternative.word, share)
    cost = np.zeros(len(pieces))
    seen = used > 0
    cost[seen] = used[seen] / total * (own[seen] - other[seen])
    cost[expected < _LEAST_EXPECTED] = -1.0
    cost[:fixed] = np.inf
    # ties are settled by the piece's number, so that the choice never depends on how numpy sorts
    order = np.lexsort((np.arange(len(pieces)), -cost))
    return np.sort(order[: max(size, fixed)])


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Pieces of best segmentations: `piece[i]` stands in the one of word `word[i]`."""

    word: Int
    piece: Int


class _Index:
    """Pieces by 64-bit hash of their characters and by length."""

    def __init__(self, pieces: list[str]) -> None:
        by_length: dict[int, list[int]] = {}
        for number, piece in enumerate(pieces):
            by_length.setdefault(len(piece), []).append(number)
        self.size = len(pieces)
        self.by_length: dict[int, tuple[NDArray[np.uint64], Int]] = {}
        for length, numbers in by_length.items():
            keys = _hashes(_codes(pieces[number] for number in numbers).reshape(-1, length))
            order = np.argsort(keys)
            self.by_length[length] = keys[order], np.array(numbers, dtype=np.int32)[order]


def _codes(texts: Iterable[str]) -> NDArray[np.uint64]:
    return np.frombuffer("".join(texts).encode("utf-32-le"), dtype="<u4").astype(np.uint64)


def _hashes(codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(n, length) character codes → (n,) hashes."""
    value = np.full(len(codes), 0xCBF29CE484222325, dtype=np.uint64)
    for column in range(codes.shape[1]):
        value = _mixed(value, codes[:, column])
    return value


def _mixed(value: NDArray[np.uint64], code: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = (value ^ (code + np.uint64(1))) * np.uint64(0x9E3779B97F4A7C15)
    return value ^ (value >> np.uint64(32))


@dataclass(frozen=True, slots=True)
class _Corpus:
    """Counted words as one array of characters."""

    words: list[str]
    counts: Float
    codes: NDArray[np.uint64]
    """(characters,)"""
    word: Int
    """(characters,): the word that each character belongs to."""
    left: Int
    """(characters,): characters from here to the end of the word, this one included."""

    @classmethod
    def of(cls, counted: list[tuple[str, int]]) -> "_Corpus":
        words = [word for word, _ in counted]
        lengths = np.array([len(word) for word in words], dtype=np.int64)
        ends = np.repeat(np.cumsum(lengths), lengths)
        return cls(
            words=words,
            counts=np.array([count for _, count in counted], dtype=np.float64),
            codes=_codes(words),
            word=np.repeat(np.arange(len(words), dtype=np.int32), lengths),
            left=ends - np.arange(len(ends)),
        )

    def _by_length(self, longest: int) -> Iterator[tuple[int, Int, NDArray[np.uint64]]]:
        """For each length from 1: where a substring of that length can start, and the substrings' hashes."""
        value = np.full(len(self.codes), 0xCBF29CE484222325, dtype=np.uint64)
        starts = np.arange(len(self.codes))
        for length in range(1, longest + 1):
            inside = self.left[starts] >= length
            starts, value = starts[inside], value[inside]
            if not len(starts):
                return
            value = _mixed(value, self.codes[starts + length - 1])
            yield length, starts, value

    def substrings(self, longest: int, most: int) -> tuple[list[str], list[float]]:
        """Substrings of two characters or more that occur twice or more, with their counts; the `most` that cover
        most.
        """
        found: list[tuple[Int, Float, int]] = []
        for length, starts, value in self._by_length(longest):
            if length < 2:
                continue
            _, first, which = np.unique(value, return_index=True, return_inverse=True)
            counts = _sums(which, self.counts[self.word[starts]])
            often = counts >= 2
            found.append((starts[first[often]], counts[often], length))
        if not found:
            return [], []
        starts = np.concatenate([start for start, _, _ in found])
        counts = np.concatenate([count for _, count, _ in found])
        lengths = np.concatenate([np.full(len(start), length) for start, _, length in found])
        best = np.lexsort((starts, lengths, -counts * lengths))[:most]
        text = "".join(self.words)
        pieces = [text[start : start + length] for start, length in zip(starts[best], lengths[best], strict=True)]
        return pieces, counts[best].tolist()

    def lattice(self, index: _Index) -> "_Lattice":
        """Every place where a piece stands in a word."""
        start, length, piece = [], [], []
        for size, starts, value in self._by_length(max(index.by_length)):
            if size not in index.by_length:
                continue
            keys, numbers = index.by_length[size]
            place = np.minimum(np.searchsorted(keys, value), len(keys) - 1)
            hit = keys[place] == value
            start.append(starts[hit].astype(np.int32))
            length.append(np.full(int(hit.sum()), size, dtype=np.int32))
            piece.append(numbers[place[hit]])
        return _Lattice.of(self, index.size, np.concatenate(start), np.concatenate(length), np.concatenate(piece))


class _Lattice:
    """Pieces in words as edges between nodes; word w's nodes are its character offsets + w, so n characters have n + 1.

    Edges are sorted by the place in the word where they end, for passes forwards; `_back` sorts them
    by where they start.
    """

    def __init__(self, corpus: _Corpus, size: int, start: Int, length: Int, piece: Int) -> None:
        self.corpus, self.size = corpus, size
        self.start, self.length, self.piece = start, length, piece
        self.word = corpus.word[start]
        self.begin = start + self.word
        self.end = self.begin + length
        sizes = np.bincount(corpus.word, minlength=len(corpus.words))
        self.last = (np.cumsum(sizes + 1) - 1).astype(np.int32)
        self.first = self.last - sizes.astype(np.int32)
        self.nodes = int(self.last[-1]) + 1
        self.depth_in = self.begin - self.first[self.word]

    @classmethod
    def of(cls, corpus: _Corpus, size: int, start: Int, length: Int, piece: Int) -> "_Lattice":
        """Edges in any order."""
        lattice = cls(corpus, size, start, length, piece)
        order = np.lexsort((lattice.begin, lattice.end, lattice.depth_in + length))
        return cls(corpus, size, start[order], length[order], piece[order])

    def kept(self, pieces: Int) -> "_Lattice":
        """With these pieces alone, numbered anew."""
        number = np.full(self.size, -1, dtype=np.int32)
        number[pieces] = np.arange(len(pieces))
        return self._where(number[self.piece] >= 0, len(pieces), number)

    def without_whole(self) -> "_Lattice":
        """Without the edges that span a whole word of several characters."""
        whole = (self.length == (self.last - self.first)[self.word]) & (self.length > 1)
        return self._where(~whole, self.size, np.arange(self.size, dtype=np.int32))

    def _where(self, edges: NDArray[np.bool_], size: int, number: Int) -> "_Lattice":
        return _Lattice(self.corpus, size, self.start[edges], self.length[edges], number[self.piece[edges]])

    @cached_property
    def _back(self) -> Int:
        return np.lexsort((self.end, self.begin, -self.depth_in))

    def _layers(self, depth: Int) -> Iterator[slice]:
        edges = np.searchsorted(depth, np.arange(int(depth[-1]) + 2)) if len(depth) else np.zeros(1, dtype=np.int64)
        for low, high in pairwise(edges.tolist()):
            if low < high:
                yield slice(low, high)

    def expected_counts(self, scores: Float) -> Float:
        """(pieces,): how often each piece is expected to stand in the words, over all segmentations."""
        chance = np.exp(scores)[self.piece]
        forward = np.zeros(self.nodes)
        forward[self.first] = 1.0
        for layer in self._layers(self.depth_in + self.length):
            _add(forward, self.end[layer], forward[self.begin[layer]] * chance[layer])
        back = self._back
        backward = np.zeros(self.nodes)
        backward[self.last] = 1.0
        begin, end, deep, likely = self.begin[back], self.end[back], -self.depth_in[back], chance[back]
        for layer in self._layers(deep - deep[0] if len(deep) else deep):
            _add(backward, begin[layer], backward[end[layer]] * likely[layer])
        whole = forward[self.last]
        weight = np.divide(self.corpus.counts, whole, out=np.zeros_like(whole), where=whole > 0)
        share = forward[self.begin] * chance * backward[self.end] * weight[self.word]
        return _sums(self.piece, share, self.size)

    def best_counts(self, scores: Float) -> Float:
        """(pieces,): how often each piece stands in the most likely segmentations."""
        chosen = self.best_pieces(scores)
        return _sums(chosen.piece, self.corpus.counts[chosen.word], self.size)

    def best_pieces(self, scores: Float) -> _Chosen:
        """The most likely segmentation of each word that has one."""
        score = scores[self.piece]
        best = np.full(self.nodes, -np.inf)
        best[self.first] = 0.0
        by = np.full(self.nodes, -1, dtype=np.int64)
        for layer in self._layers(self.depth_in + self.length):
            value = best[self.begin[layer]] + score[layer]
            ends = self.end[layer]
            heads = np.flatnonzero(np.r_[True, ends[1:] != ends[:-1]])
            top = np.maximum.reduceat(value, heads)
            group = np.cumsum(np.r_[False, ends[1:] != ends[:-1]])
            winners = np.flatnonzero(value == top[group])
            nodes, first = np.unique(ends[winners], return_index=True)
            best[nodes], by[nodes] = top, winners[first] + layer.start
        return self._traced(by)

    def _traced(self, by: Int) -> _Chosen:
        words, pieces = [], []
        word, node = np.arange(len(self.last)), self.last.copy()
        while len(node):
            edge = by[node]
            going = (edge >= 0) & (node > self.first[word])
            word, edge = word[going], edge[going]
            words.append(word)
            pieces.append(self.piece[edge])
            node = self.begin[edge]
        return _Chosen(np.concatenate(words), np.concatenate(pieces))


def _sums(places: Int, values: Float, size: int = 0) -> Float:
    return np.bincount(places, weights=values, minlength=size).astype(np.float64, copy=False)


def _add(target: Float, places: Int, values: Float) -> None:
    """`target[places] += values` where equal places stand together."""
    heads = np.flatnonzero(np.r_[True, places[1:] != places[:-1]])
    target[places[heads]] += np.add.reduceat(values, heads)
