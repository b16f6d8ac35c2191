"""From a run to its findings: every number of the report is computed here, once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks import Attack, how_left_out, usual
from seepage.errors import InputError
from seepage.findings.accountant import accountant_finding
from seepage.findings.agreement import agreement_of
from seepage.findings.attacks import FPRS, at_last_checkpoint, main_attack, rule_words
from seepage.findings.blind import blind_of, whole_unit
from seepage.findings.canaries import canary_finding
from seepage.findings.judging import Judging
from seepage.findings.notes import import_doubts, run_notes
from seepage.findings.probes import (
    curvature_finding,
    derived_results,
    kept_labels,
    kept_variants,
    layer_finding,
)
from seepage.findings.result import (
    AtFpr,
    Blind,
    EarlyRecall,
    Evidence,
    Findings,
    Naming,
    Paths,
    Risk,
    Utility,
)
from seepage.findings.samples import exposure_of, groups_of, high, tested
from seepage.findings.slices import all_slices
from seepage.findings.source import Progress, ReportSource, Shadows, sides
from seepage.findings.subjects import by_unit, subject_finding, telling_records
from seepage.findings.tail import tail_finding
from seepage.findings.token_shares import token_shares
from seepage.findings.unjudged import unjudged
from seepage.fleet.contradictions import contradictions
from seepage.metrics import (
    EACH,
    Estimate,
    Samples,
    Subjects,
    Unit,
    clopper_pearson,
    over_targets,
)
from seepage.metrics.intervals import reach
from seepage.metrics.naming import name_members, name_over_targets
from seepage.plan import distance_factor, partitions, pool_share
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
    fpr_spread,
    trajectories,
)
from seepage.scoring import score
from seepage.store.computed import computed
from seepage.tokens import holds_tokens

if TYPE_CHECKING:
    from seepage.data import Dataset

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


def _utility_of(run: ReportSource, target: int | None, say: Progress) -> Utility | None:
    """Accuracy, or the task's error, at every checkpoint, of all models or of the target.

    None where neither was recorded.
    """
    told = run.manifest.get("data", {}).get("task")
    if "correct" not in run.signals:
        signal, measure = _ERRORS.get(told, ("", ""))
        return _errors_of(run, target, say, signal, measure) if signal in run.signals else None
    member = run.member
    rows = []
    for t in range(len(run.checkpoints)):
        say("utility", t, len(run.checkpoints))
        right = _correct(run, t)
        row: list[float] = []
        for side in (member, ~member):
            if target is not None:
                hits, n = (right * side)[target].sum(), side[target].sum()
                low, high = clopper_pearson(hits, n)
                row += [float(hits / n), float(low), float(high)]
                continue
            # No run is a reference of another's accuracy.
            e = over_targets((right * side).sum(axis=1) / side.sum(axis=1), member, shared=False)
            row += [e.mean, e.low, e.high]
        rows.append(row)
    measure = "label-vectors" if told == "multi-label" else "accuracy"
    return replace(Utility(*np.array(rows).T), measure=measure)


# What stands in the place of accuracy, by task: the signal, and what its figure is called.
_ERRORS = {
    "regression": ("residual", "rmse"),
    "soft-labels": ("loss", "divergence"),
    "language": ("loss", "nats-per-token"),
}


def _errors_of(
    run: ReportSource, target: int | None, say: Progress, signal: str, measure: str
) -> Utility:
    """RMSE, mean divergence or mean loss of a token at every checkpoint, the mean over models.

    With an interval over tuples of runs; of one target it is a normal one of the mean (of squares)
    over samples.
    """
    member = run.member
    power, root = (2, np.sqrt) if measure == "rmse" else (1, np.asarray)
    rows = []
    for t in range(len(run.checkpoints)):
        say("utility", t, len(run.checkpoints))
        values = np.asarray(run.signal_at(signal, t), dtype=np.float64)
        each_of = (values[..., 0] if values.ndim == 3 else values) ** power
        row: list[float] = []
        for side in (member, ~member):
            if target is not None:
                own = each_of[target][side[target]]
                half = 1.96 * own.std(ddof=1) / np.sqrt(len(own)) if len(own) > 1 else np.nan
                bounds = (own.mean(), max(own.mean() - half, 0.0), own.mean() + half)
                row += [float(root(b)) for b in bounds]
                continue
            each = root((each_of * side).sum(axis=1) / side.sum(axis=1))
            # An error is no share: Student's t over tuples of runs, as in `over_targets`, unclipped.
            number = partitions(member)
            tuples = np.bincount(number, weights=each) / np.bincount(number)
            groups, centre = len(tuples), float(each.mean())
            weight = np.bincount(number) / len(member)
            spread = (weight**2 * (tuples - centre) ** 2).sum() * groups / max(groups - 1, 1)
            half = reach(groups, 0.95, shared=False) * float(np.sqrt(spread))
            row += [centre, float(np.maximum(centre - half, 0.0)), centre + half]
        rows.append(row)
    return replace(Utility(*np.array(rows).T), measure=measure)


@dataclass
class _Curves:
    """Figures of the main attack per checkpoint, under one membership matrix."""

    auc: list[Estimate] = field(default_factory=list)
    tpr: list[AtFpr] = field(default_factory=list)

    def add(self, judging: Judging, scores: FloatArray, fpr: float) -> None:
        """One checkpoint's scores (R, N)."""
        held = np.asarray(scores, dtype=np.float64)
        self.auc += judging.auc(held)
        self.tpr += judging.pooled(held, [fpr])


