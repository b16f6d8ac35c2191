"""A probe that asks no network: recorded φ beside what it is on inputs like it, out of fold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from seepage.array_types import FloatArray
from seepage.attacks.base import Access
from seepage.attacks.quantile import quantile_features, relative_to_inputs
from seepage.errors import InputError
from seepage.probes.base import Asked, Probe

__all__ = ["InputQuantile"]


@dataclass(frozen=True)
class InputQuantile(Probe):
    """phi_given_input = (φ − q̂(x)) / ŵ(x), as `seepage.attacks.quantile.relative_to_inputs` has it.

    Of φ at the first view, as it was recorded. Trees are fitted to the samples that the network was
    not trained on; each sample is scored by a fit that has not seen its subject.
    """

    quantile: float = 0.5
    folds: int = 2

    name: ClassVar[str] = "quantile regression"
    access: ClassVar[Access] = "scores"
    asks: ClassVar[bool] = False
    reads: ClassVar[tuple[str, ...]] = ("phi",)
    timed_on: ClassVar[int] = 1_000

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1 or self.folds < 2:
            raise InputError(
                "quantile regression: expected a quantile between 0 and 1 and at least 2 folds, got "
                f"{self.quantile} and {self.folds}"
            )

    @property
    def signals(self) -> tuple[str, ...]:
        return ("phi_given_input",)

    @property
    def queries(self) -> int:
        """None but those whose answers were recorded."""
        return 0

    def measure(self, asked: Asked) -> dict[str, FloatArray]:
        if asked.member is None or "phi" not in asked.recorded:
            raise InputError(
                "phi_given_input: expected the recorded phi and the members of the network, got "
                "none; pass them as recorded= and member="
            )
        phi = np.asarray(asked.recorded["phi"], dtype=np.float64)
        features = quantile_features(
            asked.inputs.flatten(1).numpy().astype(np.float64),
            asked.labels.numpy().astype(np.int64),
        )
        if features is None:
            raise InputError("phi_given_input: expected inputs and labels, got none")
        own = relative_to_inputs(
            phi.reshape(len(phi), -1)[:, 0],
            asked.member,
            features,
            asked.generator(),
            owner=asked.owner,
            quantile=self.quantile,
            folds=self.folds,
        )
        return {"phi_given_input": own}
