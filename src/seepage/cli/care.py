"""`check`, `doctor`, `repair`, `serve`, `import`: around the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from seepage.cli import app
from seepage.cli.audit import ConfigFile, Overrides, RunFolder
from seepage.cli.console import FleetBar, console, errors
from seepage.errors import CheckFailed, InputError


@app.command()
def check(
    run: RunFolder,
    attack: Annotated[str, typer.Option(help="The attack that judges.")] = "lira",
    max_auc: Annotated[float | None, typer.Option(help="Upper end of AUC's interval.")] = None,
    max_tpr: Annotated[
        float | None, typer.Option(help="Upper end of the TPR's interval at --fpr.")
    ] = None,
    fpr: Annotated[float, typer.Option(help="False-positive rate of --max-tpr.")] = 0.001,
) -> None:
    """Gate a pipeline: exit status 1 when the measured risk may exceed the limits.

    The *upper* end of the 95 % interval is compared, so too few models fail rather than pass.

    Example: `seepage check runs/digits --max-auc 0.6 --max-tpr 0.01`
    """
    from seepage import attacks
    from seepage.metrics import operating_points, over_targets
    from seepage.store import open_run

    if max_auc is None and max_tpr is None:
        raise InputError("check: expected a limit, got none; pass --max-auc or --max-tpr")
    for name, value in (("--max-auc", max_auc), ("--max-tpr", max_tpr), ("--fpr", fpr)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{name}: expected a value in 0..1, got {value}")
    opened = open_run(run)
    judge = attacks.get(attack)
    signals = {name: opened.signal_at(name, -1) for name in judge.requires}
    points = operating_points(judge.leave_one_out(signals, opened.member), opened.member, (fpr,))
    failed = []
    for name, values, limit in (
        ("AUC", points.auc, max_auc),
        (f"TPR at {fpr:g} FPR", points.tpr[:, 0], max_tpr),
    ):
        if limit is None:
            continue
        found = over_targets(values, opened.member)
        held = found.high <= limit
        console.print(
            f"{judge.name}: {name} {found.mean:.4f} [{found.low:.4f}, {found.high:.4f}], "
            f"limit {limit:g}: {'holds' if held else 'does not hold'}"
        )
        if not held:
            failed.append(name)
    if failed:
        raise CheckFailed(f"{run}: {' and '.join(failed)} may exceed the limit")


@app.command()
def doctor(config: ConfigFile = None, override: Overrides = None) -> None:
    """Print what this machine does fastest for a configuration, and what would be chosen.

    Example: `seepage doctor fashion.toml`
    """
    from seepage.config.audit import read_config
    from seepage.config.prepare import prepare
    from seepage.fleet.diagnose import diagnose

    wanted = prepare(read_config(config, override or ()))
    table = Table(title="doctor", show_header=False)
    for line in diagnose(wanted.data, wanted.config.model, wanted.recipe):
        table.add_row(*line)
    console.print(table)


@app.command()
def repair(config: ConfigFile = None, out: Annotated[str | None, typer.Option("--out", "-o")] = None,
           override: Overrides = None) -> None:  # fmt: skip
    """Find chunks whose bytes changed and train only their runs again.

    Takes the configuration of the audit, because runs are repaired by training them.

    Example: `seepage repair fashion.toml`
    """
    from seepage.cli.audit import merged
    from seepage.config.audit import read_config
    from seepage.config.prepare import prepare
    from seepage.fleet import train_prepared
    from seepage.fleet.repair import find_damage, forget

    wanted = prepare(read_config(config, merged(override, out)))
    damage = find_damage(wanted.config.out)
    if not damage:
        console.print(f"{wanted.config.out}: every chunk is as it was written")
        return
    for key in damage:
        console.print(f"damaged: {key}")
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

    serve_run(run, port=port, announce=lambda url: errors.print(f"watching {run} at {url}"))


@app.command("import")
def import_command(
    arrays: Annotated[Path, typer.Argument(help="An .npz with `member` and signals.")],
    out: Annotated[Path, typer.Argument(help="The run folder to make.")],
) -> None:
    """Make a run folder from arrays that another tool recorded.

    The .npz holds `member` (R, N) bool, `checkpoints` (T,) epochs, optionally `labels` (N,) and
    `ids` (N,), and signals (R, T, N[, A]) such as `phi` and `loss`.

    Example: `seepage import signals.npz runs/theirs`
    """
    from seepage.fleet.imported import import_arrays

    console.print(str(import_arrays(arrays, out)))
