"""The Recorder: evaluates a model at checkpoints, writes its signals, changes nothing.

The loop that it watches, with its five events::

    recorder.start(model, epochs=epochs)                 # start; checkpoint 0 if requested
    for epoch in range(epochs):
        for batch in batches:
            ...                                          # forward, backward, optimiser step
            recorder.step_end()                          # checkpoints at fractions of epochs
        recorder.epoch_end()                             # checkpoints at whole epochs
    recorder.finish()                                    # every requested checkpoint was seen

and, where the loop keeps its own clock, `recorder.checkpoint(epoch)` at any moment. A model that is
no torch network has neither start nor steps: `recorder.answers(probabilities, epoch=epoch)` at each
checkpoint, then `finish`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.errors import InputError, SeepageError
from seepage.models.fused import fused_layers
from seepage.models.low_rank import passes_by
from seepage.models.outputs import (
    Beyond,
    Simplex,
    check_answers,
    not_logits,
    one_unit,
    refuse_sigmoid,
    try_outputs,
)
from seepage.models.wrapped import (
    check_whole,
    in_single_precision,
    plain_forward,
    unwrapped,
    without_sample_hooks,
)
from seepage.record.own_numbering import OwnNumbering
from seepage.record.resident import Resident, parse_views
from seepage.record.seen_inputs import SeenInputs
from seepage.record.tokens import (
    TOKEN_SIGNALS,
    TokenAnswers,
    documents_at_once,
    offsets_of,
)
from seepage.signals import SignalRule, named, together
from seepage.signals.related import log_probabilities
from seepage.signals.tasks import divergence, gaussian_loss, residual

__all__ = [
    "DEFAULT_SIGNALS",
    "EARLIER_SIGNALS",
    "Diverged",
    "ExtraSignal",
    "Memory",
    "Recorder",
    "Sink",
    "checkpoints",
    "log_spaced",
    "observing",
]


def log_spaced(epochs: int, count: int = 8) -> tuple[float, ...]:
    """Initialisation, the first epochs densely, the last epoch always.

    Membership is encoded fastest early, so equal ratios of epochs show more than equal steps.

    >>> log_spaced(40, 8)
    (0.0, 1.0, 2.0, 3.0, 6.0, 12.0, 22.0, 40.0)
    """
    if count < 2:
        raise InputError(f"checkpoints: expected at least 2, got {count}")
    wanted = min(count - 1, epochs)
    # Rounding may merge early points: ask for more until enough distinct ones remain.
    for ask in range(wanted, 8 * wanted + 1):
        found = np.unique(np.rint(np.geomspace(1, epochs, ask)).astype(int))
        if len(found) >= wanted:
            break
    return (0.0, *(float(e) for e in found[: wanted - 1]), float(epochs))


def checkpoints(spec: str | int | Sequence[float], epochs: int) -> tuple[float, ...]:
    """Checkpoints from what a user says: "log", "every", a count of log-spaced ones, or a list.

    Fractions of epochs are allowed; 0 is the initialisation.

    >>> checkpoints([0, 0.5, 2], 2)
    (0.0, 0.5, 2.0)
    """
    if isinstance(spec, str):
        if spec == "log":
            return log_spaced(epochs)
        if spec == "every":
            return tuple(float(e) for e in range(epochs + 1))
        raise InputError(
            f"checkpoints: expected 'log', 'every', a count or a list of epochs, got {spec!r}"
        )
    if isinstance(spec, int):
        return log_spaced(epochs, spec)
    values = tuple(float(e) for e in spec)
    within = all(0 <= v <= epochs for v in values)  # which NaN is not
    if not values or not within or list(values) != sorted(set(values)):
        raise InputError(
            f"checkpoints: expected ascending epochs in 0..{epochs}, got {list(values)}"
        )
    return values


# Below it probabilities are raised to it, by bytes per number, where the caller names no bound.
_LEAST = {4: float(np.finfo(np.float32).eps), 8: 1e-12}
# How far the sum of a row may lie from 1: rounding in single precision over many classes.
_SUM = 1e-3
_ROWS = 65536

# Whose labels are one class for each sample.
_OF_CLASSES = ("classification", "binary")
DEFAULT_SIGNALS = ("loss", "phi", "correct", "mentr", "entropy")
# As they were before the entropy was one: folders hold them, and configurations that were printed.
EARLIER_SIGNALS = ("loss", "phi", "correct", "mentr")


class Diverged(SeepageError):
    """A run's loss or outputs stopped being finite; the message says at which step."""


