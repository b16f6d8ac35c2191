"""The published estimators: differences of gradients (white box) and of losses (black box)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from seepage.curvature.base import BlackBox, Rows, SampleStreams, WhiteBox
from seepage.curvature.derivatives import mean_and_error, root_and_error
from seepage.curvature.measured_model import MeasuredModel, Network
from seepage.errors import InputError

__all__ = ["Directions", "FiniteDifference", "Independent", "Shared", "ZerothOrder"]


@dataclass(frozen=True)
class FiniteDifference(WhiteBox):
    """The white-box estimator of the papers: g = ∇ₓ[ℓ(x + hv) − ℓ(x)], v Rademacher, n times.

    score: mean ‖g‖₂ as the released code has it (nats per input unit), or mean ‖g‖₂² with
    `squared` as the formula of arXiv 2402.18726 (eq. 14) has it. For small h E‖g‖² = h²‖H‖_F² and
    E vᵀg = h tr H, from which trace = mean vᵀg / h and frobenius = √(mean ‖g‖²) / h, with
    standard errors that do not cover the bias of the step.

    Fails where the loss is not differentiable at an input (max-pool ties on a constant background):
    trace and norm grow like 1/h there, and `curvature` warns. The ranking of the score usually
    survives.

    Differs from the released code: losses are summed, not averaged over the batch (there a short
    last batch scores higher), ∇ℓ(x) is computed once, and directions are ±h, not h(±1 + 1e-7).

    >>> FiniteDifference(h=1e-3, n=10).passes
    11
    """

    h: float = 1e-3
    n: int = 10
    squared: bool = False
    signals: ClassVar[Mapping[str, str]] = {"curvature_fd": "score"}

    def __post_init__(self) -> None:
        _step(type(self).__name__, self.h, self.n)

    @property
    def score_unit(self) -> str:
        return "squared nats per squared input unit" if self.squared else "nats per input unit"

    @property
    def estimates(self) -> str:
        power = "²" if self.squared else ""
        return f"mean ‖∇ℓ(x + hv) − ∇ℓ(x)‖{power} at h = {self.h:g}, a proxy of ‖H‖_F{power}"

    @property
    def passes(self) -> int:
        return self.n + 1

    @property
    def needs_smoothness(self) -> bool:
        return True

    def measure(
        self, measured: Network, inputs: torch.Tensor, labels: torch.Tensor, streams: SampleStreams
    ) -> Rows:
        signs = streams.signs(self.n, inputs)
        base = _slope(measured, inputs, labels)
        forms = torch.zeros(self.n, len(inputs), dtype=torch.float64, device=inputs.device)
        squares = torch.zeros_like(forms)
        for k in range(self.n):
            v = signs[k]
            g = _slope(measured, inputs + self.h * v, labels) - base
            forms[k] = (g * v.flatten(1)).sum(1)
            squares[k] = g.square().sum(1)
        trace, trace_error = mean_and_error(forms / self.h)
        norm, norm_error = root_and_error(squares / self.h**2)
        return {
            "trace": trace,
            "trace_error": trace_error,
            "frobenius": norm,
            "frobenius_error": norm_error,
            "score": squares.mean(0) if self.squared else squares.sqrt().mean(0),
        }

    def bytes_per_sample(self, graph: int, numbers: int, classes: int, itemsize: int) -> int:
        return graph + numbers * (3 * itemsize + 24)


@dataclass(frozen=True)
class Directions:
    """How the two directions of a zeroth-order probe are related."""


@dataclass(frozen=True)
class Independent(Directions):
    """u and v independent, as released: estimates ‖H‖_F, not the trace."""


@dataclass(frozen=True)
class Shared(Directions):
    """u = v: estimates the trace, with half the queries."""


@dataclass(frozen=True)
class ZerothOrder(BlackBox):
    """The black-box estimator of the attack, from losses alone.

    Independent directions u, v ∈ {±1}^d, steps of ±h: with q = [ℓ(x+hv+hu) − ℓ(x−hv+hu) −
    ℓ(x+hv−hu) + ℓ(x−hv−hu)] / (4h²) = uᵀHv + O(h²),

        score = h · mean |q|     (the released feature, nats per input unit),
        frobenius = √(mean q²)   (E q² = ‖H‖_F²), with its standard error.

    E|uᵀHv| is c‖H‖_F with c between 2/π (rank one) and √(2/π) (many like eigenvalues); the signed
    mean is 0, so this gives no information about the trace. 4n + 1 queries per view, 41 at n = 10.

    `Shared()` sets u = v: q = [ℓ(x+2hv) − 2ℓ(x) + ℓ(x−2hv)] / (4h²), trace = mean q with its
    standard error, score = the trace, 2n + 1 queries; frobenius is None. Wrong where the loss is
    not differentiable, as `FiniteDifference`, and `curvature` warns.

    dtype: float64 runs a double-precision copy of the model. float32 is what was published: the
    differences are then near the rounding of the loss (about 1e-7), and confident samples score
    exactly 0; extra "zeros" counts such probes. extra "loss" is ℓ(x).

    Steps are taken in the units that the model is given, after normalisation, without clipping.
    Source: arXiv 2407.02747 as released; the notes on what it estimates are derived.

    >>> ZerothOrder().passes, ZerothOrder(directions=Shared()).passes
    (41, 21)
    """

    h: float = 1e-3
    n: int = 10
    directions: Directions = Independent()
    precision: torch.dtype = torch.float64

    def __post_init__(self) -> None:
        _step(type(self).__name__, self.h, self.n)
        if self.precision not in (torch.float32, torch.float64):
            raise InputError(
                f"ZerothOrder: expected precision float32 or float64, got {self.precision}; "
                "in less the differences are rounding"
            )

    @property
    def signals(self) -> Mapping[str, str]:  # type: ignore[override]
        """The released feature, or the trace when directions are shared."""
        return {"curvature_zo_trace": "trace"} if self._trace else {"curvature_zo": "score"}

    @property
    def _trace(self) -> bool:
        return isinstance(self.directions, Shared)

    @property
    def dtype(self) -> torch.dtype:
        return self.precision

    @property
    def needs_smoothness(self) -> bool:
        return self._trace

    @property
    def score_unit(self) -> str:
        return self.unit if self._trace else "nats per input unit"

    @property
    def estimates(self) -> str:
        if self._trace:
            return f"tr H by second differences of the loss at h = {self.h:g}"
        return f"h · mean |uᵀHv| at h = {self.h:g}, a proxy of ‖H‖_F"

    @property
    def passes(self) -> int:
        return (2 if self._trace else 4) * self.n + 1

    def measure(
        self,
        measured: MeasuredModel,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        streams: SampleStreams,
    ) -> Rows:
        with torch.no_grad():
            base = measured.losses(inputs, labels)
            signs = streams.signs(self.n if self._trace else 2 * self.n, inputs)
            forms = torch.zeros(self.n, len(inputs), dtype=base.dtype, device=inputs.device)
            for k in range(self.n):
                v = self.h * signs[k]
                u = v if self._trace else self.h * signs[self.n + k]
                far = (
                    measured.losses(inputs + v + u, labels),
                    measured.losses(inputs - v - u, labels),
                )
                if self._trace:
                    forms[k] = far[0] - 2 * base + far[1]
                else:
                    near = (
                        measured.losses(inputs - v + u, labels),
                        measured.losses(inputs + v - u, labels),
                    )
                    forms[k] = far[0] - near[0] - near[1] + far[1]
        q = forms.double() / (4 * self.h**2)
        rows: Rows = {"loss": base.double(), "zeros": (forms == 0).sum(0).double()}
        if self._trace:
            rows["trace"], rows["trace_error"] = mean_and_error(q)
            rows["score"] = rows["trace"]
        else:
            rows["frobenius"], rows["frobenius_error"] = root_and_error(q.square())
            rows["score"] = self.h * q.abs().mean(0)
        return rows


def _slope(measured: Network, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Gradient of every sample's own loss, (B, D) float64."""
    leaf = inputs.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(measured.losses(leaf, labels).sum(), leaf)
    return g.flatten(1).double()


def _step(name: str, h: float, n: int) -> None:
    if not 0 < h < float("inf") or n < 2:
        raise InputError(f"{name}: expected h > 0 and n >= 2, got h={h}, n={n}")
