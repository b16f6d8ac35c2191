"""Whether labels are those of the model: how far its answers tell them, and another numbering that fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from seepage.array_types import Int64Array
from seepage.errors import InputError
from seepage.given_arrays import given_numbers
from seepage.short_repr import short_repr

__all__ = ["UNFIT", "Renumbered", "Told", "renumbered", "told"]

# How the sentence on answers that tell nothing begins, wherever it is kept.
UNFIT = "answers: members are right in"

# Standard errors; by chance a model that knows nothing exceeds them once in 44.
_SURE = 2.0
# Of few members the error is large: what is farther from chance than this is no chance.
_NEAR = 0.1
# Standard errors of a share, which a model that is as good as the most frequent class hardly exceeds.
_BEHIND = 4.0
# Of the bound exp(−z²/2): once in 270,000 models of which the numbering is right.
_RENUMBERED = 5.0
# Of all pairs of classes together: chance that a model that does not tell two apart seems to have them exchanged.
_EXCHANGED = 1e-4
# Of members of the classes that are to change: a numbering that is right makes most of them right.
_MOST = 0.5


@dataclass(frozen=True)
class Told:
    """What members' answers tell of their labels.

    accuracy: share that is right; balanced: mean over classes of that share; chance: 1 / classes;
    error: standard error of `balanced`; common: share of the most frequent class. behind: standard
    errors by which accuracy lies below that share.
    """

    accuracy: float
    balanced: float
    chance: float
    error: float
    common: float
    behind: float

    @property
    def below(self) -> bool:
        """Whether saying the most frequent class alone would make surely more members right."""
        return self.behind > _BEHIND

    @property
    def below_in_words(self) -> str:
        """The figures of `below`, and who comes there honestly."""
        return (
            f"members are right in {self.accuracy:.1%}, and the most frequent class alone would be in "
            f"{self.common:.1%}: are inputs those of the training, prepared alike (scale, logarithm, columns), "
            "and the labels in their order? Models whose training weighed rare classes higher, or that learnt "
            "little, come to this honestly; of inputs that are prepared otherwise no figure here says anything"
        )

    @property
    def nothing(self) -> bool:
        """Whether labels might as well be others: `balanced` is above chance by less than 2 errors
        and less than a tenth of the way to 1."""
        near = min(_SURE * self.error, _NEAR * (1 - self.chance))
        return bool(self.balanced <= self.chance + near)

    @property
    def words(self) -> str:
        """The figures, and what they may mean; begins with `UNFIT`."""
        return (
            f"{UNFIT} {self.accuracy:.1%} (the most frequent class alone would be in "
            f"{self.common:.1%}) and, as a mean over classes, in {self.balanced:.1%}, where answers "
            f"that know no label reach {self.chance:.1%}: are labels, inputs and the numbers of "
            "classes those of the training, in its order? Of other ones no figure here says anything"
        )


def told(correct: ArrayLike, labels: ArrayLike, member: ArrayLike) -> Told | None:
    """How far the answers of models to their own members tell the labels.

    The mean over classes of the share that is right is 1/K where answers do not depend on labels:
    Σ_k P(answer k) / K, whatever the classes' frequencies. Labels that were shuffled, inputs
    prepared otherwise and a model that always says one class all come to it; so does, honestly, a
    model that learnt nothing.

    correct (R, N) or (N,) of 0 and 1; labels (N,) whole numbers; member alike, bool. Figures are
    means over models, the error is of one model. None where members are of one class, or none are.

    >>> labels = np.arange(400) % 4
    >>> right = labels == np.roll(labels, 1)      # every answer is of the class before
    >>> told(right, labels, labels >= 0).nothing, told(labels >= 0, labels, labels >= 0).nothing
    (True, False)
    """
    right = np.atleast_2d(np.asarray(correct, dtype=np.float64))
    own = np.atleast_2d(np.asarray(member, dtype=np.bool_))
    y = np.unique(np.asarray(labels), return_inverse=True)[1]
    if right.shape != own.shape or y.shape != right.shape[1:]:
        raise InputError(
            f"correct, labels, member: expected (models, samples), (samples,) and the same, got "
            f"{right.shape}, {y.shape} and {own.shape}"
        )
    classes = int(y.max(initial=-1)) + 1
    each = np.eye(classes)[y]
    counts, hits = own @ each, (right * own) @ each
    counts, hits = counts[counts.sum(axis=1) > 0], hits[counts.sum(axis=1) > 0]
    known = (counts > 0).all(axis=0)
    if not len(counts) or known.sum() < 2:
        return None
    n, h = counts[:, known], hits[:, known]
    # One success and one failure more: of a class of two the share is not certain.
    p = (h + 1) / (n + 2)
    error = np.sqrt((p * (1 - p) / n).sum(axis=1)) / known.sum()
    # Right alone of the model, or alone of the most frequent class: (1, −1) and their squares.
    first = np.arange(len(n)), n.argmax(axis=1)
    missed = n[first] - h[first]
    found = h.sum(axis=1) - h[first]
    behind = (missed - found) / np.sqrt(np.maximum(missed + found, 1.0))
    return Told(
        float((hits.sum(axis=1) / counts.sum(axis=1)).mean()),
        float((h / n).mean()),
        1 / int(known.sum()),
        float(error.mean()),
        float((counts.max(axis=1) / counts.sum(axis=1)).mean()),
        float(behind.mean()),
    )


@short_repr
@dataclass(frozen=True)
class Renumbered:
    """Another numbering of classes that fits the answers better than the given one.

    columns (K,): the column of the outputs that label k means. accuracy, better: mean over classes
    of the share of members that is right, as given and so numbered. moved: the latter over the classes
    that change their number alone.
    """

    columns: Int64Array
    accuracy: float
    better: float
    moved: float

    @property
    def likely(self) -> bool:
        """Whether the numbering is the cause: it makes most members of the classes that change right.

        Inputs that are turned or scaled otherwise have a better numbering too, which is no right one.
        Of a model that is right on less than half of its own members a wrong numbering is not told
        from those.
        """
        return self.moved > _MOST

    @property
    def words(self) -> str:
        """The mapping, its first exchanges, and what follows; where it is not likely, what may be."""
        return self.named(())

    def named(self, classes: Sequence[str]) -> str:
        """`words`, with the names of the classes by their numbers, where they are known and no numbers themselves."""
        if not self.likely:
            return (
                f"members are right in {self.accuracy:.1%} as a mean over classes, and another numbering of "
                f"the classes would make it {self.better:.1%}, too little to be the right one: are labels, "
                "inputs (their scale, layout and order) and the numbers of classes those of the training? "
                "Of other ones no figure here says anything"
            )
        moved = np.flatnonzero(self.columns != np.arange(len(self.columns)))
        told = len(classes) == len(self.columns) and not all(
            c == str(k) for k, c in enumerate(classes)
        )
        names = [f" ({c[:40]})" if told else "" for c in classes] or [""] * len(self.columns)
        names += [""] * (len(self.columns) - len(names))
        shown = ", ".join(f"{k}{names[k]} → {self.columns[k]}" for k in moved[:8].tolist())
        more = f", … ({len(moved)} in all)" if len(moved) > 8 else ""
        return (
            f"expected the numbers of classes that the model has, got others: label → column {shown}{more} "
            f"would make members right in {self.better:.1%} (mean over classes) instead of "
            f"{self.accuracy:.1%}; number the labels so"
        )


def renumbered(predicted: ArrayLike, labels: ArrayLike, classes: int) -> Renumbered | None:
    """The numbering of classes that a model's answers to its members ask for; None for the given.

    The one-to-one mapping π of labels to columns that maximises the mean over classes of the share
    with answer π(y) is found on every second member of each class, and compared on the rest:
    d = [answer = π(y)] − [answer = y], weighed by one over the class's size w, is better where
    Σ w d > 5 √(Σ w² d²); a numbering that is right passes that once in 270,000 times at most. Weighed
    so, a model that always says one class has no better numbering. Whether it is the cause, the result's
    `likely` says.

    Where that finds none, pairs of classes a, b are looked at, of which most members of each are answered as the other.
    Of those members whose answers are a or b, a model that does not tell a from b answers independently of the label, and
    one that knows something has the label's answer more often: Fisher's exact test (one-sided) against that, at 10⁻⁴
    over K (K − 1) / 2 pairs. All eleven and eleven members exchanged pass it among 10 classes. It is exact at every
    size for answers that are independent given the label; those of a network that learnt little are not, as it answers
    samples that are alike alike. Hence most members of the other classes must be right too.

    predicted, labels (n,) whole numbers of members, 0 to classes − 1. Assumes a model that learnt
    its classes.

    Source: Fisher, The logic of inductive inference, J. R. Stat. Soc. 98 (1935).

    >>> labels = np.arange(200) % 3
    >>> found = renumbered((labels + 1) % 3, labels, 3)
    >>> found.columns.tolist(), round(found.accuracy, 3), round(found.better, 3)
    ([1, 2, 0], 0.0, 1.0)
    >>> renumbered(labels, labels, 3) is None
    True
    """
    answer = given_numbers(predicted, "predicted").astype(np.int64)
    y = given_numbers(labels, "labels").astype(np.int64)
    if answer.shape != y.shape or y.ndim != 1 or classes < 2:
        raise InputError(
            f"predicted, labels: expected (members,) both and 2 classes or more, got {answer.shape}, "
            f"{y.shape} and {classes}"
        )
    if not y.size or min(y.min(), answer.min()) < 0 or max(y.max(), answer.max()) >= classes:
        return None
    size = np.bincount(y, minlength=classes)
    order = np.argsort(y, kind="stable")
    second = np.empty(len(y), dtype=np.bool_)
    second[order] = (np.arange(len(y)) - (np.cumsum(size) - size)[y[order]]) % 2 == 1
    table = np.zeros((classes, classes))
    np.add.at(table, (y[~second], answer[~second]), 1.0 / size[y[~second]])
    # Where another column is no better, a label keeps its own.
    table += 1e-9 * np.eye(classes)
    columns = scipy.optimize.linear_sum_assignment(table, maximize=True)[1].astype(np.int64)
    d = (answer == columns[y]).astype(np.float64) - (answer == y)
    w = d[second] / size[y[second]]
    judged = second
    if not w.sum() > _RENUMBERED * np.sqrt((w * w).sum()):
        # Pairs are tested on every member; what they are tested by holds whichever pair it is.
        columns, judged = _exchanged(answer, y, classes), np.ones_like(second)
        same = (columns == np.arange(classes))[y]
        kept = 1 / size[y[same]]
        known = float(kept @ (answer == y)[same] / kept.sum()) if same.any() else 0.0
        if same.all() or known <= _MOST:
            return None
    weight = 1 / (size[y] * (size > 0).sum())
    fits = answer == columns[y]
    changed = judged & (columns[y] != y)
    moved = float((w := 1 / size[y[changed]]) @ fits[changed] / w.sum())
    return Renumbered(columns, float(weight @ (answer == y)), float(weight @ fits), moved)


def _exchanged(answer: Int64Array, y: Int64Array, classes: int) -> Int64Array:
    """The numbering (K,) in which the classes of every pair that is surely exchanged change places."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (y, answer), 1)
    size, columns = table.sum(axis=1), np.arange(classes)
    first = table.argmax(axis=1)
    for a in np.flatnonzero(first > columns).tolist():
        b = int(first[a])
        if min(2 * table[a, b] - size[a], 2 * table[b, a] - size[b]) <= 0:
            continue
        pair = table[np.ix_([a, b], [a, b])]
        p = float(scipy.stats.fisher_exact(pair, alternative="less").pvalue)
        if p * classes * (classes - 1) / 2 <= _EXCHANGED:
            columns[[a, b]] = b, a
    return columns
