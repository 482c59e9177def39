"""Attention written out against torch's fused kernel, its masks, and the rotary positions."""

import pytest
import torch

from studio.nn.attention import (
    RMSNorm,
    attend,
    causal_bias,
    rotary_tables,
    rotate,
    segment_bias,
    segment_mask,
)


def heads(seed: int, length: int = 12) -> torch.Tensor:
    return torch.randn(2, 3, length, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


SEGMENTS = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2], [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]])


def test_written_out_and_fused_attention_agree() -> None:
    q, k, v = heads(0), heads(1), heads(2)
    torch.testing.assert_close(attend(q, k, v, causal_bias(12)), attend(q, k, v, None))


def test_bias_and_mask_of_segments_agree() -> None:
    q, k, v = heads(0), heads(1), heads(2)
    written = attend(q, k, v, segment_bias(SEGMENTS, causal_bias(12)))
    torch.testing.assert_close(written, attend(q, k, v, segment_mask(SEGMENTS)))


def test_a_segment_sees_itself_and_nothing_later() -> None:
    mask = segment_mask(SEGMENTS)[0, 0]
    assert mask[5].nonzero().flatten().tolist() == [4, 5]
    assert mask[3].nonzero().flatten().tolist() == [0, 1, 2, 3]
    assert mask.diagonal().all()


def test_one_segment_is_plain_causal() -> None:
    assert torch.equal(segment_bias(SEGMENTS, causal_bias(12))[1, 0], causal_bias(12))


def test_written_out_attention_of_bf16_heads_keeps_fp32_in_its_softmax() -> None:
    q, k, v = (heads(seed) for seed in range(3))
    exact = attend(q, k, v, None)
    rounded = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), causal_bias(12))
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().max() < 0.05


def test_rotated_products_depend_on_the_distance_only() -> None:
    cos, sin = rotary_tables(40, 8, 10_000.0)
    q, k = heads(0, 1)[:1, :1].expand(1, 1, 40, 8), heads(1, 1)[:1, :1].expand(1, 1, 40, 8)
    products = (rotate(q, cos, sin) @ rotate(k, cos, sin).mT)[0, 0]
    for distance in (0, 3, 11):
        diagonal = products.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))


def test_position_zero_is_not_turned() -> None:
    cos, sin = rotary_tables(4, 8, 10_000.0)
    assert torch.equal(rotate(heads(0, 1), cos[:1], sin[:1]), heads(0, 1))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_norm_makes_the_mean_square_one(scale: float) -> None:
    out = RMSNorm(64, 1e-12)(torch.randn(5, 64) * scale)
    torch.testing.assert_close(out.square().mean(-1), torch.ones(5))
