"""Singular values, ranks and moments of a Jacobian, whole or sketched.

J (d, d0) is the derivative of a layer's flattened output with respect to the model's input at one
sample, σ_i its singular values. Huang et al. (arXiv 2412.00696) use the rank of J; which output,
tolerance and number of inputs were not available, so ranks here are a **reconstruction**, given at
two tolerances because the result depends on the tolerance:

    rank_t = #{ i : σ_i > t·σ_1 },   t_float = max(d, d0)·ε of the working type, and t = 0.01.

Full Jacobians cost min(d, d0) derivative passes per sample. Cheaper figures come from k of
them: Y = JΩ with Ω (d0, k) standard normal, of which only G = YᵀY (k, k) is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seepage.array_types import Float64Array, FloatArray
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_floats

__all__ = [
    "Moments",
    "gram_singular_values",
    "moments",
    "rank_at",
    "singular_values",
    "sketch_singular_values",
    "sketch_spectrum",
]


def singular_values(jacobian: FloatArray) -> Float64Array:
    """Singular values of J (d, d0) in float64, descending, by a decomposition of J itself.

    Not by way of JᵀJ: its eigenvalues are σ², so a tolerance on σ would have to be squared and
    everything below σ_1·√ε would be lost.

    >>> singular_values(np.diag([3.0, 0.0, 4.0]))
    array([4., 3., 0.])
    """
    j = given_floats(jacobian, "jacobian")
    if j.ndim != 2 or not np.isfinite(j).all():
        raise InputError(f"jacobian: expected finite values of shape (d, d0), got shape {j.shape}")
    return np.asarray(np.linalg.svd(j, compute_uv=False), dtype=np.float64)


def gram_singular_values(gram: FloatArray) -> Float64Array:
    """Singular values of J from JᵀJ or JJᵀ (m, m), float64, descending, to 1e-8 of the largest.

    Enough for a Jacobian computed in single precision, whose smaller values are rounding anyway;
    where the tolerance of a rank is finer, decompose J itself.

    >>> gram_singular_values(np.diag([9.0, 16.0]))
    array([4., 3.])
    """
    values = np.linalg.eigvalsh(given_floats(gram, "gram"))[::-1]
    return np.asarray(np.sqrt(np.maximum(values, 0.0)), dtype=np.float64)


def rank_at(values: FloatArray, tolerance: float, top: float | None = None) -> int:
    """#{σ_i > tolerance·σ_1}; 0 for a derivative of zero.

    `top`: σ_1 where `values` hold only some of the singular values.

    >>> rank_at(np.array([2.0, 1.0, 1e-3]), 1e-2)
    2
    """
    if not 0 <= tolerance < 1:
        raise InputError(f"tolerance: expected a share in [0, 1), got {tolerance}")
    v = given_floats(values, "values")
    largest = float(v.max(initial=0.0)) if top is None else float(top)
    return int((v > tolerance * largest).sum()) if largest > 0 else 0


@dataclass(frozen=True)
class Moments:
    """Moments of J from k random directions, with jackknife standard errors.

    frobenius2 = ‖J‖_F² = Σσ²; participation = (Σσ²)² / Σσ⁴, the number of directions that carry
    the derivative.
    """

    frobenius2: float
    frobenius2_error: float
    participation: float
    participation_error: float


def _ratio(trace2: Float64Array | float, square: Float64Array | float) -> Float64Array:
    trace2, square = given_array(trace2, "trace2"), given_array(square, "square")
    out = np.zeros(np.broadcast(trace2, square).shape)
    np.divide(trace2, square, out=out, where=square > 0)
    return out


def moments(gram: FloatArray) -> Moments:
    """Frobenius norm and participation ratio of J from G = YᵀY (k, k), Y = JΩ, Ω standard normal.

    For i ≠ j the columns are independent given J, so without bias for every k ≥ 2

        ‖J‖_F²   = E G_ii
        ‖J‖_F⁴   = E G_ii G_jj
        ‖JᵀJ‖_F² = E G_ij²

    and participation = mean(G_ii G_jj) / mean(G_ij²) over i ≠ j. The ratio of the two unbiased
    moments has a bias of order 1/k; its standard error comes from leaving out one probe at a time.
    Squaring the mean of G_ii instead, as is often done, adds 2/k to the ratio. A rank counted on Y
    saturates at k and its stable rank is far too low; this ratio is usable from k = 64 on.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.standard_normal((400, 64))      # J = identity of 400: participation 400
    >>> m = moments(y.T @ y)
    >>> abs(m.participation - 400) < 4 * m.participation_error
    True
    """
    g = given_floats(gram, "gram")
    k = len(g)
    if g.ndim != 2 or g.shape[0] != g.shape[1] or k < 3:
        raise InputError(f"gram: expected shape (k, k) with k of at least 3, got {g.shape}")
    t = np.diagonal(g)
    scale = float(t.mean())
    if scale == 0:
        return Moments(0.0, 0.0, 0.0, 0.0)
    g, t = g / scale, t / scale
    own = t * t
    rows = (g * g).sum(1) - own
    square = float(rows.sum())
    trace2 = float(t.sum() ** 2 - own.sum())
    full = float(_ratio(trace2, square))
    # Leaving probe i out takes its row and its column from both double sums.
    left = _ratio(trace2 - 2 * t * (t.sum() - t), square - 2 * rows)
    spread = float(np.sqrt((k - 1) / k * ((left - left.mean()) ** 2).sum()))
    return Moments(scale, scale * float(t.std(ddof=1)) / k**0.5, full, spread)


def sketch_singular_values(gram: FloatArray, omega: FloatArray) -> Float64Array:
    """Singular values of J restricted to the span of the probes: lower bounds for those of J.

    gram (k, k) = YᵀY; omega (d0, k). With Ω = QR, JQ = Y R⁻¹ and by interlacing σ_i(JQ) ≤ σ_i(J)
    for every i: a bound that always holds, while σ_i(Y) may lie on either side of σ_i(J). They
    come by way of a Gram matrix, so those below 1e-8 of the largest are rounding.

    >>> omega = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))[0]
    >>> j = np.diag([5.0, 4.0, 3.0, 2.0, 1.0, 0.5])
    >>> sketch_singular_values((j @ omega).T @ (j @ omega), omega).round(6)
    array([5. , 4. , 3. , 2. , 1. , 0.5])
    """
    return sketch_spectrum(gram, omega)[0]


def sketch_spectrum(gram: FloatArray, omega: FloatArray) -> tuple[Float64Array, Float64Array]:
    """`sketch_singular_values`, and the unit vector v (d0,) of the span with the largest ‖Jv‖."""
    q, r = np.linalg.qr(given_floats(omega, "omega"))
    half = np.linalg.solve(r.T, given_floats(gram, "gram"))
    inner = np.linalg.solve(r.T, half.T)
    values, vectors = np.linalg.eigh(0.5 * (inner + inner.T))
    bounds = np.sqrt(np.maximum(values[::-1], 0.0))
    return np.asarray(bounds, dtype=np.float64), np.asarray(q @ vectors[:, -1], dtype=np.float64)
