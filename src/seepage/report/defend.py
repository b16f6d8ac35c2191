"""A comparison of defences as people read it: tables, the plane of utility against risk, verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from markupsafe import Markup
from numpy.typing import NDArray

from seepage.defenses.evaluate import UNBOUNDED, over_pairs
from seepage.defenses.results import PoolResults, Row, figure_key, write_json
from seepage.defenses.verdicts import (
    front,
)
from seepage.errors import InputError
from seepage.metrics import Estimate
from seepage.report.figures import epochs_axis, number
from seepage.report.html import page
from seepage.report.svg import Axis, Chart, linear_ticks
from seepage.report.tables import replacing

__all__ = ["markdown", "metrics_table", "on_front", "terminal_columns", "write_defend_report"]

FloatArray = NDArray[np.float64]


def metrics_table(pools: Sequence[PoolResults]) -> pa.Table:
    """Every figure, long: pool, defence, metric, mean, low, high, pairs, change against undefended."""
    columns: dict[str, list[Any]] = {
        k: []
        for k in (
            "pool", "defence", "metric", "mean", "low", "high", "pairs",
            "realised_fpr", "change", "change_low", "change_high",
        )
    }  # fmt: skip
    for p in pools:
        for row in p.rows:
            for metric in sorted(row.values):
                e, d = row.estimate(metric), row.against(p.undefended, metric)
                told = (
                    p.pool, row.label, metric, e.mean, e.low, e.high, e.groups,
                    row.realised.get(metric), d.mean, d.low, d.high,
                )  # fmt: skip
                for name, value in zip(columns, told, strict=True):
                    columns[name].append(value)
    return pa.table(columns)


def classes_of(row: Row, name: str, k: int) -> Estimate:
    """One class's figure with its interval over pairs."""
    held = [v[k] for v in row.classes.get(name, {}).values()]
    if not held or any(v is None for v in held):
        return Estimate(*(float("nan"),) * 3, 0.95, 0)
    return over_pairs([float(v) for v in held if v is not None], shared=name == "auc")


def worst_classes(p: PoolResults, row: Row) -> dict[str, Any]:
    """Who pays: the class that loses most accuracy, and the one with the highest risk."""
    names = row.setting["data"]["classes"]
    lost: list[float] = []
    risk: list[float] = []
    for k in range(len(names)):
        a, b = classes_of(row, "accuracy_out", k), classes_of(p.undefended, "accuracy_out", k)
        lost.append(a.mean - b.mean)
        risk.append(classes_of(row, "auc", k).mean)
    out: dict[str, Any] = {"lost": None, "risk": None}
    if row is not p.undefended and np.isfinite(lost).any():
        k = int(np.nanargmin(lost))
        out["lost"] = (names[k], lost[k])
    if np.isfinite(risk).any():
        k = int(np.nanargmax(risk))
        out["risk"] = (names[k], classes_of(row, "auc", k))
    return out


def figure_of(e: Estimate, digits: int = 3) -> str:
    """A mean with its interval.

    >>> figure_of(Estimate(0.5, 0.4, 0.6, 0.95, 8))
    '0.500 [0.400, 0.600]'
    """
    if not np.isfinite(e.mean):
        return "–"
    if not np.isfinite(e.low):
        return number(e.mean, digits)
    return f"{e.mean:.{digits}f} [{e.low:.{digits}f}, {e.high:.{digits}f}]"


def epsilon_of(row: Row) -> str:
    """What the accountant said; a dash for defences without one."""
    f = row.facts
    if "epsilon_holds" not in f:
        return "–"
    value = "∞" if f["epsilon"] is None else f"{f['epsilon']:.2f}"
    return f"{value} (δ {f['delta']:g})" + ("" if f["epsilon_holds"] else " not a guarantee")


def times(e: Estimate, digits: int = 2) -> str:
    """A ratio.

    >>> times(Estimate(2.0, 1.9, 2.1, 0.95, 8))
    '2.00×'
    """
    return f"{e.mean:.{digits}f}×" if np.isfinite(e.mean) else "–"


