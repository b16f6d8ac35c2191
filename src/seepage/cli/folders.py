"""`repair`, `serve`, `import`: run folders repaired, watched, and made from arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seepage.cli.app import app
from seepage.cli.arguments import ConfigFile, Out, Overrides, RunFolder
from seepage.cli.audit import merged
from seepage.cli.console import FleetBar, console, errors


@app.command()
def repair(config: ConfigFile = None, out: Out = None, override: Overrides = None) -> None:
    """Find chunks whose bytes changed and train only their runs again.

    Takes the configuration of the audit, because runs are repaired by training them.

    Example: `seepage repair fashion.toml`
    """
    from seepage.config.audit import read_config
    from seepage.config.prepare import prepare
    from seepage.fleet import train_prepared
    from seepage.fleet.repair import find_damage, forget

    wanted = prepare(read_config(config, merged(override, out)))
    damage = find_damage(wanted.config.out)
    if not damage:
        console.print(f"{wanted.config.out}: every chunk is as it was written", markup=False)
        return
    for key in damage:
        console.print(f"damaged: {key}", markup=False)
    digests = forget(wanted.config.out, damage)
    run = train_prepared(wanted, FleetBar())
    same = sum(run.records[r].get("digests") == d for r, d in digests.items())
    console.print(f"repaired {len(digests)} runs, {same} bit-identical to what was lost")


@app.command()
def serve(
    run: RunFolder,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=0, max=65535)] = 8765,
) -> None:
    """Watch a fleet train: a page on this machine only that follows the run folder.

    Example: `seepage serve runs/digits`
    """
    from seepage.report.serve import serve as serve_run

    serve_run(
        run, port=port, announce=lambda url: errors.print(f"watching {run} at {url}", markup=False)
    )


@app.command("import")
def import_command(
    arrays: Annotated[Path, typer.Argument(help="An .npz with `member` and signals.")],
    out: Annotated[str, typer.Argument(help="The run folder to make, or an s3:// address.")],
) -> None:
    """Make a run folder from arrays that another tool recorded.

    The .npz holds `member` (R, N) of 0 and 1 and signals (R, T, N[, A]) such as `phi` and `loss`,
    optionally `checkpoints` (T,) epochs, `labels` (N,), `classes` (K,) and `ids` (N,). Nothing is
    written before all of it is checked.

    Example: `seepage import signals.npz runs/theirs`
    """
    from seepage.fleet.imported import import_arrays

    console.print(str(import_arrays(arrays, out)), markup=False, soft_wrap=True)
