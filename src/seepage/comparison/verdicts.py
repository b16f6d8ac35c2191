"""Statements D1 to D5 about protecting only some regions, each tested by a stated interval rule.

They are what the abstract of arXiv 2602.02296 (PPTP) can be tested on; its own figures were not at
hand, so thresholds and rules are ours. Every interval is at 95 % and over pairs of runs or models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from seepage.array_types import BoolArray, Float64Array
from seepage.comparison.evaluate import UNBOUNDED, over_pairs
from seepage.defenses.localise import spearman
from seepage.errors import InputError
from seepage.metrics import Estimate
from seepage.metrics.verdict import Outcome, Verdict, combined
from seepage.short_repr import short_repr

__all__ = [
    "Plane",
    "d1_peaks_apart",
    "d2_keeps_utility",
    "d3_beats_controls",
    "d4_several_bases",
    "d5_stable",
    "front",
]


@short_repr
@dataclass(frozen=True)
class Plane:
    """A defence in the plane: accuracy of non-members and AUC, each (G,) per pair of runs."""

    accuracy: ArrayLike
    auc: ArrayLike


def front(accuracy: ArrayLike, risk: ArrayLike) -> BoolArray:
    """The Pareto front: points that no other is as good as in both and better in one. (P,) -> bool.

    Higher accuracy and lower risk are better. It compares means; neighbours whose intervals overlap
    may belong to it as well.

    >>> front([0.9, 0.8, 0.7], [0.8, 0.6, 0.7]).tolist()
    [True, True, False]
    """
    a, r = np.asarray(accuracy, np.float64), np.asarray(risk, np.float64)
    as_good = (a[:, None] >= a[None]) & (r[:, None] <= r[None])
    better = (a[:, None] > a[None]) | (r[:, None] < r[None])
    return np.asarray(~(as_good & better).any(axis=0))


def _shown(e: Estimate) -> str:
    return f"{e.mean:+.4f} [{e.low:+.4f}, {e.high:+.4f}]"


def _changes(a: Plane, b: Plane) -> tuple[Estimate, Estimate]:
    """Accuracy and AUC of a minus b, pair by pair."""
    x, y = np.asarray(a.accuracy, np.float64), np.asarray(b.accuracy, np.float64)
    u, v = np.asarray(a.auc, np.float64), np.asarray(b.auc, np.float64)
    if not x.shape == y.shape == u.shape == v.shape:
        raise InputError(
            f"pairs: expected the same pairs of runs on both sides, got {x.shape} and {y.shape}; "
            "compare fleets of one plan"
        )
    return (
        over_pairs(x - y, bounds=UNBOUNDED),
        over_pairs(u - v, shared=True, bounds=UNBOUNDED),
    )


def d1_peaks_apart(utility: ArrayLike, privacy: ArrayLike, names: Sequence[str] = ()) -> Verdict:
    """D1: utility and risk peak in different regions. ΔU, ΔP (M, K), a row per model; K names.

    Let u be the region with the largest mean |ΔU| and p that with the largest mean −ΔP. Holds if u
    ≠ p, |ΔU| of u exceeds that of p and −ΔP of p exceeds that of u, both credibly. Does not hold if
    u = p and it credibly exceeds every other region in both. Credibly: the t interval over models
    of the paired difference lies above 0, at 95 % shared among the K − 1 rivals (Bonferroni).
    Counting in how many models the peaks differ would not do: of noise alone (K − 1)/K differ.

    >>> rng = np.random.default_rng(0)
    >>> u, p = rng.normal([0.3, 0.0, 0.0], 0.01, (8, 3)), rng.normal([0.0, 0.0, -0.1], 0.01, (8, 3))
    >>> d1_peaks_apart(u, p).outcome, d1_peaks_apart(u, -u).outcome
    ('holds', 'does not hold')
    """
    u, p = np.atleast_2d(np.abs(utility)), -np.atleast_2d(np.asarray(privacy, np.float64))
    models, regions = u.shape
    if regions < 2 or models < 2:
        return Verdict("D1", "undecided", why=f"{models} models of {regions} regions are too few")
    peak_u, peak_p = int(u.mean(axis=0).argmax()), int(p.mean(axis=0).argmax())
    level = 1 - 0.05 / (regions - 1)

    def exceeds(values: Float64Array, a: int, b: int) -> bool:
        gap = over_pairs(values[:, a] - values[:, b], bounds=UNBOUNDED, level=level)
        return gap.low > 0

    called = names or [f"region {k + 1}" for k in range(regions)]
    why = (
        f"utility peaks in {called[peak_u]} (mean change {u.mean(axis=0)[peak_u]:.4f}), risk in "
        f"{called[peak_p]} (AUC {p.mean(axis=0)[peak_p]:.4f}), {models} models"
    )
    if peak_u != peak_p:
        sure = exceeds(u, peak_u, peak_p) and exceeds(p, peak_p, peak_u)
        return Verdict("D1", "holds" if sure else "undecided", why=why)
    rivals = [k for k in range(regions) if k != peak_u]
    sure = all(exceeds(v, peak_u, k) for v in (u, p) for k in rivals)
    return Verdict("D1", "does not hold" if sure else "undecided", why=why)


def d2_keeps_utility(regions: Plane, everywhere: Plane, *, slack: float = 0.01) -> Verdict:
    """D2: on the regions alone accuracy is at least that of everywhere, AUC at most `slack` higher.

    Intervals of the paired differences. Holds if accuracy's lower end is ≥ 0 and AUC's upper end
    ≤ slack; does not hold if accuracy's upper end is < 0 or AUC's lower end > slack.
    """
    accuracy, auc = _changes(regions, everywhere)
    why = f"accuracy {_shown(accuracy)}, AUC {_shown(auc)} against everywhere"
    if accuracy.low >= 0 and auc.high <= slack:
        return Verdict("D2", "holds", why=why)
    if accuracy.high < 0 or auc.low > slack:
        return Verdict("D2", "does not hold", why=why)
    return Verdict("D2", "undecided", why=why)


def d3_beats_controls(regions: Plane, controls: Mapping[str, Plane]) -> Verdict:
    """D3: it dominates every control (complement, random regions) in the plane.

    Against one control: dominates if one difference is credibly better (accuracy's lower end > 0 or
    AUC's upper end < 0) and the other not credibly worse; does not dominate if accuracy's upper
    end is < 0 or AUC's lower end > 0. Holds if it dominates all, does not hold if it fails one.
    """
    if not controls:
        return Verdict("D3", "undecided", why="no control was trained")
    told: list[str] = []
    states: list[Outcome] = []
    for name, control in controls.items():
        accuracy, auc = _changes(regions, control)
        told.append(f"{name}: accuracy {_shown(accuracy)}, AUC {_shown(auc)}")
        if accuracy.high < 0 or auc.low > 0:
            states.append("does not hold")
        elif accuracy.low > 0 or auc.high < 0:
            states.append("holds")
        else:
            states.append("undecided")
    return Verdict("D3", combined(states), why="; ".join(told))


def d4_several_bases(effects: Mapping[str, Sequence[Verdict]]) -> Verdict:
    """D4: the effect (D2 and D3) holds for at least two base defences; base -> its verdicts.

    Does not hold if fewer than two bases could still hold of at least two tried.
    """
    states = {base: combined(v.outcome for v in vs) for base, vs in effects.items()}
    why = ", ".join(f"{base}: {state}" for base, state in states.items()) or "no base was tried"
    holding = sum(s == "holds" for s in states.values())
    possible = sum(s != "does not hold" for s in states.values())
    if holding >= 2:
        return Verdict("D4", "holds", why=why)
    if len(states) >= 2 and possible < 2:
        return Verdict("D4", "does not hold", why=why)
    return Verdict("D4", "undecided", why=why)


def d5_stable(scores: ArrayLike, *, at_least: float = 0.7) -> Verdict:
    """D5: the located regions agree between seeds: mean Spearman of D_k of all pairs of models.

    scores (M, K), a row per independently trained model. The interval is a delete-one jackknife
    over models. Holds if its lower end is ≥ `at_least`, does not hold if its upper end is below.
    With fewer than 3 regions or models, or where D_k is constant in a model, it is undecided.

    >>> d5_stable([[1, 2, 3], [2, 4, 9], [0, 1, 5], [1, 3, 4]]).outcome
    'holds'
    """
    s = np.atleast_2d(np.asarray(scores, np.float64))
    if s.shape[0] < 3 or s.shape[1] < 3:
        return Verdict(
            "D5", "undecided", why=f"{s.shape[0]} models of {s.shape[1]} regions are too few"
        )
    m = len(s)
    rho = np.array([[spearman(a, b) for b in s] for a in s])
    off = ~np.eye(m, dtype=np.bool_)
    if np.isnan(rho[off]).any():
        return Verdict("D5", "undecided", why="no region carries risk in some model")
    mean = float(rho[off].mean())
    without = np.array(
        [
            np.delete(np.delete(rho, j, 0), j, 1)[~np.eye(m - 1, dtype=np.bool_)].mean()
            for j in range(m)
        ]
    )
    spread = np.sqrt((m - 1) / m * ((without - without.mean()) ** 2).sum())
    half = float(stats.t.ppf(0.975, m - 1) * spread)
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    why = f"mean Spearman {mean:.2f} [{low:.2f}, {high:.2f}] over {m} models"
    if low >= at_least:
        return Verdict("D5", "holds", why=why)
    return Verdict("D5", "does not hold" if high < at_least else "undecided", why=why)
