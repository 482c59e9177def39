"""Losses on token logits that never hold all logits of a large batch.

A vocabulary of 8,000 makes the logits of 4,096 tokens 131 MB and their gradient as much again. Here the head and the
cross-entropy are one function: it walks over chunks of tokens, and since the loss is the last thing a model computes,
each chunk's gradient is computed right there, in the forward pass, while its logits are still in the cache. It refuses
to know the model that made the hidden states.

The idea is that of Liger's fused linear cross-entropy (arXiv:2410.10989); the z-loss is PaLM's (arXiv:2204.02311).
"""

from typing import Any

import torch
from torch import Tensor

IGNORE = -100
"""Target value of a token that takes no part in the loss, as everywhere in torch."""

CHUNK_TOKENS = 512


def linear_cross_entropy(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, *, z_loss: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of `hidden @ weight.T` over the targets that are not IGNORE, and their number.

    hidden (N, D), weight (V, D), targets (N,) int64. Returns (loss fp32 scalar, count int64 scalar). With `z_loss` > 0
    that many times the mean squared log-normaliser is added. No counted target: loss 0 and zero gradients.
    """
    count = (targets_N != IGNORE).sum()
    loss: Tensor = _LinearCrossEntropy.apply(hidden_ND, weight_VD, targets_N, count, z_loss)  # type: ignore[no-untyped-call]
    return loss, count


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, count: Tensor, z_loss: float
    ) -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden_ND.dtype
        with torch.autocast(hidden_ND.device.type, enabled=False):
            hidden, weight = hidden_ND.to(dtype), weight_VD.to(dtype)
            scale = 1.0 / count.clamp(min=1).float()
            total = hidden_ND.new_zeros((), dtype=torch.float32)
            grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
            grad_weight = torch.zeros_like(weight_VD, dtype=torch.float32) if ctx.needs_input_grad[1] else None
            for start in range(0, hidden.shape[0], CHUNK_TOKENS):
                part = slice(start, start + CHUNK_TOKENS)
                loss, delta_CV = _chunk(hidden[part], weight, targets_N[part], scale, z_loss)
                total += loss
                delta = delta_CV.to(dtype)
                if grad_hidden is not None:
                    torch.mm(delta, weight, out=grad_hidden[part])
                if grad_weight is not None:
                    grad_weight += delta.T @ hidden[part]
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtypes = hidden_ND.dtype, weight_VD.dtype
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:  # type: ignore[override]
        grads = [
            None if g is None else (g * grad.to(g.dtype)).to(dtype)
            for g, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return grads[0], grads[1], None, None, None


def _chunk(
    hidden_CD: Tensor, weight_VD: Tensor, targets_C: Tensor, scale: Tensor, z_loss: float
) -> tuple[Tensor, Tensor]:
    """Loss of one chunk (already divided by the number of tokens) and its gradient by the logits, (C, V) fp32."""
    logits = (hidden_CD @ weight_VD.T).float()
    counted = (targets_C != IGNORE).float() * scale
    index = targets_C.clamp(min=0)[:, None]
    norm = logits.logsumexp(-1)
    loss = ((norm - logits.gather(1, index)[:, 0] + z_loss * norm.square()) * counted).sum()
    delta = (logits - norm[:, None]).exp() * ((1.0 + 2.0 * z_loss * norm) * counted)[:, None]
    delta.scatter_add_(1, index, -counted[:, None])
    return loss, delta
