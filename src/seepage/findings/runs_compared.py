"""The numbers of a comparison of several runs, and what makes such a comparison unfair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.findings.result import Findings, plain
from seepage.plane import Estimate, Population

__all__ = ["RunRow", "compared_numbers", "differences", "run_row"]


@dataclass(frozen=True, eq=False)
class RunRow:
    """One run at the end of training. member, other: accuracy; onset: epoch, None without leakage.

    exposed: number of samples named as exposed; high, null_high: with an advantage of at least ½.
    """

    findings: Findings
    member: float
    other: float
    onset: float | None
    exposed: int
    share_exposed: float
    high: int
    null_high: float


def run_row(f: Findings) -> RunRow:
    """What the table of a comparison shows of one run."""
    u, e = f.utility, f.exposure
    if u is not None and not u.share:
        u = None
    return RunRow(
        findings=f,
        member=float("nan") if u is None else float(u.member[-1]),
        other=float("nan") if u is None else float(u.other[-1]),
        onset=None if f.onset is None else float(f.checkpoints[f.onset]),
        exposed=int(e.exposed.sum()),
        share_exposed=float(np.mean(e.exposed)),
        high=int(e.high_count[-1]),
        null_high=float(e.null_high_count[-1]),
    )


def differences(runs: Mapping[str, Findings]) -> tuple[str, ...]:
    """What makes a comparison unfair, in words; empty when nothing was found.

    Rates of single samples, counts of exposed or high samples, speed and entropy depend on the
    number of models; figures of different attacks or pools do not compare at all.
    """
    out = []
    checks = (
        ("models", {f.models for f in runs.values()},
         "counts of exposed and high samples depend on it; compare AUC only"),
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


def compared_numbers(
    runs: Mapping[str, Findings], populations: Mapping[str, Population]
) -> dict[str, Any]:
    """What goes into the JSON file: each run's summary, its dynamics those of `populations`."""
    numbers = {name: f.summary() for name, f in runs.items()}
    for name, p in populations.items():
        numbers[name]["dynamics"] = {metric: _four(e) for metric, e in p.summary().items()}
    return numbers


def _four(e: Estimate) -> Any:
    return plain({k: float(getattr(e, k)) for k in ("value", "low", "high", "null")})
