"""Counts of replicates by whole words: against unpacked decisions, at every level of the kernels."""

from __future__ import annotations

import numpy as np
import pytest

from seepage.native.library import LEVELS, limited
from seepage.plan import half_split
from seepage.plane import Bootstrap, ByAdvantage, Grid, HighRegion, TopShare
from seepage.plane.lattice import PackedPairs, chosen_sets, kept, lattice_sums, tally_of
from seepage.plane.population import _table


def fleet(samples: int, models: int, checkpoints: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(samples)
    member = half_split(samples, models=models, seed=0).member
    lasting = rng.normal(size=member.shape)
    noise = rng.normal(size=(checkpoints, *member.shape))
    return member, lasting + noise + 0.7 * (member - 0.5) >= 0


def counted(decisions: np.ndarray, member: np.ndarray, rows: np.ndarray) -> tuple:
    said, truth = decisions[:, rows], member[rows]
    return (said & truth).sum(axis=1), (said & ~truth).sum(axis=1)


@pytest.mark.parametrize("at", LEVELS)
@pytest.mark.parametrize(("models", "cuts"), [(12, (0.0, 0.5)), (14, (-0.2, 0.0, 0.2, 0.4, 0.6))])
def test_sums_equal_those_of_unpacked_decisions(models, cuts, at):
    # More than one strip of words and a rest; regions few and many.
    member, decisions = fleet(2501, models, 3)
    regions, grid = ByAdvantage(cuts), Grid(9)
    weights = Bootstrap(5, seed=1).weights(models // 2)[1:]
    chosen = kept(weights)
    m = chosen.shape[1]
    table = _table(m, regions, grid)
    packed = np.packbits(decisions, axis=2)
    pairs = PackedPairs.of(packed, member, slice(0, 2501))
    with limited(level=at, threads=2):
        found = lattice_sums(pairs, chosen, table, len(grid), len(regions))
    from seepage.plan import partitions

    part = partitions(member)
    turned = decisions[1:] ^ decisions[:-1]
    for b, of in enumerate(chosen):
        rows = np.flatnonzero(np.isin(part, of))
        hits_in, hits_out = counted(decisions, member, rows)
        code = table[hits_out, hits_in]
        region = (code >> 16).astype(int)
        for t in range(3):
            np.testing.assert_allclose(
                found.centre[b, t], [hits_out[t].sum() / m, hits_in[t].sum() / m], rtol=1e-15
            )
            cells = np.bincount(code[t] & 0xFFFF, minlength=len(grid))
            np.testing.assert_array_equal(found.cells[b, t], cells)
            moves = np.zeros((len(regions), len(regions)), int)
            np.add.at(moves, (region[max(t - 1, 0)] if t else region[0], region[t]), 1)
            np.testing.assert_array_equal(found.moves[b, t], moves)
            if t:
                step = hits_in[t] - hits_in[t - 1], hits_out[t] - hits_out[t - 1]
                square = step[0] ** 2 + step[1] ** 2
                np.testing.assert_allclose(found.steps[b, t], np.sqrt(square).sum() / m, rtol=1e-13)
                free = (square.sum() - turned[t - 1][rows].sum()) / (m * (m - 1))
                np.testing.assert_allclose(found.squares[b, t], free, rtol=1e-13)
    assert not found.steps[:, 0].any()
    assert not found.squares[:, 0].any()


@pytest.mark.parametrize("at", LEVELS)
def test_sets_equal_those_of_unpacked_decisions(at):
    member, decisions = fleet(2100, 14, 4)
    pairs = PackedPairs.of(np.packbits(decisions, axis=2), member, slice(0, 2100))
    chosen = kept(Bootstrap(4, seed=2).weights(7)[1:])
    m = chosen.shape[1]
    rates = np.arange(m + 1) / m
    x, y = np.meshgrid(rates, rates, indexing="ij")
    high, top = HighRegion(ByAdvantage((0.0, 0.3))), TopShare(0.07)
    with limited(level=at, threads=3):
        by_table = chosen_sets(pairs, chosen, table=high.select(x, y, m, m))
        by_rank = chosen_sets(pairs, chosen, keep=top.size(2100))
    from seepage.plan import partitions

    part = partitions(member)
    for b, of in enumerate(chosen):
        hits_in, hits_out = counted(decisions, member, np.flatnonzero(np.isin(part, of)))
        for found, vulnerable in ((by_table, high), (by_rank, top)):
            sets = vulnerable.select(hits_out / m, hits_in / m, m, m)
            assert 0 < sets[-1].sum() < 2100
            np.testing.assert_array_equal(found[:, b], tally_of(sets))


@pytest.mark.parametrize("at", LEVELS)
def test_counts_beyond_a_byte(at):
    """Of 600 pairs more than 255 call a sample a member."""
    rng = np.random.default_rng(0)
    inside = rng.integers(0, 2**63, size=(1, 600, 32), dtype=np.uint64)
    inside |= inside << np.uint64(1)
    outside = rng.integers(0, 2**63, size=inside.shape, dtype=np.uint64)
    pairs = PackedPairs(inside, outside, np.zeros((1, 600), np.int64), 2048)
    bits_in, bits_out = (
        np.unpackbits(a[0].view(np.uint8), axis=1).sum(axis=0) for a in (inside, outside)
    )
    assert bits_in.max() > 400
    chosen = np.arange(600)[None]
    # A region of its own for every count of members, modulo 300, and a cell for non-members.
    at_in, at_out = np.arange(601) % 300, np.arange(601) % 250
    table = (at_in[None, :] * 2**16 + at_out[:, None]).astype(np.uint32)
    with limited(level=at):
        found = lattice_sums(pairs, chosen, table, 250, 300)
        sets = chosen_sets(pairs, chosen, keep=100)
    np.testing.assert_array_equal(found.cells[0, 0], np.bincount(at_out[bits_out], minlength=250))
    here = np.bincount(at_in[bits_in], minlength=300)
    np.testing.assert_array_equal(np.diag(found.moves[0, 0]), here)
    gain = bits_in.astype(int) - bits_out
    assert sets[1, 0, 0] == (gain >= np.sort(gain)[-100]).sum()


def test_levels_and_threads_give_the_same_bits():
    member, decisions = fleet(3000, 16, 3)
    pairs = PackedPairs.of(np.packbits(decisions, axis=2), member, slice(0, 3000))
    chosen = kept(Bootstrap(9, seed=1).weights(8)[1:])
    table = _table(4, ByAdvantage(), Grid(20))
    found = []
    for at in LEVELS[1:]:
        with limited(level=at, threads=len(found) + 1):
            found.append(lattice_sums(pairs, chosen, table, 400, 3))
    for other in found[1:]:
        for name, value in vars(found[0]).items():
            np.testing.assert_array_equal(getattr(other, name), value, err_msg=name)
