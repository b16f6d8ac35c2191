"""`canaries`: how exposed the texts are that a plan added to be found, and ε by their coins."""

from __future__ import annotations

import math
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from seepage.cli.app import app
from seepage.cli.arguments import RunFolder, judged_run
from seepage.cli.console import console, errors


@app.command()
def canaries(
    run: RunFolder,
    target: Annotated[
        int | None, typer.Option(min=0, help="One usable run alone, as one model.")
    ] = None,
    delta: Annotated[float, typer.Option(help="δ at which ε is meant.")] = 1e-5,
    level: Annotated[float, typer.Option(help="Confidence of lower bounds.")] = 0.95,
) -> None:
    """Exposure of canaries among texts, by repeats and over training, and ε of one training run by their coins.

    Needs a run of texts whose plan added some: plan.canaries.random or rare. The report says the same.

    Examples:

        seepage canaries runs/text

        seepage canaries runs/text --target 0
    """
    from seepage.findings.canaries import canaries_of_run, canary_rows
    from seepage.findings.clock import clock_of

    opened = judged_run(run)
    with errors.status("ranking canaries"):
        f = canaries_of_run(opened, target=target, delta=delta, level=level)
    of = f"{f.models} models" if target is None else f"run {target}"
    table = Table(
        title=f"{escape(opened.path)}: canaries of {of}; at most {f.most:.2f} bits, {f.chance:.2f} by chance"
    )
    for column in (
        "canaries",
        "times an epoch",
        "number",
        "bits, trained on",
        "bits, not trained on",
        "ε at least",
    ):
        table.add_column(column, justify="left" if column == "canaries" else "right")
    for row in canary_rows(f):
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)
    if len(f.checkpoints) > 1:
        clock = clock_of(opened.manifest)
        over = Table(title=f"bits of canaries that a model was trained on, by {clock.unit}")
        over.add_column("canaries")
        for t in f.checkpoints.tolist():
            over.add_column(f"{t:g}", justify="right")
        for g in f.groups:
            values = (f"{b:.2f}" if math.isfinite(b) else "–" for b in g.held.mean)
            over.add_row(f"{g.kind}, {g.repeats}×", *values)
        console.print(over)
    joint = f", joint over {f.models} models" if f.models > 1 else ""
    most = f", the most that {f.guesses} guesses can show" if f.guesses else ""
    console.print(
        f"all canaries: ε at least {f.epsilon:.3f}, {100 * level:g} % bound at δ = {delta:g} from one run each{joint}{most}; "
        "of training sets that differ in all copies of a text",
        markup=False,
        soft_wrap=True,
    )
