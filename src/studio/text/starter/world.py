"""The starter world as files: pretraining text, conversations, preference pairs and held-out cases.

    out_dir/pretrain/{eng,spa}.jsonl   {"id", "language", "text"}
    out_dir/sft.jsonl                  {"id", "language", "kind", "messages"}
    out_dir/preferences.jsonl          {"id", "language", "flaw", "prompt", "chosen", "rejected"}
    out_dir/heldout.jsonl              {"id", "language", "kind", "question", "answer", "story"?}
    out_dir/starter.json               what was written, with its hashes

The same seed and scale give the same bytes on every machine. Knows files; the words come from its neighbours.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from studio.core.errors import UsageError
from studio.core.fsio import atomic_write_bytes, atomic_write_json, sha256_file
from studio.text.starter.chats import conversations, messages, preferences
from studio.text.starter.facts import make_world
from studio.text.starter.lexicon import LANGUAGES
from studio.text.starter.prose import documents
from studio.text.starter.split import Split, make_cases, make_split

GENERATOR_VERSION = 2
"""Raised whenever the same seed writes other bytes, so that worlds kept from before are made anew."""
PRETRAIN_BYTES = 3_000_000
CONVERSATIONS = 16_000
PREFERENCES = 2_000
CASES_PER_LANGUAGE = 200
MANIFEST = "starter.json"


@dataclass(frozen=True, slots=True)
class StarterManifest:
    """What `generate_starter` wrote."""

    seed: int
    scale: float
    documents: int
    pretrain_bytes: int
    conversations: int
    preferences: int
    cases: int
    files: dict[str, str]
    """Relative name -> SHA-256."""


def generate_starter(out_dir: Path, *, seed: int = 1337, scale: float = 1.0) -> StarterManifest:
    """Write the world of `seed` below `out_dir`; `scale` shrinks or grows all but the held-out cases.

    UsageError for a scale that is not above 0 or a negative seed.
    """
    if not 0.0 < scale <= 100.0 or seed < 0:
        raise UsageError(
            f"scale {scale} with seed {seed}", where="starter world", remedy="scale in (0, 100], seed >= 0"
        )
    split = make_split(make_world(seed), seed)
    (out_dir / "pretrain").mkdir(parents=True, exist_ok=True)
    counts = _write_prose(out_dir / "pretrain", split, seed, round(PRETRAIN_BYTES * scale))
    counts["conversations"] = _write(out_dir / "sft.jsonl", _chats(split, seed, round(CONVERSATIONS * scale)))
    pairs = preferences(split, seed, round(PREFERENCES * scale))
    counts["preferences"] = _write(out_dir / "preferences.jsonl", _numbered("preference", pairs))
    cases = make_cases(split, seed, CASES_PER_LANGUAGE)
    rows = ({key: value for key, value in asdict(case).items() if value != ""} for case in cases)
    counts["cases"] = _write(out_dir / "heldout.jsonl", rows)
    names = [f"pretrain/{language}.jsonl" for language in LANGUAGES]
    files = {name: sha256_file(out_dir / name) for name in [*names, "sft.jsonl", "preferences.jsonl", "heldout.jsonl"]}
    manifest = StarterManifest(seed=seed, scale=scale, files=files, **counts)
    atomic_write_json(out_dir / MANIFEST, asdict(manifest))
    return manifest


def _write_prose(folder: Path, split: Split, seed: int, size_bytes: int) -> dict[str, int]:
    """One file per language; the document numbers run through both, in the order of writing."""
    rows: dict[str, list[dict[str, str]]] = {language: [] for language in LANGUAGES}
    size = 0
    for index, (kind, language, text) in enumerate(documents(split, seed, size_bytes)):
        rows[language].append({"id": f"{kind}-{index:06d}", "language": language, "text": text})
        size += len(text.encode())
    for language in LANGUAGES:
        _write(folder / f"{language}.jsonl", rows[language])
    return {"documents": sum(map(len, rows.values())), "pretrain_bytes": size}


def _chats(split: Split, seed: int, count: int) -> Iterator[dict[str, Any]]:
    for index, (language, kind, turns) in enumerate(conversations(split, seed, count)):
        yield {"id": f"chat-{index:06d}", "language": language, "kind": kind, "messages": messages(turns)}


def _numbered(prefix: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for index, row in enumerate(rows):
        yield {"id": f"{prefix}-{index:06d}", **row}


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """JSON lines, whole or not at all; returns how many."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    atomic_write_bytes(path, "".join(f"{line}\n" for line in lines).encode())
    return len(lines)
