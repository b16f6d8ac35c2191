"""The page of a study, written from its stored results and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seepage.metrics.verdict import Verdict
from seepage.study.dynamics.claims import CHANGES, TIMED_TRACES, by_second_rule
from seepage.study.markdown import table as _table

__all__ = ["dynamics_page"]

Results = Mapping[str, Mapping[str, Any]]


def dynamics_page(
    results: Results,
    judged: Sequence[Verdict],
    rates: Mapping[str, Any] | None,
    fleets: Sequence[str],
    study: str,
) -> str:
    """Markdown: claims with figures and verdicts, fleets, curves, cost, what is missing.

    results: fleet -> what `analyse` returned; judged: of `claims`; rates: of `models_needed`;
    fleets: all that the study names; study: the file's name, for the command that writes this
    again.
    """
    parts = [
        "# The dynamics of membership privacy, measured\n",
        f"Written by `seepage study {study} --only page` from the stored results; do not edit. The "
        "claims are those of arXiv 2507.23291 as its abstract and a secondary summary give them; its "
        "formulas were not available, so all metrics are reconstructions and only directions and ratios "
        "are judged. Intervals are 95 % over pairs of models on this pool and recipe, one training seed "
        "plan per fleet; those of rank correlations are over samples and leave out that samples share "
        "models. Null is the same under permuted membership. A claim holds when all its parts have "
        "intervals wholly on its side and fails when one part's lies wholly on the other; a true claim "
        "of k parts fails by chance in up to 2.5 k % of studies. What is neither is undecided, which "
        "says nothing for or against it. Rules: `seepage.study.dynamics.claims`.\n",
        _verdicts(judged),
        _changes(),
        _fleets(results),
        _missing(results, fleets),
        _precision(results),
        *(_claim(v) for v in judged),
        _curves(results),
        _early(results),
        _proxies(results),
        _clusters(results),
        _rates(rates),
        _provenance(results),
    ]
    return "\n".join(p for p in parts if p)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _root(square: float | None) -> str:
    return "–" if square is None else f"{max(square, 0.0) ** 0.5:.4f}"


def _of(e: Mapping[str, Any], t: int | None = None, digits: int = 3) -> str:
    """A figure and its interval, at one checkpoint of a curve."""
    v, low, high = (e[k] if t is None else e[k][t] for k in ("value", "low", "high"))
    return f"{_number(v, digits)} [{_number(low, digits)}, {_number(high, digits)}]"


def _verdicts(judged: Sequence[Verdict]) -> str:
    attacks = list(judged[0].by_attack) if judged else []
    rows = []
    for v in judged:
        others = (v.by_attack[a].outcome if a in v.by_attack else "" for a in attacks)
        what = [f"**{v.outcome}**", by_second_rule(v), v.why or "nothing measured"]
        rows.append([v.claim, v.says, *what, *others])
    head = ["claim", "what it says", "at this scale (LiRA)", "by the rule before the last change",
            "decided by"]  # fmt: skip
    return "## Verdicts\n\n" + _table([*head, *(f"by {a}" for a in attacks)], rows)


def _changes() -> str:
    rows = "\n".join(f"- **{when}.** {what}" for when, what in CHANGES)
    return f"## Which rule was changed after which look\n\n{rows}\n"


def _fleets(results: Results) -> str:
    rows = []
    for name, r in results.items():
        roc = r["attacks"]["lira"]["roc"]
        population = r["attacks"]["lira"]["population"]
        accuracy = r["accuracy"][-1] if r["accuracy"] else [None, None]
        rows.append(
            [
                name,
                str(r["models"]),
                str(r["samples"]),
                str(len(r["checkpoints"])),
                f"{r['checkpoints'][-1]:g}",
                _number(accuracy[0]),
                _number(accuracy[1]),
                _of(roc["auc"], -1),
                *(_rate(r, roc, alpha) for alpha in (0.01, 0.001)),
                _number(population["shares"]["value"][-1][-1], 4),
            ]
        )
    head = ["fleet", "models", "samples", "checkpoints", "epochs", "accuracy of members", "of others",
            "AUC (null 0.5)", "TPR at 1 % FPR", "TPR at 0.1 % FPR", "share in high"]  # fmt: skip
    return (
        "## Fleets at the last checkpoint\n\n"
        + _table(head, rows)
        + "\nTPR: mean over targets, each at a threshold of its own, with interval; null: what scores "
        "without leakage read on average. Results stored before the threshold was moved let ⌊α n⌋ of a "
        "target's n non-members pass, so that noise reads (⌊α n⌋ + 1)/(n + 1), and did not keep the "
        "realised FPR; theirs is ⌊α n⌋/n where scores are not tied.\n"
    )


def _rate(r: Mapping[str, Any], roc: Mapping[str, Any], alpha: float) -> str:
    """TPR at an FPR with interval, null and realised FPR, or that it cannot be resolved."""
    e = roc[f"tpr at {alpha:g}"]
    # Half of the samples are non-members of a target in every plan of these studies but imports.
    n = int(roc.get("non-members", r["samples"] // 2))
    if alpha * (n + 1) < 1:
        return f"cannot be resolved with {n} non-members"
    if "null" in e:
        null, realised = e["null"][-1], f", FPR {e['fpr'][-1]:.3g}"
    else:
        null, realised = (np.floor(alpha * n + 1e-9) + 1) / (n + 1), ""
    return f"{_of(e, -1)}, null {null:.3g}{realised}"


def _missing(results: Results, fleets: Sequence[str]) -> str:
    gone = [f for f in fleets if f not in results]
    return (
        f"Not trained yet: {', '.join(gone)}. Claims that need them are undecided.\n"
        if gone
        else ""
    )


def _precision(results: Results) -> str:
    words = {"bf16": "bf16 with a float32 head", "fp32": "float32"}
    found: dict[str, list[str]] = {}
    for name, r in results.items():
        key = str(r["provenance"].get("chosen", {}).get("precision", "unknown"))
        found.setdefault(words.get(key, key), []).append(name)
    if len(found) == 1:
        return f"Every fleet computes in {next(iter(found))}; signals are kept in float32.\n"
    parts = "; ".join(f"{', '.join(names)} in {p}" for p, names in found.items())
    return f"Fleets differ in precision, which no comparison of them can tell apart from its factor: {parts}.\n"


def _claim(v: Verdict) -> str:
    decided = f" Decided by: {v.why}." if v.why else ""
    text = f"## {v.claim}: {v.says}\n\n**{v.outcome}**.{decided} Published: {v.published}.\n\n"
    head = ["", "measured", "", *(f"by {a}" for a in v.by_attack)]
    found = [{row[0]: row[1] for row in other.figures} for other in v.by_attack.values()]
    rows = [[*f, *(figures.get(f[0], "") for figures in found)] for f in v.figures]
    return text + (_table(head, rows) if rows else "")


def _curves(results: Results) -> str:
    out = [
        "## Over training (LiRA)\n\nSpeed, recall of the other half and known: from disjoint halves of "
        "the fleet (`seepage.plane.split_half`), free of the noise that targets of one fleet share; "
        "recall within: of the final top 5 % by the same fleet, which that noise lifts, as its null "
        "shows.\n"
    ]
    for name, r in results.items():
        lira = r["attacks"]["lira"]
        p, early, halves = lira["population"], lira["early"]["top 5 %"], lira.get("halves")
        rows = []
        for t, epoch in enumerate(r["checkpoints"]):
            before = t - 1
            rows.append(
                [
                    f"{epoch:g}",
                    _of(lira["roc"]["auc"], t),
                    _number(p["advantage"]["value"][t]),
                    _number(p["entropy"]["value"][t], 2),
                    f"{_of(p['to_high'], before, 4)}" if t else "",
                    _root(halves["squared_speed"]["value"][before]) if t and halves else "",
                    _of(halves["recall"], t) if halves else "",
                    _number(halves["recall"]["null"][t]) if halves else "",
                    _number(halves["known"]["value"][t]) if halves else "",
                    _number(early["recall_now"]["value"][t]),
                    _number(early["recall_now"]["null"][t]),
                ]
            )
        head = ["epoch", "AUC", "mean advantage", "entropy, bits", "into high since the last",
                "speed per epoch", "recall of the other half", "its null", "known", "recall within",
                "its null"]  # fmt: skip
        out.append(f"### {name}\n\n" + _table(head, rows))
    return "\n".join(out)


def _early(results: Results) -> str:
    """Early determination within one fleet, half-way, and from when shares are known."""
    rows = []
    for name, r in results.items():
        for kind, e in r["attacks"]["lira"]["early"].items():
            t = max(k for k, f in enumerate(e["fraction"]) if f <= 0.5)
            epoch = r["checkpoints"][t]
            names = ("recall_now", "recall_ever", "precision", "jaccard")
            rows.append(
                [
                    f"{name}, {kind} ({e['size']})",
                    f"{epoch:g}",
                    *(_of(e[n], t) for n in names),
                    _number(e["recall_now"]["null"][t]),
                    _number(e["chance"]["value"][t]),
                    ", ".join(_known(k) for k in e["known"]),
                ]
            )
    return (
        "## Early determination within one fleet (LiRA)\n\nAt the last checkpoint in the first half of "
        "training, and the earliest epoch at which a share of the final set is known, with interval.\n\n"
        + _table(
            ["set", "epoch", "recall now", "recall ever", "precision", "Jaccard",
             "null of recall", "chance", "known by epoch"],
            rows,
        )
    )  # fmt: skip


def _known(k: Mapping[str, Any]) -> str:
    def epoch(value: float | None) -> str:
        return "–" if value is None else f"{value:g}"

    return f"{k['share']:.0%}: {epoch(k['epoch'])} [{epoch(k['low'])}, {epoch(k['high'])}]"


def _proxies(results: Results) -> str:
    rows = []
    for name, r in results.items():
        found = r["attacks"]["lira"]["proxies"]
        if found is None:
            continue
        for proxy in ("LT-IQR", "mean loss"):
            epochs = np.asarray(found["checkpoints"])
            half = int(np.flatnonzero(epochs <= epochs[-1] / 2)[-1])
            old = proxy == "LT-IQR" and r.get("analysis", 1) < TIMED_TRACES
            rows.append(
                [
                    name,
                    f"{proxy}, checkpoints as if even" if old else proxy,
                    f"{_number(found[proxy]['recall'][half])} (epoch {found['checkpoints'][half]:g})",
                    _number(found[proxy]["recall"][-1]),
                    _number(found[proxy]["auc"][-1]),
                    _number(found["chance"]),
                ]
            )
    return (
        "## Foretelling the final top 5 % without the attack\n\nFrom the runs set aside; half-way is the "
        "last checkpoint in the first half of training."
        + _untimed(results)
        + "\n\n"
        + _table(
            ["fleet", "from", "recall half-way", "recall at the end", "AUC at the end", "chance"],
            rows,
        )
    )


def _untimed(results: Results) -> str:
    old = [name for name, r in results.items() if r.get("analysis", 1) < TIMED_TRACES]
    if not old:
        return ""
    which = "All fleets" if len(old) == len(results) else ", ".join(old)
    return (
        f" {which}: LT-IQR was judged by the rule before it was about training time, the quartiles of "
        "the losses at unevenly spaced checkpoints as if these were even; their recorded losses are not "
        "at hand. Such figures, here and under B6, say little of LT-IQR as published: see the table "
        "in [dynamics](../dynamics.md#learning-difficulty) for what that rule loses. Mean loss is not "
        "affected."
    )


def _clusters(results: Results) -> str:
    rows = []
    for name, r in results.items():
        for method, found in r["attacks"]["lira"]["clusters"].items():
            v, n = found["value"], found["null"]
            rows.append(
                [
                    name,
                    method,
                    str(v["clusters"]),
                    f"{_number(v['silhouette'])} (null {_number(n['silhouette'])})",
                    f"{_number(v['davies_bouldin'])} (null {_number(n['davies_bouldin'])})",
                ]
            )
    return "## Clusters at the end\n\n" + _table(
        ["fleet", "method", "clusters", "silhouette", "Davies-Bouldin"], rows
    )


def _rates(rates: Mapping[str, Any] | None) -> str:
    if rates is None:
        return ""
    rows, summary = [], []
    truths = ("same size", "all")
    for key, needed in rates["needed"].items():
        truth = next(t for t in truths if key.endswith(t))
        way = key.removesuffix(f", {truth}")
        summary.append(
            [way, truth, *("more than tried" if n is None else str(n) for n in needed.values())]
        )
        for size, found in rates["sizes"].items():
            f = found[key]
            rows.append(
                [
                    way,
                    truth,
                    size,
                    *(
                        _number(f[k])
                        for k in ("fpr", "tpr", "fpr_top", "tpr_top", "advantage", "advantage_top")
                    ),
                    _number(found[f"ceiling, {truth}"]),
                    f"{_number(f['rmse_fpr'])}, {_number(f['rmse_tpr'])}, {_number(f['rmse_advantage'])}",
                    f"{f['bias_fpr']:+.3f}, {f['bias_tpr']:+.3f}",
                ]
            )
    head = ["way", "reference", *next(iter(rates["needed"].values()))]
    return (
        "## How many models each way of computing rates needs\n\n"
        f"{rates['models']} small runs on {rates['samples']} samples, {rates['reference']} of them for "
        f"the reference, the others in disjoint blocks of up to {max(map(int, rates['sizes']))}. "
        f"Coverage: share of samples whose figure is within ±{rates['tolerance']:g} of the reference, "
        "which is counted with the attack at the block's own number of models (“same size”) or "
        "with the whole reference part (“all”). Top: the tenth of samples with the highest true "
        "advantage. Ceiling: what a way without error would cover, since the reference is counted "
        "over a finite number of targets too; errors of the reference's own fitted laws are not in it "
        "and make coverage look smaller where its blocks are few (sizes above an eighth of it) and "
        "for “all”. Targets of a fleet share references, so errors of the "
        "fitted laws do not average out over targets; binomial intervals of a rate know nothing of "
        "them. Models needed:\n\n"
        + _table(head, summary)
        + _sooner(rates)
        + f"\nFor {rates['coverage']:.0%} coverage, the smallest size from which it stays there. "
        "By size:\n\n"
        + _table(
            ["way", "reference", "models", "FPR", "TPR", "FPR, top", "TPR, top", "advantage",
             "advantage, top", "ceiling", "RMSE of FPR, TPR, advantage", "bias of FPR, TPR"],
            rows,
        )
    )  # fmt: skip


def _sooner(rates: Mapping[str, Any]) -> str:
    """How many models counting needs for the error that fitted laws have with fewer."""
    sizes = sorted(map(int, rates["sizes"]))

    def errors(way: str) -> list[float]:
        found = rates["sizes"]
        return [float(found[str(n)][f"{way}, same size"]["rmse_advantage"]) for n in sizes]

    counted = np.array(errors("Counting"))
    if (np.diff(counted) >= 0).any():
        return ""
    rows = []
    for way in ("ClosedForm, Gaussian", "ClosedForm, Student t"):
        for n, e in zip(sizes, errors(way), strict=True):
            # Between the sizes tried, on logarithmic axes; beyond them nothing is said.
            if counted[-1] <= e <= counted[0]:
                need = float(np.exp(np.interp(-np.log(e), -np.log(counted), np.log(sizes))))
                rows.append([way, str(n), f"{e:.3f}", f"{need:.0f}", f"{need / n:.1f}"])
    return (
        "\nThe error of the advantage that fitted laws leave, and the models that counting needs for the "
        "same (by interpolation between the sizes tried; same size):\n\n"
        + _table(["way", "models", "RMSE", "models to count", "times as many"], rows)
    )


def _provenance(results: Results) -> str:
    rows = []
    for name, r in results.items():
        p = r["provenance"]
        rows.append(
            [
                name,
                str(p["data"]["digest"])[:12],
                str(p["plan"]["digest"])[:12],
                str(p.get("chosen", {}).get("backend", "")),
                str(p.get("chosen", {}).get("precision", "")),
                _number(p["training_seconds"], 0),
                _number(r["analysis_seconds"], 1),
                str(p["created"]),
            ]
        )
    head = ["fleet", "data digest", "plan digest", "backend", "precision", "training, s",
            "analysis, s", "begun"]  # fmt: skip
    first = next(iter(results.values()))["provenance"]
    facts = ", ".join(f"{k}: {v}" for k, v in first["hardware"].items())
    versions = ", ".join(f"{k} {v}" for k, v in first["versions"].items())
    return (
        "## Where the figures come from\n\n"
        + _table(head, rows)
        + f"\nFirst fleet's hardware: {facts}. Versions: {versions}. Every fleet's are in its JSON.\n"
    )
