"""What a run tells of the labels that it was trained on, as commands print it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from seepage.cli.console import console

if TYPE_CHECKING:
    from seepage.findings.label_inference import RunLabels
    from seepage.store import Run

__all__ = ["print_labels"]


def print_labels(run: Run, found: RunLabels, target: int | None = None) -> None:
    """The table, and whether it refutes the defence."""
    from seepage.findings.label_inference import label_rows

    of = f"{len(found.models)} models" if target is None else f"run {target}"
    title = f"{escape(run.path)}: labels of {of}, {found.accuracy.count:g} canaries each"
    table = Table(title=title)
    for column in ("figure", "value", "95 % interval", "what it is"):
        table.add_column(column, justify="right" if column[0] in "v9" else "left")
    for row in label_rows(found.summary()):
        table.add_row(*(escape(cell) for cell in row))
    console.print(table)
    if found.refutes_the_defence:
        console.print("The run refutes its defence: the bound is larger than what it promises.")
