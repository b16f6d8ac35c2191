"""The file of a study of dynamics: a base configuration, fleets as overrides of it, factors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from seepage.config.audit import AuditConfig
from seepage.config.base import Part
from seepage.config.reading import checked, merge
from seepage.errors import InputError, nearest

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


class DynamicsSettings(Part):
    """A study: a base configuration, fleets as overrides of it, and what is compared.

    kind: "dynamics" (claims B1 to B8) or "rates" (how many models each way of computing rates
    needs). runs: where run folders go; results: where one small JSON per fleet goes; page: the
    Markdown written from the results; rates_result: a result of the other kind to show on the page.
    aside: share of the pairs that gives difficulty; null_draws: permuted memberships per null.
    """

    kind: Literal["dynamics", "rates"] = "dynamics"
    runs: str = "runs/study"
    results: str = "results"
    page: str | None = None
    rates_result: str | None = None
    base: dict[str, Any] = Field(default_factory=dict)
    fleets: dict[str, dict[str, Any]] = Field(min_length=1)
    factors: Factors = Factors()
    rates: RatesSettings = RatesSettings()
    aside: float = Field(0.25, gt=0, lt=1)
    null_draws: int = Field(2, ge=2)

    def audit(self, name: str) -> AuditConfig:
        """The configuration of one fleet."""
        content = merge(self.base, self.fleets[name])
        content["out"] = str(Path(self.runs) / name)
        return checked(AuditConfig, content, f"fleets.{name}")

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
