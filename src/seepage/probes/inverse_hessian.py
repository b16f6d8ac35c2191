"""How far a sample moves the optimum, by the inverse Hessian, for an attacker who knows the others."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch.func import functional_call

from seepage.array_types import Float64Array, FloatArray
from seepage.attacks.base import Access
from seepage.curvature.measured_model import network
from seepage.errors import InputError
from seepage.probes.base import Asked, Probe
from seepage.probes.gradients import per_sample_gradients, sample_losses

__all__ = ["InverseHessian", "hessian", "moved"]

# Parameters up to which the Hessian is taken whole: a minute and 100 MB a network.
MOST = 3_000
_BATCH = 2_000


@dataclass(frozen=True)
class InverseHessian(Probe):
    """inverse_hessian = −(‖H⁻¹g_i‖²/n + 2⟨H⁻¹∇L₀, H⁻¹g_i⟩): how much nearer to the optimum with x than without.

    g_i = ∇_θ ℓ(x_i); ∇L₀ the mean gradient of the n − 1 members other than x_i, which the attacker knows, so that n
    too is read from others alone; H the Hessian of the mean loss over the whole pool, so that it tells nobody's membership. H⁻¹∇L is
    Newton's step to the optimum; the two terms are n times what x_i changes in its squared length. At
    the optimum of strictly convex training it is n‖θ* − θ*₍₋ᵢ₎‖² > 0 for members, to first order in 1/n,
    and minus the like for others.

    floor: the least eigenvalue of H that is believed, in units of the largest in size; smaller ones, and
    negative ones, are replaced by their size or by it. Passes for the Hessian, one for every parameter, are
    not counted in `queries`.
    """

    floor: float = 1e-3

    name: ClassVar[str] = "inverse Hessian"
    access: ClassVar[Access] = "weights"

    def __post_init__(self) -> None:
        if not 0 < self.floor <= 1:
            raise InputError(f"floor: expected a share above 0 and at most 1, got {self.floor}")

    @property
    def signals(self) -> tuple[str, ...]:
        return ("inverse_hessian",)

    @property
    def queries(self) -> int:
        return 2

    def measure(self, asked: Asked) -> dict[str, FloatArray]:
        if asked.member is None:
            raise InputError(
                "member: expected whom the network was trained on, since the attacker knows all "
                "members but the one in question, got None; pass member"
            )
        h = hessian(asked)
        rows = per_sample_gradients(asked.network, asked.inputs, asked.labels)
        g = np.concatenate(
            [torch.cat([v.flatten(1) for v in found.values()], 1).double().cpu().numpy()
             for _, found in rows]
        )  # fmt: skip
        return {"inverse_hessian": moved(g, h, asked.member, floor=self.floor)}


def hessian(asked: Asked) -> Float64Array:
    """∇²_θ of the mean cross-entropy over the samples, in float64: (P, P).

    Raises InputError above 3,000 parameters.
    """
    own = network(asked.network, torch.float64)
    with ExitStack() as stack:
        stack.enter_context(own.unchanged())
        stack.enter_context(own.exact_evaluation())
        leaves = {k: p.detach().clone().requires_grad_() for k, p in own.module.named_parameters()}
        size = sum(p.numel() for p in leaves.values())
        if size > MOST:
            raise InputError(
                f"inverse_hessian: expected a network of at most {MOST:,} parameters, whose Hessian "
                f"is taken whole, got {size:,}; choose an attack that does not read it, such as "
                "leverage, or train a smaller network"
            )
        each = list(leaves.values())
        out = np.zeros((size, size))
        for i in range(0, len(asked.inputs), _BATCH):
            x = asked.inputs[i : i + _BATCH].to(own.device, own.dtype)
            y = asked.labels[i : i + _BATCH].to(own.device)
            total = sample_losses(functional_call(own.module, leaves, (x,)), y).sum()
            slopes = torch.autograd.grad(
                total / len(asked.inputs), each, create_graph=True, materialize_grads=True
            )
            slope = torch.cat([g.flatten() for g in slopes])
            for k in range(size):
                row = torch.autograd.grad(slope[k], each, retain_graph=True, materialize_grads=True)
                out[k] += torch.cat([r.flatten() for r in row]).cpu().numpy()
    return np.asarray((out + out.T) / 2)


def moved(
    gradients: Float64Array, hessian: Float64Array, member: np.ndarray, *, floor: float
) -> Float64Array:
    """−(‖H⁻¹g_i‖²/n + 2⟨H⁻¹∇L₀, H⁻¹g_i⟩) of every sample, ∇L₀ over the other members: (N,).

    gradients (N, P), hessian (P, P), member (N,) bool, of which at least two. See `InverseHessian`.

    >>> g = np.array([[1.0], [-1.0], [0.5]])
    >>> moved(g, np.eye(1), np.array([True, True, False]), floor=1e-3).tolist()
    [1.5, 1.5, -0.08333333333333333]
    """
    n = int(member.sum())
    if n < 2:
        raise InputError(f"member: expected at least 2 members, got {n}; train on more samples")
    values, turn = np.linalg.eigh(hessian)
    least = floor * max(float(np.abs(values).max()), 1e-300)
    step = (gradients @ turn) / np.maximum(np.abs(values), least)
    # The mean of the other members' steps, of a member without its own.
    known = n - member
    others = (step[member].sum(axis=0) - member[:, None] * step) / known[:, None]
    return np.asarray(-((step**2).sum(axis=1) / (known + 1) + 2 * (others * step).sum(axis=1)))
