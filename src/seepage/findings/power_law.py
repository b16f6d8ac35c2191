"""The power law of a recipe: runs that differ in examples per class, measured by one attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from seepage.attacks import Attack
from seepage.errors import InputError
from seepage.findings.judging import Judging
from seepage.findings.result import AtFpr
from seepage.findings.unjudged import unjudged
from seepage.metrics import Samples
from seepage.metrics.power_law import PowerLaw, power_law
from seepage.scoring import score

__all__ = ["AtShots", "PowerLawFinding", "power_law_of_runs"]

# How far the share of the pool that models train on may differ between runs of one law.
_ALIKE = 0.02


@dataclass(frozen=True)
class AtShots:
    """One run: S examples of a class that a model trained on, and its TPR at the FPR."""

    path: str
    models: int
    shots: float
    share: float
    rate: AtFpr

    @property
    def advantage(self) -> float:
        """TPR less the rate at which new non-members pass the threshold."""
        return self.rate.tpr.mean - self.rate.null

    @property
    def error(self) -> float:
        """Standard error of the TPR, from its interval."""
        e = self.rate.tpr
        return (
            (e.high - e.low) / 2 / float(scipy.stats.t.ppf((1 + e.level) / 2, max(e.groups - 2, 1)))
        )


@dataclass(frozen=True)
class PowerLawFinding:
    """The runs in ascending order of S, and the law through them; attack, fpr: what was measured."""

    attack: str
    fpr: float
    runs: tuple[AtShots, ...]
    law: PowerLaw


def power_law_of_runs(
    runs: Sequence[Any],
    attack: Attack,
    *,
    fpr: float = 0.1,
    level: float = 0.95,
    progress: Callable[[str, int, int], object] | None = None,
) -> PowerLawFinding:
    """Fit log(TPR − FPR) against log S over finished runs of one recipe and different pool sizes.

    attack: scored at the last checkpoint, every model the target once. fpr: of one threshold for all
    targets. S is the mean number of samples of a class that a model trained on. Standard errors are those over tuples of
    models. The interval says how well *these* pools determine the law, and nothing of other data.

    Raises InputError for fewer than three runs, runs that differ in their task, classes or in the
    share of the pool that models train on, and where the FPR cannot be resolved.
    """
    if len(runs) < 3:
        raise InputError(
            f"runs: expected three or more that differ in examples per class, got {len(runs)}"
        )
    points = []
    for k, run in enumerate(runs):
        if progress is not None:
            progress(str(run.path), k, len(runs))
        points.append(_point(run, attack, fpr, level))
    points.sort(key=lambda p: p.shots)
    kinds = {(len(run.classes), run.manifest.get("data", {}).get("task")) for run in runs}
    if len(kinds) > 1:
        told = ", ".join(sorted(f"{k} classes" for k, _ in kinds))
        raise InputError(
            f"runs: expected the same classes and task in all, got {told}; compare like with like"
        )
    shares = [p.share for p in points]
    if max(shares) - min(shares) > _ALIKE:
        raise InputError(
            f"runs: expected models that train on the same share of their pool, got {min(shares):.2f} to "
            f"{max(shares):.2f}; a smaller share hides a sample better"
        )
    law = power_law(
        [p.shots for p in points],
        [p.advantage for p in points],
        [p.error for p in points],
        share=float(np.mean(shares)),
        level=level,
    )
    return PowerLawFinding(attack.title, fpr, tuple(points), law)


def _point(run: Any, attack: Attack, fpr: float, level: float) -> AtShots:
    task = run.manifest.get("data", {}).get("task")
    if task not in (None, "classification") or len(run.classes) < 2:
        raise InputError(
            f"{run.path}: expected a run of classes, of which examples are counted, got {task or 'one class'}"
        )
    without = unjudged(run, [attack])
    part, (moved,) = without.part(run), without.attacks([attack])
    judging = Judging.of(part, Samples())
    (rate,) = judging.pooled(score(part, moved), (fpr,), level)
    if not rate.resolved:
        raise InputError(f"{run.path}: TPR at {fpr:g} FPR: {rate.unresolved}; take a larger FPR")
    if not np.isfinite(rate.tpr.low):
        raise InputError(
            f"{run.path}: expected three pairs of models or more, which an interval needs, got "
            f"{len(part.member)} models; train more"
        )
    member = np.asarray(run.member)
    rows = slice(None) if judging.target is None else slice(judging.target, judging.target + 1)
    trained = float(member[rows].sum(axis=1).mean())
    present = len(np.unique(np.asarray(run.labels)))
    return AtShots(str(run.path), len(member), trained / present, trained / member.shape[1], rate)
