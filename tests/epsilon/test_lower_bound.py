"""What a fleet's attack refutes about ε."""

from __future__ import annotations

import numpy as np
import pytest

from seepage.epsilon.one_run import epsilon_of_runs, joint_epsilon
from seepage.errors import InputError


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
