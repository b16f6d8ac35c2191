"""Numbers as text, and the first screen of a report: how much, when, who, how sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.findings import Findings
from seepage.metrics import Estimate

__all__ = [
    "Answer",
    "FirstScreen",
    "epoch",
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


def epoch(value: float) -> str:
    """A checkpoint in words: 0 is the network before any training.

    >>> epoch(0.0), epoch(2.0), epoch(0.25)
    ('initialisation', 'epoch 2', 'epoch 0.25')
    """
    return "initialisation" if value == 0 else f"epoch {value:g}"


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
    best, at = f.strongest_at_low_fpr
    times = at.tpr.mean / at.realised if at.realised > 0 else float("nan")
    words = f"of members are identified by {best.title} while {percent(at.realised)} of non-members are wrongly called members"  # fmt: skip
    if np.isfinite(times):
        words += f": {times:.1f} times" if times < 9.95 else f": {times:.0f} times"
        words += " as many as by guessing"
    return Answer("How much?", percent(at.tpr.mean), words + ".", "risky" if f.leaks else "calm")


def _when(f: Findings) -> Answer:
    t = f.checkpoints
    if f.onset is None:
        words = "did the attack stay above what it reaches under permuted membership."
        return Answer("When?", "never", words, "calm")
    words = "is the first checkpoint from which the attack stays above what it reaches under permuted membership"  # fmt: skip
    if f.halfway is not None:
        words += f"; half of the final excess is reached by {epoch(t[f.halfway])}"
    words += (
        "; the leak is largest at the end."
        if f.peak == len(t) - 1
        else f"; the leak is largest at {epoch(t[f.peak])}."
    )
    return Answer("When?", epoch(t[f.onset]), words, "risky")


def _who(f: Findings) -> Answer:
    e = f.exposure
    exposed = int(e.exposed.sum())
    if exposed == 0:
        words = "of the samples is shown to be exposed"
        if e.least * f.samples > e.level:
            words += (
                f": with {f.models} models even a perfectly recognised one has p = {e.least:.2g}"
            )
        return Answer("Who?", "none", words + ".", "calm" if not f.leaks else "")
    words = (
        f"samples are exposed, with a false-discovery rate of at most {percent(e.level)}; under "
        f"permuted membership {thousands(e.null_count[-1])} would be."
    )
    top = f.most_exposed_class
    if top is not None:
        words += f" Most often in class “{top.name}” ({percent(top.exposed / top.samples)})."
    return Answer("Who?", f"{exposed:,} of {f.samples:,}", words, "risky")


def _how_sure(f: Findings) -> Answer:
    blind = f.blind.auc
    words = (
        f"were audited. Each sample was a member in {f.judged_in} of them, so its own rate is known to "
        f"±{f.half_width:.2f} only, with these models as references. "
    )
    words += (
        f"An attack that never sees a model reaches AUC {blind.mean:.3f}."
        if blind is not None
        else "The blind baseline was not run."
    )
    return Answer("How sure?", f"{f.models} models", words)


def first_screen(f: Findings) -> FirstScreen:
    """The verdict, four answers and warnings, from the findings."""
    best, main = f.strongest, f.main_attack
    if not f.judged:
        headline = "Too few models to say whether this training leaks."
    elif f.leaks:
        headline = (
            "This training leaks. Shown a member and a non-member, an attacker picks the member "
            f"{100 * best.auc.mean:.0f} times in 100."
        )
    else:
        headline = "No leakage was measured beyond what permuted membership shows."
    summary = f"{best.title} reaches an AUC of {number(best.auc.mean)} at the end of training"
    if interval(best.auc):
        summary += f" (95 % interval {interval(best.auc)})"
    summary += f"; chance is 0.5, and the same attack under permuted membership (redrawn at random after training) {number(best.null_auc)}."  # fmt: skip
    if best.name != main.name:
        summary += f" {main.title}, which this report follows over training and sample by sample, reaches {number(main.auc.mean)}."  # fmt: skip
    if f.utility is not None:
        summary += (
            f" The models classify {percent(f.utility.member[-1])} of members and "
            f"{percent(f.utility.other[-1])} of non-members correctly."
        )
    if f.judged and not f.leaks:
        summary += " That is no proof of privacy: a stronger attack or more models may find some."
    answers = (_how_much(f), _when(f), _who(f), _how_sure(f))
    return FirstScreen(headline, summary, answers, _warnings(f))


def _warnings(f: Findings) -> tuple[tuple[str, str], ...]:
    out = []
    b = f.blind.auc
    if b is not None and np.isfinite(b.low) and not b.covers(0.5):
        out.append(
            (
                "Members and non-members may differ by themselves.",
                f"An attack that never sees a model tells them apart with AUC {number(b.mean)} ({interval(b)}). Every figure here counts that difference as leakage.",
            )
        )  # fmt: skip
    if f.models < 16:
        out.append(
            (
                "Few models.",
                f"{f.models} models measure the risk of the whole pool roughly and that of single samples poorly; 32 or more are usual.",
            )
        )  # fmt: skip
    if f.failed:
        out.append(
            (
                f"{len(f.failed)} of {f.models + len(f.failed)} runs failed",
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
