"""What is held out of the starter world's training text, and the evaluation cases made from it.

A held-out fact or sum is one wording of one question; its answer is taught through the other wordings. A held-out
translation is kept out of training in every wording and language. Stories are fresh. Knows nothing of files.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from studio.text.starter.facts import Fact, World
from studio.text.starter.lexicon import LANGUAGES, Language
from studio.text.starter.skills import Sum, Translation, all_sums, all_translations
from studio.text.starter.stories import STORY_KINDS, make_story

HELD_OUT_TRANSLATIONS = 60
SHARES = {"story": 0.35, "parallel": 0.15, "fact": 0.2, "sum": 0.1, "translation": 0.2}
"""What part of the cases of a language each kind has; stories must stay at a third or more."""
LARGEST_ANSWER_SHARE = 0.02
"""No answer may be right for more than this part of a language's cases: the chance bound."""


@dataclass(frozen=True, slots=True)
class Case:
    """One held-out question; `question` is the whole user message, with the story in it where there is one."""

    id: str
    language: Language
    kind: str
    question: str
    answer: str
    story: str = ""


@dataclass(frozen=True)
class Split:
    """Which wordings, sums and translations training may not use."""

    world: World
    wordings: dict[tuple[str, str, Language], int]
    """(entity, fact kind, language) -> the index of its held-out question."""
    sums: dict[tuple[Sum, Language], int]
    """(sum, language) -> the index of its held-out question."""
    translations: frozenset[tuple[str, str]]

    def training_questions(self, fact: Fact, language: Language) -> list[str]:
        """The questions about a fact that training may ask."""
        held_out = self.wordings[fact.entity, fact.kind.name, language]
        return [q for index, q in enumerate(fact.questions(language)) if index != held_out]

    def held_out_question(self, fact: Fact, language: Language) -> str:
        """The one question about a fact that training never asks in this wording."""
        return fact.questions(language)[self.wordings[fact.entity, fact.kind.name, language]]

    @cached_property
    def all_sums(self) -> list[Sum]:
        """Every sum, in both orders."""
        return list(dict.fromkeys(sum_ for sum_, _ in self.sums))

    def training_sum_questions(self, asked: Sum, language: Language) -> list[str]:
        """The wordings of a sum that training may use."""
        held_out = self.sums[asked, language]
        return [q for index, q in enumerate(asked.questions(language)) if index != held_out]

    @cached_property
    def training_translations(self) -> list[Translation]:
        """Every translation that training may use."""
        return [t for t in all_translations() if (t.adjective.eng, t.noun.eng) not in self.translations]


def make_split(world: World, seed: int) -> Split:
    """Draw what is held out; pure in (world, seed)."""
    rng = random.Random(f"{seed}:split")
    wordings = {
        (fact.entity, fact.kind.name, language): rng.randrange(len(fact.questions(language)))
        for fact in world.facts
        for language in LANGUAGES
    }
    sums = {
        (asked, language): rng.randrange(len(asked.questions(language)))
        for asked in all_sums()
        for language in LANGUAGES
    }
    phrases = rng.sample(all_translations(), HELD_OUT_TRANSLATIONS)
    return Split(world, wordings, sums, frozenset((t.adjective.eng, t.noun.eng) for t in phrases))


def make_cases(split: Split, seed: int, per_language: int = 200) -> list[Case]:
    """Held-out cases with the kinds in `SHARES`, no answer too often and no question twice."""
    cases = []
    for language in LANGUAGES:
        rng = random.Random(f"{seed}:cases:{language}")
        limit = max(1, int(per_language * LARGEST_ANSWER_SHARE))
        answers: Counter[str] = Counter()
        for kind, share in SHARES.items():
            wanted, kept = round(per_language * share), 0
            for case in _candidates(kind, split, language, rng):
                if kept == wanted:
                    break
                if answers[case.answer] < limit:
                    answers[case.answer] += 1
                    cases.append(Case(f"{language}-{kind}-{kept:03d}", *case_fields(case)))
                    kept += 1
    return cases


def case_fields(case: Case) -> tuple[Language, str, str, str, str]:
    """Everything but the id."""
    return case.language, case.kind, case.question, case.answer, case.story


def _candidates(kind: str, split: Split, language: Language, rng: random.Random) -> Iterator[Case]:
    makers = {
        "story": _stories,
        "parallel": _parallel_stories,
        "fact": _facts,
        "sum": _sums,
        "translation": _translations,
    }
    return makers[kind](split, language, rng)


def _stories(split: Split, language: Language, rng: random.Random) -> Iterator[Case]:
    """Without end: fresh stories, every kind of question in turn."""
    turn = 0
    while True:
        story = make_story(rng)
        scene = next((scene for scene in story.scenes if scene.kind == STORY_KINDS[turn % len(STORY_KINDS)]), None)
        if scene is None:
            continue
        question, answer = scene.ask(language, rng)
        text = story.text(language)
        yield Case("", language, "story", f"{text} {question}", answer, text)
        turn += 1


def _parallel_stories(split: Split, language: Language, rng: random.Random) -> Iterator[Case]:
    """Without end: fresh stories in which the name in the question decides between two people."""
    while True:
        story = make_story(rng, parallel=True)
        question, answer = rng.choice(story.scenes).ask(language, rng)
        text = story.text(language)
        yield Case("", language, "parallel", f"{text} {question}", answer, text)


def _facts(split: Split, language: Language, rng: random.Random) -> Iterator[Case]:
    for fact in rng.sample(split.world.facts, len(split.world.facts)):
        yield Case("", language, "fact", split.held_out_question(fact, language), fact.statements(language)[0])


def _sums(split: Split, language: Language, rng: random.Random) -> Iterator[Case]:
    for asked in rng.sample(split.all_sums, len(split.all_sums)):
        question = asked.questions(language)[split.sums[asked, language]]
        yield Case("", language, "sum", question, asked.answer(language))


def _translations(split: Split, language: Language, rng: random.Random) -> Iterator[Case]:
    held_out = [t for t in all_translations() if (t.adjective.eng, t.noun.eng) in split.translations]
    for phrase in rng.sample(held_out, len(held_out)):
        yield Case("", language, "translation", rng.choice(phrase.questions(language)), phrase.answer(language))
