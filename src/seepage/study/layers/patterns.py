"""Fall and then rise: A1 to A3, and whether the pattern needs memorisation. Rules: `claims`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seepage.array_types import Float64Array
from seepage.layers import phases
from seepage.metrics.verdict import Outcome, Verdict, by_sign
from seepage.study.layers.permute import sign_flip
from seepage.study.layers.plan import DEFINITIONS, DOF, RANKS

__all__ = [
    "LEVEL",
    "Figures",
    "Found",
    "by_cells",
    "consistency",
    "fresh_claim",
    "memorisation",
    "pattern",
    "pattern_rows",
    "series_of",
]

Found = Mapping[str, Mapping[str, Any]]
Figures = tuple[tuple[str, str, str], ...]
LEVEL = 0.05
MARGIN = 0.05

Cells = dict[tuple[str, str, float], list[float]]


def series_of(result: Mapping[str, Any], name: str) -> Float64Array:
    """An indicator's series (T, L) in a result."""
    return np.array(result["series"][name], dtype=np.float64)


def pattern(found: Found, name: str) -> Cells:
    """(architecture, data set, noise) -> share of hidden layers that fall, then rise, per unit."""
    cells: Cells = {}
    for result in found.values():
        u = result["unit"]
        both = phases(series_of(result, name)[:, :-1], result["epochs"], MARGIN).both
        cell = (u["architecture"], u["dataset"], u["noise"])
        cells.setdefault(cell, []).append(float(both.mean()))
    return cells


def _shows(shares: Sequence[float]) -> bool:
    return float(np.mean([s > 0.5 for s in shares])) > 0.5


def by_cells(cells: Cells) -> Outcome:
    """The verdict of A1's rule: two thirds of the cells or more, one third or fewer."""
    share = float(np.mean([_shows(s) for s in cells.values()]))
    if share >= 2 / 3 - 1e-9:
        return "holds"
    return "does not hold" if share <= 1 / 3 + 1e-9 else "undecided"


def pattern_rows(by: Mapping[str, Cells]) -> Figures:
    """A row per definition: its verdict, and how many cells and layers show the pattern by arm."""
    rows = []
    for name, cells in by.items():
        text = []
        for noise in sorted({c[2] for c in cells}):
            arm = [s for c, s in cells.items() if c[2] == noise]
            shown = sum(_shows(s) for s in arm)
            layers = float(np.mean([v for s in arm for v in s]))
            text.append(f"noise {noise:g}: {shown} of {len(arm)} cells, {layers:.0%} of layers")
        rows.append((name, f"**{by_cells(cells)}**", "; ".join(text)))
    return tuple(rows)


def consistency(a1: Mapping[str, Cells], a2: Mapping[str, Cells]) -> Verdict:
    """A3, from the cells of A1 and A2 by definition."""
    rows: list[tuple[str, str, str]] = []
    headline: Outcome = "undecided"
    for dof in DEFINITIONS:
        for rank in RANKS[:2]:
            verdicts, remarks = [], []
            for noise in sorted({c[2] for c in a1[dof]}):
                good = _consistent(a1[dof], a2[rank], noise)
                verdicts.append(_count(len(good)))
                remarks.append(f"noise {noise:g}: {', '.join(good) or 'no architecture'}")
            verdict: Outcome = verdicts[0] if len(set(verdicts)) == 1 else "undecided"
            rows.append((f"{dof} with {rank}", f"**{verdict}**", "; ".join(remarks)))
            if (dof, rank) == ("k95", "rank_1e2"):
                headline = verdict
    return Verdict("A3", headline, "Both patterns are consistent across models and data sets",
                   published="consistent (as summarised)", figures=tuple(rows))  # fmt: skip


def _consistent(dof: Cells, rank: Cells, noise: float) -> list[str]:
    good = []
    for a in sorted({c[0] for c in dof}):
        cells = [c for c in dof if c[0] == a and c[2] == noise]
        if len({c[1] for c in cells}) < 2:
            continue
        if all(_shows(dof[c]) and _shows(rank[c]) for c in cells):
            good.append(a)
    return good


