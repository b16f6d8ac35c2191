"""The live monitor: what it computes, and that it is judged fairly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seepage.errors import InputError
from seepage.metrics import auc
from seepage.plan import half_split
from seepage.plane import Monitor, evaluate_monitors, mean_loss


def watched(epochs: int = 9, samples: int = 400):
    """A run whose hard samples' losses fall late and far; risk is the hardness."""
    rng = np.random.default_rng(0)
    member = rng.permutation(samples) < samples // 2
    hard = rng.exponential(1.0, samples)
    monitor, losses = Monitor(), []
    for epoch in range(epochs):
        fall = np.exp(-epoch / (1 + hard))
        loss = hard * (fall * member + ~member) + 0.05 * rng.random(samples)
        monitor.update(epoch, loss, loss < 1, member, curvature=hard if epoch == 8 else None)
        losses.append(loss)
    return monitor, np.array(losses), member, hard


def test_scores_and_snapshots_by_definition():
    monitor, losses, member, hard = watched()
    scores = monitor.scores()
    published = np.subtract(*np.quantile(losses[1:], [0.75, 0.25], axis=0))
    np.testing.assert_allclose(scores["lt_iqr"], published, rtol=1e-4)
    np.testing.assert_allclose(scores["loss"], mean_loss(losses, np.arange(9)), rtol=1e-5)
    time = np.log1p(np.arange(9))
    for i in (0, 17):
        slope = stats.linregress(time, losses[:, i]).slope
        np.testing.assert_allclose(scores["slope"][i], -slope, rtol=1e-4)
    np.testing.assert_array_equal(scores["curvature"], hard)
    last = monitor.history[-1]
    assert last.epoch == 8
    np.testing.assert_allclose(last.gap, losses[-1][~member].mean() - losses[-1][member].mean())
    np.testing.assert_allclose(last.member_accuracy, (losses[-1][member] < 1).mean())
    np.testing.assert_allclose(last.auc, auc(-losses[-1], member))
    assert last.auc > monitor.history[0].auc


def test_scores_do_not_depend_on_how_updates_are_spaced():
    """A trace that is straight between the updates left out gives the same scores without them."""
    epochs, corners = np.arange(13.0), [0, 1, 2, 4, 12]
    rng = np.random.default_rng(0)
    at = rng.random((len(corners), 40)).astype(np.float32)
    trace = np.stack([np.interp(epochs, corners, column) for column in at.T], axis=1)
    member = np.arange(40) % 2 == 0
    all_of_them, some = Monitor(), Monitor()
    for epoch in range(13):
        all_of_them.update(epoch, trace[epoch], np.ones(40), member)
        if epoch in corners:
            some.update(epoch, trace[epoch], np.ones(40), member)
    for name, expected in all_of_them.scores().items():
        np.testing.assert_allclose(some.scores()[name], expected, atol=1e-6, err_msg=name)


def test_judgement_against_the_final_risk():
    monitor, _, member, hard = watched()
    judged = monitor.judge(hard, np.random.default_rng(0), share=0.05)
    lt = judged["lt_iqr"]
    rows = np.flatnonzero(member)
    rho = stats.spearmanr(monitor.scores()["lt_iqr"][rows], hard[rows]).statistic
    np.testing.assert_allclose(lt.correlation.rho, rho)
    assert lt.correlation.low <= rho <= lt.correlation.high
    assert lt.k == 10
    top = set(rows[np.argsort(hard[rows])[-10:]])
    guess = set(rows[np.argsort(monitor.scores()["lt_iqr"][rows])[-10:]])
    np.testing.assert_allclose(lt.precision, len(top & guess) / 10)
    assert lt.auc > 0.9
    assert judged["curvature"].precision == 1.0
    everyone = monitor.judge(hard, np.random.default_rng(0), members_only=False)
    assert everyone["curvature"].correlation.n == 400


def test_ties_in_the_risk_count_in_part_and_constant_scores_are_left_out():
    monitor = Monitor()
    member = np.arange(6) < 4
    monitor.update(0.0, np.array([4.0, 3, 2, 1, 0, 0]), np.ones(6), member)
    judged = monitor.judge(np.array([1.0, 1, 0, 0, 9, 9]), np.random.default_rng(0), share=0.25)
    # One of four members: either of the first two may be meant.
    assert judged["loss"].precision == 0.5
    assert judged["loss"].auc == 1.0
    assert "lt_iqr" not in judged
    risk = np.array([1.0, 0.5, 0, np.nan, 9, 9])
    assert monitor.judge(risk, np.random.default_rng(0), share=0.4)["loss"].correlation.n == 3


