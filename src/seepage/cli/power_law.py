"""`power-law`: how the risk of a recipe falls with examples per class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from seepage.cli.app import app
from seepage.cli.arguments import AttackName, judged_run
from seepage.cli.console import console, errors
from seepage.cli.figures import interval

if TYPE_CHECKING:
    from seepage.metrics.power_law import Range


@app.command("power-law")
def power_law(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Run folders, three or more, of one recipe and pools of different size."
        ),
    ],
    attack: AttackName = "lira",
    fpr: Annotated[float, typer.Option(help="False-positive rate of the TPR.")] = 0.1,
    advantage: Annotated[
        float, typer.Option(help="TPR − FPR that is to be reached: how many examples it needs.")
    ] = 0.01,
    level: Annotated[float, typer.Option(help="Confidence of intervals.")] = 0.95,
) -> None:
    """How the risk falls with examples per class: log(TPR − FPR) against log S, and the S that is needed.

    Of heads on fixed features theory says a slope of −½: a quarter of the risk needs sixteen times
    the examples.

    Example: `seepage power-law runs/s32 runs/s64 runs/s128 runs/s256 --advantage 0.02`
    """
    from seepage.config.chosen_attacks import chosen_attacks
    from seepage.errors import InputError
    from seepage.findings.power_law import power_law_of_runs

    if not 0 < fpr < 1:
        raise InputError(f"--fpr: expected a rate between 0 and 1, got {fpr}; use 0.1")
    if not 0 < advantage < 1:
        raise InputError(
            f"--advantage: expected TPR − FPR between 0 and 1, got {advantage}; use 0.01"
        )
    (chosen,) = chosen_attacks([attack], attack)
    opened = [judged_run(run) for run in runs]
    with errors.status("scoring"):
        found = power_law_of_runs(opened, chosen, fpr=fpr, level=level)
    law = found.law
    table = Table(title=f"{found.attack}: TPR at {100 * fpr:g} % FPR by examples per class")
    for column in ("run", "models", "examples per class", "TPR", "TPR − FPR", "the law"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for p in found.runs:
        at = law.advantage(p.shots)
        table.add_row(
            escape(p.path), f"{p.models}", f"{p.shots:.4g}", interval(p.rate.tpr),
            f"{p.advantage:.4f}", f"{at.value:.4f} \\[{at.low:.4f}, {at.high:.4f}]",
        )  # fmt: skip
    console.print(table)
    lines = [
        f"slope {_shown(law.slopes)}, intercept {_shown(law.intercepts)} ({100 * level:g} %)",
        f"members drawn from a population instead of from this pool, {100 * law.share:.0f} % of which a model "
        f"trains on: intercept about {law.intercept_of_population:.3f}",
        f"TPR − FPR of {advantage:g}: {_examples(law.needed(advantage), law.shots)}",
    ]
    if law.scatter > 1:
        lines.append(
            f"the runs lie {law.scatter:.1f} times as far from the law as their own errors say; "
            "intervals are widened by that"
        )
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _shown(r: Range) -> str:
    return f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]"


def _examples(r: Range, seen: tuple[float, float]) -> str:
    if not math.isfinite(r.value):
        return "never reached by this law, which does not fall"
    high = f"{r.high:,.0f}" if r.high < 1e15 else "without an upper end"
    beyond = "" if seen[0] <= r.value <= seen[1] else (
        f"; an extrapolation, {seen[0]:,.4g} to {seen[1]:,.4g} were seen"
    )  # fmt: skip
    value = f"{r.value:,.0f}" if r.value < 1e15 else f"{r.value:.1e}"
    return f"{value} examples per class [{r.low:,.0f}, {high}]{beyond}"
