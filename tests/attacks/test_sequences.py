"""What only the order of checkpoints tells, and what calibration forgets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from seepage import attacks
from seepage.metrics import operating_points
from seepage.plan import half_split
from seepage.signals import SIGNALS

RNG = np.random.default_rng
MEMBER = half_split(400, models=8, seed=0).member
FEW = attacks.Boosting(15, leaves=4, rate=0.3)


def auc(attack: attacks.Attack, signals, member=MEMBER) -> float:
    scores = attack.leave_one_out(signals, member)
    return float(operating_points(scores, member, ()).auc.mean())


def shuffled(values):
    """Checkpoints in another order for every answer: (R, N, T, …)."""
    order = RNG(9).permuted(np.tile(np.arange(values.shape[2]), (*values.shape[:2], 1)), axis=2)
    at = order.reshape(order.shape + (1,) * (values.ndim - 3))
    return np.take_along_axis(values, at, axis=2)


def told(z):
    """What is recorded of logits (R, N, T, K) of class 0."""
    rows = torch.from_numpy(np.ascontiguousarray(z)).reshape(-1, z.shape[-1])
    label = torch.zeros(len(rows), dtype=torch.int64)
    found = {k: SIGNALS[k](rows, label).numpy() for k in ("loss", "entropy", "mentr")}
    return {k: v.reshape(z.shape[:-1]) for k, v in found.items()} | {"logits": z}


def test_the_order_of_losses_is_read() -> None:
    """The same losses fall for members and rise for others: all in time, nothing without it."""
    loss = np.sort(RNG(0).gamma(2.0, size=(*MEMBER.shape, 5)), axis=-1)
    loss = np.where(MEMBER[..., None], loss[..., ::-1], loss)
    attack = attacks.LossTrajectory(learner=FEW)
    assert auc(attack, loss) > 0.98
    assert auc(attack, shuffled(loss)) == pytest.approx(0.5, abs=0.03)
    # Steps say more than how wide losses spread, which is all that LT-IQR asks.
    assert auc(attacks.LossTraceIQR(), loss) == pytest.approx(0.5, abs=0.03)


def test_the_order_of_outputs_is_read() -> None:
    z = np.sort(RNG(1).normal(size=(*MEMBER.shape, 4, 3)), axis=2)
    z[..., 1:] = RNG(2).normal(size=(*MEMBER.shape, 4, 2))
    z = np.where(MEMBER[..., None, None], z, z[:, :, ::-1])
    attack = attacks.SeqMIA(learner=FEW)
    assert auc(attack, told(z)) > 0.8
    assert auc(attack, told(shuffled(z))) == pytest.approx(0.5, abs=0.03)


def test_checkpoints_after_the_one_that_is_scored_are_not_there() -> None:
    """One checkpoint: a classifier of the loss, which here says nothing."""
    loss = RNG(3).gamma(2.0, size=(*MEMBER.shape, 1))
    assert auc(attacks.LossTrajectory(learner=FEW), loss) == pytest.approx(0.5, abs=0.03)


def test_the_loss_is_not_forgotten() -> None:
    """Training helps easy samples and hurts hard ones: calibrated losses of both cancel, and only
    who knows the loss itself can tell which way round it is. Best is Φ(1.5/√2)."""
    hard = np.arange(400) % 2 == 0
    loss = np.where(hard, 20.0, 6.0) + RNG(5).normal(size=MEMBER.shape)
    loss = loss + 1.5 * MEMBER * np.where(hard, 1, -1)
    rapid, plain = (auc(a, loss) for a in (attacks.RAPID(learner=FEW), attacks.Calibrated()))
    assert plain == pytest.approx(0.5, abs=0.03)
    assert 0.8 < rapid < stats.norm.cdf(1.5 / np.sqrt(2)) + 0.01


def test_large_logits_give_finite_figures() -> None:
    z = np.zeros((8, 400, 2, 3))
    z[..., 0] = 800 * RNG(6).normal(size=(8, 400, 2))
    attack = attacks.SeqMIA(learner=attacks.LinearOdds())
    assert np.isfinite(attack.leave_one_out(told(z.astype(np.float32)), MEMBER)).all()
