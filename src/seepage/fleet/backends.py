"""How runs are trained: one after another, with fused layers, stacked, or as graphs on a GPU; same seeds, same runs.

Within a backend a run's signals are bit-identical whenever and wherever on one machine it is
trained ("compiled" alone does not promise that). Between backends products are rounded in another
order, and training amplifies that: docs/performance.md states by how much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from seepage.config.model import Model
from seepage.config.recipe import Recipe
from seepage.errors import InputError
from seepage.fleet import graphs, stacked
from seepage.fleet.loop import Job, Progress, train_run
from seepage.fleet.spec import FleetSpec
from seepage.native.library import multiplies_bf16
from seepage.plan import SubsetPlan
from seepage.record import Resident
from seepage.signals.tasks import task
from seepage.store.storage import Storage

__all__ = [
    "BACKENDS",
    "check_machine",
    "choose_backend",
    "group",
    "train_jobs",
]

BACKENDS = ("process", "fused", "stacked", "graphs", "compiled")
_FUSED = "a processor with AVX-512 BF16 and compiled kernels (`seepage doctor` names them)"


def _even(plan: SubsetPlan, recipe: Recipe) -> bool:
    """Whether every run has the same number of batches of the same size."""
    sizes = plan.member.sum(axis=1)
    batches = {(min(recipe.batch, int(n)), int(n) // min(recipe.batch, int(n))) for n in sizes}
    return len(batches) == 1


def choose_backend(
    asked: str,
    ref: Model,
    recipe: Recipe,
    plan: SubsetPlan,
    device: str,
    *,
    plain: bool,
    own: bool = False,
    resident: bool = True,
) -> str:
    """The backend for a fleet; "auto" takes the fastest that trains exactly this, of those that are torch's own layers.

    plain: no defence and no user's loop. own: a user's loop. resident: whether inputs are in memory. Raises InputError when the requested one cannot.
    """
    can = {
        "process": True,
        "fused": not own and device == "cpu" and recipe.precision != "fp32" and multiplies_bf16(),
        "stacked": plain and stacked.can_stack(ref, recipe) and _even(plan, recipe),
        "graphs": plain
        and resident
        and device == "cuda"
        and graphs.can_capture(recipe)
        and task(ref.task).classes,
    }
    # Never taken by itself: it costs a compilation and the promise of the same bits.
    can["compiled"] = can["graphs"]
    if asked == "auto":
        if can["stacked"]:
            return "stacked"
        return "graphs" if can["graphs"] else "process"
    if asked not in can:
        raise InputError(f"backend: expected 'auto' or one of {', '.join(BACKENDS)}, got {asked!r}")
    if not can[asked]:
        on_device = (
            "a CUDA device, a pool in memory, SGD or SAM, and neither a defence, a training function "
            "nor a starting point"
        )
        why = {
            "fused": f"{_FUSED}, bfloat16 on it, and no training function",
            "stacked": "the model 'mlp', an optimiser other than SAM, runs with equally many "
            "batches, and neither a defence, a training function nor a starting point",
            "graphs": on_device,
            "compiled": on_device,
        }[asked]
        raise InputError(f"backend: {asked!r} needs {why}; use 'auto'")
    return asked


def check_machine(backend: str, where: str) -> None:
    """Refuse to go on with a fleet whose kernels this machine does not have."""
    if backend == "fused" and not multiplies_bf16():
        raise InputError(
            f"{where}: was begun with the backend 'fused', which needs {_FUSED}; go on on such a machine, "
            "or begin another folder with backend = 'process'"
        )


def group(spec: FleetSpec, rows: Sequence[int], models: int) -> list[list[int]]:
    """Tasks for workers: groups of plan rows that a backend trains together.

    Groups are cut from the plan, not from what is left to do, and a group with anything left is
    trained whole: its members round alike whatever was finished before.
    """
    size = 1
    if spec.execution.backend == "stacked":
        size = stacked.GROUP[spec.execution.device]
    elif spec.execution.backend in ("graphs", "compiled"):
        size = graphs.GROUP
    if size == 1:
        return [[r] for r in rows]
    left = set(rows)
    cut = [list(range(a, min(a + size, models))) for a in range(0, models, size)]
    return [g for g in cut if left & set(g)]


def train_jobs(
    spec: FleetSpec, storage: Storage, pool: Resident, jobs: Sequence[Job], progress: Progress
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Train the runs of one task and yield (plan row, record) as they end."""
    if spec.execution.backend == "stacked":
        yield from stacked.train_stack(spec, pool, jobs, progress)
    elif spec.execution.backend in ("graphs", "compiled"):
        yield from graphs.train_graphs(spec, pool, jobs, progress)
    else:
        for job in jobs:
            yield job.row, train_run(spec, storage, pool, job, progress)
