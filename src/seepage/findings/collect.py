"""From a run to its findings: every number of the report is computed here, once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks import Attack
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.findings.attacks import FPRS, at_last_checkpoint, main_attack, rule_words
from seepage.findings.probes import curvature_finding, layer_finding
from seepage.findings.result import Blind, EarlyRecall, Findings, Paths, Risk, Utility
from seepage.findings.samples import exposure_of, groups_of, high, tested
from seepage.findings.source import Progress, ReportSource, sides
from seepage.metrics import (
    blind_baseline,
    clopper_pearson,
    operating_points,
    over_targets,
    pooled_points,
)
from seepage.plane import (
    Bootstrap,
    Counting,
    GlobalFPR,
    NaturalThreshold,
    Permuted,
    RateRule,
    Rule,
    Trajectories,
    early_determination,
    trajectories,
)

__all__ = ["ReportSource", "collect"]


def _correct(run: ReportSource, t: int) -> Float64Array:
    values = np.asarray(run.signal_at("correct", t), dtype=np.float64)
    # The first view is the identity: what the model answers in use.
    return values[..., 0] if values.ndim == 3 else values


def _accuracy_of(run: ReportSource) -> tuple[Float64Array, Float64Array]:
    """Each sample's accuracy at the end, as a member and as a non-member: (N,), (N,)."""
    if "correct" not in run.signals:
        nothing = np.full(run.member.shape[1], np.nan)
        return nothing, nothing
    return sides(_correct(run, len(run.checkpoints) - 1), run.member)


def _utility_of(run: ReportSource, say: Progress) -> Utility | None:
    """Accuracy at every checkpoint; None where it was not recorded."""
    if "correct" not in run.signals:
        return None
    member = run.member
    rows = []
    for t in range(len(run.checkpoints)):
        say("utility", t, len(run.checkpoints))
        right = _correct(run, t)
        row: list[float] = []
        for side in (member, ~member):
            # No run is a reference of another's accuracy.
            e = over_targets((right * side).sum(axis=1) / side.sum(axis=1), member, shared=False)
            row += [e.mean, e.low, e.high]
        rows.append(row)
    return Utility(*np.array(rows).T)


def _blind_of(data: Dataset | None, member: BoolArray, labels: Int64Array) -> Blind:
    """The blind baseline, or the reason why it could not be run."""
    if data is None:
        return Blind(None, "the data could not be found again from its source")
    rows = np.arange(len(data))
    note = ""
    if len(rows) > 10_000:
        # A linear classifier has long converged; the whole pool would only cost memory.
        rows = np.sort(np.random.default_rng(0).choice(len(rows), 10_000, replace=False))
        note = "It was run on 10,000 samples drawn from the pool."
    try:
        found = blind_baseline(data.inputs.numpy()[rows], member[:, rows], labels[rows], runs=4)
    except InputError as error:
        return Blind(None, str(error))
    return Blind(found.estimate, note)


@dataclass
class _Curves:
    """Figures of the main attack per checkpoint, under one membership matrix."""

    auc: list[Float64Array] = field(default_factory=list)
    tpr: list[float] = field(default_factory=list)


@final
@dataclass(frozen=True)
class _CountingWithCurves(RateRule):
    """Counts decisions and keeps AUC and TPR as well: one pass serves the plane and the curves.

    curves: one entry per membership matrix, the true one first.
    """

    fpr: float
    curves: list[_Curves] = field(default_factory=list)

    def start(
        self, member: BoolArray, checkpoints: int, rule: Rule, attack: Attack, keep: bool
    ) -> _Track:
        """An empty track for one membership matrix."""
        curves = _Curves()
        self.curves.append(curves)
        inner = Counting().start(member, checkpoints, rule, attack, keep)
        return _Track(inner, member, self.fpr, curves)


