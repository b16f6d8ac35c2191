"""The study of language models as tasks: fleets are trained, then asked at the end, by epoch and by copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from seepage.store import Run
from seepage.study.fleets import FleetStudy, fleet_key, train_fleet, trained
from seepage.study.language.measure import at_the_end, by_copies, course, text_facts
from seepage.study.language.named import attack_named
from seepage.study.language.page import language_page
from seepage.study.language.settings import LanguageSettings
from seepage.study.runner import Progress, Result, Task

__all__ = ["LanguageStudy"]

ANALYSIS = 1
"""Raised when the same fleet, attacks and options give other figures."""

FACTS, ATTACKS, COURSE, COPIES = "facts", "attacks", "course", "copies"


class LanguageStudy(FleetStudy[LanguageSettings]):
    """Fleets of language models; of each what it is, every attack, a few by epoch and by copies."""

    kind = "language"
    form = LanguageSettings

    @property
    def names(self) -> list[str]:
        """ "FLEET-facts", "FLEET-attacks", "FLEET-course" and, of texts held several times, "FLEET-copies"."""
        return [f"{f}-{what}" for f in self.settings.fleets for what in self._asked(f)]

    def _asked(self, fleet: str) -> list[str]:
        repeats = self.settings.audit(fleet).data.repeats
        return [FACTS, ATTACKS, COURSE, *([COPIES] if repeats else [])]

    def tasks(self, names: Sequence[str], only: str | None = None) -> list[Task]:
        """Training of the fleets that are asked for, then one task per result."""
        s, out = self.settings, []
        for fleet in s.fleets:
            wanted = [w for w in self._asked(fleet) if f"{fleet}-{w}" in names]
            if not wanted:
                continue
            training = f"training of {fleet}"
            if only in (None, "train"):
                out.append(Task(training, partial(train_fleet, s, fleet)))
            if only == "train":
                continue
            out += [
                Task(
                    f"{fleet}-{what}",
                    partial(_found, s, fleet, what),
                    Path(s.results) / f"{fleet}-{what}.json",
                    partial(_key, s, fleet, what),
                    complete=partial(_complete, s, what),
                    after=(training,),
                )
                for what in wanted
            ]
        return out

    def listing(self, names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
        """How far each fleet has come, and what was asked of it."""
        rows = []
        for fleet in self.settings.fleets:
            there = self.progress_of(fleet)
            mine = [f"{fleet}-{w}" for w in self._asked(fleet) if f"{fleet}-{w}" in names]
            for task in self.tasks(mine, "analyse"):
                done = "yes" if task.done() else "no"
                rows.append([task.name, there, done])
        return ["result", "runs done", "there"], rows

    def markdown(self, results: Mapping[str, Any], file: str) -> str:
        """The tables, each from the stored results."""
        return language_page(results, self.settings, file)


def _names(settings: LanguageSettings, what: str) -> tuple[str, ...]:
    """The attacks that a result is of."""
    return {
        ATTACKS: settings.attacks,
        COURSE: settings.course,
        COPIES: settings.copies,
    }.get(what, ())


def _key(settings: LanguageSettings, fleet: str, what: str) -> str | None:
    """Digest of the fleet, its runs that ended, and what is done; None where no fleet lies here.

    Attacks are no part of it: one that was added since is run alone, which `_complete` tells.
    """
    return fleet_key(settings, fleet, analysis=ANALYSIS, what=what, null_draws=settings.null_draws)


def _complete(settings: LanguageSettings, what: str, stored: Result) -> bool:
    held = stored.get("found", {})
    return all(_same(name, held) for name in _names(settings, what))


def _same(name: str, held: Mapping[str, Any]) -> bool:
    return name in held and held[name]["options"] == repr(attack_named(name))


def _found(
    settings: LanguageSettings,
    fleet: str,
    what: str,
    before: Result,
    save: Callable[[Result], None],
    progress: Progress,
) -> Result | None:
    run = trained(settings, fleet, progress)
    if run is None:
        return None
    head = {"fleet": fleet, "analysis": ANALYSIS}
    if what == FACTS:
        config = settings.audit(fleet).model_dump(mode="json", exclude={"out", "report"})
        return {**head, "config": config, **text_facts(run)}
    names = _names(settings, what)
    held = {n: f for n, f in before.get("found", {}).items() if _same(n, {n: f})}
    for name in names:
        if name in held:
            continue
        with progress.status(f"{fleet}: {name}"):
            held[name] = {"options": repr(attack_named(name)), **_of_one(run, what, name, settings)}
        save({**head, "checkpoints": run.checkpoints.tolist(), "found": held})
    kept = {n: held[n] for n in names}
    return {**head, "checkpoints": run.checkpoints.tolist(), "found": kept}


def _of_one(run: Run, what: str, name: str, settings: LanguageSettings) -> dict[str, Any]:
    if what == ATTACKS:
        return at_the_end(run, name, part=settings.part(name), draws=settings.null_draws)
    if what == COURSE:
        return {"steps": course(run, name, draws=settings.null_draws)}
    return by_copies(run, name)
