"""Names of languages in ISO 639-3, and which one a text is written in.

What a person declares wins, then a file's suffix (`book.es.txt`), then detection (py3langid: offline, numpy only).
It knows nothing of files' contents beyond the text it is given.
"""

from functools import lru_cache
from pathlib import PurePath
from typing import Any

UNKNOWN = "und"
_LEAST_LETTERS = 20
_SAMPLE_CHARS = 600

_CODES = """
af:afr am:amh an:arg ar:ara as:asm az:aze ba:bak be:bel bg:bul bn:ben br:bre bs:bos ca:cat cs:ces cy:cym da:dan de:deu
dz:dzo el:ell en:eng eo:epo es:spa et:est eu:eus fa:fas fi:fin fo:fao fr:fra fy:fry ga:gle gd:gla gl:glg gu:guj ha:hau
he:heb hi:hin hr:hrv ht:hat hu:hun hy:hye id:ind ig:ibo is:isl it:ita ja:jpn jv:jav ka:kat kk:kaz km:khm kn:kan ko:kor
ku:kur ky:kir la:lat lb:ltz lg:lug ln:lin lo:lao lt:lit lv:lav mg:mlg mk:mkd ml:mal mn:mon mr:mar ms:msa mt:mlt my:mya
nb:nob ne:nep nl:nld nn:nno no:nor oc:oci om:orm or:ori pa:pan pl:pol ps:pus pt:por qu:que ro:ron ru:rus rw:kin sa:san
se:sme si:sin sk:slk sl:slv sn:sna so:som sq:sqi sr:srp st:sot sv:swe sw:swa ta:tam te:tel tg:tgk th:tha tk:tuk tl:tgl
tr:tur tt:tat ug:uig uk:ukr ur:urd uz:uzb vi:vie vo:vol wa:wln xh:xho yo:yor zh:zho zu:zul
"""
_ISO3 = dict(pair.split(":") for pair in _CODES.split())
"""ISO 639-1 to 639-3 for every language that the detector knows."""

_NAMED = frozenset(_ISO3.values())


def iso3(code: str) -> str:
    """`en`, `en-GB`, `eng` → `eng`; `und` for an empty or unknown two-letter code. Other 3-letter codes are kept."""
    short = code.strip().lower().replace("_", "-").split("-")[0]
    if len(short) == 2:
        return _ISO3.get(short, UNKNOWN)
    return short if len(short) == 3 and short.isalpha() else UNKNOWN


def from_filename(path: PurePath) -> str:
    """`don_quijote.es.txt` → `spa`; `und` without such a suffix."""
    if len(path.suffixes) < 2:
        return UNKNOWN
    code = iso3(path.suffixes[-2][1:])
    # any three letters could stand before the type ("draft.old.txt"): only names of known languages count
    return code if code in _NAMED else UNKNOWN


def detect(text: str) -> str:
    """The language of `text` by its first 600 characters; `und` for less than 20 letters."""
    sample = text[:_SAMPLE_CHARS]
    if sum(character.isalpha() for character in sample) < _LEAST_LETTERS:
        return UNKNOWN
    code, _ = _identifier().classify(sample)
    return iso3(str(code))


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # 0.5 s, only where something needs detecting

    return LanguageIdentifier.from_model_file(MODEL_FILE)
