"""What whole outputs tell beyond the true class: the learners that see classes together find it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seepage import attacks
from seepage.attacks.learners import Learner
from seepage.errors import InputError
from seepage.metrics import operating_points
from seepage.plan import half_split

RNG = np.random.default_rng
MEMBER = half_split(1500, models=8, seed=0).member


def auc(attack: attacks.Attack, signals) -> float:
    scores = attack.leave_one_out(signals, MEMBER)
    return float(operating_points(scores, MEMBER, ()).auc.mean())


@pytest.mark.parametrize(
    ("learner", "want"),
    [
        (attacks.LinearOdds(), 0.5),
        (attacks.Boosting(10, leaves=4), 0.7),
        (attacks.Forest(10), 0.7),
    ],
)
def test_two_wrong_classes_together_tell_what_neither_does(learner: Learner, want: float) -> None:
    """They agree in sign in 70 % of members and 30 % of others: AUC .70, of any weighted sum .50.

    The best that can be known is the agreement itself, of AUC ½ + (.7 − .3)/2.
    """
    first = RNG(1).choice([-1.0, 1.0], size=MEMBER.shape)
    agree = RNG(2).random(MEMBER.shape) < np.where(MEMBER, 0.7, 0.3)
    second = np.where(agree, first, -first)
    # So sure of the true class that p of it is 1 whatever the others are.
    z = np.stack([np.full(MEMBER.shape, 45.0), first, second, 0 * first], axis=-1)
    attack = attacks.ShadowOutputs(by_class=True, learner=learner)
    signals = {"logits": z, "labels": np.zeros(MEMBER.shape)}
    assert auc(attack, signals) == pytest.approx(want, abs=0.015)


def test_classes_are_learnt_apart_where_they_differ() -> None:
    """Members' φ rises by 2 in one class and falls by 2 in the other: one rule for both bends."""
    labels = np.broadcast_to(np.arange(1500) % 2, MEMBER.shape)
    phi = RNG(3).normal(size=MEMBER.shape) + np.where(labels == 0, 2, -2) * MEMBER
    z = np.where(labels[..., None] == np.arange(2), phi[..., None] / 2, -phi[..., None] / 2)
    signals = {"logits": z, "labels": 1.0 * labels}
    apart, one = (
        auc(attacks.ShadowOutputs(by_class=k, learner=attacks.LinearOdds()), signals)
        for k in (True, False)
    )
    # Of two normals 2 apart; one rule only knows that members are far from 0, on either side.
    assert apart == pytest.approx(stats.norm.cdf(2 / np.sqrt(2)), abs=0.01)
    assert one < apart - 0.04


def test_which_class_is_which_does_not_matter_to_one_rule() -> None:
    z = RNG(4).normal(size=(8, 60, 5)) + 2 * MEMBER[:, :60, None] * np.eye(5)[0]
    attack = attacks.ShadowOutputs(learner=attacks.LinearOdds())
    order = np.array([3, 0, 4, 1, 2])
    plain, moved = (
        attack.leave_one_out({"logits": z[..., k], "labels": np.full((8, 60), c)}, MEMBER[:, :60])
        for k, c in ((np.arange(5), 0.0), (order, 1.0))
    )
    np.testing.assert_allclose(plain, moved, rtol=1e-9)


def test_classes_without_a_column_are_refused() -> None:
    signals = {"logits": np.zeros((8, 60, 3)), "labels": np.full((8, 60), 3.0)}
    with pytest.raises(InputError, match=r"labels: expected classes from 0 to 2, .* got 3 to 3"):
        attacks.ShadowOutputs().leave_one_out(signals, MEMBER[:, :60])
