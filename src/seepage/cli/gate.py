"""The rule of `check`, and one model's result in the place of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from seepage.cli.console import console, errors
from seepage.cli.figures import interval, rate
from seepage.errors import CheckFailed, InputError, nearest

if TYPE_CHECKING:
    from seepage.findings.result import AtFpr
    from seepage.metrics import Estimate

__all__ = ["AUC", "check_one", "ended", "holds", "limits_of", "say_warning"]

AUC = "AUC"
_FORMAT = "seepage.single/1"


def limits_of(max_auc: float | None, max_tpr: float | None, fpr: float) -> dict[str, float]:
    """The limits that were passed, by the name of the figure."""
    if max_auc is None and max_tpr is None:
        raise InputError("check: expected a limit, got none; pass --max-auc or --max-tpr")
    for name, value in (("--max-auc", max_auc), ("--max-tpr", max_tpr), ("--fpr", fpr)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{name}: expected a value in 0..1, got {value}")
    limits = {AUC: max_auc, f"TPR at {fpr:g} FPR": max_tpr}
    return {name: limit for name, limit in limits.items() if limit is not None}


def holds(
    name: str,
    limit: float,
    found: Mapping[str, tuple[Estimate, Estimate]],
    words: Mapping[str, str],
    asked: Sequence[str],
    of_whom: str,
    *,
    verdict: bool = True,
) -> bool:
    """Whether a figure stays below its limit, printed: of the strongest attack and of those asked for.

    found: attack -> the figure, with its interval and with the one that the choice of the strongest
    needs; words: how each is shown. The upper end is compared, and where there is none, 1. verdict:
    False where a figure below the limit says nothing, and "no verdict" is printed of it.
    """
    told = {a: e for a, e in found.items() if math.isfinite(e[0].mean)}
    untold = [a for a in found if a not in told]
    from seepage.metrics import strongest

    best = strongest(told or found)
    every = True
    for a in dict.fromkeys([best.attack, *asked]):
        chosen = a == best.attack
        e = best.estimate if chosen else found[a][0]
        shown = interval(e) if math.isfinite(e.mean) else words[a]
        if chosen and name != AUC and math.isfinite(e.mean):
            shown += words[a].removeprefix(interval(found[a][0]))
        # Without an interval nothing is known but that no rate exceeds 1.
        held = (e.high if math.isfinite(e.high) else 1.0) <= limit
        of = f", strongest of {best.compared}" if chosen else ""
        console.print(
            f"{escape(a)}{of_whom}{of}: {name} {shown}, limit {limit:g}: "
            f"{('holds' if verdict else 'no verdict') if held else 'does not hold'}"
        )
        every &= held
    if told and untold:
        console.print(f"without a figure: {', '.join(untold)} ({words[untold[0]]})")
    return every


def check_one(
    path: str,
    limits: Mapping[str, float],
    fpr: float,
    asked: Sequence[str],
    other: Sequence[str],
    *,
    learnt_nothing: bool = False,
) -> None:
    """Judge what `seepage audit MODEL` wrote of one model. other: options that are of runs alone.

    learnt_nothing: judge a model too whose answers tell nothing of its members' labels.

    Raises CheckFailed where a limit may be exceeded or the audit has no verdict, InputError for a
    file of another kind, one that was changed since, and a rate that it does not hold.
    """
    from seepage.local_paths import local_path
    from seepage.metrics.own_labels import UNFIT
    from seepage.store.result_files import read_result

    if other:
        raise InputError(
            f"{other[0]}: expected only of a run folder, got it with {path}; leave it out"
        )
    held = read_result(Path(local_path(path, "run")), "write it again with `seepage audit MODEL`")
    if held.get("format") != _FORMAT:
        raise InputError(
            f"{path}: expected what `seepage audit MODEL … --out one.html` writes of one model, format "
            f"{_FORMAT!r}, got {held.get('format')!r}; name that file, or a run folder"
        )
    attacks = {a["name"]: a for a in held["attacks"]}
    for name in asked:
        if name not in attacks:
            raise InputError(
                f"--attack: expected an attack that was run on {path}, got {name!r}; "
                f"{nearest(name, attacks)}"
            )
    of_whom = (
        f", by subject ({held['members'] + held['others']})" if held["unit"] == "subjects" else ""
    )
    # The audit puts it first of its notes.
    unfit = next((n for n in held["notes"] if n.startswith(UNFIT)), "")
    why = "" if learnt_nothing else unfit
    if unfit and not why:
        say_warning(path, unfit)
    if held["verdict"] == "refused":
        why = held["headline"]
    failed = []
    for name, limit in limits.items():
        found, words = {}, {}
        for a, one in attacks.items():
            if name == AUC:
                found[a] = _estimate(one["auc"]), _estimate(one["auc_wide"])
                words[a] = interval(found[a][0])
            else:
                near, far = (_at(path, one[k], fpr) for k in ("rates", "rates_wide"))
                found[a] = near.tpr, far.tpr
                words[a] = rate(near).replace("\n", " ")
        if not holds(name, limit, found, words, asked, of_whom, verdict=not why):
            failed.append(name)
    ended(path, failed, why)


def ended(path: str, failed: Sequence[str], why: str) -> None:
    """Raise CheckFailed where limits may be exceeded, or where `why` there is no verdict is told."""
    if why:
        raise CheckFailed(f"{path}: no verdict, so that no limit holds: {why}")
    if failed:
        raise CheckFailed(f"{path}: {' and '.join(failed)} may exceed the limit")


def say_warning(path: str, text: str) -> None:
    """A warning of what a run or a result says of itself, on standard error."""
    errors.print(f"warning: {path}: {text}", style="bold yellow", markup=False, soft_wrap=True)


def _estimate(told: Mapping[str, Any]) -> Estimate:
    from seepage.metrics import Estimate

    values: dict[str, Any] = {k: math.nan if v is None else v for k, v in told.items()}
    return Estimate(**values)


def _at(path: str, rates: Sequence[Mapping[str, Any]], fpr: float) -> AtFpr:
    """The rate at one FPR, of those that the audit holds."""
    from seepage.findings.result import AtFpr

    for told in rates:
        if math.isclose(told["fpr"], fpr):
            plain: dict[str, Any] = {
                k: math.nan if v is None else v for k, v in told.items() if k != "tpr"
            }
            return AtFpr(tpr=_estimate(told["tpr"]), **plain)
    known = ", ".join(f"{r['fpr']:g}" for r in rates)
    raise InputError(f"--fpr: expected one of {known}, which {path} holds, got {fpr:g}")
