"""One rule per class, learnt on the answers of shadow models: Attack-S and the privacy risk score.

What is learnt for a target comes from its references, which the driver chooses without the target
and its tuple: no answer that is judged is part of its own fit. Fitted on the judged answers
themselves, the privacy risk score reads .60 on noise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self, final

import numpy as np
import scipy

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.base import Attack, Source
from seepage.attacks.binding import labelled
from seepage.attacks.kernels.samplewise import ascending
from seepage.attacks.tails import Empirical, Tail
from seepage.attacks.targets import each_row
from seepage.errors import InputError

__all__ = ["AttackS", "Bins", "Isotonic", "PrivacyRiskScore"]

Rule = Callable[[Float64Array], Float64Array]
"""What references of one class teach: the target's values (n,) -> scores (n,)."""


@dataclass(frozen=True, eq=False)
class _ByClass(Attack, ABC):
    """What both share: classes, and one fit for all targets that leave out the same models.

    Runs are not realigned sample by sample: the samples of one target would then be judged by
    several fits, whose differences are larger than those between samples on noise (AUC .51).
    """

    by_class: bool = True

    first_view: ClassVar[bool] = True
    min_out: ClassVar[int] = 2
    fitted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        # What the contract keeps on the class is the instance's own, since classes are an option.
        read = (self._signal, "labels") if self.by_class else (self._signal,)
        object.__setattr__(self, "requires", read)

    @property
    @abstractmethod
    def _signal(self) -> str:
        """The signal that rules are learnt on."""

    def bound(self, source: Source) -> Self:
        """One rule for all samples where the run has no labels."""
        known = not self.by_class or labelled(source)
        return self if known else replace(self, by_class=False)

    def _classes(self, signals: Mapping[str, FloatArray]) -> Int64Array:
        """The class of every sample, numbered from 0: (N,). signals of one target."""
        if not self.by_class:
            return np.zeros(len(signals[self._signal]), dtype=np.int64)
        return np.unique(signals["labels"][:, 0], return_inverse=True)[1].astype(np.int64)

    def _values(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        """The signal, view 0: (…, N)."""
        return np.asarray(signals[self._signal][..., 0], dtype=np.float64)

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        values, out = self._values(target), np.zeros(member.shape[1])
        learnt = self._values(references)
        for at in _parts(self._classes(target)):
            ((_, rule),) = self.learn(learnt[:, at], member[:, at], np.ones((1, len(member)), bool))
            out[at] = rule(values[at])
        return out

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        values, out = self._values(signals), np.zeros(member.shape)
        sets, which = np.unique(use, axis=0, return_inverse=True)
        parts = list(_parts(self._classes({k: v[0] for k, v in signals.items()})))

        def one(c: int) -> None:
            at = parts[c]
            here = values[:, at]
            for e, rule in self.learn(here, member[:, at], sets):
                for r in np.flatnonzero(which.ravel() == e):
                    out[r, at] = rule(here[r])

        each_row(one, len(parts))
        return out

    @abstractmethod
    def learn(
        self, values: Float64Array, member: BoolArray, sets: BoolArray
    ) -> Iterator[tuple[int, Rule]]:
        """The rule of one class for each set of references: (R, n), (R, n), (E, R) -> (e, rule)."""


def _parts(classes: Int64Array) -> Iterator[Int64Array]:
    """Positions of the samples of each class."""
    order = np.argsort(classes, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(classes[order])) + 1)


def _nothing(values: Float64Array) -> Float64Array:
    """The rule of a class without references: all alike."""
    return np.zeros(len(values))


