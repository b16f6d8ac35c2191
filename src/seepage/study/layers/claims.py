"""From measured units to verdicts on the claims A1 to A7 of arXiv 2412.00696.

The claims are known from the paper's abstract and secondary summaries; no formula, set-up or figure
was available. Every definition here is a *reconstruction* with a name of its own, and only
directions are judged. `CHANGED` says which of these rules were changed after which look.

Hidden layers are all that are probed but the last, the logits. A *cell* is an architecture on a
data set at one label noise; a claim is judged on the units that are there. Widths of one network are
one architecture (`plan.family`): their cells count once, split where they differ, and their layers
are permuted together. Where a claim is judged by several definitions, the headline is that of the
default: k95 of the flattened outputs for DoF, the rank at a tolerance of 1 % of the largest singular
value (by a central patch of the input) for the Jacobian, `mcr` for the change, and for the attack
`audit-mlp`: a small perceptron on the layer's outputs that knows half of the target's members, the
strongest observer of outputs here.

*Most cells show it* holds where the exact (Clopper-Pearson) 95 % interval of their share lies wholly
above a half, does not hold where it lies wholly below, else undecided. Cells are taken as
independent, split ones count against either verdict. With 4 cells nothing can be decided, with 6
all or none must show it. Architectures that were added after looking (`LayersConfig.added`) may not
decide: with and without them the verdict must be the same, else undecided.

A1 falls, then rises: a layer does when the least value of its series lies at neither end, at least
   5 % below the first, and the last at least 5 % above the least (`seepage.layers.phases`). A unit
   shows it when more than half of its hidden layers do, a cell when more than half of its units do.
   Layers whose figure never changes do not count: a measure that is full cannot fall. Most cells.
A2 the same for the Jacobian, at two tolerances and by participation ratio.
A3 consistency: most cells show both A1 and A2, at least two architectures and two data sets.
Memorisation: the rise is log(last / least), mean over hidden layers. A definition *rises more where
   labels are noisy* when the mean difference of units that differ in the noise alone is above 0
   with p < 0.05 by exchanging the arms, once for all units of one network on one data set. Holds
   when that is so and most cells without noise do not show the pattern; does not hold when most do,
   or the rise is smaller with noise. Training on a small pool memorises clean labels too: the gap
   between accuracy on members and on others is shown with it.
Fresh samples: a control is the same training on samples that do not come again. The pattern comes
   *from memorising*: most controls do not show it, and most of the same cells trained on their
   members without label noise do -> holds; most controls show it -> does not hold. Beside it the
   rise of the target less that of its control, p by exchanging the two as above.
A4 higher MCR, more vulnerable: Spearman's ρ over layers of the change with the AUC of the attack,
   pooled over units; p by permuting layers, one order for all units of a network. ρ > 0 with
   p < 0.05 -> holds; ρ < 0 with p < 0.05 -> does not hold. This must be so in every reading: units
   in which the attack distinguishes layers (`results.distinguishes`) and all units; widths of one
   network tied, and each permuted by itself; with and without what was added. Else undecided. No
   correction for the number of definitions: the default was named beforehand, the others are to be
   read as a search.
A5 smaller reduction, more vulnerable: the same with ρ < 0 for the reduction m(e_0) − m_min.
A6 layers of high DoF and high Jacobian rank are risky: the sum of both ranks at the end of training
   has ρ > 0 with the attack's AUC and ρ < 0 with the error of a linear reconstruction of the input,
   both judged as A4 -> holds; either decided the other way -> does not hold; else undecided.
A7 cheaper than an attack: seconds of one look at all layers (DoF, Jacobian's sketch and patch) over
   those of the shadow attack (training the shadow, outputs, a perceptron per layer), within a unit.
   A cell is cheaper when all its units are. Most cells. That indicators can replace the attack is
   A4 to A6, not A7.

Depth (the place of a layer) and width stand among the indicators: what does not rank layers better
than their place does is no reason to measure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from seepage.array_types import Float64Array
from seepage.layers import change_values, phases
from seepage.metrics.verdict import Outcome, Verdict, agreed, by_sign, combined
from seepage.study.layers.cells import LEVEL, consistency, counted, fresh_claim, memorisation
from seepage.study.layers.cells import patterns as patterns_of
from seepage.study.layers.permute import Rho, layer_agreement
from seepage.study.layers.plan import DOF, RANKS, family
from seepage.study.layers.results import Found, distinguishes, series_of, success

__all__ = [
    "ATTACKS",
    "CHANGED",
    "CHANGES",
    "MAIN",
    "RULE",
    "Found",
    "Reading",
    "agree",
    "attack_seconds",
    "change",
    "claims",
    "grouped",
    "look_seconds",
    "rank_sum",
    "readings",
]

CHANGES = ("mcr", "mcr_rec", "mcr_step", "cr")
ATTACKS = ("audit-mlp", "audit-logistic", "shadow-mlp", "shadow-logistic", "feature-norm",
           "gradient-norm")  # fmt: skip
MAIN = "audit-mlp"

CHANGED = (
    "A1, A2, A3: first judged by the count itself (two thirds of the cells hold, one third does not; "
    "A3 by two consistent architectures), rules written before a unit was trained. Changed after the "
    "page was complete, when A1 held by exactly 10 of 15 cells: the exact interval of the share must "
    "clear a half, widths of one network count once, and layers whose figure never changes do not "
    "count. Under the new rule fewer verdicts are decided, in either direction.",
    "Memorisation: the p of the rise first exchanged every unit by itself; since the same change, "
    "once for all units of one network on one data set. Judged by cells with an interval since then.",
    "Fresh samples: the question and its rule were added when the arms with and without label noise "
    "had been seen, before a control was trained; the count was judged as that of A1, and is judged "
    "with an interval since the same change.",
    "A4, A5, A6: first one order of layers for all units of an architecture, where a width was an "
    "architecture. Changed after the page was complete: the verdict must be the same with widths of "
    "one network tied and not, with and without what was added, and with and without units in which "
    "the attack distinguishes no layers.",
    "A7: first every unit below 1; since the same change most cells, with the interval.",
)
"""Each rule's history, for the page: what was changed after which look."""


