"""ε against the exact Gaussian mechanism, against a privacy loss of our own, and at its edges."""

import math

import numpy as np
import pytest
from scipy import stats

from seepage.defenses import epsilon
from seepage.defenses.accountant import spent
from seepage.epsilon import gdp_epsilon
from seepage.errors import InputError

pytest.importorskip("opacus", reason="the opacus extra is not installed")


@pytest.mark.parametrize(
    ("noise", "steps", "delta"),
    [
        (0.5, 1, 1e-5), (1.0, 1, 1e-5), (2.0, 4, 1e-5), (10.0, 100, 1e-5), (50.0, 1000, 1e-5),
        (1.0, 100, 1e-5), (100.0, 1, 1e-5), (10.0, 100, 1e-9), (100.0, 10_000, 1e-6),
    ],
)  # fmt: skip
def test_without_subsampling_steps_are_one_gaussian_mechanism(noise, steps, delta):
    """T steps of noise σ are one of σ/√T, whose ε Balle & Wang (arXiv 1805.06530) give exactly."""
    exact = gdp_epsilon(math.sqrt(steps) / noise, delta)
    found = spent(noise, 1.0, steps, delta)
    assert found.accountant == "prv"
    assert exact <= found.epsilon <= 1.01 * exact
    assert found.epsilon < found.rdp


def brackets(noise, rate, steps, delta, *, width=2e-4, reach=60.0):
    """Lower and upper ε by composing the privacy loss on a grid, losses rounded down and up.

    For both neighbours: a sample removed and a sample added.
    """
    edges = np.arange(-reach, reach + width / 2, width)
    inside = (np.expm1(edges) + rate) / rate
    x = np.where(inside > 0, noise**2 * np.log(np.maximum(inside, 1e-300)) + 0.5, -np.inf)
    plain = stats.norm.cdf(x / noise)
    mixed = (1 - rate) * plain + rate * stats.norm.cdf((x - 1) / noise)
    found = []
    for law in (np.diff(mixed), np.diff(plain)[::-1]):
        n = 1 << math.ceil(math.log2(2 * len(law)))
        # Of losses rounded down, counted from the middle of the grid so that sums stay on it.
        middle = len(law) // 2
        shifted = np.zeros(n)
        shifted[np.arange(-middle, len(law) - middle)] = law
        total = np.fft.irfft(np.fft.rfft(shifted) ** steps, n)
        loss = np.fft.fftfreq(n, 1 / n) * width
        step = (middle - reach / width) * width  # the middle edge, up to rounding of the grid
        for rounding in (0.0, width):
            at = loss + steps * (step + rounding)
            found.append(_where(at, total, delta))
    return max(found[0], found[2]), max(found[1], found[3])


def test_the_brackets_hold_the_exact_value():
    low, high = brackets(1.0, 1.0, 4, 1e-5)
    assert low <= gdp_epsilon(2.0, 1e-5) <= high < low + 0.01


def _where(loss, mass, delta):
    low, high = 0.0, float(loss.max())
    for _ in range(60):
        middle = (low + high) / 2
        beyond = loss > middle
        too_much = (mass[beyond] * -np.expm1(middle - loss[beyond])).sum() > delta
        low, high = (middle, high) if too_much else (low, middle)
    return low


@pytest.mark.parametrize(
    ("noise", "rate", "steps"), [(1.0, 0.25, 8), (1.0, 0.1, 1), (0.8, 0.05, 40), (4.0, 0.5, 10), (1.5, 0.2, 20)]
)  # fmt: skip
def test_subsampled_steps_are_bounded_and_tightly(noise, rate, steps):
    low, high = brackets(noise, rate, steps, 1e-5)
    assert high - low < 0.02
    found = spent(noise, rate, steps, 1e-5)
    assert found.accountant == "prv"
    assert low <= found.epsilon <= 1.01 * high
    assert low <= found.rdp


@pytest.mark.parametrize(
    ("given", "tight", "renyi"),
    [
        ((1.5, 0.04, 2250, 1e-5), 6.784, 7.329),
        ((1.0, 0.01, 1000, 1e-5), 1.833, 2.101),
        ((1.1, 256 / 60_000, 60 * 234, 1e-5), 2.385, 2.594),
    ],
)
def test_known_values(given, tight, renyi):
    found = spent(*given)
    assert found.epsilon == pytest.approx(tight, abs=1e-3) == epsilon(*given)
    assert found.rdp == pytest.approx(renyi, abs=1e-3)


def test_renyi_accounting_of_a_published_value():
    """From the tutorial of Opacus."""
    assert spent(1.5, 0.04, 2250, 1e-5).rdp == pytest.approx(7.32911117143, rel=1e-9)


@pytest.mark.parametrize(
    "given",
    [
        (0.1, 0.1, 1000, 1e-5),  # a grid too large for memory
        (1.0, 0.1, 100, 1e-14),  # below what floating point carries
        (1.0, 0.1, 100, 1e-300),
        (1e-3, 0.1, 10, 1e-5),
        (1.0, 0.01, 10**12, 1e-5),
    ],
)
def test_where_composition_cannot_be_had_renyi_remains(given):
    found = spent(*given)
    assert found.accountant == "rdp"
    assert math.isfinite(found.epsilon)
    assert found.epsilon == found.rdp


@pytest.mark.parametrize("given", [(1e200, 0.1, 10, 1e-5), (1.0, 1e-300, 10, 1e-5)])
def test_almost_nothing_costs_almost_nothing(given):
    assert 0 <= epsilon(*given) < 1e-3


def test_limits_and_order():
    assert epsilon(0.0, 0.1, 10, 1e-5) == math.inf
    assert epsilon(1e-200, 0.1, 10, 1e-5) == math.inf
    assert (
        epsilon(1.0, 0.1, 0, 1e-5) == epsilon(1.0, 0.1, 10, 1.0) == epsilon(1.0, 0.0, 9, 0.1) == 0
    )
    assert epsilon(1.0, 0.1, 100, 1e-5) < epsilon(1.0, 0.1, 200, 1e-5)
    assert epsilon(2.0, 0.1, 100, 1e-5) < epsilon(1.0, 0.1, 100, 1e-5)
    assert epsilon(1.0, 0.05, 100, 1e-5) < epsilon(1.0, 0.1, 100, 1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((-1.0, 0.1, 10, 1e-5), "noise: expected a finite number"),
        ((math.inf, 0.1, 10, 1e-5), "noise: expected a finite number"),
        ((1.0, 1.5, 10, 1e-5), "rate: expected a probability, got 1.5"),
        ((1.0, math.nan, 10, 1e-5), "rate: expected a probability"),
        ((1.0, 0.1, -1, 1e-5), "steps: expected a count"),
        ((1.0, 0.1, 10, 0.0), r"delta: expected a number in \(0, 1\]"),
    ],
)
def test_bad_values(given, message):
    with pytest.raises(InputError, match=message):
        epsilon(*given)
