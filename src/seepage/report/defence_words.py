"""A comparison of defences in words: cells of its tables, and sentences by stated rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from seepage.comparison.results import UNDEFENDED, PoolResults, Row
from seepage.findings import defences
from seepage.findings.defences import auc_key, canary_key, tpr_key
from seepage.metrics import Estimate
from seepage.report.words import number

__all__ = [
    "beside_private", "columns_of", "figure_of", "machines", "missing", "other_machines",
    "region_tables", "rules_before", "terminal_columns", "why",
]  # fmt: skip

Column = tuple[str, Callable[[PoolResults, Row], str]]


def figure_of(e: Estimate, digits: int = 3) -> str:
    """A mean with its interval.

    >>> figure_of(Estimate(0.5, 0.4, 0.6, 0.95, 8))
    '0.500 [0.400, 0.600]'
    """
    if not np.isfinite(e.mean):
        return "–"
    if not np.isfinite(e.low):
        return number(e.mean, digits)
    return f"{e.mean:.{digits}f} [{e.low:.{digits}f}, {e.high:.{digits}f}]"


def _epsilon(row: Row) -> str:
    """What the accountant gave; a dash for defences without one."""
    f = row.facts
    if "epsilon_holds" not in f:
        return "–"
    beside = f"δ {f['delta']:g}"
    if "epsilon_rdp" in f:
        beside += f", by Rényi accounting {_bound(f['epsilon_rdp'])}"
    why = (
        f"not a guarantee: {f['epsilon_why_not']}"
        if f.get("epsilon_why_not")
        else "not a guarantee"
    )
    return f"{_bound(f['epsilon'])} ({beside})" + ("" if f["epsilon_holds"] else f" {why}")


def _bound(value: float | None) -> str:
    return "∞" if value is None else f"{value:.2f}"


def _epsilon_low(row: Row) -> str:
    """The lower bound, marked where so many guesses could not have shown more."""
    value = number(row.facts.get("epsilon_low", float("nan")), 2)
    guesses = row.facts.get("epsilon_ceiling")
    return value if guesses is None else f"{value} (the most that {guesses} guesses can show)"


def _times(e: Estimate, digits: int = 2) -> str:
    """A ratio.

    >>> _times(Estimate(2.0, 1.9, 2.1, 0.95, 8))
    '2.00×'
    """
    return f"{e.mean:.{digits}f}×" if np.isfinite(e.mean) else "–"


def _short(e: Estimate, digits: int = 3) -> str:
    """A mean and half its interval, for a terminal.

    >>> _short(Estimate(0.5, 0.4, 0.6, 0.95, 8))
    '0.500±0.100'
    """
    if not np.isfinite(e.mean):
        return "–"
    half = "" if not np.isfinite(e.low) else f"±{(e.high - e.low) / 2:.{digits}f}"
    return f"{e.mean:.{digits}f}{half}"


def _rate(p: PoolResults, row: Row, metric: str, digits: int) -> str:
    """A TPR with its interval, what it reads without leakage and the FPR that was realised."""
    n = row.non_members.get(metric.split("/")[-2], 0)
    if n > 0 and p.fprs[-1] * (n + 1) < 1:
        return f"cannot be resolved with {n:,} non-members"
    shown = figure_of(row.estimate(metric), digits)
    known = ((name, of.get(metric)) for name, of in (("null", row.null), ("FPR", row.realised)))
    beside = ", ".join(f"{name} {value:.2g}" for name, value in known if value is not None)
    return f"{shown} ({beside})" if beside and shown != "–" else shown


def terminal_columns(p: PoolResults) -> list[Column]:
    """What fits a terminal; the page holds the rest."""
    low = p.fprs[-1]
    out: list[Column] = [
        ("accuracy", lambda _, r: _short(r.estimate("accuracy_out"))),
        ("AUC", lambda q, r: _short(r.estimate(auc_key(q)))),
        (
            f"TPR at {100 * low:g} %{_null_of(p)}",
            lambda q, r: _short(r.estimate(tpr_key(q)), 4),
        ),
        ("canaries", lambda q, r: _short(r.estimate(canary_key(q)))),
        ("cost", lambda _, r: _times(r.estimate("passes" if r.has("passes") else "cost"), 1)),
    ]
    return [(name, cell) for name, cell in out if any(cell(p, r) != "–" for r in p.rows)]


def _null_of(p: PoolResults) -> str:
    null = p.undefended.null.get(tpr_key(p))
    return "" if null is None else f" (null {null:.2g})"


def columns_of(p: PoolResults) -> list[Column]:
    """The main table: what every row says, in the order of reading."""
    low = p.fprs[-1]
    shown = f"{100 * low:g} %"
    second = next((a for a in ("rmia", "lira") if a != p.main), None)
    out: list[Column] = [
        ("accuracy, non-members", lambda _, r: figure_of(r.estimate("accuracy_out"))),
        ("members", lambda _, r: number(r.estimate("accuracy_in").mean)),
        (f"AUC ({p.main})", lambda q, r: figure_of(r.estimate(auc_key(q)))),
        (f"TPR at {shown} FPR", lambda q, r: _rate(q, r, tpr_key(q), 4)),
        (f"canaries: TPR at {shown} FPR", lambda q, r: _rate(q, r, canary_key(q), 3)),
        ("canaries: AUC", lambda q, r: figure_of(r.estimate(canary_key(q, "auc")))),
        ("non-adaptive AUC",
         lambda q, r: number(r.estimate(auc_key(q, kind="static")).mean)),
    ]  # fmt: skip
    if second is not None and p.undefended.has(auc_key(p, second)):
        out.append((f"AUC ({second})", lambda _, r: number(r.estimate(auc_key(p, second)).mean)))  # fmt: skip
    out += [
        ("ECE", lambda _, r: number(r.estimate("ece").mean)),
        ("accuracy, FGSM", lambda _, r: number(r.estimate("fgsm").mean)),
        # Fleets shared machines, so seconds do not compare; they are in the files next to the page.
        ("cost", lambda _, r: _times(r.estimate("passes" if r.has("passes") else "cost"))),
        ("ε of the accountant", lambda _, r: _epsilon(r)),
        ("ε at least", lambda _, r: _epsilon_low(r)),
        ("seeds", lambda _, r: str(len(r.seeds))),
    ]
    return [(name, cell) for name, cell in out if any(cell(p, r) != "–" for r in p.rows)]


def region_tables(p: PoolResults) -> list[dict[str, Any]]:
    """What each region carries, by each way of locating it: heads, and cells of every line."""
    out = []
    for found in p.regions:
        heads = [
            f"{way}: {what}"
            for way in found["tables"]
            for what in ("utility carried ΔU", "risk carried ΔP", "D")
        ]
        if found["layers"] is not None:
            heads.append("layers: MCR of the effective rank")
        lines = []
        for line in defences.region_lines(found):
            cells: list[str] = []
            for utility, risk, score in line.carried:
                cells += [figure_of(utility), figure_of(risk), number(score, 2)]
            if line.layers is not None:
                cells.append(number(line.layers))
            lines.append({"line": line, "cells": cells})
        out.append({"found": found, "lines": lines, "heads": heads})
    return out


def machines(p: PoolResults) -> str:
    """Which fleets were trained on what, in one sentence; the rarer machines list their rows."""
    held: dict[str, list[str]] = {}
    for row in p.rows:
        held.setdefault(_machine(row), []).append(row.label)
    ranked = sorted(held.items(), key=lambda item: -len(item[1]))
    told = [
        f"{name} ({len(labels)} row{'' if len(labels) == 1 else 's'}{'' if k == 0 else ': ' + ', '.join(labels)})"
        for k, (name, labels) in enumerate(ranked)
    ]
    return f"Trained on {'; '.join(told)}."


def _machine(row: Row, seeds: Sequence[int] = ()) -> str:
    """What its fleets of these seeds (of all) were trained on."""
    return " and ".join(
        sorted({name for seed, name in row.facts["machines"].items() if not seeds or seed in seeds})
    )


def other_machines(p: PoolResults) -> list[str]:
    """Fleets that were trained on two machines: whether the figures agree."""
    return [
        f"`{row.label}` trained again on {_machine(row)} instead of {_machine(first, row.seeds)}: "
        f"{_change(c)}: "
        + (
            "**they differ**."
            if c.better or c.worse
            else "no difference beyond what the intervals allow."
        )
        for row, first, c in defences.retrained(p)
    ]


def missing(p: PoolResults, pools: Sequence[PoolResults]) -> list[str]:
    """What was trained on other pools and not on this one; regions are each pool's own."""
    here = {r.label for r in p.rows} | {str(f["label"]) for f in p.failed}
    wanted = [r.label for q in pools for r in q.rows if r.defense["name"] != "pptp"]
    absent = [label for label in dict.fromkeys(wanted) if label not in here]
    return [f"Not trained on this pool: {', '.join(absent)}."] if absent else []


