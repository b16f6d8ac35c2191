"""Kernels are found, limited, refused what they cannot read, and agree at every level."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from seepage.errors import InputError
from seepage.metrics import row_auc
from seepage.native.library import LEVELS, kernel, level, limited, over_blocks, threads


def test_limits_hold_inside_and_end() -> None:
    before = level(), threads()
    with limited(level="none", threads=3):
        assert (level(), threads()) == ("none", 3)
        assert kernel("pair_auc") is None
        with limited(threads=1):
            assert (level(), threads()) == ("none", 1)
    assert (level(), threads()) == before


def test_environment_names_level_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEPAGE_KERNELS", "none")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert (level(), threads()) == ("none", 7)
    monkeypatch.setenv("SEEPAGE_THREADS", "2")
    assert threads() == 2
    monkeypatch.setenv("SEEPAGE_KERNELS", "sse")
    with pytest.raises(InputError, match="expected one of none, base, avx2, avx512, got 'sse'"):
        level()


@pytest.mark.skipif(level() == "none", reason="no compiled kernels here")
def test_other_arrays_are_refused() -> None:
    compiled = kernel("pair_auc", "f8", "?", int, int, int, int, "f8")
    assert compiled is not None
    scores, member, out = np.zeros((2, 3)), np.zeros((2, 3), bool), np.zeros(3)
    compiled(scores, member, 2, 3, 0, 3, out)
    for wrong in (scores.astype("f4"), scores.T):
        with pytest.raises(Exception, match="array must have"):
            compiled(wrong, member, 2, 3, 0, 3, out)


def test_parts_cover_the_work_once_and_errors_are_raised() -> None:
    seen, lock = np.zeros(23, int), threading.Lock()

    def part(first: int, last: int) -> None:
        with lock:
            seen[first:last] += 1

    with limited(threads=3):
        over_blocks(part, 23, 5)
        assert (seen == 1).all()
        with pytest.raises(ZeroDivisionError):
            over_blocks(lambda first, last: print(1 // (first - 5)), 23, 5)
        over_blocks(part, 0, 5)
    assert seen.sum() == 23


@pytest.mark.parametrize("at", LEVELS)
def test_every_level_gives_the_same_bits(at: str) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(9, 131)).round(1)
    member = rng.random((9, 131)) < 0.5
    member[:, 7] = True
    expected = row_auc(scores, member)
    with limited(level=at, threads=2):
        np.testing.assert_array_equal(row_auc(scores, member), expected)
    assert np.isnan(expected[7])
