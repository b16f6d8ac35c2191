"""What attacks on kept models cost: said before they measure, and refused beyond a budget."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seepage.cli.arguments import options_of
from seepage.cli.console import errors
from seepage.cli.cost import span
from seepage.errors import InputError

if TYPE_CHECKING:
    from seepage.attacks import Attack
    from seepage.probes import Probe
    from seepage.scoring import Cost
    from seepage.store import Run

__all__ = ["Budget", "announce", "budget_of", "chosen_probes"]

_SECONDS = {"s": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0}
_QUERIES = ("query", "querie")

Budget = tuple[float, bool]
"""A limit, and whether it is one of queries; else of seconds."""


def budget_of(text: str | None) -> Budget | None:
    """Seconds or queries, from what a person writes.

    >>> budget_of("10 minutes"), budget_of("1e6 queries"), budget_of("2h")
    ((600.0, False), (1000000.0, True), (7200.0, False))
    """
    if text is None:
        return None
    found = re.fullmatch(r"\s*([0-9.]+(?:e\+?\d+)?)\s*([a-z]+)\s*", text.lower())
    unit = "" if found is None else found[2].removesuffix("s") or found[2]
    known = unit in _SECONDS or unit in _QUERIES
    try:
        value = float(found[1]) if found is not None and known else math.nan
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(
            f"--budget: expected a time or a number of queries, as '10 minutes' or '1e6 queries', "
            f"got {text!r}"
        )
    return (value, True) if unit in _QUERIES else (value * _SECONDS[unit], False)


def chosen_probes(
    run: Run, chosen: Sequence[Attack], factory: str | None, given: Sequence[str] | None
) -> tuple[Probe, ...]:
    """Probes with the options of --option, of those that these attacks have to measure with."""
    options = options_of(list(given or ()))
    if not options:
        return ()
    from seepage.probes.options import with_options
    from seepage.probes.registry import probes_of
    from seepage.scoring import Measured, ready

    found = (ready(run, attack, model=factory)[1] for attack in chosen)
    names = [n for source in found if isinstance(source, Measured) for n in source.names]
    try:
        return with_options(probes_of(names), options)
    except InputError as error:
        raise InputError(f"--option: {error}") from None


def announce(
    run: Run,
    chosen: Sequence[Attack],
    factory: str | None,
    budget: Budget | None,
    probes: Sequence[Probe] = (),
) -> None:
    """Print what will be measured on kept models and what it takes; raise where it is too much."""
    from seepage.scoring import cost, passes, ready

    for attack in chosen:
        # Raises before anything is measured for the others.
        ready(run, attack, model=factory, probes=probes)
    wanted = passes(run, chosen, model=factory, probes=probes)
    if wanted is None:
        return
    with errors.status("timing a first batch"):
        rates = cost(run, wanted, model=factory)
    seconds, queries = rates.seconds(), wanted.queries()
    shape = (
        f"{wanted.models:,} models × {wanted.samples:,} samples"
        f"{f' × {len(wanted.checkpoints)} checkpoints' if len(wanted.checkpoints) > 1 else ''}"
    )
    names, what = ", ".join(p.name for p in wanted.probes), "kept weights"
    if not any(p.asks for p in wanted.probes):
        what = "inputs and recorded answers"
    errors.print(
        f"note: measuring {names} on {what}: {shape} × "
        f"{wanted.per_sample()} queries or passes = {queries:,}, about {span(seconds)} here",
        markup=False,
        soft_wrap=True,
    )
    if budget is not None:
        _within(budget, rates)


def _within(budget: Budget, rates: Cost) -> None:
    """Raise InputError where the pass takes more than the budget, naming the attacks that fit by themselves."""
    limit, counts = budget
    wanted, seconds = rates.wanted, rates.seconds()
    queries = wanted.queries()
    needed = float(queries) if counts else seconds
    if needed <= limit:
        return
    fits = [
        name
        for name, probes in wanted.attacks.items()
        if (wanted.queries(probes) if counts else rates.seconds(probes)) <= limit
    ]
    say = (lambda v: f"{v:,.0f} queries") if counts else span
    if fits:
        remedy = f"within it by itself: {', '.join(fits)}"
    else:
        least = min(
            wanted.queries(p) if counts else rates.seconds(p) for p in wanted.attacks.values()
        )
        remedy = f"the least of these attacks takes {say(least)}"
    raise InputError(
        f"--budget: expected attacks that take at most {say(limit)}, got about {say(needed)} for "
        f"{', '.join(wanted.attacks)}; {remedy}"
    )
