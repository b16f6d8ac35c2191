"""Speed and early determination from two disjoint halves of a fleet, free of shared noise.

Targets of one fleet share references, and neighbouring checkpoints share models. Where a sample
hardly leaks, chance decides which of its two fitted laws (IN, OUT) has the higher mean, and the
decisions about all targets follow it and change together. Rates then move, and samples that rank
high by chance keep their rank, although nothing leaks. Subtracting each target's own counting noise
(`squared_speed`) does not remove this shared noise. Two halves have neither targets nor references
in common, so their errors are independent and the mean of a product of their estimates is the
product of the true values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy

from seepage.array_types import BoolArray, FloatArray, Int64Array
from seepage.attacks.base import Attack
from seepage.attacks.binding import bind, inputs
from seepage.attacks.subjects import of_unit
from seepage.errors import InputError
from seepage.metrics import EACH, Subjects, Unit
from seepage.plan import partitions, tuples
from seepage.plane.early import TopShare, Vulnerable, expected_recall
from seepage.plane.paths import Permuted, SignalSource
from seepage.plane.rates import points
from seepage.plane.resampling import Estimate, estimate
from seepage.plane.rules import NaturalThreshold, Rule
from seepage.short_repr import short_repr

__all__ = ["SplitHalf", "split_half"]

Progress = Callable[[int, int], object]


@short_repr
@dataclass(frozen=True, eq=False)
class SplitHalf:
    """Speed and early determination estimated from two halves of a fleet; T checkpoints.

    squared_speed (T−1,): mean over samples of Δv_A·Δv_B / Δt², per epoch²; its mean is the squared
    speed of the expected place on the plane, and 0 where nothing leaks; may come out negative.
    mean_squared_speed (): its mean over training time. recall (T,): of the samples that one half
    finds vulnerable at the end, the share that is among as many highest of the other half at t,
    ties in random order; chance (): the recall of random samples. known (T,): (recall(t) − chance)
    / (recall(T) − chance), recall above chance relative to the last checkpoint; no null, NaN where
    the last recall does not exceed chance. models: of a half.

    *Our own proposal*: it measures the speed and the vulnerable sets of arXiv 2507.23291, at half
    the fleet's number of models.
    """

    checkpoints: FloatArray
    squared_speed: Estimate
    mean_squared_speed: Estimate
    recall: Estimate
    known: Estimate
    chance: Estimate
    models: int
    splits: int

    @property
    def speed(self) -> Estimate:
        """Root mean squared speed over samples and training time, per epoch; negative becomes 0."""
        return self.mean_squared_speed.root()

    @property
    def fraction(self) -> FloatArray:
        """Checkpoints as a fraction of training, (T,)."""
        return np.asarray(self.checkpoints / self.checkpoints[-1])


@dataclass(eq=False)
class _Half:
    """One half under one membership, with its rates so far."""

    truth: BoolArray
    rows: Int64Array
    unit: Unit
    fpr: list[FloatArray] = field(default_factory=list)
    tpr: list[FloatArray] = field(default_factory=list)

    def add(self, signals: dict[str, FloatArray], attack: Attack, rule: Rule) -> None:
        mine = {name: values[self.rows] for name, values in signals.items()}
        scores = of_unit(
            attack, attack.leave_one_out(mine, self.truth), mine, self.truth, self.unit
        )
        judged = np.asarray(self.unit.member(self.truth))
        state = points(rule.decide(scores, judged, attack), judged)
        self.fpr.append(state.fpr.astype(np.float32))
        self.tpr.append(state.tpr.astype(np.float32))


def split_half(
    run: SignalSource,
    *,
    attack: Attack,
    rule: Rule | None = None,
    vulnerable: Vulnerable | None = None,
    splits: int = 2,
    groups: int = 8,
    null: Permuted | None = None,
    level: float = 0.95,
    seed: int = 0,
    unit: Unit = EACH,
    progress: Progress | None = None,
) -> SplitHalf:
    """Halve the tuples of a fleet at random `splits` times and compare the halves.

    Every half is scored by itself: its targets and references are its own. vulnerable:
    `TopShare(0.05)` by default. Intervals: delete-a-group jackknife over `groups` of tuples,
    everything scored again without each group, so that the choice of references is part of the
    variation. null: permuted membership, `Permuted(draws=4)` by default, at least 2. Runs in no
    complementary tuple are left out. unit: with `Subjects(groups)` subjects are scored. Work: 2 · splits · (1 + groups + draws) scorings of half the
    fleet; memory: 8 bytes of rates for each of these, checkpoint and sample.

    Raises InputError with fewer than 8 complete tuples.
    """
    rule = NaturalThreshold() if rule is None else rule
    vulnerable = TopShare(0.05) if vulnerable is None else vulnerable
    null = Permuted(4, seed) if null is None else null
    if splits < 1 or groups < 2 or null.draws < 2:
        raise InputError(
            "splits, groups, null: expected at least 1, 2 and 2 draws, got "
            f"{splits}, {groups} and {null.draws}"
        )
    member = np.asarray(run.member, dtype=np.bool_)
    epochs = np.asarray(run.checkpoints, dtype=np.float64)
    tuple_of = partitions(member)
    whole = np.unique(tuple_of[tuples(member) >= 0])
    if len(whole) < 8:
        raise InputError(
            f"models: expected at least 8 complementary pairs or tuples to halve, got {len(whole)}; "
            "train more models"
        )
    if len(epochs) < 2:
        raise InputError("checkpoints: expected at least 2, got 1; record more of training")
    rng = np.random.default_rng(seed)
    left_out = [np.empty(0, dtype=np.int64), *np.array_split(rng.permutation(whole), groups)]
    size = len(whole) // 2
    cuts = [rng.permutation(whole) for _ in range(splits)]
    sides = [(p[:size], p[size : 2 * size]) for p in cuts]

    def halves(truth: BoolArray, gone: Int64Array) -> list[tuple[_Half, _Half]]:
        def one(side: Int64Array) -> _Half:
            rows = np.flatnonzero(np.isin(tuple_of, np.setdiff1d(side, gone)))
            return _Half(truth[rows], rows, unit)

        return [(one(a), one(b)) for a, b in sides]

    attack = bind(attack, run)
    if isinstance(unit, Subjects) and null.groups is None:
        null = replace(null, groups=unit.codes)
    # First the whole, then without each group, then permuted.
    replicates = [halves(member, gone) for gone in left_out]
    replicates += [halves(m, left_out[0]) for m in null.members(member)]
    for t in range(len(epochs)):
        signals = inputs(attack, run, t)
        for replicate in replicates:
            for both in replicate:
                for half in both:
                    half.add(signals, attack, rule)
        if progress is not None:
            progress(t + 1, len(epochs))
    found = [_statistics(r, epochs, vulnerable) for r in replicates]
    entire, without, permuted = found[0], found[1 : groups + 1], found[groups + 1 :]
    estimates = {
        name: _estimate(
            entire[name],
            np.stack([w[name] for w in without]),
            np.stack([p[name] for p in permuted]),
            level,
            within,
        )
        for name, within in _RANGES.items()
    }
    nowhere = np.full(len(epochs), np.nan)
    estimates["known"] = replace(
        estimates["known"], null=nowhere, null_low=nowhere, null_high=nowhere
    )
    return SplitHalf(
        epochs,
        **estimates,
        models=min(int(np.isin(tuple_of, a).sum()) for a, _ in sides),
        splits=splits,
    )


_RANGES: dict[str, tuple[float, float]] = {
    "squared_speed": (-np.inf, np.inf),
    "mean_squared_speed": (-np.inf, np.inf),
    "recall": (0, 1),
    "known": (-np.inf, np.inf),
    "chance": (0, 1),
}


def _statistics(
    splits: list[tuple[_Half, _Half]], epochs: FloatArray, vulnerable: Vulnerable
) -> dict[str, FloatArray]:
    """The statistics of every split, averaged over splits."""
    spans = np.diff(epochs)
    rows: dict[str, list[Any]] = {"squared_speed": [], "recall": [], "chance": []}
    for a, b in splits:
        steps = [
            np.diff(np.stack([np.stack(h.fpr), np.stack(h.tpr)]).astype(np.float64), axis=1)
            for h in (a, b)
        ]
        rows["squared_speed"].append((steps[0] * steps[1]).sum(axis=0).mean(axis=-1) / spans**2)
        for final, early in ((a, b), (b, a)):
            n_in = np.asarray(final.unit.member(final.truth)).sum(axis=0)
            chosen = vulnerable.select(final.fpr[-1], final.tpr[-1], len(final.truth) - n_in, n_in)
            gain = np.stack(early.tpr) - np.stack(early.fpr)
            rows["recall"].append(expected_recall(gain, chosen))
            rows["chance"].append(chosen.mean())
    out = {name: np.mean(values, axis=0) for name, values in rows.items()}
    out["mean_squared_speed"] = np.asarray(out["squared_speed"] @ spans / spans.sum())
    above = out["recall"] - out["chance"]
    with np.errstate(divide="ignore", invalid="ignore"):
        out["known"] = np.where(above[-1] > 0, above / above[-1], np.nan)
    return out


def _estimate(
    value: FloatArray,
    without: FloatArray,
    permuted: FloatArray,
    level: float,
    within: tuple[float, float],
) -> Estimate:
    groups, draws = len(without), len(permuted)
    error = np.sqrt((groups - 1) ** 2 / groups) * without.std(axis=0, ddof=1)
    e = estimate(value, error, [], level=level, freedom=groups - 1, within=within)
    spread = scipy.special.stdtrit(draws - 1, 0.5 + level / 2) * permuted.std(axis=0, ddof=1)
    spread = spread * np.sqrt(1 + 1 / draws)
    centre = permuted.mean(axis=0)
    band = (np.clip(centre - spread, *within), np.clip(centre + spread, *within))
    return replace(
        e, null=np.asarray(centre), null_low=np.asarray(band[0]), null_high=np.asarray(band[1])
    )
