"""The optimizer: Muon for the matrices of the layers and AdamW for the rest, or AdamW, or SGD, in one `Optimizer`.

It knows parameters by name and shape. It refuses to know schedules (they set `group["lr"]`), clipping and Lightning.

* One class, because Lightning's automatic optimization, schedulers and checkpoints want one optimizer: each group
  carries its `kind`.
* Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) turns the momentum of a matrix into the nearest
  orthogonal one by five Newton-Schulz steps. Matrices of one shape go through them together, as one batch.
* Weight decay is decoupled, and spares norms and embeddings.
"""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from studio.config.training import OptimizerConfig

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration, steepest at zero."""
NEWTON_SCHULZ_STEPS = 5


class MuonAdamW(torch.optim.Optimizer):
    """Steps every group by its `kind`: muon, adamw or sgd. State is plain tensors, so a round trip is exact."""

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        super().__init__(list(groups), {"lr": 1e-3, "weight_decay": 0.0})
        for group in self.param_groups:
            if group["kind"] not in _STEPS:
                raise ValueError(f"unknown kind {group['kind']!r}, allowed: {', '.join(_STEPS)}")

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; the closure, if any, computes the loss and the gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                _STEPS[group["kind"]](self, group, params)
        return loss

    def _buffers(self, params: list[Tensor], name: str) -> list[Tensor]:
        """The state tensor `name` of each parameter, zeros at first."""
        for p in params:
            if name not in self.state[p]:
                self.state[p][name] = torch.zeros_like(p, memory_format=torch.preserve_format)
        return [self.state[p][name] for p in params]

    def _step_muon(self, group: dict[str, Any], params: list[Tensor]) -> None:
        buffers, grads = self._buffers(params, "momentum_buffer"), [_grad(p) for p in params]
        momentum, lr = group["momentum"], float(group["lr"])
        torch._foreach_lerp_(buffers, grads, 1.0 - momentum)
        updates = torch._foreach_lerp(grads, buffers, momentum)  # Nesterov
        torch._foreach_mul_(params, 1.0 - lr * group["weight_decay"])
        by_shape: dict[torch.Size, list[int]] = {}
        for i, p in enumerate(params):
            by_shape.setdefault(p.shape, []).append(i)
        for (rows, columns), chosen in by_shape.items():
            directions = orthogonalise(torch.stack([updates[i] for i in chosen])).unbind()
            rate = lr * max(1.0, rows / columns) ** 0.5
            torch._foreach_add_([params[i] for i in chosen], directions, alpha=-rate)

    def _step_adamw(self, group: dict[str, Any], params: list[Tensor]) -> None:
        for p in params:
            if "step" not in self.state[p]:
                self.state[p]["step"] = torch.zeros((), dtype=torch.float32, device=p.device)
        adamw(
            params,
            [_grad(p) for p in params],
            self._buffers(params, "exp_avg"),
            self._buffers(params, "exp_avg_sq"),
            [],
            [self.state[p]["step"] for p in params],
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=float(group["lr"]),
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _step_sgd(self, group: dict[str, Any], params: list[Tensor]) -> None:
        torch._foreach_mul_(params, 1.0 - float(group["lr"]) * group["weight_decay"])
        buffers: list[Tensor | None] = list(self._buffers(params, "momentum_buffer"))
        sgd(
            params,
            [_grad(p) for p in params],
            buffers,
            foreach=True,
            weight_decay=0.0,
            momentum=group["momentum"],
            lr=float(group["lr"]),
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )


_STEPS: dict[str, Callable[[MuonAdamW, dict[str, Any], list[Tensor]], None]] = {
    "muon": MuonAdamW._step_muon,
    "adamw": MuonAdamW._step_adamw,
    "sgd": MuonAdamW._step_sgd,
}


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def orthogonalise(matrices_NRC: Tensor) -> Tensor:
    """The nearly orthogonal matrix next to each of a batch (N, R, C), bf16 as the method's author does."""
    a, b, c = NEWTON_SCHULZ
    x = matrices_NRC.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices_NRC.dtype)


def build_optimizer(model: nn.Module, cfg: OptimizerConfig) -> MuonAdamW:
    """Group the model's trainable parameters by what they are; every group is one entry of `param_groups`.

    Groups are named (`group["name"]`): matrices, embeddings, head, norms; empty ones are left out.
    """
    members: dict[str, list[Tensor]] = {"matrices": [], "embeddings": [], "head": [], "norms": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members[_role(name, parameter)].append(parameter)
    return MuonAdamW(
        {"name": name, "params": params, **_settings(name, cfg)} for name, params in members.items() if params
    )


def _role(name: str, parameter: Tensor) -> str:
    if "embed" in name:
        return "embeddings"
    if "lm_head" in name:
        return "head"
    return "matrices" if parameter.ndim == 2 else "norms"


def _settings(role: str, cfg: OptimizerConfig) -> dict[str, Any]:
    decayed = role == "matrices" or (role == "head" and cfg.optimizer_type != "muon")
    shared = {"lr": cfg.learning_rate, "weight_decay": cfg.weight_decay if decayed else 0.0}
    if cfg.optimizer_type == "sgd":
        return shared | {"kind": "sgd", "momentum": cfg.momentum}
    if cfg.optimizer_type == "muon" and role == "matrices":
        return shared | {"kind": "muon", "lr": cfg.muon_learning_rate, "momentum": cfg.muon_momentum}
    return shared | {"kind": "adamw", "betas": (cfg.beta1, cfg.beta2), "eps": cfg.eps}