@dataclass
class _Track:
    inner: Any
    member: BoolArray
    fpr: float
    curves: _Curves

    def add(self, t: int, signals: Mapping[str, FloatArray], scores: FloatArray) -> None:
        self.curves.auc.append(operating_points(scores, self.member, [self.fpr]).auc)
        self.curves.tpr.append(float(pooled_points(scores, self.member, [self.fpr]).tpr[0, 0]))
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
    signals and number of models allow). main: name of the one that is followed over training and
    drawn on the plane (LiRA when it can be run). data: the pool, for the blind baseline (by default
    that of the run). permutations: redraws of membership under which everything is repeated, each
    as costly as the main attack itself. level: false-discovery rate of the samples named as
    exposed. seed: of the redraws. blind: whether the blind baseline is run. progress: called with
    (what, done, all).

    Raises InputError when no attack can be run, and where attacks would.
    """
    if permutations < 1:
        raise InputError(
            f"permutations: expected at least 1, got {permutations}; without one there is no "
            "null to compare with"
        )
    if len(run.member) < 4:
        # One pair leaves no references and no spread between pairs.
        raise InputError(
            f"models: expected at least 4 usable runs, got {len(run.member)}; train more models"
        )
    say: Progress = progress if progress is not None else lambda what, done, total: None
    if data is None and blind:
        data = run.data()
    findings, skipped, scores = at_last_checkpoint(run, attacks, seed, say)
    attack = main_attack(findings, main)
    rule: Rule = NaturalThreshold() if attack.threshold is not None else GlobalFPR(0.1)
    rates = _CountingWithCurves(FPRS[1])
    paths = trajectories(
        run,
        attack=attack,
        rule=rule,
        rates=rates,
        null=Permuted(draws=permutations, seed=seed),
        progress=lambda done, total: say("risk over training", done, total),
    )
    counted, null_high = _paths(paths)
    found = tested(run, level, permutations, seed, say)
    exposure = exposure_of(run, counted, null_high, scores[attack.name], level, found)
    accuracy_in, accuracy_out = _accuracy_of(run)
    member = run.member
    mean_in, mean_out = sides(scores[attack.name], member)
    n = int(np.median(paths.n_in))
    low, high = clopper_pearson([n // 2], n)
    utility = _utility_of(run, say)
    say("blind baseline", 0, 1)
    name = str(run.manifest.get("data", {}).get("name", "data"))
    return Findings(
        title=str(run.manifest.get("name", name)),
        dataset=name,
        path=run.path,
        models=len(member),
        samples=member.shape[1],
        checkpoints=np.asarray(run.checkpoints, dtype=np.float64),
        main=attack.name,
        rule=rule_words(rule, attack),
        ids=run.ids,
        labels=run.labels,
        classes=tuple(run.classes),
        utility=utility,
        blind=_blind_of(data, member, run.labels) if blind else Blind(None, "it was left out"),
        attacks=tuple(f for _, f in findings),
        skipped=skipped,
        risk=_risk(rates, permutations, member),
        paths=counted,
        population=paths.population(bootstrap=Bootstrap(replicates=100, seed=seed))
        if len(run.checkpoints) > 1
        else None,
        early=_early(paths),
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
        counts(t.tpr, n_in),
        counts(t.fpr, n_out),
        n_in,
        n_out,
        counts(first.tpr, n_in),
        counts(first.fpr, n_out),
    )
    count = np.mean([high(d.fpr, d.tpr).sum(axis=1) for d in t.null], axis=0)
    return held, np.asarray(count, dtype=np.float64)


def _early(paths: Trajectories) -> EarlyRecall | None:
    """Early determination without intervals; None for one checkpoint or without high samples."""
    if len(paths.checkpoints) < 2:
        return None
    # The null is the redraw whose paths the report draws.
    found = early_determination(replace(paths, null=paths.null[:1]), bootstrap=Bootstrap(0))
    if not found.final.any():
        return None
    recall = found.recall_now
    return EarlyRecall(recall.value, found.precision.value, found.chance.value, recall.null)


def _risk(rates: _CountingWithCurves, permutations: int, member: BoolArray) -> Risk:
    real, *nulls = rates.curves
    each = [over_targets(a, member) for a in real.auc]
    null = np.array([[a.mean() for a in c.auc] for c in nulls])
    return Risk(
        auc=np.array([e.mean for e in each]),
        low=np.array([e.low for e in each]),
        high=np.array([e.high for e in each]),
        null=null.mean(axis=0),
        null_low=null.min(axis=0),
        null_high=null.max(axis=0),
        fpr=rates.fpr,
        tpr=np.array(real.tpr),
        null_tpr=np.mean([c.tpr for c in nulls], axis=0),
        permutations=permutations,
    )
