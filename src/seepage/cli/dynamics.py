"""`dynamics`: how membership leaks while a fleet trains; one run, several side by side, or moving."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from seepage.cli.app import app
from seepage.cli.arguments import (
    AttackName,
    RunFolder,
    UnitName,
    about,
    judged_unit,
    pool_of_run,
)
from seepage.cli.console import console, errors
from seepage.cli.places import place_for
from seepage.errors import InputError

if TYPE_CHECKING:
    from seepage.findings.clock import Clock
    from seepage.metrics import Unit
    from seepage.plane import Comparison, Estimate, Population, Trajectories
    from seepage.store import Run

dynamics = typer.Typer(
    help="When membership leaks: metrics of the vulnerability plane over training.",
    no_args_is_help=True,
)
app.add_typer(dynamics, name="dynamics")

Fpr = Annotated[
    float | None,
    typer.Option(help="Decide at this false-positive rate, for attacks without a threshold."),
]
Own = Annotated[
    bool,
    typer.Option("--own-fpr", help="Hold --fpr for each sample by its own scores as a non-member."),
]
Draws = Annotated[int, typer.Option(help="Permuted memberships behind the null; 2 or more.")]


Rates = Annotated[
    Literal["counting", "gaussian", "student-t"],
    typer.Option(help="Count decisions, or take their probability under fitted laws."),
]


def judged_paths(
    run: Run,
    attack: str,
    fpr: float | None,
    draws: int,
    models: Any = None,
    rates: str = "counting",
    own: bool = False,
    unit: Unit | None = None,
    area: Literal["all", "own", "none"] = "none",
) -> Trajectories:
    """Trajectories, of subjects where the run has groups unless told otherwise, under the named attack: its own threshold, or a rate, pooled or of each sample."""
    from seepage import attacks, plane, scoring
    from seepage.metrics import unit_of

    if draws < 2:
        raise InputError(f"--draws: expected at least 2, got {draws}")
    judge = attacks.get(attack)
    if own and fpr is None:
        raise InputError("--own-fpr: expected with a rate to hold; add --fpr 0.1")
    pooled = plane.NaturalThreshold() if fpr is None else plane.GlobalFPR(fpr)
    rule: plane.Rule = plane.OwnFPR(fpr) if own and fpr is not None else pooled
    if fpr is None and judge.threshold is None:
        raise InputError(
            f"--fpr: expected a rate, since {judge.name} has no threshold of its own; try --fpr 0.1"
        )
    ways: dict[str, plane.RateRule] = {
        "counting": plane.Counting(),
        "gaussian": plane.ClosedForm(),
        "student-t": plane.ClosedForm(law=plane.StudentTLaw()),
    }
    with errors.status(escape(f"scoring {run.path}")):
        bound, source = scoring.ready(run, judge, None)
        return plane.trajectories(
            source,
            attack=bound,
            rule=rule,
            rates=ways[rates],
            null=plane.Permuted(draws, groups=run.groups),
            models=models,
            unit=unit_of(run.groups) if unit is None else unit,
            area=area,
        )


def _figure(e: Estimate, t: int | None = None, digits: int = 3) -> str:
    v, low, high, null = (float(x if t is None else x[t]) for x in (e.value, e.low, e.high, e.null))
    return f"{v:.{digits}f} \\[{low:.{digits}f}, {high:.{digits}f}] null {null:.{digits}f}"


@dynamics.command("show")
def show(
    run: RunFolder,
    attack: AttackName = "lira",
    fpr: Fpr = None,
    own: Own = False,
    draws: Draws = 2,
    rates: Rates = "counting",
    regions: Annotated[
        Literal["advantage", "epsilon"],
        typer.Option(help="What makes a region high: advantage of 0.5, or ε of 1.5."),
    ] = "advantage",
    unit: UnitName = None,
) -> None:
    """Print the population metrics over training, each with interval and null.

    Examples:

        seepage dynamics show runs/digits

        seepage dynamics show runs/digits --rates gaussian --regions epsilon

        seepage dynamics show runs/digits --fpr 0.1 --own-fpr
    """
    from seepage import plane
    from seepage.findings.clock import clock_of

    opened = pool_of_run(run)
    clock = clock_of(opened.manifest)
    who = judged_unit(opened, unit)
    paths = judged_paths(opened, attack, fpr, draws, rates=rates, own=own, unit=who, area="own")
    population = paths.population(
        plane.ByEpsilon() if regions == "epsilon" else plane.ByAdvantage()
    )
    console.print(over_training(run, population, paths.auc, clock, about(who)))
    table = Table(title="over all of training")
    table.add_column("metric")
    table.add_column("value [95 % over models] null", justify="right")
    for name, e in population.summary().items():
        table.add_row(name.replace("_", " "), _figure(e))
    early = plane.early_determination(paths, vulnerable=plane.TopShare(0.05))
    of = float(early.final.mean())
    top = f"top {of:.0%} (ties)" if of > 0.075 else "top 5 %"
    for k in early.known:
        told = "–" if k.epoch != k.epoch else f"{k.epoch:g} \\[{k.low:g}, {k.high:g}]"
        table.add_row(f"{k.share:.0%} of the final {top} known by {clock.unit}", told)
    console.print(table)
    console.print(clusters(paths))
    if rates == "counting":
        spread = str(plane.fpr_spread(paths.fpr[-1], paths.n_out))
        if about(who):
            spread = spread.replace("samples", "subjects")
        console.print(f"At the end: {spread}.")
    console.print("All metrics are reconstructions; null: the same under permuted membership.")


def clusters(paths: Trajectories) -> Table:
    """One row per clustering method at the last checkpoint, with its value under permuted membership."""
    import numpy as np

    from seepage import plane

    table = Table(title="clusters of the plane at the end")
    for column in ("method", "clusters", "shares", "silhouette", "Davies-Bouldin"):
        table.add_column(column, justify="right")
    methods = (
        ("k-means 3", plane.KMeans(3), False),
        ("k-means 5", plane.KMeans(5), False),
        ("HDBSCAN", plane.HDBSCAN(), False),
        ("bands of ε, k-means 3", plane.KMeans(3), True),
    )
    for name, method, by in methods:
        real, null = (
            plane.find_clusters(
                p.points(-1), np.random.default_rng(0), method=method, by_epsilon=by
            )
            for p in (paths, paths.null[0])
        )
        table.add_row(
            name,
            f"{len(real.shares)} (null {len(null.shares)})",
            ", ".join(f"{s:.2f}" for s in real.shares),
            f"{real.silhouette:.3f} (null {null.silhouette:.3f})",
            f"{real.davies_bouldin:.3f} (null {null.davies_bouldin:.3f})",
        )
    return table


def over_training(name: str, p: Population, auc: Any, clock: Clock, by: str = "") -> Table:
    """One row per checkpoint."""
    counted = by or f", {p.samples} samples"
    table = Table(title=f"{escape(name)}: {p.models} models{counted}")
    for column in (
        clock.unit,
        "AUC",
        "mean advantage",
        f"speed per {clock.unit}",
        "into high",
        "entropy, bits",
    ):
        table.add_column(column, justify="right")
    for t, epoch in enumerate(p.checkpoints):
        table.add_row(
            f"{epoch:g}",
            f"{auc[t]:.3f}",
            _figure(p.advantage, t),
            _figure(p.speed, t - 1) if t else "",
            _figure(p.to_high, t - 1) if t else "",
            _figure(p.entropy, t, 2),
        )
    return table


@dynamics.command("compare")
def compare(
    runs: Annotated[list[str], typer.Argument(help="Two or more run folders.")],
    attack: AttackName = "lira",
    fpr: Fpr = None,
    draws: Draws = 2,
    allow: Annotated[
        list[str] | None, typer.Option(help="A further field that may differ. Repeatable.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Also write a page: curves over training, the table.")
    ] = None,
) -> None:
    """Set runs that differ in one factor side by side, at equal numbers of models.

    Examples:

        seepage dynamics compare runs/sgd runs/sam

        seepage dynamics compare runs/sgd runs/sam --page comparison.html
    """
    from seepage import plane

    if len(set(runs)) < 2:
        raise InputError(f"runs: expected at least two different ones, got {len(set(runs))}")
    if page is not None:
        place_for(page, "--page", suffixes=(".html", ".htm"))
    opened = {name: pool_of_run(name) for name in runs}
    manifests: Mapping[str, Mapping[str, Any]] = {n: r.manifest for n, r in opened.items()}
    # Refused before anything is scored.
    plane.one_factor(list(manifests.values()), allow=allow or ())
    rows = plane.equal_models({n: r.member for n, r in opened.items()})
    paths = {n: judged_paths(r, attack, fpr, draws, rows[n]) for n, r in opened.items()}
    found = plane.compare_paths(paths, manifests, allow=allow or ())
    console.print(side_by_side(found))
    if page is not None:
        from seepage import attacks, scoring
        from seepage.findings import collect
        from seepage.report import write_comparison

        with errors.status("collecting"):
            findings = {}
            for n, r in opened.items():
                judge, source = scoring.ready(r, attacks.get(attack), None)
                findings[n] = collect(source, attacks=[judge], permutations=draws, blind=False)
        where = write_comparison(findings, page, populations=found.populations)
        console.print(f"page: {where}", markup=False, soft_wrap=True)


def side_by_side(found: Comparison) -> Table:
    """One row per metric, one column per run."""
    factor = escape(found.factor) if found.factor else "nothing that is compared"
    table = Table(title=f"differ in {factor}; {found.models} models each")
    table.add_column("metric")
    for name in found.populations:
        table.add_column(escape(name), justify="right")
    for field in next(iter(found.values.values()), {}):
        if field.rsplit(".", 1)[-1] != "digest":
            table.add_row(escape(field), *(_short(v[field]) for v in found.values.values()))
    for metric, estimates in found.table().items():
        table.add_row(metric.replace("_", " "), *(_figure(e) for e in estimates.values()))
    return table


def _short(value: Any) -> str:
    text = str(value)
    return escape(text if len(text) <= 40 else text[:37] + "…")


@dynamics.command("animate")
def animate(
    run: RunFolder,
    path: Annotated[Path, typer.Argument(help="The .gif to write.")],
    attack: AttackName = "lira",
    fpr: Fpr = None,
) -> None:
    """Write the plane over training as an animated GIF.

    Example: `seepage dynamics animate runs/digits plane.gif`
    """
    from seepage.report import write_animation

    place_for(path, "path", suffixes=(".gif",))
    written = write_animation(judged_paths(pool_of_run(run), attack, fpr, 2), path)
    console.print(f"animation: {written}", markup=False, soft_wrap=True)
