"""The application that every command registers itself on."""

from __future__ import annotations

import typer

__all__ = ["app"]

app = typer.Typer(
    name="seepage",
    help="Shows when, where and for whom a neural network leaks its training data.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
