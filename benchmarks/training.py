"""Training speed and progress beside two peers: `python -m benchmarks.training [--text FOLDER] [--json FILE]`.

Ours, transformers' Qwen3 (loss and model compiled as one, bf16, AdamW) and a plain `nn.Transformer` (fp32, AdamW) train
spec 003's network on the same batches. Each is a process of its own with the same threads, as its users would run it;
they take turns (A B C A B C), so that whatever else the machine does hits all alike, and the figures are medians over
the rounds. A step is everything: forward, backward, clipping, optimizer. Compilation is not counted, and every
contender sees the same number of tokens, so that losses and gradient norms can be compared as well.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Setup:
    """The network, the batch and the data; spec 003's job by default."""

    vocab_size: int = 8000
    layers: int = 2
    width: int = 128
    heads: int = 4
    feed_forward: int = 256
    length: int = 128
    rows: int = 32
    threads: int = 2
    text: str = ""
    """Folder or file of text; empty: generated tokens."""
    seed: int = 1337

    @property
    def tokens_per_step(self) -> int:
        return self.rows * self.length


# ---------------------------------------------------------------- data, the same for all


def tokens(setup: Setup) -> np.ndarray:
    """One long stream of token ids: the words of real text by rank, or a generated chain."""
    return _words(Path(setup.text), setup.vocab_size) if setup.text else _chain(setup.vocab_size, setup.seed)


def _words(path: Path, vocab_size: int) -> np.ndarray:
    """Words and marks by frequency; a rare word is spelled with its characters."""
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    pieces = re.findall(r" ?\w+|\s|[^\w\s]", "".join(file.read_text(encoding="utf-8") for file in files))
    letters = sorted({letter for piece in pieces for letter in piece})
    common = [word for word, _ in Counter(piece for piece in pieces if len(piece) > 1).most_common()]
    index = {piece: number for number, piece in enumerate((letters + common)[:vocab_size])}
    ids = [index[unit] for piece in pieces for unit in ([piece] if piece in index else piece)]
    return np.asarray(ids, dtype=np.int64)


def _chain(vocab_size: int, seed: int, length: int = 1_000_000) -> np.ndarray:
    """A chain in which each token has 64 successors of falling likelihood: learnable, and never the same twice."""
    draw = np.random.default_rng(seed)
    successors = draw.zipf(1.3, size=(vocab_size, 64)) % vocab_size
    choice = np.minimum(draw.zipf(1.5, size=length) - 1, 63)
    ids = np.zeros(length, dtype=np.int64)
    for place in range(1, length):
        ids[place] = successors[ids[place - 1], choice[place]]
    return ids


