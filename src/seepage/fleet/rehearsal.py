"""What a training function says at its start, asked before any run: how many epochs it trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.config.function import Function
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.plan import SubsetPlan
from seepage.record import Memory, Recorder, Resident

__all__ = ["learn_epochs"]


class _Told(BaseException):
    """Ends the function where it has said what it is asked; no `except Exception` keeps it."""

    def __init__(self, epochs: int | None) -> None:
        super().__init__(epochs)
        self.epochs = epochs


class _Listener(Recorder):
    """A Recorder that ends the loop at its first word."""

    def start(self, model: nn.Module, *, epochs: int | None = None, **facts: Any) -> None:
        """The loop has built its network and says how long it trains."""
        raise _Told(epochs)


def learn_epochs(function: Function, data: Dataset, plan: SubsetPlan) -> int:
    """How many epochs a training function trains, from `recorder.start(model, epochs=...)`.

    The function is called with the members and the seed of the first run, up to that call; torch's
    random streams are as they were afterwards. Raises InputError when it does not say.
    """
    members, seed = np.flatnonzero(plan.member[0]).astype(np.int64), int(plan.seeds[0])
    listener = _Listener(Resident.of(data), [0.0], Memory(), signals=())
    epochs = None
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            function.function(members, seed, listener)
    except _Told as told:
        epochs = told.epochs
    if epochs is None:
        raise InputError(
            f"checkpoints: expected to know how many epochs {function.called} trains, it does not "
            "say; call recorder.start(model, epochs=...), or set record.checkpoints to a list"
        )
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise InputError(
            f"epochs: expected a whole number of at least 1 in recorder.start, got {epochs!r}"
        )
    return epochs
