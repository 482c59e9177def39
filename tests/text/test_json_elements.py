import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.text.json_elements import MOST_DEPTH, Element, NotAList, iter_elements

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(['a"b', "\\", "[{", "}]", ","]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def read(text: str, size: int = 7) -> list[Element]:
    return list(iter_elements(text[start : start + size] for start in range(0, len(text), size)))


@given(values=st.lists(JSON, max_size=6), size=st.integers(1, 30), indent=st.sampled_from([None, 1]))
def test_every_element_of_any_list_is_found(values: list[object], size: int, indent: int | None) -> None:
    elements = read(json.dumps(values, indent=indent), size)
    assert [json.loads(element.text) for element in elements] == values
    assert not any(element.fault for element in elements)
    assert [element.number for element in elements] == list(range(1, len(values) + 1))


def test_places_are_lines_and_columns() -> None:
    elements = read('[\n  {"a": 1},\n\n   {"b":\n 2}, 3]')
    assert [(element.line, element.column) for element in elements] == [(2, 3), (4, 4), (5, 6)]
    assert elements[1].place == "document 2 (line 4, column 4)"


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("text", "good", "fault"),
    [
        ('[{"a": 1}, {"b": ', 1, "the file ends inside this document"),
        ('[{"a": 1}, {"b": "x\\', 1, "the file ends inside this document"),
        ('[{"a": 1}, ', 1, "the file ends inside the list"),
        ("[", 0, "the file ends inside the list"),
        ('[{"a": 1}, , 3]', 2, "an empty place"),
        ('[{"a": 1}] [2]', 1, "there is more text after the end of the list"),
        ("[1, 2}, 3]", 2, "a closing brace without an opening one"),
        ("[" + "[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1) + ", 5]", 1, f"nested deeper than {MOST_DEPTH} levels"),
    ],
)
def test_a_fault_costs_only_its_own_element(text: str, good: int, fault: str, size: int) -> None:
    elements = read(text, size)
    assert [element.fault for element in elements if element.fault] == [fault]
    assert sum(not element.fault for element in elements) == good


@pytest.mark.parametrize(
    ("text", "says"), [("", "the file is empty"), ("  ", "empty"), ('{"a": 1}', "an object"), ("x", "begins with 'x'")]
)
def test_what_is_no_list_is_refused(text: str, says: str) -> None:
    with pytest.raises(NotAList, match=says):
        read(text)


def test_depth_costs_no_recursion() -> None:
    (element,) = read("[" * 200_000, 1 << 16)
    assert element.fault
