"""The facts of the starter world: who lives where, does what, owns what, and how one asks about it.

A `World` is one seeded assignment of values to people and towns. Each fact has three ways to be stated and five to
be asked, in each language; the first statement is the answer that a chat gives. Knows nothing of files, of splits
into training and held-out, or of conversations.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from studio.text.starter import grammar
from studio.text.starter.lexicon import (
    ANIMALS,
    COLOURS,
    FOODS,
    JOBS,
    NAMES,
    OBJECTS,
    PLACES,
    QUALITIES,
    TOWNS,
    Adjective,
    Language,
    Name,
    Noun,
)

RESIDENTS = 30
"""People of the world that have facts; the other names occur in stories only."""


@dataclass(frozen=True, slots=True)
class FactKind:
    """How one kind of fact is stated and asked; `{n}` is the person or town, `{v}` the value."""

    name: str
    statements: dict[Language, tuple[str, str, str]]
    questions: dict[Language, tuple[str, str, str, str, str]]


@dataclass(frozen=True, slots=True)
class Fact:
    """One value of one entity, already in words of both languages."""

    kind: FactKind
    entity: str
    value: dict[Language, str]

    def statements(self, language: Language) -> list[str]:
        """The ways to say it; the first is the answer to its questions."""
        return [s.format(n=self.entity, v=self.value[language]) for s in self.kind.statements[language]]

    def questions(self, language: Language) -> list[str]:
        """The ways to ask for it, always in the same order."""
        return [q.format(n=self.entity) for q in self.kind.questions[language]]


HOME = FactKind(
    "home",
    {
        "eng": ("{n} lives in {v}.", "The home of {n} is in {v}.", "The town of {n} is {v}."),
        "spa": ("{n} vive en {v}.", "La casa de {n} está en {v}.", "El pueblo de {n} es {v}."),
    },
    {
        "eng": (
            "Where does {n} live?",
            "In which town does {n} live?",
            "What is the home town of {n}?",
            "Do you know where {n} lives?",
            "Tell me where {n} lives.",
        ),
        "spa": (
            "¿Dónde vive {n}?",
            "¿En qué pueblo vive {n}?",
            "¿Cuál es el pueblo de {n}?",
            "¿Sabes dónde vive {n}?",
            "Dime dónde vive {n}.",
        ),
    },
)
JOB = FactKind(
    "job",
    {
        "eng": ("{n} works as {v}.", "{n} earns a living as {v}.", "By profession, {n} is {v}."),
        "spa": ("{n} trabaja de {v}.", "{n} se gana la vida de {v}.", "De profesión, {n} es {v}."),
    },
    {
        "eng": (
            "What is the job of {n}?",
            "What does {n} do for a living?",
            "What work does {n} do?",
            "Do you know the job of {n}?",
            "Tell me the profession of {n}.",
        ),
        "spa": (
            "¿Cuál es el trabajo de {n}?",
            "¿De qué trabaja {n}?",
            "¿Qué oficio tiene {n}?",
            "¿Sabes de qué trabaja {n}?",
            "Dime la profesión de {n}.",
        ),
    },
)
PET = FactKind(
    "pet",
    {
        "eng": ("The pet of {n} is {v}.", "{n} keeps {v} at home.", "{n} takes care of {v}."),
        "spa": ("La mascota de {n} es {v}.", "{n} cría {v} en casa.", "{n} cuida {v}."),
    },
    {
        "eng": (
            "What pet does {n} have?",
            "What is the pet of {n}?",
            "Which animal lives with {n}?",
            "Do you know the pet of {n}?",
            "Tell me about the pet of {n}.",
        ),
        "spa": (
            "¿Qué mascota tiene {n}?",
            "¿Cuál es la mascota de {n}?",
            "¿Qué animal vive con {n}?",
            "¿Sabes qué mascota tiene {n}?",
            "Háblame de la mascota de {n}.",
        ),
    },
)
FOOD = FactKind(
    "food",
    {
        "eng": ("{n} likes to eat {v}.", "The favourite food of {n} is {v}.", "At lunch, {n} always eats {v}."),
        "spa": ("A {n} le gusta comer {v}.", "La comida favorita de {n} es {v}.", "Al mediodía, {n} siempre come {v}."),
    },
    {
        "eng": (
            "What does {n} like to eat?",
            "What is the favourite food of {n}?",
            "Which food does {n} like most?",
            "Do you know what {n} likes to eat?",
            "Tell me the favourite food of {n}.",
        ),
        "spa": (
            "¿Qué le gusta comer a {n}?",
            "¿Cuál es la comida favorita de {n}?",
            "¿Qué comida le gusta más a {n}?",
            "¿Sabes qué le gusta comer a {n}?",
            "Dime la comida favorita de {n}.",
        ),
    },
)
FRIEND = FactKind(
    "friend",
    {
        "eng": ("The best friend of {n} is {v}.", "{n} is a good friend of {v}.", "Every day {n} visits {v}."),
        "spa": ("La mejor amistad de {n} es {v}.", "{n} quiere mucho a {v}.", "Cada día {n} visita a {v}."),
    },
    {
        "eng": (
            "Who is the best friend of {n}?",
            "Who does {n} like to visit?",
            "Which friend does {n} have?",
            "Do you know the best friend of {n}?",
            "Tell me about the friend of {n}.",
        ),
        "spa": (
            "¿Quién es la mejor amistad de {n}?",
            "¿A quién visita {n}?",
            "¿Qué amistad tiene {n}?",
            "¿Sabes a quién quiere mucho {n}?",
            "Háblame de la mejor amistad de {n}.",
        ),
    },
)
AGE = FactKind(
    "age",
    {
        "eng": ("{n} is {v} years old.", "The age of {n} is {v} years.", "{n} was born {v} years ago."),
        "spa": ("{n} tiene {v} años.", "La edad de {n} es de {v} años.", "{n} nació hace {v} años."),
    },
    {
        "eng": (
            "How old is {n}?",
            "What is the age of {n}?",
            "How many years old is {n}?",
            "Do you know how old {n} is?",
            "Tell me the age of {n}.",
        ),
        "spa": (
            "¿Cuántos años tiene {n}?",
            "¿Cuál es la edad de {n}?",
            "¿Qué edad tiene {n}?",
            "¿Sabes cuántos años tiene {n}?",
            "Dime la edad de {n}.",
        ),
    },
)
TREASURE = FactKind(
    "treasure",
    {
        "eng": ("The treasure of {n} is {v}.", "{n} would never sell {v}.", "{n} once won {v}."),
        "spa": ("El tesoro de {n} es {v}.", "{n} nunca vendería {v}.", "{n} ganó una vez {v}."),
    },
    {
        "eng": (
            "What is the treasure of {n}?",
            "What would {n} never sell?",
            "Which thing is dear to {n}?",
            "Do you know the treasure of {n}?",
            "Tell me about the treasure of {n}.",
        ),
        "spa": (
            "¿Cuál es el tesoro de {n}?",
            "¿Qué no vendería nunca {n}?",
            "¿Qué cosa es un tesoro para {n}?",
            "¿Sabes cuál es el tesoro de {n}?",
            "Háblame del tesoro de {n}.",
        ),
    },
)
SYMBOL = FactKind(
    "symbol",
    {
        "eng": ("The symbol of {n} is {v}.", "The flag of {n} shows {v}.", "The people of {n} love {v}."),
        "spa": ("El símbolo de {n} es {v}.", "La bandera de {n} muestra {v}.", "El escudo de {n} lleva {v}."),
    },
    {
        "eng": (
            "What is the symbol of {n}?",
            "What does the flag of {n} show?",
            "Which animal is on the flag of {n}?",
            "Do you know the symbol of {n}?",
            "Tell me about the flag of {n}.",
        ),
        "spa": (
            "¿Cuál es el símbolo de {n}?",
            "¿Qué muestra la bandera de {n}?",
            "¿Qué animal está en la bandera de {n}?",
            "¿Sabes cuál es el símbolo de {n}?",
            "Háblame de la bandera de {n}.",
        ),
    },
)
LEADER = FactKind(
    "leader",
    {
        "eng": ("The leader of {n} is {v}.", "{n} is led by {v}.", "In {n} the rules are made by {v}."),
        "spa": ("La alcaldía de {n} es de {v}.", "En {n} manda {v}.", "Las normas de {n} las pone {v}."),
    },
    {
        "eng": (
            "Who is the leader of {n}?",
            "Who leads {n}?",
            "Who makes the rules in {n}?",
            "Do you know who leads {n}?",
            "Tell me the leader of {n}.",
        ),
        "spa": (
            "¿De quién es la alcaldía de {n}?",
            "¿Quién manda en {n}?",
            "¿Quién pone las normas en {n}?",
            "¿Sabes quién manda en {n}?",
            "Dime quién manda en {n}.",
        ),
    },
)
PRIDE = FactKind(
    "pride",
    {
        "eng": ("The pride of {n} is {v}.", "Visitors of {n} come to see {v}.", "{n} is known for {v}."),
        "spa": ("El orgullo de {n} es {v}.", "Quien visita {n} quiere ver {v}.", "En {n} todo el mundo conoce {v}."),
    },
    {
        "eng": (
            "What is the pride of {n}?",
            "What is {n} known for?",
            "What can one see in {n}?",
            "Do you know the pride of {n}?",
            "Tell me what {n} is known for.",
        ),
        "spa": (
            "¿Cuál es el orgullo de {n}?",
            "¿Qué se puede ver en {n}?",
            "¿Qué conoce todo el mundo en {n}?",
            "¿Sabes cuál es el orgullo de {n}?",
            "Dime qué se puede ver en {n}.",
        ),
    },
)
PERSON_KINDS = (HOME, JOB, PET, FOOD, FRIEND, AGE, TREASURE)
TOWN_KINDS = (SYMBOL, LEADER, PRIDE)


@dataclass(frozen=True, slots=True)
class World:
    """One seeded world: its people and every fact about them and their towns."""

    residents: tuple[Name, ...]
    facts: tuple[Fact, ...]

    def about(self, entity: str) -> list[Fact]:
        """Every fact of one person or town."""
        return [fact for fact in self.facts if fact.entity == entity]

    @property
    def entities(self) -> list[str]:
        """People first, then towns."""
        return list(dict.fromkeys(fact.entity for fact in self.facts))


def make_world(seed: int) -> World:
    """The world of `seed`; the same seed gives the same facts on every machine."""
    rng = random.Random(f"{seed}:world")
    residents = tuple(sorted(rng.sample(NAMES, RESIDENTS), key=lambda name: name.text))
    facts = [*_person_facts(residents, rng), *_town_facts(residents, rng)]
    return World(residents, tuple(facts))


def _person_facts(residents: tuple[Name, ...], rng: random.Random) -> Iterator[Fact]:
    pets, treasures = _pairs(COLOURS, ANIMALS, rng), _pairs(COLOURS, OBJECTS, rng)
    ages = rng.sample(range(11, 100), len(residents))
    friends = _derangement(residents, rng)
    for index, person in enumerate(residents):
        job = JOBS[index % len(JOBS)]
        yield Fact(HOME, person.text, _same(TOWNS[(index * 5 + 3) % len(TOWNS)]))
        yield Fact(JOB, person.text, {"eng": grammar.job_title(job, person.gender, "eng"),
                                      "spa": grammar.job_title(job, person.gender, "spa")})  # fmt: skip
        yield Fact(PET, person.text, _phrase(grammar.indefinite, *pets[index]))
        food = FOODS[(index * 3 + 1) % len(FOODS)]
        yield Fact(FOOD, person.text, {"eng": food.eng, "spa": food.spa})
        yield Fact(FRIEND, person.text, _same(friends[index].text))
        yield Fact(AGE, person.text, _same(str(ages[index])))
        yield Fact(TREASURE, person.text, _phrase(grammar.indefinite, *treasures[index]))


def _town_facts(residents: tuple[Name, ...], rng: random.Random) -> Iterator[Fact]:
    symbols, prides = _pairs(COLOURS, ANIMALS, rng), _pairs(QUALITIES, PLACES, rng)
    leaders = rng.sample(residents, len(TOWNS))
    for index, town in enumerate(TOWNS):
        yield Fact(SYMBOL, town, _phrase(grammar.indefinite, *symbols[index]))
        yield Fact(LEADER, town, _same(leaders[index].text))
        yield Fact(PRIDE, town, _phrase(grammar.definite, *prides[index]))


def _same(text: str) -> dict[Language, str]:
    return {"eng": text, "spa": text}


def _phrase(form: Callable[[Adjective, Noun, Language], str], adjective: Adjective, noun: Noun) -> dict[Language, str]:
    return {"eng": form(adjective, noun, "eng"), "spa": form(adjective, noun, "spa")}


def _pairs(
    adjectives: tuple[Adjective, ...], nouns: tuple[Noun, ...], rng: random.Random
) -> list[tuple[Adjective, Noun]]:
    """Every adjective with every noun once, in a random order."""
    pairs = [(adjective, noun) for adjective in adjectives for noun in nouns]
    rng.shuffle(pairs)
    return pairs


def _derangement(people: tuple[Name, ...], rng: random.Random) -> list[Name]:
    """A circle of friends: nobody is their own friend."""
    order = rng.sample(range(len(people)), len(people))
    friends = [people[0]] * len(people)
    for here, there in zip(order, [*order[1:], order[0]], strict=True):
        friends[here] = people[there]
    return friends
