"""What is left out of the references where a plan has no complementary tuples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from attack_rows import TABLE
from oracles import leaking_signals, read_by
from seepage import attacks
from seepage.attacks import ATTACKS, Attack, how_left_out
from seepage.attacks.leaving import Matched
from seepage.attacks.reference_counts import fewest_references
from seepage.errors import InputError
from seepage.metrics import operating_points
from seepage.plan import fixed_target, half_split, judged, leave_out, subsets


def equal_counts(rng, models: int, samples: int, inside: int):
    """The layout of LiRA's released code: every sample IN exactly so many runs, no tuples."""
    order = rng.permuted(np.tile(np.arange(models)[:, None], samples), axis=0)
    return order < inside


def coin_flips(rng, models: int, samples: int, share: float = 0.5):
    return rng.random((models, samples)) < share


def some_failed(rng, models: int, samples: int):
    return equal_counts(rng, models + 2, samples, models // 2 + 1)[2:]


def some_untrained(rng, models: int, samples: int):
    member = equal_counts(rng, models, samples, models // 2)
    member[:, ::5] = False
    return member


def two_kinds(rng, models: int, samples: int):
    """Half of the samples IN 5 runs, the others IN 19 of 24."""
    rare = rng.random(samples) < 0.5
    return np.where(rare, *(equal_counts(rng, models, samples, n) for n in (5, models - 5)))


def noise(rng, shape):
    """Signals that know nothing of membership; samples differ in centre and in spread."""
    centre, spread = rng.normal(size=shape[1]), np.exp(rng.normal(0, 0.5, size=shape[1]))
    phi = centre + spread * rng.normal(size=shape)
    loss = np.logaddexp(0, -phi)
    curvature = np.exp(0.5 * rng.normal(size=shape) - 0.7 * phi)
    return {
        "phi": phi,
        "loss": loss,
        "mentr": 1.5 * loss,
        "entropy": loss + 0.1,
        "correct": 1.0 * (phi > 0),
        "curvature_zo": curvature,
    }


def auc(attack: Attack, signals, member) -> float:
    scores = attack.leave_one_out(read_by(attack, signals), member)
    keep = judged(member)
    return float(operating_points(scores[:, keep], member[:, keep]).auc.mean())


def use_of(member):
    return ~np.eye(len(member), dtype=bool)


RNG = np.random.default_rng
GROUPS = np.arange(2000) // 10


@pytest.mark.parametrize(
    ("way", "member"),
    [
        ("tuples", half_split(300, models=8).member),
        ("tuples", half_split(300, models=8).member[1:]),
        ("tuples", np.delete(half_split(300, models=12).member, [0, 3, 5], axis=0)),
        ("tuples", subsets(300, models=12, parts=4).member),
        ("tuples", np.delete(subsets(300, models=12, parts=4).member, [1, 6], axis=0)),
        ("tuples", fixed_target(np.arange(300) % 3 == 0, models=6).member),
        ("tuples", np.eye(2, dtype=bool)),
        ("independent", coin_flips(RNG(0), 16, 500)),
        ("independent", coin_flips(RNG(0), 8, 2000, 0.2)),
        ("independent", coin_flips(RNG(1), 32, 200)[:, GROUPS]),
        ("independent", RNG(0).permuted(np.tile(np.arange(400) < 200, (12, 1)), axis=1)),
        ("matched", equal_counts(RNG(0), 8, 500, 4)),
        ("matched", equal_counts(RNG(0), 16, 500, 4)),
        ("matched", equal_counts(RNG(0), 64, 100, 32)),
        ("matched", some_failed(RNG(0), 16, 500)),
        ("matched", some_untrained(RNG(0), 16, 500)),
        ("matched", leave_out(300, folds=5).member),
        ("unbalanced", two_kinds(RNG(0), 24, 500)),
    ],
)
def test_plans_are_told_apart(way, member):
    assert how_left_out(member) == way


@pytest.mark.parametrize(
    "member",
    [
        half_split(200, models=8).member,
        half_split(200, models=8).member[1:],
        subsets(200, models=16, parts=4).member,
        np.delete(subsets(200, models=20, parts=4).member, [1, 6], axis=0),
        fixed_target(np.arange(200) % 3 == 0, models=8).member,
    ],
)
def test_complementary_plans_are_scored_as_ever(member):
    signals = noise(RNG(0), member.shape)
    use = attacks.reference_rows(member)
    for attack in (attacks.LiRA(), attacks.RMIA(), attacks.BASE(), attacks.AttackR()):
        s = {k: signals[k][..., None] for k in attack.requires}
        np.testing.assert_array_equal(
            attack.leave_one_out(s, member), attack.run_all(s, member, use)
        )


LAYOUTS = {
    "equal": lambda r, n: equal_counts(RNG(5), r, n, r // 2),
    "quarter": lambda r, n: equal_counts(RNG(5), r, n, r // 4),
    "failed": lambda r, n: some_failed(RNG(5), r, n),
    "untrained": lambda r, n: some_untrained(RNG(5), r, n),
}
SURE = {
    "lira": attacks.LiRA(variance=attacks.PerSample()),
    "attack-r": attacks.AttackR(),
    "curvature-nll": attacks.CurvatureNLL(),
    "rmia": attacks.RMIA(),
    "shadow-classifier": attacks.ShadowClassifier(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SURE)
def test_noise_reads_half(name, layout):
    """Over 300,000 decisions at least; leaving out the target alone gives 0.41 to 0.49."""
    models = 12 if layout == "quarter" else 8
    member = LAYOUTS[layout](models, 50_000)
    assert how_left_out(member) == "matched"
    assert abs(auc(SURE[name], noise(RNG(6), member.shape), member) - 0.5) < 0.005


def test_leaving_out_the_target_alone_is_what_was_wrong():
    """The numbers that the ways above replace, on the same plan and noise."""
    member = LAYOUTS["equal"](8, 20_000)
    signals = noise(RNG(6), member.shape)
    for name, least, most in (("lira", 0.42, 0.46), ("attack-r", 0.46, 0.48)):
        attack = SURE[name]
        s = {k: signals[k][..., None] for k in attack.requires}
        scores = attack.run_all(s, member, use_of(member))
        assert least < operating_points(scores, member).auc.mean() < most


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", [n for n, k in ATTACKS.items() if k.min_in or k.min_out])
def test_noise_reads_half_for_every_attack(name, layout):
    member = LAYOUTS[layout](12, 50_000)
    assert abs(auc(attacks.get(name), noise(RNG(7), member.shape), member) - 0.5) < 0.005


@pytest.mark.parametrize("name", SURE)
def test_coin_flips_need_no_more_than_leaving_out_the_target(name):
    member = coin_flips(RNG(8), 32, 10_000)
    assert how_left_out(member) == "independent"
    signals = noise(RNG(9), member.shape)
    assert abs(auc(SURE[name], signals, member) - 0.5) < 0.005
    s = {k: signals[k][..., None] for k in SURE[name].requires}
    scores = SURE[name].leave_one_out(s, member)
    np.testing.assert_array_equal(scores, SURE[name].run_all(s, member, use_of(member)))


@dataclass(frozen=True, eq=False)
class Outside(Attack):
    """An attack of somebody else's: it is run target by target."""

    inner: ClassVar[Attack] = attacks.LiRA(variance=attacks.PerSample())
    name: ClassVar[str] = "outside"
    title: ClassVar[str] = "Outside"
    min_in: ClassVar[int] = 2
    min_out: ClassVar[int] = 2

    def run(self, target, references, member):
        return self.inner.run(target, references, member)


@pytest.mark.parametrize("inside", [4, 5])
def test_realigned_runs_and_target_by_target_agree(inside):
    """Where counts are equal both leave out the target and its partner, whoever scores."""
    member = equal_counts(RNG(0), 10, 40, inside)
    phi = noise(RNG(1), member.shape)["phi"]
    plain = Outside().leave_one_out(phi, member)
    quick = Outside().inner.leave_one_out(phi, member)
    np.testing.assert_allclose(plain, quick, rtol=1e-9)
    assert how_left_out(member) == "matched"
    assert fewest_references(member) == (inside - 1, 9 - inside)


@pytest.mark.parametrize("layout", ["equal", "quarter", "failed"])
def test_the_shadow_classifier_is_fitted_target_by_target(layout):
    member = LAYOUTS[layout](12, 300)
    attack = attacks.ShadowClassifier()
    signals = {k: v[..., None] for k, v in noise(RNG(1), member.shape).items()}
    signals = {k: signals[k] for k in attack.requires}
    matched = Matched.of(member)
    plain = Attack.run_matched(attack, signals, member, matched)
    quick = attack.run_matched(signals, member, matched)
    np.testing.assert_allclose(quick, plain, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_left_is_as_much_for_every_target(layout):
    """Every target, sample by sample: a − 1 IN and b − 1 OUT references, never itself."""
    member = LAYOUTS[layout](16, 200)
    member = member[:, judged(member)]
    matched = Matched.of(member)
    columns = np.arange(member.shape[1])
    for r in range(16):
        which, inside = matched.references(r)
        assert (which != r).all()
        assert (member[which, columns] == inside).all()
        assert (inside.sum(axis=0) == matched.a - 1).all()
        assert (np.diff(np.sort(which, axis=0), axis=0) > 0).all()
    scored = np.zeros(member.shape, dtype=int)
    row, use = matched.rows
    assert (use.sum(axis=1) == matched.a + matched.b - 2).all()
    assert ((use & row).sum(axis=1) == matched.a - 1).all()
    for which, fresh in matched.passes():
        assert (member[which, columns] == row[:, None]).all()
        assert (np.diff(np.sort(which, axis=0), axis=0) > 0).all()
        np.add.at(scored, (which[fresh], np.broadcast_to(columns, which.shape)[fresh]), 1)
    assert (scored == 1).all()


def test_leaks_are_found_as_under_pairs():
    """Of the same signals, an equal-count plan shows what pairs show."""
    pairs = half_split(4000, models=16, seed=0).member
    equal = equal_counts(RNG(0), 16, 4000, 8)
    for attack in (attacks.LiRA(), attacks.RMIA(), attacks.AttackR()):
        found = [auc(attack, leaking_signals(RNG(1), m, 1, shift=1.5), m) for m in (pairs, equal)]
        assert found[0] > 0.7
        assert abs(found[0] - found[1]) < 0.01


def test_scores_are_the_same_each_time():
    member = equal_counts(RNG(0), 8, 60, 4)
    phi = noise(RNG(1), member.shape)["phi"]
    first = attacks.LiRA().leave_one_out(phi, member)
    np.testing.assert_array_equal(first, attacks.LiRA().leave_one_out(phi, member))


def test_rmia_compares_within_the_real_target():
    member = equal_counts(RNG(0), 8, 60, 4)
    loss = noise(RNG(1), member.shape)["loss"]
    rmia = attacks.RMIA().leave_one_out(loss, member)
    base = attacks.BASE().leave_one_out(loss, member)  # the ratios themselves, at γ = 1
    for r in range(8):
        assert (np.diff(rmia[r][np.argsort(base[r])]) >= 0).all()


def test_tuned_rmia_uses_the_weight_it_chose_under_matched_references_too():
    rng = np.random.default_rng(8)
    member = equal_counts(rng, 12, 300, 6)
    assert how_left_out(member) == "matched"
    loss = noise(rng, member.shape)["loss"] * np.where(member, 0.6, 1.0)
    for a in (0.2, 0.9):
        tuned = attacks.RMIATuned(grid=(a,)).leave_one_out(loss, member)
        np.testing.assert_array_equal(tuned, attacks.RMIAOffline(a=a).leave_one_out(loss, member))
    free, each = attacks.RMIATuned(grid=(0.0, 0.9)), {}
    for r in (0, 7):
        others = np.arange(12) != r
        each[r] = free.chosen(loss[others][..., None], member[others])
        fixed = attacks.RMIAOffline(a=each[r]).leave_one_out(loss, member)
        np.testing.assert_array_equal(free.leave_one_out(loss, member)[r], fixed[r])
    # Nobody can be judged by references that are IN, or OUT of, everything: the published weight.
    rows = np.repeat([[True], [True], [False], [False]], 20, axis=1)
    assert attacks.RMIATuned().chosen(loss[:4, :20, None], rows) == 0.3


def test_counts_that_cannot_be_made_equal_are_warned_of_with_what_noise_reads():
    member = two_kinds(RNG(0), 24, 4000)
    phi = noise(RNG(1), member.shape)["phi"]
    attack = attacks.LiRA(variance=attacks.PerSample())
    with pytest.warns(attacks.BalanceWarning) as caught:
        scores = attack.leave_one_out(phi, member)
    text = str(caught[0].message)
    assert "IN 5 to 19 of the 24 runs" in text
    assert "leave away the samples that are IN fewer than" in text
    assert "half_split" not in text
    told = float(text.split("an AUC of ")[1].split()[0])
    assert abs(told - operating_points(scores, member).auc.mean()) < 0.02


# Samples that no run, or every run, was trained on.


@pytest.fixture
def partly():
    """A plan of pairs over four fifths of the pool; of the rest no run trains on but one sample."""
    pool = np.arange(300)
    trained = pool % 5 > 0
    member = np.zeros((8, 300), dtype=bool)
    member[:, trained] = half_split(int(trained.sum()), models=8, seed=0).member
    member[:, 0] = True
    return {k: v[..., 0] for k, v in leaking_signals(RNG(1), member).items()}, member


@pytest.mark.parametrize("name", ATTACKS)
def test_only_judged_samples_need_references(name, partly):
    signals, member = partly
    keep = judged(member)
    assert keep.sum() == 240
    attack = TABLE[name][0]
    signals = read_by(attack, signals)
    scores = attack.leave_one_out(signals, member)
    assert np.isfinite(scores).all()
    use = attacks.reference_rows(member)
    one = attack.score(
        {k: signals[k][3] for k in attack.requires},
        {k: signals[k][use[3]] for k in attack.requires},
        member[use[3]],
    )
    np.testing.assert_allclose(scores[3], one, rtol=1e-9, atol=1e-9)
    if attack.min_in and attack.aligns:
        alone = attack.leave_one_out(
            {k: signals[k][:, keep] for k in attack.requires}, member[:, keep]
        )
        np.testing.assert_array_equal(scores[:, keep], alone)
    if attack.min_in and name.startswith(("lira", "curvature")):
        assert (scores[:, ~keep] == 0).all()


def test_untrained_samples_as_population_of_online_rmia(partly):
    """p(z) of a sample that no run trained on is the mean over its OUT references."""
    signals, member = partly
    loss = signals["loss"]
    population = np.flatnonzero(~member.any(axis=0))
    attack = attacks.RMIA(population=population)
    scores = attack.leave_one_out(loss, member)
    r, use = 2, attacks.reference_rows(member)[2]
    p = np.exp(-loss[use])
    inside, outside = member[use].sum(axis=0), (~member[use]).sum(axis=0)
    means = [np.where(k, p, 0).sum(axis=0) / np.maximum(k.sum(axis=0), 1)
             for k in (member[use], ~member[use])]  # fmt: skip
    both = sum(means) / ((inside > 0).astype(int) + (outside > 0))
    ratio = np.exp(-loss[r]) / both
    want = (ratio[:, None] >= ratio[population]).mean(axis=1)
    np.testing.assert_allclose(scores[r], want, atol=1e-12)


def test_one_target_beside_shadows_that_saw_nothing_keeps_them_all():
    """Offline: who is not in the target is in no run, and is scored with its OUT references."""
    member = np.zeros((9, 40), dtype=bool)
    member[0, ::2] = True
    phi = noise(RNG(0), member.shape)["phi"]
    scores = attacks.LiRAOfflineOneSided().leave_one_out(phi, member)
    one = attacks.LiRAOfflineOneSided().score(phi[0], phi[1:], member[1:])
    np.testing.assert_allclose(scores[0], one, rtol=1e-9)
    with pytest.raises(InputError, match="at least 2 IN"):
        attacks.LiRA().leave_one_out(phi, member)


def test_a_plan_that_judges_nobody_is_refused():
    member = np.zeros((4, 30), dtype=bool)
    with pytest.raises(InputError, match=r"at least 2 IN and 2 OUT.*got 0 and 3"):
        attacks.LiRA().leave_one_out(np.zeros((4, 30)), member)


@dataclass(frozen=True, eq=False)
class OverTraining(Attack):
    """Difficulty calibration at every checkpoint, averaged."""

    name: ClassVar[str] = "over-training"
    title: ClassVar[str] = "Over training"
    requires: ClassVar[tuple[str, ...]] = ("loss",)
    trajectory: ClassVar[bool] = True
    min_out: ClassVar[int] = 1
    at_once: bool = False

    @property
    def aligns(self) -> bool:
        return self.at_once

    def run(self, target, references, member):
        out = np.where(member[..., None, None], 0.0, references["loss"]).sum(axis=0)
        return (out / (~member).sum(axis=0)[:, None, None] - target["loss"]).mean(axis=(1, 2))


@pytest.mark.parametrize(
    ("layout", "at_once"),
    [
        ("equal", False),
        ("equal", True),
        ("untrained", False),
        ("untrained", True),
        ("failed", True),
    ],
)
def test_trajectories_are_left_out_and_realigned_as_signals_are(layout, at_once):
    member = LAYOUTS[layout](8, 60)
    loss = RNG(0).gamma(2.0, size=(*member.shape, 3))
    got = OverTraining(at_once).leave_one_out(loss, member)
    each = [attacks.Calibrated().leave_one_out(loss[..., t], member) for t in range(3)]
    np.testing.assert_allclose(got, np.mean(each, axis=0), rtol=1e-9, atol=1e-12)
