"""From a model's outputs to one number per sample: logits, probabilities, or signals as recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
import torch

from seepage.array_types import AnyArray, Float64Array, Int64Array
from seepage.errors import InputError, nearest
from seepage.given_arrays import given_array
from seepage.short_repr import short_repr
from seepage.signals import SIGNALS

__all__ = [
    "READ",
    "TELL_APART",
    "Form",
    "Observed",
    "degenerate",
    "from_logits",
    "from_probabilities",
    "from_signals",
    "log_rows",
    "read_signals",
    "rows_of_numbers",
]

Form = Literal["logits", "probabilities", "predictions"]
"""What a model's outputs are; predictions are answers of a regression, in the target's units."""

READ = ("phi", "loss", "mentr", "entropy", "correct")
"""The signals that an audit of one model reads."""

TELL_APART = (
    "a network's logits, the margins of boosting, or more trees of a forest would tell them apart"
)
"""What helps where probabilities are exactly 0 or 1."""

# How far the sum of a row of probabilities may lie from 1; rounded answers are scaled to it.
_SUM = 0.02


@short_repr
@dataclass(frozen=True, eq=False)
class Observed:
    """What a model says of every sample: `signals`, each (N,) float64, by name.

    lacking: name -> why it is not known. notes: what a reader should know of these values. classes:
    columns of the outputs, 0 where they are not known. answers (N,): the column that is largest, or
    None. one_logit: whether (0, z) was made of one z.
    """

    signals: Mapping[str, Float64Array]
    lacking: Mapping[str, str]
    notes: tuple[str, ...] = ()
    classes: int = 0
    answers: Int64Array | None = None
    one_logit: bool = False


def from_logits(logits: AnyArray, labels: Int64Array) -> Observed:
    """Signals of logits (N, K) and labels (N,), in float64; (N,) or (N, 1) is one logit of class 1.

    φ, loss, modified entropy, entropy and correctness as in `seepage.signals`.

    >>> o = from_logits(np.array([[2.0, 0.0], [0.0, 3.0]]), np.array([0, 0]))
    >>> o.signals["phi"].tolist(), o.signals["correct"].tolist()
    ([2.0, -3.0], [1.0, 0.0])
    """
    z = rows_of_numbers(logits, "logits")
    one = z.shape[1] == 1
    z = np.stack([np.zeros(len(z)), z[:, 0]], axis=1) if one else z
    _in_range(labels, z.shape[1])
    rows, y = torch.from_numpy(z), torch.from_numpy(labels)
    found = {name: SIGNALS[name](rows, y).numpy() for name in READ}
    answers = z.argmax(axis=1).astype(np.int64)
    return Observed(found, {}, degenerate(found["phi"]), z.shape[1], answers, one)


def from_probabilities(probabilities: AnyArray, labels: Int64Array) -> Observed:
    """Signals of probabilities (N, K) and labels (N,); (N,) or (N, 1) is that of class 1.

    φ = log p_y − log Σ_{j≠y} p_j, which needs no rows that sum to exactly 1 and loses nothing where
    p_y is near 1. Where a side is exactly 0 it is put at the smaller of the type's resolution and
    the smallest positive value there is, so that the order stays; `notes` counts these samples.
    Where every output of every sample is 0 or 1 they are classes, such as `predict` gives, and
    correctness is all that is known.
    Raises InputError for rows that are no probabilities.

    >>> o = from_probabilities(np.array([[0.75, 0.25], [1.0, 0.0]]), np.array([0, 0]))
    >>> o.signals["phi"].round(3).tolist(), o.notes[0][:40]
    ([1.099, 36.044], 'probabilities: exactly 0 or 1 for 1 of 2')
    """
    given = np.asarray(probabilities)
    p = _two(rows_of_numbers(given, "probabilities"))
    sums = p.sum(axis=1)
    bad = (p < 0).any(axis=1) | (np.abs(sums - 1) > _SUM)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"probabilities: expected rows of values from 0 that sum to 1, got "
            f"{', '.join(f'{v:.3g}' for v in p[row, :4])} with sum {sums[row]:.4g} at row {row}; pass whole "
            "rows, or say logits=True (--logits) if that is what they are"
        )
    _in_range(labels, p.shape[1])
    p = p / sums[:, None]
    answers = p.argmax(axis=1).astype(np.int64)
    if len(p) > 1 and np.isin(p, (0.0, 1.0)).all():
        return _labels_alone(answers, labels, p.shape[1])
    at = np.arange(len(p))
    own = p[at, labels]
    others = p.copy()
    others[at, labels] = 0.0
    rest = others.sum(axis=1)
    narrow = np.finfo(given.dtype).eps if given.dtype.kind == "f" else 2.0**-52
    positive = np.concatenate([own[own > 0], rest[rest > 0]])
    floor = min(float(narrow), float(positive.min(initial=1.0)))
    clipped = int(((own <= 0) | (rest <= 0)).sum())
    notes: tuple[str, ...] = ()
    if clipped:
        notes = (
            f"probabilities: exactly 0 or 1 for {clipped:,} of {len(p):,} samples, which are put at "
            f"{floor:.2g} from there and tie; {TELL_APART}",
        )
    wide = np.abs(sums - 1).max(initial=0.0)
    if wide > 1e-3:
        notes += (f"probabilities: sums of rows differ from 1 by up to {wide:.2g}: scaled to 1",)
    phi = np.log(np.maximum(own, floor)) - np.log(np.maximum(rest, floor))
    # 1 − p_j as the sum of the others, exact where p_j rounds to 1.
    order = np.argsort(p, axis=1)
    top = order[:, -1]
    against = 1 - p
    without = p.copy()
    without[at, top] = 0.0
    against[at, top] = without.sum(axis=1)
    log_against = np.log(np.maximum(against, floor))
    log_p = np.log(np.maximum(p, floor))
    wrong = p * log_against
    wrong[at, labels] = 0.0
    found = {
        "phi": phi,
        "loss": np.logaddexp(0.0, -phi),
        "mentr": -(against[at, labels] * log_p[at, labels]) - wrong.sum(axis=1),
        "entropy": -scipy.special.xlogy(p, p).sum(axis=1),
        "correct": (p.argmax(axis=1) == labels).astype(np.float64),
    }
    return Observed(found, {}, notes + degenerate(phi), p.shape[1], answers)


def _labels_alone(answers: Int64Array, labels: Int64Array, classes: int) -> Observed:
    """Of a model that answers with classes: whether they are right, and nothing of confidence."""
    why = "needs confidences, and the model answers with classes alone"
    note = (
        "outputs: every one is exactly 0 or 1, so they were taken for classes and not for "
        "probabilities: attacks that read confidence are left out; pass predict_proba or logits where "
        "the model has them"
    )
    right = (answers == labels).astype(np.float64)
    lacking = {name: why for name in READ if name != "correct"}
    return Observed({"correct": right}, lacking, (note,), classes, answers)


def log_rows(values: AnyArray, logits: bool) -> Float64Array:
    """Outputs that were checked, as logits (N, K): of probabilities their logarithms.

    Exact zeros are put where `from_probabilities` puts them.

    >>> log_rows(np.array([[0.5], [1.0]]), False).round(3).tolist()
    [[-0.693, -0.693], [-36.044, 0.0]]
    """
    given = np.asarray(values)
    rows = rows_of_numbers(given, "outputs")
    if logits:
        return np.stack([np.zeros(len(rows)), rows[:, 0]], axis=1) if rows.shape[1] == 1 else rows
    p = _two(rows)
    p = p / p.sum(axis=1, keepdims=True)
    narrow = np.finfo(given.dtype).eps if given.dtype.kind == "f" else 2.0**-52
    floor = min(float(narrow), float(p[p > 0].min(initial=1.0)))
    return np.asarray(np.log(np.maximum(p, floor)), dtype=np.float64)


def _two(p: Float64Array) -> Float64Array:
    """Of one column of probabilities, that of class 1, both."""
    return np.stack([1 - p[:, 0], p[:, 0]], axis=1) if p.shape[1] == 1 else p


def from_signals(signals: Mapping[str, AnyArray]) -> Observed:
    """Recorded signals (N,) by name: `phi`, `loss` in nats, `mentr`, `entropy`, `correct`.

    From φ follows the loss, log(1 + e^{−φ}). From the loss of unweighted, unsmoothed cross-entropy
    follows φ = −loss − log(1 − e^{−loss}), unless a loss is exactly 0 or negative, or was kept in
    half precision. Nothing else is derived.

    >>> o = from_signals({"loss": np.log([2.0, 4.0])})
    >>> o.signals["phi"].round(3).tolist(), sorted(o.lacking)
    ([0.0, -1.099], ['correct', 'entropy', 'mentr'])
    """
    found, notes = read_signals(signals, READ)
    if "loss" in found and (found["loss"] < 0).any():
        row = int((found["loss"] < 0).argmax())
        raise InputError(
            f"loss: expected cross-entropy in nats, at least 0, got {found['loss'][row]:g} at row "
            f"{row}; pass −log p of the label"
        )
    whole = "needs whole rows of logits or probabilities, which were not given"
    lacking = {name: whole for name in READ if name not in found}
    if "phi" in found and "loss" not in found:
        found["loss"] = np.logaddexp(0.0, -found["phi"])
        del lacking["loss"]
    elif "loss" in found and "phi" not in found:
        loss = found["loss"]
        if np.asarray(signals["loss"]).dtype == np.float16:
            lacking["phi"] = "does not follow from losses in half precision; keep them in float32"
        elif (loss == 0).any():
            lacking["phi"] = (
                f"does not follow from the loss, which is exactly 0 for {int((loss == 0).sum()):,} "
                "samples; record logits"
            )
        else:
            found["phi"] = -loss - np.log(-np.expm1(-loss))
            del lacking["phi"]
    if "phi" in found:
        notes += degenerate(found["phi"])
    return Observed(found, lacking, notes)


def read_signals(
    signals: Mapping[str, AnyArray], known: tuple[str, ...]
) -> tuple[dict[str, Float64Array], tuple[str, ...]]:
    """Recorded signals (N,) by name as float64, and notes; InputError for names that are not known."""
    found: dict[str, Float64Array] = {}
    half = set()
    for name, values in signals.items():
        if name not in known:
            raise InputError(f"signals: {name!r} is unknown here; {nearest(name, known)}")
        a = given_array(values, name)
        if a.ndim != 1 or a.dtype.kind not in "fiub":
            raise InputError(
                f"{name}: expected one number per sample, got {a.dtype} of shape {a.shape}; pass (N,)"
            )
        if a.dtype == np.float16:
            half.add(name)
        found[name] = _finite(a.astype(np.float64), name)
    if not found:
        raise InputError(f"signals: expected at least one of {', '.join(known)}, got none")
    sizes = {name: len(a) for name, a in found.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"signals: expected one value per sample in each, got {sizes}")
    return found, tuple(f"{name}: half precision, in which samples tie" for name in sorted(half))


def rows_of_numbers(values: AnyArray, what: str) -> Float64Array:
    """Outputs (N, K) as float64; (N,) is one column. InputError for others and what is not finite."""
    a = given_array(values, what)
    if a.ndim == 1:
        a = a[:, None]
    if a.ndim != 2 or not a.shape[1] or a.dtype.kind not in "fiub":
        raise InputError(
            f"{what}: expected numbers (samples, classes), got {a.dtype} of shape {a.shape}; return "
            "one row per sample"
        )
    return _finite(a.astype(np.float64), what)


def _finite(a: Float64Array, what: str) -> Float64Array:
    bad = ~np.isfinite(a) if a.ndim == 1 else ~np.isfinite(a).all(axis=1)
    if bad.any():
        raise InputError(
            f"{what}: expected finite numbers, got others for {int(bad.sum()):,} of {len(a):,} "
            f"samples, the first at row {int(bad.argmax())}; leave these samples out or mend the model"
        )
    return a


def _in_range(labels: Int64Array, classes: int) -> None:
    bad = (labels < 0) | (labels >= classes)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"labels: expected 0 to {classes - 1}, one per column of the model's outputs, got "
            f"{int(labels[row])} at row {row}; number the classes as the model does"
        )


def degenerate(phi: Float64Array) -> tuple[str, ...]:
    """A note where a model is equally confident of every sample."""
    if len(phi) > 1 and np.ptp(phi) == 0:
        return ("outputs: the same confidence for every sample, which no attack can use",)
    return ()
