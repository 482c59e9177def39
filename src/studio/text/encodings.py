"""Bytes of a text file to characters, without guessing silently.

UTF-8 is tried first and strictly; a byte-order mark decides for UTF-16 and UTF-32. Anything else is detected from
samples (`guessing`), accepted only when the guess is certain and the whole file decodes, and reported; what stays
doubtful is refused. Files are read in bounded pieces. It knows nothing of documents.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from studio.core.errors import DataError
from studio.text.guessing import guess

PIECE_BYTES = 1 << 20
_SAMPLE_BYTES = 64 << 10
_SAMPLES = 4
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_REMEDY = "Convert the file to UTF-8 (for example: iconv -f ENCODING -t UTF-8)."
_CONTROLS = re.compile("[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file is read: Python's codec name, whether that is a conversion, and bytes to leave off at its end."""

    codec: str
    converted: bool = False
    bom: bool = False
    torn_tail_bytes: int = 0


def detect_encoding(path: Path) -> Encoding:
    """The encoding of a text file. DataError, with the place and a remedy, when it is doubtful or the file binary."""
    with path.open("rb") as file:
        head = file.read(_SAMPLE_BYTES)
    for mark, codec in _BOMS:
        if head.startswith(mark):
            return _with_bom(path, codec)
    if _zeros_alternate(head):
        return _utf16_without_mark(path, head)
    bad_byte, torn = _first_bad_utf8(path)
    if bad_byte is None:
        return Encoding("utf-8", torn_tail_bytes=torn)
    return _detected(path, bad_byte)


def read_pieces(path: Path, encoding: Encoding, *, newline: str | None = None) -> Iterator[str]:
    """The text in pieces of about a million characters, line ends as `\\n` (`newline=""`: untouched)."""
    left = path.stat().st_size - encoding.torn_tail_bytes
    decoder = codecs.getincrementaldecoder(encoding.codec)("strict")
    held = ""
    with path.open("rb") as file:
        while left > 0 and (data := file.read(min(PIECE_BYTES, left))):
            left -= len(data)
            text = held + decoder.decode(data, left <= 0)
            held = ""
            if newline is None:
                if text.endswith("\r") and left > 0:
                    text, held = text[:-1], "\r"  # its "\n" may be in the next piece
                text = text.replace("\r\n", "\n").replace("\r", "\n")
            if text:
                yield text


def looks_binary(text: str) -> bool:
    """Whether more than a tenth of `text` is control characters (NUL aside, which is dealt with apart)."""
    return len(_CONTROLS.findall(text)) > len(text) / 10


def _with_bom(path: Path, codec: str) -> Encoding:
    encoding = Encoding(codec, converted=codec != "utf-8-sig", bom=True)
    _check_decodes(path, encoding)
    return encoding


def _check_decodes(path: Path, encoding: Encoding) -> None:
    try:
        for _ in read_pieces(path, encoding, newline=""):
            pass
    except UnicodeError as error:
        raise DataError(f"its byte-order mark says {encoding.codec}, but it does not decode so: {error}",
                        where=str(path), remedy=_REMEDY) from error  # fmt: skip


def _zeros_alternate(head: bytes) -> bool:
    """Latin text in UTF-16 has a zero in every second byte."""
    half = max(1, len(head) // 2)
    return len(head) >= 4 and max(head[::2].count(0), head[1::2].count(0)) > 0.7 * half


def _utf16_without_mark(path: Path, head: bytes) -> Encoding:
    encoding = Encoding("utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be", converted=True)
    try:
        first = next(read_pieces(path, encoding), "")
        _check_decodes(path, encoding)
    except (UnicodeError, DataError):
        first = "\x01"
    if looks_binary(first) or "\x00" in first:
        raise DataError("not a text file: every second byte is zero", where=str(path), remedy="Remove the file.")
    return encoding


def _first_bad_utf8(path: Path) -> tuple[int | None, int]:
    """(offset of the first byte that is not UTF-8 or None, bytes of a character cut off at the end of the file)."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    offset, beyond_ascii = 0, False
    with path.open("rb") as file:
        while data := file.read(PIECE_BYTES):
            pending = len(decoder.getstate()[0])
            try:
                beyond_ascii |= not decoder.decode(data).isascii()
            except UnicodeDecodeError as error:
                return offset - pending + error.start, 0
            offset += len(data)
    torn = len(decoder.getstate()[0])
    # one odd byte at the end of an ASCII file is as likely another encoding's last letter
    return (offset - torn if torn and not beyond_ascii else None), torn


def _detected(path: Path, bad_byte: int) -> Encoding:
    sample = _sample(path, bad_byte)
    where = f"{path}, byte {bad_byte}"
    if _mostly_utf8(sample):
        raise DataError("damaged UTF-8: most of the file is, this byte is not", where=where, remedy=_REMEDY)
    found = guess(sample)
    for codec in found.codecs:
        encoding = Encoding(codec, converted=True)
        try:
            pieces = [looks_binary(piece) for piece in read_pieces(path, encoding, newline="")]
        except UnicodeError:
            continue
        if not any(pieces):
            return encoding
    hint = f" (perhaps {found.perhaps or found.codecs[0]})" if found.perhaps or found.codecs else ""
    raise DataError(f"not UTF-8, and its encoding is not certain{hint}", where=where, remedy=_REMEDY)


def _sample(path: Path, first: int) -> bytes:
    """Pieces from the first odd byte on and from places further down that hold bytes above 127."""
    size = path.stat().st_size
    places = [max(0, first - 1024), *(first + (size - first) * step // _SAMPLES for step in range(1, _SAMPLES))]
    pieces = []
    with path.open("rb") as file:
        for place in places:
            file.seek(place)
            pieces.append(file.read(_SAMPLE_BYTES))
            if place + _SAMPLE_BYTES >= size:
                break
    return b"".join(pieces)


def _mostly_utf8(sample: bytes) -> bool:
    """Whether far more bytes above 127 form UTF-8 characters than do not."""
    wrong = sample.decode("utf-8", "replace").count("\ufffd")
    high = sum(byte > 127 for byte in sample)
    return wrong * 5 < high and high > 10
