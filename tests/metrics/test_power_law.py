"""The power law against laws that are known: exact points, the class-mean model, pools and populations."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.stats import norm

from seepage.attacks import LiRA, Pooled
from seepage.errors import InputError
from seepage.metrics import over_targets, pooled_by_target, power_law
from seepage.plan import half_split

SHOTS = np.array([32, 64, 128, 256])


def test_exact_points_give_their_law() -> None:
    law = power_law(SHOTS, 3 * SHOTS**-0.5, np.full(4, 0.01), share=0.5)
    assert law.slope == pytest.approx(-0.5, abs=1e-6)
    assert law.intercept == pytest.approx(np.log(3), abs=1e-5)
    assert law.intercept_of_population == pytest.approx(np.log(3) - 0.5 * np.log(2), abs=1e-5)
    assert law.scatter == pytest.approx(0, abs=1e-4)
    assert law.needed(0.03).value == pytest.approx(1e4, rel=1e-3)


def test_the_formula_of_heads_nears_one_half() -> None:
    """Φ(Φ⁻¹(FPR) + c/√S) − FPR: steeper than −½ before, at −½ where c/√S is far below 1/|Φ⁻¹(FPR)|."""
    slopes = []
    for least in (64, 2**20):
        s = least * 2.0 ** np.arange(4)
        exact = norm.cdf(norm.ppf(0.01) + 6 / np.sqrt(s)) - 0.01
        slopes.append(power_law(s, exact, 0.01 * exact).slope)
    assert slopes[0] < -0.7
    assert slopes[1] == pytest.approx(-0.5, abs=0.01)


def _advantage(shots: int, models: int, *, fresh: bool) -> tuple[float, float]:
    """The head ⟨x, mean of a class⟩ on half of a pool of 2 S samples, or on others drawn anew each time."""
    rng = np.random.default_rng(shots)
    x = rng.normal(size=(2 * shots, 24))
    member = half_split(len(x), models=models, seed=shots).member
    means = member @ x / shots
    if fresh:  # of every sample alone: the others are new, its own place is kept
        others = rng.normal(size=(models, 24)) * np.sqrt(shots)
        signal = (others @ x.T + member * (x**2).sum(axis=1)) / shots
    else:
        signal = means @ x.T
    scores = LiRA(variance=Pooled()).leave_one_out(signal / np.linalg.norm(x, axis=1), member)
    tpr = over_targets(pooled_by_target(scores, member, [0.4])[:, 0], member)
    return tpr.mean - 0.4, (tpr.high - tpr.low) / 4


def test_members_of_a_pool_stand_out_more_than_of_a_population() -> None:
    """The slope is −½ for both, and the intercepts differ by ½ log 2."""
    laws = [
        power_law(
            SHOTS, *zip(*(_advantage(s, 256, fresh=f) for s in SHOTS), strict=True), share=0.5
        )
        for f in (False, True)
    ]
    for law in laws:
        assert law.slopes.low < -0.5 < law.slopes.high
        assert law.slopes.high - law.slopes.low < 0.3
    gap = np.mean(
        [np.log(laws[0].advantage(s).value / laws[1].advantage(s).value) for s in (128, 256)]
    )
    assert gap == pytest.approx(0.5 * np.log(2), abs=0.08)


def test_intervals_cover() -> None:
    """Slope, line and number needed, over 400 laws of five noisy points: 95 % of them."""
    rng = np.random.default_rng(0)
    s = 16 * 2.0 ** np.arange(5)
    true, error = 2 * s**-0.5, np.full(5, 0.015)
    hits = np.zeros(3)
    for _ in range(400):
        law = power_law(s, true + error * rng.normal(size=5), error)
        line, needed = law.advantage(128), law.needed(0.1)
        hits += (
            law.slopes.low < -0.5 < law.slopes.high,
            line.low < 2 * 128**-0.5 < line.high,
            needed.low < 400 < needed.high,
        )
    assert (hits >= 0.93 * 400).all(), hits


def test_a_leak_that_noise_hides_counts() -> None:
    """A point below 0 is not left out, which would raise the rest of the law."""
    law = power_law([16, 64, 256, 4096], [0.4, 0.2, 0.1, -0.004], [0.01] * 4)
    assert law.slope < -0.5
    none = power_law([16, 64, 256], [0.02, 0.021, 0.02], [0.02] * 3)
    assert none.needed(0.001).high == np.inf


@pytest.mark.parametrize(
    ("points", "told"),
    [
        (([8, 16], [0.2, 0.1], [0.01] * 2), "three points or more"),
        (([8, 8, 8], [0.2, 0.1, 0.1], [0.01] * 3), "differ in examples per class, got 8 in all 3"),
        (([8, 16, 0], [0.2, 0.1, 0.1], [0.01] * 3), "shots: expected numbers above 0"),
        (([8, 16, 32], [0.2, np.nan, 0.1], [0.01] * 3), "advantage: expected finite"),
        (
            ([8, 16, 32], [0.2, 0.1, 0.1], [0.01, 0.01, 0]),
            "error: expected standard errors above 0",
        ),
        (([8, 16, 32], [-0.2, -0.1, -0.1], [0.01] * 3), "expected some that are above 0"),
    ],
)
def test_what_is_no_law_is_refused(points: tuple[list[float], ...], told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        power_law(*points)
    assert "\n" not in str(caught.value)
