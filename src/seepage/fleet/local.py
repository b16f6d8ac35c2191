"""Worker processes on this machine: one core each, replaced when they die."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import torch

from seepage.errors import InputError
from seepage.fleet.spec import FleetSpec
from seepage.fleet.worker import ENVIRONMENT, Desk, explain, serve

__all__ = ["FleetError", "Watcher", "run_inline", "run_local"]

RETRIES = 2
# Ctrl-C reaches the whole terminal group: the parent alone answers it and stops its workers.
_ENTRY = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "from seepage.fleet.worker import main; main()"
)


class FleetError(RuntimeError):
    """A worker met a bug, ours or the user's own code's; the message holds its traceback."""


class Watcher(Protocol):
    """Who is told how a fleet goes on: a progress bar, a log, a dashboard."""

    def start(self, rows: list[int], epochs: float) -> None:
        """The fleet begins: plan rows still to train, epochs of each."""
        ...

    def progress(self, row: int, epoch: float) -> None:
        """A run has done so many epochs."""
        ...

    def done(self, row: int, record: dict[str, Any]) -> None:
        """A run has ended, done or failed."""
        ...

    def stop(self) -> None:
        """The fleet is over."""
        ...


class _Process(Protocol):
    def kill(self) -> None: ...
    def wait(self) -> Any: ...


class _Forked:
    """A forked worker behind the two calls that a subprocess also has."""

    def __init__(self, process: multiprocessing.Process) -> None:
        self.process = process

    def kill(self) -> None:
        self.process.kill()

    def wait(self) -> Any:
        self.process.join()


@dataclass
class _Worker:
    """A worker process: our end of its pipe, its task and the plan rows still to come from it."""

    pipe: Connection
    process: _Process
    task: list[int] | None = None
    left: set[int] = field(default_factory=set)

    def send(self, message: Any) -> None:
        """A worker that died cannot listen; the end of its pipe will tell."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(message)

    def bury(self) -> None:
        """Wait for the process to be gone and close the pipe."""
        self.process.wait()
        self.pipe.close()


def _launch(spec: FleetSpec) -> _Worker:
    ours, theirs = multiprocessing.Pipe()
    process: _Process
    if spec.travels:
        env = {**os.environ, **ENVIRONMENT}
        env["OMP_NUM_THREADS"] = env["MKL_NUM_THREADS"] = str(spec.execution.threads)
        # The child must find the user's modules where the parent finds them.
        env["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
        process = subprocess.Popen(
            [sys.executable, "-c", _ENTRY, str(theirs.fileno())],
            env=env,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
    else:
        context = multiprocessing.get_context("fork")
        child = context.Process(target=_forked, args=(spec, ours, theirs), daemon=True)
        with warnings.catch_warnings():
            # Python warns of threads at a fork: Zarr renews its own, the heartbeat holds no lock.
            warnings.simplefilter("ignore", DeprecationWarning)
            child.start()
        process = _Forked(child)  # type: ignore[arg-type]
    theirs.close()
    worker = _Worker(ours, process)
    worker.send(spec if spec.travels else None)
    return worker


def _forked(spec: FleetSpec, ours: Connection, theirs: Connection) -> None:
    ours.close()
    theirs.recv()
    serve(_WithSpec(theirs, spec))  # type: ignore[arg-type]


class _WithSpec:
    """A pipe whose first message is a spec that was inherited and never travelled."""

    def __init__(self, pipe: Connection, spec: FleetSpec) -> None:
        self.pipe = pipe
        self.first: FleetSpec | None = spec

    def recv(self) -> Any:
        if self.first is not None:
            spec, self.first = self.first, None
            return spec
        return self.pipe.recv()

    def send(self, message: Any) -> None:
        self.pipe.send(message)


def run_local(
    spec: FleetSpec,
    tasks: Iterable[list[int]],
    workers: int,
    watcher: Watcher,
    on_done: Callable[[int, dict[str, Any]], None] = lambda row, record: None,
) -> None:
    """Train every task (a group of plan rows) in one of `workers` processes.

    A worker that dies (killed, out of memory) is replaced and its task tried again, twice; what
    its runs had finished stays. Raises InputError for what the user can mend, FleetError with a
    traceback for a bug. On any error, and on Ctrl-C, all workers are stopped before it leaves.
    """
    waiting = list(tasks)
    deaths: dict[tuple[int, ...], int] = {}
    alive: list[_Worker] = []
    try:
        alive.extend(_launch(spec) for _ in range(min(workers, len(waiting))))
        while alive:
            ready = set(map(id, wait([w.pipe for w in alive])))
            for worker in [w for w in alive if id(w.pipe) in ready]:
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):
                    alive.remove(worker)
                    worker.bury()
                    _mourn(worker, deaths)
                    if worker.left:
                        # Whole: runs that are trained together round alike only together.
                        waiting.insert(0, worker.task or [])
                    if len(alive) < min(workers, len(waiting)):
                        alive.append(_launch(spec))
                    continue
                if kind == "error":
                    who, message = value
                    raise InputError(message) if who == "user" else FleetError(message)
                if kind == "progress":
                    watcher.progress(*value)
                    continue
                if kind == "done":
                    row, record = value
                    worker.left.discard(row)
                    on_done(row, record)
                    watcher.done(row, record)
                if not worker.left:
                    worker.task = waiting.pop(0) if waiting else None
                    worker.left = set(worker.task or ())
                    worker.send(worker.task)
                    if worker.task is None:
                        alive.remove(worker)
                        worker.bury()
    finally:
        for worker in alive:
            worker.process.kill()
            worker.bury()


def run_inline(
    spec: FleetSpec,
    tasks: Iterable[list[int]],
    watcher: Watcher,
    on_done: Callable[[int, dict[str, Any]], None] = lambda row, record: None,
) -> None:
    """Train every task in this very process, one after another.

    For callers that are workers themselves: no interpreter to start, no GPU context to make anew.
    torch's count of threads is what it was afterwards; a bug keeps its own traceback.
    """
    threads = torch.get_num_threads()
    try:
        desk = Desk.of(spec)
        for task in tasks:
            for row, record in desk.train(task, watcher.progress):
                on_done(row, record)
                watcher.done(row, record)
    except OSError as e:
        who, message = explain(e)
        if who == "user":
            raise InputError(message) from None
        raise
    finally:
        torch.set_num_threads(threads)


def _mourn(worker: _Worker, deaths: dict[tuple[int, ...], int]) -> None:
    """Count a death against what the worker was doing; InputError when it is one too many."""
    task = tuple(sorted(worker.left))
    deaths[task] = deaths.get(task, 0) + 1
    if deaths[task] > RETRIES:
        doing = f"at run {task[0]}" if task else "as it started"
        raise InputError(
            f"fleet: expected workers to live, got {deaths[task]} deaths {doing}; "
            "it may need more memory, use fewer workers or a smaller batch"
        )
