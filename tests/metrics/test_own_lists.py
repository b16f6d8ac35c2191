"""Lists of members that are those of other models are seen; honest ones and null models are not."""

from __future__ import annotations

import numpy as np
import pytest

from seepage.errors import InputError
from seepage.metrics.own_lists import FALSE_ALARMS, misfits
from seepage.plan import half_split, subsets


def _phi(member: np.ndarray, leak: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n = member.shape[1]
    return 2 * rng.normal(size=n) + leak * member + rng.normal(size=member.shape)


def test_permuted_lists_name_whose_they_are() -> None:
    true = half_split(300, models=8, seed=1).member
    phi = _phi(true, 2.0)
    assert misfits(phi, true) == ()
    order = np.array([2, 1, 0, 5, 4, 7, 6, 3])
    found = misfits(phi, true[order])
    # Model r holds list order[r]; its own lies in the row whose entry is r.
    place = np.argsort(order)
    assert [m.model for m in found] == [r for r in range(8) if order[r] != r]
    assert all(m.row == place[m.model] for m in found if not m.inverted)
    # In pairs the complement of a list is its partner's list: both name the same samples.
    for m in found:
        named = true[order][m.row] ^ m.inverted
        assert (named == true[m.model]).all()
        assert m.own < 0.6 < m.there


def test_inverted_lists_are_said_to_be_so() -> None:
    rng = np.random.default_rng(3)
    true = rng.random((5, 400)) < 0.5
    phi = _phi(true, 1.0)
    given = true.copy()
    given[2] = ~given[2]
    assert [(m.model, m.row, m.inverted) for m in misfits(phi, given)] == [(2, 2, True)]
    assert [m.inverted for m in misfits(phi, ~true)] == [True] * 5


def test_tuples_and_unequal_scales_are_no_misfit() -> None:
    true = subsets(300, models=8, parts=4, seed=0).member
    phi = _phi(true, 2.0) * np.linspace(0.3, 3, 8)[:, None]
    assert misfits(phi, true) == ()
    assert len(misfits(phi, np.roll(true, 1, axis=0))) == 8


def test_groups_are_compared_whole_where_lists_take_them_whole() -> None:
    """Records of a subject rise and fall together: as single samples they would be evidence."""
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(40), 50)
    alarms = 0
    for k in range(20):
        member = half_split(2000, models=4, seed=k, groups=groups).member
        phi = rng.normal(size=(4, 40))[:, groups] + 0.2 * rng.normal(size=(4, 2000))
        alarms += bool(misfits(phi, member))
        assert misfits(phi, member, groups) == ()
    assert alarms > 0


@pytest.mark.parametrize("kind", ["pairs", "independent", "tuples", "heavy tails"])
def test_fleets_that_leak_nothing_are_not_flagged(kind: str) -> None:
    """At a hundred times the level in use, no more alarms than that level promises."""
    rng = np.random.default_rng(5)
    alarms, fleets, n = 0, 250, 60
    for _ in range(fleets):
        if kind == "independent":
            member = rng.random((6, n)) < 0.5
        elif kind == "tuples":
            member = rng.permutation(n)[None] % 4 == np.arange(4)[:, None]
        else:
            halves = np.stack([rng.permutation(n) < n // 2 for _ in range(3)])
            member = np.concatenate([halves, ~halves])
        noise = (
            rng.standard_t(2, member.shape)
            if kind == "heavy tails"
            else rng.normal(size=member.shape)
        )
        phi = 3 * rng.normal(size=n) + noise
        alarms += bool(misfits(phi, member, level=100 * FALSE_ALARMS))
    assert alarms <= 100 * FALSE_ALARMS * fleets + 3


def test_what_cannot_be_compared_is_not_flagged() -> None:
    rng = np.random.default_rng(6)
    member = rng.random((3, 50)) < 0.5
    assert misfits(rng.normal(size=(1, 50)), member[:1]) == ()
    assert misfits(np.zeros((3, 50)), member) == ()
    assert misfits(np.full((3, 50), np.nan), member) == ()
    infinite = _phi(member, 9.0)
    infinite[member] = np.inf
    assert misfits(infinite, member) == ()
    assert len(misfits(infinite, ~member)) == 3
    with pytest.raises(InputError, match="same shape"):
        misfits(np.zeros((2, 50)), member)
