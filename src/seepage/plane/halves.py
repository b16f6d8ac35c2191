"""What two disjoint halves of a fleet agree on: movement and early signs without shared noise.

Targets of one fleet share references and neighbouring checkpoints share models. Where a sample hardly
leaks, which of its two fitted laws lies higher is chance, the decisions about all targets follow it,
and they turn together: rates move, and the samples that chance put on top stay there, though
nothing leaks. Taking off each target's own counting noise (`squared_speed`) leaves that in. Two
halves that share neither targets nor references do not share it either: a product of what they say
has the product of what is true as its mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import stats

from seepage.array_types import BoolArray, FloatArray, Int64Array
from seepage.attacks.base import Attack
from seepage.attacks.binding import bind, inputs
from seepage.errors import InputError
from seepage.plane.early import Top, Vulnerable, expected_recall
from seepage.plane.paths import Permuted, SignalSource
from seepage.plane.rates import points
from seepage.plane.resampling import Estimate, estimate
from seepage.plane.rules import NaturalThreshold, Rule, units

__all__ = ["Agreement", "agreement"]

Progress = Callable[[int, int], object]


@dataclass(frozen=True, eq=False)
class Agreement:
    """Speed and early determination from pairs of halves of a fleet; T checkpoints.

    squared_speed (T−1,): mean over samples of Δv_A·Δv_B / Δt², per epoch²; its mean is the squared
    speed of the expected place on the plane, and 0 where nothing leaks; may come out negative.
    mean_squared_speed (): its mean over training time. recall (T,): the share of the samples that one
    half finds vulnerable at the end which are among as many highest of the other half at t, ties in
    random order; chance (): what random samples would have. known (T,): (recall(t) − chance) /
    (recall(T) − chance), the part of what can be told at all that is told at t; no null, NaN where
    nothing can be told. models: of a half.

    *Our own proposal*: it measures the movement and the sets that arXiv 2507.23291 speaks of, at half
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
    fpr: list[FloatArray] = field(default_factory=list)
    tpr: list[FloatArray] = field(default_factory=list)

    def add(self, signals: dict[str, FloatArray], attack: Attack, rule: Rule) -> None:
        mine = {name: values[self.rows] for name, values in signals.items()}
        scores = attack.leave_one_out(mine, self.truth)
        state = points(rule.decide(scores, self.truth, attack), self.truth)
        self.fpr.append(state.fpr.astype(np.float32))
        self.tpr.append(state.tpr.astype(np.float32))


def agreement(
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
    progress: Progress | None = None,
) -> Agreement:
    """Halve the pairs of a fleet at random `splits` times and compare what the halves say.

    Every half is scored by itself: its targets and references are its own. vulnerable: `Top(0.05)`
    unless told. Intervals: delete-a-group jackknife over `groups` of pairs, everything scored anew
    without each, so that other references are part of what varies. null: permuted membership,
    `Permuted(draws=4)` unless told, at least 2. Runs without twin are left out. Work:
    2 · splits · (1 + groups + draws) scorings of half the fleet; memory: 8 bytes of rates for each
    of these, checkpoint and sample.

    Raises InputError with fewer than 8 complete pairs.
    """
    rule = NaturalThreshold() if rule is None else rule
    vulnerable = Top(0.05) if vulnerable is None else vulnerable
    null = Permuted(4, seed) if null is None else null
    if splits < 1 or groups < 2 or null.draws < 2:
        raise InputError(
            "splits, groups, null: expected at least 1, 2 and 2 draws, got "
            f"{splits}, {groups} and {null.draws}"
        )
    member = np.asarray(run.member, dtype=np.bool_)
    epochs = np.asarray(run.checkpoints, dtype=np.float64)
    unit = units(member)
    pairs = np.flatnonzero(np.bincount(unit) == 2)
    if len(pairs) < 8:
        raise InputError(
            f"models: expected at least 8 complementary pairs to halve, got {len(pairs)}; "
            "train more models"
        )
    if len(epochs) < 2:
        raise InputError("checkpoints: expected at least 2, got 1; record more of training")
    rng = np.random.default_rng(seed)
    left_out = [np.empty(0, dtype=np.int64), *np.array_split(rng.permutation(pairs), groups)]
    size = len(pairs) // 2
    cuts = [rng.permutation(pairs) for _ in range(splits)]
    sides = [(p[:size], p[size : 2 * size]) for p in cuts]

    def halves(truth: BoolArray, gone: Int64Array) -> list[tuple[_Half, _Half]]:
        def one(side: Int64Array) -> _Half:
            rows = np.flatnonzero(np.isin(unit, np.setdiff1d(side, gone)))
            return _Half(truth[rows], rows)

        return [(one(a), one(b)) for a, b in sides]

    attack = bind(attack, run)
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
    whole, without, permuted = found[0], found[1 : groups + 1], found[groups + 1 :]
    estimates = {
        name: _estimate(
            whole[name],
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
    return Agreement(epochs, **estimates, models=2 * size, splits=splits)


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
    """What the halves of every split say, averaged over splits."""
    spans = np.diff(epochs)
    rows: dict[str, list[Any]] = {"squared_speed": [], "recall": [], "chance": []}
    for a, b in splits:
        steps = [
            np.diff(np.stack([np.stack(h.fpr), np.stack(h.tpr)]).astype(np.float64), axis=1)
            for h in (a, b)
        ]
        rows["squared_speed"].append((steps[0] * steps[1]).sum(axis=0).mean(axis=-1) / spans**2)
        for final, early in ((a, b), (b, a)):
            n_in = final.truth.sum(axis=0)
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
    spread = stats.t.ppf(0.5 + level / 2, draws - 1) * permuted.std(axis=0, ddof=1)
    spread = spread * np.sqrt(1 + 1 / draws)
    centre = permuted.mean(axis=0)
    band = (np.clip(centre - spread, *within), np.clip(centre + spread, *within))
    return replace(
        e, null=np.asarray(centre), null_low=np.asarray(band[0]), null_high=np.asarray(band[1])
    )
