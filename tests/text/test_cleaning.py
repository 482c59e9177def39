import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.config.text import CleaningConfig
from studio.text.cleaning import clean, steps, strip_boilerplate

OFF = {
    "unicode_form": "none",
    "normalize_newlines": False,
    "strip_control": False,
    "strip_boilerplate": False,
    "strip_trailing_spaces": False,
    "max_blank_lines": None,
}
BOOK = "\n\nCHAPTER I\n\nThe old clock rang.\n\n"
HEAD = "The Project Gutenberg eBook of Clocks\n\nThis ebook is for anyone.\n\nTitle: Clocks\n\n"
START = "*** START OF THE PROJECT GUTENBERG EBOOK CLOCKS ***"
END = "*** END OF THE PROJECT GUTENBERG EBOOK CLOCKS ***\n\nwww.gutenberg.org and its licence\n"


def only(**changes: object) -> CleaningConfig:
    return CleaningConfig.model_validate({**OFF, **changes})


@pytest.mark.parametrize(
    ("config", "text", "wanted"),
    [
        (only(), "a\r\n\x00 \u200b  e\u0301  \n\n\n\n", "a\r\n\x00 \u200b  e\u0301  \n\n\n\n"),
        (only(normalize_newlines=True), "a\r\nb\rc\u2028d\x0ce", "a\nb\nc\nd\ne"),
        (only(strip_control=True), "\ufeffa\x00\x07b\tc\nd\x9fe\ud800", "ab\tc\nde"),
        (only(unicode_form="NFC"), "e\u0301 ﬁ", "é ﬁ"),
        (only(unicode_form="NFKC"), "e\u0301 ﬁ", "é fi"),
        (only(collapse_spaces=True), "  indented   text\u00a0 here", "  indented text here"),
        (only(strip_trailing_spaces=True), "a  \nb\t\n  c", "a\nb\n  c"),
        (only(max_blank_lines=1), "a\n\n\n \n\nb\n\nc", "a\n\nb\n\nc"),
        (only(max_blank_lines=0), "a\n\n\nb", "a\nb"),
        (only(min_chars=5), "  abc  \n", ""),
        (only(max_chars=5), "abcdef", ""),
        (only(max_chars=6), "abcdef", "abcdef"),
    ],
)
def test_each_switch(config: CleaningConfig, text: str, wanted: str) -> None:
    assert clean(text, config) == wanted


def test_book_without_its_licence() -> None:
    assert strip_boilerplate(HEAD + START + BOOK + END).strip() == BOOK.strip()
    assert strip_boilerplate(HEAD + START.replace("CLOCKS ***", "\nCLOCKS AND MORE ***") + BOOK).strip() == BOOK.strip()


def test_passages_of_a_book_lose_their_share_of_the_licence() -> None:
    assert strip_boilerplate(HEAD + START + BOOK).strip() == BOOK.strip()
    assert strip_boilerplate(BOOK + END).strip() == BOOK.strip()
    assert strip_boilerplate(HEAD + BOOK).strip() == BOOK.strip()
    assert strip_boilerplate("You may copy it; see www.gutenberg.org for the Project Gutenberg™ License.") == ""


def test_a_text_that_mentions_gutenberg_stays() -> None:
    text = (
        "Gutenberg printed a bible. " * 5 + "Later came Project Gutenberg, started by a student. " + "More prose. " * 20
    )
    assert strip_boilerplate(text) == text


def test_steps_are_what_was_done() -> None:
    assert steps(only(unicode_form="NFC", max_blank_lines=2)) == [
        {"name": "unicode_form", "parameters": {"unicode_form": "NFC"}},
        {"name": "max_blank_lines", "parameters": {"max_blank_lines": 2}},
        {"name": "limits", "parameters": {"min_chars": 1, "max_chars": None}},
    ]


@given(text=st.text(alphabet="aé\u0301 \t\n\r\x00\u2028.", max_size=200))
def test_cleaning_is_idempotent_and_keeps_the_signs(text: str) -> None:
    once = clean(text, CleaningConfig())
    assert clean(once, CleaningConfig()) == once
    assert unicodedata.is_normalized("NFC", once)
    assert "\r" not in once
    assert once.count(".") == text.count(".")
