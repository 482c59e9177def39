from pathlib import PurePath

import pytest

from studio.text.languages import detect, from_filename, iso3
from tests.text.sample import paragraphs


@pytest.mark.parametrize(
    ("code", "wanted"),
    [("en", "eng"), ("ES", "spa"), ("en-GB", "eng"), ("pt_BR", "por"), ("eng", "eng"), ("qqq", "qqq"), ("xx", "und"),
     ("", "und"), ("english", "und"), ("e1", "und")],
)  # fmt: skip
def test_codes_become_iso_639_3(code: str, wanted: str) -> None:
    assert iso3(code) == wanted


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("a.es.txt", "spa"), ("a.b.en.txt", "eng"), ("a.txt", "und"), ("draft.old.txt", "und"), ("a.spa.md", "spa")],
)
def test_a_suffix_names_the_language(name: str, wanted: str) -> None:
    assert from_filename(PurePath("folder") / name) == wanted


def test_detection() -> None:
    english, spanish = paragraphs(2)
    assert (detect(english), detect(spanish)) == ("eng", "spa")
    assert detect("Der alte Müller hört jeden Abend die Glocke über den Bäumen läuten.") == "deu"
    assert detect("12 34 ok") == "und"
