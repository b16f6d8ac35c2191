"""The page of the study of language models, every figure of it from the stored results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seepage.study.attacks.measure import FPRS
from seepage.study.language.settings import LanguageSettings
from seepage.study.markdown import interval, looked_at, number, percent, table

__all__ = ["language_page"]

Results = Mapping[str, Any]
Found = Mapping[str, Mapping[str, Any]]


def language_page(results: Results, settings: LanguageSettings, file: str) -> str:
    """Markdown: scale, fleets, every attack, by epoch, by copies, the blind baseline, what is missing.

    results: by name, as `LanguageStudy.names` has them; file: for the commands that make this again.
    """
    facts = {f: r for f in settings.fleets if (r := results.get(f"{f}-facts")) is not None}
    parts = [
        "# Language models: every attack on texts, by epoch and by copies",
        _scale(facts),
        f"Written by `seepage study {file} --only page` from the stored results; do not edit. Every model is the "
        "target once, without its complementary twin among the references; intervals are 95 % over pairs of models on "
        "this pool and recipe. TPR at 1 % and 0.1 % are means over targets, each at a threshold of its own. "
        "*Calibrated* is what an attacker gets who takes the threshold that 1 % or 0.1 % of the *other* targets' non-members "
        "pass: the TPR, and the FPR that is realised. *Null* is the AUC under permuted membership. *Models* are the "
        "fewest that an attack needs, the target among them; beside the target those that compare with a reference "
        "read the start's own answer. ‡ marks a reconstruction. `lira:SIGNAL` and `calibrated:SIGNAL` are LiRA and "
        "difficulty calibration on a signal of documents; `combined-texts` is learnt from six attacks on other models.",
        _fleets(facts),
        _losses(facts),
        *(_ended(f, _run(results, f, "attacks", settings.attacks)) for f in settings.fleets),
        *(_course(f, results.get(f"{f}-course"), settings) for f in settings.fleets),
        *(_copies(f, results.get(f"{f}-copies"), settings) for f in settings.fleets),
        _blind(facts),
        _missing(results, settings),
        _again(facts, file),
    ]
    return "\n\n".join(p.rstrip() for p in parts if p) + "\n"


def _run(results: Results, fleet: str, what: str, names: Sequence[str]) -> Found:
    """Results of attacks by name, in the order of names, of those that are there."""
    held = results.get(f"{fleet}-{what}", {}).get("found", {})
    return {n: held[n] for n in names if n in held}


def _scale(facts: Mapping[str, Any]) -> str:
    said = []
    for fleet, r in facts.items():
        parameters = r["provenance"]["key"]["model"]["parameters"] / 1e6
        texts = f"{r['texts']:,} texts"
        if r["samples"] > r["texts"]:
            texts += f" held {r['samples']:,} times"
        said.append(
            f"*{fleet}*: {r['models']} fine-tunes of a causal transformer of {parameters:.2f} million parameters "
            f"on halves of {texts} of at most {r['config']['data']['context']} tokens"
        )
    if not said:
        return ""
    return (
        "Small: "
        + "; ".join(said)
        + ". Nothing here says how a large model, trained on its texts once, "
        "would do: these see each text several times."
    )


# ---- the fleets
# -----------------------------------------------------------------------------------


def _fleets(facts: Mapping[str, Any]) -> str:
    rows = []
    for fleet, r in facts.items():
        c, p = r["config"], r["provenance"]
        recipe, adapter = c["recipe"], c["model"].get("adapter")
        parameters = p["key"]["model"]["parameters"]
        trains = p["key"]["model"].get("trainable", parameters)
        held = "once" if set(r["copies"]) == {"1"} else ", ".join(
            f"{n:,} × {k}" for k, n in r["copies"].items()
        )  # fmt: skip
        rows.append(
            [
                fleet,
                str(r["models"]) + (f" ({len(r['failed'])} failed)" if r["failed"] else ""),
                "all weights" if adapter is None else f"adapters of rank {adapter['rank']}",
                _trainable(trains, parameters),
                held,
                f"{recipe['epochs']} epochs, batches of {recipe['batch']}, {recipe['optimizer']}, "
                f"rate {recipe['lr']:g}",
                f"{p['training_seconds']:.0f}",
                str((p.get("training_hardware") or {}).get("processor", "–")),
                str(p["data"]["digest"])[:12],
            ]
        )
    head = ["fleet", "models", "trains", "parameters that train", "texts held", "recipe", "seconds to train",
            "on", "data"]  # fmt: skip
    return "## Fleets\n\n" + table(head, rows) if rows else ""


def _trainable(trains: Any, parameters: int) -> str:
    if isinstance(trains, bool | int | float):
        return f"{int(trains):,} of {parameters:,}"
    if isinstance(trains, Mapping) and "parameters" in trains:
        return f"{int(trains['parameters']):,} of {parameters:,}"
    return f"{parameters:,}"


def _losses(facts: Mapping[str, Any]) -> str:
    rows = [
        [fleet, f"{t:g}", number(inside), number(outside), number(outside - inside)]
        for fleet, r in facts.items()
        for t, (inside, outside) in zip(r["checkpoints"], r["losses"], strict=True)
    ]
    if not rows:
        return ""
    head = ["fleet", "epoch", "loss of members", "loss of others", "difference"]
    return (
        "## Loss by epoch\n\nNats a token, mean over texts and models. At epoch 0 every model is the start, which was "
        "trained on other texts.\n\n" + table(head, rows)
    )


# ---- the tables
# -----------------------------------------------------------------------------------


def _ended(fleet: str, found: Found) -> str:
    run = {n: r for n, r in found.items() if "lacks" not in r}
    if not run:
        return ""
    first = FPRS[0]
    models, texts = (max(r[k] for r in run.values()) for k in ("models", "samples"))
    ordered = sorted(
        run.items(),
        key=lambda e: (-(e[1][f"tpr at {first:g}"]["value"] or 0.0), -(e[1]["auc"]["value"] or 0)),
    )
    rows = [
        [
            f"`{name}`" + (" ‡" if r["reconstruction"] else ""),
            str(r["least"]),
            interval(r["auc"]),
            interval(r["null_auc"]),
            *(interval(r[f"tpr at {fpr:g}"]) for fpr in FPRS),
            *(_calibrated(r[f"calibrated at {fpr:g}"]) for fpr in FPRS),
            f"{r['seconds'] + r['measuring_seconds']:.2g}",
            looked_at(r, models, texts),
        ]
        for name, r in ordered
    ]
    head = ["attack", "models", "AUC", "null AUC", *(f"TPR at {percent(f)}" for f in FPRS),
            *(f"calibrated at {percent(f)}: TPR / FPR" for f in FPRS), "seconds", "looked at"]  # fmt: skip
    return f"## {fleet}: every attack at the last epoch\n\n" + table(head, rows) + _nulls(run)


def _calibrated(e: Mapping[str, Any] | None) -> str:
    if e is None:
        return "too few non-members"
    return f"{number(e['tpr']['value'])} / {interval(e['fpr'], 4)}"


def _nulls(run: Found) -> str:
    """How many intervals hold ½ under permuted membership, and which do not."""
    known = {n: r["null_auc"] for n, r in run.items() if r["null_auc"]["low"] is not None}
    off = [n for n, e in known.items() if not e["low"] <= 0.5 <= e["high"]]
    text = f"\n{len(known) - len(off)} of {len(known)} intervals of the null AUC hold ½"
    return text + (f"; not those of {', '.join(f'`{n}`' for n in off)}.\n" if off else ".\n")


def _course(fleet: str, r: Mapping[str, Any] | None, settings: LanguageSettings) -> str:
    found = {} if r is None else {n: f for n in settings.course if (f := r["found"].get(n))}
    if r is None or not found:
        return ""
    out = [f"## {fleet}: by epoch\n"]
    times = [f"{t:g}" for t in r["checkpoints"]]
    for figure, words in (("auc", "AUC"), (f"tpr at {FPRS[0]:g}", f"TPR at {percent(FPRS[0])}")):
        rows = [
            [f"`{n}`", *("–" if "lacks" in s else interval(s[figure]) for s in f["steps"])]
            for n, f in found.items()
        ]
        out.append(table([words, *(f"epoch {t}" for t in times)], rows))
    return "\n".join(out)


def _copies(fleet: str, r: Mapping[str, Any] | None, settings: LanguageSettings) -> str:
    found = {} if r is None else {n: f for n in settings.copies if (f := r["found"].get(n))}
    run = {n: f for n, f in found.items() if "lacks" not in f}
    if r is None or not run:
        return ""
    times = [f"{t:g}" for t in r["checkpoints"]]
    least = min(s["non-members"] for f in run.values() for of in f["copies"].values() for s in of)
    out = [
        f"## {fleet}: by copies\n\nOne copy of each text is scored; all copies are in or out of a run together. Each "
        f"number of copies is judged by itself, on at least {least:,} non-members.\n"
    ]
    for figure, words in (("auc", "AUC"), (f"tpr at {FPRS[0]:g}", f"TPR at {percent(FPRS[0])}")):
        rows = [
            [f"`{n}`", copies, *(interval(s[figure]) for s in steps)]
            for n, f in run.items()
            for copies, steps in f["copies"].items()
        ]
        out.append(table([words, "copies", *(f"epoch {t}" for t in times)], rows))
    return "\n".join(out)


def _blind(facts: Mapping[str, Any]) -> str:
    rows = []
    for fleet, r in facts.items():
        e = r["blind"]
        if "lacks" in e:
            rows.append([fleet, f"not run: {e['lacks']}", "–", "–"])
            continue
        low, high = e["auc"]["low"], e["auc"]["high"]
        holds = "yes" if low is not None and low <= 0.5 <= high else "no"
        rows.append([fleet, interval(e["auc"]), e["by"], holds])
    if not rows:
        return ""
    runs = next((r["blind"]["runs"] for r in facts.values() if "runs" in r["blind"]), "–")
    return (
        "## Blind baseline\n\nClassifiers that see words, lengths and years of the texts and no model, on the splits of "
        f"{runs} runs, out of fold: where the interval does not hold ½, members are told without any leak.\n\n"
        + table(["fleet", "AUC of the strongest", "by", "holds ½"], rows)
    )


# ---- what is missing, and how to make it again
# ----------------------------------------------------


def _missing(results: Results, settings: LanguageSettings) -> str:
    lines = []
    why: dict[str, list[str]] = {}
    for fleet in settings.fleets:
        of = [("attacks", settings.attacks), ("course", settings.course)]
        if settings.audit(fleet).data.repeats:
            of.append(("copies", settings.copies))
        for what, names in of:
            found = _run(results, fleet, what, names)
            gone = [n for n in names if n not in found]
            if gone:
                lines.append(
                    f"- {fleet}, {what}: not run yet: {', '.join(f'`{n}`' for n in gone)}."
                )
            for n, r in found.items():
                if "lacks" in r and n not in why.setdefault(r["lacks"], []):
                    why[r["lacks"]].append(n)
        if f"{fleet}-facts" not in results:
            lines.append(f"- {fleet}: its facts are not there yet.")
    lines += [f"- {', '.join(f'`{n}`' for n in names)}: {w}." for w, names in why.items()]
    return "## Not run\n\n" + "\n".join(lines) if lines else ""


def _again(facts: Mapping[str, Any], file: str) -> str:
    versions = {
        name: str(version)
        for r in facts.values()
        for name, version in (r["provenance"].get("versions") or {}).items()
    }
    text = (
        "## Again\n\n```\n"
        f"seepage study {file} --only train     # the fleets, into their run folders\n"
        f"seepage study {file} --only analyse   # the stored results, from these\n"
        f"seepage study {file} --only page      # this page, from the stored results\n```\n"
    )
    if versions:
        text += "\nMade with " + ", ".join(f"{n} {v}" for n, v in versions.items()) + ".\n"
    return text