@dataclass(frozen=True)
class Reading:
    """One way to pool layers: which units count, and what is permuted together.

    resolved: only units in which the attack distinguishes layers; tied: widths of one network have
    one order of layers; without: architectures left out.
    """

    name: str
    resolved: bool = True
    tied: bool = True
    without: tuple[str, ...] = ()


RULE = Reading("units that count, widths tied")
"""The reading that every table shows unless it says otherwise."""


def readings(added: Sequence[str] = ()) -> tuple[Reading, ...]:
    """Every reading that a claim on rankings of layers has to survive, `RULE` first."""
    out = []
    for resolved, units in ((True, "units that count"), (False, "all units")):
        out += [
            Reading(f"{units}, widths tied", resolved),
            Reading(f"{units}, each width by itself", resolved, tied=False),
        ]
        if added:
            rest = f"{units}, without {', '.join(added)}"
            out.append(Reading(rest, resolved, without=tuple(added)))
    return tuple(out)


def claims(found: Found, controls: Found | None = None, added: Sequence[str] = ()) -> list[Verdict]:
    """Claims A1 to A7 and the questions of memorisation, from results by unit name.

    controls: results of `Unit.fresh`; without them that question is left out. added: architectures
    that came in when others had been seen (`LayersConfig.added`).
    """
    first, cells = patterns_of(found, added)
    return [
        *first,
        consistency(cells, added),
        memorisation(found, cells, added),
        *([fresh_claim(found, controls)] if controls else []),
        _changes(found, "A4", "Layers with a higher MCR are more vulnerable",
                 "higher MCR, more vulnerable (as summarised)", CHANGES, 1, added),
        _changes(found, "A5", "Layers whose DoF falls less are more vulnerable",
                 "smaller reduction in DoF CV, more vulnerable (as summarised)",
                 ("reduction", "fall"), -1, added),
        _a6(found, added),
        _a7(found),
    ]  # fmt: skip


