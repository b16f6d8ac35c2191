"""Jacobians of the layers of a model: exact for small ones, sketched for large ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from seepage.array_types import Float64Array, Int64Array
from seepage.errors import InputError
from seepage.layers.derivatives import (
    LayerFunctions,
    free_inputs,
    full_jacobian,
    jacobian_products,
    largest_singular_value,
    tangent_capacity,
    unfused_attention,
)
from seepage.layers.hooks import Inputs, Layer, LayerHooks, evaluation_mode, select_samples
from seepage.layers.singular_values import (
    gram_singular_values,
    moments,
    rank_at,
    singular_values,
    sketch_spectrum,
)
from seepage.short_repr import short_repr

__all__ = ["Jacobian", "JacobianResult", "measure_jacobians"]


@dataclass(frozen=True)
class Jacobian:
    """Options of the Jacobian indicators.

    images: the first so many samples of the probe set; figures are means over them. probes: random
    directions k of the sketch (at least 8). exact: layers whose output or input has at most so
    many values get their whole Jacobian. power: iterations for the spectral norm of a sketched
    layer; 0 takes the largest ‖Jv‖ in the span of the probes instead, cheap and too small (ranks
    are then counted against the Frobenius norm, so that they remain lower bounds). double: compute
    exact Jacobians in float64 whatever the model's type. patch: differentiate by the central patch
    × patch pixels of an image only, all others held (*partial rank*; the public code of Feng et
    al., arXiv 2206.06072, takes 16 × 16): an exact rank at every layer of a large network, of a
    part of its input; a chain's ranks still never rise.
    """

    images: int = 8
    probes: int = 64
    exact: int = 256
    power: int = 8
    double: bool = True
    patch: int | None = None

    def __post_init__(self) -> None:
        least = {"images": 1, "probes": 8, "exact": 0, "power": 0, "patch": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise InputError(f"{name}: expected at least {low}, got {value}")


@short_repr
@dataclass(frozen=True, eq=False)
class JacobianResult:
    """One layer's indicators at m samples, each (m,), and its singular values (m, r).

    `sketched`: singular values are those on the span of the probes, lower bounds, and so are the
    two ranks. `spectral_gap` is the last relative change of the power iteration; the spectral norm
    itself is approached from below.
    """

    singular: Float64Array
    rank_float: Int64Array
    rank_1e2: Int64Array
    participation: Float64Array
    participation_error: Float64Array
    frobenius2: Float64Array
    spectral_norm: Float64Array
    spectral_gap: Float64Array
    sketched: bool

    @property
    def stable_rank(self) -> Float64Array:
        """‖J‖_F² / σ_1², at least 1 as it must be; 0 where the derivative is zero."""
        top = self.spectral_norm**2
        out = np.zeros_like(top)
        # An estimate of ‖J‖_F² from few probes may come out below σ_1², which it never is.
        np.divide(np.maximum(self.frobenius2, top), top, out=out, where=top > 0)
        return out


@dataclass
class _Rows:
    """One layer's figures, gathered sample by sample."""

    singular: list[Float64Array]
    columns: dict[str, list[float]]

    def add(self, singular: Float64Array, **values: float) -> None:
        self.singular.append(singular)
        for name, value in values.items():
            self.columns.setdefault(name, []).append(value)

    def result(self, sketched: bool) -> JacobianResult:
        c = {k: np.array(v) for k, v in self.columns.items()}
        return JacobianResult(
            singular=np.stack(self.singular),
            rank_float=c["rank_float"].astype(np.int64),
            rank_1e2=c["rank_1e2"].astype(np.int64),
            participation=c["participation"],
            participation_error=c["participation_error"],
            frobenius2=c["frobenius2"],
            spectral_norm=c["spectral_norm"],
            spectral_gap=c["spectral_gap"],
            sketched=sketched,
        )


def _exact_row(jacobian: torch.Tensor, eps: float) -> tuple[Float64Array, dict[str, float]]:
    j = jacobian.double()
    if eps > 1e-10 and min(j.shape) > 0:
        # A single-precision Jacobian holds nothing below 1e-8 of its norm, which is all that a Gram
        # matrix in double precision loses: the products are cheaper, on the model's device.
        gram = j @ j.T if j.shape[0] < j.shape[1] else j.T @ j
        values = gram_singular_values(gram.cpu().numpy())
    else:
        values = singular_values(j.cpu().numpy())
    squares = values * values
    total = float(squares.sum())
    fourth = float((squares * squares).sum())
    return values, {
        "rank_float": rank_at(values, max(jacobian.shape) * eps),
        "rank_1e2": rank_at(values, 1e-2),
        "participation": total * total / fourth if fourth > 0 else 0.0,
        "participation_error": 0.0,
        "frobenius2": total,
        "spectral_norm": float(values.max(initial=0.0)),
        "spectral_gap": 0.0,
    }


