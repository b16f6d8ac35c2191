"""One page that sets several runs side by side."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from seepage.errors import InputError
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


def write_comparison(runs: Mapping[str, Findings], path: str | os.PathLike[str]) -> Path:
    """Write a self-contained page that compares the findings of several runs by name.

    runs: at least two findings from `seepage.report.collect`. What makes the comparison unfair is
    said on top of the page; nothing is refused. The numbers lie beside it as JSON.

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
    text = page(
        "compare.html.j2",
        rows=rows,
        warnings=differences(runs),
        chart=figures.compared(runs),
        trade=figures.trade(runs),
    )
    numbers = {name: f.summary() for name, f in runs.items()}
    with replacing(target.with_suffix(".json")) as draft:
        draft.write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with replacing(target) as draft:
        draft.write_text(text, encoding="utf-8")
    return target
