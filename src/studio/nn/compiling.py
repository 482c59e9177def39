"""torch.compile where it works, plain eager where it does not, and one line that says which and why.

It knows a function and where compiled code is kept. It refuses to know what the function computes.

* Shapes are static (`dynamic=False`): every new shape is a new graph, so callers pad and keep shapes few.
* All processes share one cache directory: what one has compiled, the next one loads.
"""

import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast

import torch

from studio.core.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

Mode = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class MaybeCompiled(Generic[F]):
    """A function to call, whether it is compiled, and if not, why not (one line for people)."""

    call: F
    compiled: bool
    reason: str


def maybe_compile(fn: F, mode: Mode = "auto", *, cache_dir: Path | None = None) -> MaybeCompiled[F]:
    """Compile `fn` for static shapes. `auto` falls back to eager without a C++ compiler, `on` raises UsageError.

    `cache_dir` (below the home's cache) is where the machine code is kept between processes.
    """
    if mode == "off":
        return MaybeCompiled(fn, False, "compilation is switched off")
    obstacle = why_not()
    if obstacle and mode == "on":
        remedy = "Use compile=auto to train in eager mode"
        raise UsageError(f"cannot compile: {obstacle}", where="compile=on", remedy=remedy)
    if obstacle:
        return MaybeCompiled(fn, False, f"eager mode: {obstacle}")
    if cache_dir is not None:
        use_cache(cache_dir)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the compiler, on import, warns of torch's own past
        compiled = torch.compile(fn, dynamic=False)
    return MaybeCompiled(cast(F, compiled), True, "compiled")


def use_cache(cache_dir: Path) -> None:
    """Keep compiled code in `cache_dir`, unless the environment already names a place."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir.resolve()))


@cache
def why_not() -> str:
    """Why this machine cannot compile; empty when it can. On CPU that takes a C++ compiler."""
    if os.environ.get("TORCHDYNAMO_DISABLE") == "1":
        return "TORCHDYNAMO_DISABLE=1 is set"
    wanted = os.environ.get("CXX")
    names = [wanted] if wanted else ["g++", "clang++", "c++"]
    if any(shutil.which(name) for name in names):
        return ""
    return f"no C++ compiler found (looked for {', '.join(names)})"