def beside_private(p: PoolResults) -> str | None:
    """Every row compared with the DP-SGD of highest accuracy, in one sentence; None without DP-SGD."""
    found = defences.beside_private(p)
    if found is None:
        return None
    said = [
        f"{words} {', '.join(f'`{r.label}`' for r in rows)}"
        for words, rows in (
            ("better in accuracy or AUC and worse in neither:", found.better),
            ("better in one and worse in the other:", found.mixed),
            ("no difference shown:", found.equal),
        )
        if rows
    ]
    if found.worse:
        said.append(f"worse in accuracy or AUC and better in neither: {len(found.worse)} more")
    label = found.reference.label
    return f"Compared with `{label}`, the DP-SGD of highest accuracy: {'; '.join(said)}."


def why(p: PoolResults) -> list[str]:
    """What region tables, bases and shorter trainings say about PPTP, in sentences."""
    return [*_located(p), *_bases(p), *_parts(p), *_shorter(p)]


def rules_before(row: Row) -> str:
    """What is said of a row whose defence has other rules since it was trained."""
    if row.before and row.defense["name"] == "memguard":
        return (
            "; trained before MemGuard was as released: 50 search steps, a detector of logits, noise "
            "told also where it did not help"
        )
    if "epsilon_holds" in row.facts and "accountant" not in row.facts:
        return (
            "; trained when gradients of single samples were wrong in convolutions, whose memory lies "
            "channels last: ε is not touched by it, accuracy and risk are to be measured again"
        )
    return ""


