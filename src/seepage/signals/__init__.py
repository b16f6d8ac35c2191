"""Pure maps from logits and labels to one number per sample, without cancellation.

>>> import torch
>>> logits, labels = torch.tensor([[40.0, 0.0]]), torch.tensor([0])
>>> float(phi(logits, labels))
40.0
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from seepage.errors import InputError
from seepage.extensions import outside, resolve

__all__ = ["SIGNALS", "SignalRule", "correct", "entropy", "loss", "mentr", "named", "phi"]

SignalRule = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits (B, K) and labels (B,) -> one number per sample, (B,)."""


def _others(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """z_y and logsumexp over the other classes, both (B,) float64."""
    z = logits.double()
    own = z.gather(1, labels[:, None])
    rest = z.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
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
    own, rest = _others(logits, labels)
    return torch.nn.functional.softplus(rest - own, threshold=700.0)


def correct(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Whether the label has the largest logit: (B, K), (B,) -> (B,) float64 of 0 and 1."""
    return (logits.argmax(1) == labels).double()


def mentr(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Modified entropy −(1−p_y) log p_y − Σ_{j≠y} p_j log(1−p_j), in nats: -> (B,) float64.

    0 when right and certain, growing without bound when wrong and certain, so *lower* means more
    likely a member; the attack negates it. log(1 − p_j) is exact for the largest p_j, the only
    one that can round to 1. Source: Song & Mittal 2021, arXiv 2003.10595.

    >>> certain = torch.tensor([[60.0, 0.0, 0.0]])
    >>> [round(float(mentr(certain, torch.tensor([c]))), 3) for c in (0, 1)]
    [0.0, 119.307]
    """
    z = logits.double()
    log_p = z.log_softmax(1)
    p = log_p.exp()
    top = z.argmax(1, keepdim=True)
    rest_of_top = z.scatter(1, top, -torch.inf).logsumexp(1) - z.logsumexp(1)
    log_q = torch.log1p(-p.scatter(1, top, 0.0)).scatter(1, top, rest_of_top[:, None])
    y = labels[:, None]
    own = -(log_q.exp() * log_p).gather(1, y)[:, 0]
    return own - (p * log_q).scatter(1, y, 0.0).sum(1)


def entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Entropy −Σ p_j log p_j of the answer, in nats: (B, K), (B,) -> (B,) float64 from 0 to log K.

    It reads no label: low where the network is sure, right or wrong. log p of the largest p, the
    only one that can round to 1, is exact.

    >>> entropy(torch.tensor([[0.0, 0.0], [40.0, 0.0]]), torch.tensor([0, 1])).numpy().round(3)
    array([0.693, 0.   ])
    """
    z = logits.double()
    top = z.argmax(1, keepdim=True)
    rest = z.scatter(1, top, -torch.inf).logsumexp(1, keepdim=True)
    own = -torch.nn.functional.softplus(rest - z.gather(1, top), threshold=700.0)
    log_p = z.log_softmax(1).scatter(1, top, own)
    p = log_p.exp()
    return -torch.where(p > 0, p * log_p, 0.0).sum(1) + 0.0


SIGNALS: dict[str, SignalRule] = {
    "loss": loss,
    "phi": phi,
    "correct": correct,
    "mentr": mentr,
    "entropy": entropy,
}
"""Signals by name: what the Recorder evaluates and the store keeps."""


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
