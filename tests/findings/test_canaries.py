"""Canaries of a run: exposure against closed forms, and ε by coins that shuffling leaves nothing of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seepage.epsilon.one_run import epsilon_of_runs, joint_epsilon
from seepage.errors import InputError
from seepage.findings.canaries import canaries_of_run, canary_finding, canary_rows
from seepage.tokens import exposure, exposure_by_chance, secret_logp

REPEATS = (1, 4, 16)


def source(logp: np.ndarray, member: np.ndarray, repeats: np.ndarray, checkpoints: Any) -> Any:
    """A run of documents of two tokens, the second one secret: logp (R, T, N), the canaries are the last."""
    count, n = len(repeats), member.shape[1]
    told = {
        "index": list(range(n - count, n)),
        "kind": ["random"] * count,
        "repeats": repeats.tolist(),
        "begin": [1] * count,
    }
    return SimpleNamespace(
        path="run",
        member=member,
        checkpoints=np.array(checkpoints, dtype=float),
        offsets=np.arange(n + 1),
        ids=np.array([f"t{i}" for i in range(n)]),
        manifest={"plan": {"canaries": told}, "signals": {"token_logp": {}}},
        token_signal=lambda name, r, t: logp[r, t].astype(np.float32),
    )


def test_exposure_of_a_unigram_model_grows_with_repeats_as_counts_say() -> None:
    """A model that counts tokens: token v occurs v times in every training set, and k times more in a canary."""
    others, each = 63, 8
    rng = np.random.default_rng(0)
    base = rng.permutation(np.arange(1, 1001))[: others + 3 * each]
    # The canaries' tokens are spread among the candidates'.
    place = rng.permutation(len(base))
    # By a half, so that none of their counts is a canary's.
    own, rest = base[place[: 3 * each]], base[place[3 * each :]] + 0.5
    repeats = np.concatenate([np.repeat(REPEATS, each), np.zeros(others, dtype=int)]) * 40
    member = np.zeros((6, 3 * each + others), dtype=bool)
    coins = rng.random((3, 3 * each)) < 0.5
    member[0::2, : 3 * each], member[1::2, : 3 * each] = coins, ~coins
    counts = np.concatenate([own, rest]) + member * repeats
    before = np.tile(np.concatenate([own, rest]), (6, 1))
    logp = np.stack([np.log(c / c.sum(axis=1, keepdims=True)) for c in (before, counts)], axis=1)
    f = canaries_of_run(source(logp, member, repeats, [0, 1]))
    assert [g.repeats for g in f.groups] == [40, 160, 640]
    assert f.candidates == others
    assert f.most == pytest.approx(6)
    for g, k in zip(f.groups, (40, 160, 640), strict=True):
        at = np.flatnonzero(repeats == k)
        with_it = np.array([6 - np.log2(1 + (rest > own[c] + k).sum()) for c in at])
        without = np.array([6 - np.log2(1 + (rest > own[c]).sum()) for c in at])
        inside = member[:, at]
        assert g.held.mean[1] == pytest.approx(
            np.mean([with_it[inside[r]].mean() for r in range(6)])
        )
        assert g.held.mean[0] == pytest.approx(
            np.mean([without[inside[r]].mean() for r in range(6)])
        )
        assert g.out.mean[1] == pytest.approx(
            np.mean([without[~inside[r]].mean() for r in range(6)])
        )
        assert g.each[1] == pytest.approx(with_it)
        assert g.held.low[1] <= g.held.mean[1] <= g.held.high[1]
    means = [g.held.mean[1] for g in f.groups]
    assert means == sorted(means)
    assert means[0] + 1 < means[2]
    # What training added gives every coin away: as much is shown as whoever knows the coins could show.
    assert f.from_start
    coins = member[:, : 3 * each]
    assert f.epsilon == joint_epsilon(epsilon_of_runs(coins.astype(float), coins)) > 0.5
    rows = canary_rows(f)
    assert rows[0][:3] == ("random", "40", "8")
    assert f.summary()["groups"][2]["repeats"] == 640


def drawn(seed: int, leak: float, repeats: np.ndarray | None = None) -> Any:
    rng = np.random.default_rng(seed)
    often = np.concatenate([np.ones(60, dtype=int), np.zeros(255, dtype=int)]) if repeats is None else repeats  # fmt: skip
    member = np.zeros((4, len(often)), dtype=bool)
    coins = rng.random((2, len(often))) < 0.5
    member[0::2], member[1::2] = coins & (often > 0), ~coins & (often > 0)
    logp = -rng.exponential(3.0, size=(4, 1, len(often))) - 5.0
    logp[:, 0] += leak * member
    return source(np.minimum(logp, -1e-3), member, often, [3])


def test_a_canary_that_no_model_saw_has_the_bits_of_chance() -> None:
    found = [canaries_of_run(drawn(s, 0.0)).groups[0] for s in range(40)]
    held, out = (np.array([getattr(g, side).mean[0] for g in found]) for side in ("held", "out"))
    chance = exposure_by_chance(255)
    assert chance == pytest.approx(np.log2(np.e), abs=0.03)
    for bits in (held, out):
        assert abs(bits.mean() - chance) < 4 * bits.std() / np.sqrt(40)


def test_the_bits_of_chance_are_the_mean_over_ranks() -> None:
    for m in (1, 7, 100):
        others = np.arange(m) + 0.5
        # The canary at every place among the others.
        ranks = [exposure([v], others)[0] for v in np.arange(m + 1.0)]
        assert exposure_by_chance(m) == pytest.approx(np.mean(ranks))
    with pytest.raises(InputError, match="others"):
        exposure_by_chance(0)


def test_shuffled_coins_show_no_epsilon_more_often_than_the_level_says() -> None:
    bounds = np.array(
        [canaries_of_run(drawn(s, 0.0), target=0, level=0.9).epsilon for s in range(300)]
    )
    # At most one in ten, and three standard errors.
    assert (bounds > 0).mean() <= 0.1 + 3 * np.sqrt(0.09 / 300)
    given = drawn(0, 30.0)
    leaking = canaries_of_run(given, target=0)
    coins = given.member[:1, :60]
    assert leaking.epsilon == epsilon_of_runs(coins.astype(float), coins, level=0.9)[0] > 1.5
    assert leaking.models == 1
    # Jointly over runs the same guesses are held to half of the error each.
    assert 0 < canaries_of_run(drawn(0, 30.0)).epsilon < leaking.epsilon


def test_the_secret_of_a_document_is_summed_from_where_it_begins() -> None:
    logp, offsets = -np.arange(1.0, 10.0), np.array([0, 2, 5, 9])
    rows, begin = np.array([2, 0, 1]), np.array([3, 1, 3])
    assert secret_logp(logp, offsets, rows, begin).tolist() == [-17.0, -3.0, -5.0]
    assert secret_logp(logp, offsets, rows[:0], begin[:0]).shape == (0,)
    for wrong in (0, 4):
        with pytest.raises(InputError, match="begin"):
            secret_logp(logp, offsets, np.array([1]), np.array([wrong]))


def test_runs_without_canaries_or_tokens_are_refused() -> None:
    run = drawn(0, 0.0)
    with pytest.raises(InputError, match="target: expected a usable run from 0 to 3, got 4"):
        canaries_of_run(run, target=4)
    with pytest.raises(InputError, match="level: expected"):
        canaries_of_run(run, level=0.5)
    run.manifest["signals"] = {}
    with pytest.raises(InputError, match="expected log p of every token"):
        canaries_of_run(run)
    assert canary_finding(run) is None
    run.manifest["plan"]["canaries"] = {"index": [0], "kind": ["blank"]}
    with pytest.raises(InputError, match="with canaries that its plan added"):
        canaries_of_run(run)
    assert canary_finding(run) is None
