"""`audit MODEL`: one trained model, on members and others."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from seepage.cli.console import console, errors
from seepage.cli.figures import interval, rate
from seepage.cli.places import place_for
from seepage.cli.user_models import made
from seepage.config.reading import checked, read_toml
from seepage.errors import InputError
from seepage.extensions import resolve

if TYPE_CHECKING:
    from seepage.array_types import AnyArray
    from seepage.single import SingleAudit

__all__ = ["OneModel", "audit_one"]


@dataclass(frozen=True)
class OneModel:
    """What the command line said: every option of `seepage audit` that is about one model."""

    model: str | None
    members: str | None
    others: str | None
    weights: str | None = None
    task: str | None = None
    logits: bool | None = None
    noise: float | None = None
    references: str | None = None
    train: str | None = None
    recipe: str | None = None
    minutes: float | None = None
    folder: str | None = None
    workers: int | None = None
    batch: int = 64
    timeout: float | None = None
    retries: int = 2
    cache: str | None = None
    drop_copies: bool = False
    accept_changes: bool = False
    curvature: bool = False
    released_as: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    page: str | None = None
    as_json: bool = False


def audit_one(given: OneModel) -> None:
    """Ask the model, judge it, print what was found, and write the page where one was asked for."""
    from seepage.config.release import as_variants
    from seepage.single import Service, audit

    if given.members is None or given.others is None:
        raise InputError(
            "--members, --others: expected both for an audit of one model, got "
            f"{'neither' if given.members is None and given.others is None else 'one'}; name an .npz "
            "of what it was trained on and one of what it was not"
        )
    if given.minutes is not None and not given.minutes >= 0:  # which NaN is not
        raise InputError(f"--minutes: expected a number from 0, got {given.minutes:g}; correct it")
    place = None
    if given.page is not None:
        place = place_for(given.page, "--out", suffixes=(".html", ".htm"))
    by, slices = _parts(given)
    references = _references(given)
    model = None if given.model is None else made(given.model, "model")
    if given.weights is not None:
        if model is None:
            raise InputError(
                "--weights: expected a model to put them into, got none; name a factory"
            )
        model = _with_weights(model, given.weights)
    if model is not None and _is_network(model):
        model.eval()  # nobody chose the mode in which a factory leaves it
    with errors.status("asking the model") as status:
        one = audit(
            model,
            given.members,
            given.others,
            task=given.task,
            logits=given.logits,
            references=references,
            noise=given.noise,
            service=Service(
                batch=given.batch,
                timeout=given.timeout,
                retries=given.retries,
                cache=given.cache,
            ),
            drop_copies=given.drop_copies,
            accept_changes=given.accept_changes,
            curvature=given.curvature,
            release=as_variants(given.released_as, "--as") if given.released_as else (),
            by=by,
            slices=slices,
            name=given.model or "recorded outputs",
            progress=lambda what, done, total: status.update(escape(f"{what} {done}/{total}")),
        )
    if given.weights is None and _is_network(model):
        errors.print(
            "note: without --weights the network is judged as the factory makes it", soft_wrap=True
        )
    if given.as_json:
        from seepage.store.result_files import sealed

        print(json.dumps(sealed(one.summary()), indent=1, allow_nan=False))
    else:
        _print(one)
    if place is not None:
        from seepage.report import write_report

        errors.print(f"page: {write_report(one, place)}", markup=False, soft_wrap=True)


def _parts(given: OneModel) -> tuple[list[str], dict[str, tuple[AnyArray, AnyArray]]]:
    """Names among what --by was given, and the values of its files, of members and of others."""
    from seepage.cli.parts import slice_values
    from seepage.single.pool import named_sides, read_side

    if not any(text.lower().endswith(".csv") for text in given.by):
        return list(given.by), {}
    sides = (read_side(str(given.members), "members"), read_side(str(given.others), "others"))
    ids, members = named_sides(*sides)
    names, files = slice_values(given.by, ids)
    return names, {n: (v[:members], v[members:]) for n, v in files.items()}


def _is_network(model: Any) -> bool:
    from torch import nn

    return isinstance(model, nn.Module)


def _with_weights(model: Any, weights: str) -> Any:
    from torch import nn

    from seepage.local_paths import local_path
    from seepage.store.weight_files import load_weights, put_weights

    if not isinstance(model, nn.Module):
        raise InputError(
            f"--weights: expected a torch.nn.Module to put them into, got {type(model).__name__}; "
            "leave it out for models that hold their own"
        )
    path = local_path(weights, "--weights")
    removed = put_weights(model, load_weights(path), path)
    if removed:
        prefix = "".join(removed)
        errors.print(f"note: {path}: {prefix!r} before every name was dropped", markup=False)
    return model


def _references(given: OneModel) -> Any:
    """Recorded references, or how to train some; None where none were asked for."""
    number = given.references is not None and re.fullmatch(r"[0-9]{1,5}", given.references)
    if given.train is None and given.recipe is None:
        for option, value in (
            ("--minutes", given.minutes),
            ("--folder", given.folder),
            ("--workers", given.workers),
            ("--references", given.references if number else None),
        ):
            if value is not None:
                raise InputError(
                    f"{option}: expected with references that are trained, got nothing that trains "
                    "them; pass --recipe recipe.toml or --train file.py:function"
                )
        return None if given.references is None else _recorded(given.references)
    if given.train is not None and given.recipe is not None:
        raise InputError("--train, --recipe: expected one of them, got both; choose")
    if given.references is not None and not number:
        option = "--train" if given.train is not None else "--recipe"
        raise InputError(
            f"--references, {option}: expected a number of references to train, or a file of "
            f"recorded ones alone, got {given.references!r} with {option}; choose"
        )
    return _trained(given)


def _trained(given: OneModel) -> Any:
    from seepage.config.execution import Execution
    from seepage.config.recipe import Recipe
    from seepage.single import TrainedReferences

    asked: dict[str, Any] = {"folder": given.folder}
    if given.references is not None:
        asked["most"], asked["seconds"] = int(given.references), None
        if asked["most"] < 2 or asked["most"] % 2:
            raise InputError(
                f"--references: expected an even number of at least 2, got {given.references}; "
                "references come in complementary halves"
            )
    if given.minutes is not None:
        asked["seconds"] = 60 * given.minutes
    execution: dict[str, Any] = {}
    if given.train is not None:
        asked["train"] = resolve(
            "function", given.train, {}, accepts=callable, expected="a function", field="--train"
        )
    else:
        assert given.recipe is not None
        if given.model is None:
            raise InputError(
                "--recipe: expected a model whose factory makes references, got none; name it as "
                "MODEL, or train them by --train"
            )
        tables = read_toml(Path(given.recipe), "a file with [recipe]")
        unknown = [name for name in tables if name not in ("recipe", "execution")]
        if unknown or not isinstance(tables.get("recipe"), dict):
            got = f"[{unknown[0]}]" if unknown else "no [recipe]"
            raise InputError(
                f"{given.recipe}: expected the tables recipe and, if needed, execution, got {got}; "
                "see `seepage config recipe`"
            )
        asked["model"] = given.model
        asked["recipe"] = checked(Recipe, tables["recipe"], f"{given.recipe}: recipe")
        execution = tables.get("execution", {})
    if given.workers is not None:
        execution = {**execution, "workers": given.workers}
    asked["execution"] = checked(Execution, execution, given.recipe or "--workers")
    made = TrainedReferences(**asked)
    if given.folder is None:
        errors.print(
            "note: references are trained anew each time; --folder keeps them and goes on after an "
            "interruption",
            soft_wrap=True,
        )
    return made


def _recorded(file: str) -> Any:
    from seepage.data.archive import read_archive
    from seepage.local_paths import local_path
    from seepage.single import RecordedReferences

    path = local_path(file, "--references")
    arrays = dict(read_archive(path))
    if "member" not in arrays:
        raise InputError(
            f"{path}: expected an array `member` (models, members and then others), found none; save "
            "it with logits, probabilities, predictions, or signals such as phi"
        )
    member = arrays.pop("member")
    outputs = ("logits", "probabilities", "predictions")
    whole = {k: arrays.pop(k) for k in outputs if k in arrays}
    return RecordedReferences(member, signals={} if whole else arrays, **whole)


def _print(one: SingleAudit) -> None:
    from seepage.report.subjects import subjects_words
    from seepage.single import words

    counted = f"{one.members:,} members, {one.others:,} others"
    if one.subjects:
        counted += f" (subjects; {one.samples[0]:,} and {one.samples[1]:,} samples)"
    by = f", {one.references} references" if one.references else ""
    console.print(f"[bold]{escape(one.headline)}[/]", soft_wrap=True)
    table = Table(title=f"{escape(one.title)}: {counted}{by}")
    table.add_column("attack")
    for column in ("AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR"):
        table.add_column(column, justify="right")
    by_fpr = {r.fpr: k for k, r in enumerate(one.attacks[0].rates)}
    for a in one.attacks:
        rates = (rate(a.rates[by_fpr[f]]) for f in (0.01, 0.001))
        table.add_row(escape(a.title), interval(a.auc), *rates)
    blind = one.blind.auc
    if blind is None:
        table.add_row("[dim]no model (blind)[/]", escape(f"not run: {one.blind.note}"), "", "")
    for name, e in one.blind.each.items():
        table.add_row(f"[dim]no model: {escape(name)}[/]", interval(e), "", "")
    console.print(table)
    if one.slices:
        from seepage.cli.parts import print_within

        print_within(one.slices, "")
    if one.release is not None:
        from seepage.cli.variants import variants_table

        console.print(variants_table(one.release, f", {one.unit}"))

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    told = "" if one.whose is None else subjects_words(one.whose)
    tail = "" if one.tail is None else one.tail.words
    for text in (
        words.released(one),
        words.accuracy(one),
        tail,
        told,
        words.named(one),
        _asked(one),
    ):
        if text:
            say(text)
    for title, lines in (
        ("Note:", one.notes),
        ("What this does not say:", one.limits),
        ("Next:", one.steps),
    ):
        if lines:
            console.print(f"[bold]{title}[/]")
        for line in lines:
            say(f"  {line}")
    for text in words.not_run(one):
        say(f"not run: {text}")


def _asked(one: SingleAudit) -> str:
    if one.asked != "function":
        return ""
    kept = f", {one.cached:,} answers from the cache" if one.cached else ""
    return f"The function was asked about {one.queries:,} samples{kept}."
