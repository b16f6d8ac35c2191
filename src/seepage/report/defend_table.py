"""What the rows of a comparison of defences say, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from seepage.array_types import BoolArray
from seepage.comparison.evaluate import UNBOUNDED, over_pairs
from seepage.comparison.results import PoolResults, Row, figure_key
from seepage.comparison.verdicts import front
from seepage.metrics import Estimate
from seepage.report.figures import number

__all__ = [
    "classes_of", "columns_of", "epsilon_of", "figure_of", "on_front", "region_tables", "short",
    "terminal_columns", "times", "worst_classes",
]  # fmt: skip

Column = tuple[str, Callable[[PoolResults, Row], str]]


def classes_of(row: Row, name: str, k: int) -> Estimate:
    """One class's figure with its interval over pairs."""
    held = [v[k] for v in row.classes.get(name, {}).values()]
    if not held or any(v is None for v in held):
        return Estimate(*(float("nan"),) * 3, 0.95, 0)
    return over_pairs([float(v) for v in held if v is not None], shared=name == "auc")


def _class_change(row: Row, plain: Row, k: int) -> float:
    """Accuracy of class k against undefended, over the pairs of runs that both have."""
    a, b = (r.classes.get("accuracy_out", {}) for r in (row, plain))
    both = [(a[key][k], b[key][k]) for key in a if key in b]
    gaps = [x - y for x, y in both if x is not None and y is not None]
    return float(np.mean(gaps)) if gaps else float("nan")


def worst_classes(p: PoolResults, row: Row) -> dict[str, Any]:
    """Who pays: the class that loses most accuracy, and the one with the highest risk."""
    names = row.setting["data"]["classes"]
    lost: list[float] = []
    risk: list[float] = []
    for k in range(len(names)):
        lost.append(_class_change(row, p.undefended, k))
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
        # Seconds tell nothing of fleets that shared a machine; they stay in the tables beside the page.
        ("cost", lambda _, r: times(r.estimate("passes" if r.has("passes") else "cost"))),
        ("ε of the accountant", lambda _, r: epsilon_of(r)),
        ("ε at least", lambda _, r: number(r.facts.get("epsilon_low", float("nan")), 2)),
        ("seeds", lambda _, r: str(len(r.seeds))),
    ]
    return [(name, cell) for name, cell in out if any(cell(p, r) != "–" for r in p.rows)]


def on_front(p: PoolResults) -> BoolArray:
    """Which rows lie on the Pareto front of accuracy and AUC."""
    return front(
        [r.estimate("accuracy_out").mean for r in p.rows],
        [r.estimate(figure_key(p.main, "pool", "auc")).mean for r in p.rows],
    )


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
