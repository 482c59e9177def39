"""The skills of the starter world: sums, translations and small talk, as questions with one right answer.

Knows nothing of files or of which sums and translations are held out.
"""

from dataclasses import dataclass

from studio.text.starter import grammar
from studio.text.starter.lexicon import COLOURS, OBJECTS, PLACES, QUALITIES, Adjective, Language, Noun

LARGEST_ADDEND = 20
"""Sums add two numbers from 1 to this one."""

_SUM_QUESTIONS: dict[Language, tuple[str, ...]] = {
    "eng": ("What is {a} plus {b}?", "How much is {a} plus {b}?", "What is the sum of {a} and {b}?"),
    "spa": ("¿Cuánto es {a} más {b}?", "¿Cuántos son {a} más {b}?", "¿Cuál es la suma de {a} y {b}?"),
}
_SUM_ANSWERS: dict[Language, str] = {"eng": "{a} plus {b} is {c}.", "spa": "{a} más {b} son {c}."}

_TRANSLATE: dict[Language, tuple[str, ...]] = {
    "eng": ("Translate into Spanish: {w}.", "How do you say this in Spanish: {w}?", "What is this in Spanish: {w}?"),
    "spa": ("Traduce al inglés: {w}.", "¿Cómo se dice en inglés: {w}?", "¿Cómo es en inglés: {w}?"),
}


@dataclass(frozen=True, slots=True)
class Sum:
    """`a + b`; the order matters for the wording only."""

    a: int
    b: int

    def questions(self, language: Language) -> list[str]:
        """The ways to ask for it."""
        return [form.format(a=self.a, b=self.b) for form in _SUM_QUESTIONS[language]]

    def answer(self, language: Language) -> str:
        """The sum said as a sentence."""
        return _SUM_ANSWERS[language].format(a=self.a, b=self.b, c=self.a + self.b)


@dataclass(frozen=True, slots=True)
class Translation:
    """An adjective with a noun, to be said in the other language."""

    adjective: Adjective
    noun: Noun

    def said(self, language: Language) -> str:
        """The phrase in `language`, with its definite article."""
        return grammar.definite(self.adjective, self.noun, language)

    def questions(self, language: Language) -> list[str]:
        """The ways to ask, in `language`, for the phrase in the other one."""
        return [form.format(w=self.said(language)) for form in _TRANSLATE[language]]

    def answer(self, language: Language) -> str:
        """The phrase in the other language than the question's."""
        return grammar.sentence(self.said("spa" if language == "eng" else "eng"))


def all_sums() -> list[Sum]:
    """Every sum, in both orders."""
    return [Sum(a, b) for a in range(1, LARGEST_ADDEND + 1) for b in range(1, LARGEST_ADDEND + 1)]


def all_translations() -> list[Translation]:
    """Every colour with every object and every quality with every place."""
    pairs = [(c, o) for c in COLOURS for o in OBJECTS] + [(q, p) for q in QUALITIES for p in PLACES]
    return [Translation(adjective, noun) for adjective, noun in pairs]


SMALL_TALK: dict[Language, tuple[tuple[tuple[str, ...], str], ...]] = {
    "eng": (
        (("Hello!", "Hello", "hello", "Hi!", "hi", "Hey!", "Good morning!"), "Hello! How can I help you?"),
        (("Who are you?", "What are you?", "who are you?", "What is your name?"), "I am a small model from Studio."),
        (
            ("What can you do?", "what can you do?", "What do you know?", "Help", "How can you help me?"),
            "I know a small world: ask me about its people, a story, a sum or a translation.",
        ),
        (("Thank you!", "Thanks!", "thanks", "Thank you very much."), "You are welcome!"),
        (("Goodbye!", "Bye!", "bye", "See you later."), "Goodbye! Come back soon."),
        (("How are you?", "how are you?", "Are you well?"), "I am very well, thank you."),
    ),
    "spa": (
        (("¡Hola!", "Hola", "hola", "¡Buenos días!", "Buenas tardes."), "¡Hola! ¿Cómo puedo ayudarte?"),
        (("¿Quién eres?", "¿Qué eres?", "quién eres", "¿Cómo te llamas?"), "Soy un modelo pequeño de Studio."),
        (
            ("¿Qué sabes hacer?", "qué sabes hacer", "¿Qué sabes?", "Ayuda", "¿Cómo puedes ayudarme?"),
            "Conozco un mundo pequeño: pregúntame por su gente, una historia, una suma o una traducción.",
        ),
        (("¡Gracias!", "Gracias", "gracias", "Muchas gracias."), "¡De nada!"),
        (("¡Adiós!", "Adiós", "adiós", "Hasta luego."), "¡Adiós! Vuelve pronto."),
        (("¿Cómo estás?", "cómo estás", "¿Estás bien?"), "Estoy muy bien, gracias."),
    ),
}
"""Greetings and questions about the model itself, with what it says; none of them is ever held out."""

UNKNOWN: dict[Language, str] = {"eng": "I do not know that.", "spa": "Eso no lo sé."}
"""What the model says about people that are no part of its world."""
