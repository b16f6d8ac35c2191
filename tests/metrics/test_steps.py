"""Steps of a ROC curve by ranges of scores, against every threshold tried."""

from __future__ import annotations

import numpy as np
import pytest

from seepage.errors import InputError
from seepage.metrics import auc, operating_points, pooled_by_target, pooled_points, thinned_roc
from seepage.metrics.roc import target_aucs
from seepage.metrics.steps import area, steps
from seepage.native.library import LEVELS, limited


def scores_of(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    s = rng.normal(size=shape)
    if kind == "ties":
        return s.round(1)
    if kind == "two values":
        return (s > 0).astype(float)
    if kind == "one value":
        return np.ones(shape)
    if kind == "infinite":
        s[rng.random(shape) < 0.2] = np.inf
        s[rng.random(shape) < 0.2] = -np.inf
    return s


def brute(s: np.ndarray, y: np.ndarray, most: np.ndarray) -> tuple[list, list, list, int]:
    thresholds = np.append(np.inf, np.unique(s)[::-1])
    tp = [int((s[y] >= c).sum()) if k else 0 for k, c in enumerate(thresholds)]
    fp = [int((s[~y] >= c).sum()) if k else 0 for k, c in enumerate(thresholds)]
    at = [max(k for k in range(len(fp)) if fp[k] <= m) for m in most]
    twice = int(((s[y][:, None] > s[~y]) * 1 + (s[y][:, None] >= s[~y])).sum())
    return [tp[k] for k in at], [fp[k] for k in at], [thresholds[k] for k in at], twice


@pytest.mark.parametrize("together", [2**25, 40])
@pytest.mark.parametrize("at", ["none", "base", "avx512"])
@pytest.mark.parametrize("kind", ["normal", "ties", "two values", "one value", "infinite"])
def test_steps_and_area_equal_every_threshold_tried(kind, at, together, monkeypatch):
    monkeypatch.setattr("seepage.metrics.steps._TOGETHER", together)
    monkeypatch.setattr("seepage.metrics.steps._LOOKED_AT", 60)
    rng = np.random.default_rng(3)
    s, y = scores_of(kind, rng, (300,)), rng.random(300) < 0.4
    n_out = int((~y).sum())
    most = np.array([0, 1, 2, 50, n_out - 1, n_out, n_out + 1])
    tp, fp, threshold, twice = brute(s, y, most)
    with limited(level=at):
        found = steps(s, y, most)
    assert (found.tp.tolist(), found.fp.tolist()) == (tp, fp)
    assert found.threshold.tolist() == threshold
    assert (found.twice_won, found.n_in, found.n_out) == (twice, int(y.sum()), n_out)


def test_ranges_that_sampling_misjudged_are_read_again(monkeypatch):
    """Every score that is looked at lies below all others, so that one range holds most."""
    monkeypatch.setattr("seepage.metrics.steps._TOGETHER", 64)
    monkeypatch.setattr("seepage.metrics.steps._LOOKED_AT", 10)
    rng = np.random.default_rng(0)
    s, y = rng.normal(size=1000), rng.random(1000) < 0.5
    s[::100] -= 100
    with_few = steps(s, y, np.arange(5))
    monkeypatch.undo()
    whole = steps(s, y, np.arange(5))
    assert vars(with_few).keys() == vars(whole).keys()
    for name, value in vars(whole).items():
        np.testing.assert_array_equal(getattr(with_few, name), value)


@pytest.mark.parametrize("kind", ["normal", "ties", "two values"])
def test_drawn_steps_are_the_last_below_each_rate(kind):
    from sklearn.metrics import roc_curve

    rng = np.random.default_rng(1)
    s, y = scores_of(kind, rng, (900,)), rng.random(900) < 0.5
    fpr, tpr, _ = roc_curve(y, s, drop_intermediate=False)
    grid = np.concatenate([[0.0], np.geomspace(fpr[fpr > 0].min(), 1.0, 30)])
    kept = np.unique(np.searchsorted(fpr, grid, side="right") - 1)
    drawn = thinned_roc(s, y, 30)
    np.testing.assert_array_equal(drawn.fpr, fpr[kept])
    np.testing.assert_array_equal(drawn.tpr, tpr[kept])
    assert (drawn.fpr[0], drawn.fpr[-1], drawn.tpr[-1]) == (0, 1, 1)


def test_pooled_rates_are_sums_over_targets_whatever_the_ranges(monkeypatch):
    rng = np.random.default_rng(2)
    s, y = rng.normal(size=(4, 500)).round(2), rng.random((4, 500)) < 0.5
    whole = pooled_points(s, y, [0.1, 0.01]), operating_points(s, y, [0.1, 0.01])
    added = pooled_by_target(s, y, [0.1, 0.01])
    np.testing.assert_allclose(added.mean(axis=0), whole[0].tpr[0], rtol=1e-12)
    monkeypatch.setattr("seepage.metrics.steps._TOGETHER", 64)
    parts = pooled_points(s, y, [0.1, 0.01]), operating_points(s, y, [0.1, 0.01])
    for a, b in zip(whole, parts, strict=True):
        for name, value in vars(a).items():
            np.testing.assert_array_equal(getattr(b, name), value, err_msg=name)


def test_one_side_alone_is_refused():
    with pytest.raises(InputError, match="expected members and non-members, got 3 of 3 True"):
        auc([1.0, 2.0, 3.0], np.ones(3, bool))


def test_every_level_counts_alike():
    rng = np.random.default_rng(5)
    s, y = rng.normal(size=5000).round(3), rng.random(5000) < 0.5
    expected = steps(s, y, np.array([3])).twice_won
    for at in LEVELS:
        with limited(level=at):
            assert steps(s, y, np.array([3])).twice_won == expected


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", range(4))
def test_the_area_alone_is_that_of_the_steps(level: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-3, 4, (5, 40)) / (1 if seed % 2 else 7.0)
    scores[rng.random(scores.shape) < 0.1] = np.inf
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    member = rng.random(scores.shape) < 0.4
    member[:, 0], member[:, 1] = True, False
    with limited(level=level):
        each = [area(s, y) for s, y in zip(scores, member, strict=True)]
        wanted = [
            steps(s, y, np.empty(0, np.int64)).area for s, y in zip(scores, member, strict=True)
        ]
        assert each == wanted
        assert target_aucs(scores, member).tolist() == wanted
        assert operating_points(scores, member).auc.tolist() == wanted
    # Every pair by itself.
    s, y = scores[0], member[0]
    won = (s[y][:, None] > s[~y]).mean() + (s[y][:, None] == s[~y]).mean() / 2
    assert each[0] == pytest.approx(won)


def test_the_area_of_more_than_is_sorted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores, member = rng.integers(0, 9, 50).astype(float), rng.random(50) < 0.5
    wanted = area(scores, member)
    monkeypatch.setattr("seepage.metrics.steps._TOGETHER", 16)
    assert area(scores, member) == wanted


@pytest.mark.parametrize("side", [True, False])
def test_the_area_of_one_side_is_refused(side: bool) -> None:
    with pytest.raises(InputError, match="expected members and non-members"):
        area(np.arange(3.0), np.full(3, side))
