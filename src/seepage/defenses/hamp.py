"""HAMP: high-entropy soft labels, and answers that keep only the order of classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import scipy
import torch
import torch.nn.functional as F

from seepage.defenses.base import Context, Defense, check_number
from seepage.defenses.losses import entropy
from seepage.defenses.networks import cross_entropy

__all__ = ["HAMP", "hamp_confidence", "reorder"]


@lru_cache(maxsize=64)
def hamp_confidence(classes: int, gamma: float) -> float:
    """p > 1/K whose label (p, rest even) has entropy γ·log K.

    >>> round(hamp_confidence(10, 0.5), 4)
    0.7379
    """
    if gamma == 0:
        return 1.0
    if gamma == 1:
        return 1 / classes

    def excess(p: float) -> float:
        q = 1 - p
        tail = q * math.log(q / (classes - 1)) if q > 0 else 0.0
        return -p * math.log(p) - tail - gamma * math.log(classes)

    return float(scipy.optimize.brentq(excess, 1 / classes, 1.0, xtol=1e-15))


def reorder(logits: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Values of each row of `values`, arranged in the order of `logits`: (B, K), (B, K) -> (B, K).

    Equal values would let the arg-max move to another class; the largest is therefore raised by
    one unit in the last place where it is not alone.

    >>> reorder(torch.tensor([[3.0, 9.0, 1.0]]), torch.tensor([[0.1, 0.2, 0.7]]))
    tensor([[0.2000, 0.7000, 0.1000]])
    """
    ascending = values.sort(dim=1).values.clone()
    top = ascending[:, -1]
    above = torch.nextafter(top, torch.full_like(top, math.inf))
    ascending[:, -1] = torch.where(ascending[:, -2] == top, above, top)
    winner = logits.argmax(1, keepdim=True)
    # The arg-max that callers compute is the first of equals: rank it above its equals.
    ranked = logits.double().scatter(1, winner, math.inf)
    order = ranked.argsort(dim=1, stable=True)
    return torch.empty_like(ascending).scatter_(1, order, ascending)


@dataclass(frozen=True)
class HAMP(Defense):
    """Trains on labels of entropy γ·log K with an entropy reward; answers with order alone.

    Training: minimise CE(soft label, p) − strength·H(p). At query time the posterior's values are
    replaced by those of a random input, arranged in the true order, so only the order of classes is
    told. gamma in [0, 1]; strength ≥ 0; `randomise` switches the query-time part. Fails: label-only
    attacks see the true arg-max; members with wrong labels stay exposed (arXiv 2404.17399). Random
    inputs are uniform over the range of the run's members: per channel of images, per column of
    tables. Differs from the released code: its divergence is divided by B·K, ours by B, so its
    strength λ is K·λ here; its ties may change the label, ours never do. Source: Chen &
    Pattabiraman, NDSS 2024, arXiv 2307.01610.
    """

    name: ClassVar[str] = "hamp"
    title: ClassVar[str] = "HAMP"
    source: ClassVar[str] = "arXiv 2307.01610"

    gamma: float = 0.8
    strength: float = 0.01
    randomise: bool = True

    def validate(self) -> None:
        check_number("gamma", self.gamma, 0, 1)
        check_number("strength", self.strength, 0)

    def start(self, context: Context) -> Any:
        if not self.randomise:
            return None
        low = high = None
        for x, _ in context.members.batches():
            axes = [0, *range(2, x.ndim)]
            least, most = x.amin(axes, keepdim=True)[0], x.amax(axes, keepdim=True)[0]
            low = least if low is None else torch.minimum(low, least)
            high = most if high is None else torch.maximum(high, most)
        return {"low": low, "high": high, "shape": x.shape[1:]}

    def targets(self, labels: torch.Tensor, context: Context) -> torch.Tensor:
        p = hamp_confidence(context.classes, self.gamma)
        hot = F.one_hot(labels, context.classes).float()
        return hot * p + (1 - hot) * (1 - p) / (context.classes - 1)

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        return cross_entropy(logits, targets) - self.strength * entropy(logits).mean()

    def outputs(self, logits: torch.Tensor, context: Context) -> torch.Tensor:
        if not self.randomise or not len(logits):
            return logits
        low, high = context.state["low"], context.state["high"]
        share = torch.rand((len(logits), *context.state["shape"]), generator=context.observer)
        with torch.no_grad():
            values = context.answer(low + (high - low) * share.to(low))
        return reorder(logits.float(), F.log_softmax(values, dim=1).to(logits.device))
