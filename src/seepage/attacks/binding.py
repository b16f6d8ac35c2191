"""An attack bound to what was recorded: which signals it reads there, and what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import fields, replace
from typing import Any, cast

import numpy as np

from seepage.array_types import BoolArray, FloatArray, IntArray
from seepage.attacks.base import (
    TIMELESS,
    Attack,
    SignalSource,
    Source,
    too_few,
)
from seepage.attacks.population import Untrained
from seepage.errors import InputError
from seepage.remedies import of_scores
from seepage.signals.tasks import Task, task
from seepage.tokens import FROM_TOKENS, lacks_tokens

__all__ = [
    "FromLogits",
    "ReadOnce",
    "bind",
    "inputs",
    "labelled",
    "lacks",
    "signals_at",
    "unrecorded",
]

FromLogits = ("phi", "loss", "correct", "mentr", "entropy")
"""What follows from logits and labels alone, and so need not have been recorded."""


def bind(attack: Attack, source: SignalSource) -> Attack:
    """The attack as it can be run on `source`.

    It reads the signals that are held there where it has a choice (`Attack.bound`), and options
    that only the plan can tell, `Untrained()`, become positions. Raises InputError where the plan
    trained on every sample, and where an attack that reads a trajectory finds one checkpoint.
    """
    if attack.trajectory and len(source.checkpoints) < 2:
        raise InputError(
            f"{attack.name}: needs several checkpoints of training, and one was recorded; set "
            "record.checkpoints"
        )
    telling = _telling(source)
    bound = attack if telling is None else attack.bound(telling)
    if not isinstance(bound, Attack):
        raise InputError(
            f"{attack.name}: expected `bound` to return an attack, got {type(bound).__name__}"
        )
    found = {
        f.name: Untrained().positions(_every_member(source))
        for f in fields(bound)
        if f.init and isinstance(getattr(bound, f.name), Untrained)
    }
    for name, positions in found.items():
        if len(positions) < 2:
            raise InputError(
                f"{name}: expected at least 2 samples that no run trained on, got "
                f"{len(positions)}; leave some out of the plan, or pass positions"
            )
    return replace(bound, **found) if found else bound


def inputs(
    attack: Attack, source: SignalSource, t: int = -1, *, also: Iterable[str] = ()
) -> dict[str, FloatArray]:
    """What a bound attack reads at checkpoint index `t`: {name: (R, N[, A])}.

    Where it reads a trajectory, all checkpoints up to `t`: {name: (R, N, T[, A])}. also: further
    signals wanted with them, at `t` alone. Raises InputError that says what is missing.
    """
    missing = unrecorded(attack, source)
    if missing:
        raise InputError(f"{attack.name}: {_why(missing, source)}")
    if not attack.trajectory:
        return signals_at(source, dict.fromkeys((*attack.requires, *also)), t)
    moving = [name for name in attack.requires if name not in TIMELESS]
    both = set(moving) & set(also)
    if both:
        raise InputError(
            f"{attack.name}: expected signals at one checkpoint beside it that it does not read at "
            f"all of them, got {', '.join(sorted(both))}; choose another attack, or other rates"
        )
    times = range(range(len(source.checkpoints))[t] + 1)
    steps = [signals_at(source, moving, s) for s in times]
    found = {name: np.stack([step[name] for step in steps], axis=2) for name in moving}
    still = dict.fromkeys((*(n for n in attack.requires if n in TIMELESS), *also))
    return found | signals_at(source, still, t)


def lacks(attack: Attack, source: SignalSource) -> str | None:
    """Why the attack cannot be run on `source`, in one sentence; None when it can.

    Looks at names and counts; values are not read.
    """
    try:
        attack = bind(attack, source)
    except InputError as error:
        return str(error)
    missing = unrecorded(attack, source)
    return _why(missing, source) if missing else too_few(attack, source.member)


def unrecorded(
    attack: Attack, source: SignalSource, names: Iterable[str] | None = None
) -> tuple[str, ...]:
    """The signals that a bound attack reads and `source` neither holds nor lets derive.

    names: others in place of those that it reads, such as what its probes read.
    """
    telling = _telling(source)
    if telling is None:
        return ()
    held = set(telling.signals)
    wanted = attack.requires if names is None else names
    return tuple(n for n in wanted if n not in held and not _derivable(n, attack, telling))


def signals_at(
    source: SignalSource, names: Collection[str], t: int, at: tuple[int, int] | None = None
) -> dict[str, FloatArray]:
    """Signals of one checkpoint by name, those that follow from recorded logits among them.

    What is derived from logits is what would have been recorded: both are computed in float64 from
    the same float32 logits and rounded to float32 once. Logits are those of the first view.
    at: of the samples first to last alone, which a source reads as `columns`.
    """
    found: dict[str, FloatArray] = {}
    telling = _telling(source)
    held = names if telling is None else telling.signals

    def read(name: str) -> FloatArray:
        if at is None:
            return source.signal_at(name, t)
        values: FloatArray = cast("Any", source).columns(name, t, *at)
        return values

    def labels() -> IntArray:
        return np.asarray(cast("Source", source).labels)[slice(None) if at is None else slice(*at)]

    for name in names:
        if telling is not None and name in FromLogits and name not in held and "logits" in held:
            found[name] = _derived(read("logits"), labels(), name)
            continue
        if telling is not None and name in TIMELESS and name not in held:
            own = labels()
            found[name] = np.broadcast_to(own, (len(source.member), len(own)))
            continue
        found[name] = np.asarray(read(name))
        if at is None and found[name].size and np.isnan(found[name]).all():
            raise InputError(
                f"{name}: was not measured at epoch {float(source.checkpoints[t]):g}; choose "
                "another checkpoint, or record it there"
            )
    return found


class ReadOnce:
    """A source that keeps what was read last, for several attacks on one checkpoint."""

    def __init__(self, source: SignalSource) -> None:
        self._source = source
        self._t: int | None = None
        self._held: dict[str, FloatArray] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    @property
    def member(self) -> BoolArray:
        """As in the source."""
        return self._source.member

    @property
    def checkpoints(self) -> FloatArray:
        """As in the source."""
        return self._source.checkpoints

    def signal_at(self, name: str, t: int, /) -> FloatArray:
        """Read from the source when the checkpoint is another one or the signal is new."""
        if t != self._t:
            self._t, self._held = t, {}
        if name not in self._held:
            self._held[name] = self._source.signal_at(name, t)
        return self._held[name]


def _telling(source: SignalSource) -> Source | None:
    """The source where it lists what it holds; else every name is taken to be there."""
    return cast("Source", source) if hasattr(source, "signals") else None


def _every_member(source: SignalSource) -> BoolArray:
    """Membership of all planned runs, those that failed among them where the source tells."""
    planned = getattr(source, "plan_member", None)
    return source.member if planned is None else np.asarray(planned, dtype=np.bool_)


def _derivable(name: str, attack: Attack, source: Source) -> bool:
    """Whether it follows from recorded logits, which are those of the first view, and labels."""
    if not labelled(source):
        return False
    if name in TIMELESS:
        return True
    one = len(source.manifest.get("views", ())) < 2
    held = name in FromLogits and "logits" in source.signals
    return bool(held and (one or attack.first_view))


def labelled(source: Source) -> bool:
    """Whether the class of every sample is known: of an import labels may be missing."""
    key = source.manifest.get("key", {})
    return bool(_task(source).classes and key.get("labels", "imported" not in key))


def _task(source: SignalSource) -> Task:
    """The task that a source's manifest names; classification where it names none."""
    told = getattr(source, "manifest", {}).get("data", {}).get("task", "classification")
    return task(told)


