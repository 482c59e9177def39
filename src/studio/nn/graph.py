"""The decoder as an ONNX graph, written node by node from a checkpoint's weights.

What it is: a builder that turns (ModelConfig, named arrays) into a `ModelProto` for ONNX Runtime's CPU provider.
What it refuses to know: files, tokenizers, sessions, torch.

Design choices, each measured against a traced export (`torch.onnx.export`) of the same weights:
- One `GroupQueryAttention` node does RoPE, the cache write and the attention. Past and present are the same
  buffer, so a step writes one row per layer instead of copying the whole past: a step's cost does not grow with a copy.
- A layer is 10 nodes. At 2 M parameters the runtime's cost per node is a good part of a step.
- Streams of different lengths share a batch: `seqlens` gives each row's own length, no padding takes part.
- `rows` picks the positions whose logits are wanted, so that a prefill pays for one row of the output head, while
  scoring and the parity gate ask for all of them with the same file.
- int8 is block-wise (`MatMulNBits`, 8 bits, blocks of 32 along the input), activations quantised per row and block.
  ONNX Runtime's `quantize_dynamic` scales activations per *tensor*: one stream would change another's logits.
- A head that is no multiple of 16 wide is padded with zeros (the RoPE kernel wants 16); the norm's weight and epsilon
  are rescaled so that the padded norm is the same number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from studio.config.model import ModelConfig

OPSET = 21
IR_VERSION = 10
CONTRIB = "com.microsoft"
HEAD_MULTIPLE = 16  # ONNX Runtime's rotary kernel works on halves of 8
INT8_BLOCK = 32

Array = NDArray[np.float32]
Weights = Mapping[str, NDArray[np.float32]]


def padded_head_dim(config: ModelConfig) -> int:
    """Width of one head in the graph's cache: `head_dim` rounded up to what the kernel takes."""
    return -(-config.head_dim // HEAD_MULTIPLE) * HEAD_MULTIPLE


def build_graph(config: ModelConfig, weights: Weights, *, int8: bool) -> onnx.ModelProto:
    """Build the decode graph.

    Inputs: `ids` int64 (B, S); `seqlens` int32 (B,) tokens in each row's cache after this call, minus one; `total`
    int32 scalar, the largest of them plus one; `rows` int64 (R,) indices into the flattened B*S positions;
    `past_key_i`, `past_value_i` float32 (B, n_kv_head, capacity, head). Outputs: `logits` float32 (R, V) and
    `present_key_i`, `present_value_i`, to be bound to the past's own memory.
    Raises KeyError for a missing weight (the caller names the checkpoint).
    """
    builder = _Builder(config, weights, int8)
    builder.build()
    graph = helper.make_graph(builder.nodes, "decoder", builder.inputs, builder.outputs, builder.initializers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="studio")


def rope_tables(config: ModelConfig, head: int) -> tuple[Array, Array]:
    """Cosines and sines (sequence_len, head / 2) of RoPE, the angles of padding columns at zero."""
    half = _half(config)
    frequencies = 1.0 / config.rope_theta ** (np.arange(half, dtype=np.float32) * 2 / config.head_dim)
    angles = np.zeros((config.sequence_len, head // 2), np.float32)
    angles[:, :half] = np.outer(np.arange(config.sequence_len, dtype=np.float32), frequencies)
    return np.cos(angles), np.sin(angles)


def quantize_blocks(weight_NK: Array, block: int = INT8_BLOCK) -> tuple[NDArray[np.uint8], Array]:
    """Symmetric 8-bit blocks along K: bytes (N, blocks, block) with zero point 128, scales (N, blocks)."""
    n, k = weight_NK.shape
    blocks = -(-k // block)
    padded = np.zeros((n, blocks * block), np.float32)
    padded[:, :k] = weight_NK
    grouped = padded.reshape(n, blocks, block)
    scales = np.abs(grouped).max(axis=2) / 127
    safe = np.where(scales == 0, 1, scales)
    quantized = np.rint(grouped / safe[:, :, None]) + 128
    return quantized.astype(np.uint8), safe.astype(np.float32)


def pad_heads(weight: Array, heads: int, half: int, head: int) -> Array:
    """Rows (heads * 2 * half, ...) to (heads * head, ...): each half of a head begins its padded half."""
    split = weight.reshape(heads, 2, half, *weight.shape[1:])
    padded = np.zeros((heads, 2, head // 2, *weight.shape[1:]), np.float32)
    padded[:, :, :half] = split
    return padded.reshape(heads * head, *weight.shape[1:])


def _half(config: ModelConfig) -> int:
    return config.head_dim // 2


@dataclass
class _Builder:
    config: ModelConfig
    weights: Weights
    int8: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def build(self) -> None:
        config = self.config
        self.head = padded_head_dim(config)
        self.inputs += [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["B", "S"]),
            helper.make_tensor_value_info("seqlens", TensorProto.INT32, ["B"]),
            helper.make_tensor_value_info("total", TensorProto.INT32, []),
            helper.make_tensor_value_info("rows", TensorProto.INT64, ["R"]),
        ]
        self.outputs.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["R", config.vocab_size]))
        cos, sin = rope_tables(config, self.head)
        self.constant("rope_cos", cos)
        self.constant("rope_sin", sin)
        self.constant("embed", self.weights["model.embed_tokens.weight"])
        hidden = self.node("Gather", ["embed", "ids"], "embedded")
        residual, normed = hidden, self.norm("norm0", hidden, "model.layers.0.input_layernorm.weight")
        for index in range(config.n_layer):
            residual, normed = self.layer(index, residual, normed)
        self.head_rows(normed)

    def layer(self, index: int, residual: str, normed: str) -> tuple[str, str]:
        """One block; returns the residual stream and its norm, ready for the next block."""
        prefix = f"model.layers.{index}"
        attended = self.attention(index, normed)
        residual, normed = self.add_norm(
            f"mid{index}", residual, attended, f"{prefix}.post_attention_layernorm.weight", want_sum=True
        )
        last = index + 1 == self.config.n_layer
        following = "model.norm.weight" if last else f"model.layers.{index + 1}.input_layernorm.weight"
        return self.add_norm(f"end{index}", residual, self.mlp(index, normed), following, want_sum=not last)

    def attention(self, index: int, normed: str) -> str:
        config, prefix = self.config, f"model.layers.{index}.self_attn"
        half, head = _half(config), self.head
        queries = pad_heads(self.weights[f"{prefix}.q_proj.weight"], config.n_head, half, head)
        keys = pad_heads(self.weights[f"{prefix}.k_proj.weight"], self.config.n_kv_head, half, head)
        values = pad_heads(self.weights[f"{prefix}.v_proj.weight"], self.config.n_kv_head, half, head)
        packed = self.linear(f"qkv{index}", normed, np.concatenate([queries, keys, values]))
        widths = [config.n_head * head, self.config.n_kv_head * head, self.config.n_kv_head * head]
        parts = [f"q{index}", f"k{index}", f"v{index}"]
        self.constant(f"qkv_widths{index}", np.array(widths, np.int64))
        self.nodes.append(helper.make_node("Split", [packed, f"qkv_widths{index}"], parts, axis=-1))
        query = self.head_norm(f"q_norm{index}", parts[0], f"{prefix}.q_norm.weight", config.n_head)
        key = self.head_norm(f"k_norm{index}", parts[1], f"{prefix}.k_norm.weight", self.config.n_kv_head)
        attended = self.grouped_query_attention(index, [query, key, parts[2]])
        output_TD = pad_heads(self.weights[f"{prefix}.o_proj.weight"].T, config.n_head, half, head).T
        return self.linear(f"o{index}", attended, output_TD)

    def head_norm(self, name: str, value: str, weight: str, heads: int) -> str:
        """RMS norm of each head; a mean over a padded head is smaller by half-width / padded half-width."""
        ratio = 2 * _half(self.config) / self.head
        padded = pad_heads(self.weights[weight], 1, _half(self.config), self.head)
        self.constant(f"{name}.weight", padded * np.float32(np.sqrt(ratio)))
        self.constant(f"{name}.split", np.array([0, 0, heads, self.head], np.int64))
        self.constant(f"{name}.joined", np.array([0, 0, heads * self.head], np.int64))
        split = self.node("Reshape", [value, f"{name}.split"], f"{name}.heads")
        epsilon = float(self.config.rms_norm_eps * ratio)
        normed = self.node("SimplifiedLayerNormalization", [split, f"{name}.weight"], f"{name}.normed", epsilon=epsilon)
        return self.node("Reshape", [normed, f"{name}.joined"], name)

    def grouped_query_attention(self, index: int, query_key_value: list[str]) -> str:
        cache: list[str | int | None] = ["B", self.config.n_kv_head, "capacity", self.head]
        past, present = ([f"{when}_{what}_{index}" for what in ("key", "value")] for when in ("past", "present"))
        self.inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, cache) for name in past]
        self.outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, cache) for name in present]
        attended = f"attended{index}"
        self.nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                [*query_key_value, *past, "seqlens", "total", "rope_cos", "rope_sin"],
                [attended, *present],
                domain=CONTRIB,
                num_heads=self.config.n_head,
                kv_num_heads=self.config.n_kv_head,
                do_rotary=1,
                scale=float(2 * _half(self.config)) ** -0.5,
            )
        )
        return attended

    def mlp(self, index: int, normed: str) -> str:
        prefix = f"model.layers.{index}.mlp"
        both = np.concatenate([self.weights[f"{prefix}.{name}_proj.weight"] for name in ("gate", "up")])
        packed = self.linear(f"gate_up{index}", normed, both)
        gate, up = f"gate{index}", f"up{index}"
        self.nodes.append(helper.make_node("Split", [packed], [gate, up], axis=-1, num_outputs=2))
        activated = self.node("QuickGelu", [gate], f"silu{index}", domain=CONTRIB, alpha=1.0)  # x * sigmoid(x)
        gated = self.node("Mul", [activated, up], f"gated{index}")
        return self.linear(f"down{index}", gated, self.weights[f"{prefix}.down_proj.weight"])

    def head_rows(self, normed: str) -> None:
        self.constant("flat", np.array([-1, self.config.n_embd], np.int64))
        flat = self.node("Reshape", [normed, "flat"], "flat_hidden")
        wanted = self.node("Gather", [flat, "rows"], "wanted_hidden")
        tied = self.config.tie_word_embeddings
        weight = self.weights["model.embed_tokens.weight" if tied else "lm_head.weight"]
        self.linear("logits", wanted, weight)

    def linear(self, name: str, value: str, weight_NK: Array) -> str:
        """`value @ weight.T`, in fp32 or in 8-bit blocks."""
        if not self.int8:
            self.constant(f"{name}.weight", np.ascontiguousarray(weight_NK.T))
            return self.node("MatMul", [value, f"{name}.weight"], name)
        quantized, scales = quantize_blocks(weight_NK)
        self.constant(f"{name}.weight", quantized)
        self.constant(f"{name}.scales", scales)
        n, k = weight_NK.shape
        inputs = [value, f"{name}.weight", f"{name}.scales"]
        sizes = {"K": k, "N": n, "bits": 8, "block_size": INT8_BLOCK, "accuracy_level": 4}
        return self.node("MatMulNBits", inputs, name, domain=CONTRIB, **sizes)

    def norm(self, name: str, value: str, weight: str) -> str:
        self.constant(f"{name}.weight", self.weights[weight])
        return self.node(
            "SimplifiedLayerNormalization", [value, f"{name}.weight"], name, epsilon=float(self.config.rms_norm_eps)
        )

    def add_norm(self, name: str, residual: str, value: str, weight: str, *, want_sum: bool) -> tuple[str, str]:
        """(residual + value, norm of it) in one node; the sum is left out where nothing reads it."""
        self.constant(f"{name}.weight", self.weights[weight])
        total = f"{name}.sum" if want_sum else ""
        self.nodes.append(
            helper.make_node(
                "SkipSimplifiedLayerNormalization",
                [value, residual, f"{name}.weight"],
                [name, "", "", total] if want_sum else [name],
                domain=CONTRIB,
                epsilon=float(self.config.rms_norm_eps),
            )
        )
        return total, name

    def node(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: np.ndarray) -> None:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
