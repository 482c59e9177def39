"""Decoding speed of ours beside `transformers.generate`, on the same weights, in one interleaved run.

    python -m benchmarks.decoding [--sizes 2.3M 31M 135M] [--rounds 5] [--json FILE]

Every round runs each contender once, in turn, so that what else the machine does meets all of them alike; ratios are
medians over rounds of ours / transformers *within* a round. Greedy, a prompt of 16 random ids, the same number of new
tokens for everybody, no stop. One stream, and 16 at once: transformers gets them as one padded batch of different
lengths, we get 16 requests. Ours is measured through the whole engine: queue, model thread, sampling, text.

Weights are random (speed does not depend on them); int8's agreement with the trainer is judged per model by the parity
gate, and for these weights, which no training made robust to rounding, it is only shown.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import transformers

from studio.config.generation import GenerationParams
from studio.config.model import ModelConfig
from studio.config.text import TokenizerConfig
from studio.inference.backends.base import Backend
from studio.inference.backends.onnx import OnnxBackend
from studio.inference.backends.torch import TorchBackend
from studio.inference.engine import Engine
from studio.inference.exporting import BackendScorer, make_prompts
from studio.nn.checkpoint import write_checkpoint
from studio.nn.export import export_onnx
from studio.nn.exported import Agreement, read_export
from studio.nn.gpt import GPT
from studio.nn.parity import Limits, compare
from studio.text.tokenizers import Tokenizer, train_tokenizer

CONTEXT = 256
PROMPT_TOKENS = 16
STREAMS = 16


@dataclass(frozen=True)
class Size:
    """One model to measure, how many tokens each stream makes, and the ratios that DESIGN §5 asks for."""

    config: ModelConfig
    new_tokens: int
    must: tuple[float, float]  # times transformers: one stream, 16 streams


SIZES = {
    "2.3M": Size(ModelConfig(vocab_size=8000, sequence_len=CONTEXT, tie_word_embeddings=False), 128, (4.0, 3.0)),
    "31M": Size(
        ModelConfig(
            vocab_size=8000, n_layer=10, n_head=8, n_kv_head=4, n_embd=512, intermediate_size=1280, sequence_len=CONTEXT
        ),
        32,
        (3.0, 3.0),
    ),
    "135M": Size(
        ModelConfig(
            vocab_size=49152,
            n_layer=30,
            n_head=9,
            n_kv_head=3,
            n_embd=576,
            intermediate_size=1536,
            sequence_len=CONTEXT,
        ),
        12,
        (1.5, 3.0),
    ),
}


@dataclass
class Contender:
    """Something that answers prompts; `rates` are tokens per second by number of streams, one entry per round."""

    name: str
    generate: Callable[[list[list[int]], int], int]
    rates: dict[int, list[float]]
    agreement: Agreement | None = None


def measure(name: str, rounds: int, folder: Path) -> dict[str, Any]:
    """All contenders on one size; the figures as plain data."""
    size = SIZES[name]
    checkpoint = make_checkpoint(size.config, folder / name)
    contenders = [hugging_face(checkpoint), *ours(checkpoint)]
    random = torch.Generator().manual_seed(0)
    lengths = [PROMPT_TOKENS] + [PROMPT_TOKENS - n % 8 for n in range(1, STREAMS)]
    prompts = [torch.randint(8, 300, (n,), generator=random).tolist() for n in lengths]
    for contender in contenders:  # warm up: allocate, bind, compile
        for count in (1, STREAMS):
            contender.generate(prompts[:count], 4)
    for _ in range(rounds):
        for count in (1, STREAMS):
            for contender in contenders:
                began = time.perf_counter()
                made = contender.generate(prompts[:count], size.new_tokens)
                contender.rates.setdefault(count, []).append(made / (time.perf_counter() - began))
    return _figures(name, size, contenders)


def make_checkpoint(config: ModelConfig, folder: Path) -> Path:
    """Random weights of which every part matters, as a checkpoint; the end tokens are never the likeliest."""
    torch.manual_seed(0)
    model = GPT(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=parameter.shape[1] ** -0.5)
        for matrix in (model.model.embed_tokens.weight, model.lm_head.weight):
            matrix[[Tokenizer.eos_id, Tokenizer.end_id]] = 0
    _tokenizer(config.vocab_size).save(folder / "tokenizer")
    write_checkpoint(
        folder / "model",
        model_state=model.state_dict(),
        config=config,
        tokenizer_dir=folder / "tokenizer",
        trainer_state={"global_step": 0, "epoch": 0.0},
    )
    return folder / "model"


def _tokenizer(vocab_size: int) -> Tokenizer:
    """A tokenizer of exactly this size, trained on made-up words."""
    random = np.random.default_rng(0)
    letters = random.integers(97, 123, (vocab_size, 8)).astype(np.uint8)
    words = [bytes(row[: 3 + index % 6]).decode() for index, row in enumerate(letters)]
    tokenizer = train_tokenizer([" ".join(words)] * 2, TokenizerConfig(model_type="bpe", vocab_size=vocab_size))
    assert tokenizer.vocab_size == vocab_size
    return tokenizer


def hugging_face(checkpoint: Path) -> Contender:
    """`transformers.generate`, fp32, left-padded batch."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()

    def generate(prompts: list[list[int]], tokens: int) -> int:
        longest = max(map(len, prompts))
        ids = torch.tensor([[2] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        with torch.inference_mode():
            made = model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=2,
            )
        assert made.shape[1] == longest + tokens
        return len(prompts) * tokens

    return Contender("transformers fp32", generate, {})


def ours(checkpoint: Path) -> list[Contender]:
    """The engine over ONNX fp32, ONNX int8 and torch."""
    export = checkpoint / "onnx"
    graphs = export_onnx(checkpoint, export, int8=True)
    info = read_export(export)
    tokenizer = Tokenizer.load(export)
    trainer = TorchBackend(_load(checkpoint), max_batch=STREAMS)
    candidates = {graph.name: (BackendScorer(OnnxBackend(graph, info)), Limits()) for graph in graphs}
    agreements = compare(
        BackendScorer(trainer), candidates, make_prompts(tokenizer, ["red ball"], 8, longest=16, info=info), 8
    )
    engines: dict[str, tuple[Backend, Agreement | None]] = {
        "studio onnx fp32": (OnnxBackend(graphs[0], info), agreements[graphs[0].name]),
        "studio onnx int8": (OnnxBackend(graphs[1], info), agreements[graphs[1].name]),
        "studio torch fp32": (trainer, None),
    }
    return [_contender(name, Engine(backend, tokenizer), agreement) for name, (backend, agreement) in engines.items()]


def _contender(name: str, engine: Engine, agreement: Agreement | None) -> Contender:
    def generate(prompts: list[list[int]], tokens: int) -> int:
        answers = engine.generate(prompts, GenerationParams(temperature=0, max_tokens=tokens))
        assert all(answer.completion_tokens == tokens for answer in answers)
        return len(prompts) * tokens

    return Contender(name, generate, {}, agreement)


def _load(checkpoint: Path) -> GPT:
    from studio.nn.checkpoint import load_model

    return load_model(checkpoint)


def _figures(name: str, size: Size, contenders: list[Contender]) -> dict[str, Any]:
    baseline = contenders[0]
    rows = []
    for contender in contenders:
        row: dict[str, Any] = {"contender": contender.name}
        for count in (1, STREAMS):
            ratios = [a / b for a, b in zip(contender.rates[count], baseline.rates[count], strict=True)]
            row[f"tokens_per_second_{count}"] = round(statistics.median(contender.rates[count]), 1)
            row[f"ratio_{count}"] = round(statistics.median(ratios), 2)
            row[f"ratio_range_{count}"] = [round(min(ratios), 2), round(max(ratios), 2)]
        if contender.agreement is not None:
            row["max_logit_delta"] = contender.agreement.max_logit_delta
            row["greedy_agreement"] = round(contender.agreement.greedy_agreement, 4)
        rows.append(row)
    return {"size": name, "parameters": size.config.parameters, "must": size.must, "rows": rows}


def table(results: list[dict[str, Any]]) -> str:
    """The figures as text."""
    columns = ("1 stream", "ratio", f"{STREAMS} streams", "ratio", "|Δlogit|", "greedy")
    lines = [f"{'size':>6}  {'':<18}" + "".join(f"{column:>12}" for column in columns)]
    for result in results:
        for row in result["rows"]:
            cells = []
            for count in (1, STREAMS):
                cells += [f"{row[f'tokens_per_second_{count}']:,.0f}", f"{row[f'ratio_{count}']:.2f}x"]
            if "max_logit_delta" in row:
                cells += [f"{row['max_logit_delta']:.1e}", f"{row['greedy_agreement']:.1%}"]
            lines.append(f"{result['size']:>6}  {row['contender']:<18}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


def describe_machine() -> str:
    """Processor, cores and versions, in one line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown CPU")
    modules = (torch, onnxruntime, transformers)
    versions = ", ".join(f"{module.__name__} {module.__version__}" for module in modules)
    return f"{model}, {len(os.sched_getaffinity(0))} cores; {versions}"


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoding", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["2.3M"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        results = [measure(size, options.rounds, Path(folder)) for size in options.sizes]
    print(describe_machine())
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps({"machine": describe_machine(), "results": results}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
