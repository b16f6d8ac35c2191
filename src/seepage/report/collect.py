"""From a run to its findings: every number of the report is computed here, once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks import Attack
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.metrics import clopper_pearson, operating_points, over_targets, pooled_points
from seepage.plane import (
    Bootstrap,
    Counting,
    GlobalFPR,
    NaturalThreshold,
    Permuted,
    RateRule,
    Rule,
    Trajectories,
    trajectories,
)
from seepage.report.attacked import FPRS, at_the_end, lead_of, rule_words
from seepage.report.findings import Blind, Early, Findings, Paths, Risk
from seepage.report.probes import curvature_finding, layer_finding
from seepage.report.samples import HIGH, exposure_of, groups_of, tested
from seepage.report.source import Progress, ReportSource, sides
from seepage.report.usefulness import accuracy_of, blind_of, utility_of

__all__ = ["ReportSource", "collect"]


@dataclass
class _Watch:
    """What the main attack's pass leaves behind besides the paths, per checkpoint."""

    auc: list[Float64Array] = field(default_factory=list)
    tpr: list[float] = field(default_factory=list)


@final
@dataclass(frozen=True)
class _Watched(RateRule):
    """Counting, with an ear on the scores: one pass serves the plane and the risk curves."""

    fpr: float
    watches: list[_Watch] = field(default_factory=list)

    def start(
        self, member: BoolArray, checkpoints: int, rule: Rule, attack: Attack, keep: bool
    ) -> _Track:
        """An empty track for one membership matrix."""
        watch = _Watch()
        self.watches.append(watch)
        inner = Counting().start(member, checkpoints, rule, attack, keep)
        return _Track(inner, member, self.fpr, watch)


@dataclass
class _Track:
    inner: Any
    member: BoolArray
    fpr: float
    watch: _Watch

    def add(self, t: int, signals: Mapping[str, FloatArray], scores: FloatArray) -> None:
        self.watch.auc.append(operating_points(scores, self.member, [self.fpr]).auc)
        self.watch.tpr.append(float(pooled_points(scores, self.member, [self.fpr]).tpr[0, 0]))
        self.inner.add(t, signals, scores)

    def finish(self) -> dict[str, Any]:
        fields: dict[str, Any] = self.inner.finish()
        return fields


