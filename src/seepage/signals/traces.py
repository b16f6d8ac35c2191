"""Traces of a signal over training, at even times, and what one number says of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import FloatArray
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_floats

__all__ = ["by_epoch", "fits", "loss_iqr"]


def by_epoch(
    values: FloatArray, checkpoints: FloatArray, *, initial: bool = True
) -> tuple[FloatArray, FloatArray]:
    """A trace at evenly spaced times: (..., T, N), (T,) epochs -> (..., G, N) float64, (G,).

    The times are the whole epochs from the first to the last checkpoint, values linear between
    checkpoints; checkpoints at every epoch come back as they are. initial: whether epoch 0, the
    initialisation, is one of them. A trace with fewer than two such epochs is read at 32 even
    steps from its first to its last checkpoint, and one of a single checkpoint stays as it is.

    >>> values, epochs = by_epoch(np.array([[4.0], [2.0], [0.0]]), np.array([0.0, 1.0, 3.0]))
    >>> values[:, 0].tolist(), epochs.tolist()
    ([4.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0])
    """
    trace = given_array(values, "values")
    times = given_floats(checkpoints, "checkpoints")
    fits(trace, times)
    if len(times) == 1:
        return trace.astype(np.float64), times
    grid = np.arange(np.ceil(times[0]), np.floor(times[-1]) + 1)
    grid = grid[grid > 0] if not initial else grid
    if len(grid) < 2:
        grid = np.linspace(times[0], times[-1], 33)
    after = np.clip(np.searchsorted(times, grid), 1, len(times) - 1)
    part = ((grid - times[after - 1]) / (times[after] - times[after - 1]))[:, None]
    before = np.asarray(trace[..., after - 1, :], dtype=np.float64)
    return before + part * (trace[..., after, :] - before), grid


def loss_iqr(loss: FloatArray, checkpoints: FloatArray) -> FloatArray:
    """Loss-trace interquartile range, LT-IQR = q₇₅ − q₂₅ of the losses over training time.

    (..., T, N) nats, (T,) epochs -> (..., N). Reported to predict LiRA's most vulnerable samples
    from one run (arXiv 2411.05743), where the trace has one loss for each epoch of training. Here
    too, whatever the checkpoints: losses are interpolated to whole epochs (`by_epoch`). Epoch 0 is
    not one of them, since the published trace starts after training has; checkpoints at every
    epoch give the published figure. One checkpoint: 0.

    >>> loss_iqr(np.array([[9.0], [4.0], [0.0]]), np.array([0.0, 1.0, 5.0])).tolist()
    [2.0]
    """
    trace = given_array(loss, "loss")
    fits(trace, given_array(checkpoints, "checkpoints"))
    out = np.empty((*trace.shape[:-2], trace.shape[-1]))
    # Run by run: an epoch-long trace of all of them may be many times what was recorded.
    for k in np.ndindex(trace.shape[:-2]):
        values, _ = by_epoch(trace[k], checkpoints, initial=False)
        low, high = np.quantile(values, [0.25, 0.75], axis=0)
        out[k] = high - low
    return out


def fits(trace: NDArray[np.generic], epochs: FloatArray) -> None:
    """Raise InputError unless a trace (..., T, N) has these T checkpoints."""
    if trace.ndim < 2 or trace.shape[-2] != len(epochs):
        raise InputError(
            f"trace: expected {len(epochs)} checkpoints on the second last axis, got shape "
            f"{trace.shape}; pass (models, checkpoints, samples)"
        )
