import random
from dataclasses import dataclass

import pytest

from studio.config.text import DedupConfig
from studio.text.dedup import Deduplicator
from tests.text.sample import paragraphs


@dataclass(frozen=True)
class Text:
    text: str


LONG = " ".join(f"word{number}" for number in range(400))


def kept(texts: list[str], **changes: object) -> list[bool]:
    keep = Deduplicator(DedupConfig.model_validate(changes))
    return [keep.keep(Text(text)) for text in texts]


def edited(text: str, words: int, seed: int = 1) -> str:
    """`text` with `words` of its words replaced, far apart."""
    rng = random.Random(seed)
    found = text.split()
    for place in rng.sample(range(len(found)), words):
        found[place] = f"changed{place}"
    return " ".join(found)


def jaccard(one: str, other: str, width: int = 5) -> float:
    sets = [
        {tuple(text.split()[at : at + width]) for at in range(len(text.split()) - width + 1)} for text in (one, other)
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_exact_duplicates_are_dropped_white_space_aside() -> None:
    assert kept(["a b", "a  b\n", "a c", "a b"], near=False) == [True, False, True, False]
    assert kept(["a b", "a b"], exact=False, near=False) == [True, True]


def test_near_duplicates_are_dropped() -> None:
    near = edited(LONG, 4)
    assert jaccard(LONG, near) > 0.88
    assert kept([LONG, near]) == [True, False]
    assert kept([LONG, near], near=False) == [True, True]
    assert kept([LONG, near], threshold=1.0) == [True, True]


def test_related_texts_stay() -> None:
    related = edited(LONG, 40)
    assert jaccard(LONG, related) < 0.6
    assert kept([LONG, related]) == [True, True]


def test_paragraphs_with_common_phrases_stay() -> None:
    assert all(kept(["\n".join(paragraphs(30, seed)) for seed in range(20)]))


def test_short_texts_are_compared_exactly_only() -> None:
    assert kept(["one two three four five six", "one two three four five six seven"]) == [True, True]


@pytest.mark.parametrize("seed", range(8))
def test_the_threshold_is_where_it_says(seed: int) -> None:
    texts = [" ".join(random.Random(seed).choices([f"w{number}" for number in range(5000)], k=600))]
    above, below = edited(texts[0], 4, seed), edited(texts[0], 22, seed)
    assert jaccard(texts[0], above) > 0.92
    assert jaccard(texts[0], below) < 0.75
    assert kept([texts[0], above, below]) == [True, False, True]


def test_counts_say_what_was_dropped() -> None:
    keep = Deduplicator(DedupConfig())
    for text in (LONG, LONG, edited(LONG, 2), "short", "short"):
        keep.keep(Text(text))
    assert (keep.exact_dropped, keep.near_dropped, keep.dropped) == (2, 1, 3)
