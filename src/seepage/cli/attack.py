"""`attack`, `check`: how well attacks identify the members of a run, and a limit on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
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
    gated_run,
    judged_run,
    judged_unit,
)
from seepage.cli.console import console, errors
from seepage.cli.figures import interval, rate
from seepage.cli.gate import AUC, check_one, ended, holds, limits_of
from seepage.errors import InputError

if TYPE_CHECKING:
    from seepage.array_types import Float64Array
    from seepage.attacks import Attack
    from seepage.metrics import Estimate, Unit
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


@app.command()
def check(
    run: Annotated[
        str,
        typer.Argument(
            help="A run folder, an s3:// address, or the .json of one model's audit.",
        ),
    ],
    attack: Annotated[
        list[str] | None,
        typer.Option(
            "--attack",
            "-a",
            help="Judge by this attack too: a name, or 'package.module:Name'. Repeatable.",
        ),
    ] = None,
    max_auc: Annotated[float | None, typer.Option(help="Upper end of AUC's interval.")] = None,
    max_tpr: Annotated[
        float | None, typer.Option(help="Upper end of the TPR's interval at --fpr.")
    ] = None,
    fpr: Annotated[float, typer.Option(help="False-positive rate of --max-tpr.")] = 0.001,
    factory: Factory = None,
    unit: UnitName = None,
    released_as: ReleasedAs = None,
    learnt_nothing: Annotated[
        bool,
        typer.Option(
            "--learnt-nothing",
            help="Judge models too whose answers tell nothing of their members' labels: they truly learnt "
            "nothing, and labels and inputs are those of the training.",
        ),
    ] = False,
) -> None:
    """Gate a pipeline: exit status 1 when the measured risk may exceed the limits.

    Every attack that the recorded signals allow is run, and the strongest one is judged, the one
    that the report names too; attacks passed by name are judged and printed beside it. The *upper*
    end of the 95 % interval is compared, so that too few models fail rather than pass, and the
    largest upper end of all attacks, so that choosing among them hides nothing. Of a run with a
    fixed target that target is judged. A rate that so few non-members cannot resolve fails. With
    --as the models are judged as they are released, the strongest attack on the worst variant.
    Where members' answers tell nothing of their labels, these or the inputs may be of another
    order, and no figure says anything: no limit holds, unless --learnt-nothing is given.

    Of one model, what `seepage audit MODEL … --out one.html` (or --json) wrote is judged by the same
    rule; one that was changed since is refused, and one without a verdict does not hold.

    Examples:

        seepage check runs/digits --max-auc 0.6 --max-tpr 0.01

        seepage check one.json --max-auc 0.6
    """
    from seepage.attacks import ATTACKS
    from seepage.config.prepare import chosen_attacks
    from seepage.findings.judging import Judging
    from seepage.findings.subjects import by_unit
    from seepage.findings.unjudged import unjudged
    from seepage.metrics import Samples

    limits = limits_of(max_auc, max_tpr, fpr)
    if run.lower().endswith(".json"):
        other = {"--model": factory, "--unit": unit, "--as": released_as}
        given = [o for o, value in other.items() if value]
        check_one(run, limits, fpr, attack or [], given, learnt_nothing=learnt_nothing)
        return
    named = list(chosen_attacks(attack, attack[0])) if attack else []
    whole, why = gated_run(run, learnt_nothing=learnt_nothing)
    asked = {a.name for a in named}
    others = [c() for n, c in ATTACKS.items() if n not in asked]
    judged = judged_unit(whole, unit)
    if released_as:
        from seepage.cli.variants import every_as_released

        part, asked_for, scores, skipped, left_out = every_as_released(
            whole, released_as, named, others, factory, judged
        )
        counted, who = by_unit(part, judged)
    else:
        without = unjudged(whole, [*named, *others])
        part, named = without.part(whole), without.attacks(named)
        counted, who = by_unit(part, judged)
        with errors.status("scoring"):
            scores, skipped = _every(part, named, others, factory, who)
        asked_for, left_out = [a.name for a in named], without.words
    judging = Judging.of(counted, Samples())
    wide = 1 - 0.05 / len(scores)
    failed = []
    for name, limit in limits.items():
        found: dict[str, tuple[Estimate, Estimate]] = {}
        words = {}
        for a, values in scores.items():
            if name == AUC:
                near, far = judging.auc(values, 0.95, wide)
                found[a] = near, far
                words[a] = interval(found[a][0])
                continue
            (at,), (wider,) = (judging.pooled(values, [fpr], level) for level in (0.95, wide))
            if not at.resolved:
                (at,), (wider,) = (judging.rates(values, [fpr], level) for level in (0.95, wide))
            found[a] = at.tpr, wider.tpr
            words[a] = rate(at).replace("\n", " ")
        if not holds(name, limit, found, words, asked_for, about(who), verdict=not why):
            failed.append(name)
    if judging.target is not None:
        console.print(f"judged: the fixed target, run 0, by {len(part.models) - 1} shadows")
    if left_out:
        console.print(left_out, markup=False, soft_wrap=True)
    if skipped:
        console.print(f"not run: {', '.join(sorted(skipped))}", markup=False)
    ended(run, failed, why)


def _every(
    run: Run, named: Sequence[Attack], others: Sequence[Attack], factory: str | None, unit: Unit
) -> tuple[dict[str, Float64Array], dict[str, str]]:
    """Scores, (R, N) or of subjects (R, G), of all that are named and of every other that applies; why the rest do not."""
    from seepage.attacks.binding import ReadOnce
    from seepage.scoring import applicable, score

    chosen, skipped = applicable(run, others)
    scores = {a.name: score(run, a, model=factory, unit=unit) for a in named}
    source = ReadOnce(run)
    for a in chosen:
        try:
            scores[a.name] = score(source, a, unit=unit)
        except InputError as error:
            skipped[a.name] = str(error)
    if not scores:
        first, why = next(iter(skipped.items()))
        raise InputError(
            f"{run.path}: expected a run that some attack can be run on, got one where {first} {why}"
        )
    return scores, skipped
