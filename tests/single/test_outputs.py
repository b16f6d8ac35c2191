"""From outputs to signals: logits, probabilities and recorded signals say the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seepage.errors import InputError
from seepage.signals import SIGNALS
from seepage.single import from_logits, from_probabilities, from_signals


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(scale=4.0, size=(300, 5)).astype(np.float32)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 5, 300)


def test_logits_give_the_signals_that_are_recorded(logits: np.ndarray, labels: np.ndarray) -> None:
    found = from_logits(logits, labels).signals
    for name, rule in SIGNALS.items():
        expected = rule(torch.from_numpy(logits), torch.from_numpy(labels)).numpy()
        np.testing.assert_allclose(found[name], expected, rtol=1e-12, atol=1e-12)
    p = torch.from_numpy(logits).double().softmax(1)
    entropy = torch.distributions.Categorical(probs=p).entropy().numpy()
    np.testing.assert_allclose(found["entropy"], entropy, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-5)])
def test_probabilities_give_what_logits_give(
    logits: np.ndarray, labels: np.ndarray, dtype: type, tolerance: float
) -> None:
    p = torch.from_numpy(logits).double().softmax(1).numpy().astype(dtype)
    a, b = from_logits(logits, labels), from_probabilities(p, labels)
    assert b.notes == ()
    for name in a.signals:
        np.testing.assert_allclose(b.signals[name], a.signals[name], rtol=tolerance, atol=tolerance)


def test_one_output_is_that_of_class_1() -> None:
    z, y = np.array([2.0, -1.0, 0.5]), np.array([1, 0, 0])
    both = from_logits(np.stack([np.zeros(3), z], axis=1), y)
    for given in (z, z[:, None]):
        np.testing.assert_allclose(from_logits(given, y).signals["phi"], both.signals["phi"])
        p = 1 / (1 + np.exp(-given))
        np.testing.assert_allclose(from_probabilities(p, y).signals["phi"], both.signals["phi"])


def test_exact_zeros_and_ones_keep_the_order() -> None:
    p = np.array([[1.0, 0.0], [1 - 1e-12, 1e-12], [0.5, 0.5], [1e-30, 1.0], [0.0, 1.0]])
    found = from_probabilities(p, np.zeros(5, dtype=int))
    assert np.isfinite(found.signals["phi"]).all()
    assert (np.diff(found.signals["phi"]) <= 0).all()
    assert (np.diff(found.signals["loss"]) >= 0).all()
    assert np.isfinite(found.signals["mentr"]).all()
    assert "exactly 0 or 1 for 2 of 5" in found.notes[0]


def test_phi_and_loss_follow_from_each_other(logits: np.ndarray, labels: np.ndarray) -> None:
    both = from_logits(logits, labels).signals
    from_loss = from_signals({"loss": both["loss"]})
    np.testing.assert_allclose(from_loss.signals["phi"], both["phi"], atol=1e-9)
    np.testing.assert_allclose(from_signals({"phi": both["phi"]}).signals["loss"], both["loss"])
    assert "logits or probabilities" in from_loss.lacking["mentr"]


def test_what_does_not_follow_from_a_loss_is_said() -> None:
    exact = from_signals({"loss": np.array([0.0, 1.0])})
    assert "phi" not in exact.signals
    assert "exactly 0 for 1" in exact.lacking["phi"]
    half = from_signals({"loss": np.array([0.5, 1.0], dtype=np.float16)})
    assert "half precision" in half.lacking["phi"]
    assert "half precision" in half.notes[0]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: from_logits(np.zeros((3, 2)), np.array([0, 2, 1])), "got 2 at row 1"),
        (lambda: from_logits(np.zeros((3, 2)), np.array([0, 1, -1])), "got -1 at row 2"),
        (lambda: from_logits(np.full((2, 2), np.nan), np.zeros(2, int)), "the first at row 0"),
        (lambda: from_logits(np.zeros((2, 2, 2)), np.zeros(2, int)), "one row per sample"),
        (lambda: from_probabilities(np.full((2, 2), 3.0), np.zeros(2, int)), "logits=True"),
        (lambda: from_probabilities(np.array([[1.1, -0.1]]), np.zeros(1, int)), "sum 1 at row 0"),
        (lambda: from_signals({"loss": np.array([-1.0, 1.0])}), "at least 0"),
        (lambda: from_signals({"los": np.zeros(2)}), "did you mean 'loss'"),
        (lambda: from_signals({"phi": np.array([np.inf, 0.0])}), "expected finite"),
        (lambda: from_signals({}), "at least one"),
        (lambda: from_signals({"phi": np.zeros(3), "loss": np.zeros(2)}), "'loss': 2"),
    ],
)
def test_bad_outputs_are_refused_in_one_line(call: object, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        call()  # type: ignore[operator]
    assert "\n" not in str(error.value)
