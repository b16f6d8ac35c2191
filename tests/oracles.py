"""Ground truth that needs no training: generators with a known answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

F = NDArray[np.float64]
B = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Fleet:
    """A signal (R, N) with its membership (R, N) and each sample's true TPR at `fpr` (N,)."""

    signal: F
    member: B
    tpr: F
    fpr: float


def ols_leverage(
    rng: np.random.Generator, member: B, design: F, fpr: float, noise: float = 1.0
) -> Fleet:
    """Ordinary least squares trained on each row of the plan: the signal is −|residual|.

    y = Xβ + N(0, noise²) afresh for every run. Member residuals have variance σ²(1 − h), others
    σ²(1 + g) = σ²/(1 − h'), where h is the leverage with the sample in the design. The optimal
    |residual| test has TPR = 2Φ(Φ⁻¹((1 + FPR)/2)/(1 − h)) − 1; h is averaged over the runs.
    The signal here is the *signed* residual; attacks on |residual| take minus its magnitude.
    """
    models, samples = member.shape
    residual = np.empty((models, samples))
    leverage = np.zeros(samples)
    truth = rng.normal(size=design.shape[1])
    for r in range(models):
        y = design @ truth + noise * rng.normal(size=samples)
        k = member[r]
        q, upper = np.linalg.qr(design[k])
        beta = np.linalg.solve(upper, q.T @ y[k])
        residual[r] = y - design @ beta
        gram = np.linalg.inv(upper.T @ upper)
        g = np.einsum("ij,jk,ik->i", design, gram, design)
        # In the design: h = g. Outside: adding it would make it g/(1 + g).
        leverage += np.where(k, g, g / (1 + g))
    h = leverage / models
    tpr = 2 * norm.cdf(norm.ppf((1 + fpr) / 2) / (1 - h)) - 1
    return Fleet(residual, member, tpr, fpr)


def class_mean(
    rng: np.random.Generator,
    models: int,
    target: F,
    centre: F,
    shots: int,
    spread: float,
    fpr: float,
    parts: int = 2,
) -> Fleet:
    """The simplified head of arXiv 2402.06674: the score is ⟨x, class mean of S samples⟩.

    Runs come in tuples of `parts`. With the target among the S samples (IN) the mean moves by (x − m)/S. One sample per fleet
    column; TPR = Φ(Φ⁻¹(FPR) + |⟨x, x − m⟩| / (√S ‖x‖ s)).
    """
    samples = len(target)
    member = np.zeros((models, samples), bool)
    for r in range(0, models, parts):
        member[r : r + parts] = np.floor(parts * rng.random(samples)) == np.arange(parts)[:, None]
    norms = np.linalg.norm(target, axis=1)
    others = shots - member.astype(np.float64)
    # ⟨x, mean⟩ = ⟨x, m⟩ + (Σ of the others' noise along x + [IN] ⟨x, x − m⟩)/S.
    noise = spread * norms * np.sqrt(others) * rng.normal(size=(models, samples))
    shift = np.einsum("ij,ij->i", target, target - centre)
    signal = target @ centre + (noise + member * shift) / shots
    tpr = norm.cdf(norm.ppf(fpr) + np.abs(shift) / (np.sqrt(shots) * norms * spread))
    return Fleet(signal, member, tpr, fpr)


def heteroscedastic(rng: np.random.Generator, member: B) -> F:
    """Signals N(μᵢ + δᵢ·[IN], σᵢ²): μᵢ ~ N(0, 9), σᵢ log-normal (½), δᵢ exponential (1): (R, N)."""
    samples = member.shape[1]
    mu, sigma = rng.normal(0, 3, size=samples), np.exp(rng.normal(0, 0.5, size=samples))
    return mu + sigma * rng.normal(size=member.shape) + rng.exponential(size=samples) * member


def null_signals(rng: np.random.Generator, member: B, views: int = 1) -> dict[str, F]:
    """Signals that know nothing of membership, of the right kind for every attack."""
    phi = rng.normal(size=member.shape[1])[:, None] + rng.normal(size=(*member.shape, views))
    return _beside(rng, phi)


def leaking_signals(
    rng: np.random.Generator, member: B, views: int = 1, shift: float = 1.0
) -> dict[str, F]:
    """The same with φ of members raised by `shift`."""
    phi = rng.normal(size=member.shape[1])[:, None] + rng.normal(size=(*member.shape, views))
    phi = phi + shift * member[..., None]
    return _beside(rng, phi)


