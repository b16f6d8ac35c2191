"""Every estimator against networks whose Hessian is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from torch import nn

from seepage.curvature import (
    Curvature,
    CurvatureWarning,
    ExactGaussNewton,
    FiniteDifference,
    Hutchinson,
    LogitProbes,
    Shared,
    TopK,
    ZerothOrder,
    curvature,
)


class Quadratic(nn.Module):
    """Logits whose cross-entropy for label 0 is ½ xᵀQx + 1 exactly, so that H = Q everywhere."""

    def __init__(self, q: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("q", q)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        loss = 1 + (x @ self.q * x).sum(1) / 2
        return torch.stack([-loss, torch.log(-torch.expm1(-loss))], 1)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def seeded(build, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().eval()


def normal(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(generator(seed).standard_normal(shape)).to(dtype)


def hessians(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    """The Hessian of every sample by brute force."""
    size = x[0].numel()
    return np.stack(
        [
            torch.autograd.functional.hessian(
                lambda z, t=t: nn.functional.cross_entropy(model(z[None]), t[None]), s
            )
            .reshape(size, size)
            .numpy()
            for s, t in zip(x, y, strict=True)
        ]
    )


def trace(h: np.ndarray) -> np.ndarray:
    return np.trace(h, axis1=1, axis2=2)


def frobenius(h: np.ndarray) -> np.ndarray:
    return np.linalg.norm(h, axis=(1, 2))


def positive(size: int, seed: int = 3) -> torch.Tensor:
    root = normal(size, size, seed=seed)
    return root @ root.T / size


def relu_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 5)).double()


def tanh_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 4)).double()


def pooled_cnn() -> nn.Module:
    m = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(32, 10),
    ).double()  # fmt: skip
    for b in (m[1], m[5]):
        b.running_mean.copy_(torch.linspace(-0.3, 0.2, b.num_features))
        b.running_var.copy_(torch.linspace(0.5, 2.0, b.num_features))
    return m


LABELS = torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize(
    ("build", "shape"), [(relu_mlp, (12,)), (pooled_cnn, (2, 6, 6))], ids=["relu", "pool-norm"]
)
def test_gauss_newton_is_the_hessian_of_piecewise_linear_networks(build, shape) -> None:
    model, x = seeded(build), normal(4, *shape)
    h = hessians(model, x, LABELS)
    got = curvature(model, x, LABELS)
    np.testing.assert_allclose(got.trace, trace(h), rtol=1e-8)
    np.testing.assert_allclose(got.frobenius, frobenius(h), rtol=1e-8)
    assert got.trace_error is None
    assert got.frobenius_error is None


def test_gauss_newton_of_softmax_regression_is_exact_in_float32_for_confident_samples() -> None:
    model = seeded(lambda: nn.Linear(8, 6))
    x = normal(5, 8, dtype=torch.float32) * torch.tensor([1.0, 5, 20, 80, 200])[:, None]
    w = model.weight.detach().double()
    p = (x.double() @ w.T + model.bias.detach().double()).softmax(1)
    got = curvature(model, x, torch.zeros(5, dtype=torch.int64))
    for i in range(5):
        # By pairs of classes: no cancellation however confident the sample is.
        pairs = p[i][:, None] * p[i][None] * (w[:, None] - w[None]).square().sum(2)
        assert got.trace[i] == pytest.approx(
            float(pairs.sum()) / 2, rel=1e-5 * (1 + float(x[i].norm()))
        )
        assert got.trace[i] > 0


def test_gauss_newton_ignores_the_label() -> None:
    model, x = seeded(relu_mlp), normal(4, 12)
    a, b = curvature(model, x, LABELS), curvature(model, x, LABELS.flip(0))
    np.testing.assert_array_equal(a.trace, b.trace)


def test_gauss_newton_of_smooth_networks_is_the_gauss_newton_matrix_and_warns() -> None:
    model = seeded(tanh_mlp)
    x = normal(4, 12)
    j = torch.stack([torch.autograd.functional.jacobian(lambda z: model(z[None])[0], s) for s in x])
    p = model(x).detach().softmax(1)
    a = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    h = (j.mT @ a @ j).numpy()
    with pytest.warns(CurvatureWarning, match=r"Tanh '1' is not piecewise linear.*Hutchinson"):
        got = curvature(model, x, LABELS)
    np.testing.assert_allclose(got.trace, trace(h), rtol=1e-10)
    np.testing.assert_allclose(got.frobenius, frobenius(h), rtol=1e-10)


def far(estimate: np.ndarray | None, error: np.ndarray | None, truth: np.ndarray) -> float:
    """Root mean square of the misses in standard errors; about 1 when the errors are honest."""
    assert estimate is not None
    assert error is not None
    return float(np.sqrt(np.mean(((estimate - truth) / error) ** 2)))


@pytest.mark.parametrize("build", [tanh_mlp, relu_mlp], ids=["tanh", "relu"])
def test_hutchinson_is_within_its_errors(build) -> None:
    model = seeded(build)
    x = normal(30, 12)
    y = torch.arange(30) % 4
    h = hessians(model, x, y)
    got = curvature(model, x, y, Hutchinson(n=100), generator=generator())
    assert far(got.trace, got.trace_error, trace(h)) < 1.5
    assert far(got.frobenius, got.frobenius_error, frobenius(h)) < 1.5


def test_hutchinson_of_a_diagonal_hessian_has_no_error() -> None:
    q = torch.diag(torch.linspace(0.1, 2, 7, dtype=torch.float64))
    got = curvature(
        Quadratic(q),
        normal(3, 7),
        torch.zeros(3, dtype=torch.int64),
        Hutchinson(n=3),
        generator=generator(),
    )
    np.testing.assert_allclose(got.trace, q.trace())
    np.testing.assert_allclose(got.frobenius, q.norm())
    np.testing.assert_allclose(got.trace_error, 0, atol=1e-12)


@pytest.mark.parametrize(
    "estimator",
    [
        FiniteDifference(h=1e-3, n=100), Hutchinson(n=100),
        ZerothOrder(h=1e-2, n=100), ZerothOrder(h=1e-2, n=100, directions=Shared()),
    ],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_random_estimators_reach_a_known_quadratic(estimator) -> None:
    q = positive(10)
    x = 0.3 * normal(30, 10)
    got = curvature(
        Quadratic(q), x, torch.zeros(30, dtype=torch.int64), estimator, generator=generator()
    )
    if got.trace is not None:
        assert far(got.trace, got.trace_error, np.full(30, float(q.trace()))) < 1.5
    if got.frobenius is not None:
        assert far(got.frobenius, got.frobenius_error, np.full(30, float(q.norm()))) < 1.5
    assert (got.trace is None, got.frobenius is None) == {
        "curvature_zo": (True, False),
        "curvature_zo_trace": (False, True),
    }.get(next(iter(estimator.signals)), (False, False))


def test_finite_difference_score_is_the_norm_or_its_square() -> None:
    q = positive(10)
    x, y = 0.3 * normal(20, 10), torch.zeros(20, dtype=torch.int64)

    def score(squared: bool, h: float) -> np.ndarray:
        estimator = FiniteDifference(h=h, n=200, squared=squared)
        return curvature(Quadratic(q), x, y, estimator, generator=generator()).score

    assert score(True, 1e-3).mean() == pytest.approx(1e-6 * float((q @ q).trace()), rel=0.02)
    ratio = score(False, 1e-3) / (1e-3 * float(q.norm()))
    assert 0.8 < ratio.mean() < 1  # Jensen: the mean norm is below the root mean square
    np.testing.assert_allclose(score(False, 1e-4), score(False, 1e-3) / 10, rtol=1e-5)


def test_zeroth_order_constants() -> None:
    """E q² = ‖H‖_F²; E|uᵀHv| = c‖H‖_F with c = 2/π for rank one, √(2/π) for many like ones."""
    size, y = 400, torch.zeros(30, dtype=torch.int64)
    ones = torch.ones(size, 1, dtype=torch.float64) / math.sqrt(size)
    for q, c in ((ones @ ones.T, 2 / math.pi), (torch.eye(size).double(), math.sqrt(2 / math.pi))):
        got = curvature(
            Quadratic(q),
            0.1 * normal(30, size),
            y,
            ZerothOrder(h=1e-2, n=300),
            generator=generator(),
        )
        assert got.score.mean() == pytest.approx(1e-2 * c * float(q.norm()), rel=0.03)
        assert (got.frobenius**2).mean() == pytest.approx(float(q.norm()) ** 2, rel=0.06)


def test_zeroth_order_matches_a_plain_loop_of_the_published_steps() -> None:
    """The same four queries by hand, on directions seen through the model."""
    model, x, y = seeded(tanh_mlp), normal(1, 12), torch.tensor([2])
    seen: list[torch.Tensor] = []
    hook = model.register_forward_pre_hook(lambda m, a: seen.append(a[0].clone()))
    got = curvature(model, x, y, ZerothOrder(h=1e-3, n=3), batch=1, generator=generator())
    hook.remove()
    queries = seen[-13:]
    assert torch.equal(queries[0], x)
    loss = [float(nn.functional.cross_entropy(model(q), y).detach()) for q in queries]
    total = 0.0
    for k in range(3):
        pp, mm, mp, pm = loss[1 + 4 * k : 5 + 4 * k]
        step = queries[1 + 4 * k] - x
        assert set(step.abs().mul(1e3).round().flatten().tolist()) <= {0.0, 2.0}
        total += abs((pp - mp - pm + mm) / (4 * 1e-3))
    assert got.score[0] == pytest.approx(total / 3, rel=1e-6)


class Pooled(nn.Module):
    """Max-pools of every kind between layers, and a view that needs rows one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), nn.ReLU(),
            nn.Conv2d(6, 6, 3), nn.MaxPool2d(2, 1, dilation=2),
        )  # fmt: skip
        self.head = nn.Linear(6 * 3 * 3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).view(len(x), -1))


