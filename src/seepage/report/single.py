"""The page of one model: what its template reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from seepage.report.subjects import subjects_values
from seepage.report.svg import Axis, Chart
from seepage.report.variants import variants_values
from seepage.single import SingleAudit, words

__all__ = ["single_values"]

SHOWN = 40


def single_values(one: SingleAudit) -> Mapping[str, Any]:
    """Everything that `single.html.j2` reads."""
    named = np.flatnonzero(one.named)
    named = named[np.argsort(one.p[named], kind="stable")]
    resolved = sum(r.fpr * (r.negatives + 1) >= 1 - 1e-9 for r in one.attacks[0].rates)
    return {
        "one": one,
        "accuracy": words.accuracy(one),
        "naming": words.named(one),
        "chart": _roc(one),
        "skipped": words.not_run(one),
        # The first rate that so few others cannot resolve stands for the lower ones.
        "rates": range(min(resolved + 1, len(one.attacks[0].rates))),
        "named": [
            {
                "id": str(one.ids[i]),
                "p": f"{one.p[i]:.3g}",
                "member": bool(one.member[i]),
                "records": 1 if one.whose is None else int(one.whose.sizes[i]),
            }
            for i in named[:SHOWN].tolist()
        ],
        "more": max(0, len(named) - SHOWN),
        "release": None
        if one.release is None
        else variants_values(one.release) | {"words": words.released(one)},
        # What `sections/slices.html.j2` reads of a fleet's findings.
        "parts": {"slices": one.slices, "unit": one.unit.removesuffix("s"), "units": one.unit},
        "sliced": one.attack(one.main).title,
        "whose": None if one.whose is None else subjects_values(one.whose, single=True),
    }


def _roc(one: SingleAudit) -> Markup:
    """Log-log ROC of every attack, down to one other."""
    low = float(10.0 ** np.clip(np.floor(-np.log10(max(one.others, 10))), -5, -1))
    decades = [10.0**k for k in range(round(np.log10(low)), 1)]
    ticks = tuple((d, f"{d * 100:g} %") for d in decades)
    chart = Chart(
        Axis(low, 1.0, "false-positive rate (others called members)", ticks, log=True),
        Axis(low, 1.0, "true-positive rate (members called members)", ticks, log=True),
        "ROC curves of all attacks on logarithmic axes",
        height=520,
    )
    chart.line(np.array([low, 1.0]), np.array([low, 1.0]), "diagonal", "no leakage")
    for k, a in enumerate(one.attacks):
        seen = a.roc_fpr >= low
        chart.line(a.roc_fpr[seen], a.roc_tpr[seen], f"s{k % 8} d{k // 8 % 4}", a.title)
    return chart.render()
