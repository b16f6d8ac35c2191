"""Membership inference on every layer: how far a layer's outputs reveal membership.

The attack that Huang et al. (arXiv 2412.00696) compare their indicators with was not available.
This is a **reconstruction** after the same group's later shadow-model protocol (arXiv 2602.22611,
abstract only): a classifier of membership on the outputs of one layer, in two variants.
`ShadowTransfer` is the threat model: someone who knows the layer's outputs and trained a model of
their own on other data. `Audit` fits on half of the target's own members and non-members and is
evaluated on the other half: it needs no alignment between two networks and represents a stronger
adversary.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seepage.array_types import BoolArray, Float64Array, FloatArray, Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_array
from seepage.metrics import auc, balanced_accuracy, tpr_at_fpr
from seepage.short_repr import short_repr

__all__ = [
    "AttackTable",
    "Attacker",
    "Audit",
    "Logistic",
    "ShadowTransfer",
    "SmallMLP",
    "attack_layers",
]

Features = Mapping[str, FloatArray]


@dataclass(frozen=True)
class Logistic:
    """Logistic regression on standardised features; `c` is the inverse of the penalty."""

    c: float = 0.1

    def __post_init__(self) -> None:
        if not self.c > 0:
            raise InputError(f"c: expected a number above 0, got {self.c}")

    def make(self, seed: int) -> Any:
        """An unfitted scikit-learn classifier."""
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=self.c, max_iter=1000, random_state=seed)


@dataclass(frozen=True)
class SmallMLP:
    """One hidden layer of ReLU units on standardised features, Adam, fixed number of passes."""

    hidden: int = 64
    passes: int = 60
    penalty: float = 1e-2

    def __post_init__(self) -> None:
        if self.hidden < 1 or self.passes < 1 or self.penalty < 0:
            raise InputError(
                f"SmallMLP: expected positive sizes and penalty of at least 0, got {self}"
            )

    def make(self, seed: int) -> Any:
        """An unfitted scikit-learn classifier."""
        from sklearn.neural_network import MLPClassifier

        return MLPClassifier(
            (self.hidden,), alpha=self.penalty, max_iter=self.passes, tol=0.0, random_state=seed
        )


Attacker = Logistic | SmallMLP


@dataclass(frozen=True)
class Audit:
    """Fit on a share of the target's members and non-members, evaluate on the others."""

    fit: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.fit < 1:
            raise InputError(f"fit: expected a share between 0 and 1, got {self.fit}")


@dataclass(frozen=True, eq=False)
class ShadowTransfer:
    """Fit on a shadow model's outputs, evaluate on the target's.

    outputs: layer -> (N', d) of the shadow model; member (N',) of the shadow's training. The
    coordinates of two networks are not aligned, so a low figure does not show that a layer is
    safe: compare it with `Audit`.
    """

    outputs: Features
    member: BoolArray


@short_repr
@dataclass(frozen=True, eq=False)
class AttackTable:
    """Success of the attack on every layer, over seeds.

    layer: names (L,); auc, balanced_accuracy, tpr (L, S), `tpr` at a false-positive rate of at most
    `fpr`; `realised_fpr` (L, S) is the rate realised. Balanced accuracy is that of the classifier's
    own threshold ½, not of the best one in hindsight.
    """

    layer: tuple[str, ...]
    auc: Float64Array
    balanced_accuracy: Float64Array
    tpr: Float64Array
    realised_fpr: Float64Array
    fpr: float
    seeds: tuple[int, ...]
    attacker: Attacker
    variant: str
    judged: int

    def to_rows(self) -> list[dict[str, Any]]:
        """One mapping per layer: means over seeds and standard deviations across them."""
        return [
            {
                "layer": name,
                "mia_auc": float(self.auc[i].mean()),
                "mia_auc_std": float(self.auc[i].std()),
                "mia_bal_acc": float(self.balanced_accuracy[i].mean()),
                "mia_bal_acc_std": float(self.balanced_accuracy[i].std()),
                "mia_tpr": float(self.tpr[i].mean()),
                "mia_tpr_std": float(self.tpr[i].std()),
                "mia_realised_fpr": float(self.realised_fpr[i].mean()),
            }
            for i, name in enumerate(self.layer)
        ]


def _features(name: str, values: FloatArray, member: BoolArray) -> NDArray[np.floating[Any]]:
    flat = given_array(values, "values")
    if flat.dtype != np.float32:
        flat = flat.astype(np.float64)
    if len(flat) != len(member):
        raise InputError(
            f"{name}: expected outputs of {len(member)} samples, as many as member, got {len(flat)}"
        )
    flat = flat.reshape(len(flat), -1)
    if not np.isfinite(flat).all():
        raise InputError(f"{name}: expected finite outputs, got NaN or infinity")
    return flat


def _member(member: ArrayLike, least: int, who: str) -> BoolArray:
    m = given_array(member, "member")
    if m.ndim != 1 or m.dtype != np.bool_:
        raise InputError(f"{who}: expected bool of shape (samples,), got {m.dtype} {m.shape}")
    if min(m.sum(), (~m).sum()) < least:
        raise InputError(
            f"{who}: expected at least {least} members and {least} non-members, got "
            f"{int(m.sum())} and {int((~m).sum())}; use more samples"
        )
    return m


def _balanced(rows: Int64Array, member: BoolArray, rng: np.random.Generator) -> Any:
    """Equally many members and non-members of `rows`: the threshold ½ is then the natural one."""
    inside, outside = rows[member[rows]], rows[~member[rows]]
    size = min(len(inside), len(outside))
    return np.concatenate([rng.permutation(inside)[:size], rng.permutation(outside)[:size]])


