"""Arguments and options that several commands take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seepage.errors import InputError

if TYPE_CHECKING:
    from seepage.metrics import Unit
    from seepage.store import Run

__all__ = [
    "AttackName",
    "AttackNames",
    "ConfigFile",
    "DividedBy",
    "Factory",
    "Out",
    "Overrides",
    "ReleasedAs",
    "RunFolder",
    "Shard",
    "UnitName",
    "about",
    "gated_run",
    "judged_run",
    "judged_unit",
    "keep",
    "opened_run",
    "options_of",
    "pool_of_run",
    "some",
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
        "--attack", "-a", help="The attack that is scored: a name, or 'package.module:Name'."
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
    typer.Option(
        "--model",
        help="Your factory again, 'package.module:factory' or 'file.py:factory', if it was one: a name "
        "in the folder is never imported.",
    ),
]
UnitName = Annotated[
    Literal["sample", "subject"] | None,
    typer.Option(
        "--unit",
        help="What figures count; by default subjects where the run has groups of samples.",
    ),
]
DividedBy = Annotated[
    list[str] | None,
    typer.Option(
        "--by",
        help="Within parts of the pool: 'class', 'correctness', 'difficulty', a column of the table, or a "
        "file NAME.csv with the columns id and a value. Repeatable.",
    ),
]
ReleasedAs = Annotated[
    list[str] | None,
    typer.Option(
        "--as",
        help="As released: 'label-only', 'top-1', 'rounded-2', 'temperature-2', 'int8', 'bf16', "
        "'pruned-0.5', 'as-trained', several joined by +. Repeatable; the worst decides.",
    ),
]


def options_of(given: list[str] | None) -> dict[str, Any]:
    """What --option says: name=value, values as JSON has them, other texts as they stand."""
    found: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--option: expected name=value, got {text!r}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
        except RecursionError:
            raise InputError(
                f"--option: expected a value, got brackets too deep in {text[:40]!r}…; correct it"
            ) from None
    return found


def opened_run(path: str) -> Run:
    """The run, its manifest, plan, pool and records compared; a note where planned runs are missing."""
    from seepage.cli.console import errors
    from seepage.store import open_run

    run = open_run(path)
    # Whatever the command reads of it: raises where plan or pool are not those of the manifest.
    _ = run.digest
    gone = {"missing": run.missing, "failed": tuple(sorted(run.failed))}
    if not len(run.models):
        raise InputError(
            f"{path}: expected a run with models to say something of, got none of the {run.planned} planned; train "
            "into it again, or remove it"
        )
    if any(gone.values()):
        planned = run.planned
        told = "; ".join(f"{word}: {some(rows)}" for word, rows in gone.items() if rows)
        errors.print(
            f"note: {path}: {len(run.models)} of {planned} planned runs are there ({told}); "
            "figures are of those",
            markup=False,
            soft_wrap=True,
        )
    return run


def judged_run(path: str) -> Run:
    """`opened_run` of a command that prints figures: what contradicts itself, or was doubted, is said first."""
    from seepage.cli.gate import say_warning
    from seepage.findings.notes import import_doubts
    from seepage.fleet.contradictions import contradictions

    run = opened_run(path)
    for text in (*contradictions(run).words, *import_doubts(run)):
        say_warning(path, text)
    return run


def pool_of_run(path: str) -> Run:
    """`judged_run` without texts that were added to its pool to be found: they are no part of what it holds."""
    from seepage.findings.unjudged import of_pool

    run: Run = of_pool(judged_run(path))
    return run


def gated_run(path: str, *, learnt_nothing: bool) -> tuple[Run, str]:
    """`opened_run` of a gate, and why no limit holds for it, or "".

    No limit holds where members' answers tell nothing of their labels; learnt_nothing: they are
    judged, because the models truly learnt nothing, and a warning says so.

    Raises InputError where lists of members are not their models' own, or models are copies of one.
    """
    from seepage.cli.gate import say_warning
    from seepage.findings.notes import import_doubts
    from seepage.fleet.contradictions import contradictions

    run = opened_run(path)
    for doubt in import_doubts(run):
        say_warning(path, doubt)
    found = contradictions(run)
    if found.alike or found.lists:
        said = found.alike or "; ".join(w for w in found.words if w in (found.lists, found.answers))
        raise InputError(f"{path}: {said}; no limit is compared with such figures")
    if found.answers and learnt_nothing:
        say_warning(path, found.answers)
        return run, ""
    return run, found.answers


def keep(run: Run, name: str, content: Mapping[str, Any]) -> None:
    """Keep what was found out for the next report; a note where the folder could not be written."""
    from seepage.cli.console import errors
    from seepage.fleet.kept import keep_result

    kept = keep_result(run, name, content)
    if not kept.startswith(run.path):
        text = f"note: {run.path} cannot be written; the next report reads {kept}"
        errors.print(text, markup=False, soft_wrap=True)


def some(rows: Sequence[int]) -> str:
    """The first plan rows of many."""
    return ", ".join(map(str, rows[:12])) + ("…" if len(rows) > 12 else "")


def judged_unit(run: Run, asked: str | None) -> Unit:
    """Samples or subjects, as requested; by default subjects where the run knows whose samples are."""
    from seepage.metrics import Samples, unit_of

    if asked == "subject" and run.groups is None:
        raise InputError(
            f"--unit subject: expected a run whose data has groups, got none in {run.path}; train "
            "with a dataset whose `groups` say whose each sample is"
        )
    return Samples() if asked == "sample" else unit_of(run.groups)


def about(unit: Unit) -> str:
    """How a title names what is counted: nothing for samples."""
    from seepage.metrics import Subjects

    return f", by subject ({len(unit.names)})" if isinstance(unit, Subjects) else ""
