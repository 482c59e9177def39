"""The slim probe, in its own process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from studio.inference.probe import main, next_token_latencies
from tests.inference.models import CountingBackend


def test_it_prints_the_four_figures_of_003(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(model_dir), "--steps", "20"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"latency_p95_ms", "tokens_per_sec", "rss_mb", "peak_mb"}
    assert isinstance(figures["latency_p95_ms"], int)
    assert figures["latency_p95_ms"] >= 1
    assert figures["peak_mb"] >= figures["rss_mb"] > 10


def test_a_model_without_export_is_one_line_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "no ONNX export" in capsys.readouterr().err


def test_it_begins_again_when_the_context_is_full() -> None:
    backend = CountingBackend(context_len=16)
    assert len(next_token_latencies(backend, 50)) == 50


def test_importing_the_serving_side_loads_no_torch() -> None:
    heavy = ("torch", "transformers", "lightning", "onnx", "pydantic", "jinja2")
    modules = (
        "studio.inference.engine, studio.inference.sampling, studio.inference.backends.onnx, studio.inference.probe"
    )
    code = f"import sys, {modules}; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    code = "import sys, studio.inference.sessions; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
