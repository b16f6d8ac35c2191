"""One look at the network before a folder is made or anything is trained."""

from __future__ import annotations

import numpy as np
import torch

from seepage.config.model import Model
from seepage.config.recipe import Recipe
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.models.outputs import try_network
from seepage.plan import SubsetPlan
from seepage.record import Memory, Recorder, Resident

__all__ = ["first_look"]

_SAMPLES = 32
_SCALED = 4096


def first_look(
    model: Model,
    data: Dataset,
    plan: SubsetPlan,
    recipe: Recipe,
    device: str,
    *,
    exact: bool = False,
) -> int:
    """The number of outputs of a network that can be trained on this pool.

    Samples spread over the pool, normalised and laid out as the plan's first run is shown them.
    exact: whether outputs beyond the classes are refused. Random streams stay as they are. On a
    processor where that is possible: a process that has used a GPU cannot be forked.

    Raises InputError, see `seepage.models.outputs`.
    """
    rows = np.unique(np.linspace(0, len(data) - 1, _SAMPLES).astype(np.int64))
    part = data.take(rows)
    # Of some members: a look needs no more, and all may be more than memory holds.
    scale = data.member_scale(plan.members(0)[:_SCALED])
    pool = Resident.of(part)
    x = Recorder(pool, [0.0], Memory(), signals=(), scale=scale).inputs(np.arange(len(part)))
    classes = len(data.classes)
    batch = min(recipe.batch, int(plan.member.sum(axis=1).min()))

    def look(inputs: torch.Tensor) -> int:
        half = recipe.precision == "bf16"
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=half):
            return try_network(
                lambda: model.make(data.shape, classes),
                inputs,
                classes,
                batch=batch,
                exact=exact,
                task=pool.task,
            )

    try:
        return look(x)
    except InputError:
        if device == "cpu":
            raise
        # Some networks run on a GPU alone.
        return look(x.to(device))
