"""Trajectories: every sample's path over the plane while the network trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seepage.array_types import BoolArray, FloatArray
from seepage.attacks.base import Attack, SignalSource
from seepage.attacks.binding import bind, inputs
from seepage.attacks.subjects import of_unit
from seepage.errors import InputError
from seepage.given_arrays import given_array
from seepage.metrics import EACH, Subjects, Unit
from seepage.plan import Groups, permute_membership
from seepage.plane import dynamics
from seepage.plane.population import Population, population
from seepage.plane.rates import (
    Counting,
    Points,
    RateRule,
    RateSeries,
    advantage,
    epsilon,
    epsilon_two_sided,
)
from seepage.plane.regions import ByAdvantage, Grid, Regions
from seepage.plane.resampling import Bootstrap
from seepage.plane.rules import NaturalThreshold, Rule
from seepage.short_repr import short_repr

__all__ = ["Permuted", "SignalSource", "Trajectories", "trajectories"]

Progress = Callable[[int, int], object]


@short_repr
@dataclass(frozen=True)
class Permuted:
    """The null: membership drawn again as the plan would, attack and rates recomputed.

    draws: how many times (each costs as much as scoring the run itself); seed: of the draws; groups
    (N,): whose sample each is, where the plan keeps groups together.
    """

    draws: int = 1
    seed: int = 0
    groups: Groups | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.draws < 0:
            raise InputError(f"draws: expected 0 or more, got {self.draws}; 0 leaves the null out")

    def members(self, member: BoolArray) -> Iterator[BoolArray]:
        """The permuted membership matrices, each (R, N) bool."""
        for stream in np.random.SeedSequence(self.seed).spawn(self.draws):
            yield permute_membership(member, np.random.default_rng(stream), self.groups)


@dataclass(frozen=True, eq=False)
class Trajectories(RateSeries):
    """Every sample's path (FPR_i(t), TPR_i(t)) over training, and its dynamics as methods.

    Rates, checkpoints and decisions as in `RateSeries`. null: the same under permuted membership,
    one entry per draw. description: the attack, the rule and the way of computing rates, as text.

    All population metrics here are *reconstructions*: arXiv 2507.23291 names them, but its formulas
    were not available. Each method states its choices.
    """

    null: tuple[Trajectories, ...] = ()
    description: Mapping[str, Any] = field(default_factory=dict)

    def points(self, t: int = -1) -> Points:
        """The plane at checkpoint index `t` (the last by default)."""
        return Points(self.fpr[t], self.tpr[t], self.n_in, self.n_out)

    @property
    def advantage(self) -> FloatArray:
        """A_i(t) = TPR − FPR, (T, N)."""
        return advantage(self.fpr, self.tpr)

    @property
    def epsilon(self) -> FloatArray:
        """Privacy loss ε_i(t) in nats, (T, N); see `seepage.plane.epsilon`."""
        return epsilon(self.fpr, self.tpr, self.n_out, self.n_in)

    @property
    def epsilon_two_sided(self) -> FloatArray:
        """Two-sided privacy loss in nats, (T, N)."""
        return epsilon_two_sided(self.fpr, self.tpr, self.n_out, self.n_in)

    def centre(self) -> FloatArray:
        """Centre of mass c(t) = mean over samples of (FPR, TPR): (T, 2)."""
        return dynamics.centre(self.fpr, self.tpr)

    def displacement(self) -> tuple[float, float]:
        """Centre-of-mass displacement (net, path); the plane is the unit square.

        See `seepage.plane.dynamics.displacement`.
        """
        return dynamics.displacement(self.centre())

    def speed(self) -> FloatArray:
        """Membership encoding speed of every sample, per epoch: (T−1, N), ≥ 0.

        See `seepage.plane.dynamics.speed`; mean over axis 1 for the population.
        """
        return dynamics.speed(self.fpr, self.tpr, self.checkpoints)

    def signed_speed(self) -> FloatArray:
        """Change of advantage per epoch, (T−1, N); positive towards leakage."""
        return dynamics.signed_speed(self.fpr, self.tpr, self.checkpoints)

    def squared_speed(self) -> FloatArray:
        """Squared speed free of counting noise, (T−1, N), per epoch²; single values may be < 0.

        See `seepage.plane.dynamics.squared_step`. Needs counted rates.
        """
        if self.turns_in is None or self.turns_out is None:
            raise InputError(
                "rates: the noise-free speed needs counted decisions; use rates=Counting()"
            )
        step = dynamics.squared_step(
            np.diff(self.fpr, axis=0), self.turns_out, self.n_out
        ) + dynamics.squared_step(np.diff(self.tpr, axis=0), self.turns_in, self.n_in)
        return step / np.diff(self.checkpoints)[:, None] ** 2

    def states(self, regions: Regions | None = None) -> NDArray[np.intp]:
        """Region of every sample at every checkpoint, (T, N); `ByAdvantage()` by default."""
        regions = ByAdvantage() if regions is None else regions
        return regions.assign(self.fpr, self.tpr, self.n_out, self.n_in)

    def transitions(self, regions: Regions | None = None) -> FloatArray:
        """Transition matrices P_ab(k) per interval, (T−1, S, S); see `dynamics.transitions`."""
        regions = ByAdvantage() if regions is None else regions
        return dynamics.transitions(self.states(regions), len(regions))

    def to_high(self, regions: Regions | None = None) -> tuple[FloatArray, FloatArray]:
        """Probability of moving into the last, highest region per interval.

        ((T−1,) over samples not yet there, (T−1,) the same moves over all samples).
        """
        regions = ByAdvantage() if regions is None else regions
        return dynamics.to_last(self.states(regions), len(regions))

    def entropy(self, grid: Grid | None = None, base: float = 2.0) -> FloatArray:
        """Spatial entropy H(t) over grid cells, (T,), bits by default; see `dynamics.entropy`."""
        grid = Grid(20) if grid is None else grid
        return dynamics.entropy(self.states(grid), len(grid), base)

    def population(
        self,
        regions: Regions | None = None,
        grid: Grid | None = None,
        bootstrap: Bootstrap | None = None,
    ) -> Population:
        """All population metrics at once, each with its interval over models and its null band."""
        return population(
            self,
            self.null,
            ByAdvantage() if regions is None else regions,
            Grid(20) if grid is None else grid,
            Bootstrap() if bootstrap is None else bootstrap,
        )


def trajectories(
    run: SignalSource,
    *,
    attack: Attack,
    rule: Rule | None = None,
    rates: RateRule | None = None,
    null: Permuted | None = None,
    models: ArrayLike | None = None,
    keep_decisions: bool = True,
    unit: Unit = EACH,
    area: Literal["all", "own", "none"] = "all",
    progress: Progress | None = None,
) -> Trajectories:
    """Score every checkpoint of a run and place every sample on the plane.

    run: anything with `member`, `checkpoints` and `signal_at`; one checkpoint is in memory at a
    time. attack: makes every model the target once, its pair left out. rule: `NaturalThreshold()`
    by default. rates: `Counting()` (default) or `ClosedForm(...)`. null: permuted membership,
    `Permuted(draws=1)` by default. models: rows of `run` to use (all by default); keep whole pairs
    together. keep_decisions: keep T·R·N/8 bytes of decisions, needed for intervals over models.
    unit: with `Subjects(groups)` a point is a subject, N their number, the null moves subjects whole,
    and rates are counted. area: of which memberships the attack's AUC is counted at every checkpoint: the
    run's own and the null's, its own, or none; else `auc` is NaN. With many samples it takes as long as
    scoring. progress: called with (checkpoints done, all) after each.

    Raises InputError where the attack or the rule would: missing signals, too few models, no
    natural threshold.
    """
    rule = NaturalThreshold() if rule is None else rule
    rates = Counting() if rates is None else rates
    null = Permuted() if null is None else null
    checkpoints = np.asarray(run.checkpoints, dtype=np.float64)
    if checkpoints.ndim != 1 or not len(checkpoints) or (np.diff(checkpoints) <= 0).any():
        raise InputError("checkpoints: expected ascending epochs, got otherwise; record them again")
    member = np.asarray(run.member, dtype=np.bool_)
    rows = np.arange(len(member)) if models is None else given_array(models, "models")
    if rows.dtype == np.bool_:
        rows = np.flatnonzero(rows)
    if rows.ndim != 1 or not rows.size or rows.min() < 0 or rows.max() >= len(member):
        raise InputError(f"models: expected rows within 0 to {len(member) - 1}, got {rows!r}")
    member = member[rows]
    attack = bind(attack, run)
    if isinstance(unit, Subjects):
        if rates.requires:
            raise InputError(
                "rates: expected Counting() with subjects, or samples as the unit (--unit sample), got "
                f"{type(rates).__name__}"
            )
        if isinstance(rule, NaturalThreshold) and attack.threshold not in (None, 0.0):
            raise InputError(
                f"rule: expected a rate with subjects, since {attack.name}'s own threshold is for "
                "single records; use GlobalFPR(0.1)"
            )
        if null.groups is None:
            null = replace(null, groups=unit.codes)
    truths = [member, *null.members(member)]
    judged = [np.asarray(unit.member(truth)) for truth in truths]
    tracks = [
        rates.start(
            truth,
            len(checkpoints),
            rule,
            attack,
            keep_decisions,
            area == "all" or (area == "own" and number == 0),
        )
        for number, truth in enumerate(judged)
    ]
    for t in range(len(checkpoints)):
        read = inputs(attack, run, t, also=rates.requires)
        signals = {name: values[rows] for name, values in read.items()}
        for truth, track in zip(truths, tracks, strict=True):
            scores = attack.leave_one_out(signals, truth)
            track.add(t, signals, of_unit(attack, scores, signals, truth, unit))
        if progress is not None:
            progress(t + 1, len(checkpoints))
    description = {"attack": repr(attack), "rule": repr(rule), "rates": repr(rates)}
    first, *others = [
        Trajectories(checkpoints, member=truth, description=description, **track.finish())
        for truth, track in zip(judged, tracks, strict=True)
    ]
    return replace(first, null=tuple(others))
