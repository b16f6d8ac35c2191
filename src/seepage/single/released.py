"""One model as it is released: what is seen of its outputs, of its changed weights, and of references.

Every variant is judged as the model itself is: the same samples, attacks and intervals. Whoever attacks
knows how the model was released, and treats his references so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy
import torch
from torch import nn

from seepage.array_types import AnyArray, BoolArray, Float64Array
from seepage.config.release import Variant
from seepage.errors import InputError
from seepage.findings.variant_result import VariantFinding, Variants
from seepage.short_repr import short_repr
from seepage.signals.released import (
    LabelOnly,
    OutputVariant,
    Rounded,
    Temperature,
    TopK,
    released_signals,
)
from seepage.signals.tasks import Task, divergence
from seepage.single.by_task import Question
from seepage.single.input_curvature import CURVATURE
from seepage.single.outputs import READ, Form, Observed
from seepage.single.result import OneAttack

__all__ = [
    "HIDDEN",
    "Seen",
    "check_release",
    "check_task",
    "found_variants",
    "observed_as_released",
    "released_network",
    "signals_as_released",
]

HIDDEN = "is not known of what is released so"
_UNMEASURED = "is not measured of what is released"
_RATES = (0.01, 0.001)

# What is released of outputs where a sample has no one class; a regression's answer is one number.
_DEFINED: Mapping[str, tuple[type[OutputVariant], ...]] = {
    "multi-label": (LabelOnly, Temperature),
    "soft-labels": (TopK, Rounded, Temperature),
    "regression": (),
}


@short_repr
@dataclass(frozen=True, eq=False)
class Seen:
    """What is seen of one model: `plain` as trained, `released` by variant's name as it is released."""

    plain: Observed
    released: Mapping[str, Observed]


def check_task(wanted: Sequence[Variant], task: Task) -> None:
    """Refuse variants of outputs that are not defined for what the task's labels are.

    >>> from seepage.config.release import as_variants
    >>> from seepage.signals.tasks import task
    >>> check_task(as_variants(["int8", "top-1"]), task("regression"))
    Traceback (most recent call last):
        ...
    seepage.errors.InputError: release: expected a variant that the task regression defines, got \
top-1; name one of weights (int8, bf16, pruned-SHARE)
    """
    if task.name not in _DEFINED:
        return
    kinds = _DEFINED[task.name]
    for v in wanted:
        if all(isinstance(o, kinds) for o in v.outputs):
            continue
        also = {"multi-label": ", label-only or temperature-T",
                "soft-labels": ", top-K, rounded-DECIMALS or temperature-T"}  # fmt: skip
        raise InputError(
            f"release: expected a variant that the task {task.name} defines, got {v.name}; name one of "
            f"weights (int8, bf16, pruned-SHARE){also.get(task.name, '')}"
        )


def check_release(
    wanted: Sequence[Variant], model: Any, references: Any, signals: Sequence[str] | None
) -> None:
    """Refuse, before anything is asked, variants that this model or its references cannot have.

    signals: of recorded signals their names, None where whole outputs are known. references: pairs
    (model, mask), or what was recorded of them.
    """
    if hasattr(references, "train") and any(v != Variant() for v in wanted):
        raise InputError(
            "release: expected references that are there, to be released alike, got ones that are "
            "trained here; train them, pass pairs (model, mask), or leave release (--as) out"
        )
    for v in wanted:
        if v.weights and not isinstance(model, nn.Module):
            raise InputError(
                f"release: {v.name} changes weights, expected a torch.nn.Module, got "
                f"{'recorded outputs' if hasattr(model, 'observed') else type(model).__name__}; name "
                "variants of outputs"
            )
        if v.outputs and signals is not None:
            _need_correct(v, signals)
        if not v.weights or references is None:
            continue
        given = references if isinstance(references, list | tuple) else ()
        other = next((p[0] for p in given if not isinstance(p[0], nn.Module)), None)
        if hasattr(references, "member") or other is not None:
            raise InputError(
                f"release: {v.name} changes weights, of references too, expected those as networks, "
                f"got {'recorded outputs' if other is None else type(other).__name__}; pass pairs "
                "(network, mask), or leave it out"
            )


def _need_correct(variant: Variant, signals: Sequence[str]) -> None:
    if not any(isinstance(o, LabelOnly) for o in variant.outputs) or "correct" not in signals:
        raise InputError(
            f"release: {variant.name} is of whole rows of logits or probabilities, expected these, got "
            f"recorded {', '.join(signals)}; record logits"
            + ("" if "correct" in signals else ", or `correct` for label-only")
        )


