"""The start of a fleet, where [start] asks for one: trained once, kept in a file, used again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import nn

from seepage.config.execution import Execution
from seepage.config.model import Model, as_model
from seepage.config.recipe import Recipe
from seepage.config.start import Start
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet.engine import Engine, initial_network
from seepage.fleet.identity import TRAINING_VERSION, differing
from seepage.fleet.machine import choose_device, choose_precision
from seepage.local_paths import local_path
from seepage.record import Resident
from seepage.store.arrays import pack, unpack

__all__ = ["start_file", "started", "untrained"]


class _Unobserved:
    """An observer that looks at nothing."""

    outputs: Callable[[torch.Tensor], torch.Tensor] | None = None

    def start(self, model: nn.Module, *, steps_per_epoch: int = 0, epoch: float = 0.0) -> None:
        """Nothing."""

    def follow(self, model: nn.Module, *, steps_per_epoch: int = 0) -> None:
        """Nothing."""

    def step_end(self) -> None:
        """Nothing."""

    def epoch_end(self) -> None:
        """Nothing."""


def start_file(start: Start, out: str) -> Path:
    """Where the start lies: as said, or beside the run folder.

    >>> start_file(Start(samples=2), "runs/text").as_posix()
    'runs/text-start.safetensors'
    """
    if start.weights is None and "://" in out:
        raise InputError(
            f"start.weights: expected a file on this machine with the run folder at {out}, got none; "
            "name one"
        )
    text = f"{out.rstrip('/')}-start.safetensors" if start.weights is None else start.weights
    path = local_path(text, "start.weights")
    if path.suffix != ".safetensors":
        raise InputError(f"start.weights: expected a .safetensors file, got {text!r}; rename it")
    return path


def started(
    start: Start,
    apart: Dataset,
    model: Model,
    out: str,
    execution: Execution,
    progress: Callable[[float], None] = lambda epochs: None,
) -> Model:
    """The model with the weights of its start, which are trained now where they are not there yet.

    apart: the samples that were set apart. A file that holds a start trained on other samples, by
    another recipe or of another model is refused. The same options give the same bytes on one machine.
    """
    path = start_file(start, out)
    bare = as_model(model).for_task(apart.task).changed(adapter=None, frozen=(), reset=())
    key = {
        "training": TRAINING_VERSION,
        "data": apart.digest,
        "model": {"name": model.name, "options": _plain(model.options)},
        "recipe": start.recipe.model_dump(),
        "seed": start.seed,
    }
    if path.exists():
        there = unpack(path.read_bytes(), str(path))[1].get("start", {})
        changed = differing(there, key)
        if changed:
            field, a, b = changed[0]
            raise InputError(
                f"{path}: holds a start of another configuration: {field} is {str(a)[:24]} there, "
                f"{str(b)[:24]} is configured; remove it or name another file in start.weights"
            )
    else:
        state = _trained(start, apart, bare, execution, progress)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_bytes(pack(state, {"start": key}))
        beside.replace(path)
    return _with(model, path)


def untrained(apart: Dataset, model: Model, folder: str) -> Model:
    """The model with a start of the right form that was not trained, to measure what a run costs."""
    bare = as_model(model).for_task(apart.task).changed(adapter=None, frozen=(), reset=())
    path = Path(folder) / "start.safetensors"
    network = _fresh(bare, apart, 0, torch.device("cpu"))
    path.write_bytes(pack(network.state_dict()))
    return _with(model, path)


def _with(model: Model, path: Path) -> Model:
    kept: Model = model.changed(weights=str(path))
    return kept


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}


def _fresh(model: Model, data: Dataset, seed: int, device: torch.device) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return initial_network(
            lambda: model.make(data.shape, len(data.classes)), len(data.shape) == 3, seed, device
        )


def _trained(
    start: Start,
    apart: Dataset,
    model: Model,
    execution: Execution,
    progress: Callable[[float], None],
) -> dict[str, torch.Tensor]:
    recipe: Recipe = start.recipe
    device = choose_device(execution.device)
    precision, _ = choose_precision(model, apart.shape, len(apart.classes), recipe, device)
    pool = Resident.of(apart, device)
    rows = np.arange(len(apart))
    workers = execution.workers or psutil.cpu_count(logical=False) or 1
    before = torch.get_num_threads()
    torch.set_num_threads(workers * execution.threads)
    cuda = [pool.device] if pool.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=cuda):
            engine = Engine(
                recipe.changed(precision=precision),
                precision,
                len(apart.classes),
                lambda seed: _fresh(model, apart, seed, pool.device),
                pool,
                rows,
                apart.member_scale(rows),
                start.seed,
                _Unobserved(),
                progress=progress,
            )
            return engine.train().state_dict()
    finally:
        torch.set_num_threads(before)
