"""How runs are trained: one after another, with fused layers, stacked, or as graphs on a GPU; same seeds, same runs.

Within a backend a run's signals are bit-identical whenever and wherever on one machine it is
trained ("compiled" alone does not promise that). Between backends products are rounded in another
order, and training amplifies that: docs/performance.md states by how much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from seepage.config.execution import Execution
from seepage.config.model import Model
from seepage.config.recipe import Recipe
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet import graphs, stacked
from seepage.fleet.loop import Job, Progress, train_run
from seepage.fleet.machine import choose_precision
from seepage.fleet.spec import FleetSpec
from seepage.models.fused import fused_layers, fuses
from seepage.native.library import multiplies_bf16
from seepage.plan import SubsetPlan
from seepage.record import Resident
from seepage.signals.tasks import task
from seepage.store.storage import Storage

__all__ = [
    "BACKENDS",
    "check_machine",
    "choose_backend",
    "choose_precision_and_layers",
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
    """The backend for a fleet; "auto" takes the fastest that trains exactly this.

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


def choose_precision_and_layers(
    backend: str,
    execution: Execution,
    ref: Model,
    data: Dataset,
    recipe: Recipe,
    device: str,
    *,
    here: bool,
) -> tuple[str, str, dict[str, float]]:
    """Backend, precision and measured seconds of a step of a fleet that begins.

    backend: what `choose_backend` gave. "fused" takes the place of "process" where nobody asked for
    either, networks train in bfloat16, some of their layers fuse, and every run is trained on this
    machine (`here`): another one may not have the kernels.
    """
    shape, classes = data.shape, len(data.classes)
    may = backend == "fused" or (
        backend == "process"
        and execution.backend == "auto"
        and here
        and device == "cpu"
        and recipe.precision != "fp32"
        and _layers_fuse(ref, shape, classes)
    )
    if backend == "fused":
        recipe = recipe.changed(precision="bf16")
    precision, seconds = choose_precision(ref, shape, classes, recipe, device, rounding=may)
    return "fused" if may and precision == "bf16" else backend, precision, seconds


def _layers_fuse(ref: Model, shape: tuple[int, ...], classes: int) -> bool:
    """Whether a step in bfloat16 on this machine takes layers that are torch's within rounding."""
    if len(shape) != 3 or not multiplies_bf16():
        return False
    with torch.random.fork_rng(devices=[]):
        network = ref.make(shape, classes).train()
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = torch.zeros(2, *shape).contiguous(memory_format=torch.channels_last)
        try:
            with torch.autocast("cpu", torch.bfloat16), fused_layers(rounding=True):
                return fuses(network(x))
        except RuntimeError:  # bfloat16 cannot run it
            return False


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
