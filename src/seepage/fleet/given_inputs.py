"""How the inputs of networks that were trained elsewhere are prepared: as they are, unless asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

import torch

from seepage.array_types import Int64Array
from seepage.data import Dataset
from seepage.errors import InputError

__all__ = ["Inputs", "prepared"]


@dataclass(frozen=True)
class Inputs:
    """What happens to the values of a dataset before a network sees them.

    divide: they are divided by it, 255 for pictures whose network takes 0..1. standardise: scaled
    to mean 0 and standard deviation 1 over the members of each run (`Dataset.member_scale`), as
    networks are that seepage trains. Neither by default.
    """

    divide: float = 1.0
    standardise: bool = False

    def __post_init__(self) -> None:
        given: Any = self.divide  # whatever a caller without type checks passed
        if not isinstance(given, Real) or not 0 < self.divide < float("inf"):
            raise InputError(
                f"divide: expected a number above 0, got {self.divide!r}; 1 leaves inputs as they are"
            )
        if self.standardise and self.divide != 1:
            raise InputError(
                f"divide: expected without standardise, which sets the scale itself, got {self.divide:g}"
            )

    def told(self) -> dict[str, Any]:
        """For the key of a run."""
        return asdict(self)

    def recorder(self, data: Dataset, members: Int64Array) -> dict[str, Any]:
        """The arguments of a Recorder that prepares inputs so."""
        if self.standardise:
            return {"scale": data.member_scale(members)}
        if self.divide == 1:
            return {"scale": None}
        return {"preprocess": self._divided}

    def _divided(self, x: torch.Tensor) -> torch.Tensor:
        return x / self.divide


def prepared(key: Mapping[str, Any]) -> Inputs:
    """As the key of an imported run says. Raises InputError where it says nothing of the kind."""
    told: Any = key.get("inputs")
    try:
        return Inputs(**told)
    except TypeError:
        raise InputError(
            f"key.inputs: expected how inputs were prepared, got {told!r}; import the run again"
        ) from None