def _change(c: defences.Change) -> str:
    return f"accuracy {_signed(c.accuracy)}, AUC {_signed(c.auc)}"


def _signed(e: Estimate) -> str:
    return f"{e.mean:+.3f} [{e.low:+.3f}, {e.high:+.3f}]"


def _located(p: PoolResults) -> Iterator[str]:
    """Whether utility and risk are in different regions, and how much of either the protected regions carry."""
    for f in p.regions:
        told = []
        for c in defences.carried(f):
            where = (
                f"both peak in {c.utility_peak}"
                if c.utility_peak == c.risk_peak
                else f"utility peaks in {c.utility_peak}, risk in {c.risk_peak}"
            )
            part = ""
            if c.shares is not None:
                part = (
                    f"; the protected {', '.join(f['chosen'])} carries {c.shares[0]:.0%} of the risk "
                    f"that lies in single regions and {c.shares[1]:.0%} of the utility"
                )
            rank = "–" if c.separation is None else f"{c.separation:.1f}"
            told.append(f"by {c.way} {where} (rank correlation of the profiles {rank}){part}")
        yield f"Base {f['base']}, seed {f['seed']}: " + "; ".join(told) + "."


def _bases(p: PoolResults) -> Iterator[str]:
    """What each base does on the whole network: to beat a base that fails shows nothing."""
    for row, c in defences.everywhere(p):
        said = f"{row.label} everywhere against undefended: {_change(c)}."
        if "AUC" in c.worse:
            said += (
                " Against this attacker it is no defence: a variant of PPTP can leak less than it for "
                "the sole reason that it applies it to less of the network."
            )
        yield said


def _parts(p: PoolResults) -> Iterator[str]:
    """Everywhere, regions, complement and random regions: which lie on their Pareto front."""
    for base, variant, parts in defences.parts(p):
        figures = ", ".join(
            f"{f'**{x.kind}**' if x.on_front else x.kind} {x.accuracy:.3f} / {x.auc:.3f}"
            for x in parts
        )
        said = f"{base}, {variant} (accuracy / AUC; bold: on the Pareto front of these): {figures}."
        unstable = [x.kind for x in parts if x.unstable]
        if unstable:
            said += (
                f" Training was unstable in {', '.join(unstable)}: the standard deviation of accuracy "
                f"over pairs of runs exceeds {defences.UNSTABLE:g}."
            )
        yield said


_REASON = {
    "two-phase": "the complement is nearly the whole network and trains in the second phase only",
    "alternating": "alternating trains everything without the defence in half of the epochs only",
}


def _shorter(p: PoolResults) -> Iterator[str]:
    """Fleets that differ from another in length alone, compared with parts of PPTP."""
    whole = p.undefended.setting["epochs"]
    for s in defences.shorter(p):
        same = ""
        if s.same is not None and s.long.label != UNDEFENDED:
            same = f" It has the figures of `{s.same.label}`: in so few epochs it changes nothing."
        label = s.short.label
        yield (
            f"`{label}` of {whole}: accuracy {s.short.estimate('accuracy_out').mean:.3f}, AUC "
            f"{s.short.estimate(auc_key(p)).mean:.3f}; against all {whole} epochs {_change(s.change)}.{same}"
        )
        for row, role, c in s.against:
            verdict = "; ".join(
                f"{how} in {' and '.join(names)}"
                for how, names in (("better", c.better), ("worse", c.worse))
                if names
            )
            yield (
                f"`{row.label}` against `{label}`: {_change(c)}: {verdict or 'no difference'}; "
                f"{_REASON[role['variant']]}."
            )
