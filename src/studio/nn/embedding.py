"""Embedding with a gradient that is the same on every run, compiled as well.

The compiler turns the gradient of a lookup into atomic additions by several threads, whose order, and with it the last
bits of the sum, is another each time. Here the gradient is an operation of its own, which the compiler leaves alone:
torch's kernel, in which each thread owns a range of words. It refuses to know whose embedding it is.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.library.custom_op("studio::embed", mutates_args=())
def embed(weight_VD: Tensor, ids: Tensor) -> Tensor:
    """Rows of `weight` (V, D) for `ids` of any shape: (*ids.shape, D)."""
    return F.embedding(ids, weight_VD)


@embed.register_fake
def _(weight_VD: Tensor, ids: Tensor) -> Tensor:
    return weight_VD.new_empty(*ids.shape, weight_VD.shape[1])


@torch.library.custom_op("studio::embed_gradient", mutates_args=())
def embed_gradient(grad: Tensor, ids: Tensor, words: int) -> Tensor:
    """Gradient by the weight, (words, D), from the gradient by the rows, (*ids.shape, D)."""
    gradient: Tensor = torch.ops.aten.embedding_dense_backward(grad, ids, words, -1, False)
    return gradient


@embed_gradient.register_fake
def _(grad: Tensor, ids: Tensor, words: int) -> Tensor:
    return grad.new_empty(words, grad.shape[-1])


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    weight_VD, ids = inputs
    ctx.save_for_backward(ids)
    ctx.words = len(weight_VD)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (ids,) = ctx.saved_tensors
    return embed_gradient(grad, ids, ctx.words), None


torch.library.register_autograd("studio::embed", _backward, setup_context=_remember)
