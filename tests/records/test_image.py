"""The text of a store file: readable JSON, one record per line, quick to read again."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.core.errors import DataError, IncompatibleError
from studio.records.image import BrokenFile, ForeignFile, Image, TableImage, parse, stamp_of

names = st.from_regex(r"[A-Za-z0-9_.-]{1,12}", fullmatch=True)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
contents = st.dictionaries(
    names, st.dictionaries(names, st.dictionaries(st.text(), values, max_size=3), max_size=4), max_size=3
)


def image_of(tables: dict[str, dict[str, dict[str, Any]]], schema: int = 0) -> Image:
    images = {name: TableImage() for name in tables}
    for name, records in tables.items():
        for record_id, record in records.items():
            images[name].put(name, record_id, record)
    return Image(schema=schema).successor(images)


@given(contents)
def test_round_trip(tables: dict[str, dict[str, dict[str, Any]]]) -> None:
    image = image_of(tables)
    text = image.render()
    again = parse(text)
    assert {name: again.table_copy(name) for name in again.tables} == tables
    assert (again.stamp, again.revision, again.schema) == (image.stamp, 1, 0)
    assert again.render() == text
    assert json.loads(text)["tables"] == tables
    assert stamp_of(text[:256]) == image.stamp


def test_one_record_per_line() -> None:
    text = image_of({"models": {"a": {"x": "1\n2"}, "b": {}}, "empty": {}}).render().decode()
    assert text.splitlines()[1:] == [
        '"tables":{',
        '"models":{',
        '"a":{"x":"1\\n2"},',
        '"b":{}',
        "},",
        '"empty":{',
        "}",
        "}}",
    ]


@given(contents)
def test_a_file_that_an_editor_laid_out_anew_is_read(tables: dict[str, dict[str, dict[str, Any]]]) -> None:
    image = image_of(tables, schema=3)
    again = parse(json.dumps(json.loads(image.render()), indent=4).encode())
    assert {name: again.table_copy(name) for name in again.tables} == tables
    assert (again.stamp, again.schema) == (image.stamp, 3)


def test_known_lines_are_not_parsed_again() -> None:
    first = parse(image_of({"models": {"a": {"x": 1}, "b": {"x": 2}}}).render())
    second = parse(image_of({"models": {"a": {"x": 1}, "b": {"x": 3}}}).render(), first)
    assert second.table("models").documents["a"] is first.table("models").documents["a"]
    assert second.table("models").documents["b"] == {"x": 3}


@given(contents, st.data())
def test_no_prefix_is_taken_for_the_whole(tables: dict[str, dict[str, dict[str, Any]]], data: st.DataObject) -> None:
    text = image_of(tables).render()
    cut = data.draw(st.integers(0, len(text) - 2))
    with pytest.raises(BrokenFile):
        parse(text[:cut])


HEADER = '"studio_store": {"format": 1, "schema": 0, "revision": 1, "stamp": "00000000"}'


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[]", ForeignFile),
        ("{}", ForeignFile),
        ('{"studio_store": {"format": "1"}, "tables": {}}', ForeignFile),
        (f"{{{HEADER}}}", BrokenFile),
        (f'{{{HEADER}, "tables": {{"models": []}}}}', BrokenFile),
        (f'{{{HEADER}, "tables": {{"models": {{"a": 1}}}}}}', BrokenFile),
        (f'{{{HEADER}, "tables": {{"models": {{"a": {{}}}}'.replace(": {", ":{"), BrokenFile),
        ('{"studio_store": {"format": 2, "schema": 0, "revision": 1}, "tables": {}}', IncompatibleError),
    ],
)
def test_what_is_no_store_is_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse(text.encode())


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "a\nb", "x" * 129, "é"])
def test_names_that_do_not_fit_a_line_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="cannot name"):
        TableImage().put("models", name, {})
    with pytest.raises(DataError, match="cannot name"):
        TableImage().put(name, "a", {})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, 2**70, object()])
def test_values_that_json_cannot_hold_are_refused(value: object) -> None:
    table = TableImage()
    with pytest.raises(DataError, match="models/a"):
        table.put("models", "a", {"x": [value]})
    assert table.lines == {}
