"""Whether a training function obeys the members and the seed that it is given, seen before any run.

The function is called as a run calls it, each time only to the end of its first epoch, or for a
share of the time allowed and then always for as many batches:

1. with the members and the seed of the first run;
2. with two of the members replaced by two others, all else alike: other weights;
3. with the first members again: the same weights;
4. with another seed: other weights.

Two weights are apart by |a − b| / |a − start|, over all floating values together: the share of what
training moved. Where two replaced members change nothing, all are replaced: a function that still
gives the same ignores them. The rows that the network is shown are compared with the pool's, byte
by byte, where the loop gives its inputs as they are evaluated. What the first call's network answers of its
members is compared with their labels: a loop that numbers the classes by itself is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.array_types import AnyArray, Int64Array
from seepage.config.function import Function
from seepage.errors import InputError, SeepageError
from seepage.fleet.spec import PoolFile
from seepage.record import Memory, Recorder, Resident
from seepage.record.own_numbering import OwnNumbering

__all__ = ["FunctionTrial", "Obedience"]

SAME = 1e-3
"""Weights that are apart by less of what training moved are the same but for rounding."""

# A change must stand out by so much from what two identical calls differ by.
_ABOVE = 10.0
# Pools of more bytes are not compared row by row.
_ROWS = 1 << 28
# Members that are asked about after the first epoch.
_ASKED = 2048
_OFF = "train.check = false (Function(check=False)) leaves this check out"


@dataclass(frozen=True)
class Obedience:
    """What the check saw; `told()` is what a run's manifest keeps of it.

    members: "obeyed" or "unknown"; by: what was replaced. shown, unseen: rows of the pool that the
    network was shown in the first epoch, and members that it was not, None where inputs are not the
    pool's. repeats: how far weights are apart after two calls that were alike, 0 where every bit
    is the same. seed: whether another seed gives other weights, None where it was not asked. until:
    how far each call went. why: what could not be seen. warned: what figures must be read with.
    """

    checked: bool
    members: str = "unknown"
    by: str = ""
    shown: int | None = None
    unseen: int | None = None
    repeats: float | None = None
    seed: bool | None = None
    calls: int = 0
    until: str = ""
    seconds: float = 0.0
    why: str = ""
    warned: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        """As plain values."""
        if not self.checked:
            return {"checked": False, "why": self.why}
        return {k: v for k, v in asdict(self).items() if v not in (None, "", ())}


class _Stop(BaseException):
    """Ends the function where enough was seen; no `except Exception` keeps it."""


@dataclass(eq=False)
class _Seen:
    """What one call left: values at its start and end, and how far it went."""

    start: dict[str, torch.Tensor]
    end: dict[str, torch.Tensor] | None
    batches: int
    largest: int
    cut: bool
    rows: set[bytes] | None

    @property
    def moved(self) -> bool:
        return self.end is not None and (not self.start or _apart(self.start, self.end) > 0)

    def apart(self, other: _Seen) -> float:
        """|a − b| / |a − start|; infinite where they do not compare."""
        if self.end is None or other.end is None:
            return math.inf
        moved = _apart(self.start, self.end) if self.start else 1.0
        return _apart(self.end, other.end) / moved if moved else math.inf


def _share(x: float) -> str:
    return f"{100 * x:.2g} %" if x < 0.995 else f"{100 * x:.0f} %"


def _apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    if a.keys() != b.keys() or any(a[k].shape != b[k].shape for k in a):
        return math.inf
    return math.sqrt(sum(float((a[k].double() - b[k].double()).square().sum()) for k in a))


class _Watching(Recorder):
    """A Recorder that evaluates nothing and ends the loop after its first epoch, or batches."""

    def __init__(self, *args: Any, until: int | None, limit: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self.until, self.ends = until, time.monotonic() + limit
        self.before: dict[str, torch.Tensor] = {}
        self.answered: dict[str, torch.Tensor] | None = None
        self.batches = self.largest = 0
        self.cut = False
        self.rows: set[bytes] | None = set()
        self._hooks: list[Any] = []

    def start(self, model: nn.Module, **facts: Any) -> None:
        """The network is built: it is tried, and from here on its batches are counted."""
        if facts.get("preprocess") is not None:
            self.preprocess = facts["preprocess"]
        self._model = self._forward = model
        self._try()
        self.before = _values(model)
        self._hooks = [
            model.register_forward_pre_hook(self._forward_comes, with_kwargs=True),
            model.register_forward_hook(self._forward_went),
        ]

    def follow(self, model: nn.Module, **facts: Any) -> None:
        """Another network goes on; the first tells enough."""

    def _forward_comes(self, model: nn.Module, args: Any, named: Any) -> None:
        if not model.training or not torch.is_grad_enabled():
            return
        late = self.until is None and self.batches > 0 and time.monotonic() > self.ends
        if self.batches == self.until or (late and self.moved):
            self.cut = True
            raise _Stop
        self.batches += 1

    def _forward_went(self, model: nn.Module, args: Any, answer: Any) -> None:
        """Rows are trained on where a gradient comes back through their answer."""
        if not model.training or not torch.is_grad_enabled():
            return
        x = args[0] if args else None
        if not (isinstance(x, torch.Tensor) and isinstance(answer, torch.Tensor)) or not (
            x.is_floating_point() and answer.requires_grad
        ):
            self.rows = None
        elif self.rows is not None:
            told, size = _told_rows(x), len(x)

            def backward(slope: torch.Tensor) -> None:
                self.largest = max(self.largest, size)
                if self.rows is not None:
                    self.rows |= told

            answer.register_hook(backward)  # type: ignore[no-untyped-call]

    def asked(self, rows: Int64Array) -> torch.Tensor:
        """What the network, or the model without one, answers of these rows: (B, K), on the host."""
        if self.answered is not None:
            return self.answered["probabilities"][torch.from_numpy(rows)]
        with self._looking():
            return self._logits(self.inputs(rows)).cpu()

    @property
    def moved(self) -> bool:
        """Whether the network has other values than at its start."""
        return self._model is not None and _apart(self.before, _values(self._model)) > 0

    def step_end(self) -> None:
        """Batches are counted before they are passed."""
        self.step += 1

    def checkpoint(self, epoch: float, *, accuracy: float | None = None) -> None:
        """An epoch ends, and with it this call, unless nothing has moved yet."""
        self.epoch = epoch
        if epoch >= 1 and self.moved:
            raise _Stop

    def answers(self, probabilities: AnyArray, *, epoch: float, least: float | None = None) -> None:
        """What a model without a network answers."""
        p = torch.as_tensor(np.asarray(probabilities, dtype=np.float64))
        self.answered = {"probabilities": p}
        raise _Stop

    def finish(self) -> None:
        """Whether every checkpoint was reached the first run tells."""

    def seen(self) -> _Seen:
        """What there is to compare."""
        for hook in self._hooks:
            hook.remove()
        end = self.answered if self._model is None else _values(self._model)
        rows = self.rows if self.rows and not self.cut else None
        return _Seen(self.before, end, self.batches, self.largest, self.cut, rows)


def _values(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of everything floating that a network keeps, on the host."""
    kept = {**dict(model.named_buffers()), **model.state_dict()}
    return {
        k: v.detach().to("cpu", copy=True)
        for k, v in kept.items()
        if isinstance(v, torch.Tensor) and v.is_floating_point()
    }


