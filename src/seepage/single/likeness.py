"""Whether a model, and its references, are asked as they were trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.metrics import clopper_pearson
from seepage.metrics.own_labels import told
from seepage.models.first_layer import better_scaled_within
from seepage.models.input_scale import better_scale
from seepage.models.preparations import BetterPrepared, better_prepared, settled
from seepage.signals.tasks import two_logits
from seepage.single.asking import Answers, answers_of, floating
from seepage.single.by_task import Question
from seepage.single.fitting import Doubt
from seepage.single.outputs import Observed, log_rows
from seepage.single.pool import Pool
from seepage.single.references import Measured

__all__ = [
    "found_prepared",
    "prepared_doubted",
    "prepared_noted",
    "rather_exchanged",
    "scale_doubted",
    "unlearnt",
    "unlike_references",
]

_BETTER = "members would be answered better on inputs that are prepared otherwise"
_ROWS = 256
# Of right answers on what each was trained on: halves of a pool are learnt about as well as the whole.
_APART = 0.1


def scale_doubted(
    model: object, pool: Pool, labels: Int64Array | None, logits: bool
) -> tuple[Doubt, ...]:
    """A doubt where a network does far better on inputs of another scale than those it is asked about.

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
        Doubt(
            _BETTER,
            f"inputs: {better.words}: they seem to be prepared otherwise than in training; pass them as the "
            "network took them there",
        ),
    )


def found_prepared(
    model: object, pool: Pool, question: Question, observed: Observed, answers: Answers
) -> BetterPrepared | None:
    """The preparation of inputs with which a network or an estimator is right far more often, or None.

    Of arrays of numbers and hard labels alone; a function
    is not asked, because a service may count questions. See `seepage.models.preparations`.
    """
    network, labels = isinstance(model, nn.Module), question.labels
    if labels is None or observed.answers is None:
        return None
    if not network and not hasattr(model, "predict_proba"):
        return None
    if isinstance(pool.inputs, list) or hasattr(pool.inputs, "iloc"):
        return None
    x = np.asarray(pool.inputs)
    if not network and x.dtype.kind == "i":
        x = x.astype(np.float64)  # counts of a table, which are no tokens to an estimator
    form = answers.form

    def answer(given: AnyArray) -> Float64Array:
        logits = (form == "logits") if network else None
        found = answers_of(model, given, len(given), logits=logits, accept_changes=True)
        return log_rows(found.values, form == "logits")

    known = log_rows(answers.values, form == "logits")
    members = np.flatnonzero(pool.member)
    found = better_prepared(answer, x, members, labels, known)
    if found is None and isinstance(model, nn.Module):
        found = better_scaled_within(model, answer, x, members, labels, known)
    if found is not None and isinstance(model, nn.Module) and not settled(model):
        return replace(found, settled=False)
    return found


def unlearnt(
    found: BetterPrepared, observed: Observed, labels: Int64Array | None, member: BoolArray
) -> bool:
    """Whether a model that learnt nothing may come to this: at chance as given, and not nearly always right then."""
    if found.nearly_all or labels is None:
        return False
    learnt = told(observed.signals["correct"], labels, member)
    return learnt is None or learnt.nothing


def rather_exchanged(
    found: BetterPrepared | None, observed: Observed, member: BoolArray
) -> tuple[Doubt, ...]:
    """A doubt where members and others seem exchanged, rather than inputs prepared otherwise.

    Others are surely more often right (95 % intervals apart), and more often than members would be on the
    preparation that was found. Who is asked about others beside its members answers some with a large loss, which
    other preparations make less.
    """
    if found is None or "correct" not in observed.signals:
        return ()
    right = observed.signals["correct"] > 0
    hits, sizes = [int(right[m].sum()) for m in (member, ~member)], (member.sum(), (~member).sum())
    (_, most), (least, _) = (clopper_pearson(h, int(n)) for h, n in zip(hits, sizes, strict=True))
    own, others = (h / int(n) for h, n in zip(hits, sizes, strict=True))
    if not float(most) < float(least) or found.right[1] >= others:
        return ()
    return (
        Doubt(
            "others are right more often than members, as where the two are exchanged",
            f"accuracy: members are right in {own:.1%} and others in {others:.1%}: are members and others "
            "exchanged? Pass those as members who trained the model",
        ),
    )


def prepared_noted(found: BetterPrepared | None) -> tuple[str, ...]:
    """A note where members would be answered so much better that there is no verdict."""
    if found is None or not found.far:
        return ()
    other = "; figures are of answers to other inputs" if found.settled else ""
    return (f"inputs: {found.words}: {found.cause}{other}",)


def prepared_doubted(found: BetterPrepared | None) -> tuple[Doubt, ...]:
    """A doubt where members would be answered better, and not so surely that there is no verdict."""
    if found is None or found.far:
        return ()
    return (Doubt(_BETTER, f"inputs: {found.words}: {found.cause}"),)


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
