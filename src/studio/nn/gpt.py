"""The language model: a decoder of the Qwen3 layout, so that transformers, vLLM and llama.cpp open its weights.

It knows token ids in, logits or a loss out. It refuses to know tokenizers, files, optimizers and devices.

* RMSNorm before each part, SwiGLU, rotary positions, grouped queries, a norm on query and key heads, no bias.
* Parameter names are those of transformers' `Qwen3ForCausalLM`; tied, `lm_head.weight` is not in the state dict.
* Dropout (on the embedding and on what each part adds to the residual stream) in training only.
* A row may hold several documents: with `segments`, a token looks at its own document only. Rotary positions are
  relative, so positions need no reset.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studio.config.model import ModelConfig
from studio.nn.attention import (
    WRITTEN_OUT_UP_TO,
    Attention,
    RMSNorm,
    causal_bias,
    rotary_tables,
    segment_bias,
    segment_mask,
)
from studio.nn.embedding import embed
from studio.nn.kv_cache import CacheStep, KVCache
from studio.nn.losses import linear_cross_entropy


class MLP(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.n_embd, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.n_embd, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.n_embd, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        return self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))  # type: ignore[no-any-return]


class Block(nn.Module):
    """One layer: attention, then the MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.n_embd, config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.n_embd, config.rms_norm_eps)
        self.mlp = MLP(config)
        self.dropout = config.dropout

    def forward(
        self, x_BTD: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, cache: tuple[CacheStep, int] | None = None
    ) -> Tensor:
        """(B, T, D) to (B, T, D); `mask` and `cache` as in `Attention`."""
        added = self.self_attn(self.input_layernorm(x_BTD), cos, sin, mask, cache)
        x_BTD = x_BTD + F.dropout(added, self.dropout, self.training)
        added = self.mlp(self.post_attention_layernorm(x_BTD))
        return x_BTD + F.dropout(added, self.dropout, self.training)


class Trunk(nn.Module):
    """Everything below the head; the state dict's `model.` prefix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.n_embd)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.n_embd, config.rms_norm_eps)


class GPT(nn.Module):
    """The whole model. Weights are drawn from torch's global generator: the caller seeds it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        self._register_state_dict_hook(_drop_tied_head)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_restore_tied_head)  # type: ignore[no-untyped-call]
        cos, sin = rotary_tables(config.sequence_len, config.head_dim, config.rope_theta)
        self.rope_cos: Tensor
        self.rope_sin: Tensor
        self.causal: Tensor
        self.register_buffer("rope_cos", cos, persistent=False)  # (sequence_len, head_dim)
        self.register_buffer("rope_sin", sin, persistent=False)
        self.register_buffer("causal", causal_bias(min(config.sequence_len, WRITTEN_OUT_UP_TO)), persistent=False)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Normal 0.02 for embeddings and head; layers uniform with the same spread; what adds to the residual, zero."""
        nn.init.normal_(self.model.embed_tokens.weight, std=0.02)
        if not self.config.tie_word_embeddings:
            nn.init.normal_(self.lm_head.weight, std=0.02)
        for name, weight in self.model.layers.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(weight)
            elif weight.ndim == 2:
                bound = (3.0 / weight.shape[1]) ** 0.5
                nn.init.uniform_(weight, -bound, bound)

    def hidden(self, ids_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """States before the head, (B, T, D). `segments_BT` numbers the document of each token in a packed row."""
        length = ids_BT.shape[1]
        if length > self.config.sequence_len:
            raise ValueError(f"{length} tokens are longer than the model's sequence_len {self.config.sequence_len}")
        x_BTD = self._embed(ids_BT)
        cos, sin = self.rope_cos[:length].to(x_BTD.dtype), self.rope_sin[:length].to(x_BTD.dtype)
        mask = self._mask(length, segments_BT)
        for block in self.model.layers:
            x_BTD = block(x_BTD, cos, sin, mask)
        return self.model.norm(x_BTD)  # type: ignore[no-any-return]

    def forward(self, ids_BT: Tensor, segments_BT: Tensor | None = None) -> Tensor:
        """Logits (B, T, V)."""
        return self.lm_head(self.hidden(ids_BT, segments_BT))  # type: ignore[no-any-return]

    def loss(
        self, ids_BT: Tensor, targets_BT: Tensor, segments_BT: Tensor | None = None, z_loss: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy over the targets that are not -100, and their number; see `nn.losses`."""
        hidden_ND = self.hidden(ids_BT, segments_BT).flatten(0, 1)
        return linear_cross_entropy(hidden_ND, self.lm_head.weight, targets_BT.flatten(), z_loss=z_loss)

    @torch.no_grad()
    def decode(
        self,
        ids_BT: Tensor,
        cache: KVCache,
        *,
        new: Sequence[int] | None = None,
        slots: Sequence[int] | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """Go on with the streams of `cache`: store the new tokens, return their logits (B, T, V).

        Rows are the cache's `slots` (all, in order, when None). `new` gives the number of real tokens of each
        right-padded row (all T when None; 0 leaves a stream as it is); logits of padding mean nothing. With `last_only`
        only the last real token of each row goes through the head: (B, V). ValueError when a stream has no room.
        """
        step = cache.plan(ids_BT.shape[1], new, slots)
        positions_BT = step.positions_BT.clamp(max=self.config.sequence_len - 1)
        x_BTD = self._embed(ids_BT)
        cos = self.rope_cos[positions_BT][:, None].to(x_BTD.dtype)
        sin = self.rope_sin[positions_BT][:, None].to(x_BTD.dtype)
        for layer, block in enumerate(self.model.layers):
            x_BTD = block(x_BTD, cos, sin, step.mask_B1TS, (step, layer))
        step.commit()
        if last_only:
            last_B = torch.tensor([max(count - 1, 0) for count in step.counts], device=x_BTD.device)
            x_BTD = x_BTD[torch.arange(len(last_B), device=x_BTD.device), last_B]
        return self.lm_head(self.model.norm(x_BTD))  # type: ignore[no-any-return]

    def _mask(self, length: int, segments_BT: Tensor | None) -> Tensor | None:
        """What `attend` wants: a bias where writing out the attention matrix is faster, else a mask or None."""
        if not self.training or length > WRITTEN_OUT_UP_TO or self.causal.device.type != "cpu":
            return None if segments_BT is None else segment_mask(segments_BT)
        causal_TT = self.causal[:length, :length]
        return causal_TT if segments_BT is None else segment_bias(segments_BT, causal_TT)

    def _embed(self, ids_BT: Tensor) -> Tensor:
        table_VD = self.model.embed_tokens.weight
        x_BTD = embed(table_VD, ids_BT) if torch.compiler.is_compiling() else F.embedding(ids_BT, table_VD)
        return F.dropout(x_BTD, self.config.dropout, self.training)


def _drop_tied_head(module: nn.Module, state: dict[str, Tensor], prefix: str, _metadata: object) -> None:
    assert isinstance(module, GPT)
    if module.config.tie_word_embeddings:
        state.pop(f"{prefix}lm_head.weight", None)


def _restore_tied_head(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    assert isinstance(module, GPT)
    embedding = state.get(f"{prefix}model.embed_tokens.weight")
    if module.config.tie_word_embeddings and embedding is not None:
        state.setdefault(f"{prefix}lm_head.weight", embedding)
