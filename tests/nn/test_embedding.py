"""The embedding's own gradient: torch's value, and the same bits from several threads."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from studio.nn.compiling import maybe_compile
from studio.nn.embedding import embed


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def lookup() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(20, 64, generator=draw).requires_grad_(), torch.randint(0, 20, (256, 256), generator=draw)


def test_value_and_gradient_are_torchs() -> None:
    weight, ids = lookup()
    assert torch.equal(embed(weight, ids), F.embedding(ids, weight))
    gradients = [
        torch.autograd.grad(rows.sin().sum(), weight)[0] for rows in (embed(weight, ids), F.embedding(ids, weight))
    ]
    assert torch.equal(*gradients)


def test_the_operations_keep_torchs_rules_for_operators() -> None:
    weight, ids = lookup()
    torch.library.opcheck(embed, (weight, ids))


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_compiled_its_gradient_is_the_same_to_the_bit_each_time() -> None:
    weight, ids = lookup()
    factor = torch.randn(256, 256, 64, generator=torch.Generator().manual_seed(1))
    compiled = maybe_compile(lambda table, chosen: embed(table, chosen) * factor, "auto")
    if not compiled.compiled:
        pytest.skip(compiled.reason)
    first, *others = (torch.autograd.grad(compiled.call(weight, ids).sum(), weight)[0] for _ in range(20))
    assert all(torch.equal(first, other) for other in others)
