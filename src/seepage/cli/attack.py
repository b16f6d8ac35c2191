"""`attack`: how well attacks identify the members of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

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
    from seepage.findings.at_fpr import AtFpr
    from seepage.metrics import Agreement, Estimate, Unit
    from seepage.probes import Probe
    from seepage.store import Run


_FPRS = (0.01, 0.001)


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
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            help="Of what is measured on kept weights: `--option copies=20`, or `--option augmented.draws=9` "
            "where several have it. Repeatable.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run attacks on the stored signals and print how well each identifies members.

    Without names, every attack whose signals were recorded. What a named attack reads and nobody
    recorded, such as curvature or gradients, is measured on kept weights, all of it in one pass;
    what that takes is said first.

    Examples:

        seepage attack runs/digits -a lira -a rmia

        seepage attack runs/digits -a mine.attacks:Mine

        seepage attack runs/digits -a grad-norm --budget "10 minutes"

        seepage attack runs/digits -a merlin --option copies=20

        seepage attack runs/digits --as label-only --as int8

        seepage attack runs/adult -a lira --by class --by difficulty --by age

        seepage attack runs/adult -a lira --by class --json

        seepage attack runs/digits -a rmia --used asked.txt

    By a part of the pool (--by), of a set (--used) or of ranges (--ranges) it is LiRA unless others are
    named, or, where it cannot be run, the first that can.
    """
    from seepage import scoring
    from seepage.cli.measuring import announce, budget_of, chosen_probes
    from seepage.config.chosen_attacks import chosen_attacks
    from seepage.findings.unjudged import unjudged
    from seepage.tokens import holds_tokens

    limit = budget_of(budget)
    chosen: Sequence[Attack] = chosen_attacks(name, name[0] if name else "lira")
    _check_together(unit, released_as, by, used, ranges, keep)
    if option and not name:
        raise InputError(
            "--option: expected with an attack that measures something (-a), got none; name it"
        )
    opened = judged_run(run)
    if holds_tokens(opened) and not name:
        chosen = chosen_attacks(name, "lira", tokens=True)
    if released_as and (option or as_json):
        raise InputError(
            f"{'--option' if option else '--json'}: expected without --as, which measures released "
            "variants, got both; drop one"
        )
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
    probes: tuple[Probe, ...] = ()
    if not name:
        chosen, skipped = scoring.applicable(part, chosen)
        chosen, left = _held(part, chosen)
        skipped |= left
        if not chosen:
            first, why = next(iter(skipped.items()))
            raise InputError(
                f"{run}: expected a run that some attack can be run on, got one where {first} {why}"
            )
    else:
        probes = chosen_probes(part, chosen, factory, option)
        announce(part, chosen, factory, limit, probes)
    who = judged_unit(part, unit)
    content: dict[str, Any]
    show: Callable[[], None]
    if by or used is not None or ranges is not None:
        from seepage.cli import parts

        some = chosen if name else [next((a for a in chosen if a.name == "lira"), chosen[0])]
        if by:
            within = parts.found_within(part, some, by, factory, who, opened.ids.tolist(), probes)
            content = {"slices": [f.summary() for f in within]}
            show = partial(parts.print_within, within)
        elif used is not None:
            shares = parts.found_used(part, some, used, factory, probes)
            content, show = {"used": shares}, partial(parts.print_used, part, shares)
        else:
            kept = 0.5 if keep is None else keep
            column, found = parts.found_ranges(part, some, str(ranges), kept, factory, probes)
            content = {"ranges": {"by": column, "attacks": found}}
            show = partial(parts.print_ranges, column, found)
    else:
        rows, scores = attack_figures(part, chosen, factory, who, probes)
        content = {"attacks": [r.summary() for r in rows]}
        show = partial(_print_attacks, part, rows, scores, who)
    for a in chosen:
        if a.caveat:
            errors.print(f"note: {a.name}: {a.caveat}", markup=False, soft_wrap=True)
    if as_json:
        _print_json(part, who, without.words, content)
        return
    show()
    if without.words:
        console.print(without.words, markup=False, soft_wrap=True)


def _held(run: Run, chosen: Sequence[Attack]) -> tuple[list[Attack], dict[str, str]]:
    """Attacks whose scores free memory holds, or groups of them; of the others why not, which is noted."""
    from seepage import scoring
    from seepage.attacks.groups import can_be_grouped

    found, left = [], {}
    for a in chosen:
        why = scoring.too_large(run, a)
        if why is None or can_be_grouped(a, run.member):
            found.append(a)
        else:
            left[a.name] = why
            errors.print(f"note: {a.name} is left out: {why}", markup=False, soft_wrap=True)
    return found, left


def _print_attacks(
    run: Run, rows: Sequence[AttackRow], scores: Mapping[str, Float64Array], unit: Unit
) -> None:
    """The table, how many names are true, how far attacks agree, and about subjects."""
    console.print(_table(run, rows, unit))
    _about_names(rows, scores, run, unit)
    for line in about_subjects(run, unit):
        console.print(line, markup=False, soft_wrap=True)


