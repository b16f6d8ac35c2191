"""`audit`, `train`, `attack`, `report`: the main job and its parts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from seepage.attacks.curvature import reading
from seepage.cli import app
from seepage.cli.console import FleetBar, console, errors
from seepage.config.audit import read_config
from seepage.config.prepare import chosen_attacks, prepare
from seepage.errors import InputError
from seepage.fleet import train_prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seepage.attacks import Attack
    from seepage.store import Run

ConfigFile = Annotated[
    Path | None, typer.Argument(help="TOML configuration; without one, digits with defaults.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Override a field: `--set recipe.epochs=40`. Repeatable."),
]
Out = Annotated[str | None, typer.Option("--out", "-o", help="Run folder or s3:// address.")]
Shard = Annotated[
    str | None, typer.Option(help="Only part of the runs, for job arrays: `--shard 3/16`.")
]


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """ "3/16" -> (3, 16)."""
    if text is None:
        return None
    a, slash, b = text.partition("/")
    if not (slash and a.isdigit() and b.isdigit() and 1 <= int(a) <= int(b)):
        raise InputError(f"--shard: expected i/n with 1 <= i <= n such as 3/16, got {text!r}")
    return int(a), int(b)


def merged(given: list[str] | None, out: str | None) -> list[str]:
    return [*(given or []), *([f"out={out}"] if out else [])]


@app.command()
def audit(
    config: ConfigFile = None,
    out: Out = None,
    report: Annotated[str | None, typer.Option(help="Where the HTML report goes.")] = None,
    override: Overrides = None,
    shard: Shard = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what it would cost, train nothing.")
    ] = False,
) -> None:
    """Train the fleet, run every attack and write the report: the main job.

    Runs that are there already are kept; after an interruption the same command goes on.

    Examples:

        seepage audit

        seepage audit fashion.toml --set plan.models=64 --out runs/fashion

        seepage audit fashion.toml --dry-run
    """
    began = time.perf_counter()
    wanted = prepare(read_config(config, merged(override, out)))
    if dry_run:
        from seepage.cli.cost import print_cost

        print_cost(wanted)
        return
    run = train_prepared(wanted, FleetBar(), parse_shard(shard))
    if len(run.models) + len(run.failed) < wanted.plan.models:
        errors.print(
            f"{run.path}: {len(run.models)} of {wanted.plan.models} runs are done; "
            "the report is written when all are"
        )
        return
    place = Path(report or wanted.config.report or "report.html")
    if not (report or wanted.config.report) and "://" not in run.path:
        place = Path(run.path) / "report.html"
    _report(run, place, wanted.attacks)
    errors.print(f"audit took {time.perf_counter() - began:.1f} s")


@app.command("train")
def train_command(
    config: ConfigFile = None, out: Out = None, override: Overrides = None, shard: Shard = None
) -> None:
    """Train the fleet only: fill the run folder with signals.

    Example: `seepage train fashion.toml --shard 3/16`
    """
    run = train_prepared(
        prepare(read_config(config, merged(override, out))), FleetBar(), parse_shard(shard)
    )
    console.print(str(run))


RunFolder = Annotated[str, typer.Argument(help="A run folder, or an s3:// address.")]


@app.command()
def attack(
    run: RunFolder,
    name: Annotated[
        list[str] | None, typer.Option("--attack", "-a", help="Only these attacks. Repeatable.")
    ] = None,
) -> None:
    """Run attacks on the stored signals and print how well each tells members apart.

    Example: `seepage attack runs/digits -a lira -a rmia`
    """
    from seepage.store import open_run

    opened = open_run(run)
    chosen = [reading(a, opened.signals) for a in chosen_attacks(name, name[0] if name else "lira")]
    if not name:
        chosen = [a for a in chosen if set(a.requires) <= set(opened.signals)]
    console.print(attack_table(opened, chosen))


def attack_table(run: Run, chosen: Sequence[Attack]) -> Table:
    """One row per attack: AUC and TPR at low FPR, mean over targets with 95 % intervals."""
    from seepage.metrics import operating_points, over_targets, pooled_points

    table = Table(title=f"{run.path}: {len(run.models)} models, last checkpoint")
    table.add_column("attack")
    for column in ("AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR", "realised FPR", "pooled 0.1 %"):
        table.add_column(column, justify="right")
    for a in chosen:
        signals = {name: run.signal_at(name, -1) for name in a.requires}
        scores = a.leave_one_out(signals, run.member)
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


@app.command("report")
def report_command(
    run: RunFolder,
    path: Annotated[Path, typer.Argument(help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Write the report of a run folder again, with today's attacks.

    Example: `seepage report runs/digits report.html`
    """
    from seepage.store import open_run

    _report(open_run(run), path, None)


def _report(run: Any, path: Path, attacks: Any) -> None:
    from seepage.report import write_report

    with errors.status("scoring"):
        written = write_report(run, path, attacks=attacks)
    console.print(f"report: {written}")
