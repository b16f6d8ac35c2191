"""The file of a study of dynamics: a base configuration, fleets as overrides of it, factors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from seepage.config.base import Part
from seepage.errors import InputError, nearest
from seepage.study.fleets import FleetSettings

__all__ = ["DynamicsSettings", "Factors", "RatesSettings"]


class Factors(Part):
    """[factors]: which fleets each factor compares, by name, each list from poor to rich."""

    datasets: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    sgd: str | None = None
    sam: str | None = None


class RatesSettings(Part):
    """[rates]: how a fleet is split to compare ways of computing rates."""

    reference: int = Field(512, ge=16)
    sizes: tuple[int, ...] = (8, 16, 32, 64, 128)
    tolerance: float = Field(0.1, gt=0, lt=1)
    coverage: float = Field(0.9, gt=0, lt=1)


class DynamicsSettings(FleetSettings):
    """Fleets, and what is compared between them.

    kind: "dynamics" (claims B1 to B8) or "rates" (how many models each way of computing rates
    needs). rates_result: a result of the other kind to show on the page. aside: share of the pairs
    that gives difficulty; null_draws: permuted memberships per null.
    """

    kind: Literal["dynamics", "rates"] = "dynamics"
    rates_result: str | None = None
    factors: Factors = Factors()
    rates: RatesSettings = RatesSettings()
    aside: float = Field(0.25, gt=0, lt=1)
    null_draws: int = Field(2, ge=2)

    def check(self) -> None:
        """Raise InputError for a bad fleet, or factors whose fleets differ in several sections."""
        for name in self.fleets:
            self.audit(name)
        f = self.factors
        pair = tuple(n for n in (f.sgd, f.sam) if n is not None)
        for what, names in (
            ("datasets", f.datasets),
            ("architectures", f.architectures),
            ("sam", pair),
        ):
            self._one_section(what, names)

    def _one_section(self, what: str, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.fleets:
                raise InputError(
                    f"factors.{what}: expected names of fleets, got {name!r}; "
                    f"{nearest(name, self.fleets)}"
                )
        configs = [self.audit(n).model_dump(exclude={"out"}) for n in names]
        differ = sorted({k for c in configs for k in c if c[k] != configs[0][k]})
        if len(differ) > 1:
            raise InputError(
                f"factors.{what}: expected fleets that differ in one section, got "
                f"{', '.join(differ)}; compare fleets that differ in one"
            )
