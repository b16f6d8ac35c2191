"""The one inner loop of the metrics that NumPy cannot do at memory speed."""

from __future__ import annotations

import numpy as np
from numba import njit, prange

from seepage.array_types import BoolArray, Float64Array

__all__ = ["pair_auc"]


@njit(parallel=True, cache=True)
def pair_auc(scores: Float64Array, member: BoolArray, out: Float64Array) -> None:
    """Mann-Whitney over models, sample by sample: (R, N), (R, N) -> out (N,).

    Counting the IN × OUT pairs beats a sort up to a few hundred models, and ties need no care.
    """
    models, samples = scores.shape
    block = 64
    for b in prange((samples + block - 1) // block):
        inside = np.empty((block, models))
        outside = np.empty((block, models))
        first = b * block
        width = min(block, samples - first)
        n_in = np.zeros(block, np.int64)
        n_out = np.zeros(block, np.int64)
        for r in range(models):
            for j in range(width):
                if member[r, first + j]:
                    inside[j, n_in[j]] = scores[r, first + j]
                    n_in[j] += 1
                else:
                    outside[j, n_out[j]] = scores[r, first + j]
                    n_out[j] += 1
        for j in range(width):
            if n_in[j] == 0 or n_out[j] == 0:
                out[first + j] = np.nan
                continue
            twice = 0
            for p in range(n_in[j]):
                x = inside[j, p]
                for q in range(n_out[j]):
                    twice += int(x > outside[j, q]) + int(x >= outside[j, q])
            out[first + j] = twice / (2.0 * n_in[j] * n_out[j])
