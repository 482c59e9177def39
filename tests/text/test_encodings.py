from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.core.errors import DataError
from studio.text import encodings
from studio.text.encodings import Encoding, detect_encoding, read_pieces
from studio.text.guessing import guess, sense

SPANISH = "El niño llevó el reloj por encima del puente, y mañana cantará la campana pequeña. ¿Qué más? " * 12
POLISH = "Żółta łódź płynie cicho przez jezioro, a dziewczęta śpiewają piosenkę o dawnych świętach. " * 12
RUSSIAN = "Старый мельник живёт у реки и каждый вечер зажигает лампу возле двери своего дома. " * 12
GREEK = "Ο γέρος μυλωνάς ζει κοντά στο ποτάμι και κάθε βράδυ ανάβει τη λάμπα δίπλα στην πόρτα. " * 12
GERMAN = "Der alte Müller wohnt am Fluß und hört jeden Abend die Glocke über den Bäumen läuten. " * 12


def write(folder: Path, data: bytes) -> Path:
    path = folder / "text.txt"
    path.write_bytes(data)
    return path


def read(path: Path) -> str:
    return "".join(read_pieces(path, detect_encoding(path)))


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (SPANISH, "cp1252"),
        (SPANISH, "latin-1"),
        (SPANISH, "mac_roman"),
        (SPANISH, "cp850"),
        (GERMAN, "iso8859_15"),
        (POLISH, "cp1250"),
        (POLISH, "iso8859_2"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (RUSSIAN, "cp866"),
        (GREEK, "cp1253"),
        (SPANISH, "utf-16"),
        (SPANISH, "utf-16-le"),
        (SPANISH, "utf-16-be"),
        (SPANISH, "utf-32"),
    ],
)
def test_legacy_encodings_are_read_to_the_letter(tmp_path: Path, text: str, codec: str) -> None:
    path = write(tmp_path, text.encode(codec))
    assert detect_encoding(path).converted
    assert read(path) == text


@pytest.mark.parametrize("codec", ["shift_jis", "big5", "euc_kr", "cp1255"])
def test_what_cannot_be_confirmed_is_refused(tmp_path: Path, codec: str) -> None:
    text = {"shift_jis": "吾輩は猫である。", "big5": "混沌未分天地亂", "euc_kr": "나는 고양이다", "cp1255": "אני חתול"}[
        codec
    ]
    with pytest.raises(DataError, match="its encoding is not certain") as caught:
        detect_encoding(write(tmp_path, (text * 40).encode(codec)))
    assert caught.value.where == f"{tmp_path / 'text.txt'}, byte 0"
    assert "UTF-8" in caught.value.remedy


def test_utf8_with_and_without_mark(tmp_path: Path) -> None:
    assert detect_encoding(write(tmp_path, SPANISH.encode())) == Encoding("utf-8")
    path = write(tmp_path, b"\xef\xbb\xbf" + SPANISH.encode())
    assert detect_encoding(path) == Encoding("utf-8-sig", bom=True)
    assert read(path) == SPANISH


def test_a_torn_last_character_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "años y más años ".encode() + "日".encode()[:2])
    assert detect_encoding(path) == Encoding("utf-8", torn_tail_bytes=2)
    assert read(path) == "años y más años "


def test_one_odd_last_byte_in_ascii_is_no_torn_character(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="byte 3"):
        detect_encoding(write(tmp_path, b"caf\xe9"))


def test_damaged_utf8_is_refused_with_the_byte(tmp_path: Path) -> None:
    data = bytearray(SPANISH.encode())
    data[200] = 0xFF
    with pytest.raises(DataError, match="damaged UTF-8") as caught:
        detect_encoding(write(tmp_path, bytes(data)))
    assert caught.value.where.endswith("text.txt, byte 200")


def test_a_fault_behind_the_first_piece_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encodings, "PIECE_BYTES", 64)
    data = SPANISH.encode()
    path = write(tmp_path, data + b"\xff" + data)
    with pytest.raises(DataError) as caught:
        detect_encoding(path)
    assert caught.value.where.endswith(f"byte {len(data)}")


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8, b"\x00\x01" * 600, b"\xfe\xff\xd8\x00\x00A"]
)
def test_binary_files_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DataError):
        detect_encoding(write(tmp_path, data))


@settings(max_examples=40, deadline=None)
@given(text=st.text(alphabet="aé日\r\n🧑", max_size=60), size=st.integers(1, 9))
def test_pieces_join_to_the_text_at_any_size(tmp_path_factory: pytest.TempPathFactory, text: str, size: int) -> None:
    path = write(tmp_path_factory.mktemp("pieces"), text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encodings, "PIECE_BYTES", size)
        assert "".join(read_pieces(path, Encoding("utf-8"))) == text.replace("\r\n", "\n").replace("\r", "\n")
        assert "".join(read_pieces(path, Encoding("utf-8"), newline="")) == text


def test_letters_must_belong_to_the_language() -> None:
    assert sense(SPANISH) == 1.0
    assert sense(SPANISH.encode("cp1252").decode("cp1250")) < 0.98
    assert sense(RUSSIAN.encode("cp1251").decode("koi8_r")) < 0.5
    assert sense("plain ASCII") == 0.0


def test_equal_readings_have_the_usual_name_first() -> None:
    assert guess(SPANISH.encode("latin-1")).codecs[0] == "cp1252"
    assert guess(b"caf\xe9").codecs == ()
