"""A small text of our own in two languages, with enough repetition for a tokenizer to learn from."""

import random

_EN = (
    "the {a} {n} of the valley keeps a {b} lamp beside the door",
    "nobody in the village had seen the {a} {n} since the {b} winter",
    "she carried the {n} over the bridge, and the {a} river sang",
    "what does the {n} say when the {b} bell rings?",
)
_ES = (
    "el {n} del valle guarda una lámpara {a} junto a la puerta",
    "nadie en el pueblo había visto el {n} {a} desde el año {b}",
    "llevó el {n} por encima del puente, y el río {a} cantó",
    "¿qué dice el {n} cuando suena la campana {b}?",
)
_EN_WORDS = {"a": ["old", "small", "green", "quiet"], "b": ["bright", "cold", "long"], "n": ["baker", "clock", "boat"]}
_ES_WORDS = {"a": ["vieja", "pequeña", "verde"], "b": ["frío", "largo", "clara"], "n": ["reloj", "niño", "barco"]}


def paragraphs(count: int, seed: int = 7) -> list[str]:
    """`count` paragraphs, every other one Spanish, no two alike: each ends in its number."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        sentences, words = ((_EN, _EN_WORDS), (_ES, _ES_WORDS))[number % 2]
        chosen = {key: rng.choice(values) for key, values in words.items()}
        lines = [rng.choice(sentences).format(**chosen) for _ in range(rng.randint(2, 5))]
        made.append(". ".join(line[0].upper() + line[1:] for line in lines) + f". Number {number}.")
    return made
