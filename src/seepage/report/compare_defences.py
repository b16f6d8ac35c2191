"""A comparison of defences as HTML and as Markdown, with every figure as JSON and Parquet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from markupsafe import Markup

from seepage.array_types import Float64Array
from seepage.comparison.results import PoolResults, Row
from seepage.defenses.pptp import PPTP
from seepage.errors import InputError
from seepage.findings import plain
from seepage.findings.defences import (
    auc_key,
    canary_key,
    figure_lines,
    on_front,
    worst_classes,
)
from seepage.report.defence_words import (
    beside_private,
    columns_of,
    figure_of,
    machines,
    missing,
    other_machines,
    region_tables,
    rules_before,
    why,
)
from seepage.report.figures import epochs_axis
from seepage.report.html import page
from seepage.report.svg import Axis, Chart, linear_ticks
from seepage.store.files import replacing, write_json

__all__ = [
    "accuracy_and_risk",
    "centres",
    "markdown",
    "metrics_table",
    "over_training",
    "write_defend_report",
]


def _around(values: Float64Array, least: float) -> tuple[float, float]:
    held = values[np.isfinite(values)]
    pad = max(0.1 * float(np.ptp(held)), least)
    return float(held.min()) - pad, float(held.max()) + pad


def accuracy_and_risk(
    p: PoolResults, metric: str, title: str, chance: float, keep: Callable[[Row], bool]
) -> Markup | None:
    """Accuracy against one figure of risk: a dot with both intervals per defence, and the front.

    keep: which rows are drawn; their numbers stay those of all.
    """
    rows = [(k, r) for k, r in enumerate(p.rows) if r.has(metric) and keep(r)]
    if not rows:
        return None
    x = [r.estimate("accuracy_out") for _, r in rows]
    y = [r.estimate(metric) for _, r in rows]
    left, right = _around(np.array([v for e in x for v in (e.mean, e.low, e.high)]), 0.005)
    low, high = _around(np.array([v for e in y for v in (e.mean, e.low, e.high)] + [chance]), 0.005)
    low, high = max(low, 0.0), min(high, 1.02)
    chart = Chart(
        Axis(left, right, "accuracy of non-members", linear_ticks(left, right, "{:.3g}")),
        Axis(low, high, title, linear_ticks(low, high, "{:.3g}")),
        f"Accuracy of non-members against {title}, one dot per defence",
        width=760,
        height=470,
    )
    chart.line(np.array([left, right]), np.array([chance, chance]), "diagonal", "no leakage")
    best = on_front(p, metric, lambda r: r.has(metric) and keep(r))
    edge = sorted((e.mean, f.mean) for e, f, on in zip(x, y, best, strict=True) if on)
    if len(edge) > 1:
        # More accuracy than a point of the front has costs the risk of the next point.
        steps = [edge[0]]
        for at, value in edge[1:]:
            steps += [(steps[-1][0], value), (at, value)]
        corners = np.array(steps)
        chart.line(corners[:, 0], corners[:, 1], "null", "Pareto front")
    spots = _labels(
        [
            ((e.mean - left) / (right - left), (f.mean - low) / (high - low))
            for e, f in zip(x, y, strict=True)
        ]
    )
    for (k, r), e, f, (u, v) in zip(rows, x, y, spots, strict=True):
        css = f"s{k % 8}"
        chart.line(np.array([e.low, e.high]), np.array([f.mean, f.mean]), f"{css} whisker", r.label)
        chart.line(np.array([e.mean, e.mean]), np.array([f.low, f.high]), f"{css} whisker", r.label)
        said = f"{k}: {r.label}: accuracy {figure_of(e)}, {title} {figure_of(f)}"
        chart.dots(np.array([e.mean]), np.array([f.mean]), css, [said])
        chart.note(left + u * (right - left), low + v * (high - low), str(k))
    return chart.render()


def _labels(dots: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where the numbers of dots go, all in shares of the plane: the nearest place that is free.

    >>> _labels([(0.5, 0.5), (0.5, 0.505)])[0] != _labels([(0.5, 0.5), (0.5, 0.505)])[1]
    True
    """
    wide, tall = 0.026, 0.026
    places = [
        (dx, dy)
        for ring in (1.0, 2.0, 3.0)
        for dx, dy in ((0.008, 0.012), (0.008, -0.032), (-0.03, 0.012), (-0.03, -0.032))
        for dx, dy in ((dx * ring, dy * ring),)
    ]
    taken = list(dots)
    out: list[tuple[float, float]] = []
    for u, v in dots:
        crowd = []
        for dx, dy in places:
            a, b = u + dx, v + dy
            near = sum(abs(a - c) < wide and abs(b - d) < tall for c, d in out)
            on = sum(-0.004 < c - a < wide and -0.004 < d - b < tall for c, d in taken)
            crowd.append(2 * near + on)
        dx, dy = places[int(np.argmin(crowd))]
        out.append((u + dx, v + dy))
    return out


