"""Defences that answer through a student: DMP and SELENA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from seepage.defenses.base import Context, Defense, Fit, Undefended, check_number
from seepage.defenses.losses import entropy
from seepage.defenses.networks import eval_logits
from seepage.errors import InputError

__all__ = ["DMP", "SELENA", "Distil", "left_out", "lowest_entropy"]


@dataclass(frozen=True, eq=False)
class Distil(Defense):
    """One stage on given soft targets: row i of the stage's samples has target `soft[i]` (n, K).

    temperature τ scales the logits: minimises CE(soft, softmax(z/τ)).
    """

    name: ClassVar[str] = "distil"
    inner: ClassVar[bool] = True
    source: ClassVar[str] = "arXiv 1503.02531"

    soft: torch.Tensor
    temperature: float = 1.0

    def targets(self, labels: torch.Tensor, context: Context) -> torch.Tensor:
        assert context.rows is not None
        return self.soft[context.rows.to(self.soft.device)].to(labels.device)

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        return F.cross_entropy(logits.float() / self.temperature, targets)


def lowest_entropy(logits: torch.Tensor, count: int) -> torch.Tensor:
    """Positions of the `count` rows whose posterior has the lowest entropy, ascending positions.

    >>> lowest_entropy(torch.tensor([[0.0, 0.0], [9.0, 0.0], [4.0, 0.0]]), 2)
    tensor([1, 2])
    """
    order = entropy(logits).sort(stable=True).indices
    return order[:count].sort().values


@dataclass(frozen=True)
class DMP(Defense):
    """Distils a plain teacher into a student through reference inputs of low entropy.

    The teacher trains on the members (not recorded), answers the reference inputs at temperature
    τ, and the student sees only these answers on the `share` of the reference on which the teacher
    is surest; the reference's labels are not used. Costs two trainings. Fails: utility is bounded
    by the reference set's size; near-duplicates of members in it leak.
    A reconstruction: paper and code were not available beyond the rule; temperature and share are
    our choice. Source: Shejwalkar & Houmansadr, AAAI 2021, arXiv 1906.06589.
    """

    name: ClassVar[str] = "dmp"
    title: ClassVar[str] = "DMP"
    source: ClassVar[str] = "arXiv 1906.06589"
    reconstruction: ClassVar[bool] = True
    traits: ClassVar[frozenset[str]] = frozenset({"reference"})

    temperature: float = 1.0
    share: float = 1.0

    def validate(self) -> None:
        check_number("temperature", self.temperature, 0, open_low=True)
        check_number("share", self.share, 0, 1, open_low=True)

    def train(self, context: Context, fit: Fit) -> nn.Module:
        self.check(context)
        assert context.reference is not None
        teacher = fit(Undefended(), record=False)
        logits, _ = eval_logits(teacher, context.reference)
        count = max(1, round(self.share * len(logits)))
        rows = lowest_entropy(logits, count)
        soft = (logits[rows] / self.temperature).softmax(1)
        return fit(
            Distil(soft, self.temperature),
            model=context.model,
            samples=context.reference.subset(rows),
        )


def left_out(n: int, *, models: int, out: int, generator: torch.Generator) -> torch.Tensor:
    """SELENA's plan: which of `models` sub-models trains on which sample, (models, n) bool.

    Every sample is left out of exactly `out` sub-models, drawn independently.

    >>> m = left_out(5, models=4, out=1, generator=torch.Generator().manual_seed(0))
    >>> (~m).sum(0).tolist()
    [1, 1, 1, 1, 1]
    """
    ranks = torch.rand(models, n, generator=generator).argsort(dim=0).argsort(dim=0)
    return ranks >= out


@dataclass(frozen=True)
class SELENA(Defense):
    """Answers for members come from sub-models that never saw them, then distilled into one model.

    `models` K sub-models train on overlapping parts of the members such that each member is left
    out of `out` = L of them (none recorded); a member's soft label is the mean posterior of its L
    sub-models; the recorded student trains on members with these labels. Costs K + 1 trainings.
    Fails: near-duplicates shared between parts leak (arXiv 2404.17399); accuracy falls where each
    part is too small. Source: Tang et al., USENIX Security 2022, arXiv 2110.08324.
    """

    name: ClassVar[str] = "selena"
    title: ClassVar[str] = "SELENA"
    source: ClassVar[str] = "arXiv 2110.08324"

    models: int = 25
    out: int = 10

    def validate(self) -> None:
        check_number("models", self.models, 2)
        check_number("out", self.out, 1)
        if self.out >= self.models:
            raise InputError(
                f"out: expected fewer than models ({self.models}), got {self.out}; "
                "each sample must be left out of some sub-models and trained on by others"
            )

    def train(self, context: Context, fit: Fit) -> nn.Module:
        n = len(context.members)
        member = left_out(n, models=self.models, out=self.out, generator=context.generator)
        if not bool(member.any(dim=1).all()):
            raise InputError(
                f"models: {self.models} sub-models left one without samples, of {n}; "
                "use fewer sub-models or leave out fewer"
            )
        soft = torch.zeros(n, context.classes, device=context.device)
        for row in member:
            sub = fit(
                Undefended(), samples=context.members.subset(torch.nonzero(row)[:, 0]), record=False
            )
            held = torch.nonzero(~row)[:, 0]
            if len(held):
                logits, _ = eval_logits(sub, context.members.subset(held))
                soft[held.to(soft.device)] += logits.softmax(1).to(soft.device) / self.out
        return fit(Distil(soft), model=context.model)
