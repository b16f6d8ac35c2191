"""Tasks with one result each: resumed, shared by processes, run side by side; then a page."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import multiprocessing
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from seepage.errors import InputError, Locked, SeepageError, nearest
from seepage.fleet.local import Watcher
from seepage.fleet.start import Silent
from seepage.local_paths import local_path
from seepage.store.files import write_text
from seepage.store.lock import Lock
from seepage.store.result_files import read_result, write_result
from seepage.store.storage import Storage

__all__ = [
    "Progress",
    "Queue",
    "Quiet",
    "Result",
    "Study",
    "Task",
    "key_of",
    "matching",
    "run_tasks",
    "stored_results",
    "work_through",
    "write_page",
]

Result = Mapping[str, Any]
S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")
Found = TypeVar("Found", contravariant=True)


class Progress(Protocol):
    """Receives the progress of work: a terminal, a log."""

    def say(self, line: str) -> None:
        """One line, once something is known."""

    def status(self, text: str) -> contextlib.AbstractContextManager[Any]:
        """What is in progress as long as the context lasts."""

    def watcher(self) -> Watcher:
        """Receives the progress of the next fleet."""


class Quiet:
    """Progress that is not shown."""

    def say(self, line: str) -> None:
        """Nothing."""

    def status(self, text: str) -> contextlib.AbstractContextManager[Any]:
        """Nothing."""
        return contextlib.nullcontext()

    def watcher(self) -> Watcher:
        """One that says nothing."""
        return Silent()


class _Lines(Quiet):
    """Lines that another process prints."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


# ---- any tasks, one by one or side by side
# ---------------------------------------------------------


class Queue(Protocol[T, Found]):
    """Tasks as they become possible; it receives how each of them ended."""

    def next(self) -> T | None:
        """The most urgent task that can be begun now; None where all wait for others or ended."""

    def ended(self, task: T, found: Found) -> None:
        """A task is done."""

    def failed(self, task: T, error: Exception) -> None:
        """A task raised: raise to end everything, return to let the others continue."""


