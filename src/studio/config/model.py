"""The network's shape: names of spec 001, layout of Qwen3.

Knows the rules between the numbers, the parameter count and the form transformers reads. It refuses to know tensors:
importing this module loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from studio.config.base import Frozen, refuse
from studio.core.errors import ConfigError


class ModelShape(Frozen):
    """Everything about the network but its vocabulary, which comes from the tokenizer."""

    n_layer: int = Field(default=2, ge=1)
    """Transformer layers."""
    n_head: int = Field(default=4, ge=1)
    """Query heads per layer; divides `n_embd`."""
    n_kv_head: int = Field(default_factory=lambda data: int(data["n_head"]), ge=1)
    """Key-value heads per layer (grouped queries); divides `n_head`. null: as many as `n_head`."""
    n_embd: int = Field(default=128, ge=2)
    """Width of the residual stream."""
    sequence_len: int = Field(default=128, ge=1)
    """Longest sequence, in tokens: training window and context of the served model."""
    block_size: int = Field(default_factory=lambda data: int(data["sequence_len"]), ge=1)
    """Context window in tokens; at most `sequence_len`. null: the same."""
    dropout: float = Field(default=0.0, ge=0.0, le=1.0)
    """Probability of dropping a value while training, 0 to 1; never used in inference."""
    head_dim: int = Field(default_factory=lambda data: int(data["n_embd"]) // int(data["n_head"]), ge=2)
    """Width of one head; even, because rotary positions turn pairs. null: `n_embd` / `n_head`."""
    intermediate_size: int = Field(default=256, ge=1)
    """Hidden width of the feed-forward part."""
    rope_theta: float = Field(default=10000.0, gt=0.0)
    """Base of the rotary position frequencies."""
    rms_norm_eps: float = Field(default=1e-6, gt=0.0)
    """Added under the root of every RMSNorm."""
    tie_word_embeddings: bool = True
    """One matrix for input embedding and output head."""

    @classmethod
    def prepare(cls, data: dict[str, Any]) -> dict[str, Any]:
        """null means derived, as if the key were absent."""
        derived = ("n_kv_head", "block_size", "head_dim")
        return {key: value for key, value in data.items() if value is not None or key not in derived}

    @model_validator(mode="after")
    def _dimensions_fit(self) -> Self:
        if self.n_embd % self.n_head:
            raise refuse(f"n_embd {self.n_embd} must be divisible by n_head {self.n_head}", "n_embd")
        if self.head_dim % 2:
            raise refuse(f"head_dim must be even for rotary positions, {self.head_dim} is odd", "head_dim")
        if self.n_kv_head > self.n_head:
            raise refuse(f"n_kv_head {self.n_kv_head} cannot exceed n_head {self.n_head}", "n_kv_head")
        if self.n_head % self.n_kv_head:
            raise refuse(f"n_head {self.n_head} must be divisible by n_kv_head {self.n_kv_head}", "n_head")
        if self.block_size > self.sequence_len:
            raise refuse(f"block_size {self.block_size} cannot exceed sequence_len {self.sequence_len}", "block_size")
        return self

    def layer_parameters(self) -> int:
        """Weights of one layer: four projections, two head norms, three feed-forward matrices, two norms."""
        queries = self.n_embd * self.n_head * self.head_dim
        keys_values = 2 * self.n_embd * self.n_kv_head * self.head_dim
        attention = 2 * queries + keys_values + 2 * self.head_dim
        return attention + 3 * self.n_embd * self.intermediate_size + 2 * self.n_embd

    def parameters_with(self, vocab_size: int) -> int:
        """Exact number of weights with a vocabulary of `vocab_size`; tied embeddings count once."""
        embeddings = vocab_size * self.n_embd * (1 if self.tie_word_embeddings else 2)
        return embeddings + self.n_layer * self.layer_parameters() + self.n_embd

    def with_vocab(self, vocab_size: int) -> ModelConfig:
        """The whole model configuration, once the tokenizer is known."""
        return ModelConfig(vocab_size=vocab_size, **self.model_dump())


class ModelConfig(ModelShape):
    """001 ModelConfig, with the fields of the Qwen3 layout that 001 leaves open."""

    vocab_size: int = Field(ge=1)
    """Tokens in the tokenizer's vocabulary, special tokens included."""

    @property
    def parameters(self) -> int:
        """Exact number of weights; tied embeddings count once."""
        return self.parameters_with(self.vocab_size)

    def to_hf(self) -> dict[str, Any]:
        """`config.json` of a transformers Qwen3 model."""
        return {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "vocab_size": self.vocab_size,
            "hidden_size": self.n_embd,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.n_layer,
            "num_attention_heads": self.n_head,
            "num_key_value_heads": self.n_kv_head,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.sequence_len,
            "rms_norm_eps": self.rms_norm_eps,
            # new readers take rope_parameters, old ones rope_theta
            "rope_theta": self.rope_theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "rope_scaling": None,
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_bias": False,
            "attention_dropout": 0.0,
            "use_sliding_window": False,
            "sliding_window": None,
            "max_window_layers": self.n_layer,
            "layer_types": ["full_attention"] * self.n_layer,
            "initializer_range": 0.02,
            "use_cache": True,
            "dtype": "float32",
            "studio": {"block_size": self.block_size, "dropout": self.dropout},
        }

    @classmethod
    def from_hf(cls, hf: Mapping[str, Any]) -> ModelConfig:
        """The inverse of `to_hf`. Raises ConfigError for another architecture or a missing key."""
        if hf.get("model_type") != "qwen3":
            what = f"model_type is {hf.get('model_type')!r}, only 'qwen3' can be read"
            raise ConfigError(what, where="config.json", key="model_type")
        own = hf.get("studio") or {}
        try:
            return cls(
                vocab_size=hf["vocab_size"],
                n_layer=hf["num_hidden_layers"],
                n_head=hf["num_attention_heads"],
                n_kv_head=hf.get("num_key_value_heads") or hf["num_attention_heads"],
                n_embd=hf["hidden_size"],
                sequence_len=hf["max_position_embeddings"],
                block_size=own.get("block_size") or hf["max_position_embeddings"],
                dropout=own.get("dropout", 0.0),
                head_dim=hf.get("head_dim") or hf["hidden_size"] // hf["num_attention_heads"],
                intermediate_size=hf["intermediate_size"],
                rope_theta=_rope_theta(hf),
                rms_norm_eps=hf.get("rms_norm_eps", 1e-6),
                tie_word_embeddings=hf.get("tie_word_embeddings", True),
            )
        except KeyError as error:
            key = str(error.args[0])
            raise ConfigError(f"{key} is missing", where="config.json", key=key) from None
        except ValueError as error:  # pydantic's: the numbers do not fit each other
            raise ConfigError(str(error), where="config.json") from None


def _rope_theta(hf: Mapping[str, Any]) -> float:
    parameters = hf.get("rope_parameters") or {}
    return float(parameters.get("rope_theta") or hf.get("rope_theta") or 10000.0)


class LoraConfig(Frozen):
    """002 §2.2: a low-rank adapter on a trained model."""

    r: int = Field(default=8, ge=1)
    """Rank of the adapter matrices."""
    lora_alpha: int = Field(default=16, ge=1)
    """Scaling: the adapter's output is multiplied by `lora_alpha` / `r`."""
    lora_dropout: float = Field(default=0.05, ge=0.0, le=1.0)
    """Probability of dropping an input of the adapter while training, 0 to 1."""
    target_modules: list[str] = Field(default=["q_proj", "k_proj", "v_proj", "o_proj"], min_length=1)
    """Names of the linear layers that get an adapter."""
    bias: str = Field(default="none", pattern="^(none|all|lora_only)$")
    """Which biases train: none, all or lora_only."""
    task_type: str = Field(default="CAUSAL_LM", pattern="^CAUSAL_LM$")
    """Kind of model; only causal language models are trained here."""