def test_the_double_copy_of_a_float32_model_pools_as_the_model_does() -> None:
    model = seeded(Pooled)
    x, y = normal(5, 2, 14, 14, dtype=torch.float32), torch.tensor([0, 1, 2, 0, 1])
    x[:, :, :6] = 0.5  # ties within the windows
    before = [type(m) for m in model.modules()]
    found = curvature(model, x, y, ZerothOrder(n=3), generator=generator())
    assert [type(m) for m in model.modules()] == before
    wanted = curvature(model.double(), x.double(), y, ZerothOrder(n=3), generator=generator())
    np.testing.assert_array_equal(found.score, wanted.score)


def test_float32_zeroth_order_counts_the_probes_that_rounding_swallowed() -> None:
    model = seeded(lambda: nn.Linear(6, 3))
    with torch.no_grad():
        model.bias[0] = 60.0
    x, y = normal(4, 6, dtype=torch.float32), torch.zeros(4, dtype=torch.int64)
    published = curvature(model, x, y, ZerothOrder(precision=torch.float32), generator=generator())
    assert (published.score == 0).all()
    assert (published.extra["zeros"] == 10).all()
    assert (published.extra["loss"] == 0).all()
    assert model.weight.dtype == torch.float32


def test_top_classes_and_probes_reach_the_exact_trace() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 50)).double())
    with torch.no_grad():
        model[2].weight.mul_(4)
    x, y = normal(60, 20), torch.arange(60) % 50
    exact = curvature(model, x, y)
    top = curvature(model, x, y, ExactGaussNewton(TopK(5, probes=6)), generator=generator())
    rest = exact.trace - (top.trace - _mean_rest(top, 6))
    assert (rest > 0).all()
    assert (top.frobenius <= exact.frobenius * (1 + 1e-9)).all()
    assert (exact.frobenius - top.frobenius <= rest * (1 + 1e-9)).all()
    assert (rest <= top.extra["left_out"]).mean() >= 0.95
    assert far(top.trace, top.trace_error, exact.trace) < 2.5
    probes = curvature(model, x, y, ExactGaussNewton(LogitProbes(60)), generator=generator())
    assert far(probes.trace, probes.trace_error, exact.trace) < 1.5
    assert far(probes.frobenius, probes.frobenius_error, exact.frobenius) < 1.5


