"""The page's part on controls: what their networks saw, and their curves beside the targets'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seepage.study.layers.patterns import Found, series_of
from seepage.study.markdown import table

__all__ = ["fresh_table"]

_SHOWN = ("k95", "erank", "jac_participation")


def fresh_table(found: Found, controls: Found) -> str:
    """Markdown: accuracy of controls at the end, and indicators over training in both arms."""
    arms: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for r in controls.values():
        arms.setdefault((r["unit"]["architecture"], r["unit"]["dataset"]), []).append(r)
    rows = []
    for (a, d), own in sorted(arms.items()):
        last = [r["accuracy"][-1] for r in own]
        first, others = (float(np.mean([e[k] for e in last])) for k in ("members", "others"))
        again = float(np.mean([r["revisited"] for r in own]))
        visits = max(r["visits"] for r in own)
        rows.append([a, d, str(len(own)), f"{first:.3f}", f"{others:.3f}", f"{first - others:+.3f}",
                     str(visits), f"{again:.3f}", f"{again - others:+.3f}"])  # fmt: skip
    head = ["architecture", "data", "controls", "accuracy on samples seen once", "of others", "gap",
            "most visits of a sample", "accuracy on those", "gap of those"]  # fmt: skip
    text = (
        "The controls at the end. Their first epoch, on the target's members, is the target's to the "
        "bit; those are the probe set and are not seen again. The data sets have too few samples for "
        "all later epochs, so the others come in turn.\n\n" + table(head, rows)
    )
    epochs = next(iter(controls.values()))["epochs"]
    for name in _SHOWN:
        rows = []
        for (a, d), own in sorted(arms.items()):
            twins = [r for r in found.values() if _clean(r) == (a, d)]
            for arm, results in (("fresh", own), ("members", twins)):
                if results:
                    curve = _curve(results, name)
                    rows.append([f"{a}, {d}, {arm}", *(f"{v:.2f}" for v in curve)])
        text += f"\n`{name}` relative to initialisation, mean over hidden layers and seeds:\n\n"
        text += table(["epoch", *(f"{e:g}" for e in epochs)], rows)
    return text


def _clean(result: Mapping[str, Any]) -> tuple[str, str] | None:
    u = result["unit"]
    return (u["architecture"], u["dataset"]) if u["noise"] == 0 else None


def _curve(results: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    curves = []
    for r in results:
        m = series_of(r, name)[:, :-1]
        curves.append((m / np.maximum(m[0], 1e-12)).mean(axis=1))
    return [float(v) for v in np.mean(curves, axis=0)]
