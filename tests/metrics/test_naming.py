"""Which records of one model can be named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seepage.attacks import RMIA, LiRA
from seepage.errors import InputError
from seepage.metrics import Subjects, fewest_named, name_members, name_over_targets
from seepage.metrics.naming import conformal_p
from seepage.plan import half_split, leave_out, subsets


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(-3, 3), min_size=1, max_size=12),
    st.lists(st.integers(-3, 3), min_size=1, max_size=12),
    st.floats(0.02, 0.9),
)
def test_names_are_the_step_up_rule_on_counted_ranks(
    tested: list[int], calibration: list[int], q: float
) -> None:
    n, m = len(calibration), len(tested)
    p = np.array([(1 + sum(c >= s for c in calibration)) / (n + 1) for s in tested])
    np.testing.assert_allclose(conformal_p(tested, calibration), p)
    found = name_members(tested, calibration, q=q)
    most = max((k for k in range(1, m + 1) if np.sort(p)[k - 1] <= q * k / m + 1e-12), default=0)
    cut = np.sort(p)[most - 1] if most else -1.0
    np.testing.assert_array_equal(found.named, p <= cut)
    # Never fewer than the smallest number, and that number is reached by a perfect attack.
    assert found.count == 0 or found.count >= fewest_named(m, n, q)
    k = fewest_named(m, n, q)
    if k <= m:
        top = np.r_[np.full(k, 10.0), np.full(m - k, -10.0)]
        assert name_members(top, calibration, q=q).count >= k
        fewer = np.r_[np.full(k - 1, 10.0), np.full(m - k + 1, -10.0)]
        assert name_members(fewer, calibration, q=q).count in (0, m)


def _fleet(
    seed: int, models: int, samples: int = 800, parts: int = 2
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Heterogeneous samples, heavy tails and model effects; half of the samples leak."""
    rng = np.random.default_rng(seed)
    member = subsets(samples, models=models, parts=parts, seed=seed).member
    leak = np.where(rng.random(samples) < 0.5, rng.gamma(4.0, 1.2, samples), 0.0)
    scale = 0.6 * rng.lognormal(0.0, 0.4, samples)
    effect = rng.normal(0.0, 0.3, (models, 1))
    noise = rng.standard_t(4, (models, samples))
    phi = rng.normal(-2, 1, samples) + scale * (noise + leak * member) + effect
    return {"phi": phi, "loss": np.logaddexp(0.0, -phi)}, member


@pytest.mark.parametrize("attack", [LiRA(), RMIA()], ids=lambda a: a.name)
@pytest.mark.parametrize(("models", "parts"), [(8, 2), (16, 2), (16, 4)])
def test_the_false_share_is_at_most_q_under_shared_references(
    attack: LiRA, models: int, parts: int
) -> None:
    means, plain, found = [], [], []
    for fleet in range(12):
        signal, member = _fleet(fleet, models, parts=parts)
        scores = attack.leave_one_out(signal, member)
        rng = np.random.default_rng(fleet)
        for out, estimate in ((plain, False), (means, True)):
            named = name_over_targets(scores, member, rng, q=0.2, estimate_share=estimate)
            out.append(named.false.mean)
            assert named.n_in.sum() == member.sum()
            assert named.named_in.sum() + named.named_out.sum() == named.count.sum()
        found.append(named.mean_count)
    for shares in (plain, means):
        assert np.mean(shares) <= 0.2 + 2 * np.std(shares, ddof=1) / np.sqrt(len(shares))
    assert np.mean(found) > 5


def test_noise_names_almost_nothing_and_a_perfect_score_everything() -> None:
    member = half_split(1000, models=8, seed=1).member
    rng = np.random.default_rng(1)
    found = name_over_targets(rng.normal(size=member.shape), member, rng)
    # Any name is false; under the null some name is made in at most q of the targets, on average.
    assert (found.count > 0).mean() <= 0.25
    found = name_over_targets(member + rng.random(member.shape) / 2, member, rng)
    assert found.found == 1.0
    assert found.false.mean <= 0.05
    assert (found.fewest, found.members, found.calibration) == (60, 500, 250)
    assert found.mean_count >= 500


def test_subjects_are_named_by_the_sum_of_their_scores() -> None:
    groups = np.repeat(np.arange(300), 2)
    member = half_split(600, models=4, seed=2, groups=groups).member
    rng = np.random.default_rng(2)
    scores = rng.normal(size=member.shape) + 4.0 * member
    found = name_over_targets(scores, member, rng, q=0.1, unit=Subjects(groups))
    assert found.n_in.shape == (300,)
    assert found.found > 0.5


def test_the_split_is_by_the_generator_alone() -> None:
    signals, member = _fleet(3, 4, 200)
    one, two = (
        name_over_targets(signals["phi"], member, np.random.default_rng(s), q=0.3).count.tolist()
        for s in (5, 5)
    )
    assert one == two


def test_what_cannot_be_named_is_refused() -> None:
    rng = np.random.default_rng(0)
    scores = np.zeros((4, 8))
    with pytest.raises(InputError, match="the count of IN references"):
        name_over_targets(scores, leave_out(8, folds=4).member, rng)
    with pytest.raises(InputError, match="expected a member and 2 non-members"):
        name_over_targets(scores, np.ones((4, 8), bool), rng)
    with pytest.raises(InputError, match="pass leave-one-out scores"):
        name_over_targets(scores[0], np.ones((4, 8), bool), rng)
    with pytest.raises(InputError, match="calibration: expected numbers"):
        name_members([1.0], [np.nan])
    with pytest.raises(InputError, match="q: expected"):
        name_members([1.0], [1.0], q=5)
    with pytest.raises(InputError, match="member: expected one bool per candidate"):
        name_members([1.0], [1.0], member=[1])
    with pytest.raises(InputError, match="tested, calibration"):
        fewest_named(0, 3)
