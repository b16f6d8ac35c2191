"""`doctor`, `audit --dry-run`: what this machine does fastest, and what an audit will cost."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from seepage.cli.app import app
from seepage.cli.arguments import ConfigFile, Overrides
from seepage.cli.console import console, errors

if TYPE_CHECKING:
    from seepage.config.prepare import Prepared

__all__ = ["print_cost"]


@app.command()
def doctor(config: ConfigFile = None, override: Overrides = None) -> None:
    """Print what this machine does fastest for a configuration, and what would be chosen.

    Example: `seepage doctor fashion.toml`
    """
    from seepage.config.audit import read_config
    from seepage.config.prepare import prepare
    from seepage.fleet.machine import diagnose

    wanted = prepare(read_config(config, override or ()))
    table = Table(title="doctor", show_header=False)
    for line in diagnose(wanted.data, wanted.config.model, wanted.config.recipe):
        table.add_row(*(escape(cell) for cell in line))
    console.print(table)


def span(seconds: float) -> str:
    """Seconds as a person says them.

    >>> span(0.21), span(75), span(9000)
    ('0.2 s', '1 min 15 s', '2 h 30 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Bytes in the unit that keeps them short.

    >>> size(900), size(3 * 2**20), size(5.5 * 2**40)
    ('900 B', '3.0 MiB', '5.5 TiB')
    """
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def print_cost(audit: Prepared) -> None:
    """Train a few real steps, evaluate a few batches, and print what the whole would take."""
    import numpy as np

    from seepage.config.function import as_function
    from seepage.fleet.cost import estimate, interval_width, measure, workload
    from seepage.fleet.disk import free_bytes
    from seepage.fleet.pretrained import untrained

    c = audit.config
    model = c.model
    with (
        tempfile.TemporaryDirectory(prefix="seepage-cost-") as folder,
        errors.status("training a few steps"),
    ):
        if audit.start is not None:
            model = untrained(audit.start, c.model, folder)
        rates, workers = measure(
            audit.data,
            audit.plan,
            c.recipe,
            audit.attacks,
            model=model,
            record=c.record,
            execution=c.execution,
            function=as_function(c.train),
            defense=audit.defense,
            reference=audit.reference,
        )
        work = workload(audit.data, audit.plan, c.recipe, model, c.record, as_function(c.train))
    cost = estimate(work, rates, workers)
    if audit.start is not None:
        # Its own recipe; a step takes as long as its batch is larger.
        first = c.start.recipe
        steps = first.epochs * max(1, len(audit.start) // first.batch)
        cost.seconds["the weights to start from"] = (
            steps * rates.step * first.batch / c.recipe.batch
        )
    table = Table(
        title=f"{work.models} models × {work.checkpoints} checkpoints × {work.samples} samples, "
        f"{workers} workers"
    )
    for column in ("", "part", "estimate"):
        table.add_column(column, justify="right" if column == "estimate" else "left")
    for name, parts, total, show in (
        ("time", cost.seconds, cost.total_seconds, span),
        ("disk", cost.disk, cost.total_disk, size),
        ("memory", cost.memory, cost.peak_memory, size),
    ):
        for i, (part, value) in enumerate(parts.items()):
            table.add_row(name if i == 0 else "", part, show(value))
        table.add_row("", "at most" if name == "memory" else "together", f"[bold]{show(total)}[/]")
        table.add_section()
    console.print(table)
    free = free_bytes(c.out)
    if free is not None:
        fits = "" if cost.total_disk <= free else ", which is not enough"
        console.print(f"Free on the disk of {c.out}: {size(free)}{fits}.", markup=False)
    extra = c.record.measured(c.record.times(c.recipe.epochs))
    if extra:
        names = ", ".join(name for e in extra for name in e.names)
        console.print(f"Not counted above, and possibly slow: {names}.", markup=False)
    own = as_function(c.train)
    if own is not None and own.network and own.check:
        console.print(
            f"Before it the training function is tried for up to {span(c.train.check_seconds)} "
            "(train.check = false leaves that out).",
            markup=False,
        )
    inside = audit.plan.member.sum(axis=0)
    few = np.minimum(inside, audit.plan.models - inside)
    if few.max() > 0:
        i = int(np.argsort(few)[len(few) // 2])
        n_in, n_out = int(inside[i]), int(audit.plan.models - inside[i])
        console.print(
            f"A sample is judged by {n_in} runs trained on it and {n_out} others: the 95 % interval "
            f"of how far training raises its signal (AUC) will be up to "
            f"{interval_width(max(n_in, 1), max(n_out, 1)):.2f} wide."
        )