def batches(setup: Setup) -> Iterator[tuple[Any, Any]]:
    """Inputs and targets (rows, length), rows in a shuffled order; another order in each epoch."""
    import torch

    stream = torch.from_numpy(tokens(setup))
    count = (len(stream) - 1) // setup.length
    inputs = stream[: count * setup.length].view(count, setup.length)
    targets = stream[1 : count * setup.length + 1].view(count, setup.length)
    for epoch in range(1_000_000):
        order = torch.randperm(count, generator=torch.Generator().manual_seed(setup.seed + epoch))
        for chosen in order[: count // setup.rows * setup.rows].split(setup.rows):
            yield inputs[chosen], targets[chosen]


# ---------------------------------------------------------------- contenders

Step = Callable[[Any, Any], tuple[Any, Any]]
"""Takes inputs and targets, trains one step, returns loss and gradient norm before clipping."""


def ours(setup: Setup) -> Step:
    """Studio's model, loss and optimizer, as its training runs them."""
    import torch

    from studio.config.model import ModelConfig
    from studio.config.training import OptimizerConfig
    from studio.nn.compiling import maybe_compile
    from studio.nn.gpt import GPT
    from studio.nn.memory import keep_freed_memory
    from studio.training.optim import build_optimizer

    keep_freed_memory()
    shape = ModelConfig(
        vocab_size=setup.vocab_size, n_layer=setup.layers, n_head=setup.heads, n_embd=setup.width,
        intermediate_size=setup.feed_forward, sequence_len=setup.length,
    )  # fmt: skip
    model = GPT(shape).train()
    optimizer = build_optimizer(model, OptimizerConfig(optimizer_type="muon", learning_rate=OUR_RATE))
    compiled = maybe_compile(model.loss, "auto").call

    def step(inputs: Any, targets: Any) -> tuple[Any, Any]:
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = compiled(inputs, targets)
        return finish(model, optimizer, loss)

    return step


def qwen3(setup: Setup) -> Step:
    """transformers' model of the same layout; compiled with its loss it is more than twice as fast as without."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=setup.vocab_size, hidden_size=setup.width, intermediate_size=setup.feed_forward,
            num_hidden_layers=setup.layers, num_attention_heads=setup.heads, num_key_value_heads=setup.heads,
            head_dim=setup.width // setup.heads, max_position_embeddings=setup.length, tie_word_embeddings=True,
            use_cache=False,
        )
    ).train()  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=QWEN3_RATE, betas=(0.9, 0.95), fused=True)

    def loss_of(inputs: Any, targets: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=inputs).logits
        return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    compiled = torch.compile(loss_of, dynamic=False)
    return lambda inputs, targets: finish(model, optimizer, compiled(inputs, targets))


def plain(setup: Setup) -> Step:
    """`nn.TransformerEncoder` with a causal mask and learned positions, eager, fp32: what a tutorial builds."""
    import torch
    from torch import nn

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(setup.vocab_size, setup.width)
            self.places = nn.Embedding(setup.length, setup.width)
            layer = nn.TransformerEncoderLayer(
                setup.width, setup.heads, setup.feed_forward, 0.0, batch_first=True, norm_first=True
            )
            self.layers = nn.TransformerEncoder(layer, setup.layers, enable_nested_tensor=False)
            self.head = nn.Linear(setup.width, setup.vocab_size)
            self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(setup.length))

        def forward(self, inputs: Any) -> Any:
            hidden = self.words(inputs) + self.places.weight[: inputs.shape[1]]
            return self.head(self.layers(hidden, mask=self.mask, is_causal=True))

    model = Plain().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PLAIN_RATE)

    def step(inputs: Any, targets: Any) -> tuple[Any, Any]:
        loss = torch.nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        return finish(model, optimizer, loss)

    return step


def finish(model: Any, optimizer: Any, loss: Any) -> tuple[Any, Any]:
    """Backward, clip to 1, step: the same for all."""
    import torch

    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach(), norm


OUR_RATE, QWEN3_RATE, PLAIN_RATE = 1e-2, 3e-3, 1e-3
"""AdamW's rates. Ours is that of conf/experiment/bilingual.yaml, found on such text; the peers' are usual ones for this
size and were not searched for, so the losses say less than the speeds. Muon's rate is its default."""

CONTENDERS: dict[str, Callable[[Setup], Step]] = {"ours": ours, "transformers": qwen3, "plain": plain}


# ---------------------------------------------------------------- taking turns


def serve(name: str, setup: Setup, orders: IO[str], answers: IO[str]) -> None:
    """The child's side: warm up once, then for each line with a number of steps train them and answer with figures."""
    import torch

    torch.set_num_threads(setup.threads)
    torch.manual_seed(setup.seed)
    began = time.perf_counter()
    step, data = CONTENDERS[name](setup), batches(setup)
    step(*next(data))
    first_step_s = time.perf_counter() - began
    step(*next(data))
    answers.write(json.dumps({"first_step_s": first_step_s}) + "\n")
    answers.flush()
    for line in orders:
        losses, norms, began = [], [], time.perf_counter()
        for _ in range(int(line)):
            loss, norm = step(*next(data))
            losses.append(loss)
            norms.append(norm)
        seconds = time.perf_counter() - began
        figures = {"seconds": seconds, "losses": [float(x) for x in losses], "grad_norms": [float(x) for x in norms]}
        answers.write(json.dumps(figures) + "\n")
        answers.flush()


class Contender:
    """The parent's side of one child."""

    def __init__(self, name: str, setup: Setup) -> None:
        command = [sys.executable, "-m", "benchmarks.training", "--serve", name, json.dumps(asdict(setup))]
        threads = str(setup.threads)
        env = os.environ | {"OMP_NUM_THREADS": threads, "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
        self.name = name
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.first_step_s: float = self._answer()["first_step_s"]
        self.rounds: list[dict[str, Any]] = []

    def __enter__(self) -> "Contender":
        return self

    def __exit__(self, *exc: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()  # the end of its orders
        self.process.wait(30)
        self.process.stdout.close()

    def train(self, steps: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        self.rounds.append(self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit code {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(frozen=True)
class Figures:
    """What one contender did; speeds are medians over the rounds, loss and norm means over the last ten steps."""

    name: str
    tokens_per_second: float
    ratio: float
    """Median over the rounds of (ours / this) in the same round."""
    loss: float
    grad_norm: float
    tokens: int
    first_step_s: float
    rounds: list[float]


def measure(setup: Setup, names: list[str], *, rounds: int, steps: int) -> list[Figures]:
    """Train all of `names` in turns; the first is what the others are compared with."""
    with ExitStack() as stack:
        contenders = [stack.enter_context(Contender(name, setup)) for name in names]
        for _ in range(rounds):
            for contender in contenders:
                contender.train(steps)
    per_round = steps * setup.tokens_per_step
    speeds = {c.name: [per_round / r["seconds"] for r in c.rounds] for c in contenders}
    results = []
    for c in contenders:
        ratios = [mine / other for mine, other in zip(speeds[names[0]], speeds[c.name], strict=True)]
        losses = [value for r in c.rounds for value in r["losses"]][-10:]
        norms = [value for r in c.rounds for value in r["grad_norms"]][-10:]
        results.append(
            Figures(
                name=c.name, tokens_per_second=statistics.median(speeds[c.name]), ratio=statistics.median(ratios),
                loss=statistics.fmean(losses), grad_norm=statistics.fmean(norms),
                tokens=(rounds * steps + 2) * setup.tokens_per_step, first_step_s=c.first_step_s,
                rounds=speeds[c.name],
            )
        )  # fmt: skip
    return results


def table(results: list[Figures]) -> str:
    """The figures for people."""
    lines = [f"{'':14}{'tokens/s':>10}{'ours is':>9}{'loss':>8}{'grad norm':>11}{'tokens':>10}{'first step':>12}"]
    lines += [
        f"{r.name:14}{r.tokens_per_second:>10,.0f}{r.ratio:>8.2f}x{r.loss:>8.3f}{r.grad_norm:>11.3f}"
        f"{r.tokens:>10,}{r.first_step_s:>10.1f} s"
        for r in results
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--text", default="", help="folder or file of text to train on (default: generated tokens)")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10, help="steps per round")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="contenders")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve[0], Setup(**json.loads(options.serve[1])), sys.stdin, sys.stdout)
        return 0
    setup = replace(Setup(threads=options.threads), text=os.path.abspath(options.text) if options.text else "")
    results = measure(setup, options.only, rounds=options.rounds, steps=options.steps)
    print(table(results))
    if options.json:
        report = {"setup": asdict(setup), "results": [asdict(result) for result in results]}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
