"""Whether a model, and its references, are asked as they were trained."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from seepage.array_types import BoolArray, Int64Array
from seepage.models.input_scale import better_scale
from seepage.signals.tasks import two_logits
from seepage.single.asking import answers_of, floating
from seepage.single.outputs import Observed
from seepage.single.pool import Pool
from seepage.single.references import Measured

__all__ = ["scale_noted", "unlike_references"]

_ROWS = 256
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
