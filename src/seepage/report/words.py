"""Numbers as text, and the first screen of a report: how much, when, who, how sure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.findings import Findings
from seepage.findings.accountant import AT
from seepage.findings.blind import shift_words
from seepage.findings.result import Utility
from seepage.metrics import Estimate

__all__ = [
    "Answer",
    "FirstScreen",
    "accountant",
    "first_screen",
    "interval",
    "interval_percent",
    "number",
    "percent",
    "provenance",
    "thousands",
]


@dataclass(frozen=True)
class Answer:
    """One of the four questions, its figure, and what that means."""

    question: str
    figure: str
    words: str
    tone: str = ""


@dataclass(frozen=True)
class FirstScreen:
    """What a reader sees before scrolling: the verdict, its figures, four answers, warnings."""

    headline: str
    summary: str
    answers: tuple[Answer, ...]
    warnings: tuple[tuple[str, str], ...]


def number(value: float, digits: int = 3) -> str:
    """A number for hover texts and tables; a dash where there is none.

    >>> number(0.12345), number(float("nan"))
    ('0.123', '–')
    """
    return f"{value:.{digits}f}" if np.isfinite(value) else "–"


def percent(value: float) -> str:
    """A share with two significant digits below 10 %.

    >>> percent(0.0001), percent(0.0312), percent(0.625), percent(float("nan"))
    ('0.01 %', '3.1 %', '62.5 %', '–')
    """
    if not np.isfinite(value):
        return "–"
    share = 100 * value
    if share == 0 or share >= 10:
        return f"{share:.4g} %" if share in (0, 100) else f"{share:.1f} %"
    return f"{float(f'{share:.2g}'):.12g} %"


def thousands(value: float) -> str:
    """A count with separators, rounded to whole numbers.

    >>> thousands(60000), thousands(0.2)
    ('60,000', '0.2')
    """
    return f"{value:,.0f}" if value == round(value) or value >= 10 else f"{value:.2g}"


def interval(e: Estimate) -> str:
    """The interval of an estimate; empty when there is none."""
    return f"{e.low:.3f} – {e.high:.3f}" if np.isfinite(e.low) else ""


def interval_percent(e: Estimate) -> str:
    """The interval of a share, in per cent."""
    return f"{percent(e.low)} – {percent(e.high)}" if np.isfinite(e.low) else ""


# What a headline says of what was given, beside its figures.
_NOTHING = "members' answers tell nothing of their labels"
_OTHERWISE = "inputs or classes may be others than in training"

UTILITY: Mapping[str, tuple[str, str]] = {
    "accuracy": ("Accuracy", "How accurate are the models?"),
    "label-vectors": ("Accuracy of whole label vectors", "How accurate are the models?"),
    "rmse": ("Prediction error", "How far off are the models?"),
    "divergence": ("Divergence from the targets", "How far off are the models?"),
    "nats-per-token": ("Loss of a token", "How well do the models predict?"),
}
"""Title and question of the section on utility, by what it shows."""


def how_accurate(f: Findings, u: Utility) -> str:
    """What the models reach at the end, by their task, without a full stop."""
    own, other = u.member[-1], u.other[-1]
    one = f.target is not None
    if u.measure == "rmse":
        whose = "model's" if one else "models'"
        return (
            f"The {whose} root-mean-square error is {own:.4g} on members and {other:.4g} on "
            "non-members, in units of the target"
        )
    if u.measure == "divergence":
        whose = "model's answers" if one else "models' answers"
        return (
            f"The {whose} are {own:.3g} nats from the distributions that are their targets on members "
            f"and {other:.3g} on non-members (mean KL divergence)"
        )
    if u.measure == "nats-per-token":
        return (
            f"A token of a member's text costs the {'model' if one else 'models'} {own:.3g} nats, one of "
            f"another's {other:.3g}"
        )
    if u.measure == "label-vectors":
        return (
            f"The {'model says' if one else 'models say'} all labels right of {percent(own)} of "
            f"members and of {percent(other)} of non-members"
        )
    who = "model classifies" if one else "models classify"
    return f"The {who} {percent(own)} of members and {percent(other)} of non-members correctly"


def _how_much(f: Findings) -> Answer:
    found = f.strongest_at_low_fpr
    tone = "risky" if f.leaks else "" if f.undecided else "calm"
    if found is None:
        words = (
            f"A rate at 1 % false positives cannot be resolved with {f.negatives:,} non-members; "
            "see the AUC above."
        )
        return Answer("How much?", "not resolved", words, tone)
    best, at = found
    words = f"of members are identified by {best.title} while {percent(at.null)} of non-members would wrongly be called members; without any leak {percent(at.null)} of members would be, too"  # fmt: skip
    times = at.tpr.mean / at.null
    if not at.tpr.low > at.null:
        words += "; the interval reaches down to that"
    elif times >= 1.95:
        words += f": {times:.1f} times" if times < 9.95 else f": {times:.0f} times"
        words += " as many as by guessing"
    return Answer("How much?", percent(at.tpr.mean), words + ".", tone)


def halfway(f: Findings, before: str = "") -> str:
    """When half of the final excess was there, after `before`; of an earlier one, why it was no onset."""
    if f.halfway is None or f.onset is None:
        return ""
    at = f.clock(f.checkpoints[f.halfway])
    if f.halfway < f.onset:
        return f"{before}half of the final excess was there at {at}, but not beyond chance from there on"
    return f"{before}half of the final excess is reached by {at}"


def _when(f: Findings) -> Answer:
    t = f.checkpoints
    if len(t) == 1:
        words = "was recorded: when the leak began is not known."
        return Answer("When?", "one checkpoint", words)
    if f.onset is None:
        words = "did the attack stay above what it reaches under permuted membership."
        return Answer("When?", "never", words, "" if f.undecided else "calm")
    words = "is the first checkpoint from which the attack stays above what it reaches under permuted membership"  # fmt: skip
    words += halfway(f, "; ")
    words += (
        "; the leak is largest at the end."
        if f.peak == len(t) - 1
        else f"; the leak is largest at {f.clock(t[f.peak])}."
    )
    return Answer("When?", f.clock(t[f.onset]), words, "risky")


def _who(f: Findings) -> Answer:
    e = f.exposure
    exposed = int(e.exposed.sum())
    if f.target is not None and f.naming is not None:
        n = f.naming
        words = (
            f"members of this model can be named by {f.main_attack.title} when an expected "
            f"{percent(n.q)} of the names may be false; calibrated on {n.calibration:,} of its "
            f"non-members, at least {n.fewest:,} have to be named to reach that rate. By the shadows, "
            f"{exposed:,} {f.units} are exposed by this recipe."
        )
        tone = "risky" if n.count else "calm" if not (f.leaks or f.undecided) else ""
        return Answer("Who?", f"{thousands(n.count)} of {n.members:,}", words, tone)
    if exposed == 0:
        words = f"of the {f.units} is shown to be exposed"
        if e.tested and e.least * e.tested > e.level:
            enough = 2 * math.ceil(math.log2(e.tested / e.level))
            words += (
                f": with {f.models} models even a perfectly recognised one has p = {e.least:.2g}; in "
                f"complementary halves, {enough} models are the fewest by which one alone could be named"
            )
        return Answer("Who?", "none", words + ".", "calm" if not (f.leaks or f.undecided) else "")
    words = (
        f"{f.units} are exposed. Of such lists a share of {percent(e.level)} is expected to be wrong "
        f"at most; of this one, with 95 % confidence, no more than {e.at_most_false:,} names are. "
        f"Under permuted membership {thousands(e.null_count[-1])} would pass the same threshold."
    )
    top = f.most_exposed_class
    if top is not None:
        where = "of likeliest class" if f.task == "soft-labels" else "in class"
        words += f" Most often {where} “{top.name}” ({percent(top.exposed / top.samples)})."
    return Answer("Who?", f"{exposed:,} of {e.tested:,}", words, "risky")


def _how_sure(f: Findings) -> Answer:
    blind = f.blind.auc
    words = (
        f"were {'audited' if f.target is None else 'trained: the one that is judged and its shadows'}. "
        f"{'Each' if f.exposure.tested == f.samples else 'A typical'} {f.unit} was a member in {f.judged_in} of them, so how far training on it raises its "
        f"own signal (AUC) is known to ±{f.half_width:.2f} only. "
    )
    words += (
        f"The strongest of {max(len(f.blind.each), 1)} attacks that never see a model reaches AUC {blind.mean:.3f}"
        + (f" ({interval(blind)}; chance is 0.5)." if interval(blind) else "; chance is 0.5.")
        if blind is not None
        else "The blind baseline was not run."
    )
    return Answer("How sure?", f"{f.models} models", words)


def _shown(f: Findings) -> str:
    who = "a member and a non-member"
    return f"Shown {who}" if f.subjects is None else f"Shown the records of {who}"


def first_screen(f: Findings) -> FirstScreen:
    """The verdict, four answers and warnings, from the findings."""
    best, main = f.strongest, f.main_attack
    if f.contradictions.alike:
        headline = "No verdict: models are copies of one another."
    elif f.contradictions.lists:
        headline = (
            "No verdict: lists of members are not those of their models."
            if f.contradictions.lists.startswith("lists")
            else "No verdict: every model is surer of others than of its members, as where a signal is another."
        )
    elif f.blind.shifted:
        headline = f"No verdict: {shift_words(f.blind)}."
    elif f.said == "too few models":
        headline = "Too few models to say whether this training leaks."
    elif f.said == "leaks":
        headline = (
            f"{'This training' if f.target is None else 'This model'} leaks. {_shown(f)}, an attacker picks the member "
            f"{100 * best.auc.mean:.0f} times in 100."
        )
    elif f.said == "undecided":
        whether = "this training" if f.target is None else "this model"
        headline = (
            f"{f.models} models cannot tell whether {whether} leaks: the interval of an AUC reaches from "
            "chance or below to more than 0.6."
        )
    else:
        headline = "No leakage was measured beyond what permuted membership shows."
    headline += _doubted(f)
    chosen = f.strongest_auc
    summary = f"{best.title} reaches an AUC of {number(best.auc.mean)} at the end of training"
    if interval(chosen.estimate):
        summary += f" (95 % interval {interval(chosen.estimate)}"
        summary += (
            f", which pays for its choice among {chosen.compared} attacks)"
            if chosen.compared > 1
            else ")"
        )
    summary += f"; chance is 0.5, and the same attack under permuted membership (redrawn at random after training) {number(best.null_auc)}."  # fmt: skip
    if best.name != main.name:
        summary += f" {main.title}, which this report follows over training and {f.unit} by {f.unit}, reaches {number(main.auc.mean)}."  # fmt: skip
    if f.utility is not None:
        summary += f" {how_accurate(f, f.utility)}."
    if f.target is not None:
        summary += (
            f" Judged is one model, run 0, whose members are known; {f.models - 1} shadows of the "
            "same recipe serve as references, and the plane and the list of exposed "
            f"{f.units} are theirs."
        )
    if f.subjects is not None:
        x = f.subjects
        summary += (
            f" Judged are {f.samples:,} subjects, by all of their {x.records:,} records together "
            f"({number(x.by_record.mean)} by single records)."
        )
    if f.undecided:
        summary += " Train more models."
    elif f.judged and not f.leaks:
        summary += " That is no proof of privacy: a stronger attack or more models may find some."
    answers = (_how_much(f), _when(f), _who(f), _how_sure(f))
    return FirstScreen(headline, summary, answers, _warnings(f))


def _doubted(f: Findings) -> str:
    """Why the figures of a headline may be of something else, as a sentence after it; or ""."""
    told = [_NOTHING] if f.contradictions.answers else []
    if f.doubts:
        told.append(_OTHERWISE)
    where = (
        "the first warning"
        if len(f.contradictions.words) + len(f.doubts) == 1
        else "the first warnings"
    )
    return f" But {', and '.join(told)}: see {where}." if told else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _warnings(f: Findings) -> tuple[tuple[str, str], ...]:
    out = [
        ("What was given does not fit itself.", f"{_sentence(w)}.") for w in f.contradictions.words
    ]
    out += [
        (
            "The import doubts what it was given.",
            f"{_sentence(w).removesuffix('?')}{'?' if w.endswith('?') else '.'}",
        )
        for w in f.doubts
    ]
    if f.blind.shifted:
        out.append(
            (
                "Members and non-members differ by themselves.",
                f"{_sentence(shift_words(f.blind))}. Every figure here counts that difference as leakage.",
            )
        )
    if f.models < 16:
        out.append(
            (
                "Few models.",
                f"{f.models} models measure the risk of the whole pool roughly and that of single {f.units} poorly; 32 or more are usual.",
            )
        )  # fmt: skip
    e = f.evidence
    if e.missing:
        out.append(
            (
                f"{len(e.missing)} of {e.planned} planned runs are missing",
                "and in no figure: this report is about an unfinished or incomplete fleet.",
            )
        )
    if e.copies:
        out.append(
            (
                "Copies hide leakage.",
                f"{e.copies:,} of {f.samples:,} samples have an exact copy that other runs train on. Such a sample is known to its non-members, too, so what it leaks is not seen here: keep copies together (data.copies = \"group\") or drop them.",
            )
        )  # fmt: skip
    if f.failed:
        out.append(
            (
                f"{len(f.failed)} of {e.planned} runs failed",
                "and are left out of every figure; see “Evidence and provenance”.",
            )
        )
    return tuple(out)


def provenance(manifest: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A manifest as (dotted name, text) rows; long lists are counted, long texts cut.

    >>> provenance({"seed": 1, "data": {"name": "digits", "classes": ["a", "b"]}})
    [('seed', '1'), ('data.name', 'digits'), ('data.classes', 'a, b')]
    """
    rows: list[tuple[str, str]] = []
    for key, value in manifest.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            rows += provenance(value, name + ".")
        elif isinstance(value, (list, tuple)):
            text = ", ".join(str(v) for v in value[:12])
            rows.append((name, text if len(value) <= 12 else f"{text}, … ({len(value)})"))
        elif value is not None:
            text = str(value)
            rows.append((name, text if len(text) <= 160 else text[:157] + "…"))
    return rows


