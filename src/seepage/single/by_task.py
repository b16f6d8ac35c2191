"""What members and others ask of a model, and the signals of its answers, by task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import scipy
import torch

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.data.targets import faulty
from seepage.errors import InputError
from seepage.given_arrays import given_array
from seepage.short_repr import short_repr
from seepage.signals.related import log_probabilities
from seepage.signals.tasks import (
    Classification,
    Task,
    divergence,
    gaussian_loss,
    joint_correct,
    joint_entropy,
    joint_loss,
    joint_phi,
)
from seepage.single.input_curvature import CURVATURE
from seepage.single.outputs import (
    READ,
    TELL_APART,
    Form,
    Observed,
    degenerate,
    from_logits,
    from_probabilities,
    from_signals,
    log_rows,
    read_signals,
    rows_of_numbers,
)

__all__ = ["Question", "target_rows"]

_BY_CLASS = Classification()


@final
@short_repr
@dataclass(frozen=True, eq=False)
class Question:
    """What N samples ask of a model.

    labels (N,) class numbers, None where the task has no classes or they were not given; targets of
    other tasks, (N,) or (N, K) float64, and of classification the distributions beside labels.
    noise: of a regression the standard deviation σ of the noise; by default the root mean square of
    the residuals of the samples that a model was not trained on.
    """

    task: Task = _BY_CLASS
    labels: Int64Array | None = None
    targets: Float64Array | None = None
    noise: float | None = None

    def observed(self, values: AnyArray, form: Form, outside: BoolArray) -> Observed:
        """Signals of a model's outputs; outside (N,): the samples that it was not trained on.

        Raises InputError for outputs that the task cannot read, and where targets were not given.
        """
        if self.task.classes:
            return self._of_classes(values, form)
        if self.targets is None:
            raise InputError(
                f"labels: expected targets of the task {self.task.name} with the outputs, got none; "
                "pass them"
            )
        rows = rows_of_numbers(values, form)
        if self.task.name == "regression":
            return self._of_predictions(rows, outside)
        return self._of_distributions(rows, values, form)

    def logits(self, values: AnyArray, form: Form) -> Float64Array:
        """Outputs that `observed` has read, as the logits (N, K) that their signals are of."""
        if self.task.name != "multi-label":
            return log_rows(values, form == "logits")
        rows = rows_of_numbers(values, form)
        return rows if form == "logits" else _log_odds(rows, values)[0]

    def recorded(self, signals: Mapping[str, AnyArray], outside: BoolArray) -> Observed:
        """Signals (N,) as they were recorded, and those that follow; `outside` as in `observed`."""
        if self.task.classes:
            return from_signals(signals)
        for name in signals:
            self.task.refuse(name)
        if self.task.name == "multi-label":
            # The loss is −log of one answer among 2^L: φ follows as it does of one class.
            return self._without(from_signals(signals))
        known = ("residual", "loss") if self.task.name == "regression" else ("loss", "entropy")
        found, notes = read_signals(signals, known)
        if "residual" in found and "loss" not in found:
            return replace(self._of_residuals(found["residual"], outside), notes=notes)
        if self.task.name != "regression" and "loss" in found and (found["loss"] < 0).any():
            raise InputError(
                f"loss: expected divergences in nats, at least 0, got {found['loss'].min():g}; pass "
                "KL(q ‖ p), which is cross-entropy minus the entropy of the target"
            )
        return self._without(Observed(found, {}, notes))

    def _of_classes(self, values: AnyArray, form: Form) -> Observed:
        if self.labels is None:
            raise InputError("labels: expected them with the outputs, got none; pass them")
        if self.task.name == "binary" and np.ndim(values) == 2:
            columns = np.shape(values)[1]
            if columns > 2 or (columns == 2 and form == "logits"):
                raise InputError(
                    f"model: expected one logit with the task binary, got {columns} columns; say "
                    "task='classification'"
                )
        found = (from_logits if form == "logits" else from_probabilities)(values, self.labels)
        if self.targets is None:
            return found
        rows = rows_of_numbers(values, form)
        if found.one_logit or (form != "logits" and rows.shape[1] == 1):
            first = np.zeros_like(rows) if form == "logits" else 1 - rows
            rows = np.concatenate([first, rows], axis=1)
        loss = self._divergence(rows, values, form)[0]
        return replace(found, signals={**found.signals, "loss": loss})

    def _without(self, found: Observed) -> Observed:
        """The same with the task's own reasons for what it does not define."""
        reasons = {name: why for name, why in self.task.refused.items() if name in READ}
        reasons[CURVATURE] = f"input curvature is defined on classes, not {self.task.name}"
        plain = {
            name: f"needs {name}, which was not given"
            for name in READ
            if name not in found.signals and name not in reasons
        }
        return replace(found, lacking={**plain, **found.lacking, **reasons})

    def _of_predictions(self, rows: Float64Array, outside: BoolArray) -> Observed:
        assert self.targets is not None
        if rows.shape[1] != 1:
            raise InputError(
                f"model: expected one number per sample with the task regression, got {rows.shape[1]} "
                "columns; audit one target at a time"
            )
        _same_length(rows, self.targets)
        found = self._of_residuals(self.targets - rows[:, 0], outside)
        off = np.sqrt(np.mean(found.signals["residual"] ** 2))
        spread = float(self.targets.std())
        if off > spread:
            note = (
                f"model: its answers are {off:.3g} from the targets (root mean square), whose mean is "
                f"only {spread:.3g} from them: answers are read in the target's units"
            )
            found = replace(found, notes=(*found.notes, note))
        return found

    def _of_residuals(self, residual: Float64Array, outside: BoolArray) -> Observed:
        own = residual[outside] if outside.any() else residual
        sigma = float(np.sqrt(np.mean(own**2))) if self.noise is None else self.noise
        loss = gaussian_loss(torch.from_numpy(residual), sigma).numpy()
        return self._without(Observed({"residual": residual, "loss": loss}, {}, degenerate(loss)))

    def _of_distributions(self, rows: Float64Array, values: AnyArray, form: Form) -> Observed:
        assert self.targets is not None
        width = self.targets.shape[1]
        fits = rows.shape[1] == width
        if not fits and (self.task.name == "multi-label" or rows.shape[1] < width):
            what = "label" if self.task.name == "multi-label" else "class"
            raise InputError(
                f"model: expected a column for each of the {width} {what}{'e' * (what == 'class')}s of "
                f"the targets, got {rows.shape[1]}; return them all"
            )
        _same_length(rows, self.targets)
        z: Float64Array = rows
        notes: tuple[str, ...] = ()
        if self.task.name == "soft-labels":
            loss, z, notes = self._divergence(rows, values, form)
            log_p = scipy.special.log_softmax(z, axis=1)
            # Outputs that are masked have no share: 0 log 0 is 0.
            entropy = scipy.special.entr(np.exp(log_p)).sum(axis=1)
            found = {"loss": loss, "entropy": entropy}
            return self._without(Observed(found, {}, notes + degenerate(loss), width))
        if form != "logits":
            z, notes = _log_odds(rows, values)
        logits, y = torch.from_numpy(z), torch.from_numpy(self.targets)
        found = {
            "phi": joint_phi(logits, y).numpy(),
            "loss": joint_loss(logits, y).numpy(),
            "entropy": joint_entropy(logits).numpy(),
            "correct": joint_correct(logits, y).numpy(),
        }
        return self._without(Observed(found, {}, notes + degenerate(found["phi"]), width))

    def _divergence(
        self, rows: Float64Array, values: AnyArray, form: Form
    ) -> tuple[Float64Array, Float64Array, tuple[str, ...]]:
        """KL(q ‖ p) (N,), the logits (N, K) that it was read from, and notes."""
        assert self.targets is not None
        z: Float64Array = rows
        notes: tuple[str, ...] = ()
        if form != "logits":
            z, notes = _logs(rows, values)
        loss = divergence(torch.from_numpy(z), torch.from_numpy(self.targets)).numpy()
        return loss, z, notes


