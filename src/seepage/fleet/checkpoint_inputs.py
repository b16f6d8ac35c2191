"""Whether networks from files are asked about inputs, and numbers of classes, as in their training."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet.contradictions import ContradictionWarning, warn_of
from seepage.fleet.given_inputs import Inputs
from seepage.fleet.imported import ImportedWarning
from seepage.metrics.own_labels import renumbered, told
from seepage.models.first_layer import better_scaled_within
from seepage.models.input_scale import BetterScale, better_scale
from seepage.models.outputs import check_logits
from seepage.models.preparations import better_prepared, settled
from seepage.record import Memory, Recorder, Resident, observing
from seepage.signals.tasks import task as task_named
from seepage.signals.tasks import two_logits
from seepage.store.run import Run

__all__ = ["best_scale", "check_inputs", "doubt_inputs", "told_inputs"]

_MEMBERS_ASKED = 2048
# The softmax of 32-bit logits is 1 from about 17 on, and gives no gradient.
_SURE = 40.0
# Members, and others, that are asked about on other scales.
_SCALED = 256


def told_inputs(prepared: Inputs) -> str:
    """How inputs are prepared, in a clause."""
    if prepared.standardise:
        return "inputs standardised by the members of each model"
    return (
        "inputs as the data has them"
        if prepared.divide == 1
        else f"inputs divided by {prepared.divide:g}"
    )


def check_inputs(
    network: nn.Module, recorder: Recorder, data: Dataset, members: Int64Array, prepared: Inputs
) -> list[str]:
    """Refuse inputs that are prepared, or classes that are numbered, otherwise than in training; what is
    doubted alone is warned of and returned.

    By members of the first model: far more of them right on inputs that are prepared otherwise
    (`seepage.models.preparations`), unless they know nothing as given and not nearly all then; or with other numbers of classes (`seepage.metrics.own_labels`).
    """
    if data.task not in ("classification", "binary"):
        return []
    rows = members[:_MEMBERS_ASKED]

    def answer(inputs: AnyArray | torch.Tensor) -> Float64Array:
        x = torch.as_tensor(inputs).to(recorder.pool.device)
        with observing(network), torch.no_grad():
            parts = [network(x[at : at + 512].clone()) for at in range(0, len(x), 512)]
        rows = torch.cat(parts).reshape(len(x), -1)
        rows = two_logits(rows) if rows.shape[1] == 1 else rows
        return rows.double().cpu().numpy()

    given = [recorder.inputs(rows[at : at + 512]).cpu() for at in range(0, len(rows), 512)]
    x, labels = torch.cat(given).numpy(), data.labels.numpy()[rows]
    asked = answer(x)
    answers = asked.argmax(axis=1)
    every = np.arange(len(rows))
    better = better_prepared(answer, x, every, labels, asked)
    if better is None:
        better = better_scaled_within(network, answer, x, every, labels, asked)
    if better is not None:
        better = replace(better, settled=settled(network))
    numbered = renumbered(answers, labels, max(len(data.classes), int(answers.max()) + 1, 2))
    known = numbered.better if numbered is not None and numbered.likely else 0.0
    if better is not None and better.balanced[1] >= known:
        text = (
            f"{better.words}: {told_inputs(prepared)}; were they so in training (divide=, "
            "standardise=, the factory's own network)?"
        )
        if not better.settled:
            text += (
                " Or BatchNorm saw so few batches that answers in eval mode are nonsense: let more pass in "
                "training mode, or import recorded logits"
            )
        learnt = told(answers == labels, labels, np.ones(len(rows), np.bool_))
        # Who knows nothing may have learnt nothing, and `check` gives no verdict of that; not who knows
        # nearly all prepared otherwise.
        knows = (learnt is not None and not learnt.nothing) or better.nearly_all
        if better.far and knows:
            raise InputError(f"data: inputs: {text}")
        warnings.warn(f"inputs: {text}", ImportedWarning, stacklevel=3)
        return [f"inputs: {text}"]
    if numbered is not None and numbered.likely:
        raise InputError(f"data: labels: {numbered.named(data.classes)}")
    if numbered is not None:
        warnings.warn(
            f"answers: {numbered.named(data.classes)}", ContradictionWarning, stacklevel=3
        )
        return [f"answers: {numbered.named(data.classes)}"]
    return []


def best_scale(
    network: nn.Module, data: Dataset, resident: Resident, member: BoolArray, how: Mapping[str, Any]
) -> BetterScale | None:
    """Whether the network does far better on inputs of another scale; on some samples of each side."""
    if not task_named(data.task).classes or data.targets is not None:
        return None
    sides = (np.flatnonzero(member), np.flatnonzero(~member))
    rows = np.sort(np.concatenate([s[:: max(1, len(s) // _SCALED)] for s in sides]))
    x = Recorder(resident, [0.0], Memory(), signals=(), **how).inputs(rows)
    with observing(network), torch.no_grad():
        return better_scale(
            lambda inputs: check_logits(network(inputs.clone()), inputs, len(data.classes)),
            x,
            data.labels[torch.from_numpy(rows)],
            torch.from_numpy(member[rows]),
        )


def doubt_inputs(run: Run, data: Dataset, better: BetterScale | None) -> list[str]:
    """Say so where networks know no more than the most frequent class, or were trained otherwise."""
    found = list(_doubts(run, data, better))
    for text in found:
        warnings.warn(f"{run.path}: {text}", ImportedWarning, stacklevel=3)
    return found


def _doubts(run: Run, data: Dataset, better: BetterScale | None) -> Iterator[str]:
    how = "prepared as in training (divide=, standardise=, the factory's own network)"
    if data.task == "regression":
        told = np.array([run.records[int(r)]["rmse"][-1] for r in run.models])
        assert data.targets is not None
        spread = float(data.targets.double().std(correction=0))
        if float(told[:, 0].mean()) >= spread:
            yield (
                f"the networks are {float(told[:, 0].mean()):.3g} off on their members (root mean "
                f"square), the mean of all targets alone would be {spread:.3g}; are inputs {how}, and answers in "
                "the target's units?"
            )
        return
    if not task_named(data.task).classes or data.targets is not None:
        return
    last = np.array([run.records[int(r)]["accuracy"][-1] for r in run.models])
    share = float(np.bincount(data.labels.numpy()).max() / len(data))
    known = float(last[:, 0].mean())
    warn_of(run, answers=known > share, stacklevel=5)
    if known <= share:
        yield (
            f"the networks are right on {known:.1%} of their members, the most frequent class "
            f"alone would be on {share:.1%}; are inputs {how}, and are the classes in its order?"
        )
    if better is not None:
        yield f"{better.words}: are inputs {how}?"
        return
    sure = float(np.median(np.abs(run.signal_at("phi", -1))))
    if sure > _SURE:
        yield (
            f"the networks are surer than training usually makes them: half of all |phi| lie above "
            f"{sure:.3g}, and 32-bit training has hardly any gradient left beyond 17; are inputs {how}? Those of "
            f"the data lie in {float(data.inputs.min()):g}..{float(data.inputs.max()):g}"
        )