def read_by(attack: Any, signals: Mapping[str, F], checkpoints: int = 4) -> dict[str, F]:
    """What an attack reads of signals (R, N[, A]): a trajectory comes straight from 8 to them.

    The labels are the classes 0, 1, 2 in turn, unless given. Each value of a trace is a function of
    the one given alone, so that what holds of signals holds of traces.
    """
    first = np.asarray(next(iter(signals.values())))
    labels = np.broadcast_to(np.arange(first.shape[1]) % 3.0, first.shape[:2])
    found = {"labels": np.array(labels)[..., None], **signals}
    if "augmented_correct" in attack.requires and "augmented_correct" not in signals:
        found["augmented_correct"] = _copies(found["phi"])
    for name in ("grad_layers", "grad_last"):
        if name in attack.requires and name not in signals:
            found[name] = _norms(found["grad_norm"])
    if "loss_shape" in attack.requires and "loss_shape" not in signals:
        found["loss_shape"] = _features(found["phi"])
    if "logits" in attack.requires and "logits" not in signals:
        found["logits"] = _logits(found["phi"], found["labels"])
    share = np.arange(1, checkpoints + 1) / checkpoints
    return {
        name: np.stack([8 + s * (found[name] - 8) for s in share], axis=2)
        if attack.trajectory and name != "labels"
        else found[name]
        for name in attack.requires
    }


def _logits(phi: F, labels: F) -> F:
    """Four classes whose outputs follow from φ of the first view, the true one's alike: (R, N, 4)."""
    z = np.asarray(phi[..., :1] if phi.ndim == 3 else phi[..., None])
    own = labels.reshape(z.shape) == np.arange(4)
    wrong = np.concatenate([0 * z, -0.2 * z, np.sin(z), 0 * z - 1], axis=-1)
    return np.where(own, z + 1, wrong).astype(z.dtype)


def _copies(phi: F) -> F:
    """Whether four copies are answered rightly, by φ of the first view: (R, N, 4)."""
    z = np.asarray(phi[..., :1] if phi.ndim == 3 else phi[..., None])
    return (z > np.array([0.0, -1.0, 1.0, 2.0])).astype(z.dtype)


def _features(phi: F) -> F:
    """Eight features of a sequence that rise with φ of the first view: (R, N, 8)."""
    z = np.asarray(phi[..., :1] if phi.ndim == 3 else phi[..., None])
    steps = [z + np.sin((k + 1) * z) / (2 * (k + 1)) for k in range(7)]
    return np.concatenate([*steps, np.round(z)], axis=-1).astype(z.dtype)


def _norms(norm: F) -> F:
    """Four norms that follow from one of the first view: (R, N, 4)."""
    z = np.asarray(norm[..., :1] if norm.ndim == 3 else norm[..., None])
    return np.concatenate([z, z**2, z / (1 + z), 0 * z + 0.5], axis=-1).astype(z.dtype)


def _beside(rng: np.random.Generator, phi: F) -> dict[str, F]:
    """φ and what goes with it: a loss, entropies, a curvature with noise of its own."""
    loss = np.log1p(np.exp(-phi))
    curvature = np.exp(0.5 * rng.normal(size=phi.shape) - 0.7 * phi)
    return {
        "phi": phi,
        "loss": loss,
        "mentr": loss * 1.5,
        "entropy": np.log(2) / np.cosh(phi / 3) + loss / 5,
        "correct": (phi > 0).astype(phi.dtype),
        "curvature_zo": curvature,
        "noise_share": np.round(50 * (1 + np.tanh(phi / 2))) / 100,
        "adversarial_distance": np.logaddexp(0, phi) * (1 + np.sin(5 * phi) / 3),
        "imitation_phi": phi - 2 + np.sin(phi) / 2,
        "boundary_distance": np.logaddexp(0, phi) * (1 + np.sin(9 * phi) / 3),
        "checkpoint_step": -loss * np.exp(0.3 * np.sin(5 * phi)),
        "inverse_hessian": -loss * np.exp(0.3 * np.sin(3 * phi)),
        "phi_given_input": phi + np.sin(3 * phi) / 4,
        "leverage_ratio": -loss * np.exp(0.3 * np.cos(5 * phi)),
        "grad_norm": loss * np.exp(0.3 * np.sin(7 * phi)),
        "zlib_ratio": -loss / 100,
        "min_k": -loss * np.exp(0.3 * np.sin(2 * phi)),
        "min_k_pp": phi - loss / 3,
        "reference_ratio": phi / 4 + np.sin(phi) / 5,
        "hard_tokens": phi / 3 + np.sin(2 * phi) / 8,
        "window_share": np.round(40 * (1 + np.tanh(phi / 3))) / 80,
        "error_zone": np.arctan(phi / 2),
        "neighbour_gap": phi / 6 + np.sin(4 * phi) / 20,
        "prefix_ratio": np.exp(phi / 8 + np.sin(5 * phi) / 30),
        "others_ratio": phi / 5 + np.sin(3 * phi) / 20,
    }