def over_training(p: PoolResults, name: str, title: str, chance: float) -> Markup | None:
    """One line per defence over the epochs."""
    rows = [(k, r) for k, r in enumerate(p.rows) if name in r.paths]
    if not rows:
        return None
    longest = max((r.paths["epoch"] for _, r in rows), key=len)
    axis, _ = epochs_axis(longest)
    crowded = "square" in axis.title
    values = np.concatenate([r.paths[name] for _, r in rows])
    low, high = _around(np.append(values, chance), 0.005)
    chart = Chart(
        axis, Axis(low, high, title, linear_ticks(low, high, "{:.3g}")),
        f"{title} over training, one line per defence", height=380,
    )  # fmt: skip
    ends = np.array([axis.low, axis.high])
    chart.line(ends, np.array([chance, chance]), "diagonal", "no leakage")
    for k, r in rows:
        t = r.paths["epoch"]
        at = np.sqrt(t) if crowded else t
        chart.line(at, r.paths[name], f"s{k % 8} d{k // 8 % 4}", f"{k}: {r.label}")
    return chart.render()


def centres(p: PoolResults) -> Markup:
    """The path of the mean over samples on the FPR-TPR plane, one line per defence."""
    xs = np.concatenate([r.paths["fpr"] for r in p.rows])
    ys = np.concatenate([r.paths["tpr"] for r in p.rows])
    low, high = _around(np.concatenate([xs, ys]), 0.02)
    low, high = max(low, 0.0), min(high, 1.0)
    ticks = linear_ticks(low, high)
    chart = Chart(
        Axis(low, high, "mean FPR of the samples", ticks),
        Axis(low, high, "mean TPR of the samples", ticks),
        "Path of the mean over samples on the FPR-TPR plane, one line per defence",
        width=560, height=500,
    )  # fmt: skip
    chart.line(np.array([low, high]), np.array([low, high]), "diagonal", "no leakage")
    for k, r in enumerate(p.rows):
        css = f"s{k % 8}"
        chart.line(r.paths["fpr"], r.paths["tpr"], f"{css} d{k // 8 % 4}", f"{k}: {r.label}")
        end = f"{k}: {r.label}, after training"
        chart.dots(r.paths["fpr"][-1:], r.paths["tpr"][-1:], css, [end])
    return chart.render()


_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("pool", "defence", "metric")]
    + [(name, pa.float64()) for name in ("mean", "low", "high")]
    + [("pairs", pa.int64())]
    + [
        (name, pa.float64())
        for name in ("realised_fpr", "null", "change", "change_low", "change_high")
    ]
)


def metrics_table(pools: Sequence[PoolResults]) -> pa.Table:
    """Every figure, long: pool, defence, metric, mean, low, high, pairs, change against undefended."""
    return pa.Table.from_pylist(list(figure_lines(pools)), _SCHEMA)


