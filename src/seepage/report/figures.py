"""The charts of one run's report, from its findings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from seepage.array_types import FloatArray
from seepage.findings.clock import EPOCHS, Clock
from seepage.findings.probes import CurvatureFinding
from seepage.findings.result import EarlyRecall, Findings, Utility
from seepage.plane import Estimate
from seepage.report.svg import Axis, Chart, linear_ticks
from seepage.report.words import number

__all__ = [
    "curvature",
    "curvature_auc",
    "early",
    "epochs_axis",
    "high",
    "layer_chain",
    "layer_map",
    "metric",
    "risk",
    "roc",
    "utility",
]

# Characters of a layer's name, blocks in a row of the chain, and the advantage drawn fully dark.
NAME = 22
PER_ROW = 6
STRONG = 0.3


def epochs_axis(checkpoints: FloatArray, clock: Clock = EPOCHS) -> tuple[Axis, FloatArray]:
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
    title = clock.unit
    if crowded:
        title += " (square-root scale" + ("; 0 = before training)" if clock == EPOCHS else ")")
    return Axis(low, high, title, tuple(kept[::-1])), at


_ERROR_WORDS = {
    "rmse": ("RMSE (units of the target)", "Root-mean-square error"),
    "divergence": ("mean KL(q ‖ p), nats", "Mean divergence from the targets"),
    "nats-per-token": ("nats a token", "Mean −log p of a token"),
}


def utility(checkpoints: FloatArray, u: Utility, clock: Clock = EPOCHS) -> Markup:
    """Accuracy, or the task's error, of members and non-members over training."""
    axis, at = epochs_axis(checkpoints, clock)
    low = float(np.nanmin([u.member_low.min(), u.other_low.min()]))
    floor = max(0.0, np.floor(low * 10) / 10) if np.isfinite(low) else 0.0
    top, title, what = 1.0, "accuracy", "Accuracy"
    if u.measure == "label-vectors":
        title = what = "Share with all labels right"
    if not u.share:
        tops = np.concatenate([u.member, u.other, u.member_high, u.other_high])
        highest = float(np.max(tops[np.isfinite(tops)], initial=0.0))
        floor, top = 0.0, 1.05 * highest if highest > 0 else 1.0
        title, what = _ERROR_WORDS[u.measure]
    chart = Chart(
        axis,
        Axis(floor, top, title, linear_ticks(floor, top, "{:.3g}")),
        f"{what} of members and of non-members at each checkpoint",
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
            [f"{name}, {clock(t)}: {number(m)}" for t, m in zip(checkpoints, mean, strict=True)],
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
        Axis(low, 1.0, "true-positive rate (members called members)", ticks, log=True),
        "ROC curves of all attacks on logarithmic axes",
        height=520,
    )
    chart.line(np.array([low, 1.0]), np.array([low, 1.0]), "diagonal", "no leakage")
    for k, a in enumerate(f.attacks):
        seen = a.roc_fpr >= low
        chart.line(a.roc_fpr[seen], a.roc_tpr[seen], f"s{k % 8} d{k // 8 % 4}", a.title)
    return chart.render()


def _auc_axis(*drawn: FloatArray) -> Axis:
    """An axis on which all that is drawn and chance find room."""
    finite = np.concatenate([*drawn, [0.5]])
    finite = finite[np.isfinite(finite)]
    pad = 0.08 * max(float(np.ptp(finite)), 0.02)
    low, high = max(0.0, float(finite.min()) - pad), min(1.0, float(finite.max()) + pad)
    return Axis(low, high, "AUC (0.5 = chance)", linear_ticks(low, high, "{:.3g}"))


def risk(f: Findings) -> Markup:
    """AUC of the main attack at each checkpoint over its range under permuted membership."""
    r = f.risk
    axis, at = epochs_axis(f.checkpoints, f.clock)
    chart = Chart(
        axis,
        _auc_axis(r.auc, r.low, r.high, r.null_low, r.null_high),
        "AUC of the main attack at each checkpoint",
        height=360,
    )
    chart.band(at, r.null_low, r.null_high, "null", "range under permuted membership")
    chart.line(at[[0, -1]], np.array([0.5, 0.5]), "diagonal", "chance")
    chart.band(at, r.low, r.high, "s0", "95 % interval")
    chart.line(at, r.null, "null", "permuted membership")
    chart.line(at, r.auc, "s0", "AUC")
    chart.dots(
        at, r.auc, "s0",
        [
            f"{f.clock(t)}: AUC {number(a)} ({number(lo)} to {number(hi)}); permuted {number(n)}"
            for t, a, lo, hi, n in zip(f.checkpoints, r.auc, r.low, r.high, r.null, strict=True)
        ],
    )  # fmt: skip
    return chart.render()


