"""What combinations of attacks must know: the optimum, whom to believe, and nothing of the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from scipy import stats

from oracles import null_signals
from seepage import attacks
from seepage.attacks import Attack
from seepage.attacks.combining import ranks
from seepage.attacks.learners import Learner
from seepage.errors import InputError
from seepage.metrics import operating_points
from seepage.plan import half_split

RNG = np.random.default_rng
LEARNERS = (
    attacks.LinearOdds(),
    attacks.Separate(),
    attacks.Boosting(8, rate=0.3),
    attacks.Forest(8),
)


@dataclass(frozen=True, eq=False)
class Plain(Attack):
    """score = sign · signal, one attack for each signal's name."""

    signal: str = "a"
    sign: float = 1.0
    name: ClassVar[str] = "plain"
    title: ClassVar[str] = "Plain"

    def __post_init__(self) -> None:
        object.__setattr__(self, "requires", (self.signal,))

    def run(self, target, references, member):
        return self.sign * target[self.signal][:, 0]


A, B, C = (Plain(k) for k in "abc")


def auc(attack: Attack, signals, member) -> float:
    return float(operating_points(attack.leave_one_out(signals, member), member, ()).auc.mean())


def two_normals(samples: int = 3000, models: int = 8):
    """Members are raised by 1 in a, by ½ in b, by nothing in c; all else is noise of spread 1."""
    member = half_split(samples, models=models, seed=0).member
    noise = RNG(0).normal(size=(3, *member.shape))
    shift = np.array([1.0, 0.5, 0.0])[:, None, None]
    return dict(zip("abc", noise + shift * member, strict=True)), member


def test_independent_evidence_adds_up_to_the_optimum() -> None:
    """Two normals of shifts 1 and ½ make one of √(1 + ¼): AUC Φ(√1.25/√2), not less for noise beside."""
    signals, member = two_normals()
    best = float(stats.norm.cdf(np.sqrt(1.25 / 2)))
    alone = auc(A, signals, member)
    assert alone == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.01)
    for parts in ((A, B), (A, B, C), (A, Plain("b", -1.0), C)):
        assert auc(attacks.Combined(parts), signals, member) == pytest.approx(best, abs=0.01)
    # A vote believes all alike: less than the optimum, and below the best alone with noise beside.
    vote = auc(attacks.Ensemble((A, B)), signals, member)
    assert alone < vote < best + 0.002
    assert auc(attacks.Ensemble((A, B, C)), signals, member) < alone
    assert auc(attacks.Ensemble((A, Plain("b", -1.0))), signals, member) < alone - 0.05


@pytest.mark.parametrize("learner", LEARNERS)
def test_one_attack_combined_is_that_attack(learner: Learner) -> None:
    """Nothing is added to it: its order, or, of trees, nearly its area."""
    signals, member = two_normals(800)
    combined = attacks.Combined((A,), learner=learner).leave_one_out(signals, member)
    if isinstance(learner, attacks.LinearOdds | attacks.Separate):
        for r, row in enumerate(combined):
            assert (np.diff(row[np.argsort(signals["a"][r])]) >= 0).all()
    else:
        got = operating_points(combined, member, ()).auc.mean()
        assert got == pytest.approx(auc(A, signals, member), abs=0.03)


def test_trees_see_that_one_attack_matters_where_another_says_so() -> None:
    """a tells members where b is above 0 and misleads as much below: no weight of a is right."""
    member = half_split(1000, models=8, seed=0).member
    a, b = RNG(1).normal(size=(2, *member.shape))
    signals = {"a": a + 1.5 * np.sign(b) * np.where(member, 1, -1), "b": b}
    straight, bent = (
        auc(attacks.Combined((A, B), learner=learner), signals, member)
        for learner in (attacks.LinearOdds(), attacks.Boosting(20, rate=0.3))
    )
    assert straight == pytest.approx(0.5, abs=0.03)
    assert bent > 0.95


def test_a_union_raises_what_either_does_and_an_intersection_what_both_do() -> None:
    signals, member = two_normals(400)
    each = np.stack([ranks(signals[k]) for k in "ab"])
    for vote, rule in ((attacks.Highest(), np.logical_or), (attacks.Lowest(), np.logical_and)):
        scores = attacks.Ensemble((A, B), vote).leave_one_out(signals, member)
        np.testing.assert_array_equal(scores >= 0.9, rule(*(each >= 0.9)))


