"""Every value of arrays that are imported, looked at once before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from seepage.array_types import AnyArray, BoolArray
from seepage.errors import InputError
from seepage.fleet.given_signals import Given
from seepage.models.outputs import Simplex
from seepage.signals.tasks import Task

__all__ = ["Progress", "looked_over"]

Progress = Callable[[str, int, int], None]
"""What is done, how many blocks of it, and of how many."""

# Beyond it the difference of two logits may not fit into the 32 bits that are stored.
_LARGEST_LOGIT = 1e37
_SUM = 1e-2
# Of fewer values of φ all may have one sign.
_FEW = 50


def looked_over(
    signals: Mapping[str, Given],
    member: BoolArray,
    times: int,
    progress: Progress | None,
    kind: Task,
) -> tuple[list[str], float | None]:
    """Every value of every signal, once: (doubts, what probabilities of 0 are raised to).

    member (R, N); times: checkpoints.
    """
    blocks = [(r, t) for r in range(len(member)) for t in range(times)]
    total = len(blocks) * len(signals)
    doubts: list[str] = []
    least, done = None, 0
    for name, signal in signals.items():
        looks: _Plain = _Plain(signal)
        if name == "logits" and kind.name not in ("multi-label", "regression"):
            looks = _Logits(signal)
        elif name == "probabilities" and kind.name != "regression":
            looks = _Probabilities(signal, each=kind.name == "multi-label")
        elif name == "logits" and kind.name == "multi-label":
            looks = _LabelLogits(signal)
        elif name == "phi" and kind.classes:
            looks = _Phi(signal)
        for k, _ in enumerate(signal.check(blocks)):
            looks.see(signal.raw(*blocks[k]), member[blocks[k][0]])
            done += 1
            if progress is not None:
                progress("checking", done, total)
        doubts += looks.doubts()
        least = looks.least() if isinstance(looks, _Probabilities) else least
    return doubts, least


class _Plain:
    """What is noticed of a signal that is stored as it is."""

    def __init__(self, signal: Given) -> None:
        self.signal = signal

    def see(self, a: AnyArray, member: BoolArray) -> None:
        """One block (N, ...), and who of it are members (N,)."""

    def doubts(self) -> list[str]:
        """What the user must know."""
        if self.signal.values.dtype == np.float16:
            return [
                f"{self.signal.name}: was given in half precision, whose steps are .05 to .1 % of a "
                "value; save 32-bit floats"
            ]
        return []


class _Logits(_Plain):
    """Whether logits are logits, and small enough."""

    def __init__(self, signal: Given) -> None:
        super().__init__(signal)
        self._simplex = Simplex()

    def see(self, a: AnyArray, member: BoolArray) -> None:
        largest = float(np.abs(a).max())  # half precision does not hold the bound
        if largest > _LARGEST_LOGIT:
            raise InputError(
                f"{self.signal.where}: logits: expected values of at most {_LARGEST_LOGIT:g}, got "
                f"{largest:g}; scale them first"
            )
        rows = np.ascontiguousarray(a.reshape(-1, a.shape[-1]), dtype=np.float64)
        self._simplex.see(torch.from_numpy(rows))

    def doubts(self) -> list[str]:
        if self._simplex.found:
            raise InputError(
                f"{self.signal.where}: logits: expected logits, got probabilities: every row lies in "
                "[0, 1] and sums to one; save what enters the softmax, or save them as `probabilities`"
            )
        return super().doubts()


class _LabelLogits(_Plain):
    """Whether logits of several labels are logits: those of sigmoids lie in [0, 1] everywhere."""

    def __init__(self, signal: Given) -> None:
        super().__init__(signal)
        self._low, self._high = np.inf, -np.inf

    def see(self, a: AnyArray, member: BoolArray) -> None:
        self._low, self._high = min(self._low, float(a.min())), max(self._high, float(a.max()))

    def doubts(self) -> list[str]:
        if self._low >= 0 and self._high <= 1:
            raise InputError(
                f"{self.signal.where}: logits: expected logits, got values in {self._low:g}.."
                f"{self._high:g}, as of probabilities; save them as `probabilities`, or what enters the "
                "sigmoid"
            )
        return super().doubts()


class _Phi(_Plain):
    """Whether φ can be log p − log(1 − p): above 0 where p is above ½, and below 0 elsewhere."""

    def __init__(self, signal: Given) -> None:
        super().__init__(signal)
        self._low, self._high = np.inf, -np.inf
        self._seen = 0
        self._sums = np.zeros((2, 2))

    def see(self, a: AnyArray, member: BoolArray) -> None:
        self._low, self._high = min(self._low, float(a.min())), max(self._high, float(a.max()))
        self._seen += a.size
        for k, who in enumerate((member, ~member)):
            self._sums[k] += a[who].sum(dtype=np.float64), a[who].size

    def doubts(self) -> list[str]:
        found = super().doubts()
        own, others = self._sums[:, 0] / np.maximum(self._sums[:, 1], 1)
        all_of = f"phi: all {self._seen:,} values lie in {self._low:.3g}..{self._high:.3g}"
        if self._seen < _FEW or self._low == self._high or self._low < 0 < self._high:
            return found
        if self._high <= 0:
            what, loss = "log p (or of models that put nobody above ½)", "minus them"
        elif own < others:
            what, loss = "losses, lower for members", "them"
        elif self._high <= 1:
            what, loss = "probabilities", "−log p"
        else:
            return found
        return [
            *found,
            f"{all_of}, as of {what}, and not as of log p − log(1 − p), which is below 0 where p is below ½ and "
            f"above 0 elsewhere: where they are, save {loss} as `loss` of an .npz and import with "
            "cross_entropy=True (--cross-entropy), from which phi follows; attacks that fit a law to phi lose by it",
        ]


class _Probabilities(_Plain):
    """Whether they are probabilities, and how many are exactly 0 or 1. each: of a label each."""

    def __init__(self, signal: Given, each: bool = False) -> None:
        super().__init__(signal)
        self.each = each
        self.zeros = self.ones = self.seen = 0
        self.smallest = np.inf

    def see(self, a: AnyArray, member: BoolArray) -> None:
        if self.each and not bool(((a >= 0) & (a <= 1)).all()):
            raise InputError(
                f"{self.signal.where}: probabilities: expected values in [0, 1], one per label, got "
                f"{a.min():g}..{a.max():g}; save logits as `logits`"
            )
        if not self.each and not _on_simplex(a.reshape(-1, a.shape[-1])):
            raise InputError(
                f"{self.signal.where}: probabilities: expected rows in [0, 1] that sum to 1, got "
                f"values in {a.min():g}..{a.max():g} with sums in {a.sum(-1, dtype=float).min():g}.."
                f"{a.sum(-1, dtype=float).max():g}; save logits as `logits`"
            )
        self.zeros += int((a <= 0).sum())
        self.ones += int((a >= 1).sum())
        self.seen += a.size
        above = a[a > 0]
        if self.each:
            rest = 1 - a.astype(np.float64)
            above = np.concatenate([above.astype(np.float64).ravel(), rest[rest > 0].ravel()])
        self.smallest = min(self.smallest, float(above.min()) if above.size else np.inf)

    def least(self) -> float:
        """What 0 is raised to: half of the smallest that is above it."""
        return self.smallest / 2

    def doubts(self) -> list[str]:
        found = super().doubts()
        if self.zeros or self.ones:
            found.append(
                f"probabilities: {self.zeros} of {self.seen} are exactly 0 and {self.ones} exactly 1 "
                f"in {self.signal.values.dtype}; 0 is taken for {self.least():.3g}, half of the "
                "smallest above it, so phi and loss end there; save logits, or 64-bit probabilities"
            )
        return found


def _on_simplex(rows: AnyArray) -> bool:
    p = rows.astype(np.float64)
    return bool(((p >= 0) & (p <= 1)).all() and (np.abs(p.sum(1) - 1) <= _SUM).all())