def short(e: Estimate, digits: int = 3) -> str:
    """A mean and half its interval, for a terminal.

    >>> short(Estimate(0.5, 0.4, 0.6, 0.95, 8))
    '0.500±0.100'
    """
    if not np.isfinite(e.mean):
        return "–"
    half = "" if not np.isfinite(e.low) else f"±{(e.high - e.low) / 2:.{digits}f}"
    return f"{e.mean:.{digits}f}{half}"


def terminal_columns(p: PoolResults) -> list[Column]:
    """What fits a terminal; the page holds the rest."""
    low = p.fprs[-1]
    figure = f"tpr@{low:g}"
    out: list[Column] = [
        ("accuracy", lambda _, r: short(r.estimate("accuracy_out"))),
        ("AUC", lambda q, r: short(r.estimate(figure_key(q.main, "pool", "auc")))),
        (
            f"TPR at {100 * low:g} %",
            lambda q, r: short(r.estimate(figure_key(q.main, "pool", figure)), 4),
        ),
        ("canaries", lambda q, r: short(r.estimate(figure_key(q.main, "canaries", figure)))),
        ("cost", lambda _, r: times(r.estimate("passes" if r.has("passes") else "cost"), 1)),
    ]
    return [(name, cell) for name, cell in out if any(cell(p, r) != "–" for r in p.rows)]


Column = tuple[str, Callable[[PoolResults, Row], str]]


def columns_of(p: PoolResults) -> list[Column]:
    """The main table: what every row says, in the order of reading."""
    low = p.fprs[-1]
    shown = f"{100 * low:g} %"
    second = next((a for a in ("rmia", "lira") if a != p.main), None)
    out: list[Column] = [
        ("accuracy, non-members", lambda _, r: figure_of(r.estimate("accuracy_out"))),
        ("members", lambda _, r: number(r.estimate("accuracy_in").mean)),
        (f"AUC ({p.main})", lambda q, r: figure_of(r.estimate(figure_key(q.main, "pool", "auc")))),
        (f"TPR at {shown} FPR",
         lambda q, r: figure_of(r.estimate(figure_key(q.main, "pool", f"tpr@{low:g}")), 4)),
        (f"canaries: TPR at {shown} FPR",
         lambda q, r: figure_of(r.estimate(figure_key(q.main, "canaries", f"tpr@{low:g}")))),
        ("canaries: AUC", lambda q, r: figure_of(r.estimate(figure_key(q.main, "canaries", "auc")))),
        ("non-adaptive AUC",
         lambda q, r: number(r.estimate(figure_key(q.main, "pool", "auc", "static")).mean)),
    ]  # fmt: skip
    if second is not None and p.undefended.has(figure_key(second, "pool", "auc")):
        out.append((f"AUC ({second})", lambda _, r: number(r.estimate(figure_key(second, "pool", "auc")).mean)))  # fmt: skip
    out += [
        ("ECE", lambda _, r: number(r.estimate("ece").mean)),
        ("accuracy, FGSM", lambda _, r: number(r.estimate("fgsm").mean)),
        ("cost, passes", lambda _, r: times(r.estimate("passes"))),
        ("cost, seconds", lambda _, r: times(r.estimate("cost"))),
        ("ε of the accountant", lambda _, r: epsilon_of(r)),
        ("ε at least", lambda _, r: number(r.facts.get("epsilon_low", float("nan")), 2)),
        ("seeds", lambda _, r: str(len(r.seeds))),
    ]
    return [(name, cell) for name, cell in out if any(cell(p, r) != "–" for r in p.rows)]


def on_front(p: PoolResults) -> NDArray[np.bool_]:
    """Which rows lie on the Pareto front of accuracy and AUC."""
    return front(
        [r.estimate("accuracy_out").mean for r in p.rows],
        [r.estimate(figure_key(p.main, "pool", "auc")).mean for r in p.rows],
    )


def _around(values: FloatArray, least: float) -> tuple[float, float]:
    held = values[np.isfinite(values)]
    pad = max(0.1 * float(np.ptp(held)), least)
    return float(held.min()) - pad, float(held.max()) + pad


