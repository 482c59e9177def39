"""Text made regular: one form of each character, no control characters, plain line ends, no licence around a book.

Each step is a switch of `CleaningConfig`; `steps` lists them for a dataset's manifest. It knows one text at a time.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.config.text import CleaningConfig

# tab, newline and carriage return stay; U+FEFF is a byte-order mark wherever it stands; lone surrogates are no text
_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff\ud800-\udfff]")
_NEWLINES = re.compile("\r\n?|[\x85\u2028\u2029\x0c]")
_SPACES = re.compile(r"(?<=\S)[ \t\u00a0]{2,}(?=\S)")
_TRAILING = re.compile(r"[ \t\u00a0]+$", re.MULTILINE)
_START = re.compile(
    r"\A.*?^[ \t]*\*{3}[ \t]*START OF (?:THE|THIS) PROJECT GUTENBERG[^\n]*(?:\n[^\n]+)*?\*{3}[ \t]*$",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)
_END = re.compile(
    r"^[ \t]*(?:\*{3}[ \t]*END OF (?:THE|THIS) PROJECT GUTENBERG|End of (?:the )?Project Gutenberg['’]?s?\b).*",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)
_LICENCE_HEAD = re.compile(r"\A\s*The Project Gutenberg eBook of[^\n]*\n", re.IGNORECASE)
_LICENCE_WORDS = re.compile(r"www\.gutenberg\.org|Project Gutenberg(?:™|-tm)? License", re.IGNORECASE)
_HEAD_PARAGRAPHS = 20
_OF_HEAD = re.compile(
    r"gutenberg|\A\s*(?:This ebook is for|(?:Title|Author|Translator|Editor|Illustrator|Release date|Posting date|"
    r"Language|Credits|Produced by|Most recently updated|Original publication|Other information)\b)",
    re.IGNORECASE,
)


def clean(text: str, cfg: "CleaningConfig") -> str:
    """`text` mended as `cfg` says; "" when it is shorter than `min_chars` or longer than `max_chars` then."""
    for _, step in _active(cfg):
        text = step(text)
    too_long = cfg.max_chars is not None and len(text) > cfg.max_chars
    return "" if too_long or len(text.strip()) < cfg.min_chars else text


def steps(cfg: "CleaningConfig") -> list[dict[str, Any]]:
    """What `clean` does, in order, for `preprocessing_steps` (spec 001, *TrainingDataset*)."""
    form = {"unicode_form": cfg.unicode_form}
    blank = {"max_blank_lines": cfg.max_blank_lines}
    parameters: dict[str, dict[str, Any]] = {"unicode_form": form, "max_blank_lines": blank}
    limits = {"min_chars": cfg.min_chars, "max_chars": cfg.max_chars}
    named = [{"name": name, "parameters": parameters.get(name, {})} for name, _ in _active(cfg)]
    return [*named, {"name": "limits", "parameters": limits}]


def _active(cfg: "CleaningConfig") -> Iterator[tuple[str, Callable[[str], str]]]:
    if cfg.normalize_newlines:
        yield "normalize_newlines", lambda text: _NEWLINES.sub("\n", text)
    if cfg.strip_control:
        yield "strip_control", lambda text: _CONTROLS.sub("", text)
    if cfg.unicode_form != "none":
        form = cfg.unicode_form
        yield "unicode_form", lambda text: unicodedata.normalize(form, text)
    if cfg.strip_boilerplate:
        yield "strip_boilerplate", strip_boilerplate
    if cfg.collapse_spaces:
        yield "collapse_spaces", lambda text: _SPACES.sub(" ", text)
    if cfg.strip_trailing_spaces:
        yield "strip_trailing_spaces", lambda text: _TRAILING.sub("", text)
    if cfg.max_blank_lines is not None:
        most = cfg.max_blank_lines + 1
        blank = re.compile(rf"\n(?:[ \t]*\n){{{most},}}")
        yield "max_blank_lines", lambda text: blank.sub("\n" * most, text)


def strip_boilerplate(text: str) -> str:
    """Without what stands before `*** START OF … ***` and after `*** END OF …` of Project Gutenberg's books.

    A book that was cut into passages loses both from the passages that hold the marks, and a passage that lies wholly
    inside the licence is recognised by the licence's own words.
    """
    if "gutenberg" not in text.lower():
        return text
    text = _END.sub("", _START.sub("", text, count=1), count=1)
    if _LICENCE_HEAD.match(text):
        return _without_head(text)
    return "" if len(_LICENCE_WORDS.findall(text)) > len(text) / 1000 else text


def _without_head(text: str) -> str:
    """For files that were cut before their START mark: drop the licence and the fields of its header."""
    paragraphs = re.split(r"\n[ \t]*\n", text)
    of_head = [number for number, paragraph in enumerate(paragraphs[:_HEAD_PARAGRAPHS]) if _OF_HEAD.search(paragraph)]
    return "\n\n".join(paragraphs[of_head[-1] + 1 :])
