"""The ledger is complete and points at what exists."""

import re

import pytest

from tests.conformance.entry import Entry
from tests.conformance.generate import TARGET, render
from tests.conformance.ledger import ROOT, all_entries, broken_pointers, missing
from tests.conformance.required import KINDS, REQUIRED, Item

ENTRIES = all_entries()


def test_every_entry_points_at_code_and_at_a_test() -> None:
    problems = [problem for entry in ENTRIES for problem in broken_pointers(entry)]
    assert not problems, "\n".join(problems)


def test_entries_are_well_formed() -> None:
    wrong = [
        entry.spec for entry in ENTRIES if not re.match(r"00[0-4] \S", entry.spec) or entry.line < 1 or not entry.what
    ]
    assert not wrong


def test_every_required_item_has_an_entry() -> None:
    absent = [f"{item.document}:{item.line} {item.kind} {item.name}" for item in missing(ENTRIES)]
    assert not absent, f"{len(absent)} items of the specs have no entry:\n" + "\n".join(absent)


def test_the_generated_page_is_up_to_date() -> None:
    page = ROOT / TARGET
    assert page.exists(), "run python -m tests.conformance.generate"
    assert page.read_text() == render(ENTRIES), "run python -m tests.conformance.generate"


def test_required_items_are_told_apart() -> None:
    assert {item.kind for item in REQUIRED} == KINDS
    assert len({item.id for item in REQUIRED}) == len(REQUIRED)
    places = [(item.document, item.line, item.word) for item in REQUIRED]
    twice = {place for place in places if places.count(place) > 1}
    assert not twice, "items on one line need different last words"


@pytest.fixture
def good() -> Entry:
    return Entry(
        spec="001 Sample.size",
        line=7,
        what="size",
        built="studio.core.paths:Home.store",
        test="tests/conformance/test_conformance.py::test_a_good_entry_has_no_problem",
    )


def test_a_good_entry_has_no_problem(good: Entry) -> None:
    assert broken_pointers(good) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("built", "studio.core.paths:Home.absent"),
        ("built", "studio.core.absent:Home"),
        ("built", "absent.md"),
        ("test", "tests/conformance/test_conformance.py::test_absent"),
        ("test", "tests/conformance/test_conformance.py::good"),
        ("test", "tests/conformance/absent.py::test_x"),
        ("test", "tests/conformance/test_conformance.py"),
    ],
)
def test_an_entry_that_points_to_nothing_is_found(good: Entry, field: str, value: str) -> None:
    assert broken_pointers(Entry(**{**vars(good), field: value}))


def test_what_no_entry_covers_is_missing(good: Entry) -> None:
    alone = Item("001", 7, "field", "Sample.size")
    pair = [Item("001", 8, "enum", "Sample.kind red"), Item("001", 8, "enum", "Sample.kind blue")]
    assert missing([good], [alone]) == []
    assert missing([good], [alone, *pair]) == pair
    red = Entry(**{**vars(good), "spec": "001 kinds", "line": 8, "what": "red ones"})
    assert missing([good, red], [alone, *pair]) == [pair[1]]
