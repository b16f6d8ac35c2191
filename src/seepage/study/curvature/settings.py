"""What a curvature study trains and measures, checked before anything is trained."""

from __future__ import annotations

from typing import Any, Literal, Self

import pydantic
from pydantic import Field

from seepage.config.base import Part
from seepage.config.recipe import Recipe

__all__ = [
    "CurvatureSettings",
    "EstimatorSettings",
    "Fleet",
    "MatchedSettings",
    "MislabelSettings",
    "Network",
    "Pool",
    "PrivateSettings",
    "SizeSettings",
    "TableSettings",
]


class Pool(Part):
    """Which samples: a dataset by name or path, a random `limit` of its training part."""

    name: str = "digits"
    limit: int | None = Field(None, ge=20)
    seed: int = Field(0, ge=0)


class Network(Part):
    """A reference network by name with its options."""

    name: str = "cnn-2"
    options: dict[str, Any] = Field(default_factory=dict)


class Trained(Part):
    """What every fleet needs."""

    data: Pool = Pool()
    model: Network = Network()
    recipe: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(0, ge=0)

    @pydantic.field_validator("recipe")
    @classmethod
    def _recipe(cls, value: dict[str, Any]) -> dict[str, Any]:
        Recipe(**value)
        return value


class TableSettings(Trained):
    """[tables.NAME]: models in complementary pairs, every attack on the pool.

    scored: samples of the pool that are measured and judged, drawn at random; all when left out.
    """

    models: int = Field(32, ge=6, multiple_of=2)
    scored: int | None = Field(None, ge=20)


class SizeSettings(Part):
    """[sizes]: training sets of other sizes from the pool of a table.

    sizes: m, all smaller than the pool. targets: models of each size. scored: samples of each
    target that are judged, of those that the table has measured; half of them members where there
    are as many. every: epochs between the checkpoints over which curvature is averaged to order
    the pool.
    """

    table: str
    sizes: tuple[int, ...] = Field(min_length=2)
    targets: int = Field(2, ge=1)
    scored: int = Field(2000, ge=20)
    every: int = Field(4, ge=1)


class MatchedSettings(Trained):
    """[matched]: for every size m a fleet of models of m samples each, from a pool of 2m.

    `data.limit` is 2m whatever it says. scored: samples of the pool that are judged.
    """

    sizes: tuple[int, ...] = Field(min_length=2)
    models: int = Field(16, ge=6, multiple_of=2)
    scored: int = Field(2000, ge=20)


class PrivateSettings(Trained):
    """[private]: fleets under DP-SGD, shadows trained exactly as the targets are.

    epsilons: finite budgets; in addition "inf" (clipped, no noise) and "none" (plain steps of the
    same batches). scored: samples that are attacked.
    """

    models: int = Field(16, ge=6, multiple_of=2)
    epsilons: tuple[float, ...] = Field((1.0, 4.0, 16.0, 64.0), min_length=1)
    delta: float = Field(1e-5, gt=0, lt=1)
    max_norm: float = Field(1.0, gt=0)
    scored: int = Field(1000, ge=20)

    @pydantic.field_validator("epsilons")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < e < float("inf") for e in value):
            raise ValueError("expected finite budgets above 0")
        return value


class EstimatorSettings(Part):
    """[estimators]: score quality per query and per second, on models of these tables."""

    tables: tuple[str, ...] = Field(min_length=1)
    models: int = Field(16, ge=6, multiple_of=2)
    samples: int = Field(500, ge=20)
    probes: tuple[int, ...] = (2, 5, 10, 20)


class MislabelSettings(Trained):
    """[mislabel.NAME]: finding labels that were replaced, one fleet of one model a rate and seed.

    every: epochs between checkpoints; probes: of the finite-difference score.
    """

    rates: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    seeds: int = Field(3, ge=1)
    every: int = Field(2, ge=1)
    probes: int = Field(5, ge=2)


class Fleet(Part):
    """[fleet]: where models are trained and measured."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: int | None = Field(None, ge=1)
    batch: int | None = Field(None, ge=1)


class CurvatureSettings(Part):
    """The whole study: where things go, and which of its parts there are.

    runs: where fleets and what was measured on them go; results: one small JSON per unit; page:
    the Markdown written from the results. probes, step: of the zeroth-order score. changes: what was
    changed of the study after which look, a line each, for the page.
    """

    kind: Literal["curvature"] = "curvature"
    runs: str = "runs/curvature"
    results: str = "results/curvature"
    page: str | None = None
    changes: tuple[str, ...] = ()
    fleet: Fleet = Fleet()
    probes: int = Field(10, ge=2)
    step: float = Field(1e-3, gt=0)
    tables: dict[str, TableSettings] = Field(min_length=1)
    sizes: SizeSettings | None = None
    matched: MatchedSettings | None = None
    private: PrivateSettings | None = None
    estimators: EstimatorSettings | None = None
    mislabel: dict[str, MislabelSettings] = Field(default_factory=dict)

    @pydantic.model_validator(mode="after")
    def _known(self) -> Self:
        asked = [("sizes.table", self.sizes.table)] if self.sizes else []
        estimated = self.estimators.tables if self.estimators else ()
        asked += [("estimators.tables", t) for t in estimated]
        for where, name in asked:
            if name not in self.tables:
                raise ValueError(f"{where}: expected one of {', '.join(self.tables)}, got {name!r}")
        limit = self.tables[self.sizes.table].data.limit if self.sizes else None
        if self.sizes and limit and max(self.sizes.sizes) >= limit:
            raise ValueError(f"sizes.sizes: expected less than the pool of {limit}")
        return self
