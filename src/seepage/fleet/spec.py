"""What a fleet trains, as plain values that travel to workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.config.execution import Execution
from seepage.config.function import Function
from seepage.config.model import Model, importable
from seepage.config.recipe import Recipe
from seepage.config.record import Record
from seepage.data import Dataset, RowFile
from seepage.defenses import Defense
from seepage.record import ExtraSignal, Recorder

__all__ = [
    "AS_GIVEN",
    "PREPARED",
    "STANDARDISED",
    "FleetSpec",
    "PoolFile",
    "TrainFunction",
    "travels",
]

AS_GIVEN, STANDARDISED = "as the data holds them", "standardised by the members"
PREPARED = "prepared by the loop"
"""What a record says of the inputs of a training function's network, in evaluation."""

TrainFunction = Callable[[np.ndarray, int, Recorder], nn.Module]
"""The user's own training: `train(members, seed, recorder) -> model`, members as positions."""


@dataclass(frozen=True)
class PoolFile:
    """A pool's inputs and labels in files that every worker maps, and what its dataset says.

    inputs: path of an .npy, images as (N, H, W, C); labels next to it, and targets where `soft`. file:
    where inputs lie that are larger than memory; there is no .npy then.
    """

    inputs: str
    kind: str
    classes: tuple[str, ...]
    numeric: tuple[bool, ...] | None
    shape: tuple[int, ...]
    task: str = "classification"
    soft: bool = False
    file: RowFile | None = None

    @property
    def labels(self) -> str:
        """Path of the labels, which every pool has."""
        return f"{self.inputs}.labels.npy"

    def dataset(self, name: str = "pool") -> Dataset:
        """The pool over the shared file, mapped copy-on-write: nothing is read until used."""
        if self.file is not None:
            inputs = self.file.mapped
        else:
            x = torch.from_numpy(np.load(self.inputs, mmap_mode="c", allow_pickle=False))
            inputs = x.permute(0, 3, 1, 2) if x.ndim == 4 else x
        labels = torch.from_numpy(np.load(self.labels, allow_pickle=False))
        targets = f"{self.inputs}.targets.npy"
        return Dataset(
            inputs=inputs,
            labels=labels,
            # No wider than they are: 21 signs, as numpy would take, are much for millions.
            ids=np.arange(len(labels)).astype(f"U{len(str(len(labels)))}"),
            classes=self.classes,
            name=name,
            kind="image" if self.kind == "image" else "table",
            numeric=None if self.numeric is None else np.array(self.numeric),
            task=self.task,
            targets=torch.from_numpy(np.load(targets, allow_pickle=False)) if self.soft else None,
            # Whether values may be missing was looked at before the fleet began.
            missing=self.kind == "table" and inputs.dtype.is_floating_point,
            file=self.file,
        )


@dataclass(frozen=True)
class FleetSpec:
    """Everything a worker needs to train any run of the plan; membership lies in the store.

    The configuration's own objects, with nothing left to choose: `recipe.precision` and the
    device and backend of `execution` are those that the fleet was begun with. times: checkpoints
    in epochs; extra: the signals that need the model; reference: non-members set apart for a
    defence; manifest: the digest of the folder's manifest, which records carry; often: samples that a
    run that holds them is shown several times in each epoch, and how often.
    """

    store: str
    pool: PoolFile
    reference: PoolFile | None
    model: Model
    function: Function | None
    recipe: Recipe
    record: Record
    execution: Execution
    defense: Defense | None
    times: tuple[float, ...]
    extra: tuple[ExtraSignal, ...]
    manifest: str
    often: tuple[tuple[int, int], ...] = ()

    @property
    def travels(self) -> bool:
        """Whether workers can be fresh interpreters; otherwise they are forked."""
        own = [] if self.function is None else [self.function.function]
        own += [s for s in self.record.signals if not isinstance(s, str)]
        kinds = [type(x) for x in (*self.extra, *([self.defense] if self.defense else []))]
        return self.model.travels() and all(travels(x) for x in [*own, *kinds])


def travels(x: Any) -> bool:
    """Whether another interpreter can have it; what is no function of a module says so itself."""
    return importable(x) or getattr(x, "travels", False) is True
