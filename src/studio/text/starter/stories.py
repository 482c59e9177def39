"""Short stories of one to three people, and the questions that only a reader of the story can answer.

Every story is drawn fresh: who is where with which thing changes each time, so nothing can be learnt by heart.
Knows nothing of files, splits or the world's fixed facts.
"""

import random
from dataclasses import dataclass

from studio.text.starter import grammar
from studio.text.starter.lexicon import COLOURS, NAMES, OBJECTS, PLACES, QUALITIES, Adjective, Language, Noun

STORY_KINDS = ("where", "what", "who_has", "who_is")
"""What a story question asks for: a place, a thing, a person by thing, a person by place."""

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
_SCENES: dict[Language, tuple[str, ...]] = {
    "eng": ("{n} is in {p} with {o}.", "{n} is in {p} and has {o}.", "{n} is in {p}. {n} has {o}."),
    "spa": ("{n} está en {p} con {o}.", "{n} está en {p} y tiene {o}.", "{n} está en {p}. {n} tiene {o}."),
}
_QUESTIONS: dict[Language, dict[str, tuple[str, ...]]] = {
    "eng": {
        "where": ("Where is {n}?", "In which place is {n}?", "Where can we find {n}?"),
        "what": ("What does {n} have?", "Which thing does {n} have?", "What is with {n}?"),
        "who_has": ("Who has {do}?", "Who is the one with {do}?"),
        "who_is": ("Who is in {p}?", "Who can we find in {p}?"),
    },
    "spa": {
        "where": ("¿Dónde está {n}?", "¿En qué lugar está {n}?", "¿Dónde encontramos a {n}?"),
        "what": ("¿Qué tiene {n}?", "¿Qué cosa tiene {n}?", "¿Qué lleva {n}?"),
        "who_has": ("¿Quién tiene {do}?", "¿Quién lleva {do}?"),
        "who_is": ("¿Quién está en {p}?", "¿A quién encontramos en {p}?"),
    },
}
_ANSWERS: dict[Language, dict[str, str]] = {
    "eng": {"where": "{n} is in {p}.", "what": "{n} has {o}.", "who_has": "It is {n}.", "who_is": "It is {n}."},
    "spa": {"where": "{n} está en {p}.", "what": "{n} tiene {o}.", "who_has": "Es {n}.", "who_is": "Es {n}."},
}


@dataclass(frozen=True, slots=True)
class Scene:
    """One person, in one place, with one thing."""

    name: str
    place: tuple[Adjective, Noun]
    thing: tuple[Adjective, Noun]

    def words(self, language: Language) -> dict[str, str]:
        """The placeholders of the sentence forms: n, p, o (a thing), do (the thing)."""
        return {
            "n": self.name,
            "p": grammar.definite(*self.place, language),
            "o": grammar.indefinite(*self.thing, language),
            "do": grammar.definite(*self.thing, language),
        }


    def statement(self, kind: str, language: Language) -> str:
        """One sentence that says where the person is or what they have."""
        return _ANSWERS[language][kind].format(**self.words(language))


@dataclass(frozen=True, slots=True)
class Story:
    """Its scenes in the order told; `opener` and `forms` choose the wording."""

    scenes: tuple[Scene, ...]
    opener: int
    forms: tuple[int, ...]

    def text(self, language: Language) -> str:
        """The story as one paragraph."""
        sentences = [
            _SCENES[language][form].format(**scene.words(language))
            for scene, form in zip(self.scenes, self.forms, strict=True)
        ]
        return " ".join([OPENERS[language][self.opener], *sentences])

    def ask(self, scene: int, kind: str, language: Language, rng: random.Random) -> tuple[str, str]:
        """A question of `kind` about one scene, and its answer."""
        words = self.scenes[scene].words(language)
        question = rng.choice(_QUESTIONS[language][kind])
        return question.format(**words), _ANSWERS[language][kind].format(**words)

    def questions(self, count: int, language: Language, rng: random.Random) -> list[tuple[str, str]]:
        """Up to `count` different (scene, kind) questions in a random order."""
        choices = [(scene, kind) for scene in range(len(self.scenes)) for kind in STORY_KINDS]
        rng.shuffle(choices)
        return [self.ask(scene, kind, language, rng) for scene, kind in choices[:count]]


def make_story(people: int, rng: random.Random) -> Story:
    """A fresh story: no two of its people share a place, a quality, a colour or a thing."""
    names = rng.sample(NAMES, people)
    places = zip(rng.sample(QUALITIES, people), rng.sample(PLACES, people), strict=True)
    things = zip(rng.sample(COLOURS, people), rng.sample(OBJECTS, people), strict=True)
    scenes = tuple(Scene(n.text, p, o) for n, p, o in zip(names, places, things, strict=True))
    forms = tuple(rng.randrange(len(_SCENES["eng"])) for _ in scenes)
    return Story(scenes, rng.randrange(len(OPENERS["eng"])), forms)
