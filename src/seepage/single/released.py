"""One model as it is released: what is seen of its outputs, of its changed weights, and of references.

Every variant is judged as the model itself is: the same samples, attacks and intervals. Whoever attacks
knows how the model was released, and treats his references so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import nn

from seepage.array_types import AnyArray, Float64Array, Int64Array
from seepage.config.release import Variant
from seepage.errors import InputError
from seepage.findings.variants import VariantFinding, Variants
from seepage.signals.released import LabelOnly, released_signals
from seepage.single.input_curvature import CURVATURE
from seepage.single.outputs import READ, Observed, from_logits, from_probabilities, log_rows
from seepage.single.result import OneAttack

__all__ = [
    "check_release",
    "found_variants",
    "observed_as_released",
    "released_network",
    "signals_as_released",
]

HIDDEN = "is not known of what is released so"
_UNMEASURED = "is not measured of what is released"
_RATES = (0.01, 0.001)


def check_release(
    wanted: Sequence[Variant], model: Any, references: Any, signals: Sequence[str] | None
) -> None:
    """Refuse, before anything is asked, variants that this model or its references cannot have.

    signals: of recorded signals their names, None where whole outputs are known. references: pairs
    (model, mask), or what was recorded of them.
    """
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
    variant: Variant, values: AnyArray, logits: bool, labels: Int64Array
) -> Observed:
    """Signals of outputs (N, K), as somebody has them who sees `variant` of these.

    >>> from seepage.config.release import as_variant
    >>> z, y = np.array([[3.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), np.array([0, 0])
    >>> o = observed_as_released(as_variant("label-only"), z, True, y)
    >>> sorted(o.signals), o.signals["loss"].tolist()
    (['correct', 'loss'], [0.0, 1.0])
    """
    told = (from_logits if logits else from_probabilities)(values, labels)
    if variant == Variant():
        return told
    if not variant.outputs:
        return Observed(
            told.signals, {CURVATURE: _UNMEASURED}, told.notes, told.classes, told.one_logit
        )
    z = torch.from_numpy(log_rows(values, logits))
    found = released_signals(variant.outputs, z, torch.from_numpy(labels))
    signals = {k: found[k].numpy() for k in READ if k in found}
    if "phi" in signals:
        for rule in sorted(variant.outputs, key=lambda o: o.order):
            z = rule.logits(z)
        log_p = special.log_softmax(z.numpy(), axis=1)
        signals["entropy"] = -(np.exp(log_p) * log_p).sum(axis=1)
    lacking = {name: HIDDEN for name in READ if name not in signals} | {CURVATURE: _UNMEASURED}
    return Observed(signals, lacking, told.notes, told.classes, told.one_logit)


def signals_as_released(variant: Variant, observed: Observed) -> Observed:
    """The same of recorded signals, of which the released label alone can be known."""
    if not variant.outputs:
        return observed
    _need_correct(variant, tuple(observed.signals))
    right: Float64Array = observed.signals["correct"]
    lacking = {name: HIDDEN for name in READ if name not in ("correct", "loss")}
    return Observed({"correct": right, "loss": 1 - right}, lacking | {CURVATURE: _UNMEASURED})


def found_variants(
    title: str,
    subjects: bool,
    found: Mapping[str, tuple[Mapping[str, Float64Array], Mapping[str, str], Observed]],
    named: Sequence[str],
    member: np.ndarray[Any, np.dtype[np.bool_]],
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
