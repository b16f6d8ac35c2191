"""References of one target that are trained here: as many as asked for, or as the time allows."""

from __future__ import annotations

import contextlib
import inspect
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from seepage.array_types import AnyArray, Float64Array, Int64Array
from seepage.config.execution import Execution
from seepage.config.function import Function
from seepage.config.model import Factory, Model, as_model
from seepage.config.recipe import Recipe
from seepage.config.record import Record
from seepage.data import Dataset
from seepage.errors import InputError, SeepageError
from seepage.fleet import Budget, train
from seepage.fleet.pool_files import held_folder
from seepage.fleet.spec import travels
from seepage.fleet.user_code import follow, python_version
from seepage.plan import SubsetPlan, half_split
from seepage.record import DEFAULT_SIGNALS, Recorder
from seepage.short_repr import short_repr
from seepage.single.by_task import Question
from seepage.single.observing import Observing
from seepage.single.outputs import Observed
from seepage.single.pool import Pool, chosen_rows, keys_of
from seepage.store.run import Run

__all__ = ["Reference", "TrainedReferences", "trained"]

Progress = Callable[[str, int, int], object]
Train = Callable[[Any, AnyArray, int], Any]

# A folder is made with room for so many, or the next multiple: fewer may be trained, more added.
_ROOM = 64
_PAIR = 2


@short_repr
@dataclass(frozen=True)
class TrainedReferences:
    """Reference models that are trained on random complementary halves of members and others.

    Either train: the user's own training, (inputs, labels, seed) -> a model of any kind that
    `seepage.audit` takes; it gets the samples of one half as they were given, labels being the
    task's targets, and of data with distributions beside labels the distributions. Or a training function
    of a fleet, `(members, seed, recorder) -> model` (docs/extending.md), known by its third
    argument's name or as a `seepage.Function`: members are positions in members and then others.
    Or model and recipe: a factory of networks, trained by the built-in engine on the inputs as they
    were given, not standardised. It should train as the target was trained: the figures are as good
    as that likeness.

    seconds: the budget, None for none. The first pair is measured, another is begun where it would
    end in time, and what still runs when the time is over is stopped. most: never more, an even
    number. seed: of the halves and of every training.

    folder: a run folder that keeps them, or an s3:// address: the same call goes on where it ended,
    with more `seconds` or `most` it adds to what is there, and other data, another model, recipe or
    function is refused. Without one nothing is kept. execution: workers, device and executor; by
    default a process per core.

    Raises InputError for anything else.
    """

    train: Train | Function | None = None
    seconds: float | None = 1200.0
    most: int = 64
    seed: int = 0
    _: KW_ONLY
    model: str | Factory | Model | None = None
    recipe: Recipe | None = None
    folder: str | os.PathLike[str] | None = None
    execution: Execution | None = None

    def __post_init__(self) -> None:
        own = callable(self.train) or isinstance(self.train, Function)
        if own == (self.model is not None) or (self.train is not None and not own):
            raise InputError(
                "references: expected a function (inputs, labels, seed) -> model, or model= with "
                f"recipe=, got {'both' if own else 'neither'}; pass one"
            )
        if own and self.recipe is not None:
            raise InputError(
                "references: expected a recipe with model= alone, got one with a function, which "
                "trains by itself; leave it out"
            )
        timed = self.seconds is None or 0 < self.seconds < float("inf")
        if not timed or self.most < _PAIR:
            seconds = "no" if self.seconds is None else f"{self.seconds:g}"
            raise InputError(
                f"references: expected seconds above 0 and most of at least {_PAIR}, got {seconds} "
                f"seconds and most = {self.most}; a pair is the least"
            )


@short_repr
@dataclass(frozen=True, eq=False)
class Reference:
    """What was trained: plan rows as (R, N) membership, their signals (R, N), and what is said."""

    member: AnyArray
    signals: dict[str, Float64Array]
    notes: tuple[str, ...]


