"""An attack on a run: bound to what the run holds, measured on kept weights where it must be.

The one way from a run and an attack to scores. What an attack reads is looked for in this order:
a signal that was recorded; one that follows from recorded logits; what a probe measures now on the
weights that were kept (`seepage.probes`: curvature, gradients and others). The last rebuilds
networks, and so is done only for the reference networks of this package or with the factory that
the caller passes: no name found in a run folder is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import psutil

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.attacks import binding
from seepage.attacks.base import Attack, SignalSource
from seepage.attacks.groups import GroupedScores, chosen_rows
from seepage.attacks.subjects import of_unit
from seepage.errors import InputError
from seepage.metrics import EACH, Subjects, Unit
from seepage.models.names import known
from seepage.store import Run

if TYPE_CHECKING:
    from torch import nn

    from seepage.data import Dataset
    from seepage.probes import Probe
    from seepage.probes.one_pass import Rate

__all__ = [
    "Cost",
    "Measured",
    "Pass",
    "applicable",
    "cost",
    "in_groups",
    "lacks",
    "large",
    "passes",
    "ready",
    "score",
    "too_large",
]

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
    probes: Sequence[Probe] = (),
    targets: Sequence[int] | None = None,
) -> Float64Array:
    """Every model of a run once the target, its tuple left out: (R, N) float64, higher = member.

    run: `seepage.open(...)`, or anything that holds signals like it; attack: bound to what the run
    holds; checkpoint: its index, and the last one that an attack on the trajectory reads. member: another membership (R, N) to score under, as a permuted
    one for the null. model, data: the factory and the pool again, where something has to be
    measured on kept weights of a network that is not one of `seepage.models`, or of a pool that
    was made of arrays in memory. unit: `seepage.metrics.unit_of(run.groups)` gives scores of subjects
    (R, G), by the rule of `seepage.attacks.subjects`. probes: `seepage.probes` with options of their own,
    in place of the default ones that give the same signals; what was recorded is read all the same.
    targets: rows of the run, whose scores alone are returned, (len(targets), N).

    Where a checkpoint of a signal is large it is read in blocks of samples (`in_groups`), if the attack
    and the plan allow that: memory then holds membership and the scores that are returned.

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
    bound, source = ready(run, attack, checkpoint, model=model, data=data, probes=probes)
    truth = np.asarray(run.member if member is None else member, dtype=np.bool_)
    if not isinstance(unit, Subjects) and large(source, bound):
        grouped = _grouped(source, bound, checkpoint, truth)
        if grouped is not None:
            return grouped.rows(np.arange(len(truth)) if targets is None else targets)
    _refuse_too_large(source, bound)
    signals = binding.inputs(bound, source, checkpoint)
    scores = of_unit(bound, bound.leave_one_out(signals, truth), signals, truth, unit)
    return scores if targets is None else scores[chosen_rows(targets, len(truth))]


# Values of a signal at one checkpoint from which on it is read in blocks: 1 GiB of float32.
_LARGE = 2**28


def large(run: Any, attack: Attack) -> bool:
    """Whether one checkpoint of what a bound attack reads is so large that it is read in blocks."""
    if not hasattr(run, "columns"):
        return False
    told = getattr(run, "manifest", {}).get("signals", {})
    views = (int(np.prod(told[n]["shape"][1:])) for n in attack.requires if n in told)
    return bool(math.prod(run.member.shape) * max(views, default=1) >= _LARGE)


def _refuse_too_large(run: Any, attack: Attack) -> None:
    """Refuse signals and scores that free memory does not hold, before they are read."""
    why = too_large(run, attack)
    if why is not None:
        raise InputError(f"{attack.name}: {why}")


def too_large(run: Any, attack: Attack) -> str | None:
    """Why signals and scores of a bound attack cannot be held as a whole, in one sentence; None when they can.

    Of runs that are `large` alone.
    """
    if not large(run, attack):
        return None
    models, samples = run.member.shape
    signals = 4 * len(attack.requires) * models * samples * (attack.trajectory + 1)
    needed = signals + 8 * samples * models
    free = int(psutil.virtual_memory().available)
    if needed <= free:
        return None
    return (
        f"signals and scores of {models} models × {samples:,} samples take at least "
        f"{needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of memory are free, and this attack or plan cannot be "
        "scored in blocks (docs/running-at-scale.md); choose LiRA, or take fewer samples"
    )


def in_groups(
    run: SignalSource, attack: Attack, checkpoint: int = -1, *, model: Factory | None = None
) -> GroupedScores | None:
    """What `score` returns, of some targets at a time; None where an attack reads all samples at once.

    run: with `columns`, a block of samples of a signal, as `seepage.store.Run` has. For attacks whose
    score reads no other sample (`by_sample`) and those of LiRA's family with `StudentT()`, `Shrunken()` or
    `Pooled()`, which take a prior or a variance from all samples in passes of their own; under plans of
    complementary tuples or independent draws.
    """
    bound, source = ready(run, attack, checkpoint, model=model)
    truth = np.asarray(run.member, dtype=np.bool_)
    return _grouped(source, bound, checkpoint, truth)


