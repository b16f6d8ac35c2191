"""Several attacks made one: a vote by ranks, and a combiner that learns on the other models."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, final

import numpy as np
import scipy

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.base import (
    TIMELESS,
    Access,
    Attack,
    BalanceWarning,
    Source,
    too_few,
)
from seepage.attacks.binding import bind
from seepage.attacks.kernels.samplewise import middle_ranks
from seepage.attacks.learned import Learned
from seepage.attacks.leaving import Matched, realigned
from seepage.attacks.lira import LiRA
from seepage.attacks.references import Calibrated
from seepage.attacks.relative import BASE
from seepage.attacks.thresholds import LOSS
from seepage.errors import InputError

__all__ = [
    "Combined",
    "Ensemble",
    "Highest",
    "LearnedOnScores",
    "Lowest",
    "MeanRank",
    "Vote",
    "ranks",
]

Given = Mapping[str, FloatArray]
_ACCESS: tuple[Access, ...] = ("label", "scores", "trajectory", "weights")


def ranks(scores: FloatArray, at: Int64Array | None = None) -> Float64Array:
    """Where each score stands among those of its row, ties in the middle: (R, N) -> (R, N) in (0, 1).

    The share of the row below it, and half of what equals it. at: columns that are wanted, (n,). NaN
    stands for no score: it counts for none and has no rank.

    >>> ranks(np.array([[3.0, 1.0, 1.0, 9.0]])).tolist()
    [[0.625, 0.25, 0.25, 0.875]]
    """
    if at is None and not np.isnan(scores).any():
        return middle_ranks(np.asarray(scores, dtype=np.float64))
    wanted = scores if at is None else scores[:, at]
    out = np.empty(wanted.shape)
    for row, some, found in zip(scores, wanted, out, strict=True):
        order = np.sort(row[~np.isnan(row)])
        # What is looked for in order is found several times faster.
        turn = np.argsort(some)
        sought = some[turn]
        found[turn] = np.searchsorted(order, sought, "left") + np.searchsorted(
            order, sought, "right"
        )
        found /= 2 * max(len(order), 1)
    out[np.isnan(wanted)] = np.nan
    return out


def _takes(attack: Attack, attacks: tuple[Attack, ...], *, least: int) -> None:
    """Give a combination what its parts need of a run."""
    given: Any = attack.attacks  # type: ignore[attr-defined]
    parts = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    for part in parts:
        if not isinstance(part, Attack):
            raise InputError(
                f"attacks: expected attacks such as LiRA(), got {type(part).__name__}; make them "
                "with seepage.attacks.get"
            )
    if len(parts) < least:
        raise InputError(f"attacks: expected at least {least} to combine, got {len(parts)}")
    own = {
        "attacks": parts,
        "requires": tuple(dict.fromkeys(name for a in parts for name in a.requires)),
        "first_view": all(a.first_view for a in parts),
        "trajectory": any(a.trajectory for a in parts),
        "access": max((a.access for a in parts), key=_ACCESS.index),
        "queries": max(a.queries for a in parts),
        "min_in": max(a.min_in for a in parts),
        "min_out": max(a.min_out for a in parts),
    }
    # What the contract keeps on the class is the instance's own, since parts are an option.
    for name, value in own.items():
        object.__setattr__(attack, name, value)


def _read(part: Attack, whole: Attack, given: Given) -> dict[str, FloatArray]:
    """What one part reads of what all read together: the last checkpoint where it reads one."""
    return {
        k: given[k][..., -1, :]
        if whole.trajectory and not part.trajectory and k not in TIMELESS
        else given[k]
        for k in part.requires
    }


def _scores(
    whole: Attack, parts: Iterable[Attack], signals: Given, member: BoolArray, use: BoolArray
) -> list[Float64Array]:
    """Scores of every model by each part, (R, N), with the references that each may use."""
    return [np.asarray(a._apart(_read(a, whole, signals), member, use)) for a in parts]


def _of_target(
    whole: Attack, parts: Iterable[Attack], target: Given, references: Given, member: BoolArray
) -> list[Float64Array]:
    """The same of one target, as a table of one row: (1, N) each."""
    found = []
    for a in parts:
        score = a.score(_read(a, whole, target), _read(a, whole, references), member)
        found.append(np.asarray(score[None], dtype=np.float64))
    return found


def _matched_scores(
    whole: Attack, parts: Iterable[Attack], signals: Given, member: BoolArray
) -> list[Float64Array]:
    with warnings.catch_warnings():
        # What is left of a plan without one run may be less even than the plan, of which the
        # driver speaks.
        warnings.simplefilter("ignore", BalanceWarning)
        return [
            np.asarray(a.leave_one_out(_read(a, whole, signals), member), dtype=np.float64)
            for a in parts
        ]


class Vote(ABC):
    """How an `Ensemble` makes one score of the ranks that its attacks give; one of those below."""

    @abstractmethod
    def of(self, ranked: Float64Array) -> Float64Array:
        """(attacks, …) -> (…)."""


@dataclass(frozen=True)
class MeanRank(Vote):
    """The mean of ranks."""

    def of(self, ranked: Float64Array) -> Float64Array:
        return np.asarray(ranked.mean(axis=0))


@dataclass(frozen=True)
class Highest(Vote):
    """The highest rank: above a threshold is the union of what each attack raises there."""

    def of(self, ranked: Float64Array) -> Float64Array:
        return np.asarray(ranked.max(axis=0))


@dataclass(frozen=True)
class Lowest(Vote):
    """The lowest rank: above a threshold is what all attacks raise there, their intersection."""

    def of(self, ranked: Float64Array) -> Float64Array:
        return np.asarray(ranked.min(axis=0))


@final
@dataclass(frozen=True, eq=False)
class Ensemble(Attack):
    """score(x) = the mean over several attacks of the rank of x under the target, from 0 to 1.

    A rank is the share of the pool that an attack scores below x under the same target, ties in the
    middle: nothing is fitted, and what units an attack has does not matter. Attacks vote alike,
    those that know nothing too; `Combined` learns whom to believe.

    attacks: at least two, of which all signals must be there. vote: MeanRank(), Highest() (a union:
    what any attack raises) or Lowest() (an intersection: what all do). Costs what its attacks cost
    together. Unions, intersections and votes of attacks are studied in arXiv 2506.13972; votes by
    rank are ours. *Reconstruction*: that text was not at hand. Source: arXiv 2506.13972.

    >>> rng = np.random.default_rng(0)
    >>> member = np.tile(np.eye(2, dtype=bool), (4, 50))
    >>> loss = rng.gamma(1.0, size=member.shape) * np.where(member, 0.5, 1.0)
    >>> vote = Ensemble((BASE(), Calibrated()))
    >>> scores = vote.leave_one_out(loss, member)
    >>> bool(scores[member].mean() > 0.55 > 0.45 > scores[~member].mean())
    True
    """

    attacks: tuple[Attack, ...] = field(default_factory=lambda: (LiRA(), BASE(), Calibrated()))
    vote: Vote = field(default_factory=MeanRank)

    name: ClassVar[str] = "ensemble"
    title: ClassVar[str] = "Ensemble (ranks)"
    reference: ClassVar[str] = "Ensembles of arXiv 2506.13972"
    reconstruction: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("phi", "loss")
    min_in: ClassVar[int] = 2
    min_out: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _takes(self, self.attacks, least=2)
        if not isinstance(self.vote, Vote):
            raise InputError(
                f"vote: expected MeanRank(), Highest() or Lowest(), got {type(self.vote).__name__}"
            )

    def bound(self, source: Source) -> Self:
        """Of attacks that read what the run holds."""
        return replace(self, attacks=tuple(bind(a, source) for a in self.attacks))

    def run(self, target: Given, references: Given, member: BoolArray) -> FloatArray:
        each = _of_target(self, self.attacks, target, references, member)
        return np.asarray(self._voted(each)[0])

    def run_all(self, signals: Given, member: BoolArray, use: BoolArray) -> FloatArray:
        return self._voted(_scores(self, self.attacks, signals, member, use))

    def run_matched(self, signals: Given, member: BoolArray, matched: Matched) -> FloatArray:
        return self._voted(_matched_scores(self, self.attacks, signals, member))

    def _voted(self, scores: Iterable[Float64Array]) -> Float64Array:
        return self.vote.of(np.stack([ranks(s) for s in scores]))


@dataclass(frozen=True, eq=False)
class LearnedOnScores(Learned, ABC):
    """Learnt from what several attacks, `parts`, say of the references out of fold."""

    @property
    @abstractmethod
    def parts(self) -> tuple[Attack, ...]:
        """The attacks whose scores are the features."""

    @abstractmethod
    def scaled(self, scores: Float64Array, at: Int64Array) -> Float64Array:
        """A feature of one attack's scores: (R, N), (n,) -> (R, n)."""

    def of_target(self, target: Given, references: Given, member: BoolArray) -> Float64Array:
        each = _of_target(self, self.parts, target, references, member)
        return np.asarray(self._features(each, np.arange(member.shape[1]))[0])

    def of_all(
        self, signals: Given, member: BoolArray, use: BoolArray, at: Int64Array
    ) -> Float64Array:
        for a in self.parts:
            lack = too_few(a, member)
            if lack is not None:
                raise InputError(
                    f"models: {self.name} scores the references by {a.name} too, which {lack}"
                )
        return self._features(_scores(self, self.parts, signals, member, use), at)

    def of_targets_matched(self, signals: Given, member: BoolArray) -> Float64Array:
        every = np.arange(member.shape[1])
        return self._features(_matched_scores(self, self.parts, signals, member), every)

    def of_references_matched(
        self, signals: Given, matched: Matched, r: int, at: Int64Array
    ) -> Float64Array:
        which, inside = matched.references(r)
        moved = {k: realigned(v, which) for k, v in signals.items()}
        # Again matched among themselves: one of the other side is left out with each.
        _, use = replace(matched, a=matched.a - 1, b=matched.b - 1).rows
        found = []
        for score in _scores(self, self.parts, moved, inside, use):
            # What is relative to a model's other samples is so to those of the real one.
            real = np.full((matched.order.shape[1], score.shape[1]), np.nan)
            np.put_along_axis(real, which, score, axis=0)
            found.append(np.take_along_axis(self.scaled(real, at), which[:, at], axis=0))
        return np.stack(found, axis=-1)

    def _features(self, scores: Iterable[Float64Array], at: Int64Array) -> Float64Array:
        return np.stack([self.scaled(s, at) for s in scores], axis=-1)


