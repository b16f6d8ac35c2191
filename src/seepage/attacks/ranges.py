"""Whether any sample of a range was trained on, from the scores of the samples in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, FloatArray
from seepage.errors import InputError
from seepage.given_arrays import given_numbers

__all__ = ["range_members", "range_scores"]


def range_scores(scores: FloatArray, ranges: ArrayLike, *, keep: float = 0.5) -> Float64Array:
    """One score of each range of samples: the mean of its highest scores; RaMIA.

        score(range) = mean of the ⌈keep · n⌉ highest of the n scores in it

    (R, N) scores of any attack, (N,) codes 0 … G − 1 of ranges, such as one image rotated by n angles
    or all records that agree in two columns -> (R, G); higher = more likely that some sample of it was
    trained on (`range_members`). keep: 1 is the mean, small ones the maximum; the lower scores, which
    are those of samples that are not members in any case, are trimmed. Unlike a subject, of whom all
    records are members or none, a range is one where any is.

    Ranges must be of one size: of larger ones the highest scores are higher, and the chance of a
    member is, on noise too. *Reconstruction* of RaMIA (arXiv 2408.05131), which trims both ends.

    >>> range_scores(np.array([[1.0, 5.0, 3.0, 0.0, 0.0, 1.0]]), [0, 0, 0, 1, 1, 1]).tolist()
    [[4.0, 0.5]]
    """
    scores = np.asarray(given_numbers(scores, "scores"), dtype=np.float64)
    if not 0 < keep <= 1:
        raise InputError(f"keep: expected a share above 0 and at most 1, got {keep}")
    parts = _parts(ranges, scores.shape[-1])
    number = int(np.ceil(keep * parts.shape[1]))
    return np.asarray(np.sort(scores[..., parts], axis=-1)[..., -number:].mean(axis=-1))


def range_members(member: BoolArray, ranges: ArrayLike) -> BoolArray:
    """Whether any sample of each range is a member: (R, N) bool, (N,) codes -> (R, G).

    >>> range_members(np.array([[True, False, False, False]]), [0, 0, 1, 1]).tolist()
    [[True, False]]
    """
    member = np.asarray(member, dtype=np.bool_)
    return np.asarray(member[..., _parts(ranges, member.shape[-1])].any(axis=-1))


def _parts(ranges: ArrayLike, samples: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Positions of the samples of each range: (G, n)."""
    codes = np.asarray(ranges)
    if codes.shape != (samples,) or codes.dtype.kind not in "iu":
        raise InputError(
            f"ranges: expected a whole number for each of {samples} samples, got {codes.dtype} of "
            f"shape {codes.shape}"
        )
    sizes = np.bincount(codes.astype(np.int64)) if codes.size and codes.min() >= 0 else np.zeros(1)
    if sizes.min() < 1 or sizes.min() != sizes.max():
        raise InputError(
            f"ranges: expected ranges 0, 1, … of one size, got sizes {int(sizes.min())} to "
            f"{int(sizes.max())}; take as many samples of each"
        )
    return np.argsort(codes, kind="stable").reshape(len(sizes), -1).astype(np.int64)