def plane(p: PoolResults, metric: str, title: str, chance: float) -> Markup | None:
    """Utility against one figure of risk: a dot with both intervals per defence, and the front."""
    rows = [(k, r) for k, r in enumerate(p.rows) if r.has(metric)]
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
    best = front([e.mean for e in x], [e.mean for e in y])
    edge = sorted((e.mean, f.mean) for e, f, on in zip(x, y, best, strict=True) if on)
    if len(edge) > 1:
        # Beyond a point of the front the next accuracy costs the next one's risk.
        steps = [edge[0]]
        for at, value in edge[1:]:
            steps += [(steps[-1][0], value), (at, value)]
        corners = np.array(steps)
        chart.line(corners[:, 0], corners[:, 1], "null", "Pareto front")
    for (k, r), e, f in zip(rows, x, y, strict=True):
        css = f"s{k % 8}"
        chart.line(np.array([e.low, e.high]), np.array([f.mean, f.mean]), f"{css} whisker", r.label)
        chart.line(np.array([e.mean, e.mean]), np.array([f.low, f.high]), f"{css} whisker", r.label)
        said = f"{k}: {r.label}: accuracy {figure_of(e)}, {title} {figure_of(f)}"
        chart.dots(np.array([e.mean]), np.array([f.mean]), css, [said])
        chart.note(e.mean + (right - left) * 0.008, f.mean + (high - low) * 0.012, str(k))
    return chart.render()


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
    """The path of the pool's centre over the plane of FPR and TPR, one line per defence."""
    xs = np.concatenate([r.paths["fpr"] for r in p.rows])
    ys = np.concatenate([r.paths["tpr"] for r in p.rows])
    low, high = _around(np.concatenate([xs, ys]), 0.02)
    low, high = max(low, 0.0), min(high, 1.0)
    ticks = linear_ticks(low, high)
    chart = Chart(
        Axis(low, high, "mean FPR of the samples", ticks),
        Axis(low, high, "mean TPR of the samples", ticks),
        "Path of the pool's centre of mass over training, one line per defence",
        width=560, height=500,
    )  # fmt: skip
    chart.line(np.array([low, high]), np.array([low, high]), "diagonal", "no leakage")
    for k, r in enumerate(p.rows):
        css = f"s{k % 8}"
        chart.line(r.paths["fpr"], r.paths["tpr"], f"{css} d{k // 8 % 4}", f"{k}: {r.label}")
        end = f"{k}: {r.label}, after training"
        chart.dots(r.paths["fpr"][-1:], r.paths["tpr"][-1:], css, [end])
    return chart.render()


def region_tables(p: PoolResults) -> list[dict[str, Any]]:
    """What each region carries, by each way of locating it, with intervals over models."""
    out = []
    for f in p.regions:
        lines = []
        for k, name in enumerate(f["regions"]):
            cells = []
            for how in f["tables"]:
                t = f["tables"][how]
                for what in ("utility", "privacy"):
                    e = over_pairs([row[k] for row in t[what]], bounds=UNBOUNDED)
                    cells.append(figure_of(e))
                cells.append(number(t["chosen_by"][k], 2))
            if f["layers"] is not None:
                cells.append(number(f["layers"][k]))
            lines.append(
                {
                    "name": name,
                    "parameters": f["parameters"][k],
                    "cells": cells,
                    "chosen": name in f["chosen"],
                }
            )
        heads = [
            f"{way}: {what}"
            for way in f["tables"]
            for what in ("utility carried ΔU", "risk carried ΔP", "D")
        ]
        if f["layers"] is not None:
            heads.append("layers: MCR of the effective rank")
        out.append({"found": f, "lines": lines, "heads": heads})
    return out


