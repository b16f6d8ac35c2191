"""Whether a trained model answers its members far better on inputs that are prepared otherwise.

A model that was trained on standardised inputs and is asked about others answers nonsense that looks like
an answer. Where nothing of its training was watched, its own answers tell: it knows its members best on
inputs that are prepared as they were in its training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import optimize, special
from torch import nn

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.errors import SeepageError

__all__ = ["BetterPrepared", "answered_well", "better_prepared", "preparations", "settled"]

Change = Callable[[AnyArray], AnyArray]

# Published moments of the pixels of ImageNet on 0..1, as the weights of torchvision are asked.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CHANNELS = (1, 3, 4)
_BYTE = 255.0
# Rows whose moments stand for those of all, and values of them; values that are prepared at a time.
_MOMENTS, _VALUES = 4096, 2**23
_BLOCK = 2**22
# Members of a first look at every preparation, and of the comparison of the best.
_LOOK = 64
_ASKED = 320
_COMPARED = 2
_LEAST = 16
# A mean over classes of the share of members answered right must rise by so much to be told, by so much to
# be the likely truth,
_GAIN, _FAR = 0.05, 0.1
# and by more than chance would in one of so many honest models.
_CHANCE = 1e-3
_NEARLY_ALL = 0.9
# The loss at the best temperature must fall by so many nats, and standard errors, to be told; by so many
# nats to be the likely truth whatever the right answers. `python -m benchmarks.preparations` measures them.
_TOLD, _ERRORS = 0.05, 3.0
_CERTAIN = 0.25
# Loss that no training leaves, as a multiple of that of answers that say nothing; what falls to a part of it.
_BROKEN, _PART = 1.2, 3.0
# A network that knows its members has a loss at the best temperature below this part of ln K, and one that was
# asked about others gains so much of it.
_KNOWS, _FALL = 0.65, 0.15
# What is as good: of a share that is right.
_SAME = 0.01
# Loss and right answers of what is mended: hardly above answers that say nothing, hardly fewer.
_NEAR, _HARDLY = 1.01, 0.02
# Differences of logits beyond it are cut, minus infinity among them.
_LARGEST = 1e6
_MOST_LOSS = 100.0
_TEMPERATURES = (-6.0, 8.0)
# What may be left of the start in the statistics of BatchNorm.
_START = 0.02


@dataclass(frozen=True)
class BetterPrepared:
    """Members are answered far better on inputs that are prepared as `how` says.

    right: share of the members asked about that is right, as given and so prepared; balanced: the same as
    a mean over classes; loss: their mean loss in nats. members: how many were asked about. tried:
    preparations. told: nats by which the loss at the best temperature of each falls. sure: whether that,
    or the right answers, are beyond what an honest model comes to by chance, and it knows its members so.
    mended: whether the mean loss as given is one that no training leaves, and falls to a third.
    settled: False where the network's own statistics may be the reason, see `settled`: what it answers is
    nonsense then too. within: whether it is what the network's first layer reads that is prepared so, and not the
    inputs (`seepage.models.first_layer`).
    """

    how: str
    right: tuple[float, float]
    balanced: tuple[float, float]
    members: int
    tried: int
    settled: bool = True
    loss: tuple[float, float] = (math.nan, math.nan)
    told: float = 0.0
    sure: bool = False
    mended: bool = False
    within: bool = False

    @property
    def far(self) -> bool:
        """Whether figures as given are of nonsense: surely so, and by a tenth of the right answers (mean
        over classes), or by a quarter nat where a twentieth more are right or the loss is `mended`: a lower
        loss of as many right answers has other causes, and those who did not train the model are among them. Statistics
        that are not settled may come to a quarter nat alone."""
        risen = self.balanced[1] - self.balanced[0]
        lower = self.settled and self.told >= _CERTAIN and (risen >= _GAIN or self.mended)
        return self.sure and (risen >= _FAR or lower)

    @property
    def nearly_all(self) -> bool:
        """Whether nine tenths are right so prepared, which no model comes to that learnt nothing."""
        return self.balanced[1] > _NEARLY_ALL

    @property
    def words(self) -> str:
        """In one clause, with the figures."""
        return (
            f"members are right in {self.right[0]:.1%} as given and would be in {self.right[1]:.1%} {self.how}, "
            f"with a mean loss of {self.loss[1]:.3g} instead of {self.loss[0]:.3g} "
            f"(the best of {self.tried} preparations, {self.members:,} members asked)"
        )

    @property
    def headline(self) -> str:
        """The words, and that BatchNorm may be the reason where it may."""
        also = "" if self.settled else "; or BatchNorm saw too few batches to answer in eval mode"
        return self.words + also

    @property
    def cause(self) -> str:
        """What may be wrong, and what to do."""
        if self.within:
            return (
                "the network's own scaling of its inputs seems to be another than in training; give it the moments "
                "that it had there"
            )
        if self.settled:
            return "they seem to be prepared otherwise than in training; pass them as the model took them there"
        return (
            "they are prepared otherwise than in training, or the network's BatchNorm saw so few batches that "
            "answers in eval mode are nonsense; pass them as the model took them there, let more batches pass "
            "in training mode, or audit recorded outputs"
        )


def settled(network: nn.Module) -> bool:
    """Whether what layers of BatchNorm keep is that of the network's training, and not of their start.

    After n batches a share (1 − momentum)^n of the start is left, 0 and 1; above 0.02 a network answers
    nonsense in eval mode whatever its inputs, and may answer better on others. A count of 0 is that of
    statistics that were set, or are kept as they were.

    >>> settled(nn.Linear(2, 2)), settled(nn.BatchNorm1d(2))
    (True, True)
    >>> norm = nn.BatchNorm1d(2)
    >>> _ = norm(torch.rand(4, 2))
    >>> settled(norm)
    False
    """
    for m in network.modules():
        count = getattr(m, "num_batches_tracked", None)
        if not isinstance(count, torch.Tensor) or getattr(m, "momentum", None) is None:
            continue
        seen, momentum = int(count), float(m.momentum)  # type: ignore[arg-type]
        if seen and (1 - momentum) ** seen > _START:
            return False
    return True


def preparations(inputs: AnyArray) -> Mapping[str, Change]:
    """Common preparations of inputs (N, ...) of numbers, by how they are told; each keeps their type.

    Times and divided by 10 and 255; brought to 0..1, 0..255 and −1..1; standardised by the samples' own
    mean and deviation, per channel (column) and as a whole, which published moments of a data set come
    near; of three channels the moments of ImageNet, and all of it with the channels reversed (RGB and BGR); of
    images height and width exchanged, and channels last or first; of tables log(1 + x).

    Images are (N, C, H, W) or (N, H, W, C) with 1, 3 or 4 channels. Moments and ranges are those of at
    most 4,096 of the samples, evenly spaced, and 8 million values. A preparation that would change nothing is left out.

    >>> tried = preparations(np.array([[0.0, 2.0], [4.0, 6.0]]))
    >>> tried["standardised per column"](np.array([[0.0, 6.0]])).tolist()
    [[-1.0, 1.0]]
    """
    x = np.asarray(inputs)
    most_rows = max(1, min(_MOMENTS, _VALUES // max(1, math.prod(x.shape[1:]))))
    some = x[:: -(-len(x) // most_rows)].astype(np.float64)
    axis = _channels_at(x.shape)
    per = "channel" if axis is not None else "column"
    if axis is None:
        # Without channels each column has its own moments; of more axes than one they have one.
        over: tuple[int, ...] = (0,) if x.ndim == 2 else tuple(range(x.ndim))
    else:
        over = tuple(k for k in range(x.ndim) if k != axis)
    low, high = some.min(axis=over, keepdims=True), some.max(axis=over, keepdims=True)
    mean, sd = some.mean(axis=over, keepdims=True), some.std(axis=over, keepdims=True)
    least, most = float(some.min()), float(some.max())
    unit = _to(0.0, 1.0, low, high)
    tried: dict[str, Change] = {}
    if least >= 0 and most > 1 and most <= _BYTE:
        unit = _times(1 / _BYTE)
        tried["divided by 255"] = unit
    elif least >= 0 and most <= 1:
        unit = _times(1.0)
        tried["times 255"] = _times(_BYTE)
    else:
        tried["divided by 255"], tried["times 255"] = _times(1 / _BYTE), _times(_BYTE)
        tried["brought to 0..1"], tried["brought to 0..255"] = unit, _to(0.0, _BYTE, low, high)
    tried["divided by 10"], tried["times 10"] = _times(0.1), _times(10.0)
    tried[f"standardised per {per}"] = _to_moments(mean, sd)
    if mean.size > 1:
        tried["standardised as a whole"] = _to_moments(some.mean(), some.std())
    tried["brought to −1..1"] = lambda v: 2 * unit(v) - 1
    if x.ndim == 2 and least >= 0:
        tried["as log(1 + x)"] = np.log1p
    if axis is not None and x.shape[axis] == 3:
        shape = [3 if k == axis else 1 for k in range(x.ndim)]
        m, s = (np.array(v).reshape(shape) for v in _IMAGENET)
        tried["brought to 0..1 and standardised by the moments of ImageNet"] = lambda v: (
            (unit(v) - m) / s
        )
        plain = dict(tried)
        tried["with the channels reversed"] = lambda v: np.flip(v, axis)
        for how, change in plain.items():
            tried[f"{how}, with the channels reversed"] = _after(change, lambda v: np.flip(v, axis))
    if axis is not None:
        a, b = (k for k in (1, 2, 3) if k != axis)
        tried["with height and width exchanged"] = lambda v: np.swapaxes(v, a, b)
        to = 3 if axis == 1 else 1
        tried[f"with the channels {'last' if to == 3 else 'first'}"] = lambda v: np.moveaxis(
            v, axis, to
        )
    return {how: _typed(change, x.dtype) for how, change in tried.items()}


def answered_well(logits: Float64Array, labels: Int64Array) -> bool:
    """Whether members are answered so well that `better_prepared` tries nothing; logits (M, K), labels (M,).

    >>> y = np.arange(40) % 2
    >>> answered_well(9.0 * np.eye(2)[y], y), answered_well(9.0 * np.eye(2)[1 - y], y)
    (True, False)
    """
    return _Seen.of(logits, labels).well


def better_prepared(
    answer: Callable[[AnyArray], Float64Array],
    inputs: AnyArray,
    members: Int64Array,
    labels: Int64Array,
    asked: Float64Array | None = None,
) -> BetterPrepared | None:
    """The preparation with which a model is right on its members far more often than as given, or None.

    answer: inputs (B, ...) -> logits, or log-probabilities, (B, K) float64, in eval mode. inputs (N, ...) of all samples,
    numbers; members (M,): positions of those who trained it; labels (N,) class numbers; asked (N, K):
    its answers as given, where they are known.

    64 members at most are asked about in every one of `preparations`, and 320 at most in the two that had most
    right and the two with the least loss. With d = [right so prepared] − [right as given], w one over the
    number of members of the class, ℓ a member's loss (cross-entropy) and ℓ* its loss where all logits are
    divided by the temperature that makes the members' mean least, so that answers that are merely surer are no better, a
    preparation is better where no fewer members are right, also as a mean over classes, the mean of ℓ falls, and one of these holds:

    - signs: Σ w d exceeds 0.05 Σ w, and √(2 ln(T / 10⁻³) Σ w² d²) of T that were tried: where prepared inputs
      make as many answers right as they make wrong, that happens for one model in 1,000 at most (exp(−z²/2)
      bounds a sum of signs, and T of them are added up). Weighed so, a model that says one class alone gains
      nothing;
    - loss: the mean of ℓ*, and Σ w ℓ* / Σ w, fall by 0.05 nats, the first by 3 standard errors of the paired
      differences.

    Or where hardly fewer are right (2 of 100), the mean of ℓ as given exceeds 1.2 ln K, which answers that say
    nothing have and training brings down, and falls to a third and below ln K. `sure` is what is beyond chance, by the
    signs or, with √(2 ln(T / 10⁻³)) standard errors, by ℓ*, where ℓ* falls by 0.05 nats and the model knows its
    members so prepared (ℓ* below 0.65 ln K, and by 0.15 ln K less) or the loss as given exceeds 1.2 ln K; then ℓ need not fall where it lies below ln K.

    Nothing is tried where members are right in more than 95 of 100 with a loss below 1.2 ln K, where there are fewer than 16, and
    where inputs are whole numbers with a sign, which may be tokens. Fails to see other preparations,
    combinations of those, and models that answer alike whatever the preparation. May be wrong of models that were
    trained so little that inputs of more contrast are answered better than their own.

    Source: the bound is that of Hoeffding (1963) for sums of bounded symmetric variables; the thresholds on
    losses are measured (`docs/preparations-measured.md`).

    >>> x = np.linspace(0, 1, 400)[:, None] * np.array([1.0, 100.0])
    >>> y = (np.linspace(0, 1, 400) > 0.5).astype(np.int64)
    >>> found = better_prepared(lambda v: v[:, :1] * [-1.0, 1.0], x, np.arange(400), y)
    >>> found.how, found.right[1], found.far
    ('standardised per column', 1.0, True)
    """
    x = np.asarray(inputs)
    if x.dtype.kind not in "fu" or len(members) < _LEAST:
        return None
    rows = np.random.default_rng(0).permutation(members)[:_ASKED]
    if not np.isfinite(x[rows]).all():
        return None
    y = labels[rows]
    known = answer(x[rows]) if asked is None else np.asarray(asked)[rows]
    if known.ndim != 2 or known.shape[1] <= y.max():
        return None
    given = _Seen.of(known, y)
    if given.well:
        return None
    tried = preparations(x)
    look = min(_LOOK, max(_LEAST, len(x) // (2 * len(tried))))
    first: dict[str, _Seen] = {}
    for how, change in tried.items():
        found = _answered(answer, change, x[rows[:look]])
        if found is not None:
            first[how] = _Seen.of(found, y[:look], given.weight[:look])
    most = sorted(first, key=lambda k: -first[k].balanced)[:_COMPARED]
    least = sorted(first, key=lambda k: first[k].least)[:_COMPARED]
    best: BetterPrepared | None = None
    # Of those that are as good the first, which changes least.
    lowest = math.inf
    for how in (k for k in tried if k in {*most, *least}):
        found = _answered(answer, tried[how], x[rows])
        if found is None:
            continue
        now = _Seen.of(found, y)
        one = _compared(how, given, now, len(tried))
        if one is None or (best is not None and best.far and not one.far):
            continue
        risen = one.balanced[1] - (best.balanced[1] if best is not None else 0.0)
        better = risen > _SAME or (risen >= -_SAME and now.least < lowest - _TOLD)
        if best is None or (one.far and not best.far) or better:
            best, lowest = one, now.least
    return best


def _compared(how: str, given: _Seen, now: _Seen, tried: int) -> BetterPrepared | None:
    """Whether answers to prepared inputs are better than those to given ones, by the rule of `better_prepared`."""
    bound = math.sqrt(2 * math.log(tried / _CHANCE))
    d = now.right.astype(np.float64) - given.right
    w = given.weight * d
    risen = now.balanced - given.balanced
    told = given.own - now.own
    fallen, error = float(told.mean()), float(told.std() / math.sqrt(len(told)))
    evenly = float(given.weight @ told / given.weight.sum())
    falls, kept = now.loss < given.loss, d.sum() >= 0 and risen >= 0
    broken = given.loss > _BROKEN * given.chance
    signs = w.sum() > bound * np.sqrt(w @ w) and risen >= _GAIN and d.sum() > 0
    sure = (
        (falls or now.loss < given.chance)
        and kept
        and min(fallen, evenly) >= _TOLD
        and (signs or fallen > bound * error)
        and (broken or (now.least < _KNOWS * given.chance and fallen >= _FALL * given.chance))
    )
    loss = min(fallen, evenly) >= _TOLD and fallen > _ERRORS * error
    mended = broken and now.loss * _PART < given.loss
    told_alone = mended and now.loss < _NEAR * given.chance and d.mean() >= -_HARDLY
    if not (sure or told_alone or (falls and kept and (signs or loss))):
        return None
    return BetterPrepared(
        how,
        (float(given.right.mean()), float(now.right.mean())),
        (given.balanced, now.balanced),
        len(d),
        tried,
        loss=(given.loss, now.loss),
        told=fallen,
        sure=bool(sure),
        mended=bool(mended),
    )


@dataclass(frozen=True, eq=False)
class _Seen:
    """Answers to some members.

    right (M,) bool; weight (M,): one over the number of members of the class; own (M,): losses at the best
    temperature; loss: the mean loss as it is; chance: that of answers that say nothing, ln K.
    """

    right: BoolArray
    weight: Float64Array
    own: Float64Array
    loss: float
    chance: float

    @classmethod
    def of(
        cls, logits: Float64Array, labels: Int64Array, weight: Float64Array | None = None
    ) -> _Seen:
        if weight is None:
            weight = 1 / np.bincount(labels)[labels]
        own = np.minimum(_losses(logits, labels), _MOST_LOSS)
        return cls(
            logits.argmax(axis=1) == labels,
            weight,
            _at_best_temperature(logits, labels),
            float(own.mean()),
            math.log(max(2, len(np.unique(labels)))),
        )

    @property
    def balanced(self) -> float:
        """The mean over classes of the share that is right."""
        return float(self.weight @ self.right / self.weight.sum())

    @property
    def least(self) -> float:
        """The mean loss at the best temperature."""
        return float(self.own.mean())

    @property
    def well(self) -> bool:
        """Whether members are answered so well that no preparation can be far better."""
        return self.balanced > 1 - _GAIN and self.loss < _BROKEN * self.chance


def _answered(
    answer: Callable[[AnyArray], Float64Array], change: Change, x: AnyArray
) -> Float64Array | None:
    """The model's answers, or None where it takes no such values."""
    step = max(1, _BLOCK // max(1, math.prod(x.shape[1:])))
    parts = []
    for at in range(0, len(x), step):
        with np.errstate(all="ignore"):
            values = change(x[at : at + step])
        if not np.isfinite(values).all():
            return None
        try:
            parts.append(answer(values))
        except (SeepageError, RuntimeError, ValueError, IndexError, TypeError):
            return None
    return np.concatenate(parts)


def _losses(logits: Float64Array, labels: Int64Array) -> Float64Array:
    """The cross-entropy of each in nats."""
    own = logits[np.arange(len(labels)), labels]
    losses: Float64Array = special.logsumexp(logits, axis=1) - own
    return losses


def _at_best_temperature(logits: Float64Array, labels: Int64Array) -> Float64Array:
    """The cross-entropy of each where logits are divided by the temperature at which their mean is least.

    That mean is convex in 1/temperature, which is looked for from 1/400 to 3,000 of the largest difference of logits.
    """
    z = np.maximum(logits - logits.max(axis=1, keepdims=True), -_LARGEST)
    z = z / max(float(-z.min()), np.finfo(np.float64).tiny)
    found = optimize.minimize_scalar(
        lambda t: float(_losses(math.exp(t) * z, labels).mean()),
        bounds=_TEMPERATURES,
        method="bounded",
    )
    return _losses(math.exp(float(found.x)) * z, labels)


def _channels_at(shape: tuple[int, ...]) -> int | None:
    """The axis of the channels of images; None of what has none."""
    if len(shape) != 4:
        return None
    return 1 if shape[1] in _CHANNELS else 3 if shape[3] in _CHANNELS else None


def _times(factor: float) -> Change:
    return lambda v: v * factor


def _to(a: float, b: float, low: Float64Array, high: Float64Array) -> Change:
    wide = np.where(high > low, high - low, 1.0)
    return lambda v: a + (b - a) * (v - low) / wide


def _to_moments(mean: Float64Array, sd: Float64Array) -> Change:
    spread = np.where(sd > 0, sd, 1.0)
    return lambda v: (v - mean) / spread


def _after(first: Change, then: Change) -> Change:
    return lambda v: then(first(v))


def _typed(change: Change, dtype: np.dtype) -> Change:
    """In double precision, and then in the type of the inputs; bytes become single precision."""
    wanted = dtype if dtype.kind == "f" else np.dtype(np.float32)
    return lambda v: np.ascontiguousarray(change(v.astype(np.float64))).astype(wanted)