# ---- A4 to A6 -----------------------------------------------------------------------------------


Ranked = tuple[str, bool, Float64Array, Float64Array]
"""Of a unit: architecture, whether the attack distinguishes its layers, indicator and success (L,)."""


def _ranked(
    found: Found, indicator: Callable[[Mapping[str, Any]], Float64Array], attack: str
) -> list[Ranked]:
    """One per unit; units without either figure are left out."""
    rows = []
    for r in found.values():
        a, b = np.asarray(indicator(r), dtype=np.float64), success(r, attack)
        if np.isfinite(a).all() and np.isfinite(b).all():
            rows.append((r["unit"]["architecture"], distinguishes(r, attack), a, b))
    return rows


def _pooled(
    rows: Sequence[Ranked], reading: Reading
) -> dict[str, tuple[Float64Array, Float64Array]]:
    by: dict[str, list[tuple[Float64Array, Float64Array]]] = {}
    for name, counts, a, b in rows:
        if name not in reading.without and (counts or not reading.resolved):
            # Widths that are probed at other layers have no order in common.
            key = f"{family(name)}, {len(a)} layers" if reading.tied else name
            by.setdefault(key, []).append((a, b))
    return {k: (np.stack([a for a, _ in v]), np.stack([b for _, b in v])) for k, v in by.items()}


def grouped(
    found: Found,
    indicator: Callable[[Mapping[str, Any]], Float64Array],
    attack: str,
    reading: Reading = RULE,
) -> dict[str, tuple[Float64Array, Float64Array]]:
    """Network -> (indicator, success), (M, L) each, of the units of a reading."""
    return _pooled(_ranked(found, indicator, attack), reading)


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


def agree(
    found: Found,
    indicator: Callable[[Mapping[str, Any]], Float64Array],
    attack: str,
    reading: Reading = RULE,
) -> Rho:
    """Agreement over layers of an indicator with an attack, pooled over units."""
    return layer_agreement(grouped(found, indicator, attack, reading))


def _agree_in(
    found: Found,
    indicator: Callable[[Mapping[str, Any]], Float64Array],
    attack: str,
    ways: Sequence[Reading],
) -> list[Rho]:
    """`agree` in every reading, units read once."""
    rows = _ranked(found, indicator, attack)
    known: dict[tuple[bytes, ...], Rho] = {}
    out = []
    for way in ways:
        pairs = _pooled(rows, way)
        # Readings that pool the same units alike have one answer.
        key = tuple(a.tobytes() for a, _ in pairs.values())
        if key not in known:
            known[key] = layer_agreement(pairs)
        out.append(known[key])
    return out


def _changes(
    found: Found,
    name: str,
    says: str,
    published: str,
    variants: Sequence[str],
    sign: int,
    added: Sequence[str],
) -> Verdict:
    ways = readings(added)

    def read(m: str, variant: str, attack: str) -> tuple[Outcome, list[Rho]]:
        rhos = _agree_in(found, change(m, variant), attack, ways)
        return agreed(by_sign(r.verdict(sign, LEVEL)) for r in rhos), rhos

    rows = []
    for m in (*DOF, *RANKS):
        for variant in variants:
            verdict, rhos = read(m, variant, MAIN)
            rows.append((f"{variant} of {m}", f"**{verdict}**", _read(rhos)))
    headline, rhos = read("k95", variants[0], MAIN)
    default = [
        (f"{variants[0]} of k95, {w.name}", by_sign(r.verdict(sign, LEVEL)), r.text(units=True))
        for w, r in zip(ways, rhos, strict=True)
    ]
    others = {a: Verdict(name, read("k95", variants[0], a)[0]) for a in ATTACKS}
    return Verdict(name, headline, says, why=_read(rhos), published=published,
                   figures=(*default, *rows), by_attack=others)  # fmt: skip