def _count(architectures: int) -> Outcome:
    return by_sign(min(architectures, 2) - 1)


def _rise(result: Mapping[str, Any], name: str) -> float:
    """Mean over hidden layers of log(last / least)."""
    m = series_of(result, name)[:, :-1]
    least = np.maximum(m.min(axis=0), 1e-12)
    return float(np.log(np.maximum(m[-1], 1e-12) / least).mean())


def _pairs(found: Found) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(least noise, most noise) of units that differ in nothing else."""
    by: dict[tuple[str, str, int], dict[float, Mapping[str, Any]]] = {}
    for r in found.values():
        u = r["unit"]
        key = (u["architecture"], u["dataset"], u["seed"])
        by.setdefault(key, {})[u["noise"]] = r
    return [(arms[min(arms)], arms[max(arms)]) for arms in by.values() if len(arms) > 1]


def memorisation(found: Found, a1: Mapping[str, Cells], a2: Mapping[str, Cells]) -> Verdict:
    """Whether the pattern is absent without label noise, and the rise larger with it."""
    pairs = _pairs(found)
    rows: list[tuple[str, str, str]] = []
    if pairs:
        least = 2.0 ** (1 - len(pairs)) if len(pairs) <= 12 else 1e-4
        rows.append(("power", f"{len(pairs)} pairs of units", f"p can be no less than {least:.2g}"))
    headline: Outcome = "undecided"
    for name, cells in {**a1, **a2}.items():
        clean = [s for c, s in cells.items() if c[2] == 0]
        appears = bool(clean) and float(np.mean([_shows(s) for s in clean])) > 0.5
        d = [_rise(noisy, name) - _rise(bare, name) for bare, noisy in pairs]
        p = sign_flip(d)
        mean = float(np.mean(d)) if d else math.nan
        more = mean > 0 and p < LEVEL
        verdict: Outcome = "undecided"
        if appears or (mean < 0 and p < LEVEL):
            verdict = "does not hold"
        elif more:
            verdict = "holds"
        if name == "k95":
            headline = verdict
        figure = f"rise {mean:+.3f} with noise (p {p:.2g})" if d else "no pairs"
        words = "appears" if appears else "does not appear"
        rows.append((name, f"**{verdict}**", f"{words} without label noise; {figure}"))
    return Verdict(
        "A1, A2 and memorisation",
        headline,
        "The pattern needs memorisation: absent without label noise, the rise larger with it",
        published="not claimed; a question of ours",
        figures=tuple(rows),
    )


def fresh_claim(found: Found, controls: Found) -> Verdict:
    """Whether the pattern is absent in networks that see every sample once."""
    rows: list[tuple[str, str, str]] = []
    bare = {_place(r): r for r in found.values() if r["unit"]["noise"] == 0}
    pairs = [(bare[_place(c)], c) for c in controls.values() if _place(c) in bare]
    twins = {str(i): target for i, (target, _) in enumerate(pairs)}
    headline: Outcome = "undecided"
    for name in (*DOF, *RANKS):
        cells = pattern(controls, name)
        shown = by_cells(cells)
        verdict: Outcome = "undecided"
        if shown == "holds":
            verdict = "does not hold"
        elif shown == "does not hold" and twins and by_cells(pattern(twins, name)) == "holds":
            verdict = "holds"
        if name == "k95":
            headline = verdict
        d = [_rise(target, name) - _rise(control, name) for target, control in pairs]
        more = f"; the target rises {np.mean(d):+.3f} more (p {sign_flip(d):.2g})" if d else ""
        count = sum(_shows(s) for s in cells.values())
        layers = float(np.mean([v for s in cells.values() for v in s]))
        text = f"fresh: {count} of {len(cells)} cells, {layers:.0%} of layers{more}"
        rows.append((name, f"**{verdict}**", text))
    return Verdict(
        "A1, A2 on fresh samples",
        headline,
        "The pattern comes from memorising: absent where no sample comes again",
        published="not claimed; a question of ours",
        figures=tuple(rows),
    )


def _place(result: Mapping[str, Any]) -> tuple[str, str, int]:
    u = result["unit"]
    return u["architecture"], u["dataset"], u["seed"]
