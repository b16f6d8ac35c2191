"""The report in plain words: how much, when, who, how sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.metrics import Estimate
from seepage.report.figures import epoch, number
from seepage.report.findings import Findings

__all__ = ["Answer", "Lead", "interval", "interval_percent", "lead", "percent", "provenance", "thousands"]  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """One of the four questions, its figure, and what that means."""

    question: str
    figure: str
    words: str
    tone: str = ""


@dataclass(frozen=True)
class Lead:
    """The first screen."""

    headline: str
    standfirst: str
    answers: tuple[Answer, ...]
    warnings: tuple[tuple[str, str], ...]


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


def _how_much(f: Findings) -> Answer:
    k = 1 if f.lead.pooled[1].resolved else 0
    best = max(f.attacks, key=lambda a: np.nan_to_num(a.pooled[k].tpr.low))
    at = best.pooled[k]
    times = at.tpr.mean / at.realised if at.realised > 0 else float("nan")
    words = f"of members are found by {best.title} while {percent(at.realised)} of non-members are falsely accused"  # fmt: skip
    if np.isfinite(times):
        words += f": {times:.1f} times" if times < 9.95 else f": {times:.0f} times"
        words += " what guessing finds"
    return Answer("How much?", percent(at.tpr.mean), words + ".", "risky" if f.leaks else "calm")


def _when(f: Findings) -> Answer:
    t = f.checkpoints
    if f.onset is None:
        return Answer(
            "When?", "never", "did the attack rise above the noise floor for good.", "calm"
        )
    words = "is the first checkpoint from which the leak stays above the noise floor"
    if f.halfway is not None:
        words += f"; half of its final size is reached by {epoch(t[f.halfway])}"
    words += (
        "; it is largest at the end."
        if f.peak == len(t) - 1
        else f"; it is largest at {epoch(t[f.peak])}."
    )
    return Answer("When?", epoch(t[f.onset]), words, "risky")


def _who(f: Findings) -> Answer:
    e = f.exposure
    named = int(e.exposed.sum())
    if named == 0:
        words = (
            "of the samples can be named with confidence"
            + (f": with {f.models} models even a perfectly recognised one has p = {e.least:.2g}" if e.least * f.samples > e.level else "")
            + "."
        )  # fmt: skip
        return Answer("Who?", "none", words, "calm" if not f.leaks else "")
    words = (
        f"samples can be named as exposed, at most {percent(e.level)} of them falsely; "
        f"{thousands(e.null_count[-1])} would pass on permuted membership."
    )
    top = max(f.groups, key=lambda g: g.exposed / g.samples, default=None)
    if top is not None and len(f.groups) > 1:
        words += f" Most often in class “{top.name}” ({percent(top.exposed / top.samples)})."
    return Answer("Who?", f"{named:,} of {f.samples:,}", words, "risky")


def _how_sure(f: Findings) -> Answer:
    n = int(np.median(f.paths.n_in))
    blind = f.blind.auc
    words = (
        f"judged each sample {n} times on either side: with these models as each other's "
        f"references one sample's rate is known to ±{f.half_width:.2f}; a fresh fleet may move "
        "samples that hardly leak further. "
    )
    words += (
        f"An attack without a model reaches AUC {blind.mean:.3f}."
        if blind is not None
        else "The blind baseline was not run."
    )
    return Answer("How sure?", f"{f.models} models", words)


def lead(f: Findings) -> Lead:
    """The first screen of a report, from its findings."""
    best, main = f.strongest, f.lead
    if not f.judged:
        headline = "Too few models to say whether this training leaks."
    elif f.leaks:
        headline = (
            "This training leaks. Shown a member and a non-member, an attacker picks the member "
            f"{100 * best.auc.mean:.0f} times in 100."
        )
    else:
        headline = "No leakage was measured above the noise floor."
    standfirst = f"{best.title} reaches an AUC of {number(best.auc.mean)} at the end of training"
    if interval(best.auc):
        standfirst += f" (95 % interval {interval(best.auc)})"
    standfirst += f"; a coin reaches 0.5, the same attack on permuted membership {number(best.null_auc)}."  # fmt: skip
    if best.name != main.name:
        standfirst += f" {main.title}, which this report follows over training and sample by sample, reaches {number(main.auc.mean)}."  # fmt: skip
    if f.utility is not None:
        standfirst += (
            f" The models are right on {percent(f.utility.member[-1])} of members and "
            f"{percent(f.utility.other[-1])} of non-members."
        )
    if f.judged and not f.leaks:
        standfirst += (
            " That is no proof of privacy: a stronger attack or more models may find some."
        )
    return Lead(headline, standfirst, (_how_much(f), _when(f), _who(f), _how_sure(f)), _warnings(f))


def _warnings(f: Findings) -> tuple[tuple[str, str], ...]:
    out = []
    b = f.blind.auc
    if b is not None and np.isfinite(b.low) and not b.covers(0.5):
        out.append(
            (
                "The split may be shifted.",
                f"An attack that never sees a model tells members from non-members with AUC {number(b.mean)} ({interval(b)}). Every figure here counts that difference as leakage.",
            )
        )  # fmt: skip
    if f.models < 16:
        out.append(
            (
                "Few models.",
                f"{f.models} models show the population's risk roughly and single samples hardly; 32 or more are usual.",
            )
        )  # fmt: skip
    if f.failed:
        out.append(
            (
                f"{len(f.failed)} of {f.models + len(f.failed)} runs failed",
                "and are left out of every figure; see “How sure are we”.",
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
