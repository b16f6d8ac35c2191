"""What is left to do in a comparison of defences, in order, one by one or side by side."""

from __future__ import annotations

import heapq
import itertools
import multiprocessing
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from seepage.cli.campaign import Campaign
from seepage.cli.console import errors
from seepage.cli.defend_config import NONE, DefendConfig, Entry, same_fleet
from seepage.cli.locating import guarded, locate
from seepage.comparison.results import controls_of, rank_rows
from seepage.defenses import Undefended
from seepage.errors import InputError, SeepageError
from seepage.fleet.worker import ENVIRONMENT
from seepage.store.files import write_json

__all__ = ["Agenda", "Unit", "run_campaigns"]

What = Literal["train", "judge", "locate"]

# Results come first, then what others wait for; later seeds fill what is left.
NOW, BASELINE, BASES, GUARDED, OTHERS, LATER = range(6)


@dataclass(frozen=True)
class Unit:
    """A piece of work that can be done now: train or evaluate a fleet, locate a base's regions."""

    what: What
    entry: Entry
    seed: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from others; options of a defence may not be hashable."""
        return self.what, self.entry.label, self.seed


@dataclass
class Agenda:
    """One pool's units as they become possible; told of each unit's end, it adds what follows.

    A fleet is evaluated when the undefended one of its seed is trained; regions are located when
    a base was evaluated; the fleets that guard them come next. `top` fleets go on to later seeds
    when all of the first seed have ended, those of `again` without waiting for the others.
    """

    campaign: Campaign
    entries: list[Entry] = field(default_factory=list)
    roles: list[dict[str, str]] = field(default_factory=list)
    trained: set[tuple[str, int]] = field(default_factory=set)
    waiting: list[Unit] = field(default_factory=list)
    open: set[tuple[str, str, int]] = field(default_factory=set)
    _heap: list[tuple[int, int, Unit]] = field(default_factory=list)
    _count: Iterator[int] = field(default_factory=itertools.count)
    _chosen: bool = False

    def __post_init__(self) -> None:
        study = self.study
        guards, bases = self._guards(), study.bases()
        self.entries = [
            e
            for e in study.entries(self.campaign.pool)
            if self._wanted(e) or (guards and any(same_fleet(e, b) for b in bases))
        ]
        for entry in self.entries:
            base = any(same_fleet(entry, b) for b in bases)
            first = entry.label == NONE
            self._add("train", entry, self.first, BASELINE if first else BASES if base else OTHERS)
        if study.again:
            self._later([e for e in self.entries if self._again(e)])

    @property
    def study(self) -> DefendConfig:
        """What was asked for."""
        return self.campaign.study

    @property
    def first(self) -> int:
        """The seed at which every defence is trained."""
        return self.study.seeds[0]

    def next(self) -> Unit | None:
        """The most urgent unit that can be done now; it counts as begun."""
        return heapq.heappop(self._heap)[2] if self._heap else None

    def ended(self, unit: Unit, ok: bool, found: Mapping[str, Any] | None = None) -> None:
        """A unit is done (or was left out): what follows from it becomes possible.

        found: what locating told.
        """
        self.open.discard(unit.key)
        if unit.what == "train" and ok:
            self.trained.add((unit.entry.label, unit.seed))
            self.waiting.append(Unit("judge", unit.entry, unit.seed))
            ready = [u for u in self.waiting if (NONE, u.seed) in self.trained]
            self.waiting = [u for u in self.waiting if (NONE, u.seed) not in self.trained]
            for u in ready:
                self._add("judge", u.entry, u.seed, NOW)
        elif unit.what == "judge" and ok:
            if self._guards() and any(same_fleet(unit.entry, b) for b in self.study.bases()):
                self._add("locate", unit.entry, unit.seed, NOW)
        elif unit.what == "locate" and unit.seed == self.first and found is not None:
            self._guard(unit.entry, found)
        if not self.open and not self._chosen:
            self._choose()

    def _add(self, what: What, entry: Entry, seed: int, rank: int) -> None:
        unit = Unit(what, entry, seed)
        self.open.add(unit.key)
        heapq.heappush(self._heap, (rank, next(self._count), unit))

    def _guard(self, base: Entry, found: Mapping[str, Any]) -> None:
        if not found["chosen"]:
            errors.print(f"pptp with {base.label}: {found['why']}", markup=False)
            return
        try:
            parts = list(guarded(self.campaign, base, found))
        except InputError as e:
            errors.print(f"pptp with {base.label}: {e}", markup=False)
            return
        new = []
        for entry, kind, variant in parts:
            part = {"base": base.label, "variant": variant, "kind": kind, "label": entry.label}
            same = next((e for e in self.entries if same_fleet(e, entry)), None)
            if same is not None:
                part["label"] = same.label
            elif self._wanted(entry):
                self.entries.append(entry)
                new.append(entry)
                self._add("train", entry, self.first, GUARDED)
            self.roles.append(part)
        write_json(self.campaign.results / "roles.json", {"roles": self.roles})
        if self.study.again:
            self._later([e for e in new if self._again(e)])

    def _guards(self) -> bool:
        """Whether fleets of PPTP are wanted."""
        asked = self.study.fleets
        return not asked or any(f.startswith("pptp(") for f in asked)

    def _wanted(self, entry: Entry) -> bool:
        asked = self.study.fleets
        return not asked or entry.label == NONE or any(entry.label.startswith(f) for f in asked)

    def _again(self, entry: Entry) -> bool:
        return entry.label == NONE or any(entry.label.startswith(a) for a in self.study.again)

    def _later(self, entries: Sequence[Entry]) -> None:
        for seed in self.study.seeds[1:]:
            for entry in entries:
                self._add("train", entry, seed, LATER)

    def _choose(self) -> None:
        """All of the first seed have ended: the best go on."""
        self._chosen = True
        study = self.study
        write_json(self.campaign.results / "roles.json", {"roles": self.roles})
        if study.again:
            return
        chosen = self.entries
        if study.top is not None:
            rows, controls = self.campaign.rows(self.first), controls_of(self.roles)
            ranked = rank_rows(rows, study.attacks[0], controls=controls)
            best = {r.label for r in ranked[: study.top]}
            tied = {p["label"] for p in self.roles if _tied(p, self.roles, best)}
            wanted = best | tied | {NONE}
            chosen = [e for e in self.entries if e.label in wanted]
        self._later(chosen)


def _tied(part: Mapping[str, str], roles: Sequence[Mapping[str, str]], best: set[str]) -> bool:
    """Whether a PPTP fleet among the best needs this one beside it as its control."""
    return any(
        other["label"] in best
        and other["kind"] == "regions"
        and (other["base"], other["variant"]) == (part["base"], part["variant"])
        for other in roles
    )


def _do(campaign: Campaign, unit: Unit) -> tuple[bool, dict[str, Any] | None]:
    """The unit's work: (whether it could be done, what locating told)."""
    if unit.what == "train":
        return campaign.attempt(unit.entry, unit.seed), None
    if unit.what == "judge":
        return campaign.judge(unit.entry, unit.seed), None
    return True, locate(campaign, unit.entry, unit.seed)


