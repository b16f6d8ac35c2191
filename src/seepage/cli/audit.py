"""`audit`, `train`, `report`: the main job and its parts, and one model in the place of a fleet."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seepage.cli.app import app
from seepage.cli.arguments import (
    AttackNames,
    ConfigFile,
    DividedBy,
    Out,
    Overrides,
    ReleasedAs,
    RunFolder,
    Shard,
    UnitName,
    judged_unit,
    keep,
    opened_run,
)
from seepage.cli.console import FleetBar, console, errors
from seepage.cli.parts import slice_values
from seepage.cli.places import place_for
from seepage.errors import InputError

if TYPE_CHECKING:
    from seepage.config.audit import AuditConfig
    from seepage.config.prepare import Prepared
    from seepage.store import Run


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """ "3/16" -> (3, 16)."""
    if text is None:
        return None
    a, _, b = text.partition("/")
    if not re.fullmatch(r"[0-9]{1,9}/[0-9]{1,9}", text) or not 1 <= int(a) <= int(b):
        raise InputError(f"--shard: expected i/n with 1 <= i <= n such as 3/16, got {text!r}")
    return int(a), int(b)


def merged(given: list[str] | None, out: str | None) -> list[str]:
    return [*(given or []), *([f"out={out}"] if out is not None else [])]


# How `seepage audit --help` groups what is about one model.
_ONE: Any = {"rich_help_panel": "One model"}


def _none_of(options: Mapping[str, object], of: str, got: str) -> None:
    """Refuse options of the other job."""
    for name, value in options.items():
        if value:
            raise InputError(
                f"{name}: expected only with {of}, got it with {got}; leave it out, or see "
                "`seepage audit --help`"
            )


@app.command()
def audit(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONFIG.toml|MODEL]",
            help="TOML configuration of a fleet; without one, digits with defaults. Or one trained "
            "model, 'package.module:factory' or 'file.py:factory', with --members and --others.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", help="Run folder or s3:// address; of one model, its HTML page."
        ),
    ] = None,
    report: Annotated[str | None, typer.Option(help="Where the HTML report goes.")] = None,
    override: Overrides = None,
    shard: Shard = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what it would cost, train nothing.")
    ] = False,
    members: Annotated[
        str | None,
        typer.Option(
            help="One model: an .npz of inputs and labels that it was trained on.", **_ONE
        ),
    ] = None,
    others: Annotated[
        str | None,
        typer.Option(help="An .npz of what it was not trained on, drawn alike.", **_ONE),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights for the factory: .safetensors or .pt.", **_ONE)
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="What labels are: classification, binary, multi-label, regression or soft-labels; by "
            "default regression of a regressor, else classification.",
            **_ONE,
        ),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            help="Regression: standard deviation of the noise; by default that of the others' residuals.",
            **_ONE,
        ),
    ] = None,
    logits: Annotated[
        bool | None,
        typer.Option(
            "--logits/--probabilities",
            help="What the model gives; by default a network logits, others probabilities.",
            **_ONE,
        ),
    ] = None,
    references: Annotated[
        str | None,
        typer.Option(
            help="How many references to train at most, an even number; or an .npz of recorded ones: "
            "member (R, N), members and then others, and logits, probabilities or signals.",
            **_ONE,
        ),
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(
            help="A function (inputs, labels, seed) -> model that trains references.", **_ONE
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Train references from MODEL's factory: a TOML with [recipe], and [execution] if "
            "needed.",
            **_ONE,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Budget of references that are trained: as many as it allows; 20 where --references "
            "says no number.",
            **_ONE,
        ),
    ] = None,
    folder: Annotated[
        str | None,
        typer.Option(
            help="Run folder or s3:// address that keeps trained references: an interrupted audit "
            "goes on, more minutes add to it.",
            **_ONE,
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that train; by default one per core.", **_ONE)
    ] = None,
    batch: Annotated[int, typer.Option(help="Samples per call.", **_ONE)] = 64,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds until an answer of a function is late.", **_ONE)
    ] = None,
    retries: Annotated[
        int, typer.Option(help="Further calls after an error or a late answer.", **_ONE)
    ] = 2,
    cache: Annotated[
        str | None,
        typer.Option(help="A file that keeps answers: an interrupted audit goes on.", **_ONE),
    ] = None,
    drop_copies: Annotated[
        bool, typer.Option("--drop-copies", help="Take copies of members out of others.", **_ONE)
    ] = False,
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help="Judge a model that answers at random.", **_ONE),
    ] = False,
    curvature: Annotated[
        bool,
        typer.Option("--curvature", help="Measure input curvature of a network too.", **_ONE),
    ] = False,
    released_as: ReleasedAs = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            help="Within parts: 'class', with references 'correctness' and 'difficulty', or a file NAME.csv "
            "with the columns id and a value. Repeatable.",
            **_ONE,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", **_ONE)] = False,
) -> None:
    """Audit a fleet, trained from a configuration, or one model that is trained already.

    From a configuration: train the fleet, run every attack and write the report. Runs that are
    there already are kept; after an interruption the same command resumes.

    Of one model: ask it about members and others, and print what its answers tell
    (docs/one-model.md). Without MODEL the files hold its recorded outputs.

    Examples:

        seepage audit

        seepage audit fashion.toml --set plan.models=64 --out runs/fashion

        seepage audit fashion.toml --dry-run

        seepage audit net.py:make --weights w.safetensors --members m.npz --others o.npz --as int8

        seepage audit net.py:make --weights w.safetensors --members m.npz --others o.npz --by class

        seepage audit net.py:make --weights w.safetensors --members m.npz --others o.npz
        --recipe recipe.toml --references 16 --minutes 20 --folder runs/references
    """
    from seepage.extensions import outside

    if members is not None or others is not None or outside(what or ""):
        from seepage.cli.one_model import OneModel, audit_one

        fleets = {"--set": override, "--shard": shard, "--dry-run": dry_run}
        _none_of(fleets, "a configuration", "one model")
        audit_one(
            OneModel(
                model=what,
                members=members,
                others=others,
                weights=weights,
                task=task,
                logits=logits,
                noise=noise,
                references=references,
                train=train,
                recipe=recipe,
                minutes=minutes,
                folder=folder,
                workers=workers,
                batch=batch,
                timeout=timeout,
                retries=retries,
                cache=cache,
                drop_copies=drop_copies,
                accept_changes=accept_changes,
                curvature=curvature,
                released_as=tuple(released_as or ()),
                by=tuple(by or ()),
                page=out if out is not None else report,
                as_json=as_json,
            )
        )
        return
    _none_of(
        {
            "--weights": weights,
            "--task": task,
            "--noise": noise is not None,
            "--logits": logits is not None,
            "--references": references,
            "--train": train,
            "--recipe": recipe,
            "--minutes": minutes is not None,
            "--folder": folder,
            "--workers": workers is not None,
            "--cache": cache,
            "--by": by,
            "--json": as_json,
        },
        "one model",
        "a configuration",
    )
    from seepage.config.audit import read_config
    from seepage.config.prepare import prepare

    config = None if what is None else Path(what)
    began = time.perf_counter()
    part = parse_shard(shard)
    named = [f"release={json.dumps(released_as)}"] if released_as else []
    settings = read_config(config, [*merged(override, out), *named])
    asked = settings.report if report is None else report
    if asked is None:
        place = _beside(settings.out)
    else:
        option = "report" if report is None else "--report"
        place = place_for(asked, option, suffixes=(".html", ".htm"), later=settings.out)
    if not dry_run:
        _expect_workers(settings)
    wanted = prepare(settings)
    if dry_run:
        from seepage.cli.cost import print_cost

        print_cost(wanted)
        return
    run = _trained(wanted, part)
    if len(run.models) + len(run.failed) < wanted.plan.models:
        errors.print(
            f"{run.path}: {len(run.models)} of {wanted.plan.models} runs are done; "
            "the report is written when all are",
            markup=False,
            soft_wrap=True,
        )
        return
    _audited(run, place, wanted)
    _next(run)
    errors.print(f"audit took {time.perf_counter() - began:.1f} s")


@app.command("train")
def train_command(
    config: ConfigFile = None, out: Out = None, override: Overrides = None, shard: Shard = None
) -> None:
    """Train the fleet only: fill the run folder with signals.

    Example: `seepage train fashion.toml --shard 3/16`
    """
    from seepage.config.audit import read_config
    from seepage.config.prepare import prepare

    part = parse_shard(shard)
    settings = read_config(config, merged(override, out))
    _expect_workers(settings)
    run = _trained(prepare(settings), part)
    if run.failed and not len(run.models):
        first, why = next(iter(run.failed.items()))
        raise InputError(
            f"{run.path}: expected runs that converge, all {len(run.failed)} failed, run {first} "
            f"with: {why}; lower recipe.lr and choose another folder"
        )
    console.print(str(run), markup=False, soft_wrap=True)


@app.command("report")
def report_command(
    run: RunFolder,
    path: Annotated[
        Path | None,
        typer.Argument(help="The HTML file to write; by default report.html in the run folder."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The HTML file to write, as PATH.")
    ] = None,
    name: AttackNames = None,
    unit: UnitName = None,
    by: DividedBy = None,
) -> None:
    """Write the report of a run folder again, with today's attacks.

    Examples:

        seepage report runs/digits

        seepage report runs/digits --out report.html -a lira -a mine.attacks:Mine
    """
    from seepage.config.chosen_attacks import chosen_attacks

    if path is not None and out is not None:
        raise InputError(f"path, --out: expected one of them, got {path} and {out}; choose")
    given = out if path is None else path
    option = "path" if out is None else "--out"
    if given is None:
        given = _beside(run)
    place = place_for(given, option, suffixes=(".html", ".htm"), later=run)
    opened = opened_run(run)
    chosen = chosen_attacks(name, name[0]) if name else None
    names, values = slice_values(by or (), opened.ids.tolist())
    _report(opened, place, chosen, judged_unit(opened, unit), names, values)


def _beside(run: str) -> Path:
    """Where the report of a run goes unless told otherwise: into its folder, as `audit` writes it.

    Of a run in an object store into the folder that the command is called in.
    """
    return (Path() if "://" in run else Path(run)) / "report.html"


def _expect_workers(settings: AuditConfig) -> None:
    """Have workers start beside what is prepared for them, where a new fleet will need them."""
    new = "://" in settings.out or not os.path.exists(f"{settings.out}/manifest.json")
    if new and settings.execution.executor == "local":
        from seepage.fleet.fork_server import expect_workers

        expect_workers(settings.execution.threads)


def _trained(wanted: Prepared, part: tuple[int, int] | None) -> Run:
    """The fleet, trained; of a training function of the user's own what was seen of it."""
    from seepage.fleet import train_prepared

    bar = FleetBar()
    try:
        run = train_prepared(wanted, bar, part, bar.beginning)
    finally:
        bar.begun()
    tried = run.manifest["provenance"].get("function_check")
    if tried is not None:
        from seepage.findings.notes import function_check

        errors.print(function_check(tried), markup=False, soft_wrap=True)
    return run


