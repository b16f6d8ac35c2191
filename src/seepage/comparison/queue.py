"""What is left to do in a comparison of defences, in order, as it becomes possible."""

from __future__ import annotations

import heapq
import itertools
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from seepage.comparison.config import NONE, Candidate, same_fleet
from seepage.comparison.localisation import locate, pptp_candidates
from seepage.comparison.pool import Options, PoolComparison
from seepage.comparison.results import controls_of, rank_rows
from seepage.defenses import Undefended
from seepage.errors import InputError, SeepageError
from seepage.fleet.fork_server import ENVIRONMENT
from seepage.store.result_files import write_result
from seepage.study.runner import Progress, Quiet, work_through

__all__ = ["FleetTask", "PoolQueue", "run_pools"]

What = Literal["train", "evaluate", "locate"]

# Results come first, then what others wait for; later seeds fill what is left.
NOW, BASELINE, BASES, PROTECTED, OTHERS, LATER = range(6)


@dataclass(frozen=True)
class FleetTask:
    """What can be done now: train or evaluate a fleet, or locate the risky regions of a base."""

    pool: str
    what: What
    candidate: Candidate
    seed: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from others of its pool; options of a defence may not be hashable."""
        return self.what, self.candidate.label, self.seed

    def __str__(self) -> str:
        return f"{self.pool}, seed {self.seed}: {self.what} {self.candidate.label}"


@dataclass(frozen=True)
class Done:
    """How a task ended: whether it could be done, and what locating found."""

    ok: bool
    located: Mapping[str, Any] | None = None


@dataclass
class PoolQueue:
    """One pool's tasks as they become possible; told of each task's end, it adds what follows.

    A fleet is evaluated when the undefended one of its seed is trained; regions are located when a
    base was evaluated; the fleets that protect them come next. `top` fleets are trained with later
    seeds when all of the first seed have ended, those of `again` without waiting for the others.
    """

    pool: PoolComparison
    candidates: list[Candidate] = field(default_factory=list)
    roles: list[dict[str, str]] = field(default_factory=list)
    trained: set[tuple[str, int]] = field(default_factory=set)
    waiting: list[FleetTask] = field(default_factory=list)
    open: set[tuple[str, str, int]] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    _heap: list[tuple[int, int, FleetTask]] = field(default_factory=list)
    _count: Iterator[int] = field(default_factory=itertools.count)
    _chosen: bool = False

    def __post_init__(self) -> None:
        options, locating = self.options, self._locating()
        self.candidates = [
            c for c in self.pool.candidates if self._wanted(c) or (locating and self._is_base(c))
        ]
        for c in self.candidates:
            first = c.label == NONE
            rank = BASELINE if first else BASES if self._is_base(c) else OTHERS
            self._add("train", c, self.first, rank)
        if options.again:
            self._later([c for c in self.candidates if self._again(c)])

    @property
    def options(self) -> Options:
        """What the configuration requested."""
        return self.pool.options

    @property
    def first(self) -> int:
        """The seed at which every defence is trained."""
        return self.options.seeds[0]

    def next(self) -> FleetTask | None:
        """The most urgent task that can be done now; it counts as begun."""
        return heapq.heappop(self._heap)[2] if self._heap else None

    def ended(self, task: FleetTask, found: Done) -> None:
        """A task is done (or was left out): what follows from it becomes possible."""
        self.open.discard(task.key)
        if task.what == "train" and found.ok:
            self.trained.add((task.candidate.label, task.seed))
            self.waiting.append(replace(task, what="evaluate"))
            ready = [t for t in self.waiting if (NONE, t.seed) in self.trained]
            self.waiting = [t for t in self.waiting if (NONE, t.seed) not in self.trained]
            for t in ready:
                self._add("evaluate", t.candidate, t.seed, NOW)
        elif task.what == "evaluate" and found.ok:
            if self._locating() and self._is_base(task.candidate):
                self._add("locate", task.candidate, task.seed, NOW)
        elif task.what == "locate" and task.seed == self.first and found.located is not None:
            self._protect(task.candidate, found.located)
        if not self.open and not self._chosen:
            self._choose()

    def failed(self, task: FleetTask, error: Exception) -> None:
        """A bug costs its fleet alone, unless others rest on it; what a user can act on ends all."""
        told = isinstance(error, SeepageError | OSError | MemoryError)
        if told or isinstance(task.candidate.defense, Undefended) or task.what == "locate":
            raise error
        self.broken.append("".join(traceback.format_exception(error)))
        self.pool.progress.say(f"{task}: failed: {type(error).__name__}: {error}")
        self.ended(task, Done(False))

    def _add(self, what: What, candidate: Candidate, seed: int, rank: int) -> None:
        task = FleetTask(self.pool.name, what, candidate, seed)
        self.open.add(task.key)
        heapq.heappush(self._heap, (rank, next(self._count), task))

    def _protect(self, base: Candidate, located: Mapping[str, Any]) -> None:
        """PPTP on what was located, with its controls."""
        try:
            if not located["chosen"]:
                raise InputError(str(located["why"]))
            parts = list(pptp_candidates(self.pool, base, located["chosen"]))
        except InputError as e:
            self.pool.progress.say(f"pptp with {base.label}: {e}")
            return
        new = []
        for candidate, kind, variant in parts:
            part = {"base": base.label, "variant": variant, "kind": kind, "label": candidate.label}
            same = next((c for c in self.candidates if same_fleet(c, candidate)), None)
            if same is not None:
                part["label"] = same.label
            elif self._wanted(candidate):
                self.candidates.append(candidate)
                new.append(candidate)
                self._add("train", candidate, self.first, PROTECTED)
            self.roles.append(part)
        write_result(self.pool.results / "roles.json", {"roles": self.roles})
        if self.options.again:
            self._later([c for c in new if self._again(c)])

    def _is_base(self, candidate: Candidate) -> bool:
        return any(same_fleet(candidate, b) for b in self.options.bases)

    def _locating(self) -> bool:
        """Whether fleets of PPTP are wanted."""
        asked = self.options.fleets
        return not asked or any(f.startswith("pptp(") for f in asked)

    def _wanted(self, candidate: Candidate) -> bool:
        asked, label = self.options.fleets, candidate.label
        return not asked or label == NONE or any(label.startswith(f) for f in asked)

    def _again(self, candidate: Candidate) -> bool:
        label = candidate.label
        return label == NONE or any(label.startswith(a) for a in self.options.again)

    def _later(self, candidates: Sequence[Candidate]) -> None:
        for seed in self.options.seeds[1:]:
            for c in candidates:
                self._add("train", c, seed, LATER)

    def _choose(self) -> None:
        """All of the first seed have ended: the best are trained with further seeds."""
        self._chosen = True
        options = self.options
        write_result(self.pool.results / "roles.json", {"roles": self.roles})
        if options.again or len(options.seeds) == 1:
            return
        chosen = self.candidates
        if options.top is not None:
            rows, controls = self.pool.rows(self.first), controls_of(self.roles)
            ranked = rank_rows(rows, options.main, controls=controls)
            best = {r.label for r in ranked[: options.top]}
            tied = {p["label"] for p in self.roles if _tied(p, self.roles, best)}
            chosen = [c for c in self.candidates if c.label in best | tied | {NONE}]
        self._later(chosen)


def _tied(part: Mapping[str, str], roles: Sequence[Mapping[str, str]], best: set[str]) -> bool:
    """Whether a PPTP fleet among the best needs this one as its control."""
    return any(
        other["label"] in best
        and other["kind"] == "regions"
        and (other["base"], other["variant"]) == (part["base"], part["variant"])
        for other in roles
    )


class _InTurn:
    """Several pools' queues as one, a task of each in turn."""

    def __init__(self, queues: Sequence[PoolQueue]) -> None:
        self.queues = {q.pool.name: q for q in queues}
        self._turn = itertools.cycle(queues)

    def next(self) -> FleetTask | None:
        """Of the pool whose turn it is, or of the next that has one."""
        for queue in itertools.islice(self._turn, len(self.queues)):
            task = queue.next()
            if task is not None:
                return task
        return None

    def ended(self, task: FleetTask, found: Done) -> None:
        """Its own pool is told."""
        self.queues[task.pool].ended(task, found)

    def failed(self, task: FleetTask, error: Exception) -> None:
        """Its own pool is told."""
        self.queues[task.pool].failed(task, error)


