"""What is scored: single samples, or subjects to whom several samples belong.

A unit turns scores and membership (..., N) into those of the unit, (..., G). It is an option
of every statistic; `Samples()` changes nothing and costs nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_numbers
from seepage.plan import Groups, group_codes
from seepage.short_repr import short_repr

__all__ = ["EACH", "Samples", "Subjects", "Unit", "judged", "unit_of"]


@dataclass(frozen=True, eq=False)
class Unit(ABC):
    """What a statistic counts as one: see `Samples` and `Subjects`."""

    @abstractmethod
    def scores(self, scores: ArrayLike) -> AnyArray:
        """Scores (..., N) -> (..., G), one for each unit."""

    @abstractmethod
    def member(self, member: ArrayLike) -> AnyArray:
        """Membership (..., N) bool -> (..., G) bool."""

    @abstractmethod
    def ids(self, ids: Sequence[Any]) -> list[str]:
        """Names of what is judged, (G,): of samples by their ids (N,)."""


@final
@dataclass(frozen=True)
class Samples(Unit):
    """Every sample is scored by itself.

    >>> Samples().scores([1.0, 2.0]).tolist()
    [1.0, 2.0]
    """

    def scores(self, scores: ArrayLike) -> AnyArray:
        return given_numbers(scores, "scores")

    def member(self, member: ArrayLike) -> AnyArray:
        return given_numbers(member, "member")

    def ids(self, ids: Sequence[Any]) -> list[str]:
        return [str(i) for i in ids]


EACH = Samples()
"""What every statistic counts by default."""


@short_repr
@final
@dataclass(frozen=True, eq=False)
class Subjects(Unit):
    """Subjects are scored by the sum of their samples' scores; a subject is IN when they all are.

        score(g) = Σ score(x) over the samples x of g

    which is the log-likelihood ratio of all of a subject's samples together, if the score is that
    of one and samples are independent given the model. Where they resemble each other the sum is
    too sure of itself by up to the size of the subject, but ranks subjects of one size as before;
    sums of scores without a zero of their own, losses or ranks, count samples. The scores that
    every report and gate judges are `seepage.score(run, attack, unit=Subjects(run.groups))`, which
    are discounted by that resemblance (`seepage.metrics.discounted`, docs/subjects.md).

    groups (N,): whose sample each is, anything hashable; codes (N,) and names (G,) by first
    occurrence. Raises InputError when a subject has no name or lies on both sides in a run.

    >>> unit = Subjects(["ann", "bob", "ann"])
    >>> unit.scores([1.0, 2.0, 3.0]).tolist(), unit.member([True, False, True]).tolist()
    ([4.0, 2.0], [True, False])
    """

    groups: Groups
    codes: Int64Array = field(init=False, repr=False)
    names: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        codes, names = group_codes(self.groups)
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "names", tuple(names))

    @property
    def sizes(self) -> Int64Array:
        """Samples of every subject, (G,)."""
        return np.bincount(self.codes, minlength=len(self.names)).astype(np.int64)

    def scores(self, scores: ArrayLike) -> AnyArray:
        return self._sums(
            self._of_samples(
                given_numbers(scores, "scores").astype(np.float64, copy=False), "scores"
            )
        )

    def member(self, member: ArrayLike) -> AnyArray:
        inside = self._sums(
            self._of_samples(
                given_numbers(member, "member").astype(np.bool_, copy=False), "member"
            ).astype(int)
        )
        split = np.argwhere((inside > 0) & (inside < self.sizes))
        if split.size:
            at = tuple(split[0])
            where = f" run {at[0]}" if len(at) == 2 else ""
            raise InputError(
                f"member: expected every subject whole on one side, got {self.names[at[-1]]!r} with "
                f"{inside[at]} of {self.sizes[at[-1]]} samples IN{where}; split the plan by groups, or "
                "judge samples (unit=Samples(), --unit sample)"
            )
        return np.asarray(inside > 0)

    def ids(self, ids: Sequence[Any]) -> list[str]:
        return list(self.names)

    def _of_samples(self, values: AnyArray, what: str) -> AnyArray:
        if values.ndim < 1 or values.shape[-1] != len(self.codes):
            raise InputError(
                f"{what}: expected one per sample of the groups ({len(self.codes)}), got shape "
                f"{values.shape}"
            )
        return values

    def _sums(self, values: AnyArray) -> AnyArray:
        order = np.argsort(self.codes, kind="stable")
        begin = np.cumsum(self.sizes) - self.sizes
        return np.asarray(np.add.reduceat(values[..., order], begin, axis=-1))


def unit_of(groups: Groups | None) -> Unit:
    """Subjects where there are groups, else samples: `unit_of(data.groups)`."""
    return Samples() if groups is None else Subjects(groups)


def judged(
    scores: ArrayLike, member: ArrayLike, axes: int, unit: Unit = EACH
) -> tuple[Float64Array, BoolArray]:
    """Scores in float64 and membership of the units; axes: 1 for one target (N,), 2 for (R, N).

    Raises InputError when they have other shapes or types, or a score is NaN.

    >>> judged([1, 2, 3], np.array([True, False, True]), 1, Subjects([7, 8, 7]))
    (array([4., 2.]), array([ True, False]))
    """
    s = given_numbers(scores, "scores").astype(np.float64, copy=False)
    y = given_numbers(member, "member")
    if s.ndim != axes or y.shape != s.shape or y.dtype != np.bool_:
        shape = "(samples,)" if axes == 1 else "(models, samples)"
        raise InputError(
            f"scores, member: expected floats and bools of one shape {shape}, "
            f"got {s.shape} and {y.dtype} of shape {y.shape}; pass a truth value per score"
        )
    if np.isnan(s).any():
        raise InputError(
            f"scores: expected numbers, got {int(np.isnan(s).sum())} NaN; leave those runs out"
        )
    return np.asarray(unit.scores(s), np.float64), unit.member(y)
