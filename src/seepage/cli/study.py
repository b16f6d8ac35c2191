"""`study`: measured and analysed from one file, resumable task by task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from seepage.cli.app import app
from seepage.cli.console import Terminal, console
from seepage.cli.places import place_for
from seepage.errors import InputError


@app.command()
def study(
    file: Annotated[
        Path, typer.Argument(help="TOML: base, fleets, factors; or a kind's own tables.")
    ],
    only: Annotated[
        str | None, typer.Option(help="One part: train, analyse or page. All by default.")
    ] = None,
    fleet: Annotated[
        list[str] | None,
        typer.Option("--fleet", "-f", help="Only these fleets, or units ('size-*'). Repeatable."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            help="Override a field: of every fleet (dynamics, rates, attacks, language), of the file (others).",
        ),
    ] = None,
    runs: Annotated[str | None, typer.Option(help="Where run folders go.")] = None,
    results: Annotated[str | None, typer.Option(help="Where the results go.")] = None,
    page: Annotated[str | None, typer.Option(help="The Markdown page to write.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Fleets or units side by side, one process each.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List fleets and what is done.")
    ] = False,
) -> None:
    """Train fleets that differ in one factor, analyse them alike and write down what holds.

    Finished runs and results are kept; the same command resumes after an interruption. Several
    processes may run it; each result is computed by one of them. A task that fails is named, and
    the others are completed. With --fleet no page is written; --only page joins the stored results.

    Examples:

        seepage study studies/dynamics.toml --dry-run

        seepage study studies/dynamics.toml --fleet mnist-cnn-2 --only train

        seepage study studies/dynamics.toml --only analyse

        seepage study studies/attacks.toml --fleet '*-lira' --only analyse

        seepage study studies/language-models.toml --only train

        seepage study studies/layers.toml --fleet 'cnn-4-*' --jobs 2

        seepage study studies/curvature.toml --fleet 'mislabel-*' --set fleet.workers=2
    """
    from seepage.study import read_study
    from seepage.study.runner import matching, run_tasks, write_page

    places = {
        k: v for k, v in {"runs": runs, "results": results, "page": page}.items() if v is not None
    }
    asked = read_study(file, set_ or (), places)
    if only is not None and only not in asked.parts:
        *others, last = asked.parts
        known = f"{', '.join(others)} or {last}" if others else last
        raise InputError(f"--only: expected {known} for a study of {asked.kind}, got {only!r}")
    if asked.page is not None:
        place_for(asked.page, "--page" if page else "page", makes_folders=True)
    names = matching(asked.names, fleet or ())
    progress = Terminal()
    if dry_run:
        columns, rows = asked.listing(names)
        table = Table(*columns, title=f"study: {asked.kind}")
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        console.print(table)
        return
    if only != "page":
        tasks = asked.tasks(names, only)
        run_tasks(tasks, asked.locks, jobs=jobs or asked.jobs, progress=progress)
    # What is worked on side by side must not write over each other's page.
    if only == "page" or (asked.page and only in (None, "analyse") and not fleet):
        console.print(f"page: {write_page(asked, file, progress)}", markup=False)