_CAMPAIGNS: dict[tuple[str, str], Campaign] = {}


def _remote(
    study: DefendConfig, pool: str, unit: Unit
) -> tuple[bool, dict[str, Any] | None, float]:
    """`_do` in a process that goes on living: data and plans are made once."""
    began = time.perf_counter()
    key = (study.model_dump_json(), pool)
    campaign = _CAMPAIGNS.setdefault(key, Campaign(study, pool, quiet=True))
    return *_do(campaign, unit), time.perf_counter() - began


def run_campaigns(campaigns: Sequence[Campaign], jobs: int = 1) -> None:
    """Everything that is left to do on these pools.

    jobs: fleets side by side, each in one process that trains it and evaluates it. A defence that
    cannot be trained is left out with its reason; a bug ends the fleet that met it, and with jobs
    above 1 the others go on before it is raised. What ended stays; the same call goes on there.
    """
    for campaign in campaigns:
        campaign.check()
    if jobs > 1:
        _side_by_side(campaigns, jobs)
        return
    for campaign in campaigns:
        agenda = Agenda(campaign)
        while (unit := agenda.next()) is not None:
            ok, found = _do(campaign, unit)
            agenda.ended(unit, ok, found)


@contextmanager
def _environment() -> Iterator[None]:
    before = {k: os.environ.get(k) for k in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for k, v in before.items():
            if v is None:
                del os.environ[k]
            else:
                os.environ[k] = v


def _side_by_side(campaigns: Sequence[Campaign], jobs: int) -> None:
    for campaign in campaigns:
        if campaign.first.recipe.precision == "auto":
            raise InputError(
                "jobs: expected base.recipe.precision to be set for fleets side by side, got "
                "'auto', which each would measure for itself; use 'fp32' or 'bf16'"
            )
    agendas = [Agenda(c) for c in campaigns]
    running: dict[Future[Any], tuple[Agenda, Unit]] = {}
    broken: list[str] = []
    turn = itertools.cycle(range(len(agendas)))
    context = multiprocessing.get_context("spawn")
    with _environment(), ProcessPoolExecutor(jobs, mp_context=context) as pool:
        try:
            while True:
                idle = 0
                while len(running) < jobs and idle < len(agendas):
                    agenda = agendas[next(turn)]
                    unit = agenda.next()
                    if unit is None:
                        idle += 1
                        continue
                    idle = 0
                    study = _alone(agenda.study)
                    future = pool.submit(_remote, study, agenda.campaign.pool, unit)
                    running[future] = agenda, unit
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    agenda, unit = running.pop(future)
                    ok, found = _outcome(future, agenda, unit, broken)
                    agenda.ended(unit, ok, found)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if broken:
        raise RuntimeError(f"{len(broken)} fleets met a bug, the first:\n{broken[0]}")


def _outcome(
    future: Future[Any], agenda: Agenda, unit: Unit, broken: list[str]
) -> tuple[bool, dict[str, Any] | None]:
    name = f"{agenda.campaign.pool}, seed {unit.seed}: {unit.what} {unit.entry.label}"
    try:
        ok, found, seconds = future.result()
    except (SeepageError, OSError, MemoryError):
        raise
    except Exception as e:
        if isinstance(unit.entry.defense, Undefended) or unit.what == "locate":
            raise
        broken.append("".join(traceback.format_exception(e)))
        errors.print(f"{name}: failed: {type(e).__name__}: {e}", markup=False)
        return False, None
    errors.print(f"{name}: {seconds:.1f} s", markup=False)
    return ok, found


def _alone(study: DefendConfig) -> DefendConfig:
    """The study of a process that trains its fleets itself."""
    fleet = {**study.base.get("fleet", {}), "executor": "inline", "workers": 1}
    return study.model_copy(update={"base": {**study.base, "fleet": fleet}})
