"""`attack`, `check`: how well attacks tell the members of a run, and a limit on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from seepage.cli.app import app
from seepage.cli.arguments import AttackName, AttackNames, Factory, RunFolder
from seepage.cli.console import console, errors
from seepage.errors import CheckFailed, InputError

if TYPE_CHECKING:
    from seepage.attacks import Attack
    from seepage.store import Run


@app.command()
def attack(run: RunFolder, name: AttackNames = None, factory: Factory = None) -> None:
    """Run attacks on the stored signals and print how well each tells members apart.

    Without names, every attack whose signals were recorded. An attack on curvature that is named
    is measured on kept weights when no curvature was recorded.

    Examples:

        seepage attack runs/digits -a lira -a rmia

        seepage attack runs/digits -a mine.attacks:Mine
    """
    from seepage import scoring
    from seepage.config.prepare import chosen_attacks
    from seepage.store import open_run

    opened = open_run(run)
    chosen: Sequence[Attack] = chosen_attacks(name, name[0] if name else "lira")
    if not name:
        chosen, skipped = scoring.applicable(opened, chosen)
        if not chosen:
            first, why = next(iter(skipped.items()))
            raise InputError(
                f"{run}: expected a run that some attack can be run on, got one where {first} {why}"
            )
    console.print(attack_table(opened, chosen, factory))


def attack_table(run: Run, chosen: Sequence[Attack], factory: str | None = None) -> Table:
    """One row per attack: AUC and TPR at low FPR, mean over targets with 95 % intervals."""
    from seepage.metrics import operating_points, over_targets, pooled_points
    from seepage.scoring import score

    table = Table(title=f"{run.path}: {len(run.models)} models, last checkpoint")
    table.add_column("attack")
    for column in ("AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR", "realised FPR", "pooled 0.1 %"):
        table.add_column(column, justify="right")
    with errors.status("scoring"):
        for a in chosen:
            scores = score(run, a, model=factory)
            points = operating_points(scores, run.member, (0.01, 0.001))
            auc = over_targets(points.auc, run.member)
            one, tenth = (over_targets(points.tpr[:, k], run.member) for k in (0, 1))
            pooled = pooled_points(scores, run.member, (0.001,))
            table.add_row(
                a.name,
                f"{auc.mean:.4f} [{auc.low:.4f}, {auc.high:.4f}]",
                f"{one.mean:.4f} ± {(one.high - one.low) / 2:.4f}",
                f"{tenth.mean:.4f} ± {(tenth.high - tenth.low) / 2:.4f}",
                f"{points.fpr[:, 1].mean():.5f}",
                f"{float(pooled.tpr.ravel()[0]):.4f}",
            )
    return table


@app.command()
def check(
    run: RunFolder,
    attack: AttackName = "lira",
    max_auc: Annotated[float | None, typer.Option(help="Upper end of AUC's interval.")] = None,
    max_tpr: Annotated[
        float | None, typer.Option(help="Upper end of the TPR's interval at --fpr.")
    ] = None,
    fpr: Annotated[float, typer.Option(help="False-positive rate of --max-tpr.")] = 0.001,
    factory: Factory = None,
) -> None:
    """Gate a pipeline: exit status 1 when the measured risk may exceed the limits.

    The *upper* end of the 95 % interval is compared, so too few models fail rather than pass.

    Example: `seepage check runs/digits --max-auc 0.6 --max-tpr 0.01`
    """
    from seepage import attacks
    from seepage.metrics import operating_points, over_targets
    from seepage.scoring import score
    from seepage.store import open_run

    if max_auc is None and max_tpr is None:
        raise InputError("check: expected a limit, got none; pass --max-auc or --max-tpr")
    for name, value in (("--max-auc", max_auc), ("--max-tpr", max_tpr), ("--fpr", fpr)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{name}: expected a value in 0..1, got {value}")
    opened = open_run(run)
    judge = attacks.get(attack)
    with errors.status("scoring"):
        scores = score(opened, judge, model=factory)
    points = operating_points(scores, opened.member, (fpr,))
    failed = []
    for name, values, limit in (
        ("AUC", points.auc, max_auc),
        (f"TPR at {fpr:g} FPR", points.tpr[:, 0], max_tpr),
    ):
        if limit is None:
            continue
        found = over_targets(values, opened.member)
        held = found.high <= limit
        console.print(
            f"{judge.name}: {name} {found.mean:.4f} [{found.low:.4f}, {found.high:.4f}], "
            f"limit {limit:g}: {'holds' if held else 'does not hold'}"
        )
        if not held:
            failed.append(name)
    if failed:
        raise CheckFailed(f"{run}: {' and '.join(failed)} may exceed the limit")