def target_rows(values: Any, task: Task, what: str = "labels") -> Float64Array:
    """Targets of a task that has no classes, as given: (N,) of regression, (N, K) of the others.

    Raises InputError for another shape, text, and rows that are no targets.

    >>> from seepage.signals.tasks import task
    >>> target_rows([[1.0], [2.5]], task("regression")).tolist()
    [1.0, 2.5]
    """
    y = given_array(values, what)
    if y.dtype.kind not in "buif":
        raise InputError(
            f"{what}: expected numbers with the task {task.name}, got {y.dtype}; convert them"
        )
    y = y.astype(np.float64)
    if task.name == "regression" and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != (1 if task.name == "regression" else 2):
        wanted = "(N,)" if task.name == "regression" else "(N, K)"
        raise InputError(
            f"{what}: expected targets {wanted} with the task {task.name}, got shape {y.shape}; correct "
            "them"
        )
    bad, why = faulty(y, task.name)
    if bad.any():
        row = int(bad.argmax())
        shown = ", ".join(f"{v:g}" for v in y[row].reshape(-1)[:4])
        raise InputError(
            f"{what}: expected {why} with the task {task.name}, got {shown} in row {row}; correct it or "
            "leave the sample out"
        )
    if task.name == "regression" and len(y) and np.ptp(y) == 0:
        raise InputError(f"{what}: expected targets that differ, got {y[0]:g} for every sample")
    return np.asarray(y, dtype=np.float64)