def _print_json(run: Run, unit: Unit, left_out: str, content: Mapping[str, Any]) -> None:
    """One object: what is judged, and the figures; numbers that are not finite are null."""
    from seepage.metrics import Subjects
    from seepage.store.files import plain

    head = {
        "run": run.path,
        "models": [int(r) for r in run.models],
        "checkpoint": float(run.checkpoints[-1]),
        "unit": "subject" if isinstance(unit, Subjects) else "sample",
        "left_out": left_out,
    }
    typer.echo(json.dumps(plain({**head, **content}), indent=1, allow_nan=False))


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


@dataclass(frozen=True)
class AttackRow:
    """An attack's figures at 1 % and 0.1 % FPR: at each target's own threshold, and pooled.

    sums: of subjects, the AUC of plain sums of scores; None of samples. Of the pooled rates the table
    and JSON have the second.
    """

    name: str
    auc: Estimate
    sums: Estimate | None
    rates: tuple[AtFpr, ...]
    pooled: tuple[AtFpr, ...]

    def summary(self) -> dict[str, Any]:
        """JSON types by name."""
        return {
            "attack": self.name,
            "auc": self.auc,
            **({} if self.sums is None else {"auc_of_plain_sums": self.sums}),
            "per_target": self.rates,
            "pooled": self.pooled[1:],
        }


def attack_figures(
    run: Run,
    chosen: Sequence[Attack],
    factory: str | None,
    unit: Unit,
    probes: Sequence[Probe] = (),
) -> tuple[list[AttackRow], dict[str, Float64Array]]:
    """A row per attack: AUC and TPR at low FPR with 95 % intervals, what noise reads beside.

    And the scores by attack, but for those that were computed in groups of targets.
    """
    import numpy as np

    from seepage.attacks.subjects import centred
    from seepage.findings.in_groups import figures_in_groups
    from seepage.findings.judging import Judging
    from seepage.findings.subjects import by_unit
    from seepage.metrics import Samples, Subjects
    from seepage.scoring import score

    counted, unit = by_unit(run, unit)
    judging = Judging.of(counted, Samples())
    every: dict[str, Float64Array] = {}
    rows = []
    with errors.status("scoring"):
        for a in chosen:
            found = figures_in_groups(run, a, judging, _FPRS, unit=unit, model=factory)
            if found is not None:
                rows.append(AttackRow(a.name, found.auc, None, found.rates, found.pooled))
                continue
            scores = every[a.name] = score(run, a, model=factory, unit=unit, probes=probes)
            (auc,) = judging.auc(scores)
            total = None
            if isinstance(unit, Subjects):
                alone = score(run, a, model=factory, probes=probes)
                (total,) = judging.auc(np.asarray(unit.scores(centred(a, alone)), np.float64))
            rates, pooled = judging.rates(scores, _FPRS), judging.pooled(scores, _FPRS)
            rows.append(AttackRow(a.name, auc, total, rates, pooled))
    return rows, every


def _table(run: Run, rows: Sequence[AttackRow], unit: Unit) -> Table:
    from seepage.findings.judging import target_row

    who = (
        f"{len(run.models)} models, each the target once"
        if target_row(run) is None
        else f"the fixed target alone, {len(run.models) - 1} shadows"
    )
    table = Table(title=f"{escape(run.path)}: {who}, last checkpoint{about(unit)}")
    table.add_column("attack")
    sums = ("plain sums",) if any(r.sums is not None for r in rows) else ()
    for column in ("AUC", *sums, "TPR at 1 % FPR", "TPR at 0.1 % FPR", "TPR at 0.1 %, pooled"):
        table.add_column(column, justify="right")
    for r in rows:
        plain = () if r.sums is None else (f"{r.sums.mean:.4f}",)
        figures = (rate(f) for f in (*r.rates, *r.pooled[1:]))
        table.add_row(escape(r.name), interval(r.auc), *plain, *figures)
    return table


def _about_names(
    rows: Sequence[AttackRow], scores: Mapping[str, Float64Array], run: Run, unit: Unit
) -> None:
    """How many of the names are true under priors, by the strongest attack; and how far attacks agree."""
    from seepage.findings.agreement import agreement_of, by_low_fpr
    from seepage.findings.judging import Judging
    from seepage.findings.subjects import by_unit
    from seepage.metrics import PRIORS, Samples

    for k, fpr in enumerate(_FPRS):
        rates = {r.name: r.pooled[k] for r in rows}
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
    if len(scores) < len(rows):
        if len(rows) > 1:
            console.print(
                "how far attacks agree is not said: the scores of all of them do not fit into memory",
                soft_wrap=True,
            )
        return
    judging = Judging.of(by_unit(run, unit)[0], Samples())
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
    import numpy as np

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
