"""The kernels where the attack table does not look: many blocks of samples, and their logarithm."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from oracles import leaking_signals
from seepage import attacks
from seepage.array_types import BoolArray, Float64Array
from seepage.attacks.kernels.lanes import LANES
from seepage.attacks.kernels.samplewise import ascending, merged_cdf, shares_below
from seepage.attacks.targets import Moments, each_row
from seepage.native.library import LEVELS, kernel, limited
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
    attacks.RMIAOffline(gamma=1.5, population=[0, 5, 7]),
    attacks.BASE(),
    attacks.BASEOffline(),
    attacks.Calibrated(),
    attacks.BaVarIANormal(),
    attacks.LiRA(variance=attacks.Global()),
    attacks.LiRATwoSignals(signal="mentr"),
    attacks.LiRATwoSignals(signal="mentr", covariance=attacks.Pooled()),
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


def plans() -> list[tuple[BoolArray, BoolArray]]:
    """Membership, and who may use whom: triples left out, and one with samples that few models saw."""
    rng = np.random.default_rng(4)
    pairs = half_split(LANES + 3, models=12, seed=4).member
    triples = np.repeat(np.repeat(~np.eye(4, dtype=bool), 3, axis=0), 3, axis=1)
    draws = rng.random((9, LANES - 3)) < 0.5
    draws[:2], draws[2:4] = True, False
    draws[:, 7], draws[:, 8] = False, True
    return [(pairs, triples), (draws, ~np.eye(9, dtype=bool))]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: f"{a.name}-{ATTACKS.index(a)}")
def test_every_level_and_number_of_threads_gives_the_same(attack: attacks.Attack) -> None:
    """Compiled levels to the bit, whatever the threads; what runs without them to 1e-9."""
    for (member, use), kind in zip(plans(), ("f4", "f8"), strict=True):
        signals = leaking_signals(np.random.default_rng(5), member, 2)
        views = 1 if attack.first_view else 2
        given = {k: np.round(signals[k], 2).astype(kind)[..., :views] for k in attack.requires}
        found = []
        for at, threads in (*((at, 1) for at in LEVELS), (LEVELS[-1], 3)):
            with limited(level=at, threads=threads), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of means of nothing, without compiled kernels
                found.append(attack.run_all(given, member, use))
        pure, *compiled = found
        known = has_references(attack, member, use)
        np.testing.assert_allclose(compiled[-1][known], pure[known], rtol=1e-9, atol=1e-9)
        assert known.mean() > 0.9
        for other in compiled:
            np.testing.assert_array_equal(other, compiled[-1])


def test_an_outlier_in_two_signals_is_left_out_exactly() -> None:
    """Where taking out cancels, products of deviations are summed again too."""
    member = half_split(LANES + 3, models=10, seed=1).member
    signals = leaking_signals(np.random.default_rng(2), member, 1)
    signals["phi"][9, 5], signals["mentr"][9, 5] = 1e12, 1e100
    attack = attacks.LiRATwoSignals(signal="mentr", covariance=attacks.Wishart(2.0, 0.0))
    given, use = {k: signals[k] for k in attack.requires}, attacks.reference_rows(member)
    (partner,) = set(np.flatnonzero(~use[9]).tolist()) - {9}
    values, rest = attack.features(given), use[9]
    common = attack.common(values, member, use[[9]])
    (outside, inside) = (
        Moments.of(values[rest], k[rest], np.ones((1, 8), bool)) for k in (~member, member)
    )
    want = common.ratios(values[partner][None], outside, inside)[0]
    got = attack.run_all(given, member, use)
    np.testing.assert_allclose(got[partner], want, rtol=1e-9, atol=1e-9)


def has_references(attack: attacks.Attack, member: BoolArray, use: BoolArray) -> BoolArray:
    """Where a target has the references that the attack needs: (R, N)."""
    n_in, n_out = use.astype(int) @ member, use.astype(int) @ ~member
    return np.asarray((n_in >= attack.min_in) & (n_out >= attack.min_out))


def test_logarithms_and_exponentials_to_one_unit_in_the_last_place() -> None:
    rng = np.random.default_rng(6)
    wide = rng.uniform(-745, 709, 20_000)
    odd = [0.0, -0.0, 5e-324, 2e-308, np.finfo(float).tiny, np.finfo(float).max]
    odd += [np.inf, -np.inf, np.nan, -1.0, 1.0, 800.0, -800.0]
    near = [1 + np.exp(rng.uniform(-40, 3, 20_000)), rng.uniform(0.5, 2, 20_000)]
    x = np.concatenate([np.exp(wide), wide, *near, odd])
    for name, exact in (("logarithms", np.log), ("exponentials", np.exp)):
        with np.errstate(all="ignore"):
            want = exact(x)
        found = []
        for at in LEVELS[1:]:
            with limited(level=at):
                call = kernel(name, "f8", int, int, "f8")
            if call is None:
                pytest.skip("no compiled kernels here")
            out = np.empty_like(x)
            call(x, 0, len(x), out)
            found.append(out)
            real = np.isfinite(want)
            np.testing.assert_array_equal(out[~real], want[~real])
            off = np.abs(out[real] - want[real])
            assert (off <= np.maximum(np.spacing(np.abs(want[real])), 5e-324)).all()
        np.testing.assert_array_equal(found[0], found[-1])


@pytest.mark.parametrize("at", LEVELS)
def test_ranks_and_interpolated_cdfs_with_ties_and_infinities(at: str) -> None:
    rng = np.random.default_rng(7)
    values = np.stack(
        [
            rng.normal(size=3000),
            rng.normal(size=3000).round(1),
            1.0 + rng.integers(0, 2000, 3000) * 2.0**-52,  # alike in their upper 32 bits
            np.where(rng.random(3000) < 0.1, np.inf, -rng.integers(0, 2, 3000) * 0.0),
        ]
    )
    some = rng.integers(0, 3000, 500)
    for slack, sample in ((0.0, None), (-0.7, None), (0.3, some)):
        got = values.copy()
        with limited(level=at):
            shares_below(got, slack, sample)
        for row, mine in zip(values, got, strict=True):
            others = row if sample is None else row[sample]
            want = np.searchsorted(np.sort(others), row + slack, side="right") / len(others)
            np.testing.assert_array_equal(mine, want)
    for row in values:
        with limited(level=at):
            order = ascending(row)
        np.testing.assert_array_equal(row[order], np.sort(row))
        assert sorted(order.tolist()) == list(range(len(row)))
    for row in values[:3]:
        x = np.concatenate([row[:50], row[:50] + 0.05, [-9.0, 9.0, -2e3, 2e3, 0.0]])
        ordered = np.sort(row[50:250])
        with limited(level=at):
            got_cdf = merged_cdf(ordered, ascending(x), x, 0.0, 1000.0)
        np.testing.assert_array_equal(got_cdf, [cdf_of(ordered, v) for v in x.tolist()])


def cdf_of(sample: Float64Array, x: float) -> float:
    """The interpolated CDF of Attack-R and P by its definition, one value at a time."""
    values, count = np.unique(sample, return_counts=True)
    ranks = np.cumsum(count) - (count - 1) / 2
    if x in values:
        return float(ranks[values == x][0] / (len(sample) + 1))
    at = int(np.searchsorted(values, x))
    under, first = (values[at - 1], ranks[at - 1]) if at else (0.0, 0.0)
    over, second = (values[at], ranks[at]) if at < len(values) else (1000.0, len(sample) + 1.0)
    if x <= under:
        rank = first
    elif x >= over:
        rank = second
    else:
        rank = first + (x - under) / (over - under) * (second - first)
    return float(rank / (len(sample) + 1))


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
