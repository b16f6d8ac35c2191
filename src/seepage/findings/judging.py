"""What a run's figures are about: every model as a target, or the one whose members are known.

A fleet of halves is there to say what a *recipe* leaks: every model is the target once and figures
are means over targets. The plan `fixed_target` is there to say what *one model* leaks: its figures
are those of run 0 alone, scored against its shadows, with intervals over samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.findings.at_fpr import AtFpr
from seepage.metrics import (
    Estimate,
    OperatingPoints,
    PooledRates,
    Roc,
    Samples,
    Subjects,
    Unit,
    auc_interval,
    joint_rates,
    operating_points,
    thinned_roc,
)
from seepage.metrics.intervals import over_partitions
from seepage.metrics.roc import target_aucs
from seepage.metrics.unit import EACH
from seepage.metrics.unit import judged as judged_arrays
from seepage.plan import judged, partitions, permute_membership
from seepage.short_repr import short_repr

__all__ = ["Judging", "target_row"]

ENOUGH = 5


class Planned(Protocol):
    """A run with its plan: what is needed to know which of its models is judged."""

    manifest: dict[str, Any]

    @property
    def member(self) -> BoolArray:
        """(R, N) bool, usable runs only."""


def target_row(run: Planned) -> int | None:
    """The row of the one model that a run is about, or None where all of its models are judged.

    It is that of planned run 0 under `seepage.fixed_target`. Raises InputError when that run is not
    among the usable ones: its shadows alone say nothing of it.
    """
    if run.manifest.get("plan", {}).get("kind") != "fixed_target":
        return None
    models = np.asarray(getattr(run, "models", np.arange(len(run.member))))
    at = np.flatnonzero(models == 0)
    if not at.size:
        raise InputError(
            f"{getattr(run, 'path', 'run')}: expected the fixed target, run 0, to be done, got "
            f"{len(models)} shadows without it; train it with `seepage train` into this folder"
        )
    return int(at[0])


@short_repr
@dataclass(frozen=True, eq=False)
class Judging:
    """Which rows and samples count, and what counts as one; figures of scores (R, N) under it.

    member (R, N) bool; target: the one row that is judged, None for all; unit: samples or
    subjects; groups (N,): whose samples they are, so that the interval of a single target is
    clustered by subject even where samples are counted. Samples that every run trained on, or
    none, were not assigned at random and are left out (see `seepage.plan.judged`).
    """

    member: BoolArray
    target: int | None = None
    unit: Unit = EACH
    groups: NDArray[Any] | None = None

    @classmethod
    def of(cls, run: Planned, unit: Unit | None = None) -> Judging:
        """As a run asks for: its fixed target if it has one; subjects where it has groups."""
        groups = getattr(run, "groups", None)
        if unit is None:
            unit = Samples() if groups is None else Subjects(groups)
        return cls(np.asarray(run.member, np.bool_), target_row(run), unit, groups)

    def _kept(self, scores: Float64Array) -> tuple[Float64Array, BoolArray, Unit, Any]:
        at = judged(self.member)
        if at.all():
            return np.asarray(scores, np.float64), self.member, self.unit, self.groups
        groups = None if self.groups is None else np.asarray(self.groups)[at]
        unit = self.unit
        if isinstance(unit, Subjects):
            unit = Subjects([unit.names[c] for c in unit.codes[at].tolist()])
        return np.asarray(scores, np.float64)[:, at], self.member[:, at], unit, groups

    @property
    def negatives(self) -> int:
        """Non-members that each target is judged on, the fewest of all targets."""
        _, member, unit, _ = self._kept(np.zeros(self.member.shape))
        rows = unit.member(member if self.target is None else member[self.target][None])
        return int((~rows).sum(axis=1).min())

    def redrawn(self, rng: np.random.Generator) -> Judging:
        """The same under permuted membership: the null of every figure.

        Tuples are redrawn as the plan would have drawn them, subjects whole. Of a single target the
        list of members is permuted among samples, or whole subjects, and its shadows keep theirs.
        """
        if self.target is None:
            member = permute_membership(self.member, rng, self.groups)
        else:
            member = self.member.copy()
            unit = Samples() if self.groups is None else Subjects(self.groups)
            drawn = rng.permutation(unit.member(member[self.target]))
            codes = unit.codes if isinstance(unit, Subjects) else slice(None)
            member[self.target] = drawn[codes]
        return Judging(member, self.target, self.unit, self.groups)

    def auc(self, scores: Float64Array, *levels: float) -> tuple[Estimate, ...]:
        """AUC with an interval at each of `levels` (0.95 unless given): of the target, or mean."""
        levels = levels or (0.95,)
        s, y, unit, groups = self._kept(scores)
        if self.target is None:
            values = target_aucs(s, y, unit=unit)
            return tuple(self.over_targets(values, level) for level in levels)
        one, own, groups = self._one(s, y, unit, groups)
        return tuple(auc_interval(one, own, level, groups=groups) for level in levels)

    def areas_and_rates(
        self, scores: Float64Array, fprs: Sequence[float], *levels: float
    ) -> tuple[tuple[Estimate, ...], tuple[AtFpr, ...]]:
        """`auc` at `levels` and `rates`, every target's scores sorted once for both."""
        if self.target is not None:
            return self.auc(scores, *levels), self.rates(scores, fprs)
        s, y, unit, _ = self._kept(scores)
        each = operating_points(s, y, fprs, unit=unit)
        areas = tuple(self.over_targets(each.auc, level) for level in levels)
        return areas, self.mean_rates(each, fprs)

    @cached_property
    def _plan(self) -> tuple[Int64Array, int]:
        return partitions(self.member), int(np.count_nonzero(self.member))

    def over_targets(self, values: Float64Array, level: float = 0.95) -> Estimate:
        """Mean over targets (R,) with its interval: `seepage.metrics.over_targets` under this plan."""
        return over_partitions(values, *self._plan, level)

    def _one(
        self, s: Float64Array, y: BoolArray, unit: Unit, groups: Any
    ) -> tuple[Float64Array, BoolArray, Any]:
        row = self.target
        clustered = None if isinstance(unit, Subjects) else groups
        return np.asarray(unit.scores(s[row])), np.asarray(unit.member(y[row])), clustered

    def rates(
        self, scores: Float64Array, fprs: Sequence[float], level: float = 0.95
    ) -> tuple[AtFpr, ...]:
        """TPR at each FPR, with a threshold for each target: of the target, or mean over targets.

        A mean over targets whose thresholds rest on fewer than 5 non-members each is not resolved:
        the TPR at a threshold drawn so roughly lies below the one at its expected FPR, and the
        interval of the mean misses that (`docs/coverage.md`); the pooled threshold has no such fault.
        """
        s, y, unit, groups = self._kept(scores)
        if self.target is not None:
            one, own, groups = self._one(s, y, unit, groups)
            found = joint_rates(one, own, fprs, groups=groups, level=level)
            return tuple(
                AtFpr(
                    fpr=fpr,
                    tpr=Estimate(
                        float(found.tpr[k]),
                        float(found.tpr_low[k]),
                        float(found.tpr_high[k]),
                        level,
                        len(one),
                    ),
                    realised=float(found.fpr[k]),
                    null=float(found.null[k]),
                    resolved=bool(found.resolved[k]),
                    negatives=int((~own).sum()),
                    realised_low=float(found.fpr_low[k]),
                    realised_high=float(found.fpr_high[k]),
                )
                for k, fpr in enumerate(fprs)
            )
        return self.mean_rates(operating_points(s, y, fprs, unit=unit), fprs, level)

    def mean_rates(
        self, each: OperatingPoints, fprs: Sequence[float], level: float = 0.95
    ) -> tuple[AtFpr, ...]:
        """`rates` of all targets, from the points of each."""
        out = []
        for k, fpr in enumerate(fprs):
            # On how many non-members each target's threshold rests.
            rests = each.null[:, k] * (each.n_out + 1)
            resolved = bool((rests >= ENOUGH - 1e-6).all())
            values = each.tpr[:, k] if resolved else np.full(len(rests), np.nan)
            out.append(
                AtFpr(
                    fpr=fpr,
                    tpr=self.over_targets(values, level),
                    realised=float(each.fpr[:, k].mean()),
                    null=float(each.null[:, k].mean()),
                    resolved=resolved,
                    negatives=int(each.n_out.min()),
                    least=ENOUGH,
                )
            )
        return tuple(out)

    def pooled(
        self, scores: Float64Array, fprs: Sequence[float], level: float = 0.95
    ) -> tuple[AtFpr, ...]:
        """The same with one threshold for all targets; of a single target its own rates."""
        if self.target is not None:
            return self.rates(scores, fprs, level)
        s, y, unit, _ = self._kept(scores)
        whole = PooledRates.whole(*judged_arrays(s, y, 2, unit), fprs)
        return self.pooled_rates(*whole, level=level)

    def pooled_rates(
        self, pool: PooledRates, tp: Int64Array, fp: Int64Array, *, level: float = 0.95
    ) -> tuple[AtFpr, ...]:
        """`pooled` of all targets, from the counts of each above the levels of `pool`: (R, 3, F)."""
        added, realised = pool.by_target(tp, fp), pool.fpr(fp)
        return tuple(
            AtFpr(
                fpr=float(fpr),
                tpr=self.over_targets(added[:, k], level),
                realised=float(realised[k]),
                null=float(pool.null[k]),
                resolved=bool(np.isfinite(added[:, k]).all()),
                negatives=pool.n_out,
            )
            for k, fpr in enumerate(pool.nominal)
        )

    def compared(self, scores: Float64Array) -> tuple[Float64Array, BoolArray]:
        """Scores and membership of what figures are about, (R', G): of the single target one row."""
        s, y, unit, _ = self._kept(scores)
        rows = slice(None) if self.target is None else slice(self.target, self.target + 1)
        return np.asarray(unit.scores(s)[rows], np.float64), np.asarray(unit.member(y)[rows])

    def curve(self, scores: Float64Array, points: int = 160) -> Roc:
        """About `points` steps to draw, all targets under one threshold, or those of the single target."""
        s, y = self.compared(scores)
        return thinned_roc(s.ravel(), y.ravel(), points)