def interval_of(mean: float, low: float, high: float) -> str:
    """A figure with its interval.

    >>> interval_of(0.5, 0.25, 0.75), interval_of(0.5, float("nan"), float("nan"))
    ('0.50 (0.25 – 0.75)', '0.50')
    """
    shown = number(mean, 2)
    return f"{shown} ({number(low, 2)} – {number(high, 2)})" if np.isfinite(low) else shown


_LEFT_OUT = {
    "tuples": "Neither the target nor the other runs of its pair or tuple were among its references.",
    "matched": "The plan has no complementary runs. Sample by sample, each target was left out of its references together with a random run of the other side, and every sample has equally many references of each kind, so that their number tells nothing about membership.",
    "independent": "Membership was drawn for each run by itself, so the target alone was left out of its references.",
    "unbalanced": "The plan has no complementary runs, and samples are trained on so unequally often that the number of a sample's references tells something about its membership: read every figure beside the one under permuted membership.",
}  # fmt: skip


def left_out(f: Findings) -> str:
    """Which runs a target's references leave out, in one sentence for each kind of plan."""
    return _LEFT_OUT[f.left_out]


def adversary(f: Findings) -> str:
    """Whom the figures are about: an attacker who knows the pool; and by how much that matters."""
    text = (
        f"A model trained on {percent(f.pool_share)} of the pool. The attacker of these figures "
        "knows the pool, from which the other members were drawn, and sees scores of the model. "
    )
    if f.target is not None:
        return text + (
            "The members of the target are a fact and not a draw; its shadows were trained on "
            "random parts of the same pool."
        )
    return text + (
        "Against one who does not know it, with other members drawn anew from a population, the "
        "figures are too high: the distance between a sample's signals with and without it is "
        f"overstated by a factor of at most {f.distance_factor:.2f} (arXiv 2605.25819: "
        "1/√(1 − share), for the variance that comes from the choice of other members only). Larger "
        "tuples of runs lower it, to 1.15 with 4 parts and 1.05 with 10."
    )


