"""How far the false-positive rate differs between samples under one decision rule.

A rule that holds a rate on average over samples need not hold it for each: under one threshold for
all, a sample whose score is high without training on it is called a member again and again, and
another never. What counting over few targets does by itself stands beside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from seepage.array_types import Float64Array, FloatArray, IntArray
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_floats

__all__ = ["FprSpread", "fpr_spread"]


@dataclass(frozen=True)
class FprSpread:
    """Realised false-positive rates over samples, and what binomial counting alone would give.

    mean: over samples. sd, zero, top: standard deviation over samples, share of samples at 0, and
    99th percentile; sd_counting, zero_counting, top_counting: the same if every sample had the mean
    as its rate. samples: how many have a rate.
    """

    mean: float
    sd: float
    sd_counting: float
    zero: float
    zero_counting: float
    top: float
    top_counting: float
    samples: int

    def __str__(self) -> str:
        return (
            f"FPR {self.mean:.4f} on average; it differs between samples: sd {self.sd:.4f} "
            f"(counting alone {self.sd_counting:.4f}), 99th percentile {self.top:.3f} "
            f"({self.top_counting:.3f}), {self.zero:.0%} of samples at 0 ({self.zero_counting:.0%})"
        )


def fpr_spread(fpr: FloatArray, n_out: IntArray) -> FprSpread:
    """The spread of counted rates: fpr (N,), n_out (N,) targets behind each -> `FprSpread`.

    fpr and n_out as of `seepage.plane.points`; NaN where a sample was in no target OUT, and left
    out here. Counting alone: k ~ Bin(n_out, mean) for every sample; sd² = mean of m (1 − m)/n_out,
    share at 0 = mean of (1 − m)^n_out, and the 99th percentile of that mixture. Targets share
    references, so a spread that is somewhat larger than counting gives does not by itself show that
    thresholds should differ between samples.

    >>> print(fpr_spread(np.array([0.0, 0.0, 0.5, 0.0]), np.full(4, 4)))
    FPR 0.1250 on average; it differs between samples: sd 0.2165 (counting alone 0.1654), 99th percentile 0.500 (0.500), 75% of samples at 0 (59%)
    """
    rate, n = np.broadcast_arrays(given_floats(fpr, "fpr"), given_array(n_out, "n_out"))
    known = np.isfinite(rate) & (n > 0)
    if rate.ndim != 1 or not known.any():
        raise InputError(
            f"fpr: expected rates (N,), at least one of them counted, got shape {rate.shape} with "
            f"{int(known.sum())}; train more models"
        )
    rate, n = rate[known], n[known].astype(np.float64)
    mean = float(rate.mean())
    sizes, many = np.unique(n, return_counts=True)
    return FprSpread(
        mean=mean,
        sd=float(rate.std()),
        sd_counting=float(np.sqrt((mean * (1 - mean) / n).mean())),
        zero=float((rate == 0).mean()),
        zero_counting=float(((1 - mean) ** n).mean()),
        top=float(np.quantile(rate, 0.99, method="inverted_cdf")),
        top_counting=_quantile(mean, sizes, many / len(rate), 0.99),
        samples=len(rate),
    )


def _quantile(mean: float, sizes: Float64Array, share: Float64Array, level: float) -> float:
    """Smallest rate that Bin(n, mean)/n, mixed over n, exceeds with probability ≤ 1 − level."""
    counts = [np.arange(n + 1) for n in sizes]
    rates = np.concatenate([k / n for k, n in zip(counts, sizes, strict=True)])
    mass = np.concatenate(
        [
            w * scipy.stats.binom.pmf(k, n, mean)
            for k, n, w in zip(counts, sizes, share, strict=True)
        ]
    )
    order = np.argsort(rates, kind="stable")
    at = int(np.searchsorted(np.cumsum(mass[order]), level - 1e-12))
    return float(rates[order][min(at, len(rates) - 1)])
