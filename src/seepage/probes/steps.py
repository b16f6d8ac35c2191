"""How far the steps of training went down the loss of each sample, from kept checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from seepage.array_types import FloatArray
from seepage.attacks.base import Access
from seepage.errors import InputError
from seepage.probes.base import Asked, Probe
from seepage.probes.gradients import directional

__all__ = ["CheckpointStep"]


@dataclass(frozen=True)
class CheckpointStep(Probe):
    """checkpoint_step = ⟨θ_{t−1} − θ_t, ∇_θ ℓ(x, y; θ_{t−1})⟩, in nats; 0 at the first checkpoint.

    By how much the step from the checkpoint before lowers the loss of the sample, to first order.
    Under full-batch gradient descent, θ_t = θ_{t−1} − (η/n) Σ_j ∇ℓ_j, it is (η/n) Σ_j ⟨∇ℓ_i, ∇ℓ_j⟩
    over members j: a member's own term, (η/n) ‖∇ℓ_i‖², is what others lack. θ are parameters;
    statistics of normalisation are taken as they are at the checkpoint before.
    """

    name: ClassVar[str] = "checkpoint step"
    access: ClassVar[Access] = "weights"
    reads_before: ClassVar[bool] = True

    @property
    def signals(self) -> tuple[str, ...]:
        return ("checkpoint_step",)

    @property
    def queries(self) -> int:
        """A pass forward and two back."""
        return 3

    def measure(self, asked: Asked) -> dict[str, FloatArray]:
        if asked.before is None:
            return {"checkpoint_step": np.zeros(len(asked.inputs))}
        now = dict(asked.network.named_parameters())
        step = {
            k: (p.detach().double() - now[k].detach().double()).to(p.dtype)
            for k, p in asked.before.named_parameters()
            if k in now and now[k].shape == p.shape
        }
        if len(step) != len(now):
            raise InputError(
                "checkpoint_step: expected the same parameters at both checkpoints, got others"
            )
        along = directional(asked.before, asked.inputs, asked.labels, step)
        return {"checkpoint_step": along.numpy()}