def _do(pools: Mapping[str, PoolComparison], task: FleetTask, progress: Progress) -> Done:
    pool, candidate, seed = pools[task.pool], task.candidate, task.seed
    pool.progress = progress
    began = time.perf_counter()
    if task.what == "locate":
        done = Done(True, locate(pool, candidate, seed))
    else:
        work = pool.train if task.what == "train" else pool.evaluate
        done = Done(pool.attempt(candidate, seed, lambda: work(candidate, seed)))
    if pool.alone:
        progress.say(f"{task}: {time.perf_counter() - began:.1f} s")
    return done


def run_pools(pools: Sequence[PoolComparison], jobs: int = 1) -> None:
    """Everything that is left to do on these pools; all of it is checked first.

    jobs: fleets side by side, each in one process that trains it and evaluates it, pools in turn. A
    defence that cannot be trained is left out with its reason; a bug ends the fleet that met it,
    and the others finish before it is raised. What ended stays; the same call resumes there.
    """
    for pool in pools:
        pool.check(jobs)
    queues = [PoolQueue(pool) for pool in pools]
    if jobs == 1:
        for queue in queues:
            shared = {queue.pool.name: queue.pool}
            work_through(queue, _do, shared, progress=queue.pool.progress)
    elif queues:
        # A child loads its data itself and has no terminal.
        shared = {p.name: replace(p, alone=True, progress=Quiet()) for p in pools}
        work_through(
            _InTurn(queues),
            _do,
            shared,
            jobs=jobs,
            progress=pools[0].progress,
            environment=ENVIRONMENT,
        )
    broken = [text for queue in queues for text in queue.broken]
    if broken:
        raise RuntimeError(f"{len(broken)} fleets met a bug, the first:\n{broken[0]}")
