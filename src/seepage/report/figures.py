"""The report's charts, from findings."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from seepage.report.findings import Findings
from seepage.report.svg import Axis, Chart, linear_ticks

__all__ = ["epochs_axis", "exposed", "risk", "roc", "utility"]

F64 = NDArray[np.float64]


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


def epochs_axis(checkpoints: F64) -> tuple[Axis, F64]:
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
    low = float(10.0 ** np.clip(np.floor(-np.log10(max(negatives, 10.0))), -5, -1))
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
