"""`defend`: every defence on the same plan, judged by attackers who know it; resumable."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from seepage.cli import app
from seepage.cli.console import console, errors
from seepage.config.audit import override
from seepage.config.reading import checked, read_toml
from seepage.errors import InputError, nearest

if TYPE_CHECKING:
    from seepage.cli.campaign import Campaign
    from seepage.cli.defend_config import DefendConfig
    from seepage.comparison.results import PoolResults

__all__ = ["read_defend"]


def read_defend(path: Path, overrides: Sequence[str] = ()) -> DefendConfig:
    """Read and check a comparison; overrides change any field of it: "base.plan.models=4".

    Raises InputError naming the file and the field. Without [pools] the base is one pool.
    """
    from seepage.cli.defend_config import DefendConfig

    content = read_toml(path, "a defences file")
    override(content, overrides)
    study = checked(DefendConfig, content, str(path))
    if not study.pools:
        name = str(study.base.get("data", {}).get("name", "digits"))
        plain = re.fullmatch(r"[a-z0-9-]+", name) is not None
        study = study.model_copy(update={"pools": {name if plain else "pool": {}}})
    if not study.defences and study.pptp is None:
        raise InputError(
            f"{path}: defences: expected at least one to compare, got none; add [[defences]]"
        )
    for name in (name for d in study.defences for name in d.pools):
        if name not in study.pools:
            raise InputError(
                f"{path}: defences: pools: expected pools of the file, got {name!r}; "
                f"{nearest(name, study.pools)}"
            )
    for pool in study.pools:
        study.audit(pool, study.seeds[0])
        study.entries(pool)
    return study


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
    """Compare defences honestly: one fleet each on the same plan, attackers that know them.

    Finished runs and evaluations are kept; the same command goes on after an interruption. A
    defence that fails is left out with its reason, the others go on.

    Examples:

        seepage defend studies/defences.toml --dry-run

        seepage defend studies/defences.toml --pool fashion-mnist

        seepage defend studies/defences.toml --jobs 8 -s base.fleet.device=cuda

        seepage defend studies/defences.toml --only report
    """
    from seepage.cli.campaign import Campaign
    from seepage.cli.schedule import run_campaigns

    if only not in (None, "train", "report"):
        raise InputError(f"--only: expected train or report, got {only!r}")
    places = {"runs": runs, "results": results, "report": report, "page": page}
    study = read_defend(file, set_ or ())
    study = study.model_copy(update={k: v for k, v in places.items() if v is not None})
    for name in pool or ():
        if name not in study.pools:
            raise InputError(
                f"--pool: expected one of the file's, got {name!r}; {nearest(name, study.pools)}"
            )
    campaigns = [Campaign(study, name) for name in pool or study.pools]
    if dry_run:
        for campaign in campaigns:
            campaign.check()
            console.print(_status(campaign))
        return
    if only != "report":
        began = time.perf_counter()
        run_campaigns(campaigns, jobs)
        names = ", ".join(campaign.pool for campaign in campaigns)
        errors.print(f"{names}: {time.perf_counter() - began:.1f} s", markup=False)
    if only != "train":
        _report(study, file)


def _status(campaign: Campaign) -> Table:
    first = campaign.first
    config = first.config
    apart = 0 if first.reference is None else len(first.reference)
    table = Table(
        title=f"{campaign.pool}: {config.data.name}, {len(first.data)} samples and {apart} set apart, "
        f"{config.model.name}, {first.recipe.epochs} epochs, {config.plan.models} models a fleet"
    )
    for column in ("defence", *(f"seed {seed}" for seed in campaign.study.seeds)):
        table.add_column(column, overflow="fold")
    study = campaign.study
    for entry in study.entries(campaign.pool):
        cells = []
        for k, seed in enumerate(study.seeds):
            done, planned = campaign.done(entry, seed)
            unsure = k > 0 and study.top is not None and entry.label != "none"
            note = f", if of the best {study.top}" if unsure and not done else ""
            cells.append(f"{done} of {planned}{note}")
        table.add_row(escape(entry.label), *cells)
    if study.pptp is not None:
        where = ", ".join(study.pptp.regions) or "to be measured"
        kinds = "regions, complement, random" if study.pptp.controls else "regions"
        for base in study.bases():
            for variant in study.pptp.variants:
                name = variant if isinstance(variant, str) else variant.get("name")
                text = f"pptp({base.label}) {name}: {kinds}"
                table.add_row(escape(f"{text} ({where})"), "after the bases")
    return table


def _report(study: DefendConfig, file: Path) -> None:
    from seepage.comparison.results import read_pool
    from seepage.report.defend import write_defend_report
    from seepage.report.defend_page import markdown
    from seepage.report.tables import replacing

    there = [name for name in study.pools if (Path(study.results) / name).is_dir()]
    if not there:
        raise InputError(f"{study.results}: expected results of a pool, found none; train first")
    pools = [read_pool(Path(study.results) / name, study.attacks[0], study.fprs) for name in there]
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
    console.print(f"report: {write_defend_report(pools, Path(study.report))}", markup=False)
    if study.page is not None:
        path = Path(study.page)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            draft.write_text(markdown(pools, file.as_posix()) + "\n", encoding="utf-8")
        console.print(f"page: {path}", markup=False)


def _table(p: PoolResults) -> Table:
    from seepage.report.defend_table import on_front, terminal_columns

    table = Table(
        title=f"{p.pool}: * on the Pareto front of accuracy and AUC",
        box=SIMPLE_HEAD,
        padding=(0, 1),
    )
    table.add_column("defence", overflow="fold", min_width=14)
    columns = terminal_columns(p)
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row, best in zip(p.rows, on_front(p), strict=True):
        cells = [escape(cell(p, row)) for _, cell in columns]
        table.add_row(escape(row.label) + (" *" if best else ""), *cells)
    return table
