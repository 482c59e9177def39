"""Attention of the Qwen3 layout: grouped queries, a norm on each query and key head, rotary positions, causal.

It knows queries, keys and masks. It refuses to know what a document is (it gets segment numbers) and where keys are
kept (it gets a `CacheStep`). Rotary positions turn the two halves of a head against each other as transformers does
(Su et al. 2021, arXiv:2104.09864); the norms of queries and keys are Qwen3's (arXiv:2505.09388).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studio.config.model import ModelConfig
from studio.nn.kv_cache import CacheStep


EXPLICIT_UP_TO = 512
"""Longest row whose attention matrix is written out when training on a CPU."""


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension, computed in fp32 (Zhang & Sennrich 2019, arXiv:1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Any shape (..., width) to the same shape and dtype."""
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


def rotary_tables(length: int, head_dim: int, theta: float, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position, each (length, head_dim) fp32."""
    inv_freq = 1.0 / (theta ** (torch.arange(0, head_dim, 2, dtype=torch.float, device=device) / head_dim))
    angles = torch.arange(length, device=device)[:, None].float() * inv_freq
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x_BHTD: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each head by its position; `cos` and `sin` are (T, D) or (B, 1, T, D)."""
    first, second = x_BHTD.chunk(2, dim=-1)
    return x_BHTD * cos + torch.cat((-second, first), dim=-1) * sin


def segment_mask(segments_BT: Tensor) -> Tensor:
    """Block-diagonal causal mask (B, 1, T, T), True where a token may look: same segment, not later."""
    same = segments_BT[:, :, None] == segments_BT[:, None, :]
    return torch.ones_like(same[0]).tril().logical_and(same)[:, None]


def explicit_attention(q_BHTD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor, mask: Tensor | None) -> Tensor:
    """Attention with its matrix in memory, softmax in fp32; `mask` as in `Attention`, causal when None.

    For short rows on a CPU, forward and backward together take a fifth of torch's fused kernel's time.
    """
    length = q_BHTD.shape[2]
    if mask is None:
        mask = torch.ones(length, length, dtype=torch.bool, device=q_BHTD.device).tril()
    scores = (q_BHTD @ k_BHTD.mT).float() * q_BHTD.shape[3] ** -0.5
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
    return weights.to(v_BHTD.dtype) @ v_BHTD


class Attention(nn.Module):
    """Self-attention of one layer; parameter names are those of transformers' Qwen3Attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.n_head, config.n_kv_head
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(config.n_embd, self.heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(config.n_embd, self.kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(config.n_embd, self.kv_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head_dim, config.n_embd, bias=False)
        self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps)

    def forward(
        self,
        x_BTD: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None = None,
        cache: tuple[CacheStep, int] | None = None,
    ) -> Tensor:
        """(B, T, D) to (B, T, D). Causal when `mask` is None, else True in `mask` (B, 1, T, S) means "may look"."""
        heads = (*x_BTD.shape[:-1], -1, self.head_dim)
        q = rotate(self.q_norm(self.q_proj(x_BTD).view(heads)).transpose(1, 2), cos, sin)
        k = rotate(self.k_norm(self.k_proj(x_BTD).view(heads)).transpose(1, 2), cos, sin)
        v = self.v_proj(x_BTD).view(heads).transpose(1, 2)
        if cache is not None:
            step, layer = cache
            k, v = (t.to(q.dtype) for t in step.update(layer, k, v))
        if self.kv_heads != self.heads:
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, dim=1) for t in (k, v))
        v = v.to(q.dtype)
        if self.training and q.device.type == "cpu" and q.shape[2] <= EXPLICIT_UP_TO:
            out = explicit_attention(q, k, v, mask)
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.o_proj(out.transpose(1, 2).reshape(*x_BTD.shape[:-1], -1))
