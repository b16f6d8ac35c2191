"""Worker processes on this machine: one core each, replaced when they crash."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import torch

from seepage.errors import InputError
from seepage.fleet.budget import Budget
from seepage.fleet.fork_server import ForkServer, can_fork, interpreter, server
from seepage.fleet.spec import FleetSpec
from seepage.fleet.worker import WorkerContext, explain, serve

__all__ = ["FleetError", "Watcher", "run_apart", "run_inline", "run_local"]

RETRIES = 2


class FleetError(RuntimeError):
    """An unexpected error in a worker, from this package or the user's code, with its traceback."""


class Watcher(Protocol):
    """Receives the progress of a fleet: a progress bar, a log, a dashboard."""

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


class _OfServer:
    """A worker that a fork server started, behind the same two calls."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.server, self.pid = server, pid

    def kill(self) -> None:
        self.server.end(self.pid, kill=True)
        self.pid = 0

    def wait(self) -> None:
        if self.pid:
            self.server.end(self.pid, kill=False)


@dataclass
class _Worker:
    """A worker process: our end of its pipe, its task and the plan rows still to come from it."""

    pipe: Connection
    process: _Process
    task: list[int] | None = None
    left: set[int] = field(default_factory=set)
    began: float = 0.0

    def send(self, message: Any) -> None:
        """Send; a process that crashed cannot receive, which its closed pipe tells the loop."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(message)

    def close(self) -> None:
        """Wait for the process to end and close the pipe."""
        self.process.wait()
        self.pipe.close()


def _launch(task: Any, travels: bool, threads: int) -> _Worker:
    """A process that is sent `task` first: a fresh interpreter if that travels, else a fork."""
    ours, theirs = multiprocessing.Pipe()
    process: _Process
    if travels:
        process = interpreter("worker", theirs, threads)
    else:
        context = multiprocessing.get_context("fork")
        child = context.Process(target=_forked, args=(task, ours, theirs), daemon=True)
        with warnings.catch_warnings():
            # Python warns of threads at a fork: Zarr renews its own, the heartbeat holds no lock.
            warnings.simplefilter("ignore", DeprecationWarning)
            child.start()
        process = _Forked(child)  # type: ignore[arg-type]
    theirs.close()
    worker = _Worker(ours, process)
    worker.send(task if travels else None)
    return worker


class _Launcher:
    """Starts the workers of one fleet; those that can be fresh interpreters by a server of its own."""

    def __init__(self, spec: FleetSpec) -> None:
        self.spec = spec
        self.server: ForkServer | None = None

    def launch(self) -> _Worker:
        """A worker that is sent the spec first."""
        threads = self.spec.execution.threads
        if not (self.spec.travels and can_fork()):
            return _launch(self.spec, self.spec.travels, threads)
        for _ in range(RETRIES + 1):
            self.server = self.server or server(threads)
            ours, theirs = multiprocessing.Pipe()
            try:
                worker = _Worker(ours, _OfServer(self.server, self.server.fork(theirs)))
            except EOFError:
                ours.close()
                self.close()
                continue
            finally:
                theirs.close()
            worker.send(self.spec)
            return worker
        raise _died(RETRIES + 1, "as they started")

    def close(self) -> None:
        """End the server; its workers have ended."""
        if self.server is not None:
            self.server.close()
            self.server = None


def _forked(task: Any, ours: Connection, theirs: Connection) -> None:
    ours.close()
    theirs.recv()
    serve(_WithTask(theirs, task))  # type: ignore[arg-type]


class _WithTask:
    """A pipe whose first message is a task that was inherited and never travelled."""

    def __init__(self, pipe: Connection, task: Any) -> None:
        self.pipe = pipe
        self.first: Any = task

    def recv(self) -> Any:
        if self.first is not None:
            task, self.first = self.first, None
            return task
        return self.pipe.recv()

    def send(self, message: Any) -> None:
        self.pipe.send(message)


