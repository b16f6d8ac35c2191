"""Samples that no figure is about, left out of a run together and said so.

One sample with too few references must neither stop an audit of thousands nor keep its strongest
attack from being run. Which samples these are follows from the plan alone, never from signals, and
they are left out for every target and every attack alike, so that nothing about membership is read
from it and figures of attacks stay comparable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import BoolArray, Int64Array
from seepage.attacks import Attack, binding
from seepage.attacks.reference_counts import references_by_sample
from seepage.errors import InputError
from seepage.plan import judged, refuse_offline
from seepage.short_repr import short_repr

if TYPE_CHECKING:
    from seepage.data import Dataset

__all__ = ["Part", "Unjudged", "inserted", "of_pool", "unjudged"]

# An attack for which more samples lack references than have them needs another plan.
_MOST = 0.5


@short_repr
@dataclass(frozen=True, eq=False)
class Unjudged:
    """What no figure is about: samples (N,) bool whose references are too few, and why, in words.

    few: left out of the run by `part`. words: "" where every sample is judged; samples that no run
    trained on, or every run did, are counted there too, but stay as population.
    """

    few: BoolArray
    words: str

    @property
    def rows(self) -> Int64Array:
        """Positions of the samples that stay."""
        return np.flatnonzero(~self.few)

    def part(self, run: Any) -> Any:
        """The run without them; the run itself where there are none."""
        return Part(run, self.rows) if self.few.any() else run

    def data(self, data: Dataset | None) -> Dataset | None:
        """The pool without them."""
        return data.take(self.rows) if data is not None and self.few.any() else data

    def attacks(self, attacks: Iterable[Attack]) -> list[Attack]:
        """The attacks, positions of a population counted without them."""
        return [self._moved(a) for a in attacks]

    def _moved(self, attack: Attack) -> Attack:
        given = getattr(attack, "population", None)
        if not self.few.any() or given is None or not np.size(given) or not np.ndim(given):
            return attack
        at = np.asarray(given)
        if at.dtype.kind not in "iu" or at.min() < 0 or at.max() >= len(self.few):
            return attack  # which the attack refuses itself
        place = np.cumsum(~self.few) - 1
        return replace(attack, population=place[at[~self.few[at]]])  # type: ignore[call-arg]


class Part:
    """A run of which only some samples are looked at; everything else is the run's."""

    def __init__(self, run: Any, rows: Int64Array) -> None:
        self._run = run
        self._rows = rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    @property
    def rows(self) -> Int64Array:
        """Positions of its samples in the run."""
        return self._rows

    @property
    def member(self) -> BoolArray:
        """(R, N) bool, usable runs only."""
        member: BoolArray = self._run.member[:, self._rows]
        return member

    @property
    def plan_member(self) -> BoolArray:
        """Membership of every planned run, where the run tells."""
        planned = np.asarray(getattr(self._run, "plan_member", self._run.member), np.bool_)
        return planned[:, self._rows]

    @property
    def labels(self) -> Int64Array:
        """(N,)."""
        labels: Int64Array = self._run.labels[self._rows]
        return labels

    @property
    def ids(self) -> NDArray[np.str_]:
        """(N,)."""
        ids: NDArray[np.str_] = self._run.ids[self._rows]
        return ids

    @property
    def groups(self) -> NDArray[np.str_] | None:
        """Whose sample each is, or None."""
        groups = getattr(self._run, "groups", None)
        return None if groups is None else np.asarray(groups)[self._rows]

    def signal_at(self, name: str, t: int, /) -> NDArray[np.float32]:
        """One checkpoint of a signal, (R, N[, A]); of layers as it is."""
        values: NDArray[np.float32] = self._run.signal_at(name, t)
        return values if name.startswith("layer_") else values[:, self._rows]

    def some_at(self, name: str, t: int, rows: Int64Array) -> NDArray[np.float32]:
        """As of a run, positions counted within the part."""
        found: NDArray[np.float32] = self._run.some_at(name, t, self._rows[rows])
        return found

    def columns(self, name: str, t: int, first: int, last: int) -> NDArray[np.float32]:
        """As of a run, positions counted within the part."""
        own = self._rows[first:last]
        if not len(own):
            return np.asarray(self._run.columns(name, t, 0, 0))
        begin = int(own[0])
        found: NDArray[np.float32] = self._run.columns(name, t, begin, int(own[-1]) + 1)
        return found[:, own - begin]

    def data(self) -> Dataset | None:
        """The pool of these samples, or None when it cannot be found."""
        found: Dataset | None = self._run.data()
        return None if found is None else found.take(self._rows)


