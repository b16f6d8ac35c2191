"""Scores of signals that are read in blocks, of some targets at a time: those of all at once."""

from __future__ import annotations

import numpy as np
import pytest

from attack_rows import TABLE
from seepage import attacks
from seepage.attacks import Attack, LiRA, StudentT
from seepage.attacks.base import TIMELESS
from seepage.attacks.groups import GroupedScores
from seepage.errors import InputError
from seepage.native.library import level
from seepage.plan import half_split

MODELS, SAMPLES, VIEWS = 12, 2_500, 2
EVERY = [a for rows in TABLE.values() for a in rows if a.in_blocks and not a.trajectory]


def _signals(attack: Attack) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Capped signals and members; some samples are IN no run, some in all."""
    rng = np.random.default_rng(5)
    member = half_split(SAMPLES, models=MODELS, seed=1).member.copy()
    member[:, 7:400:31], member[:, 9:2_000:57] = False, True
    shape = (MODELS, SAMPLES, VIEWS)
    drawn = rng.normal(size=shape) + member[..., None] * rng.random((SAMPLES, 1))
    signals = {}
    for name in attack.requires:
        signals[name] = (np.clip(drawn + 2.5, 0.5, 4.5) / 5).astype(np.float32)
        # The largest and the smallest value of all, which lie in the first block and in the last.
        signals[name][:8, 3], signals[name][:8, -2] = 0.95, 0.05
        if name in TIMELESS:
            signals[name] = np.tile(rng.integers(0, 3, SAMPLES), (MODELS, 1))
    return signals, member


@pytest.mark.parametrize("attack", EVERY, ids=lambda a: f"{a.name} {getattr(a, 'variance', '')}")
def test_blocks_score_as_the_whole(attack: Attack) -> None:
    signals, member = _signals(attack)
    whole = attack.leave_one_out(signals, member)
    grouped = GroupedScores.of(
        attack, lambda a, b: {k: v[:, a:b] for k, v in signals.items()}, member, most=6_000
    )
    assert grouped is not None
    some = [7, 0, 1, 10]
    # Means that centres are shrunk to are summed about another value.
    rounding = 1e-11 if isinstance(getattr(attack, "variance", None), StudentT) else 0.0
    rounding = rounding if getattr(attack, "variance", None) != StudentT() else 0.0
    np.testing.assert_allclose(grouped.rows(some), whole[some], rtol=rounding, atol=rounding)
    np.testing.assert_allclose(grouped.rows(range(MODELS)), whole, rtol=rounding, atol=rounding)


def test_the_families_that_are_scored_in_blocks() -> None:
    names = {a.name for a in EVERY}
    assert {"loss", "gap", "attack-r", "calibrated"} <= names
    if level() != "none":
        assert {"lira", "lira-offline-one-sided", "lira-offline-two-sided", "bavaria-n"} <= names
    assert not {"rmia", "attack-p", "base"} & names - {a.name for a in EVERY if a.by_sample}
    assert not LiRA(variance=attacks.Global()).in_blocks


def test_plans_whose_references_differ_by_sample_are_not() -> None:
    rng = np.random.default_rng(0)
    member = rng.permuted(np.arange(16)[:, None] + np.zeros((1, 500)), axis=0) < 8
    read = {"phi": rng.normal(size=member.shape).astype(np.float32)}
    assert GroupedScores.of(LiRA(), lambda a, b: {"phi": read["phi"][:, a:b]}, member) is None


def test_what_is_no_number_is_named_where_it_lies() -> None:
    signals, member = _signals(LiRA())
    phi = signals["phi"]
    phi[3, 2_222, 0] = np.nan
    if LiRA().in_blocks:
        with pytest.raises(InputError, match=r"the first at \(3, 2222\)"):
            GroupedScores.of(LiRA(), lambda a, b: {"phi": phi[:, a:b]}, member, most=6_000)
    grouped = GroupedScores.of(
        attacks.LiRA(variance=attacks.PerSample()), lambda a, b: {"phi": phi[:, a:b]}, member
    )
    assert grouped is not None
    with pytest.raises(InputError, match=r"the first at \(3, 2222\)"):
        grouped.rows([0])
    with pytest.raises(InputError, match="targets: expected rows of the run from 0 to 11"):
        grouped.rows([12])
