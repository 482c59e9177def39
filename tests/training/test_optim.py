"""Groups, each kind of step against torch's own, and that a round trip of the state changes no bit."""

import copy
from typing import Any

import pytest
import torch

from studio.config.model import ModelConfig
from studio.config.training import OptimizerConfig
from studio.nn.gpt import GPT
from studio.training.optim import MuonAdamW, build_optimizer, orthogonalise

KINDS = ["muon", "adamw", "sgd"]


def gpt(seed: int = 0, **changes: Any) -> GPT:
    torch.manual_seed(seed)
    shape = {"vocab_size": 60, "n_embd": 32, "n_head": 4, "intermediate_size": 48, "sequence_len": 16}
    return GPT(ModelConfig(**(shape | changes)))


def settings(kind: str, **changes: Any) -> OptimizerConfig:
    return OptimizerConfig(**({"optimizer_type": kind, "learning_rate": 3e-3} | changes))


def train(model: GPT, optimizer: MuonAdamW, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        draw = torch.Generator().manual_seed(step)
        ids, targets = (torch.randint(0, 60, (4, 16), generator=draw) for _ in range(2))
        model.loss(ids, targets)[0].backward()
        optimizer.step()
        optimizer.zero_grad()


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def by_name(optimizer: MuonAdamW) -> dict[str, dict[str, Any]]:
    return {group["name"]: group for group in optimizer.param_groups}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_every_weight_is_in_one_group(kind: str, tied: bool) -> None:
    model = gpt(tie_word_embeddings=tied)
    groups = build_optimizer(model, settings(kind)).param_groups
    held = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(held) == sorted(id(weight) for weight in model.parameters())
    assert ("head" in {group["name"] for group in groups}) is not tied


def test_muon_takes_the_matrices_of_the_layers_at_its_own_rate() -> None:
    groups = by_name(build_optimizer(gpt(tie_word_embeddings=False), settings("muon", muon_learning_rate=0.05)))
    assert {name: group["kind"] for name, group in groups.items()} == {
        "matrices": "muon", "embeddings": "adamw", "head": "adamw", "norms": "adamw",
    }  # fmt: skip
    assert {name: group["lr"] for name, group in groups.items()} == {
        "matrices": 0.05, "embeddings": 3e-3, "head": 3e-3, "norms": 3e-3,
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_norms_and_embeddings_are_never_decayed(kind: str) -> None:
    groups = by_name(build_optimizer(gpt(), settings(kind, weight_decay=0.1)))
    decays = {name: group["weight_decay"] for name, group in groups.items()}
    assert decays == {"matrices": 0.1, "embeddings": 0.0, "norms": 0.0}


def test_frozen_weights_are_left_out() -> None:
    model = gpt()
    model.model.embed_tokens.weight.requires_grad_(False)
    assert "embeddings" not in by_name(build_optimizer(model, settings("muon")))


def test_muon_steps_as_torchs_muon_does() -> None:
    """Torch's normalises each matrix in its own precision, hence the tolerance of bf16."""
    ours, theirs = ([torch.nn.Parameter(w.clone()) for w in matrices(3)] for _ in range(2))
    optimizer = MuonAdamW([{"params": ours, "kind": "muon", "lr": 0.02, "momentum": 0.95, "weight_decay": 0.1}])
    reference = torch.optim.Muon(theirs, lr=0.02, momentum=0.95, weight_decay=0.1)
    for step in range(3):
        for one, other, grad in zip(ours, theirs, matrices(10 + step), strict=True):
            one.grad, other.grad = grad.clone(), grad.clone()
        optimizer.step()
        reference.step()
    for one, other, begin in zip(ours, theirs, matrices(3), strict=True):
        assert (one - other).norm() <= 0.03 * (other - begin).norm()


def matrices(seed: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw) for shape in [(16, 16), (24, 16), (16, 24), (16, 16)]]


def test_adamw_steps_as_torchs_adamw_does() -> None:
    one, other = gpt(), gpt()
    ours = build_optimizer(one, settings("adamw", weight_decay=0.1, beta1=0.8, beta2=0.9, eps=1e-6))
    decayed = [w for name, w in other.named_parameters() if w.ndim == 2 and "embed" not in name]
    spared = [w for name, w in other.named_parameters() if w.ndim != 2 or "embed" in name]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": spared, "weight_decay": 0.0}]
    train(one, ours, 4)
    train(other, torch.optim.AdamW(groups, lr=3e-3, betas=(0.8, 0.9), eps=1e-6), 4)  # type: ignore[arg-type]
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_sgd_steps_as_torchs_sgd_does() -> None:
    one, other = gpt(), gpt()
    train(one, build_optimizer(one, settings("sgd", weight_decay=0.0, momentum=0.8)), 4)
    train(other, torch.optim.SGD(other.parameters(), lr=3e-3, momentum=0.8), 4)  # type: ignore[arg-type]
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shape", [(3, 20, 20), (2, 40, 20), (2, 20, 40)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, ...]) -> None:
    draw = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(draw))
    assert values.shape == (shape[0], 20)
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_a_matrix_without_gradient_stays_zero() -> None:
    assert not orthogonalise(torch.zeros(1, 4, 6)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_from_its_state_it_takes_the_same_steps_to_the_bit(kind: str) -> None:
    straight, begun = gpt(), gpt()
    train(straight, build_optimizer(straight, settings(kind)), 6)
    optimizer = build_optimizer(begun, settings(kind))
    train(begun, optimizer, 3)
    state = copy.deepcopy(optimizer.state_dict())
    resumed = gpt(seed=5)
    resumed.load_state_dict(begun.state_dict())
    again = build_optimizer(resumed, settings(kind))
    again.load_state_dict(state)
    train(resumed, again, 3, first=3)
    assert same(straight, resumed)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_trains_to_the_same_bits(kind: str) -> None:
    one, other = gpt(), gpt()
    for model in (one, other):
        train(model, build_optimizer(model, settings(kind)), 3)
    assert same(one, other)
    assert not same(one, gpt())


@pytest.mark.parametrize("kind", KINDS)
def test_a_scheduler_moves_every_group(kind: str) -> None:
    model = gpt()
    optimizer = build_optimizer(model, settings(kind))
    before = [group["lr"] for group in optimizer.param_groups]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    train(model, optimizer, 1)
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [rate / 2 for rate in before]


def test_rate_zero_changes_nothing() -> None:
    model = gpt()
    optimizer = build_optimizer(model, settings("muon", weight_decay=0.1))
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    train(model, optimizer, 1)
    assert same(model, gpt())


def test_a_closure_computes_loss_and_gradients_first() -> None:
    model, optimizer = (made := gpt()), build_optimizer(made, settings("muon"))

    def closure() -> float:
        loss, _ = model.loss(torch.ones(2, 8, dtype=torch.long), torch.ones(2, 8, dtype=torch.long))
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) > 1.0
    assert not same(model, gpt())


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind 'adam', allowed: muon, adamw, sgd"):
        MuonAdamW([{"params": [torch.nn.Parameter(torch.ones(2))], "kind": "adam"}])


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_learns(kind: str) -> None:
    model = gpt()
    optimizer = build_optimizer(model, settings(kind, learning_rate=0.3 if kind == "sgd" else 3e-3))
    ids = torch.randint(0, 60, (4, 16), generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(30):
        loss, _ = model.loss(ids, ids.roll(-1, 1))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
