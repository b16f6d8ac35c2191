"""One regression test per mistake seen in public code, and per numerical edge."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from attack_rows import TABLE
from oracles import leaking_signals, null_signals, read_by
from seepage import attacks
from seepage.errors import InputError
from seepage.metrics import operating_points
from seepage.plan import half_split


@pytest.fixture
def uneven():
    """Signals with a wider OUT law, and membership with unequal counts: 12 references, 1 target."""
    rng = np.random.default_rng(0)
    member = rng.random((12, 30)) < 0.6
    member[:4] = np.array([[True], [True], [False], [False]])
    phi = rng.normal(3, 2, 30) + rng.normal(size=(12, 30)) * np.where(member, 0.5, 3.0)
    return phi, member, rng.normal(3, 2, 30)


def two_sides(phi, member, i):
    return phi[member[:, i], i], phi[~member[:, i], i]


def test_common_variances_are_each_sides_own(uneven):
    """The released script gave OUT the spread of IN; and 'fixed' hid two different attacks."""
    phi, member, x = uneven
    centre_in = np.array([two_sides(phi, member, i)[0].mean() for i in range(30)])
    centre_out = np.array([two_sides(phi, member, i)[1].mean() for i in range(30)])
    raw = (phi[member].std(), phi[~member].std())
    rest_in, rest_out = (phi - centre_in)[member], (phi - centre_out)[~member]
    pooled = (
        np.sqrt((rest_in**2).sum() / (member.sum() - 30)),
        np.sqrt((rest_out**2).sum() / ((~member).sum() - 30)),
    )
    for rule, (s1, s0) in ((attacks.Global(), raw), (attacks.Pooled(), pooled)):
        want = norm.logpdf(x, centre_in, s1) - norm.logpdf(x, centre_out, s0)
        got = attacks.LiRA(variance=rule).score(x, phi, member)
        np.testing.assert_allclose(got, want, rtol=1e-10)
    assert raw[1] > 1.1 * pooled[1]


def test_no_sample_is_cut_to_the_smallest_count(uneven):
    phi, member, x = uneven
    assert len(set(member.sum(axis=0))) > 1
    got = attacks.LiRA(variance=attacks.PerSample()).score(x, phi, member)
    medians = attacks.LiRA(attacks.Median(), attacks.PerSample()).score(x, phi, member)
    for i in range(30):
        a, b = two_sides(phi, member, i)
        want = norm.logpdf(x[i], a.mean(), a.std()) - norm.logpdf(x[i], b.mean(), b.std())
        assert got[i] == pytest.approx(want, rel=1e-10)
        want = norm.logpdf(x[i], np.median(a), a.std()) - norm.logpdf(x[i], np.median(b), b.std())
        assert medians[i] == pytest.approx(want, rel=1e-10)


def test_offline_rmia_averages_all_out_values(uneven):
    """Zero-masking, sorting and taking the top r keeps the largest OUT values."""
    phi, member, x = uneven
    loss, target = np.logaddexp(0, -phi), np.logaddexp(0, -x)
    outside = np.array([np.exp(-two_sides(loss, member, i)[1]).mean() for i in range(30)])
    ratio = np.exp(-target) / (0.5 * (1.3 * outside + 0.7))
    want = (ratio[:, None] / ratio[None] >= 1).mean(axis=1)
    np.testing.assert_allclose(attacks.RMIAOffline(a=0.3).score(target, loss, member), want)


def test_online_rmia_is_its_formula(uneven):
    phi, member, x = uneven
    loss, target = np.logaddexp(0, -phi), np.logaddexp(0, -x)
    mean = [
        0.5 * sum(np.exp(-side).mean() for side in two_sides(loss, member, i)) for i in range(30)
    ]
    ratio = np.exp(-target) / np.array(mean)
    want = (ratio[:, None] / ratio[None, :20] >= 2).mean(axis=1)
    attack = attacks.RMIA(population=np.arange(20), gamma=2.0)
    np.testing.assert_allclose(attack.score(target, loss, member), want)


@pytest.mark.parametrize("attack", [attacks.RMIA(), attacks.BASE(), attacks.Calibrated()])
def test_the_count_of_in_references_is_not_a_score(attack, uneven):
    """Dividing a masked sum by an assumed count made it one: AUC 0.925 where 0.73 was right."""
    _, member, _ = uneven
    score = attack.score(np.full(30, 0.7), np.full((12, 30), 0.7), member)
    np.testing.assert_allclose(score, score[0], atol=1e-12)


def test_rmia_orders_as_base_does():
    """RMIA at γ = 1 is the rank of BASE's ratio: equal AUC, monotone."""
    member = half_split(300, models=8, seed=0).member
    loss = leaking_signals(np.random.default_rng(0), member)["loss"][..., 0]
    rmia = attacks.RMIA().leave_one_out(loss, member)
    base = attacks.BASE().leave_one_out(loss, member)
    for r in range(8):
        assert (np.diff(rmia[r][np.argsort(base[r])]) >= 0).all()
    np.testing.assert_allclose(
        operating_points(rmia, member).auc, operating_points(base, member).auc, atol=1e-12
    )


