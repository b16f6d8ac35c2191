"""How a run is trained: everything that, with the plan's seed, decides its weights."""

from __future__ import annotations

import math
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from seepage.errors import InputError

__all__ = ["Recipe", "first_problem", "learning_rate"]


def first_problem(e: pydantic.ValidationError, prefix: str = "") -> InputError:
    """A pydantic report as one line: the field, what was expected, the value."""
    first = e.errors(include_url=False)[0]
    field = ".".join(str(p) for p in first["loc"]) or "value"
    message = first["msg"][0].lower() + first["msg"][1:]
    return InputError(f"{prefix}{field}: {message}, got {first['input']!r}; correct it")


class Recipe(BaseModel):
    """Optimiser, schedule, batch, epochs, augmentation and precision of every run.

    optimizer: "sgd" (momentum, Nesterov), "adam", "adamw", or "sam" (sharpness-aware minimisation
    on top of SGD, Foret et al. 2021, arXiv 2010.01412; two passes a step). schedule: "cosine" to
    zero, "constant", or "step" (×0.1 at 60 % and 80 % of the steps), after a linear warm-up over
    `warmup` of the steps. Batches are drawn without replacement each epoch; a remainder smaller
    than `batch` is left for another epoch. flip: mirror half of the images; crop: shift each by
    up to so many pixels over a zero border. precision: "fp32", "bf16" (autocast with a float32
    head) or "auto", which measures both for a second and keeps the faster.

    The defaults memorise on purpose: an audit's undefended baseline must not be a defence.

    >>> Recipe(epochs=40).batch
    128
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(20, ge=1, le=100_000)
    batch: int = Field(128, ge=1)
    optimizer: Literal["sgd", "adam", "adamw", "sam"] = "sgd"
    lr: float = Field(0.05, gt=0, allow_inf_nan=False)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(5e-4, ge=0, allow_inf_nan=False)
    rho: float = Field(0.05, gt=0, allow_inf_nan=False)
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    warmup: float = Field(0.0, ge=0, lt=1)
    flip: bool = False
    crop: int = Field(0, ge=0, le=64)
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except pydantic.ValidationError as e:
            raise first_problem(e, "recipe.") from None

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
