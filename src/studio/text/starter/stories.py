"""Short stories of one or two people, and the questions that only a reader of the story can answer.

Every story is drawn fresh: who does what, where and with what changes each time, so nothing can be learnt by heart.
In a plain story each deed is of another kind, so a question is answered by finding the kind of thing it asks for. In a
parallel story two people do the same kinds of things, and the name decides. Knows nothing of files, splits or facts.
"""

import random
from dataclasses import dataclass

from studio.text.starter import grammar
from studio.text.starter.lexicon import ANIMALS, COLOURS, FOODS, NAMES, OBJECTS, PLACES, QUALITIES, Language

LARGEST_PRICE = 40
"""Somebody pays from 2 coins to this many."""

OPENERS: dict[Language, tuple[str, ...]] = {
    "eng": (
        "It is a sunny day.",
        "It is raining today.",
        "Here is a short story.",
        "The morning is calm.",
        "It is late at night.",
        "Today is a holiday.",
        "The wind is strong.",
        "Winter is near.",
    ),
    "spa": (
        "Es un día de sol.",
        "Hoy llueve.",
        "Esta es una historia corta.",
        "La mañana está tranquila.",
        "Es muy de noche.",
        "Hoy es fiesta.",
        "El viento es fuerte.",
        "El invierno está cerca.",
    ),
}

_SENTENCES: dict[str, dict[Language, str]] = {
    "place": {"eng": "{n} goes to {x}.", "spa": "{n} va {x}."},
    "thing": {"eng": "{n} buys {x}.", "spa": "{n} compra {x}."},
    "friend": {"eng": "{n} meets {x}.", "spa": "{n} encuentra a {x}."},
    "animal": {"eng": "{n} sees {x}.", "spa": "{n} mira {x}."},
    "food": {"eng": "{n} eats {x}.", "spa": "{n} come {x}."},
    "price": {"eng": "{n} pays {x} coins.", "spa": "{n} paga {x} monedas."},
}
_QUESTIONS: dict[str, dict[Language, tuple[str, ...]]] = {
    "place": {
        "eng": ("Where does {n} go?", "To which place does {n} go?", "In the story, where does {n} go?"),
        "spa": ("¿Adónde va {n}?", "¿A qué lugar va {n}?", "En la historia, ¿adónde va {n}?"),
    },
    "thing": {
        "eng": ("What does {n} buy?", "Which thing does {n} buy?", "In the story, what does {n} buy?"),
        "spa": ("¿Qué compra {n}?", "¿Qué cosa compra {n}?", "En la historia, ¿qué compra {n}?"),
    },
    "friend": {
        "eng": ("Who does {n} meet?", "Which person does {n} meet?", "In the story, who does {n} meet?"),
        "spa": ("¿A quién encuentra {n}?", "¿A qué persona encuentra {n}?", "En la historia, ¿a quién encuentra {n}?"),
    },
    "animal": {
        "eng": ("What does {n} see?", "Which animal does {n} see?", "In the story, what does {n} see?"),
        "spa": ("¿Qué mira {n}?", "¿Qué animal mira {n}?", "En la historia, ¿qué mira {n}?"),
    },
    "food": {
        "eng": ("What does {n} eat?", "Which food does {n} eat?", "In the story, what does {n} eat?"),
        "spa": ("¿Qué come {n}?", "¿Qué comida come {n}?", "En la historia, ¿qué come {n}?"),
    },
    "price": {
        "eng": ("How many coins does {n} pay?", "How much does {n} pay?", "In the story, how much does {n} pay?"),
        "spa": ("¿Cuántas monedas paga {n}?", "¿Cuánto paga {n}?", "En la historia, ¿cuánto paga {n}?"),
    },
}
STORY_KINDS = tuple(_SENTENCES)
"""What somebody does, one sentence form each; a story has a kind at most once."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One person does one thing."""

    name: str
    kind: str
    said: dict[Language, str]
    """What the sentence says of it, in each language."""

    def sentence(self, language: Language) -> str:
        """`Mila buys a red ball.`"""
        return _SENTENCES[self.kind][language].format(n=self.name, x=self.said[language])

    def ask(self, language: Language, rng: random.Random) -> tuple[str, str]:
        """A question about it and its answer, which is the sentence itself."""
        return rng.choice(_QUESTIONS[self.kind][language]).format(n=self.name), self.sentence(language)


@dataclass(frozen=True, slots=True)
class Story:
    """Its scenes in the order told, after one of `OPENERS`."""

    scenes: tuple[Scene, ...]
    opener: int

    def text(self, language: Language) -> str:
        """The story on one line."""
        return " ".join([OPENERS[language][self.opener], *(scene.sentence(language) for scene in self.scenes)])

    def questions(self, language: Language, rng: random.Random) -> list[tuple[str, str]]:
        """A question about each scene with its answer, in a random order."""
        return [scene.ask(language, rng) for scene in rng.sample(self.scenes, len(self.scenes))]


def make_story(rng: random.Random, *, parallel: bool = False) -> Story:
    """A fresh story about one or two people: three to five deeds of different kinds, or two kinds by both of them."""
    first, second, friend = rng.sample(NAMES, 3)
    opener = rng.randrange(len(OPENERS["eng"]))
    if parallel:
        return Story(_parallel_scenes(first.text, second.text, rng), opener)
    people = (first,) if rng.random() < 0.5 else (first, second)
    kinds = rng.sample(STORY_KINDS, rng.randint(3, 5))
    scenes = tuple(Scene(rng.choice(people).text, kind, _said(kind, friend.text, rng)) for kind in kinds)
    return Story(scenes, opener)


def _parallel_scenes(one: str, other: str, rng: random.Random) -> tuple[Scene, ...]:
    """Two kinds of deeds, each done by both with different things, in a random order."""
    scenes = []
    for kind in rng.sample(STORY_KINDS, 2):
        friends = rng.sample([name.text for name in NAMES if name.text not in (one, other)], 2)
        said = _said(kind, friends[0], rng)
        differs = _said(kind, friends[1], rng)
        while differs == said:
            differs = _said(kind, friends[1], rng)
        scenes += [Scene(one, kind, said), Scene(other, kind, differs)]
    return tuple(rng.sample(scenes, len(scenes)))


def _said(kind: str, friend: str, rng: random.Random) -> dict[Language, str]:
    if kind == "friend":
        return {"eng": friend, "spa": friend}
    if kind == "price":
        coins = str(rng.randint(2, LARGEST_PRICE))
        return {"eng": coins, "spa": coins}
    if kind == "food":
        one, other = rng.sample(FOODS, 2)
        return {"eng": f"{one.eng} with {other.eng}", "spa": f"{one.spa} con {other.spa}"}
    if kind == "place":
        quality, place = rng.choice(QUALITIES), rng.choice(PLACES)
        spanish = grammar.definite(quality, place, "spa")
        to = f"al {spanish.removeprefix('el ')}" if spanish.startswith("el ") else f"a {spanish}"
        return {"eng": grammar.definite(quality, place, "eng"), "spa": to}
    colour, noun = rng.choice(COLOURS), rng.choice(OBJECTS if kind == "thing" else ANIMALS)
    return {"eng": grammar.indefinite(colour, noun, "eng"), "spa": grammar.indefinite(colour, noun, "spa")}
