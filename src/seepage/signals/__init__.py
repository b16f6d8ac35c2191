"""Pure maps from logits and labels to one number per sample, without cancellation.

>>> import torch
>>> logits, labels = torch.tensor([[40.0, 0.0]]), torch.tensor([0])
>>> float(phi(logits, labels))
40.0
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from seepage.errors import InputError
from seepage.extensions import outside, resolve

if TYPE_CHECKING:
    import torch

__all__ = [
    "SIGNALS",
    "SignalRule",
    "correct",
    "entropy",
    "loss",
    "mentr",
    "named",
    "phi",
    "together",
]

SignalRule = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""Logits (B, K) and labels (B,) -> one number per sample, (B,)."""


def softplus(x: torch.Tensor) -> torch.Tensor:
    """log(1 + e^x) of float64, exact up to where it is x."""
    from torch.nn import functional

    return functional.softplus(x, threshold=700.0)


def _others(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """z_y and logsumexp over the other classes, both (B,) float64."""
    z = logits.double()
    own = z.gather(1, labels[:, None])
    rest = z.scatter(1, labels[:, None], -math.inf).logsumexp(1)
    return own[:, 0], rest


def phi(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Logit-scaled confidence φ = log p_y − log(1 − p_y), in log-odds: (B, K), (B,) -> (B,)
    float64.

    Computed as z_y − logsumexp_{j≠y} z_j, which stays exact where p_y rounds to 1 (a float32
    softmax saturates at a gap of about 16.6). Source: Carlini et al. 2022, arXiv 2112.03570.
    """
    own, rest = _others(logits, labels)
    return own - rest


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy −log p_y in nats: (B, K), (B,) -> (B,) float64; log(1 + e^{−φ}), never −0."""
    return _loss_of(phi(logits, labels))


def _loss_of(confidence: torch.Tensor) -> torch.Tensor:
    return softplus(-confidence)


def correct(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Whether the label has the largest logit: (B, K), (B,) -> (B,) float64 of 0 and 1."""
    return (logits.argmax(1) == labels).double()


def mentr(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Modified entropy −(1−p_y) log p_y − Σ_{j≠y} p_j log(1−p_j), in nats: -> (B,) float64.

    0 when right and certain, growing without bound when wrong and certain, so *lower* means more
    likely a member; the attack negates it. log(1 − p_j) is exact for the largest p_j, the only
    one that can round to 1. Source: Song & Mittal 2021, arXiv 2003.10595.

    >>> import torch
    >>> certain = torch.tensor([[60.0, 0.0, 0.0]])
    >>> [round(float(mentr(certain, torch.tensor([c]))), 3) for c in (0, 1)]
    [0.0, 119.307]
    """
    z = logits.double()
    top, y = z.argmax(1, keepdim=True), labels[:, None]
    whole = z.logsumexp(1, keepdim=True)
    rest = z.scatter(1, top, -math.inf).logsumexp(1, keepdim=True)
    p = (z - whole).exp()
    log_q = (-p.scatter(1, top, 0.0)).log1p().scatter(1, top, rest - whole)
    # −log p_y, exact too where y is the largest.
    ell = _loss_of(z.gather(1, top) - rest).where(y == top, whole - z.gather(1, y))
    own = log_q.gather(1, y).exp() * ell
    return own[:, 0] - (p * log_q).scatter(1, y, 0.0).sum(1)


def entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Entropy −Σ p_j log p_j of the answer, in nats: (B, K), (B,) -> (B,) float64 from 0 to log K.

    It reads no label: low where the network is sure, right or wrong. With d_j = max z − z_j ≥ 0 and
    S = Σ e^{−d_j} over all but the largest it is log(1 + S) + Σ d_j e^{−d_j} / (1 + S): no term is
    negative, so that nothing cancels where p rounds to 1.

    >>> import torch
    >>> entropy(torch.tensor([[0.0, 0.0], [40.0, 0.0]]), torch.tensor([0, 1])).numpy().round(3)
    array([0.693, 0.   ])
    """
    z = logits.double()
    top = z.argmax(1, keepdim=True)
    # Below e^−1000 is 0, and so is a masked output, −∞.
    d = (z.gather(1, top) - z).clamp_max(1000.0)
    p = (-d).exp().scatter(1, top, 0.0)
    rest = p.sum(1)
    return rest.log1p() + (p * d).sum(1) / (1 + rest)


SIGNALS: dict[str, SignalRule] = {
    "loss": loss,
    "phi": phi,
    "correct": correct,
    "mentr": mentr,
    "entropy": entropy,
}
"""Signals by name: what the Recorder evaluates and the store keeps."""


def together(
    rules: Mapping[str, SignalRule],
    logits: torch.Tensor,
    asked: Callable[[str], torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Every signal of one batch by name, to the bit what its rule says: {name: (B,)}.

    asked: labels or targets (B, ...) that the signal of that name compares with. Where φ and its
    cross-entropy are both wanted, φ is computed once.

    >>> import torch
    >>> z, y = torch.tensor([[2.0, 0.0]]), torch.tensor([1])
    >>> {k: round(float(v), 3) for k, v in together(SIGNALS, z, lambda name: y).items()}
    {'loss': 2.127, 'phi': -2.0, 'correct': 0.0, 'mentr': 3.747, 'entropy': 0.365}
    """
    found: dict[str, torch.Tensor] = {}
    if rules.get("phi") is phi and rules.get("loss") is loss:
        found["phi"] = phi(logits, asked("phi"))
        found["loss"] = _loss_of(found["phi"])
    return {
        name: found[name] if name in found else rule(logits, asked(name))
        for name, rule in rules.items()
    }


def named(
    signal: str | SignalRule, known: Mapping[str, SignalRule] | None = None
) -> tuple[str, SignalRule]:
    """(name that it is stored under, rule) of a signal: one of `SIGNALS`, or the user's own.

    signal: a name, "package.module:function", the entry point of an installed package, or a
    function. The user's own is stored under the function's name (that of its entry point), which
    must be none of ours. known: the rules of a task other than classification. Raises InputError in
    one line.

    >>> named("phi")[0]
    'phi'
    """
    rules = SIGNALS if known is None else known
    if isinstance(signal, str) and signal in rules:
        return signal, rules[signal]
    rule = signal
    if isinstance(signal, str):
        rule = resolve(
            "signal",
            signal,
            rules,
            accepts=callable,
            expected="a function of logits and labels",
            field="signals",
        )
    if not callable(rule):
        raise InputError(f"signals: expected names or functions, got {signal!r}")
    own = isinstance(signal, str) and not outside(signal)
    name = str(signal) if own else getattr(rule, "__name__", "")
    if not name.isidentifier():
        raise InputError(f"signals: expected a function with a name, got {name!r}; define it")
    if name in {*SIGNALS, *rules, "logits"}:
        raise InputError(
            f"signals: {signal!r} would be stored as {name!r}, which is one of seepage's own; "
            "give the function another name"
        )
    return name, rule
