"""What a study of attacks trains and runs, checked before anything is trained."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import Literal, Self

import pydantic
from pydantic import Field

from seepage.attacks import ATTACKS
from seepage.config.base import Part
from seepage.errors import nearest
from seepage.study.fleets import FleetSettings

__all__ = ["AttacksSettings", "FleetPart", "part_of"]


class FleetPart(Part):
    """[parts]: by a pattern of names, "curvature*", the part of every fleet that attacks are run on.

    models: the first so many of complementary pairs; samples: so many of the pool, drawn at random,
    the same for all attacks; all where left out.
    """

    models: int | None = Field(None, ge=4, multiple_of=2)
    samples: int | None = Field(None, ge=20)


def part_of(parts: Mapping[str, FleetPart], attack: str) -> FleetPart:
    """Of the patterns that an attack matches the first counts; the whole fleet where none does."""
    return next((p for k, p in parts.items() if fnmatch.fnmatchcase(attack, k)), FleetPart())


class AttacksSettings(FleetSettings):
    """Fleets, and the attacks that are run on each.

    attacks: names of `seepage.attacks.ATTACKS`; all but those on texts when left out. sizes: numbers of models,
    beside all, at which attacks that learn no rule are run too.
    imitators: numbers of networks that imitate each target, beside the usual one, with which `imitation`
    is run too. null_draws: permuted memberships per null. parts: of the patterns that an attack matches the first
    counts.
    """

    kind: Literal["attacks"] = "attacks"
    attacks: tuple[str, ...] = tuple(n for n, kind in ATTACKS.items() if not kind.of_texts)
    sizes: tuple[int, ...] = (4, 8, 16, 32)
    imitators: tuple[int, ...] = ()
    parts: dict[str, FleetPart] = Field(default_factory=dict)
    null_draws: int = Field(1, ge=1)

    @pydantic.model_validator(mode="after")
    def _known(self) -> Self:
        for where, names in (("attacks", self.attacks), ("parts", self.parts)):
            for name in names:
                if not (name in ATTACKS or (where == "parts" and fnmatch.filter(ATTACKS, name))):
                    raise ValueError(
                        f"{where}: expected names of attacks, got {name!r}; {nearest(name, ATTACKS)}"
                    )
        if any(count < 2 for count in self.imitators):
            raise ValueError(f"imitators: expected at least 2 each, got {list(self.imitators)}")
        if any(size < 4 or size % 2 for size in self.sizes):
            raise ValueError(f"sizes: expected even numbers of at least 4, got {list(self.sizes)}")
        return self

    def part(self, attack: str) -> FleetPart:
        """Of every fleet, what this attack is run on."""
        return part_of(self.parts, attack)

    def check(self) -> None:
        """Raise InputError for a bad fleet."""
        for name in self.fleets:
            self.audit(name)
