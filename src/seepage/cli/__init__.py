"""The command line: parses, calls, prints. Everything it does the Python API does too."""

from __future__ import annotations

import sys

import typer

from seepage.cli.console import errors
from seepage.errors import SeepageError

__all__ = ["app", "main"]

app = typer.Typer(
    name="seepage",
    help="Shows when, where and for whom a neural network leaks its training data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry of the `seepage` command.

    Exit status: 0 done, 1 a check that did not hold, 2 bad input (one line on standard error),
    130 interrupted (run the same command again to go on).
    """
    from seepage.cli import commands  # noqa: F401 - registers every command on `app`

    try:
        app(standalone_mode=True)
    except SeepageError as e:
        errors.print(f"[bold red]seepage:[/] {' '.join(str(e).split())}", soft_wrap=True)
        sys.exit(e.exit_status)
    except KeyboardInterrupt:
        errors.print("seepage: interrupted; run the same command again to go on")
        sys.exit(130)
