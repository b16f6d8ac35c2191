"""Learning difficulty against loops, scikit-learn and SciPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.neighbors import KNeighborsClassifier

from seepage.errors import InputError
from seepage.plan import half_split, partitions
from seepage.plane import (
    by_epoch,
    epoch_learned,
    forgetting_events,
    learning_difficulty,
    loss_iqr,
    mean_loss,
    prediction_depth,
    spearman,
    split_models,
)
from seepage.record import log_spaced

EPOCHS = np.array([0.0, 1.0, 3.0, 10.0])


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), checkpoints=st.integers(1, 6))
def test_learned_and_forgotten_by_loops(seed, checkpoints):
    correct = np.random.default_rng(seed).random((2, checkpoints, 4)) < 0.6
    epochs = np.arange(checkpoints) * 2.0 + 1
    learned, forgotten = epoch_learned(correct, epochs), forgetting_events(correct)
    for r in range(2):
        for i in range(4):
            trace = correct[r, :, i].tolist()
            expected = next(
                (epochs[t] for t in range(checkpoints) if all(trace[t:])), epochs[-1] + 1
            )
            assert learned[r, i] == expected
            drops = sum(a and not b for a, b in itertools.pairwise(trace))
            assert forgotten[r, i] == (drops if any(trace) else checkpoints)


def test_loss_traces_by_hand():
    loss = np.array([[4.0, 1.0], [2.0, 1.0], [1.0, 1.0], [1.0, 8.0]])
    # Trapezoids: (3·1 + 1.5·2 + 1·7) / 10 and (1 + 2 + 4.5·7) / 10.
    np.testing.assert_allclose(mean_loss(loss, EPOCHS), [1.3, 3.45])
    np.testing.assert_allclose(mean_loss(loss[:1], EPOCHS[:1]), loss[0])
    # At epochs 1 to 10: 2, 1.5 and eight times 1; 1, 1, 1, and 2 to 8 by ones.
    np.testing.assert_allclose(loss_iqr(loss, EPOCHS), [1.0 - 1.0, 5.75 - 1.25])
    np.testing.assert_array_equal(loss_iqr(loss[:1], EPOCHS[:1]), [0.0, 0.0])


def test_lt_iqr_of_every_epoch_is_the_published_one_and_leaves_the_initialisation_out():
    loss = np.random.default_rng(0).exponential(1, (3, 21, 50))
    published = np.subtract(*np.quantile(loss[:, 1:], [0.75, 0.25], axis=1))
    np.testing.assert_allclose(loss_iqr(loss, np.arange(21.0)), published)
    np.testing.assert_allclose(loss_iqr(loss[:, 1:], np.arange(1.0, 21.0)), published)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 7), finer=st.booleans())
def test_traces_by_epoch_equal_numpy_s_interpolation(seed, count, finer):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.choice(40, count, replace=False)) / (4 if finer else 1)
    trace = rng.normal(size=(2, count, 3)).astype(np.float32)
    values, epochs = by_epoch(trace, times)
    assert len(epochs) > 1
    assert (epochs[0], epochs[-1]) >= (times[0], epochs[0])
    assert np.ptp(np.diff(epochs)) < 1e-12
    for r in range(2):
        for i in range(3):
            np.testing.assert_allclose(
                values[r, :, i], np.interp(epochs, times, trace[r, :, i]), atol=1e-6
            )
    if len(epochs) != 33:
        np.testing.assert_array_equal(epochs, np.arange(np.ceil(times[0]), times[-1] + 1e-9))


def test_lt_iqr_keeps_its_order_on_log_spaced_checkpoints():
    """Losses that fall at a time of their own, as those of hard samples; noise at every epoch."""
    rng = np.random.default_rng(0)
    every = np.arange(41.0)
    turn, height = rng.lognormal(1.5, 1.0, 2000), rng.exponential(1, 2000)
    loss = 0.05 + height * special.expit((turn - every[:, None]) / turn)
    loss *= rng.lognormal(0, 0.1, loss.shape)
    full = loss_iqr(loss, every)
    for count, least, alike_most in ((8, 0.95, 0.6), (5, 0.9, 0.4)):
        times = np.array(log_spaced(40, count))
        some = loss[times.astype(int)]
        alike = np.subtract(*np.quantile(some, [0.75, 0.25], axis=0))
        assert stats.spearmanr(loss_iqr(some, times), full).statistic > least
        assert stats.spearmanr(alike, full).statistic < alike_most


@pytest.mark.slow
def test_lt_iqr_of_digits_keeps_its_order_on_8_log_spaced_checkpoints():
    from benchmarks.traces import ALIKE, measure

    found = measure(models=8, epochs=40, points=(8,))["kept"]
    assert min(found["LT-IQR"]["8"]) > 0.95
    assert found[ALIKE]["8"][0] < 0.95


def test_the_docs_show_what_the_benchmark_stored():
    from benchmarks.stored import ROOT, stored
    from benchmarks.traces import written

    page = (ROOT / "docs" / "dynamics.md").read_text()
    name, result = stored("*traces.json")[-1]
    assert written(page, (name, result)) == page
    assert min(result["kept"]["LT-IQR"]["8"]) > 0.95


class Fleet:
    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.member = half_split(6, models=8, seed=0).member
        self.checkpoints = EPOCHS
        self.arrays = {
            "loss": rng.exponential(1, (8, 4, 6)).astype(np.float32),
            "correct": (rng.random((8, 4, 6)) < 0.7).astype(np.float32),
        }

    def signal_at(self, name, t):
        return self.arrays[name][:, t]


def test_difficulty_averages_over_the_right_runs():
    run, rows = Fleet(), np.array([0, 1, 4, 5])
    d = learning_difficulty(run, rows)
    loss, correct = run.arrays["loss"], run.arrays["correct"]
    for i in range(6):
        inside = [r for r in rows if run.member[r, i]]
        outside = [r for r in rows if not run.member[r, i]]
        np.testing.assert_allclose(
            d.mean_loss[i], np.mean([mean_loss(loss[r], EPOCHS)[i] for r in inside])
        )
        np.testing.assert_allclose(
            d.loss_iqr[i], np.mean([loss_iqr(loss[r], EPOCHS)[i] for r in inside]), rtol=1e-6
        )
        np.testing.assert_allclose(
            d.epoch_learned[i], np.mean([epoch_learned(correct[r], EPOCHS)[i] for r in inside])
        )
        np.testing.assert_allclose(
            d.forgetting[i], np.mean([forgetting_events(correct[r])[i] for r in inside])
        )
        np.testing.assert_allclose(d.consistency[i], np.mean([correct[r, -1, i] for r in outside]))
    assert set(d.as_dict()) == {
        "epoch_learned",
        "mean_loss",
        "loss_iqr",
        "forgetting",
        "inconsistency",
    }
    np.testing.assert_allclose(d.as_dict()["inconsistency"], 1 - d.consistency)
    # Runs of one side only cannot tell everything.
    alone = learning_difficulty(run, [0])
    np.testing.assert_array_equal(np.isnan(alone.consistency), run.member[0])
    np.testing.assert_array_equal(np.isnan(alone.mean_loss), ~run.member[0])
    with pytest.raises(InputError, match="models: expected rows within 0 to 7"):
        learning_difficulty(run, [8])


def test_split_keeps_pairs_together():
    member = half_split(30, models=12, seed=0).member
    attack, aside = split_models(member, 0.25, np.random.default_rng(1))
    assert len(aside) == 4
    assert sorted([*attack, *aside]) == list(range(12))
    assert not set(partitions(member)[attack]) & set(partitions(member)[aside])
    with pytest.raises(InputError, match="share: expected between 0 and 1"):
        split_models(member, 1.0, np.random.default_rng(1))
    with pytest.raises(InputError, match="share: expected pairs on both sides"):
        split_models(member[:2], 0.5, np.random.default_rng(1))


def test_probes_equal_scikit_learn_and_depth_is_the_first_agreement():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60) + 5
    layers = [
        rng.normal(size=(60, 4)),
        rng.normal(size=(60, 4)) + labels[:, None],
        rng.normal(size=(60, 2)) + 4 * labels[:, None],
    ]
    votes = []
    for x in layers:
        vote = []
        for i in range(60):
            rest = np.delete(np.arange(60), i)
            knn = KNeighborsClassifier(7, weights="distance").fit(x[rest], labels[rest])
            vote.append(knn.predict(x[i : i + 1])[0])
        votes.append(vote)
    votes = np.array(votes)
    depth = prediction_depth(layers, labels, neighbours=7)
    final = np.where(np.arange(60) < 5, 99, labels)
    against = prediction_depth(layers, labels, neighbours=7, final=final)
    for i in range(60):
        expected = next(k for k in range(3) if (votes[k:, i] == votes[-1, i]).all())
        assert depth[i] == expected
        first = next((k for k in range(3) if (votes[k:, i] == final[i]).all()), 3)
        assert against[i] == first
    # A support of its own: samples outside it lose no neighbour to themselves.
    support = np.arange(60) < 40
    held_out = prediction_depth(layers[-1:], labels, support=support, final=labels, neighbours=5)
    knn = KNeighborsClassifier(5, weights="distance").fit(layers[-1][:40], labels[:40])
    np.testing.assert_array_equal(held_out[40:] == 0, knn.predict(layers[-1][40:]) == labels[40:])


def test_copies_decide_alone():
    x = np.array([[0.0], [0.0], [0.1], [0.1], [0.1]])
    depth = prediction_depth([x], np.array([1, 1, 0, 0, 0]), neighbours=3, final=np.ones(5, int))
    assert depth.tolist() == [0, 0, 1, 1, 1]


def test_prediction_depth_names_what_is_wrong():
    with pytest.raises(InputError, match="features: expected at least one layer"):
        prediction_depth([], np.zeros(3, int))
    with pytest.raises(InputError, match="neighbours: expected 1 to 2"):
        prediction_depth([np.zeros((3, 1))], np.zeros(3, int))
    with pytest.raises(InputError, match="features: expected 3 finite rows"):
        prediction_depth([np.full((3, 1), np.nan)], np.zeros(3, int), neighbours=1)
    with pytest.raises(InputError, match="trace: expected 4 checkpoints"):
        epoch_learned(np.zeros((3, 2)), EPOCHS)


@settings(deadline=None, max_examples=30)
@example(seed=489283, n=4)  # every resample is constant
@given(seed=st.integers(0, 10**6), n=st.integers(4, 40))
def test_spearman_equals_scipy_with_ties(seed, n):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 5, n).astype(float), rng.integers(0, 4, n).astype(float)
    x[:2], y[:2] = [0, 1], [0, 1]
    rho = spearman(np.append(x, np.nan), np.append(y, 1.0), rng, replicates=5)
    np.testing.assert_allclose(rho.rho, stats.spearmanr(x, y).statistic, atol=1e-12)
    assert rho.n == n


def test_spearman_replicates_are_resamples():
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=50), 1)
    y = np.round(x + rng.normal(size=50), 1)
    got = spearman(x, y, np.random.default_rng(7), replicates=40)
    again, brute = np.random.default_rng(7), []
    for _ in range(40):
        rows = again.integers(0, 50, 50)
        brute.append(stats.spearmanr(x[rows], y[rows]).statistic)
    np.testing.assert_allclose([got.low, got.high], np.quantile(brute, [0.025, 0.975]), atol=1e-12)


def test_spearman_names_what_is_wrong():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="x, y: expected two columns"):
        spearman(np.zeros(3), np.zeros(4), rng)
    with pytest.raises(InputError, match="x, y: expected at least 3 samples"):
        spearman([1.0, 2.0, np.nan], [1.0, 2.0, 3.0], rng)
    with pytest.raises(InputError, match="x, y: expected columns that vary"):
        spearman(np.ones(5), np.arange(5.0), rng)
