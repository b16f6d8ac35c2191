"""The page of the study of layers, written from its stored results and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seepage.study.claims import Claim
from seepage.study.layers.claims import (
    ATTACKS,
    MAIN,
    Found,
    attack_seconds,
    claims,
    look_seconds,
    ranking,
    resolved,
    success,
)
from seepage.study.layers.permute import Rho
from seepage.study.markdown import table

__all__ = ["layers_page"]

_SHOWN = 25


def layers_page(found: Found, units: Sequence[str], study: str) -> str:
    """Markdown: verdicts, units, figures of every claim, what ranks layers, curves, cost.

    found: unit name -> what `measure` returned; units: all that the study names; study: the file's
    name, for the command that writes this again.
    """
    judged = claims(found)
    ranks = ranking(found)
    parts = [
        "# Where membership leaks: layers, measured\n",
        f"Written by `seepage study {study} --only page` from the stored results; do not edit. The "
        "claims are those of Huang, Huang and Meng, arXiv 2412.00696, as its abstract and secondary "
        "summaries give them; no formula, set-up or figure of the paper was at hand, so **every "
        "definition here is a reconstruction** and only directions are judged. The rules were fixed "
        "before anything was measured: see `seepage.study.layers.claims`.\n",
        _verdicts(judged),
        _missing(found, units),
        _ranking(ranks),
        _units(found),
        _layers(found),
        *(_claim(c) for c in judged),
        _curves(found),
        _cost(found),
        _provenance(found),
    ]
    return "\n".join(p for p in parts if p)


def _verdicts(judged: Sequence[Claim]) -> str:
    rows = [[c.name, c.says, f"**{c.verdict}**", _counted(c)] for c in judged]
    others = [[c.name, *(c.by_attack.get(a, "–") for a in ATTACKS)] for c in judged if c.by_attack]
    text = "## Verdicts\n\nThe verdict is that of the default definition, named beforehand; beside it, how the "
    text += "other definitions and tolerances come out.\n\n"
    text += table(["claim", "what it says", "here", "by definition"], rows)
    return (
        text
        + "\nThe default definition against every attack:\n\n"
        + table(["claim", *ATTACKS], others)
    )


def _counted(c: Claim) -> str:
    marks = ("holds", "does not hold", "undecided")
    counts = [sum(f"**{m}**" in figure for _, figure, _ in c.figures) for m in marks]
    if not any(counts):
        return "–"
    return ", ".join(f"{n} {m}" for n, m in zip(counts, marks, strict=True) if n)


def _missing(found: Found, units: Sequence[str]) -> str:
    gone = [u for u in units if u not in found]
    if not gone:
        return ""
    return f"{len(gone)} of {len(units)} units are not measured yet: {', '.join(gone)}.\n"


def _ranking(ranks: Sequence[tuple[str, dict[str, Rho]]]) -> str:
    place = {name: i for i, (name, _) in enumerate(ranks)}
    shown = [*ranks[:_SHOWN], *(r for r in ranks[_SHOWN:] if r[0] in ("depth", "width"))]
    rows = [[str(place[n] + 1), n, *(by[a].text() for a in ATTACKS)] for n, by in shown]
    depth = dict(ranks)["depth"]
    above = sum(abs(r[MAIN].value) > abs(depth[MAIN].value) for _, r in ranks)
    return (
        "## Which indicator ranks the layers best\n\n"
        "Spearman's ρ over layers of each indicator with the AUC of an attack on the layer, pooled "
        "over units after ranking within each; p by permuting layers, one order for all units of an "
        f"architecture. Sorted by the size of ρ with `{MAIN}`; the first {_SHOWN} of {len(ranks)}. The "
        "best of so many is flattered by the search. **Depth**, the mere place of a layer, is among "
        f"them: {above} indicators agree more with the attack than it does.\n\n"
        + table(["", "indicator", *ATTACKS], rows)
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
        split = [resolved(r, MAIN) for r in own]
        told = sum(spread > 2 * noise for spread, noise in split)
        best = [max(success(r, MAIN)) for r in own]
        weights = [np.nanmax(success(r, "gradient-norm")) for r in own]
        rows.append(
            [a, d, f"{n:g}", str(len(own)), mean("members"), mean("memorised") if n else "–",
             mean("others"), mean("others_clean"), f"{gap:.3f}", f"{np.mean(best):.3f}",
             f"{np.mean(weights):.3f}", f"{told} of {len(own)}"]
        )  # fmt: skip
    head = ["architecture", "data", "label noise", "units", "accuracy of members", "on wrong labels",
            "of others", "on true labels", "gap", f"AUC of the best layer, {MAIN}", "gradient-norm",
            "layers told apart"]  # fmt: skip
    return (
        "## Units at the end of training\n\nAccuracy is on the labels trained with, wrong ones "
        "included, unless it says true. The gap of members to others is what there is to leak. "
        "*Layers told apart*: units in which the AUC spreads over layers by more than twice the "
        "noise of a layer's place over seeds; elsewhere an agreement with the attack means little."
        "\n\n" + table(head, rows)
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


def _claim(c: Claim) -> str:
    text = f"## {c.name}: {c.says}\n\n**{c.verdict}**. Published: {c.published}.\n\n"
    return text + table(["", "", ""], c.figures) if c.figures else text


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
    head = ["architecture", "hardware", "units", "training", "DoF", "Jacobian's sketch",
            "Jacobian's patch", "one look", "shadow attack", "logistic audit", "gradient norms"]  # fmt: skip
    return (
        "## Cost\n\nMedian wall-clock seconds, one look at all layers against the attacks, in "
        "processes that ran side by side.\n\n" + table(head, rows)
    )


def _provenance(found: Found) -> str:
    first = next(iter(found.values()))
    s = first["settings"]
    versions = sorted({f"torch {r['versions']['torch']}" for r in found.values()})
    return (
        "## What this rests on\n\n"
        f"Each unit: {s['members']:,} members, as many non-members, a shadow on {s['members']:,} others; "
        f"{first['epochs'][-1]:g} epochs, recipe {s['recipe']}, {s['recipes'] or 'the same for all'}; a probe set "
        f"of {s['samples']:,} members; the Jacobian's participation ratio of the whole input from "
        f"{s['probes']} random directions at {s['images']} images, its ranks and `patch_participation` "
        f"exact by the central {s['patch']} × {s['patch']} pixels at {s['patch_images']} images, in "
        f"single precision; {s['attack_seeds']} seeds per attack. {', '.join(versions)}; "
        f"{'; '.join(sorted({r['hardware'] for r in found.values()}))}. Pools that memorise this much "
        "are chosen on purpose; nothing here says how large networks on large data behave.\n"
    )
