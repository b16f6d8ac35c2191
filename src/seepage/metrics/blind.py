"""The attack that never sees a model: if it finds members, the split itself is shifted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_array, given_numbers
from seepage.metrics.auc_intervals import auc_interval
from seepage.metrics.blind_inputs import (
    few_pixels,
    summaries,
    telling_columns,
    text_columns,
    with_missing_marked,
    words_of,
)
from seepage.metrics.intervals import Estimate, over_targets
from seepage.metrics.roc import auc
from seepage.metrics.strongest import strongest
from seepage.metrics.unit import EACH, Subjects, Unit
from seepage.plan import partitions
from seepage.short_repr import short_repr

__all__ = ["BlindBaseline", "blind_baseline"]

LINEAR, BOOSTING, WORDS = "logistic regression", "gradient boosting", "bag of words"

# Columns that trees are grown on, samples they are fitted to, and classes that have a column each.
_COLUMNS, _FITTED, _CLASSES = 64, 4000, 20
# Words and pairs of words that are counted, of how many texts at least.
_VOCABULARY, _TEXTS = 20_000, 2

Scorer = Callable[[BoolArray, BoolArray], Float64Array]
"""Fit on the samples (N,) that are not held out, given membership (N,); log-odds of those that are."""


@short_repr
@dataclass(frozen=True, eq=False)
class BlindBaseline:
    """What several classifiers tell of membership without a model, and the strongest of them.

    by: the one with the largest AUC, which auc (M,) of the scored runs `models` (M,), and scores
    (M, N), of subjects (M, G), its cross-fitted ranks, are of. estimate: that AUC with an interval
    that pays for the choice (`seepage.metrics.strongest`); each: every classifier's mean AUC with
    its own interval at 95 %. An honest split has 0.5 inside the interval.
    """

    by: str
    auc: Float64Array
    models: Int64Array
    estimate: Estimate
    scores: Float64Array
    each: Mapping[str, Estimate]

    @property
    def shifted(self) -> bool:
        """Whether members differ without any model: the interval, paid for the choice, lies above ½."""
        return bool(np.isfinite(self.estimate.low) and self.estimate.low > 0.5)


def blind_baseline(
    features: ArrayLike | None,
    member: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    targets: ArrayLike | None = None,
    texts: Sequence[str] | None = None,
    folds: int = 5,
    runs: int = 8,
    components: int = 64,
    seed: int = 0,
    unit: Unit = EACH,
) -> BlindBaseline:
    """How well inputs and labels alone distinguish members from non-members, without any model.

    For each scored run, two or three classifiers are fitted on all folds but one and ranked on the
    last (stratified folds; ranks are taken within a fold, since scores of different fits do not
    compare):

    - logistic regression on standardised columns (the leading `components` principal components
      where there are more) plus the one-hot label;
    - gradient boosted trees on raw columns, images averaged to 8 × 8 pixels, label and
      `seepage.metrics.blind_inputs.summaries` of each sample: it sees what is no difference of means,
      such as another spread or two columns that tell only together. Of more than 64 columns those
      whose mean or spread differs most between the samples of a fit; fitted to 4,000 samples at most;
    - of texts, logistic regression on words and pairs of words, weighted by how rare they are; both
      others see lengths and shares of signs.

    A random split gives 0.5; a split by time, source or class does not, and then every attack's AUC
    on it measures the shift as well as leakage. The strongest counts, its lower end at a level that
    pays for the number of classifiers.

    features (N, ...) numbers, flattened per sample, NaN where missing: at its column's mean, with a
    column that marks it; None where there are texts alone. member (N,) or (R, N) bool; labels (N,)
    whole numbers or None. targets (N,) or (N, T): of other tasks, further columns. texts (N,). Of an
    (R, N) plan `runs` runs are judged, one of each complementary tuple (the other run of a pair has
    the same classifier with the sign turned); where these show a shift, up to as many more before it
    is said. unit: with `Subjects(groups)` whole subjects are held out, and ranked by the sum of their
    samples' log-odds. The interval is `over_targets` of several runs; of one run it is DeLong's
    times √2, because under no shift every pair of samples serves twice, once to fit and once to be
    ranked. False alarms on honest splits, at most 2.5 % by construction, are measured in
    `benchmarks/blind_baselines.py`. A shift that none of the classifiers sees passes unseen.
    Source: Das, Zhang and Tramèr, arXiv 2406.16201 (blind baselines; the classifiers are our choice).

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 3)); member = rng.permutation(200) < 100
    >>> blind_baseline(x, member).estimate.covers(0.5)
    True
    >>> x[member] *= 3.0  # no mean differs
    >>> found = blind_baseline(x, member)
    >>> found.by, found.shifted, found.each["logistic regression"].mean < 0.6
    ('gradient boosting', True, True)
    """
    plan = given_numbers(member, "member")
    plan = plan[None] if plan.ndim == 1 else plan
    if features is None and texts is not None:
        raw: AnyArray = np.zeros((len(texts), 0))
    elif features is None:
        raise InputError("features: expected numbers of every sample, or texts=, got neither")
    else:
        raw = given_numbers(features, "features")
    if plan.dtype != np.bool_ or plan.ndim != 2 or plan.shape[1] != len(raw):
        raise InputError(
            f"member: expected bool of shape (samples,) or (models, samples) with {len(raw)} samples, "
            f"got {plan.dtype} of shape {plan.shape}; pass the plan's membership"
        )
    if raw.dtype.kind == "f" and np.isinf(raw).any():
        raise InputError("features: expected finite numbers, got infinity; clean the inputs first")
    if texts is not None and len(texts) != len(raw):
        raise InputError(f"texts: expected one per sample ({len(raw)}), got {len(texts)}")
    truth = np.asarray(unit.member(plan))
    tuples = np.unique(partitions(plan), return_index=True)[1]
    first = tuples[:runs]
    smallest = int(min(truth[first].sum(axis=1).min(), (~truth[first]).sum(axis=1).min()))
    if smallest < max(folds, 2):
        raise InputError(
            f"member: expected at least {max(folds, 2)} members and non-members in every run, "
            f"got {smallest}; use more samples or fewer folds"
        )
    scorers = _scorers(raw, _known(labels, targets, len(raw)), texts, components, seed)
    owner = unit.codes if isinstance(unit, Subjects) else np.arange(len(raw))
    held: dict[str, list[Float64Array]] = {name: [] for name in scorers}

    def judge(judged: Int64Array) -> dict[str, tuple[Estimate, ...]]:
        done = len(next(iter(held.values())))
        for run in judged[done:]:
            for name, scorer in scorers.items():
                held[name].append(_ranks(scorer, plan[run], truth[run], owner, folds, seed))
        levels = (0.95, 1 - 0.05 / len(scorers))
        return {n: _estimates(s, truth[judged], plan[judged], levels) for n, s in held.items()}

    # Many threads on such small fits wait for each other.
    with threadpool_limits(1):
        judged, found = first, judge(first)
        chosen = strongest({n: (e[0], e[1]) for n, e in found.items()})
        if chosen.estimate.low > 0.5 and len(tuples) > len(first):
            judged = tuples[: 2 * runs]
            found = judge(judged)
            chosen = strongest({n: (e[0], e[1]) for n, e in found.items()})
    scores = np.stack(held[chosen.attack])
    return BlindBaseline(
        by=chosen.attack,
        auc=np.array([auc(s, truth[r]) for s, r in zip(scores, judged, strict=True)]),
        models=judged.astype(np.int64),
        estimate=chosen.estimate,
        scores=scores,
        each={n: e[0] for n, e in found.items()},
    )


def _ranks(
    scorer: Scorer, member: BoolArray, truth: BoolArray, owner: Int64Array, folds: int, seed: int
) -> Float64Array:
    """Cross-fitted ranks in 0 … 1 of what is judged; of equal scores the mean rank."""
    from sklearn.model_selection import StratifiedKFold

    out = np.empty(len(truth))
    # Folds are of units: a subject in both would be recognised, not inferred.
    for _, held in StratifiedKFold(folds, shuffle=True, random_state=seed).split(out, truth):
        outside = np.isin(owner, held)
        odds = np.bincount(owner[outside], scorer(outside, member), len(truth))[held]
        # What differs by rounding alone is equal.
        out[held] = (scipy.stats.rankdata(odds.round(9)) - 0.5) / len(held)
    return out


def _estimates(
    scores: list[Float64Array], truth: BoolArray, plan: BoolArray, levels: tuple[float, ...]
) -> tuple[Estimate, ...]:
    if len(scores) == 1:
        return tuple(auc_interval(scores[0], truth[0], level, shared=True) for level in levels)
    each = np.array([auc(s, t) for s, t in zip(scores, truth, strict=True)])
    return tuple(over_targets(each, plan, level, shared=False) for level in levels)


@dataclass(frozen=True)
class _Known:
    """labels as codes (N,), or None; targets (N, T), T may be 0."""

    labels: Int64Array | None
    targets: Float64Array


def _known(labels: ArrayLike | None, targets: ArrayLike | None, samples: int) -> _Known:
    t = np.zeros((samples, 0))
    if targets is not None:
        t = given_numbers(targets, "targets").astype(np.float64)
        if t.ndim not in (1, 2) or len(t) != samples or not np.isfinite(t).all():
            raise InputError(
                f"targets: expected finite numbers, one row per sample ({samples}), got shape {t.shape}"
            )
        t = t.reshape(samples, -1)
    if labels is None:
        return _Known(None, t)
    y = given_array(labels, "labels")
    if y.shape != (samples,):
        raise InputError(f"labels: expected one per sample ({samples}), got shape {y.shape}")
    return _Known(np.unique(y, return_inverse=True)[1].astype(np.int64), t)


def _scorers(
    raw: AnyArray, known: _Known, texts: Sequence[str] | None, components: int, seed: int
) -> dict[str, Scorer]:
    """The classifiers, each with what it sees of all samples and nothing of membership."""
    flat = raw.reshape(len(raw), -1).astype(np.float64)
    told = np.zeros((len(raw), 0)) if texts is None else text_columns(texts)
    words = None if texts is None else _words(texts)
    small = few_pixels(raw)
    columns = flat if small is raw else small.reshape(len(raw), -1).astype(np.float64)
    more = [summaries(flat)] if flat.shape[1] > 1 else []
    if known.labels is not None:
        y = known.labels
        more.append(_one_hot(y) if y.max(initial=0) < _CLASSES else y[:, None].astype(np.float64))
    out: dict[str, Scorer] = {
        LINEAR: _linear(np.concatenate([flat, told], axis=1), known, components, seed),
        BOOSTING: _boosting(columns, np.concatenate([told, known.targets, *more], axis=1), seed),
    }
    if words is not None:
        out[WORDS] = _logistic(words)
    return out


def _one_hot(labels: Int64Array) -> Float64Array:
    every = np.arange(labels.max(initial=0) + 1)
    return np.asarray(labels[:, None] == every, dtype=np.float64)


def _standardised(x: Float64Array) -> Float64Array:
    spread = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _linear(x: Float64Array, known: _Known, components: int, seed: int) -> Scorer:
    from sklearn.decomposition import PCA

    x = _standardised(with_missing_marked(x))
    if x.shape[1] > components:
        # Principal components do not look at membership, so they may see every sample.
        solver = PCA(min(components, len(x)), svd_solver="randomized", random_state=seed)
        x = solver.fit_transform(x)
        x /= x.std(axis=0).max()
    parts = [x, _standardised(known.targets)]
    if known.labels is not None:
        parts.append(_one_hot(known.labels))
    return _logistic(np.concatenate(parts, axis=1))


def _logistic(x: Any) -> Scorer:
    """Logistic regression on rows of a dense or sparse matrix."""
    from sklearn.linear_model import LogisticRegression

    def score(outside: BoolArray, member: BoolArray) -> Float64Array:
        model = LogisticRegression(max_iter=500).fit(x[~outside], member[~outside])
        return np.asarray(model.decision_function(x[outside]), dtype=np.float64)

    return score


def _boosting(columns: Float64Array, more: Float64Array, seed: int) -> Scorer:
    """Trees on the columns of a fit that tell most, and on `more`, which are always among them."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    marked = with_missing_marked(columns)
    some = np.random.default_rng(seed).permutation(len(columns))

    def score(outside: BoolArray, member: BoolArray) -> Float64Array:
        fitted = some[~outside[some]][:_FITTED]
        at = telling_columns(marked[fitted], member[fitted], _COLUMNS)
        x = np.concatenate([marked[:, at], more], axis=1)
        model = HistGradientBoostingClassifier(
            learning_rate=0.2,
            max_iter=25,
            max_leaf_nodes=8,
            max_bins=63,
            early_stopping=False,
            random_state=seed,
        ).fit(x[fitted], member[fitted])
        return np.asarray(model.decision_function(x[outside]), dtype=np.float64)

    return score


def _words(texts: Sequence[str]) -> Any:
    """Words and pairs of words of every text, by how rare they are, sparse (N, V); None without any."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    counted = TfidfVectorizer(
        analyzer=words_of, min_df=_TEXTS, max_features=_VOCABULARY, sublinear_tf=True
    )
    try:
        found: Any = counted.fit_transform(texts)
    except ValueError:  # no word is in two texts
        return None
    return found
