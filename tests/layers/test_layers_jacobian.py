"""Jacobian indicators: networks with known answers, sketch against exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seepage.errors import InputError
from seepage.layers import DegreesOfFreedom, Jacobian, LayerTable, LocalPCA, probe
from seepage.layers.singular_values import moments, rank_at, singular_values, sketch_singular_values


def _linear(*matrices: np.ndarray) -> nn.Sequential:
    net = nn.Sequential()
    for m in matrices:
        layer = nn.Linear(m.shape[1], m.shape[0], bias=False)
        layer.weight.data = torch.tensor(m, dtype=torch.float32)
        net.append(layer)
    return net


def _inputs(n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(3))


def _orthogonal(d: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


def test_orthogonal_network_keeps_every_direction() -> None:
    d = 12
    table = probe(_linear(_orthogonal(d), 2 * _orthogonal(d, 1)), _inputs(60, d))
    for column in ("jac_rank_float", "jac_rank_1e2"):
        np.testing.assert_array_equal(table[column], [d, d])
    np.testing.assert_allclose(table.jac_participation, d, rtol=1e-6)
    np.testing.assert_allclose(table.stable_rank, d, rtol=1e-6)
    np.testing.assert_allclose(table.spectral_norm, [1, 2], rtol=1e-6)
    # The outputs are a turned copy of the inputs: the spectrum is that of the inputs.
    np.testing.assert_allclose(table.k95[0], table.k95[1])
    np.testing.assert_allclose(table.erank[0], table.erank[1], rtol=1e-5)
    assert not table.at_least.any()


def test_linear_network_has_the_singular_values_of_its_product() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((9, 7)), rng.standard_normal((5, 9))
    table = probe(_linear(a, b), _inputs(50, 7), indicators=[Jacobian(images=2)])
    for i, m in enumerate((a, b @ a)):
        s = np.linalg.svd(m.astype(np.float32).astype(np.float64), compute_uv=False)
        np.testing.assert_allclose(table.jacobian_spectra[i][0], s, rtol=1e-5)
        np.testing.assert_allclose(table.stable_rank[i], (s**2).sum() / s[0] ** 2, rtol=1e-5)
        np.testing.assert_allclose(
            table.jac_participation[i], (s**2).sum() ** 2 / (s**4).sum(), rtol=1e-5
        )


def test_two_tolerances_see_different_ranks() -> None:
    table = probe(_linear(np.diag([1.0, 0.5, 1e-3, 0.0])), _inputs(30, 4))
    assert (table.jac_rank_float[0], table.jac_rank_1e2[0]) == (3, 2)


def test_rank_deficient_layer_bounds_everything_after_it() -> None:
    rng = np.random.default_rng(1)
    low = rng.standard_normal((20, 3)) @ rng.standard_normal((3, 10))
    net = nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 15)).double()
    net[0].weight.data = torch.from_numpy(low)
    table = probe(
        net,
        _inputs(300, 10).double(),
        indicators=[DegreesOfFreedom(), Jacobian(), LocalPCA(draws=60, images=2)],
    )
    for column in ("jac_rank_float", "jac_rank_1e2", "local_pca"):
        np.testing.assert_array_equal(table[column], [3, 3])
    assert (table.k99 <= 3).all()
    assert (table.ridge_df <= 3).all()


def test_relu_network_at_a_point_is_the_masked_product() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)).double()
    x = _inputs(40, 6).double()
    table = probe(net, x, indicators=[Jacobian(images=5)])
    assert table.layer == ("1", "2")
    w1, w2 = net[0].weight.detach().numpy(), net[2].weight.detach().numpy()
    for i in range(5):
        on = (net[0](x[i]) > 0).numpy()
        masked = w1 * on[:, None]
        np.testing.assert_allclose(
            table.jacobian_spectra[0][i], np.linalg.svd(masked)[1], atol=1e-12
        )
        np.testing.assert_allclose(
            table.jacobian_spectra[1][i], np.linalg.svd(w2 @ masked)[1], atol=1e-12
        )


@given(seed=st.integers(0, 10_000), widths=st.lists(st.integers(1, 9), min_size=2, max_size=5))
@settings(deadline=None, max_examples=20)
def test_exact_rank_never_rises_along_a_chain(seed: int, widths: list[int]) -> None:
    g = torch.Generator().manual_seed(seed)
    net, before = nn.Sequential(), 7
    for w in widths:
        layer = nn.Linear(before, w)
        layer.weight.data = torch.randn(w, before, generator=g, dtype=torch.float64)
        layer.bias.data = torch.randn(w, generator=g, dtype=torch.float64)
        net.extend([layer, nn.ReLU()])
        before = w
    x = torch.randn(3, 7, generator=g, dtype=torch.float64)
    table = probe(net, x, indicators=[Jacobian(images=3)])
    ranks = np.array(
        [
            [np.linalg.matrix_rank(np.diag(s)) for s in table.jacobian_spectra[i]]
            for i in range(len(table))
        ]
    )
    assert (np.diff(ranks, axis=0) <= 0).all()
    assert (np.diff(table.jac_rank_float) <= 0).all()


class _Residual(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.inner = nn.Linear(d, d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.inner(x))


def test_exact_rank_never_rises_at_the_outputs_of_residual_blocks() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(*[_Residual(12) for _ in range(5)]).double()
    table = probe(net, _inputs(20, 12).double(), indicators=[Jacobian(images=6)])
    assert len(table) == 5
    assert (np.diff(table.jac_rank_float) <= 0).all()
    assert table.jac_rank_float[-1] < 12


def _both(net: nn.Module, x: torch.Tensor, probes: int) -> tuple[LayerTable, LayerTable]:
    exact = probe(net, x, indicators=[Jacobian(images=2, exact=10_000)])
    sketch = probe(net, x, indicators=[Jacobian(images=2, exact=0, probes=probes, power=25)])
    assert not exact.at_least.any()
    assert sketch.at_least.all()
    return exact, sketch


def test_sketch_agrees_with_exact_within_its_stated_error() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.ReLU(), nn.Flatten(), nn.Linear(12 * 25, 10),
    )  # fmt: skip
    x = torch.randn(4, 3, 10, 10, generator=torch.Generator().manual_seed(5))
    exact, sketch = _both(net, x, 64)
    error = sketch.jac_participation_error
    assert (error > 0).all()
    assert (np.abs(sketch.jac_participation - exact.jac_participation) < 4 * error).all()
    assert (error < 0.15 * exact.jac_participation).all()
    np.testing.assert_allclose(sketch.spectral_norm, exact.spectral_norm, rtol=1e-2)
    # "At least" is meant: never above the truth, and not above the probes.
    for column in ("jac_rank_float", "jac_rank_1e2"):
        assert (sketch[column] <= exact[column]).all()
        assert (sketch[column] <= 64).all()
    for low, true in zip(sketch.jacobian_spectra, exact.jacobian_spectra, strict=True):
        k = min(low.shape[1], true.shape[1])
        assert (low[:, :k] <= true[:, :k] * (1 + 1e-4) + 1e-5).all()


def test_forward_and_reverse_mode_give_the_same_jacobian() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(30, 20), nn.Tanh(), nn.Linear(20, 4))
    x = _inputs(3, 30)
    forward = probe(net, x, indicators=[Jacobian(images=3, exact=30)])
    reverse = probe(net, x, indicators=[Jacobian(images=3, exact=20)])
    assert not reverse.at_least.any()
    for a, b in zip(forward.jacobian_spectra, reverse.jacobian_spectra, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def _convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, padding=1),
        nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 5),
    )  # fmt: skip


def test_a_patch_takes_the_columns_of_its_pixels() -> None:
    net, x = _convolutions(), torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(5))
    columns = np.zeros((2, 8, 8), dtype=np.bool_)
    columns[:, 2:6, 2:6] = True
    table = probe(net, x, indicators=[Jacobian(images=2, patch=4)])
    assert not table.at_least.any()
    for i, sample in enumerate(x):
        whole = torch.autograd.functional.jacobian(net.double(), sample.double()[None])
        part = whole.reshape(5, -1).numpy()[:, columns.reshape(-1)]
        want = np.linalg.svd(part, compute_uv=False)
        np.testing.assert_allclose(table.jacobian_spectra[-1][i][:5], want, rtol=1e-6)
    # In reverse mode and by sketch the same pixels count.
    net = net.float()
    reverse = probe(net, x, "5", indicators=[Jacobian(images=2, patch=4, exact=5, probes=8)])
    np.testing.assert_allclose(reverse.jac_participation, table.jac_participation[-1:], rtol=1e-6)
    sketch = probe(net, x, indicators=[Jacobian(images=2, patch=4, exact=0, probes=16, power=30)])
    np.testing.assert_allclose(sketch.spectral_norm, table.spectral_norm, rtol=1e-2)


def test_single_precision_takes_the_gram_matrix_and_finds_the_same_values() -> None:
    net, x = _convolutions(), torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(5))
    double, single = (
        probe(net, x, indicators=[Jacobian(images=2, patch=6, double=d)]) for d in (True, False)
    )
    for a, b in zip(double.jacobian_spectra, single.jacobian_spectra, strict=True):
        k = min(a.shape[1], b.shape[1])
        np.testing.assert_allclose(b[:, :k], a[:, :k], atol=1e-5 * a.max())
    np.testing.assert_array_equal(single.jac_rank_1e2, double.jac_rank_1e2)
    assert (np.diff(single.jac_rank_float) <= 0).all()


def test_without_power_iteration_ranks_stay_lower_bounds() -> None:
    net, x = _convolutions(), torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(5))
    exact = probe(net, x, indicators=[Jacobian(images=2)])
    cheap = probe(net, x, indicators=[Jacobian(images=2, exact=0, probes=32, power=0)])
    assert (cheap.spectral_norm <= exact.spectral_norm * (1 + 1e-5)).all()
    for column in ("jac_rank_float", "jac_rank_1e2"):
        assert (cheap[column] <= exact[column]).all()
        assert (cheap[column] >= 1).all()


@pytest.mark.parametrize("true", [1, 5, 200])
def test_moment_estimator_is_unbiased_where_the_truth_is_known(true: int) -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(200):
        y = rng.standard_normal((true, 32))
        found.append(moments(y.T @ y))
    ratio = np.array([m.participation for m in found])
    # J has `true` singular values of one: ‖J‖_F² = participation = true.
    assert np.mean([m.frobenius2 for m in found]) == pytest.approx(true, rel=0.1)
    assert ratio.mean() == pytest.approx(true, rel=0.06)
    covered = np.abs(ratio - true) <= 2.5 * np.array([m.participation_error for m in found])
    assert covered.mean() > 0.8


def test_zero_derivative() -> None:
    net = _linear(np.zeros((3, 4)))
    table = probe(net, _inputs(40, 4))
    for column in ("jac_rank_float", "jac_participation", "stable_rank", "spectral_norm", "k95"):
        assert table[column].tolist() == [0.0]
    zero = moments(np.zeros((8, 8)))
    assert (zero.participation, zero.frobenius2) == (0.0, 0.0)


def test_lower_bounds_do_not_mistake_a_long_tail_for_rank() -> None:
    # One direction of size 1 and 500 below the tolerance: a count on Y = JΩ itself would say 16.
    values = np.r_[1.0, np.full(500, 5e-3)]
    omega = np.random.default_rng(0).standard_normal((501, 16))
    y = values[:, None] * omega
    naive = np.linalg.svd(y, compute_uv=False)
    bound = sketch_singular_values(y.T @ y, omega)
    assert rank_at(naive, 1e-2) == 16
    assert rank_at(bound, 1e-2, top=1.0) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Jacobian(images=0), "images: expected at least 1, got 0"),
        (lambda: Jacobian(patch=0), "patch: expected at least 1, got 0"),
        (
            lambda: probe(
                nn.Linear(4, 4), torch.zeros(3, 4), indicators=[Jacobian(images=1, patch=2)]
            ),
            "patch: expected images of at least 2 x 2 pixels",
        ),
        (lambda: Jacobian(probes=2), "probes: expected at least 8, got 2"),
        (lambda: singular_values(np.ones(3)), "jacobian: expected finite values of shape"),
        (lambda: rank_at(np.ones(3), 1.5), "tolerance: expected a share"),
        (lambda: moments(np.ones((2, 2))), "gram: expected shape"),
    ],
)
def test_bad_input(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
