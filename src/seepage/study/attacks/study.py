"""The study of attacks as tasks: fleets are trained, then every attack is run on each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from seepage import attacks
from seepage.probes.imitation import Imitation
from seepage.study.attacks.measure import fleet_facts, measure
from seepage.study.attacks.page import attacks_page
from seepage.study.attacks.settings import AttacksSettings
from seepage.study.fleets import FleetStudy, fleet_key, train_fleet, trained
from seepage.study.runner import Progress, Result, Task

__all__ = ["AttacksStudy"]

ANALYSIS = 1
"""Raised when `measure` gives other figures for the same fleet, attack and options."""


class AttacksStudy(FleetStudy[AttacksSettings]):
    """Every attack on the same fleets, one result each, and which to run by access and budget."""

    kind = "attacks"
    form = AttacksSettings

    @property
    def names(self) -> list[str]:
        """Of each fleet what it is, by its name, then "FLEET-ATTACK" of every attack."""
        s = self.settings
        return [n for f in s.fleets for n in (f, *(f"{f}-{a}" for a in s.attacks))]

    def tasks(self, names: Sequence[str], only: str | None = None) -> list[Task]:
        """Training of the fleets that are asked for, then one task per result."""
        s, out = self.settings, []
        for fleet in s.fleets:
            wanted = [a for a in s.attacks if f"{fleet}-{a}" in names]
            if not wanted and fleet not in names:
                continue
            training = f"training of {fleet}"
            if only in (None, "train"):
                out.append(Task(training, partial(train_fleet, s, fleet)))
            if only == "train":
                continue
            kept = Path(s.results)
            if fleet in names:
                out.append(
                    Task(
                        fleet,
                        partial(_facts, s, fleet),
                        kept / f"{fleet}.json",
                        partial(_key, s, fleet),
                        after=(training,),
                    )
                )
            out += [
                Task(
                    f"{fleet}-{a}",
                    partial(_measured, s, fleet, a),
                    kept / f"{fleet}-{a}.json",
                    partial(_key, s, fleet, a),
                    complete=_could_be_run,
                    after=(training,),
                )
                for a in wanted
            ]
        return out

    def listing(self, names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
        """How far each fleet has come, and which attacks were run on it."""
        rows = []
        there = {f: self.progress_of(f) for f in self.settings.fleets}
        for task in self.tasks(names, "analyse"):
            fleet = _fleet_of(self.settings, task.name)
            done = "yes" if task.done() else "no"
            rows.append([task.name, there[fleet], done])
        return ["result", "runs done", "there"], rows

    def markdown(self, results: Mapping[str, Any], file: str) -> str:
        """Which attack to run, then the tables that say so."""
        return attacks_page(results, self.settings, file)


def _fleet_of(settings: AttacksSettings, name: str) -> str:
    """The fleet of a result; names of fleets and attacks may hold dashes."""
    return next(f for f in settings.fleets if name == f or _attack_of(name, f) in settings.attacks)


def _attack_of(name: str, fleet: str) -> str:
    return name.removeprefix(f"{fleet}-")


def _could_be_run(stored: Result) -> bool:
    return "lacks" not in stored


def _key(settings: AttacksSettings, fleet: str, attack: str | None = None) -> str | None:
    """Digest of the fleet, its runs that ended, and what is done; None where no fleet lies here."""
    asked: dict[str, Any] = {
        "analysis": ANALYSIS,
        "attack": None if attack is None else repr(attacks.get(attack)),
    }
    if attack is not None:
        asked["part"] = settings.part(attack).model_dump(mode="json")
        asked["sizes"] = list(_sizes(settings, attack))
        asked["null_draws"] = settings.null_draws
        if _imitators(settings, attack):
            asked["imitators"] = list(settings.imitators)
    return fleet_key(settings, fleet, **asked)


def _sizes(settings: AttacksSettings, attack: str) -> tuple[int, ...]:
    """What learns a rule anew for every target is run with all models alone."""
    return () if attacks.ATTACKS[attack].fitted else settings.sizes


def _imitators(settings: AttacksSettings, attack: str) -> tuple[int, ...]:
    """Of an attack that imitates its target."""
    reads = set(attacks.ATTACKS[attack].requires) & set(Imitation().signals)
    return settings.imitators if reads else ()


def _facts(
    settings: AttacksSettings,
    fleet: str,
    before: Result,
    save: Callable[[Result], None],
    progress: Progress,
) -> Result | None:
    run = trained(settings, fleet, progress)
    if run is None:
        return None
    config = settings.audit(fleet).model_dump(mode="json", exclude={"out"})
    return {"fleet": fleet, "config": config, **fleet_facts(run)}


def _measured(
    settings: AttacksSettings,
    fleet: str,
    attack: str,
    before: Result,
    save: Callable[[Result], None],
    progress: Progress,
) -> Result | None:
    run = trained(settings, fleet, progress)
    if run is None:
        return None
    found = measure(
        run,
        attacks.get(attack),
        sizes=_sizes(settings, attack),
        part=settings.part(attack),
        draws=settings.null_draws,
        imitators=_imitators(settings, attack),
    )
    if "lacks" in found:
        progress.say(f"{fleet}-{attack}: {found['lacks']}; left out")
    return {"fleet": fleet, "analysis": ANALYSIS, **found}
