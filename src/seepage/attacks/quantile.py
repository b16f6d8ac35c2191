"""How confident a model is on a sample, beside what it is on inputs like it that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.attacks.measured import Alone
from seepage.errors import InputError

__all__ = ["InputQuantile", "quantile_features", "quantile_regressor", "relative_to_inputs"]

_CLASSES = 50
_FEWEST = 10
_THREADS_FROM = 20_000
# Of the usual spread: less than this would be that of a fit which knows some samples by heart.
_LEAST_SPREAD = 0.25


def quantile_features(
    inputs: Float64Array | None,
    labels: Int64Array | None,
    *,
    targets: Float64Array | None = None,
    components: int = 32,
    seed: int = 0,
) -> Float64Array | None:
    """What a quantile is regressed on: inputs (N, D), their leading components, and the label.

    Inputs are standardised; more columns than `components` are reduced to their leading principal
    components, which do not look at membership. Labels (N,) are one-hot, or their number where
    there are more than 50 classes; targets (N,) or (N, K) of other tasks are columns of their own.
    None without all of these.

    >>> quantile_features(np.array([[0.0], [2.0]]), np.array([1, 0])).tolist()
    [[-1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]
    """
    parts = []
    if inputs is not None:
        spread = inputs.std(axis=0)
        x = (inputs - inputs.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        if x.shape[1] > components:
            from sklearn.decomposition import PCA

            fitted = PCA(min(components, len(x)), svd_solver="randomized", random_state=seed)
            x = fitted.fit_transform(x)
        parts.append(x)
    if targets is not None:
        parts.append(targets.reshape(len(targets), -1))
    if labels is not None:
        kinds = np.unique(labels)
        one_hot = labels[:, None] == kinds[None]
        parts.append(one_hot if len(kinds) <= _CLASSES else labels[:, None])
    return np.concatenate([p.astype(np.float64) for p in parts], axis=1) if parts else None


def quantile_regressor(samples: int, quantile: float, seed: int) -> Any:
    """Gradient-boosted trees under the pinball loss, for a fit to so many samples."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        loss="quantile",
        quantile=quantile,
        max_iter=60,
        max_leaf_nodes=8,
        min_samples_leaf=min(20, max(2, samples // 10)),
        early_stopping=False,
        random_state=seed,
    )


def relative_to_inputs(
    signal: Float64Array,
    member: BoolArray,
    features: Float64Array,
    generator: np.random.Generator,
    *,
    owner: Int64Array | None = None,
    quantile: float = 0.5,
    folds: int = 2,
) -> Float64Array:
    """score(x) = (s(x) − q̂(x)) / ŵ(x), of one model at every sample of its pool: (N,).

    q̂ is the quantile of s given the features, and ŵ the median of |s − q̂| given them, both
    gradient-boosted trees fitted to samples that the model was not trained on. Samples are dealt
    into `folds` at random, whole subjects each, without a look at membership; what scores the
    members and the others of a fold alike is fitted to the *others of the remaining folds*. So the
    score of a sample reads the membership of other subjects alone: where s knows nothing of
    membership it has one law for members and others, and AUC is ½. ŵ is at least a quarter of the
    median of |s − q̂|. Distances are those of the fit itself, so ŵ is too small, for all alike: scores
    order samples, and no normal law tells their false-positive rate.

    signal (N,), higher = more likely a member; member (N,) bool; features (N, F) of inputs and
    labels, never of the model's answers; owner (N,): number of the subject. quantile: of the paper
    1 − α, α the false-positive rate wanted, which needs many more than 1/α others; the median
    needs few. Raises InputError for fewer than 10 others to fit to, and for values out of range.

    >>> rng = np.random.default_rng(0)
    >>> hard = rng.normal(size=400); member = rng.random(400) < 0.5
    >>> s = relative_to_inputs(3 * hard + member, member, hard[:, None], rng)
    >>> from seepage.metrics import auc
    >>> round(auc(3 * hard + member, member), 2) < 0.65 < round(auc(s, member), 2)
    True
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if not 0 < quantile < 1:
        raise InputError(f"quantile: expected a number between 0 and 1, got {quantile}; use 0.5")
    if folds < 2:
        raise InputError(f"folds: expected at least 2, got {folds}; use 2")
    whose = np.arange(len(signal)) if owner is None else owner
    names, at = np.unique(whose, return_inverse=True)
    fold = (generator.permutation(len(names)) % folds)[at]
    seed = int(generator.integers(1 << 31))
    out = np.empty(len(signal), dtype=np.float64)
    # A tree on hundreds of rows takes less than its threads' waiting for each other.
    with threadpool_limits(1 if len(signal) < _THREADS_FROM else None, "openmp"):
        for k in range(folds):
            held = fold == k
            learnt = ~held & ~member
            count = int(learnt.sum())
            if count < _FEWEST:
                raise InputError(
                    f"samples: expected at least {_FEWEST} others to learn from beside each fold, got "
                    f"{count}; use a larger pool, or another attack"
                )
            if not held.any():
                continue
            centre = quantile_regressor(count, quantile, seed).fit(features[learnt], signal[learnt])
            away = np.abs(signal[learnt] - centre.predict(features[learnt]))
            width = quantile_regressor(count, 0.5, seed).fit(features[learnt], away)
            least = max(_LEAST_SPREAD * float(np.median(away)), 1e-12)
            spread = np.maximum(width.predict(features[held]), least)
            out[held] = (signal[held] - centre.predict(features[held])) / spread
    return out


@final
@dataclass(frozen=True, eq=False)
class InputQuantile(Alone):
    """score(x) = (φ(x) − q̂(x)) / ŵ(x), by the law of φ given the input; higher = more likely a member.

    q̂ and ŵ are the median of φ and of its distance from there among samples that the target was not
    trained on, learnt from inputs and labels, out of fold: `relative_to_inputs`, measured by the
    probe `seepage.probes.input_quantile`. The attacker has one model, no references and no weights,
    but samples known not to be members; it tells a hard sample by what it looks like, where
    references would tell by what they answer. View 0.

    Assumes that the pool's other samples are like its members. Needs inputs as numbers, classes,
    and 10 other samples beside each fold; a few hundred to tell much. No natural threshold: ŵ is
    no standard deviation. Source: Bertran et al., arXiv 2307.03694. *Reconstruction*: that text was
    not at hand; there the quantile is 1 − α, and the regressor a network. Ours are trees, the
    median and folds.

    >>> InputQuantile().score(np.array([0.7, -2.0]), np.zeros((1, 2)), np.zeros((1, 2), bool)).tolist()
    [0.7, -2.0]
    """

    name: ClassVar[str] = "quantile"
    title: ClassVar[str] = "Quantile regression"
    reference: ClassVar[str] = "Bertran et al., arXiv 2307.03694"
    reconstruction: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("phi_given_input",)
    first_view: ClassVar[bool] = True

    def value(self, signals: Mapping[str, FloatArray]) -> Float64Array:
        return signals["phi_given_input"].astype(np.float64)
