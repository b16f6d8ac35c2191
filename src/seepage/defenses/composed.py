"""Defences made of others: several at once, and one around another."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from seepage.defenses.accountant import withdraw
from seepage.defenses.base import Context, Defense
from seepage.defenses.single_samples import require_mean_loss
from seepage.defenses.stopping import EarlyStopping
from seepage.errors import InputError

__all__ = ["Around", "Chain", "changes_outputs", "refuse_contradictions"]


@dataclass(frozen=True, eq=False)
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


def refuse_contradictions(parts: tuple[Defense, ...]) -> None:
    """Raise InputError when the parts would undo or ignore each other."""
    for part in parts:
        if part.acts_on("train"):
            raise InputError(
                f"chain: {part.name!r} rules over whole stages and cannot be a part; "
                "give it the other defence as its base, or use it alone"
            )
    for hook, what in (("targets", "targets"), ("loss", "loss"), ("gradients", "gradients")):
        users = [p.name for p in parts if p.acts_on(hook)]
        if len(users) > 1:
            raise InputError(
                f"chain: {users[0]!r} and {users[1]!r} both replace the {what}; keep one of them"
            )
    if sum(p.has("mixes") for p in parts) > 1:
        raise InputError("chain: two parts mix samples; keep one of them")
    blind = [p.name for p in parts if p.has("hard_labels")]
    soft = [p.name for p in parts if p.acts_on("targets") or p.has("mixes")]
    if blind and soft:
        raise InputError(
            f"chain: {blind[0]!r} reads hard labels and would ignore the targets of {soft[0]!r}; "
            "keep one of them"
        )
    clips = [p.name for p in parts if p.has("clips")]
    joint = [p.name for p in parts if p.has("batchwise") or p.has("mixes")]
    if clips and joint:
        raise InputError(
            f"chain: {clips[0]!r} clips the gradient of each sample and the loss of {joint[0]!r} "
            "couples samples, so its ε would be void; keep one of them"
        )


@dataclass(frozen=True)
class Chain(Defense):
    """Parts applied in order: each hook of each part, with a state of its own.

    At most one part may replace targets, loss or gradients; parameters and outputs compose.
    Raises InputError for combinations that contradict each other (`refuse_contradictions`).

    >>> from seepage.defenses import EarlyStopping, RelaxLoss
    >>> Chain((RelaxLoss(), EarlyStopping())).needs_reference
    True
    """

    name: ClassVar[str] = "chain"
    title: ClassVar[str] = "Chain of defences"
    source: ClassVar[str] = ""

    parts: tuple[Defense, ...]

    def validate(self) -> None:
        if not self.parts or not all(isinstance(p, Defense) for p in self.parts):
            raise InputError("parts: expected a list of defences; name at least one")
        refuse_contradictions(self.parts)

    def has(self, trait: str) -> bool:
        return any(p.has(trait) for p in self.parts)

    @property
    def poisson(self) -> bool:
        return any(p.poisson for p in self.parts)

    def acts_on(self, hook: str) -> bool:
        return any(p.acts_on(hook) for p in self.parts)

    def compatible(self, context: Context) -> None:
        for part in self.parts:
            part.check(context)
        clips = [p.name for p in self.parts if p.has("clips")]
        for part in self.parts:
            if clips and not part.has("clips"):
                require_mean_loss(part, clips[0], context)

    def start(self, context: Context) -> Any:
        return [p.start(context) for p in self.parts]

    def _each(self, context: Context) -> list[tuple[Defense, Context]]:
        return [
            (p, dataclasses.replace(context, state=s))
            for p, s in zip(self.parts, context.state, strict=True)
        ]

    def targets(self, labels: torch.Tensor, context: Context) -> torch.Tensor:
        for part, inner in self._each(context):
            if part.acts_on("targets"):
                return part.targets(labels, inner)
        return labels

    def mix(
        self, inputs: torch.Tensor, targets: torch.Tensor, context: Context
    ) -> tuple[torch.Tensor, torch.Tensor]:
        for part, inner in self._each(context):
            inputs, targets = part.mix(inputs, targets, inner)
        return inputs, targets

    def loss(
        self,
        logits: torch.Tensor,
        targets: torch.Tensor,
        labels: torch.Tensor,
        context: Context,
    ) -> torch.Tensor:
        for part, inner in self._each(context):
            if part.acts_on("loss"):
                return part.loss(logits, targets, labels, inner)
        return super().loss(logits, targets, labels, context)

    def gradients(self, context: Context) -> None:
        for part, inner in self._each(context):
            part.gradients(inner)

    def parameters(self, context: Context) -> None:
        for part, inner in self._each(context):
            part.parameters(inner)

    def epoch_end(self, context: Context) -> None:
        for part, inner in self._each(context):
            part.epoch_end(inner)
            context.stop = context.stop or inner.stop

    def finish(self, context: Context) -> None:
        for part, inner in self._each(context):
            part.finish(inner)
        for part in self.parts:
            edits = part.acts_on("parameters") or part.acts_on("epoch_end")
            if edits and not isinstance(part, EarlyStopping):
                withdraw(context.facts, f"{part.name!r} may edit parameters as well")

    def outputs(self, logits: torch.Tensor, context: Context) -> torch.Tensor:
        for part, inner in self._each(context):
            logits = part.outputs(logits, inner)
        return logits


def changes_outputs(defense: Defense) -> bool:
    """Whether it, or a defence inside it, changes what a trained network answers.

    >>> from seepage.defenses import HAMP
    >>> changes_outputs(HAMP()), changes_outputs(Defense())
    (True, False)
    """
    if isinstance(defense, Chain):
        return any(changes_outputs(p) for p in defense.parts)
    inner = getattr(defense, "base", None)
    if isinstance(inner, Defense) and changes_outputs(inner):
        return True
    return not isinstance(defense, Around) and defense.acts_on("outputs")
