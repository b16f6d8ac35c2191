"""Signals that follow from one another, without logits: φ and cross-entropy, probabilities.

>>> float(phi_of_loss(np.array([np.log(2.0)]))[0])
0.0
"""

from __future__ import annotations

import numpy as np

from seepage.array_types import AnyArray, Float64Array

__all__ = ["log_probabilities", "loss_of_phi", "phi_of_loss"]


def phi_of_loss(loss: AnyArray) -> Float64Array:
    """φ = −ℓ − log(1 − e^{−ℓ}) of cross-entropies ℓ = −log p_y in nats, any shape, in float64.

    Without cancellation: log(−expm1(−ℓ)) for ℓ. A loss of exactly 0 gives infinity: p_y is then
    known only to be nearer to 1 than numbers of the loss's type tell. Holds for cross-entropy
    without class weights and without label smoothing alone.

    >>> from seepage.signals import loss, phi
    >>> import torch
    >>> z, y = torch.tensor([[3.0, 1.0, -2.0]], dtype=torch.float64), torch.tensor([0])
    >>> abs(float(phi_of_loss(loss(z, y).numpy())[0] - phi(z, y)[0])) < 1e-12
    True
    """
    ell = np.asarray(loss, dtype=np.float64)
    with np.errstate(divide="ignore"):
        found: Float64Array = -ell - np.log(-np.expm1(-ell))
    return found


def loss_of_phi(phi: AnyArray) -> Float64Array:
    """Cross-entropy ℓ = log(1 + e^{−φ}) in nats of logit-scaled confidences φ, in float64.

    >>> round(float(loss_of_phi(np.array([0.0]))[0]), 4)
    0.6931
    """
    found: Float64Array = np.logaddexp(0.0, -np.asarray(phi, dtype=np.float64))
    return found


def log_probabilities(p: AnyArray, least: float) -> Float64Array:
    """log p of probabilities (..., K), those of exactly 0 raised to `least`, in float64.

    log p are logits: their softmax is p. So the rules of `seepage.signals` give φ, loss and
    entropies from them. Where one probability is exactly 1 and the others are 0, φ is
    −log((K − 1)·least): no measurement, but where the numbers end.

    >>> log_probabilities(np.array([[1.0, 0.0]]), 1e-10).round(2).tolist()
    [[0.0, -23.03]]
    """
    values = np.asarray(p, dtype=np.float64)
    found: Float64Array = np.log(np.where(values > 0, values, least))
    return found
