"""`layers`: which layers of the network leak."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from seepage.cli.app import app
from seepage.cli.arguments import Factory, keep, opened_run
from seepage.cli.console import console, errors
from seepage.errors import InputError

if TYPE_CHECKING:
    from seepage.layers import RiskMeasurement, RiskTable

Targets = Annotated[
    int, typer.Option("--models", "-n", min=1, help="Number of kept models that are analysed.")
]


@app.command("layers")
def layers_command(
    run: Annotated[str, typer.Argument(help="A run folder with kept weights.")],
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", "-l", help="Only these layers, names or patterns. Repeatable."),
    ] = None,
    models: Targets = 2,
    samples: Annotated[int, typer.Option(min=2, help="Members in the probe set.")] = 2000,
    variant: Annotated[
        str,
        typer.Option(help="audit: fit on half of the target's members; shadow: on another model."),
    ] = "audit",
    attacker: Annotated[
        str,
        typer.Option(help="logistic, or mlp: a small perceptron, slower; it fits more."),
    ] = "logistic",
    over_training: Annotated[
        bool, typer.Option("--over-training", help="Every checkpoint (weights of all kept).")
    ] = False,
    jacobian: Annotated[
        bool, typer.Option(help="Measure the Jacobian too, the slowest part.")
    ] = True,
    top: Annotated[int, typer.Option(min=1, help="How many layers are named as regions.")] = 2,
    factory: Factory = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Only print the regions for a defence, as a JSON list.")
    ] = False,
) -> None:
    """Show which layers leak: indicators and an attack per layer, the riskiest first.

    Results are kept in the run folder, and the next report shows it.

    Examples:

        seepage layers runs/digits

        seepage layers runs/digits --layer 'conv*' --models 4 --over-training

        seepage layers runs/digits --attacker mlp

        seepage layers runs/digits --json --top 1
    """
    from seepage.findings.clock import clock_of
    from seepage.fleet.kept import kept_layers
    from seepage.layers import Logistic, SmallMLP

    if variant not in ("audit", "shadow"):
        raise InputError(f"--variant: expected audit or shadow, got {variant!r}")
    if attacker not in ("logistic", "mlp"):
        raise InputError(f"--attacker: expected logistic or mlp, got {attacker!r}")
    opened = opened_run(run)
    times = range(len(opened.checkpoints)) if over_training else (-1,)
    with errors.status("probing"):
        found = kept_layers(
            opened,
            layer,
            models=models,
            times=times,
            samples=samples,
            jacobian=jacobian,
            shadow=variant == "shadow",
            attacker=SmallMLP() if attacker == "mlp" else Logistic(),
            model=factory,
        )
    table = found.risk()
    if top > len(table.layer):
        raise InputError(f"--top: expected 1 to {len(table.layer)} layers, got {top}")
    if as_json:
        # Not the console: it would wrap what another program reads.
        typer.echo(json.dumps(list(table.regions(top))))
        return
    # Shown before it is kept: a folder that cannot be written costs no result.
    when = clock_of(opened.manifest)(float(opened.checkpoints[-1]))
    title = f"{opened.path}: {len(found.models)} models, {when}"
    _print(table, title, top, _bounds(found.last))
    keep(opened, "layers", found.content())


def _bounds(found: list[RiskMeasurement]) -> set[tuple[str, str]]:
    """(layer, column) of figures that are only known to be at least what is shown."""
    out = set()
    for a in found:
        for i, name in enumerate(a.table.layer):
            if a.table.at_least[i]:
                out.add((name, "jac_rank_1e2"))
            if a.table.sample_bound[i]:
                out.add((name, "k95"))
    return out


def _print(table: RiskTable, title: str, top: int, bounds: set[tuple[str, str]]) -> None:
    shown = [
        c
        for c in ("k95", "erank", "jac_rank_1e2", "jac_participation", "stable_rank")
        if c in table.columns
    ]
    out = Table(title=escape(title))
    out.add_column("layer")
    for column in ("risk", "AUC of its attack", *shown):
        out.add_column(column, justify="right")
    for row in table.to_rows():
        marks = ["≥" if (row["layer"], c) in bounds else "" for c in shown]
        cells = [f"{mark}{row[c]:.4g}" for mark, c in zip(marks, shown, strict=True)]
        out.add_row(escape(row["layer"]), f"{row['risk']:.3f}", f"{row['mia_auc']:.3f}", *cells)
    console.print(out)
    console.print(f"risk: {table.basis}", markup=False)
    for name, a in table.agreement.items():
        if math.isfinite(a.rho):
            console.print(f"{name} agrees with the attack: ρ = {a.rho:+.2f}, p = {a.p:.3g}")
    if table.resolved is False:
        console.print(
            f"The attack does not distinguish the layers (spread of AUC {table.spread:.2g}, noise "
            f"{table.noise:.2g}): their order and these agreements mean little."
        )
    elif len(table.layer) <= 16:
        console.print(f"With {len(table.layer)} layers an agreement has little power.")
    console.print(f"regions for a defence: {', '.join(table.regions(top))}", markup=False)
