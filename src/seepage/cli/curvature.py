"""`curvature`: curvature of the loss at the samples, estimators against each other, the bounds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from seepage.cli.app import app
from seepage.cli.arguments import Factory, keep, opened_run, options_of
from seepage.cli.console import console, errors
from seepage.cli.places import place_for
from seepage.errors import InputError

if TYPE_CHECKING:
    from seepage.fleet.kept import KeptCurvature
    from seepage.store import Run


class _RunFirst(TyperGroup):
    """`curvature RUN` is `curvature show RUN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["show", *args]
        return list(super().parse_args(ctx, args))


commands = typer.Typer(
    cls=_RunFirst,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Curvature of the loss at every sample, members against others: `seepage curvature RUN`.",
)
app.add_typer(commands, name="curvature")

RunFolder = Annotated[str, typer.Argument(help="A run folder with kept weights.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", help="Of the estimator: `--option n=20`. Repeatable."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the random directions.")]


@commands.command()
def show(
    run: RunFolder,
    estimator: Annotated[
        str,
        typer.Option(
            "--estimator", "-e", help="exact, hutchinson, finite-difference, zeroth-order."
        ),
    ] = "exact",
    option: Options = None,
    models: Annotated[int, typer.Option("--models", "-n", min=1, help="How many targets.")] = 1,
    epoch: Annotated[
        float | None, typer.Option(help="A checkpoint other than the last (weights of all kept).")
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, help="How many samples are listed at either end.")
    ] = 10,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The Parquet; default RUN/curvature.parquet.")
    ] = None,
    factory: Factory = None,
    seed: Seed = 0,
) -> None:
    """Curvature of the loss at every sample under kept models, members against non-members.

    Every target is a model of its own; the Parquet has a row per target and sample.

    Examples:

        seepage curvature runs/digits

        seepage curvature runs/digits --estimator zeroth-order --option n=20 --models 4
    """
    from seepage.curvature.estimate import estimator as named
    from seepage.fleet.kept import kept_curvature

    chosen = named(estimator, options_of(option))
    opened = opened_run(run)
    place = _place(opened, out)
    t = -1 if epoch is None else _checkpoint(opened, epoch)
    targets = range(min(models, len(opened.models)))
    with errors.status("measuring"), _notes():
        held = [
            kept_curvature(opened, r, t, estimator=chosen, model=factory, seed=seed)
            for r in targets
        ]
    console.print(_sides_table(held, escape(f"{opened.path}: {chosen.estimates}")))
    console.print(f"unit: {held[0].found.score_unit}; AUC: a random member's loss is less curved "
                  "than a random non-member's (0.5: no difference)")  # fmt: skip
    console.print(_ends_table(opened, held, top))
    _write(place, opened, held)
    console.print(f"rows: {place}", markup=False)


@commands.command()
def compare(
    run: RunFolder,
    samples: Annotated[int, typer.Option(min=10, help="Samples, drawn by the seed.")] = 300,
    n: Annotated[int, typer.Option(min=2, help="Random directions per sample.")] = 10,
    target: Annotated[int, typer.Option(min=0, help="Which usable run.")] = 0,
    factory: Factory = None,
    seed: Seed = 0,
) -> None:
    """The estimators against each other: agreement of ranks, and cost in forward passes.

    Results are kept in the run folder, and the next report shows it.

    Example: `seepage curvature compare runs/digits --samples 500`
    """
    from seepage.fleet.kept import compare_estimators

    opened = opened_run(run)
    with errors.status("comparing"), _notes() as notes:
        found = compare_estimators(
            opened, target, samples=samples, directions=n, model=factory, seed=seed
        )
    table = Table(
        title=f"{escape(opened.path)}: run {found.model}, {found.samples} samples, rank correlation of ‖H‖_F"
    )
    table.add_column("estimator")
    for name in (*found.names, "forward calls", "cost in forward passes"):
        table.add_column(name, justify="right")
    for i, name in enumerate(found.names):
        rho = (f"{v:.3f}" for v in found.spearman[i])
        table.add_row(name, *rho, str(found.passes[i]), f"{found.cost[i]:.1f}")
    console.print(table)
    console.print(
        "Cost is processor time here: backward passes, precision and checks of the model included."
    )
    content = {("estimators" if k == "names" else k): v for k, v in vars(found).items()}
    keep(opened, "curvature", content | {"notes": notes})


@commands.command()
def bound(
    epsilon: Annotated[float, typer.Option("--epsilon", "-e", min=0, help="ε of pure DP.")],
    sigma: Annotated[float, typer.Option(help="Standard deviation of curvature scores.")] = 1.0,
    size: Annotated[int | None, typer.Option(min=1, help="Training-set size m.")] = None,
    loss: Annotated[float, typer.Option(help="L, the largest loss.")] = 1.0,
    generalisation: Annotated[float, typer.Option(help="γ.")] = 0.0,
    bias: Annotated[float, typer.Option(help="Δ.")] = 0.0,
    lipschitz: Annotated[float, typer.Option(help="ρ of the Hessian.")] = 0.0,
    displacement: Annotated[float, typer.Option(help="E‖α‖³.")] = 0.0,
) -> None:
    """Bounds on the training-set size from which curvature is more informative than confidence.

    The constants are assumed, not measured; two upper bounds that cross say nothing certain.

    Example: `seepage curvature bound --epsilon 1 --sigma 1000 --size 50000`
    """
    from seepage.curvature import theory

    given = theory.Assumptions(loss, generalisation, bias, lipschitz, displacement)
    crossing = theory.crossing_size(epsilon, sigma, given)
    m = size if size is not None else crossing
    rows = (
        ("memorisation of any sample at most", theory.memorisation_bound_from_privacy(epsilon),
         "arXiv 2402.18726, Thm 5.4"),
        (f"expected curvature at m = {m} at most", theory.curvature_bound(epsilon, m, given),
         "arXiv 2402.18726, Thm 5.3"),
        ("divergence of confidences at most", theory.confidence_divergence(epsilon),
         "arXiv 2407.02747, Thm 4.1, from a summary"),
        (f"divergence of curvatures at m = {m} at most",
         theory.curvature_divergence(epsilon, m, sigma, given), "reconstruction of Thm 4.2"),
        ("curvature more informative from m =", float(crossing), "reconstruction of Thm 4.3"),
    )  # fmt: skip
    table = Table(title=f"bounds at ε = {epsilon:g}, σ = {sigma:g}")
    table.add_column("bound")
    table.add_column("value", justify="right")
    table.add_column("source")
    for what, value, source in rows:
        table.add_row(what, f"{value:.6g}", source)
    console.print(table)
    console.print(
        "Reconstructions: the paper's text was not available; see seepage.curvature.theory. "
        "The constants are assumptions, not measurements: read trends, not predictions."
    )


def _checkpoint(run: Run, epoch: float) -> int:
    import numpy as np

    hit = np.flatnonzero(np.abs(run.checkpoints - epoch) < 1e-9)
    if not hit.size:
        raise InputError(
            f"--epoch: expected a checkpoint of the run "
            f"({', '.join(f'{c:g}' for c in run.checkpoints)}), got {epoch:g}"
        )
    return int(hit[0])


def _place(run: Run, out: Path | None) -> Path:
    if out is None:
        if "://" in run.path:
            raise InputError("--out: expected a place for the rows of a run at an address")
        return Path(run.path) / "curvature.parquet"
    return place_for(out, "--out")


@contextmanager
def _notes() -> Iterator[list[str]]:
    """Warnings as notes of one line each, once."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
        said += dict.fromkeys(str(w.message) for w in caught)
    for text in said:
        errors.print(f"note: {text}", markup=False, soft_wrap=True)


def _sides_table(held: list[KeptCurvature], title: str) -> Table:
    """One row per target: medians, AUC of low curvature, and the rank-sum test."""
    table = Table(title=title)
    table.add_column("run")
    for column in ("median, members", "non-members", "AUC", "95 % interval", "Mann-Whitney p"):
        table.add_column(column, justify="right")
    for one in held:
        inside, outside = one.medians
        e = one.auc
        table.add_row(
            str(one.own.row),
            f"{inside:.4g}",
            f"{outside:.4g}",
            f"{e.mean:.4f}",
            f"[{e.low:.4f}, {e.high:.4f}]",
            f"{one.p:.2g}",
        )
    return table


def _ends_table(run: Run, held: list[KeptCurvature], top: int) -> Table:
    import numpy as np

    mean = np.mean([one.found.score for one in held], axis=0)
    inside = np.sum([one.own.member for one in held], axis=0)
    order = np.argsort(-mean, kind="stable")
    table = Table(title="most and least curved samples")
    for column in ("id", "class"):
        table.add_column(column)
    for column in ("curvature", "member of"):
        table.add_column(column, justify="right")
    count = min(top, len(order) // 2)
    for k, i in enumerate((*order[:count], *order[len(order) - count :])):
        if k == count:
            table.add_section()
        table.add_row(
            escape(str(run.ids[i])),
            escape(run.classes[int(run.labels[i])]),
            f"{mean[i]:.4g}",
            f"{inside[i]} of {len(held)}",
        )
    return table


def _write(place: Path, run: Run, held: list[KeptCurvature]) -> None:
    """One row per target and sample."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from seepage.store.files import replacing

    with replacing(place) as draft:
        pq.write_table(
            pa.concat_tables([one.table(run) for one in held]), draft, compression="zstd"
        )
