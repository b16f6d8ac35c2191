"""From measured units to verdicts on the claims A1 to A7 of arXiv 2412.00696.

The claims are known from the paper's abstract and secondary summaries; no formula, set-up or figure
was available. Every definition here is a *reconstruction* with a name of its own, and only
directions are judged. Rules, fixed before anything was measured:

Hidden layers are all that are probed but the last, the logits. A *cell* is an architecture on a
data set at one label noise; a claim is judged on the units that are there. Where a claim is judged
by several definitions, the headline is that of the default: k95 of the flattened outputs for DoF,
the rank at a tolerance of 1 % of the largest singular value (by a central patch of the input) for
the Jacobian, `mcr` for the change, and for the attack `audit-mlp`: a small perceptron on the
layer's outputs that knows half of the target's members, the strongest observer of outputs here.

A1 falls, then rises: a layer does when the least value of its series lies at neither end, at least
   5 % below the first, and the last at least 5 % above the least (`seepage.layers.phases`). A unit
   shows it when more than half of its hidden layers do, a cell when more than half of its units do.
   Two thirds of the cells or more -> holds; one third or fewer -> does not hold; else undecided.
A2 the same for the Jacobian, at two tolerances and by participation ratio.
A3 consistency: in each arm of label noise, an architecture is consistent when all its cells there
   show A1 and A2, on at least two data sets. At least two architectures -> holds in that arm; none
   -> does not hold; one -> undecided. Both arms agree -> that; else undecided.
Memorisation: the rise is log(last / least), mean over hidden layers. A definition *rises more where
   labels are noisy* when the mean difference of units that differ in the noise alone is above 0
   with p < 0.05 by exchanging the arms within pairs; and the pattern *appears without label noise*
   when more than half of the cells without noise show it. Training on a small pool memorises clean
   labels too: the gap between accuracy on members and on others is shown with it.
Fresh samples: a control is the same training on samples that do not come again. The pattern comes
   *from memorising* when at most a third of the cells of controls show it, and two thirds or more
   of the same cells trained on their members without label noise do -> holds; two thirds or more of
   the controls show it -> does not hold; else undecided. Beside it the rise of the target less that
   of its control, p by exchanging the two within pairs. This rule was added when the other arms had
   been seen, and before a control was trained.
A4 higher MCR, more vulnerable: Spearman's ρ over layers of the change with the AUC of the attack,
   pooled over units; p by permuting layers, one order for all units of an architecture. ρ > 0 with
   p < 0.05 -> holds; ρ < 0 with p < 0.05 -> does not hold; else undecided. No correction for the
   number of definitions: the default was named beforehand, the others are to be read as a search.
A5 smaller reduction, more vulnerable: the same with ρ < 0 for the reduction m(e_0) − m_min.
A6 layers of high DoF and high Jacobian rank are risky: the sum of both ranks at the end of training
   has ρ > 0 with the attack's AUC and ρ < 0 with the error of a linear reconstruction of the input,
   both with p < 0.05 -> holds; either with the opposite sign and p < 0.05 -> does not hold; else
   undecided.
A7 cheaper than an attack: seconds of one look at all layers (DoF, Jacobian's sketch and patch) over
   those of the shadow attack (training the shadow, outputs, a perceptron per layer), within a unit.
   Below 1 in every unit -> holds; 1 or more in every unit -> does not hold; else undecided. That
   indicators can replace the attack is A4 to A6, not A7.

Depth (the place of a layer) and width stand among the indicators: what does not rank layers better
than their place does is no reason to measure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from seepage.array_types import Float64Array
from seepage.layers import change_values, phases
from seepage.metrics.verdict import Outcome, Verdict, by_sign, combined
from seepage.study.layers.permute import Rho, layer_agreement, sign_flip
from seepage.study.layers.plan import DEFINITIONS, DOF, RANKS

__all__ = [
    "ATTACKS",
    "CHANGES",
    "MAIN",
    "Found",
    "agree",
    "attack_seconds",
    "change",
    "claims",
    "grouped",
    "look_seconds",
    "rank_sum",
    "series_of",
    "success",
]

Found = Mapping[str, Mapping[str, Any]]
Figures = tuple[tuple[str, str, str], ...]
LEVEL = 0.05
MARGIN = 0.05

Cells = dict[tuple[str, str, float], list[float]]
CHANGES = ("mcr", "mcr_rec", "mcr_step", "cr")
ATTACKS = ("audit-mlp", "audit-logistic", "shadow-mlp", "shadow-logistic", "feature-norm",
           "gradient-norm")  # fmt: skip
MAIN = "audit-mlp"


def claims(found: Found, controls: Found | None = None) -> list[Verdict]:
    """Claims A1 to A7 and the questions of memorisation, from results by unit name.

    controls: results of `Unit.fresh`; without them that question is left out.
    """
    a1 = {m: _fall_then_rise(found, m) for m in DOF}
    a2 = {m: _fall_then_rise(found, m) for m in RANKS}
    return [
        Verdict("A1", _by_cells(a1["k95"]),
                "DoF of the hidden layers falls, then rises during training",
                published="fall, then rise (as summarised)", figures=_pattern_rows(a1)),
        Verdict("A2", _by_cells(a2["rank_1e2"]), "The Jacobian's rank does the same",
                published="the same pattern (as summarised)", figures=_pattern_rows(a2)),
        _consistency(a1, a2),
        _memorisation(found, a1, a2),
        *([_fresh_claim(found, controls)] if controls else []),
        _changes(found, "A4", "Layers with a higher MCR are more vulnerable",
                 "higher MCR, more vulnerable (as summarised)", CHANGES, 1),
        _changes(found, "A5", "Layers whose DoF falls less are more vulnerable",
                 "smaller reduction in DoF CV, more vulnerable (as summarised)",
                 ("reduction", "fall"), -1),
        _a6(found),
        _a7(found),
    ]  # fmt: skip


# ---- A1 to A3, and memorisation -----------------------------------------------------------------


def series_of(result: Mapping[str, Any], name: str) -> Float64Array:
    """An indicator's series (T, L) in a result."""
    return np.array(result["series"][name], dtype=np.float64)


