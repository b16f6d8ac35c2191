"""A run as its models are released: signals of what can be seen of outputs, of changed weights.

Every model of the run is released alike, targets and references: whoever attacks knows how the
model was released, and treats his own references so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seepage.array_types import BoolArray, Float64Array
from seepage.config.release import Variant
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet.rebuild import Factory, Rebuilt, rebuild
from seepage.models.outputs import check_logits, try_outputs
from seepage.signals.released import released_signals

__all__ = ["Released", "logits_of_run", "released"]

_BATCH = 512
_TASKS = ("classification", "binary")

Progress = Callable[[str, int, int], object]


class Released:
    """A run at one checkpoint, released as `variant`; a source of signals as a run is.

    signals: those that the variant shows, of the first view alone, (R, N) float32 each. Whatever
    else is asked of it is that of the run.
    """

    def __init__(
        self, run: Any, variant: Variant, t: int, held: Mapping[str, NDArray[np.float32]]
    ) -> None:
        self.run = run
        self.variant = variant
        self.signals = tuple(held)
        self._held = dict(held)
        self._t = range(len(run.checkpoints))[t]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)

    @property
    def member(self) -> BoolArray:
        """As in the run."""
        member: BoolArray = self.run.member
        return member

    @property
    def checkpoints(self) -> Float64Array:
        """As in the run."""
        checkpoints: Float64Array = self.run.checkpoints
        return checkpoints

    def signal_at(self, name: str, t: int, /) -> NDArray[np.float32]:
        """A signal that the variant shows, (R, N), at the checkpoint that was released."""
        if range(len(self.checkpoints))[t] != self._t:
            raise InputError(
                f"t: expected the checkpoint that is released, {self._t}, got {t}; release that one"
            )
        if name not in self._held:
            raise InputError(
                f"signal: expected one that {self.variant.name} shows, got {name!r}; it shows "
                f"{', '.join(self.signals)}"
            )
        return self._held[name]


def released(
    run: Any,
    variants: Sequence[Variant],
    t: int = -1,
    *,
    model: Factory | None = None,
    data: Dataset | None = None,
    progress: Progress | None = None,
) -> list[Released]:
    """The run at checkpoint `t`, released as each of `variants`.

    Outputs are read from recorded logits where there are any; else, and for variants of weights,
    kept networks are rebuilt (`seepage.fleet.rebuild`, which model and data are for) and evaluated
    on the whole pool without augmentation.

    Raises InputError where there are neither logits nor kept weights; for tasks other than
    classification; for weights of a run whose defence changes the outputs, which belongs to no
    released weights; and where a variant cannot be made of the network.
    """
    say: Progress = progress if progress is not None else lambda what, done, total: None
    _check(run, variants)
    recorded = "logits" in run.signals
    t = range(len(run.checkpoints))[t]
    labels = torch.from_numpy(np.array(run.labels, dtype=np.int64))
    stored = [v for v in variants if recorded and not v.weights]
    rebuilt = [v for v in variants if v not in stored]
    rows: list[list[dict[str, NDArray[np.float32]]]] = [[] for _ in variants]
    place = {id(v): k for k, v in enumerate(variants)}

    def add(variant: Variant, logits: torch.Tensor) -> None:
        found = released_signals(variant.outputs, logits, labels)
        rows[place[id(variant)]].append({k: v.float().numpy() for k, v in found.items()})

    if stored:
        whole = run.signal_at("logits", t)
        _check_shape(run, whole)
        for z in whole:
            logits = torch.from_numpy(np.ascontiguousarray(z))
            for v in stored:
                add(v, logits)
    if rebuilt:
        pool = data if data is not None else run.data()
        for r in range(len(run.models)):
            say("evaluating released models", r, len(run.models))
            try:
                own = rebuild(run, r, t, model=model, data=pool)
            except InputError as error:
                what = rebuilt[0].name
                hint = "" if rebuilt[0].weights else ", or record.logits = true"
                raise InputError(f"released as {what}: {error}{hint}") from None
            made: dict[Any, torch.Tensor] = {}
            for v in rebuilt:
                if v.weights not in made:
                    made[v.weights] = _logits(own, v)
                add(v, made[v.weights])
    return [
        Released(run, v, t, {k: np.stack([row[k] for row in held]) for k in held[0]})
        for v, held in zip(variants, rows, strict=True)
    ]


def logits_of_run(
    run: Any,
    t: int = -1,
    *,
    target: int | None = None,
    model: Factory | None = None,
    data: Dataset | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Logits (N, K) of every usable run at checkpoint `t`, or of `target` alone, one at a time.

    Those that were recorded, of the first view; else of kept networks, which model and data rebuild
    (`seepage.fleet.rebuild`).

    Raises InputError, before the first is given, where there are neither, for tasks other than
    classification, and for kept weights of a run whose defence changes the outputs.
    """
    trained = Variant()
    _check(run, [trained])
    t = range(len(run.checkpoints))[t]
    rows = range(len(run.models)) if target is None else (target,)
    if "logits" in run.signals:
        whole = run.signal_at("logits", t)
        _check_shape(run, whole)
        return (whole[r] for r in rows)
    pool = data if data is not None else run.data()
    try:
        first = rebuild(run, rows[0], t, model=model, data=pool)
    except InputError as error:
        raise InputError(f"logits: {error}, or record.logits = true") from None

    def rest() -> Iterator[NDArray[np.float32]]:
        yield _logits(first, trained).numpy()
        for r in rows[1:]:
            yield _logits(rebuild(run, r, t, model=model, data=pool), trained).numpy()

    return rest()