def _values(p: PoolResults) -> dict[str, Any]:
    columns = columns_of(p)
    edge = on_front(p)
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
                "pays": worst_classes(p, r),
            }
            for k, r in enumerate(p.rows)
        ],
        "plane": plane(p, figure_key(p.main, "pool", "auc"), "AUC (0.5 = a coin)", 0.5),
        "canaries": plane(
            p, figure_key(p.main, "canaries", f"tpr@{low:g}"), f"{shown} of the canaries", low
        ),
        "auc": over_training(p, "auc", "AUC (0.5 = a coin)", 0.5),
        "advantage": over_training(p, "canaries", "mean TPR − FPR of the canaries", 0.0),
        "centres": centres(p),
        "regions": region_tables(p),
        "figure": figure_of,
    }


def write_defend_report(pools: Sequence[PoolResults], path: Path) -> Path:
    """Write the page, and beside it every figure as JSON and Parquet.

    Raises InputError for a name that does not end in .html or a place that cannot be written.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"report: expected a name that ends in .html, got {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    table = metrics_table(pools)
    with replacing(path.with_suffix(".parquet")) as draft:
        pq.write_table(table, draft, compression="zstd")
    numbers = [
        {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in line.items()}
        for line in table.to_pylist()
    ]
    verdicts = {
        p.pool: [
            {"base": j.base, "variant": j.variant, "statement": v.statement,
             "outcome": v.outcome, "why": v.why}
            for j in p.judged for v in j.verdicts
        ]
        for p in pools
    }  # fmt: skip
    write_json(path.with_suffix(".json"), {"figures": numbers, "verdicts": verdicts})
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


def markdown(pools: Sequence[PoolResults], source: str) -> str:
    """The comparison as Markdown, from stored results alone; source: the configuration's path."""
    out = [
        "# Defences, measured",
        "",
        f"Written by `seepage defend {source}` from its stored results; nothing here is typed by "
        "hand. Intervals are 95 %, over complementary pairs of runs of all seeds. The attacker is "
        "adaptive (shadow models trained with the defence) unless a column says otherwise. "
        "Low-FPR thresholds are one for all targets. Cost is over that of the undefended pair: in passes, "
        "samples through networks (a backward pass counts as two), which no load moves; in seconds of "
        "training, which mean little where fleets shared a machine. *ε at least* is refuted by the main "
        "attack's guesses of the canaries at 95 %, one run at a time, the lower median over runs (δ = 1e-5): it "
        "shows leaks, never their absence. Rows marked † are reconstructions. Defences trained at more seeds than "
        "the first were chosen by their figures at the first, which flatters them a little.",
        "",
    ]
    for p in pools:
        s = p.undefended.setting
        columns = columns_of(p)
        edge = on_front(p)
        out += [
            f"## {p.pool}",
            "",
            f"{s['data']['name']}, {s['data']['samples']} samples and {s['data']['reference']} set "
            f"apart, model {s['model']}, {s['epochs']} epochs, "
            f"{p.undefended.facts['models'] // len(p.undefended.seeds)} models per defence and "
            f"seed. **Bold**: on the Pareto front of accuracy and AUC.",
            "",
        ]
        body = []
        for k, r in enumerate(p.rows):
            name = r.label + (" †" if r.reconstruction else "")
            body.append([f"**{name}**" if edge[k] else name, *(c(p, r) for _, c in columns)])
        out += _lines(["defence", *(name for name, _ in columns)], body)
        out += ["", "Who pays:", ""]
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
                    [f"**{x['name']}**" if x["chosen"] else x["name"], x["parameters"], *x["cells"]]
                    for x in t["lines"]
                ],
            )
            agree = ", ".join(
                f"{k} {'–' if v is None else format(v, '.2f')}" for k, v in f["agreement"].items()
            )
            out += ["", f"Agreement of the ways (Spearman of D): {agree}. Guarded: bold."]
            if f["why"]:
                out += ["", f"None was guarded: {f['why']}"]
        if p.judged:
            out += ["", "### Statements about PPTP (a reconstruction)", ""]
            said = [
                [v.statement, j.base, j.variant, v.outcome, v.why]
                for j in p.judged
                for v in j.verdicts
            ]
            out += _lines(["statement", "base", "variant", "outcome", "figures"], said)
        for f in p.failed:
            out += ["", f"Left out: {f['label']} (seed {f['seed']}): {f['failed']}"]
        out.append("")
    return "\n".join(out)
