"""Generalised leverage of each sample in the last layer, and what its residual says given it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy import linalg
from torch import nn

from seepage.array_types import Float64Array, FloatArray, Int64Array
from seepage.attacks.base import Access
from seepage.curvature.measured_model import network
from seepage.errors import InputError
from seepage.probes.base import Asked, Probe

__all__ = ["Leverage", "last_features", "leverages", "residual_log_ratio"]

# Weights of the last layer up to which its Hessian is inverted: 300 MB, some seconds a network.
MOST = 6_000
_BATCH = 512


@dataclass(frozen=True)
class Leverage(Probe):
    """Two signals: `leverage`, how much of a sample's own residual it would fit, and `leverage_ratio`.

    leverage = tr H_i, H_i = Wᵢ^½ Jᵢ A⁻¹ Jᵢᵀ Wᵢ^½ for the sample as a member: Wᵢ = diag p − ppᵀ, Jᵢ the
    derivative of the logits by the weights of the last linear layer, A the Gauss-Newton matrix of
    the training loss there plus ridge. Of linear regression it is the diagonal of the hat matrix.
    leverage_ratio: `residual_log_ratio` of the sample's residual.

    A is taken over the whole pool, times the share of members, so that nobody's membership is
    read. ridge: in units of A's mean diagonal entry.
    """

    ridge: float = 1e-3

    name: ClassVar[str] = "leverage"
    access: ClassVar[Access] = "weights"

    def __post_init__(self) -> None:
        if not 0 < self.ridge < np.inf:
            raise InputError(f"ridge: expected a positive number, got {self.ridge}")

    @property
    def signals(self) -> tuple[str, ...]:
        return ("leverage", "leverage_ratio")

    @property
    def queries(self) -> int:
        return 1

    def measure(self, asked: Asked) -> dict[str, FloatArray]:
        features, logits = last_features(asked.network, asked.inputs)
        share = 0.5 if asked.member is None else float(asked.member.mean())
        labels = asked.labels.numpy().astype(np.int64)
        h, ratio = leverages(features, logits, labels, share=max(share, 1e-6), ridge=self.ridge)
        return {"leverage": h, "leverage_ratio": ratio}


def last_features(model: nn.Module, inputs: torch.Tensor) -> tuple[Float64Array, Float64Array]:
    """What enters the last linear layer, with a column of ones for its bias, and the logits.

    (N, ...) -> (N, D), (N, K). Raises InputError where the logits are not what that layer gives.
    """
    own = network(model, None)
    linear = [m for m in own.module.modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise InputError(
            "model: expected a network whose logits come from a linear layer, got one without; "
            "choose an attack that does not read leverage"
        )
    head = linear[-1]
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    handle = head.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    features, logits = [], []
    try:
        with torch.no_grad(), own.unchanged():
            own.check(inputs[:32].to(own.device, own.dtype), differentiable=False)
            for x in torch.split(inputs, _BATCH):
                seen.clear()
                out = own.logits(x.to(own.device, own.dtype))
                if (
                    len(seen) != 1
                    or seen[0][1].shape != out.shape
                    or bool((seen[0][1] != out).any())
                ):
                    raise InputError(
                        "model: expected logits that the last linear layer gives, got ones that "
                        "something changes after it; choose an attack that does not read leverage"
                    )
                features.append(seen[0][0].double().cpu().numpy())
                logits.append(out.double().cpu().numpy())
    finally:
        handle.remove()
    h = np.concatenate(features)
    if head.bias is not None:
        h = np.concatenate([h, np.ones((len(h), 1))], axis=1)
    return h, np.concatenate(logits)


def leverages(
    features: Float64Array, logits: Float64Array, labels: Int64Array, *, share: float, ridge: float
) -> tuple[Float64Array, Float64Array]:
    """Leverage tr H_i and log-ratio of the residual, of every sample of a pool: (N,), (N,).

    features (N, D) of the last layer, logits (N, K), labels (N,). share: of the pool that the
    network was trained on, above 0 and at most 1. With A = share · Σ_j Jⱼᵀ Wⱼ Jⱼ + λI over the pool
    and s the eigenvalues of Wᵢ^½ Jᵢ A⁻¹ Jᵢᵀ Wᵢ^½, those without the sample itself are
    s₀ = s/(1 − share · s), and those with the whole of it h = s₀/(1 + s₀).

    Raises InputError for more than 6,000 weights.

    >>> x, z = np.array([[1.0], [1.0], [2.0]]), np.zeros((3, 2))
    >>> h, _ = leverages(x, z, np.array([0, 1, 0]), share=1.0, ridge=1e-12)
    >>> h.round(6).tolist()                            # x²/Σx², the hat matrix
    [0.166667, 0.166667, 0.666667]
    """
    count, size = features.shape
    classes = logits.shape[1]
    if classes * size > MOST:
        raise InputError(
            f"leverage: expected a last layer of at most {MOST:,} weights, got {classes * size:,}, "
            "whose Gauss-Newton matrix is too large to invert; choose an attack that does not read "
            "leverage, or train a network with a narrower last layer"
        )
    z = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    inverse = linalg.inv(_curved(features, p, share, ridge), overwrite_a=True)
    middle = np.empty((count, classes, classes))
    for k in range(classes):
        for m in range(k, classes):
            block = inverse[k * size : (k + 1) * size, m * size : (m + 1) * size]
            middle[:, k, m] = middle[:, m, k] = np.einsum("nd,nd->n", features @ block, features)
    # diag p − ppᵀ = C Cᵀ with C = diag(q)(I − qqᵀ), q = √p; the residual is C u.
    q = np.sqrt(p)
    root = q[:, :, None] * (np.eye(classes) - q[:, :, None] * q[:, None, :])
    s, turn = np.linalg.eigh(root.transpose(0, 2, 1) @ middle @ root)
    s = np.clip(s, 0.0, (1 - 1e-12) / share)
    spread = s / (1 - share * s)
    u = -q
    rows = np.arange(count)
    # 1/√p_y, of which nothing is left where a wrong answer is sure.
    u[rows, labels] += np.exp(np.minimum(-0.5 * np.log(np.maximum(p[rows, labels], 1e-300)), 300.0))
    along = np.einsum("nkm,nk->nm", turn, u)
    ratio = residual_log_ratio(along, spread).sum(axis=1)
    return (spread / (1 + spread)).sum(axis=1), ratio


def _curved(features: Float64Array, p: Float64Array, share: float, ridge: float) -> Float64Array:
    """share · Σ_j Wⱼ ⊗ hⱼhⱼᵀ + λI, block by block: (K·D, K·D)."""
    size, classes = features.shape[1], p.shape[1]
    out = np.empty((classes * size, classes * size))
    for k in range(classes):
        for m in range(k, classes):
            weight = share * p[:, k] * ((k == m) - p[:, m])
            block = features.T @ (features * weight[:, None])
            out[k * size : (k + 1) * size, m * size : (m + 1) * size] = block
            out[m * size : (m + 1) * size, k * size : (k + 1) * size] = block.T
    unit = max(float(np.trace(out)) / len(out), 1e-30)
    out[np.diag_indices_from(out)] += ridge * unit
    # One vector added to the weights of all classes changes no probability: what A has there is
    # never read, and without it the inverse would be as large as ridge is small.
    for k in range(classes):
        for m in range(classes):
            at = np.arange(size)
            out[k * size + at, m * size + at] += unit / classes
    return out


def residual_log_ratio(residual: Float64Array, spread: Float64Array) -> Float64Array:
    """log N(r; 0, 1/(1 + s)) − log N(r; 0, 1 + s), element by element; higher = member.

    In least squares a member's residual has the variance σ²(1 − h), a non-member's σ²(1 + s), where
    s = h/(1 − h) is the leverage without the sample. residual: in units of σ.

    >>> residual_log_ratio(np.array([0.0, 1.0]), np.array([1.0, 1.0])).round(4).tolist()
    [0.6931, -0.0569]
    """
    grown = 1 + spread
    return np.asarray(np.log(grown) - 0.5 * residual**2 * (grown - 1 / grown))