def _same_length(rows: AnyArray, targets: AnyArray) -> None:
    if len(rows) != len(targets):
        raise InputError(
            f"model: expected an output for each of {len(targets):,} targets, got {len(rows):,}"
        )


def _least(given: AnyArray, sides: tuple[Float64Array, ...]) -> tuple[float, int]:
    """What probabilities of exactly 0 are put at, and how many samples have one."""
    kind = np.asarray(given).dtype
    narrow = float(np.finfo(kind).eps) if kind.kind == "f" else 2.0**-52
    both = np.concatenate([s[s > 0].reshape(-1) for s in sides])
    zero = np.zeros(len(sides[0]), dtype=np.bool_)
    for s in sides:
        zero |= (s <= 0).any(axis=1)
    return min(narrow, float(both.min(initial=1.0))), int(zero.sum())


def _told(count: int, samples: int, least: float) -> tuple[str, ...]:
    if not count:
        return ()
    return (
        f"probabilities: exactly 0 or 1 for {count:,} of {samples:,} samples, which are put at "
        f"{least:.2g} from there; {TELL_APART}",
    )


def _log_odds(p: Float64Array, given: AnyArray) -> tuple[Float64Array, tuple[str, ...]]:
    """Log-odds of probabilities of each label: (N, L)."""
    bad = ((p < 0) | (p > 1)).any(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"probabilities: expected values in [0, 1], one per label, got "
            f"{', '.join(f'{v:.3g}' for v in p[row, :4])} at row {row}; say logits=True (--logits) if "
            "that is what they are"
        )
    least, count = _least(given, (p, 1 - p))
    z = np.log(np.maximum(p, least)) - np.log(np.maximum(1 - p, least))
    return np.asarray(z, dtype=np.float64), _told(count, len(p), least)


def _logs(p: Float64Array, given: AnyArray) -> tuple[Float64Array, tuple[str, ...]]:
    """log p of distributions (N, K); their sums are looked at."""
    # The rules for rows of probabilities are those of classes.
    checked = from_probabilities(given, np.zeros(len(p), dtype=np.int64))
    least, count = _least(given, (p,))
    sums = tuple(n for n in checked.notes if "sums of rows" in n)
    return log_probabilities(p, least), sums + _told(count, len(p), least)
