"""A worker process: receives plan rows from its parent, trains them, writes to the store itself.

Forked from a fresh interpreter with one thread, passive OpenMP waiting and an allocator that keeps
its pages (`seepage.fleet.fork_server`); or from the parent, for models and functions that only its
memory holds.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from seepage.data import Dataset
from seepage.errors import SeepageError
from seepage.fleet.backends import check_machine, train_jobs
from seepage.fleet.fork_server import die_with_parent
from seepage.fleet.loop import Progress, prepare
from seepage.fleet.spec import FleetSpec
from seepage.record import Resident
from seepage.store.evidence import read_array
from seepage.store.storage import Storage

__all__ = ["WorkerContext", "explain", "main", "serve"]

PROGRESS_EVERY = 0.25


@dataclass
class WorkerContext:
    """What a process needs to train runs, whatever sends it tasks: the store, the pool, the plan."""

    spec: FleetSpec
    storage: Storage
    data: Dataset
    pool: Resident
    member: np.ndarray
    seeds: np.ndarray

    @classmethod
    def set_up(cls, spec: FleetSpec) -> WorkerContext:
        """Configure torch in this process, open the store and load the pool."""
        check_machine(spec.execution.backend, spec.store)
        torch.set_num_threads(spec.execution.threads)
        if spec.execution.device == "cuda":
            free = spec.execution.backend == "compiled"
            torch.backends.cudnn.deterministic = not free
            torch.backends.cudnn.benchmark = free
            torch.backends.cudnn.allow_tf32 = spec.recipe.precision == "bf16"
        storage = Storage(spec.store, write=True)
        data = spec.pool.dataset()
        pool = Resident.of(data, spec.execution.device)
        manifest = storage.get_json("manifest.json")
        member = read_array(storage, manifest, "plan/member").astype(np.bool_)
        return cls(spec, storage, data, pool, member, read_array(storage, manifest, "plan/seeds"))

    def train(
        self, rows: Sequence[int], progress: Progress
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Train these plan rows and yield (plan row, record) as they end."""
        jobs = [
            prepare(
                self.spec,
                self.storage,
                self.data,
                self.pool,
                self.member[r],
                r,
                int(self.seeds[r]),
            )
            for r in rows
        ]
        yield from train_jobs(self.spec, self.storage, self.pool, jobs, progress)


def serve(pipe: Connection) -> None:
    """Loop of a worker: receive a spec, then plan rows, until the parent closes the pipe.

    Anything else that it receives first is called, and what that returns is all it sends.
    """
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        first = pipe.recv()
        if not isinstance(first, FleetSpec):
            pipe.send(("done", first()))
            return
        context = WorkerContext.set_up(first)
        # What is there now stays: looking through all of torch's modules again costs some of every step.
        gc.collect()
        gc.freeze()
        pipe.send(("ready", None))
        while True:
            rows: list[int] | None = pipe.recv()
            if rows is None:
                return
            _train(pipe, context, rows)
    except EOFError:
        return
    except BaseException as e:
        pipe.send(("error", explain(e)))


def _train(pipe: Connection, context: WorkerContext, rows: list[int]) -> None:
    last = 0.0

    def progress(row: int, epoch: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_EVERY:
            last = now
            pipe.send(("progress", (row, epoch)))

    for row, record in context.train(rows, progress):
        pipe.send(("done", (row, record)))


def explain(e: BaseException) -> tuple[str, str]:
    """("user" or "bug", message): what the user can act on as one line, the rest in full."""
    if isinstance(e, SeepageError):
        return "user", str(e)
    if isinstance(e, OSError) and e.errno is not None:
        where = f" ({e.filename})" if e.filename else ""
        return "user", (
            f"store: {os.strerror(e.errno)}{where}; free space or repair it and start again, "
            "finished checkpoints are kept"
        )
    return "bug", "".join(traceback.format_exception(e))


def main() -> Any:
    """Entry of a fresh interpreter: the pipe's descriptor is the only argument."""
    serve(Connection(int(sys.argv[1])))
