"""Spectra and the counts read off them: closed forms, laws, streamed against in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seepage.errors import InputError
from seepage.layers import (
    effective_rank,
    k_tau,
    participation_ratio,
    ridge_df,
    spectrum,
)
from seepage.layers.spectrum import Spectrum, numerical_rank
from seepage.layers.stream import (
    CovarianceStream,
    GramStream,
    SketchStream,
    SpectrumStream,
    choose_stream,
)

positive = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=12).map(np.array)
DEFINITIONS = {
    "k95": lambda v: k_tau(v, 0.95),
    "erank": effective_rank,
    "participation": participation_ratio,
    "ridge": lambda v: ridge_df(v, 1e-3 * v.sum()),
}


@given(m=st.integers(1, 40), scale=st.floats(1e-9, 1e9))
@settings(deadline=None, max_examples=30)
def test_every_count_of_m_equal_directions_is_m(m: int, scale: float) -> None:
    v = np.full(m, scale)
    assert effective_rank(v) == pytest.approx(m)
    assert participation_ratio(v) == pytest.approx(m)
    assert k_tau(v, 1.0) == m
    assert k_tau(v, 0.95) == int(np.ceil(round(0.95 * m, 9)))
    assert ridge_df(v, scale) == pytest.approx(m / 2)


@given(v=positive, scale=st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=30)
def test_scale_and_order_do_not_matter_and_the_definitions_are_ordered(
    v: np.ndarray, scale: float
) -> None:
    for name, f in DEFINITIONS.items():
        if name == "k95":
            assert abs(f(v[::-1] * scale) - f(v)) <= 0
        else:
            assert f(v[::-1] * scale) == pytest.approx(f(v), rel=1e-9)
    # Rényi entropies fall with their order.
    assert participation_ratio(v) >= 1 - 1e-12
    assert participation_ratio(v) <= effective_rank(v) * (1 + 1e-9) <= v.size * (1 + 2e-9)
    assert k_tau(v, 0.95) <= k_tau(v, 0.99) <= v.size


def test_geometric_spectrum_in_closed_form() -> None:
    q = 0.5 ** np.arange(1, 40)
    # Shares 1/2, 1/4, …: the first k hold 1 − 2⁻ᵏ.
    assert k_tau(q, 0.95) == 5
    assert k_tau(q, 0.99) == 7
    assert participation_ratio(q) == pytest.approx(3.0)
    assert effective_rank(q) == pytest.approx(4.0)


def test_a_layer_that_never_varies_has_no_directions() -> None:
    dead = np.zeros(5)
    assert [f(dead) for f in (effective_rank, participation_ratio)] == [0.0, 0.0]
    assert k_tau(dead, 0.95) == 0
    assert numerical_rank(dead, 10, 5, 1e-16) == 0
    for make in (
        lambda: CovarianceStream(300),
        lambda: GramStream(300, 64),
        lambda: SketchStream(300, 16),
    ):
        stream = make()
        for _ in range(2):
            stream.add(torch.linspace(-7.1, 33.3, 300).expand(32, 300))
        assert stream.spectrum().variances.max() == 0


def _decaying(n: int, d: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    scale = 1.0 / torch.arange(1, d + 1, dtype=torch.float64)
    return (torch.randn(n, d, generator=g, dtype=torch.float64) * scale + 3.0).to(dtype)


def _feed(stream: SpectrumStream, rows: torch.Tensor, batch: int) -> Spectrum:
    for part in rows.split(batch):
        stream.add(part)
    return stream.spectrum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("n", "d", "kind"),
    [(500, 40, CovarianceStream), (60, 700, CovarianceStream), (60, 700, GramStream),
     (300, 40, GramStream), (700, 5000, GramStream)],
)  # fmt: skip
def test_streamed_equals_in_memory(
    n: int, d: int, kind: type[SpectrumStream], dtype: torch.dtype
) -> None:
    rows = _decaying(n, d, dtype)
    want = spectrum(rows.numpy())
    stream = GramStream(d, n) if kind is GramStream else CovarianceStream(d)
    got = _feed(stream, rows, 37)
    assert got.exact
    m = min(n - 1, d)
    assert got.variances.shape == (m,)
    np.testing.assert_allclose(got.variances, want.variances[:m], atol=1e-6 * want.variances[0])
    assert got.total == pytest.approx(want.total, rel=1e-6)
    for f in DEFINITIONS.values():
        assert f(got.variances) == pytest.approx(f(want.variances), rel=1e-5)


def test_single_precision_products_stay_within_the_promise() -> None:
    # Above the threshold for float64 products, with a mean a thousand times the spread.
    rows = (_decaying(1100, 1700, torch.float64) + 1000.0).float()
    assert 1100 * 1100 * 1700 > 2_000_000_000
    want = spectrum(rows.numpy())
    got = _feed(GramStream(1700, 1100), rows, 400)
    np.testing.assert_allclose(got.variances, want.variances[:1099], atol=1e-6 * want.variances[0])


@given(batch=st.integers(1, 50), seed=st.integers(0, 5))
@settings(deadline=None, max_examples=15)
def test_the_split_into_batches_does_not_matter(batch: int, seed: int) -> None:
    rows = _decaying(50, 12, torch.float64, seed)
    whole = _feed(CovarianceStream(12), rows, 50)
    parts = _feed(CovarianceStream(12), rows, batch)
    np.testing.assert_allclose(parts.variances, whole.variances, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_a_sketch_keeps_its_guarantee(decay: float) -> None:
    n, d, keep = 400, 300, 24
    g = torch.Generator().manual_seed(1)
    scale = torch.arange(1, d + 1, dtype=torch.float64) ** -decay
    rows = torch.randn(n, d, generator=g, dtype=torch.float64) * scale - 2.0
    want = spectrum(rows.numpy())
    got = _feed(SketchStream(d, keep), rows, 64)
    assert not got.exact
    assert got.total == pytest.approx(want.total, rel=1e-9)
    full = np.zeros(d)
    full[: got.variances.size] = got.variances
    room = 1e-5 * want.variances[0]
    assert (full <= want.variances + room).all()
    assert (want.variances <= full + got.slack + room).all()
    for f in DEFINITIONS.values():
        low, high = got.bounds(f)
        assert low - 1e-6 <= f(want.variances) <= high + 1e-6
    low, high = got.extremes()
    assert low.sum() == pytest.approx(got.total, rel=1e-6)
    assert high.sum() == pytest.approx(got.total, rel=1e-6)


def test_a_sketch_of_few_directions_is_exact() -> None:
    basis = torch.randn(8, 3000, generator=torch.Generator().manual_seed(0))
    rows = torch.randn(500, 8, generator=torch.Generator().manual_seed(1)) @ basis
    want = spectrum(rows.numpy())
    got = _feed(SketchStream(3000, 16), rows, 100)
    np.testing.assert_allclose(got.variances[:8], want.variances[:8], rtol=1e-5)
    assert got.slack < 1e-6 * want.variances[0]


def test_memory_does_not_grow_with_the_samples() -> None:
    for n in (10_000, 10_000_000):
        stream = choose_stream(20_000, n, 2**26)
        assert isinstance(stream, SketchStream)
        assert 2 * stream.keep * 20_000 * 4 <= 2**26
        assert isinstance(choose_stream(512, n, 2**26), CovarianceStream)
    assert isinstance(choose_stream(20_000, 500, 2**26), GramStream)
    assert isinstance(choose_stream(4_000, 9_000, 2**27), CovarianceStream)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: k_tau(np.ones(3), 0.0), "tau: expected a share"),
        (lambda: k_tau(-np.ones(3), 0.5), "variances: expected finite numbers of at least 0"),
        (lambda: effective_rank(np.ones((2, 2))), "variances: expected finite numbers"),
        (lambda: ridge_df(np.ones(3), 0.0), "mu: expected a number above 0"),
        (lambda: spectrum(np.ones((1, 3))), "outputs: expected at least 2 samples, got 1"),
        (lambda: spectrum(np.full((4, 3), np.nan)), "outputs: expected finite values"),
    ],
)
def test_bad_input(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