class Sink(Protocol):
    """Where a Recorder writes: the store, or memory."""

    def wants(self, t: int) -> bool:
        """Whether checkpoint `t` still has to be written."""
        ...

    def write(self, t: int, values: dict[str, AnyArray]) -> None:
        """All signals of one checkpoint."""
        ...

    def keep(self, t: int, model: nn.Module) -> None:
        """Offers the model, for its weights to be kept."""
        ...


class Memory:
    """A sink that keeps checkpoints in a list: for notebooks and tests."""

    def __init__(self) -> None:
        self.values: dict[int, dict[str, AnyArray]] = {}

    def wants(self, t: int) -> bool:
        """Every checkpoint, once."""
        return t not in self.values

    def write(self, t: int, values: dict[str, AnyArray]) -> None:
        """Kept as they come."""
        self.values[t] = values

    def keep(self, t: int, model: nn.Module) -> None:
        """Weights are not kept in memory."""


class ExtraSignal(Protocol):
    """A signal that needs the model itself, such as curvature or a layer probe."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays that `measure` returns."""
        ...

    def wanted(self, checkpoint: float) -> bool:
        """Whether to measure at this epoch; the store holds NaN where not."""
        ...

    def measure(
        self,
        model: nn.Module,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> dict[str, AnyArray]:
        """Arrays by name, one value per sample, or per layer when `axis` is "layer"."""
        ...


@contextlib.contextmanager
def observing(model: nn.Module) -> Iterator[None]:
    """Eval mode and untouched random streams within; every module's own mode comes back after."""
    modes = [(m, m.training) for m in model.modules()]
    cuda = [p.device for p in model.parameters() if p.device.type == "cuda"][:1]
    # Where a loop validates in inference mode, what needs gradients is measured all the same.
    with (
        torch.random.fork_rng(devices=cuda),
        torch.inference_mode(False),
        without_sample_hooks(model),
    ):
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


class Recorder:
    """Evaluates all N samples at every checkpoint and passes the signals to a sink.

    Eval mode, no random transform, float64 signal arithmetic on the logits; batches have one
    fixed size (the last is padded and cut), so that a sample's value does not depend on how many
    samples there are. Views are fixed transforms of images, the identity first. `preprocess`
    replaces the members' normalisation for users whose loop has its own: it gets raw inputs
    (B, ...) as the dataset holds them. `signals` are names or functions of logits and labels, see
    `seepage.signals.named`; by default those of the pool's task. noise, outside: of a regression the
    standard deviation of the noise, or the samples (N,) of whose residuals it is the root mean
    square; all, where nobody says which were not trained on. tokens: of documents, whether each token's
    signals are kept beside. `outputs` maps logits to what an attacker sees (a
    defence's fifth hook). `seconds` is the time spent on evaluation.

    Raises Diverged when signals are not finite, and InputError when the network does not return
    logits (`seepage.models.outputs`): from `start` on, before anything is trained; at the last checkpoint
    where its answers ask for other numbers of the classes than the pool has (`seepage.metrics.own_labels`).
    """

    def __init__(
        self,
        pool: Resident,
        checkpoints: Sequence[float],
        sink: Sink,
        *,
        signals: Sequence[str | SignalRule] = DEFAULT_SIGNALS,
        views: Sequence[str] = ("identity",),
        logits: bool = False,
        extra: Sequence[ExtraSignal] = (),
        precision: str = "fp32",
        batch: int = 512,
        seed: int = 0,
        scale: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
        preprocess: Callable[[torch.Tensor], torch.Tensor] | None = None,
        outputs: Callable[[torch.Tensor], torch.Tensor] | None = None,
        compiled: bool = False,
        noise: float | None = None,
        outside: BoolArray | None = None,
        tokens: bool = True,
    ) -> None:
        self.pool = pool
        self._rules = rules_of(pool, signals)
        self.checkpoints = tuple(float(c) for c in checkpoints)
        self.sink = sink
        self.names = tuple(self._rules)
        self.views = parse_views(views)
        if len(self.views) > 1 and not pool.image:
            raise InputError("views: expected images for flips and shifts, got a table; drop views")
        self.logits = logits
        self.extra = tuple(extra)
        self.precision = precision
        self.batch = min(batch, len(pool))
        self.seed = seed
        self.scale = scale
        self.preprocess = preprocess
        self.outputs = outputs
        self.compiled = compiled
        self.seconds = 0.0
        self.step = 0
        self.epoch = 0.0
        self._model: nn.Module | None = None
        self._compiled: Callable[..., Any] | None = None
        self._forward: Callable[..., Any] | None = None
        self._steps_per_epoch = 0
        self._next = 0
        self.accuracy: dict[float, float] = {}
        # What the training says of itself beside its answers: part of the run's record.
        self.facts: dict[str, Any] = {}
        self._seen: SeenInputs | None = None
        self._members: Int64Array | None = None
        self._tried = False
        self._classes = pool.width
        self._noise, self._outside = noise, outside
        self._tokens = tokens

    def watch_inputs(self, members: Int64Array) -> None:
        """Compare what the loop gives its network with what is evaluated; `members` trains it."""
        self._seen, self._members = SeenInputs(), members

    @property
    def members(self) -> Int64Array | None:
        """Positions of those who train the network, where a training function was given them."""
        return self._members

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch as the loop said them, or 0."""
        return self._steps_per_epoch

    def start(
        self,
        model: nn.Module,
        *,
        epochs: int | None = None,
        steps_per_epoch: int = 0,
        epoch: float = 0.0,
        preprocess: Callable[[torch.Tensor], torch.Tensor] | None = None,
        check_inputs: bool = True,
    ) -> None:
        """The model is built (or restored at `epoch`) and training is about to begin.

        epochs: how many the loop trains, so that checkpoints need not be listed. steps_per_epoch:
        needed where checkpoints lie within epochs. preprocess: what the loop does to inputs before
        the network gets them, (B, ...) float32 as the data holds them -> (B, ...). check_inputs:
        whether the first batches of the loop are compared with what is evaluated.
        """
        if preprocess is not None:
            self.preprocess = preprocess
        if self._seen is not None and check_inputs:
            self._seen.watch(model)
        self._watch(model)
        self._steps_per_epoch = steps_per_epoch
        self.epoch = epoch
        self.step = round(epoch * steps_per_epoch)
        self._next = int(np.searchsorted(self.checkpoints, epoch - 1e-9))
        self._tried = epoch > 0
        self._look(epoch)
        if not self._tried:
            self._try()

    def follow(self, model: nn.Module, *, steps_per_epoch: int = 0) -> None:
        """Watch another network from here on, as a later stage of the same training."""
        self._watch(model)
        self._steps_per_epoch = steps_per_epoch
        self.step = round(self.epoch * steps_per_epoch)

    def _watch(self, model: nn.Module) -> None:
        """The network inside of wrappers, and the pool beside it."""
        inner = unwrapped(model)
        check_whole(inner)
        for note in passes_by(inner):
            self.facts["notes"] = list(dict.fromkeys([*self.facts.get("notes", ()), note]))
        self._model = inner
        self._compiled = torch.compile(inner, dynamic=False) if self.compiled else None
        device = next((p.device for p in inner.parameters()), self.pool.device)
        if device != self.pool.device and device.type != "meta":
            self.pool = self.pool.on(device)

    @contextlib.contextmanager
    def _looking(self) -> Iterator[None]:
        """The network in eval mode, without gradients, in float32 even where its weights are halves."""
        assert self._model is not None
        with observing(self._model), torch.no_grad():
            single = in_single_precision(self._model)
            whole = single is self._model and self._compiled is not None
            self._forward = self._compiled if whole else plain_forward(single)
            try:
                yield
            finally:
                self._forward = None

    def step_end(self) -> None:
        """One optimiser step is done; evaluates when a fraction of an epoch was requested."""
        self.step += 1
        if self._steps_per_epoch and self._next < len(self.checkpoints):
            wanted = self.checkpoints[self._next]
            # Whole epochs are left to epoch_end, which knows that the epoch is over.
            if wanted % 1.0 and self.step >= wanted * self._steps_per_epoch:
                self._look(wanted)

    def epoch_end(self, *, accuracy: float | None = None) -> None:
        """One epoch is done. accuracy: of members, as the loop itself sees it, to be shown beside."""
        self.checkpoint(float(int(self.epoch) + 1), accuracy=accuracy)

    def checkpoint(self, epoch: float, *, accuracy: float | None = None) -> None:
        """Evaluate now, if `epoch` was requested: for loops that keep their own clock."""
        self.epoch = epoch
        if accuracy is not None:
            self.accuracy[epoch] = float(accuracy)
        self._look(epoch)

    def answers(self, probabilities: AnyArray, *, epoch: float, least: float | None = None) -> None:
        """A checkpoint of a model that is no torch network, by what it answers of the whole pool.

        probabilities (N, K): of the samples in the order of the pool, one column per class in the
        order of the labels, in float32 or float64; nothing is done where `epoch` was not requested.
        Their logarithms are taken as logits, in float64, so that every signal is that of the
        package: φ = log p_y − log Σ_{j≠y} p_j needs no rows that sum to exactly 1. What lies below
        least / (K − 1) is raised to it, so that φ is −log(least) where p_y is exactly 1; least is
        1e-12, or 1.2e-7 (the machine epsilon) of float32, unless it is given. Pass it wherever a model
        answers exactly 0 or 1 by counting, half of what it can tell apart: 1 / (2 T) of a forest of T
        trees (docs/estimators.md), or LiRA sees less of what leaks. Samples tie there;
        how many do is kept in `facts["clipped"]`, by epoch.

        No weights are kept, and no signal that needs a network can be measured. Raises InputError
        for another shape, values that are not finite, rows that are no probabilities, views, and
        a requested checkpoint before this one that was passed over.
        """
        self.epoch = epoch
        self._refuse_texts("probabilities")
        for t in self._due(epoch):
            began = time.perf_counter()
            if self.pool.task.name == "regression":
                self.sink.write(t, self._signals_of_predictions(probabilities, epoch))
                self.seconds += time.perf_counter() - began
                continue
            p, below = self._probabilities(probabilities, least)
            self.facts.setdefault("clipped", {})[f"{epoch:g}"] = below
            if self._numbered(t):
                numbering, own = OwnNumbering(self._classes), self._own_of(np.arange(len(p)))
                numbering.see(torch.from_numpy(p)[own.cpu()], self.pool.labels.cpu()[own.cpu()])
                numbering.check(f"model, at epoch {epoch:g}: ")
            self.sink.write(t, self._signals_of(p))
            self.seconds += time.perf_counter() - began

    def observed(self, values: dict[str, AnyArray], *, epoch: float) -> None:
        """Signals of a model that was asked elsewhere: {name: (N,)}, one for each of `names`.

        Raises InputError for other names and shapes, Diverged where they are not finite.
        """
        self._refuse_texts("observed")
        n = len(self.pool)
        shapes = {name: np.shape(v) for name, v in values.items()}
        if shapes != dict.fromkeys(self.names, (n,)):
            raise InputError(
                f"observed: expected {', '.join(self.names)}, {n} numbers each, got {shapes}; record "
                "what is asked for"
            )
        self.epoch = epoch
        for name, v in values.items():
            if not np.isfinite(v).all():
                raise Diverged(f"signal {name} not finite at epoch {epoch:g}")
        for t in self._due(epoch):
            self.sink.write(t, {k: np.asarray(v, dtype=np.float32) for k, v in values.items()})

    def _refuse_texts(self, what: str) -> None:
        """Refuse answers without a network where every token is to be recorded."""
        if self.pool.task.name == "language":
            raise InputError(
                f"{what}: expected a network that answers every token with the task language, got numbers "
                "of documents; call recorder.start(model), or import token arrays (docs/importing.md)"
            )

    def finish(self) -> None:
        """Training is over. Raises InputError when a requested checkpoint never came."""
        if self._seen is not None:
            self._seen.close()
        if self._next < len(self.checkpoints):
            missing = self.checkpoints[self._next]
            raise InputError(
                f"checkpoints: expected the loop to reach epoch {missing:g}, it ended at "
                f"{self.epoch:g}; call epoch_end after every epoch or request fewer"
            )

    def _due(self, epoch: float) -> Iterator[int]:
        """Checkpoints that are requested at this epoch and still to be written."""
        while self._next < len(self.checkpoints) and self.checkpoints[self._next] <= epoch + 1e-9:
            t = self._next
            self._next += 1
            if abs(self.checkpoints[t] - epoch) < 1e-9 and self.sink.wants(t):
                yield t

    def _look(self, epoch: float) -> None:
        for t in self._due(epoch):
            began = time.perf_counter()
            self._check_inputs()
            self.sink.write(t, self.observe(t))
            assert self._model is not None
            self.sink.keep(t, self._model)
            self.seconds += time.perf_counter() - began

    def _probabilities(self, given: AnyArray, least: float | None) -> tuple[Float64Array, int]:
        """Logarithms of probabilities that were checked, and how many samples were raised to least."""
        p: AnyArray = np.asarray(given)
        n = len(self.pool)
        if self.extra or len(self.views) > 1:
            asked = f"signal {self.extra[0].names[0]}" if self.extra else "several views"
            raise InputError(
                f"record: expected what probabilities alone give, got {asked}; a model that is no "
                "torch network has neither layers, curvature nor views, leave them out"
            )
        if p.dtype not in (np.float32, np.float64) or p.ndim != 2 or len(p) != n:
            raise InputError(
                f"probabilities: expected float32 or float64 of shape ({n}, {self._classes}), a row "
                f"for every sample of the pool, got {p.dtype} of shape {p.shape}; ask the model of "
                "all samples"
            )
        if p.shape[1] < max(self._classes, 2):
            raise InputError(
                f"probabilities: expected {max(self._classes, 2)} columns, one per class, got "
                f"{p.shape[1]}; a class that the model does not know has probability 0"
            )
        bad = ~np.isfinite(p).all(axis=1)
        if bad.any():
            raise InputError(
                f"probabilities: expected finite numbers, got others for {int(bad.sum())} of {n} "
                f"samples, the first at row {int(bad.argmax())}; correct the model's answer"
            )
        sums = p.sum(axis=1, dtype=np.float64)
        bad = (p < 0).any(axis=1) | (np.abs(sums - 1) > _SUM)
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                f"probabilities: expected rows from 0 that sum to 1, got {p[row, :4].tolist()} with "
                f"sum {sums[row]:.4g} at row {row}; pass the probabilities of all classes"
            )
        # Over all other classes together it is `least`: raised rows add no more than that.
        floor = (_LEAST[p.dtype.itemsize] if least is None else least) / (p.shape[1] - 1)
        p = p.astype(np.float64)
        at = np.arange(n), self.pool.labels_host
        own, rest = p[at], p.copy()
        rest[at] = 0.0
        tied = int(((own < floor) | (rest.max(axis=1) < floor)).sum())
        return log_probabilities(np.maximum(p, floor), floor), tied

    def _signals_of_predictions(self, given: AnyArray, epoch: float) -> dict[str, AnyArray]:
        """All signals of predicted targets (N,): {name: (N,)} float32."""
        values: AnyArray = np.asarray(given)
        n = len(self.pool)
        if values.dtype.kind not in "fiu" or values.reshape(-1).shape != (n,):
            raise InputError(
                f"predictions: expected {n} numbers, one for each sample of the pool, got "
                f"{values.dtype} of shape {values.shape}; ask the model of all samples"
            )
        bad = ~np.isfinite(values.reshape(-1))
        if bad.any():
            raise InputError(
                f"predictions: expected finite numbers, got others for {int(bad.sum())} of {n} "
                f"samples, the first at row {int(bad.argmax())}; correct the model's answer"
            )
        self._check_plain()
        outputs = torch.from_numpy(values.reshape(-1).astype(np.float64)).to(self.pool.device)
        found = self._told(outputs, slice(None))
        self._likelihood(found, epoch)
        if self.logits:
            return {**found, "logits": outputs.float().cpu().numpy()[:, None]}
        return dict(found)

    def _check_plain(self) -> None:
        """Refuse what only a network can be asked."""
        if self.extra or len(self.views) > 1:
            asked = f"signal {self.extra[0].names[0]}" if self.extra else "several views"
            raise InputError(
                f"record: expected what answers alone give, got {asked}; a model that is no torch "
                "network has neither layers, curvature nor views, leave them out"
            )

    def _signals_of(self, log_p: Float64Array) -> dict[str, AnyArray]:
        """All signals of log-probabilities (N, K): {name: (N,)} float32."""
        found = {name: np.empty(len(log_p), dtype=np.float32) for name in self.names}
        kept = []
        for at in range(0, len(log_p), _ROWS):
            logits = torch.from_numpy(log_p[at : at + _ROWS]).to(self.pool.device)
            if self.outputs is not None:
                logits = check_answers(
                    self.outputs(logits), logits, self._classes, self.pool.task, "outputs"
                )
            for name, values in self._told(logits, slice(at, at + _ROWS)).items():
                found[name][at : at + _ROWS] = values
            if self.logits:
                kept.append(logits.float().cpu().numpy())
        for name, values in found.items():
            if not np.isfinite(values).all():
                raise Diverged(f"signal {name} not finite at epoch {self.epoch:g}")
        return {**found, "logits": np.concatenate(kept)} if self.logits else dict(found)

    def _check_inputs(self) -> None:
        if self._seen is not None and self._seen.batches and self._members is not None:
            self._seen.check(self.inputs(self._members[:512]))

    def _try(self) -> None:
        """One batch through a network that no checkpoint is due for; buffers stay as they are."""
        assert self._model is not None
        buffers = [(b, b.clone()) for b in self._model.buffers()]
        with self._looking():
            self._answer(self.inputs(np.arange(self.batch)))
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)

    def inputs(self, rows: Int64Array, view: int = 0) -> torch.Tensor:
        """Model inputs of `rows`, positions in the pool, exactly as they are evaluated."""
        rows = np.asarray(rows, dtype=np.int64)
        v = self.views[view]
        n = len(rows)
        one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
        channels = self.pool.shape[0]
        raw = (np.repeat(one, channels), np.repeat(zero, channels))
        scale, shift = raw if self.preprocess is not None or self.scale is None else self.scale
        moved = self.pool.image and (v.flip or v.dy or v.dx)
        x = self.pool.batch(
            rows,
            scale,
            shift,
            dy=np.full(n, v.dy, np.int64) if moved else None,
            dx=np.full(n, v.dx, np.int64) if moved else None,
            flip=np.full(n, v.flip, np.bool_) if moved else None,
        )
        return self.preprocess(x) if self.preprocess is not None else x

    def observe(self, t: int = 0) -> dict[str, AnyArray]:
        """All signals of the model as it is now: {name: (N,) or (N, A)} float32."""
        if self._model is None:
            raise InputError(
                "recorder: expected start(model) first, got none; call it before training"
            )
        if self.pool.task.name == "language":
            return self._documents()
        n, views, size = len(self.pool), len(self.views), self.batch
        found = {name: np.empty((n, views), dtype=np.float32) for name in self.names}
        kept: list[NDArray[np.float32]] = []
        simplex, beyond = Simplex(), Beyond(self._classes)
        numbering = OwnNumbering(self._classes) if self._numbered(t) else None
        with self._looking():
            for view in range(views):
                for at in range(0, n, size):
                    rows = np.arange(at, min(at + size, n))
                    self.pool.soon(np.arange(at + len(rows), min(at + len(rows) + size, n)))
                    padded = np.resize(rows, size)
                    logits = self._logits(self.inputs(padded, view))[: len(rows)]
                    if self.pool.task.classes or self.pool.task.name == "soft-labels":
                        simplex.see(logits)
                    if view == 0 and self.pool.task.classes and logits.shape[1] > self._classes:
                        own = self._own_of(rows)
                        beyond.see(logits[own], self.pool.labels[at : at + len(rows)][own])
                    if view == 0 and numbering is not None:
                        own = self._own_of(rows)
                        numbering.see(logits[own], self.pool.labels[at : at + len(rows)][own])
                    for name, values in self._told(logits, slice(at, at + len(rows))).items():
                        found[name][rows, view] = values
                    if self.logits and view == 0:
                        kept.append(logits.float().reshape(len(rows), -1).cpu().numpy())
        if self.pool.file is not None:
            self.pool.file.check()
        self._likelihood(found, self.checkpoints[t])
        if simplex.found:
            at_epoch = f"model, at epoch {self.checkpoints[t]:g}"
            raise not_logits(n * views, at_epoch if self.outputs is None else "outputs")
        # Before training answers may be any; later too, as long as some of them are right.
        epoch, last = self.checkpoints[t], t == len(self.checkpoints) - 1
        if epoch >= 1 and (last or (t > 0 and beyond.right == 0)):
            beyond.check(epoch)
        if numbering is not None:
            numbering.check(f"model, at epoch {epoch:g}: ")
        for name, values in found.items():
            if not np.isfinite(values).all():
                raise Diverged(f"signal {name} not finite at step {self.step}")
        out: dict[str, AnyArray] = {k: v if views > 1 else v[:, 0] for k, v in found.items()}
        if self.logits:
            out["logits"] = np.concatenate(kept)
        for extra in self.extra:
            if not extra.wanted(self.checkpoints[t]):
                continue
            with observing(self._model):
                words = np.random.SeedSequence([self.seed, t]).generate_state(1, np.uint64)
                generator = torch.Generator(self.pool.device).manual_seed(int(words[0] % 2**63))
                everything = self.inputs(np.arange(n))
                out.update(extra.measure(self._model, everything, self.pool.labels, generator))
        return out

    def _documents(self) -> dict[str, AnyArray]:
        """Signals of documents and of their tokens: {name: (N,) or (S,)}, see `seepage.record.tokens`."""
        n = len(self.pool)
        answers = TokenAnswers(offsets_of(self.pool.targets.cpu().numpy()), self._tokens)
        own = [name for name in self.names if name not in ("loss", "logp")]
        told: dict[str, AnyArray] = {name: np.empty(n, dtype=np.float32) for name in own}
        size = min(self.batch, documents_at_once(self.pool.shape[0], self._classes))
        with self._looking():
            for at in range(0, n, size):
                rows = np.arange(at, min(at + size, n))
                logits = self._logits(self.inputs(np.resize(rows, size)))[: len(rows)]
                answers.see(logits, self.pool.targets[at : at + len(rows)], at)
                for name, values in self._told(logits, slice(at, at + len(rows)), own).items():
                    told[name][rows] = values
        found = {k: v for k, v in answers.found().items() if k in self.names or k in TOKEN_SIGNALS}
        for name, values in (found | told).items():
            if not np.isfinite(values).all():
                raise Diverged(f"signal {name} not finite at step {self.step}")
        return found | told

    def _numbered(self, t: int) -> bool:
        """Whether answers at this checkpoint tell if classes are numbered as in the pool: at the end."""
        return t == len(self.checkpoints) - 1 and self.pool.task.name in _OF_CLASSES

    def _own_of(self, rows: Int64Array) -> torch.Tensor:
        """Positions in `rows` of this run's members; all where members are not known."""
        known = (
            np.ones(len(rows), np.bool_) if self.members is None else np.isin(rows, self.members)
        )
        return torch.from_numpy(np.flatnonzero(known)).to(self.pool.device)

    def _asked(self, name: str) -> torch.Tensor:
        """What a signal compares answers with: the targets, or the numbers of classes."""
        soft = self.pool.soft and name == "loss"
        return self.pool.targets if soft or self.pool.task.reads_targets(name) else self.pool.labels

    def _told(
        self, outputs: torch.Tensor, rows: slice, names: Sequence[str] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Signals of what the samples at `rows` were answered, (B,) float32 each; all, or `names`.

        Raises InputError where a rule gives another shape.
        """
        rules = self._rules if names is None else {name: self._rules[name] for name in names}
        told = together(rules, outputs, lambda name: self._asked(name)[rows])
        size = self.pool.labels[rows].shape
        for name, values in told.items():
            if values.shape != size:
                raise InputError(
                    f"signals: expected {name} to return {tuple(size)}, one number per sample, got "
                    f"{tuple(values.shape)}; fix it"
                )
        return {name: values.float().cpu().numpy() for name, values in told.items()}

    def _likelihood(self, found: dict[str, NDArray[np.float32]], epoch: float) -> None:
        """Puts the loss of a regression in its place, once the scale of its noise is known."""
        if self.pool.task.name != "regression" or "loss" not in found:
            return
        r = found["loss"].astype(np.float64)
        first = r if r.ndim == 1 else r[:, 0]
        scale = self._noise
        if scale is None:
            held = (
                first if self._outside is None or not self._outside.any() else first[self._outside]
            )
            scale = float(np.sqrt(np.mean(held**2)))
        if not np.isfinite(scale):
            raise Diverged(f"residuals not finite at epoch {epoch:g}")
        self.facts.setdefault("noise", {})[f"{epoch:g}"] = scale
        values = gaussian_loss(torch.from_numpy(r), scale).float().numpy()
        found["loss"][...] = values.reshape(found["loss"].shape)

    def _logits(self, x: torch.Tensor) -> torch.Tensor:
        logits = self._answer(x)
        if self.outputs is not None:
            logits = check_answers(
                self.outputs(logits), x, self._classes, self.pool.task, "outputs"
            )
        return logits

    def _answer(self, x: torch.Tensor) -> torch.Tensor:
        """What the network itself says; an error of its first batch is told in one line."""
        assert self._forward is not None
        with contextlib.ExitStack() as stack:
            if not self._tried:
                stack.enter_context(try_outputs(x))
            stack.enter_context(
                torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bf16")
            )
            stack.enter_context(fused_layers())
            outputs = self._forward(x)
        tried, self._tried = self._tried, True
        logits = check_answers(outputs, x, self._classes, self.pool.task)
        if not tried and len(logits.shape) == 2 and one_unit(outputs, len(x)):
            assert self._model is not None
            refuse_sigmoid(self._model, x, logits)
        return logits


def rules_of(pool: Resident, signals: Sequence[str | SignalRule]) -> dict[str, SignalRule]:
    """Signals by the name they are stored under: those that the pool's task has.

    Where none were chosen (`DEFAULT_SIGNALS`) they are those of the task. Beside hard labels,
    distributions are what the loss is of. Raises InputError for signals that the task refuses.
    """
    task = pool.task
    chosen = tuple(signals)
    if chosen == DEFAULT_SIGNALS:
        chosen = task.defined(DEFAULT_SIGNALS)
    for signal in chosen:
        if isinstance(signal, str):
            task.refuse(signal)
    rules = dict(named(signal, task.rules) for signal in chosen)
    if "loss" in rules and task.classes and pool.soft:
        rules["loss"] = divergence
    if "loss" in rules and task.name == "regression":
        rules["loss"] = residual  # its likelihood follows once the scale of the noise is known
    return rules
