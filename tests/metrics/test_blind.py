"""The blind baseline sees a shifted split and does not see an honest one."""

from __future__ import annotations

import numpy as np
import pytest

from seepage import metrics
from seepage.errors import InputError
from seepage.plan import half_split


def test_honest_split_has_half_inside():
    rng = np.random.default_rng(0)
    member = half_split(300, models=8, seed=0).member
    b = metrics.blind_baseline(rng.normal(size=(300, 4, 5)), member, rng.integers(0, 3, 300))
    assert b.auc.shape == (4,)
    assert b.models.tolist() == [0, 2, 4, 6]
    assert b.estimate.covers(0.5)


def test_honest_splits_are_flagged_at_the_nominal_rate():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(120, 5))
    found = [metrics.blind_baseline(x, rng.permutation(120) < 60).estimate for _ in range(60)]
    assert np.mean([e.covers(0.5) for e in found]) >= 0.9
    # What one honest split reads beside 0.5 is chance: their mean is 0.5.
    means = np.array([e.mean for e in found])
    assert abs(means.mean() - 0.5) < 3 * means.std() / np.sqrt(60) < 0.05


def test_shifted_split_is_seen():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 100))
    member = x[:, 7] + rng.normal(size=400) > 0
    e = metrics.blind_baseline(x, member, components=100).estimate
    assert e.low > 0.6


def test_split_by_class_is_seen_through_the_label():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 300)
    member = rng.random(300) < np.where(labels == 1, 0.8, 0.2)
    x = rng.normal(size=(300, 3))
    assert metrics.blind_baseline(x, member, labels).estimate.low > 0.65
    assert metrics.blind_baseline(x, member).estimate.covers(0.5)


def test_errors_name_the_value():
    x, member = np.zeros((20, 2)), np.arange(20) < 10
    with pytest.raises(InputError, match="member: expected bool of shape"):
        metrics.blind_baseline(x, member[:5])
    with pytest.raises(InputError, match="features: expected finite numbers"):
        metrics.blind_baseline(np.full((20, 2), np.inf), member)
    with pytest.raises(InputError, match="at least 5 members and non-members in every run, got 2"):
        metrics.blind_baseline(x, np.arange(20) < 2)
    with pytest.raises(InputError, match="labels: expected one per sample"):
        metrics.blind_baseline(x, member, np.zeros(3, int))
