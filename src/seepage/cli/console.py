"""What a terminal sees: progress of a fleet, tables, one-line errors."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["FleetBar", "Terminal", "console", "errors"]

# Into a file or a pipe nothing is cut off: only a terminal has an edge.
console = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 160)
errors = Console(
    stderr=True, highlight=False, emoji=False, width=None if sys.stderr.isatty() else 160
)


class FleetBar:
    """A bar for the whole fleet with the time left, and a line for every run that ends."""

    def __init__(self) -> None:
        self.bar: Progress | None = None
        self.epochs: dict[int, float] = {}
        self.per_run = 1.0
        self.began = 0.0
        self.ended = 0
        self.total = 0
        self.before: Any = None

    def beginning(self, epochs: float) -> None:
        """The weights to start from have been trained for so many epochs."""
        text = f"training the weights to start from · {epochs:.0f} epochs"
        if self.before is None:
            self.before = errors.status(text)
            self.before.start()
        self.before.update(text)

    def begun(self) -> None:
        """They are there, or will not be."""
        if self.before is not None:
            self.before.stop()
            self.before = None

    def start(self, rows: list[int], epochs: float) -> None:
        """The fleet begins."""
        self.begun()
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.per_run, self.total, self.began = epochs, len(rows), time.monotonic()
        self.bar = Progress(
            TextColumn("[bold]training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("runs · {task.fields[epochs]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=errors,
        )
        self.task = self.bar.add_task("fleet", total=float(len(rows)), epochs="")
        self.bar.start()

    def _show(self) -> None:
        assert self.bar is not None
        partial = sum(min(e / self.per_run, 1.0) for e in self.epochs.values())
        self.bar.update(
            self.task,
            completed=round(self.ended + partial, 3),
            epochs=f"{sum(self.epochs.values()) + self.ended * self.per_run:.0f} epochs",
        )

    def progress(self, row: int, epoch: float) -> None:
        """A run has done so many epochs."""
        self.epochs[row] = epoch
        self._show()

    def done(self, row: int, record: dict[str, Any]) -> None:
        """A line for a run that ended."""
        self.epochs.pop(row, None)
        self.ended += 1
        assert self.bar is not None
        if record["status"] == "failed":
            self.bar.console.print(f"run {row:4d}  [red]failed[/]: {escape(record['why'])}")
        else:
            last = record["accuracy"][-1] if record["accuracy"] else None
            accuracy = f"  accuracy of members {last[0]:.3f}, others {last[1]:.3f}" if last else ""
            if record.get("rmse"):
                inside, outside = record["rmse"][-1]
                accuracy = f"  RMSE of members {inside:.4g}, others {outside:.4g}"
            own = (record.get("facts") or {}).get("own_accuracy")
            if own and own[-1] is not None:
                accuracy += f"; your loop says {own[-1]:.3f} of members"
            self.bar.console.print(f"run {row:4d}  {record['seconds']:7.1f} s{accuracy}")
        self._show()

    def stop(self) -> None:
        """The fleet is over."""
        if self.bar is not None:
            self.bar.stop()


class Terminal:
    """Progress of studies and comparisons: lines on standard error, a bar per fleet."""

    def say(self, line: str) -> None:
        """One line, whatever it holds."""
        errors.print(line, markup=False, soft_wrap=True)

    def status(self, text: str) -> AbstractContextManager[Any]:
        """A line that turns while work is in progress."""
        return errors.status(escape(text))

    def watcher(self) -> FleetBar:
        """A bar of its own for every fleet."""
        return FleetBar()
