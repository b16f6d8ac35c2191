"""Quantile regression: no leak reads chance, difficulty is removed, members are not fitted."""

from __future__ import annotations

import numpy as np
import pytest

from seepage.errors import InputError
from seepage.metrics import auc, auc_interval
from seepage.single import cross_fitted_quantile, population_score
from seepage.single.quantile import quantile_features


def test_without_a_leak_it_reads_chance() -> None:
    inside, figures = 0, []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(160, 3))
        signal = 2 * x[:, 0] + rng.normal(size=160)
        member = rng.permutation(160) < 80
        score = cross_fitted_quantile(signal, member, x, seed=seed)
        e = auc_interval(score, member)
        inside += e.covers(0.5)
        figures.append(e.mean)
    # A fit on its own non-members would read far above chance (their residuals shrink).
    assert inside >= 10
    assert abs(np.mean(figures) - 0.5) < 3 * 0.045 / np.sqrt(12)


def test_it_removes_what_the_inputs_explain() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    member = rng.permutation(600) < 300
    signal = 4 * x[:, 0] + member + 0.5 * rng.normal(size=600)
    score = cross_fitted_quantile(signal, member, x)
    assert auc(signal, member) < 0.63
    assert auc(score, member) > 0.7


def test_members_are_not_fitted() -> None:
    rng = np.random.default_rng(0)
    x, signal = rng.normal(size=(100, 2)), rng.normal(size=100)
    member = np.arange(100) < 50
    changed = signal + 100.0 * member
    a = cross_fitted_quantile(signal, member, x)
    b = cross_fitted_quantile(changed, member, x)
    np.testing.assert_array_equal(a[~member], b[~member])
    np.testing.assert_allclose(b[member] - a[member], 100.0)


def test_subjects_are_held_out_whole() -> None:
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(50), 24)
    secret = rng.normal(size=50)[owner]
    member = owner < 25
    x = np.stack([secret, rng.normal(size=len(owner))], axis=1)
    # The signal is a quirk of each subject that its input reveals; held out, it cannot be learnt.
    signal = 3 * np.sin(50 * secret)
    together = cross_fitted_quantile(signal, member, x, owner=owner)
    apart = cross_fitted_quantile(signal, member, x)
    assert np.abs(apart[~member]).mean() < 0.5 * np.abs(together[~member]).mean()


def test_it_says_what_it_needs() -> None:
    member = np.arange(30) < 15
    with pytest.raises(InputError, match="at least 20"):
        cross_fitted_quantile(np.zeros(30), member, np.zeros((30, 1)))
    with pytest.raises(InputError, match="quantile: expected"):
        cross_fitted_quantile(np.zeros(90), np.arange(90) < 40, np.zeros((90, 1)), quantile=1.0)


def test_features_see_every_label_and_few_components() -> None:
    rng = np.random.default_rng(0)
    found = quantile_features(rng.normal(size=(80, 50)), rng.integers(0, 4, 80))
    assert found is not None
    assert found.shape == (80, 32 + 4)
    assert quantile_features(None, np.arange(80)).shape == (80, 1)  # type: ignore[union-attr]
    assert quantile_features(None, None) is None


def test_attack_p_is_a_valid_p_value_and_orders_as_the_loss() -> None:
    rng = np.random.default_rng(0)
    loss, member = rng.exponential(size=400), np.arange(400) < 200
    score = population_score(loss, member)
    assert auc(score, member) == auc(-loss, member)
    # Of the others, by the others: exactly uniform on 1/n … 1.
    np.testing.assert_allclose(np.sort(np.exp(-score[~member])), np.arange(1, 201) / 200)
    tied = np.round(loss, 1)
    score = population_score(tied, member)
    assert auc(score, member) == auc(-tied, member)
    for alpha in (0.01, 0.05, 0.3):
        assert (np.exp(-score[~member]) <= alpha).mean() <= alpha
