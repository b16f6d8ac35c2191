"""How much ε an attack on the trained models refutes, to stand beside what an accountant promises."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import Float64Array
from seepage.epsilon import one_run_from_scores
from seepage.errors import InputError

__all__ = ["epsilon_of_runs", "joint_epsilon"]

LEVEL = 0.95
SHARES = (0.125, 0.25, 0.5, 1.0)


def epsilon_of_runs(
    scores: ArrayLike, member: ArrayLike, *, delta: float = 1e-5, level: float = LEVEL
) -> Float64Array:
    """A lower bound on ε from each run alone, at 1 − (1 − level)/2, so that `joint_epsilon` is at `level`.

    scores (R, M) of R targets, higher = more likely a member, each scored without itself and the
    other of its pair; member (R, M) bool. Each run is audited in one run (Steinke et al., arXiv 2305.08846) by
    guessing an eighth, a quarter, half and all of its M samples from both ends, corrected for that
    choice. Assumes a fair coin per sample and run, which a half-split of many samples is close to.
    It refutes smaller ε; a 0 shows nothing.
    """
    s, y = np.asarray(scores, np.float64), np.asarray(member)
    if s.ndim != 2 or y.shape != s.shape or y.dtype != np.bool_:
        raise InputError(
            f"scores, member: expected (runs, samples) floats and bools of one shape, got "
            f"{s.shape} and {y.dtype} of shape {y.shape}; pass all targets of a fleet"
        )
    counts = sorted({max(1, round(share * s.shape[1])) for share in SHARES})
    each = 1 - (1 - level) / 2
    return np.array(
        [
            one_run_from_scores(a, b, counts, delta=delta, level=each).epsilon
            for a, b in zip(s, y, strict=True)
        ]
    )


def joint_epsilon(bounds: Sequence[float] | Float64Array) -> float:
    """The lower median of bounds that each hold at 1 − α/2: a bound at 1 − α, however they depend.

    Were it above the truth, at least half of the R bounds would be; their expected share is at most
    α/2, so by Markov's inequality that happens with probability at most α. The largest of them
    would have no such level.

    >>> joint_epsilon([0.0, 3.0, 1.0, 2.0])
    1.0
    """
    held = np.sort(np.asarray(bounds, np.float64))
    if held.ndim != 1 or not held.size:
        raise InputError(f"bounds: expected one per run, got shape {held.shape}")
    return float(held[(len(held) - 1) // 2])