def trained(
    references: TrainedReferences,
    pool: Pool,
    observed: Observed,
    observing: Observing,
    progress: Progress,
) -> Reference:
    """Train what the call asks for, of that what is not there yet, and read its signals."""
    question = observing.question
    if pool.inputs is None or (question.labels is None and question.targets is None):
        raise InputError(
            "references: expected inputs and labels to train them on, got none; pass pairs "
            "(inputs, labels)"
        )
    began = time.monotonic()
    budget = None if references.seconds is None else Budget(references.seconds)
    most = references.most // _PAIR * _PAIR
    with contextlib.ExitStack() as held:
        folder = references.folder
        if folder is None:
            folder = held.enter_context(
                tempfile.TemporaryDirectory(
                    prefix="seepage-references-", ignore_cleanup_errors=True
                )
            )
        execution = references.execution or Execution()
        if "backend" not in execution.model_fields_set:
            execution = execution.changed(backend="process")
        data, how = _training(references, pool, observed, observing, execution, held)
        watcher = _Watcher(progress, most, budget)
        run = train(
            data,
            _plan(pool, data, question, most, references.seed),
            out=folder,
            execution=execution,
            rows=range(most),
            budget=budget,
            watcher=watcher,
            **how,
        )
        return _read(run, most, references, watcher.ended, time.monotonic() - began)


