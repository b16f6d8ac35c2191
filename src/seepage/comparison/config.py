"""What is compared: pools, defences, what is measured of each; read from TOML or made in Python."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field

from seepage.config.audit import AuditConfig
from seepage.config.base import Part
from seepage.config.reading import checked, merge, override, read_toml
from seepage.config.recipe import Recipe
from seepage.defenses import PPTP, Defense, Undefended, as_config
from seepage.defenses import make as make_defense
from seepage.errors import InputError, nearest

__all__ = [
    "NONE",
    "Candidate",
    "ComparisonConfig",
    "FGSMConfig",
    "PPTPConfig",
    "plain_name",
    "same_fleet",
]

NONE = "none"


class DefenceConfig(Part):
    """[[defences]]: one defence; `grid` makes a fleet for every combination of its values.

    recipe: overrides of the base's recipe, for a defence that needs its own rate or batch. pools:
    only on these; on all by default.
    """

    name: str
    pools: list[str] = Field(default_factory=list)
    label: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    recipe: dict[str, Any] = Field(default_factory=dict)


class PPTPConfig(Part):
    """[pptp]: regions located on each pool, protected by every base and variant, with controls.

    regions: named ones, else those measured by swapping and rewinding in `models` runs.
    """

    bases: list[str | dict[str, Any]] = Field(min_length=1)
    variants: tuple[str | dict[str, Any], ...] = ("two-phase",)
    regions: list[str] = Field(default_factory=list)
    controls: bool = True
    models: int = Field(4, ge=2)
    budget: float = Field(0.01, ge=0)
    tau: float = Field(0.005, gt=0)


class FGSMConfig(Part):
    """[fgsm]: robustness of so many kept networks on so many of their non-members each."""

    epsilon: float = Field(8 / 255, gt=0)
    models: int = Field(4, ge=0)
    samples: int = Field(500, ge=1)


class ComparisonConfig(Part):
    """A comparison of defences.

    runs: where run folders go; results: one small JSON per fleet; report: the HTML page, tables
    beside it; page: a Markdown page of the same; cards: a Markdown page in whose cards, between
    marks, stands what was measured of each defence. base: a configuration as `seepage audit` takes it;
    pools: overrides of it by name. seeds: of the plan. top: every defence is trained at the first
    seed, the best so many at the others too; None trains all at all. again: how the labels begin of
    those that are trained with the other seeds, instead of the best, without waiting for the rest.
    fleets: how the labels begin of those to train, with what they need; all by default. Several
    machines can share a comparison so: results of one folder belong together.
    """

    runs: str = "runs/defences"
    results: str = "runs/defences/results"
    report: str = "defences.html"
    page: str | None = None
    cards: str | None = None
    base: dict[str, Any] = Field(default_factory=dict)
    pools: dict[str, dict[str, Any]] = Field(default_factory=dict)
    defences: list[DefenceConfig] = Field(default_factory=list)
    pptp: PPTPConfig | None = None
    again: tuple[str, ...] = ()
    fleets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    top: int | None = Field(None, ge=1)
    attacks: tuple[str, ...] = Field(("lira", "rmia"), min_length=1)
    fprs: tuple[float, ...] = Field((0.01, 0.001), min_length=1)
    fgsm: FGSMConfig = FGSMConfig()

    @classmethod
    def from_toml(cls, path: Path, overrides: Sequence[str] = ()) -> ComparisonConfig:
        """Read and check a comparison; overrides change any field of it: "base.plan.models=4".

        Raises InputError naming the file and the field. Without [pools] the base is one pool.
        """
        content = read_toml(path, "a defences file")
        override(content, overrides)
        config = checked(cls, content, str(path))
        if not config.pools:
            data = config.base.get("data", {})
            if not isinstance(data, Mapping):
                raise InputError(
                    f"{path}: base.data: expected a table, got {data!r}; set base.data.name"
                )
            name = plain_name(str(data.get("name", "digits")))
            config = config.model_copy(update={"pools": {name: {}}})
        if not config.defences and config.pptp is None:
            raise InputError(
                f"{path}: defences: expected at least one to compare, got none; add [[defences]]"
            )
        for name in (name for d in config.defences for name in d.pools):
            if name not in config.pools:
                raise InputError(
                    f"{path}: defences: pools: expected pools of the file, got {name!r}; "
                    f"{nearest(name, config.pools)}"
                )
        for pool in config.pools:
            config.audit(pool, config.seeds[0])
            config.candidates(pool)
        return config

    def planted(self, pool: str) -> int:
        """How many mislabelled canaries every fleet of a pool has."""
        return self.audit(pool, self.seeds[0]).plan.canaries.mislabelled

    def audit(self, pool: str, seed: int, out: str = "") -> AuditConfig:
        """The configuration of the fleets of one pool and seed."""
        content = merge(self.base, self.pools.get(pool, {}))
        content = merge({"record": {"logits": True}}, content)
        content = merge(
            content, {"plan": {"seed": seed}, "out": out or str(Path(self.runs) / pool)}
        )
        content["attacks"] = {"names": list(self.attacks), "main": self.attacks[0]}
        config = checked(AuditConfig, content, f"pools.{pool}")
        if config.defense.name != NONE:
            raise InputError(
                f"base.defense.name: expected none here, got {config.defense.name!r}; "
                "list defences under [[defences]]"
            )
        if config.plan.kind != "half_split":
            raise InputError(
                f"plan.kind: expected 'half_split', got {config.plan.kind!r}; "
                "defences are compared over complementary pairs of runs"
            )
        if config.plan.models < 4:
            raise InputError(
                f"plan.models: expected at least 4 to compare defences, got {config.plan.models}"
            )
        return config

    def candidates(self, pool: str) -> list[Candidate]:
        """A pool's fleets: undefended first, then every named defence and setting, each once."""
        found = [Candidate(NONE, Undefended())]
        for d in self.defences:
            if d.pools and pool not in d.pools:
                continue
            keys = list(d.grid)
            for values in product(*d.grid.values()):
                chosen = dict(zip(keys, values, strict=True))
                shown = " ".join(f"{k}={v}" for k, v in chosen.items())
                label = f"{d.label or d.name} {shown}".strip()
                defense = make_defense(d.name, **(d.options | chosen))
                found.append(Candidate(label, defense, tuple(sorted(d.recipe.items()))))
        found += self.bases()
        kept: dict[str, Candidate] = {}
        labels: dict[str, str] = {}
        for candidate in found:
            what = repr((candidate.defense, candidate.recipe))
            kept.setdefault(what, candidate)
            if labels.setdefault(candidate.slug, what) != what:
                raise InputError(
                    f"defences: two different ones are called {candidate.label!r}; give each a label"
                )
        return list(kept.values())

    def bases(self) -> list[Candidate]:
        """The base defences of [pptp], applied everywhere."""
        if self.pptp is None:
            return []
        out = []
        for given in self.pptp.bases:
            # The registry reads nested defences; PPTP itself says which cannot be a base.
            built = make_defense("pptp", base=given, regions=["head"])
            if not isinstance(built, PPTP):
                raise TypeError(f"pptp: expected PPTP by that name, got {type(built).__name__}")
            options = {k: v for k, v in as_config(built.base).items() if k != "name"}
            told = {} if isinstance(given, str) else {k: options[k] for k in given if k != "name"}
            shown = " ".join(f"{k}={v}" for k, v in told.items())
            out.append(Candidate(f"{built.base.name} {shown}".strip(), built.base))
        return out


@dataclass(frozen=True)
class Candidate:
    """One fleet's defence, what people call it, and how its recipe differs from the base's."""

    label: str
    defense: Defense
    recipe: tuple[tuple[str, Any], ...] = ()

    @property
    def slug(self) -> str:
        """Name of its folder."""
        plain = re.sub(r"[^a-z0-9.]+", "-", self.label.lower()).strip("-")
        if len(plain) <= 72:
            return plain
        return f"{plain[:60]}-{hashlib.sha256(self.label.encode()).hexdigest()[:10]}"

    def changed(self, base: Recipe) -> Recipe:
        """The base's recipe with what this one changes, checked."""
        return Recipe(**(base.model_dump() | dict(self.recipe)))


def plain_name(name: str) -> str:
    """The name of a pool's folder: the data's where it is plain, else "pool".

    >>> plain_name("digits"), plain_name("/data/people.csv")
    ('digits', 'pool')
    """
    return name if re.fullmatch(r"[a-z0-9-]+", name) else "pool"


def same_fleet(a: Candidate, b: Candidate) -> bool:
    """Whether two train the same, whatever they are called."""
    return (repr(a.defense), a.recipe) == (repr(b.defense), b.recipe)
