"""From a run folder back to a network that can be called, and to what it was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.array_types import BoolArray
from seepage.config.low_rank import LowRank
from seepage.config.model import Model, as_model
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet.given_inputs import prepared
from seepage.fleet.spec import AS_GIVEN, STANDARDISED
from seepage.models import known
from seepage.models.low_rank import merged
from seepage.models.outputs import check_trained
from seepage.record import Memory, Recorder, Resident
from seepage.signals.tasks import task
from seepage.store.run import Run

__all__ = ["Rebuilt", "loaded", "network_of", "pool_of", "rebuild"]

Factory = str | Callable[[], nn.Module] | Model


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """A kept network in eval mode and the whole pool as it was given it.

    What a defence does to the outputs afterwards is not part of the network. Low-rank adapters are
    added to the weights of its layers.

    model: with the weights of plan row `row` at `epoch`. inputs: (N, ...) float32, prepared as
    that run was given them; labels (N,) int64; member (N,) bool. data: the pool, not normalised.
    """

    model: nn.Module
    inputs: torch.Tensor
    labels: torch.Tensor
    member: np.ndarray[tuple[int], np.dtype[np.bool_]]
    data: Dataset
    row: int
    epoch: float


def rebuild(
    run: Run,
    target: int = 0,
    t: int = -1,
    *,
    model: Factory | None = None,
    data: Dataset | None = None,
    texts: bool = False,
) -> Rebuilt:
    """One kept network of a fleet, ready to be probed.

    run: the finished run; target: position among its usable runs; t: checkpoint index. model: the
    factory again (a callable or "package.module:factory") unless the fleet was trained with a
    reference network: a name that the run folder holds is never imported. data: the pool again when it was made of arrays in memory; it must
    have the digest of the run's. texts: whether a language model is expected, with rows of token numbers
    (N, L) as inputs; else a network that answers with classes.

    Raises InputError for a run of another task, and when there is nothing to rebuild from: imported arrays, weights that were not
    kept, a factory or data that cannot be found again or does not fit, a training function of
    the user's own that prepared its inputs itself.
    """
    key = run.manifest["key"]
    name = str(run.manifest["data"].get("task", "classification"))
    if texts and name != "language":
        raise InputError(
            f"{run.path}: expected a run of the task language, whose models are asked about texts, got {name}"
        )
    if not (texts or task(name).classes):
        raise InputError(
            f"{run.path}: expected a run of the task classification, on whose logits layers and "
            f"curvature are measured here, got {name}"
        )
    if "imported" in key and "model" not in key:
        raise InputError(
            f"{run.path}: was imported from arrays and holds no networks; "
            "train a fleet with `seepage audit`"
        )
    own = key.get("function")
    if any("clipped" in (r.get("facts") or {}) for r in run.records.values()):
        raise InputError(
            f"{run.path}: was trained by an estimator, which is no torch network and has no layers "
            "and no derivatives; train a network to ask for them"
        )
    if own and model is None:
        raise InputError(
            f"{run.path}: was trained by a function of your own ({own['name']}), which built the "
            "network itself; pass the factory, --model package.module:factory or model="
        )
    if not 0 <= target < len(run.models):
        raise InputError(
            f"target: expected one of the {len(run.models)} usable runs, 0 to "
            f"{len(run.models) - 1}, got {target}"
        )
    t = range(len(run.checkpoints))[t]
    row, epoch = int(run.models[target]), float(run.checkpoints[t])
    weights = run.weights(target, t)
    if weights is None:
        raise InputError(
            f"{run.path}: weights of run {row} at epoch {epoch:g} were not kept; "
            "train with record.keep = 'final' (or 'all' for every checkpoint)"
        )
    pool = pool_of(run, data)
    network = loaded(run, target, weights, model)
    member = run.member[target]
    inputs = Recorder(
        Resident.of(pool),
        [0.0],
        Memory(),
        signals=(),
        **_preparation(run, row, pool, member),
    ).inputs(np.arange(len(pool)))
    check_trained(network, inputs, len(pool.classes), task(name))
    return Rebuilt(network, inputs, pool.labels, member, pool, row, epoch)


def loaded(
    run: Run, target: int, weights: Mapping[str, torch.Tensor], model: Factory | None = None
) -> nn.Module:
    """The network of usable run `target` with its kept weights, low-rank adapters added to them, in eval mode.

    Raises InputError for a factory of another network.
    """
    network = network_of(run, model)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:160]
        raise InputError(
            f"model: expected the network that run {int(run.models[target])} trained, got another one "
            f"({first}); pass the factory it was trained with"
        ) from None
    return merged(network).eval()


def _preparation(run: Run, row: int, pool: Dataset, member: BoolArray) -> dict[str, Any]:
    """The arguments of a Recorder that prepares inputs as they were prepared for this run."""
    key = run.manifest["key"]
    if "imported" in key:
        return prepared(key).recorder(pool, np.flatnonzero(member))
    return {"scale": _scale(run, row, pool, member)}


def _scale(run: Run, row: int, pool: Dataset, member: BoolArray) -> Any:
    """How the inputs of a run were scaled: by its members, or not at all by a loop of the user's."""
    given = run.records[row].get("facts", {}).get("inputs")
    if not run.manifest["key"].get("function") or given == STANDARDISED:
        return pool.member_scale(np.flatnonzero(member))
    if given != AS_GIVEN:
        raise InputError(
            f"{run.path}: was trained by a loop of your own that prepared its inputs itself; call "
            "seepage.curvature.curvature or seepage.layers.measure_risk with your model and inputs"
        )
    return None


def pool_of(run: Run, data: Dataset | None) -> Dataset:
    """The pool of a run, found again or given again: it must be the one that was trained on."""
    digest = run.manifest["data"]["digest"]
    if data is not None:
        if data.digest != digest:
            raise InputError(
                f"data: expected the pool that the fleet was trained on (digest {digest[:12]}), "
                f"got another one ({data.digest[:12]})"
            )
        return data
    found = run.data()
    if found is None:
        raise InputError(
            f"{run.path}: its data ({run.manifest['data']['name']!r}) cannot be found again or "
            "changed since; put the files back, or call seepage.fleet.rebuild with data="
        )
    return found


def network_of(run: Run, model: Factory | None) -> nn.Module:
    """The architecture, with weights that are not used; streams stay as they are.

    Code runs where the user names it, or where it is a reference network's: never because the
    manifest does.
    """
    # A training function builds its network itself.
    told: dict[str, Any] = run.manifest["key"]["model"] or {"name": ""}
    name = str(told["name"])
    if model is not None:
        given = as_model(model)
        options = {} if given.factory is not None else dict(told.get("options") or {})
        ref = given if given.options or not options else given.changed(options=options)
    elif known(name):
        ref = Model(name=name, options=dict(told.get("options") or {}))
    else:
        raise InputError(
            f"model: the fleet was trained with {name!r}, and a name in a run folder is never "
            "imported; pass the factory again, --model package.module:factory or model="
        )
    if told.get("adapter") is not None:
        ref = ref.changed(adapter=LowRank(**told["adapter"]), reset=tuple(told["reset"]))
    with torch.random.fork_rng(devices=[]):
        shape = tuple(int(v) for v in run.manifest["data"]["shape"])
        name = str(run.manifest["data"].get("task", "classification"))
        return ref.for_task(name).make(shape, len(run.classes))
