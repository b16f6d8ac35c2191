"""An attack on a run: bound to what the run holds, measured on kept weights where it must be.

The one way from a run and an attack to scores. What an attack reads is looked for in this order:
a signal that was recorded; one that follows from recorded logits; curvature, measured now on the
weights that were kept. The last rebuilds networks, and so is done only for the reference networks
of this package or with the factory that the caller passes: no name found in a run folder is
imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks import binding
from seepage.attacks.base import Attack, SignalSource
from seepage.attacks.subjects import of_unit
from seepage.errors import InputError
from seepage.metrics import EACH, Unit
from seepage.models import known
from seepage.store import Run

if TYPE_CHECKING:
    from torch import nn

    from seepage.curvature.base import Estimator
    from seepage.data import Dataset

__all__ = ["Measured", "applicable", "lacks", "ready", "score"]

Factory = str | Callable[[], "nn.Module"]


def score(
    run: SignalSource,
    attack: Attack,
    checkpoint: int = -1,
    *,
    member: BoolArray | None = None,
    model: Factory | None = None,
    data: Dataset | None = None,
    unit: Unit = EACH,
) -> Float64Array:
    """Every model of a run once the target, its tuple left out: (R, N) float64, higher = member.

    run: `seepage.open(...)`, or anything that holds signals like it; attack: bound to what the run
    holds; checkpoint: its index, and the last one that an attack on the trajectory reads. member: another membership (R, N) to score under, as a permuted
    one for the null. model, data: the factory and the pool again, where curvature has to be
    measured on kept weights of a network that is not one of `seepage.models`, or of a pool that
    was made of arrays in memory. unit: `seepage.metrics.unit_of(run.groups)` gives scores of subjects
    (R, G), by the rule of `seepage.attacks.subjects`.

    Assumes that the recorded models are exchangeable but for their members. Raises InputError,
    in one line, for whatever `lacks` says, and where the attack does.

    >>> from types import SimpleNamespace
    >>> from seepage.attacks import LOSS
    >>> run = SimpleNamespace(
    ...     member=np.array([[True, False], [False, True]]), checkpoints=np.array([0.0]),
    ...     signal_at=lambda name, t: np.array([[0.1, 2.0], [1.5, 0.2]]))
    >>> score(run, LOSS()).tolist()
    [[-0.1, -2.0], [-1.5, -0.2]]
    """
    bound, source = ready(run, attack, checkpoint, model=model, data=data)
    signals = binding.inputs(bound, source, checkpoint)
    truth = np.asarray(run.member if member is None else member, dtype=np.bool_)
    return of_unit(bound, bound.leave_one_out(signals, truth), signals, truth, unit)


def lacks(
    run: SignalSource, attack: Attack, checkpoint: int = -1, *, model: Factory | None = None
) -> str | None:
    """Why `score` cannot run the attack, in one sentence; None when it can. Reads no values."""
    try:
        bound, source = ready(run, attack, checkpoint, model=model)
    except InputError as error:
        return str(error).removeprefix(f"{attack.name}: ")
    return binding.lacks(bound, source)


def ready(
    run: SignalSource,
    attack: Attack,
    checkpoint: int | None = -1,
    *,
    model: Factory | None = None,
    data: Dataset | None = None,
) -> tuple[Attack, Any]:
    """The attack bound to a run, and the source that holds what it reads.

    For what takes an attack and a source, such as `seepage.plane.trajectories`. The source is the
    run itself, or, where curvature has to be measured on kept weights, the run with it. checkpoint:
    the index that will be read, None for all. Raises InputError when the attack cannot be run.
    """
    count = len(run.checkpoints)
    if checkpoint is not None and not -count <= checkpoint < count:
        raise InputError(
            f"checkpoint: expected an index from 0 to {count - 1}, or from the end, got {checkpoint}"
        )
    bound = binding.bind(attack, run)
    missing = binding.unrecorded(bound, run)
    if not missing:
        return bound, run
    if not isinstance(run, Run) or not all(name in _estimators() for name in missing):
        raise InputError(f"{attack.name}: {binding.lacks(bound, run)}")
    closed = _closed(run, checkpoint, model, so_far=bound.trajectory)
    if closed is not None:
        raise InputError(f"{attack.name}: {binding.lacks(bound, run)}; {closed}")
    return bound, Measured(run, missing, model, data)


def applicable(run: SignalSource, attacks: Iterable[Attack]) -> tuple[list[Attack], dict[str, str]]:
    """The attacks that the recorded signals allow, bound, and {name: why not} of the others.

    Nothing is measured for them: what only kept weights could give counts as missing.
    """
    found: list[Attack] = []
    skipped: dict[str, str] = {}
    for attack in attacks:
        why = binding.lacks(attack, run)
        if why is None:
            found.append(binding.bind(attack, run))
        else:
            skipped[attack.name] = why
    return found, skipped


class Measured:
    """A run with curvature that was not recorded, measured on its kept weights when it is read.

    All kept models of a checkpoint are measured in one pass with the estimator's default options,
    each with directions of its own, rounded to float32 as recorded signals are, and held as long as
    the run is.
    """

    def __init__(
        self,
        run: Run,
        names: Iterable[str],
        model: Factory | None = None,
        data: Dataset | None = None,
    ) -> None:
        self.run = run
        self.signals = (*run.signals, *names)
        self._model = model
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)

    @property
    def member(self) -> BoolArray:
        """As in the run."""
        return self.run.member

    @property
    def checkpoints(self) -> Float64Array:
        """As in the run."""
        return self.run.checkpoints

    def signal_at(self, name: str, t: int, /) -> FloatArray:
        """As in the run, or measured: (R, N[, A])."""
        if name in self.run.signals:
            return self.run.signal_at(name, t)
        t = range(len(self.run.checkpoints))[t]
        held = _MEASURED.setdefault(self.run, {})
        if (name, t, self._model) not in held:
            measured = _measure(self.run, _estimators()[name], t, self._model, self._data)
            held |= {(n, t, self._model): values for n, values in measured.items()}
        return held[name, t, self._model]


_MEASURED: WeakKeyDictionary[Run, dict[tuple[str, int, Any], FloatArray]] = WeakKeyDictionary()


def _estimators() -> dict[str, Estimator]:
    """The estimator, with its default options, that gives each signal; the exact one first."""
    from seepage.curvature.estimate import ESTIMATORS, estimator

    found: dict[str, Estimator] = {}
    for kind in ESTIMATORS:
        made = estimator(kind)
        for name in made.signals:
            found.setdefault(name, made)
    return found


def _closed(run: Run, checkpoint: int | None, model: Factory | None, *, so_far: bool) -> str | None:
    """Why kept weights cannot give what was not recorded either; None when they can.

    so_far: whether the checkpoints before that one are read too.
    """
    key = run.manifest["key"]
    if "imported" in key and "model" not in key:
        return "an imported run holds no networks to measure it on"
    if key.get("function") and model is None:
        return (
            "to measure it on kept weights, pass the factory of the network that your function "
            "trained as model= (--model on the command line)"
        )
    times = range(len(run.checkpoints))
    wanted = times
    if checkpoint is not None:
        last = times[checkpoint]
        wanted = times[: last + 1] if so_far else times[last : last + 1]
    for t in wanted:
        for row in range(len(run.models)):
            if not run.keeps_weights(row, t):
                return (
                    f"weights of run {int(run.models[row])} at epoch {run.checkpoints[t]:g} were "
                    "not kept to measure it on"
                )
    name = "" if key["model"] is None else str(key["model"]["name"])
    if model is None and not known(name):
        return (
            f"to measure it on kept weights, pass the factory of {name!r} again as model= "
            "(--model on the command line)"
        )
    return None


def _measure(
    run: Run, estimator: Estimator, t: int, model: Factory | None, data: Dataset | None
) -> dict[str, FloatArray]:
    """Every signal of the estimator at every sample of every kept model: {name: (R, N)}."""
    from seepage.fleet.kept import kept_curvature

    found: dict[str, list[FloatArray]] = {name: [] for name in estimator.signals}
    pool = data if data is not None else run.data()
    for target in range(len(run.models)):
        result = kept_curvature(run, target, t, estimator=estimator, model=model, data=pool).found
        for name, field in estimator.signals.items():
            found[name].append(np.asarray(getattr(result, field), dtype=np.float32))
    return {name: np.stack(rows) for name, rows in found.items()}
