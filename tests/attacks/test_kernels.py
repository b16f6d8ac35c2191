"""The kernels where the attack table does not look: many blocks of samples, and their logarithm."""

from __future__ import annotations

import numpy as np
import pytest

from oracles import leaking_signals
from seepage import attacks
from seepage.attacks.kernels.lanes import LANES, logs
from seepage.attacks.targets import each_row
from seepage.plan import half_split

ATTACKS = [
    attacks.LiRA(),
    attacks.LiRA(variance=attacks.PerSample()),
    attacks.LiRA(variance=attacks.Pooled()),
    attacks.LiRA(variance=attacks.StudentT(kappa=None)),
    attacks.LiRA(centre=attacks.Median(), variance=attacks.PerSample()),
    attacks.LiRAOfflineOneSided(),
    attacks.LiRAOfflineTwoSided(),
    attacks.AttackP(),
    attacks.AttackR(),
    attacks.RMIA(),
]


@pytest.mark.parametrize("samples", [LANES - 1, LANES, 2 * LANES + 1])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: f"{a.name}-{ATTACKS.index(a)}")
def test_blocks_of_samples_fit_together(attack: attacks.Attack, samples: int) -> None:
    member = half_split(samples, models=8, seed=1).member
    signals = leaking_signals(np.random.default_rng(2), member, 1)
    given = {key: signals[key] for key in attack.requires}
    got = attack.leave_one_out(given, member)
    use = attacks.reference_rows(member)
    for r in (0, 5):
        want = attack.score(
            {k: v[r] for k, v in given.items()},
            {k: v[use[r]] for k, v in given.items()},
            member[use[r]],
        )
        np.testing.assert_allclose(got[r], want, rtol=1e-9, atol=1e-9)


def test_an_outlier_that_carried_all_the_variance_is_left_out_exactly() -> None:
    """Where taking out cancels, the sums are done again, in whichever lane it happens."""
    member = half_split(2 * LANES, models=10, seed=0).member
    rng = np.random.default_rng(3)
    phi = rng.normal(size=member.shape)
    for i in (0, 3, LANES - 1, LANES, 2 * LANES - 1):
        phi[i % 10, i] = 1e7
    attack = attacks.LiRA(variance=attacks.PerSample())
    got = attack.leave_one_out(phi, member)
    use = attacks.reference_rows(member)
    for r in range(10):
        want = attack.score(phi[r], phi[use[r]], member[use[r]])
        np.testing.assert_allclose(got[r], want, rtol=1e-9, atol=1e-9)


def test_scores_do_not_depend_on_threads() -> None:
    import numba

    member = half_split(5 * LANES, models=8, seed=4).member
    signals = leaking_signals(np.random.default_rng(5), member, 2)
    found = []
    kept = numba.get_num_threads()
    try:
        for threads in {1, kept}:
            numba.set_num_threads(threads)
            found.append(attacks.LiRA().leave_one_out(signals["phi"], member))
    finally:
        numba.set_num_threads(kept)
    np.testing.assert_array_equal(found[0], found[-1])


def test_logarithms_to_one_unit_in_the_last_place() -> None:
    rng = np.random.default_rng(6)
    x = np.concatenate(
        [
            np.exp(rng.uniform(-700, 700, 20_000)),
            1 + np.exp(rng.uniform(-40, 3, 20_000)),
            rng.uniform(0.5, 2, 20_000),
            [1.0, np.finfo(float).tiny, np.finfo(float).max],
        ]
    )
    out = np.empty_like(x)
    logs(x, out)
    want = np.log(x)
    assert (np.abs(out - want) <= np.maximum(np.spacing(np.abs(want)), 1e-300)).all()


@pytest.mark.parametrize("odd", [0.0, 5e-324, np.inf, np.nan, -1.0])
def test_logarithms_of_what_is_not_positive_and_normal(odd: float) -> None:
    x = np.array([2.0, odd, 3.0])
    out = np.empty(3)
    logs(x, out)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(out, np.log(x), rtol=1e-15)


def test_rows_share_threads_and_pass_on_errors() -> None:
    seen = np.zeros(50, int)

    def one(r: int) -> None:
        seen[r] += r

    each_row(one, 50)
    assert (seen == np.arange(50)).all()

    def bad(r: int) -> None:
        raise ValueError(f"row {r}")

    with pytest.raises(ValueError, match="row 0"):
        each_row(bad, 3)
