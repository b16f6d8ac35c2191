"""`verify`, `repair`, `serve`: run folders checked, repaired, watched."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seepage.cli.app import app
from seepage.cli.arguments import ConfigFile, Out, Overrides, RunFolder, some
from seepage.cli.audit import merged
from seepage.cli.console import FleetBar, console, errors
from seepage.errors import InputError

if TYPE_CHECKING:
    from seepage.store.verify import Verification


@app.command("verify")
def verify_command(
    run: RunFolder,
    digest: Annotated[
        str | None,
        typer.Option(
            help="The digest that it must have, as the report or an earlier call printed it."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Recompute every digest of a run folder and name what is missing, changed, swapped or foreign.

    Changes nothing. Exit status 0 when every planned run is there and every file is as it was
    written, 1 when not, or when the digest is not the one that was passed.

    Examples:

        seepage verify runs/digits

        seepage verify runs/digits --digest 5f0c2a… --json
    """
    from seepage.store.files import plain
    from seepage.store.verify import verify

    wanted = None if digest is None else digest.strip().lower()
    if wanted is not None and not re.fullmatch(r"[0-9a-f]{64}", wanted):
        raise InputError(
            f"--digest: expected 64 hexadecimal digits, got {digest!r}; copy it whole from the report"
        )
    found = verify(run)
    other = wanted is not None and wanted != found.digest
    if as_json:
        content = {**plain(found), "whole": found.whole, "expected": wanted}
        typer.echo(json.dumps(content, indent=1, sort_keys=True))
    else:
        _print_verification(found)
        if other:
            _line(f"digest: expected {wanted}, as passed, got {found.digest}")
    if other or not found.whole:
        raise typer.Exit(1)


def _line(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


def _print_verification(found: Verification) -> None:
    for damage in found.damage:
        _line(str(damage))
    if found.missing:
        _line(f"missing: {_rows(found.missing)} of {found.planned} planned: no record")
    for part in found.unchecked:
        _line(f"unchecked: {part}: this folder was written before its digest was kept")
    for key in found.unknown:
        _line(f"unknown: {key}: belongs to no run and is read by no command")
    failed = f", {_rows(found.failed)} failed" if found.failed else ""
    _line(
        f"{found.path}: format {found.format}, {len(found.done)} of {found.planned} planned runs "
        f"done{failed}; {found.checkpoints} checkpoints × {found.samples} samples; "
        f"{', '.join(found.signals)}; {found.chunks} chunks and {found.weights} weights compared"
    )
    _line(
        f"written {found.created or 'at an unknown time'} with {_pairs(found.versions)} on "
        f"{_pairs(found.hardware)}; code {found.code[:12] or 'unknown'}"
    )
    if found.whole:
        state = "whole: every file is as it was written"
    else:
        state = f"not whole: {len(found.damage)} files damaged, {len(found.missing)} runs missing"
    _line(state)
    _line(f"digest {found.digest}")


def _rows(rows: Sequence[int]) -> str:
    return f"run{'s' if len(rows) > 1 else ''} {some(rows)}"


def _pairs(values: Mapping[str, Any]) -> str:
    held = [f"{k} {v}" for k, v in values.items() if v not in (None, "", {})]
    return ", ".join(held) or "unknown"


@app.command()
def repair(config: ConfigFile = None, out: Out = None, override: Overrides = None) -> None:
    """Find what is damaged, swapped or missing and train only its runs again.

    Takes the configuration of the audit, because runs are repaired by training them. Of a folder
    that has none, such as one of references or of a call from Python, pass the folder: what is
    damaged is removed, and the call that trained it trains those runs again. Finds what
    `seepage verify` names.

    Examples:

        seepage repair fashion.toml

        seepage repair runs/references
    """
    from seepage.config.audit import read_config
    from seepage.config.prepare import prepare
    from seepage.fleet import train_prepared
    from seepage.fleet.repair import forget, remove_left_over
    from seepage.store.verify import verify

    if config is not None and (config / "manifest.json").is_file():
        if out or override:
            raise InputError("--out, --set: expected none with a run folder; leave them out")
        found = verify(config)
        for damage in found.damage:
            _line(str(damage))
        if not found.damage:
            remove_left_over(str(config))
            _line(f"{config}: every chunk is as it was written")
            return
        removed = forget(str(config), found.damage)
        _line(
            f"{config}: removed what is damaged of {len(removed)} runs; run what trained it again, "
            "and it trains these"
        )
        return
    wanted = prepare(read_config(config, merged(override, out)))
    found = verify(wanted.config.out)
    if found.whole:
        remove_left_over(wanted.config.out)
        _line(f"{wanted.config.out}: every chunk is as it was written")
        return
    for damage in found.damage:
        _line(str(damage))
    if found.missing:
        _line(f"missing: {_rows(found.missing)} of {found.planned} planned: no record")
    digests = forget(wanted.config.out, found.damage)
    run = train_prepared(wanted, FleetBar())
    same = sum(bool(d) and run.records[r].get("digests") == d for r, d in digests.items())
    more = f"; trained {len(found.missing)} that were missing" if found.missing else ""
    _line(f"repaired {len(digests)} runs, {same} bit-identical to what was lost{more}")


@app.command()
def serve(
    run: RunFolder,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=0, max=65535)] = 8765,
    records: Annotated[
        bool, typer.Option("--records", help="Name samples by their ids, not by their rows.")
    ] = False,
) -> None:
    """Watch a fleet train: a page on this machine only that follows the run folder.

    Prints the address with a token; without it the page shows nothing.

    Example: `seepage serve runs/digits`
    """
    from seepage.report.serve import serve as serve_run

    serve_run(
        run,
        port=port,
        records=records,
        announce=lambda url: errors.print(f"watching {run} at {url}", markup=False, soft_wrap=True),
    )
