"""CV and MCR in closed form, phases, agreement with an attack, the risk table."""

from __future__ import annotations

import itertools
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from seepage.errors import InputError
from seepage.layers import (
    AttackTable,
    LayerTable,
    Logistic,
    RiskTable,
    change_values,
    phases,
    rank_agreement,
    risk_table,
)
from seepage.layers.change import CHANGES
from seepage.layers.hooks import Layer

series = st.lists(st.floats(0, 1e4), min_size=2, max_size=8).map(np.array)


def test_every_variant_in_closed_form() -> None:
    v = change_values([20.0, 5.0, 8.0, 10.0])
    want = {
        "cv_total": -10, "cv_drop": -15, "cv_rise": 5, "cr": -0.5, "mcr": -0.5, "mcr_rec": 5 / 16,
        "mcr_step": (15 / 21 + 3 / 6 + 2 / 9) / 3,
    }  # fmt: skip
    assert tuple(v) == CHANGES
    for name, value in want.items():
        assert v[name] == pytest.approx(value)
    zero = change_values([0.0, 0.0])
    assert np.isnan(zero["cr"])
    assert zero["mcr"] == 0
    assert change_values([0.0, 5.0])["mcr"] == 1


@given(m=series)
@settings(deadline=None, max_examples=30)
def test_laws_of_change(m: np.ndarray) -> None:
    v = change_values(m)
    assert v["cv_drop"] <= 0 <= v["cv_rise"]
    assert v["cv_total"] == pytest.approx(v["cv_drop"] + v["cv_rise"], abs=1e-9)
    assert -1 <= v["mcr"] <= 1
    # Time reversed: the total turns its sign, drop and rise change places.
    w = change_values(m[::-1])
    assert w["mcr"] == pytest.approx(-v["mcr"])
    assert w["cv_rise"] == pytest.approx(-v["cv_drop"])


def test_layers_are_independent_columns() -> None:
    m = np.random.default_rng(0).uniform(1, 9, (6, 3))
    both = change_values(m)
    for layer in range(3):
        alone = change_values(m[:, layer])
        for name in CHANGES:
            assert both[name][layer] == pytest.approx(float(alone[name]))
    p = phases(m, range(6))
    assert p.index.shape == p.both.shape == (3,)


@pytest.mark.parametrize(
    ("curve", "epoch", "both"),
    [
        ([10, 5, 8], 0.5, True),
        ([10, 5, 5.1], 0.5, False),
        ([10, 9.8, 12], 0.5, False),
        ([10, 8, 6], 3.0, False),
        ([5, 6, 7], 0.0, False),
        ([10, 0, 4], 0.5, True),
        ([0, 0, 0], 0.0, False),
    ],
)
def test_fall_then_rise(curve: list[float], epoch: float, both: bool) -> None:
    p = phases(curve, [0.0, 0.5, 3.0])
    assert (float(p.epoch), bool(p.both)) == (epoch, both)


@given(seed=st.integers(0, 1000), layers=st.integers(3, 12))
@settings(deadline=None, max_examples=20)
def test_rho_is_spearmans(seed: int, layers: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, layers))
    got = rank_agreement(a, b, permutations=200)
    assert got.rho == pytest.approx(spearmanr(a, b).statistic)
    assert rank_agreement(np.exp(a), b, permutations=200).p == got.p
    assert rank_agreement(-a, b, permutations=200).rho == pytest.approx(-got.rho)


def test_p_value_counts_permutations() -> None:
    a, b = np.array([1.0, 3, 2, 5, 4]), np.array([2.0, 1, 3, 4, 5])
    rho = spearmanr(a, b).statistic
    brute = [
        abs(spearmanr(a[list(o)], b).statistic) >= abs(rho) - 1e-9
        for o in itertools.permutations(range(5))
    ]
    assert rank_agreement(a, b).p == pytest.approx(np.mean(brute))
    drawn = rank_agreement(np.r_[a, 6:14], np.r_[b, 6:14][::-1], permutations=2000)
    assert not drawn.exact
    assert 1 / 2001 <= drawn.p <= 1


def test_p_values_are_uniform_without_agreement() -> None:
    rng = np.random.default_rng(0)
    p = [
        rank_agreement(*rng.standard_normal((2, 3, 6)), permutations=199, rng=rng).p
        for _ in range(200)
    ]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.06)


