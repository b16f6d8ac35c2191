"""`attack` on parts of a pool: within slices, how much of a set was used, whether any of a range was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from seepage.cli.console import console, errors
from seepage.cli.figures import interval, rate
from seepage.cli.sample_files import named_samples, values_of_samples
from seepage.errors import InputError

if TYPE_CHECKING:
    from seepage.array_types import AnyArray
    from seepage.attacks import Attack
    from seepage.attacks.usage import Usage
    from seepage.findings.sets import RangeFinding
    from seepage.findings.slices import SliceFinding
    from seepage.metrics import Estimate, Unit
    from seepage.probes import Probe
    from seepage.store import Run

__all__ = [
    "found_ranges",
    "found_used",
    "found_within",
    "print_ranges",
    "print_used",
    "print_within",
    "slice_values",
]


def found_within(
    run: Run,
    chosen: Sequence[Attack],
    by: Sequence[str],
    factory: str | None,
    unit: Unit,
    known: Sequence[str],
    probes: Sequence[Probe] = (),
) -> list[SliceFinding]:
    """Each attack within the parts of each division. known: ids of samples that are left out too."""
    from seepage.findings.judging import Judging
    from seepage.findings.slices import divided, slices_of_values
    from seepage.findings.subjects import by_unit
    from seepage.metrics import Samples
    from seepage.scoring import score

    names, files = slice_values(by, run.ids.tolist(), known)
    counted, who = by_unit(run, unit)
    judging = Judging.of(counted, Samples())
    data = run.data() if names else None
    out = []
    for attack in chosen:
        with errors.status("scoring"):
            scores = score(run, attack, model=factory, unit=unit, probes=probes)
            out += [
                divided(counted, scores, judging, attack.title, n, data=data, unit=who)
                for n in names
            ]
            out += [
                slices_of_values(values, scores, judging, attack.title, n, unit=who)
                for n, values in files.items()
            ]
    return out


def print_within(found: Sequence[SliceFinding], when: str = ", last checkpoint") -> None:
    """A table for each attack and division."""
    for f in found:
        console.print(_slice_table(f, when))
        console.print(f.words, markup=False, soft_wrap=True)


def slice_values(
    by: Sequence[str], ids: Sequence[str], known: Sequence[str] | None = None
) -> tuple[list[str], dict[str, AnyArray]]:
    """Names among what --by was given, and of its files the values, numbers where all are."""
    import numpy as np

    names: list[str] = []
    files: dict[str, AnyArray] = {}
    for text in dict.fromkeys(by):
        if not text.lower().endswith(".csv"):
            names.append(text)
            continue
        name, values = values_of_samples(text, "--by", ids, known)
        if name in files:
            raise InputError(f"--by: expected names that differ, got {name!r} of two files")
        try:
            numbers = np.array([float(v) if v else math.nan for v in values.tolist()])
        except ValueError:
            files[name] = values
        else:
            files[name] = np.where(np.isfinite(numbers), numbers, math.nan)
    return names, files


def _slice_table(f: SliceFinding, when: str) -> Table:
    table = Table(title=f"{escape(f.attack)} by {escape(f.by)}{when}")
    table.add_column(escape(f.by))
    at = f"{100 * f.fpr:g} %"
    for column in ("samples", "AUC", f"TPR, one threshold at {at}", "FPR, the same", f"TPR, own at {at}"):  # fmt: skip
        table.add_column(column, justify="right")
    for p in f.parts:
        name = escape(p.name) + (f"\n[dim]{escape(', '.join(p.joined))}[/]" if p.joined else "")
        if p.found is None:
            table.add_row(name, f"{p.samples:,.0f}", f"[dim]{escape(p.why)}[/]", "–", "–", "–")
            continue
        s = p.found
        table.add_row(
            name, f"{s.samples:,.0f}", interval(s.auc), *(_share(e) for e in (s.tpr, s.fpr, s.own))
        )
    return table


def _share(e: Estimate) -> str:
    return "[dim]too few[/]" if math.isnan(e.mean) else interval(e)


def found_used(
    run: Run,
    chosen: Sequence[Attack],
    file: str,
    factory: str | None,
    probes: Sequence[Probe] = (),
) -> dict[str, Usage]:
    """How much of a set each model was trained on, by each attack."""
    from seepage.findings.sets import used

    subset = named_samples(file, "--used", run.ids.tolist())
    with errors.status("scoring"):
        return {a.name: used(run, a, subset, model=factory, probes=probes) for a in chosen}


def print_used(run: Run, by_attack: Mapping[str, Usage]) -> None:
    """A table for each attack."""
    from seepage.findings.judging import target_row

    target = target_row(run)
    for name, found in by_attack.items():
        table = Table(
            title=f"share of {found.size:,} samples that a model was trained on, by {escape(name)}"
        )
        for column in ("run", "estimate", "95 % interval", "by the plan"):
            table.add_column(column, justify="right")
        rows = range(len(found.share)) if target is None else [target]
        for r in rows:
            table.add_row(
                str(int(run.models[r])),
                f"{found.share[r]:.3f}",
                f"{found.low[r]:.3f} to {found.high[r]:.3f}",
                f"{found.truth[r]:.3f}",
            )
        console.print(table)
        if target is None:
            console.print(
                f"{100 * found.covered:.0f} % of the intervals hold the share of the plan; debiased by "
                "references alone (a reconstruction of DUCI)",
                soft_wrap=True,
            )


def found_ranges(
    run: Run,
    chosen: Sequence[Attack],
    file: str,
    keep: float,
    factory: str | None,
    probes: Sequence[Probe] = (),
) -> tuple[str, list[RangeFinding]]:
    """What ranges are called, and whether any sample of each was trained on, by each attack."""
    import numpy as np

    from seepage.findings.sets import ranges_found

    name, values = values_of_samples(file, "--ranges", run.ids.tolist())
    rows = np.flatnonzero(values != "")
    codes = np.unique(values[rows], return_inverse=True)[1].astype(np.int64)
    with errors.status("scoring"):
        return name, [
            ranges_found(run, a, rows, codes, keep=keep, model=factory, probes=probes)
            for a in chosen
        ]


def print_ranges(name: str, by_attack: Sequence[RangeFinding]) -> None:
    """One row for each attack."""
    found = by_attack[-1]
    table = Table(
        title=f"whether any sample of a range was trained on: {found.ranges:,} ranges of {found.size} "
        f"by {escape(name)}, {found.inside:,.0f} of them with members"
    )
    table.add_column("attack")
    for column in ("AUC", "TPR at 1 % FPR, pooled", "TPR at 0.1 % FPR, pooled"):
        table.add_column(column, justify="right")
    for f in by_attack:
        table.add_row(escape(f.attack), interval(f.auc), *(rate(r) for r in f.rates))
    console.print(table)
    console.print(
        f"a range's score is the mean of the highest {100 * found.keep:g} % of its scores (a reconstruction "
        "of RaMIA)",
        soft_wrap=True,
    )
