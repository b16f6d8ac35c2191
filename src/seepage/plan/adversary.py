"""Which pool the audit's adversary knows, and by how much the figure differs for one who does not.

In a fleet all runs draw their members from one pool of N samples. When an attacker's reference
models do so too, the other members of the target are not just any samples: they come from the same
N, and what their choice adds to the model varies less than if they were drawn anew. The audit's
figures are those of an attacker who knows the pool (arXiv 2605.25819).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray
from seepage.errors import InputError
from seepage.given_arrays import given_array

__all__ = ["distance_factor", "pool_share"]


def pool_share(member: ArrayLike | BoolArray) -> float:
    """Members of a run over the samples of the pool, mean over runs: (R, N) bool -> (0, 1].

    ½ for `half_split`, 1/k for tuples of k, `members`/N for `fresh_draws`. Runs are to be drawn from
    the pool without replacement.

    >>> pool_share([[True, False, False, False], [False, False, True, False]])
    0.25
    """
    m = given_array(member, "member")
    if m.ndim != 2 or m.dtype != np.bool_ or not m.size:
        raise InputError(
            f"member: expected bool of shape (models, samples), got {m.dtype} of shape {m.shape}"
        )
    return float(m.mean())


def distance_factor(share: float) -> float:
    """Upper factor by which the audit overstates the distance for one who does not know the pool.

    factor = 1 / √(1 − share),   share = n/N = `pool_share(member)`

    Let the signal of a sample be a member's shift c plus the sum of what the other members add. For
    n others drawn *anew* from the population that sum has the variance n σ²; for n drawn without
    replacement from N fixed ones it is n σ² (1 − n/N) (the finite-population correction). With
    training noise τ², shared by both,

        d'(pool) / d'(anew) = √((n σ² + τ²) / (n σ² (1 − n/N) + τ²)) <= 1/√(1 − n/N),

    d' = c / sd being the distance of the IN and the OUT law. The factor is reached where the choice
    of the members is all that varies (τ = 0), and is 1 where it is none of it: an *upper* factor, for
    sampling variance only. 1.41 for halves, 1.15 for quarters, 1.05 for tenths. An attacker who
    knows the whole pool, the adversary of differential privacy, is the stronger one; for that one
    nothing is overstated. Raises InputError for a share outside [0, 1).

    Source: the bias is stated by arXiv 2605.25819 (Jälkö, Pradhan, Räisä and Honkela), of which the
    abstract was at hand; the derivation is ours. `benchmarks/adversary.py` checks it.

    >>> [round(distance_factor(1 / k), 2) for k in (2, 4, 10)]
    [1.41, 1.15, 1.05]
    """
    if not 0 <= share < 1:
        raise InputError(
            f"share: expected a number in [0, 1), got {share}; members over samples of the pool"
        )
    return float(1 / np.sqrt(1 - share))
