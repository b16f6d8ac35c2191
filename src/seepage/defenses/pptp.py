"""PPTP: protect the regions that carry risk and spare those that generalise. A reconstruction.

Of Fang & Kim (arXiv 2602.02296) only the abstract was available: risk and generalisation live in
different regions; the principle protects the former and spares the latter. Everything else here,
from what a region is to the three ways of training, is our reading and is called so everywhere.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from seepage.defenses.base import Context, Defense, Fit, Undefended, check_number
from seepage.defenses.localise import by_rewinding, risky_regions
from seepage.defenses.losses import RelaxLoss
from seepage.defenses.networks import snapshot
from seepage.defenses.regional import Alternating, OnlyRegions, Routed, check_base
from seepage.defenses.regions import complement, random_regions, region_parameters, rewind
from seepage.errors import InputError

__all__ = ["PPTP", "VARIANTS", "GradientRouted", "InTurns", "TwoPhase", "Variant", "controls"]


@dataclass(frozen=True)
class TwoPhase:
    """PPTP-A: plain training, then the regions alone, from their initial weights, with the base.

    All else is frozen in the second phase, which gets `share` of the first one's epochs, within
    the recipe's total.
    """

    name: ClassVar[str] = "two-phase"

    share: float = 0.3


@dataclass(frozen=True)
class GradientRouted:
    """PPTP-B: every step, cross-entropy's gradient outside the regions, the base's inside."""

    name: ClassVar[str] = "routed"


@dataclass(frozen=True)
class InTurns:
    """PPTP-C: epochs in turn, everything plainly, then the regions alone with the base."""

    name: ClassVar[str] = "alternating"


Variant = TwoPhase | GradientRouted | InTurns

VARIANTS: dict[str, type[Any]] = {v.name: v for v in (TwoPhase, GradientRouted, InTurns)}


@dataclass(frozen=True)
class PPTP(Defense):
    """Trains the risky regions with `base` and the rest plainly. A reconstruction.

    base: any defence that acts through targets, loss or gradients. regions: blocks of the network
    or patterns of parameter names; empty means *measured in this run* (`TwoPhase` only, needs a
    reference set): after the first phase every block is rewound in turn and the risky ones are
    those of `risky_regions`. variant: `TwoPhase`, `GradientRouted` or `InTurns`. budget (accuracy)
    and tau: of that measurement.

    The regions used, and the table they were chosen by, go into `context.facts`. With DP-SGD as
    base no ε covers the model, since the rest is trained without a guarantee.
    Fails: where risk is not confined to regions; frozen features may themselves tell members.
    """

    name: ClassVar[str] = "pptp"
    title: ClassVar[str] = "PPTP"
    source: ClassVar[str] = "arXiv 2602.02296"
    reconstruction: ClassVar[bool] = True

    base: Defense = field(default_factory=RelaxLoss)
    regions: tuple[str, ...] = ()
    variant: Variant = field(default_factory=TwoPhase)
    budget: float = 0.01
    tau: float = 0.005

    def validate(self) -> None:
        check_base(self.base, self.name)
        check_number("budget", self.budget, 0)
        check_number("tau", self.tau, 0, open_low=True)
        if isinstance(self.variant, TwoPhase):
            check_number("share", self.variant.share, 0, open_low=True)
            return
        if not self.regions:
            raise InputError(
                f"regions: variant {self.variant.name!r} needs them named before training, got "
                "none; measure them first (seepage.defenses.by_swapping) or use 'two-phase'"
            )
        self._stage()

    def has(self, trait: str) -> bool:
        if trait == "reference" and not self.regions:
            return True
        return self.base.has(trait)

    @property
    def poisson(self) -> bool:
        return self.base.poisson

    def compatible(self, context: Context) -> None:
        if self.regions:
            inside = region_parameters(context.model, self.regions)
            if len(inside) == len(list(context.model.parameters())):
                raise InputError(
                    f"regions: {', '.join(self.regions)} are the whole network; "
                    f"use {self.base.name!r} itself"
                )

    def train(self, context: Context, fit: Fit) -> nn.Module:
        # A stage, not the run, decides how batches are drawn.
        self.check(dataclasses.replace(context, poisson=self.poisson))
        if not isinstance(self.variant, TwoPhase):
            context.facts["pptp_regions"] = list(self.regions)
            return fit(self._stage(), model=context.model)
        if context.epochs < 2:
            raise InputError(
                f"epochs: two-phase PPTP needs at least 2, got {context.epochs}; train longer"
            )
        share = self.variant.share
        second = round(context.epochs * share / (1 + share))
        second = min(max(second, 1), context.epochs - 1)
        initial = snapshot(context.model)
        model = fit(Undefended(), model=context.model, epochs=context.epochs - second)
        regions = self.regions or self._measured(context, model, initial)
        context.facts["pptp_regions"] = list(regions)
        rewind(model, initial, region_parameters(model, regions))
        return fit(OnlyRegions(self.base, regions), model=model, epochs=second)

    def _stage(self) -> Defense:
        kind = Routed if isinstance(self.variant, GradientRouted) else Alternating
        return kind(self.base, self.regions)

    def _measured(
        self, context: Context, model: nn.Module, initial: dict[str, torch.Tensor]
    ) -> tuple[str, ...]:
        assert context.reference is not None
        found = by_rewinding(model, initial, context.members, context.reference, tau=self.tau)
        context.facts["pptp_table"] = found.rows()
        apart = found.separation
        context.facts["pptp_separation"] = None if math.isnan(apart) else apart
        return risky_regions(found, budget=self.budget)


def controls(pptp: PPTP, model: nn.Module, generator: torch.Generator) -> dict[str, Defense]:
    """What PPTP must beat: the same base everywhere, on the complement, on random regions.

    "everywhere", "regions" (PPTP itself), "complement", "random" (as many regions, another set).
    """
    if not pptp.regions:
        raise InputError(
            "regions: controls need named regions, got none; measure them first and pass them"
        )
    others = complement(model, pptp.regions)
    drawn = random_regions(model, pptp.regions, generator)
    return {
        "everywhere": pptp.base,
        "regions": pptp,
        "complement": dataclasses.replace(pptp, regions=others),
        "random": dataclasses.replace(pptp, regions=drawn),
    }
