"""The chunked loss against torch's own: values, gradients, masks, chunks, types."""

import pytest
import torch
import torch.nn.functional as F

import studio.nn.losses as losses
from studio.nn.compiling import maybe_compile
from studio.nn.losses import IGNORE, linear_cross_entropy

HIDDEN, WORDS = 16, 50


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of at most 8 fp32 tokens."""
    monkeypatch.setattr(losses, "CHUNK_BYTES", 8 * WORDS * 4)


def batch(tokens: int, ignored: int = 0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, WORDS, (tokens,), generator=draw)
    targets[:ignored] = IGNORE
    hidden = torch.randn(tokens, HIDDEN, generator=draw).requires_grad_()
    return hidden, torch.randn(WORDS, HIDDEN, generator=draw).requires_grad_(), targets


def plain(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, z_loss: float = 0.0) -> torch.Tensor:
    logits = hidden.float() @ weight.float().T
    counted = targets != IGNORE
    return F.cross_entropy(logits, targets) + z_loss * logits.logsumexp(-1)[counted].square().mean()


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("tokens", [1, 8, 9, 24, 31])
@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
def test_value_and_gradients_are_exact_whatever_the_number_of_chunks(tokens: int, z_loss: float) -> None:
    hidden, weight, targets = batch(tokens, ignored=tokens // 3)
    loss, count = linear_cross_entropy(hidden, weight, targets, z_loss=z_loss)
    expected = plain(hidden, weight, targets, z_loss)
    torch.testing.assert_close(loss, expected)
    assert int(count) == tokens - tokens // 3
    for ours, theirs in zip(
        torch.autograd.grad(loss * 3, (hidden, weight)),
        torch.autograd.grad(expected * 3, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_no_counted_target_gives_zero_everywhere() -> None:
    hidden, weight, targets = batch(6, ignored=6)
    loss, count = linear_cross_entropy(hidden, weight, targets)
    assert (loss.item(), int(count)) == (0.0, 0)
    assert all(not grad.any() for grad in torch.autograd.grad(loss, (hidden, weight)))


def test_large_logits_do_not_overflow() -> None:
    hidden, weight, targets = batch(8)
    loss, _ = linear_cross_entropy(hidden * 1e3, weight, targets)
    torch.testing.assert_close(loss, plain(hidden * 1e3, weight, targets))
    assert all(torch.isfinite(grad).all() for grad in torch.autograd.grad(loss, (hidden, weight)))


def test_autocast_rounds_products_only() -> None:
    hidden, weight, targets = batch(32)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = linear_cross_entropy(hidden, weight, targets)
    expected = plain(hidden, weight, targets)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-2)
    ours, theirs = torch.autograd.grad(loss, (hidden, weight)), torch.autograd.grad(expected, (hidden, weight))
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == torch.float32
        assert (our - their).norm() <= 0.02 * their.norm()


def test_a_confident_model_keeps_a_true_gradient_in_bf16() -> None:
    """Where p is nearly 1, (p - 1) must not drown in the rounding of p."""
    hidden, targets = torch.eye(HIDDEN).requires_grad_(), torch.arange(HIDDEN)
    weight = (torch.eye(WORDS, HIDDEN) * 12).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = linear_cross_entropy(hidden, weight, targets)
    ours = torch.autograd.grad(loss, weight)[0]
    theirs = torch.autograd.grad(plain(hidden, weight, targets), weight)[0]
    assert (ours - theirs).norm() <= 0.02 * theirs.norm()


def test_without_gradients_none_are_computed() -> None:
    hidden, weight, targets = batch(8)
    with torch.no_grad():
        loss, _ = linear_cross_entropy(hidden, weight, targets)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, plain(hidden, weight, targets).detach())


def test_the_operation_keeps_torchs_rules_for_operators() -> None:
    hidden, weight, targets = batch(9)
    share = torch.full((9,), 1 / 9)
    torch.library.opcheck(losses._operation, (hidden, weight, targets, share, 0.0, True, False))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.slow
def test_compiled_it_is_the_same_loss() -> None:
    hidden, weight, targets = batch(20, ignored=3)
    compiled = maybe_compile(linear_cross_entropy, "auto")
    if not compiled.compiled:
        pytest.skip(compiled.reason)
    loss, _ = compiled.call(hidden, weight, targets)
    expected = plain(hidden, weight, targets)
    torch.testing.assert_close(loss, expected)
    ours, theirs = torch.autograd.grad(loss, (hidden, weight)), torch.autograd.grad(expected, (hidden, weight))
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, atol=1e-6, rtol=1e-4)
