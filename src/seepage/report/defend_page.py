"""A comparison of defences as a page of Markdown, from stored results alone."""

from __future__ import annotations

from collections.abc import Sequence

from seepage.comparison.results import PoolResults
from seepage.report.defend_table import (
    columns_of,
    figure_of,
    on_front,
    region_tables,
    worst_classes,
)
from seepage.report.defend_why import beside_private, machines, other_machines, why

__all__ = ["markdown"]


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def _lines(head: Sequence[object], body: Sequence[Sequence[object]]) -> list[str]:
    rule = "|" + "---|" * len(head)
    return ["| " + " | ".join(_cell(c) for c in head) + " |", rule] + [
        "| " + " | ".join(_cell(c) for c in line) + " |" for line in body
    ]


def _missing(p: PoolResults, pools: Sequence[PoolResults]) -> list[str]:
    """What other pools have and this one lacks; regions are each pool's own."""
    here = {r.label for r in p.rows} | {str(f["label"]) for f in p.failed}
    wanted = [r.label for q in pools for r in q.rows if r.defense["name"] != "pptp"]
    absent = [label for label in dict.fromkeys(wanted) if label not in here]
    return [f"Not trained on this pool: {', '.join(absent)}."] if absent else []


def markdown(pools: Sequence[PoolResults], source: str) -> str:
    """The comparison as Markdown, from stored results alone; source: the configuration's path."""
    out = [
        "# Defences, measured",
        "",
        f"Written by `seepage defend {source}` from its stored results; nothing here is typed by "
        "hand. Intervals are 95 %, over complementary pairs of runs of all seeds. The attacker is "
        "adaptive (shadow models trained with the defence) unless a column says otherwise. "
        "Low-FPR thresholds are one for all targets; few non-members decide that of the canaries, and its own "
        "chance is in no interval: read canaries by their AUC as well. Cost is over that of the undefended pair, in samples "
        "through networks (a backward pass counts as two), which no load moves; per-sample gradients are "
        "dearer than it says. *ε at least* is refuted by the main "
        "attack's guesses of the canaries at 95 %, one run at a time, the lower median over runs (δ = 1e-5): it "
        "shows leaks, never their absence. Rows marked † are reconstructions. Defences trained at more seeds than "
        "the first were chosen by their figures at the first, which flatters them a little; their means are over "
        "other plans too, changes against another row over the pairs of runs that both have.",
        "",
    ]
    for p in pools:
        s = p.undefended.setting
        columns = columns_of(p)
        edge = on_front(p)
        out += [
            f"## {p.pool}",
            "",
            f"{s['data']['name']}, {s['data']['samples']} samples and {s['data']['reference']} set "
            f"apart, model {s['model']}, {s['epochs']} epochs, "
            f"{p.undefended.facts['models'] // len(p.undefended.seeds)} models per defence and "
            f"seed. **Bold**: on the Pareto front of accuracy and AUC.",
            "",
            " ".join([machines(p), *other_machines(p), *_missing(p, pools)]),
            "",
        ]
        body = []
        for k, r in enumerate(p.rows):
            name = r.label + (" †" if r.reconstruction else "")
            body.append([f"**{name}**" if edge[k] else name, *(c(p, r) for _, c in columns)])
        out += _lines(["defence", *(name for name, _ in columns)], body)
        private = beside_private(p)
        out += ["", *([private, ""] if private else []), "Who pays:", ""]
        told = []
        for r in p.rows:
            w = worst_classes(p, r)
            told.append(
                [
                    r.label,
                    "–" if w["lost"] is None else f"{w['lost'][0]} ({w['lost'][1]:+.3f})",
                    "–" if w["risk"] is None else f"{w['risk'][0]} ({figure_of(w['risk'][1])})",
                ]
            )
        out += _lines(["defence", "class that loses most accuracy", "class with most risk"], told)
        for t in region_tables(p):
            f = t["found"]
            out += ["", f"### Regions, base {f['base']}, seed {f['seed']}", ""]
            out += _lines(
                ["region", "parameters", *t["heads"]],
                [
                    [f"**{x['name']}**" if x["chosen"] else x["name"], x["parameters"], *x["cells"]]
                    for x in t["lines"]
                ],
            )
            agree = ", ".join(
                f"{k} {'–' if v is None else format(v, '.2f')}" for k, v in f["agreement"].items()
            )
            out += ["", f"Agreement of the ways (Spearman of D): {agree}. Guarded: bold."]
            if f["why"]:
                out += ["", f"None was guarded: {f['why']}"]
        if p.judged:
            out += ["", "### Statements about PPTP (a reconstruction)", ""]
            said = [
                [v.claim, j.base, j.variant, v.outcome, v.why]
                for j in p.judged
                for v in j.verdicts
            ]
            out += _lines(["statement", "base", "variant", "outcome", "figures"], said)
            out += ["", "Why:", "", *(f"- {sentence}" for sentence in why(p))]
        for f in p.failed:
            out += ["", f"Left out: {f['label']} (seed {f['seed']}): {f['failed']}"]
        out.append("")
    return "\n".join(out)
