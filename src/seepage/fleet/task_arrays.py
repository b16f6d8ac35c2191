"""Arrays of other tasks than classes: targets, and the signals that follow from outputs and them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy
import torch

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.data.targets import faulty, target_values
from seepage.errors import InputError
from seepage.fleet.given_signals import Array, Given, Signal
from seepage.signals import SignalRule
from seepage.signals.related import log_probabilities
from seepage.signals.tasks import Task, gaussian_loss

__all__ = ["OneColumn", "Targets", "by_task", "targets_of"]


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets (N,) or (N, K) float64, their names, and the numbers that a run folder keeps."""

    values: Float64Array
    classes: tuple[str, ...]
    labels: Int64Array

    @property
    def digest(self) -> str:
        """SHA-256 over the values."""
        return hashlib.sha256(np.ascontiguousarray(self.values).astype("<f8").tobytes()).hexdigest()


def targets_of(
    where: str, labels: AnyArray, task: Task, samples: int, classes: tuple[str, ...] | None
) -> Targets:
    """The array `labels` as targets of a task without classes; text of a table is read as numbers.

    Raises InputError for another shape or length, and rows that are no targets.
    """
    if labels.dtype.kind in "SU":
        try:
            labels = labels.astype(np.float64)
        except ValueError:
            raise InputError(
                f"{where}: labels: expected numbers with the task {task.name}, got text such as "
                f"{str(labels.reshape(-1)[0])!r}; save the targets"
            ) from None
    asked = target_values(f"{where}: labels", {"all": labels}, task.name, classes)
    values = labels.astype(np.float64).reshape(asked.targets["all"].shape)
    if len(values) != samples:
        raise InputError(
            f"{where}: labels: expected one for each of the {samples} samples, got shape "
            f"{labels.shape}; correct them"
        )
    bad, why = faulty(values, task.name)
    if bad.any():
        row = int(bad.argmax())
        shown = ", ".join(f"{v:g}" for v in values[row].reshape(-1)[:4])
        raise InputError(
            f"{where}: labels: expected {why} with the task {task.name}, got {shown} in row {row}; "
            "correct it or leave the sample out"
        )
    return Targets(values, asked.classes, asked.labels["all"])


@dataclass(frozen=True, eq=False)
class OneColumn:
    """One logit z, or probability p of class 1, as two columns: (0, z), or (1 − p, p)."""

    values: Array
    logits: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """With two columns at the end."""
        return (*self.values.shape[:-1], 2)

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the column."""
        return self.values.dtype

    @property
    def ndim(self) -> int:
        """As many axes."""
        return self.values.ndim

    def __getitem__(self, at: Any, /) -> AnyArray:
        z = np.asarray(self.values[at])
        first = np.zeros_like(z) if self.logits else 1 - z
        return np.concatenate([first, z], axis=-1)


@dataclass(frozen=True, eq=False)
class _Read:
    """A signal of outputs and targets, a block (N, K) or (N, A, K) at a time, in float64."""

    name: str
    source: Given
    targets: Float64Array
    rule: SignalRule
    prepared: Callable[[AnyArray], Float64Array]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.inner[:-1]

    @property
    def dtype(self) -> str:
        return "bool" if self.name == "correct" else "float32"

    def block(self, r: int, t: int) -> AnyArray:
        z = self.prepared(self.source.raw(r, t))
        y = self.targets if z.ndim == 2 else self.targets[:, None]
        y = np.broadcast_to(y, z.shape[:-1] + self.targets.shape[1:])
        told = self.rule(
            torch.from_numpy(z.reshape(-1, z.shape[-1]).copy()),
            torch.from_numpy(y.reshape(-1, y.shape[-1]).copy()),
        ).numpy()
        return told.reshape(z.shape[:-1]).astype(np.bool_ if self.name == "correct" else np.float32)


@dataclass(frozen=True, eq=False)
class _Residual:
    """y − ŷ of predictions (N,) or (N, A)."""

    source: Given
    targets: Float64Array
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.inner

    def exact(self, r: int, t: int) -> Float64Array:
        answer = self.source.raw(r, t).astype(np.float64)
        y = self.targets if answer.ndim == 1 else self.targets[:, None]
        return np.asarray(y - answer, dtype=np.float64)

    def block(self, r: int, t: int) -> AnyArray:
        return self.exact(r, t).astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Likelihood:
    """−log N(r; 0, σ²) of residuals: σ is given, or the root mean square of the non-members'."""

    shape: tuple[int, ...]
    residual: Callable[[int, int], Float64Array]
    member: BoolArray
    noise: float | None
    dtype: str = "float32"
    found: dict[tuple[int, int], float] = field(default_factory=dict)

    def block(self, r: int, t: int) -> AnyArray:
        values = self.residual(r, t)
        first = values if values.ndim == 1 else values[:, 0]
        own = first if self.member[r].all() else first[~self.member[r]]
        sigma = float(np.sqrt(np.mean(own**2))) if self.noise is None else self.noise
        return gaussian_loss(torch.from_numpy(values), sigma).numpy().astype(np.float32)