@final
@dataclass(frozen=True, eq=False)
class Combined(LearnedOnScores):
    """score(x) = log-odds of "member" given what several attacks say of x, learnt on other models.

    Each attack's score becomes the normal deviate of its rank under the same target; a learner sees
    one deviate of each attack. It is fitted anew for every target to *out-of-fold* scores: every
    reference is once the target of the other references, scored without itself and its tuple, and
    teaches with its own members. The target is then asked. Neither its members, nor those of its
    tuple, are read: under redrawn membership AUC is ½, which a combiner that is fitted to the table
    of all scores and asked about the same table does not give (trees: .6 and more on noise).

    attacks: at least one. learner: LinearOdds() (a weighted sum), Separate() (each attack's own
    probability, averaged), Boosting() or Forest() (which see that one attack matters where another
    says so). most: of `Learned`. Scores that teach come from one tuple less of references than those
    that are judged; ranks make them alike. 0 is the threshold at even odds.

    Cost: the attacks once for every tuple, so R/2 + 1 times what they cost together under pairs, and
    as many fits. Needs one reference of each kind more than its attacks do, or two where they need
    one. Source: ours; that attacks find different members, and a learner over them more, is arXiv
    2506.13972. *Reconstruction*: that text was not at hand.

    >>> rng = np.random.default_rng(0)
    >>> member = np.tile(np.eye(2, dtype=bool), (4, 50))
    >>> loss = rng.gamma(1.0, size=member.shape) * np.where(member, 0.5, 1.0)
    >>> scores = Combined((LOSS(), Calibrated())).leave_one_out(loss, member)
    >>> bool(scores[member].mean() > 0.2 > -0.2 > scores[~member].mean())
    True
    """

    attacks: tuple[Attack, ...] = field(
        default_factory=lambda: (LiRA(), BASE(), Calibrated(), LOSS())
    )

    name: ClassVar[str] = "combined"
    title: ClassVar[str] = "Combined (learnt)"
    reference: ClassVar[str] = "Combined attacks of arXiv 2506.13972"
    reconstruction: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("phi", "loss")
    min_in: ClassVar[int] = 3
    min_out: ClassVar[int] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        _takes(self, self.attacks, least=1)
        # One tuple less remains to score the references with.
        needs = any(a.min_in or a.min_out for a in self.attacks)
        for name in ("min_in", "min_out"):
            most = max(getattr(a, name) for a in self.attacks)
            object.__setattr__(self, name, max(most, int(needs)) + 1)

    def bound(self, source: Source) -> Self:
        """Of attacks that read what the run holds."""
        return replace(self, attacks=tuple(bind(a, source) for a in self.attacks))

    @property
    def parts(self) -> tuple[Attack, ...]:
        return self.attacks

    def scaled(self, scores: Float64Array, at: Int64Array) -> Float64Array:
        return np.asarray(scipy.special.ndtri(ranks(scores, at)))
