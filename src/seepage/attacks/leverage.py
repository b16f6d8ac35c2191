"""An attack on the residual of a sample, given how much of it the last layer would fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from seepage.array_types import Float64Array, FloatArray
from seepage.attacks.base import Access
from seepage.attacks.measured import Alone

__all__ = ["Leverage"]


@final
@dataclass(frozen=True, eq=False)
class Leverage(Alone):
    """score(x) = log p(r | IN) − log p(r | OUT), r the residual y − p of x, given its leverage H.

    In least squares a member's residual has the variance σ²(1 − h), a non-member's σ²/(1 − h), h the diagonal of
    the hat matrix. Here the same for the last linear layer: r is standardised by Wᵢ = diag p − ppᵀ, H = Wᵢ^½ Jᵢ A⁻¹ Jᵢᵀ Wᵢ^½,
    A the Gauss-Newton matrix over the pool times the share of members (`seepage.probes.leverage`), and
    score = Σ_k log(1 + s_k) − ½ r_k² ((1 + s_k) − 1/(1 + s_k)) over the eigenvalues of H/(I − H).
    Needs no references: it is a threshold on the residual that falls less heavily on samples that a model
    cannot fit. Assumes normal residuals and weights at the optimum of the last layer; networks that
    fit their members perfectly are far from it. The natural rule is score ≥ 0.

    Source: *reconstruction* of the generalised leverage score (arXiv 2602.15919), whose summary
    was at hand; there leverage ranks samples by their risk, and the likelihood ratio is ours.

    >>> Leverage().score(np.array([0.7, -2.0]), np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [0.7, -2.0]
    """

    name: ClassVar[str] = "leverage"
    title: ClassVar[str] = "Residual given leverage"
    reference: ClassVar[str] = "Generalised leverage score, arXiv 2602.15919"
    reconstruction: ClassVar[bool] = True
    access: ClassVar[Access] = "weights"
    requires: ClassVar[tuple[str, ...]] = ("leverage_ratio",)
    first_view: ClassVar[bool] = True
    threshold: ClassVar[float | None] = 0.0

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return signals["leverage_ratio"].astype(np.float64)
