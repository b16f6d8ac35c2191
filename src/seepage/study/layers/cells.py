"""Claims A1 to A3 and the questions of memorisation, judged by counting cells with an interval.

The rules stand with all others in `seepage.study.layers.claims`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from seepage.layers import phases
from seepage.metrics.verdict import Outcome, Share, Verdict, agreed, opposite
from seepage.study.layers.permute import sign_flip
from seepage.study.layers.plan import DEFINITIONS, DOF, RANKS, family
from seepage.study.layers.results import Found, series_of

__all__ = [
    "LEVEL",
    "Cells",
    "consistency",
    "counted",
    "fresh_claim",
    "memorisation",
    "pattern",
    "patterns",
    "places",
]

LEVEL = 0.05
MARGIN = 0.05

Cells = dict[tuple[str, str, float], list[float]]
"""(architecture, data set, label noise) -> a share of layers per unit."""


def pattern(found: Found, name: str, *, moving: bool = True) -> Cells:
    """Share of hidden layers that fall, then rise, per unit of each cell.

    moving: of the layers whose figure changes at all; one that stays where the measure ends, as a
    rank that is full from first to last, could not show the pattern. A unit that has none is left
    out. False counts them as layers that do not show it.
    """
    cells: Cells = {}
    for result in found.values():
        u = result["unit"]
        m = series_of(result, name)[:, :-1]
        moves = (np.ptp(m, axis=0) > 0) | (not moving)
        if moves.any():
            both = phases(m, result["epochs"], MARGIN).both[moves]
            cell = (u["architecture"], u["dataset"], u["noise"])
            cells.setdefault(cell, []).append(float(both.mean()))
    return cells


def _shows(shares: Sequence[float]) -> bool:
    return float(np.mean([s > 0.5 for s in shares])) > 0.5


def counted(cells: Mapping[tuple[str, str, float], Sequence[float]]) -> Share:
    """How many cells show it, the widths of one network being one architecture."""
    return _share({c: _shows(s) for c, s in cells.items()})


def _share(shown: Mapping[tuple[str, str, float], bool]) -> Share:
    tied: dict[tuple[str, str, float], list[bool]] = {}
    for (a, d, n), yes in shown.items():
        tied.setdefault((family(a), d, n), []).append(yes)
    every = sum(all(v) for v in tied.values())
    some = sum(any(v) for v in tied.values())
    return Share(every, len(tied), some - every)


def _without(cells: Cells, architectures: Iterable[str]) -> Cells:
    gone = set(architectures)
    return {c: s for c, s in cells.items() if c[0] not in gone}


def _readings(cells: Cells, added: Sequence[str]) -> list[Share]:
    """All cells, and those without the architectures that were added after looking."""
    rest = _without(cells, added)
    return [counted(cells), *([counted(rest)] if 0 < len(rest) < len(cells) else [])]


def _outcome(cells: Cells, added: Sequence[str]) -> Outcome:
    return agreed(s.outcome() for s in _readings(cells, added))


def patterns(found: Found, added: Sequence[str]) -> tuple[list[Verdict], dict[str, Cells]]:
    """A1 and A2, and the cells of every definition."""
    cells = {m: pattern(found, m) for m in (*DOF, *RANKS)}
    out = []
    for name, main, some, says, published in (
        ("A1", "k95", DOF, "DoF of the hidden layers falls, then rises during training",
         "fall, then rise (as summarised)"),
        ("A2", "rank_1e2", RANKS, "The Jacobian's rank does the same",
         "the same pattern (as summarised)"),
    ):  # fmt: skip
        rows = [(m, f"**{_outcome(cells[m], added)}**", _by_arm(cells[m], added)) for m in some]
        every = counted(pattern(found, main, moving=False))
        still = (f"{main}, layers that never change counted too", every.outcome(), every.text())
        out.append(
            Verdict(
                name,
                _outcome(cells[main], added),
                says,
                why=_said(cells[main], added),
                published=published,
                figures=(*rows, still, *_one_out(cells[main], main)),
            )
        )
    return out, cells


def _said(cells: Cells, added: Sequence[str]) -> str:
    every, *rest = _readings(cells, added)
    words = f"{every.text()} of cells"
    return words + "".join(f"; without {', '.join(added)} {s.text()}" for s in rest)


def _by_arm(cells: Cells, added: Sequence[str]) -> str:
    text = [_said(cells, added)]
    for noise in sorted({c[2] for c in cells}):
        arm = {c: s for c, s in cells.items() if c[2] == noise}
        layers = float(np.mean([v for s in arm.values() for v in s]))
        text.append(f"noise {noise:g}: {counted(arm).text()}, {layers:.0%} of layers")
    return "; ".join(text)


def _one_out(cells: Cells, name: str) -> list[tuple[str, str, str]]:
    """What the count is without each architecture, all its widths."""
    names = sorted({family(c[0]) for c in cells})
    if len(names) < 2:
        return []
    rows: list[tuple[str, str, str]] = []
    for f in names:
        share = counted({c: s for c, s in cells.items() if family(c[0]) != f})
        rows.append((f"{name} without {f}, all widths", share.outcome(), share.text()))
    return rows


def consistency(cells: Mapping[str, Cells], added: Sequence[str]) -> Verdict:
    """A3, from the cells of A1 and A2 by definition."""
    rows: list[tuple[str, str, str]] = []
    headline: Outcome = "undecided"
    why = ""
    for dof in DEFINITIONS:
        for rank in RANKS[:2]:
            shown = {
                c: _shows(s) and _shows(cells[rank][c])
                for c, s in cells[dof].items()
                if c in cells[rank]
            }
            parts = [shown, {c: y for c, y in shown.items() if c[0] not in added}]
            shares = [_share(p) for p in parts if p]
            verdict = agreed(s.outcome() for s in shares)
            several = min(len({family(c[0]) for c in shown}), len({c[1] for c in shown})) > 1
            if verdict == "holds" and not several:
                verdict = "undecided"
            words = f"{shares[0].text()} of cells show both" if shares else "no cell"
            rows.append((f"{dof} with {rank}", f"**{verdict}**", words))
            if (dof, rank) == ("k95", "rank_1e2"):
                headline, why = verdict, words
    return Verdict("A3", headline, "Both patterns are consistent across models and data sets",
                   why=why, published="consistent (as summarised)", figures=tuple(rows))  # fmt: skip


def _rise(result: Mapping[str, Any], name: str) -> float:
    """Mean over hidden layers of log(last / least)."""
    m = series_of(result, name)[:, :-1]
    least = np.maximum(m.min(axis=0), 1e-12)
    return float(np.log(np.maximum(m[-1], 1e-12) / least).mean())


def places(
    pairs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]], name: str
) -> tuple[float, float, int]:
    """Mean rise of the first less that of the second, p by exchanging the two, number of places.

    Pairs of one network, whatever its width, on one data set are one place: their mean is one value
    that is exchanged. Seeds and widths of one network are not so many independent witnesses.
    """
    by: dict[tuple[str, str], list[float]] = {}
    for a, b in pairs:
        key = family(a["unit"]["architecture"]), a["unit"]["dataset"]
        by.setdefault(key, []).append(_rise(a, name) - _rise(b, name))
    d = [float(np.mean(v)) for v in by.values()]
    return float(np.mean(d)) if d else math.nan, sign_flip(d), len(d)


def _arms(found: Found) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(most noise, least noise) of units that differ in nothing else."""
    by: dict[tuple[str, str, int], dict[float, Mapping[str, Any]]] = {}
    for r in found.values():
        by.setdefault(_place(r), {})[r["unit"]["noise"]] = r
    return [(arms[max(arms)], arms[min(arms)]) for arms in by.values() if len(arms) > 1]


