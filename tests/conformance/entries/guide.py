"""Spec 003's *TrainingDocumentation*: the guide and its parser."""

from tests.conformance.entry import Entry

_GUIDE = "studio.services.guide"
_TEST = "tests/services/test_guide.py"


def _field(line: int, owner: str, name: str, what: str, test: str) -> Entry:
    return Entry(
        f"003 {owner}.{name}",
        line,
        what,
        f"{_GUIDE}:{owner}.{name}",
        f"{_TEST}::{test}",
    )


def _rule(line: int, name: str, what: str, test: str) -> Entry:
    return Entry(f"003 {name}", line, what, "docs/training-guide.md", f"{_TEST}::{test}")


_SECTIONS = "test_ten_sections_cover_corpus_to_deployment"
_RUNS = "test_example_runs_unmodified"
_EXPLAINED = "test_each_error_type_is_explained"

ENTRIES = [
    Entry(
        "003 TrainingDocumentation",
        172,
        "the guide as data (TrainingDocumentation)",
        f"{_GUIDE}:TrainingDocumentation",
        f"{_TEST}::{_SECTIONS}",
    ),
    _field(177, "TrainingDocumentation", "sections", "ordered sections", _SECTIONS),
    _field(179, "DocumentSection", "section_id", "unique section_id", _SECTIONS),
    _field(180, "DocumentSection", "title", "readable title", _SECTIONS),
    _field(181, "DocumentSection", "content", "Markdown content", _SECTIONS),
    _field(
        182,
        "DocumentSection",
        "diagrams",
        "ASCII diagrams",
        "test_enough_diagrams_and_examples",
    ),
    _field(183, "DocumentSection", "code_examples", "runnable code_examples", _RUNS),
    _field(184, "DocumentSection", "prerequisites", "prerequisites of a section", _SECTIONS),
    _field(
        185,
        "TrainingDocumentation",
        "cross_references",
        "cross_references between sections",
        "test_cross_references_lead_to_sections",
    ),
    _field(
        186,
        "TrainingDocumentation",
        "glossary",
        "glossary of terms",
        "test_glossary_is_complete_enough_to_lean_on",
    ),
    _field(
        187,
        "TrainingDocumentation",
        "troubleshooting_guide",
        "troubleshooting_guide",
        _EXPLAINED,
    ),
    _field(
        189,
        "TroubleshootingEntry",
        "symptom",
        "symptom as the user sees it",
        _EXPLAINED,
    ),
    _field(190, "TroubleshootingEntry", "possible_causes", "possible_causes", _EXPLAINED),
    _field(191, "TroubleshootingEntry", "solutions", "solutions", _EXPLAINED),
    _field(192, "TroubleshootingEntry", "related_sections", "related_sections", _EXPLAINED),
    _rule(
        200,
        "TrainingDocumentation 1500-2500 lines",
        "1500 to 2500 lines",
        "test_length_is_within_the_bounds",
    ),
    _rule(
        201,
        "TrainingDocumentation readable",
        "readable with basic knowledge: every term in the glossary",
        "test_glossary_is_complete_enough_to_lean_on",
    ),
    _rule(
        202,
        "TrainingDocumentation covers all phases",
        "all phases, corpus to deployment",
        _SECTIONS,
    ),
    _rule(
        203,
        "TrainingDocumentation runnable examples",
        "examples run without modification",
        _RUNS,
    ),
    _rule(314, "TrainingDocumentation 10 sections", "ten sections", _SECTIONS),
    _rule(
        315,
        "TrainingDocumentation 10 diagrams",
        "at least ten diagrams",
        "test_enough_diagrams_and_examples",
    ),
    _rule(
        316,
        "TrainingDocumentation 10 examples",
        "at least ten examples, all run",
        _RUNS,
    ),
    _rule(
        317,
        "troubleshooting covers common issues",
        "entries for each error type and common issues",
        _EXPLAINED,
    ),
]