def unjudged(run: Any, attacks: Sequence[Attack]) -> Unjudged:
    """Which samples of a run cannot be judged by these attacks.

    Left out are those with fewer references than an attack needs that most samples have enough for.
    An attack that most samples have too few for is not run, or refuses itself.

    Raises InputError where there is nothing to judge: no sample is IN one run and OUT of another,
    or a run's members are those of no other run (`seepage.plan.refuse_offline`).
    """
    member = np.asarray(run.member, dtype=np.bool_)
    refuse_offline(member, str(run.path))
    known = judged(member)
    runnable = [a for a in attacks if (a.min_in or a.min_out) and _recorded(a, run)]
    added = inserted(run)
    few = added.copy()
    need = (0, 0)
    # What stays may be another kind of plan, under which other references are left out.
    for _ in range(5):
        rest = np.flatnonzero(known & ~few)
        n_in, n_out = references_by_sample(member[:, ~few] if few.any() else member)
        n_in, n_out = n_in[known[~few]], n_out[known[~few]]
        lacking = np.zeros(len(rest), dtype=np.bool_)
        for a in runnable:
            short = (n_in < a.min_in) | (n_out < a.min_out)
            if short.mean() < _MOST:
                lacking |= short
                need = max(need[0], a.min_in), max(need[1], a.min_out)
        if not lacking.any() or lacking.all():
            break
        few[rest[lacking]] = True
    return Unjudged(few, _words(run, few[~added], member[:, ~added], need, added))


def inserted(run: Any) -> BoolArray:
    """Which samples are texts that were added to the pool to be found, (N,): canaries and their candidates.

    They are no texts of the pool, and are judged by themselves (`seepage.findings.canaries`).
    """
    count = run.member.shape[1]
    told = (getattr(run, "manifest", {}).get("plan") or {}).get("canaries") or {}
    if "repeats" not in told:
        return np.zeros(count, dtype=np.bool_)
    rows = np.asarray(getattr(run, "rows", np.arange(count)))
    return np.isin(rows, np.asarray(told["index"], dtype=np.int64))


def _recorded(attack: Attack, run: Any) -> bool:
    try:
        return not binding.unrecorded(binding.bind(attack, run), run)
    except InputError:
        return False


def of_pool(run: Any) -> Any:
    """The run without texts that were added to its pool; the run itself where there are none."""
    added = inserted(run)
    return Part(run, np.flatnonzero(~added)) if added.any() else run


def _words(
    run: Any, few: BoolArray, member: BoolArray, need: tuple[int, int], added: BoolArray
) -> str:
    """few, member: without the columns of texts that were added."""
    never, always = ~member.any(axis=0), member.all(axis=0)
    extra = int(added.sum())
    count = int((few | never | always).sum()) + extra
    if not count:
        return ""
    why = [f"{extra:,} are canaries that were added, or texts drawn as these"] if extra else []
    if few.any():
        at = np.flatnonzero(few)
        shown = ", ".join(str(i) for i in np.asarray(run.ids)[~added][at[:3]])
        more = ", …" if at.size > 3 else ""
        wanted = [f"{n} {kind}" for n, kind in zip(need, ("IN", "OUT"), strict=True) if n]
        why.append(f"{at.size:,} have fewer than {' or '.join(wanted)} references ({shown}{more})")
    if never.any():
        why.append(f"no run trained on {int(never.sum()):,}")
    if always.any():
        why.append(f"every run trained on {int(always.sum()):,}")
    return f"{count:,} of {len(added):,} samples left out: {'; '.join(why)}"
