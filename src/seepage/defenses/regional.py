"""A base defence that acts on some regions only, three ways."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from seepage.defenses.base import Context, Defense
from seepage.defenses.composed import Around
from seepage.defenses.networks import cross_entropy
from seepage.defenses.regions import freeze_statistics, region_parameters
from seepage.errors import InputError

__all__ = ["Alternating", "OnlyRegions", "Routed", "check_base"]


def check_base(base: object, what: str) -> Defense:
    """`base` as a defence that can act on regions, or an InputError."""
    if not isinstance(base, Defense):
        raise InputError(f"base: {what} needs a defence to apply, got {base!r}; e.g. RelaxLoss()")
    if base.acts_on("train"):
        raise InputError(
            f"base: {base.name!r} rules over whole stages and cannot be confined to regions; "
            "use a defence that acts through targets, loss or gradients"
        )
    if not any(base.acts_on(h) for h in ("targets", "mix", "loss", "gradients")):
        raise InputError(
            f"base: {base.name!r} does not act on gradients, so confining it to regions means "
            "nothing; use a defence that acts through targets, loss or gradients"
        )
    return base


@dataclass(frozen=True)
class _Regional(Around):
    """Hands every hook to `base`, with the regions' parameters as those it trains."""

    source: ClassVar[str] = "arXiv 2602.02296"
    reconstruction: ClassVar[bool] = True

    regions: tuple[str, ...]

    def validate(self) -> None:
        check_base(self.base, self.name)
        if not self.regions:
            raise InputError(f"regions: {self.name} needs at least one region, got none")

    def compatible(self, context: Context) -> None:
        inside = region_parameters(context.model, self.regions)
        self.base.check(dataclasses.replace(context, trainable=inside))
        norms = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in context.model.modules())
        if norms and self.base.has("clips") and not self.freezes:
            raise InputError(
                f"model: {self.name} keeps training the BatchNorm outside its regions, which "
                "couples the samples that dp-sgd must treat separately; use a network without BatchNorm"
            )

    freezes: ClassVar[bool] = False
    """Whether what is outside the regions stays unchanged throughout the stage."""

    def start(self, context: Context) -> Any:
        inside = region_parameters(context.model, self.regions)
        outside = [n for n, _ in context.model.named_parameters() if n not in inside]
        inner = dataclasses.replace(context, trainable=inside)
        return {"inside": inside, "outside": outside, "base": self.base.start(inner), "handles": []}

    def _inner(self, context: Context) -> Context:
        return dataclasses.replace(super()._inner(context), trainable=context.state["inside"])

    def finish(self, context: Context) -> None:
        super().finish(context)
        for handle in context.state["handles"]:
            handle.remove()


def _drop_gradients(model: nn.Module, names: list[str]) -> None:
    """No gradient at all: optimisers pass over such parameters, decay and momentum included."""
    outside = set(names)
    for name, p in model.named_parameters():
        if name in outside:
            p.grad = None


@dataclass(frozen=True)
class OnlyRegions(_Regional):
    """Trains the regions with `base` and leaves all else as it is, bit for bit.

    Parameters outside get no gradient; their normalisation stays in evaluation mode. The second
    phase of PPTP-A.
    """

    name: ClassVar[str] = "only-regions"
    inner: ClassVar[bool] = True
    freezes: ClassVar[bool] = True

    def start(self, context: Context) -> Any:
        state = super().start(context)
        state["handles"] = freeze_statistics(context.model, state["outside"])
        return state

    def gradients(self, context: Context) -> None:
        super().gradients(context)
        _drop_gradients(context.model, context.state["outside"])


