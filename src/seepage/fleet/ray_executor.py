"""Runs as Ray tasks, and scoring as Ray tasks over blocks: many machines behind one address.

The run folder must be reachable from every machine: a shared file system or an `s3://` address.
The pool travels through Ray's object store, once per machine.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from seepage.array_types import AnyArray, BoolArray, FloatArray
from seepage.attacks.base import Attack, Source
from seepage.attacks.binding import bind
from seepage.config.execution import Execution
from seepage.errors import InputError
from seepage.extensions import searched
from seepage.fleet.budget import Budget
from seepage.fleet.fork_server import ENVIRONMENT
from seepage.fleet.function_check import FunctionTrial, Obedience
from seepage.fleet.local import RETRIES, FleetError, Watcher
from seepage.fleet.pool_files import held_folder, sweep
from seepage.fleet.spec import FleetSpec, PoolFile
from seepage.fleet.worker import WorkerContext, explain

__all__ = ["Distributed", "cluster", "run_ray", "try_on_ray"]


_CONTEXTS: dict[str, WorkerContext] = {}
# What a worker wrote for itself lasts as long as it does.
_FILES = contextlib.ExitStack()
atexit.register(_FILES.close)


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise InputError(
            "executor: expected Ray to be installed, found none; install seepage[ray]"
        ) from None
    return ray


@contextlib.contextmanager
def cluster(address: str | None = None, workers: int | None = None) -> Iterator[Any]:
    """The Ray module, connected: to what runs already, to `address`, or to one started here.

    A cluster that was started here ends here; one that was found is left as it was.
    """
    ray = _ray()
    if ray.is_initialized():
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"address": "local", "include_dashboard": False, "num_cpus": workers}
    else:
        options |= {"address": address}
        _check_listening(address)
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as e:
        raise InputError(
            f"address: expected a Ray cluster at {address or 'this machine'}, got "
            f"{type(e).__name__}: {e}; check that it runs, or leave the address out"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_listening(address: str) -> None:
    """InputError where nothing listens: Ray itself would wait for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10.0).close()
    except OSError as e:
        raise InputError(
            f"address: expected a Ray cluster at {address}, got {e.strerror or e}; "
            "check that it runs, or leave the address out"
        ) from None


def _environment(threads: int) -> dict[str, Any]:
    env = dict(ENVIRONMENT)
    env["OMP_NUM_THREADS"] = env["MKL_NUM_THREADS"] = str(threads)
    # On a cluster started here workers must find the user's modules where this process does.
    env["PYTHONPATH"] = searched()
    return {"env_vars": env}


def _train_rows(
    spec: FleetSpec, pool: Sequence[AnyArray], apart: Sequence[AnyArray], rows: list[int]
) -> tuple[str, Any]:
    """The task: (done, [(row, record)]) or (error, (who, message))."""
    try:
        context = _CONTEXTS.get(spec.pool.inputs)
        if context is None:
            context = _CONTEXTS[spec.pool.inputs] = WorkerContext.set_up(
                _with_local_files(spec, pool, apart)
            )
        return "done", list(context.train(rows, lambda row, epoch: None))
    except BaseException as e:
        return "error", explain(e)


def _with_local_files(
    spec: FleetSpec, pool: Sequence[AnyArray], apart: Sequence[AnyArray]
) -> FleetSpec:
    """The spec with paths on this machine; the arrays are written to files that it lacks."""
    reference = None if spec.reference is None else _local_file(spec.reference, apart)
    return replace(spec, pool=_local_file(spec.pool, pool), reference=reference)


def _local_file(file: PoolFile, arrays: Sequence[AnyArray]) -> PoolFile:
    if Path(file.labels).exists():
        return file
    place = Path(tempfile.gettempdir())
    sweep(place)
    folder = _FILES.enter_context(held_folder(place))
    if file.file is None:
        np.save(folder / "pixels.npy", arrays[0], allow_pickle=False)
    np.save(folder / "pixels.npy.labels.npy", arrays[1], allow_pickle=False)
    if file.soft:
        np.save(folder / "pixels.npy.targets.npy", arrays[2], allow_pickle=False)
    return replace(file, inputs=str(folder / "pixels.npy"))


def _read(file: PoolFile | None) -> tuple[AnyArray, ...]:
    """What workers elsewhere need of a pool; inputs that stay in their file they read themselves."""
    if file is None:
        return ()
    inputs = np.empty(0) if file.file is not None else np.load(file.inputs, "r")
    further = (".labels.npy", *((".targets.npy",) if file.soft else ()))
    return inputs, *(np.load(f"{file.inputs}{part}", allow_pickle=False) for part in further)