def _why(missing: Collection[str], source: SignalSource) -> str:
    refused = _task(source).refused
    for name in missing:
        if name in refused:
            return f"needs {name}: {refused[name]}"
    of_texts = next((n for n in missing if n in FROM_TOKENS and n not in FromLogits), None)
    if of_texts is not None:
        return lacks_tokens(of_texts, source) or f"needs {of_texts}, which was not recorded"
    if set(missing) <= set(TIMELESS):
        told = _task(source)
        if not told.classes:
            return f"needs the class of every sample, which {told.name} does not have"
        return "needs the labels, which were not imported"
    text = f"needs {', '.join(missing)}, which was not recorded; "
    curved = [name for name in missing if name.startswith("curvature_")]
    known = [name for name in missing if name in FromLogits]
    told = _task(source)
    if curved and not told.classes:
        return (
            f"needs {', '.join(curved)}, and input curvature is defined on classes, not {told.name}"
        )
    if len(curved) == len(missing):
        kind = _ESTIMATORS.get(curved[0])
        return text + ("set record.curvature" + (f' = "{kind}"' if kind else ""))
    if len(known) < len(missing):
        return text + "record it under that name"
    if not told.classes:
        return text + "record it"
    if "logits" in getattr(source, "signals", ()):
        if len(getattr(source, "manifest", {}).get("views", ())) > 1:
            return text + "it is read at every view, and logits are those of the first"
        return text + "it follows from logits only with the labels, which were not imported"
    renamed = of_scores(getattr(source, "signals", ()))
    return text + "record it, or the logits with record.logits" + renamed


_ESTIMATORS = {
    "curvature_zo": "zeroth-order",
    "curvature_fd": "finite-difference",
    "curvature_frobenius": "exact",
    "curvature_trace": "exact",
}


def _derived(logits: FloatArray, labels: IntArray, name: str) -> FloatArray:
    import torch

    from seepage.signals import SIGNALS

    rule: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = SIGNALS[name]
    y = torch.from_numpy(np.array(labels, dtype=np.int64))
    if logits.ndim != 3 or int(y.max()) >= logits.shape[2]:
        raise InputError(
            f"{name}: expected logits (models, samples, classes) with a column for each of the "
            f"labels 0 to {int(y.max())}, got shape {logits.shape}; record {name} itself"
        )
    rows = [rule(torch.from_numpy(np.ascontiguousarray(z)), y).float().numpy() for z in logits]
    return np.stack(rows)
