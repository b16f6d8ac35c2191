"""`check`: limits on what a run or one model leaks, by exit status and as JUnit XML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from seepage.cli.app import app
from seepage.cli.arguments import (
    Factory,
    ReleasedAs,
    UnitName,
    gated_run,
    judged_unit,
)
from seepage.cli.console import console, errors
from seepage.cli.gate import ended, judged_one, limits_of, print_judged
from seepage.cli.places import place_for
from seepage.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from seepage.attacks import Attack
    from seepage.config.limits import Limits
    from seepage.findings.gate import Judged, Scored
    from seepage.metrics import Unit
    from seepage.store import Run


@app.command()
def check(
    run: Annotated[
        str,
        typer.Argument(
            help="A run folder, an s3:// address, or the .json of one model's audit.",
        ),
    ],
    attack: Annotated[
        list[str] | None,
        typer.Option(
            "--attack",
            "-a",
            help="Judge by this attack too: a name, or 'package.module:Name'. Repeatable.",
        ),
    ] = None,
    max_auc: Annotated[float | None, typer.Option(help="Upper end of AUC's interval.")] = None,
    max_tpr: Annotated[
        list[str] | None,
        typer.Option(
            help="Upper end of the TPR's interval at an FPR: `--max-tpr 0.01@0.001`. Repeatable.",
        ),
    ] = None,
    fpr: Annotated[
        float, typer.Option(help="False-positive rate of a --max-tpr without one.")
    ] = 0.001,
    max_eps: Annotated[
        float | None, typer.Option(help="The ε that the run may show, its lower bound.")
    ] = None,
    delta: Annotated[float | None, typer.Option(help="δ of --max-eps; 1e-5 unless given.")] = None,
    max_exposed: Annotated[
        str | None,
        typer.Option(help="Exposed samples or subjects: 5 is a count, 0.05 a share of all."),
    ] = None,
    limits: Annotated[
        str | None,
        typer.Option(help="TOML file with a table [limits]; what is given here wins."),
    ] = None,
    junit: Annotated[
        str | None,
        typer.Option(help="Write JUnit XML here, a test case for every limit; ends in .xml."),
    ] = None,
    factory: Factory = None,
    unit: UnitName = None,
    released_as: ReleasedAs = None,
    learnt_nothing: Annotated[
        bool,
        typer.Option(
            "--learnt-nothing",
            help="Judge models too whose answers tell nothing of their members' labels: they truly learnt "
            "nothing, and labels and inputs are those of the training.",
        ),
    ] = False,
) -> None:
    """Gate a pipeline: exit status 1 when the measured risk may exceed the limits.

    Every attack that the recorded signals allow is run, and the strongest one is judged, the one
    that the report names too; attacks passed by name are judged and printed beside it. The *upper*
    end of the 95 % interval is compared, so that too few models fail rather than pass, and the
    largest upper end of all attacks, so that choosing among them hides nothing. Of a run with a
    fixed target that target is judged. A rate that so few non-members cannot resolve fails. With
    --as the models are judged as they are released, the strongest attack on the worst variant.
    Of ε there is only a lower bound: a limit fails where the run refutes it, or never could. Exposed
    are those whom the test names at an expected false share of 5 %; a limit below what the plan can
    name fails.
    Where members differ from non-members without any model, by their inputs alone, no limit holds.
    Where members' answers tell nothing of their labels, these or the inputs may be of another
    order, and no figure says anything: no limit holds, unless --learnt-nothing is given.

    Of one model, what `seepage audit MODEL … --out one.html` (or --json) wrote is judged by the same
    rule; one that was changed since is refused, and one without a verdict does not hold.

    Examples:

        seepage check runs/digits --max-auc 0.6 --max-tpr 0.01@0.001 --max-exposed 0.02

        seepage check runs/digits --limits limits.toml --junit leakage.xml

        seepage check one.json --max-auc 0.6
    """
    wanted = limits_of(
        limits, max_auc=max_auc, max_tpr=max_tpr or [], fpr=fpr, max_eps=max_eps, delta=delta,
        max_exposed=max_exposed,
    )  # fmt: skip
    place = None if junit is None else place_for(junit, "--junit", suffixes=(".xml",))
    if run.lower().endswith(".json"):
        other = {"--model": factory, "--unit": unit, "--as": released_as}
        given = [o for o, value in other.items() if value]
        found, why = judged_one(run, wanted, attack or [], given, learnt_nothing=learnt_nothing)
    else:
        found, why = _judged_run(
            run, wanted, attack or [], factory, unit, released_as, learnt_nothing=learnt_nothing
        )
    if place is not None:
        _write_junit(place, run, found, why)
    ended(run, found, why)


def _judged_run(
    path: str,
    limits: Limits,
    attacks: list[str],
    factory: str | None,
    unit: str | None,
    released_as: list[str] | None,
    *,
    learnt_nothing: bool,
) -> tuple[tuple[Judged, ...], str]:
    """Every limit on a run, printed; and why no limit holds for it, or ""."""
    from seepage.config.chosen_attacks import chosen_attacks
    from seepage.findings.blind import blind_of_run, shift_words
    from seepage.findings.gate import against, compared

    if released_as and limits.max_exposed is not None:
        raise InputError(
            "--max-exposed: expected without --as, because exposure is tested on models as they were "
            "trained; check it in a call of its own"
        )
    named = list(chosen_attacks(attacks, attacks[0])) if attacks else []
    whole, why = gated_run(path, learnt_nothing=learnt_nothing)
    unit_asked = judged_unit(whole, unit)
    if released_as:
        told = against(limits, _as_released(whole, released_as, named, factory, unit_asked))
    else:
        with errors.status("scoring"):
            told = compared(whole, limits, named, unit_asked, factory)
    with errors.status("blind baseline"):
        blind = blind_of_run(whole)
    why = shift_words(blind) or why
    by_subject = "" if told.subjects is None else f", by subject ({told.subjects})"
    print_judged(told.judged, by_subject, why)
    if whole.manifest.get("plan", {}).get("kind") == "fixed_target":
        console.print(f"judged: the fixed target, run 0, by {len(whole.models) - 1} shadows")
    if told.left_out:
        console.print(told.left_out, markup=False, soft_wrap=True)
    if blind.auc is None:
        console.print(f"blind baseline not run: {blind.note}", markup=False, soft_wrap=True)
    if told.skipped:
        console.print(f"not run: {', '.join(sorted(told.skipped))}", markup=False)
    return told.judged, why


def _as_released(
    run: Run, names: list[str], named: Sequence[Attack], factory: str | None, unit: Unit
) -> Scored:
    """Scores on every variant by which models are released, under names of both."""
    from seepage.attacks import usual
    from seepage.cli.variants import every_as_released
    from seepage.findings.gate import Scored
    from seepage.findings.subjects import by_unit

    asked = {a.name for a in named}
    others = [a for a in usual() if a.name not in asked]
    part, asked_for, scores, skipped, left_out = every_as_released(
        run, names, named, others, factory, unit
    )
    counted, who = by_unit(part, unit)
    return Scored(counted, who, scores, tuple(asked_for), skipped, left_out)


def _write_junit(place: Path, path: str, found: tuple[Judged, ...], why: str) -> None:
    from seepage.report.junit import junit
    from seepage.store.files import replacing

    text = junit(path, found, why)
    with replacing(place) as draft:
        draft.write_text(text, encoding="utf-8")
