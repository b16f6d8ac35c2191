"""Clusters against planted ones."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from seepage.errors import InputError
from seepage.plane import HDBSCAN, KMeans, Points, find_clusters


def planted(
    rng: np.random.Generator, sizes=(300, 200, 100), n: int = 64
) -> tuple[Points, np.ndarray]:
    """Three groups of samples at (½, ½), (0.3, 0.7) and (0.05, 0.95), counted over n targets."""
    truth = np.repeat(np.arange(3), sizes)
    centre = np.array([0.5, 0.3, 0.05])[truth]
    order = rng.permutation(len(truth))
    fpr = rng.binomial(n, centre)[order] / n
    tpr = rng.binomial(n, 1 - centre)[order] / n
    full = np.full(len(truth), n)
    return Points(fpr, tpr, full, full), truth[order]


def test_k_means_finds_planted_groups_in_order_of_advantage():
    points, truth = planted(np.random.default_rng(0))
    found = find_clusters(points, np.random.default_rng(1))
    assert metrics.adjusted_rand_score(truth, found.labels) > 0.85
    assert np.mean(found.labels == truth) > 0.93
    np.testing.assert_allclose(found.shares.sum(), 1)
    np.testing.assert_allclose(found.centres, [[0.5, 0.5], [0.3, 0.7], [0.05, 0.95]], atol=0.04)
    x = np.stack([points.fpr, points.tpr], axis=1)
    np.testing.assert_allclose(found.silhouette, metrics.silhouette_score(x, found.labels))
    np.testing.assert_allclose(found.davies_bouldin, metrics.davies_bouldin_score(x, found.labels))
    for c in range(3):
        np.testing.assert_allclose(found.centres[c], x[found.labels == c].mean(axis=0))
    null, _ = planted(np.random.default_rng(0), (600, 0, 0))
    cloud = find_clusters(null, np.random.default_rng(1))
    # One round cloud is cut into three as well; the index tells the difference.
    assert len(cloud.shares) == 3
    assert cloud.silhouette < found.silhouette - 0.1


def test_hdbscan_finds_groups_and_leaves_noise():
    points, truth = planted(np.random.default_rng(0), n=400)
    found = find_clusters(points, np.random.default_rng(1), method=HDBSCAN(0.1))
    inside = found.labels >= 0
    assert len(found.shares) == 3
    assert np.mean(found.labels[inside] == truth[inside]) > 0.98
    np.testing.assert_allclose(found.noise + found.shares.sum(), 1)


def test_large_pools_are_sub_sampled():
    points, truth = planted(np.random.default_rng(0), (3000, 2000, 1000), n=400)
    found = find_clusters(points, np.random.default_rng(1), method=HDBSCAN(0.1))
    inside = found.labels >= 0
    assert np.mean(found.labels[inside] == truth[inside]) > 0.98
    assert found.silhouette > 0.6


def test_epsilon_alone_and_few_distinct_points():
    points, _truth = planted(np.random.default_rng(0))
    by_loss = find_clusters(points, np.random.default_rng(1), by_epsilon=True)
    assert by_loss.centres.shape == (3, 1)
    assert (np.diff(by_loss.centres[:, 0]) > 0).all()
    same = Points(np.full(9, 0.5), np.full(9, 0.5), np.full(9, 4), np.full(9, 4))
    one = find_clusters(same, np.random.default_rng(1), method=KMeans(5))
    assert one.shares.tolist() == [1.0]
    assert np.isnan(one.silhouette)


def test_clusters_name_what_is_wrong():
    points = Points(np.array([np.nan]), np.ones(1), np.ones(1, int), np.zeros(1, int))
    with pytest.raises(InputError, match="points: expected both rates"):
        find_clusters(points, np.random.default_rng(0))
    with pytest.raises(InputError, match="share: expected above 0"):
        HDBSCAN(0.0)
