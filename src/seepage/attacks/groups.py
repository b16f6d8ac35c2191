"""Leave-one-out scores of signals that are read in blocks, of some targets at a time.

Memory then holds membership, the scores of those targets and a block for each thread, however many
samples there are: what `Attack.leave_one_out` would hold of signals and scores is never there at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.base import Attack
from seepage.attacks.blocks import Block, Blocks, BlockScorer
from seepage.attacks.leaving import way_of
from seepage.attacks.reference_counts import references_by_sample
from seepage.errors import InputError
from seepage.plan import judged, partitions
from seepage.short_repr import short_repr

__all__ = ["GroupedScores", "can_be_grouped", "chosen_rows"]


@short_repr
@dataclass(frozen=True, eq=False)
class GroupedScores:
    """Scores of every model once the target, of which a few rows, or a block, are computed when asked.

    They are those of `Attack.leave_one_out`, bit for bit; of LiRA whose `StudentT` shrinks centres
    too, up to rounding. member (R, N) bool; lacking (N,): samples without references, which score 0.
    """

    attack: Attack
    member: BoolArray
    blocks: Blocks
    scorer: BlockScorer
    lacking: BoolArray

    @classmethod
    def of(
        cls,
        attack: Attack,
        read: Callable[[int, int], Mapping[str, FloatArray]],
        member: BoolArray,
        **size: int,
    ) -> GroupedScores | None:
        """Of a bound attack; None where its scores need all signals at once.

        read: (first, last) -> {name: (R, last − first[, A])}, called by several threads. Not for
        attacks that are not `in_blocks`, and plans without complementary tuples or independent
        draws, whose references differ from sample to sample. Passes over all blocks first where
        samples share something. size: `most`, as of `Blocks`. Raises InputError as `leave_one_out`.
        """
        partition = partitions(member)
        if not _possible(attack, member, partition):
            return None
        use = np.asarray(partition[:, None] != partition[None, :])
        if attack.min_in or attack.min_out:
            together = int(np.bincount(partition, minlength=1).max())
            inside, outside = references_by_sample(member)
            attack._enough(inside, outside, judged(member), len(member), together)
        lacking = attack._lacking(member)

        def checked(first: int, last: int) -> dict[str, FloatArray]:
            found = attack._gather(read(first, last), "signal", axes=2)
            attack._finite(found, np.ones((len(member), last - first), np.bool_), "signal", first)
            return found

        apart = attack.aligns and bool(lacking.any())
        rows = np.flatnonzero(~lacking) if apart else None
        blocks = Blocks(checked, member, rows, **size)
        return cls(attack, member, blocks, attack.by_blocks(blocks, use), lacking)

    def over(self, call: Callable[[Block, Float64Array], None], targets: ArrayLike = ()) -> None:
        """Call with every block and the scores of `targets` there (G, n), by default of all; over threads.

        Samples without references that are left out (`blocks.rows`) are in no block.
        """
        chosen = np.asarray(targets, np.int64)
        chosen = chosen if chosen.size else np.arange(len(self.member))
        lacking = None if self.blocks.rows is not None else self.lacking

        def one(block: Block) -> None:
            shape = (len(chosen), block.member.shape[1])
            given = (block.signals, block.member, chosen)
            own = None if lacking is None else lacking[block.at]
            scores = self.attack._called(shape, self.scorer, *given, lacking=own)
            call(block, np.asarray(scores, np.float64))

        self.blocks.over(one)

    def rows(self, targets: ArrayLike) -> Float64Array:
        """Scores of some targets: (G, N). One pass over all blocks."""
        chosen = chosen_rows(targets, len(self.member))
        out = np.zeros((len(chosen), self.member.shape[1]))
        at = self.blocks.rows

        def put(block: Block, scores: Float64Array) -> None:
            out[:, block.at if at is None else at[block.at]] = scores

        self.over(put, chosen)
        return out


def can_be_grouped(attack: Attack, member: BoolArray) -> bool:
    """Whether `GroupedScores.of` has scores of a bound attack under this membership (R, N)."""
    return _possible(attack, member, partitions(member))


def _possible(attack: Attack, member: BoolArray, partition: Int64Array) -> bool:
    if not attack.in_blocks or attack.trajectory:
        return False
    needs = attack.min_in or attack.min_out
    return not needs or way_of(member, partition) in ("tuples", "independent")


def chosen_rows(targets: ArrayLike, models: int) -> Int64Array:
    """Rows of a run that were asked for, (G,); raises InputError for what is none."""
    chosen = np.asarray(targets)
    if (
        chosen.ndim != 1
        or not chosen.size
        or chosen.dtype.kind not in "iu"
        or chosen.min() < 0
        or chosen.max() >= models
    ):
        raise InputError(
            f"targets: expected rows of the run from 0 to {models - 1}, at least one, got "
            f"{targets!r:.60}"
        )
    return chosen.astype(np.int64)
