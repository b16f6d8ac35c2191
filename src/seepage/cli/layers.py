"""`layers`: where in the network it leaks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from seepage.cli import app
from seepage.cli.console import console, errors
from seepage.errors import InputError

if TYPE_CHECKING:
    from seepage.fleet.rebuild import Rebuilt
    from seepage.layers import RiskMeasurement, RiskTable
    from seepage.store import Run

Factory = Annotated[
    str | None,
    typer.Option("--model", help="Your factory again, 'package.module:factory', if it was one."),
]
Targets = Annotated[
    int, typer.Option("--models", "-n", min=1, help="How many kept models are looked at.")
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
        typer.Option(help="logistic, or mlp: a small perceptron, dearer; it sees more."),
    ] = "logistic",
    over_training: Annotated[
        bool, typer.Option("--over-training", help="Every checkpoint (weights of all kept).")
    ] = False,
    jacobian: Annotated[bool, typer.Option(help="Measure the Jacobian too, the dear part.")] = True,
    top: Annotated[int, typer.Option(min=1, help="How many layers are named as regions.")] = 2,
    factory: Factory = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Only print the regions for a defence, as a JSON list.")
    ] = False,
) -> None:
    """Show which layers leak: indicators and an attack per layer, the riskiest first.

    What is found is kept in the run folder, and the next report shows it.

    Examples:

        seepage layers runs/digits

        seepage layers runs/digits --layer 'conv*' --models 4 --over-training

        seepage layers runs/digits --attacker mlp

        seepage layers runs/digits --json --top 1
    """
    from seepage.fleet.rebuild import rebuild
    from seepage.store import open_run

    if variant not in ("audit", "shadow"):
        raise InputError(f"--variant: expected audit or shadow, got {variant!r}")
    if attacker not in ("logistic", "mlp"):
        raise InputError(f"--attacker: expected logistic or mlp, got {attacker!r}")
    opened = open_run(run)
    count = min(models, len(opened.models))
    times = range(len(opened.checkpoints)) if over_training else [len(opened.checkpoints) - 1]
    found: list[list[RiskMeasurement]] = []
    with errors.status("probing"):
        for t in times:
            at = []
            for r in range(count):
                shadow = _shadow(opened, r, t, factory, layer) if variant == "shadow" else None
                own = rebuild(opened, r, t, model=factory)
                at.append(_assess(own, layer, samples, jacobian, shadow, attacker))
            found.append(at)
    table = _risk(found[-1])
    if top > len(table.layer):
        raise InputError(f"--top: expected 1 to {len(table.layer)} layers, got {top}")
    if as_json:
        # Not the console: it would wrap what another program reads.
        typer.echo(json.dumps(list(table.regions(top))))
        return
    # Shown before it is kept: a folder that cannot be written costs no result.
    title = f"{opened.path}: {count} models, epoch {opened.checkpoints[-1]:g}"
    _print(table, title, top, _bounds(found[-1]))
    _keep(opened, found, table, [float(opened.checkpoints[t]) for t in times], variant)


def _assess(
    h: Rebuilt, layer: list[str] | None, samples: int, jacobian: bool, shadow: Any, attacker: str
) -> RiskMeasurement:
    from seepage.layers import DegreesOfFreedom, Jacobian, Logistic, SmallMLP, measure_risk

    chosen = (DegreesOfFreedom(), Jacobian()) if jacobian else (DegreesOfFreedom(),)
    return measure_risk(
        h.model,
        h.inputs,
        h.member,
        layer,
        samples=samples,
        indicators=chosen,
        variant=shadow,
        attacker=SmallMLP() if attacker == "mlp" else Logistic(),
    )


def _shadow(run: Run, target: int, t: int, factory: str | None, layer: list[str] | None) -> Any:
    """Another kept model as the attacker's own; never one of the target's tuple, whose members are others."""
    from seepage.fleet.rebuild import rebuild
    from seepage.layers import ShadowTransfer, gather_outputs
    from seepage.plan import partitions

    number = partitions(run.member)
    free = np.flatnonzero(number != number[target]).tolist()
    if not free:
        raise InputError("--variant shadow: expected a third model, got two; use audit")
    own = rebuild(run, free[0], t, model=factory)
    return ShadowTransfer(gather_outputs(own.model, own.inputs, layer), own.member)


def _risk(found: list[RiskMeasurement]) -> RiskTable:
    from seepage.layers import risk_table

    return risk_table([a.table for a in found], [a.attack for a in found])


def _keep(
    run: Run,
    found: list[list[RiskMeasurement]],
    table: RiskTable,
    epochs: list[float],
    variant: str,
) -> None:
    """For the report: indicators and attack per checkpoint and layer, in forward order."""
    from seepage.findings import plain
    from seepage.store.run import analysis_key
    from seepage.store.storage import Storage

    layers = found[0][0].table.layer
    if any(a.table.layer != layers for at in found for a in at):
        raise InputError(
            "layers: expected the same layers in every model, got others; name them with --layer"
        )
    place = [table.layer.index(name) for name in layers]
    columns = [c for c in table.columns if not c.startswith("mia_")]
    indicators = {
        c: np.array([np.mean([a.table[c] for a in at], axis=0) for at in found]) for c in columns
    }
    content = {
        "layers": layers,
        "epochs": epochs,
        "models": [int(r) for r in run.models[: len(found[0])]],
        "variant": variant,
        "indicators": indicators,
        "attack_auc": np.array(
            [np.mean([a.attack.auc.mean(axis=1) for a in at], axis=0) for at in found]
        ),
        "risk": table.risk[place],
        "regions": [list(table.modules[i]) for i in place],
        "basis": table.basis,
        "agreement": [
            {"indicator": k, "rho": a.rho, "p": a.p, "layers": a.layers}
            for k, a in table.agreement.items()
        ],
        "resolved": table.resolved,
    }
    Storage(run.path, write=True).put_json(analysis_key("layers"), plain(content))


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
    shown = [c for c in ("k95", "erank", "jac_rank_1e2", "jac_participation", "stable_rank")
             if c in table.columns]  # fmt: skip
    out = Table(title=title)
    out.add_column("layer")
    for column in ("risk", "AUC of its attack", *shown):
        out.add_column(column, justify="right")
    for row in table.to_rows():
        marks = ["≥" if (row["layer"], c) in bounds else "" for c in shown]
        cells = [f"{mark}{row[c]:.4g}" for mark, c in zip(marks, shown, strict=True)]
        out.add_row(row["layer"], f"{row['risk']:.3f}", f"{row['mia_auc']:.3f}", *cells)
    console.print(out)
    console.print(f"risk: {table.basis}", markup=False)
    for name, a in table.agreement.items():
        if np.isfinite(a.rho):
            console.print(f"{name} agrees with the attack: ρ = {a.rho:+.2f}, p = {a.p:.3g}")
    if table.resolved is False:
        console.print(
            f"The attack does not tell the layers apart (spread of AUC {table.spread:.2g}, noise "
            f"{table.noise:.2g}): their order and these agreements mean little."
        )
    elif len(table.layer) <= 16:
        console.print(f"With {len(table.layer)} layers an agreement has little power.")
    console.print(f"regions for a defence: {', '.join(table.regions(top))}", markup=False)
