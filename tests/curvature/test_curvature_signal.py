"""Curvature over training: the recorded signal and its running mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from seepage.curvature import (
    CurvatureSignal,
    FiniteDifference,
    RunningMean,
    Shared,
    ZerothOrder,
    curvature,
    running_mean,
)
from seepage.errors import InputError

VALUES = arrays(
    np.float64, (6, 3), elements=st.one_of(st.floats(-1e3, 1e3), st.just(float("nan")))
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(VALUES)
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:Degrees of freedom")
def test_running_mean_is_the_mean_so_far(values) -> None:
    so_far = RunningMean.empty(3)
    cumulative = running_mean(values)
    for t in range(6):
        so_far = so_far.add(values[t])
        want = np.nanmean(values[: t + 1], axis=0)
        np.testing.assert_allclose(so_far.mean, want, atol=1e-9)
        np.testing.assert_allclose(cumulative[t], want, atol=1e-9)
        many = so_far.count > 1
        spread = np.nanvar(values[: t + 1], axis=0, ddof=1)
        np.testing.assert_allclose(so_far.variance[many], spread[many], atol=1e-6)
        assert np.isnan(so_far.variance[~many]).all()


def test_running_mean_takes_the_checkpoint_axis_of_a_run() -> None:
    values = np.random.default_rng(0).random((2, 5, 4)).astype(np.float32)
    got = running_mean(values, axis=1)
    np.testing.assert_allclose(got[1, 3], values[1, :4].mean(0), rtol=1e-6)
    with pytest.raises(InputError, match=r"values: expected shape \(3,\), got \(4,\)"):
        RunningMean.empty(3).add(np.zeros(4))


def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


X = torch.from_numpy(np.random.default_rng(1).standard_normal((9, 5))).float()
Y = torch.arange(9) % 3


def test_signal_measures_the_chosen_samples_and_leaves_the_mode() -> None:
    net = model().train()
    net[1].eval()
    signal = CurvatureSignal(samples=(7, 2))
    got = signal.measure(net, X, Y, np.random.default_rng(0))
    assert tuple(got) == signal.names == ("curvature_trace", "curvature_frobenius")
    assert [m.training for m in net] == [True, False, True, True]
    whole = curvature(net.eval(), X, Y)
    assert got["curvature_trace"].dtype == np.float32
    np.testing.assert_allclose(got["curvature_trace"][[2, 7]], whole.trace[[2, 7]], rtol=1e-6)
    assert np.isnan(np.delete(got["curvature_trace"], [2, 7])).all()


@pytest.mark.parametrize(
    ("estimator", "names"),
    [
        (ZerothOrder(n=2), ("curvature_zo",)),
        (ZerothOrder(n=2, directions=Shared()), ("curvature_zo_trace",)),
        (FiniteDifference(n=2), ("curvature_fd",)),
    ],
)
def test_published_estimators_have_signals_of_their_own(estimator, names) -> None:
    signal = CurvatureSignal(estimator)
    assert signal.names == names
    a = signal.measure(model(), X, Y, torch.Generator().manual_seed(3))
    b = signal.measure(model(), X, Y, torch.Generator().manual_seed(3))
    c = signal.measure(model(), X, Y, np.random.default_rng(3))
    assert all((a[k] != c[k]).any() for k in a)
    assert all(np.isfinite(v).all() and v.shape == (9,) for v in a.values())
    assert all(np.array_equal(a[k], b[k]) for k in a)


def test_signal_is_wanted_at_its_checkpoints() -> None:
    assert CurvatureSignal().wanted(3.5)
    assert CurvatureSignal(checkpoints=(0, 3.5)).wanted(3.5)
    assert not CurvatureSignal(checkpoints=(0, 3.5)).wanted(3.0)
    with pytest.raises(InputError, match=r"samples: expected positions in 0..8, got \(9,\)"):
        CurvatureSignal(samples=(9,)).measure(model(), X, Y, np.random.default_rng(0))