def measure_jacobians(
    model: nn.Module,
    inputs: Inputs,
    layers: Sequence[Layer],
    widths: Sequence[int],
    options: Jacobian,
    generator: torch.Generator,
) -> tuple[JacobianResult, ...]:
    """Jacobian indicators of every layer at the first samples of `inputs`.

    One forward-mode derivative in a random direction yields that derivative of *all* layers, so
    the sketch of a whole network costs `probes` passes. Layers with few outputs are done exactly in
    reverse mode; with few inputs, all are, in forward mode.
    """
    rows = [_Rows([], {}) for _ in layers]
    sketched = [False] * len(layers)
    with evaluation_mode(model), unfused_attention():
        for i in range(options.images):
            sample = select_samples(inputs, slice(i, i + 1))
            try:
                _one_sample(model, sample, layers, widths, options, generator, rows, sketched)
            except NotImplementedError as error:
                what = str(error).partition("\n")[0].removesuffix(".")
                raise InputError(
                    "Jacobian: expected layers that torch can differentiate in forward mode, got "
                    f"{type(model).__name__}: {what}; leave Jacobian() out of the indicators"
                ) from error
    return tuple(r.result(s) for r, s in zip(rows, sketched, strict=True))


def _one_sample(
    model: nn.Module,
    sample: Inputs,
    layers: Sequence[Layer],
    widths: Sequence[int],
    options: Jacobian,
    generator: torch.Generator,
    rows: list[_Rows],
    sketched: list[bool],
) -> None:
    point = LayerFunctions(model, sample, double=False)
    free = free_inputs(point.x, options.patch)
    d0 = len(free)
    # As many probes as inputs would be the whole Jacobian anyway.
    few_inputs = d0 <= max(options.exact, options.probes)
    narrow = [i for i, d in enumerate(widths) if not few_inputs and d <= options.exact]
    wide = [i for i in range(len(layers)) if not few_inputs and i not in narrow]
    if few_inputs or narrow:
        exact = LayerFunctions(model, sample, options.double)
        eps = torch.finfo(exact.x.dtype).eps
    if few_inputs:
        eye = _spread(torch.eye(d0, dtype=exact.x.dtype, device=exact.x.device), exact.x, free)
        for group in _groups(widths, d0, 4 * tangent_capacity(exact.x.device)):
            with LayerHooks(model, [layers[i] for i in group]) as hooks:
                widest = sum(widths[i] for i in group)
                found = jacobian_products(exact.layers(hooks), exact.x, eye, widest)
            for i, columns in zip(group, found, strict=True):
                values, row = _exact_row(columns.T, eps)
                rows[i].add(values, **row)
    for i in narrow:
        with LayerHooks(model, [layers[i]]) as hooks:
            jacobian = full_jacobian(exact.layers(hooks), exact.x, widths[i])
            values, row = _exact_row(jacobian[:, free], eps)
        rows[i].add(values, **row)
    if wide:
        _sketch(model, point, layers, widths, wide, options, generator, rows, free)
        for i in wide:
            sketched[i] = True


def _spread(rows: torch.Tensor, x: torch.Tensor, free: torch.Tensor) -> torch.Tensor:
    """Directions over the free inputs (k, d0) as directions over all of x, (k, *x)."""
    out = rows.new_zeros(len(rows), x.numel())
    out[:, free] = rows
    return out.reshape(len(rows), *x.shape)


def _groups(widths: Sequence[int], d0: int, room: int) -> Iterator[list[int]]:
    """Neighbouring layers whose exact Jacobians fit into `room` values together."""
    group: list[int] = []
    taken = 0
    for i, d in enumerate(widths):
        if group and taken + d * d0 > room:
            yield group
            group, taken = [], 0
        group.append(i)
        taken += d * d0
    yield group


def _sketch(
    model: nn.Module,
    point: LayerFunctions,
    layers: Sequence[Layer],
    widths: Sequence[int],
    wide: Sequence[int],
    options: Jacobian,
    generator: torch.Generator,
    rows: list[_Rows],
    free: torch.Tensor,
) -> None:
    x = point.x
    d0, k = len(free), options.probes
    # Drawn on the generator's device and moved: the same probes on every device.
    omega = torch.randn(k, d0, generator=generator, device=generator.device).to(x)
    with LayerHooks(model, [layers[i] for i in wide]) as hooks:
        widest = sum(widths[i] for i in wide)
        found = jacobian_products(point.layers(hooks), x, _spread(omega, x, free), widest)
    grams = []
    for y in found:
        exact = y.double()
        grams.append((exact @ exact.T).cpu().numpy())
    directions = omega.T.double().cpu().numpy()
    eps = torch.finfo(x.dtype).eps
    for i, gram in zip(wide, grams, strict=True):
        values, best = sketch_spectrum(gram, directions)
        m = moments(gram)
        norm, gap = 0.0, 1.0
        if options.power:
            # The best direction among the probes is a good start for the power iteration.
            top = _spread(torch.from_numpy(best).to(x)[None], x, free)[0]
            with LayerHooks(model, [layers[i]]) as hooks:
                norm, gap = largest_singular_value(point.layers(hooks), x, top, options.power, free)
        norm = max(norm, float(values.max(initial=0.0)))
        top_at_most = norm if options.power else max(norm, m.frobenius2**0.5)
        rows[i].add(
            values,
            rank_float=rank_at(values, min(max(widths[i], d0) * eps, 0.5), top_at_most),
            rank_1e2=rank_at(values, 1e-2, top_at_most),
            participation=m.participation,
            participation_error=m.participation_error,
            frobenius2=m.frobenius2,
            spectral_norm=norm,
            spectral_gap=gap,
        )
