"""The attack that never sees a model: if it finds members, the split itself is shifted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seepage.array_types import Float64Array, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_numbers
from seepage.metrics.auc_intervals import auc_interval
from seepage.metrics.intervals import Estimate, over_targets
from seepage.metrics.roc import auc
from seepage.metrics.unit import EACH, Subjects, Unit
from seepage.plan import partitions
from seepage.short_repr import short_repr

__all__ = ["BlindBaseline", "blind_baseline", "with_missing_marked"]


@short_repr
@dataclass(frozen=True, eq=False)
class BlindBaseline:
    """auc (M,) of the scored runs `models` (M,), and `estimate`, their mean with an interval.

    An honest split has 0.5 inside the interval. `scores` (M, N), of subjects (M, G), are the
    cross-fitted ranks.
    """

    auc: Float64Array
    models: Int64Array
    estimate: Estimate
    scores: Float64Array


def with_missing_marked(features: Float64Array) -> Float64Array:
    """NaN at its column's mean, and a column of 0 and 1 beside for each that has any.

    What is missing may tell members as well as any value.

    >>> with_missing_marked(np.array([[1.0, 2.0], [np.nan, 4.0]])).tolist()
    [[1.0, 2.0, 0.0], [1.0, 4.0, 1.0]]
    """
    absent = np.isnan(features)
    if not absent.any():
        return features
    known = np.maximum((~absent).sum(axis=0), 1)
    mean = np.where(absent, 0.0, features).sum(axis=0) / known
    marks = absent[:, absent.any(axis=0)].astype(np.float64)
    return np.concatenate([np.where(absent, mean, features), marks], axis=1)


def blind_baseline(
    features: ArrayLike,
    member: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    targets: ArrayLike | None = None,
    folds: int = 5,
    runs: int = 8,
    components: int = 64,
    seed: int = 0,
    unit: Unit = EACH,
) -> BlindBaseline:
    """How well inputs and labels alone distinguish members from non-members, without any model.

    For each scored run: logistic regression on standardised inputs (the leading `components`
    principal components when there are more columns) plus the one-hot label, fitted on all folds
    but one and ranked on the last (stratified folds; ranks are taken within a fold, since scores
    of different fits do not compare). A random split gives 0.5; a split by time, source or class
    does not, and then every attack's AUC on it measures the shift as well as leakage.

    features (N, ...) numbers, flattened per sample, NaN where missing: at its column's mean, with a
    column that marks it; member (N,) or (R, N) bool; labels (N,) whole
    numbers or None. targets (N,) or (N, T): of other tasks, further columns, standardised. Of an (R, N) plan at most `runs` runs are judged, one of each complementary
    tuple (the other run of a pair has the same classifier with the sign turned). unit: with
    `Subjects(groups)` whole subjects are held out, and ranked by the sum of their samples'
    log-odds. The interval is `over_targets` of several runs; of one run it is DeLong's times √2,
    because under no shift every pair of samples serves twice, once to fit and once to be ranked
    (DeLong's alone covered 0.5 in 85 % of honest splits, this one in 95 %). The rule is linear: a
    shift that only a nonlinear one sees passes unseen. Source: Das, Zhang and Tramèr, arXiv
    2406.16201 (blind baselines; the classifier is our choice).

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 3)); member = rng.permutation(200) < 100
    >>> blind_baseline(x, member).estimate.covers(0.5)
    True
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    x = given_numbers(features, "features")
    x = x.reshape(len(x), -1).astype(np.float64)
    plan = given_numbers(member, "member")
    plan = plan[None] if plan.ndim == 1 else plan
    if plan.dtype != np.bool_ or plan.ndim != 2 or plan.shape[1] != len(x):
        raise InputError(
            f"member: expected bool of shape (samples,) or (models, samples) with {len(x)} samples, "
            f"got {plan.dtype} of shape {plan.shape}; pass the plan's membership"
        )
    if np.isinf(x).any():
        raise InputError("features: expected finite numbers, got infinity; clean the inputs first")
    x = with_missing_marked(x)
    truth = np.asarray(unit.member(plan))
    judged = np.unique(partitions(plan), return_index=True)[1][:runs]
    smallest = int(min(truth[judged].sum(axis=1).min(), (~truth[judged]).sum(axis=1).min()))
    if smallest < max(folds, 2):
        raise InputError(
            f"member: expected at least {max(folds, 2)} members and non-members in every run, "
            f"got {smallest}; use more samples or fewer folds"
        )
    spread = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    if x.shape[1] > components:
        # Principal components do not look at membership, so they may see every sample.
        solver = PCA(min(components, len(x)), svd_solver="randomized", random_state=seed)
        x = solver.fit_transform(x)
        x /= x.std(axis=0).max()
    if targets is not None:
        t = given_numbers(targets, "targets").astype(np.float64)
        if t.ndim not in (1, 2) or len(t) != len(x) or not np.isfinite(t).all():
            raise InputError(
                f"targets: expected finite numbers, one row per sample ({len(x)}), got shape {t.shape}"
            )
        t = t.reshape(len(t), -1)
        spread = t.std(axis=0)
        x = np.concatenate([x, (t - t.mean(axis=0)) / np.where(spread > 0, spread, 1.0)], axis=1)
    if labels is not None:
        y = given_array(labels, "labels")
        if y.shape != (len(x),):
            raise InputError(f"labels: expected one per sample ({len(x)}), got shape {y.shape}")
        x = np.concatenate([x, (y[:, None] == np.unique(y)[None]).astype(np.float64)], axis=1)
    owner = unit.codes if isinstance(unit, Subjects) else np.arange(len(x))
    scores = np.empty((len(judged), truth.shape[1]))
    for row, run in zip(scores, judged, strict=True):
        split = StratifiedKFold(folds, shuffle=True, random_state=seed)
        # Folds are of units: a subject in both would be recognised, not inferred.
        for _, held in split.split(row, truth[run]):
            out = np.isin(owner, held)
            model = LogisticRegression(max_iter=500).fit(x[~out], plan[run][~out])
            odds = np.bincount(owner[out], weights=model.decision_function(x[out]))[held]
            rank = np.argsort(np.argsort(odds, kind="stable"))
            row[held] = (rank + 0.5) / len(held)
    per_run = np.array([auc(s, truth[r]) for s, r in zip(scores, judged, strict=True)])
    if len(judged) == 1:
        estimate = auc_interval(scores[0], truth[judged[0]], shared=True)
    else:
        estimate = over_targets(per_run, plan[judged], shared=False)
    return BlindBaseline(per_run, judged.astype(np.int64), estimate, scores)
