"""What every attack must obey. A new attack without a row here fails."""

from __future__ import annotations

import numpy as np
import pytest

from attack_rows import ROWS, TABLE
from oracles import leaking_signals, null_signals, read_by
from seepage import attacks
from seepage.attacks import ATTACKS
from seepage.errors import InputError
from seepage.metrics import operating_points, over_targets
from seepage.plan import half_split, subsets

OFFLINE = [p for p in ROWS if not p.values[0].min_in]


def fleet(models: int = 8, samples: int = 41, views: int = 2, seed: int = 0, parts: int = 2):
    member = subsets(samples, models=models, parts=parts, seed=seed).member
    return leaking_signals(np.random.default_rng(seed), member, views), member


def test_rows_are_of_the_attack_they_name():
    assert set(TABLE) == set(ATTACKS)
    assert all(type(a) is ATTACKS[n] for n, row in TABLE.items() for a in row)


@pytest.mark.parametrize("name", ATTACKS)
def test_get_makes_the_default(name):
    assert attacks.get(name).name == name
    assert ATTACKS[name].__doc__
    assert "ource" in ATTACKS[name].__doc__ or name == "rmia-offline"


def test_get_offers_the_nearest_name():
    with pytest.raises(
        InputError, match=r"attack: expected a known name or .*, got 'lria'; did you mean"
    ):
        attacks.get("lria")


@pytest.mark.parametrize("attack", ROWS)
def test_members_score_higher(attack):
    member = half_split(400, models=16, seed=1).member
    signals = leaking_signals(np.random.default_rng(1), member, shift=2.5)
    points = operating_points(attack.leave_one_out(read_by(attack, signals), member), member)
    assert points.auc.mean() > 0.6


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("attack", ROWS)
def test_driver_is_brute_force_leave_one_out(attack, dtype):
    signals, member = fleet(models=8)
    signals = {k: v.astype(dtype) for k, v in signals.items()}
    by_brute_force(attack, signals, member, 6)


@pytest.mark.parametrize(("parts", "lost"), [(3, []), (4, []), (4, [5]), (4, [0, 5, 6])])
@pytest.mark.parametrize("attack", ROWS)
def test_driver_is_brute_force_for_tuples(attack, parts, lost):
    signals, member = fleet(models=6 * parts, parts=parts, views=1)
    signals = {k: np.delete(v, lost, axis=0) for k, v in signals.items()}
    by_brute_force(attack, signals, np.delete(member, lost, axis=0), 5 * parts - len(lost))


