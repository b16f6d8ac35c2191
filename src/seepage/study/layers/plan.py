"""Which units a study of layers has, and how each is trained and measured."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from seepage.config.recipe import Recipe

__all__ = ["DEFINITIONS", "DOF", "RANKS", "LayersConfig", "Unit", "family"]

DEFINITIONS = ("k95", "k99", "erank", "participation", "ridge_df")
DOF = (*DEFINITIONS, *(f"pooled_{n}" for n in DEFINITIONS))
RANKS = ("rank_1e2", "rank_float", "patch_participation", "jac_participation")


def family(architecture: str) -> str:
    """The network without its width: what widths of one network have in common.

    >>> family("resnet18-w16"), family("resnet18"), family("wrn-16-2"), family("cnn-4")
    ('resnet18', 'resnet18', 'wrn-16', 'cnn-4')
    """
    return re.sub(r"(?<=^wrn-)(\d+)-\d+$", r"\1", re.sub(r"-w\d+$", "", architecture))


@dataclass(frozen=True)
class Unit:
    """One target with its shadow: an architecture on a data set, at a label noise, with a seed.

    fresh: a control instead, a network that sees every sample once where the data set reaches: what
    happens to its layers does not come from memorising. It has no shadow and is not attacked.
    """

    architecture: str
    dataset: str
    noise: float
    seed: int
    fresh: bool = False

    @property
    def name(self) -> str:
        """The name of its result."""
        arm = "fresh" if self.fresh else f"noise-{self.noise:g}"
        return f"{self.architecture}-{self.dataset}-{arm}-seed-{self.seed}"


class LayersConfig(BaseModel):
    """A study of layers: every architecture × data set × label noise × seed is one unit.

    results: where one small JSON per unit goes; page: the Markdown written from them. members: of
    the target, and as many each of its non-members, the shadow's members and non-members, all
    disjoint. controls: architectures that are also trained on fresh samples. checkpoints: epochs,
    fractions allowed, 0 first. recipe, with overrides by architecture in `recipes`. samples:
    members in the probe set. images, probes: of the Jacobian's sketch; patch, patch_images: side of
    the patch by which it is differentiated exactly. gradients: samples a side whose gradient norms
    are attacked; fit, judge: samples of the linear reconstruction. device: "auto" takes a GPU where
    there is one; workers: units side by side. added: architectures that came in when results of
    others had been seen: no claim holds by them alone. changes: what was changed of the study after
    which look, a line each, for the page.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["layers"] = "layers"
    results: str = "results/layers"
    page: str | None = None
    locks: str = "runs/layers"
    architectures: tuple[str, ...] = Field(("cnn-4",), min_length=1)
    datasets: tuple[str, ...] = Field(("digits",), min_length=1)
    noise: tuple[float, ...] = Field((0.0, 0.2), min_length=1)
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    controls: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    members: int = Field(2000, ge=32)
    checkpoints: tuple[float, ...] = Field((0, 1, 2, 5, 10, 20), min_length=3)
    recipe: dict[str, Any] = Field(default_factory=dict)
    recipes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    samples: int = Field(1000, ge=101)
    images: int = Field(8, ge=1)
    probes: int = Field(64, ge=8)
    patch: int | None = Field(16, ge=1)
    patch_images: int = Field(4, ge=1)
    attack_seeds: int = Field(3, ge=2)
    passes: int = Field(60, ge=1)
    gradients: int = Field(1000, ge=16)
    fit: int = Field(1000, ge=2)
    judge: int = Field(500, ge=1)
    device: str = "auto"
    workers: int = Field(1, ge=1)

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> LayersConfig:
        at = self.checkpoints
        if at[0] != 0 or any(b <= a for a, b in itertools.pairwise(at)):
            raise ValueError("checkpoints must start at 0 and ascend")
        if at[-1] < 1 or not float(at[-1]).is_integer():
            raise ValueError("checkpoints must end with a whole epoch, the last of training")
        if any("epochs" in r for r in (self.recipe, *self.recipes.values())):
            raise ValueError("epochs follow from the last checkpoint, leave them out of the recipe")
        if self.samples > self.members:
            raise ValueError("samples must be at most members")
        if any(not 0 <= n < 1 for n in self.noise):
            raise ValueError("noise must be shares of at least 0 and below 1")
        for name in self.recipes:
            if name not in self.architectures:
                raise ValueError(f"recipes name an architecture of the study, not {name!r}")
        for field in ("controls", "added"):
            for name in getattr(self, field):
                if name not in self.architectures:
                    raise ValueError(f"{field} name an architecture of the study, not {name!r}")
        for name in self.architectures:
            self.training(name)
        return self

    def training(self, architecture: str) -> Recipe:
        """The recipe of an architecture; its last epoch is the last checkpoint."""
        given = {**self.recipe, **self.recipes.get(architecture, {})}
        return Recipe(**given, epochs=int(self.checkpoints[-1]))

    def units(self) -> list[Unit]:
        """All units, whole rounds of cells first: what is cut off costs a seed, not a cell."""
        units = []
        for s in self.seeds:
            units += [
                Unit(a, d, n, s)
                for a in self.architectures
                for n in self.noise
                for d in self.datasets
            ]
            units += [Unit(a, d, 0.0, s, fresh=True) for a in self.controls for d in self.datasets]
        return units
