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

WRITTEN_OUT_UP_TO = 512
"""Longest row whose attention matrix is written out when training on a CPU: there forward and backward together take a
third of the time of torch's fused kernel (128 tokens, 4 heads of 32; docs/benchmarks.md)."""


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


def rotary_tables(length: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position, each (length, head_dim) fp32."""
    inv_freq = 1.0 / (theta ** (torch.arange(0, head_dim, 2, dtype=torch.float) / head_dim))
    angles = torch.arange(length)[:, None].float() * inv_freq
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x_BHTD: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each head by its position; `cos` and `sin` are (T, D) or (B, 1, T, D)."""
    first, second = x_BHTD.chunk(2, dim=-1)
    return x_BHTD * cos + torch.cat((-second, first), dim=-1) * sin


def causal_bias(length: int) -> Tensor:
    """(length, length) fp32 to be added to attention scores: 0 where a token may look, -inf at later ones."""
    return torch.full((length, length), float("-inf")).triu(1)


def segment_mask(segments_BT: Tensor) -> Tensor:
    """Block-diagonal causal mask (B, 1, T, T), True where a token may look: same segment, not later."""
    same = segments_BT[:, :, None] == segments_BT[:, None, :]
    return torch.ones_like(same[0]).tril().logical_and(same)[:, None]


def segment_bias(segments_BT: Tensor, causal_TT: Tensor) -> Tensor:
    """`segment_mask` as numbers to be added to attention scores, (B, 1, T, T) fp32."""
    same = segments_BT[:, :, None] == segments_BT[:, None, :]
    return torch.where(same, causal_TT, float("-inf"))[:, None]


def attend(q_BHTD: Tensor, k_BHSD: Tensor, v_BHSD: Tensor, mask: Tensor | None) -> Tensor:
    """Attention over all heads, (B, H, T, D). The kind of mask decides the way:

    None is causal and bool (True: may look) is a mask for torch's fused kernel; floating is a bias, and the matrix is
    written out, with its softmax in fp32. A bias costs no backward pass, as a mask would.
    """
    if mask is None or mask.dtype == torch.bool:
        return F.scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, attn_mask=mask, is_causal=mask is None)
    scores: Tensor = (q_BHTD @ k_BHSD.mT).float() * q_BHTD.shape[3] ** -0.5 + mask
    return scores.softmax(-1).to(v_BHSD.dtype) @ v_BHSD


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
        """(B, T, D) to (B, T, D); `mask` (B or 1, 1, T, S) as in `attend`."""
        heads = (*x_BTD.shape[:-1], -1, self.head_dim)
        q = rotate(self.q_norm(self.q_proj(x_BTD).view(heads)).transpose(1, 2), cos, sin)
        k = rotate(self.k_norm(self.k_proj(x_BTD).view(heads)).transpose(1, 2), cos, sin)
        v = self.v_proj(x_BTD).view(heads).transpose(1, 2)
        if cache is not None:
            step, layer = cache
            k, v = (t.to(q.dtype) for t in step.update(layer, k, v))
        if self.kv_heads != self.heads:
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, dim=1) for t in (k, v))
        out = attend(q, k, v.to(q.dtype), mask)
        return self.o_proj(out.transpose(1, 2).reshape(*x_BTD.shape[:-1], -1))  # type: ignore[no-any-return]
