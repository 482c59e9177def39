"""The conversations and preference pairs of the starter world.

A conversation is a list of {"role", "content"} messages with several short turns. A preference pair is a prompt with
a good and a worse answer. Knows the split, so that nothing held out is ever asked; knows no files.
"""

import random
from collections.abc import Iterator

from studio.text.starter.facts import PERSON_KINDS
from studio.text.starter.lexicon import LANGUAGES, NAMES, Language
from studio.text.starter.prose import PARALLEL_SHARE, ask_and_answer
from studio.text.starter.skills import SMALL_TALK, UNKNOWN
from studio.text.starter.split import Split
from studio.text.starter.stories import make_story

STORY_SHARE = 0.5
"""The part of the conversations that is about a story."""
TURNS = {"fact": 35, "sum": 30, "translation": 25, "small_talk": 5, "unknown": 5}
"""How often each kind of turn is drawn in a conversation without a story."""
_SYLLABLES = "ba be bi bo da de di do fa fi ga go ka ki la lo ma mi na no pa po ra ri sa so ta ti va vo za zu".split()

Turn = tuple[str, str]


def conversations(split: Split, seed: int, count: int) -> Iterator[tuple[Language, str, list[Turn]]]:
    """(language, kind, question-answer turns), languages in turn."""
    rng = random.Random(f"{seed}:chats")
    for index in range(count):
        language = LANGUAGES[index % len(LANGUAGES)]
        if rng.random() < STORY_SHARE:
            before = [turn(split, language, rng) for _ in range(rng.choice((0, 0, 1, 2)))]
            yield language, "story", [*before, *_story_turns(language, rng)]
        else:
            yield language, "mixed", [turn(split, language, rng) for _ in range(6)]


def turn(split: Split, language: Language, rng: random.Random) -> Turn:
    """One question of any kind but a story's, with its answer."""
    kind = rng.choices(list(TURNS), list(TURNS.values()))[0]
    if kind == "fact":
        return ask_and_answer(rng.choice(split.world.facts), split, language, rng)
    if kind == "sum":
        asked = rng.choice(split.all_sums)
        return rng.choice(split.training_sum_questions(asked, language)), asked.answer(language)
    if kind == "translation":
        phrase = rng.choice(split.training_translations)
        return rng.choice(phrase.questions(language)), phrase.answer(language)
    if kind == "small_talk":
        greetings, answer = rng.choice(SMALL_TALK[language])
        return rng.choice(greetings), answer
    return _unknown(split, language, rng), UNKNOWN[language]


def _unknown(split: Split, language: Language, rng: random.Random) -> str:
    """A question about somebody of whom the world knows nothing."""
    residents = {name.text for name in split.world.residents}
    strangers = [name.text for name in NAMES if name.text not in residents]
    name = (
        rng.choice(strangers) if rng.random() < 0.5 else "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 3))).title()
    )
    return rng.choice(rng.choice(PERSON_KINDS).questions[language]).format(n=name)


def _story_turns(language: Language, rng: random.Random) -> list[Turn]:
    """A story with the first question, then more questions about it."""
    story = make_story(rng, parallel=rng.random() < PARALLEL_SHARE)
    (question, answer), *rest = story.questions(language, rng)
    return [(f"{story.text(language)} {question}", answer), *rest]


def messages(turns: list[Turn]) -> list[dict[str, str]]:
    """Turns as alternating user and assistant messages."""
    return [
        {"role": role, "content": content}
        for pair in turns
        for role, content in zip(("user", "assistant"), pair, strict=True)
    ]


def preferences(split: Split, seed: int, count: int) -> Iterator[dict[str, str]]:
    """Pairs whose rejected answer is wrong, in the other language, or far too long."""
    rng = random.Random(f"{seed}:preferences")
    for index in range(count):
        language = LANGUAGES[index % len(LANGUAGES)]
        other: Language = "spa" if language == "eng" else "eng"
        flaw = ("wrong", "language", "long")[index // 2 % 3]
        fact, another = rng.sample(split.world.facts, 2)
        prompt, chosen = ask_and_answer(fact, split, language, rng)
        if flaw == "wrong":
            rejected = another.statements(language)[0]
        elif flaw == "language":
            rejected = fact.statements(other)[0]
        else:
            rejected = " ".join([*fact.statements(language), *another.statements(language)])
        yield {"language": language, "flaw": flaw, "prompt": prompt, "chosen": chosen, "rejected": rejected}
