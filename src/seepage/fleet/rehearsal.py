"""A training function before any run: how many epochs it trains, and whether it obeys."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.config.execution import Execution
from seepage.config.function import Function
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet.function_check import FunctionTrial, Obedience
from seepage.fleet.local import run_apart
from seepage.fleet.pool_files import shared_pool
from seepage.fleet.spec import travels
from seepage.plan import SubsetPlan
from seepage.record import Memory, Recorder, Resident

__all__ = ["FunctionWarning", "check_function", "learn_epochs"]

# A process of its own is ended after so many times the seconds that the check allows itself.
_PATIENCE = 2.0
_START = 30.0


class FunctionWarning(UserWarning):
    """What was seen of a training function that its figures must be read with."""


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


def check_function(
    function: Function,
    data: Dataset,
    plan: SubsetPlan,
    times: tuple[float, ...],
    execution: Execution,
) -> Obedience:
    """Try a training function as `seepage.fleet.function_check` says, and warn of what it shows.

    In a process of its own, as workers are, on Ray as a task, unless runs train in this one; it is ended
    when it takes twice as long as `function.check_seconds`, and half a minute to start. Functions of this
    package obey by their construction.

    Raises InputError for a function that ignores its members or trains on others.
    """
    if not function.check:
        return Obedience(False, why="switched off")
    if type(function.function).__module__.partition(".")[0] == "seepage":
        return Obedience(False, why="a function of this package")
    strangers = np.flatnonzero(~plan.member[0]).astype(np.int64)
    if len(strangers) < 2:
        return Obedience(False, why="the first run has fewer than two others")
    with shared_pool(data) as pool:
        assert pool is not None
        trial = FunctionTrial(
            function=function,
            pool=pool,
            members=np.flatnonzero(plan.member[0]).astype(np.int64),
            strangers=strangers,
            seeds=(int(plan.seeds[0]), int(plan.seeds[1])),
            times=times,
            seconds=function.check_seconds,
            threads=execution.threads,
        )
        longest = _PATIENCE * function.check_seconds + _START
        if execution.executor == "inline":
            found: Obedience | None = trial()
        elif execution.executor == "ray":
            from seepage.fleet.ray_executor import try_on_ray

            found = try_on_ray(trial, execution, longest)
        else:
            found = run_apart(
                trial,
                travels=travels(function.function),
                threads=execution.threads,
                seconds=longest,
            )
    if found is None:
        why = f"its process died or did not end within {longest:g} s"
        warnings.warn(
            f"function: {function.called} could not be checked: {why}; train.check_seconds allows more",
            FunctionWarning,
            stacklevel=3,
        )
        return Obedience(False, why=why)
    for text in found.warned:
        warnings.warn(f"function: {function.called}: {text}", FunctionWarning, stacklevel=3)
    return found
