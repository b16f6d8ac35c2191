"""One page that compares several runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from markupsafe import Markup

from seepage.array_types import FloatArray
from seepage.errors import InputError
from seepage.findings import Findings
from seepage.findings.clock import EPOCHS, Clock
from seepage.findings.runs_compared import compared_numbers, differences, run_row
from seepage.plane import Population
from seepage.report.html import page
from seepage.report.svg import Axis, Chart, linear_ticks
from seepage.report.words import number
from seepage.store.files import replacing

__all__ = ["write_comparison"]


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

    runs: at least two findings from `seepage.findings.collect`. populations: by the same names, the
    dynamics to compare instead of the findings' own, such as those that
    `seepage.plane.compare_paths` brought to equal numbers of models. What makes the comparison
    unfair is stated at the top of the page; nothing is refused. The numbers are written next to it
    as JSON.

    Raises InputError for fewer than two runs, a name that does not end in .html, or a place that
    cannot be written.
    """
    target = Path(path)
    if len(runs) < 2:
        raise InputError(f"runs: expected at least 2 to compare, got {len(runs)}")
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"path: expected a name that ends in .html, got {target.name!r}")
    held = {n: (populations or {}).get(n, f.population) for n, f in runs.items()}
    dynamics = {n: p for n, p in held.items() if p is not None}
    summaries = {n: p.summary() for n, p in dynamics.items()}
    metrics = [
        {"name": name.replace("_", " "), "of": {n: s.get(name) for n, s in summaries.items()}}
        for name in next(iter(summaries.values()), {})
    ]
    text = page(
        "compare.html.j2",
        metrics=metrics,
        dynamics={n: p.models for n, p in dynamics.items()},
        curves=[
            {"title": title, "chart": _curve(dynamics, key, title, label, _clock(runs))}
            for key, (title, label) in CURVES.items()
            if dynamics
        ],
        rows={name: run_row(f) for name, f in runs.items()},
        warnings=differences(runs),
        chart=_risk_over_training(runs),
        accuracy_and_risk=_accuracy_and_risk(runs),
    )
    numbers = compared_numbers(runs, dynamics)
    with replacing(target.with_suffix(".json")) as draft:
        draft.write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with replacing(target) as draft:
        draft.write_text(text, encoding="utf-8")
    return target


def _clock(runs: Mapping[str, Findings]) -> Clock:
    """The common one, or that of numbered checkpoints as soon as one run has only those."""
    return next((f.clock for f in runs.values() if f.clock != EPOCHS), EPOCHS)


def _curve(
    dynamics: Mapping[str, Population], key: str, title: str, label: str, clock: Clock
) -> Markup:
    lines = {}
    for name, p in dynamics.items():
        e = getattr(p, key)
        # Metrics of an interval between two checkpoints stand at its end.
        lines[name] = (p.checkpoints[len(p.checkpoints) - len(e.value) :], e.value, e.low, e.high)
    return _over_runs(
        lines, label, clock, title=f"{title}, one line per run", height=290, width=500
    )


def _risk_over_training(runs: Mapping[str, Findings]) -> Markup:
    """AUC of the main attack over training, one line per run with its interval."""
    return _over_runs(
        {n: (f.checkpoints, f.risk.auc, f.risk.low, f.risk.high) for n, f in runs.items()},
        "AUC (0.5 = chance)",
        _clock(runs),
        title="AUC over training, one line per run",
        level=0.5,
        level_name="chance",
    )


def _over_runs(
    lines: Mapping[str, tuple[FloatArray, FloatArray, FloatArray, FloatArray]],
    label: str,
    clock: Clock,
    *,
    title: str,
    level: float | None = None,
    level_name: str = "",
    height: int = 380,
    width: int = 680,
) -> Markup:
    """One line per run with its interval: name -> (epochs, value, low, high), each (T,).

    level: a horizontal to compare with, named level_name. Colours go by the order of the runs.
    """
    top = max(float(epochs[-1]) for epochs, *_ in lines.values())
    top = top if top > 0 else 1.0
    values = np.concatenate([np.concatenate(parts[1:]) for parts in lines.values()])
    values = np.append(values[np.isfinite(values)], [] if level is None else [level])
    if not values.size:
        values = np.zeros(1)
    pad = max(0.02 * float(np.ptp(values)), 1e-9) if level is None else 0.01
    low, high = float(values.min()) - pad, float(values.max()) + pad
    chart = Chart(
        Axis(0.0, top, clock.unit, linear_ticks(0.0, top)),
        Axis(low, high, label, linear_ticks(low, high, "{:.3g}")),
        title,
        width=width,
        height=height,
    )
    if level is not None:
        chart.line(np.array([0.0, top]), np.array([level, level]), "diagonal", level_name)
    for k, (name, (epochs, value, below, above)) in enumerate(lines.items()):
        css = f"s{k % 8}"
        chart.band(epochs, below, above, css, name)
        chart.line(epochs, value, f"{css} d{k // 8 % 4}", name)
        chart.dots(
            epochs,
            value,
            css,
            [f"{name}, {clock(t)}: {number(a)}" for t, a in zip(epochs, value, strict=True)],
        )
    return chart.render()


def _accuracy_and_risk(runs: Mapping[str, Findings]) -> Markup | None:
    """Accuracy of non-members against the main attack's AUC at the end, one dot per run."""
    held = {name: f for name, f in runs.items() if f.utility is not None and f.utility.share}
    if not held:
        return None
    x = np.array([f.utility.other[-1] for f in held.values() if f.utility is not None])
    y = np.array([f.main_attack.auc.mean for f in held.values()])
    lows = np.array([f.main_attack.auc.low for f in held.values()])
    highs = np.array([f.main_attack.auc.high for f in held.values()])
    around = np.concatenate([y, lows[np.isfinite(lows)], highs[np.isfinite(highs)], [0.5]])
    pad_x, pad_y = max(0.1 * float(np.ptp(x)), 0.005), max(0.08 * float(np.ptp(around)), 0.005)
    left, right = float(x.min()) - pad_x, float(x.max()) + pad_x
    low, high = float(around.min()) - pad_y, float(around.max()) + pad_y
    chart = Chart(
        Axis(left, right, "accuracy of non-members", linear_ticks(left, right, "{:.3g}")),
        Axis(low, high, "AUC (0.5 = chance)", linear_ticks(low, high, "{:.3g}")),
        "Accuracy against risk, one dot per run",
        height=380,
    )
    chart.line(np.array([left, right]), np.array([0.5, 0.5]), "diagonal", "chance")
    for k, name in enumerate(held):
        css = f"s{k % 8}"
        chart.line(np.array([x[k], x[k]]), np.array([lows[k], highs[k]]), css, name)
        chart.dots(
            x[k : k + 1],
            y[k : k + 1],
            css,
            [f"{name}: accuracy {number(x[k])}, AUC {number(y[k])}"],
        )
    return chart.render()
