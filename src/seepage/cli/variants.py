"""A run as its models are released, for `attack`, `check` and `audit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from seepage.cli.arguments import about, keep
from seepage.cli.console import console, errors
from seepage.cli.figures import interval, rate

if TYPE_CHECKING:
    from seepage.array_types import Float64Array
    from seepage.attacks import Attack
    from seepage.findings.variant_result import Variants
    from seepage.fleet.rebuild import Factory
    from seepage.metrics import Unit
    from seepage.store import Run

__all__ = ["every_as_released", "variants_of", "variants_table"]


def variants_of(
    run: Run, wanted: Sequence[str], attacks: Sequence[Attack], factory: Factory | None, unit: Unit
) -> None:
    """Judge a run as released, print a row per variant and the verdict, keep it for the report."""
    from seepage.findings.variants import variants

    with errors.status("judging variants"):
        found = variants(run, wanted, attacks=attacks, model=factory, unit=unit)
    keep(run, "variants", found.summary())
    console.print(variants_table(found, f"{about(unit)}, last checkpoint"))
    worst, figure = found.worst
    shown = interval(figure.estimate).replace("\\[", "[")
    text = f"as released: {worst.name} by {figure.attack}, AUC {shown}"
    if figure.compared > 1:
        text += f", strongest of {figure.compared} pairs of attack and variant"
    console.print(f"{text}: {found.said}", markup=False, soft_wrap=True)
    for why, names, on in found.skipped:
        where = "any variant" if len(on) == len(found.found) else ", ".join(on)
        console.print(
            f"not run on {where}: {', '.join(names)} ({why})", markup=False, soft_wrap=True
        )
    if found.left_out:
        console.print(found.left_out, markup=False, soft_wrap=True)


def variants_table(found: Variants, whose: str) -> Table:
    """A row per variant, with its strongest attack."""
    table = Table(title=f"{escape(found.path)}: as trained and as released{whose}")
    table.add_column("variant")
    for column in ("accuracy", "strongest", "AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR", "verdict"):
        table.add_column(column, justify="right")
    for v in found.found:
        best = v.strongest
        table.add_row(
            escape(v.name),
            f"{v.members:.3f} members\n{v.others:.3f} others" if v.members == v.members else "–",
            escape(best.attack),
            interval(best.estimate)
            + (f"\nnoise {v.null_auc:.4f}" if v.null_auc == v.null_auc else ""),
            *(rate(r) for r in v.rates),
            v.said if v.judged else f"{v.said}\n(for comparison)",
        )
    return table


def every_as_released(
    run: Run,
    wanted: Sequence[str],
    named: Sequence[Attack],
    others: Sequence[Attack],
    factory: Factory | None,
    unit: Unit,
) -> tuple[Any, list[str], dict[str, Float64Array], dict[str, str], str]:
    """What `check` judges: every attack on every variant, as one choice.

    The samples that are judged; the names of pairs that were asked for; scores (R, N) or (R, G) of
    all pairs, by "attack as variant"; why others do not run; what is left out, in words.
    """
    from seepage.config.release import as_variants
    from seepage.findings.variants import scores_as_released, sources

    with errors.status("judging variants"):
        held = sources(run, as_variants(list(wanted), "--as"), [*named, *others], model=factory)
        scores: dict[str, Float64Array] = {}
        skipped: dict[str, str] = {}
        for name, source in held.found.items():
            found, why = scores_as_released(source, held.attacks, unit)
            scores |= {f"{a} as {name}": values for a, (_, values) in found.items()}
            skipped |= {f"{a} as {name}": reason for a, reason in why.items()}
    asked = {a.name for a in named}
    pairs = [pair for pair in scores if pair.split(" as ")[0] in asked]
    return next(iter(held.found.values())), pairs, scores, skipped, held.left_out
