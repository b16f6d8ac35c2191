"""The section on subjects: how many records each has, how alike they are, what that changes."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from seepage.findings import SubjectFinding
from seepage.report.svg import Axis, Chart, linear_ticks
from seepage.report.words import interval, number

__all__ = ["subjects_values", "subjects_words"]


def subjects_values(x: SubjectFinding, *, single: bool = False) -> dict[str, Any]:
    """What `sections/subjects.html.j2` reads; single: of one model, without a fleet."""
    if x.log_ratio:
        where = (
            "over the references"
            if single
            else ("over models and given membership, estimated for each target on the other runs")
        )
    else:
        where = (
            "of their scores among the others"
            if single
            else ("of their scores as non-members, estimated for each target on the others")
        )
    rows = [
        {
            "size": f"{b.first:,}" if b.first == b.last else f"{b.first:,} to {b.last:,}",
            "subjects": b.subjects,
            "auc": number(b.auc.mean) if b.auc is not None else "too few",
            "interval": interval(b.auc) if b.auc is not None else "",
            "alike": number(b.alike),
            "apart": number(b.apart),
        }
        for b in x.by_size
    ]
    return {
        "x": x,
        "words": subjects_words(x),
        "rows": rows,
        "chart": _chart(x),
        "where": where,
        "whom": "the others" if single else "the pool",
        "single": single,
    }


def subjects_words(x: SubjectFinding) -> str:
    """Sizes and correlation, in sentences."""
    w = x.within
    low, middle, high = int(x.sizes.min()), float(np.median(x.sizes)), int(x.sizes.max())
    text = (
        f"{x.records:,} records belong to {len(x.sizes):,} subjects, {low:,} to {high:,} each "
        f"(median {middle:g}). "
    )
    if not np.isfinite(w.value):
        return text + (
            "How alike the records of a subject are could not be told: no subject has two, or runs "
            "are too few. Their scores are summed as if they were independent."
        )
    of = "signals" if x.log_ratio else "scores"
    text += f"The {of} of two records of one subject have a correlation of {number(w.value, 2)}"
    if np.isfinite(w.low):
        text += f" ({number(w.low, 2)} – {number(w.high, 2)})"
    if np.isfinite(w.between):
        text += f", of two records of different subjects {number(w.between, 2)}"
    most = high / (1 + (high - 1) * w.used)
    return text + (
        f": {high:,} records of one subject count as {most:.3g} independent ones."
        if high > 1
        else "."
    )


def _chart(x: SubjectFinding) -> Markup | None:
    """AUC by number of records, beside what correlation and independence would give."""
    told = [b for b in x.by_size if b.auc is not None]
    if len(x.by_size) < 2 or not told:
        return None
    top = float(x.sizes.max())
    ticks = tuple((float(2**k), f"{2**k}") for k in range(int(np.log2(top)) + 1))
    lowest = min([0.5, *(b.auc.mean for b in told if b.auc is not None)])
    low = max(0.0, np.floor(lowest * 10) / 10)
    chart = Chart(
        Axis(1.0, top, "records of a subject", ticks, log=True),
        Axis(low, 1.0, "AUC", linear_ticks(low, 1.0)),
        "AUC over subjects by their number of records",
    )
    at = np.array([np.sqrt(b.first * b.last) for b in x.by_size])
    chart.line(at, np.array([b.apart for b in x.by_size]), "diagonal", "independent records")
    chart.line(at, np.array([b.alike for b in x.by_size]), "null", "with this correlation")
    seen = np.array([np.sqrt(b.first * b.last) for b in told])
    found = [b.auc for b in told if b.auc is not None]
    mean = np.array([e.mean for e in found])
    if all(np.isfinite(e.low) for e in found) and len(found) > 1:
        chart.band(seen, np.array([e.low for e in found]), np.array([e.high for e in found]), "s0")
    chart.line(seen, mean, "s0", "measured")
    chart.dots(
        seen,
        mean,
        "s0",
        [f"{b.subjects} subjects of {b.first} to {b.last}: {number(m)}" for b, m in zip(told, mean, strict=True)],
    )  # fmt: skip
    return chart.render()