def by_brute_force(attack, signals, member, least):
    signals = read_by(attack, signals)
    got = attack.leave_one_out(signals, member)
    assert got.dtype == np.float64
    use = attacks.reference_rows(member)
    assert use.sum(axis=1).min() == least
    for r in range(len(member)):
        u = use[r]
        target = {k: signals[k][r] for k in attack.requires}
        references = {k: signals[k][u] for k in attack.requires}
        np.testing.assert_allclose(
            got[r], attack.score(target, references, member[u]), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("attack", ROWS)
def test_driver_agrees_where_a_target_leaves_out_many(attack):
    signals, member = fleet(models=12, views=1)
    use = attacks.reference_rows(member)
    use[3, :6] = False
    s = read_by(attack, signals)
    slow = attack.run_all(s, member, use)
    fast = attack.run_all(s, member, attacks.reference_rows(member))
    np.testing.assert_allclose(np.delete(slow, 3, 0), np.delete(fast, 3, 0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("attack", ROWS)
def test_permuting_models_and_samples_commutes(attack):
    signals, member = fleet(models=10)
    rng = np.random.default_rng(2)
    models = rng.permutation(10)
    samples = np.arange(member.shape[1])
    if getattr(attack, "population", None) is None:
        samples = rng.permutation(samples)
    signals = read_by(attack, signals)
    whole = attack.leave_one_out(signals, member)
    moved = {k: v[models][:, samples] for k, v in signals.items()}
    got = attack.leave_one_out(moved, member[models][:, samples])
    np.testing.assert_allclose(got, whole[models][:, samples], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("attack", ROWS)
def test_inputs_are_not_changed(attack):
    signals, member = fleet()
    signals = read_by(attack, signals)
    before = {k: v.copy() for k, v in signals.items()}
    kept = member.copy()
    attack.leave_one_out(signals, member)
    attack.score(
        {k: signals[k][0] for k in attack.requires},
        {k: signals[k][2:] for k in attack.requires},
        member[2:],
    )
    assert all((signals[k] == before[k]).all() for k in signals)
    assert (member == kept).all()


@pytest.mark.parametrize("attack", OFFLINE)
def test_offline_attacks_do_not_read_in_entries(attack):
    signals, member = fleet()
    signals = read_by(attack, signals)
    target = {k: signals[k][0] for k in attack.requires}
    references = {k: signals[k][2:].copy() for k in attack.requires}
    plain = attack.score(target, references, member[2:])
    for v in references.values():
        v[member[2:]] = np.nan
    np.testing.assert_array_equal(plain, attack.score(target, references, member[2:]))


@pytest.mark.parametrize("attack", [p for p in ROWS if p not in OFFLINE])
def test_online_attacks_refuse_nan(attack):
    signals, member = fleet()
    signals = read_by(attack, signals)
    references = {k: signals[k][2:].copy() for k in attack.requires}
    next(iter(references.values()))[member[2:]] = np.nan
    with pytest.raises(InputError, match=r"references.*expected finite values, got .* non-finite"):
        attack.score({k: signals[k][0] for k in attack.requires}, references, member[2:])


@pytest.mark.parametrize("attack", ROWS)
def test_errors_name_the_value(attack):
    signals, member = fleet()
    s = read_by(attack, signals)
    with pytest.raises(InputError, match=r"member: expected bool of shape \(8, 41\)"):
        attack.leave_one_out(s, member[:, :-1])
    with pytest.raises(InputError, match="member: expected bool of shape"):
        attack.leave_one_out(s, member.astype(int))
    times = ", checkpoints" if attack.trajectory else ""
    with pytest.raises(InputError, match=rf"expected shape \(models, samples{times}\[, views\]\)"):
        attack.leave_one_out({k: v[0, :, 0] for k, v in s.items()}, member)
    with pytest.raises(InputError, match="is missing; record it"):
        attack.leave_one_out({"nothing": signals["phi"]}, member)
    bad = {k: v.copy() for k, v in s.items()}
    next(iter(bad.values()))[1, 2, ..., 0] = -np.inf
    with pytest.raises(InputError, match=r"signal.*got 1 non-finite, the first at \(1, 2\)"):
        attack.leave_one_out(bad, member)
    if attack.min_out:
        with pytest.raises(InputError, match=f"models: {attack.name} needs at least.*train more"):
            attack.leave_one_out({k: v[:2] for k, v in s.items()}, member[:2])


@pytest.mark.parametrize(
    ("models", "parts", "lost"),
    [(16, 2, [3]), (12, 3, []), (20, 4, [6])],
)
@pytest.mark.parametrize("attack", ROWS)
def test_null_data_gives_half(attack, models, parts, lost):
    """On signals that know nothing, the mean AUC over targets has 0.5 in its interval.

    Larger fleets and whole plans, to 0.005: `test_properties.py`.
    """
    member = np.delete(subsets(1500, models=models, parts=parts, seed=7).member, lost, axis=0)
    signals = null_signals(np.random.default_rng(8), member)
    points = operating_points(attack.leave_one_out(read_by(attack, signals), member), member)
    estimate = over_targets(points.auc, member, level=0.99)
    assert estimate.covers(0.5), estimate
    # The count of IN references, were it read, would give 0.44 here.
    assert abs(estimate.mean - 0.5) < 0.02


def test_what_is_left_of_a_tuple_is_left_out_together():
    """Of a 4-tuple that lost a run, the other three are each other's membership: 0.478 on noise."""
    attack = attacks.LiRA(variance=attacks.PerSample(ddof=1))
    member = np.delete(subsets(20_000, models=16, parts=4, seed=3).member, 5, axis=0)
    phi = null_signals(np.random.default_rng(4), member)["phi"]
    use = attacks.reference_rows(member)
    assert not use[4:7, 4:7].any()
    sound = operating_points(attack.leave_one_out(phi, member), member).auc[4:7].mean()
    use[4:7, 4:7] = ~np.eye(3, dtype=bool)
    leaky = operating_points(attack.run_all({"phi": phi}, member, use), member).auc[4:7].mean()
    assert leaky < 0.485
    assert abs(sound - 0.5) < 0.008


def test_too_few_tuples_are_refused_with_their_number():
    signals, member = fleet(models=8, parts=4)
    with pytest.raises(
        InputError,
        match=r"at least 2 IN.* got 1 and 3; of the R = 8 runs in complementary tuples of k = 4 each "
        r"target is scored without the 4 runs.*leaves R/k − 1 IN.*at least R = 12 runs",
    ):
        attacks.LiRA().leave_one_out(signals["phi"], member)


@pytest.mark.parametrize("models", [8, 16])
def test_leaving_out_the_target_alone_leaks_the_count(models):
    """The defect that complementary pairs remove: 0.444 and 0.491 on pure noise."""
    attack = attacks.LiRA(variance=attacks.PerSample(ddof=1))
    member = half_split(6000, models=models, seed=3).member
    phi = null_signals(np.random.default_rng(4), member)["phi"]
    alone = ~np.eye(models, dtype=bool)
    leaky = operating_points(attack.run_all({"phi": phi}, member, alone), member).auc.mean()
    sound = operating_points(attack.leave_one_out(phi, member), member).auc.mean()
    assert abs(leaky - {8: 0.444, 16: 0.491}[models]) < 0.008
    assert abs(sound - 0.5) < 0.006


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_values_are_refused_for_themselves_and_not_for_their_sum(dtype: str) -> None:
    _, member = fleet()
    vast = np.full(member.shape, np.finfo(dtype).max / 4 if dtype != "float64" else 1e30, dtype)
    assert np.isfinite(attacks.LOSS().leave_one_out(vast, member)).all()
    for value in (np.nan, np.inf, -np.inf):
        bad = vast.copy()
        bad[3, 5] = value
        with pytest.raises(InputError, match=r"got 1 non-finite, the first at \(3, 5\)"):
            attacks.LOSS().leave_one_out(bad, member)
