import itertools
import math
import random

import numpy as np
import pytest

from studio.text.unigram import MOST_WORD_CHARS, _Corpus, _digamma, _Index, train_unigram

WORDS = {"banana": 9, "bandana": 4, "an": 30, "nab": 3, "cabana": 5}


def segmentations(word: str, pieces: list[str]) -> "list[list[str]]":
    if not word:
        return [[]]
    return [
        [piece, *rest]
        for piece in pieces
        if word.startswith(piece)
        for rest in segmentations(word[len(piece) :], pieces)
    ]


@pytest.fixture
def case() -> "tuple[list[str], np.ndarray]":
    pieces = ["a", "b", "n", "c", "d", "an", "ana", "ban", "banana", "na"]
    return pieces, np.log(np.arange(1, len(pieces) + 1) / 55)


def test_expected_counts_equal_those_of_all_segmentations(case) -> None:  # type: ignore[no-untyped-def]
    pieces, scores = case
    by = dict(zip(pieces, scores, strict=True))
    wanted = dict.fromkeys(pieces, 0.0)
    for word, count in WORDS.items():
        ways = segmentations(word, pieces)
        chances = [math.exp(sum(by[piece] for piece in way)) for way in ways]
        for way, chance in zip(ways, chances, strict=True):
            for piece in way:
                wanted[piece] += count * chance / sum(chances)
    lattice = _Corpus.of(sorted(WORDS.items())).lattice(_Index(pieces))
    np.testing.assert_allclose(lattice.expected_counts(scores), list(wanted.values()), rtol=1e-12)


def test_best_counts_equal_those_of_the_best_segmentation(case) -> None:  # type: ignore[no-untyped-def]
    pieces, scores = case
    by = dict(zip(pieces, scores, strict=True))
    wanted = dict.fromkeys(pieces, 0)
    for word, count in WORDS.items():
        best = max(segmentations(word, pieces), key=lambda way: sum(by[piece] for piece in way))
        for piece in best:
            wanted[piece] += count
    lattice = _Corpus.of(sorted(WORDS.items())).lattice(_Index(pieces))
    assert lattice.best_counts(scores).tolist() == list(wanted.values())


def test_substrings_are_counted_with_their_words() -> None:
    pieces, counts = _Corpus.of(sorted(WORDS.items())).substrings(3, 100)
    found = dict(zip(pieces, counts, strict=True))
    everything = {word[start:end] for word in WORDS for start, end in itertools.combinations(range(len(word) + 1), 2)}
    wanted = {
        piece: sum(count * sum(word.startswith(piece, at) for at in range(len(word))) for word, count in WORDS.items())
        for piece in everything
        if 2 <= len(piece) <= 3
    }
    assert found == wanted


def test_digamma() -> None:
    # Abramowitz and Stegun, table 6.1; ψ(1) = -γ, ψ(1/2) = -γ - 2 ln 2
    np.testing.assert_allclose(
        _digamma(np.array([1.0, 0.5, 2.0, 10.0])),
        [-0.5772156649, -1.9635100260, 0.4227843351, 2.2517525891],
        atol=1e-9,
    )


def test_scores_are_probabilities_and_sorted() -> None:
    rng = random.Random(1)
    words = {"".join(rng.choices("abcde", k=rng.randint(1, 9))): rng.randint(1, 50) for _ in range(400)}
    pieces = train_unigram(words, 100, 16)
    assert len(pieces) == 100
    assert len({piece for piece, _ in pieces}) == 100
    scores = [score for _, score in pieces]
    assert scores == sorted(scores, reverse=True)
    assert 0.9 < sum(math.exp(score) for score in scores) <= 1.0
    assert set("abcde") <= {piece for piece, _ in pieces}
    assert train_unigram(dict(reversed(list(words.items()))), 100, 16) == pieces


def test_frequent_words_become_pieces() -> None:
    words = {"▁the": 500, "▁them": 40, "\n\n": 300, "\n": 200, "▁thin": 30}
    pieces = dict(train_unigram(words, 12, 16))
    assert {"▁the", "\n\n"} <= pieces.keys()
    assert pieces["▁the"] > pieces["▁"]


def test_pieces_are_no_longer_than_asked_and_no_word_is_too_long() -> None:
    pieces = [piece for piece, _ in train_unigram({"abcdef" * MOST_WORD_CHARS: 50, "abcd": 9}, 60, 4)]
    assert max(map(len, pieces)) == 4


def test_only_the_most_frequent_words_are_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"abab": 50, "abcd": 40, "cdcd": 9}
    monkeypatch.setattr("studio.text.unigram.MOST_CHARS", 8)
    assert not {piece for piece, _ in train_unigram(words, 20, 16)} & {"cdcd", "dc"}
    monkeypatch.undo()
    assert "cdcd" in dict(train_unigram(words, 20, 16))


def test_nothing_to_learn_from() -> None:
    assert train_unigram({}, 10, 16) == []
    assert train_unigram({"x": 1}, 10, 16) == []
    assert [piece for piece, _ in train_unigram({"x": 5}, 10, 16)] == ["x"]
