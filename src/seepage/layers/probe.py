"""Indicators of every layer of any model: degrees of freedom, Jacobian, local PCA."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import nn

from seepage.array_types import Float64Array
from seepage.errors import InputError
from seepage.layers.choose import choose_layers
from seepage.layers.hooks import (
    Inputs,
    Layer,
    LayerHooks,
    batches,
    check_outputs,
    device_of,
    evaluation_mode,
    merged_network,
    pool_positions,
    sample_count,
    select_samples,
)
from seepage.layers.jacobian import Jacobian, JacobianResult, measure_jacobians
from seepage.layers.spectrum import (
    Spectrum,
    effective_rank,
    k_tau,
    participation_ratio,
    ridge_df,
)
from seepage.layers.stream import SpectrumStream, choose_stream
from seepage.layers.table import LayerTable

__all__ = ["DegreesOfFreedom", "Indicator", "LocalPCA", "probe"]


@dataclass(frozen=True)
class DegreesOfFreedom:
    """Spectrum of every layer's outputs over the whole probe set, flattened and pooled.

    ridge: μ of the ridge degrees of freedom as a share of Σλ. memory: bytes for all accumulators
    together; layers that do not fit exactly are sketched, with a bound on the error. tau: the
    larger share; too few samples to determine its count are refused.
    """

    ridge: float = 1e-3
    memory: int = 4 * 2**30
    tau: float = 0.99

    def __post_init__(self) -> None:
        if not self.ridge > 0:
            raise InputError(f"ridge: expected a share above 0, got {self.ridge}")
        if self.memory < 2**20:
            raise InputError(f"memory: expected at least 1 MiB, got {self.memory} bytes")
        if not 0 < self.tau < 1:
            raise InputError(f"tau: expected a share between 0 and 1, got {self.tau}")


@dataclass(frozen=True)
class LocalPCA:
    """Directions of a layer's output when one input is perturbed (definition D6).

    noise: standard deviation s of δ ~ N(0, s²I); draws: perturbations per sample; images: the
    first so many samples, averaged over. The count is the numerical rank of the covariance of
    h(x + δ) with tolerance λ_1·min(draws, d)·ε; at most draws − 1. The public code of Feng et al.
    (arXiv 2206.06072) uses 5,000 draws, s = 1e-3 and 100 images: costly, hence fewer here.
    """

    noise: float = 1e-3
    draws: int = 500
    images: int = 4

    def __post_init__(self) -> None:
        if not self.noise > 0:
            raise InputError(f"noise: expected a standard deviation above 0, got {self.noise}")
        if self.draws < 2 or self.images < 1:
            raise InputError(
                f"draws, images: expected at least 2 and 1, got {self.draws}, {self.images}"
            )


Indicator = DegreesOfFreedom | Jacobian | LocalPCA


def probe(
    model: nn.Module,
    inputs: Inputs,
    layers: str | Sequence[str] | None = None,
    *,
    indicators: Sequence[Indicator] = (DegreesOfFreedom(), Jacobian()),
    batch: int = 256,
    generator: torch.Generator | None = None,
) -> LayerTable:
    """Degrees of freedom and Jacobian of every chosen layer: one row per layer.

    model: any `nn.Module`; read through hooks, in evaluation mode; modes, parameters, gradients,
    buffers and random streams are the same afterwards. inputs: the probe set as the model's forward
    takes it (a tensor, several in order, or a mapping for keyword arguments; N ≥ 2,000 training
    samples without augmentation are a good choice, the same at every checkpoint). Token inputs are
    integers: their Jacobians are taken with respect to the token embedding. layers: names or
    patterns, None for the output of every block; the rule is that of `choose_layers`. indicators:
    what to measure; `LocalPCA()` is off by default because it costs many passes. generator: random
    directions and noise; None for a new one with seed 0, so that two calls agree.

    Cost: the spectra take one forward pass plus n²d (or n d²) multiplications per layer; memory
    stays within `DegreesOfFreedom.memory` whatever N. Where a layer would need more, its spectrum
    is sketched; then each DoF is the middle of an interval that contains the true value (`limits`),
    and `dof_error` gives its relative half-width.

    Errors (`InputError`, one line): a name that matches no layer, a layer never called or called
    more than once, outputs of varying shape, NaN or infinite outputs, too few samples to determine
    k99 (n − 1 < min(d, 1/(1 − τ)): below that one direction alone is more than the missing share).

    Source: reconstruction of Huang et al., arXiv 2412.00696, from public summaries.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False))
    >>> x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    >>> table = probe(net, x)
    >>> table.layer, table.jac_rank_float.tolist()
    (('0', '1'), [3.0, 2.0])
    """
    model = merged_network(model)
    chosen = choose_layers(model, inputs, layers)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    kinds = [type(i) for i in indicators]
    if not kinds or len(set(kinds)) != len(kinds):
        raise InputError("indicators: expected at least one, each kind at most once")
    n = sample_count(inputs)
    values = {c: np.full(len(chosen), np.nan) for c in LayerTable.columns()}
    at_least = np.zeros(len(chosen), dtype=np.bool_)
    sample_bound = np.zeros(len(chosen), dtype=np.bool_)
    spectra: tuple[Spectrum, ...] = ()
    pooled: tuple[Spectrum, ...] = ()
    jacobians: tuple[Float64Array, ...] = ()
    limits: dict[str, Float64Array] = {}
    widths = _widths(model, inputs, chosen)
    values["d"][:] = widths
    values["n"][:] = n
    for option in indicators:
        if isinstance(option, DegreesOfFreedom):
            spectra, pooled = _spectra(model, inputs, chosen, widths, option, batch)
            limits = _fill_dof(values, spectra, option.ridge, "")
            _fill_dof(values, pooled, option.ridge, "pooled_")
            values["pooled_d"][:] = [s.d for s in pooled]
            values["dof_error"] = _relative_width(limits["k95"])
            sample_bound = np.array([_bound_by_samples(s) for s in spectra])
        elif isinstance(option, Jacobian):
            if n < option.images:
                raise InputError(
                    f"images: expected at most as many as samples ({n}), got {option.images}"
                )
            measured = measure_jacobians(
                model, _on(inputs, model, option.images), chosen, widths, option, generator
            )
            at_least = np.array([r.sketched for r in measured])
            jacobians = tuple(r.singular for r in measured)
            _fill_jacobian(values, measured)
        else:
            if n < option.images:
                raise InputError(
                    f"images: expected at most as many as samples ({n}), got {option.images}"
                )
            values["local_pca"] = _local_pca(
                model, inputs, chosen, widths, option, batch, generator
            )
    values.pop("at_least")
    values.pop("sample_bound")
    return LayerTable(
        layers=chosen,
        **values,
        at_least=at_least,
        sample_bound=sample_bound,
        spectra=spectra,
        pooled_spectra=pooled,
        jacobian_spectra=jacobians,
        limits=limits,
    )


def _on(inputs: Inputs, model: nn.Module, images: int) -> Inputs:
    return next(batches(select_samples(inputs, slice(0, images)), images, device_of(model)))


def _widths(model: nn.Module, inputs: Inputs, chosen: Sequence[Layer]) -> list[int]:
    widths = [0] * len(chosen)

    def note(i: int, out: torch.Tensor) -> None:
        widths[i] = out[0].numel()

    with evaluation_mode(model), LayerHooks(model, chosen) as hooks:
        hooks.run(_on(inputs, model, 1), note)
    return widths


def _spectra(
    model: nn.Module,
    inputs: Inputs,
    chosen: Sequence[Layer],
    widths: Sequence[int],
    option: DegreesOfFreedom,
    batch: int,
) -> tuple[tuple[Spectrum, ...], tuple[Spectrum, ...]]:
    """One forward pass: every layer's spectrum, flattened and pooled."""
    n = sample_count(inputs)
    needed = 1 / (1 - option.tau)
    for layer, d in zip(chosen, widths, strict=True):
        least = ceil(round(min(d, needed), 6)) + 1
        if n < least:
            raise InputError(
                f"inputs: expected at least {least} samples to determine "
                f"k{round(100 * option.tau)} of {layer.name} ({d} outputs), got {n}; use more "
                "samples or leave out DoF"
            )
    streams = _streams(widths, n, option.memory)
    pooled: list[SpectrumStream | None] = [None] * len(chosen)
    shapes: list[torch.Size | None] = [None] * len(chosen)
    rows = 0

    def take_in(i: int, out: torch.Tensor) -> None:
        check_outputs(chosen[i], out, rows, shapes[i])
        shapes[i] = out.shape[1:]
        streams[i].add(out.reshape(rows, -1))
        if out.ndim > 2:
            mean = pool_positions(out, chosen[i])
            stream = pooled[i]
            if stream is None:
                stream = pooled[i] = choose_stream(mean.shape[1], n, option.memory)
            stream.add(mean)

    with evaluation_mode(model), LayerHooks(model, chosen) as hooks:
        for part in batches(inputs, batch, device_of(model)):
            rows = sample_count(part)
            hooks.run(part, take_in)
        # One after the other, so that each frees its rows before the next allocates its products.
        flat = tuple(s.spectrum() for s in streams)
        means = tuple(f if s is None else s.spectrum() for f, s in zip(flat, pooled, strict=True))
    return flat, means


