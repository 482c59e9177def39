"""The loss on token logits, made so that the logits of a large batch never exist at once.

It knows hidden states, a head's weight and targets. It refuses to know the model they come from.

* The logits of 4,096 tokens over 8,000 words are 131 MB in fp32 and their gradient as much again. Here head and
  cross-entropy are one operation that walks over chunks of tokens small enough for the processor's cache. A loss is the
  last thing a model computes, so each chunk's gradient is computed right there, in the forward pass, and the backward
  pass only scales it (as in Liger's fused linear cross-entropy, arXiv:2410.10989).
* A chunk's buffer turns from logits into exponentials in place. They are never divided by their sum s: the gradient of
  a row is (exp - s·onehot)/s, and the 1/s goes into the thin matrices beside it.
* To the compiler the operation is opaque (`studio::linear_cross_entropy`): one node of the graph, not some per chunk.
  Its own inner kernel is compiled once.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import torch
from torch import Tensor

IGNORE = -100
"""Target value of a token that takes no part in the loss, as everywhere in torch."""

CHUNK_BYTES = 4 << 20
"""Logits held at a time on a CPU: they stay in its cache (256 tokens of 8,000 bf16 words were the fastest)."""
CHUNK_BYTES_ACCELERATOR = 256 << 20

Kernel = Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor, Tensor]]


def linear_cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, *, z_loss: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of `hidden @ weight.T` over the targets that are not IGNORE, and their number.

    hidden (N, D), weight (V, D), targets (N,) int64. Returns (loss fp32 scalar, count int64 scalar). `z_loss` times the
    mean squared log-normaliser is added (PaLM, arXiv:2204.02311). No counted target: loss 0, gradients 0. Under
    autocast the products are in its dtype and all else in fp32.
    """
    device = hidden_ND.device.type
    if torch.is_autocast_enabled(device):
        hidden_ND = hidden_ND.to(torch.get_autocast_dtype(device))
    counted_N = targets_N != IGNORE
    count = counted_N.sum()
    share_N = counted_N / count.clamp(min=1)
    gradients = torch.is_grad_enabled() and (hidden_ND.requires_grad or weight_VD.requires_grad)
    fuse = torch.compiler.is_compiling()
    loss, _, _ = _operation(hidden_ND, weight_VD, targets_N.clamp(min=0), share_N, z_loss, gradients, fuse)
    return loss, count


@torch.library.custom_op("studio::linear_cross_entropy", mutates_args=())
def _operation(
    hidden_ND: Tensor, weight_VD: Tensor, index_N: Tensor, share_N: Tensor, z_loss: float, gradients: bool, fuse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, and if `gradients`, its gradients by hidden (N, D) and weight (V, D, fp32), else two empty tensors."""
    tokens, words = len(hidden_ND), len(weight_VD)
    rows = _chunk_rows(tokens, words, hidden_ND)
    kernel = _compiled_kernel() if fuse else exponentials_
    loss = hidden_ND.new_zeros((), dtype=torch.float32)
    grad_hidden, grad_weight = _no_gradients(hidden_ND)
    if gradients:
        grad_hidden, grad_weight = torch.empty_like(hidden_ND), torch.zeros_like(weight_VD, dtype=torch.float32)
    with torch.no_grad(), torch.autocast(hidden_ND.device.type, enabled=False), _below_autograd():
        weight, logits_CV = weight_VD.to(hidden_ND.dtype), hidden_ND.new_empty(rows, words)
        for start in range(0, tokens, rows):
            # The last chunk ends where the batch ends, so that all have one shape; rows it repeats have no share.
            first = min(start, tokens - rows)
            hidden, index, share = (t[first : first + rows] for t in (hidden_ND, index_N, share_N))
            if first < start:
                share = share * (torch.arange(first, first + rows, device=share.device) >= start)
            torch.mm(hidden, weight.T, out=logits_CV)
            part, factor_C, at_target_C = kernel(logits_CV, index, share, z_loss)
            loss += part
            if gradients:
                logits_CV[torch.arange(rows, device=index.device), index] = at_target_C.to(logits_CV.dtype)
                factor_C1 = factor_C[:, None]
                grad_hidden[start : start + rows] = (torch.mm(logits_CV, weight) * factor_C1)[start - first :]
                grad_weight += torch.mm(logits_CV.T, (hidden * factor_C1).to(hidden.dtype))
    return loss, grad_hidden, grad_weight


@_operation.register_fake
def _(
    hidden_ND: Tensor, weight_VD: Tensor, index_N: Tensor, share_N: Tensor, z_loss: float, gradients: bool, fuse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    loss = hidden_ND.new_empty((), dtype=torch.float32)
    if not gradients:
        return loss, *_no_gradients(hidden_ND)
    return loss, torch.empty_like(hidden_ND), torch.empty_like(weight_VD, dtype=torch.float32)


def _no_gradients(hidden_ND: Tensor) -> tuple[Tensor, Tensor]:
    return hidden_ND.new_empty(0), hidden_ND.new_empty(0, dtype=torch.float32)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(*output[1:])
    ctx.weight_dtype = inputs[1].dtype


def _scale(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    grad_hidden, grad_weight = ctx.saved_tensors
    hidden, weight = (grad_hidden * grad).to(grad_hidden.dtype), (grad_weight * grad).to(ctx.weight_dtype)
    return hidden, weight, None, None, None, None, None


torch.library.register_autograd("studio::linear_cross_entropy", _scale, setup_context=_remember)


def exponentials_(logits_CV: Tensor, index_C: Tensor, share_C: Tensor, z_loss: float) -> tuple[Tensor, Tensor, Tensor]:
    """Turn logits into exp(logit - max) in place; return what completes them to a loss and its gradient.

    That is: the loss of the chunk; per row the factor by which the gradient is to be multiplied; and the value to be
    put at the target's place, so that (buffer * factor) is the gradient by the logits.
    """
    logits = logits_CV.float()
    top_C1 = logits.amax(-1, keepdim=True)
    target_C = logits.gather(1, index_C[:, None])[:, 0]
    exponentials = (logits - top_C1).exp()
    sum_C = exponentials.sum(-1)
    normaliser_C = sum_C.log() + top_C1[:, 0]
    loss = ((normaliser_C - target_C + z_loss * normaliser_C.square()) * share_C).sum()
    slope_C = 1.0 + 2.0 * z_loss * normaliser_C  # of (normaliser + z_loss * normaliser²)
    logits_CV.copy_(exponentials)
    return loss, slope_C * share_C / sum_C, (target_C - top_C1[:, 0]).exp() - sum_C / slope_C


def _below_autograd() -> AbstractContextManager[None]:
    """Switch off the bookkeeping of views: the compiler's first run has it off, later runs not, and its guards compare.

    Without this the inner kernel is compiled twice, and seconds are lost.
    """
    views = torch._C.DispatchKeySet(torch._C.DispatchKey.ADInplaceOrView)
    guard: AbstractContextManager[None] = torch._C._ExcludeDispatchKeyGuard(views)
    return guard


@cache
def _compiled_kernel() -> Kernel:
    return torch.compile(exponentials_, dynamic=False)


def _chunk_rows(tokens: int, words: int, like: Tensor) -> int:
    """Tokens per chunk: equal chunks, as many as keep each below the limit of bytes."""
    limit = CHUNK_BYTES if like.device.type == "cpu" else CHUNK_BYTES_ACCELERATOR
    chunks = -(-tokens * words * like.element_size() // limit)
    return -(-tokens // max(1, chunks))
