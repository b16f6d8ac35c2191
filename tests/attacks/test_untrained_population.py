"""From plan to score where a fifth of the pool is in no run: the population of online attacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import seepage
from seepage import attacks
from seepage.plan import half_split, judged
from seepage.scoring import lacks
from tiny_fleet import fleet, table


def test_online_attacks_compare_with_samples_that_no_run_trained_on(tmp_path: Path) -> None:
    data = table(60)
    pool = np.arange(60) % 5 > 0
    plan = half_split(int(pool.sum()), models=6, seed=1)
    member = np.zeros((6, 60), dtype=bool)
    member[:, pool] = plan.member
    run = fleet(
        tmp_path / "run", data=data, plan=replace(plan, member=member), signals=("phi", "loss")
    )
    assert judged(run.member).sum() == 48
    for attack in (
        attacks.RMIA(population=attacks.Untrained()),
        attacks.LiRA(),
        attacks.BASE(),
        attacks.LiRAOfflineOneSided(),
    ):
        assert lacks(run, attack) is None
        scores = seepage.score(run, attack)
        assert scores.shape == (6, 60)
        assert np.isfinite(scores).all()
    # The same as when the pool had never held them, where the attack looks at each sample alone.
    phi, loss = run.signal_at("phi", -1), run.signal_at("loss", -1)
    alone = attacks.LiRA().leave_one_out(phi[:, pool], plan.member)
    np.testing.assert_array_equal(seepage.score(run, attacks.LiRA())[:, pool], alone)
    base = attacks.BASE().leave_one_out(loss, run.member)
    rmia = seepage.score(run, attacks.RMIA(population=attacks.Untrained()))
    for r in range(6):
        order = np.argsort(base[r, pool])
        assert (np.diff(rmia[r, pool][order]) >= 0).all()
