"""[start]: weights of a fleet's start, trained once on samples that no run and no figure counts."""

from __future__ import annotations

from pydantic import Field

from seepage.config.base import Part
from seepage.config.recipe import Recipe

__all__ = ["Start"]


class Start(Part):
    """[start]: a start of your own where there are no weights to load.

    >>> Start(samples=1000, recipe=Recipe(epochs=5)).samples
    1000
    """

    samples: int = Field(
        0,
        ge=0,
        description="Samples set apart from the pool on which the start of every run is trained, "
        "once; 0 for none.",
    )
    recipe: Recipe = Field(Recipe(), description="How the start is trained.")
    seed: int = Field(0, ge=0, description="Seed of the draw and of the start's training.")
    weights: str | None = Field(
        None,
        min_length=1,
        description="The .safetensors file that keeps the start; by default beside the run folder.",
    )