def _split(member: BoolArray, share: float, rng: np.random.Generator) -> tuple[Any, Any]:
    fit, judge = [], []
    for side in (np.flatnonzero(member), np.flatnonzero(~member)):
        order = rng.permutation(side)
        cut = min(max(round(share * len(order)), 1), len(order) - 1)
        fit.append(order[:cut])
        judge.append(order[cut:])
    return np.concatenate(fit), np.concatenate(judge)


def _rows(
    variant: Audit | ShadowTransfer, member: BoolArray, shadow: BoolArray | None, seed: int
) -> tuple[Any, Any]:
    """Samples to fit on and to judge, the same for every layer."""
    rng = np.random.default_rng(seed)
    if isinstance(variant, Audit):
        fit, judge = _split(member, variant.fit, rng)
        return _balanced(fit, member, rng), judge
    assert shadow is not None
    return _balanced(np.arange(len(shadow)), shadow, rng), np.arange(len(member))


def attack_layers(
    outputs: Features,
    member: ArrayLike,
    *,
    variant: Audit | ShadowTransfer | None = None,
    attacker: Attacker | None = None,
    components: int = 256,
    fpr: float = 0.01,
    seeds: Sequence[int] = (0, 1, 2),
) -> AttackTable:
    """Membership inference from each layer alone: layer -> (N, d), member (N,) bool -> table.

    outputs: what `layer_outputs` gives, pooled or not, or per-sample numbers of a layer such as
    `gradient_norms` and `feature_norms` (then d = 1). To give the attacker the loss too, append it
    as a column. Features are standardised, and reduced to `components` principal directions where
    there are more, with figures from the fitting samples alone. All layers use the same samples for
    fitting and judging within a seed. The seed sets the split, the balancing and the classifier.

    Raises InputError where a layer's samples differ from member's, a side has fewer than 8 samples,
    or the shadow lacks a layer.

    >>> rng = np.random.default_rng(0)
    >>> member = np.arange(200) < 100
    >>> leaky, safe = rng.standard_normal((2, 200, 3))
    >>> leaky[member] += 2.0
    >>> table = attack_layers({"leaky": leaky, "safe": safe}, member)
    >>> bool(table.auc[0].mean() > 0.95), bool(table.auc[1].mean() < 0.65)
    (True, True)
    """
    variant = Audit() if variant is None else variant
    attacker = Logistic() if attacker is None else attacker
    m = _member(member, 8, "member")
    if not outputs:
        raise InputError("outputs: expected at least one layer, got none")
    if not seeds:
        raise InputError("seeds: expected at least one, got none")
    if components < 1:
        raise InputError(f"components: expected at least 1, got {components}")
    shadow_member = None
    if isinstance(variant, ShadowTransfer):
        shadow_member = _member(variant.member, 8, "shadow member")
        missing = [k for k in outputs if k not in variant.outputs]
        if missing:
            raise InputError(f"shadow outputs: expected layer {missing[0]!r}, got none of it")
    figures = np.zeros((4, len(outputs), len(seeds)))
    judged = 0
    for i, (name, values) in enumerate(outputs.items()):
        target = _features(name, values, m)
        source, source_member = target, m
        if isinstance(variant, ShadowTransfer) and shadow_member is not None:
            source = _features(f"shadow {name}", variant.outputs[name], shadow_member)
            source_member = shadow_member
            if source.shape[1] != target.shape[1]:
                raise InputError(
                    f"shadow {name}: expected {target.shape[1]} outputs, got {source.shape[1]}; "
                    "the shadow needs the target's architecture"
                )
        for s, seed in enumerate(seeds):
            fit, judge = _rows(variant, m, shadow_member, seed)
            scores = _scores(
                attacker.make(seed),
                source[fit],
                source_member[fit],
                target[judge],
                components,
                seed,
            )
            point = tpr_at_fpr(scores, m[judge], fpr)
            figures[:, i, s] = (
                auc(scores, m[judge]),
                balanced_accuracy(scores, m[judge], threshold=0.5),
                point.tpr,
                point.fpr,
            )
            judged = len(judge)
    return AttackTable(
        layer=tuple(outputs),
        auc=figures[0],
        balanced_accuracy=figures[1],
        tpr=figures[2],
        realised_fpr=figures[3],
        fpr=fpr,
        seeds=tuple(seeds),
        attacker=attacker,
        variant=type(variant).__name__,
        judged=judged,
    )


def _scores(
    classifier: Any,
    x: NDArray[np.floating[Any]],
    y: BoolArray,
    new: NDArray[np.floating[Any]],
    components: int,
    seed: int,
) -> Float64Array:
    """Fit on (x, y), probability of membership of `new`."""
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning

    mean, std = x.mean(0), x.std(0)
    scale = np.where(std > 0, std, 1.0)
    x, new = (x - mean) / scale, (new - mean) / scale
    if x.shape[1] > components:
        reduce = PCA(min(components, len(x) - 1), svd_solver="randomized", random_state=seed)
        x, new = reduce.fit_transform(x), reduce.transform(new)
    x, new = x.astype(np.float64), new.astype(np.float64)
    with warnings.catch_warnings():
        # A fixed number of passes is the definition here, not a failure to converge.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(x, y)
    return np.asarray(classifier.predict_proba(new)[:, 1], dtype=np.float64)
