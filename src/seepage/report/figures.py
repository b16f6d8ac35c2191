"""The report's charts, from findings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup

from seepage.array_types import FloatArray
from seepage.plane import Estimate
from seepage.report.findings import Early, Findings
from seepage.report.svg import Axis, Chart, linear_ticks

__all__ = [
    "compared",
    "early",
    "epochs_axis",
    "exposed",
    "metric",
    "risk",
    "roc",
    "trade",
    "utility",
]


def number(value: float, digits: int = 3) -> str:
    """A number for hover texts and tables; a dash where there is none.

    >>> number(0.12345), number(float("nan"))
    ('0.123', '–')
    """
    return f"{value:.{digits}f}" if np.isfinite(value) else "–"


def epoch(value: float) -> str:
    """A checkpoint in words: 0 is the network before any training.

    >>> epoch(0.0), epoch(2.0), epoch(0.25)
    ('initialisation', 'epoch 2', 'epoch 0.25')
    """
    return "initialisation" if value == 0 else f"epoch {value:g}"


def epochs_axis(checkpoints: FloatArray) -> tuple[Axis, FloatArray]:
    """A time axis that gives log-spaced checkpoints room, and the positions of the checkpoints.

    Square root of the epoch when most checkpoints crowd into the first third, else linear.
    """
    t = np.asarray(checkpoints, dtype=np.float64)
    crowded = len(t) > 3 and np.median(t) < t[-1] / 3
    at = np.sqrt(t) if crowded else t
    low, high = float(at[0]), float(at[-1]) if at[-1] > at[0] else float(at[0]) + 1.0
    kept: list[tuple[float, str]] = []
    for position, value in zip(at[::-1], t[::-1], strict=True):
        if not kept or abs(kept[-1][0] - position) >= (high - low) / 16:
            kept.append((float(position), f"{value:g}"))
    title = "epoch" + (" (square-root scale; 0 = before training)" if crowded else "")
    return Axis(low, high, title, tuple(kept[::-1])), at


def utility(f: Findings) -> Markup:
    """Accuracy of members and non-members over training."""
    u = f.utility
    assert u is not None
    axis, at = epochs_axis(f.checkpoints)
    low = float(np.nanmin([u.member_low.min(), u.other_low.min()]))
    floor = max(0.0, np.floor(low * 10) / 10) if np.isfinite(low) else 0.0
    chart = Chart(
        axis,
        Axis(floor, 1.0, "accuracy", linear_ticks(floor, 1.0)),
        "Accuracy of members and of non-members at each checkpoint",
        height=330,
    )
    for css, name, mean, lo, hi in (
        ("s1", "non-members", u.other, u.other_low, u.other_high),
        ("s0", "members", u.member, u.member_low, u.member_high),
    ):
        chart.band(at, lo, hi, css)
        chart.line(at, mean, css, name)
        chart.dots(
            at, mean, css,
            [f"{name}, {epoch(t)}: {number(m)}" for t, m in zip(f.checkpoints, mean, strict=True)],
        )  # fmt: skip
    return chart.render()


def roc(f: Findings) -> Markup:
    """Log-log ROC of every attack, all targets pooled, with the diagonal of no leakage."""
    negatives = f.models * f.samples / 2
    low = float(10.0 ** np.clip(np.round(-np.log10(max(negatives, 10.0))), -5, -1))
    decades = [10.0**k for k in range(round(np.log10(low)), 1)]
    ticks = tuple((d, f"{d * 100:g} %") for d in decades)
    chart = Chart(
        Axis(low, 1.0, "false-positive rate (non-members called members)", ticks, log=True),
        Axis(low, 1.0, "true-positive rate (members found)", ticks, log=True),
        "ROC curves of all attacks on logarithmic axes",
        height=520,
    )
    chart.line(np.array([low, 1.0]), np.array([low, 1.0]), "diagonal", "no leakage")
    for k, a in enumerate(f.attacks):
        seen = a.roc_fpr >= low
        chart.line(a.roc_fpr[seen], a.roc_tpr[seen], f"s{k % 8} d{k // 8 % 4}", a.title)
    return chart.render()


def risk(f: Findings) -> Markup:
    """AUC of the main attack at each checkpoint over the band of permuted membership."""
    r = f.risk
    axis, at = epochs_axis(f.checkpoints)
    finite = np.concatenate([r.auc, r.low, r.high, r.null_low, r.null_high, [0.5]])
    finite = finite[np.isfinite(finite)]
    pad = 0.08 * max(float(np.ptp(finite)), 0.02)
    low, high = max(0.0, float(finite.min()) - pad), min(1.0, float(finite.max()) + pad)
    chart = Chart(
        axis,
        Axis(low, high, "AUC (0.5 = a coin)", linear_ticks(low, high, "{:.3g}")),
        "AUC of the main attack at each checkpoint",
        height=360,
    )
    chart.band(at, r.null_low, r.null_high, "null", "range under permuted membership")
    chart.line(at[[0, -1]], np.array([0.5, 0.5]), "diagonal", "a coin")
    chart.band(at, r.low, r.high, "s0", "95 % interval")
    chart.line(at, r.null, "null", "permuted membership")
    chart.line(at, r.auc, "s0", "AUC")
    chart.dots(
        at, r.auc, "s0",
        [
            f"{epoch(t)}: AUC {number(a)} ({number(lo)} to {number(hi)}); permuted {number(n)}"
            for t, a, lo, hi, n in zip(f.checkpoints, r.auc, r.low, r.high, r.null, strict=True)
        ],
    )  # fmt: skip
    return chart.render()


def exposed(f: Findings) -> Markup:
    """How many samples lie high in the plane at each checkpoint, against permuted membership."""
    e = f.exposure
    axis, at = epochs_axis(f.checkpoints)
    top = float(max(e.high_count.max(), e.null_high_count.max(), 1))
    chart = Chart(
        axis,
        Axis(0.0, top * 1.05, "samples", linear_ticks(0.0, top * 1.05, "{:.0f}")),
        "Number of samples with advantage of at least one half",
        height=300,
    )
    chart.line(at, e.null_high_count, "null", "permuted membership")
    chart.line(at, e.high_count.astype(float), "s3", "samples with advantage ≥ 0.5")
    chart.dots(
        at, e.high_count.astype(float), "s3",
        [
            f"{epoch(t)}: {a} samples, {n:.0f} under permuted membership"
            for t, a, n in zip(f.checkpoints, e.high_count, e.null_high_count, strict=True)
        ],
    )  # fmt: skip
    return chart.render()


def metric(checkpoints: FloatArray, e: Estimate, label: str) -> Markup:
    """A population metric over training: interval, null, null band. (T,) or (T−1,) values.

    Metrics of an interval between two checkpoints stand at its end.
    """
    axis, at = epochs_axis(checkpoints)
    at = at[len(at) - len(e.value) :]
    parts = (e.value, e.low, e.high, e.null, e.null_low, e.null_high)
    finite = np.concatenate([np.asarray(v, dtype=np.float64).ravel() for v in parts])
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    pad = 0.06 * max(high - low, 1e-9)
    low = 0.0 if 0 <= low < 0.4 * high else low - pad
    chart = Chart(
        axis,
        Axis(low, high + pad, label, linear_ticks(low, high + pad, "{:.3g}")),
        f"{label} over training",
        width=500,
        height=290,
    )
    chart.band(at, e.null_low, e.null_high, "null", "where one more permuted draw would fall")
    chart.line(at, e.null, "null", "permuted membership")
    chart.band(at, e.low, e.high, "s0", "95 % interval over pairs of runs")
    chart.line(at, e.value, "s0", label)
    rows = zip(
        checkpoints[len(checkpoints) - len(e.value) :], e.value, e.low, e.high, e.null, strict=True
    )
    chart.dots(
        at, e.value, "s0",
        [f"{epoch(t)}: {v:.3g} ({lo:.3g} to {hi:.3g}); permuted {n:.3g}" for t, v, lo, hi, n in rows],
    )  # fmt: skip
    return chart.render()


def early(checkpoints: FloatArray, e: Early) -> Markup:
    """Recall of the finally high samples at each checkpoint, against chance and permutation."""
    axis, at = epochs_axis(checkpoints)
    chart = Chart(
        axis,
        Axis(0.0, 1.0, "share of the finally high", linear_ticks(0.0, 1.0)),
        "Early determination: share of the finally high samples that are high already",
        width=500,
        height=290,
    )
    chart.line(at, e.chance, "diagonal", "as many random samples")
    chart.line(at, e.null_recall, "null", "permuted membership")
    chart.line(at, e.recall, "s3", "recall")
    chart.dots(
        at, e.recall, "s3",
        [
            f"{epoch(t)}: {number(r, 2)}; precision {number(p, 2)}; chance {number(c, 2)}"
            for t, r, p, c in zip(checkpoints, e.recall, e.precision, e.chance, strict=True)
        ],
    )  # fmt: skip
    return chart.render()


def compared(runs: Mapping[str, Findings]) -> Markup:
    """AUC of the main attack over training, one line per run with its interval."""
    return over_runs(
        {n: (f.checkpoints, f.risk.auc, f.risk.low, f.risk.high) for n, f in runs.items()},
        "AUC (0.5 = a coin)",
        title="AUC over training, one line per run",
        level=0.5,
        level_name="a coin",
    )


def over_runs(
    lines: Mapping[str, tuple[FloatArray, FloatArray, FloatArray, FloatArray]],
    label: str,
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
        Axis(0.0, top, "epoch", linear_ticks(0.0, top)),
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
            epochs, value, css,
            [f"{name}, {epoch(t)}: {number(a)}" for t, a in zip(epochs, value, strict=True)],
        )  # fmt: skip
    return chart.render()


def trade(runs: Mapping[str, Findings]) -> Markup | None:
    """Accuracy of non-members against the main attack's AUC at the end, one dot per run."""
    held = {name: f for name, f in runs.items() if f.utility is not None}
    if not held:
        return None
    x = np.array([f.utility.other[-1] for f in held.values() if f.utility is not None])
    y = np.array([f.lead.auc.mean for f in held.values()])
    lows = np.array([f.lead.auc.low for f in held.values()])
    highs = np.array([f.lead.auc.high for f in held.values()])
    around = np.concatenate([y, lows[np.isfinite(lows)], highs[np.isfinite(highs)], [0.5]])
    pad_x, pad_y = max(0.1 * float(np.ptp(x)), 0.005), max(0.08 * float(np.ptp(around)), 0.005)
    left, right = float(x.min()) - pad_x, float(x.max()) + pad_x
    low, high = float(around.min()) - pad_y, float(around.max()) + pad_y
    chart = Chart(
        Axis(left, right, "accuracy of non-members", linear_ticks(left, right, "{:.3g}")),
        Axis(low, high, "AUC (0.5 = a coin)", linear_ticks(low, high, "{:.3g}")),
        "Accuracy against risk, one dot per run",
        height=380,
    )
    chart.line(np.array([left, right]), np.array([0.5, 0.5]), "diagonal", "a coin")
    for k, name in enumerate(held):
        css = f"s{k % 8}"
        chart.line(np.array([x[k], x[k]]), np.array([lows[k], highs[k]]), css, name)
        chart.dots(x[k : k + 1], y[k : k + 1], css, [f"{name}: accuracy {number(x[k])}, AUC {number(y[k])}"])  # fmt: skip
    return chart.render()