def _read(rhos: Sequence[Rho]) -> str:
    """The rule's reading, and the range of the others."""
    others = [r for r in rhos[1:] if math.isfinite(r.value)]
    if not others:
        return rhos[0].text(units=True)
    value, p = [r.value for r in others], [r.p for r in others]
    return (
        f"{rhos[0].text(units=True)}; other readings {min(value):+.2f} to {max(value):+.2f} "
        f"(p {min(p):.2g} to {max(p):.2g})"
    )


def rank_sum(dof: str, rank: str) -> Callable[[Mapping[str, Any]], Float64Array]:
    """A result's sum of two rankings of its layers, by DoF and by Jacobian rank, at the end."""

    def of(result: Mapping[str, Any]) -> Float64Array:
        parts = [rankdata(series_of(result, name)[-1]) for name in (dof, rank)]
        return np.asarray(parts[0] + parts[1], dtype=np.float64)

    return of


def _a6(found: Found, added: Sequence[str]) -> Verdict:
    ways = readings(added)
    rows = []
    headline: Outcome = "undecided"
    why = ""
    others: dict[str, Verdict] = {}
    for dof in DOF:
        for rank in RANKS:
            score = rank_sum(dof, rank)
            told = _agree_in(found, score, "reconstruction", ways)
            default = (dof, rank) == ("k95", "rank_1e2")
            for attack in ATTACKS if default else (MAIN,):
                risk = _agree_in(found, score, attack, ways)
                verdict = agreed(
                    combined((by_sign(r.verdict(1, LEVEL)), by_sign(t.verdict(-1, LEVEL))))
                    for r, t in zip(risk, told, strict=True)
                )
                if default:
                    others[attack] = Verdict("A6", verdict)
                if attack == MAIN:
                    text = f"attack {_read(risk)}; reconstruction error {told[0].text()}"
                    rows.append((f"{dof} with {rank}", f"**{verdict}**", text))
                    if default:
                        headline, why = verdict, text
    return Verdict("A6", headline, "Layers of high DoF and high Jacobian rank are the risky ones",
                   why=why, published="they keep input detail (as summarised)",
                   figures=tuple(rows), by_attack=others)  # fmt: skip


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
    cells: dict[tuple[str, str, float], list[float]] = {}
    for r in found.values():
        u = r["unit"]
        cheap = float(look_seconds(r) < attack_seconds(r))
        cells.setdefault((u["architecture"], u["dataset"], u["noise"]), []).append(cheap)
    for a in sorted({r["unit"]["architecture"] for r in found.values()}):
        own = [r for r in found.values() if r["unit"]["architecture"] == a]
        all_of = [look_seconds(r) / attack_seconds(r) for r in own]
        dof = [r["seconds"]["dof"] / attack_seconds(r) for r in own]
        audit = [look_seconds(r) / (r["seconds"]["audit-logistic"] + r["seconds"]["outputs"])
                 for r in own]  # fmt: skip
        training = [look_seconds(r) / r["seconds"]["training"] for r in own]
        looks = len(own[0]["epochs"])
        rows.append(
            (a, f"{np.median(all_of):.3f} of a shadow attack",
             f"{min(all_of):.3f} to {max(all_of):.3f}; {looks} looks over training "
             f"{looks * np.median(all_of):.2f}; DoF alone {np.median(dof):.3f}; one look is "
             f"{np.median(audit):.2f} of the logistic audit and {np.median(training):.3f} of "
             "training")
        )  # fmt: skip
    share = counted({c: [float(min(v))] for c, v in cells.items()})
    return Verdict("A7", share.outcome(), "One look is cheaper than a shadow attack",
                   why=f"{share.text()} of cells, in all their units",
                   published="no attack simulation needed (as summarised)",
                   figures=tuple(rows))  # fmt: skip
