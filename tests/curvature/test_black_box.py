"""Curvature through a function of probabilities, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from seepage.curvature import Shared, ZerothOrder, curvature
from seepage.errors import InputError


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("estimator", "queries"), [(ZerothOrder(), 41), (ZerothOrder(directions=Shared()), 21)]
)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_function_of_probabilities_equals_the_module(estimator, queries, kind) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double().eval()
    x, y = torch.from_numpy(rng().standard_normal((7, 5))), torch.arange(7) % 3
    asked = 0

    def api(batch):
        nonlocal asked
        asked += len(batch)
        assert isinstance(batch, np.ndarray) == (kind == "numpy")
        with torch.no_grad():
            p = model(torch.as_tensor(batch)).softmax(1)
        batch += 1  # a rude function may write into what it was given
        return p.numpy() if kind == "numpy" else p

    given = x.numpy().copy() if kind == "numpy" else x.clone()
    got = curvature(api, given, y, estimator, batch=3, generator=rng())
    want = curvature(model, x, y, estimator, generator=rng())
    assert asked == queries * 7
    assert got.passes == queries
    np.testing.assert_array_equal(np.asarray(given), x.numpy())
    np.testing.assert_allclose(got.score, want.score, rtol=1e-5)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros((2, 3)), "rows in .0, 1. that sum to 1.*softmax"),
        (np.array([[2.0, -1.0, 0.0]] * 2), "rows in .0, 1."),
        (np.full((2, 3), np.nan), "rows in .0, 1."),
        (np.full((1, 3), 1 / 3), r"shape \(2, classes\), got \(1, 3\)"),
        (np.full((2, 2), 0.5), r"values in 0..1 as the black box has classes, got 2"),
    ],
    ids=["zero", "range", "nan", "rows", "classes"],
)
def test_answers_that_are_no_probabilities_are_refused(answer, message) -> None:
    with pytest.raises(InputError, match=message):
        curvature(lambda x: answer, np.zeros((2, 4)), [0, 2], ZerothOrder(), generator=rng())


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(InputError, match="torch module or a function, got str"):
        curvature("model", np.zeros((2, 4)), [0, 1], ZerothOrder(), generator=rng())


def test_a_probability_of_zero_stays_finite() -> None:
    answer = np.array([[0.0, 1.0]])
    got = curvature(
        lambda x: np.repeat(answer, len(x), 0),
        np.zeros((2, 4)),
        [0, 0],
        ZerothOrder(),
        generator=rng(),
    )
    assert (got.score == 0).all()
    assert (got.extra["zeros"] == 10).all()
