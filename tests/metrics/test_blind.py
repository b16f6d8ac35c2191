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
    found = [metrics.blind_baseline(x, rng.permutation(120) < 60) for _ in range(20)]
    assert sum(b.shifted for b in found) <= 3  # of 20; 2.5 % are promised
    for name in found[0].each:
        assert np.mean([b.each[name].covers(0.5) for b in found]) >= 0.8
        # What one honest split reads beside 0.5 is chance: their mean is 0.5.
        means = np.array([b.each[name].mean for b in found])
        assert abs(means.mean() - 0.5) < 3 * means.std() / np.sqrt(20)


def test_a_shift_without_a_difference_of_means_is_seen_by_trees_and_text_by_its_words():
    rng = np.random.default_rng(3)
    member = rng.permutation(300) < 150
    x = rng.normal(size=(300, 6))
    x[member, 2] *= 2.5
    both = (x[:, 0] > 0) ^ (x[:, 1] > 0)
    for split in (member, rng.random(300) < np.where(both, 0.9, 0.1)):
        found = metrics.blind_baseline(x, split)
        assert found.by == "gradient boosting"
        assert found.shifted
        assert found.each["logistic regression"].covers(0.5)
        assert found.estimate.low < found.each[found.by].low  # the choice is paid for
    words = np.array(["the model of a house", "the house of a model"])
    texts = [f"{words[int(m)]} number {i % 7}" for i, m in enumerate(member)]
    found = metrics.blind_baseline(None, member, texts=texts)
    assert found.by == "bag of words"
    assert found.shifted
    assert not metrics.blind_baseline(None, rng.permutation(member), texts=texts).shifted


def test_what_is_equal_is_a_tie_whatever_the_order():
    # Members lie first in a pool of one model; equal scores must not follow that order.
    found = metrics.blind_baseline(np.zeros((60, 1)), np.arange(60) < 30)
    assert found.auc.tolist() == [0.5]


def test_a_shift_of_a_few_runs_is_looked_at_again_in_others():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(120, 3))
    member = half_split(120, models=8, seed=0).member
    for pair in (0, 1):  # by design half of the pairs are split by the first column
        member[2 * pair] = x[:, 0] > np.median(x[:, 0]) + 0.1 * pair
        member[2 * pair + 1] = ~member[2 * pair]
    alone = metrics.blind_baseline(x, member, runs=2)
    assert alone.models.tolist() == [0, 2, 4, 6]
    assert not alone.shifted
    assert alone.each["logistic regression"].mean > 0.7


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
    with pytest.raises(InputError, match=r"texts: expected one per sample \(20\), got 3"):
        metrics.blind_baseline(x, member, texts=["a", "b", "c"])
    with pytest.raises(InputError, match="features: expected numbers of every sample, or texts"):
        metrics.blind_baseline(None, member)