def _grouped(
    source: Any, attack: Attack, checkpoint: int, member: BoolArray
) -> GroupedScores | None:
    if isinstance(source, Measured) or not hasattr(source, "columns") or attack.trajectory:
        return None
    missing = binding.unrecorded(attack, source)
    if missing:
        return None
    t = range(len(source.checkpoints))[checkpoint]

    def read(first: int, last: int) -> dict[str, FloatArray]:
        return binding.signals_at(source, dict.fromkeys(attack.requires), t, (first, last))

    return GroupedScores.of(attack, read, member)


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
    probes: Sequence[Probe] = (),
) -> tuple[Attack, Any]:
    """The attack bound to a run, and the source that holds what it reads; arguments as of `score`.

    For what takes an attack and a source, such as `seepage.plane.trajectories`. The source is the
    run itself, or, where something has to be measured on kept weights, the run with it. checkpoint:
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
    if not isinstance(run, Run):
        raise InputError(f"{attack.name}: {binding.lacks(bound, run)}")
    measuring = _probes(missing, probes)
    if any(name not in _signals(measuring) for name in missing):
        raise InputError(f"{attack.name}: {binding.lacks(bound, run)}")
    unread = binding.unrecorded(bound, run, [n for p in measuring for n in p.reads])
    if unread:
        raise InputError(
            f"{attack.name}: needs {', '.join(unread)} at every sample, which was not recorded; "
            "record it, or the logits with record.logits"
        )
    closed = _closed(run, checkpoint, model, measuring, so_far=bound.trajectory)
    if closed is not None:
        told = binding.lacks(bound, run)
        if not all(name.startswith("curvature_") for name in missing):
            told = f"needs {', '.join(missing)}, which is measured on kept weights"
        raise InputError(f"{attack.name}: {told}; {closed}")
    return bound, Measured(run, missing, model, data, probes)


@dataclass(frozen=True)
class Pass:
    """What one pass over kept models measures for the attacks that were asked for together.

    probes: in the order in which they are run. attacks: name -> the probes that it reads. models,
    samples, checkpoints: how many networks are rebuilt at how many checkpoints, and the samples
    that each is asked about.
    """

    probes: tuple[Probe, ...]
    attacks: Mapping[str, tuple[Probe, ...]]
    models: int
    samples: int
    checkpoints: tuple[int, ...]

    @property
    def networks(self) -> int:
        """Networks that are measured; they are rebuilt where a probe `asks`."""
        return self.models * len(self.checkpoints)

    def per_sample(self, probes: Sequence[Probe] | None = None) -> int:
        """Queries or passes of one network for one sample; gradients that are shared once."""
        from seepage.probes.gradients import GradientProbe

        chosen = self.probes if probes is None else probes
        shared = max((p.queries for p in chosen if isinstance(p, GradientProbe)), default=0)
        return shared + sum(p.queries for p in chosen if not isinstance(p, GradientProbe))

    def queries(self, probes: Sequence[Probe] | None = None) -> int:
        """Of all networks about all samples; by some of the probes."""
        return self.networks * self.samples * self.per_sample(probes)


def passes(
    run: SignalSource,
    attacks: Iterable[Attack],
    checkpoint: int = -1,
    *,
    model: Factory | None = None,
    data: Dataset | None = None,
    probes: Sequence[Probe] = (),
) -> Pass | None:
    """What `score` will have to measure for these attacks together; None where nothing is missing.

    Tells the pass, so that the first attack that is scored measures for all of them: one network is
    rebuilt once. Attacks that cannot be run are left to `score`, which says why.
    """
    wanted: dict[str, tuple[str, ...]] = {}
    so_far = False
    for attack in attacks:
        try:
            bound, source = ready(run, attack, checkpoint, model=model, data=data, probes=probes)
        except InputError:
            continue
        if isinstance(source, Measured):
            wanted[attack.name] = source.names
            so_far = so_far or bound.trajectory
    if not wanted or not isinstance(run, Run):
        return None
    names = tuple(dict.fromkeys(n for own in wanted.values() for n in own))
    last = range(len(run.checkpoints))[checkpoint]
    times = tuple(range(last + 1)) if so_far else (last,)
    _TOGETHER.setdefault(run, {})[model, tuple(probes)] = names
    return Pass(
        _probes(names, probes),
        {attack: _probes(own, probes) for attack, own in wanted.items()},
        len(run.models),
        int(run.member.shape[1]),
        times,
    )


@dataclass(frozen=True)
class Cost:
    """Seconds of a pass, from a first batch of one network: of all probes, and of each attack's."""

    wanted: Pass
    rates: Mapping[tuple[Probe, ...], Rate]

    def seconds(self, probes: tuple[Probe, ...] | None = None) -> float:
        """Of all networks about all samples; by the probes of one attack."""
        one = self.rates[self.wanted.probes if probes is None else probes]
        return self.wanted.networks * one.seconds(self.wanted.samples)


