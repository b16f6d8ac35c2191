"""Images of a batch, cut by kernels: every level the same bits, and the rule of tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seepage.native.library import LEVELS, limited
from seepage.record.resident import Resident, cut


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int16])
def test_every_level_cuts_as_tensors_do(dtype, channels):
    rng = np.random.default_rng(channels)
    pixels = rng.integers(0, 200, size=(9, 6, 5, channels)).astype(dtype)
    scale, shift = rng.normal(size=(2, channels)).astype(np.float32)
    rows = rng.integers(0, 9, 40)
    # Beyond the image too, on both sides.
    dy, dx = rng.integers(-7, 8, size=(2, 40))
    flip = rng.random(40) < 0.5
    expected = cut(
        *(torch.from_numpy(a) for a in (pixels, rows, scale, shift, dy, dx, flip))
    ).numpy()
    pool = Resident(pixels, np.zeros(9, np.int64))
    before = pixels.copy()
    for at in LEVELS:
        with limited(level=at):
            found = pool.batch(rows, scale, shift, dy=dy, dx=dx, flip=flip)
            whole = pool.batch(rows, scale, shift)
        assert found.is_contiguous(memory_format=torch.channels_last) or channels == 1
        np.testing.assert_array_equal(found.numpy(), expected)
        np.testing.assert_array_equal(
            whole.permute(0, 2, 3, 1).numpy(), pixels[rows].astype(np.float32) * scale + shift
        )
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("at", ["none", "avx512"])
def test_rows_outside_the_pool_are_refused(at):
    pool = Resident(np.zeros((3, 2, 2, 1), np.uint8), np.zeros(3, np.int64))
    one = np.ones(1, np.float32)
    with limited(level=at), pytest.raises(IndexError):
        pool.batch(np.array([3]), one, one)
    with limited(level=at):
        assert pool.batch(np.empty(0, np.int64), one, one).shape == (0, 1, 2, 2)