def _groups(p: PoolResults) -> list[tuple[str, Callable[[Row], bool]]]:
    """Groups of rows that are drawn together; all in one chart would be too many."""
    bases = {r["label"] for r in p.roles if r["kind"] == "everywhere"} | {p.undefended.label}

    def protects(row: Row) -> bool:
        return bool(row.defense["name"] == PPTP.name)

    found: list[tuple[str, Callable[[Row], bool]]] = [
        ("Known defences, applied to the whole network", lambda r: not protects(r))
    ]
    if any(protects(r) for r in p.rows):
        title = "PPTP (a reconstruction), its controls, and its bases applied to the whole network"
        found.append((title, lambda r: protects(r) or r.label in bases))
    return found


def _values(p: PoolResults) -> dict[str, Any]:
    columns = columns_of(p)
    edge = on_front(p, auc_key(p))
    low = p.fprs[-1]
    shown = f"TPR at {100 * low:g} % FPR"
    return {
        "p": p,
        "setting": p.undefended.setting,
        "columns": [name for name, _ in columns],
        "rows": [
            {
                "k": k,
                "row": r,
                "front": bool(edge[k]),
                "cells": [cell(p, r) for _, cell in columns],
                "worst": worst_classes(p, r),
            }
            for k, r in enumerate(p.rows)
        ],
        "planes": [
            {
                "title": title,
                "rows": [k for k, r in enumerate(p.rows) if keep(r)],
                "charts": [
                    accuracy_and_risk(p, auc_key(p), "AUC (0.5 = chance)", 0.5, keep),
                    accuracy_and_risk(p, canary_key(p), f"{shown} of the canaries", low, keep),
                ],
            }
            for title, keep in _groups(p)
        ],
        "auc": over_training(p, "auc", "AUC (0.5 = chance)", 0.5),
        "advantage": over_training(p, "canaries", "mean TPR − FPR of the canaries", 0.0),
        "centres": centres(p),
        "regions": region_tables(p),
        "machines": [machines(p), *other_machines(p)],
        "private": beside_private(p),
        "why": why(p),
        "figure": figure_of,
    }


