"""Curvature by any estimator: finds it by name, checks the model, measures every sample."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from seepage.array_types import Float64Array, FloatArray
from seepage.curvature.base import (
    BlackBox,
    Curvature,
    CurvatureWarning,
    Estimator,
    Generator,
    Rows,
    SampleStreams,
    WhiteBox,
    stream_key,
)
from seepage.curvature.derivatives import (
    AllClasses,
    ExactGaussNewton,
    Hutchinson,
    LogitProbes,
    TopK,
)
from seepage.curvature.differences import FiniteDifference, ZerothOrder
from seepage.curvature.measured_model import MeasuredModel, Network, Probabilities, network
from seepage.curvature.smoothness import curved_module, non_differentiable
from seepage.errors import InputError, nearest

__all__ = ["ESTIMATORS", "curvature", "estimator"]


def _exact(top: int | None = None, probes: int | None = None) -> Estimator:
    if top is not None and probes is not None:
        raise InputError("exact: expected top or probes, got both; choose one")
    if top is not None:
        return ExactGaussNewton(TopK(top))
    return ExactGaussNewton(AllClasses() if probes is None else LogitProbes(probes))


# name -> (what makes it, option -> type)
ESTIMATORS: Mapping[str, tuple[Callable[..., Estimator], Mapping[str, type]]] = {
    "exact": (_exact, {"top": int, "probes": int}),
    "hutchinson": (Hutchinson, {"n": int}),
    "finite-difference": (FiniteDifference, {"h": float, "n": int, "squared": bool}),
    "zeroth-order": (ZerothOrder, {"h": float, "n": int}),
}


def estimator(name: str, options: Mapping[str, Any] | None = None) -> Estimator:
    """The estimator of that name: "exact", "hutchinson", "finite-difference" or "zeroth-order".

    options: `top` or `probes` (exact), `n` (the others), `h` (differences), `squared` (finite
    differences). Raises InputError for what it does not know.

    >>> estimator("zeroth-order", {"n": 5}).passes
    21
    """
    if name not in ESTIMATORS:
        raise InputError(
            f"estimator: expected a known name, got {name!r}; {nearest(name, ESTIMATORS)}"
        )
    make, known = ESTIMATORS[name]
    given: dict[str, Any] = {}
    for option, value in (options or {}).items():
        if option not in known:
            raise InputError(f"{option}: unknown option of {name!r}; {nearest(option, known)}")
        kind = known[option]
        fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
        if not fits or (kind is not bool and isinstance(value, bool)):
            raise InputError(f"{option}: expected {kind.__name__}, got {value!r}")
        given[option] = kind(value)
    return make(**given)


_FIELDS = ("trace", "frobenius", "trace_error", "frobenius_error", "score")


_LARGEST_BATCH = 256


_CHECKED_FOR_TIES = 32


def curvature(
    model: nn.Module | Callable[[Any], Any],
    inputs: torch.Tensor | FloatArray,
    labels: torch.Tensor | ArrayLike,
    estimator: Estimator = ExactGaussNewton(),  # noqa: B008  frozen
    *,
    batch: int | None = None,
    memory: int = 2**30,
    generator: Generator | None = None,
) -> Curvature:
    """Curvature of the cross-entropy at every input, H = ∇²ₓ ℓ(model(x), y), per sample.

    model: a torch module in eval mode, (B, ...) -> logits (B, K); or, for `ZerothOrder` alone,
    any function (B, ...) -> probabilities (B, K), given what `inputs` is (an array or a tensor):
    a black box behind an API. inputs: floating point, (N, ...), as the model is given them.
    labels: integers (N,). batch: samples at a time; by default as many as fit into `memory`
    bytes, at most 256. generator (NumPy's or torch's): for estimators that draw directions; one
    number is drawn from it, and sample i has its own stream, so results depend neither on the batch
    nor on a short last one (but on the position of the sample).

    The loss of a sample is its own, never an average over the batch. Parameters, their
    `requires_grad`, the buffers and the caller's inputs are left as they were.

    Warns (`CurvatureWarning`) when the Gauss-Newton matrix is not the Hessian, naming the module,
    and when the loss is not differentiable at inputs and the estimator takes differences there.
    Raises InputError for modules in training mode, forward passes with effects or randomness,
    samples coupled within a batch, integer or non-finite inputs, models without a gradient given
    to a white-box estimator, and labels that do not fit.

    >>> import numpy as np, torch
    >>> model = torch.nn.Linear(3, 2, bias=False).requires_grad_(False)
    >>> _ = model.weight.copy_(torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]]))
    >>> result = curvature(model, np.zeros((1, 3), np.float32), [0])
    >>> result.trace, result.frobenius              # p(1 − p) ‖w₀ − w₁‖² = 5/4
    (array([1.25]), array([1.25]))
    """
    x, y = _inputs(inputs), _labels(labels, len(inputs))
    if batch is not None and batch < 1:
        raise InputError(f"batch: expected at least 1, got {batch}")
    key = stream_key(generator, type(estimator).__name__) if estimator.random else 0
    with ExitStack() as stack:
        measured: MeasuredModel
        if isinstance(model, nn.Module):
            own = network(model, estimator.dtype)
            stack.enter_context(own.unchanged())
            stack.enter_context(own.exact_evaluation())
            dtype, device = own.dtype, own.device
            measured, fitting = _prepare(own, x, y, estimator, memory)
            batch = batch or fitting
        else:
            dtype, device = estimator.dtype or x.dtype, x.device
            measured = _black_box(model, inputs, estimator)
            batch = batch or _LARGEST_BATCH
        rows = []
        for i in range(0, len(x), batch):
            part = x[i : i + batch].to(device, dtype)
            streams = SampleStreams(key, i, len(part))
            rows.append(_measure(estimator, measured, part, y[i : i + batch].to(device), streams))
    gathered = {name: np.concatenate([r[name] for r in rows]) for name in rows[0]}
    fields = {name: gathered.pop(name, None) for name in _FIELDS}
    assert fields["score"] is not None
    return Curvature(
        **fields,  # type: ignore[arg-type]
        unit=estimator.unit,
        score_unit=estimator.score_unit,
        estimates=estimator.estimates,
        passes=estimator.passes,
        extra=gathered,
    )


def _measure(
    estimator: Estimator,
    measured: MeasuredModel,
    x: torch.Tensor,
    y: torch.Tensor,
    streams: SampleStreams,
) -> dict[str, Float64Array]:
    rows: Rows
    if isinstance(estimator, WhiteBox):
        assert isinstance(measured, Network)
        rows = estimator.measure(measured, x, y, streams)
    else:
        assert isinstance(estimator, BlackBox)
        rows = estimator.measure(measured, x, y, streams)
    return {name: r.double().cpu().numpy() for name, r in rows.items()}


def _prepare(
    measured: Network, x: torch.Tensor, y: torch.Tensor, estimator: Estimator, memory: int
) -> tuple[Network, int]:
    """Checks the model, warns where the estimate does not hold, chooses layout and batch size."""
    white = isinstance(estimator, WhiteBox)
    first = x[:_CHECKED_FOR_TIES].to(measured.device, measured.dtype)
    classes = measured.check(first, differentiable=white)
    if int(y.max()) >= classes:
        raise InputError(
            f"labels: expected values in 0..{classes - 1} as the model has logits, "
            f"got {int(y.max())}; check the class list"
        )
    if isinstance(estimator, ExactGaussNewton):
        name = curved_module(measured, first[:2])
        if name is not None:
            what = measured.module.get_submodule(name)
            warnings.warn(
                f"model: {type(what).__name__} {name!r} is not piecewise linear, so the "
                "Gauss-Newton matrix is not the Hessian; use Hutchinson() for the Hessian",
                CurvatureWarning,
                stacklevel=3,
            )
    if estimator.needs_smoothness:
        hit = int(non_differentiable(measured, first).sum())
        if hit:
            warnings.warn(
                f"inputs: {hit} of the first {len(first)} lie where the loss is not differentiable "
                "(ties in a max-pool, as on a constant background): differences grow like 1/h "
                "there and the trace is wrong; use ExactGaussNewton() or Hutchinson()",
                CurvatureWarning,
                stacklevel=3,
            )
    sample = measured.saved_bytes(first)
    if isinstance(estimator, WhiteBox):
        sample = estimator.bytes_per_sample(
            sample, x[0].numel(), classes, torch.finfo(measured.dtype).bits // 8
        )
    return measured.faster(first), max(1, min(_LARGEST_BATCH, memory // sample))


def _black_box(model: Callable[[Any], Any], inputs: object, estimator: Estimator) -> MeasuredModel:
    if not isinstance(estimator, BlackBox):
        raise InputError(
            f"model: {type(estimator).__name__} needs a torch module and its gradients, got "
            f"{type(model).__name__}; use ZerothOrder() for a function of probabilities"
        )
    if not callable(model):
        raise InputError(
            f"model: expected a torch module or a function, got {type(model).__name__}"
        )
    return Probabilities(model, numpy=isinstance(inputs, np.ndarray))


def _inputs(inputs: torch.Tensor | FloatArray) -> torch.Tensor:
    x = torch.as_tensor(inputs)
    if not x.is_floating_point():
        raise InputError(
            f"inputs: expected floating point, got {x.dtype}; curvature is per unit of what the "
            "model is given, so pass the normalised inputs"
        )
    if x.ndim < 2 or 0 in x.shape:
        raise InputError(f"inputs: expected shape (samples, ...), got {tuple(x.shape)}")
    finite = torch.isfinite(x).flatten(1).all(1)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0, 0])
        raise InputError(f"inputs: expected finite values, got NaN or infinity in row {row}")
    return x.detach()


def _labels(labels: torch.Tensor | ArrayLike, count: int) -> torch.Tensor:
    y = torch.as_tensor(labels if isinstance(labels, torch.Tensor) else np.asarray(labels))
    if y.is_floating_point() or y.dtype == torch.bool or y.shape != (count,):
        raise InputError(
            f"labels: expected integers of shape ({count},), got {y.dtype} of shape "
            f"{tuple(y.shape)}"
        )
    if int(y.min()) < 0:
        raise InputError(f"labels: expected values from 0, got {int(y.min())}")
    return y.long()
