"""Which attacks may score blocks of samples apart from each other."""

from __future__ import annotations

import numpy as np
import pytest

from attack_rows import TABLE
from oracles import leaking_signals, read_by
from seepage import attacks
from seepage.plan import half_split


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_blocks_of_samples_are_the_whole_where_it_is_said(name: str) -> None:
    attack = TABLE[name][0]
    if name == "lira":
        attack = attacks.LiRA(variance=attacks.PerSample())
    member = half_split(30, models=12, seed=0).member
    signals = read_by(attack, leaking_signals(np.random.default_rng(0), member))
    whole = attack.leave_one_out(signals, member)
    parts = np.concatenate(
        [
            attack.leave_one_out({k: v[:, a:b] for k, v in signals.items()}, member[:, a:b])
            for a, b in ((0, 11), (11, 30))
        ],
        axis=1,
    )
    same = np.allclose(whole, parts, rtol=1e-9, atol=1e-9)
    assert same or not attack.by_sample


def test_what_has_a_population_or_pools_is_never_cut_by_sample() -> None:
    assert attacks.LiRA(variance=attacks.PerSample()).by_sample
    for attack in (
        attacks.LiRA(),
        attacks.LiRA(variance=attacks.Global()),
        attacks.RMIA(),
        attacks.AttackP(),
    ):
        assert not attack.by_sample