def test_sure_samples_do_not_tie():
    """Φ(z) is 1 from 8.3 on, p is 1 from a loss of 1e-16 on: neither may flatten the top."""
    references = np.random.default_rng(0).normal(size=(8, 1)) + np.zeros(3)
    outside = np.zeros((8, 3), bool)
    half = outside.copy()
    half[:4] = True
    high = np.array([20.0, 30.0, 40.0])
    scores = [
        attacks.LiRAOfflineOneSided().score(high, references, outside),
        attacks.AttackR(attacks.Gaussian()).score(-high, references, outside),
        attacks.AttackR(attacks.Logistic()).score(-high, references, outside),
        attacks.AttackR().score(np.exp(-high), references + 9.0, outside),
        attacks.BASE().score(-high, references, half),
    ]
    for score in scores:
        assert (np.diff(score) > 0).all(), score


def test_global_random_state_is_left_alone():
    member = half_split(40, models=8, seed=0).member
    signals = null_signals(np.random.default_rng(0), member)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for kind in attacks.ATTACKS.values():
        attack = kind()
        attack.leave_one_out(read_by(attack, signals), member)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize("variance", [attacks.PerSample(), attacks.Pooled(), attacks.StudentT()])
def test_large_means_do_not_cancel(variance):
    member = half_split(50, models=10, seed=0).member
    phi = null_signals(np.random.default_rng(0), member)["phi"][..., 0]
    plain = attacks.LiRA(variance=variance).leave_one_out(phi, member)
    moved = attacks.LiRA(variance=variance).leave_one_out(
        np.round(phi * 2**20) / 2**20 + 2**13, member
    )
    np.testing.assert_allclose(moved, plain, atol=2e-4)
    scaled = attacks.LiRA(variance=variance).leave_one_out(phi * 1e3, member)
    np.testing.assert_allclose(scaled, plain, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "variance", [attacks.PerSample(), attacks.Pooled(), attacks.Global(), attacks.StudentT()]
)
def test_taking_out_an_outlier_leaves_no_error(variance):
    """The outlier carried all but 1e-14 of the variance: subtraction would leave noise."""
    member = half_split(20, models=10, seed=0).member
    phi = null_signals(np.random.default_rng(0), member)["phi"][..., 0]
    phi[3] += 1e7
    attack = attacks.LiRA(variance=variance)
    got = attack.leave_one_out(phi, member)
    use = attacks.reference_rows(member)
    for r in range(10):
        want = attack.score(phi[r], phi[use[r]], member[use[r]])
        np.testing.assert_allclose(got[r], want, rtol=1e-6)


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_constant_signals_stay_finite(name):
    member = half_split(20, models=8, seed=0).member
    attack = TABLE[name][0]
    signals = read_by(attack, dict.fromkeys(attack.requires, np.full((8, 20), 0.25, np.float32)))
    still = attack.leave_one_out(signals, member)
    assert np.isfinite(still).all()
    np.testing.assert_allclose(still, still[0, 0], atol=1e-9)
    odd = {k: v.copy() for k, v in signals.items()}
    for k, v in odd.items():
        if k in ("noise_share", "augmented_correct"):
            v[0, 0] = 1.0
        elif k != "labels" or not {"logits", "grad_last"} & set(odd):  # they have no class 40
            v[0, 0] = 40.0
    assert np.isfinite(attack.leave_one_out(odd, member)).all()


