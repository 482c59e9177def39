"""The training guide as data: spec 003's *TrainingDocumentation*, read from `docs/training-guide.md`.

Knows the guide's few conventions (anchors, `Assumes:` and `See also:` lines, `diagram` and `python` fences, the shape
of a troubleshooting entry) and nothing of how a page draws it. The Markdown file is the only source.
"""

import re
from functools import cache
from pathlib import Path

from pydantic import Field

from studio.config.base import Frozen
from studio.core.errors import DataError

_ANCHOR = re.compile(r'<a id="([a-z_]+)"></a>\n## (?:\d+\. )?(.+)\n')
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\(#([a-z_]+)\)")
_TERM = re.compile(r"^- \*\*(.+?)\*\*: (.+)$", re.MULTILINE)
_APPENDICES = ("hyperparameters", "troubleshooting", "glossary")


class DocumentSection(Frozen):
    """One chapter of the guide."""

    section_id: str
    """Unique identifier, the anchor of the chapter."""
    title: str
    """Heading without its number."""
    content: str
    """The chapter's Markdown, code and diagrams included."""
    diagrams: tuple[str, ...]
    """Its ASCII diagrams, in order."""
    code_examples: tuple[str, ...]
    """Its Python programs, each complete and runnable without modification."""
    prerequisites: tuple[str, ...]
    """Concepts that the chapter assumes known."""


class TroubleshootingEntry(Frozen):
    """One observed problem and its remedies."""

    symptom: str
    """What the user sees."""
    error_types: tuple[str, ...] = ()
    """The pipeline's error types that this entry explains; empty for runs that end well and are no good."""
    possible_causes: tuple[str, ...] = Field(min_length=1)
    """What might be wrong."""
    solutions: tuple[str, ...] = Field(min_length=1)
    """Actions to take."""
    related_sections: tuple[str, ...] = ()
    """Where to read more, as section ids."""


class TrainingDocumentation(Frozen):
    """The whole guide."""

    sections: tuple[DocumentSection, ...]
    """Chapters in reading order."""
    cross_references: dict[str, tuple[str, ...]]
    """Section id to the ids of the sections that it refers to."""
    glossary: dict[str, str]
    """Term to definition."""
    troubleshooting_guide: tuple[TroubleshootingEntry, ...]
    """Problems, those with an error type first."""

    def help_for(self, error_type: str) -> TroubleshootingEntry | None:
        """The entry that explains a pipeline's error type, or None for a type the guide does not know."""
        return next((e for e in self.troubleshooting_guide if error_type in e.error_types), None)


def guide_path() -> Path:
    """Where the guide lies: beside the sources in a checkout, inside the package in an installation."""
    package = Path(__file__).resolve().parent.parent
    candidates = (
        package.parent.parent / "docs" / "training-guide.md",
        package / "_docs" / "training-guide.md",
    )
    for path in candidates:
        if path.is_file():
            return path
    raise DataError(
        "the training guide is missing",
        where=str(candidates[0]),
        remedy="reinstall Studio",
    )


@cache
def load_guide() -> TrainingDocumentation:
    """The guide of this installation, read once a process."""
    return parse_guide(guide_path().read_text(encoding="utf-8"))


def parse_guide(markdown: str) -> TrainingDocumentation:
    """Markdown to `TrainingDocumentation`.

    Raises:
        DataError: a link leads to no section, or the glossary or the troubleshooting part is missing.
    """
    parts = _ANCHOR.split(markdown)
    bodies = {anchor: (title, body) for anchor, title, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)}
    missing = [name for name in _APPENDICES if name not in bodies]
    dangling = sorted({link for link in _LINK.findall(markdown) if link not in bodies})
    if missing or dangling:
        raise DataError(
            f"the guide has no section {', '.join(missing + dangling)}",
            where="training-guide.md",
        )
    chapters = {name: value for name, value in bodies.items() if name not in _APPENDICES}
    return TrainingDocumentation(
        sections=tuple(_section(name, title, body) for name, (title, body) in chapters.items()),
        cross_references={name: _links(body, without=name) for name, (_, body) in bodies.items()},
        glossary=dict(_TERM.findall(bodies["glossary"][1])),
        troubleshooting_guide=tuple(_entries(bodies["troubleshooting"][1])),
    )


def _section(section_id: str, title: str, body: str) -> DocumentSection:
    fences = _FENCE.findall(body)
    assumes = re.search(r"^Assumes: (.+)\.$", body, re.MULTILINE)
    known = assumes.group(1).split(", ") if assumes else []
    return DocumentSection(
        section_id=section_id,
        title=title,
        content=body.strip(),
        diagrams=tuple(text for kind, text in fences if kind == "diagram"),
        code_examples=tuple(text for kind, text in fences if kind == "python"),
        prerequisites=tuple(re.sub(r"\[(.+?)\]\(.+?\)", r"\1", item) for item in known),
    )


def _links(body: str, *, without: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(link for link in _LINK.findall(body) if link != without))


def _entries(body: str) -> list[TroubleshootingEntry]:
    entries = []
    for block in body.split("### Symptom: ")[1:]:
        symptom, rest = block.split("\n", 1)
        types = re.search(r"^Error types: (.+)$", rest, re.MULTILINE)
        entries.append(
            TroubleshootingEntry(
                symptom=symptom.strip(),
                error_types=tuple(types.group(1).split(", ")) if types else (),
                possible_causes=_bullets(rest, "Possible causes:"),
                solutions=_bullets(rest, "Solutions:"),
                related_sections=_links(rest, without=""),
            )
        )
    return entries


def _bullets(text: str, heading: str) -> tuple[str, ...]:
    _, _, after = text.partition(heading + "\n")
    return tuple(line[2:] for line in after.split("\n\n", 1)[0].splitlines() if line.startswith("- "))