def run_ray(
    spec: FleetSpec,
    tasks: Sequence[list[int]],
    workers: int | None,
    watcher: Watcher,
    on_done: Callable[[int, dict[str, Any]], None] = lambda row, record: None,
    address: str | None = None,
    budget: Budget | None = None,
) -> None:
    """Train every task (a group of plan rows) as a Ray task.

    A worker that crashes costs its task only: Ray tries it again, twice, from what it had saved.
    workers: tasks at a time, all that the cluster has room for when None. budget, and what it
    raises: as of `run_local`; on any error, and on Ctrl-C, running tasks are stopped.
    """
    with cluster(address, workers) as ray:
        remote = ray.remote(_train_rows).options(
            num_cpus=spec.execution.threads,
            num_gpus=1 if spec.execution.device == "cuda" else 0,
            max_retries=RETRIES,
            runtime_env=_environment(spec.execution.threads),
        )
        # Ray does not look inside containers: a list of references travels as references.
        shared = ray.put(spec), ray.put(_read(spec.pool)), ray.put(_read(spec.reference))
        waiting = list(tasks)
        running: dict[Any, tuple[list[int], float]] = {}
        most = workers or len(tasks)
        if budget is not None:
            # More than there is room for would only wait, and be measured with their waiting.
            cores = int(ray.cluster_resources().get("CPU", 1)) // spec.execution.threads
            most = budget.workers = max(1, min(most, cores))
        try:
            while waiting or running:
                while waiting and len(running) < most:
                    if budget is not None and not budget.allows(waiting[0][0]):
                        waiting.clear()
                        break
                    task = waiting.pop(0)
                    running[remote.remote(*shared, task)] = task, time.monotonic()
                if not running:
                    return
                patience = None if budget is None else budget.left
                ended, _ = ray.wait(list(running), num_returns=1, timeout=patience)
                if budget is not None and budget.over:
                    return
                for reference in ended:
                    task, began = running.pop(reference)
                    for row, record in _result(ray, reference, task):
                        if budget is not None:
                            budget.took(time.monotonic() - began)
                        on_done(row, record)
                        watcher.done(row, record)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _result(ray: Any, reference: Any, task: list[int]) -> list[tuple[int, dict[str, Any]]]:
    try:
        kind, value = ray.get(reference)
    except ray.exceptions.RayError as e:
        raise InputError(
            f"fleet: a Ray worker died {RETRIES + 1} times at run {task[0]} "
            f"({type(e).__name__}); it may need more memory, or the run folder is not reachable "
            "from it"
        ) from None
    if kind == "error":
        who, message = value
        raise InputError(message) if who == "user" else FleetError(message)
    done: list[tuple[int, dict[str, Any]]] = value
    return done


def _try(trial: FunctionTrial, pool: Sequence[AnyArray]) -> tuple[str, Any]:
    """The task: (done, what was seen) or (error, (who, message))."""
    try:
        return "done", replace(trial, pool=_local_file(trial.pool, pool))()
    except BaseException as e:
        return "error", explain(e)


def try_on_ray(trial: FunctionTrial, execution: Execution, seconds: float) -> Obedience | None:
    """What the check of a training function sees on a worker; None where it took longer or died.

    There runs are trained, on other machines perhaps, with other files and devices. seconds: until
    then it must have ended, waiting for room in the cluster included. Raises as `run_ray`.
    """
    with cluster(execution.address, execution.workers) as ray:
        remote = ray.remote(_try).options(
            num_cpus=execution.threads,
            num_gpus=1 if execution.device == "cuda" else 0,
            max_retries=0,
            runtime_env=_environment(execution.threads),
        )
        task = remote.remote(ray.put(trial), ray.put(_read(trial.pool)))
        try:
            ended, _ = ray.wait([task], timeout=seconds)
            if not ended:
                return None
            kind, value = ray.get(task)
        except ray.exceptions.RayError:
            return None
        finally:
            ray.cancel(task, force=True)
    if kind == "error":
        who, message = value
        raise InputError(message) if who == "user" else FleetError(message)
    found: Obedience = value
    return found


def _score_samples(
    attack: Attack, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray,
    block: tuple[int, int],
) -> FloatArray:  # fmt: skip
    a, b = block
    part = {k: np.ascontiguousarray(v[:, a:b]) for k, v in signals.items()}
    return attack.run_all(part, np.ascontiguousarray(member[:, a:b]), use)


def _score_targets(
    attack: Attack, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray,
    block: tuple[int, int],
) -> FloatArray:  # fmt: skip
    out = np.empty((block[1] - block[0], member.shape[1]))
    for i, r in enumerate(range(*block)):
        target = {k: v[r] for k, v in signals.items()}
        references = {k: v[use[r]] for k, v in signals.items()}
        out[i] = attack.run(target, references, member[use[r]])
    return out


_METADATA = (
    "name", "title", "reference", "reconstruction", "access", "requires", "first_view", "trajectory",
    "min_in", "min_out", "queries", "fitted", "threshold", "aligns",
)  # fmt: skip


@final
@dataclass(frozen=True)
class Distributed(Attack):
    """Another attack, whose leave-one-out scores are computed as Ray tasks.

    Blocks of samples where a sample's score reads no other sample (`Attack.by_sample`), else of
    targets; the scores are those of `attack` itself. blocks: how many tasks, by default one per
    processor of the cluster. A drop-in wherever an attack is taken::

        seepage.write_report(run, "report.html", attacks=[Distributed(LiRA())])
    """

    attack: Attack
    address: str | None = None
    blocks: int | None = None

    name: ClassVar[str] = "distributed"
    title: ClassVar[str] = "distributed"

    def __post_init__(self) -> None:
        # What the contract keeps on the class belongs to the attack inside.
        for field in _METADATA:
            object.__setattr__(self, field, getattr(self.attack, field))

    def bound(self, source: Source) -> Distributed:
        return replace(self, attack=bind(self.attack, source))

    @property
    def by_sample(self) -> bool:
        return self.attack.by_sample

    @property
    def reads_in(self) -> bool:
        return self.attack.reads_in

    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        return self.attack.run(target, references, member)

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        apart = self.attack.by_sample
        size = member.shape[1] if apart else member.shape[0]
        with cluster(self.address) as ray:
            count = min(size, self.blocks or int(ray.cluster_resources().get("CPU", 1)))
            edges = np.linspace(0, size, count + 1).astype(int).tolist()
            remote = ray.remote(_score_samples if apart else _score_targets)
            remote = remote.options(max_retries=RETRIES)
            shared = [ray.put(x) for x in (self.attack, dict(signals), member, use)]
            tasks = [remote.remote(*shared, pair) for pair in itertools.pairwise(edges)]
            return np.concatenate(ray.get(tasks), axis=1 if apart else 0)
