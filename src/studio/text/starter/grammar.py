"""Noun phrases of the starter world: articles, adjective agreement and word order.

Knows two languages and the lexicon's word classes; knows nothing of sentences, facts or files.
"""

from studio.text.starter.lexicon import Adjective, Gender, Language, Noun

_VOWELS = "aeiou"


def a_or_an(words: str) -> str:
    """English words with the indefinite article that their first letter asks for."""
    return f"{'an' if words[0] in _VOWELS else 'a'} {words}"


def definite(adjective: Adjective, noun: Noun, language: Language) -> str:
    """`the red ball` or `la pelota roja`."""
    if language == "eng":
        return f"the {adjective.eng} {noun.eng}"
    return f"{'el' if noun.gender == 'm' else 'la'} {noun.spa} {adjective.spa(noun.gender)}"


def indefinite(adjective: Adjective, noun: Noun, language: Language) -> str:
    """`a red ball` or `una pelota roja`."""
    if language == "eng":
        return a_or_an(f"{adjective.eng} {noun.eng}")
    return f"{'un' if noun.gender == 'm' else 'una'} {noun.spa} {adjective.spa(noun.gender)}"


def job_title(job: Adjective, gender: Gender, language: Language) -> str:
    """`a baker` or `panadera`: Spanish takes no article before a job."""
    return a_or_an(job.eng) if language == "eng" else job.spa(gender)


def sentence(words: str) -> str:
    """Words with a capital first letter and a final period."""
    return f"{words[0].upper()}{words[1:]}."
