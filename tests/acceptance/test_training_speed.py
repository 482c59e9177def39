"""`python -m benchmarks.training`: tokens per second, loss and gradient norm beside two peers, in turns.

Bounded: the benchmark itself on a small network, with nothing timed. Long: spec 003's network and the promise.
"""

import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import training
from benchmarks.training import Setup
from studio.nn.compiling import why_not

SMALL = Setup(vocab_size=500, layers=1, width=32, heads=2, feed_forward=64, length=32, rows=4, threads=1)


@pytest.mark.slow
def test_we_train_faster_than_the_peers_and_learn_no_less(
    request: pytest.FixtureRequest, tmp_path: Path, long: bool
) -> None:
    if long and not why_not():
        text = str(request.getfixturevalue("corpora") / "text")
        ours, *peers = figures(["--text", text, "--rounds", "6", "--steps", "10"], tmp_path)
        assert {peer["name"] for peer in peers} == {"transformers", "plain"}
        assert min(peer["ratio"] for peer in peers) >= 1.1
    else:
        ours, *peers = (asdict(each) for each in training.measure(SMALL, ["ours", "plain"], rounds=3, steps=10))
    assert {each["tokens"] for each in (ours, *peers)} == {ours["tokens"]}
    assert ours["loss"] <= min(peer["loss"] for peer in peers)
    assert all(0 < each["grad_norm"] < 100 for each in (ours, *peers))


def figures(arguments: list[str], folder: Path) -> list[dict[str, Any]]:
    """What the command writes."""
    report = folder / "figures.json"
    assert training.main([*arguments, "--json", str(report)]) == 0
    return list(json.loads(report.read_text(encoding="utf-8"))["results"])


def test_the_table_names_each_contender() -> None:
    row = training.Figures("ours", 51_234.0, 1.0, 4.5, 0.7, 245_760, 12.0, [51_234.0])
    assert "ours" in training.table([row])
    assert "51,234" in training.table([row])


def test_every_contender_gets_the_same_batches() -> None:
    one, other = (list(islice(training.batches(SMALL), 3)) for _ in range(2))
    for (inputs, targets), (again, _) in zip(one, other, strict=True):
        assert torch.equal(inputs, again)
        assert torch.equal(inputs[:, 1:], targets[:, :-1])


def test_text_becomes_words_and_rare_ones_letters(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat and the dog and the cow", encoding="utf-8")
    ids = training.tokens(Setup(vocab_size=14, text=str(tmp_path)))
    assert ids.max() < 14
    assert len(ids) > 8  # " cow" is spelled
