"""`dynamics early` and `dynamics difficulty`: which samples end up vulnerable, and what predicts it."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from seepage.cli.arguments import (
    AttackName,
    Factory,
    RunFolder,
    UnitName,
    judged_unit,
    pool_of_run,
)
from seepage.cli.console import console, errors
from seepage.cli.dynamics import Fpr, dynamics, judged_paths
from seepage.errors import InputError
from seepage.local_paths import local_path

if TYPE_CHECKING:
    from seepage.array_types import Float64Array, Int64Array
    from seepage.findings.clock import Clock
    from seepage.metrics import Unit
    from seepage.plane import EarlyDetermination, Estimate, Trajectories
    from seepage.store import Run

Aside = Annotated[
    float, typer.Option(help="Share of the pairs that the attack does not use but is compared to.")
]
PROXIES = {"lt_iqr": "LT-IQR", "loss": "mean loss", "slope": "fall of the loss"}


def _apart(
    run: Run, attack: str, fpr: float | None, aside: float, unit: Unit
) -> tuple[Trajectories, Int64Array]:
    import numpy as np

    from seepage import plane

    rows, apart = plane.split_models(run.member, aside, np.random.default_rng(0))
    return judged_paths(run, attack, fpr, 2, rows, unit=unit), apart


@dynamics.command("early")
def early_command(
    run: RunFolder,
    attack: AttackName = "lira",
    fpr: Fpr = None,
    share: Annotated[
        float | None,
        typer.Option(help="Vulnerable: this share of highest advantage, not the high region."),
    ] = None,
    aside: Aside = 0.25,
    unit: UnitName = None,
) -> None:
    """Print how early the finally vulnerable samples are identified, with and without the attack.

    The attack's own recall is printed with chance and with permuted membership; what two halves of
    the fleet agree on is free of the noise that targets share. Proxies come from runs that the
    attack does not use.

    Example: `seepage dynamics early runs/digits --share 0.05`
    """
    from seepage import attacks, plane, scoring
    from seepage.findings.clock import clock_of
    from seepage.findings.subjects import by_unit
    from seepage.plan import tuples

    opened = pool_of_run(run)
    clock = clock_of(opened.manifest)
    vulnerable = plane.HighRegion() if share is None else plane.TopShare(share)
    counted, who = by_unit(opened, judged_unit(opened, unit))
    paths = judged_paths(opened, attack, fpr, 2, unit=who)
    found = plane.early_determination(paths, vulnerable=vulnerable)
    what = "in the high region" if share is None else f"in the top {share:g}"
    console.print(
        _recalls(
            found, f"{int(found.final.sum())} of {paths.samples} {_units(who)} end {what}", clock
        )
    )
    for k in found.known:
        console.print(
            f"{k.share:.0%} of them are known by {clock.unit} {_epoch(k.epoch)}, interval "
            f"{_epoch(k.low)} to {_epoch(k.high)}",
            highlight=False,
        )
    if int(tuples(opened.member).max()) >= 7:
        with errors.status("halving the fleet"):
            judge, source = scoring.ready(opened, attacks.get(attack), None)
            halves = plane.split_half(
                source,
                attack=judge,
                rule=_rule(fpr),
                vulnerable=plane.TopShare(share or 0.05),
                unit=who,
            )
        table = Table(title=f"two halves of {halves.models} models, top {share or 0.05:g}")
        for column in (clock.unit, "recall of the other half", "null", "known of what can be"):
            table.add_column(column, justify="right")
        for t, epoch in enumerate(halves.checkpoints):
            null = f"{halves.recall.null[t]:.3f}"
            table.add_row(f"{epoch:g}", _of(halves.recall, t), null, _of(halves.known, t))
        console.print(table)
    if {"loss", "correct"} <= set(opened.signals):
        rest, apart = _apart(opened, attack, fpr, aside, who)
        told = plane.evaluate_monitors(counted, apart, rest.advantage[-1], share=share or 0.05)
        console.print(_proxies(told, share or 0.05, clock))
    console.print("Definitions are reconstructions or our own; see docs/dynamics.md.")


def _units(unit: Unit) -> str:
    from seepage.metrics import Subjects

    return "subjects" if isinstance(unit, Subjects) else "samples"


def _rule(fpr: float | None) -> Any:
    from seepage import plane

    return plane.NaturalThreshold() if fpr is None else plane.GlobalFPR(fpr)


def _of(e: Estimate, t: int) -> str:
    return _span(*(float(x[t]) for x in (e.value, e.low, e.high)))


def _span(value: float, low: float, high: float) -> str:
    return f"{value:.3f} \\[{low:.3f}, {high:.3f}]" if math.isfinite(value) else "–"


def _epoch(value: float) -> str:
    return f"{value:g}" if math.isfinite(value) else "never"


def _recalls(found: EarlyDetermination, title: str, clock: Clock) -> Table:
    table = Table(title=title)
    for column in (
        clock.unit,
        "recall now",
        "null",
        "recall ever",
        "precision",
        "Jaccard",
        "chance",
    ):
        table.add_column(column, justify="right")
    for t, epoch in enumerate(found.checkpoints):
        table.add_row(
            f"{epoch:g}",
            _of(found.recall_now, t),
            f"{found.recall_now.null[t]:.3f}",
            _of(found.recall_ever, t),
            _of(found.precision, t),
            _of(found.jaccard, t),
            f"{found.chance.value[t]:.3f}",
        )
    return table


def _proxies(told: Any, share: float, clock: Clock) -> Table:
    first = next(iter(told.values()))
    table = Table(
        title=f"without the attack: {first.runs} runs watched, their top {share:g} of members"
    )
    for column in (clock.unit, "from", "ρ", f"precision (chance {first.chance:.3f})", "AUC"):
        table.add_column(column, justify="right")
    for t, epoch in enumerate(first.checkpoints):
        for name, f in told.items():
            if math.isfinite(f.rho[t, 0]):
                spans = (_span(*map(float, v[t])) for v in (f.rho, f.precision, f.auc))
                table.add_row(f"{epoch:g}", PROXIES.get(name, name), *spans)
    return table


@dynamics.command("difficulty")
def difficulty_command(
    run: RunFolder,
    attack: AttackName = "lira",
    fpr: Fpr = None,
    aside: Aside = 0.25,
    column: Annotated[
        Path | None,
        typer.Option(
            help="Your own difficulty: a CSV file with the columns id, value; ids of what is judged."
        ),
    ] = None,
    depth: Annotated[
        bool, typer.Option(help="Prediction depth too: needs the weights kept at the end.")
    ] = False,
    factory: Factory = None,
    unit: UnitName = None,
) -> None:
    """Print rank correlations of learning difficulty with vulnerability.

    Difficulty comes from runs that the attack does not use; that of a subject is the mean over its
    records.

    Examples:

        seepage dynamics difficulty runs/digits --depth

        seepage dynamics difficulty runs/digits --column mine.csv
    """
    import numpy as np

    from seepage import plane
    from seepage.findings.subjects import by_unit
    from seepage.fleet.kept import kept_depth
    from seepage.metrics import Subjects

    opened = pool_of_run(run)
    # Read first: what cannot be read is found before anything is scored.
    counted, who = by_unit(opened, judged_unit(opened, unit))
    own = {} if column is None else {column.stem: _own(column, counted.ids.tolist())}
    paths, apart = _apart(opened, attack, fpr, aside, who)
    columns: dict[str, Any] = {}
    if {"loss", "correct"} <= set(opened.signals):
        columns |= plane.learning_difficulty(counted, apart).as_dict()
    if depth:
        with errors.status("probing layers"):
            depths = kept_depth(opened, apart, model=factory)
            if isinstance(who, Subjects):
                depths = np.asarray(who.scores(depths)) / who.sizes
            columns["prediction_depth"] = depths
    columns |= own
    if not columns:
        raise InputError("signals: expected loss and correct, or --column; neither is there")
    table = Table(
        title=f"{escape(run)}: {paths.models} models attacked, {len(apart)} for difficulty"
    )
    for head in ("difficulty", "ρ with final advantage", "under permuted membership", "samples"):
        table.add_column(head, justify="right")
    rng = np.random.default_rng(0)
    for name, values in columns.items():
        try:
            c = plane.spearman(values, paths.advantage[-1], rng)
            n = plane.spearman(values, paths.null[0].advantage[-1], rng)
        except InputError as error:
            table.add_row(escape(name.replace("_", " ")), escape(str(error)), "", "")
            continue
        table.add_row(
            name.replace("_", " "),
            _span(c.rho, c.low, c.high),
            _span(n.rho, n.low, n.high),
            str(c.n),
        )
    console.print(table)


def _own(path: Path, ids: list[str]) -> Float64Array:
    """The user's values by id, in the order of the pool; NaN for samples that the file lacks."""
    import numpy as np

    from seepage.data.reading import check_regular, reading

    path = local_path(path, "--column")
    held: dict[str, float] = {}
    with reading(path, "a CSV file with the columns id and value"):
        check_regular(path, "a CSV file")
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                if not {"id", "value"} <= set(reader.fieldnames or ()):
                    raise InputError(
                        f"{path}: expected the columns id and value, got "
                        f"{str(reader.fieldnames)[:100]}; name them in the first line"
                    )
                for row in reader:
                    name, text = row["id"], row["value"]
                    if name in held:
                        raise InputError(f"{path}: expected every id once, got {name!r} twice")
                    try:
                        held[name] = float(text)
                    except (TypeError, ValueError):
                        held[name] = math.nan
                    if not math.isfinite(held[name]):
                        raise InputError(
                            f"{path}: expected a number for every id, got {text!r} for {name!r}; "
                            "leave out rows without one"
                        )
        except (UnicodeDecodeError, csv.Error) as e:
            raise InputError(f"{path}: cannot be read as id, value ({e}); save it again") from None
    if not any(i in held for i in ids):
        raise InputError(f"{path}: expected ids of the pool such as {ids[0]!r}, found none of them")
    return np.array([held.get(i, np.nan) for i in ids])
