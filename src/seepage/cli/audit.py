"""`audit`, `train`, `report`: the main job and its parts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seepage.cli.app import app
from seepage.cli.arguments import (
    AttackNames,
    ConfigFile,
    Out,
    Overrides,
    RunFolder,
    Shard,
    opened_run,
)
from seepage.cli.console import FleetBar, console, errors
from seepage.cli.places import place_for
from seepage.config.audit import read_config
from seepage.config.prepare import chosen_attacks, prepare
from seepage.errors import InputError
from seepage.fleet import train_prepared

if TYPE_CHECKING:
    from seepage.store import Run


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

    Runs that are there already are kept; after an interruption the same command resumes.

    Examples:

        seepage audit

        seepage audit fashion.toml --set plan.models=64 --out runs/fashion

        seepage audit fashion.toml --dry-run
    """
    began = time.perf_counter()
    settings = read_config(config, merged(override, out))
    asked = settings.report if report is None else report
    if asked is None:
        folder = Path() if "://" in settings.out else Path(settings.out)
        place = folder / "report.html"
    else:
        option = "report" if report is None else "--report"
        place = place_for(asked, option, suffixes=(".html", ".htm"), later=settings.out)
    wanted = prepare(settings)
    if dry_run:
        from seepage.cli.cost import print_cost

        print_cost(wanted)
        return
    run = train_prepared(wanted, FleetBar(), parse_shard(shard))
    if len(run.models) + len(run.failed) < wanted.plan.models:
        errors.print(
            f"{run.path}: {len(run.models)} of {wanted.plan.models} runs are done; "
            "the report is written when all are",
            markup=False,
            soft_wrap=True,
        )
        return
    _report(run, place, wanted.attacks)
    _next(run)
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
    if run.failed and not len(run.models):
        first, why = next(iter(run.failed.items()))
        raise InputError(
            f"{run.path}: expected runs that converge, all {len(run.failed)} failed, run {first} "
            f"with: {why}; lower recipe.lr and choose another folder"
        )
    console.print(str(run), markup=False, soft_wrap=True)


@app.command("report")
def report_command(
    run: RunFolder,
    path: Annotated[Path, typer.Argument(help="The HTML file to write.")] = Path("report.html"),
    name: AttackNames = None,
) -> None:
    """Write the report of a run folder again, with today's attacks.

    Examples:

        seepage report runs/digits report.html

        seepage report runs/digits report.html -a lira -a mine.attacks:Mine
    """

    place_for(path, "path", suffixes=(".html", ".htm"))
    _report(opened_run(run), path, chosen_attacks(name, name[0]) if name else None)


def _report(run: Any, path: Path, attacks: Any) -> None:
    from seepage.attacks import ATTACKS
    from seepage.findings import collect
    from seepage.findings.unjudged import unjudged
    from seepage.report import write_report
    from seepage.report.words import first_screen

    with errors.status("scoring"):
        data = run.data()
        found = collect(run, attacks=attacks, data=data)
        written = write_report(run, path, findings=found, data=data)
    without = unjudged(run, attacks or [cls() for cls in ATTACKS.values()])
    if without.words:
        console.print(without.words, markup=False, soft_wrap=True)
    first = first_screen(found)
    console.print(first.headline, style="bold", markup=False, soft_wrap=True)
    for a in first.answers:
        console.print(f"{a.question:10} {a.figure} {a.words}", markup=False, soft_wrap=True)
    for about, words in first.warnings:
        console.print(f"{about} {words}", style="yellow", markup=False, soft_wrap=True)
    console.print(f"report: {written}", markup=False, soft_wrap=True)


def _next(run: Run) -> None:
    """What a first audit is usually followed by."""
    commands = [
        (f"seepage check {run.path} --max-auc 0.6", "a limit to hold, by exit status"),
        (f"seepage dynamics show {run.path}", "when it leaks"),
        (f"seepage verify {run.path}", "that the evidence is what was written"),
    ]
    if run.keeps_weights(0):
        commands.insert(2, (f"seepage layers {run.path}", "where it leaks"))
    for command, what in commands:
        console.print(f"next: {command}  ({what})", markup=False, soft_wrap=True)
