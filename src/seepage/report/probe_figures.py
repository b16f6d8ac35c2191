"""Charts of curvature and of layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from seepage.array_types import FloatArray
from seepage.report.figures import epoch, epochs_axis, number
from seepage.report.probes import CurvatureFinding
from seepage.report.svg import Axis, Chart, linear_ticks

__all__ = ["chain", "curvature", "flatness", "heat"]

NAME = 22
PER_ROW = 6
STRONG = 0.3


def curvature(c: CurvatureFinding) -> Markup:
    """Median curvature of members and non-members over training, on a logarithmic axis."""
    axis, at = epochs_axis(c.epochs)
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
            [f"{name}, {epoch(t)}: {v:.3g}" for t, v in zip(c.epochs, values, strict=True)],
        )  # fmt: skip
    return chart.render()


def flatness(c: CurvatureFinding) -> Markup:
    """The chance that a member lies flatter than a non-member, over training."""
    axis, at = epochs_axis(c.epochs)
    finite = np.concatenate([c.auc, c.low, c.high, [0.5]])
    finite = finite[np.isfinite(finite)]
    pad = 0.08 * max(float(np.ptp(finite)), 0.02)
    low, high = max(0.0, float(finite.min()) - pad), min(1.0, float(finite.max()) + pad)
    chart = Chart(
        axis,
        Axis(low, high, "AUC (0.5 = a coin)", linear_ticks(low, high, "{:.3g}")),
        "AUC of low curvature at each checkpoint",
        width=430,
        height=300,
    )
    chart.line(at[[0, -1]], np.array([0.5, 0.5]), "diagonal", "a coin")
    chart.band(at, c.low, c.high, "s0", "95 % interval")
    chart.line(at, c.auc, "s0", "AUC")
    chart.dots(
        at, c.auc, "s0",
        [f"{epoch(t)}: {number(a)} ({number(lo)} to {number(hi)})"
         for t, a, lo, hi in zip(c.epochs, c.auc, c.low, c.high, strict=True)],
    )  # fmt: skip
    return chart.render()


def _short(name: str) -> str:
    return name if len(name) <= NAME else "…" + name[-(NAME - 1) :]


def heat(layers: Sequence[str], epochs: FloatArray, values: FloatArray, chance: bool) -> Markup:
    """Layer × checkpoint: (T, L) as shaded cells, the first layer on top.

    Darkest is the largest value of the map; with `chance` the lightest is 0.5 (an AUC that tells
    nothing), else the smallest value.
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
                    x, y, cell - 1, height - 1, 0.06 + 0.94 * share, name, epoch(epochs[t]), text
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


def chain(layers: Sequence[str], risk: FloatArray, measured: bool) -> Markup:
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
