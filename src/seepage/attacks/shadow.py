"""A classifier that learns, on shadow models, what a member's outputs look like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from seepage.attacks.base import Attack
from seepage.errors import InputError

__all__ = ["ShadowClassifier"]

FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]

_STEPS = 50


@final
@dataclass(frozen=True, eq=False)
class ShadowClassifier(Attack):
    """score(x) = the log-odds of "member" given what the target answers about x alone.

    A logistic regression is fitted on the shadow models' answers, labelled IN or OUT, both labels
    weighing the same, and asked about the target's. It sees of each answer: loss, φ, modified
    entropy and correctness, and of φ and modified entropy also the hinges max(0, v − q) at their
    quartiles q over the shadow answers, which let the odds bend. One classifier serves all samples
    and classes: it knows nothing of single samples, so it is much weaker than likelihood ratios and
    ranks easy samples first. Views are averaged. 0 is its natural threshold.

    ridge: penalty on standardised coefficients, times the total weight; it makes the optimum unique.
    Source: Shokri et al., arXiv 1610.05820. *Reconstruction* in its features: there one neural
    network per class reads the whole probability vector.

    >>> rng = np.random.default_rng(0)
    >>> member = np.tile(np.eye(2, dtype=bool), (3, 20))
    >>> phi = rng.normal(size=member.shape) + 3 * member
    >>> loss, right = np.logaddexp(0, -phi), (phi > 0).astype(float)
    >>> signals = {"loss": loss, "phi": phi, "correct": right, "mentr": loss}
    >>> scores = ShadowClassifier().leave_one_out(signals, member)
    >>> bool(scores[member].mean() > 1 > -1 > scores[~member].mean())
    True
    """

    name: ClassVar[str] = "shadow-classifier"
    requires: ClassVar[tuple[str, ...]] = ("loss", "phi", "correct", "mentr")
    min_in: ClassVar[int] = 1
    min_out: ClassVar[int] = 1
    threshold: ClassVar[float | None] = 0.0
    ridge: float = 1e-4

    def __post_init__(self) -> None:
        if not self.ridge > 0:
            raise InputError(f"ridge: expected above 0, got {self.ridge}; 1e-4 is the default")

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        values = {k: _flat(references[k]).ravel() for k in self.requires}
        fit = _Fit.of(values, member.ravel(), self.ridge)
        return fit.odds({k: _flat(target[k]) for k in self.requires})

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        flat = {k: _flat(signals[k]) for k in self.requires}
        out = np.empty(member.shape)
        # Twins leave out the same models and share a classifier.
        sets, which = np.unique(use, axis=0, return_inverse=True)
        for k, rows in enumerate(sets):
            fit = _Fit.of(
                {n: v[rows].ravel() for n, v in flat.items()}, member[rows].ravel(), self.ridge
            )
            for r in np.flatnonzero(which.ravel() == k):
                out[r] = fit.odds({n: v[r] for n, v in flat.items()})
        return out


def _flat(values: FloatArray) -> FloatArray:
    """Mean over views, in float64: (..., A) -> (...)."""
    return values.mean(axis=-1, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _Fit:
    """A fitted classifier: hinges, standardisation and coefficients."""

    bends: dict[str, FloatArray]
    centre: FloatArray
    scale: FloatArray
    weights: FloatArray

    @classmethod
    def of(cls, values: Mapping[str, FloatArray], member: BoolArray, ridge: float) -> _Fit:
        bends = {k: np.quantile(values[k], [0.25, 0.5, 0.75]) for k in ("phi", "mentr")}
        x = _features(values, bends)
        centre, scale = x.mean(axis=0), x.std(axis=0)
        scale = np.where(scale > 1e-9 * (1 + np.abs(centre)), scale, np.inf)
        x = (x - centre) / scale
        x = np.concatenate([np.ones((len(x), 1)), x], axis=1)
        share = member.mean()
        mass = np.where(member, 0.5 / share, 0.5 / (1 - share)) / len(member)
        return cls(bends, centre, scale, _logistic(x, member, mass, ridge))

    def odds(self, values: Mapping[str, FloatArray]) -> FloatArray:
        x = (_features(values, self.bends) - self.centre) / self.scale
        odds: FloatArray = self.weights[0] + x @ self.weights[1:]
        return odds


def _features(values: Mapping[str, FloatArray], bends: Mapping[str, FloatArray]) -> FloatArray:
    columns = [values[k] for k in ("loss", "phi", "correct", "mentr")]
    for name, knots in bends.items():
        columns += [np.maximum(values[name] - q, 0) for q in knots]
    return np.stack(columns, axis=1)


def _logistic(x: FloatArray, y: BoolArray, mass: FloatArray, ridge: float) -> FloatArray:
    """The unique minimum of the weighted, penalised logistic loss, by damped Newton steps."""
    penalty = np.full(x.shape[1], ridge)
    penalty[0] = 1e-12
    sign = np.where(y, 1.0, -1.0)

    def value(w: FloatArray) -> float:
        return float(mass @ np.logaddexp(0, -sign * (x @ w)) + 0.5 * penalty @ w**2)

    w = np.zeros(x.shape[1])
    now = value(w)
    for _ in range(_STEPS):
        p = 0.5 * (1 + np.tanh(0.5 * (x @ w)))
        gradient = x.T @ (mass * (p - y)) + penalty * w
        bent = (x * (mass * p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(bent, gradient)
        # Halving guards the first steps; near the minimum rounding decides and whole steps are right.
        size = 1.0
        trial = value(w - step)
        while trial > now + 1e-13 and size > 1e-3:
            size /= 2
            trial = value(w - size * step)
        w, now = w - size * step, trial
        if np.abs(step).max() <= 1e-11 * (1 + np.abs(w).max()):
            break
    return w
