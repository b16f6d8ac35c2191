"""`attack`: how well attacks identify the members of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.markup import escape
from rich.table import Table

from seepage.cli.app import app
from seepage.cli.arguments import (
    AttackNames,
    Factory,
    ReleasedAs,
    RunFolder,
    UnitName,
    about,
    judged_run,
    judged_unit,
)
from seepage.cli.console import console, errors
from seepage.cli.figures import interval, rate
from seepage.errors import InputError

if TYPE_CHECKING:
    from seepage.attacks import Attack
    from seepage.metrics import Unit
    from seepage.store import Run


@app.command()
def attack(
    run: RunFolder,
    name: AttackNames = None,
    factory: Factory = None,
    unit: UnitName = None,
    released_as: ReleasedAs = None,
) -> None:
    """Run attacks on the stored signals and print how well each identifies members.

    Without names, every attack whose signals were recorded. An attack on curvature that is named
    is measured on kept weights when no curvature was recorded.

    Examples:

        seepage attack runs/digits -a lira -a rmia

        seepage attack runs/digits -a mine.attacks:Mine

        seepage attack runs/digits --as label-only --as int8
    """
    from seepage import scoring
    from seepage.config.prepare import chosen_attacks
    from seepage.findings.unjudged import unjudged

    chosen: Sequence[Attack] = chosen_attacks(name, name[0] if name else "lira")
    opened = judged_run(run)
    if released_as:
        from seepage.cli.variants import variants_of

        variants_of(opened, released_as, chosen, factory, judged_unit(opened, unit))
        return
    without = unjudged(opened, chosen)
    part, chosen = without.part(opened), without.attacks(chosen)
    if not name:
        chosen, skipped = scoring.applicable(part, chosen)
        if not chosen:
            first, why = next(iter(skipped.items()))
            raise InputError(
                f"{run}: expected a run that some attack can be run on, got one where {first} {why}"
            )
    who = judged_unit(part, unit)
    console.print(attack_table(part, chosen, factory, who))
    for line in about_subjects(part, who):
        console.print(line, markup=False, soft_wrap=True)
    if without.words:
        console.print(without.words, markup=False, soft_wrap=True)


def attack_table(run: Run, chosen: Sequence[Attack], factory: str | None, unit: Unit) -> Table:
    """One row per attack: AUC and TPR at low FPR with 95 % intervals, what noise reads beside."""
    from seepage.attacks.subjects import centred
    from seepage.findings.judging import Judging
    from seepage.findings.subjects import by_unit
    from seepage.metrics import Samples, Subjects
    from seepage.scoring import score

    counted, unit = by_unit(run, unit)
    judging = Judging.of(counted, Samples())
    sums = isinstance(unit, Subjects)
    who = (
        f"{len(run.models)} models, each the target once"
        if judging.target is None
        else f"the fixed target alone, {len(run.models) - 1} shadows"
    )
    table = Table(title=f"{escape(run.path)}: {who}, last checkpoint{about(unit)}")
    table.add_column("attack")
    plain = ("plain sums",) if sums else ()
    for column in ("AUC", *plain, "TPR at 1 % FPR", "TPR at 0.1 % FPR", "TPR at 0.1 %, pooled"):
        table.add_column(column, justify="right")
    with errors.status("scoring"):
        for a in chosen:
            scores = score(run, a, model=factory, unit=unit)
            (auc,) = judging.auc(scores)
            if sums:
                alone = score(run, a, model=factory)
                (total,) = judging.auc(np.asarray(unit.scores(centred(a, alone)), np.float64))
                plain = (f"{total.mean:.4f}",)
            one, tenth = judging.rates(scores, (0.01, 0.001))
            (pooled,) = judging.pooled(scores, (0.001,))
            table.add_row(
                escape(a.name), interval(auc), *plain, *(rate(r) for r in (one, tenth, pooled))
            )
    return table


def about_subjects(run: Run, unit: Unit) -> list[str]:
    """How many records subjects have, and how alike these are; nothing of samples."""
    from seepage.metrics import Subjects, signal_correlation

    if not isinstance(unit, Subjects):
        return []
    sizes = unit.sizes
    lines = [
        f"{len(unit.codes):,} records of {len(sizes):,} subjects, {sizes.min():,} to "
        f"{sizes.max():,} each (median {np.median(sizes):g}); scores are sums, discounted by how "
        "alike a subject's records are (docs/subjects.md)"
    ]
    if "phi" in run.signals:
        w = signal_correlation(run.signal_at("phi", len(run.checkpoints) - 1), run.member, unit)
        if math.isfinite(w.value):
            lines.append(
                f"correlation of phi within subjects {w.value:.2f} [{w.low:.2f}, {w.high:.2f}], "
                f"between subjects {w.between:.2f}"
            )
    return lines