def _place(result: Mapping[str, Any]) -> tuple[str, str, int]:
    u = result["unit"]
    return u["architecture"], u["dataset"], u["seed"]


def memorisation(found: Found, cells: Mapping[str, Cells], added: Sequence[str]) -> Verdict:
    """Whether the pattern is absent without label noise, and the rise larger with it."""
    pairs = _arms(found)
    rows: list[tuple[str, str, str]] = []
    headline: Outcome = "undecided"
    why = ""
    for name, by in cells.items():
        clean = {c: s for c, s in by.items() if c[2] == 0}
        mean, p, many = places(pairs, name)
        if not rows and many:
            rows.append(("power", f"{len(pairs)} pairs of units at {many} places",
                         f"p can be no less than {_least(many):.2g}"))  # fmt: skip
        absent = opposite(_outcome(clean, added)) if clean else "undecided"
        verdict: Outcome = "undecided"
        if absent == "does not hold" or (mean < 0 and p < LEVEL):
            verdict = "does not hold"
        elif absent == "holds" and mean > 0 and p < LEVEL:
            verdict = "holds"
        shown = f"without label noise {_said(clean, added)}" if clean else "no cell without noise"
        figure = f"rise {mean:+.3f} with noise (p {p:.2g})" if many else "no pairs"
        rows.append((name, f"**{verdict}**", f"{shown}; {figure}"))
        if name == "k95":
            headline, why = verdict, rows[-1][2]
    return Verdict(
        "A1, A2 and memorisation",
        headline,
        "The pattern needs memorisation: absent without label noise, the rise larger with it",
        why=why,
        published="not claimed; a question of ours",
        figures=tuple(rows),
    )


def _least(places: int) -> float:
    """The least p that exchanging within so many pairs can reach."""
    return float(2.0 ** (1 - places)) if places <= 12 else 1e-4


def fresh_claim(found: Found, controls: Found) -> Verdict:
    """Whether the pattern is absent in networks that see every sample once."""
    rows: list[tuple[str, str, str]] = []
    bare = {_place(r): r for r in found.values() if r["unit"]["noise"] == 0}
    pairs = [(bare[_place(c)], c) for c in controls.values() if _place(c) in bare]
    targets = {str(i): target for i, (target, _) in enumerate(pairs)}
    headline: Outcome = "undecided"
    why = ""
    for name in (*DOF, *RANKS):
        cells, theirs = pattern(controls, name), pattern(targets, name)
        share, own = counted(cells), counted(theirs)
        absent = opposite(share.outcome())
        verdict: Outcome = "undecided"
        if absent == "does not hold" or (absent == "holds" and own.outcome() == "holds"):
            verdict = absent
        mean, p, many = places(pairs, name)
        layers = float(np.mean([v for s in cells.values() for v in s])) if cells else 0.0
        text = f"fresh: {share.text()} of cells, {layers:.0%} of layers"
        if many:
            text += f"; on members {own.text()}; the target rises {mean:+.3f} more (p {p:.2g}, "
            text += f"at least {_least(many):.2g} with {many} places)"
        rows.append((name, f"**{verdict}**", text))
        if name == "k95":
            headline, why = verdict, text
    return Verdict(
        "A1, A2 on fresh samples",
        headline,
        "The pattern comes from memorising: absent where no sample comes again",
        why=why,
        published="not claimed; a question of ours",
        figures=tuple(rows),
    )
