"""The application that every command registers itself on."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    name="seepage",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib import metadata

        typer.echo(f"seepage {metadata.version('seepage')}")
        raise typer.Exit


@app.callback()
def entry(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Shows when, where and for whom a neural network leaks its training data."""
