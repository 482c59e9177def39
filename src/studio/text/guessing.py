"""Which legacy encoding some bytes are in.

charset-normalizer proposes; alone it takes Spanish in cp1252 for cp1250 and reads "ñ" as "ň". So each proposal has
to make sense as a language: its letters beyond ASCII must belong to the alphabet of the language that the text is
then in. One proposal must stand out, or differ from its equals in name only. It knows bytes and no files.
"""

from dataclasses import dataclass
from functools import lru_cache

from studio.text import languages

SURE = 0.98
_USUAL = ("cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "mac_roman", "iso8859_15", "cp850", "cp866")
_CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
_SIGNS = "“”‘’„‚«»—–…¿¡°·•ºª§©®™€£½¼¾×\u00a0´"
_ALPHABETS = {
    "bul": _CYRILLIC,
    "cat": "àçéèíïóòúü·",
    "ces": "áčďéěíňóřšťúůýž",
    "dan": "æøåé",
    "deu": "äöüß",
    "ell": "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ",
    "eng": "éèêïçöôœæ",
    "est": "äöõüšž",
    "fin": "äöåé",
    "fra": "àâæçéèêëîïôœùûüÿ",
    "glg": "áéíóúüñï",
    "hrv": "čćđšž",
    "hun": "áéíóöőúüű",
    "isl": "áéíóúýðþæö",
    "ita": "àèéìíîòóùú",
    "nld": "ëïéèöüóáê",
    "nob": "æøåéòôê",
    "nno": "æøåéòôê",
    "nor": "æøåéòôê",
    "pol": "ąćęłńóśźż",
    "por": "áâãàçéêíóôõúü",
    "ron": "ăâîșțşţ",
    "rus": _CYRILLIC + "ё",
    "slk": "áäčďéíĺľňóôŕšťúýž",
    "slv": "čšž",
    "spa": "áéíóúüñ",
    "swe": "åäöé",
    "tur": "çğıöşüâîû",
    "ukr": _CYRILLIC + "іїєґ",
}
"""Letters beyond ASCII, in lower case, of the languages that a legacy encoding can be confirmed for."""


@dataclass(frozen=True, slots=True)
class Guess:
    """`codecs`: encodings under which the sample is the same, sensible text, most usual first; empty when not
    certain.
    """

    codecs: tuple[str, ...]
    perhaps: str = ""


def guess(sample: bytes) -> Guess:
    """The encoding of `sample`, which is not UTF-8."""
    readings: dict[str, list[str]] = {}
    proposals = _proposals(sample)
    for codec in dict.fromkeys((*_USUAL, *proposals)):
        try:
            readings.setdefault(sample.decode(codec), []).append(codec)
        except (UnicodeDecodeError, LookupError):
            continue
    scored = sorted(((sense(text), text) for text in readings), reverse=True)
    best = scored[0] if scored else (0.0, "")
    runner_up = scored[1][0] if len(scored) > 1 else 0.0
    # equal sense and another text: two encodings of related alphabets, and nothing to choose by
    if best[0] < SURE or runner_up >= best[0]:
        return Guess((), next(iter(proposals), ""))
    return Guess(tuple(readings[best[1]]))


def _proposals(sample: bytes) -> list[str]:
    from charset_normalizer import from_bytes  # costs 50 ms that a UTF-8 corpus need not pay

    return [codec for match in from_bytes(sample) for codec in (match.encoding, *match.could_be_from_charset)]


def sense(text: str) -> float:
    """Share of the characters beyond ASCII that are signs, or letters of the text's language in a sensible case."""
    beyond = [(place, character) for place, character in enumerate(text) if character > "\x7f"]
    if not beyond:
        return 0.0
    known = _letters(languages.detect(_around(text, beyond[0][0])))
    good = sum(
        character in _SIGNS or (character.lower() in known and not _case_breaks(text, place))
        for place, character in beyond
    )
    return good / len(beyond)


@lru_cache(maxsize=64)
def _letters(language: str) -> frozenset[str]:
    return frozenset(_ALPHABETS.get(language, ""))


def _around(text: str, place: int) -> str:
    return text[max(0, place - 200) :]


def _case_breaks(text: str, place: int) -> bool:
    """A capital after a small letter: what one Cyrillic encoding read as another looks like."""
    return place > 0 and text[place].isupper() and text[place - 1].islower()
