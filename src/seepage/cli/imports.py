"""`import`: run folders made from arrays, tables, the reference code's layout, checkpoints."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from seepage.cli.app import app
from seepage.cli.console import console, errors

if TYPE_CHECKING:
    from seepage.data import Dataset
    from seepage.store import Run


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar that is gone when the import is done; into a file nothing is written."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
        console=errors,
        transient=True,
    ) as bar:
        at = [("reading", bar.add_task("reading", total=None))]

        def show(what: str, done: int, total: int) -> None:
            """A bar for each part of the work: the pace of one says nothing of the next."""
            if what != at[0][0]:
                bar.remove_task(at[0][1])
                at[0] = (what, bar.add_task(what, total=total))
            bar.update(at[0][1], completed=done, total=total)

        yield show


@app.command("import")
def import_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="An .npz, a folder of .npy files, a table of scores, experiments of LiRA's reference "
            "code, or a folder of checkpoints."
        ),
    ],
    out: Annotated[str, typer.Argument(help="The run folder to make, or an s3:// address.")],
    task: Annotated[
        str | None,
        typer.Option(
            help="Arrays, checkpoints: what labels are, classification, binary, multi-label, regression or "
            "soft-labels."
        ),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            help="Regression: standard deviation of the noise; by default that of the residuals of samples "
            "that a model was not trained on."
        ),
    ] = None,
    cross_entropy: Annotated[
        bool,
        typer.Option(
            "--cross-entropy",
            help="Arrays: phi and loss are those of cross-entropy in nats, without class weights and "
            "label smoothing, so that one is derived from the other.",
        ),
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(help="Experiments: labels (N,) as .npy; by default y_train.npy beside them."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Checkpoints: the factory of the networks, 'file.py:make' or 'package.module:make'."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Checkpoints: the pool, a data set's name, a path, a reader, or a configuration "
            "(.toml) whose [data] is read."
        ),
    ] = None,
    members: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoints: who trained which model, .npz or .npy; by default members.npz or "
            "members.npy in the folder."
        ),
    ] = None,
    divide: Annotated[
        float, typer.Option(help="Checkpoints: inputs are divided by it, 255 for pictures in 0..1.")
    ] = 1.0,
    standardise: Annotated[
        bool,
        typer.Option(
            "--standardise", help="Checkpoints: inputs are standardised by each model's members."
        ),
    ] = False,
) -> None:
    """Make a run folder from what another tool recorded or trained.

    Arrays: `member` (R, N) of 0 and 1 and signals (R, T, N) such as `phi`, `loss` or `logits`
    (R, T, N, K), optionally `checkpoints` (T,) epochs, `labels` (N,), `classes` (K,), `ids` (N,) and
    `groups` (N,), in an .npz, an .safetensors file or a folder of .npy files. Of a language model
    `token_logp` (R, T, S), log p of every predicted token, and `offsets` (N + 1,). A table (.csv, .parquet) has a row per model,
    sample and checkpoint: columns `model`, `sample`, `member`, optionally `checkpoint`, `label`,
    `group`, and signals. A folder of checkpoints holds NAME.pt or .safetensors for each model, or
    NAME/epoch-12.pt for each epoch, and members.npz. What follows from what is there is derived, and
    said. Nothing is written before all of it is checked; see docs/importing.md.

    Examples:

        seepage import signals.npz runs/theirs

        seepage import scores.parquet runs/theirs

        seepage import experiments/ runs/lira

        seepage import checkpoints/ runs/ours --model net.py:make --data digits --divide 16
    """
    from seepage.fleet.import_run import import_run

    with contextlib.ExitStack() as stack:
        show = stack.enter_context(_bar()) if errors.is_terminal else None
        run = import_run(
            source,
            out,
            model=model,
            data=None if data is None else _pool(data, task),
            members=members,
            divide=divide,
            standardise=standardise,
            labels=labels,
            task=task,
            noise=noise,
            cross_entropy=cross_entropy,
            progress=show,
        )
    _print(run)


def _pool(name: str, task: str | None) -> Dataset:
    """The data set that a name or a configuration tells, of a name with the task."""
    from seepage.config.audit import read_config
    from seepage.config.prepare import load_pool
    from seepage.data import load

    if name.endswith(".toml"):
        return load_pool(read_config(Path(name)))
    return load(name, task="classification" if task is None else task)


def _print(run: Run) -> None:
    import numpy as np

    for note in run.manifest["provenance"]["notes"]:
        console.print(note, markup=False, soft_wrap=True)
    for measure, form in (("accuracy", ".3f"), ("rmse", ".4g")):
        last = [
            run.records[int(r)][measure][-1] for r in run.models if run.records[int(r)].get(measure)
        ]
        if last:
            inside, outside = np.mean(last, axis=0)
            name = "accuracy" if measure == "accuracy" else "root-mean-square error"
            console.print(
                f"{name} at the last checkpoint, mean of {len(last)} models: members "
                f"{inside:{form}}, others {outside:{form}}"
            )
    console.print(str(run), markup=False, soft_wrap=True)
    what = "how much, when and who, as a page"
    console.print(
        f"next: seepage report {quote(str(run.path))}  ({what})", markup=False, soft_wrap=True
    )
