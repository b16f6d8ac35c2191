"""A comparison of defences as HTML and as Markdown, with every figure as JSON and Parquet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

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
from seepage.report.defence_figures import accuracy_and_risk, centres, over_training
from seepage.report.defence_words import (
    beside_private,
    columns_of,
    figure_of,
    machines,
    missing,
    other_machines,
    region_tables,
    why,
)
from seepage.report.html import page
from seepage.store.files import replacing, write_json

__all__ = ["markdown", "metrics_table", "write_defend_report"]

_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("pool", "defence", "metric")]
    + [(name, pa.float64()) for name in ("mean", "low", "high")]
    + [("pairs", pa.int64())]
    + [(name, pa.float64()) for name in ("realised_fpr", "change", "change_low", "change_high")]
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


def markdown(pools: Sequence[PoolResults], source: str) -> str:
    """The comparison as Markdown, from stored results alone; source: the configuration's path."""
    out = [
        "# Defences, measured",
        "",
        f"Written by `seepage defend {source}` from its stored results. Intervals are 95 %, over complementary pairs of runs of all seeds. The attacker is "
        "adaptive (shadow models trained with the defence) unless a column says otherwise. "
        "At a low FPR one threshold serves all targets; that of the canaries rests on few non-members, and "
        "no interval includes its uncertainty: read canaries by their AUC as well. Cost is relative to "
        "the undefended pair and counts samples passed through networks (a backward pass counts as two), "
        "which does not depend on the load of the machine; per-sample gradients cost more than that. "
        "*ε at least* is a lower bound at 95 % from the main attack's guesses of the canaries, one run at "
        "a time, the lower median over runs (δ = 1e-5): it can show leakage, not its absence. Rows marked "
        "† are reconstructions. Defences trained at more seeds than the first were selected by their "
        "figures at the first, which favours them slightly; their means include other plans, changes "
        "against another row only the pairs of runs that both have.",
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
            name = r.label + (" †" if r.reconstruction else "")
            body.append([f"**{name}**" if edge[k] else name, *(c(p, r) for _, c in columns)])
        out += _lines(["defence", *(name for name, _ in columns)], body)
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