@pytest.mark.parametrize("name", ["loss", "attack-p", "attack-r", "rmia", "base", "calibrated"])
def test_losses_of_a_sure_model_stay_finite(name):
    """Losses of exactly 0 and of 800, where exp(−loss) is 1 and underflows."""
    rng = np.random.default_rng(0)
    member = half_split(60, models=8, seed=0).member
    loss = rng.choice([0.0, 1e-9, 1.0, 800.0, 2000.0], size=member.shape)
    assert np.isfinite(attacks.get(name).leave_one_out(loss, member)).all()


@pytest.mark.parametrize("alpha", [0.25, 0.05])
def test_realised_fpr_of_attack_p_and_r_is_nominal(alpha):
    """On non-members 'score ≥ −log α' happens with probability α; 39 references make it exact."""
    rng = np.random.default_rng(0)
    scale = rng.exponential(size=20_000)
    references = rng.exponential(size=(39, 20_000)) * scale
    target = rng.exponential(size=20_000) * scale
    none = np.zeros(references.shape, bool)
    said = attacks.AttackP().score(target, references, none) >= -np.log(alpha)
    assert abs(said.mean() - alpha) < 1e-3
    said = attacks.AttackR().score(target, references, none) >= -np.log(alpha)
    assert abs(said.mean() - alpha) < 4 * np.sqrt(alpha * (1 - alpha) / 20_000)


def test_options_are_checked():
    with pytest.raises(InputError, match=r"centre: expected Mean\(\) with StudentT\(\)"):
        attacks.LiRA(centre=attacks.Median())
    with pytest.raises(InputError, match="kappa: expected a number of at least 0, got -1"):
        attacks.StudentT(kappa=-1)
    with pytest.raises(InputError, match="alpha: expected a number above 0, got 0"):
        attacks.StudentT(alpha=0)
    with pytest.raises(InputError, match="low, high: expected low < high"):
        attacks.Empirical(low=1.0, high=1.0)
    with pytest.raises(InputError, match="gamma: expected a number above 0"):
        attacks.RMIA(gamma=0.0)
    with pytest.raises(InputError, match="a: expected a number from 0 to 1, got 2"):
        attacks.RMIAOffline(a=2.0)
    loss, member = np.ones((4, 5)), np.arange(4)[:, None] % 2 + np.zeros(5) > 0
    with pytest.raises(InputError, match="population: expected positions from 0 to 4, got 1 to 9"):
        attacks.RMIA(population=[1, 9]).score(loss[0], loss, member)
    with pytest.raises(InputError, match="population: expected at least 2 whole positions"):
        attacks.AttackP(population=[True, False]).score(loss[0], loss, member)


def test_a_balanced_plan_without_tuples_is_matched_and_does_not_warn():
    member = np.array([[0, 0, 0], [0, 1, 1], [1, 1, 0], [1, 0, 1]], bool)
    phi = np.arange(12.0).reshape(4, 3)
    assert (member.sum(axis=0) == 2).all()
    assert attacks.how_left_out(member) == "matched"
    scores = attacks.BASE().leave_one_out(phi, member)
    assert np.isfinite(scores).all()
