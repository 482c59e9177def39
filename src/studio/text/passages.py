"""A long plain text as many documents of bounded size.

A text of at most twice `passage_chars` is one document. A longer one (a book) is cut where a paragraph ends, as soon as
`passage_chars` are full, earlier before a chapter's heading; a paragraph without end is cut at a line, a sentence or a
space, and at twice `passage_chars` at the latest. The pieces joined are the text, character by character. Splitting
by document into training and validation is thereby meaningful for a corpus of three books. Only one piece is in memory.
"""

import re
from collections.abc import Iterable, Iterator

PASSAGE_CHARS = 4000

_HEADING = re.compile(
    r"\n[ \t]*\n(?=[ \t]*(?:#{1,6} \S|(?:chapter|book|part|act|scene|cap[ií]tulo|libro|parte|acto|kapitel|chapitre)"
    r"[ \t]+(?:[ivxlcdm]+|\d+|primer[oa]?|first)\b))",
    re.IGNORECASE,
)
_ENDS = (re.compile(r"\n[ \t]*\n\s*"), re.compile(r"\n"), re.compile(r"[.!?…][\"'”’)]*\s+"), re.compile(r"\s+"))


def split_text(pieces: Iterable[str], passage_chars: int = PASSAGE_CHARS) -> Iterator[str]:
    """Cut the text that `pieces` make up (their own borders mean nothing) into documents."""
    text, start = "", 0
    for piece in pieces:
        text, start = text[start:] + piece, 0
        while len(text) - start > 2 * passage_chars:
            end = _cut(text, start, passage_chars)
            yield text[start:end]
            start = end
    if start < len(text):
        yield text[start:]


def _cut(text: str, start: int, passage_chars: int) -> int:
    full, limit = start + passage_chars, start + 2 * passage_chars
    heading = _HEADING.search(text, start + passage_chars // 4, full)
    if heading:
        return heading.end()
    for pattern in _ENDS:
        end = pattern.search(text, full, limit)
        if end:
            return end.end()
    return limit


def title_of(text: str) -> str:
    """The heading that a piece begins with, or ""."""
    first = text.lstrip().split("\n", 1)[0].strip()
    return first.lstrip("# ")[:120] if _HEADING.match("\n\n" + first) else ""
