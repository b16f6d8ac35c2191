"""`config`: every option with its type, default and one sentence."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from seepage.cli.app import app
from seepage.cli.console import console
from seepage.errors import InputError, nearest


@app.command("config")
def config_command(
    table: Annotated[
        str | None, typer.Argument(help="Only this table, such as recipe or plan.canaries.")
    ] = None,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="The whole reference as a Markdown page.")
    ] = False,
) -> None:
    """Print what a configuration file can say: field, type, default, meaning, example.

    Examples:

        seepage config

        seepage config record
    """
    from seepage.config.reference import entries, markdown

    if as_markdown:
        # Not the console: it would wrap what is written to a file.
        typer.echo(markdown(), nl=False)
        return
    rows = list(entries())
    tables = list(dict.fromkeys(e.name.rpartition(".")[0] for e in rows))
    if table is not None and table not in tables:
        raise InputError(
            f"table: expected one of the configuration, got {table!r}; {nearest(table, tables[1:])}"
        )
    for name in tables if table is None else [table]:
        shown = Table(title=escape(f"[{name}]") if name else "at the top", title_justify="left")
        for column in ("field", "type", "default", "what it says", "example"):
            shown.add_column(column, overflow="fold")
        for e in rows:
            if e.name.rpartition(".")[0] == name:
                field = e.name.rpartition(".")[2]
                cells = (field, e.type, e.default, e.description, f"{field} = {e.example}")
                shown.add_row(*(escape(c) for c in cells))
        console.print(shown)
