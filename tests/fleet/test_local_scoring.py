"""Which attacks may score blocks of samples apart from each other."""

from __future__ import annotations

import numpy as np
import pytest

from oracles import read_by
from seepage import attacks
from seepage.plan import half_split


def example(seed: int = 0, models: int = 12, samples: int = 30) -> tuple[dict, np.ndarray]:
    rng = np.random.default_rng(seed)
    member = half_split(samples, models=models, seed=seed).member
    phi = rng.normal(size=(models, samples, 1)) + member[..., None]
    return {
        "phi": phi, "loss": np.log1p(np.exp(-phi)), "mentr": np.exp(-phi),
        "correct": (phi > 0).astype(np.float64), "curvature": np.exp(-phi),
        "curvature_trace": np.exp(-phi), "entropy": np.exp(-phi),
    }, member  # fmt: skip


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_blocks_of_samples_are_the_whole_where_it_is_said(name: str) -> None:
    attack = attacks.get(name)
    if name == "lira":
        attack = attacks.LiRA(variance=attacks.PerSample())
    signals, member = example()
    if not set(attack.requires) <= {*signals, "labels", "logits"}:
        signals |= dict.fromkeys(attack.requires, signals["curvature"])
    signals = read_by(attack, signals)
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