def _audited(run: Run, place: Path, wanted: Prepared) -> None:
    """The report of what was trained; what it tells of labels, and as released, where that is asked."""
    from seepage.models import known

    # Runs rebuild networks of their own by name; of a user's they are told which.
    named = wanted.config.model
    model = None if known(named.name) else named
    if wanted.game is not None:
        from seepage.cli.labels import print_labels
        from seepage.findings.label_inference import label_inference_of_run

        told = label_inference_of_run(run, wanted.game, model=model)
        print_labels(run, told)
        keep(run, "labels", told.summary())
    if not wanted.config.release:
        _report(run, place, wanted.attacks)
        return
    from seepage.cli.variants import variants_of

    refused = None
    try:
        variants_of(run, wanted.config.release, wanted.attacks, model, judged_unit(run, None))
    except InputError as error:
        # What was trained is reported all the same.
        refused = error
    _report(run, place, wanted.attacks)
    if refused is not None:
        raise refused


def _report(
    run: Any,
    path: Path,
    attacks: Any,
    unit: Any = None,
    by: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> None:
    from seepage.attacks import usual
    from seepage.findings import collect
    from seepage.findings.unjudged import unjudged
    from seepage.report import write_report
    from seepage.report.words import first_screen
    from seepage.tokens import holds_tokens

    with errors.status("scoring"):
        data = run.data()
        found = collect(run, attacks=attacks, data=data, unit=unit, by=by, slices=values)
        written = write_report(run, path, findings=found, data=data)
    without = unjudged(run, attacks or usual(tokens=holds_tokens(run)))
    if without.words:
        console.print(without.words, markup=False, soft_wrap=True)
    first = first_screen(found)
    console.print(first.headline, style="bold", markup=False, soft_wrap=True)
    for a in first.answers:
        console.print(f"{a.question:10} {a.figure} {a.words}", markup=False, soft_wrap=True)
    for about, words in first.warnings:
        console.print(f"{about} {words}", style="yellow", markup=False, soft_wrap=True)
    console.print(f"report: {written}", markup=False, soft_wrap=True)


def _next(run: Run) -> None:
    """What a first audit is usually followed by."""
    from seepage.signals.tasks import task

    commands = [
        (f"seepage check {run.path} --max-auc 0.6", "a limit to hold, by exit status"),
        (f"seepage dynamics show {run.path}", "when it leaks"),
        (f"seepage verify {run.path}", "that the evidence is what was written"),
    ]
    classes = task(run.manifest["data"].get("task", "classification")).classes
    if classes and run.keeps_weights(0):
        commands.insert(2, (f"seepage layers {run.path}", "where it leaks"))
    for command, what in commands:
        console.print(f"next: {command}  ({what})", markup=False, soft_wrap=True)
