"""φ given the input: the law it reaches, no leak reads chance, nobody's own membership is read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from seepage.attacks.quantile import relative_to_inputs
from seepage.errors import InputError
from seepage.metrics import auc, auc_interval
from seepage.probes import Asked
from seepage.probes.base import Unasked
from seepage.probes.input_quantile import InputQuantile
from seepage.probes.one_pass import measure, rate


def test_it_comes_near_the_law_of_known_centre_and_spread() -> None:
    """φ = 4x + w(x)(z + [IN]): with the law known, (φ − 4x)/w has the AUC Φ(1/√2) = .76."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(2000, 2))
    member = rng.random(2000) < 0.5
    width = np.where(x[:, 1] > 0, 0.2, 2.0)
    phi = 4 * x[:, 0] + width * (rng.normal(size=2000) + member)
    score = relative_to_inputs(phi, member, x, rng)
    np.testing.assert_allclose(np.median(score[~member]), 0, atol=0.2)
    # In units of the median of |φ − q̂| on either side, though one is ten times as wide.
    wide, narrow = (np.median(np.abs(score[~member & (width == w)])) for w in (2.0, 0.2))
    assert 0.7 < wide / narrow < 1.5
    assert auc(phi, member) < 0.64
    assert norm.cdf(0.5**0.5) - 0.05 < auc(score, member) < norm.cdf(0.5**0.5) + 0.03


def test_on_noise_membership_ranks_anywhere_among_redrawn_ones() -> None:
    """The fit is made anew for every redrawn membership: a permutation test, and ½ on average."""
    rng = np.random.default_rng(1)
    ranks, areas = [], []
    for _ in range(4):
        x = rng.normal(size=(120, 2))
        phi = np.exp(rng.normal(size=120)) * (2 + x[:, 0])  # skewed, its spread by the input
        found = []
        for _ in range(4):
            member = rng.permutation(120) < 60
            found.append(auc(relative_to_inputs(phi, member, x, rng), member))
        ranks.append(sum(f >= found[0] for f in found[1:]))
        areas += found
    assert 0 < np.mean(ranks) < 3  # uniform on 0 to 3
    assert abs(np.mean(areas) - 0.5) < 3 * 0.053 / np.sqrt(len(areas))


@pytest.mark.parametrize("records", [1, 6])
def test_a_score_reads_the_membership_of_other_subjects_alone(records: int) -> None:
    rng = np.random.default_rng(2)
    owner = np.arange(180) // records
    x, phi = rng.normal(size=(180, 2)), rng.normal(size=180)
    member = owner % 2 == 0
    turned = np.where(owner == 4, ~member, member)
    a, b = (
        relative_to_inputs(phi, m, x, np.random.default_rng(0), owner=owner)
        for m in (member, turned)
    )
    np.testing.assert_array_equal(a[owner == 4], b[owner == 4])
    assert (a != b).any()
    # What members answer teaches nobody.
    raised = relative_to_inputs(
        phi + 9 * member, member, x, np.random.default_rng(0), owner=owner
    )  # fmt: skip
    np.testing.assert_array_equal(raised[~member], a[~member])
    assert (raised[member] > a[member]).all()


def test_the_probe_asks_no_network() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(200, 1, 3, 3)).astype(np.float32), rng.integers(0, 3, 200)
    member = rng.random(200) < 0.5
    phi = (3 * x[:, 0, 1, 1] + member).astype(np.float32)
    asked = Asked(
        Unasked(), torch.from_numpy(x), torch.from_numpy(y), (0, 1), None, member, {"phi": phi}
    )
    score = measure([InputQuantile()], asked)["phi_given_input"]
    assert score.dtype == np.float32
    assert auc_interval(score, member).mean > auc_interval(phi, member).mean + 0.1
    views = np.stack([phi, -phi], axis=1)
    both = Asked(
        Unasked(), asked.inputs, asked.labels, (0, 1), None, member, {"phi": views}
    )  # fmt: skip
    np.testing.assert_array_equal(measure([InputQuantile()], both)["phi_given_input"], score)
    assert rate([InputQuantile()], asked, clock=iter([1.0, 3.0]).__next__).seconds(200) == 2
    with pytest.raises(InputError, match="recorded phi and the members"):
        measure([InputQuantile()], Asked(Unasked(), asked.inputs, asked.labels))
    with pytest.raises(InputError, match="expected none to be asked"):
        Unasked()(asked.inputs)


def test_it_says_what_it_needs() -> None:
    phi, x, rng = np.zeros(60), np.zeros((60, 1)), np.random.default_rng(0)
    with pytest.raises(InputError, match="samples: expected at least 10 others to learn from"):
        relative_to_inputs(phi, np.arange(60) < 45, x, rng)
    with pytest.raises(InputError, match="quantile: expected"):
        relative_to_inputs(phi, np.arange(60) < 20, x, rng, quantile=1.0)
    with pytest.raises(InputError, match="folds: expected at least 2"):
        relative_to_inputs(phi, np.arange(60) < 20, x, rng, folds=1)
