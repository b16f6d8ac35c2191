"""LiRA on the residual of a regression against ridge regression, whose laws are known exactly.

Others' targets are drawn anew for every model, y = Xβ + σε with a fixed design X. Then a sample's
residual without it is normal, r_out ~ N(μ, v), with it r_in = r_out / (1 + h) for the same others,
h = xᵀMx and M = (XᵀX + λ)⁻¹: the leave-one-out identity. So the log-ratio of the two laws is

    Λ(r) = log(1 + h) − [((1 + h) r − μ)² − (r − μ)²] / 2v,

which falls with |r − μ / (2 + h)|: the best test of a sample has a centre that is not 0, and the sign
of the residual tells. Its AUC is the probability that one square of normals is above another.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from seepage.attacks import LiRA, PerSample
from seepage.metrics import auc
from seepage.plan import half_split

MODELS, SAMPLES, OTHERS, COLUMNS = 1000, 16, 24, 8
SIGMA, PENALTY = 1.0, 0.5


def farther(mean: np.ndarray, h: np.ndarray, v: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """P(|r_out − centre| > |r_in − centre|) of independent models, by the bivariate normal law."""
    found = []
    for mu, k, spread, c in zip(mean, 1 + h, v, centre, strict=True):
        a, b = mu - c, mu / k - c
        cov = spread * np.array([[1 + k**-2, 1 - k**-2], [1 - k**-2, 1 + k**-2]])
        law = multivariate_normal([a - b, a + b], cov)
        below = multivariate_normal([b - a, -a - b], cov)
        found.append(law.cdf([0, 0]) + below.cdf([0, 0]))
    return np.array(found)


def test_lira_on_the_residual_reaches_the_best_test_of_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    design = rng.normal(size=(OTHERS, COLUMNS))
    beta = rng.normal(size=COLUMNS)
    x = rng.normal(size=(SAMPLES, COLUMNS))
    y = x @ beta + SIGMA * rng.normal(size=SAMPLES)
    member = half_split(SAMPLES, models=MODELS, seed=0).member
    gram = design.T @ design
    inverse = np.linalg.inv(gram + PENALTY * np.eye(COLUMNS))
    h = np.einsum("ni,ij,nj->n", x, inverse, x)
    mean = y - x @ inverse @ gram @ beta
    v = SIGMA**2 * np.einsum("ni,ij,nj->n", x, inverse @ gram @ inverse, x)

    residual = np.empty((MODELS, SAMPLES))
    for i in range(SAMPLES):
        drawn = design @ beta + SIGMA * rng.normal(size=(MODELS, OTHERS))
        for inside in (False, True):
            rows = member[:, i] == inside
            normal = gram + PENALTY * np.eye(COLUMNS) + inside * np.outer(x[i], x[i])
            told = drawn[rows] @ design + inside * y[i] * x[i]
            residual[rows, i] = y[i] - np.linalg.solve(normal, told.T).T @ x[i]

    scores = LiRA(variance=PerSample(), signal="residual").leave_one_out(residual, member)
    k = 1 + h
    within, without = (k * residual - mean) ** 2 / (2 * v), (residual - mean) ** 2 / (2 * v)
    exact = np.log(k) - within + without
    # The laws are estimated from 499 references of each kind.
    assert np.quantile(np.abs(scores - exact) / (1 + within + without), 0.99) < 0.15
    best = farther(mean, h, v, mean / (2 + h))
    of_loss = farther(mean, h, v, np.zeros(SAMPLES))
    reached = np.array([auc(scores[:, i], member[:, i]) for i in range(SAMPLES)])
    plain = np.array([auc(-np.abs(residual[:, i]), member[:, i]) for i in range(SAMPLES)])
    # An AUC of 500 models of each side has a standard error of at most 0.019, their mean of 0.0047.
    assert np.abs(reached - best).max() < 4 * 0.019
    assert reached.mean() == pytest.approx(best.mean(), abs=3 * 0.0047)
    assert plain.mean() == pytest.approx(of_loss.mean(), abs=3 * 0.0047)
    assert best.min() > 0.5
    assert (best >= of_loss - 1e-6).all()
    assert (best - of_loss).max() > 0.02
