"""Signals against closed forms and a 60-digit oracle, where float32 softmax has long saturated."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seepage.signals import SIGNALS, correct, entropy, loss, mentr, phi

getcontext().prec = 60
LOGITS = st.lists(st.integers(-800, 800).map(lambda v: v / 16), min_size=2, max_size=6)


def exactly(logits: list[float], label: int) -> dict[str, float]:
    """The definitions, digit by digit."""
    weights = [Decimal(z).exp() for z in logits]
    p = [w / sum(weights) for w in weights]
    rest = sum(q for j, q in enumerate(p) if j != label)
    out = -rest * p[label].ln()
    for j, q in enumerate(p):
        if j != label:
            out -= q * sum(p[k] for k in range(len(p)) if k != j).ln()
    return {
        "phi": float(p[label].ln() - rest.ln()),
        "loss": float(-p[label].ln()),
        "mentr": float(out),
    }


@given(LOGITS, st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_against_sixty_digits(logits: list[float], at: int) -> None:
    label = at % len(logits)
    z, y = torch.tensor([logits], dtype=torch.float32), torch.tensor([label])
    for name, wanted in exactly(logits, label).items():
        got = float(SIGNALS[name](z, y))
        assert math.isclose(got, wanted, rel_tol=1e-9, abs_tol=1e-13), (name, got, wanted)


def test_two_classes_are_the_logit_difference() -> None:
    z = torch.tensor([[100.0, -30.0], [0.0, 3.5]])
    assert phi(z, torch.tensor([0, 1])).tolist() == [130.0, 3.5]
    assert float(loss(z[:1], torch.tensor([1]))) == 130.0


@pytest.mark.parametrize("gap", [-50.0, -3.0, 0.0, 3.0, 40.0, 60.0])
def test_entropies_of_two_classes_keep_their_digits(gap: float) -> None:
    """With s = 1 − p_y: 2 s log(1/(1 − s)) and the binary entropy, also where p_y rounds to 1."""
    z, y = torch.tensor([[gap, 0.0]], dtype=torch.float64), torch.tensor([0])
    s, least = Decimal(1) / (1 + Decimal(gap).exp()), Decimal(1) / (1 + Decimal(-gap).exp())
    want = float(-2 * s * least.ln())
    assert float(mentr(z, y)) == pytest.approx(want, rel=1e-12, abs=0)
    assert float(entropy(z, y)) == pytest.approx(
        float(-s * s.ln() - least * least.ln()), rel=1e-12, abs=0
    )


def test_loss_is_log_one_plus_exp_of_minus_phi() -> None:
    z = torch.linspace(-60, 60, 200)[:, None] * torch.tensor([[1.0, 0.0]])
    y = torch.zeros(200, dtype=torch.int64)
    wanted = np.logaddexp(0.0, -phi(z, y).numpy())
    np.testing.assert_allclose(loss(z, y).numpy(), wanted, rtol=1e-12, atol=0)


@given(LOGITS, st.integers(0, 5), st.integers(-64, 64))
@settings(max_examples=30, deadline=None)
def test_a_common_shift_changes_nothing(logits: list[float], at: int, shift: int) -> None:
    y = torch.tensor([at % len(logits)])
    z = torch.tensor([logits], dtype=torch.float64)
    for name, signal in SIGNALS.items():
        assert math.isclose(
            float(signal(z, y)), float(signal(z + shift, y)), rel_tol=1e-9, abs_tol=1e-9
        ), name


def test_uniform_logits() -> None:
    z, y = torch.zeros(1, 4), torch.tensor([2])
    assert float(loss(z, y)) == pytest.approx(math.log(4), rel=1e-15)
    assert float(phi(z, y)) == pytest.approx(-math.log(3), rel=1e-15)
    # (1 - 1/4) log 4 + 3/4 log(4/3)
    assert float(mentr(z, y)) == pytest.approx(0.75 * math.log(4) + 0.75 * math.log(4 / 3))


def test_correct_is_the_largest_logit() -> None:
    z = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    assert correct(z, torch.tensor([1, 1])).tolist() == [1.0, 0.0]


def test_half_precision_logits_are_read_in_double() -> None:
    z = torch.tensor([[12.0, 0.0, -3.0]], dtype=torch.bfloat16)
    wanted = 12.0 - math.log(1.0 + math.exp(-3.0))
    assert float(phi(z, torch.tensor([0]))) == pytest.approx(wanted, rel=1e-12)
