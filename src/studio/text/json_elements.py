"""The elements of one big JSON list, one at a time.

The scanner finds where an element begins and ends by looking at quotes and brackets only, so a list of any length is
read in bounded memory, nesting costs no recursion, and an element that is no JSON (NaN, a stray comma) leaves the
others readable. It knows nothing of documents.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MOST_DEPTH = 64
MOST_CHARS = 64 << 20
_OUTSIDE = re.compile(r'["{}\[\],]')
_INSIDE = re.compile(r'["\\]')
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SPACE = re.compile(r"[^ \t\r\n]")


@dataclass(frozen=True, slots=True)
class Element:
    """One element: its number from 1, its text, where it starts, and "" or why it cannot be used."""

    number: int
    text: str
    line: int
    column: int
    fault: str = ""

    @property
    def place(self) -> str:
        """For messages."""
        return f"document {self.number} (line {self.line}, column {self.column})"


class NotAList(ValueError):
    """The text is no JSON list; the message says what it is instead."""


def iter_elements(pieces: Iterable[str]) -> Iterator[Element]:
    """The elements of the JSON list that `pieces` make up.

    The last element of a list that is cut off comes with a fault. NotAList when the text does not begin with `[`.
    """
    return _Scanner(iter(pieces)).run()


class _Scanner:
    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._text = ""
        self._at = 0
        self._line, self._column = 1, 1  # of text[0]

    def run(self) -> Iterator[Element]:
        first = self._skip_space()
        if first is None:
            raise NotAList("the file is empty")
        if first != "[":
            raise NotAList({"{": "an object, not a list"}.get(first, f"it begins with {first!r}, not with a list"))
        self._at += 1
        number = 0
        while True:
            first = self._skip_space()
            if first == "]" and number == 0:
                self._at += 1
                break
            number += 1
            self._forget()
            if first is None:
                yield Element(number, "", self._line, self._column, "the file ends inside the list")
                return
            element, closing = self._element(number)
            yield element
            if closing == "":
                return
            self._at += 1
            if closing == "]":
                break
        if self._skip_space() is not None:
            self._forget()
            yield Element(number + 1, "", self._line, self._column, "there is more text after the end of the list")

    def _more(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._text += piece
        return True

    def _forget(self) -> None:
        """Drop what lies before the current place, and move the line and column there."""
        gone = self._text[: self._at]
        newlines = gone.count("\n")
        self._line += newlines
        self._column = len(gone) - gone.rfind("\n") if newlines else self._column + len(gone)
        self._text, self._at = self._text[self._at :], 0

    def _skip_space(self) -> str | None:
        while True:
            found = _SPACE.search(self._text, self._at)
            if found:
                self._at = found.start()
                return found.group()
            self._at = len(self._text)
            if not self._more():
                return None

    def _element(self, number: int) -> tuple[Element, str]:
        """The element at the current place, and the character that ends it ("" at the end of the file)."""
        line, column = self._line, self._column
        fault, depth, inside = "", 0, False
        while True:
            found = (_INSIDE if inside else _OUTSIDE).search(self._text, self._at)
            if found is None:
                self._at = len(self._text)
                if self._at > MOST_CHARS:
                    fault = fault or f"longer than {MOST_CHARS:,} characters"
                if fault:
                    self._forget()
                if not self._more():
                    return Element(number, "", line, column, "the file ends inside this document"), ""
                continue
            character = found.group()
            if inside:
                # an escaped character is passed over; when the piece ends at the backslash, the next one is fetched
                # first
                if character == "\\" and found.end() == len(self._text) and not self._more():
                    return Element(number, "", line, column, "the file ends inside this document"), ""
                self._at = found.end() + (character == "\\")
                inside = character == "\\"
                continue
            if depth == 0 and character in ",]}":
                self._at = found.start()
                text = "" if fault else self._text[: self._at].rstrip()
                if character == "}":
                    self._at += 1
                    fault = fault or "a closing brace without an opening one"
                    continue
                return Element(number, text, line, column, fault or ("" if text else "an empty place")), character
            # a string that is here whole is passed over at once; only one that goes on in the next piece is searched
            string = _STRING.match(self._text, found.start()) if character == '"' else None
            self._at = string.end() if string else found.end()
            inside = character == '"' and string is None
            depth += (character in "[{") - (character in "]}")
            if depth > MOST_DEPTH:
                fault = fault or f"nested deeper than {MOST_DEPTH} levels"
