"""What a study of language models trains and runs, checked before anything is trained."""

from __future__ import annotations

import fnmatch
from typing import Literal, Self

import pydantic
from pydantic import Field

from seepage.errors import InputError, nearest
from seepage.study.attacks.settings import FleetPart, part_of
from seepage.study.fleets import FleetSettings
from seepage.study.language.named import KNOWN, TEXTS, every_name

__all__ = ["LanguageSettings"]


class LanguageSettings(FleetSettings):
    """Fleets of language models, and what is asked of each.

    parts: by a pattern of names, "recall*", the models and texts that an attack is run on at the end; the first
    that matches counts.

    attacks: run at the last checkpoint; names of `seepage.attacks.ATTACKS`, "lira:SIGNAL" and
    "calibrated:SIGNAL" on a signal of documents, and "combined-texts"; all that audits of texts run unasked and these
    when left out. course: run at every checkpoint too. copies: run by how often texts are held, at every
    checkpoint, of fleets with `data.repeats`. null_draws: permuted memberships per null.
    """

    kind: Literal["language"] = "language"
    attacks: tuple[str, ...] = Field(default_factory=every_name, min_length=1)
    course: tuple[str, ...] = (
        "loss",
        "zlib",
        "min-k-pp",
        "reference-ratio",
        "wbc",
        "ez-mia",
        "lira",
        TEXTS,
    )
    copies: tuple[str, ...] = ("loss", "reference-ratio", "lira")
    parts: dict[str, FleetPart] = Field(default_factory=dict)
    null_draws: int = Field(1, ge=1)

    @pydantic.model_validator(mode="after")
    def _known(self) -> Self:
        for pattern in self.parts:
            if not fnmatch.filter(KNOWN, pattern):
                raise ValueError(
                    f"parts: expected names of attacks, got {pattern!r}; {nearest(pattern, KNOWN)}"
                )
        for where in ("attacks", "course", "copies"):
            names = getattr(self, where)
            for name in names:
                if name not in KNOWN:
                    raise ValueError(
                        f"{where}: expected names of attacks, got {name!r}; {nearest(name, KNOWN)}"
                    )
            if len(set(names)) < len(names):
                raise ValueError(f"{where}: expected every attack once, got {', '.join(names)}")
        return self

    def part(self, attack: str) -> FleetPart:
        """Of every fleet, what this attack is run on at the end."""
        return part_of(self.parts, attack)

    def check(self) -> None:
        """Raise InputError for a bad fleet, or one that is not of texts."""
        for name in self.fleets:
            task = self.audit(name).data.task
            if task != "language":
                raise InputError(
                    f'fleets.{name}.data.task: expected "language", got {task!r}; studies of kind '
                    '"attacks" are of classes'
                )
