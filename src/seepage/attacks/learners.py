"""Learners of "member" from features: what fitted attacks teach their rule with.

All weigh members and others the same, so that the odds they give are those of a fair coin, and all
are the same function of the rows in whatever order these come.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.errors import InputError

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

__all__ = ["Boosting", "Forest", "Learner", "LinearOdds", "Odds", "Separate", "logistic"]

Odds = Callable[[Float64Array], Float64Array]
"""What was learnt: features (n, F) -> log-odds of "member" (n,)."""

# Of features, decimals that trees look at: more would let rounding choose their cuts.
_DECIMALS = 9
_SURE = 1e-6


class Learner(ABC):
    """Learns the log-odds of "member" from features; one of the options below."""

    @abstractmethod
    def fit(self, x: Float64Array, member: BoolArray) -> Odds:
        """(n, F) features of answers, (n,) whether each was a member's -> their log-odds.

        Where all or none are members nothing can be learnt, and the odds are even.
        """


def _even(x: Float64Array) -> Float64Array:
    return np.zeros(len(x))


def _ridge(value: float) -> None:
    if not 0 < value < np.inf:
        raise InputError(f"ridge: expected a number above 0, got {value}; 1e-4 is the default")


@dataclass(frozen=True)
class LinearOdds(Learner):
    """Logistic regression on features brought to mean 0 and spread 1; straight in each of them.

    ridge: penalty on coefficients at total weight 1; it makes the optimum unique, which damped
    Newton steps reach to eleven digits.

    >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> odds = LinearOdds().fit(x, np.array([False, True, False, True]))
    >>> bool(abs(odds(np.array([[1.5]]))[0]) < 1e-9), bool(odds(x)[3] > 0 > odds(x)[0])
    (True, True)
    """

    ridge: float = 1e-4

    def __post_init__(self) -> None:
        _ridge(self.ridge)

    def fit(self, x: Float64Array, member: BoolArray) -> Odds:
        if member.all() or not member.any():
            return _even
        weight = np.where(member, 0.5 / member.sum(), 0.5 / (~member).sum())
        centre = weight @ x
        spread = np.sqrt(weight @ (x - centre) ** 2)
        # A feature that does not vary says nothing; its rounding must not become a unit.
        unit = np.where(spread > 1e-9 * (1 + np.abs(centre)), spread, np.inf)
        ones = np.ones((len(x), 1))
        counts = np.stack([~member, member]).astype(np.float64)
        w = logistic(np.concatenate([ones, (x - centre) / unit], axis=1), counts, self.ridge)
        slope = w[1:] / unit
        constant = w[0] - centre @ slope
        return lambda new: np.asarray(new @ slope + constant)


class _Trees(Learner, ABC):
    """What both kinds of trees share: rows in one order, probabilities kept off 0 and 1."""

    @abstractmethod
    def _classifier(self) -> ClassifierMixin:
        """scikit-learn's, not fitted."""

    def fit(self, x: Float64Array, member: BoolArray) -> Odds:
        if member.all() or not member.any():
            return _even
        rows = np.round(x, _DECIMALS)
        # Trees depend on the order of rows, which is not to depend on that of models or samples.
        order = np.lexsort((member, *rows.T))
        rows, truth = rows[order], member[order]
        weight = np.where(truth, 0.5 / truth.mean(), 0.5 / (~truth).mean())
        found: Any = self._classifier()
        found.fit(rows, truth, sample_weight=weight)

        def odds(new: Float64Array) -> Float64Array:
            p = found.predict_proba(np.round(new, _DECIMALS))[:, 1]
            return np.asarray(scipy.special.logit(np.clip(p, _SURE, 1 - _SURE)), dtype=np.float64)

        return odds


def _at_least(**least: tuple[float, float]) -> None:
    for name, (value, bound) in least.items():
        if not bound <= value < np.inf:
            raise InputError(f"{name}: expected at least {bound:g}, got {value}")


@dataclass(frozen=True)
class Boosting(_Trees):
    """Gradient boosting on histograms (scikit-learn): bends, and sees features together.

    trees, leaves, rate, smallest: number of trees, leaves of each, learning rate, answers in the
    smallest leaf. No rows are held out: trees are few and small instead. seed: of the choice of cuts
    from more than 200,000 rows.
    """

    trees: int = 60
    leaves: int = 8
    rate: float = 0.1
    smallest: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        _at_least(
            trees=(self.trees, 1),
            leaves=(self.leaves, 2),
            rate=(self.rate, 1e-6),
            smallest=(self.smallest, 1),
        )

    def _classifier(self) -> ClassifierMixin:
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(
            max_iter=self.trees,
            max_leaf_nodes=self.leaves,
            learning_rate=self.rate,
            min_samples_leaf=self.smallest,
            early_stopping=False,
            random_state=self.seed,
        )


@dataclass(frozen=True)
class Forest(_Trees):
    """Random forest (scikit-learn), the mean of trees that each saw other rows and features.

    trees, smallest: number of trees and answers in the smallest leaf. seed: of the trees.
    """

    trees: int = 60
    smallest: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        _at_least(trees=(self.trees, 1), smallest=(self.smallest, 1))

    def _classifier(self) -> ClassifierMixin:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(
            self.trees, min_samples_leaf=self.smallest, random_state=self.seed
        )


@dataclass(frozen=True)
class Separate(Learner):
    """Each feature teaches a learner of its own, and their probabilities are averaged.

    score = logit of mean_k σ(odds_k(x_k)): a soft vote. learner: what each is fitted with.
    """

    learner: Learner = field(default_factory=LinearOdds)

    def fit(self, x: Float64Array, member: BoolArray) -> Odds:
        each = [self.learner.fit(x[:, [k]], member) for k in range(x.shape[1])]

        def odds(new: Float64Array) -> Float64Array:
            log_odds = [found(new[:, [k]]) for k, found in enumerate(each)]
            # The ratio of mean p to mean 1 − p, without cancellation where all are sure.
            inside, out = (
                scipy.special.logsumexp([-np.logaddexp(0, s * o) for o in log_odds], axis=0)
                for s in (-1, 1)
            )
            return np.asarray(inside - out)

        return odds


_STEPS = 50


def logistic(x: FloatArray, counts: FloatArray, ridge: float) -> FloatArray:
    """The unique minimum of the weighted, penalised logistic loss, by damped Newton steps.

    x (C, F); counts (2, C) of label 0 and 1; each label's weights add up to 1/2.
    """
    occupied = counts.sum(axis=0) > 0
    x, counts = x[occupied], counts[:, occupied]
    out, inside = counts / (2 * counts.sum(axis=1, keepdims=True))
    mass = out + inside
    penalty = np.full(x.shape[1], ridge)
    penalty[0] = 1e-12

    def value(w: FloatArray) -> float:
        odds = x @ w
        fit = inside @ np.logaddexp(0, -odds) + out @ np.logaddexp(0, odds)
        return float(fit + 0.5 * penalty @ w**2)

    w = np.zeros(x.shape[1])
    now = value(w)
    for _ in range(_STEPS):
        p = 0.5 * (1 + np.tanh(0.5 * (x @ w)))
        gradient = x.T @ (mass * p - inside) + penalty * w
        bent = (x * (mass * p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(bent, gradient)
        # Halving protects the first steps; near the minimum rounding decides and whole ones are
        # right.
        size = 1.0
        trial = value(w - step)
        while trial > now + 1e-13 and size > 1e-3:
            size /= 2
            trial = value(w - size * step)
        w, now = w - size * step, trial
        if np.abs(step).max() <= 1e-11 * (1 + np.abs(w).max()):
            break
    return w
