"""ε of a run: of its fleet, of one model, of one sample, beside what the accountant says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.attacks import Attack
from seepage.epsilon import (
    FDP,
    Bonferroni,
    Bound,
    PairEstimate,
    gaussian_pair,
    multi_run,
)
from seepage.epsilon.one_run import ceiling_of_runs, epsilon_of_runs, joint_epsilon
from seepage.errors import InputError
from seepage.findings.accountant import spent_most
from seepage.metrics import EACH, Unit
from seepage.plan import judged, tuples
from seepage.scoring import score

__all__ = [
    "LargestEpsilon",
    "RunEpsilon",
    "epsilon_of_run",
    "epsilon_of_sample",
    "largest_epsilon",
    "one_of_each",
]


@dataclass(frozen=True)
class RunEpsilon:
    """Lower bounds on ε at `delta` from every target of a run, or from one of them.

    bound: by 2305.08846, joint over `models` targets, each audited alone; guesses: of the
    ceiling if the bound is at it, else None. gaussian: by 2410.22235 with Gaussian curves, a bound only
    where the mechanism is exactly as private as a Gaussian one. estimate: of the first target, no bound.
    units: samples or subjects audited. spent, spent_holds: ε of the accountant at the same δ, and
    whether it is a guarantee; None without one.
    """

    attack: str
    models: int
    units: int
    level: float
    delta: float
    bound: float
    guesses: int | None
    gaussian: float
    estimate: PairEstimate
    spent: float | None
    spent_holds: bool

    @property
    def refutes_the_accountant(self) -> bool:
        """Whether the bound lies above what the accountant promises."""
        return self.spent is not None and self.bound > self.spent


@dataclass(frozen=True)
class LargestEpsilon:
    """The largest lower bound on ε at `delta` that one of `compared` attacks gives, at `level`.

    ceiling: what a perfect attack would give, the most that so many guesses can show. models:
    targets that are audited, each alone; units: samples or subjects guessed about.
    """

    attack: str
    compared: int
    bound: float
    ceiling: float
    models: int
    units: int
    level: float
    delta: float


def largest_epsilon(
    scores: Mapping[str, Float64Array],
    member: BoolArray,
    *,
    delta: float = 1e-5,
    level: float = 0.95,
    target: int | None = None,
) -> LargestEpsilon:
    """The largest bound of m attacks, each at 1 − (1 − level)/m, so that the choice is paid for.

    scores: attack -> (R, N), as of `epsilon_of_run`; member (R, N) bool; target: one row alone.
    Every target is audited by itself and the bounds are joined (`seepage.epsilon.one_run`).
    Samples that every run trained on, or none, had no coin of their own and are left out.

    Raises InputError as `seepage.epsilon.one_run_from_scores`: for tuples of more than two runs, and
    membership that fair coin flips hardly give.

    >>> member = np.random.default_rng(0).random((6, 400)) < 0.5
    >>> noise = np.random.default_rng(1).normal(size=member.shape)
    >>> found = largest_epsilon({"noise": noise, "leak": noise + 9.0 * member}, member)
    >>> found.attack, found.bound == found.ceiling
    ('leak', True)
    """
    at = judged(np.asarray(member, dtype=np.bool_))
    rows = slice(None) if target is None else slice(target, target + 1)
    y = np.asarray(member, dtype=np.bool_)[rows][:, at]
    each = 1 - (1 - level) / len(scores)
    # One target alone needs no half of the error for the others.
    each = each if target is None else 1 - 2 * (1 - each)

    def joint(s: Float64Array, d: float) -> float:
        return joint_epsilon(epsilon_of_runs(s, y, delta=d, level=each))

    own = {a: np.asarray(s, dtype=np.float64)[rows][:, at] for a, s in scores.items()}
    # At δ = 0 the bound has a closed form and is never smaller: most attacks are done with by it.
    most = {a: joint(s, 0.0) for a, s in own.items()}
    best, bound = "", -1.0
    for a in sorted(own, key=lambda name: -most[name]):
        if most[a] <= bound:
            break
        found = joint(own[a], delta) if delta > 0 else most[a]
        if found > bound:
            best, bound = a, found
    ceiling = joint(y.astype(np.float64), delta)
    return LargestEpsilon(
        best, len(own), bound, ceiling, len(y), y.shape[1], level, delta
    )  # fmt: skip


def epsilon_of_run(
    run: Any,
    attack: Attack,
    *,
    checkpoint: int = -1,
    target: int | None = None,
    delta: float = 1e-5,
    level: float = 0.95,
    unit: Unit = EACH,
    seed: int = 0,
) -> RunEpsilon:
    """Audit every model of a run as one training run each, or `target` alone (an index of usable runs).

    attack: scored with the target's tuple left out, so that no reference knows its coins. unit: with
    `Subjects` the bounds are on the ε of adding or removing a subject. seed: of the permuted
    membership behind the estimate. Plans of halves put a fixed number of samples in: the bound is then
    nearly, not exactly, that of independent coins, and of *exchanging* samples. Raises InputError for plans
    of larger tuples.
    """
    scores, member = score(run, attack, checkpoint, unit=unit), np.asarray(unit.member(run.member))
    if not 0.5 < level < 1:
        raise InputError(f"level: expected a number between 0.5 and 1, got {level}; use 0.95")
    if target is not None:
        if not 0 <= target < len(scores):
            raise InputError(
                f"target: expected a usable run from 0 to {len(scores) - 1}, got {target}"
            )
        scores, member = scores[[target]], member[[target]]
    # One target alone needs no half of the error for the others.
    each = level if target is None else 1 - 2 * (1 - level)
    binomial = epsilon_of_runs(scores, member, delta=delta, level=each)
    curve = epsilon_of_runs(scores, member, delta=delta, level=each, analysis=FDP())
    bound = joint_epsilon(binomial)
    facts = spent_most(run)
    same = facts is not None and facts["delta"] == delta and facts["epsilon"] is not None
    return RunEpsilon(
        attack.title,
        len(scores),
        scores.shape[1],
        level,
        delta,
        bound,
        ceiling_of_runs(bound, scores.shape[1], delta=delta, level=each),
        joint_epsilon(curve),
        gaussian_pair(scores[0], member[0], np.random.default_rng(seed), delta=delta, draws=20),
        float(facts["epsilon"]) if facts is not None and same else None,
        bool(facts["epsilon_holds"]) if facts is not None else False,
    )


def one_of_each(member: BoolArray, sample: int, generator: np.random.Generator) -> Int64Array:
    """Runs (n,) that are independent trials of one sample: one of every complementary tuple.

    Which one is drawn so that half of the tuples give the run that trained on it; runs of no tuple
    are all taken. member (R, N).

    >>> member = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=bool)
    >>> rows = one_of_each(member, 0, np.random.default_rng(0))
    >>> member[rows, 0].sum(), len(rows)
    (np.int64(1), 2)
    """
    which = tuples(member)
    rows = np.flatnonzero(which < 0).tolist()
    for k, one in enumerate(generator.permutation(which.max(initial=-1) + 1).tolist()):
        held = np.flatnonzero((which == one) & (member[:, sample] == (k % 2 == 0)))
        rows.append(int(generator.choice(held)))
    return np.sort(np.array(rows, dtype=np.int64))


def epsilon_of_sample(
    run: Any,
    sample: int,
    *,
    signal: str = "phi",
    checkpoint: int = -1,
    delta: float = 1e-5,
    level: float = 0.95,
    seed: int = 0,
) -> Bound:
    """`multi_run` of one sample over the models of a run, from its raw signal.

    The signal needs no references, so that the trials, one run of every complementary tuple, are
    independent and the bound is exact; that leaves R/2 trials of R models in pairs, and a low ceiling:
    `seepage.epsilon.models_needed` says beforehand how many models a bound needs. sample: a column;
    signal: higher = more likely a member, a mean over views. Plans of halves *exchange* the sample for
    others; the ε is of that.
    """
    member = np.asarray(run.member)
    rows = one_of_each(member, sample, np.random.default_rng(seed))
    values = np.asarray(run.signal_at(signal, checkpoint % len(run.checkpoints)), np.float64)
    if values.ndim == 3:
        values = values.mean(axis=2)
    return multi_run(
        values[rows, sample],
        member[rows, sample],
        delta=delta,
        level=level,
        threshold=Bonferroni(8),
    )