def test_the_monitor_keeps_its_own_copies():
    monitor, loss, member = Monitor(), np.array([1.0, 2.0, 3.0]), np.array([True, True, False])
    monitor.update(1.0, loss, np.ones(3), member)
    loss[:] = 9
    member[:] = False
    np.testing.assert_array_equal(monitor.scores()["loss"], [1, 2, 3])
    monitor.update(2.0, np.array([1.0, 2.0, 3.0]), np.ones(3), np.array([True, True, False]))


def test_the_monitor_names_what_is_wrong():
    monitor, member = Monitor(), np.array([True, False])
    with pytest.raises(InputError, match="monitor: expected at least one update"):
        monitor.scores()
    with pytest.raises(InputError, match="loss, correct, member: expected one value per sample"):
        monitor.update(0.0, np.zeros(3), np.zeros(3), member)
    with pytest.raises(InputError, match="member: expected members and non-members"):
        monitor.update(0.0, np.zeros(2), np.zeros(2), np.ones(2, bool))
    with pytest.raises(InputError, match="loss: expected finite values, got 1 others at epoch 0"):
        monitor.update(0.0, np.array([np.nan, 0]), np.zeros(2), member)
    with pytest.raises(InputError, match="curvature: expected shape"):
        monitor.update(0.0, np.zeros(2), np.zeros(2), member, curvature=np.zeros(3))
    monitor.update(1.0, np.zeros(2), np.zeros(2), member)
    with pytest.raises(InputError, match=r"epoch: expected more than 1.0, got 1.0"):
        monitor.update(1.0, np.zeros(2), np.zeros(2), member)
    with pytest.raises(InputError, match="member: expected the same members"):
        monitor.update(2.0, np.zeros(2), np.zeros(2), ~member)
    with pytest.raises(InputError, match="final_risk: expected shape"):
        monitor.judge(np.zeros(3), np.random.default_rng(0))
    with pytest.raises(InputError, match="final_risk: expected at least 3 samples"):
        monitor.judge(np.zeros(2), np.random.default_rng(0))
    with pytest.raises(InputError, match="share: expected between 0 and 1"):
        monitor.judge(np.zeros(2), np.random.default_rng(0), share=0.0)


class Fleet:
    """Losses of runs whose hard samples' losses fall late."""

    checkpoints = np.array([0.0, 1.0, 3.0, 8.0])

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.member = half_split(200, models=8, seed=0).member
        self.hard = rng.exponential(1.0, 200)
        fall = np.exp(-self.checkpoints[None, :, None] / (1 + self.hard))
        self.loss = self.hard * np.where(self.member[:, None], fall, 1.0)
        self.loss = self.loss + 0.05 * rng.random(self.loss.shape)

    def signal_at(self, name: str, t: int, /) -> np.ndarray:
        return self.loss[:, t] if name == "loss" else (self.loss[:, t] < 1) * 1.0


def test_evaluate_monitors_judges_each_run_s_own_monitor_at_each_checkpoint():
    run = Fleet()
    found = evaluate_monitors(run, [2, 3, 6, 7], run.hard, share=0.1)
    assert np.isnan(found["lt_iqr"].rho[0]).all()
    each = []
    for r in (2, 3, 6, 7):
        monitor = Monitor()
        for t in range(3):
            monitor.update(
                run.checkpoints[t], run.loss[r, t], run.signal_at("correct", t)[r], run.member[r]
            )
        each.append(monitor.judge(run.hard, np.random.default_rng(0), share=0.1)["lt_iqr"])
    lt = found["lt_iqr"]
    np.testing.assert_allclose(lt.rho[2, 0], np.mean([j.correlation.rho for j in each]))
    np.testing.assert_allclose(lt.precision[2, 0], np.mean([j.precision for j in each]))
    np.testing.assert_allclose(lt.auc[2, 0], np.mean([j.auc for j in each]))
    assert lt.runs == 4
    assert lt.chance == pytest.approx(0.1)
    assert (lt.precision[1:] >= 0).all()
    assert (lt.precision[1:, 1] <= lt.precision[1:, 0]).all()
    with pytest.raises(InputError, match="models: expected rows within 0 to 7"):
        evaluate_monitors(run, [8], run.hard)