def test_pooling_models_ranks_within_each() -> None:
    a = np.array([[1.0, 2, 3, 4], [101, 102, 103, 104]])
    b = np.array([[5.0, 6, 7, 8], [1, 2, 3, 4]])
    pooled = rank_agreement(a, b, permutations=999)
    assert pooled.rho == pytest.approx(1.0)
    assert pooled.p < 0.02
    assert (pooled.models, pooled.layers) == (2, 4)
    assert np.isnan(rank_agreement([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).rho)
    assert np.isnan(rank_agreement([1.0, 2.0], [1.0, 2.0]).p)


def _table(k95: list[float], rank: list[float], at_least: bool = False) -> LayerTable:
    layers = tuple(Layer(f"l{i}", f"l{i}", 0, (f"l{i}",), i, True) for i in range(len(k95)))
    blank = {f.name: np.full(len(k95), np.nan) for f in fields(LayerTable)[1:24]}
    blank |= {"k95": np.array(k95), "jac_rank_float": np.array(rank)}
    blank["jac_participation"] = np.array(rank)[::-1]
    flags = np.full(len(k95), at_least)
    return LayerTable(layers, **blank, at_least=flags, sample_bound=flags)


def _attack(auc: list[float], names: list[str] | None = None) -> AttackTable:
    figures = np.array(auc)[:, None]
    layer = tuple(names or [f"l{i}" for i in range(len(auc))])
    zeros = np.zeros_like(figures)
    return AttackTable(layer, figures, figures, zeros, zeros, 0.01, (0,), Logistic(), "Audit", 100)


def test_risk_with_an_attack_is_its_advantage() -> None:
    table = _table([1, 2, 3, 4], [4, 3, 2, 1])
    risk = risk_table(table, _attack([0.5, 0.6, 0.4, 0.9]), changes={"mcr": [0.1, 0.2, 0.0, 0.3]})
    assert risk.layer == ("l3", "l1", "l0", "l2")
    np.testing.assert_allclose(risk.risk, [0.8, 0.2, 0.0, 0.0], atol=1e-12)
    assert risk.regions(2) == ("l3.*", "l1.*")
    assert risk.agreement["mcr"].rho == pytest.approx(1.0)
    assert risk.agreement["k95"].rho == pytest.approx(-risk.agreement["jac_rank_float"].rho)
    assert "Audit" in risk.basis
    assert "mcr: rho +1.00" in str(risk)
    assert risk.to_rows()[0]["mia_auc"] == pytest.approx(0.9)


def test_risk_without_an_attack_says_that_it_is_a_guess() -> None:
    risk = risk_table(_table([1, 2, 3], [10, 20, 30]))
    assert risk.layer == ("l2", "l1", "l0")
    assert risk.risk.tolist() == [1.0, 0.5, 0.0]
    assert "reconstruction" in risk.basis
    assert risk.agreement == {}
    # A rank that is only known to be "at least" something orders nothing.
    assert "jac_participation" in risk_table(_table([1, 2, 3], [64, 64, 64], True)).basis


def test_an_attack_that_cannot_tell_layers_apart_is_said_to() -> None:
    rng = np.random.default_rng(0)
    table = _table([1, 2, 3, 4], [4, 3, 2, 1])
    common = rng.normal(0.7, 0.05, (1, 5))

    def risk(auc: np.ndarray) -> RiskTable:
        flat = np.zeros_like(auc)
        names = ("l0", "l1", "l2", "l3")
        return risk_table(
            table,
            AttackTable(
                names, auc, auc, flat, flat, 0.01, tuple(range(5)), Logistic(), "Audit", 100
            ),
        )

    noise = rng.normal(0, 0.01, (4, 5))
    apart = risk(common + np.array([[0.0], [0.05], [0.1], [0.15]]) + noise)
    same = risk(common + noise)
    assert apart.resolved is True
    assert "mean little" not in str(apart)
    assert same.resolved is False
    assert "mean little" in str(same)
    assert risk_table(table).resolved is None
    assert risk_table(table, _attack([0.5, 0.6, 0.7, 0.8])).resolved is None


def test_risk_over_several_models_pools_their_rankings() -> None:
    tables = [_table([1, 2, 3, 4], [4, 3, 2, 1]), _table([10, 20, 30, 50], [4, 3, 2, 1])]
    attacks = [_attack([0.5, 0.6, 0.7, 0.8]), _attack([0.6, 0.7, 0.8, 0.9])]
    risk = risk_table(tables, attacks, permutations=500)
    assert risk.layer[0] == "l3"
    assert risk.columns["k95"][0] == pytest.approx(27.0)
    np.testing.assert_allclose(risk.risk[0], 0.7)
    assert (risk.agreement["k95"].rho, risk.agreement["k95"].models) == (pytest.approx(1.0), 2)
    with pytest.raises(InputError, match="attack: expected one per model \\(2\\), got 1"):
        risk_table(tables, attacks[0])
    with pytest.raises(InputError, match="all with the same layers"):
        risk_table([tables[0], _table([1, 2], [1, 2])])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: change_values([1.0]), "series: expected at least 2 checkpoints"),
        (lambda: change_values([1.0, -2.0]), "got negative ones"),
        (lambda: change_values([1.0, np.nan]), "got non-finite ones"),
        (lambda: phases([1.0, 2.0], [0, 0]), "epochs: expected 2 ascending numbers"),
        (lambda: phases([1.0, 2.0], [0, 1], margin=1), "margin: expected a share"),
        (lambda: rank_agreement([1.0, 2.0], [1.0]), "attack: expected shape"),
        (lambda: rank_agreement([1.0, np.inf], [1.0, 2.0]), "indicator: expected finite values"),
        (lambda: risk_table(_table([1, 2], [1, 2]), _attack([0.5, 0.5], ["l0", "x"])), "none of 'l1'"),
        (lambda: risk_table(_table([1, 2], [1, 2]), changes={"mcr": [1.0]}), "mcr: expected one"),
        (lambda: risk_table(_table([1, 2], [1, 2]), order=["erank"]), "order: expected measured"),
        (lambda: risk_table(_table([1, 2], [1, 2])).regions(3), "top: expected 1 to 2 layers"),
    ],
)  # fmt: skip
def test_bad_input(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
