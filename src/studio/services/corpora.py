"""Corpora as commands and pages see them: what a file or folder holds, and the cleaned corpora that runs made."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from studio.core.errors import NotFoundError
from studio.core.fsio import read_json
from studio.core.paths import Home
from studio.pipeline.stage import MANIFEST


class CorpusService:
    """Texts of one home, and any that its user may read."""

    def __init__(self, home: Home) -> None:
        self._root = home.stages / "corpus"

    def list(self) -> list[dict[str, Any]]:
        """Cleaned corpora, newest first: id, documents, bytes, languages, path."""
        manifests = sorted(self._root.glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime, reverse=True)
        rows = []
        for path in manifests:
            summary = read_json(path)["summary"]
            rows.append(
                {
                    "id": path.parent.name,
                    "documents": summary["documents"],
                    "bytes": summary["bytes"],
                    "languages": ", ".join(summary["languages"]),
                    "path": str(path.parent),
                }
            )
        return rows

    def show(self, text: str) -> dict[str, Any]:
        """A cleaned corpus by its id, or what reading a file or folder would give: documents, languages, problems."""
        known = self._root / text / MANIFEST
        if "/" not in text and known.exists():
            return dict(read_json(known)["summary"])
        return survey(Path(text))


def survey(path: Path) -> dict[str, Any]:
    """Read a file or folder as a pipeline would, without keeping anything."""
    from studio.config.text import CleaningConfig, DedupConfig
    from studio.text.cleaning import clean
    from studio.text.dedup import Deduplicator
    from studio.text.documents import read_documents
    from studio.text.reports import CorpusReport

    if not path.exists():
        raise NotFoundError(
            "no such corpus", where=str(path), remedy="name a file or folder, or an id of: studio corpus list"
        )
    report, languages, characters = CorpusReport(), Counter[str](), 0
    keep = Deduplicator(DedupConfig())
    for document in read_documents(path, report=report):
        if keep.keep(document):
            languages[document.language] += 1
            characters += len(clean(document.text, CleaningConfig()))
    return {
        "documents": sum(languages.values()),
        "characters": characters,
        "bytes": report.bytes,
        "duplicates_dropped": keep.dropped,
        "languages": dict(languages.most_common()),
        "encodings": dict(Counter(file.encoding for file in report.files if file.encoding)),
        "problems": [str(problem) for problem in report.problems],
    }
