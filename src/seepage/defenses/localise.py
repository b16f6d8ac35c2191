"""Where utility and where privacy risk live: exchange one region, measure both. Part of PPTP.

PPTP's own way of locating regions is not public beyond its abstract: this is a reconstruction.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from torch import nn

from seepage.array_types import AnyArray, Float64Array
from seepage.defenses.networks import Samples, eval_logits, snapshot
from seepage.defenses.regions import partition, reestimate_statistics, swap
from seepage.errors import InputError
from seepage.metrics import auc

__all__ = [
    "Localisation",
    "Measure",
    "agreement",
    "by_rewinding",
    "by_swapping",
    "measure",
    "risky_regions",
    "spearman",
]


@dataclass(frozen=True)
class Measure:
    """A model's utility and risk: fractions and nats.

    accuracy, loss: on held-out non-members. auc: of the loss-threshold attack (higher loss = less
    likely a member). gap: held-out loss − members' loss.
    """

    accuracy: float
    loss: float
    auc: float
    gap: float


def measure(model: nn.Module, members: Samples, held_out: Samples) -> Measure:
    """Utility on `held_out`, risk of `members` against it; neither may be used to evaluate later."""
    inside, inside_labels = eval_logits(model, members)
    outside, outside_labels = eval_logits(model, held_out)
    loss_in = F.cross_entropy(inside.double(), inside_labels, reduction="none")
    loss_out = F.cross_entropy(outside.double(), outside_labels, reduction="none")
    scores = -torch.cat([loss_in, loss_out]).cpu().numpy()
    member = np.arange(len(scores)) < len(loss_in)
    return Measure(
        accuracy=float((outside.argmax(1) == outside_labels).double().mean()),
        loss=float(loss_out.mean()),
        auc=float(auc(scores, member)),
        gap=float(loss_out.mean() - loss_in.mean()),
    )


@dataclass(frozen=True)
class Localisation:
    """What each region carries; arrays (K,) in the order of `regions`.

    `utility` ΔU_k and `privacy` ΔP_k: change of accuracy and of attack AUC when region k alone is
    exchanged (fractions; ΔP < 0 means that the risk went with the region). `score`
    D_k = max(0, −ΔP_k)/(|ΔU_k| + τ): risk removed per accuracy moved. `base`: the whole model's
    measure, `exchanged` each hybrid's. A reconstruction of PPTP's localisation.
    """

    method: str
    regions: tuple[str, ...]
    utility: Float64Array
    privacy: Float64Array
    tau: float
    base: Measure
    exchanged: tuple[Measure, ...]
    parameters: tuple[int, ...]

    @property
    def score(self) -> Float64Array:
        """D_k of every region (K,)."""
        return np.maximum(0.0, -self.privacy) / (np.abs(self.utility) + self.tau)

    @property
    def separation(self) -> float:
        """Spearman correlation of |ΔU| and −ΔP over regions; clearly below 1 means decoupled."""
        return spearman(np.abs(self.utility), -self.privacy)

    def rows(self) -> list[dict[str, Any]]:
        """One mapping per region: what the report's region table shows."""
        return [
            {
                "region": key,
                "parameters": self.parameters[k],
                "utility": float(self.utility[k]),
                "privacy": float(self.privacy[k]),
                "score": float(self.score[k]),
                "accuracy": self.exchanged[k].accuracy,
                "auc": self.exchanged[k].auc,
            }
            for k, key in enumerate(self.regions)
        ]


def spearman(a: Sequence[float] | AnyArray, b: Sequence[float] | AnyArray) -> float:
    """Rank correlation with mean ranks for ties; nan when one side is constant.

    >>> spearman([1, 2, 3], [10, 20, 15])
    0.5
    """
    x, y = scipy.stats.rankdata(a), scipy.stats.rankdata(b)
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else float("nan")


