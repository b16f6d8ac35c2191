"""Where utility and risk lie: by swapping, by rewinding, and how the ways agree."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seepage.defenses import (
    agreement,
    by_rewinding,
    by_swapping,
    risky_regions,
)
from seepage.defenses.localise import Localisation, Measure, measure, spearman
from seepage.defenses.networks import snapshot
from seepage.errors import InputError


def trained(kit, members, steps=150, seed=0, hidden=(32,)):
    model = kit.fresh(seed=seed, hidden=hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(members.inputs), members.labels).backward()
        optimizer.step()
    return model


def test_measure_by_hand(kit):
    members, others = kit.noisy(30, 1), kit.noisy(40, 2)
    model = trained(kit, members)
    m = measure(model, members, others)
    with torch.no_grad():
        a = F.cross_entropy(model(members.inputs), members.labels, reduction="none")
        b = F.cross_entropy(model(others.inputs), others.labels, reduction="none")
        right = (model(others.inputs).argmax(1) == others.labels).float().mean()
    wins = (a[:, None] < b).double().mean() + 0.5 * (a[:, None] == b).double().mean()
    assert m.auc == pytest.approx(float(wins), abs=1e-3)
    assert m.accuracy == pytest.approx(float(right))
    assert m.gap == pytest.approx(float(b.mean() - a.mean()), rel=1e-4)


def test_swapping_everything_with_itself_changes_nothing(kit):
    members, others = kit.noisy(40, 1), kit.noisy(40, 2)
    model = trained(kit, members)
    before = snapshot(model)
    found = by_swapping(model, copy.deepcopy(model), members, others)
    assert found.regions == ("layer1", "head")
    assert np.array_equal(found.utility, [0.0, 0.0])
    assert np.array_equal(found.privacy, [0.0, 0.0])
    after = snapshot(model)
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_swapping_a_region_gives_the_hybrids_measure(kit):
    members, others = kit.noisy(40, 1), kit.noisy(40, 2)
    a, b = trained(kit, members), trained(kit, members, steps=10)
    found = by_swapping(a, b, members, others)
    hybrid = copy.deepcopy(a)
    hybrid.head.load_state_dict(b.head.state_dict())
    expected = measure(hybrid, members, others)
    assert found.exchanged[1] == expected
    assert found.utility[1] == pytest.approx(expected.accuracy - found.base.accuracy)
    assert found.parameters == (6 * 32 + 32, 33 * 3)
    with pytest.raises(InputError, match="defended: expected the same architecture"):
        by_swapping(a, kit.fresh(hidden=(8,)), members, others)


def test_risk_planted_in_one_block_is_found_there(kit):
    """The body never moves from initialisation: all that was learnt by heart sits in the head."""
    members, others = kit.noisy(24, 1), kit.noisy(400, 2)
    model = kit.fresh(hidden=(256,))
    initial = snapshot(model)
    optimizer = torch.optim.Adam(model.head.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        F.cross_entropy(model(members.inputs), members.labels).backward()
        optimizer.step()
    found = by_rewinding(model, initial, members, others)
    assert found.base.auc > 0.65
    assert found.privacy[0] == 0.0
    assert found.privacy[1] < -0.1
    assert risky_regions(found) == ("head",)
    rows = found.rows()
    assert [r["region"] for r in rows] == ["layer1", "head"]
    assert rows[1]["score"] == pytest.approx(found.score[1])


def profile(utility, privacy, tau=0.005):
    k = len(utility)
    m = Measure(0.9, 0.1, 0.7, 0.1)
    return Localisation(
        "swap",
        tuple("abcdef"[:k]),
        np.array(utility),
        np.array(privacy),
        tau,
        m,
        (m,) * k,
        (1,) * k,
    )


def test_score_and_choice_by_hand():
    found = profile([-0.02, 0.0, -0.004, 0.01], [-0.10, -0.05, 0.02, -0.03])
    np.testing.assert_allclose(found.score, [0.10 / 0.025, 10.0, 0.0, 0.03 / 0.015])
    assert risky_regions(found, budget=0.0) == ("b",)
    assert risky_regions(found, budget=0.01) == ("b", "d")
    assert risky_regions(found, budget=0.02) == ("a", "b")
    assert risky_regions(found, budget=1.0) == ("a", "b", "d")
    assert len(risky_regions(profile([0, 0], [-0.1, -0.1]))) == 1
    with pytest.raises(InputError, match="exchanging no region lowered the attack's AUC"):
        risky_regions(profile([0.1, 0.0], [0.0, 0.2]))


def test_agreement_and_spearman():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=9), rng.integers(0, 4, 9)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert np.isnan(spearman([1, 1], [1, 2]))
    assert agreement({"x": [1, 2, 3], "y": [3, 2, 1], "z": [1, 2, 3]}) == {
        "x~y": -1.0, "x~z": 1.0, "y~z": -1.0,
    }  # fmt: skip
    with pytest.raises(InputError, match="at least two ways"):
        agreement({"x": [1.0]})
