"""`defend`: every defence on the same plan, evaluated against attackers who know it; resumable."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from seepage.cli.app import app
from seepage.cli.console import Terminal, console, errors
from seepage.cli.places import place_for
from seepage.errors import InputError, nearest
from seepage.local_paths import local_path

if TYPE_CHECKING:
    from seepage.comparison.config import ComparisonConfig
    from seepage.comparison.pool import PoolComparison
    from seepage.comparison.results import PoolResults


@app.command()
def defend(
    file: Annotated[Path, typer.Argument(help="TOML: base, pools, defences, pptp.")],
    pool: Annotated[
        list[str] | None, typer.Option("--pool", "-p", help="Only these pools. Repeatable.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="One part: train (and evaluate) or report. Both by default.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="Override: `--set base.plan.models=4`. Repeatable."),
    ] = None,
    runs: Annotated[str | None, typer.Option(help="Where run folders go.")] = None,
    results: Annotated[str | None, typer.Option(help="Where the results go.")] = None,
    report: Annotated[str | None, typer.Option(help="The HTML page to write.")] = None,
    page: Annotated[str | None, typer.Option(help="The Markdown page to write.")] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Fleets side by side, one process each, pools in turn.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, list fleets, train nothing.")
    ] = False,
) -> None:
    """Compare defences: one fleet each on the same plan, against attackers that know them.

    Finished runs and evaluations are kept; the same command resumes after an interruption. A
    defence that fails is left out with its reason; the others continue.

    Examples:

        seepage defend studies/defences.toml --dry-run

        seepage defend studies/defences.toml --pool fashion-mnist

        seepage defend studies/defences.toml --jobs 8 -s base.execution.device=cuda

        seepage defend studies/defences.toml --only report
    """
    from seepage.comparison.config import ComparisonConfig
    from seepage.comparison.pool import from_config
    from seepage.comparison.queue import run_pools

    if only not in (None, "train", "report"):
        raise InputError(f"--only: expected train or report, got {only!r}")
    places = {"runs": runs, "results": results, "report": report, "page": page}
    config = ComparisonConfig.from_toml(file, set_ or ())
    config = config.model_copy(update={k: v for k, v in places.items() if v is not None})
    for option in ("report", "page", "cards"):
        given = getattr(config, option)
        if given is not None:
            place_for(given, option, makes_folders=True)
    if config.cards is not None and not Path(config.cards).is_file():
        raise InputError(f"cards: expected a page with marks, found none at {config.cards}")
    local_path(config.results, "results")
    for name in pool or ():
        if name not in config.pools:
            raise InputError(
                f"--pool: expected one of the file's, got {name!r}; {nearest(name, config.pools)}"
            )
    progress = Terminal()
    pools = [from_config(config, name, progress) for name in pool or config.pools]
    if dry_run:
        for each in pools:
            each.check()
            console.print(_status(each))
        return
    if only != "report":
        began = time.perf_counter()
        run_pools(pools, jobs)
        names = ", ".join(each.name for each in pools)
        errors.print(f"{names}: {time.perf_counter() - began:.1f} s", markup=False)
    if only != "train":
        _report(config, file)


def _status(pool: PoolComparison) -> Table:
    first, options = pool.first, pool.options
    apart = 0 if first.reference is None else len(first.reference)
    table = Table(
        title=f"{escape(pool.name)}: {escape(first.name)}, {len(first.data)} samples and {apart} set apart, "
        f"{first.model}, {first.recipe.epochs} epochs, {first.plan.models} models a fleet"
    )
    for column in ("defence", *(f"seed {seed}" for seed in options.seeds)):
        table.add_column(column, overflow="fold")
    for candidate in pool.candidates:
        cells = []
        for k, seed in enumerate(options.seeds):
            done, planned = pool.done(candidate, seed)
            unsure = k > 0 and options.top is not None and candidate.label != "none"
            note = f", if of the best {options.top}" if unsure and not done else ""
            cells.append(f"{done} of {planned}{note}")
        table.add_row(escape(candidate.label), *cells)
    if options.pptp is not None:
        where = ", ".join(options.pptp.regions) or "to be measured"
        kinds = "regions, complement, random" if options.pptp.controls else "regions"
        for base in options.bases:
            for variant in options.pptp.variants:
                name = variant if isinstance(variant, str) else variant.get("name")
                text = f"pptp({base.label}) {name}: {kinds}"
                table.add_row(escape(f"{text} ({where})"), "after the bases")
    return table


def _report(config: ComparisonConfig, file: Path) -> None:
    from seepage.comparison.results import read_pool
    from seepage.report.compare_defences import markdown, write_defend_report
    from seepage.report.defence_cards import with_measured
    from seepage.store.files import write_text

    results = Path(config.results)
    there = [name for name in config.pools if (results / name).is_dir()]
    if not there:
        raise InputError(f"{results}: expected results of a pool, found none; train first")
    pools = [
        read_pool(results / n, config.attacks[0], config.fprs, canaries=config.planted(n))
        for n in there
    ]
    for p in pools:
        console.print(_table(p))
        for j in p.judged:
            for v in j.verdicts:
                line = f"{v.claim} ({j.base}, {j.variant}): {v.outcome}: {v.why}"
                console.print(line, markup=False)
        for f in p.regions:
            agree = ", ".join(f"{k} {v}" for k, v in f["agreement"].items())
            chosen = ", ".join(f["chosen"]) or "none"
            console.print(
                f"regions with {f['base']}, seed {f['seed']}: {chosen}; agreement {agree}",
                markup=False,
            )
        for f in p.failed:
            console.print(f"left out: {f['label']}, seed {f['seed']}: {f['failed']}", markup=False)
    console.print(f"report: {write_defend_report(pools, Path(config.report))}", markup=False)
    if config.page is not None:
        path = Path(config.page)
        write_text(path, markdown(pools, file.as_posix()) + "\n")
        console.print(f"page: {path}", markup=False)
    if config.cards is not None:
        path = Path(config.cards)
        write_text(path, with_measured(path.read_text(encoding="utf-8"), pools))
        console.print(f"cards: {path}", markup=False)


def _table(p: PoolResults) -> Table:
    from seepage.findings.defences import auc_key, on_front
    from seepage.report.defence_words import terminal_columns

    table = Table(
        title=f"{escape(p.pool)}: * on the Pareto front of accuracy and AUC",
        box=SIMPLE_HEAD,
        padding=(0, 1),
    )
    table.add_column("defence", overflow="fold", min_width=14)
    columns = terminal_columns(p)
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row, best in zip(p.rows, on_front(p, auc_key(p)), strict=True):
        cells = [escape(cell(p, row)) for _, cell in columns]
        table.add_row(escape(row.label) + (" *" if best else ""), *cells)
    return table