def high(f: Findings) -> Markup:
    """How many samples have an advantage of at least ½, against permuted membership."""
    e = f.exposure
    axis, at = epochs_axis(f.checkpoints, f.clock)
    top = float(max(e.high_count.max(), e.null_high_count.max(), 1))
    chart = Chart(
        axis,
        Axis(0.0, top * 1.05, f.units, linear_ticks(0.0, top * 1.05, "{:.0f}")),
        f"Number of {f.units} with advantage of at least one half",
        height=300,
    )
    chart.line(at, e.null_high_count, "null", "permuted membership")
    chart.line(at, e.high_count.astype(float), "s3", f"{f.units} with advantage ≥ 0.5")
    chart.dots(
        at, e.high_count.astype(float), "s3",
        [
            f"{f.clock(t)}: {a} {f.units}, {n:.0f} under permuted membership"
            for t, a, n in zip(f.checkpoints, e.high_count, e.null_high_count, strict=True)
        ],
    )  # fmt: skip
    return chart.render()


def metric(checkpoints: FloatArray, e: Estimate, label: str, clock: Clock = EPOCHS) -> Markup:
    """A population metric over training: interval, null, its band. (T,) or (T−1,) values.

    Metrics of an interval between two checkpoints stand at its end.
    """
    axis, at = epochs_axis(checkpoints, clock)
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
    chart.band(
        at, e.null_low, e.null_high, "null", "95 % prediction band of one more permuted draw"
    )
    chart.line(at, e.null, "null", "permuted membership")
    chart.band(at, e.low, e.high, "s0", "95 % interval over pairs of runs")
    chart.line(at, e.value, "s0", label)
    rows = zip(
        checkpoints[len(checkpoints) - len(e.value) :], e.value, e.low, e.high, e.null, strict=True
    )
    chart.dots(
        at, e.value, "s0",
        [f"{clock(t)}: {v:.3g} ({lo:.3g} to {hi:.3g}); permuted {n:.3g}" for t, v, lo, hi, n in rows],
    )  # fmt: skip
    return chart.render()


def early(checkpoints: FloatArray, e: EarlyRecall, clock: Clock = EPOCHS) -> Markup:
    """Recall of the samples that are high at the end, against chance and permuted membership."""
    axis, at = epochs_axis(checkpoints, clock)
    chart = Chart(
        axis,
        Axis(0.0, 1.0, "recall", linear_ticks(0.0, 1.0)),
        "Early determination: share of the samples high at the end that are high already",
        width=500,
        height=290,
    )
    chart.line(at, e.chance, "diagonal", "as many random samples")
    chart.line(at, e.null_recall, "null", "permuted membership")
    chart.line(at, e.recall, "s3", "recall")
    chart.dots(
        at, e.recall, "s3",
        [
            f"{clock(t)}: {number(r, 2)}; precision {number(p, 2)}; chance {number(c, 2)}"
            for t, r, p, c in zip(checkpoints, e.recall, e.precision, e.chance, strict=True)
        ],
    )  # fmt: skip
    return chart.render()


def curvature(c: CurvatureFinding, clock: Clock = EPOCHS) -> Markup:
    """Median curvature of members and non-members over training, on a logarithmic axis."""
    axis, at = epochs_axis(c.epochs, clock)
    both = np.concatenate([c.inside, c.outside])
    low, high = float(both.min()) / 1.3, float(both.max()) * 1.3
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = (1, 2, 5) if len(decades) < 5 else (1,)
    ticks = [m * 10.0**k for k in decades for m in steps if low <= m * 10.0**k <= high]
    chart = Chart(
        axis,
        Axis(low, high, f"{c.signal}, median", tuple((v, f"{v:.3g}") for v in ticks), log=True),
        "Median curvature of members and of non-members at each checkpoint",
        height=330,
    )
    for css, name, values in (("s1", "non-members", c.outside), ("s0", "members", c.inside)):
        chart.line(at, values, css, name)
        chart.dots(
            at, values, css,
            [f"{name}, {clock(t)}: {v:.3g}" for t, v in zip(c.epochs, values, strict=True)],
        )  # fmt: skip
    return chart.render()


def curvature_auc(c: CurvatureFinding, clock: Clock = EPOCHS) -> Markup:
    """AUC of low curvature over training: members have lower curvature than non-members."""
    axis, at = epochs_axis(c.epochs, clock)
    chart = Chart(
        axis,
        _auc_axis(c.auc, c.low, c.high),
        "AUC of low curvature at each checkpoint",
        width=430,
        height=300,
    )
    chart.line(at[[0, -1]], np.array([0.5, 0.5]), "diagonal", "chance")
    chart.band(at, c.low, c.high, "s0", "95 % interval")
    chart.line(at, c.auc, "s0", "AUC")
    chart.dots(
        at, c.auc, "s0",
        [f"{clock(t)}: {number(a)} ({number(lo)} to {number(hi)})"
         for t, a, lo, hi in zip(c.epochs, c.auc, c.low, c.high, strict=True)],
    )  # fmt: skip
    return chart.render()