def _fall_then_rise(found: Found, name: str) -> Cells:
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


def _by_cells(cells: Cells) -> Outcome:
    """The verdict of A1's rule: two thirds of the cells or more, one third or fewer."""
    share = float(np.mean([_shows(s) for s in cells.values()]))
    if share >= 2 / 3 - 1e-9:
        return "holds"
    return "does not hold" if share <= 1 / 3 + 1e-9 else "undecided"


def _pattern_rows(by: Mapping[str, Cells]) -> Figures:
    """A row per definition: its verdict, and how many cells and layers show the pattern by arm."""
    rows = []
    for name, cells in by.items():
        text = []
        for noise in sorted({c[2] for c in cells}):
            arm = [s for c, s in cells.items() if c[2] == noise]
            shown = sum(_shows(s) for s in arm)
            layers = float(np.mean([v for s in arm for v in s]))
            text.append(f"noise {noise:g}: {shown} of {len(arm)} cells, {layers:.0%} of layers")
        rows.append((name, f"**{_by_cells(cells)}**", "; ".join(text)))
    return tuple(rows)


def _consistency(a1: Mapping[str, Cells], a2: Mapping[str, Cells]) -> Verdict:
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


def _memorisation(found: Found, a1: Mapping[str, Cells], a2: Mapping[str, Cells]) -> Verdict:
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


def _fresh_claim(found: Found, controls: Found) -> Verdict:
    """Whether the pattern is absent in networks that see every sample once."""
    rows: list[tuple[str, str, str]] = []
    bare = {_place(r): r for r in found.values() if r["unit"]["noise"] == 0}
    pairs = [(bare[_place(c)], c) for c in controls.values() if _place(c) in bare]
    targets = {str(i): target for i, (target, _) in enumerate(pairs)}
    headline: Outcome = "undecided"
    for name in (*DOF, *RANKS):
        cells = _fall_then_rise(controls, name)
        shown = _by_cells(cells)
        verdict: Outcome = "undecided"
        if shown == "holds":
            verdict = "does not hold"
        elif (
            shown == "does not hold"
            and targets
            and _by_cells(_fall_then_rise(targets, name)) == "holds"
        ):
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


# ---- A4 to A6 -----------------------------------------------------------------------------------


def grouped(
    found: Found, indicator: Callable[[Mapping[str, Any]], Float64Array], attack: str
) -> dict[str, tuple[Float64Array, Float64Array]]:
    """Architecture -> (indicator, success), (M, L) each; units without either are left out."""
    rows: dict[str, list[tuple[Float64Array, Float64Array]]] = {}
    for r in found.values():
        a, b = np.asarray(indicator(r), dtype=np.float64), success(r, attack)
        if np.isfinite(a).all() and np.isfinite(b).all():
            rows.setdefault(r["unit"]["architecture"], []).append((a, b))
    return {k: (np.stack([a for a, _ in v]), np.stack([b for _, b in v])) for k, v in rows.items()}


def success(result: Mapping[str, Any], attack: str) -> Float64Array:
    """AUC of an attack per layer, mean over its seeds; of "reconstruction" the error instead."""
    if attack == "reconstruction":
        return np.array(result["reconstruction"], dtype=np.float64)
    auc: Float64Array = np.array(result["attacks"][attack]["auc"], dtype=np.float64)
    return np.asarray(auc.mean(axis=1), dtype=np.float64)


def change(name: str, variant: str) -> Callable[[Mapping[str, Any]], Float64Array]:
    """A result's change of an indicator per layer, by the variant's name."""

    def of(result: Mapping[str, Any]) -> Float64Array:
        m = series_of(result, name)
        if variant == "fall":
            fall: Float64Array = phases(m, result["epochs"]).fall
            return fall
        v = change_values(m)
        out: Float64Array = -v["cv_drop"] if variant == "reduction" else v[variant]
        return out

    return of


