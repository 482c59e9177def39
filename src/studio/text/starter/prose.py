"""The pretraining text of the starter world: portraits, quizzes, stories, sums, glossaries and counting.

Plain text without any chat markup. Knows the split, so that nothing held out is ever written; knows no files.
"""

import random
from collections.abc import Callable, Iterator

from studio.text.starter.facts import Fact
from studio.text.starter.lexicon import LANGUAGES, Language
from studio.text.starter.skills import LARGEST_ADDEND
from studio.text.starter.split import Split
from studio.text.starter.stories import make_story

MIX = {"portrait": 14, "quiz": 16, "story": 36, "sums": 14, "glossary": 16, "counting": 4}
"""How often each kind of document is drawn."""

PARALLEL_SHARE = 0.4
"""The part of the stories in which two people do the same kinds of things."""

Writer = Callable[[Split, Language, random.Random], str]


def documents(split: Split, seed: int, size_bytes: int) -> Iterator[tuple[str, Language, str]]:
    """(kind, language, text) until `size_bytes` of UTF-8 text are written, languages in turn."""
    rng = random.Random(f"{seed}:prose")
    kinds, weights = list(MIX), list(MIX.values())
    written, index = 0, 0
    while written < size_bytes:
        language = LANGUAGES[index % len(LANGUAGES)]
        kind = rng.choices(kinds, weights)[0]
        text = WRITERS[kind](split, language, rng)
        yield kind, language, text
        written += len(text.encode())
        index += 1


def ask_and_answer(fact: Fact, split: Split, language: Language, rng: random.Random) -> tuple[str, str]:
    """One allowed question about a fact with its answer."""
    return rng.choice(split.training_questions(fact, language)), fact.statements(language)[0]


def _portrait(split: Split, language: Language, rng: random.Random) -> str:
    """Everything about one person or town, each fact in two wordings."""
    facts = split.world.about(rng.choice(split.world.entities))
    said = [s for fact in facts for s in rng.sample(fact.statements(language), 2)]
    rng.shuffle(said)
    return " ".join(said)


def _quiz(split: Split, language: Language, rng: random.Random) -> str:
    """Eight questions about the world, each followed by its answer."""
    pairs = [ask_and_answer(fact, split, language, rng) for fact in rng.sample(split.world.facts, 8)]
    return "\n".join(line for pair in pairs for line in pair)


def _story(split: Split, language: Language, rng: random.Random) -> str:
    """A story and everything one can ask about it."""
    story = make_story(rng, parallel=rng.random() < PARALLEL_SHARE)
    return "\n".join([story.text(language), *(line for pair in story.questions(language, rng) for line in pair)])


def _sums(split: Split, language: Language, rng: random.Random) -> str:
    sums = rng.sample(split.all_sums, 12)
    return "\n".join(s.answer(language) for s in sums)


def _glossary(split: Split, language: Language, rng: random.Random) -> str:
    """Phrases with their translations, the document's language first."""
    phrases = rng.sample(split.training_translations, 10)
    return "\n".join(f"{t.said(language)}: {t.answer(language)}" for t in phrases)


def _counting(split: Split, language: Language, rng: random.Random) -> str:
    """Numbers in steps, up or down: what makes 19 the neighbour of 20."""
    step = rng.choice((1, 1, 2, 3, 5, 10))
    numbers = list(range(rng.randrange(step + 1), 2 * LARGEST_ADDEND + 40, step))
    if rng.random() < 0.3:
        numbers.reverse()
    return " ".join(str(number) for number in numbers)


WRITERS: dict[str, Writer] = {
    "portrait": _portrait,
    "quiz": _quiz,
    "story": _story,
    "sums": _sums,
    "glossary": _glossary,
    "counting": _counting,
}