@dataclass(frozen=True)
class Routed(_Regional):
    """Every step: cross-entropy's gradient outside the regions, the base's inside. PPTP-B.

    Costs a second backward pass where the base has a loss or targets of its own. Momentum and
    decay act everywhere as usual.
    """

    name: ClassVar[str] = "routed"
    inner: ClassVar[bool] = True

    def validate(self) -> None:
        super().validate()
        if self.base.has("mixes"):
            raise InputError(
                f"base: {self.base.name!r} mixes the inputs of the whole network and cannot be "
                "routed to regions; use the two-phase variant"
            )
        if self.base.has("clips") and (self.base.acts_on("loss") or self.base.acts_on("targets")):
            raise InputError(
                f"base: {self.base.name!r} clips per-sample gradients of a loss of its own, which "
                "a routed step computes in addition to the plain one; use the two-phase variant"
            )

    def targets(self, labels: torch.Tensor, context: Context) -> torch.Tensor:
        context.state["targets"] = super().targets(labels, context)
        return labels

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        own = context.state["targets"]
        context.state["routed"] = None
        if self.base.acts_on("loss") or own is not labels:
            inside = {n: p for n, p in self._named(context) if p.requires_grad}
            protective = self.base.loss(logits, own, labels, self._inner(context))
            # The base's own parameters (centres of CRL) learn here too: they are leaves of the
            # same graph and belong to no region.
            context.state["routed"] = self._route(protective, inside, context.model)
        return cross_entropy(logits, labels)

    def _named(self, context: Context) -> list[tuple[str, nn.Parameter]]:
        inside = context.state["inside"]
        return [(n, p) for n, p in context.model.named_parameters() if n in inside]

    @staticmethod
    def _route(
        protective: torch.Tensor, inside: dict[str, nn.Parameter], model: nn.Module
    ) -> dict[str, torch.Tensor]:
        kept = [(p, p.grad) for p in model.parameters()]
        for p, _ in kept:
            p.grad = None
        torch.autograd.backward(protective, retain_graph=True)
        found = {
            n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in inside.items()
        }
        for p, grad in kept:
            p.grad = grad
        return found

    def gradients(self, context: Context) -> None:
        routed = context.state.get("routed")
        if routed is not None:
            for name, p in self._named(context):
                if name in routed:
                    p.grad = routed[name]
            context.state["routed"] = None
        if self.base.acts_on("gradients"):
            outside = set(context.state["outside"])
            kept = [
                (p, None if p.grad is None else p.grad.clone())
                for n, p in context.model.named_parameters()
                if n in outside
            ]
            super().gradients(context)
            for p, grad in kept:
                p.grad = grad


@dataclass(frozen=True)
class Alternating(_Regional):
    """Even epochs (from 0) train everything plainly, odd epochs the regions with `base`. PPTP-C.

    The base counts its own epochs, so that one that alternates by parity (RelaxLoss) sees both.
    """

    name: ClassVar[str] = "alternating"
    inner: ClassVar[bool] = True

    @staticmethod
    def protected(context: Context) -> bool:
        """Whether this epoch belongs to the base."""
        return context.epoch % 2 == 1

    def _inner(self, context: Context) -> Context:
        inner = super()._inner(context)
        inner.epoch = context.epoch // 2
        return inner

    def _turn(self, context: Context) -> None:
        handles = context.state["handles"]
        if self.protected(context) and not handles:
            handles += freeze_statistics(context.model, context.state["outside"])
        elif not self.protected(context) and handles:
            for handle in handles:
                handle.remove()
            handles.clear()
            context.model.train()

    def targets(self, labels: torch.Tensor, context: Context) -> torch.Tensor:
        self._turn(context)
        return super().targets(labels, context) if self.protected(context) else labels

    def mix(
        self, inputs: torch.Tensor, targets: torch.Tensor, context: Context
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return (
            super().mix(inputs, targets, context) if self.protected(context) else (inputs, targets)
        )

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        if self.protected(context):
            return super().loss(logits, targets, labels, context)
        return cross_entropy(logits, targets)

    def gradients(self, context: Context) -> None:
        if self.protected(context):
            super().gradients(context)
            _drop_gradients(context.model, context.state["outside"])

    def parameters(self, context: Context) -> None:
        if self.protected(context):
            super().parameters(context)

    def epoch_end(self, context: Context) -> None:
        if self.protected(context):
            super().epoch_end(context)
