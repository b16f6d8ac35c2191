"""The report's sections. Adding one: a template, a function from findings to its values, a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from seepage.array_types import Float64Array
from seepage.data import Dataset
from seepage.report import figures, probe_figures, words
from seepage.report.findings import Findings
from seepage.report.pictures import Exhibit, exhibits

__all__ = ["SECTIONS", "Section"]

SHOWN = 24
CLASSES_SHOWN = 30
# Provenance that is shown at once; the rest of the manifest folds away.
FIRST = ("data.name", "data.digest", "plan.kind", "plan.seed", "plan.digest", "created",
         "hardware", "versions.seepage", "versions.torch", "wall", "key.model.name")  # fmt: skip

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """One section: its anchor, title, the question it answers, and what its template reads.

    `values` gets the findings and the data (None when absent or withheld) and returns None where
    the section does not apply. The template is `sections/<key>.html.j2`; `f` is always there.
    """

    key: str
    title: str
    question: str
    values: Callable[[Findings, Dataset | None], Values | None]


def _utility(f: Findings, data: Dataset | None) -> Values | None:
    return None if f.utility is None else {"u": f.utility, "chart": figures.utility(f)}


def _blind(f: Findings, data: Dataset | None) -> Values:
    b = f.blind.auc
    if b is None:
        verdict = "Without the data this report cannot rule out that members and non-members differ by themselves."
    elif np.isnan(b.low):
        verdict = "One pair of runs gives no interval, so this figure can only be read roughly."
    elif b.covers(0.5):
        verdict = "Chance lies inside its interval: nothing suggests that the split itself gives members away."
    else:
        verdict = "Chance lies outside its interval: members and non-members may differ by themselves. Draw the split again at random before trusting any figure below."  # fmt: skip
    return {"b": f.blind, "verdict": verdict}


def _attacks(f: Findings, data: Dataset | None) -> Values:
    return {"chart": figures.roc(f)}


def _risk(f: Findings, data: Dataset | None) -> Values:
    r, t = f.risk, f.checkpoints
    if f.onset is None:
        text = "The line does not leave the noise floor for good: over this training no leakage was measured."
    else:
        text = f"From {figures.epoch(t[f.onset])} on, the attack does better than on permuted membership, with its whole interval above a coin."
        if f.halfway is not None:
            text += f" Half of the final excess is there by {figures.epoch(t[f.halfway])}."
        if f.peak < len(t) - 1 and r.auc[f.peak] > r.high[-1]:
            text += f" The risk was highest at {figures.epoch(t[f.peak])} and fell afterwards."
    e = f.exposure
    high = (
        f"An advantage of one half means: recognised at least 50 points more often when it was a "
        f"member than when it was not. At the end {words.thousands(int(e.high_count[-1]))} samples "
        f"lie there, {words.thousands(float(e.null_high_count[-1]))} under permuted membership."
    )
    return {
        "chart": figures.risk(f),
        "chart_high": figures.exposed(f),
        "words": text,
        "words_high": high,
    }


def _plane(f: Findings, data: Dataset | None) -> Values:
    return {"n_in": int(np.median(f.paths.n_in))}


def _dynamics(f: Findings, data: Dataset | None) -> Values | None:
    p = f.population
    if p is None:
        return None
    shown = (
        ("Encoding speed", "speed per epoch", p.speed, "How far a sample moves on the plane per epoch, on average. Counting noise alone moves points: compare with the grey line."),
        ("Spatial entropy", "entropy, bits", p.entropy, "How widely the samples are spread over the plane: low when all behave alike."),
        ("Into the high region", "probability per interval", p.to_high, "The chance that a sample that is not in the high region moves there before the next checkpoint."),
        ("Displacement", "from the start", p.displacement, "How far the centre of the cloud is from where it began, in units of the square."),
        ("Mean advantage", "TPR − FPR", p.advantage, "The centre of the cloud: how far above the diagonal it lies."),
    )  # fmt: skip
    charts = [
        {"title": title, "text": text, "chart": figures.metric(f.checkpoints, e, label)}
        for title, label, e, text in shown
    ]
    if f.early is not None:
        charts.append(
            {
                "title": "Early determination",
                "text": "The share of the finally high samples that are high already. Dashed: as many random samples.",
                "chart": figures.early(f.checkpoints, f.early),
            }
        )
    names = {
        "displacement_net": "Displacement of the centre, net",
        "displacement_path": "Displacement of the centre, along its path",
        "mean_speed": "Mean speed per epoch",
        "peak_to_high": "Largest probability of moving to high",
        "entropy_change": "Change of entropy, bits",
    }
    rows = [
        {"name": text, "e": e, "outside": bool(e.outside_null)}
        for key, text in names.items()
        if (e := p.summary().get(key)) is not None
    ]
    return {"charts": charts, "rows": rows, "regions": p.regions}


def _spark(tpr: Float64Array, fpr: Float64Array) -> Markup:
    """A sample's two rates over checkpoints, the area between them filled."""
    n = max(len(tpr) - 1, 1)
    up = [f"{100 * k / n:.1f},{40 * (1 - v) + 2:.1f}" for k, v in enumerate(np.nan_to_num(tpr))]
    low = [f"{100 * k / n:.1f},{40 * (1 - v) + 2:.1f}" for k, v in enumerate(np.nan_to_num(fpr))]
    return Markup(
        '<svg class="spark" viewBox="0 0 100 44" preserveAspectRatio="none" aria-hidden="true">'
        '<polygon class="area" points="{} {}"/><polyline class="b" points="{}"/>'
        '<polyline class="a" points="{}"/></svg>'
    ).format(" ".join(up), " ".join(low[::-1]), " ".join(low), " ".join(up))