@final
@dataclass(frozen=True, eq=False)
class AttackS(_ByClass):
    """Where the target's loss stands among those that shadow models give to others of its class.

    score(x) = −log F̂_c(ℓ(x)), c the class of x and F̂_c the CDF of the losses of all OUT references
    on all samples of that class, view 0. "score ≥ −log α" is the paper's constant of each class,
    which the target does not choose: its FPR is α as far as targets are alike. Within a class the
    order is that of the loss, so that it is as blind to how hard a sample is as `LOSS`; `AttackR` is
    the one that knows.

    tail: Empirical() (interpolated), Gaussian() or Logistic(). by_class: False takes one constant
    for all samples, which is done unasked where a run has no labels. IN entries of the references
    are not read. Needs 2 OUT references. Source: Ye et al., arXiv 2111.09679, attack S.

    >>> references = {"loss": np.array([[1.0, 5.0], [3.0, 7.0]]), "labels": np.array([[0, 1], [0, 1]])}
    >>> target = {"loss": np.array([2.0, 6.0]), "labels": np.array([0, 1])}
    >>> np.exp(-AttackS().score(target, references, np.zeros((2, 2), bool))).tolist()
    [0.5, 0.5]
    """

    tail: Tail = field(default_factory=Empirical)

    name: ClassVar[str] = "attack-s"
    title: ClassVar[str] = "Attack-S"
    reference: ClassVar[str] = "Ye et al., arXiv 2111.09679"
    requires: ClassVar[tuple[str, ...]] = ("loss", "labels")

    @property
    def _signal(self) -> str:
        return "loss"

    def learn(
        self, values: Float64Array, member: BoolArray, sets: BoolArray
    ) -> Iterator[tuple[int, Rule]]:
        whose, _ = np.nonzero(~member)
        outside = values[~member]
        order = ascending(outside)
        whose, outside = whose[order], outside[order]
        for e, use in enumerate(sets):
            sample = outside[use[whose]]
            yield e, self._rule(sample) if len(sample) > 1 else _nothing

    def _rule(self, sample: Float64Array) -> Rule:
        return lambda x: -self.tail.log_cdf(x, sample, ordered=True)


@dataclass(frozen=True)
class Bins:
    """Histograms of `count` equal bins of log value between the least and the largest reference.

    The paper's released code has 5. Values below 1e-10 count as that; values beyond the outermost
    edges take the outermost bin, and empty bins the nearest that is not, the lower one first.
    """

    count: int = 5

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"count: expected at least 1 bin, got {self.count}; 5 is published")


@dataclass(frozen=True)
class Isotonic:
    """The share of members as a function that never rises with the value, by least squares.

    Values are counted in cells of log value 0.05 wide, the same for all models; between occupied
    cells the function is linear. It has no number of bins to choose, and ranks within them.
    """


_LEAST, _CELL, _LOWEST, _HIGHEST = 1e-10, 0.05, -23.05, 12.0


