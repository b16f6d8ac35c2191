"""Charts of a comparison of defences: accuracy against risk, and each over training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from markupsafe import Markup

from seepage.array_types import Float64Array
from seepage.comparison.results import PoolResults, Row
from seepage.findings.defences import on_front
from seepage.report.defence_words import figure_of
from seepage.report.figures import epochs_axis
from seepage.report.svg import Axis, Chart, linear_ticks

__all__ = ["accuracy_and_risk", "centres", "over_training"]


def _around(values: Float64Array, least: float) -> tuple[float, float]:
    held = values[np.isfinite(values)]
    pad = max(0.1 * float(np.ptp(held)), least)
    return float(held.min()) - pad, float(held.max()) + pad


def accuracy_and_risk(
    p: PoolResults, metric: str, title: str, chance: float, keep: Callable[[Row], bool]
) -> Markup | None:
    """Accuracy against one figure of risk: a dot with both intervals per defence, and the front.

    keep: which rows are drawn; their numbers stay those of all.
    """
    rows = [(k, r) for k, r in enumerate(p.rows) if r.has(metric) and keep(r)]
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
    best = on_front(p, metric, lambda r: r.has(metric) and keep(r))
    edge = sorted((e.mean, f.mean) for e, f, on in zip(x, y, best, strict=True) if on)
    if len(edge) > 1:
        # More accuracy than a point of the front has costs the risk of the next point.
        steps = [edge[0]]
        for at, value in edge[1:]:
            steps += [(steps[-1][0], value), (at, value)]
        corners = np.array(steps)
        chart.line(corners[:, 0], corners[:, 1], "null", "Pareto front")
    spots = _labels(
        [
            ((e.mean - left) / (right - left), (f.mean - low) / (high - low))
            for e, f in zip(x, y, strict=True)
        ]
    )
    for (k, r), e, f, (u, v) in zip(rows, x, y, spots, strict=True):
        css = f"s{k % 8}"
        chart.line(np.array([e.low, e.high]), np.array([f.mean, f.mean]), f"{css} whisker", r.label)
        chart.line(np.array([e.mean, e.mean]), np.array([f.low, f.high]), f"{css} whisker", r.label)
        said = f"{k}: {r.label}: accuracy {figure_of(e)}, {title} {figure_of(f)}"
        chart.dots(np.array([e.mean]), np.array([f.mean]), css, [said])
        chart.note(left + u * (right - left), low + v * (high - low), str(k))
    return chart.render()


def _labels(dots: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where the numbers of dots go, all in shares of the plane: the nearest place that is free.

    >>> _labels([(0.5, 0.5), (0.5, 0.505)])[0] != _labels([(0.5, 0.5), (0.5, 0.505)])[1]
    True
    """
    wide, tall = 0.026, 0.026
    places = [
        (dx, dy)
        for ring in (1.0, 2.0, 3.0)
        for dx, dy in ((0.008, 0.012), (0.008, -0.032), (-0.03, 0.012), (-0.03, -0.032))
        for dx, dy in ((dx * ring, dy * ring),)
    ]
    taken = list(dots)
    out: list[tuple[float, float]] = []
    for u, v in dots:
        crowd = []
        for dx, dy in places:
            a, b = u + dx, v + dy
            near = sum(abs(a - c) < wide and abs(b - d) < tall for c, d in out)
            on = sum(-0.004 < c - a < wide and -0.004 < d - b < tall for c, d in taken)
            crowd.append(2 * near + on)
        dx, dy = places[int(np.argmin(crowd))]
        out.append((u + dx, v + dy))
    return out


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
    """The path of the mean over samples on the FPR-TPR plane, one line per defence."""
    xs = np.concatenate([r.paths["fpr"] for r in p.rows])
    ys = np.concatenate([r.paths["tpr"] for r in p.rows])
    low, high = _around(np.concatenate([xs, ys]), 0.02)
    low, high = max(low, 0.0), min(high, 1.0)
    ticks = linear_ticks(low, high)
    chart = Chart(
        Axis(low, high, "mean FPR of the samples", ticks),
        Axis(low, high, "mean TPR of the samples", ticks),
        "Path of the mean over samples on the FPR-TPR plane, one line per defence",
        width=560, height=500,
    )  # fmt: skip
    chart.line(np.array([low, high]), np.array([low, high]), "diagonal", "no leakage")
    for k, r in enumerate(p.rows):
        css = f"s{k % 8}"
        chart.line(r.paths["fpr"], r.paths["tpr"], f"{css} d{k // 8 % 4}", f"{k}: {r.label}")
        end = f"{k}: {r.label}, after training"
        chart.dots(r.paths["fpr"][-1:], r.paths["tpr"][-1:], css, [end])
    return chart.render()