def _exchange(
    method: str,
    model: nn.Module,
    donor: Mapping[str, torch.Tensor],
    members: Samples,
    held_out: Samples,
    regions: Sequence[str],
    tau: float,
) -> Localisation:
    known = partition(model, tuple(regions))
    base = measure(model, members, held_out)
    found = []
    for names in known.values():
        hybrid = copy.deepcopy(model)
        swap(hybrid, donor, names)
        reestimate_statistics(hybrid, members)
        found.append(measure(hybrid, members, held_out))
    sizes = {n: p.numel() for n, p in model.named_parameters()}
    return Localisation(
        method=method,
        regions=tuple(known),
        utility=np.array([m.accuracy - base.accuracy for m in found]),
        privacy=np.array([m.auc - base.auc for m in found]),
        tau=tau,
        base=base,
        exchanged=tuple(found),
        parameters=tuple(sum(sizes[n] for n in names) for names in known.values()),
    )


def by_swapping(
    undefended: nn.Module,
    defended: nn.Module,
    members: Samples,
    held_out: Samples,
    *,
    regions: Sequence[str] = (),
    tau: float = 0.005,
) -> Localisation:
    """Puts each region of the defended network into the undefended one (L1), alone, and measures.

    The two share initialisation, members and order of data. Normalisation statistics of each
    hybrid are re-estimated on the members. `held_out` are non-members kept apart from evaluation;
    tau in accuracy (0.005 = half a point). Neither model is changed.
    Fails: networks that ended in different basins make every hybrid useless; then all ΔU are large.
    """
    ours, theirs = undefended.state_dict(), defended.state_dict()
    if {k: v.shape for k, v in ours.items()} != {k: v.shape for k, v in theirs.items()}:
        raise InputError(
            "defended: expected the same architecture as undefended; train both from the same start"
        )
    donor = snapshot(defended)
    return _exchange("swap", undefended, donor, members, held_out, regions, tau)


def by_rewinding(
    model: nn.Module,
    earlier: Mapping[str, torch.Tensor],
    members: Samples,
    held_out: Samples,
    *,
    regions: Sequence[str] = (),
    tau: float = 0.005,
) -> Localisation:
    """Sets each region back to an earlier snapshot (L2), alone, and measures.

    Needs no second network.

    `earlier`: the model's state dict at initialisation or an early epoch. As `by_swapping`
    otherwise. Sources of the protocol: Stephenson et al. 2021 (arXiv 2105.14602), Maini et al. 2023
    (arXiv 2307.09542).
    """
    return _exchange("rewind", model, earlier, members, held_out, regions, tau)


def risky_regions(found: Localisation, *, budget: float = 0.01) -> tuple[str, ...]:
    """Regions by descending D_k while the sum of |ΔU_k| stays within `budget` (accuracy).

    At least the best one with D_k > 0, whatever its cost, never all of them; in network order.
    Raises InputError when no region carries risk.
    """
    score = found.score
    order = [int(k) for k in np.argsort(-score, kind="stable") if score[k] > 0]
    if not order:
        raise InputError(
            "regions: exchanging no region lowered the attack's AUC, so none can be called risky; "
            "train longer, use more samples, or name the regions"
        )
    chosen, spent = [order[0]], abs(float(found.utility[order[0]]))
    for k in order[1:]:
        cost = abs(float(found.utility[k]))
        if spent + cost <= budget and len(chosen) < len(found.regions) - 1:
            chosen.append(k)
            spent += cost
    return tuple(found.regions[k] for k in sorted(chosen))


def agreement(scores: Mapping[str, Sequence[float] | AnyArray]) -> dict[str, float]:
    """Spearman correlation of each pair of ways to locate risk: name -> (K,) in the same order.

    Pass e.g. the `score` of swapping, of rewinding, and a per-region indicator of `seepage.layers`.

    >>> agreement({"swap": [1, 2, 3], "rewind": [1, 3, 2]})
    {'swap~rewind': 0.5}
    """
    names = list(scores)
    lengths = {len(scores[n]) for n in names}
    if len(names) < 2 or len(lengths) != 1:
        raise InputError(
            "scores: expected at least two ways with one value per region each, got lengths "
            f"{[len(scores[n]) for n in names]}"
        )
    return {
        f"{a}~{b}": spearman(scores[a], scores[b])
        for i, a in enumerate(names)
        for b in names[i + 1 :]
    }
