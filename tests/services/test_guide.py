"""The training guide keeps spec 003's promises: length, sections, diagrams, and programs that run as printed."""

import pytest

from studio.core.errors import DataError
from studio.services.guide import guide_path, load_guide, parse_guide

GUIDE = load_guide()
EXAMPLES = [(s.section_id, i, code) for s in GUIDE.sections for i, code in enumerate(s.code_examples)]


def test_length_is_within_the_bounds() -> None:
    assert 1500 <= len(guide_path().read_text(encoding="utf-8").splitlines()) <= 2500


def test_ten_sections_cover_corpus_to_deployment() -> None:
    ids = [s.section_id for s in GUIDE.sections]
    assert len(ids) == len(set(ids)) == 10
    assert {
        "overview",
        "corpus",
        "tokenization",
        "model_init",
        "training_loop",
        "deployment",
    } <= set(ids)
    assert all(s.title and s.content and s.prerequisites for s in GUIDE.sections)


def test_enough_diagrams_and_examples() -> None:
    assert sum(len(s.diagrams) for s in GUIDE.sections) >= 10
    assert len(EXAMPLES) >= 10
    assert all(s.diagrams and s.code_examples for s in GUIDE.sections)


@pytest.mark.parametrize(("section", "number", "code"), EXAMPLES, ids=[f"{s}-{i}" for s, i, _ in EXAMPLES])
def test_example_runs_unmodified(section: str, number: int, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(
        compile(code, f"training-guide.md:{section}[{number}]", "exec"),
        {"__name__": "__main__"},
    )
    assert capsys.readouterr().out.strip(), "an example shows something"


@pytest.mark.parametrize(
    "error_type",
    ["disk_space", "network", "oom", "validation_failure", "interrupted", "internal"],
)
def test_each_error_type_is_explained(error_type: str) -> None:
    entry = GUIDE.help_for(error_type)
    assert entry is not None
    assert entry.possible_causes
    assert entry.solutions
    assert entry.related_sections


def test_unknown_error_type_has_no_entry() -> None:
    assert GUIDE.help_for("gremlins") is None


def test_cross_references_lead_to_sections() -> None:
    anchors = set(GUIDE.cross_references)
    assert all(set(targets) <= anchors for targets in GUIDE.cross_references.values())
    assert {target for e in GUIDE.troubleshooting_guide for target in e.related_sections} <= anchors


def test_glossary_is_complete_enough_to_lean_on() -> None:
    assert len(GUIDE.glossary) >= 50
    assert all(definition.endswith(".") for definition in GUIDE.glossary.values())


def test_dangling_link_is_refused() -> None:
    markdown = guide_path().read_text(encoding="utf-8").replace("(#corpus)", "(#nowhere)", 1)
    with pytest.raises(DataError, match="nowhere"):
        parse_guide(markdown)
