"""The page of the study of layers, written from its stored results and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seepage.metrics.verdict import Verdict
from seepage.study.layers.claims import (
    ATTACKS,
    CHANGED,
    MAIN,
    agree,
    attack_seconds,
    claims,
    look_seconds,
)
from seepage.study.layers.permute import Rho
from seepage.study.layers.plan import RANKS
from seepage.study.layers.ranking import (
    DEFAULTS,
    beyond_depth,
    hidden_alone,
    indicators,
    ranking,
)
from seepage.study.layers.results import (
    Found,
    above_chance,
    best_of_guesses,
    distinguishes,
    resolved,
    series_of,
    success,
)
from seepage.study.markdown import table

__all__ = ["layers_page"]

_SHOWN = 25
_CONTROLLED = ("k95", "erank", "jac_participation")


def layers_page(
    found: Found,
    units: Sequence[str],
    study: str,
    *,
    added: Sequence[str] = (),
    changes: Sequence[str] = (),
) -> str:
    """Markdown: verdicts, units, figures of every claim, what ranks layers, curves, cost.

    found: unit name -> what `measure` returned, not controls alone; units: all that the study
    names; study: the file's name, for the command that writes this again; added, changes:
    architectures that came in after looking, and what else was changed (`LayersConfig`).
    """
    controls = {k: r for k, r in found.items() if r["unit"].get("fresh")}
    found = {k: r for k, r in found.items() if k not in controls}
    judged = claims(found, controls, added)
    later = judged[5:] if controls else judged[4:]
    ranks = ranking(found)
    parts = [
        "# Where membership leaks: layers, measured\n",
        f"Written by `seepage study {study} --only page` from the stored results; do not edit. The "
        "claims are those of Huang, Huang and Meng, arXiv 2412.00696, as its abstract and secondary "
        "summaries give them; no formula, set-up or figure of the paper was available, so **every "
        "definition here is a reconstruction** and only directions are judged, by the rules of "
        "`seepage.study.layers.claims`. They were **changed after looking**: see below.\n",
        _verdicts(judged),
        _history(changes),
        _missing([*found, *controls], units),
        _ranking(found, ranks),
        _units(found),
        _told_apart(found),
        _layers(found),
        *(_claim(c) for c in judged[:3]),
        _stuck(found),
        _claim(judged[3]),
        _when(found),
        *([_claim(judged[4]), _fresh_table(found, controls)] if controls else []),
        *(_claim(c) for c in later),
        _curves(found),
        _cost(found),
        _provenance(found),
    ]
    return "\n".join(p for p in parts if p)


def _verdicts(judged: Sequence[Verdict]) -> str:
    rows = [[v.claim, v.says, f"**{v.outcome}**", v.why or "–", _counted(v)] for v in judged]
    others = [
        [v.claim, *(v.by_attack[a].outcome if a in v.by_attack else "–" for a in ATTACKS)]
        for v in judged
        if v.by_attack
    ]
    return (
        "## Verdicts\n\nThe verdict is that of the default definition, named beforehand; with it the "
        "figures that decided it, and how the other definitions and tolerances come out. Shares of "
        "cells stand with exact 95 % intervals (for *more than half*); a cell is a network, whatever "
        "its width, on a data set at one label noise, split where its widths differ. What is not "
        "decided with its uncertainty is undecided.\n\n"
        + table(["claim", "what it says", "here", "by these figures", "by definition"], rows)
        + "\nThe default definition against every attack (undecided too where an attack distinguishes "
        "layers in no unit):\n\n" + table(["claim", *ATTACKS], others)
    )


def _history(changes: Sequence[str]) -> str:
    lines = "".join(f"- {line}\n" for line in (*changes, *CHANGED))
    return f"## What was changed after which look\n\n{lines}"


def _counted(v: Verdict) -> str:
    marks = ("holds", "does not hold", "undecided")
    counts = [sum(f"**{m}**" in figure for _, figure, _ in v.figures) for m in marks]
    if not any(counts):
        return "–"
    return ", ".join(f"{n} {m}" for n, m in zip(counts, marks, strict=True) if n)


def _missing(found: Sequence[str], units: Sequence[str]) -> str:
    gone = [u for u in units if u not in found]
    if not gone:
        return f"All {len(units)} units of the study are measured.\n"
    cells: dict[str, list[str]] = {}
    for u in gone:
        cell, _, seed = u.partition("-seed-")
        cells.setdefault(cell, []).append(seed)
    said = "; ".join(f"{c} (seeds {', '.join(s)})" for c, s in cells.items())
    return (
        f"**At this scale only**: {len(gone)} of {len(units)} units are not measured, and the verdicts "
        f"are those of the others. Missing: {said}.\n"
    )


def _ranking(found: Found, ranks: Sequence[tuple[str, dict[str, Rho]]]) -> str:
    place = {name: i for i, (name, _) in enumerate(ranks)}
    of = indicators()
    always = ("depth", "width", *DEFAULTS)
    shown = [*ranks[:_SHOWN], *(r for r in ranks[_SHOWN:] if r[0] in always)]
    rows = [
        [str(place[n] + 1), f"**{n}**" if n in always else n, by[MAIN].text(),
         hidden_alone(found, of[n], MAIN).text(), beyond_depth(found, of[n], MAIN).text(),
         *(by[a].text() for a in ATTACKS[1:])]
        for n, by in shown
    ]  # fmt: skip
    depth = dict(ranks)["depth"]
    above = sum(abs(r[MAIN].value) > abs(depth[MAIN].value) for _, r in ranks)
    text = (
        "## Which indicator ranks the layers best\n\n"
        "Spearman's ρ over layers of each indicator with the AUC of an attack on the layer, pooled "
        "over units after ranking within each; p by permuting layers, one order for all units of a "
        "network, whatever its width. Units in which the attack distinguishes no layers do not count "
        "(– where none is left). "
        f"Sorted by the size of ρ with `{MAIN}`; the first {_SHOWN} of {len(ranks)}. The "
        "best of so many is flattered by the search. **Depth**, the mere place of a layer, is among "
        f"them: {above} indicators agree more with the attack than it does. *Hidden alone* leaves out "
        "the logits, which leak most and are narrow; *beyond depth* is the partial correlation once "
        f"depth is taken out of both rankings; both with `{MAIN}`. In bold: depth, width, and what A4, "
        "A5 and A6 are judged by.\n\n"
    )
    text += table(["", "indicator", MAIN, "hidden alone", "beyond depth", *ATTACKS[1:]], rows)
    return (
        text
        + "\nWithin one architecture, the best three, with depth and width:\n\n"
        + _within(found)
        + _without(found)
    )


def _within(found: Found) -> str:
    rows = []
    for a in sorted({r["unit"]["architecture"] for r in found.values()}):
        own = {k: r for k, r in found.items() if r["unit"]["architecture"] == a}
        ranks = ranking(own, (MAIN,))
        known = dict(ranks)
        best = [f"{n} {by[MAIN].text()}" for n, by in ranks if n not in ("depth", "width")][:3]
        layers = len(next(iter(own.values()))["layers"])
        rows.append([a, str(len(own)), str(layers), known["depth"][MAIN].text(),
                     known["width"][MAIN].text(), "; ".join(best)])  # fmt: skip
    return table(["architecture", "units", "layers", "depth", "width", "best three"], rows)


def _without(found: Found) -> str:
    """How far the pooled agreements of A4, A5 and A6 rest on one architecture."""
    names = sorted({r["unit"]["architecture"] for r in found.values()})
    if len(names) < 3:
        return ""
    of = indicators()
    rows = []
    for a in names:
        rest = {k: r for k, r in found.items() if r["unit"]["architecture"] != a}
        left = sum(distinguishes(r, MAIN) for r in rest.values())
        rows.append([a, str(left), *(agree(rest, of[n], MAIN).text() for n in DEFAULTS)])
    head = ["without", "units that count", *DEFAULTS]
    return (
        f"\nLeaving one architecture out, what A4, A5 and A6 are judged by, with `{MAIN}`:\n\n"
        + table(head, rows)
    )


def _cells(found: Found) -> dict[tuple[str, str, float], list[Mapping[str, Any]]]:
    out: dict[tuple[str, str, float], list[Mapping[str, Any]]] = {}
    for r in found.values():
        u = r["unit"]
        out.setdefault((u["architecture"], u["dataset"], u["noise"]), []).append(r)
    return dict(sorted(out.items()))


def _units(found: Found) -> str:
    rows = []
    for (a, d, n), own in _cells(found).items():
        last = [r["accuracy"][-1] for r in own]

        def mean(key: str, last: list[dict[str, float]] = last) -> str:
            return f"{np.mean([e[key] for e in last]):.3f}"

        gap = np.mean([e["members"] - e["others"] for e in last])
        told = sum(distinguishes(r, MAIN) for r in own)
        best = [max(success(r, MAIN)) for r in own]
        weights = [np.nanmax(success(r, "gradient-norm")) for r in own]
        rows.append(
            [a, d, f"{n:g}", str(len(own)), mean("members"), mean("memorised") if n else "–",
             mean("others"), mean("others_clean"), f"{gap:.3f}", f"{np.mean(best):.3f}",
             f"{np.mean(weights):.3f}", f"{told} of {len(own)}"]
        )  # fmt: skip
    head = ["architecture", "data", "label noise", "units", "accuracy of members", "on wrong labels",
            "of others", "on true labels", "gap", f"AUC of the best layer, {MAIN}", "gradient-norm",
            "layers distinguished"]  # fmt: skip
    return (
        "## Units at the end of training\n\nAccuracy is on the labels trained with, wrong ones "
        "included, unless it says true. The gap of members to others is what there is to leak. "
        "*Layers distinguished*: units in which the AUC spreads over layers by more than twice the "
        "noise of a layer's place (over seeds, and at least the standard error of a guess); the others "
        "are at chance or leak everywhere alike, and do not count in A4 to A6. The best of several layers "
        f"is a maximum, which noise alone raises: {_maxima(found)}."
        "\n\n" + table(head, rows)
    )


def _maxima(found: Found) -> str:
    said = []
    for attack in (MAIN, "gradient-norm"):
        noise = [best_of_guesses(r, attack) for r in found.values()]
        middle, high = (max(v) for v in zip(*noise, strict=True))
        said.append(
            f"without a leak that of `{attack}` reads {middle:.3f} as often as not, and more than "
            f"{high:.3f} in one unit of twenty"
        )
    return "; ".join(said)


def _told_apart(found: Found) -> str:
    rows = []
    for a in ATTACKS:
        split = [resolved(r, a) for r in found.values()]
        told = sum(distinguishes(r, a) for r in found.values())
        above = [int(above_chance(r, a).sum()) for r in found.values()]
        layers = [len(r["layers"]) for r in found.values()]
        rows.append(
            [a, f"{np.median([s for s, _ in split]):.4f}", f"{np.median([n for _, n in split]):.4f}",
             f"{told} of {len(split)}", f"{sum(above)} of {sum(layers)}",
             f"{max(np.nanmax(success(r, a)) for r in found.values()):.3f}"]
        )  # fmt: skip
    head = ["attack", "spread of AUC over layers", "noise of a layer's place", "distinguished in",
            "layers above chance", "largest AUC"]  # fmt: skip
    return (
        "## Does an attack distinguish layers?\n\n"
        "Medians over units. A layer is above chance when its AUC exceeds a half by two standard errors "
        "of a guess. Layers at chance have no order: an agreement over them is an agreement with noise, "
        "and ρ is the smaller for it. An attack whose spread is small beside what it finds leaks "
        "everywhere alike, and ranks nothing: its units do not count. The largest AUC of a layer says "
        "how near an attack comes to the ceiling of 1, where layers would be tied.\n\n"
        + table(head, rows)
    )


def _layers(found: Found) -> str:
    text = "## The attacks per layer\n\nMean AUC over units, and the error of a linear reconstruction of the input from the layer (0: all of it, 1: nothing).\n\n"
    for a in sorted({r["unit"]["architecture"] for r in found.values()}):
        own = [r for r in found.values() if r["unit"]["architecture"] == a]
        columns = {
            k: np.mean([success(r, k) for r in own], axis=0) for k in (*ATTACKS, "reconstruction")
        }
        rows = [
            [name, *(f"{columns[k][i]:.3f}" for k in columns)]
            for i, name in enumerate(own[0]["layers"])
        ]
        text += f"{a}, {len(own)} units:\n\n" + table(["layer", *columns], rows) + "\n"
    return text


def _stuck(found: Found) -> str:
    rows = []
    for name in RANKS:
        row = [name]
        for a in sorted({r["unit"]["architecture"] for r in found.values()}):
            same = [
                np.ptp(np.array(r["series"][name], dtype=np.float64)[:, :-1], axis=0) == 0
                for r in found.values() if r["unit"]["architecture"] == a
            ]  # fmt: skip
            row.append(f"{np.mean(same):.0%}")
        rows.append(row)
    names = sorted({r["unit"]["architecture"] for r in found.values()})
    return (
        "Hidden layers whose figure **never changes** during training, as where a layer passes every "
        "direction of the patch from first to last: there a rank has nothing to fall, and those layers do "
        "not count.\n\n" + table(["", *names], rows)
    )


def _when(found: Found) -> str:
    rows = []
    for (a, d, n), own in _cells(found).items():
        figures = np.array([_timing(r) for r in own])
        least = float(np.median(figures[:, 0]))
        gap, share = figures[:, 1:].mean(axis=0).tolist()
        rows.append([a, d, f"{n:g}", f"{least:g}", f"{gap:+.3f}", f"{share:.0%}"])
    head = ["architecture", "data", "label noise", "epoch of the least k95", "gap there",
            "rise done at a gap below 0.05"]  # fmt: skip
    return (
        "These pools memorise clean labels too, so the arm without noise is not one without "
        "memorisation. When the rise comes is more informative (described, not tested): the mean log k95 of "
        "hidden layers, the gap of members' accuracy to others' at its least value after the start, and "
        "how much of the rise is done at the last checkpoint before the gap reaches 0.05.\n\n"
        + table(head, rows)
    )


def _timing(result: Mapping[str, Any]) -> tuple[float, float, float]:
    """Epoch of the least mean log k95, the gap there, share of the rise done before a gap of 0.05."""
    m = np.array(result["series"]["k95"], dtype=np.float64)[:, :-1]
    curve = np.log(np.maximum(m, 1e-12)).mean(axis=1)
    gap = np.array([e["members"] - e["others"] for e in result["accuracy"]])
    at = int(curve.argmin())
    early = [t for t in range(at, len(gap)) if (gap[at : t + 1] < 0.05).all()]
    rise = curve[-1] - curve[at]
    done = (curve[early[-1]] - curve[at]) / rise if early and rise > 0 else 0.0
    return float(result["epochs"][at]), float(gap[at]), float(done)


def _claim(v: Verdict) -> str:
    why = f" ({v.why})" if v.why else ""
    text = f"## {v.claim}: {v.says}\n\n**{v.outcome}**{why}. Published: {v.published}.\n\n"
    return text + table(["", "", ""], v.figures) if v.figures else text


def _curves(found: Found) -> str:
    text = (
        "## Curves\n\nIndicators over training relative to initialisation, mean over hidden layers "
        "and units of a cell.\n\n"
    )
    for name in ("k95", "erank", "rank_1e2", "jac_participation"):
        rows = []
        for (a, d, n), own in _cells(found).items():
            curves = []
            for r in own:
                m = np.array(r["series"][name], dtype=np.float64)[:, :-1]
                curves.append((m / np.maximum(m[0], 1e-12)).mean(axis=1))
            curve = np.mean(curves, axis=0)
            rows.append([f"{a}, {d}, noise {n:g}", *(f"{v:.2f}" for v in curve)])
        epochs = next(iter(found.values()))["epochs"]
        text += f"`{name}`:\n\n" + table(["epoch", *(f"{e:g}" for e in epochs)], rows) + "\n"
    bound = float(np.mean([np.mean(np.array(r["sample_bound"])[:, :-1]) for r in found.values()]))
    return (
        text
        + f"In {bound:.0%} of hidden layers and checkpoints k95 and k99 are limited by the samples, not by the layer.\n"
    )


def _cost(found: Found) -> str:
    rows = []
    for a in sorted({(r["unit"]["architecture"], r["hardware"]) for r in found.values()}):
        own = [r for r in found.values() if (r["unit"]["architecture"], r["hardware"]) == a]

        def median(*keys: str, own: list[Mapping[str, Any]] = own) -> str:
            return f"{np.median([sum(r['seconds'][k] for k in keys) for r in own]):.2f}"

        rows.append(
            [*a, str(len(own)), median("training"), median("dof"), median("jacobian"),
             median("patch"), f"{np.median([look_seconds(r) for r in own]):.2f}",
             f"{np.median([attack_seconds(r) for r in own]):.2f}",
             median("outputs", "audit-logistic"), median("gradients", "gradient-norm")]
        )  # fmt: skip
    costlier = sum(
        look_seconds(r) > r["seconds"]["outputs"] + r["seconds"]["audit-logistic"]
        for r in found.values()
    )
    head = ["architecture", "hardware", "units", "training", "DoF", "Jacobian's sketch",
            "Jacobian's patch", "one look", "shadow attack", "logistic audit", "gradient norms"]  # fmt: skip
    return (
        "## Cost\n\nMedian wall-clock seconds, one look at all layers against the attacks, in "
        "processes that ran side by side; only figures of one row compare.\n\n"
        + table(head, rows)
        + f"\nIn {costlier} of {len(found)} units one look costs more than the logistic audit, the cheapest "
        "attack that ranks layers: against an auditor who knows members, indicators save nothing.\n"
    )


def _provenance(found: Found) -> str:
    first = next(iter(found.values()))
    s = first["settings"]
    # Units measured before an architecture came in do not name its recipe.
    own = {a: o for r in found.values() for a, o in r["settings"]["recipes"].items()}
    versions = sorted({f"torch {r['versions']['torch']}" for r in found.values()})
    return (
        "## What this rests on\n\n"
        f"Each unit: {s['members']:,} members, as many non-members, a shadow on {s['members']:,} others; "
        f"{first['epochs'][-1]:g} epochs, recipe {s['recipe']}, {dict(sorted(own.items())) or 'the same for all'}; a probe set "
        f"of {s['samples']:,} members; the Jacobian's participation ratio of the whole input from "
        f"{s['probes']} random directions at {s['images']} images, its ranks and `patch_participation` "
        f"exact by the central {s['patch']} × {s['patch']} pixels at {s['patch_images']} images, in "
        f"single precision; {s['attack_seeds']} seeds per attack. {', '.join(versions)}; "
        f"{'; '.join(sorted({r['hardware'] for r in found.values()}))}. Pools that memorise this much "
        "are chosen on purpose; nothing here says how large networks on large data behave.\n"
    )


# ---- controls ----------------------------------------------------------------------------------


def _fresh_table(found: Found, controls: Found) -> str:
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
    for name in _CONTROLLED:
        rows = []
        for (a, d), own in sorted(arms.items()):
            same = [r for r in found.values() if _without_noise(r) == (a, d)]
            for arm, results in (("fresh", own), ("members", same)):
                if results:
                    curve = _relative(results, name)
                    rows.append([f"{a}, {d}, {arm}", *(f"{v:.2f}" for v in curve)])
        text += f"\n`{name}` relative to initialisation, mean over hidden layers and seeds:\n\n"
        text += table(["epoch", *(f"{e:g}" for e in epochs)], rows)
    return text


def _without_noise(result: Mapping[str, Any]) -> tuple[str, str] | None:
    u = result["unit"]
    return (u["architecture"], u["dataset"]) if u["noise"] == 0 else None


def _relative(results: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    curves = []
    for r in results:
        m = series_of(r, name)[:, :-1]
        curves.append((m / np.maximum(m[0], 1e-12)).mean(axis=1))
    return [float(v) for v in np.mean(curves, axis=0)]