def work_through(
    queue: Queue[T, R],
    do: Callable[[S, T, Progress], R],
    shared: S,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Every task of a queue by `do(shared, task, progress)`, up to `jobs` of them at a time.

    With jobs above 1 tasks run in fresh interpreters, which get `shared` once and the variables
    of `environment`, so that what is passed must be picklable; their lines are told when a task
    ends. An interruption ends all.
    """
    progress = progress if progress is not None else Quiet()
    if jobs == 1:
        while (task := queue.next()) is not None:
            try:
                found = do(shared, task, progress)
            except Exception as error:  # the queue says which of them end everything
                queue.failed(task, error)
            else:
                queue.ended(task, found)
        return
    running: dict[Future[tuple[R, list[str]]], T] = {}
    context = multiprocessing.get_context("spawn")
    with (
        _variables(environment or {}),
        ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_receive, initargs=(shared,)
        ) as pool,
    ):
        try:
            while True:
                while len(running) < jobs and (task := queue.next()) is not None:
                    running[pool.submit(_elsewhere, do, task)] = task
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    task = running.pop(future)
                    try:
                        found, lines = future.result()
                    except Exception as error:  # as above
                        queue.failed(task, error)
                        continue
                    for line in lines:
                        progress.say(line)
                    queue.ended(task, found)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_SHARED: list[Any] = []


def _receive(shared: Any) -> None:
    _SHARED[:] = [shared]


def _elsewhere(do: Callable[[Any, T, Progress], R], task: T) -> tuple[R, list[str]]:
    progress = _Lines()
    return do(_SHARED[0], task, progress), progress.lines


@contextlib.contextmanager
def _variables(environment: Mapping[str, str]) -> Iterator[None]:
    """Read when a child loads its libraries, so set before it starts."""
    before = {k: os.environ.get(k) for k in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for k, v in before.items():
            if v is None:
                del os.environ[k]
            else:
                os.environ[k] = v


# ---- tasks of a study
# ------------------------------------------------------------------------------


def key_of(inputs: Mapping[str, Any]) -> str:
    """Digest of all that a result depends on, as JSON values.

    >>> key_of({"a": 1, "b": [2]}) == key_of({"b": (2,), "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _without_key(stored: Result) -> bool:
    return "key" not in stored


def _whole(stored: Result) -> bool:
    return True


def _not_kept(found: Result) -> None:
    """Of a task without a result."""


Work = Callable[[Result, Callable[[Result], None], Progress], Result | None]


@dataclass(frozen=True)
class Task:
    """One piece of a study with one result. All its parts must be picklable.

    name: also of the result. work(before, save, progress): what was found, None where nothing can
    be; `before` is the stored result of the same inputs ({} if none), `save` keeps what was found
    so far. result: its file, None for a task that only makes others possible. key: digest of the
    inputs, or what tells it once the tasks before have ended; None where it cannot be known here,
    and then a stored result is taken as it is. older: whether a stored result from before keys were
    as they are is of these inputs. complete: whether a stored result is all that can be found.
    after: tasks that must have ended before.
    """

    name: str
    work: Work
    result: Path | None = None
    key: str | Callable[[], str | None] | None = None
    older: Callable[[Result], bool] = _without_key
    complete: Callable[[Result], bool] = _whole
    after: tuple[str, ...] = ()

    def digest(self) -> str | None:
        """Its key, as far as it is known now."""
        return self.key() if callable(self.key) else self.key

    def stored(self) -> Result | None:
        """Its result, if there is one of the same inputs.

        Raises InputError for a file that is no result or was changed since.
        """
        if self.result is None or not self.result.exists():
            return None
        found: Result = read_result(self.result)
        key = self.digest()
        same = key is None or found.get("key") == key or self.older(found)
        return found if same else None

    def done(self) -> bool:
        """Whether nothing is left to do; not told as long as its inputs are not there."""
        if self.key is not None and self.digest() is None:
            return False
        stored = self.stored()
        return stored is not None and self.complete(stored)


class Study(ABC):
    """What a file asks for: tasks, a listing of them, a page written from their results.

    page: where the page goes; results: where one small JSON per task goes; locks: a folder that all
    processes at work on the study can write; jobs: tasks side by side, unless said otherwise.
    """

    kind: str
    parts: ClassVar[tuple[str, ...]]
    """What `--only` can ask for; the last is the page."""

    def __init__(self, page: str | None, results: str, locks: str, jobs: int = 1) -> None:
        """Raises InputError for places that cannot be named so."""
        for name, given in (("results", results), ("runs", locks), ("page", page)):
            if given is not None and "://" not in given:
                local_path(given, name)
        self.page, self.results, self.locks, self.jobs = page, results, locks, jobs

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """Names of all results, the most urgent first."""

    @abstractmethod
    def tasks(self, names: Sequence[str], only: str | None = None) -> list[Task]:
        """What finds these results; only: one of the parts."""

    @abstractmethod
    def listing(self, names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
        """Columns and rows: what each of these is, and how far it has come."""

    @abstractmethod
    def markdown(self, results: Mapping[str, Any], file: str) -> str:
        """The page, from results by name; file: for the command that writes it again."""


def matching(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Those that match a pattern, "size-*"; all where no pattern is given, in the order of names.

    Raises InputError for a pattern that matches none.
    """
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(n, pattern) for n in names):
            raise InputError(
                f"--fleet: expected names of the study, got {pattern!r}; {nearest(pattern, names)}"
            )
    if not patterns:
        return list(names)
    return [n for n in names if any(fnmatch.fnmatchcase(n, p) for p in patterns)]


class _Listed:
    """A list of tasks as a queue; what fails is named at once, and the others continue."""

    def __init__(self, tasks: Sequence[Task], progress: Progress) -> None:
        self.waiting = list(tasks)
        self.open = {t.name for t in tasks}
        self.failures: list[str] = []
        self.progress = progress

    def next(self) -> Task | None:
        """The first that waits for none."""
        for at, task in enumerate(self.waiting):
            if not self.open.intersection(task.after):
                return self.waiting.pop(at)
        return None

    def ended(self, task: Task, found: None) -> None:
        """What waited for it can begin."""
        self.open.discard(task.name)

    def failed(self, task: Task, error: Exception) -> None:
        """Bad input or a lack of memory costs this task alone; a bug ends everything."""
        if not isinstance(error, SeepageError | RuntimeError):
            raise error
        self.open.discard(task.name)
        self.failures.append(f"{task.name}: {str(error).partition(chr(10))[0]}")
        self.progress.say(f"{task.name}: failed: {str(error).partition(chr(10))[0]}")


def run_tasks(
    tasks: Sequence[Task], locks: str, *, jobs: int = 1, progress: Progress | None = None
) -> None:
    """Every task that is not done, in order or side by side; a result is written whole or not.

    Several processes may run the same tasks: each task is taken by one of them, which the folder
    `locks` tells the others. Raises SeepageError at the end where tasks failed, with the first.
    """
    progress = progress if progress is not None else Quiet()
    done = {t.name for t in tasks if t.done()}
    left = [t for t in tasks if t.name not in done]
    lasting = sum(t.result is not None for t in tasks)
    if lasting:
        progress.say(f"{len(done)} of {lasting} results are there")
    queue = _Listed(left, progress)
    share = str(max((os.cpu_count() or 1) // jobs, 1))
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {name: os.environ.get(name, share) for name in threads}
    environment["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "passive")
    work_through(queue, _do, locks, jobs=jobs, progress=progress, environment=environment)
    if queue.failures:
        raise SeepageError(
            f"{len(queue.failures)} of {len(left)} tasks failed; the first: {queue.failures[0]}"
        )


def _do(locks: str, task: Task, progress: Progress) -> None:
    """One task unless it is done or another process has it, or a fleet that it needs."""
    began = time.perf_counter()
    try:
        if task.result is None:
            task.work({}, _not_kept, progress)
        else:
            with Lock(Storage(locks, write=True), place=f"locks/{task.name}"):
                if not _found(task, task.result, progress):
                    return
    except Locked as e:
        progress.say(f"{task.name}: left to another process: {e}")
        return
    where = "" if task.result is None else f", {task.result}"
    progress.say(f"{task.name}: {time.perf_counter() - began:.1f} s{where}")


def _found(task: Task, result: Path, progress: Progress) -> bool:
    before = task.stored()
    if before is not None and task.complete(before):
        return False
    key = task.digest()

    def save(found: Result) -> None:
        write_result(result, {**found, **({} if key is None else {"key": key})}, indent=None)

    found = task.work(before if before is not None else {}, save, progress)
    if found is None:
        return False
    save(found)
    return True


def stored_results(tasks: Sequence[Task], progress: Progress | None = None) -> dict[str, Result]:
    """Results by name; those of other inputs are named and left out."""
    out = {}
    for task in tasks:
        found = task.stored()
        if found is not None:
            out[task.name] = found
        elif task.result is not None and task.result.exists() and progress is not None:
            progress.say(f"{task.name}: {task.result} is of other settings; left out")
    return out


def write_page(study: Study, file: Path, progress: Progress | None = None) -> Path:
    """The study's page from the results that are there.

    Raises InputError when there are none, or when the study names no page.
    """
    if study.page is None:
        raise InputError("page: expected where it goes, got none; name it in the file or by --page")
    tasks = [t for t in study.tasks(study.names) if t.result is not None]
    found = stored_results(tasks, progress)
    if not found:
        raise InputError(
            f"{study.results}: expected results of the study, found none; "
            "run the same without --only"
        )
    path = Path(study.page)
    write_text(path, study.markdown(found, file.as_posix()))
    return path