def write_defend_report(pools: Sequence[PoolResults], path: Path) -> Path:
    """Write the page, and next to it every figure as JSON and Parquet.

    Raises InputError for a name that does not end in .html or a place that cannot be written.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"report: expected a name that ends in .html, got {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    table = metrics_table(pools)
    with replacing(path.with_suffix(".parquet")) as draft:
        pq.write_table(table, draft, compression="zstd")
    verdicts = {
        p.pool: [
            {"base": j.base, "variant": j.variant, "statement": v.claim,
             "outcome": v.outcome, "why": v.why}
            for j in p.judged for v in j.verdicts
        ]
        for p in pools
    }  # fmt: skip
    numbers = plain({"figures": table.to_pylist(), "verdicts": verdicts})
    write_json(path.with_suffix(".json"), numbers)
    text = page("defend.html.j2", pools=[_values(p) for p in pools])
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")
    return path


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def _lines(head: Sequence[object], body: Sequence[Sequence[object]]) -> list[str]:
    rule = "|" + "---|" * len(head)
    return ["| " + " | ".join(_cell(c) for c in head) + " |", rule] + [
        "| " + " | ".join(_cell(c) for c in line) + " |" for line in body
    ]


def _stored_before(pools: Sequence[PoolResults]) -> str:
    """What results of version 0.1 were judged by, where there are any."""
    if not any(r.before for p in pools for r in p.rows):
        return ""
    which = "All" if all(r.before for p in pools for r in p.rows) else "Some"
    return (
        f" {which} results here were stored by version 0.1: its thresholds let ⌊α n⌋ of the n pooled "
        "non-members pass, so that noise reads (⌊α n⌋ + 1)/(n + 1), which is the null given; newer ones "
        "read ⌊α (n + 1)⌋/(n + 1). Their intervals of TPRs take the threshold as given; newer ones include "
        "that it is drawn with the non-members. The per-sample AUC in the tables of samples beside their runs was of "
        "leave-one-out scores, which read less than 0.5 without leakage; it is of the signal now. No "
        "figure on this page is made of it."
    )


def markdown(pools: Sequence[PoolResults], source: str) -> str:
    """The comparison as Markdown, from stored results alone; source: the configuration's path."""
    out = [
        "# Defences, measured",
        "",
        f"Written by `seepage defend {source}` from its stored results. Intervals are 95 %, over complementary pairs of runs of all seeds. The attacker is "
        "adaptive (shadow models trained with the defence) unless a column says otherwise. "
        "At a low FPR one threshold serves all targets; that of the canaries rests on few non-members: read "
        "canaries by their AUC as well. Cost is relative to "
        "the undefended pair and counts samples passed through networks (a backward pass counts as two), "
        "which does not depend on the load of the machine; per-sample gradients cost more than that. "
        "*ε at least* is a lower bound at 95 % from the main attack's guesses of the canaries, one run at "
        "a time, the lower median over runs (δ = 1e-5): it can show leakage, not its absence, and where all "
        "guesses were right it is the most that so many can show, not the size of the leak. Rows marked "
        "† are reconstructions. Defences trained at more seeds than the first were selected by their "
        "figures at the first, which favours them slightly; their means include other plans, changes "
        "against another row only the pairs of runs that both have. Without leakage an AUC reads 0.5 and "
        "a TPR its *null*, given beside it with the FPR that was realised." + _stored_before(pools),
        "",
    ]
    for p in pools:
        s = p.undefended.setting
        columns = columns_of(p)
        edge = on_front(p, auc_key(p))
        out += [
            f"## {p.pool}",
            "",
            f"{s['data']['name']}, {s['data']['samples']} samples and {s['data']['reference']} set "
            f"apart, model {s['model']}, {s['epochs']} epochs, "
            f"{p.undefended.facts['models'] // len(p.undefended.seeds)} models per defence and "
            f"seed. **Bold**: on the Pareto front of accuracy and AUC.",
            "",
            " ".join([machines(p), *other_machines(p), *missing(p, pools)]),
            "",
        ]
        body = []
        for k, r in enumerate(p.rows):
            name = r.label + (" †" if r.reconstruction else "") + (" ‡" if rules_before(r) else "")
            body.append([f"**{name}**" if edge[k] else name, *(c(p, r) for _, c in columns)])
        out += _lines(["defence", *(name for name, _ in columns)], body)
        out += [f"\n‡ `{r.label}`{rules_before(r)}." for r in p.rows if rules_before(r)]
        private = beside_private(p)
        out += ["", *([private, ""] if private else []), "Classes that lose most:", ""]
        told = []
        for r in p.rows:
            w = worst_classes(p, r)
            told.append(
                [
                    r.label,
                    "–" if w["lost"] is None else f"{w['lost'][0]} ({w['lost'][1]:+.3f})",
                    "–" if w["risk"] is None else f"{w['risk'][0]} ({figure_of(w['risk'][1])})",
                ]
            )
        out += _lines(["defence", "class that loses most accuracy", "class with most risk"], told)
        for t in region_tables(p):
            f = t["found"]
            out += ["", f"### Regions, base {f['base']}, seed {f['seed']}", ""]
            out += _lines(
                ["region", "parameters", *t["heads"]],
                [
                    [
                        f"**{x['line'].name}**" if x["line"].chosen else x["line"].name,
                        x["line"].parameters,
                        *x["cells"],
                    ]
                    for x in t["lines"]
                ],
            )
            agree = ", ".join(
                f"{k} {'–' if v is None else format(v, '.2f')}" for k, v in f["agreement"].items()
            )
            out += ["", f"Agreement of the methods (Spearman of D): {agree}. Protected: bold."]
            if f["why"]:
                out += ["", f"None was protected: {f['why']}"]
        if p.judged:
            out += ["", "### Statements about PPTP (a reconstruction)", ""]
            said = [
                [v.claim, j.base, j.variant, v.outcome, v.why] for j in p.judged for v in j.verdicts
            ]
            out += _lines(["statement", "base", "variant", "outcome", "figures"], said)
            out += ["", "Why:", "", *(f"- {sentence}" for sentence in why(p))]
        for f in p.failed:
            out += ["", f"Left out: {f['label']} (seed {f['seed']}): {f['failed']}"]
        out.append("")
    return "\n".join(out)
