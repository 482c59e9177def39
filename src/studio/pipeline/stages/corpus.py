"""Phase corpus_download: sources become one cleaned corpus artefact.

Downloads go to `downloads` stages keyed by URL and checksum; the `corpus` stage reads every source, cleans, removes
duplicates, and writes `documents.jsonl` (what training reads), `corpus.txt` (003's text file) and `report.json`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from studio.config.text import DataSource
from studio.core.errors import DataError
from studio.core.fsio import JsonlWriter, atomic_write_json, iter_jsonl, sha256_file
from studio.pipeline.context import RunContext
from studio.pipeline.download import download, is_url
from studio.pipeline.stage import Artefact, Stage
from studio.text.cleaning import clean
from studio.text.dedup import Deduplicator
from studio.text.documents import CorpusReport, Document, read_documents

DOCUMENTS = "documents.jsonl"
TEXT = "corpus.txt"
REPORT = "report.json"


def run(context: RunContext) -> None:
    """Make or find the starter world, the downloads and the corpus."""
    artefact = make_corpus(context, context.config.corpus.all_sources)
    context.report["corpus"] = dict(artefact.summary)


def make_corpus(context: RunContext, sources: Sequence[DataSource]) -> Artefact:
    """The cleaned corpus of these sources."""
    folders = [_materialise(context, number, source) for number, source in enumerate(sources)]
    stage = Stage(
        name="corpus",
        version=1,
        inputs={
            "sources": [
                {"content": content_hash(path), "language": source.language, "format": source.format}
                for source, path in folders
            ],
            "cleaning": context.config.cleaning.model_dump(mode="json"),
            "dedup": context.config.data.dedup.model_dump(mode="json"),
        },
    )
    return context.ensure(stage, lambda directory: build_corpus(context, folders, directory))


def _materialise(context: RunContext, number: int, source: DataSource) -> tuple[DataSource, Path]:
    """The source as a local file or folder."""
    if source.source_type == "starter":
        return source, starter_world(context).path / "pretrain"
    if is_url(source.path):
        return source, downloaded(context, number, source)
    return source, Path(source.path)


def starter_world(context: RunContext) -> Artefact:
    """The generated world: pretraining text, conversations, preferences and held-out questions."""
    from studio.text.starter.world import GENERATOR_VERSION, generate_starter

    inputs = {"seed": context.config.seed, "scale": context.config.starter_scale, "generator": GENERATOR_VERSION}

    def build(directory: Path) -> dict[str, Any]:
        generate_starter(directory, seed=context.config.seed, scale=context.config.starter_scale)
        return inputs

    return context.ensure(Stage("starter", 1, inputs), build)


def downloaded(context: RunContext, number: int, source: DataSource) -> Path:
    name = os.path.basename(unquote(urlsplit(source.path).path)) or f"source-{number}.txt"
    stage = Stage("download", 1, {"url": source.path, "sha256": source.sha256}, resumable=True)

    def build(directory: Path) -> dict[str, Any]:
        path = download(
            source.path,
            directory / name,
            sha256=source.sha256,
            policy=context.seams.policy,
            emit=context.emit,
            stop=context.stop,
        )
        return {"url": source.path, "bytes": path.stat().st_size, "sha256": sha256_file(path)}

    return context.ensure(stage, build).path / name


def content_hash(path: Path) -> dict[str, str]:
    """SHA-256 of a file, or of every file below a folder, by name: documents take their ids and languages from it."""
    if path.is_file():
        return {path.name: sha256_file(path)}
    return {file.relative_to(path).as_posix(): sha256_file(file) for file in sorted(path.rglob("*")) if file.is_file()}


def build_corpus(context: RunContext, folders: list[tuple[DataSource, Path]], directory: Path) -> dict[str, Any]:
    """Write the artefact; DataError when nothing is left to train on."""
    report = CorpusReport()
    languages: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    keep = Deduplicator(context.config.data.dedup)
    with JsonlWriter(directory / DOCUMENTS) as rows, (directory / TEXT).open("w", encoding="utf-8") as text:
        for document, source_number in _cleaned(context, folders, report, totals):
            if not keep.keep(document):
                continue
            row = {"id": document.id, "language": document.language, "title": document.title, "text": document.text}
            rows.write({**row, "source": source_number})
            text.write(document.text + "\n\n")
            languages[document.language] += 1
            totals["documents"] += 1
            totals["characters"] += len(document.text)
    if totals["documents"] == 0:
        raise DataError(
            "no text is left after reading and cleaning", where=str(directory), remedy="see the problems above"
        )
    summary = {
        "documents": totals["documents"],
        "characters": totals["characters"],
        "bytes": (directory / TEXT).stat().st_size,
        "empty_after_cleaning": totals["empty"],
        "duplicates_dropped": keep.dropped,
        "languages": dict(languages.most_common()),
        "problems": [str(problem) for problem in report.problems],
        "encodings": dict(Counter(file.encoding for file in report.files if file.encoding)),
        "files": report.to_dict()["files"],
    }
    atomic_write_json(directory / REPORT, summary)
    return summary


def _cleaned(
    context: RunContext, folders: list[tuple[DataSource, Path]], report: CorpusReport, totals: Counter[str]
) -> Iterator[tuple[Document, int]]:
    for number, (source, path) in enumerate(folders):
        for document in read_documents(
            path, report=report, strict=context.config.corpus.strict, format=source.format, language=source.language
        ):
            context.check_stop()
            text = clean(document.text, context.config.cleaning)
            if not text.strip():
                totals["empty"] += 1
                continue
            yield replace(document, text=text), number


def read_corpus(directory: Path) -> Iterator[Document]:
    """The documents of a corpus artefact, in order; `source` is the number of the configured source."""
    for index, (_, row) in enumerate(iter_jsonl(directory / DOCUMENTS)):
        yield Document(row["id"], row["text"], row.get("title", ""), row["language"], str(row["source"]), index)
