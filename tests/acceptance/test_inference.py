"""Issue 2, "Shown by": 003's inference budget in a slim process, chatting from a terminal's pipe."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from studio.config.model import ModelConfig
from studio.inference.exporting import export_verified
from studio.nn.checkpoint import write_checkpoint
from tests.inference.models import lively_model, small_tokenizer

RSS_LIMIT_MB, PEAK_LIMIT_MB = 150, 512


@pytest.fixture(scope="module")
def reference_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 2.3 M model of spec 003: 2 layers of 128, vocabulary 8000."""
    folder = tmp_path_factory.mktemp("reference")
    small_tokenizer().save(folder / "tokenizer")
    config = ModelConfig(vocab_size=8000, tie_word_embeddings=False)
    assert 2.3e6 < config.parameters < 2.4e6
    write_checkpoint(
        folder / "model",
        model_state=lively_model(config).state_dict(),
        config=config,
        tokenizer_dir=folder / "tokenizer",
        trainer_state={"global_step": 1, "epoch": 1.0},
    )
    export_verified(folder / "model", prompts=16)
    return folder / "model"


def test_the_slim_process_keeps_003s_budget_without_torch(reference_model: Path) -> None:
    code = """
import json, sys
from pathlib import Path
from studio.inference.probe import measure
figures = measure(Path(sys.argv[1]))
print(json.dumps({**figures, "heavy": [m for m in ("torch", "transformers", "lightning", "onnx") if m in sys.modules]}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(reference_model)], capture_output=True, text=True, check=True
    )
    figures = json.loads(done.stdout)
    assert figures["heavy"] == []
    assert figures["rss_mb"] <= RSS_LIMIT_MB
    assert figures["peak_mb"] <= PEAK_LIMIT_MB
    assert figures["tokens_per_sec"] > 0


def test_chatting_through_a_pipe(reference_model: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from studio.commands.chat import run; sys.exit(run(Path(sys.argv[1])))"
    )
    lines = (
        "/params temperature=0 max_tokens=12\nWhere is the red ball?\n/reset\nWhere is the red ball?\n/quit\nnever\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(reference_model)],
        input=lines,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=True,
    )
    assert done.stderr.count("tokens/s") == 2
    assert done.stderr.count("of context left") == 2
    first, second = done.stdout[: len(done.stdout) // 2], done.stdout[len(done.stdout) // 2 :]
    assert first == second
    assert len(first) > 2
