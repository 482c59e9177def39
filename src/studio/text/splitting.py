"""A long plain text as many documents of bounded size.

A text of at most WHOLE_CHARS is one document. A longer one (a book) is cut where a paragraph ends, as soon as TARGET_CHARS are
full, earlier before a chapter's heading; a paragraph without end is cut at a line, a sentence or a space, and at
WHOLE_CHARS at the latest. The pieces joined are the text, character by character. Splitting by document into training and
validation is thereby meaningful for a corpus of three books. Only one piece is in memory.
"""

import re
from collections.abc import Iterable, Iterator

TARGET_CHARS = 4000
WHOLE_CHARS = 8000
_LEAST_CHARS = 1000

_HEADING = re.compile(
    r"\n[ \t]*\n(?=[ \t]*(?:#{1,6} \S|(?:chapter|book|part|act|scene|cap[ií]tulo|libro|parte|acto|kapitel|chapitre)"
    r"[ \t]+(?:[ivxlcdm]+|\d+|primer[oa]?|first)\b))",
    re.IGNORECASE,
)
_ENDS = (re.compile(r"\n[ \t]*\n\s*"), re.compile(r"\n"), re.compile(r"[.!?…][\"'”’)]*\s+"), re.compile(r"\s+"))


def split_text(pieces: Iterable[str]) -> Iterator[str]:
    """Cut the text that `pieces` make up (their own borders mean nothing) into documents of at most WHOLE_CHARS."""
    text, start = "", 0
    for piece in pieces:
        text, start = text[start:] + piece, 0
        while len(text) - start > WHOLE_CHARS:
            end = _cut(text, start)
            yield text[start:end]
            start = end
    if start < len(text):
        yield text[start:]


def _cut(text: str, start: int) -> int:
    heading = _HEADING.search(text, start + _LEAST_CHARS, start + TARGET_CHARS)
    if heading:
        return heading.end()
    for pattern in _ENDS:
        end = pattern.search(text, start + TARGET_CHARS, start + WHOLE_CHARS)
        if end:
            return end.end()
    return start + WHOLE_CHARS


def title_of(text: str) -> str:
    """The heading that a piece begins with, or ""."""
    first = text.lstrip().split("\n", 1)[0].strip()
    return first.lstrip("# ")[:120] if _HEADING.match("\n\n" + first) else ""
