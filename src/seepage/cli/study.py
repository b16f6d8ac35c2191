"""`study`: fleets that differ in one factor, trained, analysed and judged in one go, resumable."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import Field
from rich.table import Table

from seepage.cli import app
from seepage.cli.console import FleetBar, console, errors
from seepage.config.audit import AuditConfig, Part, merge, override
from seepage.config.prepare import prepare
from seepage.config.reading import checked, read_toml
from seepage.errors import InputError, nearest
from seepage.fleet import train_prepared

if TYPE_CHECKING:
    from seepage.store import Run

__all__ = ["StudyConfig", "read_study"]


class FactorConfig(Part):
    """[factors]: fleets by name, each list ordered from poor to rich."""

    datasets: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    sgd: str | None = None
    sam: str | None = None


class RatesConfig(Part):
    """[rates]: how a fleet is split to compare ways of computing rates."""

    reference: int = Field(512, ge=16)
    sizes: tuple[int, ...] = (8, 16, 32, 64, 128)
    tolerance: float = Field(0.1, gt=0, lt=1)
    coverage: float = Field(0.9, gt=0, lt=1)


class StudyConfig(Part):
    """A study: a base configuration, fleets as overrides of it, and what is compared.

    kind: "dynamics" (claims B1 to B8) or "rates" (how many models each way of computing rates
    needs). runs: where run folders go; results: where one small JSON per fleet goes; page: the
    Markdown written from the results; rates: a result of the other kind to show on the page.
    """

    kind: Literal["dynamics", "rates"] = "dynamics"
    runs: str = "runs/study"
    results: str = "results"
    page: str | None = None
    rates_result: str | None = None
    base: dict[str, Any] = Field(default_factory=dict)
    fleets: dict[str, dict[str, Any]] = Field(min_length=1)
    factors: FactorConfig = FactorConfig()
    rates: RatesConfig = RatesConfig()
    aside: float = Field(0.25, gt=0, lt=1)
    null_draws: int = Field(2, ge=2)

    def audit(self, name: str) -> AuditConfig:
        """The configuration of one fleet."""
        content = merge(self.base, self.fleets[name])
        content["out"] = str(Path(self.runs) / name)
        return checked(AuditConfig, content, f"fleets.{name}")


def read_study(path: Path, overrides: Sequence[str] = ()) -> StudyConfig:
    """Read and check a study; overrides change fields of every fleet's configuration.

    Raises InputError naming the file and the field, for unknown fleets in `factors` and for
    factors whose fleets differ in more than one section.
    """
    content = read_toml(path, "a study file")
    for fleet in content.get("fleets", {}).values():
        override(fleet, overrides)
    study = checked(StudyConfig, content, str(path))
    for name in study.fleets:
        study.audit(name)
    f = study.factors
    pair = tuple(n for n in (f.sgd, f.sam) if n is not None)
    for what, names in (
        ("datasets", f.datasets),
        ("architectures", f.architectures),
        ("sam", pair),
    ):
        _one_section(study, what, names)
    return study


def _one_section(study: StudyConfig, what: str, names: Sequence[str]) -> None:
    for name in names:
        if name not in study.fleets:
            raise InputError(
                f"factors.{what}: expected names of fleets, got {name!r}; "
                f"{nearest(name, study.fleets)}"
            )
    configs = [study.audit(n).model_dump(exclude={"out"}) for n in names]
    differ = sorted({k for c in configs for k in c if c[k] != configs[0][k]})
    if len(differ) > 1:
        raise InputError(
            f"factors.{what}: expected fleets that differ in one section, got "
            f"{', '.join(differ)}; compare fleets that differ in one"
        )


@app.command()
def study(
    file: Annotated[
        Path, typer.Argument(help="TOML: base, fleets, factors; or a kind's own tables.")
    ],
    only: Annotated[
        str | None, typer.Option(help="One part: train, analyse or page. All by default.")
    ] = None,
    fleet: Annotated[
        list[str] | None,
        typer.Option("--fleet", "-f", help="Only these fleets, or units ('size-*'). Repeatable."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "-s", help="Override a field of every fleet (of the file, for curvature)."
        ),
    ] = None,
    runs: Annotated[str | None, typer.Option(help="Where run folders go.")] = None,
    results: Annotated[str | None, typer.Option(help="Where the results go.")] = None,
    page: Annotated[str | None, typer.Option(help="The Markdown page to write.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List fleets and what is done.")
    ] = False,
) -> None:
    """Train fleets that differ in one factor, analyse them alike and write down what holds.

    Finished runs and analyses are kept; the same command goes on after an interruption. With
    --fleet no page is written: processes for one fleet each can run side by side, and
    --only page joins what they found.

    Examples:

        seepage study studies/dynamics.toml --dry-run

        seepage study studies/dynamics.toml --fleet mnist-cnn-2 --only train

        seepage study studies/dynamics.toml --only analyse

        seepage study studies/layers.toml --fleet 'cnn-4-*' --set workers=2

        seepage study studies/curvature.toml --fleet 'mislabel-*' --set fleet.workers=2
    """
    places = {
        k: v for k, v in {"runs": runs, "results": results, "page": page}.items() if v is not None
    }
    content = read_toml(file, "a study file")
    if content.get("kind") == "curvature":
        from seepage.cli.study_curvature import read_curvature_study, run_curvature_study

        asked = read_curvature_study(content | places, file, set_ or ())
        run_curvature_study(asked, file, only, fleet or (), dry_run)
        return
    parts = ("train", "analyse", "page")
    if only is not None and only not in parts:
        raise InputError(f"--only: expected train, analyse or page, got {only!r}")
    if content.get("kind") == "layers":
        from seepage.cli.study_layers import read_layers_study, run_layers_study

        content |= {"locks" if k == "runs" else k: v for k, v in places.items()}
        layers = read_layers_study(content, file, set_ or ())
        run_layers_study(layers, file, only, fleet or (), dry_run)
        return
    wanted = read_study(file, set_ or ())
    wanted = wanted.model_copy(update=places)
    names = fleet or list(wanted.fleets)
    for name in names:
        if name not in wanted.fleets:
            raise InputError(
                f"--fleet: expected one of the study, got {name!r}; {nearest(name, wanted.fleets)}"
            )
    if dry_run:
        console.print(_status(wanted, names))
        return
    if only in (None, "train"):
        for name in names:
            began = time.perf_counter()
            train_prepared(prepare(wanted.audit(name)), FleetBar())
            errors.print(f"{name}: trained in {time.perf_counter() - began:.1f} s")
    if only in (None, "analyse"):
        for name in names:
            _analyse(wanted, name)
    # Fleets that are worked on side by side must not write over each other's page.
    if wanted.page and (only == "page" or (only in (None, "analyse") and not fleet)):
        console.print(f"page: {_page(wanted, file)}")


def _result_path(study: StudyConfig, name: str) -> Path:
    return Path(study.results) / f"{name}.json"


def _done(study: StudyConfig, name: str) -> tuple[int, int]:
    """(finished or failed runs, planned runs)."""
    from seepage.store import open_run

    config = study.audit(name)
    if not (Path(config.out) / "manifest.json").exists():
        return 0, config.plan.models
    run = open_run(config.out)
    return len(run.models) + len(run.failed), config.plan.models


def _status(study: StudyConfig, names: Sequence[str]) -> Table:
    table = Table(title=f"study: {study.kind}")
    for column in ("fleet", "data", "model", "optimiser", "runs done", "analysed"):
        table.add_column(column)
    for name in names:
        c = study.audit(name)
        done, planned = _done(study, name)
        limit = f", {c.data.limit} samples" if c.data.limit else ""
        table.add_row(
            name,
            f"{c.data.name}{limit}",
            c.model.name,
            str(c.recipe.get("optimizer", "sgd")),
            f"{done} of {planned}",
            "yes" if _result_path(study, name).exists() else "no",
        )
    return table


def _analyse(study: StudyConfig, name: str) -> None:
    from seepage.store import open_run

    done, planned = _done(study, name)
    if done < planned:
        errors.print(f"{name}: {done} of {planned} runs are done; not analysed")
        return
    config = study.audit(name)
    run = open_run(config.out)
    head = {"fleet": name, "config": config.model_dump(mode="json", exclude={"out"})}
    head["key"] = _asked(study, run)
    path = _result_path(study, name)
    before = json.loads(path.read_text()) if path.exists() else {}
    if before.get("key") != head["key"]:
        before = {}
    if study.kind == "rates":
        from seepage.study.dynamics.rates import models_needed

        if before:
            return
        r = study.rates
        found = models_needed(
            run,
            reference=r.reference,
            sizes=r.sizes,
            tolerance=r.tolerance,
            coverage=r.coverage,
        )
        _write(path, head | found)
        errors.print(f"{name}: analysed in {found['analysis_seconds']:.1f} s, {path}")
        return
    from seepage.study.dynamics.analyse import JUDGES, analyse

    for judge in JUDGES:
        # Written after every judge, the main one first: a run cut short keeps what it found.
        if judge in before.get("attacks", {}):
            continue
        found = analyse(run, judges=(judge,), aside=study.aside, draws=study.null_draws)
        if not found["attacks"]:
            errors.print(f"{name}: {judge} needs signals that were not recorded; left out")
            continue
        seconds = found["analysis_seconds"] + before.get("analysis_seconds", 0.0)
        found["attacks"] = before.get("attacks", {}) | found["attacks"]
        before = head | found | {"analysis_seconds": round(seconds, 2)}
        _write(path, before)
        errors.print(f"{name}: {judge} after {seconds:.1f} s, {path}")


def _asked(study: StudyConfig, run: Run) -> str:
    """Digest of all that an analysis depends on: the fleet, its options, the code that reads it."""
    from seepage.fleet.spec import room_digest

    asked = {
        "run": run.manifest["key"],
        "ended": sorted([*run.models.tolist(), *run.failed]),
        "options": study.model_dump(mode="json", include={"kind", "aside", "null_draws", "rates"}),
        "code": room_digest("attacks", "metrics", "plane", "study/analyse.py", "study/rates.py"),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _write(path: Path, found: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(found, separators=(",", ":"), allow_nan=False) + "\n")
    draft.replace(path)


def _page(study: StudyConfig, file: Path) -> Path:
    from seepage.study.dynamics.analyse import JUDGES
    from seepage.study.dynamics.claims import Factors, claims
    from seepage.study.dynamics.page import dynamics_page

    found = {
        name: json.loads(_result_path(study, name).read_text())
        for name in study.fleets
        if _result_path(study, name).exists()
    }
    if not found:
        raise InputError(f"{study.results}: expected results of a fleet, found none; analyse first")
    # A fleet whose signals an attack does not find says nothing about that attack.
    judges = [j for j in JUDGES if all(j in r["attacks"] for r in found.values())]
    judged = claims(found, Factors(**study.factors.model_dump()), judges)
    other = Path(study.rates_result) if study.rates_result else None
    rates = json.loads(other.read_text()) if other is not None and other.exists() else None
    assert study.page is not None
    path = Path(study.page)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dynamics_page(found, judged, rates, list(study.fleets), file.as_posix()))
    return path
