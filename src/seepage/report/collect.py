"""From a run to its findings: every number of the report is computed here, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from seepage.attacks import ATTACKS, Attack
from seepage.attacks.curvature import reading
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.metrics import (
    blind_baseline,
    clopper_pearson,
    operating_points,
    over_targets,
    pooled_points,
    roc,
    row_auc,
)
from seepage.plan import permute_membership
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
from seepage.report.exposure import benjamini_hochberg, cut_off, evidence, smallest
from seepage.report.findings import (
    AtFpr,
    AttackFinding,
    Blind,
    Early,
    Exposure,
    Findings,
    Group,
    Paths,
    Risk,
    Utility,
)
from seepage.report.probes import curvature_finding, layer_finding

__all__ = ["ReportSource", "collect"]

F64 = NDArray[np.float64]
FloatArray = NDArray[np.floating]
BoolArray = NDArray[np.bool_]
Progress = Callable[[str, int, int], object]

FPRS = (0.01, 0.001, 0.0001)
MAIN = ("lira", "rmia")
TITLES = {
    "loss": "LOSS",
    "mentr": "Modified entropy",
    "attack-p": "Attack-P",
    "attack-r": "Attack-R",
    "calibrated": "Difficulty calibration",
    "lira": "LiRA",
    "lira-offline-one-sided": "LiRA offline, one-sided",
    "lira-offline-two-sided": "LiRA offline, two-sided",
    "rmia": "RMIA",
    "rmia-offline": "RMIA offline",
    "base": "BASE",
    "base-offline": "BASE offline",
    "shadow-classifier": "Shadow classifier",
    "curvature": "Input curvature",
    "curvature-calibrated": "Curvature, calibrated",
    "curvature-attack-r": "Curvature, Attack-R",
    "curvature-mast": "Curvature, MAST",
    "curvature-lr": "Curvature, likelihood ratio",
    "curvature-nll": "Curvature, equal variance",
    "curvature-and-confidence": "Curvature and confidence",
}
HIGH = 0.5


class ReportSource(Protocol):
    """What a report reads of a finished run: `seepage.store.Run`, or anything like it."""

    path: str
    checkpoints: F64
    signals: tuple[str, ...]
    classes: tuple[str, ...]
    failed: dict[int, str]
    manifest: dict[str, Any]

    @property
    def member(self) -> BoolArray:
        """(R, N) bool, usable runs only."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,)."""

    @property
    def ids(self) -> NDArray[np.str_]:
        """(N,)."""

    def signal_at(self, name: str, t: int, /) -> NDArray[np.float32]:
        """One checkpoint of a signal, (R, N[, A])."""

    def data(self) -> Dataset | None:
        """The pool, or None when it cannot be found."""


