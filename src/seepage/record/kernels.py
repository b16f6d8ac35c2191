"""One fused pass from stored pixels to a normalised batch: gather, shift, mirror, scale."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from seepage.array_types import AnyArray, BoolArray, Int64Array

__all__ = ["gather_images"]


@numba.njit(cache=True, nogil=True)
def gather_images(
    pixels: AnyArray,
    rows: Int64Array,
    dy: Int64Array,
    dx: Int64Array,
    flip: BoolArray,
    scale: NDArray[np.float32],
    shift: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """out[b] = scale·(pixels[rows[b]] mirrored if flip[b], moved by (dy[b], dx[b])) + shift.

    pixels (N, H, W, C), out (B, H, W, C) float32; what moves in from outside is pixel value 0.
    """
    height, width, channels = pixels.shape[1:]
    for b in range(len(rows)):
        source = pixels[rows[b]]
        for r in range(height):
            from_r = r + dy[b]
            inside = 0 <= from_r < height
            for c in range(width):
                from_c = c + dx[b]
                if inside and 0 <= from_c < width:
                    if flip[b]:
                        from_c = width - 1 - from_c
                    for k in range(channels):
                        out[b, r, c, k] = (
                            np.float32(source[from_r, from_c, k]) * scale[k] + shift[k]
                        )
                else:
                    for k in range(channels):
                        out[b, r, c, k] = shift[k]