def released_network(variant: Variant, network: nn.Module) -> nn.Module:
    """The network with its weights as released; a copy. Raises InputError where it has none such."""
    try:
        for step in variant.weights:
            network = step.of(network)
    except InputError as error:
        raise InputError(f"released as {error}") from None
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise InputError(
            f"released as {variant.name}: expected a network that can be copied and changed, got "
            f"{text}; leave this variant out"
        ) from None
    return network


def observed_as_released(
    variant: Variant, question: Question, values: AnyArray, form: Form, outside: BoolArray
) -> Observed:
    """Signals of outputs (N, K), as somebody has them who sees `variant` of these.

    outside (N,): as of `Question.observed`.

    >>> from seepage.config.release import as_variant
    >>> z, asked = np.array([[3.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), Question(labels=np.array([0, 0]))
    >>> o = observed_as_released(as_variant("label-only"), asked, z, "logits", np.ones(2, bool))
    >>> sorted(o.signals), o.signals["loss"].tolist()
    (['correct', 'loss'], [0.0, 1.0])
    """
    told = question.observed(values, form, outside)
    if not variant.outputs:
        return replace(told, lacking={**told.lacking, CURVATURE: _UNMEASURED})
    labels_alone = any(isinstance(o, LabelOnly) for o in variant.outputs)
    if labels_alone and "correct" in told.signals:
        return _labels_alone(told)
    if set(told.signals) == {"correct"}:  # the model answers with classes: nothing more is released
        return replace(told, lacking={**told.lacking, CURVATURE: _UNMEASURED})
    z = torch.from_numpy(question.logits(values, form))
    shown = z
    for rule in sorted(variant.outputs, key=lambda o: o.order):
        shown = rule.logits(shown)
    if question.labels is None:
        seen = question.observed(shown.numpy(), "logits", outside).signals
    else:
        found = released_signals(variant.outputs, z, torch.from_numpy(question.labels))
        log_p = scipy.special.log_softmax(shown.numpy(), axis=1)
        entropy = scipy.special.entr(np.exp(log_p)).sum(axis=1)
        seen = {k: found[k].numpy() for k in READ if k in found} | {"entropy": entropy}
        if question.targets is not None:
            seen["loss"] = divergence(shown, torch.from_numpy(question.targets)).numpy()
    lacking = {CURVATURE: _UNMEASURED} | {
        name: told.lacking.get(name, HIDDEN) for name in READ if name not in seen
    }
    return replace(told, signals=seen, lacking=lacking)


def signals_as_released(variant: Variant, observed: Observed) -> Observed:
    """The same of recorded signals, of which the released label alone can be known."""
    if not variant.outputs:
        return observed
    _need_correct(variant, tuple(observed.signals))
    return _labels_alone(observed)


def _labels_alone(told: Observed) -> Observed:
    """Right or wrong, and as loss the 0-1 loss."""
    right: Float64Array = told.signals["correct"]
    lacking = {name: HIDDEN for name in READ if name not in ("correct", "loss")}
    lacking[CURVATURE] = _UNMEASURED
    return replace(told, signals={"correct": right, "loss": 1 - right}, lacking=lacking)


def found_variants(
    title: str,
    subjects: bool,
    found: Mapping[str, tuple[Mapping[str, Float64Array], Mapping[str, str], Observed]],
    named: Sequence[str],
    member: BoolArray,
    judge: Callable[[Mapping[str, Float64Array], float], tuple[tuple[OneAttack, ...], Any]],
) -> Variants:
    """All variants judged: the worst of those that were `named` decides, and pays for the choice.

    found: variant -> (scores by attack, why others did not run, what is seen of the target). member
    (N,): of samples. judge: scores and a level -> attacks, and the AUC of each at that level.
    """
    total = sum(len(found[name][0]) for name in named)
    out = []
    for name, (scores, skipped, observed) in found.items():
        attacks, widest = judge(scores, 1 - 0.05 / total)
        best = max(attacks, key=lambda a: a.auc.mean)
        right = observed.signals.get("correct")
        inside, outside = (
            (float("nan"), float("nan"))
            if right is None
            else (float(right[member].mean()), float(right[~member].mean()))
        )
        out.append(
            VariantFinding(
                name=name,
                members=inside,
                others=outside,
                attacks={a.name: (a.auc, a.auc_wide, widest[a.name]) for a in attacks},
                rates=tuple(r for r in best.rates if r.fpr in _RATES),
                null_auc=float("nan"),
                skipped=skipped,
                judged=name in named,
            )
        )
    return Variants(title, "subjects" if subjects else "samples", True, tuple(out))
