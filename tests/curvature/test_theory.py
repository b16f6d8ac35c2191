"""The bounds against each other and against plain arithmetic."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seepage.curvature.theory import (
    Assumptions,
    confidence_divergence,
    crossing_size,
    curvature_bound,
    curvature_divergence,
    memorisation_bound_from_curvature,
    memorisation_bound_from_privacy,
    stability,
)
from seepage.errors import InputError

EPSILON = st.floats(1e-3, 20)
GIVEN = st.builds(
    Assumptions, loss=st.floats(0.1, 5), generalisation=st.floats(0, 1e-3),
    bias=st.floats(0, 1e-3), lipschitz=st.floats(0, 1), displacement=st.floats(0, 1),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(EPSILON, st.floats(1, 1e5), GIVEN)
def test_crossing_is_where_the_two_divergences_meet(epsilon, sigma, assumed) -> None:
    size = crossing_size(epsilon, sigma, assumed)
    if size > 2:
        below = curvature_divergence(epsilon, size - 2, sigma, assumed)
        assert below <= confidence_divergence(epsilon) * (1 + 1e-9)
    above = curvature_divergence(epsilon, size + 1, sigma, assumed)
    assert above >= confidence_divergence(epsilon) * (1 - 1e-9)


@settings(max_examples=30, deadline=None)
@given(EPSILON, GIVEN)
def test_bounds_grow_with_privacy_loss_and_size(epsilon, assumed) -> None:
    assert stability(epsilon) < math.expm1(epsilon)
    assert curvature_bound(epsilon * 2, 100, assumed) >= curvature_bound(epsilon, 100, assumed)
    assert curvature_bound(epsilon, 200, assumed) > curvature_bound(epsilon, 100, assumed)
    assert 0 < memorisation_bound_from_privacy(epsilon) <= 1


def test_bounds_by_hand() -> None:
    assumed = Assumptions(loss=2, generalisation=0.01, bias=0.02, lipschitz=3, displacement=4)
    assert assumed.slack(10) == pytest.approx(39 * 0.01 + 18 * 0.02 + 2)
    assert curvature_bound(1, 10, assumed) == pytest.approx(
        2 * 11 * (1 - math.exp(-1)) + assumed.slack(10)
    )
    assert memorisation_bound_from_curvature(0.5, 10, 0.1, assumed) == pytest.approx(
        (0.5 + 1 + assumed.slack(10)) / 2
    )
    assert memorisation_bound_from_privacy(0) == 0


def test_crossing_at_the_ends() -> None:
    assert crossing_size(0.0, 1.0, Assumptions()) == 1
    assert crossing_size(1e-6, 1e9, Assumptions()) > 1e9


def test_bad_constants_are_refused() -> None:
    for bad, message in [
        (lambda: stability(-1), "epsilon: expected a finite number >= 0, got -1"),
        (lambda: curvature_bound(1, 0, Assumptions()), "size: expected a training set"),
        (lambda: crossing_size(1, 0, Assumptions()), "sigma: expected a finite number > 0, got 0"),
        (
            lambda: curvature_divergence(1, 5, -1, Assumptions()),
            "sigma: expected a finite number > 0, got -1",
        ),
        (lambda: Assumptions(loss=0), "assumptions: expected a finite loss > 0"),
        (
            lambda: Assumptions(bias=-1),
            "assumptions: expected a finite loss > 0 and the others >= 0",
        ),
    ]:
        with pytest.raises(InputError, match=message):
            bad()
