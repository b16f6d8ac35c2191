"""What an estimate of curvature is: numbers, their errors, their unit and where they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from seepage.array_types import Float64Array

__all__ = ["Curvature", "CurvatureWarning"]


class CurvatureWarning(UserWarning):
    """The estimate is not what its name says for this model or these inputs."""


@dataclass(frozen=True, eq=False)
class Curvature:
    """Curvature of the loss at each input, H = ∇²ₓ ℓ(model(x), y), one row per sample.

    trace: tr H, (N,) float64, in nats per squared input unit, where an input unit is one unit of
    what the model is given (after normalisation). frobenius: ‖H‖_F, (N,), the same unit. Either is
    None when the estimator does not estimate it: a missing number is never a NaN that spreads.
    trace_error, frobenius_error: standard errors over the probes, None for an exact estimate;
    they cover the noise of sampling, not the bias of a finite step.
    score: the number that attacks read, (N,), with its own `score_unit`.
    estimates: what was computed, in words. passes: forward evaluations of the model per sample;
    backward passes are not counted. extra: further rows per sample, named.
    """

    trace: Float64Array | None
    frobenius: Float64Array | None
    trace_error: Float64Array | None
    frobenius_error: Float64Array | None
    score: Float64Array
    unit: str
    score_unit: str
    estimates: str
    passes: int
    extra: Mapping[str, Float64Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.score)
