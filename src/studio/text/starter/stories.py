"""Short stories of one to three people, and the questions that only a reader of the story can answer.

Every story is drawn fresh: who does what with which things changes each time, so nothing can be learnt by heart.
Each sentence is a line of its own, as in a picture book. Knows nothing of files, splits or the world's fixed facts.
"""

import random
from dataclasses import dataclass

from studio.text.starter import grammar
from studio.text.starter.lexicon import COLOURS, NAMES, OBJECTS, VERBS, Adjective, Language, Noun, Verb

STORY_KINDS = ("deed", "things", "who")
"""What a story question asks for: what somebody does, with which things, or who does it."""

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
_QUESTIONS: dict[Language, dict[str, tuple[str, ...]]] = {
    "eng": {
        "deed": ("What does {n} do?", "In the story, what does {n} do?", "What can you say about {n}?"),
        "things": ("What does {n} {base}?", "Which things does {n} {base}?"),
        "who": ("Who {verb} {things}?", "Do you know who {verb} {things}?"),
    },
    "spa": {
        "deed": ("¿Qué hace {n}?", "En la historia, ¿qué hace {n}?", "¿Qué puedes decir de {n}?"),
        "things": ("¿Qué {verb} {n}?", "¿Qué cosas {verb} {n}?"),
        "who": ("¿Quién {verb} {things}?", "¿Sabes quién {verb} {things}?"),
    },
}


@dataclass(frozen=True, slots=True)
class Scene:
    """One person does one thing."""

    name: str
    verb: Verb
    things: tuple[Adjective, Noun]

    def words(self, language: Language) -> dict[str, str]:
        """The placeholders of the question forms."""
        return {
            "n": self.name,
            "verb": self.verb.eng if language == "eng" else self.verb.spa,
            "base": self.verb.base,
            "things": grammar.several(*self.things, language),
        }

    def sentence(self, language: Language) -> str:
        """`Mila buys red balls.`"""
        return "{n} {verb} {things}.".format(**self.words(language))

    def ask(self, kind: str, language: Language, rng: random.Random) -> tuple[str, str]:
        """A question of `kind`, and its answer, which is the sentence itself."""
        question = rng.choice(_QUESTIONS[language][kind])
        return question.format(**self.words(language)), self.sentence(language)


@dataclass(frozen=True, slots=True)
class Story:
    """Its scenes in the order told, after one of `OPENERS`."""

    scenes: tuple[Scene, ...]
    opener: int

    def text(self, language: Language) -> str:
        """The story, a sentence a line."""
        return "\n".join([OPENERS[language][self.opener], *(scene.sentence(language) for scene in self.scenes)])

    def questions(self, count: int, language: Language, rng: random.Random) -> list[tuple[str, str]]:
        """Up to `count` different (scene, kind) questions in a random order."""
        choices = [(scene, kind) for scene in self.scenes for kind in STORY_KINDS]
        rng.shuffle(choices)
        return [scene.ask(kind, language, rng) for scene, kind in choices[:count]]


def make_story(people: int, rng: random.Random) -> Story:
    """A fresh story: no two of its people share a verb, a colour or a thing."""
    names, verbs = rng.sample(NAMES, people), rng.sample(VERBS, people)
    things = zip(rng.sample(COLOURS, people), rng.sample(OBJECTS, people), strict=True)
    scenes = tuple(Scene(n.text, v, o) for n, v, o in zip(names, verbs, things, strict=True))
    return Story(scenes, rng.randrange(len(OPENERS["eng"])))