def _plan(pool: Pool, data: Dataset, question: Question, most: int, seed: int) -> SubsetPlan:
    """Halves for as many runs as the folder has room for: the first ones are the same for any most.

    Exact copies of a sample lie on the same side, where no groups say what belongs together.
    """
    groups: Any = pool.groups
    if groups is None:
        asked = [np.asarray(v) for v in (question.labels, question.targets) if v is not None]
        rows = zip(keys_of(pool.inputs, len(data)), *(v.tolist() for v in asked), strict=True)
        keys = [f"{key.hex()}/{labels}" for key, *labels in rows]
        groups = keys if len(set(keys)) < len(keys) else None
    room = -(-most // _ROOM) * _ROOM
    plan = half_split(len(data), models=room, seed=seed, groups=groups)
    # Copies lie together without being a subject's: they are judged one by one.
    options = {k: v for k, v in plan.options.items() if k != "groups" or pool.groups is not None}
    # Runs beyond those that were trained are no runs that are missing.
    return replace(plan, options=options | {"open": True})


def _training(
    references: TrainedReferences,
    pool: Pool,
    observed: Observed,
    observing: Observing,
    execution: Execution,
    held: contextlib.ExitStack,
) -> tuple[Dataset, dict[str, Any]]:
    """The pool as the fleet sees it, and what and how `train` is told to train."""
    question = observing.question
    measured = observing.curvature and question.task.classes
    told: dict[str, Any] = {} if question.noise is None else {"noise": question.noise}
    if references.model is not None:
        recipe = references.recipe or Recipe()
        if recipe.precision == "auto":
            # The target is asked in single precision, and so are its references.
            recipe = recipe.changed(precision="fp32")
        record = Record(
            checkpoints=(float(recipe.epochs),),
            keep="none",
            **({"curvature": "zeroth-order"} if measured else {}),
            **told,
        )
        data = _numbers(pool, observed, question)
        return data, {"model": as_model(references.model), "recipe": recipe, "record": record}
    if _of_a_fleet(references.train):
        data = _numbers(pool, observed, question)
        record = Record(checkpoints=2, keep="none", **told)
        return data, {"function": references.train, "record": record}
    asked: Any = references.train
    inputs = pool.inputs
    if isinstance(inputs, np.ndarray) and not inputs.dtype.hasobject and _maps(execution, asked):
        place = held.enter_context(held_folder(Path(tempfile.gettempdir())))
        np.save(place / "inputs.npy", inputs, allow_pickle=False)
        inputs = _Mapped(str(place / "inputs.npy"))
    labels = np.asarray(pool.labels if pool.soft is None else pool.soft)
    function = _Training(asked, inputs, labels, observing)
    # What decides a model: the user's code and how it is asked; the samples are in the data's digest.
    code = follow(asked)
    how = (observing.logits, observing.accept_changes, observing.curvature, observing.seed)
    noise = "" if question.noise is None else f", noise {question.noise!r}"
    version = f"{code.digest} by Python {python_version()}, asked {how}{noise}"
    # What is not stated may be what a kept folder was begun with.
    stated: dict[str, Any] = {"signals": (*DEFAULT_SIGNALS, curvature_zo)} if measured else {}
    keys = np.frombuffer(b"".join(keys_of(pool.inputs, len(pool.member))), dtype=np.uint8)
    content = keys.reshape(len(pool.member), -1).astype(np.float32)
    data = _dataset(torch.from_numpy(content), "table", pool, observed, question)
    return data, {
        "function": Function(function=function, version=version),
        "record": Record(**stated),
    }


def _maps(execution: Execution, train: Any) -> bool:
    """Whether workers are fresh interpreters of this machine, which a file saves a copy each."""
    return execution.executor == "local" and travels(train)


def _of_a_fleet(train: Any) -> bool:
    """Whether a function is one of a fleet: (members, seed, recorder)."""
    if isinstance(train, Function):
        return True
    try:
        names = list(inspect.signature(train).parameters)
    except (TypeError, ValueError):
        return False
    return len(names) >= 3 and names[2] == "recorder"


def _dataset(
    inputs: torch.Tensor, kind: Any, pool: Pool, observed: Observed, question: Question
) -> Dataset:
    task, labels, targets = question.task.name, question.labels, question.targets
    if targets is not None:
        classes = 1 if targets.ndim == 1 else targets.shape[1]
    else:
        known = 0 if labels is None else int(labels.max()) + 1
        classes = max(observed.classes, known, 2)
    if labels is None:
        labels = np.zeros(len(inputs), dtype=np.int64)
        if targets is not None and task == "soft-labels":
            labels = targets.argmax(axis=1)
    return Dataset(
        inputs,
        torch.from_numpy(labels),
        pool.ids,
        tuple(str(k) for k in range(classes)),
        "members and others",
        kind,
        # As the target is asked: nothing is standardised.
        numeric=np.zeros(inputs.shape[1], dtype=np.bool_),
        groups=pool.groups,
        task=task,
        targets=None if targets is None else torch.from_numpy(targets.astype(np.float32)),
    )


def _numbers(pool: Pool, observed: Observed, question: Question) -> Dataset:
    """Inputs as the built-in engine takes them: images (N, C, H, W) or a table (N, D)."""
    try:
        x = np.asarray(pool.inputs)
    except ValueError:
        x = np.empty(0, dtype=object)
    whole = x.dtype.kind in "iub" and x.dtype != np.uint8
    if x.ndim not in (2, 4) or x.dtype.kind not in "fu" or whole:
        raise InputError(
            "references: expected images (N, C, H, W) or a table (N, D) of floats or bytes, got "
            f"{x.dtype} of shape {x.shape}; pass a function (inputs, labels, seed) -> model instead"
        )
    x = x if x.dtype == np.uint8 else x.astype(np.float32)
    y = question.targets
    off = 0.0 if y is None else float(np.abs(y - y.astype(np.float32)).max())
    if y is not None and off > 1e-3 * float(y.std()):
        raise InputError(
            "labels: expected targets that single precision tells apart, in which references are "
            f"trained, got some that it moves by {off:.2g}, where their deviation is {y.std():.2g}; "
            "pass a function (inputs, labels, seed) -> model instead"
        )
    kind = "image" if x.ndim == 4 else "table"
    return _dataset(torch.tensor(x), kind, pool, observed, question)


def curvature_zo(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The name under which `Observing` measures input curvature; outputs alone do not tell it."""
    raise InputError("curvature_zo: expected to be measured of a network, got outputs alone")


@dataclass(frozen=True)
class _Mapped:
    """An array in a file, which every worker maps."""

    path: str

    def read(self) -> AnyArray:
        # Copy-on-write: what a training changes in place is its own.
        found: AnyArray = np.load(self.path, mmap_mode="c", allow_pickle=False)
        return found.view(np.ndarray)


@final
class _Training:
    """The user's (inputs, labels, seed) -> model as a training function of a fleet."""

    network = False
    checkpoints = (1.0,)

    def __init__(self, train: Train, inputs: Any, labels: AnyArray, observing: Observing) -> None:
        self.train, self.inputs, self.labels, self.observing = train, inputs, labels, observing
        name = getattr(train, "__qualname__", type(train).__qualname__)
        self.__qualname__ = f"TrainedReferences({name})"

    @property
    def travels(self) -> bool:
        """Whether workers can be fresh interpreters."""
        return travels(self.train)

    def __call__(self, members: Int64Array, seed: int, recorder: Recorder) -> Any:
        """Train on the members' samples, ask the model about all, and hand over its signals."""
        inputs = self.inputs.read() if isinstance(self.inputs, _Mapped) else self.inputs
        with _seeded(seed):
            try:
                model = self.train(
                    chosen_rows(inputs, members), self.labels[members], int(seed) % (1 << 31)
                )
            except (SeepageError, MemoryError, OSError):
                raise
            except Exception as error:
                text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                raise InputError(
                    f"references: train raised {text}; it takes (inputs, labels, seed) and returns "
                    "a model"
                ) from error
            outside = np.ones(self.observing.samples, dtype=np.bool_)
            outside[members] = False
            found = self.observing.reference(model, inputs, outside).plain
        values = {name: found.signals.get(name) for name in recorder.names}
        lacking = [name for name, v in values.items() if v is None]
        if lacking:
            why = found.lacking.get(lacking[0], "it is not known")
            raise InputError(
                f"references: expected {lacking[0]} of every reference, it {why}; leave "
                "curvature out"
            )
        recorder.observed({k: v for k, v in values.items() if v is not None}, epoch=1.0)
        return model


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """NumPy's and Python's own streams from the run's seed, as torch's is; afterwards as before."""
    before = np.random.get_state(), random.getstate()  # noqa: NPY002
    np.random.seed(np.random.SeedSequence([int(seed), 1]).generate_state(1))  # noqa: NPY002
    random.seed(int(seed))
    try:
        yield
    finally:
        np.random.set_state(before[0])  # noqa: NPY002
        random.setstate(before[1])


@final
class _Watcher:
    """A fleet's events as the audit's progress: how many have ended, of how many."""

    def __init__(self, say: Progress, most: int, budget: Budget | None) -> None:
        self.say, self.most, self.budget = say, most, budget
        self.there = self.ended = 0
        self.epochs: dict[int, float] = {}
        self.per_run = 1.0

    def start(self, rows: list[int], epochs: float) -> None:
        """So many are left to train."""
        self.per_run, self.there = epochs, self.most - len(rows)
        self._say()

    def _say(self) -> None:
        possible = None if self.budget is None else self.budget.possible()
        total = self.most if possible is None else min(self.most, self.there + possible)
        what = "training references"
        if self.budget is not None and possible is None:
            what = "training references, the first pair is measured"
        elif self.epochs:
            done = sum(self.epochs.values())
            what += f", {done:.0f} of {len(self.epochs) * self.per_run:.0f} epochs of the next"
        self.say(what, self.there + self.ended, max(total, self.there + self.ended))

    def progress(self, row: int, epoch: float) -> None:
        """A run has done so many epochs."""
        self.epochs[row] = epoch
        self._say()

    def done(self, row: int, record: dict[str, Any]) -> None:
        """A run has ended."""
        self.epochs.pop(row, None)
        self.ended += 1
        self._say()

    def stop(self) -> None:
        """The fleet is over."""


def _read(
    run: Run, most: int, references: TrainedReferences, fresh: int, spent: float
) -> Reference:
    """Signals of the whole pairs, and what is said of how they came about."""
    usable = run.models.tolist()
    held = set(usable)
    rows = [r for r in usable if r < most and r ^ 1 in held]
    limit = "" if references.seconds is None else f" within {references.seconds:g} s"
    kept = "" if references.folder is None else f"; what was trained is kept in {references.folder}"
    if not rows:
        failed = next(iter(run.failed.values()), None)
        if failed is not None:
            raise InputError(
                f"references: expected a pair whose training converges, got: {failed}; train them as "
                "the target was trained"
            )
        raise InputError(
            f"references: expected a budget that holds a pair of them, got none that ended{limit}; "
            f"allow more, or train on fewer epochs{kept}"
        )
    at = [usable.index(r) for r in rows]
    signals: dict[str, Float64Array] = {}
    for name in run.signals:
        values = np.asarray(run.signal_at(name, -1)[at], dtype=np.float64)
        if values.ndim == 2 and not np.isnan(values).any():
            signals[name] = values
    pairs = [(k, k + 1) for k in range(0, len(rows), _PAIR)]
    if all(np.array_equal(v[a], v[b]) for v in signals.values() for a, b in pairs):
        raise InputError(
            "references: expected models that differ, got the same answers from both halves of every "
            "pair, which share no training sample; train on the samples that train is given"
        )
    each = float(np.mean([run.records[r]["seconds"] for r in rows]))
    note = (
        f"references: {len(rows)} models on random halves of members and others, {each:.2g} s each; "
        f"{fresh} were trained now, in {spent:.1f} s{limit}"
    )
    if len(rows) < most:
        note += f"; more time allows more, up to {most}"
    notes: tuple[str, ...] = (note,)
    lost = [r for r in run.failed if r < most]
    if lost:
        notes += (
            f"references: {len(lost)} diverged and were left out with their halves, the first: "
            f"{run.failed[lost[0]]}",
        )
    return Reference(run.member[at], signals, notes)
