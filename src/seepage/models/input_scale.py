"""Whether a trained network answers better where its inputs are divided or multiplied by 10 or 255.

A network that was trained on one scale and is asked on another answers nonsense that looks like an
answer. Where nothing of its training was watched, its own answers tell: training has brought the loss
of members down on the scale that it saw, so that another on which they do far better is the right one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from seepage.errors import InputError

__all__ = ["BetterScale", "better_scale"]

_FACTORS = (1 / 255, 1 / 10, 10.0, 255.0)
# Members' loss and accuracy on the better scale; rounding and small samples stay far below.
_LOSS = 1.5
_GAIN = 0.05
_ERRORS = 3.0
# Where the loss falls far as well.
_ERRORS_OF_LOSS = 2.0
_MOST = 0.5
# 32-bit training has hardly any gradient left beyond this φ; networks that fit their members by heart
# are too sure of others too, so that both are asked for.
_SURE = 17.0
_OTHERS = 3.0
_LEAST = 16


@dataclass(frozen=True)
class BetterScale:
    """Inputs times `factor` are answered far better.

    Each as asked, and with the factor: mean loss in nats of members and of others, and the share of
    members that are answered right.
    """

    factor: float
    members: tuple[float, float]
    others: tuple[float, float]
    right: tuple[float, float]

    @property
    def words(self) -> str:
        """In one clause."""
        what = f"divided by {1 / self.factor:g}" if self.factor < 1 else f"times {self.factor:g}"
        return (
            f"inputs {what} would be answered better, with a mean loss of {self.members[1]:.2g} (members) and "
            f"{self.others[1]:.2g} (others) and {self.right[1]:.1%} of members right, than as they are, "
            f"with {self.members[0]:.2g}, {self.others[0]:.2g} and {self.right[0]:.1%}"
        )


def better_scale(
    answer: Callable[[torch.Tensor], torch.Tensor],
    inputs: torch.Tensor,
    labels: torch.Tensor,
    member: torch.Tensor,
) -> BetterScale | None:
    """The factor on inputs with which a trained network does far better, or None.

    answer: inputs (B, ...) float -> logits (B, K), in eval mode; labels (B,) int64; member (B,) bool,
    at least 16 of both kinds, or None is returned. Factors are 1/255, 1/10, 10 and 255.

    A smaller scale is far better where the mean loss of members falls to two thirds, or, where half of
    all |φ| lie above 17, that of others to a third; with no fewer right answers of members, and with more of
    them, by 2 standard errors, unless most are right: loss alone falls with any smaller logits of a network that is wrong. A larger one
    where 5 of 100 members more are answered right, and more by three standard errors: loss alone falls
    with any larger logits of one that is right.

    Fails to see factors below 10, an offset, a scale of single columns, and networks that normalise
    each input themselves, which are none the worse for it. May be wrong of networks without biases that
    fit their members by heart.

    >>> net = torch.nn.Linear(2, 2)
    >>> with torch.no_grad():
    ...     _ = net.weight.copy_(torch.eye(2)), net.bias.copy_(torch.tensor([0.0, 2.0]))
    >>> x = torch.stack([torch.arange(40) % 5, torch.zeros(40)], dim=1).float()
    >>> y = (x[:, 0] < 2).long()
    >>> better_scale(net, x, y, torch.arange(40) < 20) is None
    True
    >>> better_scale(net, x / 10, y, torch.arange(40) < 20).factor
    10.0
    """
    if min(int(member.sum()), int((~member).sum())) < _LEAST or not inputs.is_floating_point():
        return None
    asked = _Seen.of(answer(inputs), labels, member)
    if asked is None:
        return None
    best: BetterScale | None = None
    for factor in _FACTORS:
        try:
            found = _Seen.of(answer(inputs * factor), labels, member)
        except (InputError, RuntimeError, ValueError, IndexError):
            continue  # it takes no such values
        if found is None:
            continue
        chance = sum(p * (1 - p) for p in (found.right, asked.right)) / int(member.sum())
        errors = _ERRORS if factor > 1 else _ERRORS_OF_LOSS
        risen = found.right >= asked.right + max(_GAIN, errors * chance**0.5)
        # Of one that is mostly wrong on both, smaller logits alone make the loss smaller.
        kept = risen or (asked.right > _MOST and found.right >= asked.right)
        better = kept and (
            found.members * _LOSS < asked.members
            or (asked.sure > _SURE and found.others * _OTHERS < asked.others)
        )
        if factor > 1:
            better = risen and found.members < asked.members
        # Of several the one on which samples that it was not trained on do best.
        if better and (best is None or found.others < best.others[1]):
            best = BetterScale(
                factor,
                (asked.members, found.members),
                (asked.others, found.others),
                (asked.right, found.right),
            )
    return best


@dataclass(frozen=True)
class _Seen:
    """Mean losses of members and others, members answered right, the median of |φ|."""

    members: float
    others: float
    right: float
    sure: float

    @classmethod
    def of(cls, logits: torch.Tensor, labels: torch.Tensor, member: torch.Tensor) -> _Seen | None:
        z, y = logits.detach().double().cpu(), labels.cpu()
        if z.ndim != 2 or int(y.max()) >= z.shape[1] or not bool(torch.isfinite(z).all()):
            return None
        loss = functional.cross_entropy(z, y, reduction="none")
        at = y[:, None]
        phi = z.gather(1, at)[:, 0] - z.scatter(1, at, -torch.inf).logsumexp(1)
        return cls(
            float(loss[member].mean()),
            float(loss[~member].mean()),
            float((z.argmax(1) == y)[member].double().mean()),
            float(phi.abs().median()),
        )
