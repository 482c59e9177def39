"""What a model costs to run: next-token latency, throughput and memory, measured in a slim process of its own.

`python -m studio.inference.probe MODEL_DIR` prints spec 003's `inference_metrics` as one line of JSON. It never loads
torch: what it measures is what a small server would pay.
"""

import argparse
import math
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import orjson

from studio.core.errors import StudioError
from studio.inference.backends.base import Backend
from studio.inference.opening import open_engine

STEPS = 256
WARM_UP_STEPS = 16


def measure(model_dir: Path, *, steps: int = STEPS) -> dict[str, float]:
    """`latency_p95_ms` (whole ms, rounded up), `tokens_per_sec`, `rss_mb` and `peak_mb` (10^6 bytes, rounded up).

    One stream decodes `steps` tokens, beginning again when the context is full. Errors as `open_engine`.
    """
    with open_engine(model_dir, backend="onnx") as engine:
        latencies_s = next_token_latencies(engine.backend, steps)
        rss_bytes = resident_bytes()
    return {
        "latency_p95_ms": math.ceil(float(np.percentile(latencies_s, 95)) * 1e3),
        "tokens_per_sec": round(len(latencies_s) / float(np.sum(latencies_s)), 1),
        "rss_mb": math.ceil(rss_bytes / 1e6),
        "peak_mb": math.ceil(peak_bytes() / 1e6),
    }


def next_token_latencies(backend: Backend, steps: int) -> list[float]:
    """Seconds of each of `steps` greedy decoding steps of one stream, after a warm-up."""
    token, length, latencies = 0, backend.context_len, []
    for step in range(WARM_UP_STEPS + steps):
        if length + 1 >= backend.context_len:
            token, length = int(backend.prefill(0, [token], 0).argmax()), 1
        began = time.perf_counter()
        token = int(backend.decode(np.array([token]), np.array([length]))[0].argmax())
        if step >= WARM_UP_STEPS:
            latencies.append(time.perf_counter() - began)
        length += 1
    return latencies


def resident_bytes() -> int:
    """Resident set of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The largest resident set this process ever had."""
    # getrusage counts what the parent held before exec: 700 MB of torch, when a training worker asks
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; 1 with one line on stderr when the model cannot be opened."""
    parser = argparse.ArgumentParser(prog="python -m studio.inference.probe", description=__doc__.splitlines()[0])
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"tokens to decode (default {STEPS})")
    options = parser.parse_args(arguments)
    try:
        figures = measure(options.model_dir, steps=options.steps)
    except StudioError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(orjson.dumps(figures).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
