"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AttackName",
    "AttackNames",
    "ConfigFile",
    "Factory",
    "Out",
    "Overrides",
    "RunFolder",
    "Shard",
]

ConfigFile = Annotated[
    Path | None, typer.Argument(help="TOML configuration; without one, digits with defaults.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="Override a field: `--set recipe.epochs=40`. Repeatable."),
]
Out = Annotated[str | None, typer.Option("--out", "-o", help="Run folder or s3:// address.")]
Shard = Annotated[
    str | None, typer.Option(help="Only part of the runs, for job arrays: `--shard 3/16`.")
]
RunFolder = Annotated[str, typer.Argument(help="A run folder, or an s3:// address.")]
AttackName = Annotated[
    str,
    typer.Option(
        "--attack", "-a", help="The attack that judges: a name, or 'package.module:Name'."
    ),
]
AttackNames = Annotated[
    list[str] | None,
    typer.Option(
        "--attack", "-a", help="Only these attacks: names, or 'package.module:Name'. Repeatable."
    ),
]
Factory = Annotated[
    str | None,
    typer.Option("--model", help="Your factory again, 'package.module:factory', if it was one."),
]
