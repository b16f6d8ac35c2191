"""A classifier that learns, on shadow models, what a member's outputs look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, FloatArray
from seepage.attacks.base import Attack
from seepage.attacks.learners import logistic
from seepage.attacks.leaving import Matched
from seepage.attacks.targets import each_row
from seepage.errors import InputError

__all__ = ["ShadowClassifier"]


# Cells that shadow answers are counted in; the target's own answers are not rounded to them.
_PHI, _PHI_STEP = 40.0, 0.1
_LOG_LOW, _LOG_HIGH, _LOG_STEP = -14.0, 6.0, 0.25
_KNOTS = np.array([-2.0, 0.0, 2.0, 4.0, 6.0, 9.0, 13.0])


@final
@dataclass(frozen=True, eq=False)
class ShadowClassifier(Attack):
    """score(x) = the log-odds of "member" given what the target answers about x alone.

    A logistic regression is fitted on the shadow models' answers, labelled IN or OUT, both labels
    weighing the same, and asked about the target's. It sees of each answer: φ, the loss log(1 +
    e^−φ), the hinges max(0, φ − q) at fixed q, which let the odds bend, the logarithm of modified
    entropy and whether it was right. One classifier serves all samples and classes: it knows
    nothing of single samples, so it is much weaker than likelihood ratios and ranks easy samples
    first. Views are averaged. 0 is its natural threshold.

    Shadow answers are counted in cells (φ to 0.1, log entropy to 0.25) before the fit, so that
    leaving a tuple out is a subtraction and a fit takes milliseconds; the target's answers are
    taken as they are. ridge: penalty on coefficients at total weight 1; it makes the optimum
    unique. Source: Shokri et al., arXiv 1610.05820. *Reconstruction* in its features: there one
    neural network per class reads the whole probability vector.

    >>> rng = np.random.default_rng(0)
    >>> member = np.tile(np.eye(2, dtype=bool), (3, 20))
    >>> phi = rng.normal(size=member.shape) + 3 * member
    >>> signals = {"phi": phi, "correct": (phi > 0) * 1.0, "mentr": np.logaddexp(0, -phi)}
    >>> scores = ShadowClassifier().leave_one_out(signals, member)
    >>> bool(scores[member].mean() > 1 > -1 > scores[~member].mean())
    True
    """

    name: ClassVar[str] = "shadow-classifier"
    title: ClassVar[str] = "Shadow classifier"
    reference: ClassVar[str] = "Shokri et al., arXiv 1610.05820"
    reconstruction: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("phi", "correct", "mentr")
    min_in: ClassVar[int] = 1
    min_out: ClassVar[int] = 1
    fitted: ClassVar[bool] = True
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
        x, counts = _counted([references[k] for k in self.requires], member)
        weights = logistic(x, counts.sum(axis=0), self.ridge)
        return _odds([_flat(target[k]) for k in self.requires], weights)

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        answers = [signals[k] for k in self.requires]
        x, counts = _counted(answers, member)
        out = np.empty(member.shape)
        # Runs of a tuple leave out the same models and share a classifier; counts are whole, so
        # what is left of their sum is exact.
        sets, which = np.unique(use, axis=0, return_inverse=True)
        everyone = counts.sum(axis=0)
        weights = np.empty((len(sets), x.shape[1]))

        def fit(k: int) -> None:
            weights[k] = logistic(x, everyone - counts[~sets[k]].sum(axis=0), self.ridge)

        def ask(r: int) -> None:
            out[r] = _odds([_flat(v[r]) for v in answers], weights[which.ravel()[r]])

        each_row(fit, len(sets))
        each_row(ask, len(member))
        return out

    def run_matched(
        self, signals: Mapping[str, FloatArray], member: BoolArray, matched: Matched
    ) -> FloatArray:
        answers = [signals[k] for k in self.requires]
        x, codes = _cells(answers, member.shape)
        out = np.empty(member.shape)

        def count(cells: NDArray[np.int32], inside: BoolArray) -> FloatArray:
            kinds = (cells[~inside], cells[inside])
            return np.stack([np.bincount(k, minlength=len(x)) for k in kinds]).astype(np.float64)

        everyone = count(codes, member)
        columns = np.arange(member.shape[1])

        def one(r: int) -> None:
            partner = matched.partner(r)
            if partner is None:
                which, inside = matched.references(r)
                counts = count(np.take_along_axis(codes, which, axis=0), inside)
            else:
                counts = everyone - count(codes[r], member[r])
                counts -= count(codes[partner, columns], member[partner, columns])
            weights = logistic(x, counts, self.ridge)
            out[r] = _odds([_flat(v[r]) for v in answers], weights)

        each_row(one, len(member))
        return out


def _flat(values: FloatArray) -> FloatArray:
    """Mean over views, in float64: (..., A) -> (...)."""
    return np.asarray(values.mean(axis=-1, dtype=np.float64))


def _log(mentr: FloatArray) -> FloatArray:
    return np.asarray(np.log(np.clip(mentr, np.exp(_LOG_LOW), np.exp(_LOG_HIGH))))


def _columns(phi: FloatArray, correct: FloatArray, mentr: FloatArray) -> list[FloatArray]:
    """The features one by one, (n,) each and of order 1, but for the constant, which comes first."""
    phi = np.clip(phi, -_PHI, _PHI)
    hinges = [np.maximum(phi - q, 0) / 5 for q in _KNOTS]
    # log(1 + e^−φ) without overflow.
    loss = np.log1p(np.exp(-np.abs(phi))) + np.maximum(-phi, 0)
    return [phi / 5, loss / 5, 1.0 * (correct > 0.5), _log(mentr) / 5, *hinges]


def _features(phi: FloatArray, correct: FloatArray, mentr: FloatArray) -> FloatArray:
    """(n,) each -> (n, F); the first is the constant."""
    return np.asarray(np.stack([np.ones_like(phi), *_columns(phi, correct, mentr)], axis=1))


def _odds(answers: Sequence[FloatArray], weights: FloatArray) -> FloatArray:
    """Features times weights, without a table of the features."""
    out = np.full(len(answers[0]), weights[0])
    for column, weight in zip(_columns(*answers), weights[1:], strict=True):
        out += weight * column
    return out


def _counted(answers: Sequence[FloatArray], member: BoolArray) -> tuple[FloatArray, FloatArray]:
    """(features of the occupied cells (C, F), answers in them (R, 2, C): OUT, IN)."""
    x, codes = _cells(answers, member.shape)
    counts = np.empty((len(member), 2, len(x)))

    def count(r: int) -> None:
        for g, mask in enumerate((~member[r], member[r])):
            counts[r, g] = np.bincount(codes[r, mask], minlength=len(x))

    each_row(count, len(member))
    return x, counts


def _cells(
    answers: Sequence[FloatArray], shape: tuple[int, int]
) -> tuple[FloatArray, NDArray[np.int32]]:
    """(features of the occupied cells (C, F), the cell of each answer (R, N))."""
    depth = round((_LOG_HIGH - _LOG_LOW) / _LOG_STEP) + 1
    every = (round(2 * _PHI / _PHI_STEP) + 1) * depth * 2
    codes = np.empty(shape, dtype=np.int32)
    taken = np.zeros(every, dtype=np.bool_)

    def code(r: int) -> None:
        phi, correct, mentr = (_flat(v[r]) for v in answers)
        a = np.rint((np.clip(phi, -_PHI, _PHI) + _PHI) / _PHI_STEP).astype(np.int64)
        b = np.rint((_log(mentr) - _LOG_LOW) / _LOG_STEP).astype(np.int64)
        codes[r] = (a * depth + b) * 2 + (correct > 0.5)
        taken[codes[r]] = True  # several threads may write, all the same

    each_row(code, len(codes))
    cells = np.flatnonzero(taken)
    place = np.zeros(every, dtype=np.int32)
    place[cells] = np.arange(len(cells))
    rest, right = np.divmod(cells, 2)
    a, b = np.divmod(rest, depth)
    x = _features(a * _PHI_STEP - _PHI, right.astype(np.float64), np.exp(b * _LOG_STEP + _LOG_LOW))
    return x, place[codes]
