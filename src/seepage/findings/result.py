"""What a report says, as numbers only: one `Findings` feeds the tables, JSON and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.findings.accountant import AccountantFinding
from seepage.findings.agreement import AgreementFinding
from seepage.findings.at_fpr import AtFpr
from seepage.findings.canaries import CanaryFinding
from seepage.findings.clock import Clock, clock_of
from seepage.findings.probes import CurvatureFinding, LayerFinding
from seepage.findings.slices import SliceFinding
from seepage.findings.tail import TailFinding
from seepage.findings.token_shares import TokenShares
from seepage.fleet.contradictions import Contradictions
from seepage.metrics import PRIORS, BlindBaseline, Estimate, Strongest, Within, strongest
from seepage.plane import FprSpread, Population
from seepage.short_repr import short_repr
from seepage.store.files import plain

__all__ = [
    "AtFpr",
    "AttackFinding",
    "Blind",
    "BySize",
    "EarlyRecall",
    "Evidence",
    "Exposure",
    "Findings",
    "Group",
    "Naming",
    "Paths",
    "Risk",
    "Said",
    "SubjectFinding",
    "Utility",
    "plain",
]

Counts = NDArray[np.uint16]
Said = Literal["refused", "too few models", "leaks", "undecided", "not shown"]


@short_repr
@dataclass(frozen=True)
class Utility:
    """Accuracy at each checkpoint, mean over models, with intervals: all (T,).

    measure: "accuracy", the share of right classes; "label-vectors", the share of samples all of
    whose labels are right; and, where less is better, "rmse" of a real target, in its units, or
    "divergence", the mean KL(q ‖ p) from distributions as targets, in nats; "nats-per-token", the mean
    −log p of a token of texts.
    """

    member: Float64Array
    member_low: Float64Array
    member_high: Float64Array
    other: Float64Array
    other_low: Float64Array
    other_high: Float64Array
    measure: str = "accuracy"

    @property
    def share(self) -> bool:
        """Whether it is a share of right answers, of which more is better."""
        return self.measure in ("accuracy", "label-vectors")


@short_repr
@dataclass(frozen=True, eq=False)
class AttackFinding:
    """One attack at the last checkpoint.

    auc: mean over targets, or of the fixed target. auc_wide: the same with the interval that the
    choice of the strongest attack needs. per_target: TPR at low FPR with a threshold for each
    target. pooled: the scores of all targets under one threshold; of a fixed target the same as
    per_target. null_auc: under permuted membership. roc_fpr, roc_tpr: the pooled curve, thinned.
    """

    name: str
    title: str
    auc: Estimate
    auc_wide: Estimate
    null_auc: float
    per_target: tuple[AtFpr, ...]
    pooled: tuple[AtFpr, ...]
    roc_fpr: Float64Array
    roc_tpr: Float64Array


@dataclass(frozen=True)
class Blind:
    """Attacks that never see a model; `auc` is None when none could be run.

    auc: of the strongest classifier, `by`, its interval paid for the choice; each: every classifier's
    own. See `seepage.metrics.blind_baseline`.
    """

    auc: Estimate | None
    note: str
    by: str = ""
    each: Mapping[str, Estimate] = field(default_factory=dict)

    @classmethod
    def of(cls, found: BlindBaseline, note: str = "") -> Blind:
        """What a baseline found."""
        return cls(found.estimate, note, found.by, found.each)

    @property
    def shifted(self) -> bool:
        """Whether members and others differ without any model: the interval lies above chance."""
        return self.auc is not None and bool(np.isfinite(self.auc.low)) and self.auc.low > 0.5


@short_repr
@dataclass(frozen=True)
class Risk:
    """The main attack at every checkpoint, all (T,): AUC, its interval, its null range.

    null, null_low, null_high: mean, smallest and largest AUC over `permutations` redraws of
    membership. tpr: pooled true-positive rate at `fpr` and what belongs to it, one for each
    checkpoint; null_tpr: its mean under permuted membership.
    """

    auc: Float64Array
    low: Float64Array
    high: Float64Array
    null: Float64Array
    null_low: Float64Array
    null_high: Float64Array
    fpr: float
    tpr: tuple[AtFpr, ...]
    null_tpr: Float64Array
    permutations: int


@dataclass(frozen=True, eq=False)
class Paths:
    """Every sample's path on the plane, as counts: TPR = tp / n_in, FPR = fp / n_out.

    tp, fp (T, N) uint16: how many targets called the sample a member, when it was one and when it
    was not; n_in, n_out (N,). null_tp, null_fp: the same under permuted membership.
    """

    tp: Counts
    fp: Counts
    n_in: Counts
    n_out: Counts
    null_tp: Counts
    null_fp: Counts

    def rates(self, null: bool = False) -> tuple[Float64Array, Float64Array]:
        """(fpr, tpr), each (T, N) float64; NaN where a sample was never on that side."""
        tp, fp = (self.null_tp, self.null_fp) if null else (self.tp, self.fp)
        with np.errstate(invalid="ignore", divide="ignore"):
            return fp / self.n_out.astype(np.float64), tp / self.n_in.astype(np.float64)

    def advantage(self, null: bool = False) -> Float64Array:
        """TPR − FPR, (T, N); NaN where undefined."""
        fpr, tpr = self.rates(null)
        return tpr - fpr


@dataclass(frozen=True)
class Naming:
    """Which records of one model an attacker can name, at an expected false share of q.

    count: names of the main attack, mean over targets or of the fixed target; members: members
    among the candidates. fewest: the smallest number that can be named at all. false: false share,
    mean over targets; of a fixed target the share of its names, without an interval.
    """

    q: float
    count: float
    members: int
    calibration: int
    fewest: int
    false: Estimate


@short_repr
@dataclass(frozen=True, eq=False)
class Exposure:
    """Which samples are named as exposed, with the expected share of false names controlled.

    p (N,): exact test at the last checkpoint, see `seepage.metrics.exposure.evidence`; q (N,):
    after Benjamini-Hochberg; exposed (N,) = q <= level; order (N,): exposed ones first, by
    advantage; since (N,): position of the first checkpoint from which the last one's cut-off is
    passed at every later one too, or −1. count (T,): how many samples pass at each checkpoint;
    null_count (T,): how many pass the same cut-off under permuted membership, where every one is
    false, mean over redraws. high_count, null_high_count (T,): the same for an advantage of at
    least ½. least: the smallest p that this plan can give at all. tested: of how many samples p is, those
    IN some run and OUT of another; 1 of the others, which are none of the tests.
    """

    p: Float64Array
    q: Float64Array
    exposed: BoolArray
    order: Int64Array
    since: Int64Array
    level: float
    count: Int64Array
    null_count: Float64Array
    high_count: Int64Array
    null_high_count: Float64Array
    least: float
    tested: int
    at_most_false: int
    auc: Float64Array
    auc_low: Float64Array
    auc_high: Float64Array


@short_repr
@dataclass(frozen=True)
class EarlyRecall:
    """Curves of `seepage.plane.early_determination` that the report draws, all (T,).

    Vulnerable: high samples, those with an advantage of at least ½. recall: its `recall_now`;
    precision; chance: recall that as many random samples would have; null_recall: recall under
    permuted membership, in the redraw that `Paths` holds. *Reconstruction* (arXiv 2507.23291).
    """

    recall: FloatArray
    precision: FloatArray
    chance: FloatArray
    null_recall: FloatArray


@dataclass(frozen=True)
class BySize:
    """Subjects of `first` to `last` records: their number and AUC, None where they are too few.

    alike, apart: the AUC that single records' AUC and the correlation within subjects would give
    them, and the one if records of a subject were independent (`seepage.metrics.subject_auc`).
    """

    first: int
    last: int
    subjects: int
    auc: Estimate | None
    alike: float
    apart: float


@short_repr
@dataclass(frozen=True, eq=False)
class SubjectFinding:
    """Whose the records are: sizes (G,), their number, and what belonging together changes.

    attack: title of the main attack, which these figures are of, at the last checkpoint; log_ratio:
    whether it gives log-ratios. within: correlation of a subject's records, of the signal over
    models if `log_ratio`, else of scores over subjects. by_record: AUC of single records, its
    interval by subject; plain: of sums; whole: of sums discounted by the correlation, which every
    other figure uses.
    """

    sizes: Int64Array
    records: int
    attack: str
    log_ratio: bool
    within: Within
    by_record: Estimate
    plain: Estimate
    whole: Estimate
    by_size: tuple[BySize, ...]

    def summary(self) -> dict[str, Any]:
        """Everything but the size of each subject."""
        return {
            "subjects": len(self.sizes),
            "records": self.records,
            "records_of_a_subject": {
                "least": int(self.sizes.min()),
                "median": float(np.median(self.sizes)),
                "most": int(self.sizes.max()),
            },
            "attack": self.attack,
            "correlation_of": "the signal, over models" if self.log_ratio else "scores",
            "correlation": plain(self.within),
            "auc_of_single_records": plain(self.by_record),
            "auc_of_plain_sums": plain(self.plain),
            "auc": plain(self.whole),
            "by_size": [plain(b) for b in self.by_size],
        }


@dataclass(frozen=True)
class Group:
    """One class: how many samples, mean advantage, its null, and how many are exposed."""

    name: str
    samples: int
    advantage: float
    null: float
    exposed: int
    accuracy_in: float
    accuracy_out: float


@dataclass(frozen=True)
class Evidence:
    """What the figures rest on, so that a reader can check it.

    digest: the SHA-256 over the run folder that `seepage verify` recomputes, None where the run is
    no folder. planned: runs of the plan; missing: plan rows of which there is no record. copies:
    samples with an exact copy that other runs train on, which hides what they leak; None where the
    inputs are not known.
    """

    digest: str | None
    planned: int
    missing: tuple[int, ...]
    copies: int | None


@short_repr
@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that the report of one run says. Axes: checkpoints T, samples N.

    Where records belong to subjects, subjects are what is judged: N is then their number, `samples`
    too, `ids` are their names, and `subjects` says what belonging together changes.

    target: the row of the fixed target, which attacks and risk over training are then about; paths,
    dynamics, exposure and groups are those of its shadows. None: every model is a target. models:
    the runs there are, the target among them; negatives: non-members that a target is judged on;
    subjects: of records that belong together, else None; shown (N,): the record that stands for
    each sample or subject where a record is shown, a position among `records`, the ids of all records
    that figures are about.
    left_out: how a target's references were
    chosen (`seepage.attacks.how_left_out`); pool_share: share of the pool that a model trains on; distance_factor:
    what that means for an attacker who does not know the pool (`seepage.plan.distance_factor`).
    sample_fpr: how the false-positive rates of samples differ under the one threshold. unjudged:
    which samples no figure is about, and why, or "" (`seepage.findings.unjudged`). notes: what the
    run says of itself (`seepage.findings.notes`). contradictions: what of the run does not fit
    itself (`seepage.fleet.contradictions`). doubts: what its import doubted of inputs and classes
    (`seepage.findings.notes`). variants: what was kept of the models as
    released (`seepage.findings.variants`), or None; label_inference: of what it tells of labels
    (`seepage.findings.label_inference`). accountant: of runs under DP-SGD what it allows.
    agreement: whom the strongest attacks find, None where fewer than two resolve 1 % FPR. slices: the main
    attack within parts of the pool (`seepage.findings.slices`). tail: what losses alone tell of LiRA's
    TPR (`seepage.findings.tail`), None where they do not resolve it. tokens: where in the most exposed
    documents the evidence lies (`seepage.findings.token_shares`). canaries: of texts that the plan added to be
    found (`seepage.findings.canaries`), None without any.
    """

    title: str
    dataset: str
    path: str
    models: int
    samples: int
    target: int | None
    negatives: int
    subjects: SubjectFinding | None
    shown: Int64Array
    records: NDArray[np.str_]
    checkpoints: Float64Array
    main: str
    rule: str
    ids: NDArray[np.str_]
    labels: Int64Array
    classes: tuple[str, ...]
    utility: Utility | None
    blind: Blind
    attacks: tuple[AttackFinding, ...]
    skipped: Mapping[str, str]
    left_out: str
    pool_share: float
    distance_factor: float
    naming: Naming | None
    sample_fpr: FprSpread
    risk: Risk
    paths: Paths
    population: Population | None
    early: EarlyRecall | None
    exposure: Exposure
    groups: tuple[Group, ...]
    accuracy_in: Float64Array
    accuracy_out: Float64Array
    score_in: Float64Array
    score_out: Float64Array
    half_width: float
    evidence: Evidence
    failed: Mapping[int, str]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    curvature: CurvatureFinding | None = None
    layers: LayerFinding | None = None
    variants: Mapping[str, Any] | None = None
    label_inference: Mapping[str, Any] | None = None
    accountant: AccountantFinding | None = None
    agreement: AgreementFinding | None = None
    slices: tuple[SliceFinding, ...] = ()
    tail: TailFinding | None = None
    tokens: TokenShares | None = None
    canaries: CanaryFinding | None = None
    unjudged: str = ""
    notes: tuple[str, ...] = ()
    contradictions: Contradictions = field(default_factory=Contradictions)
    doubts: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """The task of the run's data, one of `seepage.signals.tasks.TASKS`."""
        return str(self.provenance.get("data", {}).get("task", "classification"))

    @property
    def unit(self) -> str:
        """What is judged, one of them: "sample" or "subject"."""
        return "sample" if self.subjects is None else "subject"

    @property
    def units(self) -> str:
        """What is judged: "samples" or "subjects"."""
        return f"{self.unit}s"

    @property
    def clock(self) -> Clock:
        """How the times of checkpoints are named."""
        return clock_of(self.provenance)

    @property
    def main_attack(self) -> AttackFinding:
        """The finding of the main attack."""
        return next(a for a in self.attacks if a.name == self.main)

    @property
    def strongest(self) -> AttackFinding:
        """The attack with the largest AUC; the gate judges by the same."""
        name = self.strongest_auc.attack
        return next(a for a in self.attacks if a.name == name)

    @property
    def strongest_auc(self) -> Strongest:
        """The largest AUC of all attacks, with an interval that pays for the choice."""
        return strongest({a.name: (a.auc, a.auc_wide) for a in self.attacks})

    @property
    def strongest_at_low_fpr(self) -> tuple[AttackFinding, AtFpr] | None:
        """The attack with the largest pooled TPR at 0.1 % FPR, by the lower end of its interval.

        At 1 % FPR where 0.1 % cannot be resolved; None where that cannot either.
        """
        k = 1 if self.main_attack.pooled[1].resolved else 0
        if not self.main_attack.pooled[k].resolved:
            return None
        # Where no interval has a lower end, or several the same, the rate decides, not the order. An attack
        # whose scores tie at that rate has none.
        best = max(
            (a for a in self.attacks if np.isfinite(a.pooled[k].tpr.mean)),
            key=lambda a: (np.nan_to_num(a.pooled[k].tpr.low), a.pooled[k].tpr.mean),
        )
        return best, best.pooled[k]

    @property
    def most_exposed_class(self) -> Group | None:
        """The class with the largest share of exposed samples; None with a single class."""
        if len(self.groups) < 2:
            return None
        return max(self.groups, key=lambda g: g.exposed / g.samples)

    @property
    def judged_in(self) -> int:
        """How many targets scored a sample as a member, median over those that any did."""
        n = self.paths.n_in
        return int(np.median(n[n > 0])) if (n > 0).any() else 0

    @property
    def judged_out(self) -> int:
        """How many targets scored a sample as a non-member, median over those that some scored as a member."""
        n = self.paths.n_out[self.paths.n_in > 0]
        return int(np.median(n)) if n.size else 0

    @property
    def judged(self) -> bool:
        """Whether there are enough pairs of runs for any interval at all."""
        return bool(np.isfinite(self.main_attack.auc.low))

    @property
    def leaks(self) -> bool:
        """Whether leakage was measured.

        Either the main attack's AUC interval lies above chance and its AUC above the null range, or
        the interval of the strongest attack, which pays for the choice, lies above chance.
        """
        main = (
            self.main_attack.auc.low > 0.5 and self.main_attack.auc.mean > self.risk.null_high[-1]
        )
        best = self.strongest
        other = self.strongest_auc.estimate.low > 0.5 and best.auc.mean > best.null_auc
        return bool(main or other)

    @property
    def undecided(self) -> bool:
        """Whether none was measured, but an interval of an AUC at the end reaches above 0.6.

        The main attack's, or that of the strongest, which pays for the choice.
        """
        ends = (self.main_attack.auc.high, self.strongest_auc.estimate.high)
        return self.judged and not self.leaks and max(ends) > 0.6

    @property
    def said(self) -> Said:
        """What the page's headline says, in one word or two.

        "refused" where models are copies, lists of members are those of other models, or members and
        non-members differ without any model, "too few models" where no interval is known, else "leaks", "undecided", or "not shown".
        """
        if self.contradictions.alike or self.contradictions.lists or self.blind.shifted:
            return "refused"
        if not self.judged:
            return "too few models"
        return "leaks" if self.leaks else "undecided" if self.undecided else "not shown"

    @property
    def onset(self) -> int | None:
        """First checkpoint from which the AUC's interval stays above chance and the null range."""
        above = (self.risk.low > 0.5) & (self.risk.auc > self.risk.null_high)
        if not above[-1]:
            return None
        below = np.flatnonzero(~above)
        return int(below[-1]) + 1 if below.size else 0

    @property
    def halfway(self) -> int | None:
        """First checkpoint at which the AUC's excess over its null is half the last one's."""
        if self.onset is None:
            return None
        excess = self.risk.auc - self.risk.null
        return int(np.flatnonzero(excess >= excess[-1] / 2)[0])

    @property
    def peak(self) -> int:
        """Checkpoint of the largest AUC."""
        return int(np.argmax(self.risk.auc))

    def summary(self) -> dict[str, Any]:
        """What goes into the JSON file: everything but the per-sample arrays."""
        e = self.exposure
        return {
            "format": "seepage.report/2",
            "title": self.title,
            "dataset": self.dataset,
            "run": self.path,
            "models": self.models,
            "samples": self.samples if self.subjects is None else self.subjects.records,
            "unit": self.unit,
            "subjects": None if self.subjects is None else plain(self.subjects.summary()),
            "judged": "every model" if self.target is None else "the fixed target, run 0",
            "non_members_per_target": self.negatives,
            "checkpoints": plain(self.checkpoints),
            "main_attack": self.main,
            "decision_rule": self.rule,
            "verdict": self.said,
            "leaks": self.leaks,
            "undecided": self.undecided,
            "utility": plain(self.utility),
            "blind_baseline": plain(self.blind),
            "attacks": [plain(a) for a in self.attacks],
            "precision": {
                "priors": list(PRIORS),
                "attacks": {
                    a.name: [{"fpr": r.fpr, "precision": plain(r.precisions)} for r in a.pooled]
                    for a in self.attacks
                },
            },
            "agreement": None if self.agreement is None else self.agreement.summary(),
            "strongest": plain(self.strongest_auc),
            "references": self.left_out,
            "unjudged_samples": self.unjudged,
            "notes": list(self.notes),
            "contradictions": list(self.contradictions.words),
            "doubts": list(self.doubts),
            "pool_share": self.pool_share,
            "naming": plain(self.naming),
            "false_positive_rates_of_samples": plain(self.sample_fpr),
            "skipped_attacks": dict(self.skipped),
            "risk_over_training": plain(self.risk),
            "dynamics": None
            if self.population is None
            else {k: plain(v) for k, v in self.population.estimates().items()},
            "early_determination": plain(self.early),
            "exposed": {
                "level": e.level,
                "count": int(e.exposed.sum()),
                "count_per_checkpoint": plain(e.count),
                "null_count_per_checkpoint": plain(e.null_count),
                "high_count_per_checkpoint": plain(e.high_count),
                "null_high_count_per_checkpoint": plain(e.null_high_count),
                "smallest_p_possible": plain(e.least),
                "false_at_most_95": e.at_most_false,
                "most_exposed": [str(self.ids[i]) for i in e.order[:50]],
                "records_of_most_exposed": None
                if self.subjects is None
                else plain(self.subjects.sizes[e.order[:50]]),
            },
            "groups": [plain(g) for g in self.groups],
            "slices": [s.summary() for s in self.slices],
            "tail_estimate": plain(self.tail),
            "half_width_of_a_samples_auc": plain(self.half_width),
            "curvature": None if self.curvature is None else plain(self.curvature.summary()),
            "layers": None if self.layers is None else plain(self.layers.summary()),
            "as_released": plain(self.variants),
            "label_inference": plain(self.label_inference),
            "canaries": None if self.canaries is None else self.canaries.summary(),
            "accountant": plain(self.accountant),
            "evidence": plain(self.evidence),
            "failed_runs": {str(k): v for k, v in self.failed.items()},
            "provenance": plain(self.provenance),
        }