def _told_rows(x: torch.Tensor) -> set[bytes]:
    flat = x.detach().to("cpu", torch.float32).reshape(len(x), -1).contiguous().numpy()
    # Of 0 and −0 one byte differs.
    return {hashlib.blake2b((row + 0.0).tobytes(), digest_size=16).digest() for row in flat}


@dataclass(frozen=True)
class FunctionTrial:
    """The check, as an object that travels to a process of its own; called, it gives `Obedience`.

    members, strangers: positions in the pool of the first run's members and of all others. seeds:
    of the first and of the second run. times: the fleet's checkpoints, in epochs. seconds: after
    which no further call is made; a call of a network stops after a fifth of them.

    Raises InputError for a function that ignores its members, or trains on others as well; what the
    function itself raises in its first call goes through.
    """

    function: Function
    pool: PoolFile
    members: Int64Array
    strangers: Int64Array
    seeds: tuple[int, int]
    times: tuple[float, ...]
    seconds: float
    threads: int = 1

    def __call__(self) -> Obedience:
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with _streams_kept():
                return _Judge(self).judged()
        finally:
            torch.set_num_threads(before)


@contextlib.contextmanager
def _streams_kept() -> Iterator[None]:
    """The process's own streams afterwards as they were: torch's, NumPy's and Python's."""
    held = np.random.get_state(), random.getstate()  # noqa: NPY002
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        np.random.set_state(held[0])  # noqa: NPY002
        random.setstate(held[1])