def cost(
    run: Run, wanted: Pass, *, model: Factory | None = None, data: Dataset | None = None
) -> Cost:
    """How long a pass takes on this machine: the probes are timed on a batch of its last network.

    What grows faster than with the number of samples is not foreseen.
    """
    from seepage.fleet.kept import kept_cost

    t = wanted.checkpoints[-1]
    sets = dict.fromkeys((wanted.probes, *wanted.attacks.values()))
    pool = data if data is not None else run.data()
    return Cost(wanted, {p: kept_cost(run, t, p, model=model, data=pool) for p in sets})


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
    """A run with signals that were not recorded, measured on its kept weights when they are read.

    All kept models of a checkpoint are measured in one pass, by the probes that were chosen or else
    with their default options, each network with random directions of its own, rounded to float32 as recorded signals
    are, and held as long as the run is.
    """

    def __init__(
        self,
        run: Run,
        names: Iterable[str],
        model: Factory | None = None,
        data: Dataset | None = None,
        probes: Sequence[Probe] = (),
    ) -> None:
        self.run = run
        self.names = tuple(names)
        self.signals = (*run.signals, *self.names)
        self._model = model
        self._probes = tuple(probes)
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
        by = (self._model, self._probes)
        held = _MEASURED.setdefault(self.run, {})
        if (name, t, by) not in held:
            together = _TOGETHER.get(self.run, {}).get(by, ())
            rest = [n for n in (*self.names, *together) if (n, t, by) not in held]
            measured = _measure(self.run, self._open(rest, name, t), t, self._model, self._data)
            held |= {(n, t, by): values for n, values in measured.items()}
        return held[name, t, by]

    def _open(self, names: Iterable[str], asked: str, t: int) -> tuple[Probe, ...]:
        """The probes of these signals that can be run at `t`; that of `asked` in any case."""
        needed = _probes([asked], self._probes)
        # Nothing is rebuilt for what asks no network.
        found = _probes(names, self._probes) if any(p.asks for p in needed) else needed
        if _closed(self.run, t, self._model, found, so_far=False) is not None:
            return needed
        return found


_MEASURED: WeakKeyDictionary[Run, dict[tuple[str, int, Any], FloatArray]] = WeakKeyDictionary()
_TOGETHER: WeakKeyDictionary[Run, dict[Any, tuple[str, ...]]] = WeakKeyDictionary()


def _probes(names: Iterable[str], chosen: Sequence[Probe] = ()) -> tuple[Probe, ...]:
    from seepage.probes.registry import probes_of

    return probes_of(names, chosen)


def _signals(probes: Iterable[Probe]) -> set[str]:
    return {name for probe in probes for name in probe.signals}


def _closed(
    run: Run,
    checkpoint: int | None,
    model: Factory | None,
    probes: Sequence[Probe],
    *,
    so_far: bool,
) -> str | None:
    """Why kept weights cannot give what was not recorded either; None when they can.

    so_far: whether the checkpoints before that one are read too.
    """
    key = run.manifest["key"]
    if not any(p.asks for p in probes):
        return None
    task = str(run.manifest["data"].get("task", "classification"))
    if any(p.of_texts != (task == "language") for p in probes if p.asks):
        asked = "classes" if task == "language" else "language models"
        return f"it is measured on {asked}, and this run is of the task {task}"
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
        first = 0 if so_far else last - any(p.reads_before for p in probes)
        wanted = times[max(first, 0) : last + 1]
    for t in wanted:
        for row in range(len(run.models)):
            if not run.keeps_weights(row, t):
                return (
                    f"weights of run {int(run.models[row])} at epoch {run.checkpoints[t]:g} were "
                    "not kept to measure it on; train with record.keep = 'final', or 'all' for "
                    "every checkpoint"
                )
    name = "" if key["model"] is None else str(key["model"]["name"])
    if model is None and not known(name):
        return (
            f"to measure it on kept weights, pass the factory of {name!r} again as model= "
            "(--model on the command line)"
        )
    return None


def _measure(
    run: Run, probes: Sequence[Probe], t: int, model: Factory | None, data: Dataset | None
) -> dict[str, FloatArray]:
    """Every signal of the probes at every sample of every kept model: {name: (R, N[, F])}."""
    from seepage.fleet.kept import kept_signals, read_by

    pool = data if data is not None else run.data()
    read = read_by(run, t, probes)
    rows = [
        kept_signals(run, target, t, probes, model=model, data=pool, read=read)
        for target in range(len(run.models))
    ]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