@final
@dataclass(frozen=True, eq=False)
class PrivacyRiskScore(_ByClass):
    """score(x) = P(member | what the target answers about x), as shadow models of its class say.

    r = h_in / (h_in + h_out) at the value of x, h_in and h_out the distributions of the references'
    modified entropies on samples of the class of x that they were, and were not, trained on; both
    weigh the same, as if half of the samples were members. View 0. A probability: ½ is the natural
    threshold. Of one class it orders samples by their modified entropy, coarsely.

    rule: Bins(5) as published, or Isotonic(). signal: what is read, from 0 up, low for members:
    "mentr", "loss" or "entropy". by_class: False learns one rule for all samples, which is done
    unasked where a run has no labels. The answers that are judged are never among those that are
    learnt from. Needs 1 IN and 2 OUT references. Source: Song and Mittal, arXiv 2003.10595, whose
    Bins() are; Isotonic() is ours.

    >>> values = np.array([[0.1, 0.1], [0.1, 2.0], [2.0, 2.0], [2.0, 2.0]])
    >>> member = np.array([[1, 1], [1, 0], [0, 0], [0, 1]], dtype=bool)
    >>> risk = PrivacyRiskScore(by_class=False).score(np.array([0.1, 2.0]), values, member)
    >>> risk.round(2).tolist()
    [1.0, 0.2]
    """

    rule: Bins | Isotonic = field(default_factory=Bins)
    signal: str = "mentr"

    name: ClassVar[str] = "risk-score"
    title: ClassVar[str] = "Privacy risk score"
    reference: ClassVar[str] = "Song and Mittal, arXiv 2003.10595"
    requires: ClassVar[tuple[str, ...]] = ("mentr", "labels")
    min_in: ClassVar[int] = 1
    threshold: ClassVar[float | None] = 0.5

    @property
    def _signal(self) -> str:
        return self.signal

    def _values(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        """log of the signal, at least 1e-10."""
        values = super()._values(signals)
        if (values < 0).any():
            raise InputError(
                f"{self.signal}: expected values of at least 0, low for members, got "
                f"{float(values.min()):.3g}; read mentr, loss or entropy"
            )
        return np.asarray(np.log(np.maximum(values, _LEAST)))

    def learn(
        self, values: Float64Array, member: BoolArray, sets: BoolArray
    ) -> Iterator[tuple[int, Rule]]:
        if isinstance(self.rule, Isotonic):
            return _isotonic(values, member, sets)
        return _histograms(values, member, sets, self.rule.count)


def _counts(cells: Int64Array, member: BoolArray, number: int) -> Int64Array:
    """Answers in each cell, by model and kind: (R, n), (R, n) -> (R, 2, C), OUT and IN."""
    models = len(cells)
    at = (2 * np.arange(models)[:, None] + member) * number + cells
    return np.bincount(at.ravel(), minlength=2 * models * number).reshape(models, 2, number)


def _shares(counts: Int64Array) -> Float64Array:
    """Distributions of OUT and IN over cells, (2, C); of a kind without answers all 0."""
    return np.asarray(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1))


def _histograms(
    values: Float64Array, member: BoolArray, sets: BoolArray, number: int
) -> Iterator[tuple[int, Rule]]:
    lowest, highest = values.min(axis=1), values.max(axis=1)
    ends = np.stack(
        [np.where(sets, lowest, np.inf).min(axis=1), np.where(sets, highest, -np.inf).max(axis=1)],
        axis=1,
    )
    # Only the tuples that hold an extreme change the bins of the others.
    for low, high in np.unique(ends, axis=0).tolist():
        width = (high - low) / number if high > low else 1.0

        def cell(x: Float64Array, low: float = low, width: float = width) -> Int64Array:
            return np.clip((x - low) / width, 0, number - 1).astype(np.int64)

        counts = _counts(cell(values), member, number)
        for e in np.flatnonzero((ends == (low, high)).all(axis=1)):
            out, inside = _shares(counts[sets[e]].sum(axis=0))
            both = out + inside
            full = np.flatnonzero(both > 0)
            # The nearest occupied bin; of two the lower, which `argmin` meets first.
            nearest = full[np.abs(np.arange(number)[:, None] - full).argmin(axis=1)]
            yield int(e), _looked_up((inside / np.where(both > 0, both, 1.0))[nearest], cell)


def _looked_up(risk: Float64Array, cell: Callable[[Float64Array], Int64Array]) -> Rule:
    return lambda x: risk[cell(x)]


def _isotonic(
    values: Float64Array, member: BoolArray, sets: BoolArray
) -> Iterator[tuple[int, Rule]]:
    number = round((_HIGHEST - _LOWEST) / _CELL)
    cells = np.clip((values - _LOWEST) / _CELL, 0, number - 1).astype(np.int64)
    counts = _counts(cells, member, number)
    for e, use in enumerate(sets):
        out, inside = _shares(counts[use].sum(axis=0))
        both = out + inside
        full = np.flatnonzero(both > 0)
        fit = scipy.optimize.isotonic_regression(
            inside[full] / both[full], weights=both[full], increasing=False
        )
        centre = np.asarray(_LOWEST + _CELL * (full + 0.5), dtype=np.float64)
        yield e, _between(centre, np.asarray(fit.x, dtype=np.float64))


def _between(centre: Float64Array, risk: Float64Array) -> Rule:
    return lambda x: np.interp(x, centre, risk)
