"""`attack`: how well attacks identify the members of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from seepage.cli.app import app
from seepage.cli.arguments import (
    AttackNames,
    DividedBy,
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
    from seepage.array_types import Float64Array
    from seepage.attacks import Attack
    from seepage.findings.agreement import AgreementFinding
    from seepage.metrics import Agreement, Unit
    from seepage.store import Run


@app.command()
def attack(
    run: RunFolder,
    name: AttackNames = None,
    factory: Factory = None,
    unit: UnitName = None,
    released_as: ReleasedAs = None,
    by: DividedBy = None,
    used: Annotated[
        str | None,
        typer.Option(
            "--used",
            help="How much of a set each model was trained on: a file of sample ids, one a line.",
        ),
    ] = None,
    ranges: Annotated[
        str | None,
        typer.Option(
            "--ranges",
            help="Whether any sample of a range was trained on: a CSV file with the columns id and range, "
            "ranges of one size.",
        ),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(
            help="Of --ranges, the share of highest scores that are averaged; 0.5 unless given."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="The most that measuring on kept weights may take, '10 minutes' or '1e6 queries': "
            "what takes more is refused before it begins."
        ),
    ] = None,
) -> None:
    """Run attacks on the stored signals and print how well each identifies members.

    Without names, every attack whose signals were recorded. What a named attack reads and nobody
    recorded, such as curvature or gradients, is measured on kept weights, all of it in one pass;
    what that takes is said first.

    Examples:

        seepage attack runs/digits -a lira -a rmia

        seepage attack runs/digits -a mine.attacks:Mine

        seepage attack runs/digits -a grad-norm --budget "10 minutes"

        seepage attack runs/digits --as label-only --as int8

        seepage attack runs/adult -a lira --by class --by difficulty --by age

        seepage attack runs/digits -a rmia --used asked.txt

    By a part of the pool (--by), of a set (--used) or of ranges (--ranges) it is LiRA unless others are
    named, or, where it cannot be run, the first that can.
    """
    from seepage import scoring
    from seepage.cli.measuring import announce, budget_of
    from seepage.config.prepare import chosen_attacks
    from seepage.findings.unjudged import unjudged

    limit = budget_of(budget)
    chosen: Sequence[Attack] = chosen_attacks(name, name[0] if name else "lira")
    _check_together(unit, released_as, by, used, ranges, keep)
    opened = judged_run(run)
    if released_as and limit is not None:
        raise InputError(
            "--budget: expected without --as, which measures released variants, got both; drop one"
        )
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
    else:
        announce(part, chosen, factory, limit)
    who = judged_unit(part, unit)
    if by or used is not None or ranges is not None:
        from seepage.cli.parts import print_ranges, print_used, within_parts

        some = chosen if name else [next((a for a in chosen if a.name == "lira"), chosen[0])]
        if by:
            within_parts(part, some, by, factory, who, opened.ids.tolist())
        elif used is not None:
            print_used(part, some, used, factory)
        else:
            print_ranges(part, some, str(ranges), 0.5 if keep is None else keep, factory)
        if without.words:
            console.print(without.words, markup=False, soft_wrap=True)
        return
    table, scores = attack_table(part, chosen, factory, who)
    console.print(table)
    _about_names(scores, part, who)
    for line in about_subjects(part, who):
        console.print(line, markup=False, soft_wrap=True)
    if without.words:
        console.print(without.words, markup=False, soft_wrap=True)


def _check_together(
    unit: str | None,
    released_as: Sequence[str] | None,
    by: Sequence[str] | None,
    used: str | None,
    ranges: str | None,
    keep: float | None,
) -> None:
    """Refuse options that say different things of what is judged."""
    given = [
        o
        for o, v in {"--as": released_as, "--by": by, "--used": used, "--ranges": ranges}.items()
        if v
    ]
    if len(given) > 1:
        raise InputError(f"{given[1]}: expected without {given[0]}; call the command twice")
    if unit == "subject" and (used is not None or ranges is not None):
        option = "--used" if used is not None else "--ranges"
        raise InputError(f"--unit subject: expected without {option}, which is about samples")
    if keep is not None and (ranges is None or not 0 < keep <= 1):
        wanted = "with --ranges" if ranges is None else "a share above 0 and at most 1"
        raise InputError(f"--keep: expected {wanted}, got {keep:g}")


def attack_table(
    run: Run, chosen: Sequence[Attack], factory: str | None, unit: Unit
) -> tuple[Table, dict[str, Float64Array]]:
    """One row per attack: AUC and TPR at low FPR with 95 % intervals, what noise reads beside; scores."""
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
    every: dict[str, Float64Array] = {}
    with errors.status("scoring"):
        for a in chosen:
            scores = every[a.name] = score(run, a, model=factory, unit=unit)
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
    return table, every


def _about_names(scores: Mapping[str, Float64Array], run: Run, unit: Unit) -> None:
    """How many of the names are true under priors, by the strongest attack; and how far attacks agree."""
    from seepage.findings.agreement import agreement_of, by_low_fpr
    from seepage.findings.judging import Judging
    from seepage.findings.subjects import by_unit
    from seepage.metrics import PRIORS, Samples

    judging = Judging.of(by_unit(run, unit)[0], Samples())
    for fpr in (0.01, 0.001):
        rates = {a: judging.pooled(s, [fpr])[0] for a, s in scores.items()}
        for best in by_low_fpr(rates)[:1]:
            first, *rest = (
                f"{interval(e)} if {100 * p:g} %"
                for p, e in zip(PRIORS, rates[best].precisions, strict=True)
            )
            console.print(
                f"of those whom {escape(best)} calls members at {100 * fpr:g} % FPR are members: "
                f"{first} of the candidates are, {', '.join(rest)}; without a leak it is that share",
                soft_wrap=True,
            )
    found = agreement_of(scores, judging, most=4)
    if found is not None:
        console.print(_agreement_table(found))


def _agreement_table(a: AgreementFinding) -> Table:
    """Whom two attacks find, as a share of whom either finds, by chance beside; and found again."""
    f, ways = a.found, len(a.found.attacks)
    table = Table(title=f"whom attacks find at {100 * a.fpr:g} % FPR: shared, of whom either finds")
    table.add_column("attack")
    table.add_column("finds of members", justify="right")
    for name in f.attacks[:-1]:
        table.add_column(f"shared with {escape(name)}", justify="right")
    if a.stability:
        table.add_column("again in another model", justify="right")
    for k, name in enumerate(f.attacks):
        shared = [_shared(f, k, j) if j < k else "" for j in range(ways - 1)]
        again = [
            f"{s.again:.2f}\nby chance {s.again_by_chance:.2f}" for s in a.stability[k : k + 1]
        ]
        table.add_row(escape(name), interval(f.found[k]), *shared, *again)
    other, most = a.alone
    table.caption = (
        f"together they find {interval(f.coverage)} of members, at {f.false_coverage:.4f} FPR, where "
        f"{escape(other)} alone finds {most:.4f}"
    )
    return table


def _shared(f: Agreement, a: int, b: int) -> str:
    """Jaccard's index of two attacks, its interval where there is one, and what chance gives."""
    if not math.isfinite(f.jaccard[a, b]):
        return "–"
    ends = f" \\[{f.low[a, b]:.2f}, {f.high[a, b]:.2f}]" if math.isfinite(f.low[a, b]) else ""
    return f"{f.jaccard[a, b]:.2f}{ends}\nby chance {f.chance[a, b]:.2f}"


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