def calibration(f: Findings) -> str:
    """How much the false-positive rate differs between samples under the report's one threshold."""
    c = f.sample_fpr
    return (
        f"One threshold for all {f.units} is not one false-positive rate for all: at the end their own "
        f"rates have a mean of {percent(c.mean)} and a standard deviation of {percent(c.sd)}, where "
        f"counting alone gives {percent(c.sd_counting)}; the 99th percentile is {percent(c.top)} "
        f"({percent(c.top_counting)}), and {percent(c.zero)} of the {f.units} have none "
        f"({percent(c.zero_counting)})."
    )


def naming(f: Findings) -> str:
    """What an attacker could name of one model, which is not the list of exposed samples."""
    n = f.naming
    if n is None:
        return ""
    who = "of each model, on average over targets," if f.target is None else "of the model"
    what = "records" if f.subjects is None else "subjects"
    text = (
        f"{f.main_attack.title} can name {thousands(n.count)} of {n.members:,} members {who} when "
        f"an expected {percent(n.q)} of the names may be false; calibrated on {n.calibration:,} "
        f"other non-members of the same model, at least {n.fewest:,} {what} have to be named to "
        "reach that rate at all."
    )
    if n.count > 0:
        share = f" Their mean false share was {percent(n.false.mean)}"
        text += f"{share} ({interval_percent(n.false)})." if interval(n.false) else f"{share}."
    return text


def accountant(f: Findings) -> str:
    """What the line on the plane says of a run under DP-SGD; empty for other runs."""
    a = f.accountant
    if a is None:
        return ""
    spent = f"ε = {a.epsilon:.2f} at δ = {a.delta:g}" if np.isfinite(a.epsilon) else "no finite ε"
    text = (
        f"DP-SGD with noise σ = {a.noise:g}, sampling rate {a.rate:.3g} and {a.steps:,} steps spent "
        f"{spent}."
    )
    if a.missing:
        return f"{text} What that allows on the plane is not drawn: {a.missing}"
    rates = ", ".join(
        f"{percent(tpr)} at {percent(fpr)} FPR" for fpr, tpr in zip(AT, a.at, strict=True)
    )
    text += (
        f" The solid line is what that allows: for every record the expected TPR of any attack is "
        f"at most {rates}, and its advantage at most {number(a.advantage)}. {a.above:,} of "
        f"{f.exposure.tested:,} points lie above it, {a.null_above:,} under permuted membership: rates counted on "
        "few models scatter, expected ones may not pass it."
    )
    if not a.holds:
        text += f" It is not a guarantee of this run: {a.why_not or 'a condition was not checked'}."
    return text