def _mean_rest(result: Curvature, probes: int) -> np.ndarray:
    return result.extra["left_out"] * chi2.ppf(0.01, probes) / probes


ESTIMATORS = [
    ExactGaussNewton(), ExactGaussNewton(TopK(2)), ExactGaussNewton(LogitProbes(4)),
    Hutchinson(4), FiniteDifference(n=4), ZerothOrder(n=4), ZerothOrder(n=4, directions=Shared()),
]  # fmt: skip


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=range(len(ESTIMATORS)))
@settings(max_examples=5, deadline=None)
@given(batch=st.integers(1, 12))
def test_results_do_not_depend_on_the_batch(estimator, batch) -> None:
    model, x = seeded(relu_mlp), normal(11, 12)
    y = torch.arange(11) % 5
    whole = curvature(model, x, y, estimator, generator=generator())
    parts = curvature(model, x, y, estimator, batch=batch, generator=generator())
    np.testing.assert_allclose(parts.score, whole.score, rtol=1e-7)
    if whole.trace is not None:
        np.testing.assert_allclose(parts.trace, whole.trace, rtol=1e-6)


def test_memory_bounds_the_batch() -> None:
    model = seeded(relu_mlp)
    sizes: list[int] = []

    def seen(m: torch.nn.Module, a: tuple[torch.Tensor]) -> None:
        # Not the first look at what the network is, which takes no derivatives.
        if torch.is_grad_enabled():
            sizes.append(len(a[0]))

    hook = model.register_forward_pre_hook(seen)
    few = curvature(model, normal(50, 12), torch.zeros(50, dtype=torch.int64), memory=4000)
    small, sizes[:] = max(sizes), []
    many = curvature(model, normal(50, 12), torch.zeros(50, dtype=torch.int64))
    hook.remove()
    assert small < 10
    assert max(sizes) == 50
    np.testing.assert_allclose(few.trace, many.trace, rtol=1e-12)


def test_results_say_what_they_are() -> None:
    model, x = seeded(relu_mlp), normal(2, 12)
    for estimator in ESTIMATORS:
        got = curvature(model, x, [0, 1], estimator, generator=generator())
        assert len(got) == 2
        assert got.unit == "nats per squared input unit"
        assert "nats" in got.score_unit
        assert got.estimates == estimator.estimates
        assert got.score.dtype == np.float64
        assert set(estimator.signals.values()) <= {"trace", "frobenius", "score"}
    assert ZerothOrder().passes == 41
