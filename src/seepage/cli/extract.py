"""`extract`: how many of its texts a model generates again, beside texts that it was not trained on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from seepage.cli.app import app
from seepage.cli.arguments import Factory, RunFolder, judged_run
from seepage.cli.console import console, errors

_SHOWN = 10

if TYPE_CHECKING:
    from seepage.array_types import Float64Array


@app.command()
def extract(
    run: RunFolder,
    prefix: Annotated[
        int, typer.Option(min=1, max=10**9, help="Tokens of a text that are given.")
    ] = 50,
    suffix: Annotated[
        int, typer.Option(min=1, max=10**9, help="Tokens that are to be generated.")
    ] = 50,
    queries: Annotated[
        list[int] | None,
        typer.Option("--queries", "-n", min=1, max=10**18, help="Generations allowed, repeatable."),
    ] = None,
    probability: Annotated[
        float,
        typer.Option("--probability", "-p", help="With which one of them must be the suffix."),
    ] = 0.5,
    temperature: Annotated[float, typer.Option(help="Of the sampling.")] = 1.0,
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", min=1, max=10**9, help="Draw among so many likeliest tokens."),
    ] = None,
    factory: Factory = None,
) -> None:
    """How many texts can be extracted: given its first tokens, does a model generate the next?

    A text is extractable with n queries if one of n generations is its suffix with probability of at least p
    (arXiv 2410.19482). What can be said of non-members too needs no leak. At temperature 1 what was
    recorded is enough; with another, or `--top-k`, weights must have been kept.

    Examples:

        seepage extract runs/text --prefix 32 --suffix 32

        seepage extract runs/text -n 1 -n 100 --top-k 40
    """
    from seepage.findings.clock import clock_of
    from seepage.findings.extraction import QUERIES, extraction_of_run
    from seepage.tokens import Sampling, Split

    split, how = Split(prefix, suffix), Sampling(temperature, top_k)
    opened = judged_run(run)
    with errors.status("extracting"):
        f = extraction_of_run(
            opened,
            split=split,
            sampling=how,
            queries=queries or QUERIES,
            probability=probability,
            model=factory,
        )
    clock = clock_of(opened.manifest)
    table = Table(
        title=f"{escape(opened.path)}: {f.texts:,} texts of {split.tokens} tokens or more, {prefix} given; "
        f"share extracted with probability {probability:g}, {f.models} models"
    )
    table.add_column(clock.unit, justify="right")
    table.add_column("texts")
    for n in f.queries:
        name = "greedy" if n is None else f"{n:,} " + ("query" if n == 1 else "queries")
        table.add_column(name, justify="right")
    for t, members, others, excess in zip(
        f.checkpoints.tolist(), f.members, f.others, f.excess, strict=True
    ):
        table.add_row(f"{t:g}", "members", *map(_share, members))
        table.add_row("", "non-members", *map(_share, others))
        table.add_row("", "difference", *map(_share, excess))
    console.print(table)
    top = Table(title="texts owed most to training, at the end: queries needed, median over models")
    for column in ("text", "trained on it", "not"):
        top.add_column(column, justify="left" if column == "text" else "right")
    for i in f.most(_SHOWN).tolist():
        top.add_row(escape(str(f.ids[i])), _count(f.held[i]), _count(f.out[i]))
    console.print(top)


def _share(e: Float64Array) -> str:
    mean, low, high = e.tolist()
    if not math.isfinite(mean):
        return "–"
    ends = f" \\[{100 * low:.2f}, {100 * high:.2f}]" if math.isfinite(low) else ""
    return f"{100 * mean:.2f} %{ends}"


def _count(n: float) -> str:
    if math.isnan(n):
        return "–"
    return "never" if math.isinf(n) else f"{n:,.0f}" if n < 1e9 else f"{n:.1e}"
