"""Charts as plain SVG: drawn once, readable without a script, themed by the page's style sheet.

A chart is text here because the report must paint at once, print, follow light and dark, and be
read aloud; a plotting library's bundle would be most of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup, escape

from seepage.array_types import FloatArray

__all__ = ["Axis", "Chart", "linear_ticks"]

LEFT, RIGHT, TOP, BOTTOM = 78, 16, 14, 50


@dataclass(frozen=True)
class Axis:
    """Range, labelled ticks and title of one axis."""

    low: float
    high: float
    title: str
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def place(self, values: FloatArray) -> FloatArray:
        """Values to [0, 1] along the axis; what a logarithm cannot show lies on the lower edge."""
        v = np.asarray(values, dtype=np.float64)
        if self.log:
            v = np.log(np.maximum(v, self.low))
            low, high = np.log(self.low), np.log(self.high)
        else:
            low, high = self.low, self.high
        return np.asarray((np.clip(v, low, high) - low) / (high - low), dtype=np.float64)


def linear_ticks(low: float, high: float, form: str = "{:.2g}") -> tuple[tuple[float, str], ...]:
    """About five round ticks.

    >>> [t for t, _ in linear_ticks(0.0, 1.0)]
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = max(high - low, 1e-12)
    raw = span / 5
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = np.ceil(low / step - 1e-9) * step
    ticks = np.arange(first, high + step * 1e-6, step).round(12)
    return tuple((float(t) + 0.0, form.format(float(t) + 0.0)) for t in ticks)


@dataclass
class Chart:
    """Collects marks, then `render`s. Series are told apart by colour class and by dash."""

    x: Axis
    y: Axis
    label: str
    width: int = 680
    height: int = 400
    _under: list[Markup] = field(default_factory=list)
    _over: list[Markup] = field(default_factory=list)

    def _xy(self, xs: FloatArray, ys: FloatArray) -> tuple[FloatArray, FloatArray]:
        px = LEFT + self.x.place(xs) * (self.width - LEFT - RIGHT)
        py = self.height - BOTTOM - self.y.place(ys) * (self.height - TOP - BOTTOM)
        return px, py

    def _points(self, xs: FloatArray, ys: FloatArray) -> str:
        px, py = self._xy(np.asarray(xs, float), np.asarray(ys, float))
        ok = np.isfinite(px) & np.isfinite(py)
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(px[ok], py[ok], strict=True))

    def line(self, xs: FloatArray, ys: FloatArray, css: str, title: str = "") -> None:
        """A polyline; `title` is what hovering over it says."""
        self._over.append(
            Markup('<polyline class="line {}" points="{}"><title>{}</title></polyline>').format(
                css, self._points(xs, ys), title
            )
        )

    def dots(self, xs: FloatArray, ys: FloatArray, css: str, titles: Sequence[str]) -> None:
        """One dot per value, each with its own hover text."""
        px, py = self._xy(np.asarray(xs, float), np.asarray(ys, float))
        for a, b, t in zip(px, py, titles, strict=True):
            if np.isfinite(a) and np.isfinite(b):
                self._over.append(
                    Markup(
                        '<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="3.4">'
                        "<title>{}</title></circle>"
                    ).format(css, a, b, t)
                )

    def band(
        self, xs: FloatArray, low: FloatArray, high: FloatArray, css: str, title: str = ""
    ) -> None:
        """The area between two curves."""
        xs, low, high = (np.asarray(v, float) for v in (xs, low, high))
        ok = np.isfinite(low) & np.isfinite(high)
        both = self._points(
            np.concatenate([xs[ok], xs[ok][::-1]]), np.concatenate([low[ok], high[ok][::-1]])
        )
        self._under.append(
            Markup('<polygon class="band {}" points="{}"><title>{}</title></polygon>').format(
                css, both, title
            )
        )

    def note(self, x: float, y: float, text: str, css: str = "") -> None:
        """A few words inside the chart."""
        px, py = self._xy(np.array([x]), np.array([y]))
        self._over.append(
            Markup('<text class="note {}" x="{:.1f}" y="{:.1f}">{}</text>').format(
                css, px[0], py[0], text
            )
        )

    def render(self) -> Markup:
        """The chart as one <svg> element."""
        w, h = self.width, self.height
        out = [
            Markup(
                '<svg class="chart plot" viewBox="0 0 {} {}" role="img" aria-label="{}">'
            ).format(w, h, self.label)
        ]
        for value, text in self.x.ticks:
            (px,), _ = self._xy(np.array([value]), np.array([self.y.low]))
            out.append(
                Markup(
                    '<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
                    '<text class="tick" text-anchor="middle" x="{0:.1f}" y="{3}">{4}</text>'
                ).format(px, TOP, h - BOTTOM, h - BOTTOM + 17, text)
            )
        for value, text in self.y.ticks:
            _, (py,) = self._xy(np.array([self.x.low]), np.array([value]))
            out.append(
                Markup(
                    '<line class="grid" x1="{1}" x2="{2}" y1="{0:.1f}" y2="{0:.1f}"/>'
                    '<text class="tick" text-anchor="end" x="{3}" y="{4:.1f}">{5}</text>'
                ).format(py, LEFT, w - RIGHT, LEFT - 8, py + 4, text)
            )
        out += self._under + self._over
        out.append(
            Markup(
                '<text class="axis" text-anchor="middle" x="{}" y="{}">{}</text>'
                '<text class="axis" text-anchor="middle" transform="translate(14 {}) rotate(-90)">'
                "{}</text></svg>"
            ).format(
                LEFT + (w - LEFT - RIGHT) / 2,
                h - 8,
                escape(self.x.title),
                TOP + (h - TOP - BOTTOM) / 2,
                escape(self.y.title),
            )
        )
        return Markup("").join(out)
