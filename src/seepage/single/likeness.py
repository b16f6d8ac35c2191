"""Whether a model, and its references, are asked as they were trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.array_types import AnyArray, BoolArray, Int64Array
from seepage.models.input_scale import better_scale
from seepage.signals.tasks import two_logits
from seepage.single.asking import answers_of, floating
from seepage.single.outputs import Observed
from seepage.single.pool import Pool
from seepage.single.references import Measured

__all__ = ["prepared_noted", "scale_noted", "unlike_references"]

_ROWS = 256
# Of members answered right: more of them than this, and than so many standard errors.
_GAIN, _SURE = 0.05, 4.0
# Of right answers on what each was trained on: halves of a pool are learnt about as well as the whole.
_APART = 0.1


def scale_noted(
    model: object, pool: Pool, labels: Int64Array | None, logits: bool
) -> tuple[str, ...]:
    """A note where a network does far better on inputs of another scale than those it is asked about.

    labels (N,) class numbers. logits: whether its outputs are. At most 256 members and others are asked
    about, four times. See `seepage.models.input_scale.better_scale`.
    """
    if not isinstance(model, nn.Module):
        return ()
    inputs = pool.inputs
    if labels is None or not logits or isinstance(inputs, list) or hasattr(inputs, "iloc"):
        return ()
    sides = (np.flatnonzero(pool.member), np.flatnonzero(~pool.member))
    rows = np.concatenate([s[:: max(1, len(s) // _ROWS)] for s in sides])
    x = floating(np.asarray(inputs)[rows], model)
    if not x.dtype.is_floating_point:
        return ()

    def answer(given: torch.Tensor) -> torch.Tensor:
        found = answers_of(model, given.numpy(), len(given), logits=True, accept_changes=True)
        z = torch.from_numpy(found.values.astype(np.float64)).reshape(len(given), -1)
        return two_logits(z) if z.shape[1] == 1 else z

    better = better_scale(
        answer, x.float(), torch.from_numpy(labels[rows]), torch.from_numpy(pool.member[rows])
    )
    if better is None:
        return ()
    return (
        f"inputs: {better.words}: they seem to be prepared otherwise than in training; pass them as the "
        "network took them there",
    )


def prepared_noted(model: object, pool: Pool, labels: Int64Array | None) -> tuple[str, ...]:
    """A note where an estimator answers members far better on inputs that are prepared otherwise.

    Tables of numbers are tried standardised, on [0, 1] (both by the columns of the pool), as log(1 + x) and
    divided by 255; at most 256 members. Better is 5 of 100 more right, and 4 standard errors of the
    difference. Fails to see the reverse, inputs that are prepared twice or as no training saw them.

    labels (N,): column numbers of `predict_proba`.
    """
    ask, x = getattr(model, "predict_proba", None), pool.inputs
    if ask is None or labels is None or not isinstance(x, np.ndarray):
        return ()
    if x.ndim != 2 or x.dtype.kind not in "fiu" or not np.isfinite(x).all():
        return ()
    members = np.flatnonzero(pool.member)
    rows = members[:: max(1, len(members) // _ROWS)]
    low, wide = x.min(axis=0).astype(np.float64), np.ptp(x.astype(np.float64), axis=0)
    spread = x.std(axis=0, dtype=np.float64)
    given = x[rows].astype(np.float64)
    tried = {
        "standardised": (given - x.mean(axis=0, dtype=np.float64))
        / np.where(spread > 0, spread, 1),
        "on a scale from 0 to 1": (given - low) / np.where(wide > 0, wide, 1),
        "divided by 255": given / 255,
    }
    if low.min(initial=0) >= 0:
        tried["as log(1 + x)"] = np.log1p(given)
    best = ("", 0.0)
    try:
        asked = np.argmax(ask(x[rows]), axis=1) == labels[rows]
        for how, values in tried.items():
            right = np.argmax(ask(values.astype(_float_of(x))), axis=1) == labels[rows]
            gained, lost = int((right & ~asked).sum()), int((asked & ~right).sum())
            sure = gained - lost > _SURE * np.sqrt(gained + lost)
            if sure and gained - lost > _GAIN * len(rows) and right.mean() > best[1]:
                best = how, float(right.mean())
    except (
        TypeError,
        ValueError,
        RuntimeError,
        np.exceptions.AxisError,
    ):  # it takes no such values
        return ()
    if not best[0]:
        return ()
    return (
        f"inputs: {best[0]} they would be answered better, {best[1]:.1%} of members right instead of "
        f"{float(asked.mean()):.1%}: they seem to be prepared otherwise than in training; pass them as the "
        "model took them there",
    )


def _float_of(x: AnyArray) -> np.dtype[Any]:
    return x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)


def unlike_references(target: Observed, references: Measured, member: BoolArray) -> tuple[str, ...]:
    """A note where references know what they were trained on far worse, or better, than the model.

    member (N,) bool of the target. Empty where correctness is not known of both.
    """
    if "correct" not in target.signals or "correct" not in references.signals:
        return ()
    own = float(target.signals["correct"][member].mean())
    theirs = references.signals["correct"][references.member]
    if not theirs.size or abs(float(theirs.mean()) - own) < _APART:
        return ()
    return (
        f"references: right on {float(theirs.mean()):.1%} of what they were trained on, the model on "
        f"{own:.1%} of its members: they are trained, or asked, otherwise than the model, and figures with "
        "references are as good as that likeness",
    )
