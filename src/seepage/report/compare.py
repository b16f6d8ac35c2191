"""One page that sets several runs side by side."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from markupsafe import Markup

from seepage.array_types import FloatArray
from seepage.errors import InputError
from seepage.plane import Population
from seepage.report import figures
from seepage.report.findings import Findings
from seepage.report.html import page
from seepage.report.tables import replacing

__all__ = ["differences", "write_comparison"]


def differences(runs: Mapping[str, Findings]) -> tuple[str, ...]:
    """What makes a comparison unfair, in words; empty when nothing was found.

    Rates of single samples, counts of named or high samples, speed and entropy depend on the number
    of models; figures of different attacks or pools do not compare at all.
    """
    out = []
    checks = (
        ("models", {f.models for f in runs.values()},
         "counts of named and high samples depend on it; compare AUC only"),
        ("main attack", {f.main for f in runs.values()}, "their AUCs are of different attacks"),
        ("samples", {f.samples for f in runs.values()}, "pools of different size differ in difficulty"),
        ("pool", {str(f.provenance.get("data", {}).get("digest", f.dataset)) for f in runs.values()},
         "the runs were trained on different data"),
    )  # fmt: skip
    for name, values, why in checks:
        if len(values) > 1:
            shown = "" if name == "pool" else f" ({', '.join(str(v) for v in sorted(values, key=str))})"  # fmt: skip
            out.append(f"The runs differ in {name}{shown}: {why}.")
    return tuple(out)


CURVES = {
    "displacement": ("Displacement of the centre", "from the start"),
    "speed": ("Encoding speed", "speed per epoch"),
    "to_high": ("Into the high region", "probability per interval"),
    "entropy": ("Spatial entropy", "bits"),
}


def write_comparison(
    runs: Mapping[str, Findings],
    path: str | os.PathLike[str],
    *,
    populations: Mapping[str, Population] | None = None,
) -> Path:
    """Write a self-contained page that compares the findings of several runs by name.

    runs: at least two findings from `seepage.report.collect`. populations: by the same names, the
    dynamics to set side by side instead of the findings' own, such as those that
    `seepage.plane.compare_paths` brought to equal numbers of models. What makes the comparison
    unfair is said on top of the page; nothing is refused. The numbers lie beside it as JSON.

    Raises InputError for fewer than two runs, a name that does not end in .html, or a place that
    cannot be written.
    """
    target = Path(path)
    if len(runs) < 2:
        raise InputError(f"runs: expected at least 2 to compare, got {len(runs)}")
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"path: expected a name that ends in .html, got {target.name!r}")
    rows = []
    for name, f in runs.items():
        u = f.utility
        rows.append(
            {
                "name": name,
                "f": f,
                "member": u.member[-1] if u is not None else float("nan"),
                "other": u.other[-1] if u is not None else float("nan"),
                "onset": figures.epoch(f.checkpoints[f.onset]) if f.onset is not None else "–",
                "named": int(f.exposure.exposed.sum()),
                "high": int(f.exposure.high_count[-1]),
                "null_high": float(f.exposure.null_high_count[-1]),
                "share": float(np.mean(f.exposure.exposed)),
            }
        )
    held = {n: (populations or {}).get(n, f.population) for n, f in runs.items()}
    moving = {n: p for n, p in held.items() if p is not None}
    summaries = {n: p.summary() for n, p in moving.items()}
    metrics = [
        {"name": name.replace("_", " "), "of": {n: s.get(name) for n, s in summaries.items()}}
        for name in next(iter(summaries.values()), {})
    ]
    text = page(
        "compare.html.j2",
        metrics=metrics,
        moving={n: p.models for n, p in moving.items()},
        curves=[
            {"title": title, "chart": _curve(moving, key, title, label)}
            for key, (title, label) in CURVES.items()
            if moving
        ],
        rows=rows,
        warnings=differences(runs),
        chart=figures.compared(runs),
        trade=figures.trade(runs),
    )
    numbers = {name: f.summary() for name, f in runs.items()}
    for name, summary in summaries.items():
        numbers[name]["dynamics"] = {
            metric: {"value": _plain(e.value), "low": _plain(e.low), "high": _plain(e.high),
                     "null": _plain(e.null)}
            for metric, e in summary.items()
        }  # fmt: skip
    with replacing(target.with_suffix(".json")) as draft:
        draft.write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with replacing(target) as draft:
        draft.write_text(text, encoding="utf-8")
    return target


def _curve(moving: Mapping[str, Population], key: str, title: str, label: str) -> Markup:
    lines = {}
    for name, p in moving.items():
        e = getattr(p, key)
        # Metrics of an interval between two checkpoints stand at its end.
        lines[name] = (p.checkpoints[len(p.checkpoints) - len(e.value) :], e.value, e.low, e.high)
    return figures.over_runs(
        lines, label, title=f"{title}, one line per run", height=290, width=500
    )


def _plain(value: FloatArray) -> float | None:
    return float(value) if np.isfinite(value) else None
