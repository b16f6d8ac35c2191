"""A defence around another: every hook is the base's unless a subclass says more."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from seepage.defenses.base import Context, Defense

__all__ = ["Around"]


@dataclass(frozen=True)
class Around(Defense):
    """Hands every hook to `base`, whose state is `state["base"]` of its own."""

    base: Defense

    def has(self, trait: str) -> bool:
        return self.base.has(trait)

    @property
    def poisson(self) -> bool:
        return self.base.poisson

    def _inner(self, context: Context) -> Context:
        """What the base sees."""
        return dataclasses.replace(context, state=context.state["base"])

    def targets(self, labels: torch.Tensor, context: Context) -> torch.Tensor:
        return self.base.targets(labels, self._inner(context))

    def mix(
        self, inputs: torch.Tensor, targets: torch.Tensor, context: Context
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.base.mix(inputs, targets, self._inner(context))

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        return self.base.loss(logits, targets, labels, self._inner(context))

    def gradients(self, context: Context) -> None:
        self.base.gradients(self._inner(context))

    def parameters(self, context: Context) -> None:
        self.base.parameters(self._inner(context))

    def epoch_end(self, context: Context) -> None:
        inner = self._inner(context)
        self.base.epoch_end(inner)
        context.stop = context.stop or inner.stop

    def finish(self, context: Context) -> None:
        self.base.finish(self._inner(context))

    def outputs(self, logits: torch.Tensor, context: Context) -> torch.Tensor:
        return self.base.outputs(logits, self._inner(context))