def agree(found: Found, indicator: Callable[[Mapping[str, Any]], Float64Array], attack: str) -> Rho:
    """Agreement over layers of an indicator with an attack, pooled over units."""
    return layer_agreement(grouped(found, indicator, attack))


def _changes(
    found: Found, name: str, says: str, published: str, variants: Sequence[str], sign: int
) -> Verdict:
    rows = []
    headline: Outcome = "undecided"
    by_attack: dict[str, Outcome] = {}
    for m in (*DOF, *RANKS):
        for variant in variants:
            rho = agree(found, change(m, variant), MAIN)
            verdict = by_sign(rho.verdict(sign, LEVEL))
            if (m, variant) == ("k95", variants[0]):
                headline = verdict
                by_attack = {
                    a: by_sign(agree(found, change(m, variant), a).verdict(sign, LEVEL))
                    for a in ATTACKS
                }
            rows.append((f"{variant} of {m}", f"**{verdict}**", rho.text()))
    return _by_attack(name, headline, says, published, rows, by_attack)


def rank_sum(dof: str, rank: str) -> Callable[[Mapping[str, Any]], Float64Array]:
    """A result's sum of two rankings of its layers, by DoF and by Jacobian rank, at the end."""

    def of(result: Mapping[str, Any]) -> Float64Array:
        parts = [rankdata(series_of(result, name)[-1]) for name in (dof, rank)]
        return np.asarray(parts[0] + parts[1], dtype=np.float64)

    return of


def _a6(found: Found) -> Verdict:
    rows = []
    headline: Outcome = "undecided"
    by_attack: dict[str, Outcome] = {}
    for dof in DOF:
        for rank in RANKS:
            score = rank_sum(dof, rank)
            told = agree(found, score, "reconstruction")
            risk = {a: agree(found, score, a) for a in ((MAIN,) if dof != "k95" else ATTACKS)}
            verdicts = {
                a: combined((by_sign(r.verdict(1, LEVEL)), by_sign(told.verdict(-1, LEVEL))))
                for a, r in risk.items()
            }
            if (dof, rank) == ("k95", "rank_1e2"):
                headline, by_attack = verdicts[MAIN], verdicts
            rows.append(
                (f"{dof} with {rank}", f"**{verdicts[MAIN]}**",
                 f"attack {risk[MAIN].text()}; reconstruction error {told.text()}")
            )  # fmt: skip
    return _by_attack("A6", headline, "Layers of high DoF and high Jacobian rank are the risky ones",
                      "they keep input detail (as summarised)", rows, by_attack)  # fmt: skip


def _by_attack(
    name: str,
    headline: Outcome,
    says: str,
    published: str,
    rows: Sequence[tuple[str, str, str]],
    others: Mapping[str, Outcome],
) -> Verdict:
    by_attack = {a: Verdict(name, outcome) for a, outcome in others.items()}
    return Verdict(
        name, headline, says, published=published, figures=tuple(rows), by_attack=by_attack
    )


# ---- A7 -----------------------------------------------------------------------------------------


def look_seconds(result: Mapping[str, Any]) -> float:
    """Seconds of one look at all layers: DoF, the Jacobian's sketch, its patch."""
    s = result["seconds"]
    return float(s["dof"] + s["jacobian"] + s["patch"])


def attack_seconds(result: Mapping[str, Any]) -> float:
    """Seconds of the shadow attack: training the shadow, outputs, a perceptron per layer."""
    s = result["seconds"]
    return float(s["shadow"] + s["outputs"] + s["shadow_outputs"] + s["shadow-mlp"])


def _a7(found: Found) -> Verdict:
    rows: list[tuple[str, str, str]] = []
    ratios: list[float] = []
    for a in sorted({r["unit"]["architecture"] for r in found.values()}):
        own = [r for r in found.values() if r["unit"]["architecture"] == a]
        all_of = [look_seconds(r) / attack_seconds(r) for r in own]
        dof = [r["seconds"]["dof"] / attack_seconds(r) for r in own]
        audit = [look_seconds(r) / (r["seconds"]["audit-logistic"] + r["seconds"]["outputs"])
                 for r in own]  # fmt: skip
        training = [look_seconds(r) / r["seconds"]["training"] for r in own]
        ratios += all_of
        rows.append(
            (a, f"{np.median(all_of):.3f} of a shadow attack",
             f"{min(all_of):.3f} to {max(all_of):.3f}; DoF alone {np.median(dof):.3f}; one look is "
             f"{np.median(audit):.2f} of the logistic audit and {np.median(training):.3f} of "
             "training")
        )  # fmt: skip
    verdict: Outcome = "undecided"
    if ratios:
        if max(ratios) < 1:
            verdict = "holds"
        elif min(ratios) >= 1:
            verdict = "does not hold"
    return Verdict("A7", verdict, "Cheaper than an attack, usable while training",
                   published="no attack simulation needed (as summarised)",
                   figures=tuple(rows))  # fmt: skip
