"""How a run is trained: everything that, with the plan's seed, decides its weights."""

from __future__ import annotations

import math
from typing import Literal

import pydantic
from pydantic import Field

from seepage.config.base import Part

__all__ = ["Recipe", "learning_rate"]


class Recipe(Part):
    """[recipe]: how every run is trained.

    The defaults memorise on purpose: an audit's undefended baseline must not be a defence. Batches
    are drawn without replacement each epoch; a remainder smaller than `batch` is left for another
    epoch. SAM: Foret et al. 2021, arXiv 2010.01412.

    >>> Recipe(epochs=40).batch
    128
    """

    epochs: int = Field(20, ge=1, le=100_000, description="Passes over the members.")
    batch: int = Field(128, ge=1, le=2**31, description="Samples of one optimiser step.")
    optimizer: Literal["sgd", "adam", "adamw", "sam"] = Field(
        "sgd", description="SGD with momentum, Adam, AdamW, or SAM: SGD with two passes a step."
    )
    lr: float = Field(0.05, gt=0, le=1e30, allow_inf_nan=False, description="Peak learning rate.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of SGD and SAM.")
    nesterov: bool = Field(False, description="Whether momentum is Nesterov's.")
    weight_decay: float = Field(
        5e-4, ge=0, le=1e30, allow_inf_nan=False, description="Weight decay of the optimiser."
    )
    rho: float = Field(
        0.05, gt=0, le=1e30, allow_inf_nan=False, description="Radius of SAM's ball."
    )
    schedule: Literal["cosine", "constant", "step"] = Field(
        "cosine",
        description="Learning rate over training: cosine to zero, constant, or a tenth at 60 % "
        "and again at 80 % of the steps.",
    )
    warmup: float = Field(0.0, ge=0, lt=1, description="Share of the steps with a linear rise.")
    flip: bool = Field(False, description="Whether half of the images are mirrored.")
    crop: int = Field(0, ge=0, le=64, description="Random shift of each image, in pixels.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="float32, bfloat16 with a float32 head, or what a one-second measurement "
        "finds faster.",
    )

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0")
        return self


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Learning rate of optimiser step `step` (0-based) of `steps`.

    >>> [round(learning_rate(Recipe(lr=1.0), s, 4), 3) for s in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    warm = round(recipe.warmup * steps)
    if step < warm:
        return recipe.lr * (step + 1) / warm
    at = (step - warm) / max(1, steps - warm)
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "step":
        return recipe.lr * (0.1 if at >= 0.6 else 1.0) * (0.1 if at >= 0.8 else 1.0)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * at))