def collect(
    run: ReportSource,
    *,
    attacks: Iterable[Attack] | None = None,
    main: str | None = None,
    data: Dataset | None = None,
    permutations: int = 5,
    level: float = 0.05,
    seed: int = 0,
    blind: bool = True,
    progress: Progress | None = None,
) -> Findings:
    """Compute everything a report says about a run.

    attacks: which to run at the last checkpoint (all of `seepage.attacks.ATTACKS` that the run's
    signals and number of models allow, unless told). main: name of the one that is followed over
    training and drawn on the plane (LiRA when it can be run). data: the pool, for the blind
    baseline (looked up by the run unless told). permutations: redraws of membership for the noise
    floor, each as dear as the audit of the main attack. level: false-discovery rate of the named
    samples. seed: of the redraws. blind: whether the blind baseline is run. progress: called with (what, done, all).

    Raises InputError when no attack can be run, and where attacks would.
    """
    if permutations < 1:
        raise InputError(
            f"permutations: expected at least 1, got {permutations}; without one there is no "
            "noise floor to compare with"
        )
    if len(run.member) < 4:
        # One pair leaves no references and no spread between pairs.
        raise InputError(
            f"models: expected at least 4 usable runs, got {len(run.member)}; train more models"
        )
    say: Progress = progress if progress is not None else lambda what, done, total: None
    if data is None and blind:
        data = run.data()
    findings, skipped, scores = at_the_end(run, attacks, seed, say)
    lead = lead_of(findings, main)
    rule: Rule = NaturalThreshold() if lead.threshold is not None else GlobalFPR(0.1)
    watched = _Watched(FPRS[1])
    paths = trajectories(
        run,
        attack=lead,
        rule=rule,
        rates=watched,
        null=Permuted(draws=permutations, seed=seed),
        progress=lambda done, total: say("risk over training", done, total),
    )
    counted, null_high = _paths(paths)
    found = tested(run, level, permutations, seed, say)
    exposure = exposure_of(run, counted, null_high, scores[lead.name], level, found)
    accuracy_in, accuracy_out = accuracy_of(run)
    member = run.member
    mean_in, mean_out = sides(scores[lead.name], member)
    n = int(np.median(paths.n_in))
    low, high = clopper_pearson([n // 2], n)
    utility = utility_of(run, say)
    say("blind baseline", 0, 1)
    name = str(run.manifest.get("data", {}).get("name", "data"))
    return Findings(
        title=str(run.manifest.get("name", name)),
        dataset=name,
        path=run.path,
        models=len(member),
        samples=member.shape[1],
        checkpoints=np.asarray(run.checkpoints, dtype=np.float64),
        main=lead.name,
        rule=rule_words(rule, lead),
        ids=run.ids,
        labels=run.labels,
        classes=tuple(run.classes),
        utility=utility,
        blind=blind_of(data, member, run.labels) if blind else Blind(None, "it was left out"),
        attacks=tuple(f for _, f in findings),
        skipped=skipped,
        risk=_risk(watched, member, permutations),
        paths=counted,
        population=paths.population(bootstrap=Bootstrap(replicates=100, seed=seed))
        if len(run.checkpoints) > 1
        else None,
        early=_early(counted),
        exposure=exposure,
        groups=groups_of(run, counted, exposure, accuracy_in, accuracy_out),
        accuracy_in=accuracy_in,
        accuracy_out=accuracy_out,
        score_in=mean_in,
        score_out=mean_out,
        half_width=float(high[0] - low[0]) / 2,
        failed=dict(run.failed),
        provenance=dict(run.manifest),
        curvature=curvature_finding(run),
        layers=layer_finding(run),
    )


def _paths(t: Trajectories) -> tuple[Paths, Float64Array]:
    """Rates back to counts, and the mean number of high samples under permutation, (T,)."""
    n_in, n_out = t.n_in.astype(np.uint16), t.n_out.astype(np.uint16)

    def counts(rate: FloatArray, n: NDArray[np.uint16]) -> NDArray[np.uint16]:
        return np.asarray(np.rint(np.nan_to_num(rate) * n), dtype=np.uint16)

    first = t.null[0]
    held = Paths(
        counts(t.tpr, n_in), counts(t.fpr, n_out), n_in, n_out,
        counts(first.tpr, n_in), counts(first.fpr, n_out),
    )  # fmt: skip
    high = np.mean([(d.advantage >= HIGH).sum(axis=1) for d in t.null], axis=0)
    return held, np.asarray(high, dtype=np.float64)


def _early(paths: Paths) -> Early | None:
    def recall(gain: Float64Array) -> tuple[Float64Array, BoolArray]:
        high = np.nan_to_num(gain, nan=-1.0) >= HIGH
        with np.errstate(invalid="ignore"):
            return (high & high[-1]).sum(axis=1) / high[-1].sum(), high

    found, high = recall(paths.advantage())
    if len(high) < 2 or not high[-1].any():
        return None
    with np.errstate(invalid="ignore"):
        precision = (high & high[-1]).sum(axis=1) / high.sum(axis=1)
    return Early(found, precision, high.mean(axis=1), recall(paths.advantage(null=True))[0])


def _risk(watched: _Watched, member: BoolArray, permutations: int) -> Risk:
    real, *nulls = watched.watches
    each = [over_targets(a, member) for a in real.auc]
    floor = np.array([[a.mean() for a in w.auc] for w in nulls])
    return Risk(
        auc=np.array([e.mean for e in each]),
        low=np.array([e.low for e in each]),
        high=np.array([e.high for e in each]),
        null=floor.mean(axis=0),
        null_low=floor.min(axis=0),
        null_high=floor.max(axis=0),
        fpr=watched.fpr,
        tpr=np.array(real.tpr),
        null_tpr=np.mean([w.tpr for w in nulls], axis=0),
        permutations=permutations,
    )
