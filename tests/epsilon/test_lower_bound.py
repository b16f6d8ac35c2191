"""What a fleet's attack refutes about ε."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from seepage.epsilon import multi_run, one_run, one_run_from_scores
from seepage.epsilon.multi_run import Bound, gdp
from seepage.epsilon.one_run import ceiling_of_runs, epsilon_of_runs, joint_epsilon
from seepage.epsilon.thresholds import Bonferroni, Explicit, Split, Threshold
from seepage.errors import InputError
from seepage.plan import half_split, subsets


def told(
    correct: float, runs: int = 400, samples: int = 64, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Randomised response: a score that names membership rightly with probability `correct`."""
    rng = np.random.default_rng(seed)
    member = rng.random((runs, samples)) < 0.5
    right = rng.random(member.shape) < correct
    # Different certainty for every sample, so that no cut falls on ties.
    scores = np.where(member == right, 1.0, -1.0) * rng.uniform(1, 2, member.shape)
    return scores, member


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
def test_the_joint_bound_is_seldom_above_the_truth(epsilon: float) -> None:
    # Randomised response with e^ε/(1 + e^ε) right answers is exactly ε-DP.
    scores, member = told(1 / (1 + np.exp(-epsilon)))
    bounds = epsilon_of_runs(scores, member, delta=0.0)
    assert (bounds > epsilon).mean() <= 0.05
    assert joint_epsilon(bounds) <= epsilon
    if epsilon == 3.0:
        assert joint_epsilon(bounds) > 1.0


def test_a_perfect_attack_refutes_all_that_so_few_samples_can() -> None:
    member = np.arange(160)[None].repeat(4, 0) % 2 == 0
    bounds = epsilon_of_runs(np.where(member, 1.0, -1.0), member, delta=0.0)
    # r right of r guesses: logit(α^(1/r)), α = 0.025/4, r = 160.
    q = (0.025 / 4) ** (1 / 160)
    np.testing.assert_allclose(bounds, np.log(q / (1 - q)))


def test_the_median_is_the_lower_one() -> None:
    assert joint_epsilon([1.0]) == 1.0
    assert joint_epsilon([5.0, 1.0]) == 1.0
    assert joint_epsilon([5.0, 1.0, 2.0]) == 2.0


def test_shapes_are_checked() -> None:
    with pytest.raises(InputError, match="all targets of a fleet"):
        epsilon_of_runs(np.zeros(4), np.zeros(4, bool))
    with pytest.raises(InputError, match="one per run"):
        joint_epsilon([])


@pytest.mark.parametrize("delta", [0.0, 1e-5])
def test_what_so_many_guesses_can_show_at_most_is_marked(delta: float) -> None:
    for guesses in (20, 80):
        all_right = one_run(guesses, guesses, 160, delta=delta)
        some_wrong = one_run(guesses - 1, guesses, 160, delta=delta)
        assert all_right.at_ceiling
        assert not some_wrong.at_ceiling
        assert all_right.ceiling == some_wrong.ceiling == all_right.epsilon > some_wrong.epsilon
        assert str(all_right).endswith(f"(the most that {guesses} guesses can show)")
        assert "can show at most" in str(some_wrong)
    assert not one_run(0, 1, 160, delta=delta).at_ceiling


def test_a_fleet_s_bound_at_a_ceiling_is_recognised() -> None:
    member = half_split(160, models=8, seed=1).member
    scores = np.where(member, 1.0, -1.0) * np.linspace(1, 2, 160)
    joint = joint_epsilon(epsilon_of_runs(scores, member))
    assert ceiling_of_runs(joint, 160) == 160
    # The surest half right, one of the others wrong in every run: 80 of 80.
    for row, truth in zip(scores, member, strict=True):
        row[np.argsort(abs(row))[:8]] *= -1
        assert one_run_from_scores(row, truth, (80, 160)).correct in (80, 152)
    joint = joint_epsilon(epsilon_of_runs(scores, member))
    assert ceiling_of_runs(joint, 160) == 80
    assert joint == pytest.approx(2.712155, abs=1e-6)
    assert ceiling_of_runs(0.0, 160) is None


@pytest.mark.parametrize("bound", [multi_run, gdp])
@pytest.mark.parametrize(
    "threshold",
    [Bonferroni(), Bonferroni(7), Explicit(0.5), Split(0.3, np.random.default_rng(0))],
    ids=lambda t: type(t).__name__,
)
def test_the_ceiling_of_many_runs_is_that_of_a_perfect_attack(
    bound: Callable[..., Bound], threshold: Threshold
) -> None:
    rng = np.random.default_rng(2)
    member = np.arange(300) < 120
    perfect = bound(member * 1.0, member, delta=1e-5, threshold=threshold)
    assert perfect.at_ceiling
    assert perfect.epsilon == pytest.approx(perfect.ceiling)
    assert "the most that 300 trials can show" in str(perfect)
    weaker = bound(member + rng.normal(size=300), member, delta=1e-5, threshold=threshold)
    assert weaker.ceiling == pytest.approx(perfect.ceiling)
    assert weaker.epsilon < weaker.ceiling
    assert not weaker.at_ceiling


def test_one_run_refuses_what_is_no_fair_coin() -> None:
    member = subsets(400, models=8, parts=4).member
    with pytest.raises(InputError, match="tuples of more than two runs"):
        epsilon_of_runs(np.zeros(member.shape), member)
    with pytest.raises(InputError, match="about half of the canaries IN"):
        one_run_from_scores(np.zeros(400), member[0], 40)
    rng = np.random.default_rng(0)
    for _ in range(20):
        one_run_from_scores(np.zeros(400), rng.random(400) < 0.5, 40)
