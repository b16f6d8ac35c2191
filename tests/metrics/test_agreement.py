"""Agreement of attacks and stability of decisions, against sets and pairs counted one by one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from seepage.errors import InputError
from seepage.findings.agreement import agreement_of
from seepage.findings.judging import Judging
from seepage.metrics import agreement, called_members, decision_stability
from seepage.plan import half_split


def _drawn(seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    member = half_split(60, models=8, seed=seed).member
    rates = (0.5, 0.3, 0.1)
    return {f"a{k}": rng.random(member.shape) < r for k, r in enumerate(rates)}, member


def test_it_is_what_sets_give() -> None:
    said, member = _drawn()
    found = agreement(said, member)
    pairs = [set(map(tuple, np.argwhere(d & member))) for d in said.values()]
    for a, b in combinations(range(3), 2):
        assert found.jaccard[a, b] == len(pairs[a] & pairs[b]) / len(pairs[a] | pairs[b])
        assert found.low[a, b] < found.jaccard[a, b] < found.high[a, b]
    whole = int(member.sum())
    assert found.coverage.mean == pytest.approx(len(set.union(*pairs)) / whole)
    assert found.by_all.mean == pytest.approx(len(set.intersection(*pairs)) / whole)
    some = np.logical_or.reduce(list(said.values()))
    assert found.false_coverage == some[~member].mean()
    for pattern, inside, outside in zip(found.patterns, found.inside, found.outside, strict=True):
        of = np.logical_and.reduce(
            [d if p else ~d for d, p in zip(said.values(), pattern, strict=True)]
        )
        assert (inside, outside) == ((of & member).sum(), (of & ~member).sum())
    assert found.inside.sum() + found.outside.sum() == some.sum()
    assert (np.diff(found.inside) <= 0).all()


def test_attacks_that_know_nothing_of_each_other_share_what_chance_gives() -> None:
    rng = np.random.default_rng(3)
    member = half_split(20_000, models=8, seed=0).member
    found = agreement(
        {"a": rng.random(member.shape) < 0.2, "b": rng.random(member.shape) < 0.1}, member
    )
    assert abs(found.jaccard[0, 1] - found.chance[0, 1]) < 0.003
    assert found.low[0, 1] < 0.02 / 0.28 < found.high[0, 1]
    same = agreement({"a": member, "b": member}, member)
    assert (same.jaccard[0, 1], same.coverage.mean, same.false_coverage) == (1, 1, 0)
    none = agreement({"a": ~member, "b": ~member}, member)
    assert np.isnan(none.jaccard[0, 1])


def test_stability_is_what_pairs_of_models_give() -> None:
    said, member = _drawn(1)
    d = said["a0"]
    found = decision_stability(d, member)
    both = some = 0
    flips = []
    for i in range(member.shape[1]):
        rows = np.flatnonzero(member[:, i])
        pairs = [(d[r, i], d[s, i]) for r, s in combinations(rows, 2)]
        both += sum(a and b for a, b in pairs)
        some += sum(a or b for a, b in pairs)
        flips.append(np.mean([a != b for a, b in pairs]))
    assert found.again == both / some
    assert found.flips == pytest.approx(np.mean(flips))
    assert np.isnan(found.coins)  # four models trained on each: no test could refute a coin


def test_coins_are_taken_for_coins_and_sure_decisions_are_not() -> None:
    rng = np.random.default_rng(0)
    member = np.ones((40, 3000), dtype=bool)
    coins = rng.random(member.shape) < 0.5
    found = decision_stability(coins, member)
    assert 0.94 < found.coins <= 0.98
    assert abs(found.flips - found.flips_by_chance) < 0.005
    assert abs(found.again - found.again_by_chance) < 0.005
    sure = decision_stability(np.broadcast_to(np.arange(3000) < 300, member.shape), member)
    assert (sure.coins, sure.flips, sure.again) == (0, 0, 1)


def test_who_is_called_a_member_is_what_the_rate_counts() -> None:
    rng = np.random.default_rng(0)
    member = half_split(200, models=8, seed=0).member
    scores = rng.normal(size=member.shape) + 2 * member
    said = called_members(scores, member, 0.05)
    assert said is not None
    judging = Judging(member)
    (at,) = judging.pooled(scores, [0.05])
    assert at.realised == said[~member].mean()
    assert at.tpr.mean == pytest.approx(said[member].mean())
    assert called_members(scores, member, 1e-6) is None


def test_a_union_is_compared_at_its_own_false_positive_rate() -> None:
    rng = np.random.default_rng(0)
    member = half_split(400, models=8, seed=0).member
    leak = member & (np.arange(400) < 100)
    a, b = (rng.normal(size=member.shape) + 4 * leak for _ in range(2))
    found = agreement_of(
        {"a": a, "b": b, "noise": rng.normal(size=member.shape)}, Judging(member), most=2
    )
    assert found is not None
    assert set(found.found.attacks) == {"a", "b"}
    assert found.strongest_of == 3
    name, share = found.alone
    s = {"a": a, "b": b}[name]
    passing = round(found.found.false_coverage * int((~member).sum()))
    cut = np.sort(s[~member])[::-1][passing]
    assert share == (s[member] > cut).mean()
    assert found.found.coverage.mean > max(e.mean for e in found.found.found)
    assert agreement_of({"a": a}, Judging(member)) is None


def test_other_shapes_are_refused() -> None:
    said, member = _drawn()
    for wrong, truth in (
        ({"a": said["a0"]}, member),
        ({"a": said["a0"], "b": said["a1"][:2]}, member),
        ({"a": said["a0"], "b": said["a1"].astype(float)}, member),
        (said, member.astype(int)),
    ):
        with pytest.raises(InputError, match="expected"):
            agreement(wrong, truth)
    with pytest.raises(InputError, match="of one shape"):
        decision_stability(said["a0"][:2], member)