def _streams(widths: Sequence[int], n: int, memory: int) -> list[SpectrumStream]:
    """Share the memory: narrow layers take what they need, wide ones split what is left evenly."""
    streams: list[SpectrumStream | None] = [None] * len(widths)
    left, waiting = memory, len(widths)
    for i in sorted(range(len(widths)), key=lambda i: widths[i]):
        d = widths[i]
        stream = choose_stream(d, n, left // waiting)
        held = 8 * d * d if type(stream).__name__ == "CovarianceStream" else 4 * n * d
        streams[i] = stream
        left = max(left - min(held, left // waiting), 0)
        waiting -= 1
    return [s for s in streams if s is not None]


def _fill_dof(
    values: dict[str, Float64Array], spectra: Sequence[Spectrum], ridge: float, prefix: str
) -> dict[str, Float64Array]:
    """Middle of the interval of every indicator into the columns; the intervals (L, 2) back."""
    limits: dict[str, Float64Array] = {}
    for name, indicator in _dof_definitions(ridge).items():
        pairs = np.array([s.bounds(indicator) for s in spectra]).reshape(-1, 2)
        limits[name] = pairs
        middle = pairs.mean(axis=1)
        values[prefix + name] = np.floor(middle) if name.startswith("k") else middle
    return limits


def _dof_definitions(ridge: float) -> dict[str, Callable[[Float64Array], float]]:
    return {
        "k95": lambda v: k_tau(v, 0.95),
        "k99": lambda v: k_tau(v, 0.99),
        "erank": effective_rank,
        "participation": participation_ratio,
        "ridge_df": lambda v: ridge_df(v, ridge * v.sum()) if v.sum() > 0 else 0.0,
    }


def _relative_width(pairs: Float64Array) -> Float64Array:
    middle = pairs.mean(axis=1)
    width = 0.5 * (pairs[:, 1] - pairs[:, 0])
    out = np.zeros_like(width)
    np.divide(width, middle, out=out, where=middle > 0)
    return out


def _bound_by_samples(s: Spectrum) -> bool:
    """k99 needs over half of the directions that n samples can show, and the layer has more."""
    return s.d > s.n - 1 and k_tau(s.extremes()[1], 0.99) > 0.5 * (s.n - 1)


def _fill_jacobian(values: dict[str, Float64Array], measured: Sequence[JacobianResult]) -> None:
    for i, r in enumerate(measured):
        values["jac_rank_float"][i] = r.rank_float.mean()
        values["jac_rank_float_std"][i] = r.rank_float.std()
        values["jac_rank_1e2"][i] = r.rank_1e2.mean()
        values["jac_rank_1e2_std"][i] = r.rank_1e2.std()
        values["jac_participation"][i] = r.participation.mean()
        error = float(np.square(r.participation_error).sum()) ** 0.5
        values["jac_participation_error"][i] = error / len(r.participation)
        values["stable_rank"][i] = r.stable_rank.mean()
        values["spectral_norm"][i] = r.spectral_norm.mean()


def _local_pca(
    model: nn.Module,
    inputs: Inputs,
    chosen: Sequence[Layer],
    widths: Sequence[int],
    option: LocalPCA,
    batch: int,
    generator: torch.Generator,
) -> Float64Array:
    """Mean over samples of the rank of the covariance of h(x + δ)."""
    if not isinstance(inputs, torch.Tensor) or not inputs.dtype.is_floating_point:
        raise InputError(
            "inputs: expected one floating-point tensor for LocalPCA, got "
            f"{inputs.dtype if isinstance(inputs, torch.Tensor) else type(inputs).__name__}; "
            "leave LocalPCA out for this model"
        )
    counts = np.zeros((option.images, len(chosen)))
    for image in range(option.images):
        streams = [choose_stream(d, option.draws, 2**30) for d in widths]
        eps = [0.0] * len(chosen)
        rows = 0

        def take_in(
            i: int,
            out: torch.Tensor,
            streams: list[SpectrumStream] = streams,
            eps: list[float] = eps,
        ) -> None:
            check_outputs(chosen[i], out, rows, None)  # noqa: B023 - called in this iteration
            eps[i] = torch.finfo(out.dtype).eps
            streams[i].add(out.reshape(len(out), -1))

        noise = torch.randn(
            option.draws,
            *inputs.shape[1:],
            generator=generator,
            device=generator.device,
            dtype=inputs.dtype,
        )
        noisy = inputs[image] + option.noise * noise.to(inputs.device)
        with evaluation_mode(model), LayerHooks(model, chosen) as hooks:
            for part in batches(noisy, batch, device_of(model)):
                rows = sample_count(part)
                hooks.run(part, take_in)
            for i, stream in enumerate(streams):
                s = stream.spectrum()
                top = s.variances.max(initial=0.0)
                tolerance = min(option.draws, s.d) * eps[i]
                counts[image, i] = (s.variances > tolerance * top).sum()
    mean: Float64Array = counts.mean(axis=0)
    return mean
