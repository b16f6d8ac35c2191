"""Theoretical bounds that relate curvature, memorisation and privacy; not predictions.

Upper bounds limit how far two quantities can differ, not how far they do: use them for trends.
Bounds stated in the sister paper (Ravikumar et al., ICML 2024, arXiv 2402.18726) were read in its
text; those of arXiv 2407.02747 are reconstructions and say so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from seepage.errors import InputError

__all__ = [
    "Assumptions",
    "confidence_divergence",
    "crossing_size",
    "curvature_bound",
    "curvature_divergence",
    "memorisation_bound_from_curvature",
    "memorisation_bound_from_privacy",
    "stability",
]


@dataclass(frozen=True)
class Assumptions:
    """Constants that the theorems assume; none of them is measured by seepage.

    loss: L, the largest loss (cross-entropy is unbounded; the theorems need a clipped one).
    generalisation: γ, the rate at which empirical and true risk differ, with probability 1 − δ;
    it depends on the training set's size and is taken as given here. bias: Δ, a bound on how much
    the expected loss of the model differs between samples. lipschitz: ρ, the Lipschitz constant of
    the Hessian. displacement: E‖α‖³ of the distance α to an adjacent sample, with E α = 0 and
    E αᵀα = 1.
    """

    loss: float = 1.0
    generalisation: float = 0.0
    bias: float = 0.0
    lipschitz: float = 0.0
    displacement: float = 0.0

    def __post_init__(self) -> None:
        values = (self.generalisation, self.bias, self.lipschitz, self.displacement)
        if not 0 < self.loss < math.inf or not all(0 <= v < math.inf for v in values):
            raise InputError(
                f"assumptions: expected a finite loss > 0 and the others >= 0, got {self}"
            )

    @property
    def third_order(self) -> float:
        """(ρ/6) E‖α‖³, what a second-order expansion leaves out."""
        return self.lipschitz * self.displacement / 6

    def slack(self, size: int) -> float:
        """c(m) = (4m − 1)γ + 2(m − 1)Δ + (ρ/6)E‖α‖³, what the constants add to a bound."""
        m = _size(size)
        return (4 * m - 1) * self.generalisation + 2 * (m - 1) * self.bias + self.third_order


def stability(epsilon: float, loss: float = 1.0) -> float:
    """β = L(1 − e^(−ε)): how far one sample moves the expected loss under ε-DP.

    Pure differential privacy, losses in [0, L]. Tighter than L(e^ε − 1). arXiv 2402.18726,
    Lemma 5.2.

    >>> round(stability(1.0), 4)
    0.6321
    """
    return -loss * math.expm1(-_epsilon(epsilon))


def memorisation_bound_from_privacy(epsilon: float) -> float:
    """mem ≤ 1 − e^(−ε): no sample of an ε-DP model is memorised more. arXiv 2402.18726, Thm 5.4.

    >>> round(memorisation_bound_from_privacy(0.1), 4)
    0.0952
    """
    return -math.expm1(-_epsilon(epsilon))


def memorisation_bound_from_curvature(
    curvature: float, size: int, beta: float, given: Assumptions
) -> float:
    """|mem| ≤ curv/L + (ρ/6L)E‖α‖³ + mβ/L + (4m − 1)γ/L + 2(m − 1)Δ/L, with probability 1 − δ.

    curvature: expected trace at the sample over models trained without it, in nats per squared
    input unit, with the adjacent-sample scale of `Assumptions`. size: m. beta: error stability.
    For accuracy memorisation under cross-entropy the paper sets L = 1. arXiv 2402.18726, Thm 5.1.

    >>> memorisation_bound_from_curvature(0.2, 10, beta=0.01, given=Assumptions())
    0.30000000000000004
    """
    return (curvature + _size(size) * beta + given.slack(size)) / given.loss


def curvature_bound(epsilon: float, size: int, given: Assumptions) -> float:
    """E curv ≤ L(m + 1)(1 − e^(−ε)) + c(m): privacy bounds expected curvature.

    Expectation over samples and training; trace of the Hessian. arXiv 2402.18726, Thm 5.3.

    >>> round(curvature_bound(0.01, 99, Assumptions()), 4)
    0.995
    """
    return (_size(size) + 1) * stability(epsilon, given.loss) + given.slack(size)


def confidence_divergence(epsilon: float) -> float:
    """D_KL(train ‖ test) of output probabilities ≤ ε under pure ε-DP.

    arXiv 2407.02747, Thm 4.1, known from a summary; the inequality itself is standard.

    >>> confidence_divergence(2.0)
    2.0
    """
    return _epsilon(epsilon)


def curvature_divergence(epsilon: float, size: int, sigma: float, given: Assumptions) -> float:
    """D_KL(train ‖ test) of curvature scores ≤ [Lm(1 − e^(−ε)) + L + c(m)]² / (2σ²).

    *Reconstruction* of Thm 4.2 of arXiv 2407.02747: the text of the paper was not available. Known:
    the shape fitted in the authors' notebook, the divergence of two Gaussians of equal variance,
    and Lemma A.4 of the sister paper with β = L(1 − e^(−ε)). Chosen: L and c kept apart. Assumes
    Gaussian scores with one standard deviation sigma for members and non-members.

    >>> round(curvature_divergence(0.001, 100, sigma=1.0, given=Assumptions()), 4)
    0.6049
    """
    if not 0 < sigma < math.inf:
        raise InputError(f"sigma: expected a finite number > 0, got {sigma}")
    gap = _size(size) * stability(epsilon, given.loss) + given.loss + given.slack(size)
    return gap**2 / (2 * sigma**2)


def crossing_size(epsilon: float, sigma: float, given: Assumptions) -> int:
    """Training-set size from which curvature's bound exceeds that of confidence.

    The smallest m with [Lm(1 − e^(−ε)) + L + c(m)]² > 2σ²ε. c(m) is linear in m, so

        m > (σ√(2ε) − L + γ + 2Δ − (ρ/6)E‖α‖³) / (L(1 − e^(−ε)) + 4γ + 2Δ).

    *Reconstruction* of Thm 4.3 of arXiv 2407.02747: its abstract says that curvature wins on
    sufficiently large data; the closed form is our algebra on `curvature_divergence` and
    `confidence_divergence`. γ and Δ are held fixed, though γ falls with m in practice. Two upper
    bounds crossing says nothing certain about which attack wins.

    >>> crossing_size(epsilon=1.0, sigma=1000.0, given=Assumptions())
    2236
    """
    if not 0 < sigma < math.inf:
        raise InputError(f"sigma: expected a finite number > 0, got {sigma}")
    slope = stability(epsilon, given.loss) + 4 * given.generalisation + 2 * given.bias
    start = given.loss - given.generalisation - 2 * given.bias + given.third_order
    needed = sigma * math.sqrt(2 * _epsilon(epsilon)) - start
    # Without any slope ε, γ and Δ are 0, and the constant L alone is above a divergence of 0.
    return 1 if needed < 0 else math.floor(needed / slope) + 1


def _epsilon(epsilon: float) -> float:
    if not epsilon >= 0 or not math.isfinite(epsilon):
        raise InputError(f"epsilon: expected a finite number >= 0, got {epsilon}")
    return float(epsilon)


def _size(size: int) -> int:
    if size < 1:
        raise InputError(f"size: expected a training set of at least 1 sample, got {size}")
    return size