def _short(name: str) -> str:
    return name if len(name) <= NAME else "…" + name[-(NAME - 1) :]


def layer_map(
    layers: Sequence[str], epochs: FloatArray, values: FloatArray, chance: bool
) -> Markup:
    """Layer × checkpoint: (T, L) as shaded cells, the first layer on top.

    Darkest is the largest value of the map; with `chance` the lightest is 0.5 (an AUC at chance),
    else the smallest value.
    """
    v = np.asarray(values, dtype=np.float64)
    low = 0.5 if chance else float(v.min())
    span = max(float(v.max()) - low, STRONG / 2 if chance else 1e-12)
    left, top, width, height = 162, 6, 500, 24
    cell = (width - left - 8) / len(epochs)
    bottom = top + height * len(layers)
    out = [
        Markup('<svg class="chart heat" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            width, bottom + 40, "value of every layer at every checkpoint; darker is larger"
        )
    ]
    for i, name in enumerate(layers):
        y = top + height * i
        out.append(
            Markup(
                '<text class="tick" text-anchor="end" x="{}" y="{}">{}<title>{}</title></text>'
            ).format(left - 8, y + 16, _short(name), name)
        )
        for t in range(len(epochs)):
            share = float(np.clip((v[t, i] - low) / span, 0, 1))
            x = left + cell * t
            text = f"{v[t, i]:.3f}" if chance else f"{v[t, i]:.4g}"
            out.append(
                Markup(
                    '<rect class="cell" x="{:.1f}" y="{}" width="{:.1f}" height="{}" '
                    'fill-opacity="{:.3f}"><title>{}, {}: {}</title></rect>'
                ).format(
                    x, y, cell - 1, height - 1, 0.06 + 0.94 * share, name, EPOCHS(epochs[t]), text
                )
            )
            if cell >= 40:
                out.append(
                    Markup(
                        '<text class="{}" text-anchor="middle" x="{:.1f}" y="{}">{}</text>'
                    ).format("value over" if share > 0.5 else "value", x + cell / 2, y + 16, text)
                )
    every = max(1, int(np.ceil(34 / cell)))
    out += [
        Markup('<text class="tick" text-anchor="middle" x="{:.1f}" y="{}">{:g}</text>').format(
            left + cell * (t + 0.5), bottom + 15, epochs[t]
        )
        for t in range(0, len(epochs), every)
    ]
    out.append(
        Markup(
            '<text class="axis" text-anchor="middle" x="{:.1f}" y="{}">epoch</text></svg>'
        ).format(left + (width - left) / 2, bottom + 34)
    )
    return Markup("").join(out)


def layer_chain(layers: Sequence[str], risk: FloatArray, measured: bool) -> Markup:
    """The network as blocks in the order of a forward pass, shaded by risk.

    A measured risk is an attack's advantage: below `STRONG` the riskiest block is not full dark.
    """
    width, step_x, step_y, w, h = 900, 148, 92, 128, 56
    rows = -(-len(layers) // PER_ROW)
    top = max(float(np.max(risk)), STRONG if measured else 1.0)
    out = [
        Markup('<svg class="chart chain" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            width, rows * step_y, "the network's layers in order; darker is riskier"
        )
    ]
    for i, (name, value) in enumerate(zip(layers, risk, strict=True)):
        column, row = i % PER_ROW, i // PER_ROW
        x, y = 6 + column * step_x, 6 + row * step_y
        if i + 1 < len(layers):
            path = (
                f"M{x + w} {y + h / 2}h{step_x - w}"
                if column + 1 < PER_ROW
                else f"M{x + w / 2} {y + h}v18H{6 + w / 2}v{step_y - h - 18}"
            )
            out.append(Markup('<path class="link" d="{}"/>').format(path))
        share = float(np.clip(value / top, 0, 1))
        out.append(
            Markup(
                '<g><rect class="block" x="{0}" y="{1}" width="{2}" height="{3}" rx="6"/>'
                '<rect class="cell" x="{0}" y="{1}" width="{2}" height="{3}" rx="6" '
                'fill-opacity="{4:.3f}"/><text class="{5}" text-anchor="middle" x="{6}" y="{7}">{8}'
                '</text><text class="{5} strong" text-anchor="middle" x="{6}" y="{9}">{10}</text>'
                "<title>{11}: {10}</title></g>"
            ).format(
                x, y, w, h, 0.04 + 0.9 * share, "value over" if share > 0.5 else "value",
                x + w / 2, y + 23, _short(name)[-17:], y + 43, number(float(value)), name,
            )
        )  # fmt: skip
    return Markup("").join([*out, Markup("</svg>")])
