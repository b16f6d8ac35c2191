"""The joint rectangle of one target's rates holds, by sample and by subject."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from seepage import metrics
from seepage.errors import InputError


def test_every_non_member_is_judged_by_the_others():
    rng = np.random.default_rng(0)
    for tied in (False, True):
        s = rng.normal(size=150) * 3
        s = np.round(s) if tied else s
        y = rng.random(150) < 0.4
        n = int((~y).sum())
        found = metrics.joint_rates(s, y, [0.05, 0.2])
        for f, alpha in enumerate([0.05, 0.2]):
            j = int(alpha * (n + 1))
            out = s[~y]
            passed = [x > np.sort(np.delete(out, i))[::-1][j - 1] for i, x in enumerate(out)]
            point = metrics.tpr_at_fpr(s, y, alpha)
            assert found.fpr[f] == pytest.approx(np.mean(passed))
            assert (found.tpr[f], found.null[f]) == (pytest.approx(point.tpr), point.null)


@pytest.mark.parametrize(("n", "alpha"), [(150, 0.01), (400, 0.05)])
def test_the_rectangle_covers_jointly(n, alpha):
    rng = np.random.default_rng(n)
    y = np.arange(2 * n) < n
    hits, alone = [], []
    for _ in range(500):
        s = rng.normal(size=2 * n) + y
        r = metrics.joint_rates(s, y, [alpha])
        bar = np.sort(s[~y])[::-1][int(alpha * (n + 1)) - 1]
        fpr, tpr = norm.sf(bar), norm.sf(bar - 1)
        hits.append(r.fpr_low[0] <= fpr <= r.fpr_high[0] and r.tpr_low[0] <= tpr <= r.tpr_high[0])
        # The fault: an interval of the TPR alone, read as that of the TPR at exactly α.
        p = metrics.tpr_at_fpr(s, y, alpha)
        alone.append(p.low <= norm.sf(norm.isf(alpha) - 1) <= p.high)
    assert np.mean(hits) >= 0.95
    assert np.mean(alone) < 0.9


def test_subjects_are_the_trials():
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 8, 300)
    codes = np.repeat(np.arange(300), sizes)
    y = codes < 150
    hits = []
    for _ in range(200):
        s = np.repeat(rng.normal(size=300), sizes) + 0.5 * rng.normal(size=len(codes)) + 1.5 * y
        r = metrics.joint_rates(s, y, [0.05], groups=codes)
        # The lowest threshold at which the shares of the 150 others sum up to no more than allowed.
        share = [np.sort(s[codes == g])[::-1] for g in range(150, 300)]
        values = np.sort(s[~y])[::-1]
        total = sum(np.searchsorted(-v, -values, "right") / len(v) for v in share)
        bar = values[np.argmax(total > 0.05 * 151 - 1)]
        scale = np.sqrt(1.25)
        fpr, tpr = norm.sf(bar / scale), norm.sf((bar - 1.5) / scale)
        hits.append(r.fpr_low[0] <= fpr <= r.fpr_high[0] and r.tpr_low[0] <= tpr <= r.tpr_high[0])
    assert np.mean(hits) >= 0.95


def test_one_sample_a_subject_is_no_cluster():
    rng = np.random.default_rng(2)
    s, y = rng.normal(size=400), np.arange(400) % 2 == 0
    a, b = (
        metrics.joint_rates(s, y),
        metrics.joint_rates(s, y, groups=[f"p{i}" for i in range(400)]),
    )
    for name in ("fpr", "fpr_low", "fpr_high", "tpr", "tpr_low", "tpr_high", "null", "resolved"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    # 200 non-members resolve 1 % and not 0.1 %.
    assert a.resolved.tolist() == [True, False]
    assert np.isnan([a.fpr[1], a.fpr_high[1], a.tpr[1], a.tpr_low[1], a.null[1]]).all()
    assert metrics.joint_rates(s, y, [1.0]).tpr[0] == 1


def test_errors_name_the_value():
    y = np.array([True, False, True, False])
    with pytest.raises(InputError, match="groups: expected every subject whole on one side"):
        metrics.joint_rates(np.arange(4.0), y, groups=[0, 0, 1, 2])
    with pytest.raises(InputError, match="fprs: expected rates between 0 and 1"):
        metrics.joint_rates(np.arange(4.0), y, [2.0])
    with pytest.raises(InputError, match="expected members and non-members, got 4 of 4"):
        metrics.joint_rates(np.arange(4.0), np.ones(4, bool))