def _logits(own: Rebuilt, variant: Variant) -> torch.Tensor:
    """Logits (N, K) of the network with its weights released, in batches."""
    network: nn.Module = own.model
    for step in variant.weights:
        network = step.of(network)
    rows = []
    with torch.no_grad():
        for x in torch.split(own.inputs, _BATCH):
            with try_outputs(x, f"released as {variant.name}"):
                outputs = network(x)
            rows.append(check_logits(outputs, x, what=f"released as {variant.name}").float())
    logits = torch.cat(rows)
    bad = int((~logits.isfinite()).any(1).sum())
    if bad:
        raise InputError(
            f"released as {variant.name}: expected finite logits, got others for {bad:,} of "
            f"{len(logits):,} samples; leave this variant out"
        )
    return logits


def _check(run: Any, variants: Sequence[Variant]) -> None:
    key = run.manifest.get("key", {})
    first = variants[0].name
    task = str(run.manifest.get("data", {}).get("task", "classification"))
    if task not in _TASKS:
        raise InputError(
            f"released as {first}: expected a run of classification, got the task {task} in {run.path}"
        )
    if not key.get("labels", "imported" not in key):
        raise InputError(
            f"released as {first}: expected a run with labels, got imported arrays without in "
            f"{run.path}; import them with labels"
        )
    if "logits" not in run.signals and not hasattr(run, "weights"):
        raise InputError(
            f"released as {first}: expected a run with recorded logits or kept weights, got neither "
            f"in {run.path}; record the logits"
        )
    bare = [v for v in variants if v.weights or "logits" not in run.signals]
    # A defence of the user's own is known by what was written when the run began.
    own = run.manifest.get("provenance", {}).get("changes_outputs")
    changing = sorted(_changing(key.get("defense")) | ({str(own)} if own else set()))
    if bare and changing:
        raise InputError(
            f"released as {bare[0].name}: expected a run whose defence acts on training alone, got "
            f"{changing[0]} in {run.path}, which changes outputs and is no part of kept weights; "
            "record the logits and name variants of outputs"
        )


def _changing(told: Any) -> set[str]:
    """Defences of this package named in a run's key that act on outputs; others are not known to."""
    from seepage.defenses import DEFENSES, Chain, Defense
    from seepage.defenses.composed import Around

    if isinstance(told, list):
        return set().union(*(_changing(v) for v in told))
    if not isinstance(told, Mapping):
        return set()
    found = set().union(*(_changing(v) for v in told.values()))
    kind = DEFENSES.get(str(told.get("name")))
    if kind and not issubclass(kind, (Around, Chain)) and kind.outputs is not Defense.outputs:
        found.add(str(told["name"]))
    return found


def _check_shape(run: Any, logits: NDArray[np.float32]) -> None:
    if logits.ndim != 3 or logits.shape[2] < 2 or logits.shape[2] <= int(run.labels.max()):
        raise InputError(
            f"{run.path}: expected logits (models, samples, classes) with a column for each label up "
            f"to {int(run.labels.max())}, got shape {logits.shape}; record them whole"
        )
