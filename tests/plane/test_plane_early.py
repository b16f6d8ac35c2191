"""Early determination against sets and brute-force resampling."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm, t

from seepage.errors import InputError
from seepage.plan import half_split, partitions, permute_membership
from seepage.plane import (
    Bootstrap,
    ByAdvantage,
    HighRegion,
    TopShare,
    Trajectories,
    early_determination,
    evaluate_predictor,
    points,
)


def fleet(seed: int = 0, models: int = 16, samples: int = 400, failed: int = 0):
    """(paths, decisions (T, R, N)) of samples that become vulnerable at times of their own."""
    rng = np.random.default_rng(seed)
    member = half_split(samples, models=models, seed=seed).member[failed:]
    start = rng.random(samples) * 6
    lasting, decisions = rng.normal(size=member.shape), []
    for k in range(5):
        push = 3.0 * (k >= start) * (member - 0.5)
        decisions.append(lasting + 0.5 * rng.normal(size=member.shape) + push >= 0)
    return build(np.array(decisions), member, permute_membership(member, rng)), np.array(decisions)


def build(decisions, member, null=None):
    states = [points(d, member) for d in decisions]
    return Trajectories(
        np.arange(len(decisions)) * 10.0,
        np.array([p.fpr for p in states]),
        np.array([p.tpr for p in states]),
        states[0].n_in,
        states[0].n_out,
        np.full(len(decisions), np.nan),
        member,
        np.packbits(decisions, axis=2),
        null=() if null is None else (build(decisions, null),),
    )


def brute(decisions, member, vulnerable):
    sets = []
    for d in decisions:
        p = points(d, member)
        sets.append(set(np.flatnonzero(vulnerable.select(p.fpr, p.tpr, p.n_out, p.n_in))))
    last, n = sets[-1], member.shape[1]
    ever = [set().union(*sets[: k + 1]) for k in range(len(sets))]
    return {
        "recall_now": [len(s & last) / len(last) for s in sets],
        "recall_ever": [len(e & last) / len(last) for e in ever],
        "precision": [len(s & last) / len(s) if s else np.nan for s in sets],
        "jaccard": [len(s & last) / len(s | last) for s in sets],
        "chance": [len(s) / n for s in sets],
        "chance_ever": [len(e) / n for e in ever],
    }


@pytest.mark.parametrize("vulnerable", [HighRegion(), TopShare(0.1)])
@pytest.mark.parametrize("failed", [0, 1])
def test_early_equals_sets_and_brute_force_resampling(vulnerable, failed):
    # More samples than one block, an odd number of pairs.
    paths, decisions = fleet(models=14, samples=2500 if not failed else 400, failed=failed)
    bootstrap = Bootstrap(5, seed=3)
    result = early_determination(paths, vulnerable=vulnerable, bootstrap=bootstrap)
    whole = brute(decisions, paths.member, vulnerable)
    tuple_of = partitions(paths.member)
    weights = bootstrap.weights(tuple_of.max() + 1)[1:].astype(int)
    pairs = weights.shape[1]
    repeats = []
    for w in weights:
        rows = np.repeat(np.arange(len(tuple_of)), w[tuple_of])
        repeats.append(brute(decisions[:, rows], paths.member[rows], vulnerable))
    scale = t.ppf(0.975, pairs - 1) * np.sqrt((pairs // 2) / (pairs - pairs // 2))
    for name, values in whole.items():
        curve = getattr(result, name)
        np.testing.assert_allclose(curve.value, values, err_msg=name)
        spread = scale * np.std([r[name] for r in repeats], axis=0, ddof=1)
        np.testing.assert_allclose(
            curve.high, np.minimum(np.array(values) + spread, 1), atol=1e-9, err_msg=name
        )
        assert np.isfinite(curve.null).all() or name in ("precision", "recall_now", "recall_ever")
    assert result.recall_now.value[-1] == result.precision.value[-1] == 1
    assert (np.diff(result.recall_ever.value) >= 0).all()
    assert (result.recall_ever.value >= result.recall_now.value).all()
    assert result.fraction.tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_a_checkpoint_at_which_all_tie_knows_nothing():
    _, decisions = fleet()
    member = fleet()[0].member
    # Before training every model says the same of every sample.
    decisions = decisions.copy()
    decisions[0] = True
    result = early_determination(
        build(decisions, member), vulnerable=TopShare(0.1), bootstrap=Bootstrap(40)
    )
    assert result.recall_now.value[0] == result.chance.value[0] == 1.0
    for known in result.known:
        assert known.epoch != 0.0
        assert known.low != 0.0
    assert result.known[0].epoch > 0


def test_known_is_where_recall_first_reaches_the_share():
    paths, _ = fleet(samples=600)
    result = early_determination(paths, known=(0.3, 1.0), bootstrap=Bootstrap(40))
    recall = result.recall_now
    for known in result.known:
        first = next(k for k in range(5) if recall.value[k] >= known.share)
        assert recall.value[first] > result.chance.value[first]
        assert known.epoch == paths.checkpoints[first]
        assert known.low <= known.epoch
        assert known.epoch <= known.high or np.isnan(known.high)
    # Starts are uniform: recall among the finally vulnerable grows with time, above the noise.
    assert recall.value[1] < recall.value[2] < recall.value[3]
    assert recall.value[3] > result.chance.value[3]


def test_nobody_vulnerable_is_nan_not_an_error():
    member = half_split(20, models=8, seed=0).member
    rng = np.random.default_rng(0)
    paths = build(rng.random((3, 8, 20)) < 0.5, member)
    result = early_determination(
        paths, vulnerable=HighRegion(ByAdvantage((0.0, 0.999999))), bootstrap=Bootstrap(0)
    )
    if result.final.any():
        pytest.fail("the draw was to leave nobody vulnerable")
    assert np.isnan(result.recall_now.value).all()
    assert np.isnan(result.known[0].epoch)
    bare = dataclasses.replace(paths, decisions=None)
    assert np.isnan(early_determination(bare, vulnerable=TopShare(0.2)).recall_now.low).all()


def test_top_takes_its_share_and_all_ties():
    fpr = np.zeros(10)
    tpr = np.array([0.9, 0.8, 0.8, 0.8, 0, 0, 0, 0, 0, 0])
    assert TopShare(0.1).select(fpr, tpr, 10, 10).sum() == 1
    assert TopShare(0.2).select(fpr, tpr, 10, 10).sum() == 4
    with pytest.raises(InputError, match="share: expected between 0 and 1"):
        TopShare(0.0)


def test_predictions_by_hand_and_over_random_orders_of_ties():
    final = np.array([True, True, False, False, False])
    scores = np.array([[5.0, 4, 3, 2, 1], [1, 2, 3, 4, 5], [1, 1, 1, 1, 1], [9, 3, 3, np.nan, 0]])
    p = evaluate_predictor(scores, final)
    np.testing.assert_allclose(p.recall, [1, 0, 0.4, 0.75])
    np.testing.assert_allclose(p.auc[:3], [1, 0, 0.5])
    assert p.chance == 0.4
    rng = np.random.default_rng(0)
    shuffled = [
        final[np.lexsort((rng.random(5), -np.array([9, 3, 3, -1, 0])))[:2]].mean()
        for _ in range(4000)
    ]
    np.testing.assert_allclose(np.mean(shuffled), p.recall[3], atol=0.03)
    assert norm.cdf(0) == evaluate_predictor(np.ones(5), final).auc


def test_predictions_name_what_is_wrong():
    with pytest.raises(InputError, match=r"score: expected \(N,\) or \(T, N\) with N = 2"):
        evaluate_predictor(np.zeros(3), np.array([True, False]))
    with pytest.raises(InputError, match="final: expected some but not all"):
        evaluate_predictor(np.zeros(2), np.array([True, True]))