@final
@dataclass(frozen=True)
class _CountingWithCurves(RateRule):
    """Counts decisions and keeps AUC and TPR as well: one pass serves the plane and the curves.

    curves: one entry per membership matrix, the true one first.
    """

    judging: Judging
    fpr: float
    curves: list[_Curves] = field(default_factory=list)

    def start(
        self,
        member: BoolArray,
        checkpoints: int,
        rule: Rule,
        attack: Attack,
        keep: bool,
        area: bool = True,
    ) -> _Track:
        """An empty track for one membership matrix."""
        curves = _Curves()
        self.curves.append(curves)
        inner = Counting().start(member, checkpoints, rule, attack, keep, area)
        return _Track(inner, replace(self.judging, member=member), self.fpr, curves)


@dataclass
class _Track:
    inner: Any
    judging: Judging
    fpr: float
    curves: _Curves

    def add(self, t: int, signals: Mapping[str, FloatArray], scores: FloatArray) -> None:
        self.curves.add(self.judging, scores, self.fpr)
        self.inner.add(t, signals, scores)

    def finish(self) -> dict[str, Any]:
        fields: dict[str, Any] = self.inner.finish()
        return fields


def _of_target(
    run: ReportSource,
    attack: Attack,
    judging: Judging,
    fpr: float,
    permutations: int,
    seed: int,
    say: Progress,
    unit: Unit,
) -> list[_Curves]:
    """The curves of a fixed target, the true membership first; its shadows are references only."""
    drawn = [judging.redrawn(rng) for rng in np.random.default_rng(seed).spawn(permutations)]
    curves = [_Curves() for _ in range(permutations + 1)]
    for t in range(len(run.checkpoints)):
        say("risk over training", t, len(run.checkpoints))
        # Scores of a target do not read its own members, so that redrawing those changes none.
        scores = score(run, attack, t, unit=unit)
        for held, of in zip(curves, [judging, *drawn], strict=True):
            held.add(of, scores, fpr)
    return curves


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
    unit: Unit | None = None,
    by: Sequence[str] = (),
    slices: Mapping[str, ArrayLike] | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Compute everything a report says about a run.

    attacks: which to run at the last checkpoint (all of `seepage.attacks.usual()` that the run's
    signals and number of models allow). main: name of the one that is followed over training and
    drawn on the plane (LiRA when it can be run). data: the pool, for the blind baseline (by default
    that of the run). permutations: redraws of membership under which everything is repeated, each
    as costly as the main attack itself. level: false-discovery rate of the samples named as
    exposed. seed: of the redraws. blind: whether the blind baseline is run. unit:
    what is judged: subjects where the run has groups, unless `Samples()` is asked for. by: columns of a table that the main attack
    is divided by too, beside class, correctness and difficulty (`seepage.findings.slices`); slices: the
    same by a value of each sample, {name: (N,)}. progress: called with
    (what, done, all).

    Raises InputError when no attack can be run, and where attacks would.
    """
    wanted = None if attacks is None else list(attacks)
    if data is None and (blind or by):
        data = run.data()

    def compute() -> Findings:
        return _collect(
            run,
            wanted,
            main,
            data,
            permutations,
            level,
            seed,
            blind,
            unit,
            by,
            slices,
            progress if progress is not None else lambda what, done, total: None,
        )

    asked = {
        "attacks": wanted,
        "main": main,
        "data": None if data is None else data.digest,
        "permutations": permutations,
        "level": level,
        "seed": seed,
        "blind": blind,
        "unit": unit,
        "by": tuple(by),
        "slices": None if slices is None else {n: np.asarray(v) for n, v in slices.items()},
        "derived": derived_results(run),
    }
    # A folder may have been moved since.
    return replace(computed(run, "report", asked, Findings, compute), path=run.path)


def _collect(
    run: ReportSource,
    attacks: Sequence[Attack] | None,
    main: str | None,
    data: Dataset | None,
    permutations: int,
    level: float,
    seed: int,
    blind: bool,
    unit: Unit | None,
    by: Sequence[str],
    slices: Mapping[str, ArrayLike] | None,
    say: Progress,
) -> Findings:
    wanted = usual(tokens=holds_tokens(run)) if attacks is None else list(attacks)
    planted = canary_finding(run)
    without = unjudged(run, wanted) if len(run.member) >= 4 else None
    if permutations < 1:
        raise InputError(
            f"permutations: expected at least 1, got {permutations}; without one there is no "
            "null to compare with"
        )
    notes, doubts, found_wrong = run_notes(run), import_doubts(run), contradictions(run)
    if without is not None:
        run, data, attacks = without.part(run), without.data(data), without.attacks(wanted)
        if slices is not None:
            slices = {n: np.asarray(v)[without.rows] for n, v in slices.items()}
    records = run
    run, unit = by_unit(run, unit)
    judging = Judging.of(run, Samples())
    fleet = run if judging.target is None else Shadows(run, judging.target)
    fleet_records = records if judging.target is None else Shadows(records, judging.target)
    if len(fleet.member) < 4:
        # One pair leaves no references and no spread between pairs.
        what = "usable runs" if judging.target is None else "usable shadows"
        raise InputError(
            f"models: expected at least 4 {what}, got {len(fleet.member)}; train more models"
        )
    findings, skipped, scores = at_last_checkpoint(records, attacks, judging, seed, say, unit)
    attack = main_attack(findings, main)
    # An attack's own threshold is for single records, but for the zero of what is summed.
    own_rule = attack.threshold is not None and (unit == EACH or attack.threshold == 0)
    rule: Rule = NaturalThreshold() if own_rule else GlobalFPR(0.1)
    rates = _CountingWithCurves(judging, FPRS[1])
    paths = trajectories(
        fleet_records,
        attack=attack,
        rule=rule,
        rates=rates if judging.target is None else Counting(),
        null=Permuted(draws=permutations, seed=seed, groups=judging.groups),
        unit=unit,
        # The curves of the report have it, of what is judged and with intervals.
        area="none",
        progress=lambda done, total: say("risk over training", done, total),
    )
    curves = rates.curves
    own = scores[attack.name]
    if judging.target is not None:
        curves = _of_target(records, attack, judging, FPRS[1], permutations, seed, say, unit)
        own = score(fleet_records, attack, unit=unit)
    counted, null_high = _paths(paths)
    found = tested(fleet, level, permutations, seed, say)
    exposure = exposure_of(fleet, counted, null_high, own, level, found)
    accuracy_in, accuracy_out = _accuracy_of(fleet)
    member = run.member
    mean_in, mean_out = sides(own, fleet.member)
    split = records.member if judging.target is None else records.member[judging.target][None]
    utility = _utility_of(records, judging.target, say)
    whose = None
    if isinstance(unit, Subjects):
        whose = subject_finding(records, attack, unit, judging)
    say("parts of the pool", 0, 1)
    parts = all_slices(
        run, scores[attack.name], judging, attack.title, data=data, unit=unit, by=by, values=slices
    )
    say("blind baseline", 0, 1)
    name = str(run.manifest.get("data", {}).get("name", "data"))
    return Findings(
        title=str(run.manifest.get("name", name)),
        dataset=name,
        path=run.path,
        models=len(member),
        samples=member.shape[1],
        target=judging.target,
        negatives=judging.negatives,
        subjects=whose,
        shown=telling_records(fleet_records, unit)
        if isinstance(unit, Subjects)
        else np.arange(member.shape[1]),
        records=records.ids,
        checkpoints=np.asarray(run.checkpoints, dtype=np.float64),
        main=attack.name,
        rule=rule_words(rule, attack),
        ids=run.ids,
        labels=run.labels,
        classes=_classes(run),
        utility=utility,
        blind=blind_of(data, split, records.labels, whole_unit(records, split))
        if blind
        else Blind(None, "it was left out"),
        attacks=tuple(f for _, f in findings),
        skipped=skipped,
        left_out=how_left_out(fleet.member),
        pool_share=pool_share(fleet.member),
        distance_factor=distance_factor(pool_share(fleet.member)),
        naming=_naming(scores[attack.name], judging, level, seed),
        sample_fpr=fpr_spread(paths.fpr[-1], paths.n_out),
        risk=_risk(curves, FPRS[1], permutations),
        paths=counted,
        population=paths.population(bootstrap=Bootstrap(replicates=100, seed=seed))
        if len(run.checkpoints) > 1
        else None,
        early=_early(paths),
        exposure=exposure,
        groups=groups_of(fleet, counted, exposure, accuracy_in, accuracy_out),
        accuracy_in=accuracy_in,
        accuracy_out=accuracy_out,
        score_in=mean_in,
        score_out=mean_out,
        half_width=float(np.nanmedian(exposure.auc_high - exposure.auc_low)) / 2,
        evidence=_evidence_of(run),
        failed=dict(run.failed),
        provenance=dict(run.manifest),
        curvature=curvature_finding(run),
        layers=layer_finding(run),
        variants=kept_variants(run),
        label_inference=kept_labels(run),
        # The accountant speaks of a record; a subject's records spend together.
        accountant=None
        if isinstance(unit, Subjects)
        else accountant_finding(records, *(_last(counted, null) for null in (False, True))),
        agreement=agreement_of(scores, judging),
        slices=parts,
        tail=tail_finding(
            run,
            judging,
            next((f.per_target[0] for a, f in findings if a.name == "lira"), None),
        ),
        canaries=planted,
        tokens=token_shares(records, exposure.order, unit),
        unjudged="" if without is None else without.words,
        notes=(*notes, *(f"{a.title}: {a.caveat}" for a, _ in findings if a.caveat)),
        contradictions=found_wrong,
        doubts=doubts,
    )


def _last(paths: Paths, null: bool) -> tuple[Float64Array, Float64Array]:
    fpr, tpr = paths.rates(null)
    return fpr[-1], tpr[-1]


def _classes(run: ReportSource) -> tuple[str, ...]:
    """Names of what `labels` number; a sample of several labels, or a text, has no class of its own."""
    told = run.manifest.get("data", {}).get("task")
    if told == "multi-label":
        return (f"labels {', '.join(run.classes)}",)
    if told == "language":
        return ("text",)
    return tuple(run.classes)


def _evidence_of(run: ReportSource) -> Evidence:
    """Digest and completeness of a run folder; of another source what its manifest says."""
    missing: tuple[int, ...] = getattr(run, "missing", ())
    copies = run.manifest.get("data", {}).get("copies")
    return Evidence(
        digest=getattr(run, "digest", None),
        planned=int(
            getattr(run, "planned", None)
            or run.manifest.get("plan", {}).get("models", len(run.member) + len(run.failed))
        ),
        missing=tuple(missing),
        copies=None if copies is None else int(copies["split"]),
    )


def _naming(scores: Float64Array, judging: Judging, q: float, seed: int) -> Naming | None:
    """What the main attack can name of one model; None where its score may read the plan."""
    rng = np.random.default_rng(seed)
    row = judging.target
    if row is None:
        try:
            found = name_over_targets(scores, judging.member, rng, q=q)
        except InputError:
            return None
        return Naming(
            q, found.mean_count, found.members, found.calibration, found.fewest, found.false
        )
    one, member = scores[row], judging.member[row]
    others = rng.permutation(np.flatnonzero(~member))
    calibration, rest = np.split(others, [(len(others) + 1) // 2])
    if not rest.size:
        return None
    tested = np.concatenate([np.flatnonzero(member), rest])
    named = name_members(one[tested], one[calibration], q=q, member=member[tested])
    nan = float("nan")
    false = Estimate(float(named.false_share or 0.0), nan, nan, 0.95, len(tested))
    return Naming(q, named.count, int(member.sum()), len(calibration), named.fewest, false)


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


def _risk(curves: list[_Curves], fpr: float, permutations: int) -> Risk:
    real, *nulls = curves
    null = np.array([[e.mean for e in c.auc] for c in nulls])
    return Risk(
        auc=np.array([e.mean for e in real.auc]),
        low=np.array([e.low for e in real.auc]),
        high=np.array([e.high for e in real.auc]),
        null=null.mean(axis=0),
        null_low=null.min(axis=0),
        null_high=null.max(axis=0),
        fpr=fpr,
        tpr=tuple(real.tpr),
        null_tpr=np.mean([[r.tpr.mean for r in c.tpr] for c in nulls], axis=0),
        permutations=permutations,
    )
