"""The limits of `check`, its lines, and one model's result in the place of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from seepage.cli.console import console, errors
from seepage.cli.figures import interval, rate
from seepage.errors import CheckFailed, InputError, nearest
from seepage.local_paths import local_path

if TYPE_CHECKING:
    from seepage.config.limits import Limits
    from seepage.findings.at_fpr import AtFpr
    from seepage.findings.gate import Judged
    from seepage.metrics import Estimate

__all__ = ["ended", "judged_one", "limits_of", "print_judged", "say_warning"]

_FORMAT = "seepage.single/1"


def limits_of(
    file: str | None,
    *,
    max_auc: float | None,
    max_tpr: Sequence[str],
    fpr: float,
    max_eps: float | None,
    delta: float | None,
    max_exposed: str | None,
) -> Limits:
    """The limits that were passed and those of a file; a note where one of the file is replaced."""
    from seepage.config.limits import Limits, TprLimit, overridden, read_limits

    if not 0 <= fpr <= 1:
        raise InputError(f"--fpr: expected a value in 0..1, got {fpr}")
    given: dict[str, Any] = {
        "max_auc": max_auc,
        "max_eps": max_eps,
        "delta": delta,
        "max_exposed": None if max_exposed is None else _count_or_share(max_exposed),
    }
    try:
        rates = []
        for text in max_tpr:
            (one,) = Limits(max_tpr=text).max_tpr
            rates.append(one if "@" in text else TprLimit(tpr=one.tpr, fpr=fpr))
        given["max_tpr"] = tuple(rates) or None
        limits = Limits(**{name: v for name, v in given.items() if v is not None})
    except InputError as error:
        # Named as they were given: "limits.max_auc" is --max-auc.
        field, _, rest = str(error).removeprefix("limits.").partition(":")
        option = "--" + field.partition(".")[0].replace("_", "-")
        raise InputError(f"{option}:{rest}") from None
    if file is not None:
        limits, replaced = overridden(read_limits(Path(local_path(file, "--limits"))), limits)
        for told in replaced:
            errors.print(f"note: {file}: {told}, by the command line", markup=False, soft_wrap=True)
    if not limits.stated:
        raise InputError(
            "check: expected a limit, got none; pass --max-auc, --max-tpr, --max-eps, --max-exposed or "
            "--limits"
        )
    return limits


def _count_or_share(text: str) -> int | float:
    try:
        return int(text) if re.fullmatch(r"\d+", text, re.ASCII) else float(text)
    except ValueError:
        raise InputError(
            f"--max-exposed: expected a count such as 5, or a share such as 0.05, got {text[:80]!r}"
        ) from None


def print_judged(judged: Sequence[Judged], of_whom: str, why: str = "") -> None:
    """A line for every attack that was compared, and one for a limit that is not on attacks.

    why: there is no verdict, or "": then it is said first, and "no verdict" of every figure, which
    says nothing whether it lies below its limit or above.
    """
    from seepage.findings.at_fpr import AtFpr

    if why:
        console.print(f"no verdict: {why}", markup=False, soft_wrap=True)
    holds, fails = ("no verdict", "no verdict") if why else ("holds", "does not hold")
    for j in judged:
        for r in j.rows:
            words = _words(r.measured)
            near = r.measured.tpr if isinstance(r.measured, AtFpr) else r.measured
            shown = interval(r.estimate) if math.isfinite(r.estimate.mean) else words
            if r.strongest_of and math.isfinite(near.mean):
                # What stands behind the interval of a rate: its null and realised FPR.
                shown += words.removeprefix(interval(near))
            of = f", strongest of {r.strongest_of}" if r.strongest_of else ""
            console.print(
                f"{escape(r.attack)}{of_whom}{of}: {j.name} {shown}, limit {j.limit:g}: "
                f"{holds if r.held else fails}"
            )
        if j.untold:
            why = _words(next(iter(j.untold.values())))
            console.print(f"without a figure: {escape(', '.join(j.untold))} ({why})")
        if not j.rows:
            console.print(f"{j.why}: {holds if j.holds else fails}", markup=False, soft_wrap=True)


def _words(measured: Estimate | AtFpr) -> str:
    from seepage.findings.at_fpr import AtFpr

    return rate(measured).replace("\n", " ") if isinstance(measured, AtFpr) else interval(measured)


def judged_one(
    path: str,
    limits: Limits,
    asked: Sequence[str],
    other: Sequence[str],
    *,
    learnt_nothing: bool = False,
) -> tuple[tuple[Judged, ...], str]:
    """Limits on what `seepage audit MODEL` wrote of one model, printed; and why there is no verdict, or "".

    other: options that are of runs alone. learnt_nothing: judge a model too whose answers tell
    nothing of its members' labels, or one that is at chance, and right more often, but not nearly
    always, on inputs that are prepared otherwise.

    Raises InputError for a file of another kind, one that was changed since, a rate that it does
    not hold, and a limit on ε, of which it says nothing.
    """
    from seepage.findings.gate import judge_rate
    from seepage.metrics.own_labels import UNFIT
    from seepage.store.result_files import read_result

    if limits.max_eps is not None:
        other = [*other, "--max-eps"]
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
    # The audit puts it among the first of its notes.
    unfit = next((n for n in held["notes"] if n.startswith(UNFIT)), "")
    why = "" if learnt_nothing else unfit
    if unfit and not why:
        say_warning(path, unfit)
    # What stands behind the clauses of the headline are the first notes, in the same order.
    for note in held["notes"][: len(held.get("doubts", ()))]:
        if note != unfit:
            say_warning(path, note)
    if held["verdict"] == "refused":
        if learnt_nothing and held.get("may_have_learnt_nothing"):
            say_warning(path, held["headline"])
        else:
            why = held["headline"]
    judged = []
    if limits.max_auc is not None:
        aucs = {a: (_estimate(o["auc"]), _estimate(o["auc_wide"])) for a, o in attacks.items()}
        judged.append(judge_rate("AUC", limits.max_auc, dict(aucs), asked))
    for one in limits.max_tpr:
        rates = {
            a: (_at(path, o["rates"], one.fpr), _at(path, o["rates_wide"], one.fpr))
            for a, o in attacks.items()
        }
        judged.append(judge_rate(f"TPR at {one.fpr:g} FPR", one.tpr, dict(rates), asked))
    if limits.max_exposed is not None:
        judged.append(_exposed_of_one(held, limits.max_exposed))
    print_judged(judged, of_whom, why)
    return tuple(judged), why


def _exposed_of_one(held: Mapping[str, Any], limit: float) -> Judged:
    """Members of one model that its main attack names, at the audit's expected false share."""
    from seepage.findings.gate import Judged, judge_exposed
    from seepage.findings.samples import ExposedAtEnd

    units, naming = held["unit"], held["naming"]
    if naming is None:
        name = f"exposed {units}"
        return Judged(
            name, limit, False, f"{name} may exceed the limit {limit:g}: nobody was tested"
        )
    found = ExposedAtEnd(
        count=sum(1 for u in held[units] if u["member"] and u["named"]),
        of=int(naming["members"]),
        fewest=int(naming["fewest"]),
        level=float(naming["q"]),
        basis=f"{naming['calibration']:,} others that calibrate",
    )
    return judge_exposed(limit, found, units)


