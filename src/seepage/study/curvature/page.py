"""The page of the study, every figure of it from the stored results of units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seepage.metrics.verdict import Verdict
from seepage.study.curvature.claims import (
    CHANGED,
    accuracy,
    half_width,
    judge,
    mean_auc,
    resolvable,
)
from seepage.study.curvature.mislabel import READ
from seepage.study.curvature.private import budgets
from seepage.study.curvature.scoring import ATTACKS, mean_auc_interval, paired
from seepage.study.curvature.settings import CurvatureSettings, Trained
from seepage.study.markdown import table

__all__ = ["curvature_page"]

Results = Mapping[str, Any]


def curvature_page(
    results: Results, study: CurvatureSettings, names: Sequence[str], file: str
) -> str:
    """Markdown: verdicts first, then a section for each part of the study.

    results: by name of the unit; names: all units of the study; file: its file, for the command
    that writes this again.
    """
    judged = judge(results, study)
    missing = [n for n in names if n not in results]
    parts = [
        "# Curvature: what holds of claims C1 to C8",
        "",
        f"Written by `seepage study {file} --only page` from the stored results of "
        f"{len(results)} of {len(results) + len(missing)} units; do not edit. The claims are those of arXiv 2407.02747, "
        "known from its released code and notebooks; the body of the paper was not available. A "
        "verdict says what happened on these pools and networks, and nothing of ResNet-18 on all "
        "of CIFAR or of ImageNet. The rules are those of `seepage.study.curvature.claims`: a claim "
        "holds, or does not, where a whole interval says so, and was judged **by rules changed after "
        "looking**, as said below. Intervals are 95 % over pairs of runs unless they say otherwise. "
        "Every verdict with its interval stands at the end.",
        "",
        *_summary(judged),
        "## What was changed after which look",
        "",
        *(f"- {line}" for line in (*study.changes, *CHANGED)),
        "",
    ]
    if missing:
        parts += [f"Not run: {', '.join(f'`{n}`' for n in missing)}.", ""]
    for name in study.tables:
        if f"table-{name}" in results:
            parts += _table(name, results[f"table-{name}"])
    parts += _sizes(results, study) + _private(results, study)
    for name in study.estimators.tables if study.estimators else ():
        if f"estimators-{name}" in results:
            parts += _estimators(results[f"estimators-{name}"])
    parts += _mislabel(results, study)
    parts += ["## Every verdict", "", *_rows(
        ("claim", "where", "says", "found, with its interval", "verdict"),
        [(v.claim, v.where, v.says, v.why, f"**{v.outcome}**") for v in judged],
    )]  # fmt: skip
    return "\n".join(parts).rstrip() + "\n"


def _rows(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return [table(head, body)]


def _summary(judged: Sequence[Verdict]) -> list[str]:
    """How often each claim came out which way: a claim is several orders, tested apart."""
    says = {
        "C1": "non-members lie at higher curvature",
        "C2": "Curv NLL beats the other attacks in AUC and balanced accuracy",
        "C3": "Curv LR is best at 0.1 % FPR, Curv NLL at 1 %",
        "C4": "NLL overtakes loss and LiRA as the training set grows",
        "C5": "AUC of NLL falls with the size of a random training set",
        "C6": "it rises with the size of a least-curved-first one",
        "C7": "AUC grows with ε, from chance, and saturates",
        "C8": "Curv LR is not better than LiRA",
        "ours": "curvature joined with confidence beats either",
    }
    body = []
    for claim, words in says.items():
        mine = [v for v in judged if v.claim == claim]
        if not mine:
            continue
        for where in dict.fromkeys(v.where for v in mine):
            counts = Counter(v.outcome for v in mine if v.where == where)
            text = ", ".join(f"{k} ({n})" if len(mine) > 1 else k for k, n in counts.items())
            body.append((claim, words, where, text))
    return _rows(("claim", "says", "where", "verdicts (orders tested)"), body)


def _about(given: Mapping[str, Any], limit: bool = True) -> str:
    t = Trained(**{k: given[k] for k in Trained.model_fields})
    recipe = ", ".join(f"{k} {v}" for k, v in t.recipe.items())
    options = "".join(f", {k} {v}" for k, v in t.model.options.items())
    pool = f", {t.data.limit:,} samples" if limit and t.data.limit else ""
    return f"{t.data.name}{pool}; `{t.model.name}`{options}; {recipe}; seed {t.seed}"


def _table(name: str, r: Mapping[str, Any]) -> list[str]:
    rows = sorted(r["attacks"].items(), key=lambda kv: -kv[1]["mean"])
    others = int(r["samples"]) // 2
    rates = [(f, f"tpr at {f:g}") for f in (0.01, 0.001)]
    shown = [(f, k) for f, k in rates if resolvable(f, others)]
    return [
        f"## Attacks: {name}",
        "",
        f"{_about(r['settings'])}; {r['models']} models in complementary pairs, {r['views']} "
        f"views (identity, mirrored); {r['samples']:,} samples scored; accuracy {r['accuracy'][0]:.3f} on members, "
        f"{r['accuracy'][1]:.3f} on others. Curvature is zeroth order in float64 unless it says "
        "otherwise. Within a model its rank correlation with the exact norm is "
        f"{r['zeroth_order_against_exact']:.3f}, in float32 {r['float32_against_exact']:.3f}; "
        f"probes that came out exactly 0: {r['zero_probes']['curvature_zo']:.1%} in float64, "
        f"{r['zero_probes']['curvature_zo32']:.1%} in float32." + _smooth(r.get("against_smooth")),
        "",
        *_rows(
            ("attack", "AUC", "95 % interval", "balanced", *(f"TPR at {100 * f:g} %" for f, _ in shown)),
            [
                ("*noise*", "0.5000", "–", "–",
                 *(f"{100 * _noise(f, others):.2f} %" for f, _ in shown)),
                *(
                    (ATTACKS[k].title, f"{v['mean']:.4f}",
                     "{:.4f} to {:.4f}".format(*mean_auc_interval(v, r["twin"])[1:]),
                     f"{np.mean(v['balanced']):.4f}", *(_rate(v[t], r["twin"]) for _, t in shown))
                    for k, v in rows
                ),
            ],
        ),
        _about_rates(others, [f for f, _ in rates if not resolvable(f, others)]),
        "",
    ]  # fmt: skip


def _passing(fpr: float, others: int) -> int:
    """Non-members that pass by the rule of the stored results: ⌊fpr · others⌋."""
    return int(np.floor(fpr * others + 1e-9))


def _noise(fpr: float, others: int) -> float:
    """What noise reads at that rule: a member is above the next non-member in (k + 1) of (n + 1)."""
    return (_passing(fpr, others) + 1) / (others + 1)


def _rate(values: Sequence[float], twin: Sequence[int]) -> str:
    """Mean rate of targets and its interval over pairs, in percent."""
    v = np.array(values)
    mean, low, high = paired(v, np.zeros_like(v), np.array(twin))
    return f"{100 * mean:.2f} % [{100 * max(low, 0.0):.2f}, {100 * min(high, 1.0):.2f}]"


def _about_rates(others: int, gone: Sequence[float]) -> str:
    said = [
        f"at most {k} pass at {100 * f:g} % (a realised FPR of {100 * k / others:.2f} %)"
        for f in (0.01, 0.001)
        if f not in gone and (k := _passing(f, others))
    ]
    text = (
        f"A target has {others:,} non-members, on average over each pair: {', '.join(said)}, fewer "
        "where scores are tied; the realised rate of each target was not stored, nor the scores. "
        "*Noise* is what scores without information read by that rule, (k + 1) / (n + 1) with k of n "
        "passing. Balanced accuracy is that at equal errors, whose threshold is fitted on the same "
        "samples: noise reads a little more than 0.5."
    )
    for f in gone:
        text += f" TPR at {100 * f:g} % FPR cannot be resolved with {others:,} non-members."
    return text


def _smooth(found: Mapping[str, float] | None) -> str:
    if found is None:
        return ""
    return (
        " Were the loss smooth, the zeroth-order score would be 0.64 to 0.80 of h‖H‖_F. Here the "
        f"median is {found['right']:.2g} times that norm where the label is predicted and "
        f"{found['wrong']:.2g} times where it is not, and the ratio has rank correlation "
        f"{found['loss']:.2f} with the label's loss: steps cross points where the network is not differentiable, whose jumps "
        "depend on the label, as the exact norm does not."
    )


def _sizes(results: Results, study: CurvatureSettings) -> list[str]:
    shown = ("nll-published", "nll", "lr-published", "lr", "lira", "lira-released", "loss")
    out: list[str] = []
    for order, title, words in (
        ("random", "random subsets, shadows of half the pool",
         "The shadows are those of the table whatever the size of the target, as released."),
        ("lowest", "least curved first, shadows of half the pool",
         "Members are the least curved samples of the pool, so curvature and loss tell them apart "
         "without any leak."),
        ("matched", "random subsets, shadows of the same size",
         "Each row is a fleet of complementary pairs on a pool of 2m."),
    ):  # fmt: skip
        part = study.matched if order == "matched" else study.sizes
        sizes = part.sizes if part else ()
        lent = results.get(f"table-{study.sizes.table}") if study.sizes else None
        there = [(m, results[n]) for m in sizes if (n := f"size-{order}-m{m}") in results]
        if not there:
            continue
        first = there[0][1]
        about = _about(first["settings"], limit=order != "matched")
        if order == "matched":
            words += f" {about}; {first['models']} models a size."
        else:
            words += (
                f" {about}; {first['shadows']} shadows, targets a size: {len(first['targets'])}."
            )
        out += [f"## Size of the training set: {title}", "", words, ""]
        out += _rows(
            ("m", "accuracy", *(ATTACKS[k].title.replace("LiRA as released (largest probability, "
             "variance for deviation)", "LiRA as released") for k in shown)),
            [
                (f"{m:,}", f"{accuracy(r):.3f}", *(_cell(r, k, lent) for k in shown))
                for m, r in there
            ],
        )  # fmt: skip
    if out:
        out += ["AUC, mean over targets, ± half its 95 % interval over samples and targets (see the "
                "rules: an upper bound over samples, since scores are not stored, and the deviation "
                "between targets of the table where a size has one). Accuracy on the test part (on "
                "other samples of the pool for matched fleets).", ""]  # fmt: skip
    return out


def _cell(r: Mapping[str, Any], key: str, table: Mapping[str, Any] | None) -> str:
    return f"{mean_auc(r, key):.4f} ± {half_width(r, key, table):.3f}"


def _private(results: Results, study: CurvatureSettings) -> list[str]:
    if study.private is None:
        return []
    there = [results[n] for b in budgets(study.private) if (n := f"dp-eps-{b}") in results]
    if not there:
        return []
    shown = ("lr-published", "nll-published", "lr", "nll", "lira", "loss")
    body = [
        (r["budget"], f"{r['noise']:.3g}", f"{r['accuracy'][0]:.3f}", f"{r['accuracy'][1]:.3f}",
         *("{:.4f} [{:.4f}, {:.4f}]".format(*mean_auc_interval(r["attacks"][k], r["twin"]))
           for k in shown))
        for r in there
    ]  # fmt: skip
    first = there[0]
    # Later results say how gradients of single samples were had.
    earlier = [r["budget"] for r in there if r["max_norm"] is not None and "gradients" not in r]
    warned = (
        f" **The fleets of ε = {', '.join(earlier)} were trained when gradients of single samples were "
        "wrong in convolutions, whose memory lies channels last: ε is not touched by it, every AUC "
        "under a budget is to be measured again.**"
        if earlier
        else ""
    )
    return [
        "## Differential privacy",
        "",
        f"{_about(first['settings'])}; {first['models']} models a budget, every one under the "
        f"same budget and once the target. Poisson batches at rate {first['sampling rate']:.3g}, "
        f"{first['steps']} steps, clipping {study.private.max_norm:g}, δ = {first['delta']:g}; noise "
        "by Opacus' accountant. Higher scores mean member throughout (the released notebook is not "
        "followed, C.6 #6 of the notes)." + warned,
        "",
        *_rows(("ε", "noise", "accuracy in", "out", *(ATTACKS[k].title for k in shown)), body),
    ]


def _estimators(r: Mapping[str, Any]) -> list[str]:
    body = [
        (e["name"], str(e["forwards"]), str(e["backwards"]), f"{e['seconds per 1000']:.3g}",
         f"{e['spearman']:.4f}", f"{e['auc']:.4f} [{e['low']:.4f}, {e['high']:.4f}]")
        for e in r["estimators"]
    ]  # fmt: skip
    return [
        f"## Estimators: {r['table']}",
        "",
        f"{r['models']} models, {r['samples']} samples, one view, on {r['device']} "
        f"({r['threads']} threads, {r['batch']} samples at a time), with other work at the same time: "
        "read seconds as orders of magnitude. Quality: rank correlation with the exact norm in "
        "float64 within a model, and AUC of the corrected Curv LR on that score, whose interval is "
        "that of when it was stored: √2 · t with G − 1 degrees of freedom over G pairs, narrower than "
        "the others here.",
        "",
        *_rows(
            ("estimator", "forward", "backward", "s per 1,000", "rank correlation", "AUC"), body
        ),
    ]


def _mislabel(results: Results, study: CurvatureSettings) -> list[str]:
    out: list[str] = []
    for name, given in study.mislabel.items():
        names = [f"mislabel-{name}-{100 * rate:g}" for rate in given.rates]
        there = [results[n] for n in names if n in results]
        if not there:
            continue
        body = []
        for r in there:
            cells = []
            for signal in READ:
                for when in ("mean", "last"):
                    values = [s[signal][when] for s in r["seeds"]]
                    spread = f"{np.std(values, ddof=1):.4f}" if len(values) > 1 else "–"
                    cells.append(f"{np.mean(values):.4f} ± {spread}")
            fitted = np.mean([s["fitted"] for s in r["seeds"]], axis=0)
            body.append((f"{100 * r['rate']:g} %", f"{fitted[0]:.2f}, {fitted[1]:.2f}", *cells))
        head = [f"{words}, {when}" for words in READ.values() for when in ("mean", "last")]
        out += [
            f"## Finding mislabelled samples: {name}",
            "",
            f"AUROC, mean ± deviation over {len(there[0]['seeds'])} seeds. "
            f"{_about(there[0]['settings'])}; checkpoints every {given.every} epochs, averaged "
            "(mean) or the last alone. Fitted: accuracy on right and on replaced labels at the "
            "end. Published on all of CIFAR-10 with ResNet-18 (finite differences, mean over 200 "
            "epochs): .9715, .9776, .9800, .9819.",
            "",
            *_rows(("replaced", "fitted", *head), body),
        ]
    return out
