"""The attack contract and the one driver that makes every model the target once."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, final

import numpy as np

from seepage.array_types import BoolArray, FloatArray, Int64Array, IntArray
from seepage.attacks.blocks import Blocks, BlockScorer
from seepage.attacks.leaving import Matched, realigned, way_of
from seepage.attacks.reference_counts import by_plan
from seepage.errors import InputError, SeepageError
from seepage.given_arrays import given_numbers
from seepage.metrics import operating_points
from seepage.plan import judged, partitions

__all__ = [
    "Access",
    "Attack",
    "AttackError",
    "BalanceWarning",
    "SignalSource",
    "Signals",
    "Source",
    "too_few",
]

Signals = FloatArray | Mapping[str, FloatArray]
Access = Literal["label", "scores", "weights", "trajectory"]
"""What an attacker must see of a model: the label it answers, its scores or loss, its weights (those of
every checkpoint where the attack reads a trajectory), or
its scores at several checkpoints of training."""

TIMELESS = ("labels",)
"""What attacks may require that no training changes: one value per sample at every checkpoint."""

WIDE = ("logits", "grad_layers", "grad_last", "augmented_correct", "loss_shape")
"""What attacks may require whose last axis holds no views: classes, layers, outputs, copies, features."""


# Samples that are looked at to say what an attack reads on noise.
_ON_NOISE = 2000
_LARGEST = 1e150


class BalanceWarning(UserWarning):
    """The plan lets the references reveal who is a member, and no way to leave them out mends it."""


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


def too_few(attack: Attack, member: BoolArray) -> str | None:
    """What the attack needs of a plan (R, N) and does not get, with the numbers; None when it does."""
    if not (attack.min_in or attack.min_out):
        return None
    partition = partitions(member)
    together = int(np.bincount(partition, minlength=1).max())
    return attack._lack(
        *by_plan(member, partition, way_of(member, partition)),
        judged(member),
        len(member),
        together,
    )


# With eq its base would have no field to compare, and all options of one class would be equal.
@dataclass(frozen=True, eq=False)
class Attack(ABC):
    """A pure map from signals and membership to a score; higher = more likely a member.

    Subclasses are frozen dataclasses whose fields are the options. They set the class attributes
    below and implement `run`; those with a faster way to do all targets at once override
    `run_all`. `score` and `leave_one_out` are final: they check shapes, finiteness and counts.

    name: what the command line calls it; title: what reports call it. reference: the paper, with
    its arXiv id. reconstruction: its text was not available. access: what the attacker must see of
    the target. requires: the signals it reads, the first one when a plain array is passed; "labels"
    are the classes of the samples, and what is no number per view (`WIDE`) has its own last axis, such
    as "logits" with classes. first_view: it reads the first view of them alone. trajectory: it reads
    all checkpoints up to the one that is scored, so that its arrays have an axis of checkpoints
    after that of samples, (R, N, T, A); labels have none. min_in, min_out: references it needs of
    each kind for every sample. queries: how often each model is asked about a sample at each view
    and checkpoint; of "weights", passes through the network. fitted: it learns a rule from the answers of references and asks it
    about the target's. on_request: audits run it only where it is named, since it costs many times
    what others do. of_texts: it reads signals that only log-probabilities of tokens give. threshold: the score at or above which the attack's own decision rule says
    "member", or None when it has no natural one. aligns: of other samples, a score reads only what
    all have in common, such as a prior, so that runs may be realigned sample by sample and samples
    left away. caveat: what to know before its figures are believed, said wherever they are shown.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str] = ""
    reconstruction: ClassVar[bool] = False
    access: ClassVar[Access] = "scores"
    requires: ClassVar[tuple[str, ...]] = ("phi",)
    first_view: ClassVar[bool] = False
    trajectory: ClassVar[bool] = False
    min_in: ClassVar[int] = 0
    min_out: ClassVar[int] = 0
    queries: ClassVar[int] = 1
    fitted: ClassVar[bool] = False
    threshold: ClassVar[float | None] = None
    on_request: ClassVar[bool] = False
    of_texts: ClassVar[bool] = False
    aligns: ClassVar[bool] = False
    caveat: ClassVar[str] = ""

    @abstractmethod
    def run(
        self,
        target: Mapping[str, FloatArray],
        references: Mapping[str, FloatArray],
        member: BoolArray,
    ) -> FloatArray:
        """Scores of one target: {name: (N, A)}, {name: (R, N, A)}, (R, N) -> (N,) float64.

        With an axis of checkpoints before that of views where the attack reads a `trajectory`.
        """

    def bound(self, source: Source) -> Attack:
        """This attack, reading what `source` holds; itself unless overridden."""
        return self

    @property
    def log_ratio(self) -> bool:
        """Whether a score is the log-ratio of a record's likelihoods, IN over OUT, in nats.

        Such scores have a zero of their own, and those of a subject's records are summed as they
        are; others are taken relative to their mean first (`seepage.attacks.subjects`).
        """
        return False

    @property
    def by_sample(self) -> bool:
        """Whether a sample's score reads no other sample, so that blocks of them score alike."""
        return False

    @property
    def in_blocks(self) -> bool:
        """Whether `by_blocks` can score blocks of samples: by default where that is `by_sample`."""
        return self.by_sample

    def by_blocks(self, blocks: Blocks, use: BoolArray) -> BlockScorer:
        """How a block is scored, once what all samples share was taken from `blocks`."""
        return lambda signals, member, targets: self.run_all(signals, member, use)[targets]

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

    def run_matched(
        self, signals: Mapping[str, FloatArray], member: BoolArray, matched: Matched
    ) -> FloatArray:
        """Scores of every target where references are matched sample by sample: -> (R, N).

        For samples that are all judged. Realigned runs are scored by `run_all` where the attack
        `aligns`; else `run` is called target by target.
        """
        if self.aligns:
            return matched.scores(self.run_all, signals)
        out = np.empty(member.shape, dtype=np.float64)
        for r in range(len(member)):
            which, inside = matched.references(r)
            target = {k: v[r] for k, v in signals.items()}
            chosen = {k: realigned(v, which) for k, v in signals.items()}
            out[r] = self.run(target, chosen, inside)
        return out

    @property
    def models(self) -> int:
        """The fewest models of complementary pairs that give every sample the references it needs.

        Counts the target: 1 of an attack that queries the target alone.
        """
        return 2 * (1 + max(self.min_in, self.min_out)) if self.min_in or self.min_out else 1

    def leading(self, signals: Mapping[str, FloatArray]) -> FloatArray:
        """The first signal that it requires, at the last of the checkpoints: (R, N[, A])."""
        first = signals[self.requires[0]]
        return first[:, :, -1] if self.trajectory else first

    @final
    def score(self, target: Signals, references: Signals, member: BoolArray) -> FloatArray:
        """Score of every sample for one target; higher = more likely a member.

        target (N[, A]), references (R, N[, A]), member (R, N) bool, or mappings name -> array of
        these shapes -> (N,) float64; (N, T[, A]) and (R, N, T[, A]) of an attack that reads a
        `trajectory`. A sample that all references, or none, were trained on has the score that
        `leave_one_out` gives such a sample. Raises InputError on shapes, non-finite values or too
        few references.
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
        inside = member.sum(axis=0, dtype=np.int64)
        self._enough(inside, len(member) - inside, judged(member), len(member), 1)
        self._finite(tgt, np.ones((1, member.shape[1]), dtype=np.bool_), "target")
        self._finite(ref, self._read(member), "references")
        lacking = self._lacking(member)
        if not lacking.any():
            return self._called(member.shape[1:], self.run, tgt, ref, member)
        if not self.aligns:
            return self._called(member.shape[1:], self.run, tgt, ref, member, lacking=lacking)
        out = np.zeros(member.shape[1])
        near = {k: v[~lacking] for k, v in tgt.items()}
        far = {k: v[:, ~lacking] for k, v in ref.items()}
        rest = member[:, ~lacking]
        out[~lacking] = self._called(rest.shape[1:], self.run, near, far, rest)
        return out

    @final
    def leave_one_out(self, signal: Signals, member: BoolArray) -> FloatArray:
        """Every model once the target, without what reveals its members: (R, N[, A]), (R, N) -> (R, N).

        (R, N, T[, A]) of an attack that reads a `trajectory`; a run's `signal(…)` is (R, T, N[, A]).
        What is left out beside the target itself follows from the plan, and `how_left_out` tells
        which of four ways it is. Under complementary tuples it is the target's whole tuple, or
        what is left of it. Under independent draws it is nothing: the other runs know nothing of
        the target's members. Where samples are IN equally often, or nearly so, without tuples, it
        is one random run of the other side, drawn sample by sample with a fixed seed, and where
        numbers differ as many more as make them equal for all samples (`Matched`): signals that
        know nothing of membership then read AUC ½, which leaving out the target alone does not
        give. Where counts differ by so much that this would cost more than half of the references,
        the target alone is left out, and a `BalanceWarning` says what AUC noise reads.

        Samples that are IN no run, or in all, need no references. Where the attack has none of a
        kind it needs, their score is 0; RMIA and BASE average those that there are.
        """
        signals = self._gather(signal, "signal", axes=2)
        member = self._member(member, signals)
        partition = partitions(member)
        use = np.asarray(partition[:, None] != partition[None, :])
        # Every entry is read when its model is the target, whatever its membership.
        everything = np.ones(member.shape, dtype=np.bool_)
        if not (self.min_in or self.min_out):
            self._finite(signals, everything, "signal")
            return self._called(member.shape, self.run_all, signals, member, use)
        way = way_of(member, partition)
        together = int(np.bincount(partition, minlength=1).max())
        counts = by_plan(member, partition, way)
        self._enough(*counts, judged(member), len(member), together)
        self._finite(signals, everything, "signal")
        if way == "unbalanced":
            self._warn(signals, member, use)
        if way == "matched":
            return self._matched(signals, member)
        return self._apart(signals, member, use)

    def _apart(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> FloatArray:
        """`run_all`, without the samples that have no references where the attack can do so."""
        lacking = self._lacking(member)
        if not (self.aligns and lacking.any()):
            return self._called(
                member.shape, self.run_all, signals, member, use, lacking=lacking
            )  # fmt: skip
        out = np.zeros(member.shape)
        rest = {k: v[:, ~lacking] for k, v in signals.items()}
        shape = (len(member), int((~lacking).sum()))
        out[:, ~lacking] = self._called(shape, self.run_all, rest, member[:, ~lacking], use)
        return out

    def _matched(self, signals: Mapping[str, FloatArray], member: BoolArray) -> FloatArray:
        keep = judged(member)
        if keep.all():
            return self._called(
                member.shape, self.run_matched, signals, member, Matched.of(member)
            )  # fmt: skip
        out = self._apart(signals, member, ~np.eye(len(member), dtype=np.bool_))
        known = member[:, keep]
        rest = {k: v[:, keep] for k, v in signals.items()}
        out[:, keep] = self._called(
            known.shape, self.run_matched, rest, known, Matched.of(known)
        )  # fmt: skip
        return out

    def _lacking(self, member: BoolArray) -> BoolArray:
        """The samples without references of a kind that the attack needs: (N,)."""
        none_out = member.all(axis=0) & (self.min_out > 0)
        return np.asarray(none_out | (~member.any(axis=0) & (self.min_in > 0)))

    def _warn(
        self, signals: Mapping[str, FloatArray], member: BoolArray, use: BoolArray
    ) -> None:  # fmt: skip
        """Say what the attack reads on noise: the signals, shuffled over runs sample by sample."""
        rng = np.random.default_rng(0)
        keep = np.flatnonzero(judged(member))
        inside = member[:, keep].sum(axis=0)
        columns = np.arange(member.shape[1])
        if self.aligns:
            columns = np.sort(rng.permutation(keep)[:_ON_NOISE])
        order = rng.permuted(np.tile(np.arange(len(member))[:, None], len(columns)), axis=0)
        noise = {k: realigned(v[:, columns], order) for k, v in signals.items()}
        part = member[:, columns]
        auc = float(np.nanmean(operating_points(self._apart(noise, part, use), part).auc))
        middle = int(np.median(inside)), len(member) - int(np.median(inside))
        warnings.warn(
            f"member: samples are IN {inside.min()} to {inside.max()} of the {len(member)} runs, "
            "neither by complementary tuples nor by independent draws, so what references there "
            f"are tells who is a member: on pure noise {self.name} reads an AUC of {auc:.3f} here; "
            f"leave away the samples that are IN fewer than {middle[0] // 2} runs or OUT of fewer "
            f"than {middle[1] // 2}, or judge by the difference from that figure",
            BalanceWarning,
            stacklevel=3,
        )

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
            arrays = {k: given_numbers(given[k], f"{what}[{k}]") for k in self.requires}
        elif len(self.requires) == 1:
            arrays = {self.requires[0]: given_numbers(given, what)}
        else:
            raise InputError(
                f"{what}: {self.name} reads {', '.join(self.requires)}; pass a mapping of arrays"
            )
        for key, a in arrays.items():
            times = self.trajectory and key not in TIMELESS
            if a.ndim not in (axes + times, axes + times + 1):
                shape = "(models, samples" if axes == 2 else "(samples"
                shape += ", checkpoints[, views])" if times else "[, views])"
                raise InputError(f"{what}[{key}]: expected shape {shape}, got {a.shape}")
            if a.ndim == axes + times:
                arrays[key] = a[..., None]
        return arrays

    def _member(self, member: BoolArray, signals: Mapping[str, FloatArray]) -> BoolArray:
        member = given_numbers(member, "member")
        shape = next(iter(signals.values())).shape[:2]
        if member.dtype != np.bool_ or member.shape != shape:
            raise InputError(
                f"member: expected bool of shape {shape} as the references have, "
                f"got {member.dtype} of shape {member.shape}"
            )
        return member

    def _enough(
        self, n_in: Int64Array, n_out: Int64Array, judged: BoolArray, models: int, together: int
    ) -> None:
        """Refuse too few references; see `_lack`."""
        lack = self._lack(n_in, n_out, judged, models, together)
        if lack is not None:
            raise InputError(f"models: {self.name} {lack}")

    def _lack(
        self, n_in: Int64Array, n_out: Int64Array, judged: BoolArray, models: int, together: int
    ) -> str | None:
        """What samples lack of references; None for nothing.

        n_in, n_out (N,): those of each sample; judged (N,): which samples count, all where none
        does; together: runs that each target is judged without.
        """
        at = np.flatnonzero(judged) if judged.any() else np.arange(len(judged))
        few = at[(n_in[at] < self.min_in) | (n_out[at] < self.min_out)]
        if not few.size:
            return None
        text = (
            f"needs at least {self.min_in} IN and {self.min_out} OUT references for every sample, "
            f"got {int(n_in[at].min())} and {int(n_out[at].min())}"
        )
        if few.size < at.size:
            shown = ", ".join(map(str, few[:3].tolist())) + (", …" if few.size > 3 else "")
            return (
                f"{text} at the worst from {models} models: {few.size} of {at.size} samples have too "
                f"few, at positions {shown}; leave them out, as commands and reports do "
                "(seepage.findings.unjudged.unjudged(run, [attack]).part(run) is the run without them), "
                "or train more models"
            )
        k = max(together, 2)
        need = k * (1 + max(self.min_in, -(-self.min_out // (k - 1))))
        if together > 2:
            return (
                f"{text}; of the R = {models} runs in complementary tuples of k = {k} each target "
                f"is scored without the {k} runs of its tuple, which leaves R/k − 1 IN: train more "
                f"tuples, at least R = {need} runs in all"
            )
        return f"{text} from {models} models; train more models, at least {need} of half_split"

    def _finite(
        self, signals: Mapping[str, FloatArray], read: BoolArray, what: str, first: int = 0
    ) -> None:
        for key, a in signals.items():
            # Squares of larger ones are no numbers; of 32-bit floats there are none.
            if a.dtype.kind == "f" and a.dtype.itemsize > 4 and a.size:
                largest = max(
                    float(np.fmax.reduce(a, axis=None)), -float(np.fmin.reduce(a, axis=None))
                )
                if _LARGEST < largest < np.inf:
                    raise InputError(
                        f"{what}[{key}]: expected values of at most {_LARGEST:g} in size, got "
                        f"{largest:g}; leave that run out"
                    )
            # Of infinite values the sum may be none, and one in 32 bits may be too large: looked at below.
            with np.errstate(over="ignore", invalid="ignore"):
                total = a.sum(dtype=a.dtype if a.dtype.char in "fd" else np.float64)
            if np.isfinite(total):
                continue
            own = 1 if what == "target" else 2
            bad = ~np.isfinite(a).all(axis=tuple(range(own, a.ndim))) & read
            if bad.any():
                *row, column = np.argwhere(bad)[0].tolist()
                where = (*row, first + column)
                raise InputError(
                    f"{what}[{key}]: expected finite values, got "
                    f"{int(bad.sum())} non-finite, the first at {where}; leave that run out"
                )

    def _called(
        self,
        shape: tuple[int, ...],
        run: Callable[..., FloatArray],
        *given: Any,
        lacking: BoolArray | None = None,
    ) -> FloatArray:
        """Scores of `run`, checked; an attack from outside gets arrays that it cannot change.

        lacking (N,): samples without references, whose score is 0 where `run` gives no number.
        """
        if type(self).__module__.partition(".")[0] == "seepage":
            return self._checked(_filled(run(*given), lacking), shape)
        try:
            with np.errstate(all=None if lacking is None else "ignore"):
                scores = _filled(run(*(_read_only(g) for g in given)), lacking)
        except SeepageError:
            raise
        except Exception as e:
            text = " ".join(str(e).split())[:200]
            raise AttackError(f"{self.name}: its run raised {type(e).__name__}: {text}") from e
        return self._checked(scores, shape)

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
        # The least of them is NaN where any is.
        if scores.size and np.isnan(scores.min()):
            raise AttackError(
                f"{self.name}: expected scores that are numbers, got {int(np.isnan(scores).sum())} "
                f"NaN; fix {type(self).__name__}"
            )
        return scores


def _filled(given: Any, lacking: BoolArray | None) -> FloatArray:
    """Scores with 0 for what is no number at the samples (N,) that lack references."""
    scores: FloatArray = np.asarray(given)
    if lacking is None or not lacking.any() or scores.shape[-1:] != lacking.shape:
        return scores
    return np.asarray(np.where(np.isnan(scores) & lacking, 0.0, scores))


def _read_only(given: Any) -> Any:
    """Views that cannot be written to, of arrays and of mappings of them."""
    if isinstance(given, Matched):
        return given
    if isinstance(given, Mapping):
        return {name: _read_only(a) for name, a in given.items()}
    view = given.view()
    view.flags.writeable = False
    return view