class _Judge:
    """One check: calls so far, their cost, and what they showed."""

    def __init__(self, trial: FunctionTrial) -> None:
        self.trial = trial
        data = trial.pool.dataset()
        self.pool = Resident.of(data)
        self.scale = data.member_scale(trial.members) if trial.function.standardise else None
        self.began, self.longest, self.calls = time.monotonic(), 0.0, 0
        self.until: int | None = None
        self.recorder: _Watching | None = None

    def call(self, members: Int64Array, seed: int, noise: int) -> _Seen:
        """One call; noise: of streams that the function is not told of, NumPy's and Python's."""
        t = self.trial
        np.random.seed(noise)  # noqa: NPY002
        random.seed(noise)
        torch.manual_seed(seed % 2**63)
        recorder = self.recorder = _Watching(
            self.pool, t.times, Memory(), signals=(), scale=self.scale, seed=seed % 2**32,
            until=self.until, limit=t.seconds / 5,
        )  # fmt: skip
        began = time.monotonic()
        self.calls += 1
        try:
            t.function.function(members, seed, recorder)
        except _Stop:
            pass
        except (SeepageError, KeyboardInterrupt):
            raise
        except Exception as error:
            if self.calls == 1:
                raise
            text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise InputError(
                f"function: {t.function.called} raised {text} where members or seed were others than "
                f"the first run's; it is called with those of every run; {_OFF}"
            ) from error
        self.longest = max(self.longest, time.monotonic() - began)
        return recorder.seen()

    def may(self) -> bool:
        """Whether one more call fits into the time allowed."""
        return time.monotonic() - self.began + self.longest <= self.trial.seconds

    def judged(self) -> Obedience:
        t = self.trial
        first = self.call(t.members, t.seeds[0], 1)
        shown, unseen = self.rows(first)
        self.numbered()
        if not first.moved:
            what = (
                "it neither started a network nor answered"
                if first.end is None
                else "the network that it passed to recorder.start has the same weights at its end"
            )
            # A loop that ends before its last checkpoint is refused by the first run.
            done = self.recorder is not None and self.recorder.epoch >= t.times[-1] - 1e-9
            warned = (f"could not be checked: {what}",) if done else ()
            return self.told(first, why=what, warned=warned)
        if not self.may():
            why = f"one call takes {self.longest:.0f} s, more than {t.seconds:g} s allow for two"
            return self.told(first, why=why, shown=shown, unseen=unseen)
        self.until = first.batches if first.cut else None
        said: list[str] = []
        whole = first.cut or min(len(t.members), len(t.strangers)) < 3
        changed = first.apart(self.call(self.replaced(whole), t.seeds[0], 1))
        repeats = first.apart(self.call(t.members, t.seeds[0], 2)) if self.may() else None
        noise = 0.0
        if repeats:
            # How far apart with every stream alike: what is left is of threads or the device.
            noise = first.apart(self.call(t.members, t.seeds[0], 1)) if self.may() else repeats
        obeyed = changed > _ABOVE * noise
        if not obeyed and not whole and self.may():
            whole = True
            changed = first.apart(self.call(self.replaced(True), t.seeds[0], 1))
            obeyed = changed > _ABOVE * noise
            if obeyed and unseen is None and first.start:
                said.append(
                    "other weights where all members were replaced, the same where two were: some "
                    "members are not trained on in its first epoch; those that it holds out are no "
                    "members, and make others of the figures"
                )
        by = "all members replaced" if whole else "two members replaced"
        if not obeyed and noise == 0:
            raise InputError(
                f"function: expected {t.function.called} to train on the members that it is given, got "
                f"the same weights with {by}; index your data by members, and pass the network that "
                f"is trained to recorder.start; {_OFF}"
            )
        if not obeyed:
            said.append(
                f"whether it obeys its members could not be seen: two calls that are alike differ by "
                f"{_share(noise)} of what training moves, {by} by {_share(changed)}"
            )
        if repeats is not None and repeats > SAME:
            said.append(
                f"the same members and seed gave weights that are apart by {_share(repeats)} of what "
                "training moved: a run that is interrupted is trained anew as another, so that "
                "resume is not bit for bit and its checkpoints are of two trainings; draw all that is "
                "random from the seed"
            )
        seed = None
        if noise <= SAME and self.may():
            seed = first.apart(self.call(t.members, t.seeds[1], 1)) > _ABOVE * noise
            if not seed and first.start:
                said.append(
                    "another seed gave the same weights: runs differ by their members alone, not by "
                    "what is drawn in training; use the seed where yours is drawn"
                )
        if unseen is not None and unseen > first.largest:
            said.append(
                f"{unseen:,} of {len(t.members):,} members were not shown to the network in its first "
                "epoch; those that it holds out are no members, and make others of the figures"
            )
        return self.told(
            first,
            members="obeyed" if obeyed else "unknown",
            by=by,
            shown=shown,
            unseen=unseen,
            repeats=repeats,
            seed=seed,
            warned=tuple(said),
        )

    def told(self, first: _Seen, **found: Any) -> Obedience:
        until = f"batch {first.batches}" if first.cut else "the end of an epoch"
        if first.batches == 0:
            until = "an answer" if not first.start else "its end"
        spent = round(time.monotonic() - self.began, 3)
        return Obedience(True, calls=self.calls, until=until, seconds=spent, **found)

    def replaced(self, whole: bool) -> Int64Array:
        """The members with two of them, or all that can be, replaced by others."""
        t = self.trial
        rng = np.random.default_rng(0)
        count = min(len(t.members), len(t.strangers)) if whole else 2
        out = rng.choice(len(t.members), count, replace=False)
        new = rng.choice(len(t.strangers), count, replace=False)
        return np.sort(np.concatenate([np.delete(t.members, out), t.strangers[new]]))

    def numbered(self) -> None:
        """Refuse a loop that numbers classes otherwise than the pool, by what it answers its members.

        After one epoch many networks know too little; the Recorder looks again at the end of each run.
        """
        recorder = self.recorder
        known = recorder is not None and (recorder.answered is not None or recorder.moved)
        if not known or self.pool.task.name not in ("classification", "binary"):
            return
        assert recorder is not None
        rows = self.trial.members[:_ASKED]
        numbering = OwnNumbering(self.pool.width)
        for at in range(0, len(rows), 512):
            part = rows[at : at + 512]
            numbering.see(recorder.asked(part), torch.from_numpy(self.pool.labels_host[part]))
        called = self.trial.function.called
        numbering.check(f"function: {called}: ", f"; {_OFF}")

    def rows(self, first: _Seen) -> tuple[int | None, int | None]:
        """(rows shown, members not shown); None where inputs are not those of the pool.

        Raises InputError where the network was trained on rows of others.
        """
        t, recorder = self.trial, self.recorder
        assert recorder is not None
        if first.rows is None or self.pool.pixels.nbytes > _ROWS:
            return None, None
        of: dict[bytes, list[int]] = {}
        for at in range(0, len(self.pool), 512):
            rows = np.arange(at, min(at + 512, len(self.pool)))
            x = recorder.inputs(rows).detach().to("cpu", torch.float32).reshape(len(rows), -1)
            for row, value in zip(rows.tolist(), x.contiguous().numpy(), strict=True):
                told = hashlib.blake2b((value + 0.0).tobytes(), digest_size=16).digest()
                of.setdefault(told, []).append(row)
        if not first.rows <= of.keys():
            return None, None
        members = set(t.members.tolist())
        # Of exact copies one is as good as another.
        others = [of[r][0] for r in first.rows if not members.intersection(of[r])]
        if others:
            raise InputError(
                f"function: expected {t.function.called} to train on its {len(members):,} members alone, "
                f"got a network that was shown {len(others):,} other samples in its first epoch, such "
                f"as position {min(others)}; index your data by members, evaluate in eval mode or "
                f"without gradients; {_OFF}"
            )
        unseen = sum(len(members & set(rows)) for k, rows in of.items() if k not in first.rows)
        return len(first.rows), unseen