@dataclass
class _Watch:
    """What the main attack's pass leaves behind besides the paths, per checkpoint."""

    auc: list[F64] = field(default_factory=list)
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
    findings, skipped, scores = _final(run, attacks, seed, say)
    lead = _main(findings, main)
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
    tested = _tested(run, level, permutations, seed, say)
    exposure = _exposure(run, counted, null_high, scores[lead.name], level, tested)
    accuracy_in, accuracy_out = _accuracy(run)
    member = run.member
    mean_in, mean_out = _sides(scores[lead.name], member)
    n = int(np.median(paths.n_in))
    low, high = clopper_pearson([n // 2], n)
    utility = _utility(run, say)
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
        rule=_rule_words(rule, lead),
        ids=run.ids,
        labels=run.labels,
        classes=tuple(run.classes),
        utility=utility,
        blind=_blind(data, member, run.labels) if blind else Blind(None, "it was left out"),
        attacks=tuple(f for _, f in findings),
        skipped=skipped,
        risk=_risk(watched, member, permutations),
        paths=counted,
        population=paths.population(bootstrap=Bootstrap(replicates=100, seed=seed))
        if len(run.checkpoints) > 1
        else None,
        early=_early(counted),
        exposure=exposure,
        groups=_groups(run, counted, exposure, accuracy_in, accuracy_out),
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


def _final(
    run: ReportSource, attacks: Iterable[Attack] | None, seed: int, say: Progress
) -> tuple[list[tuple[Attack, AttackFinding]], dict[str, str], dict[str, F64]]:
    """Every attack at the last checkpoint; those that cannot be run, and why; their scores."""
    chosen: Sequence[Attack] = (
        [reading(cls(), run.signals) for cls in ATTACKS.values()]
        if attacks is None
        else list(attacks)
    )
    member = run.member
    last = len(run.checkpoints) - 1
    held: dict[str, NDArray[np.float32]] = {}
    null = permute_membership(member, np.random.default_rng(seed))
    found: list[tuple[Attack, AttackFinding]] = []
    skipped: dict[str, str] = {}
    scores: dict[str, F64] = {}
    for done, attack in enumerate(chosen):
        say("attacks", done, len(chosen))
        missing = [name for name in attack.requires if name not in run.signals]
        if missing:
            skipped[attack.name] = f"needs {', '.join(missing)}, which was not recorded"
            continue
        try:
            for name in attack.requires:
                if name not in held:
                    held[name] = run.signal_at(name, last)
            signals = {name: held[name] for name in attack.requires}
            real = np.asarray(attack.leave_one_out(signals, member), dtype=np.float64)
        except InputError as error:
            # An attack that this run cannot feed is left out and named; data faults are not its.
            skipped[attack.name] = str(error)
            continue
        scores[attack.name] = real
        chance = operating_points(attack.leave_one_out(signals, null), null, [FPRS[0]])
        found.append((attack, _finding(attack, real, member, float(chance.auc.mean()))))
    if not found:
        reasons = "; ".join(f"{k}: {v}" for k, v in skipped.items())
        raise InputError(
            f"attacks: expected at least one that this run can feed, got none ({reasons})"
        )
    return found, skipped, scores  # fmt: skip


def _finding(attack: Attack, scores: F64, member: BoolArray, null_auc: float) -> AttackFinding:
    each = operating_points(scores, member, FPRS)
    pool = pooled_points(scores, member, FPRS)
    negatives = int((~member).sum(axis=1).min())
    per_target, pooled = [], []
    for k, fpr in enumerate(FPRS):
        per_target.append(
            AtFpr(
                fpr,
                over_targets(each.tpr[:, k], member),
                float(each.fpr[:, k].mean()),
                fpr * negatives >= 1,
            )
        )
        # Given the pooled threshold, targets differ; their spread over pairs is the interval.
        said = scores >= pool.threshold[0, k]
        rates = (said & member).sum(axis=1) / member.sum(axis=1)
        pooled.append(
            AtFpr(
                fpr,
                over_targets(rates, member),
                float(pool.fpr[0, k]),
                fpr * int(pool.n_out[0]) >= 1,
            )
        )
    curve = roc(scores.ravel(), member.ravel())
    kept = _thin(curve.fpr, curve.tpr)
    return AttackFinding(
        name=attack.name,
        title=_title(attack),
        auc=over_targets(each.auc, member),
        null_auc=null_auc,
        per_target=tuple(per_target),
        pooled=tuple(pooled),
        roc_fpr=curve.fpr[kept],
        roc_tpr=curve.tpr[kept],
        separation=row_auc(scores, member),
    )


def _title(attack: Attack) -> str:
    """Its name, and which curvature it reads when that is not the published one."""
    other = [s for s in attack.requires if s.startswith("curvature_") and s != "curvature_zo"]
    title = TITLES.get(attack.name, attack.name)
    return f"{title} ({other[0].removeprefix('curvature_')})" if other else title


def _thin(fpr: F64, tpr: F64, points: int = 160) -> NDArray[np.int64]:
    """Indices of about `points` steps, even on a logarithmic FPR axis; both ends kept."""
    positive = fpr[fpr > 0]
    grid = np.concatenate([[0.0], np.geomspace(positive.min(), 1.0, points)])
    # The last step at or below each grid value: what is drawn was really reached.
    return np.unique(np.searchsorted(fpr, grid, side="right") - 1)


def _main(found: Sequence[tuple[Attack, AttackFinding]], main: str | None) -> Attack:
    by_name = {a.name: a for a, _ in found}
    if main is not None:
        if main not in by_name:
            raise InputError(f"main: expected one of {', '.join(by_name)}, got {main!r}")
        return by_name[main]
    for name in (*MAIN, *(a.name for a, _ in found if a.threshold is not None)):
        if name in by_name:
            return by_name[name]
    return found[0][0]


def _rule_words(rule: Rule, attack: Attack) -> str:
    if isinstance(rule, GlobalFPR):
        return f"score above the level that {rule.fpr:.0%} of the other targets' non-members pass"
    return f"score of at least {attack.threshold:g}, the attack's own threshold"


def _tested(
    run: ReportSource, level: float, permutations: int, seed: int, say: Progress
) -> tuple[F64, F64, F64, NDArray[np.int64]]:
    """The test of every sample at every checkpoint.

    (T, N) p-values, (T,) cut-offs, (T,) mean number that pass them under permuted membership,
    and (N,) where the final cut-off is passed for good.
    """
    name, sign = ("phi", 1.0) if "phi" in run.signals else ("loss", -1.0)
    nulls = list(Permuted(draws=permutations, seed=seed).members(run.member))
    times = len(run.checkpoints)
    p = np.empty((times, run.member.shape[1]))
    cuts, false = np.empty(times), np.empty(times)
    for t in range(times):
        say("evidence per sample", t, times)
        signal = sign * run.signal_at(name, t).astype(np.float64)
        signal = signal.mean(axis=2) if signal.ndim == 3 else signal
        p[t] = evidence(signal, run.member)
        cuts[t] = cut_off(p[t], level)
        false[t] = np.mean([(evidence(signal, m) <= cuts[t]).sum() for m in nulls])
    stays = np.logical_and.accumulate((p <= cuts[-1])[::-1])[::-1]
    return p, cuts, false, np.where(p[-1] <= cuts[-1], stays.argmax(axis=0), -1)


def _paths(t: Trajectories) -> tuple[Paths, F64]:
    """Rates back to counts, and the mean number of high samples under permutation, (T,)."""
    n_in, n_out = t.n_in.astype(np.uint16), t.n_out.astype(np.uint16)

    def counts(rate: NDArray[np.floating], n: NDArray[np.uint16]) -> NDArray[np.uint16]:
        return np.asarray(np.rint(np.nan_to_num(rate) * n), dtype=np.uint16)

    first = t.null[0]
    held = Paths(
        counts(t.tpr, n_in), counts(t.fpr, n_out), n_in, n_out,
        counts(first.tpr, n_in), counts(first.fpr, n_out),
    )  # fmt: skip
    high = np.mean([(d.advantage >= HIGH).sum(axis=1) for d in t.null], axis=0)
    return held, np.asarray(high, dtype=np.float64)


def _exposure(
    run: ReportSource,
    paths: Paths,
    null_high: F64,
    scores: F64,
    level: float,
    tested: tuple[F64, F64, F64, NDArray[np.int64]],
) -> Exposure:
    p, cuts, false, since = tested
    gain = np.nan_to_num(paths.advantage(), nan=-1.0)
    exposed = p[-1] <= cuts[-1]
    # Counts tie on a lattice; within a tie the wider score gap is the more exposed.
    inside, outside = _sides(scores, run.member)
    spread = scores.std(axis=0)
    gap = np.nan_to_num((inside - outside) / np.where(spread > 0, spread, 1.0))
    return Exposure(
        p=p[-1],
        q=benjamini_hochberg(p[-1]),
        exposed=exposed,
        order=np.lexsort((-gap, -gain[-1], ~exposed)).astype(np.int64),
        since=since.astype(np.int64),
        level=level,
        count=(p <= cuts[:, None]).sum(axis=1),
        null_count=false,
        high_count=(gain >= HIGH).sum(axis=1),
        null_high_count=null_high,
        least=smallest(run.member),
    )


def _early(paths: Paths) -> Early | None:
    def recall(gain: F64) -> tuple[F64, NDArray[np.bool_]]:
        high = np.nan_to_num(gain, nan=-1.0) >= HIGH
        with np.errstate(invalid="ignore"):
            return (high & high[-1]).sum(axis=1) / high[-1].sum(), high

    found, high = recall(paths.advantage())
    if len(high) < 2 or not high[-1].any():
        return None
    with np.errstate(invalid="ignore"):
        precision = (high & high[-1]).sum(axis=1) / high.sum(axis=1)
    return Early(found, precision, high.mean(axis=1), recall(paths.advantage(null=True))[0])


def _sides(values: F64, member: BoolArray) -> tuple[F64, F64]:
    """Mean over models that trained on the sample, and over those that did not: (N,), (N,)."""
    n_in = member.sum(axis=0, dtype=np.float64)
    n_out = len(member) - n_in
    with np.errstate(invalid="ignore", divide="ignore"):
        return (
            np.where(member, values, 0.0).sum(axis=0) / n_in,
            np.where(member, 0.0, values).sum(axis=0) / n_out,
        )


def _correct(run: ReportSource, t: int) -> F64:
    values = np.asarray(run.signal_at("correct", t), dtype=np.float64)
    # The first view is the identity: what the model answers in use.
    return values[..., 0] if values.ndim == 3 else values


def _accuracy(run: ReportSource) -> tuple[F64, F64]:
    if "correct" not in run.signals:
        nothing = np.full(run.member.shape[1], np.nan)
        return nothing, nothing
    return _sides(_correct(run, len(run.checkpoints) - 1), run.member)


def _utility(run: ReportSource, say: Progress) -> Utility | None:
    if "correct" not in run.signals:
        return None
    member = run.member
    rows = []
    for t in range(len(run.checkpoints)):
        say("utility", t, len(run.checkpoints))
        right = _correct(run, t)
        row: list[float] = []
        for side in (member, ~member):
            e = over_targets((right * side).sum(axis=1) / side.sum(axis=1), member)
            row += [e.mean, e.low, e.high]
        rows.append(row)
    return Utility(*np.array(rows).T)


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


def _blind(data: Dataset | None, member: BoolArray, labels: NDArray[np.int64]) -> Blind:
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


def _groups(
    run: ReportSource, paths: Paths, exposure: Exposure, right_in: F64, right_out: F64
) -> tuple[Group, ...]:
    gain, null = paths.advantage()[-1], paths.advantage(null=True)[-1]

    def mean(values: F64) -> float:
        finite = values[np.isfinite(values)]
        return float(finite.mean()) if finite.size else float("nan")

    groups = []
    for k, name in enumerate(run.classes):
        of = run.labels == k
        if of.any():
            groups.append(
                Group(
                    name=name,
                    samples=int(of.sum()),
                    advantage=mean(gain[of]),
                    null=mean(null[of]),
                    exposed=int(exposure.exposed[of].sum()),
                    accuracy_in=mean(right_in[of]),
                    accuracy_out=mean(right_out[of]),
                )
            )
    return tuple(groups)