def test_the_target_s_members_are_not_looked_at() -> None:
    """Any membership of the target, its pair the complement, gives the target the same scores."""
    signals, member = two_normals(120)
    signals["phi"], signals["loss"] = signals["a"], np.exp(-signals["b"])
    for learner in LEARNERS:
        attack = attacks.Combined((attacks.LiRA(), attacks.Calibrated()), learner=learner)
        truth = attack.leave_one_out({k: signals[k] for k in attack.requires}, member)[0]
        drawn = member.copy()
        drawn[0] = RNG(3).random(120) < 0.5
        drawn[1] = ~drawn[0]
        other = attack.leave_one_out({k: signals[k] for k in attack.requires}, drawn)[0]
        np.testing.assert_allclose(truth, other, rtol=1e-9, atol=1e-9)


def test_a_combiner_that_is_fitted_to_what_it_judges_is_no_figure() -> None:
    """Trees on noise: in-sample above .6, and ½ where every target is asked last."""
    member = half_split(400, models=8, seed=0).member
    signals = {k: v[..., 0] for k, v in null_signals(RNG(0), member).items()}
    parts = (attacks.LOSS(), attacks.Calibrated())
    learner = attacks.Boosting(60, smallest=5)
    attack = attacks.Combined(parts, learner=learner)
    each = [a.leave_one_out({k: signals[k] for k in a.requires}, member) for a in parts]
    x = np.stack([stats.norm.ppf(ranks(s)) for s in each], axis=-1)
    own = learner.fit(x.reshape(-1, 2), member.ravel())(x.reshape(-1, 2)).reshape(member.shape)
    assert operating_points(own, member, ()).auc.mean() > 0.6
    read = {k: signals[k] for k in attack.requires}
    assert auc(attack, read, member) == pytest.approx(0.5, abs=0.03)


def test_noise_reads_half_where_references_are_matched() -> None:
    """Samples IN half of the runs each, without tuples; trees, which could know samples again."""
    member = RNG(5).permuted(np.tile(np.arange(8)[:, None], 6000), axis=0) < 4
    assert attacks.how_left_out(member) == "matched"
    signals = {k: v[..., 0] for k, v in null_signals(RNG(6), member).items()}
    for learner in (attacks.LinearOdds(), attacks.Boosting(8)):
        attack = attacks.Combined((attacks.LOSS(), attacks.Calibrated()), learner=learner)
        read = {k: signals[k] for k in attack.requires}
        assert auc(attack, read, member) == pytest.approx(0.5, abs=0.012)


def test_what_cannot_be_combined_is_refused() -> None:
    for make, says in (
        (lambda: attacks.Ensemble((A,)), "attacks: expected at least 2 to combine, got 1"),
        (lambda: attacks.Combined(()), "attacks: expected at least 1 to combine, got 0"),
        (lambda: attacks.Combined("lira"), "attacks: expected attacks such as .*, got str"),
        (lambda: attacks.Combined((A,), learner="forest"), "learner: expected LinearOdds"),
        (lambda: attacks.Combined((A,), most=1), "most: expected at least 100 answers, got 1"),
        (lambda: attacks.Ensemble((A, B), vote="mean"), r"vote: expected MeanRank\(\)"),
        (lambda: attacks.LinearOdds(0.0), "ridge: expected a number above 0"),
        (lambda: attacks.Forest(trees=0), "trees: expected at least 1, got 0"),
    ):
        with pytest.raises(InputError, match=says):
            make()


def test_a_combination_needs_what_its_attacks_need() -> None:
    both = attacks.Combined((attacks.LiRA(), attacks.LossTraceIQR()))
    assert (both.trajectory, both.access) == (True, "trajectory")
    assert (both.min_in, both.min_out) == (3, 3)
    assert attacks.Combined((attacks.LOSS(),)).min_in == 1
    member, zeros = half_split(20, models=6).member, np.zeros((6, 20))
    with pytest.raises(InputError, match="combined needs at least 3 IN and 3 OUT"):
        attacks.Combined().leave_one_out({"phi": zeros, "loss": zeros}, member)
