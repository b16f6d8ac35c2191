"""The page of the study of attacks, every figure of it from the stored results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seepage.probes.imitation import Imitation
from seepage.study.attacks.advice import (
    ACCESS,
    FROM_HALF,
    MAIN,
    SLACK,
    WIDE,
    Candidate,
    advise,
    candidates,
    reads_noise,
)
from seepage.study.attacks.measure import FPRS
from seepage.study.attacks.settings import AttacksSettings
from seepage.study.markdown import interval, looked_at, number, percent, table

__all__ = ["attacks_page"]

Found = Mapping[str, Mapping[str, Mapping[str, Any]]]

LADDER = ("lira", "rmia", "bavaria-n", "imitation")
"""Whose section shows them by number of models."""
IMITATES = "imitation"


def attacks_page(results: Mapping[str, Any], settings: AttacksSettings, file: str) -> str:
    """Markdown: which attack to run, a table per fleet, by number of models, what is missing.

    results: by name, as `AttacksStudy.names` has them; file: for the command that writes this again.
    """
    fleets = [f for f in settings.fleets if f in results]
    found: Found = {
        f: {a: results[f"{f}-{a}"] for a in settings.attacks if f"{f}-{a}" in results}
        for f in fleets
    }
    run = {f: {a: r for a, r in of.items() if "lacks" not in r} for f, of in found.items()}
    parts = [
        "# Every attack on the same fleets",
        f"Written by `seepage study {file} --only page` from the stored results; do not edit. "
        "Every model is the target once, without its complementary twin among the references; "
        "intervals are 95 % over pairs of models on this pool and recipe. TPR at 1 % and 0.1 % are "
        "means over targets, each at a threshold of its own. *Calibrated* is what an attacker gets "
        "who takes the threshold that 1 % or 0.1 % of the *other* targets' non-members pass: the TPR, "
        "and the FPR that is realised. *Null* is the AUC under permuted membership: ½ for an attack "
        "that finds nothing where there is nothing. *Models* are those that the figures were made "
        "with, the target among them, and the fewest that the attack runs with; *questions* are what "
        "each of them is asked about a sample; *seconds* are of the processor, for all targets, with what is "
        "measured on kept weights.",
        _advice(run, settings),
        *(_table(f, run[f], results[f]) for f in fleets),
        _ladder(run, settings),
        _judged(run),
        _missing(found, settings),
        _fleets(results, fleets),
    ]
    return "\n\n".join(p.rstrip() for p in parts if p) + "\n"


# ---- which attack to run
# --------------------------------------------------------------------------


def _advice(run: Found, settings: AttacksSettings) -> str:
    known = candidates(run)
    if not known:
        return ""
    rows = []
    told: set[tuple[int, str, str]] = set()
    for access in ACCESS:
        before = None
        for budget in sorted({c.models for c in known}):
            advice = advise(known, access, budget)
            if advice is None:
                continue
            found = _with(advice.run), _with(advice.strongest)
            new = found != before and (budget, *found) not in told
            before = found
            told.add((budget, *found))
            if not new:
                continue
            others = [c for c in advice.as_good if c is not advice.run]
            by = "TPR at 1 %" if advice.figure == MAIN else "AUC"
            rows.append(
                [
                    access,
                    str(budget),
                    _with(advice.run),
                    by,
                    *(interval(advice.run.found[f][advice.figure]) for f in run),
                    str(advice.run.queries),
                    _with(advice.strongest),
                    ", ".join(_with(c) for c in others) or "none",
                ]
            )
    head = ["may see", "models, from", "run (with models)", "judged by", *run, "questions", "strongest",
            "as good, asking more"]  # fmt: skip
    return (
        "## Which attack to run\n\n"
        + table(head, rows)
        + "\nComputed from the tables below by the rule of `seepage.study.attacks.advice`: the strongest "
        "has the highest TPR at 1 % FPR, mean over the fleets, or, where none has more there than noise, the "
        f"highest AUC; as good is what falls short of it by at most {SLACK:.0%} of that on every fleet (of an AUC, of "
        f"what exceeds ½), or {WIDE:.0%} where an interval does not tell it from nothing; run what asks least of "
        "these: fewest models, then fewest questions, then fewest seconds. Who sees weights or training sees "
        "scores, and who sees scores sees labels: rows that would only repeat are left out. What learns a rule "
        "anew for every target was run with one number of models alone and so is no candidate with fewer; what was "
        "looked at on a part of the samples is none, since its figures are of other samples. On "
        "other data the order may be another: run several."
    )


def _with(c: Candidate) -> str:
    return f"`{c.attack}` ({c.models})"


# ---- the tables
# -----------------------------------------------------------------------------------


def _table(fleet: str, run: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    order = {access: i for i, access in enumerate(ACCESS)}
    listed = sorted(
        run.values(),
        key=lambda r: (order[r["access"]], -(r["tpr at 0.01"]["value"] or 0.0), r["attack"]),
    )
    rows = []
    for r in listed:
        models = "1" if r["least"] == 1 else f"{r['models']} ({r['least']})"
        rows.append(
            [
                f"`{r['attack']}`" + (" ‡" if r["reconstruction"] else ""),
                r["access"],
                interval(r["auc"]),
                interval(r["null_auc"]),
                *(interval(r[f"tpr at {fpr:g}"]) for fpr in FPRS),
                *(_calibrated(r[f"calibrated at {fpr:g}"]) for fpr in FPRS),
                models,
                str(r["queries"]),
                f"{r['seconds'] + r['measuring_seconds']:.2g}",
                looked_at(r, facts["models"], facts["samples"]),
            ]
        )
    head = ["attack", "access", "AUC", "null AUC", *(f"TPR at {percent(f)}" for f in FPRS),
            *(f"calibrated at {percent(f)}: TPR / FPR" for f in FPRS), "models (fewest)", "questions",
            "seconds", "looked at"]  # fmt: skip
    return f"## {fleet}\n\n{_facts(facts)}\n\n" + table(head, rows) + "\n‡ a reconstruction.\n"


def _calibrated(e: Mapping[str, Any] | None) -> str:
    """Both rates, the realised FPR with its interval: that is the one to check."""
    if e is None:
        return "too few non-members"
    return f"{number(e['tpr']['value'])} / {interval(e['fpr'], 4)}"


def _facts(facts: Mapping[str, Any]) -> str:
    inside, outside = facts["accuracy"][-1] if facts["accuracy"] else (None, None)
    return (
        f"{facts['models']} models of {facts['samples']:,} samples, half of them members each; accuracy "
        f"of members {number(inside)}, of others {number(outside)}."
    )


def _ladder(run: Found, settings: AttacksSettings) -> str:
    rows = []
    for fleet, of in run.items():
        for name in (a for a in LADDER if a in of):
            rows += [[fleet, f"`{name}`", *row] for row in _steps(of[name], settings)]
    if not rows:
        return ""
    head = ["fleet", "attack", "models", "AUC", "null AUC", *(f"TPR at {percent(f)}" for f in FPRS),
            "seconds"]  # fmt: skip
    text = (
        "## By number of models\n\n"
        + table(head, rows)
        + "\nThe fleet is cut into disjoint blocks of so many models, pairs together; each is once the "
        "target of the others of its block, so that all sizes are judged on the same targets."
    )
    parts = {
        f"{r['models']} models and {r['samples']:,} samples"
        for of in run.values()
        for name, r in of.items()
        if name == IMITATES
    }
    if parts:
        text += (
            f" Of `{IMITATES}`, which was looked at on {' or '.join(sorted(parts))}, the second number is of "
            "networks that were trained to imitate each target; its seconds are with their training."
        )
    return text


def _steps(r: Mapping[str, Any], settings: AttacksSettings) -> list[list[str]]:
    """The rows of one attack: every number of models, then every number of imitators with all."""
    whole, imitates = r["models"], r["attack"] == IMITATES
    usual = f" + {Imitation().models}" if imitates else ""
    at = {**r.get("by_models", {}), str(whole): r}
    rows = []
    for size in sorted({s for s in settings.sizes if s < whole} | {whole}):
        e = at.get(str(size))
        if e is None:
            rows.append([str(size), f"needs {r['least']}", *[""] * 4])
            continue
        measured = r["measuring_seconds"] * (whole // size * size) / whole
        rows.append([f"{size}{usual}", *_figures(e, e["seconds"] + measured)])
    for count, e in sorted(r.get("by_imitators", {}).items(), key=lambda item: int(item[0])):
        rows.append([f"{whole} + {count}", *_figures(e, e["seconds"] + e["measuring_seconds"])])
    return rows


def _figures(e: Mapping[str, Any], seconds: float) -> list[str]:
    rates = (interval(e[f"tpr at {fpr:g}"]) for fpr in FPRS)
    return [interval(e["auc"]), interval(e["null_auc"]), *rates, f"{seconds:.2g}"]


def _judged(run: Found) -> str:
    """Nulls and realised rates of all attacks, counted, and those that are off named."""
    every = [(f, a, r) for f, of in run.items() for a, r in of.items()]
    if not every:
        return ""
    noisy = [f"`{a}` on {f}" for f, a, r in every if reads_noise(r)]
    kept = [r["null_auc"]["low"] <= 0.5 <= r["null_auc"]["high"] for _, _, r in every
            if r["null_auc"]["low"] is not None]  # fmt: skip
    lines = [
        f"- Null AUC: {sum(kept)} of {len(kept)} intervals hold ½"
        + (
            f"; further from it than {FROM_HALF:g}: {', '.join(noisy)}."
            if noisy
            else f"; none of the others is further from it than {FROM_HALF:g}."
        )
    ]
    for fpr in FPRS:
        rates = [(f, a, r[f"calibrated at {fpr:g}"]) for f, a, r in every]
        known = [(f, a, e["fpr"]) for f, a, e in rates if e is not None]
        above = [f"`{a}` on {f} ({e['value']:.4f})" for f, a, e in known if (e["low"] or 0) > fpr]
        lines.append(
            f"- Realised FPR at {percent(fpr)}, calibrated without the target: "
            f"{len(known) - len(above)} of {len(known)} are not above it by their interval"
            + (f"; above: {', '.join(above)}." if above else ".")
        )
    return "## Nulls and realised rates\n\n" + "\n".join(lines)


def _missing(found: Found, settings: AttacksSettings) -> str:
    lines = []
    for name in settings.attacks:
        gone = [f for f, of in found.items() if name not in of]
        why = {
            r["lacks"] for of in found.values() for a, r in of.items() if a == name and "lacks" in r
        }
        if gone:
            lines.append(f"- `{name}`: not run yet on {', '.join(gone)}.")
        lines += [f"- `{name}`: {w}." for w in sorted(why)]
    return "## Not run\n\n" + "\n".join(lines) if lines else ""


def _fleets(results: Mapping[str, Any], fleets: Sequence[str]) -> str:
    rows = []
    for f in fleets:
        r = results[f]
        c, p = r["config"], r["provenance"]
        options = ", ".join(f"{k} {v}" for k, v in c["model"]["options"].items())
        recipe = c["recipe"]
        rows.append(
            [
                f,
                c["model"]["name"] + (f" ({options})" if options else ""),
                f"{recipe['epochs']} epochs, batches of {recipe['batch']}, {recipe['optimizer']}, "
                f"rate {recipe['lr']:g}" + (", flips" if recipe.get("flip") else ""),
                ", ".join(f"{t:g}" for t in r["checkpoints"]),
                f"{p['training_seconds']:.0f}",
                str((p.get("training_hardware") or {}).get("processor", "–")),
                str(p["data"]["digest"])[:12],
            ]
        )
    head = ["fleet", "model", "recipe", "checkpoints (epochs)", "seconds to train", "on", "data"]
    return "## Fleets\n\n" + table(head, rows)