def run_local(
    spec: FleetSpec,
    tasks: Iterable[list[int]],
    workers: int,
    watcher: Watcher,
    on_done: Callable[[int, dict[str, Any]], None] = lambda row, record: None,
    budget: Budget | None = None,
) -> None:
    """Train every task (a group of plan rows) in one of `workers` processes.

    A worker that crashes (killed, out of memory) is replaced and its task tried again, twice; what
    its runs had finished stays. budget: tasks that it does not allow are not begun, and those that
    run when it is over are stopped. Raises InputError for what the user can fix, FleetError with a
    traceback for a bug. On any error, and on Ctrl-C, all workers are stopped before it leaves.
    """
    waiting = list(tasks)
    crashes: dict[tuple[int, ...], int] = {}
    running: list[_Worker] = []
    if budget is not None:
        budget.workers = max(1, min(workers, len(waiting)))
    launcher = _Launcher(spec)

    def next_task() -> list[int] | None:
        if waiting and budget is not None and not budget.allows(waiting[0][0]):
            waiting.clear()
        return waiting.pop(0) if waiting else None

    try:
        running.extend(launcher.launch() for _ in range(min(workers, len(waiting))))
        while running:
            patience = None if budget is None else budget.left
            ready = set(map(id, wait([w.pipe for w in running], patience)))
            if budget is not None and budget.over:
                return
            for worker in [w for w in running if id(w.pipe) in ready]:
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):
                    running.remove(worker)
                    worker.close()
                    _count_crash(worker, crashes)
                    if worker.left:
                        # Whole: runs that are trained together round alike only together.
                        waiting.insert(0, worker.task or [])
                    if len(running) < min(workers, len(waiting)):
                        running.append(launcher.launch())
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
                    if budget is not None:
                        budget.took(time.monotonic() - worker.began)
                    on_done(row, record)
                    watcher.done(row, record)
                if not worker.left:
                    worker.task = next_task()
                    worker.left, worker.began = set(worker.task or ()), time.monotonic()
                    worker.send(worker.task)
                    if worker.task is None:
                        running.remove(worker)
                        worker.close()
    finally:
        for worker in running:
            worker.process.kill()
            worker.close()
        launcher.close()


def run_apart(task: Callable[[], Any], *, travels: bool, threads: int, seconds: float) -> Any:
    """What `task` returns, called in a process like a worker's; None where it took longer or died.

    Raises what a worker would: InputError for what the user can fix, FleetError with a traceback.
    """
    worker = _launch(task, travels, threads)
    try:
        if not worker.pipe.poll(seconds):
            return None
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):
        return None
    finally:
        worker.process.kill()
        worker.close()
    if kind == "error":
        who, message = value
        raise InputError(message) if who == "user" else FleetError(message)
    return value


def run_inline(
    spec: FleetSpec,
    tasks: Iterable[list[int]],
    watcher: Watcher,
    on_done: Callable[[int, dict[str, Any]], None] = lambda row, record: None,
    budget: Budget | None = None,
) -> None:
    """Train every task in this very process, one after another.

    For callers that are workers themselves: no interpreter to start, no GPU context to create.
    budget: as of `run_local`, but nothing stops a run that has begun.
    torch's number of threads is restored afterwards; an unexpected error keeps its own traceback.
    """
    threads = torch.get_num_threads()
    try:
        context = WorkerContext.set_up(spec)
        for task in tasks:
            if budget is not None and not budget.allows(task[0]):
                return
            began = time.monotonic()
            for row, record in context.train(task, watcher.progress):
                if budget is not None:
                    budget.took(time.monotonic() - began)
                on_done(row, record)
                watcher.done(row, record)
    except OSError as e:
        who, message = explain(e)
        if who == "user":
            raise InputError(message) from None
        raise
    finally:
        torch.set_num_threads(threads)


def _count_crash(worker: _Worker, crashes: dict[tuple[int, ...], int]) -> None:
    """Count a crash for the runs that were left to do; InputError when it is one too many."""
    task = tuple(sorted(worker.left))
    crashes[task] = crashes.get(task, 0) + 1
    if crashes[task] > RETRIES:
        when = f"at run {task[0]}" if task else "as they started"
        raise _died(crashes[task], when)


def _died(times: int, when: str) -> InputError:
    return InputError(
        f"fleet: worker processes died {times} times {when}; "
        "they may need more memory, use fewer workers or a smaller batch"
    )
