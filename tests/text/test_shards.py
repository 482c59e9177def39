import json
import signal
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from studio.config.text import CleaningConfig, DataConfig, DataSource
from studio.core.errors import (
    ConflictError,
    DataError,
    DiskSpaceError,
    IncompatibleError,
    IntegrityError,
    Interrupted,
    NotFoundError,
)
from studio.core.fsio import file_lock
from studio.core.stopping import StopFlag
from studio.text import shards as module
from studio.text.cleaning import steps as cleaning_steps
from studio.text.documents import Document
from studio.text.shards import TokenDataset, build_token_dataset
from studio.text.splits import Splitter
from studio.text.tokenizers import Tokenizer
from tests.text.sample import paragraphs
from tests.text.shard_builder import DATA, SOURCES, build, documents

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def unigram(trained: dict[str, Tokenizer]) -> Tokenizer:
    return trained["unigram"]


@pytest.fixture(scope="session")
def built(unigram: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> TokenDataset:
    return build(unigram, tmp_path_factory.mktemp("dataset"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_every_document_is_there_once_between_bos_and_eos(built: TokenDataset, unigram: Tokenizer) -> None:
    wanted = {document.id: document.text for document in documents()}
    found = {}
    for split in ("train", "validation"):
        tokens, bounds = np.asarray(built.tokens(split)), built.boundaries(split)
        rows = list(built.documents(split))
        assert len(rows) == len(bounds) - 1
        assert bounds[-1] == len(tokens) == len(built.tokens(split))
        for row, start, end in zip(rows, bounds, bounds[1:], strict=False):
            piece = tokens[start:end].tolist()
            assert (piece[0], piece[-1]) == (unigram.bos_id, unigram.eos_id)
            found[row["id"]] = unigram.decode(piece)
            assert row == {"id": row["id"], "source": "sample", "language": "und", "tokens": end - start,
                           "bytes": len(wanted[row["id"]].encode())}  # fmt: skip
    assert found == wanted
    assert len(built.shards) > 8


def test_manifest_says_what_it_is_made_of(built: TokenDataset, unigram: Tokenizer) -> None:
    manifest = json.loads((built.path / "manifest.json").read_text())
    assert manifest["total_tokens"] == built.total_tokens == sum(shard.tokens for shard in built.shards)
    assert manifest["tokenizer"] == {"sha256": unigram.sha256, "vocab_size": unigram.vocab_size,
                                     "bos_id": 0, "eos_id": 1, "pad_id": 2}  # fmt: skip
    assert built.metadata == {
        "name": "tokens",
        "version": "1.0.0",
        "kind": "text",
        "documents": 300,
        "bytes": sum(len(document.text.encode()) for document in documents()),
    }
    assert built.sources == manifest["sources"] == [SOURCES[0].model_dump(mode="json")]
    assert (built.bos_id, built.pad_id, built.tokenizer_sha256) == (0, 2, unigram.sha256)
    assert built.dtype == np.dtype("<u2")
    assert built.mask("train") is None
    assert built.text_bytes("train") + built.text_bytes("validation") == sum(
        len(document.text.encode()) for document in documents()
    )


def test_a_large_vocabulary_takes_four_bytes(
    unigram: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tokenizer, "vocab_size", property(lambda tokenizer: 70_000))
    dataset = build_token_dataset(documents(9), unigram, tmp_path, DATA, sources=SOURCES)
    assert dataset.dtype == np.dtype("<u4")
    assert unigram.decode(dataset.tokens("train")[:30].tolist()).startswith(documents(1)[0].text[:10])


# -- resuming -------------------------------------------------------------------------------------------------------


def test_a_killed_build_goes_on_and_gives_the_same_bytes(
    built: TokenDataset, unigram: Tokenizer, tmp_path: Path
) -> None:
    unigram.save(tmp_path / "tokenizer")
    folder = tmp_path / "dataset"
    finished: list[int] = []
    for writes in ("90", "300"):
        command = [sys.executable, "-m", "tests.text.shard_builder", str(tmp_path / "tokenizer"), str(folder), writes]
        ended = subprocess.run(command, cwd=ROOT, check=False, timeout=120)
        assert ended.returncode == -signal.SIGKILL
        with pytest.raises(NotFoundError, match="no token dataset"):
            TokenDataset.open(folder)
        finished.append(len(list(folder.glob("part-*.json"))))
    assert 0 < finished[0] < finished[1] < len({shard.name[-5:] for shard in built.shards})

    # a kill inside an atomic write leaves its temporary file
    (folder / ".part-00001.json.tmp-0a1b2c3d").write_text("{")

    events: list[dict[str, object]] = []
    build_token_dataset(
        documents(),
        unigram,
        folder,
        DATA,
        sources=SOURCES,
        emit=lambda kind, **fields: events.append({"kind": kind, **fields}),
    )
    written = [event["written"] for event in events if event["kind"] == "shards"]
    assert written.count(False) == finished[1]
    assert contents(folder) == contents(built.path)


def test_a_finished_build_writes_nothing(built: TokenDataset, unigram: Tokenizer) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.path.glob("*.bin")}
    assert build(unigram, built.path).sha256 == built.sha256
    assert {path: path.stat().st_mtime_ns for path in built.path.glob("*.bin")} == before


def test_a_harmed_shard_alone_is_written_again(unigram: Tokenizer, built: TokenDataset, tmp_path: Path) -> None:
    build(unigram, tmp_path)
    harmed = sorted(tmp_path.glob("train-*.bin"))[2]
    data = bytearray(harmed.read_bytes())
    data[7] ^= 1
    harmed.write_bytes(bytes(data))
    written = []
    build_token_dataset(
        documents(), unigram, tmp_path, DATA, sources=SOURCES,
        emit=lambda kind, **fields: written.append(fields["part"]) if fields.get("written") else None,
    )  # fmt: skip
    assert written == [2]
    assert contents(tmp_path) == contents(built.path)


def test_an_edited_document_costs_one_part(unigram: Tokenizer, tmp_path: Path) -> None:
    build(unigram, tmp_path)
    rows = documents()
    rows[120] = Document(rows[120].id, rows[120].text.swapcase(), source="sample")
    written = []
    build_token_dataset(
        rows, unigram, tmp_path, DATA, sources=SOURCES,
        emit=lambda kind, **fields: written.append(fields["part"]) if fields.get("written") else None,
    )  # fmt: skip
    assert len(written) == 1


def test_fewer_documents_leave_no_old_files(unigram: Tokenizer, tmp_path: Path) -> None:
    build(unigram, tmp_path)
    dataset = build_token_dataset(documents(40), unigram, tmp_path, DATA, sources=SOURCES)
    named = {file.name for shard in dataset.shards for file in shard.files.values()}
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(("train", "valid"))} == named


def test_workers_do_not_change_the_result(unigram: Tokenizer, built: TokenDataset, tmp_path: Path) -> None:
    data = DATA.model_copy(update={"workers": 5})
    build_token_dataset(documents(), unigram, tmp_path, data, sources=SOURCES)
    assert contents(tmp_path) == contents(built.path)


def test_a_stop_keeps_what_is_finished(unigram: Tokenizer, tmp_path: Path) -> None:
    stop = StopFlag()

    def emit(kind: str, **fields: object) -> None:
        stop.set("SIGTERM")

    with pytest.raises(Interrupted, match=r"stopped \(SIGTERM\)"):
        build_token_dataset(documents(), unigram, tmp_path, DATA, sources=SOURCES, emit=emit, stop=stop)
    assert list(tmp_path.glob("part-*.json"))
    assert not (tmp_path / "manifest.json").exists()


def test_two_builders_do_not_meet(unigram: Tokenizer, tmp_path: Path) -> None:
    with file_lock(tmp_path / ".lock"), pytest.raises(ConflictError):
        build(unigram, tmp_path)


def test_too_little_disk_is_said_before_writing(
    unigram: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda path: 1 << 20)
    with pytest.raises(DiskSpaceError, match="token shards need about 10 MB, 1 MB are free"):
        build(unigram, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_no_documents_and_broken_documents_are_refused(unigram: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no documents"):
        build_token_dataset([], unigram, tmp_path, DATA, sources=SOURCES)
    bad = [*documents(5), Document("broken", "a\ud800", source="file.txt")]
    with pytest.raises(DataError, match=r"file\.txt, document broken: the text holds a lone surrogate at character 1"):
        build_token_dataset(bad, unigram, tmp_path, DATA, sources=SOURCES)


# -- the rules of 001 ---------------------------------------------------------------------------------------------


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_total_tokens_must_be_the_sum_of_the_shards(unigram: Tokenizer, tmp_path: Path) -> None:
    total = build(unigram, tmp_path).total_tokens
    edit_manifest(tmp_path, total_tokens=total + 1)
    with pytest.raises(IntegrityError, match=f"total_tokens is {total + 1}, its shards hold {total}"):
        TokenDataset.open(tmp_path)


def test_a_source_is_required(unigram: Tokenizer, tmp_path: Path) -> None:
    build(unigram, tmp_path)
    edit_manifest(tmp_path, sources=[])
    with pytest.raises(IntegrityError, match="at least one source"):
        TokenDataset.open(tmp_path)


def test_another_format_is_not_read(unigram: Tokenizer, tmp_path: Path) -> None:
    metadata = build(unigram, tmp_path).metadata
    edit_manifest(tmp_path, metadata={**metadata, "version": "2.0.0"})
    with pytest.raises(IncompatibleError, match=r"format 2\.0\.0, this program reads 1\.0\.0"):
        TokenDataset.open(tmp_path)


def test_every_shard_file_must_exist_whole(unigram: Tokenizer, tmp_path: Path) -> None:
    dataset = build(unigram, tmp_path)
    for kind, file in dataset.shards[1].files.items():
        path = tmp_path / file.name
        data = path.read_bytes()
        path.unlink()
        with pytest.raises(IntegrityError, match="the file is missing") as caught:
            TokenDataset.open(tmp_path)
        assert caught.value.where == str(path), kind
        path.write_bytes(data[:-1])
        with pytest.raises(IntegrityError, match=f"{len(data) - 1} bytes, {len(data)} were written"):
            TokenDataset.open(tmp_path)
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        assert TokenDataset.open(tmp_path).total_tokens == dataset.total_tokens
        with pytest.raises(IntegrityError, match="CRC32") as caught:
            TokenDataset.open(tmp_path, verify=True)
        assert caught.value.where == str(path), kind
        path.write_bytes(data)
    TokenDataset.open(tmp_path, verify=True)


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"sources": [1], "shards": [{}], "metadata": {"version": "1.0.0"}}']
)
def test_a_strange_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(IntegrityError, match="not a token dataset's manifest"):
        TokenDataset.open(tmp_path)


# -- splits and weights -----------------------------------------------------------------------------------------------


def test_the_split_follows_the_id_alone() -> None:
    ids = [f"d{number}" for number in range(4000)]
    splitter = Splitter.over(ids, 0.05, 1)
    held = {name for name in ids if splitter.split(name) == "validation"}
    assert 150 < len(held) < 250
    fewer = Splitter.over(ids[:2000], 0.05, 1)
    assert {name for name in ids[:2000] if fewer.split(name) == "validation"} == held & set(ids[:2000])
    other = Splitter.over(ids, 0.05, 2)
    assert {name for name in ids if other.split(name) == "validation"} != held


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_small_corpora_have_both_splits(fraction: float, count: int) -> None:
    for seed in range(20):
        splitter = Splitter.over([str(number) for number in range(count)], fraction, seed)
        splits = Counter(splitter.split(str(number)) for number in range(count))
        assert splits["train"] >= 1
        assert splits["validation"] >= 1


def test_one_document_is_for_training() -> None:
    assert Splitter.over(["only"], 0.9, 1).split("only") == "train"


def test_weights_give_each_source_its_share(unigram: Tokenizer, tmp_path: Path) -> None:
    data = DataConfig.model_validate({"shard_tokens": 1000, "validation_fraction": 0.05})
    sources = [DataSource(path="a", weight=3.0), DataSource(path="b", weight=1.0), DataSource(path="c", weight=4.0)]
    rows = [Document(f"d{number}", text, source="abc"[number % 3]) for number, text in enumerate(paragraphs(600))]
    built = [
        build_token_dataset(
            rows, unigram, tmp_path / name, data, sources=sources, source_of=lambda row: "abc".index(row.source)
        )
        for name in ("one", "two")
    ]
    first, second = (np.asarray(dataset.tokens("train")) for dataset in built)
    assert first.tolist() == second.tolist()
    number = {text: row.source for row in rows for text in [row.text]}
    bounds = built[0].boundaries("train")
    seen: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for start, end in pairwise(bounds):
        text = unigram.decode(first[start:end].tolist())
        seen[number[text]] += int(end - start)
        times[text] += 1
    for source, share in zip("abc", (3 / 8, 1 / 8, 4 / 8), strict=True):
        assert seen[source] / len(first) == pytest.approx(share, abs=0.01)
    trained = {row["id"] for row in built[0].documents("train")}
    assert set(times) == {row.text for row in rows if row.id in trained}
    assert len(built[0].tokens("validation")) == sum(s.tokens for s in built[0].of("validation"))


def test_steps_before_are_kept(unigram: Tokenizer, tmp_path: Path) -> None:
    steps = cleaning_steps(CleaningConfig())
    dataset = build_token_dataset(
        documents(20), unigram, tmp_path, DATA, sources=SOURCES, preprocessing_steps=steps, name="mine"
    )
    assert dataset.preprocessing_steps == steps
    assert dataset.metadata["name"] == "mine"


def test_equal_weights_leave_every_document_once(unigram: Tokenizer, tmp_path: Path) -> None:
    sources = [DataSource(path="a", weight=2.0), DataSource(path="b", weight=2.0)]
    rows = documents(100)
    dataset = build_token_dataset(
        rows, unigram, tmp_path, DATA, sources=sources, source_of=lambda row: int(row.id[1:]) % 2
    )
    assert len(dataset.tokens("train")) + len(dataset.tokens("validation")) == dataset.total_tokens
    assert {shard.source for shard in dataset.shards} == {0, 1}