def by_task(
    where: str,
    signals: Mapping[str, Given],
    targets: Targets | None,
    task: Task,
    member: BoolArray,
    least: float | None,
    noise: float | None,
) -> tuple[dict[str, Signal], tuple[str, ...]]:
    """Signals of a task without classes that follow from what was given, and notes on them.

    least: what probabilities of exactly 0 are raised to. Raises InputError for signals that the task
    refuses, outputs of another width, and outputs without targets.
    """
    for name in signals:
        task.refuse(name)
    if task.name == "regression":
        return _of_regression(where, signals, targets, member, noise)
    source = signals.get("logits") or signals.get("probabilities")
    missing = [name for name in task.rules if name not in signals]
    if source is None or not missing:
        return {}, ()
    if targets is None:
        note = f"{', '.join(missing)}: not derived from {source.name}, without labels"
        return {}, (note,)
    width = len(targets.classes)
    if source.inner[-1] != width and (task.name == "multi-label" or source.inner[-1] < width):
        raise InputError(
            f"{where}: {source.name}: expected a column for each of {width} targets, got "
            f"{source.inner[-1]}; save them in the order of labels"
        )
    prepared = _prepared(source.name, task, least)
    found: dict[str, Signal] = {
        name: _Read(name, source, targets.values, task.rules[name], prepared) for name in missing
    }
    return found, (f"{', '.join(missing)}: derived from {source.name} and labels in float64",)


def _prepared(name: str, task: Task, least: float | None) -> Callable[[AnyArray], Float64Array]:
    """Outputs as logits."""
    if name == "logits":
        return lambda z: z.astype(np.float64)
    floor = 2.0**-53 if least is None else least
    if task.name != "multi-label":
        return lambda p: log_probabilities(p, floor)

    def log_odds(p: AnyArray) -> Float64Array:
        clipped = np.clip(p.astype(np.float64), floor, 1 - max(floor, 2.0**-53))
        return np.asarray(scipy.special.logit(clipped), dtype=np.float64)

    return log_odds


def _of_regression(
    where: str,
    signals: Mapping[str, Given],
    targets: Targets | None,
    member: BoolArray,
    noise: float | None,
) -> tuple[dict[str, Signal], tuple[str, ...]]:
    for name in ("logits", "probabilities"):
        if name in signals:
            raise InputError(
                f"{where}: {name}: expected `predictions` or `residual` with the task regression, got "
                f"{name}; save what the model answers as predictions"
            )
    found: dict[str, Signal] = {}
    notes = []
    exact: Callable[[int, int], Float64Array] | None = None
    shape: tuple[int, ...] = ()
    if "residual" in signals:
        given = signals["residual"]
        shape = given.shape

        def exact(r: int, t: int) -> Float64Array:
            return given.raw(r, t).astype(np.float64)

    elif "predictions" in signals:
        if targets is None:
            raise InputError(
                f"{where}: predictions: expected `labels`, the targets, with them, got none; save them, or "
                "residual"
            )
        made = _Residual(signals["predictions"], targets.values)
        found["residual"], exact, shape = made, made.exact, made.shape
        notes.append("residual: labels − predictions, in float64")
    if "loss" not in signals and exact is not None:
        found["loss"] = _Likelihood(shape, exact, member, noise)
        sigma = (
            f"σ = {noise:g}"
            if noise is not None
            else "σ of each model and checkpoint the root mean square of the residuals of samples that "
            "it was not trained on"
        )
        notes.append(f"loss: −log N(residual; 0, σ²) in nats, {sigma}")
    elif noise is not None:
        raise InputError(
            f"{where}: noise: expected with residual or predictions from which the loss follows, got a "
            "loss; leave it out"
        )
    return found, tuple(notes)
