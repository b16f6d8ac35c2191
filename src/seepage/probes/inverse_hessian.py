"""How far a sample moves the optimum, by the inverse Hessian, for an attacker who knows the others."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch.func import functional_call

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks.base import Access
from seepage.curvature.measured_model import network
from seepage.errors import InputError
from seepage.probes.base import Asked, Probe
from seepage.probes.gradients import per_sample_gradients, sample_losses

__all__ = ["InverseHessian", "hessian", "likelier", "moved"]

# Parameters up to which the Hessian is taken whole: a minute and 100 MB a network.
MOST = 3_000
_BATCH = 2_000
# Members that are compared with all candidates at once.
_BLOCK = 512
# Of the largest value: nearer ones are the same, such as copies of one sample, added up in another order.
_SAME = 1e-12


@dataclass(frozen=True)
class InverseHessian(Probe):
    """inverse_hessian: the share of candidates that look less like the member whom the attacker lacks, 0 to 1.

    Who knows all members but x_i asks of every sample that he does not know, x_i among them, how much
    nearer the weights lie to the optimum with it than without (`moved`):
    q_c = −(‖H⁻¹g_c‖²/n + 2⟨H⁻¹∇L₀, H⁻¹g_c⟩), g_c = ∇_θ ℓ(x_c), ∇L₀ the mean gradient of the members that
    he knows, H the Hessian of the mean loss over the whole pool, so that it tells nobody's membership.
    The value is the place of q_i among them (`likelier`). Where the network tells nothing it is uniform
    for members and others alike, by exchange.

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
        return {
            "inverse_hessian": likelier(g, h, asked.member, floor=self.floor, rng=asked.generator())
        }


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
    gradients: Float64Array, hessian: Float64Array, member: BoolArray, *, floor: float
) -> Float64Array:
    """−(‖H⁻¹g_i‖²/n + 2⟨H⁻¹∇L₀, H⁻¹g_i⟩) of every sample, ∇L₀ over the other members: (N,).

    gradients (N, P), hessian (P, P), member (N,) bool, of which at least two. n times what x_i changes in
    the squared length of Newton's step to the optimum: at the optimum of strictly convex training it is
    n‖θ* − θ*₍₋ᵢ₎‖² > 0 for members, to first order in 1/n, and minus the like for others. Not to be compared between
    samples on one network: see `likelier`.

    >>> g = np.array([[1.0], [-1.0], [0.5]])
    >>> moved(g, np.eye(1), np.array([True, True, False]), floor=1e-3).tolist()
    [1.5, 1.5, -0.08333333333333333]
    """
    n = _known(member)
    step = _steps(gradients, hessian, floor)
    # The mean of the other members' steps, of a member without its own.
    known = n - member
    others = (step[member].sum(axis=0) - member[:, None] * step) / known[:, None]
    return np.asarray(-((step**2).sum(axis=1) / (known + 1) + 2 * (others * step).sum(axis=1)))


def likelier(
    gradients: Float64Array,
    hessian: Float64Array,
    member: BoolArray,
    *,
    floor: float,
    rng: np.random.Generator,
) -> Float64Array:
    """The place of every sample among the candidates of who knows the other members, 0 to 1: (N,).

    Candidates of i are i and the m samples that are no members; each is given the score of `moved` with
    the members other than i as those that are known. Value: those of the m below i, and half of those
    equal to it, over m. That of the others is (k − ½)/m, k = 1..m, those that are equal in an order that `rng`
    draws: a threshold of 1 − a has a false-positive rate of a.

    gradients (N, P), hessian (P, P), member (N,) bool: at least two members and one other. Time
    N² P, memory of a block of members × m. Raises InputError for fewer.

    If members are exchangeable with the others, given the weights, then so are the candidates given whom
    the attacker knows: AUC ½ in the mean, to the last digit, with equal samples (copies, those that pass no unit) too.
    `moved` compares scores made from other knowledge and is above it.

    >>> g = np.array([[1.0], [-1.0], [0.5], [0.25]])
    >>> rng = np.random.default_rng(0)
    >>> likelier(g, np.eye(1), np.array([True, True, False, False]), floor=1e-3, rng=rng).tolist()
    [1.0, 1.0, 0.25, 0.75]
    """
    n = _known(member)
    inside, others = np.flatnonzero(member), np.flatnonzero(~member)
    if not len(others):
        raise InputError(
            "member: expected samples that the network was not trained on, with which a member is "
            "compared, got none; pass some"
        )
    step = _steps(gradients, hessian, floor)
    sum_of_members, square = step @ step[inside].sum(axis=0), (step**2).sum(axis=1)
    out = np.empty(len(member))
    out[others] = _place(-(square[others] / (n + 1) + 2 * sum_of_members[others] / n), rng)
    for i in range(0, len(inside), _BLOCK):
        rows = inside[i : i + _BLOCK]
        beside = step[rows] @ step[others].T
        theirs = -(square[others] / n + 2 * (sum_of_members[others] - beside) / (n - 1))
        own = -(square[rows] / n + 2 * (sum_of_members[rows] - square[rows]) / (n - 1))
        apart = theirs - own[:, None]
        near = _SAME * np.maximum(np.abs(theirs).max(axis=1), np.abs(own))[:, None]
        below, same = (apart < -near).sum(axis=1), (np.abs(apart) <= near).sum(axis=1)
        out[rows] = (below + 0.5 * same) / len(others)
    return out


def _place(values: Float64Array, rng: np.random.Generator) -> Float64Array:
    """(k − ½)/m of the k-th smallest, the nearest of them, which are the same, in a drawn order: (m,)."""
    m = len(values)
    order = np.argsort(values, kind="stable")
    apart = np.diff(values[order]) > _SAME * np.abs(values).max()
    group = np.concatenate([[0], np.cumsum(apart)])
    out = np.empty(m)
    out[order[np.lexsort((rng.permutation(m), group))]] = (np.arange(m) + 0.5) / m
    return out


def _known(member: BoolArray) -> int:
    n = int(member.sum())
    if n < 2:
        raise InputError(f"member: expected at least 2 members, got {n}; train on more samples")
    return n


def _steps(gradients: Float64Array, hessian: Float64Array, floor: float) -> Float64Array:
    """H⁻¹g of every sample in the basis of H's eigenvectors, small and negative values floored: (N, P)."""
    values, turn = np.linalg.eigh(hessian)
    least = floor * max(float(np.abs(values).max()), 1e-300)
    return np.asarray((gradients @ turn) / np.maximum(np.abs(values), least))