def ended(path: str, judged: Sequence[Judged], why: str) -> None:
    """Raise CheckFailed where limits may be exceeded, or where `why` there is no verdict is told."""
    if why:
        raise CheckFailed(f"{path}: no verdict, so that no limit holds: {why}")
    failed = [j.why for j in judged if not j.holds]
    if failed:
        raise CheckFailed(f"{path}: {'; '.join(failed)}")


def say_warning(path: str, text: str) -> None:
    """A warning of what a run or a result says of itself, on standard error."""
    errors.print(f"warning: {path}: {text}", style="bold yellow", markup=False, soft_wrap=True)


def _estimate(told: Mapping[str, Any]) -> Estimate:
    from seepage.metrics import Estimate

    values: dict[str, Any] = {k: math.nan if v is None else v for k, v in told.items()}
    return Estimate(**values)


def _at(path: str, rates: Sequence[Mapping[str, Any]], fpr: float) -> AtFpr:
    """The rate at one FPR, of those that the audit holds."""
    from seepage.findings.at_fpr import AtFpr

    for told in rates:
        if math.isclose(told["fpr"], fpr):
            plain: dict[str, Any] = {
                k: math.nan if v is None else v for k, v in told.items() if k != "tpr"
            }
            return AtFpr(tpr=_estimate(told["tpr"]), **plain)
    known = ", ".join(f"{r['fpr']:g}" for r in rates)
    raise InputError(
        f"--max-tpr: expected an FPR that {path} holds, one of {known}, got {fpr:g}; write LIMIT@FPR"
    )
