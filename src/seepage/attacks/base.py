"""The attack contract and the one driver that makes every model the target once."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, final

import numpy as np

from seepage.array_types import BoolArray, FloatArray, IntArray
from seepage.errors import InputError, SeepageError
from seepage.given_arrays import given_array
from seepage.plan import partitions, tuples

__all__ = [
    "Access",
    "Attack",
    "AttackError",
    "BalanceWarning",
    "SignalSource",
    "Signals",
    "Source",
    "fewest_references",
    "reference_rows",
]

Signals = FloatArray | Mapping[str, FloatArray]
Access = Literal["label", "scores", "weights"]
"""What an attacker must see of a model: the label it answers, its scores or loss, its weights."""


class BalanceWarning(UserWarning):
    """The plan lets the number of IN references reveal who is a member."""


class AttackError(SeepageError, RuntimeError):
    """An attack broke its contract: it returned scores of another shape, or NaN."""


class SignalSource(Protocol):
    """Signals of a finished run: the least that a score needs, every name taken to be there."""

    @property
    def member(self) -> BoolArray:
        """(R, N) bool."""

    @property
    def checkpoints(self) -> FloatArray:
        """(T,) epochs, ascending."""

    def signal_at(self, name: str, t: int, /) -> FloatArray:
        """One checkpoint of a signal, (R, N[, A])."""


class Source(SignalSource, Protocol):
    """What an attack is bound to: `seepage.store.Run`, or anything that lists what it holds."""

    @property
    def labels(self) -> IntArray:
        """(N,) classes, from 0."""

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the signals that are held."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """How the signals were made."""


def reference_rows(member: BoolArray) -> BoolArray:
    """Which models may serve as references of which target: (R, N) bool -> (R, R) bool.

    Row r leaves out r and its whole complementary tuple, or what is left of it (see
    `seepage.plan.partitions`), so that every sample keeps equally many IN and OUT references
    whatever its membership in r.
    """
    partition = partitions(member)
    return np.asarray(partition[:, None] != partition[None, :])


def fewest_references(member: BoolArray) -> tuple[int, int]:
    """The least IN and OUT references that any sample has for any target: (R, N) bool.

    Targets of one tuple leave out the same runs: each tuple is counted once, and memory grows with
    R · N alone.

    >>> fewest_references(np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=bool))
    (1, 1)
    """
    total = member.sum(axis=0, dtype=np.int32)
    n_in = n_out = len(member)
    partition = partitions(member)
    order = np.argsort(partition, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(partition[order])) + 1):
        inside = total - member[rows].sum(axis=0, dtype=np.int32)
        n_in = min(n_in, int(inside.min()))
        n_out = min(n_out, int(len(member) - len(rows) - inside.max()))
    return n_in, n_out


@dataclass(frozen=True)
class Attack(ABC):
    """A pure map from signals and membership to a score; higher = more likely a member.

    Subclasses are frozen dataclasses whose fields are the options. They set the class attributes
    below and implement `run`; those with a faster way to do all targets at once override
    `run_all`. `score` and `leave_one_out` are final: they check shapes, finiteness and counts.

    name: what the command line calls it; title: what reports call it. reference: the paper, with
    its arXiv id. reconstruction: its text was not available. access: what the attacker must see of
    the target. requires: the signals it reads, the first one when a plain array is passed.
    first_view: it reads the first view of them alone. min_in, min_out: references it needs of each
    kind for every sample. threshold: the score at or above which the attack's own decision rule
    says "member", or None when it has no natural one.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str] = ""
    reconstruction: ClassVar[bool] = False
    access: ClassVar[Access] = "scores"
    requires: ClassVar[tuple[str, ...]] = ("phi",)
    first_view: ClassVar[bool] = False
    min_in: ClassVar[int] = 0
    min_out: ClassVar[int] = 0
    threshold: ClassVar[float | None] = None

    @abstractmethod
    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        """Scores of one target: {name: (N, A)}, {name: (R, N, A)}, (R, N) -> (N,) float64."""

    def bound(self, source: Source) -> Attack:
        """This attack, reading what `source` holds; itself unless overridden."""
        return self

    @property
    def by_sample(self) -> bool:
        """Whether a sample's score reads no other sample, so that blocks of them score alike."""
        return False

    def run_all(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        """Scores of every target: {name: (R, N, A)}, (R, N), (R, R) bool -> (R, N).

        `use[r]` are the references of target r. This default calls `run` target by target.
        """
        out = np.empty(member.shape, dtype=np.float64)
        for r in range(len(member)):
            target = {k: v[r] for k, v in signals.items()}
            references = {k: v[use[r]] for k, v in signals.items()}
            out[r] = self.run(target, references, member[use[r]])
        return out

    @final
    def score(self, target: Signals, references: Signals, member: BoolArray) -> FloatArray:
        """Score of every sample for one target; higher = more likely a member.

        target (N[, A]), references (R, N[, A]), member (R, N) bool, or mappings name -> array of
        these shapes -> (N,) float64. Raises InputError on shapes, non-finite values or too few
        references.
        """
        ref = self._gather(references, "references", axes=2)
        tgt = self._gather(target, "target", axes=1)
        member = self._member(member, ref)
        for key in self.requires:
            if tgt[key].shape != ref[key].shape[1:]:
                raise InputError(
                    f"target[{key}]: expected shape {ref[key].shape[1:]} as the references have, "
                    f"got {tgt[key].shape}"
                )
        inside = member.sum(axis=0)
        self._enough(int(inside.min()), int(len(member) - inside.max()), 1)
        self._finite(tgt, np.ones((1, member.shape[1]), dtype=np.bool_), "target")
        self._finite(ref, self._read(member), "references")
        return self._called(member.shape[1:], self.run, tgt, ref, member)

    @final
    def leave_one_out(self, signal: Signals, member: BoolArray) -> FloatArray:
        """Every model once the target, without its tuple: (R, N[, A]), (R, N) -> (R, N)."""
        signals = self._gather(signal, "signal", axes=2)
        member = self._member(member, signals)
        use = reference_rows(member)
        if self.min_in or self.min_out:
            together = int((~use).sum(axis=1).max())
            self._enough(*fewest_references(member), together)
        # Every entry is read when its model is the target, whatever its membership.
        self._finite(signals, np.ones(member.shape, dtype=np.bool_), "signal")
        counts = member.sum(axis=0)
        leaks = len(member) > 1 and (tuples(member) < 0).all() and (counts == counts[0]).all()
        if (self.min_in or self.min_out) and leaks:
            warnings.warn(
                "member: every sample is IN equally often but runs have no complementary runs, "
                "so the count of IN references reveals who is a member; "
                "use seepage.half_split or seepage.subsets",
                BalanceWarning,
                stacklevel=2,
            )
        return self._called(member.shape, self.run_all, signals, member, use)

    @property
    def reads_in(self) -> bool:
        """Whether IN references are read at all; an offline attack ignores them."""
        return self.min_in > 0

    def _read(self, member: BoolArray) -> BoolArray:
        return np.ones_like(member) if self.reads_in else ~member

    def _gather(self, given: Signals, what: str, *, axes: int) -> dict[str, FloatArray]:
        if isinstance(given, Mapping):
            missing = [k for k in self.requires if k not in given]
            if missing:
                raise InputError(
                    f"{what}: expected the signals {', '.join(self.requires)}, "
                    f"{missing[0]} is missing; record it or choose another attack"
                )
            arrays = {k: given_array(given[k], f"{what}[{k}]") for k in self.requires}
        elif len(self.requires) == 1:
            arrays = {self.requires[0]: given_array(given, what)}
        else:
            raise InputError(
                f"{what}: {self.name} reads {', '.join(self.requires)}; pass a mapping of arrays"
            )
        for key, a in arrays.items():
            if a.ndim not in (axes, axes + 1):
                shape = "(models, samples[, views])" if axes == 2 else "(samples[, views])"
                raise InputError(f"{what}[{key}]: expected shape {shape}, got {a.shape}")
            if a.ndim == axes:
                arrays[key] = a[..., None]
        return arrays

    def _member(self, member: BoolArray, signals: Mapping[str, FloatArray]) -> BoolArray:
        member = given_array(member, "member")
        shape = next(iter(signals.values())).shape[:2]
        if member.dtype != np.bool_ or member.shape != shape:
            raise InputError(
                f"member: expected bool of shape {shape} as the references have, "
                f"got {member.dtype} of shape {member.shape}"
            )
        return member

    def _enough(self, n_in: int, n_out: int, together: int) -> None:
        """Refuse too few references; together: runs that each target is judged without."""
        if n_in < self.min_in or n_out < self.min_out:
            raise InputError(
                f"models: {self.name} needs at least {self.min_in} IN and {self.min_out} OUT "
                f"references for every sample, got {n_in} and {n_out}; "
                + (
                    f"each target is scored without the {together} runs of its tuple: train "
                    "more tuples"
                    if together > 2
                    else "train more models"
                )
            )

    def _finite(self, signals: Mapping[str, FloatArray], read: BoolArray, what: str) -> None:
        for key, a in signals.items():
            if np.isfinite(a.sum(dtype=np.float64)):
                continue
            bad = ~np.isfinite(a).all(axis=-1) & read
            if bad.any():
                where = tuple(int(i) for i in np.argwhere(bad)[0])
                raise InputError(
                    f"{what}[{key}]: expected finite values, got "
                    f"{int(bad.sum())} non-finite, the first at {where}; leave that run out"
                )

    def _called(
        self, shape: tuple[int, ...], run: Callable[..., FloatArray], *given: Any
    ) -> FloatArray:
        """Scores of `run`, checked; an attack from outside gets arrays that it cannot change."""
        if type(self).__module__.partition(".")[0] == "seepage":
            return self._checked(np.asarray(run(*given)), shape)
        try:
            scores = run(*(_read_only(g) for g in given))
        except SeepageError:
            raise
        except Exception as e:
            text = " ".join(str(e).split())[:200]
            raise AttackError(f"{self.name}: its run raised {type(e).__name__}: {text}") from e
        return self._checked(np.asarray(scores), shape)

    def _checked(self, scores: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        if scores.shape != shape:
            raise AttackError(
                f"{self.name}: expected scores of shape {shape}, got {scores.shape}; fix "
                f"{type(self).__name__}"
            )
        if scores.dtype.kind not in "fiub":
            raise AttackError(
                f"{self.name}: expected real numbers as scores, got {scores.dtype}; fix "
                f"{type(self).__name__}"
            )
        scores = scores.astype(np.float64, copy=False)
        if np.isnan(scores).any():
            raise AttackError(
                f"{self.name}: expected scores that are numbers, got {int(np.isnan(scores).sum())} "
                f"NaN; fix {type(self).__name__}"
            )
        return scores


def _read_only(given: Any) -> Any:
    """Views that cannot be written to, of arrays and of mappings of them."""
    if isinstance(given, Mapping):
        return {name: _read_only(a) for name, a in given.items()}
    view = given.view()
    view.flags.writeable = False
    return view