def _exposed(f: Findings, data: Dataset | None) -> Values:
    e, p = f.exposure, f.paths
    fpr, tpr = p.rates()
    cards = []
    first = e.order[:SHOWN]
    held = exhibits(data, first) if data is not None else [Exhibit(None)] * len(first)
    for i, shown in zip(first.tolist(), held, strict=True):
        cards.append(
            {
                "row": i,
                "id": str(f.ids[i]),
                "klass": f.classes[int(f.labels[i])],
                "picture": shown.picture,
                "cells": shown.cells,
                "spark": _spark(tpr[:, i], fpr[:, i]),
                "tp": int(p.tp[-1, i]),
                "fp": int(p.fp[-1, i]),
                "n_in": int(p.n_in[i]),
                "n_out": int(p.n_out[i]),
                "q": f"{e.q[i]:.2g}",
                "exposed": bool(e.exposed[i]),
                "since": figures.epoch(f.checkpoints[e.since[i]]) if e.since[i] >= 0 else "",
            }
        )
    named = int(e.exposed.sum())
    if named:
        text = f"{named:,} of {f.samples:,} samples are exposed beyond chance at the last checkpoint. These are the first {len(cards)}."
        middle = int(np.median(e.since[e.exposed]))
        text += f" Half of the named have been so since {figures.epoch(f.checkpoints[middle])} or earlier."
    else:
        text = f"No single sample can be named at a false-discovery rate of {words.percent(e.level)}. The {len(cards)} highest are shown so that you can look for a pattern; each may be chance."
    groups = sorted(f.groups, key=lambda g: -np.nan_to_num(g.advantage))
    return {
        "cards": cards,
        "words": text,
        "groups": groups[:CLASSES_SHOWN],
        "more": max(0, len(groups) - CLASSES_SHOWN),
        "top": max([g.advantage for g in groups if np.isfinite(g.advantage)] + [0.01]),
    }


ENDS = 6


def _curvature(f: Findings, data: Dataset | None) -> Values | None:
    c = f.curvature
    if c is None:
        return None
    count = min(ENDS, c.measured // 2)
    ends = {
        "The most curved": c.order[:count],
        "The least curved": c.order[c.measured - count : c.measured][::-1].copy(),
    }
    rows = []
    for title, chosen in ends.items():
        held = exhibits(data, chosen) if data is not None else [Exhibit(None)] * len(chosen)
        cards = [
            {
                "row": i,
                "id": str(f.ids[i]),
                "klass": f.classes[int(f.labels[i])],
                "picture": e.picture,
                "cells": e.cells,
                "mean": f"{c.mean[i]:.3g}",
                "inside": f"{c.last_in[i]:.3g}",
                "outside": f"{c.last_out[i]:.3g}",
            }
            for i, e in zip(chosen.tolist(), held, strict=True)
        ]
        rows.append({"title": title, "cards": cards})
    return {
        "c": c,
        "chart": probe_figures.curvature(c),
        "flatness": probe_figures.flatness(c),
        "rows": rows,
        "share": c.measured < f.samples,
    }


LAYER_WORDS = {
    "k95": "Degrees of freedom (k95)",
    "erank": "Effective rank",
    "pooled_k95": "Degrees of freedom, pooled",
    "jac_rank_1e2": "Jacobian rank at 1 % (wide layers: at least)",
    "jac_participation": "Jacobian participation",
    "stable_rank": "Stable rank of the Jacobian",
}


def _layers(f: Findings, data: Dataset | None) -> Values | None:
    x = f.layers
    if x is None:
        return None
    maps = []
    if x.attack.size:
        title = f"AUC of the attack per layer ({x.attack_models} kept models)"
        maps.append(
            {"title": title, "chart": probe_figures.heat(x.layers, x.attack_epochs, x.attack, True)}
        )
    maps += [
        {
            "title": LAYER_WORDS.get(name, name),
            "chart": probe_figures.heat(x.layers, x.epochs, values, False),
        }
        for name, values in x.indicators.items()
    ]
    return {"x": x, "chain": probe_figures.chain(x.layers, x.risk, x.measured), "maps": maps}


def _evidence(f: Findings, data: Dataset | None) -> Values:
    text = (
        "Figures of the whole population rest on all models together and are firm; figures of one "
        "sample rest on a few runs and are not. Read a name on the list as a reason to look, not as "
        "a verdict."
    )
    kept = {k: v for k, v in f.provenance.items() if k not in ("descriptions", "checkpoints")}
    rows = words.provenance(kept)
    return {
        "words": text,
        "n_in": int(np.median(f.paths.n_in)),
        "n_out": int(np.median(f.paths.n_out)),
        "provenance": [r for r in rows if r[0].startswith(FIRST)],
        "rest": [r for r in rows if not r[0].startswith(FIRST)],
    }


SECTIONS: tuple[Section, ...] = (
    Section("utility", "Accuracy", "What was the risk taken for?", _utility),
    Section("blind", "The blind baseline", "Is the comparison fair?", _blind),
    Section("attacks", "Attacks", "How much leaks?", _attacks),
    Section("risk", "Risk over training", "When does it leak?", _risk),
    Section("plane", "The plane", "When and for whom?", _plane),
    Section("dynamics", "Dynamics", "How does it build up?", _dynamics),
    Section("exposed", "The most exposed samples", "Who is exposed?", _exposed),
    Section("curvature", "Curvature", "Who lies where the loss bends?", _curvature),
    Section("layers", "Layers", "Where does it leak?", _layers),
    Section("evidence", "Evidence and provenance", "How sure are we?", _evidence),
)
