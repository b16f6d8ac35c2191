"""The studies of dynamics and of rates as tasks: a fleet is trained, then analysed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from seepage.store import Run
from seepage.store.result_files import read_result
from seepage.study.dynamics.analyse import JUDGES, analyse
from seepage.study.dynamics.claims import claims
from seepage.study.dynamics.page import dynamics_page
from seepage.study.dynamics.rates import models_needed
from seepage.study.dynamics.settings import DynamicsSettings
from seepage.study.fleets import FleetStudy, ended, fleet_key, opened, train_fleet, trained
from seepage.study.runner import Progress, Result, Task

__all__ = ["DynamicsStudy"]

ANALYSIS = 2
"""Raised when `analyse` or `models_needed` gives other figures for the same fleet and options.

2: LT-IQR is about training time, no longer about checkpoints as if evenly spaced.
"""


class DynamicsStudy(FleetStudy[DynamicsSettings]):
    """Fleets that differ in one factor, analysed alike; claims B1 to B8."""

    kind = "dynamics"
    form = DynamicsSettings

    def __init__(self, settings: DynamicsSettings) -> None:
        super().__init__(settings)
        self.kind = settings.kind

    @property
    def names(self) -> list[str]:
        """The fleets."""
        return list(self.settings.fleets)

    def tasks(self, names: Sequence[str], only: str | None = None) -> list[Task]:
        """Training and analysis of each fleet; only: "train" or "analyse" alone."""
        out = []
        for n in names:
            training = f"training of {n}"
            if only in (None, "train"):
                out.append(Task(training, partial(train_fleet, self.settings, n)))
            if only != "train":
                out.append(
                    Task(
                        n,
                        partial(_analyse, self.settings, n),
                        Path(self.results) / f"{n}.json",
                        partial(_key, self.settings, n),
                        partial(_of_same_run, self.settings, n),
                        partial(_complete, self.settings, n),
                        after=(training,),
                    )
                )
        return out

    def listing(self, names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
        """What each fleet is, and how far it has come."""
        rows = []
        for task in self.tasks(names, "analyse"):
            c = self.settings.audit(task.name)
            limit = f", {c.data.limit} samples" if c.data.limit else ""
            optimiser = c.recipe.optimizer
            done = "yes" if task.stored() is not None else "no"
            rows.append(
                [
                    task.name,
                    f"{c.data.name}{limit}",
                    c.model.name,
                    optimiser,
                    self.progress_of(task.name),
                    done,
                ]
            )
        return ["fleet", "data", "model", "optimiser", "runs done", "analysed"], rows

    def markdown(self, results: Mapping[str, Any], file: str) -> str:
        """Claims with figures and verdicts, then what they rest on."""
        # A fleet whose signals an attack does not find says nothing about that attack.
        judges = [j for j in JUDGES if all(j in r["attacks"] for r in results.values())]
        judged = claims(results, self.settings.factors, judges)
        other = Path(self.settings.rates_result) if self.settings.rates_result else None
        rates = read_result(other) if other is not None and other.exists() else None
        return dynamics_page(results, judged, rates, self.names, file)


def _key(settings: DynamicsSettings, name: str) -> str | None:
    """Digest of the fleet, its runs that ended, and the options; None where no fleet lies here."""
    options = settings.model_dump(mode="json", include={"kind", "aside", "null_draws", "rates"})
    return fleet_key(settings, name, analysis=ANALYSIS, options=options)


def _of_same_run(settings: DynamicsSettings, name: str, stored: Result) -> bool:
    """Of results whose key held a digest of the analysis' code, which no longer counts.

    Their provenance names the fleet, and they hold the options.
    """
    run = opened(settings, name)
    if run is None or "analysis" in stored:
        return False
    if settings.kind == "rates":
        r = settings.rates
        asked = [r.reference, r.tolerance, r.coverage, [str(size) for size in r.sizes]]
        there = [stored.get(k) for k in ("reference", "tolerance", "coverage")]
        same = [*there, list(stored.get("sizes", ()))] == asked
    else:
        asked = [settings.aside, settings.null_draws, len(ended(run))]
        known = stored.get("models", 0) + len(stored.get("failed", ()))
        same = [stored.get("aside"), stored.get("null_draws"), known] == asked
    return same and stored.get("provenance", {}).get("key") == run.manifest["key"]


def _judges(run: Run) -> list[str]:
    """Those whose signals were recorded, the main one first."""
    return [j for j, judge in JUDGES.items() if set(judge.attack.requires) <= set(run.signals)]


def _complete(settings: DynamicsSettings, name: str, stored: Result) -> bool:
    """Whether every attack that can has been run."""
    run = opened(settings, name)
    return run is None or settings.kind == "rates" or {*_judges(run)} <= {*stored["attacks"]}


def _analyse(
    settings: DynamicsSettings,
    name: str,
    before: Result,
    save: Callable[[Result], None],
    progress: Progress,
) -> Result | None:
    """Kept after every attack, the main one first: what is cut short keeps what it found."""
    config = settings.audit(name)
    run = trained(settings, name, progress)
    if run is None:
        return None
    head = {
        "fleet": name,
        "config": config.model_dump(mode="json", exclude={"out"}),
        "analysis": ANALYSIS,
    }
    if settings.kind == "rates":
        return head | models_needed(run, **settings.rates.model_dump())
    known = _judges(run)
    for judge in JUDGES:
        if judge not in known:
            progress.say(f"{name}: {judge} needs signals that were not recorded; left out")
    seconds = before.get("analysis_seconds", 0.0)
    found = dict(before.get("attacks", {}))
    content: Result | None = None
    for judge in known:
        if judge in found:
            continue
        part = analyse(run, judges=(judge,), aside=settings.aside, draws=settings.null_draws)
        found |= part["attacks"]
        seconds += part["analysis_seconds"]
        content = head | part | {"attacks": dict(found), "analysis_seconds": round(seconds, 2)}
        save(content)
    return content
