"""A comparison of defences as an HTML page, with every figure beside it as JSON and Parquet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seepage.comparison.results import PoolResults, Row, figure_key
from seepage.defenses.pptp import PPTP
from seepage.errors import InputError
from seepage.report.defend_figures import centres, over_training, plane
from seepage.report.defend_table import (
    columns_of,
    figure_of,
    on_front,
    region_tables,
    worst_classes,
)
from seepage.report.defend_why import beside_private, machines, other_machines, why
from seepage.report.html import page
from seepage.report.tables import replacing
from seepage.store.files import write_json

__all__ = ["metrics_table", "write_defend_report"]


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


def _parties(p: PoolResults) -> list[tuple[str, Callable[[Row], bool]]]:
    """Rows that are drawn together: forty dots on one plane are no picture."""
    bases = {r["label"] for r in p.roles if r["kind"] == "everywhere"} | {p.undefended.label}

    def guards(row: Row) -> bool:
        return bool(row.defense["name"] == PPTP.name)

    found: list[tuple[str, Callable[[Row], bool]]] = [
        ("Known defences, everywhere", lambda r: not guards(r))
    ]
    if any(guards(r) for r in p.rows):
        title = "PPTP (a reconstruction), its controls and its bases everywhere"
        found.append((title, lambda r: guards(r) or r.label in bases))
    return found


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
        "planes": [
            {
                "title": title,
                "rows": [k for k, r in enumerate(p.rows) if keep(r)],
                "charts": [
                    plane(p, figure_key(p.main, "pool", "auc"), "AUC (0.5 = a coin)", 0.5, keep),
                    plane(
                        p,
                        figure_key(p.main, "canaries", f"tpr@{low:g}"),
                        f"{shown} of the canaries",
                        low,
                        keep,
                    ),
                ],
            }
            for title, keep in _parties(p)
        ],
        "auc": over_training(p, "auc", "AUC (0.5 = a coin)", 0.5),
        "advantage": over_training(p, "canaries", "mean TPR − FPR of the canaries", 0.0),
        "centres": centres(p),
        "regions": region_tables(p),
        "machines": [machines(p), *other_machines(p)],
        "private": beside_private(p),
        "why": why(p),
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
            {"base": j.base, "variant": j.variant, "statement": v.claim,
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
