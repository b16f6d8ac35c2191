"""What was trained: the key by which a run is known, and what differs between two keys.

A key holds data, plan, recipe, model (its structure, the code of the user's parts of it and the
values that it starts from), defence, the user's own function, what is recorded, and
`TRAINING_VERSION`. Bytes of the package are not part of it: they are provenance, shown in the
manifest, and a comment that changes strands no run.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.config.function import Function
from seepage.config.model import Model
from seepage.config.recipe import Recipe
from seepage.config.record import Record
from seepage.config.starting_point import trainable, weights_digest
from seepage.data import Dataset
from seepage.defenses import Defense, as_config
from seepage.errors import InputError
from seepage.fleet.user_code import Followed, follow, python_version
from seepage.local_paths import local_path
from seepage.models import known
from seepage.plan import SubsetPlan
from seepage.record import ExtraSignal
from seepage.signals import SIGNALS, SignalRule
from seepage.signals.tasks import TASKS

__all__ = ["TRAINING_VERSION", "differing", "run_key"]

TRAINING_VERSION = 1
"""Raised when the package trains otherwise than before: other weights from the same key."""

_CLOSE = 1e-4


def run_key(
    data: Dataset,
    plan: SubsetPlan,
    recipe: Recipe,
    model: Model,
    function: Function | None,
    defense: Defense | None,
    reference: Dataset | None,
    record: Record,
    times: Sequence[float],
    extra: Sequence[ExtraSignal],
) -> tuple[dict[str, Any], list[str]]:
    """The key of a fleet, and what of the user's code could not be followed, a sentence each."""
    unfollowed: list[str] = []
    key = {
        "training": TRAINING_VERSION,
        "data": data.digest,
        "plan": plan.digest,
        # Of a loop of the user's own neither the recipe nor the network is used.
        "recipe": recipe.model_dump() if function is None else None,
        "model": _model(model, data.shape, len(data.classes), unfollowed)
        if function is None or extra
        else None,
        "function": None if function is None else _function(function, unfollowed),
        "defense": None if defense is None else _defense(defense, unfollowed),
        "reference": None if reference is None else reference.digest,
        "checkpoints": list(times),
        "signals": [_signal(name, rule, unfollowed) for name, rule in record.rules().items()],
        "extra": [_extra(e, unfollowed) for e in extra],
        "views": list(record.views),
        "logits": record.logits,
        **({} if record.noise is None else {"noise": record.noise}),
    }
    return {field: _as_stored(field, value) for field, value in key.items()}, unfollowed


def _as_stored(field: str, value: Any) -> Any:
    """A part of the key as it will be read back, so that a tuple is what its list is."""

    def held(v: Any) -> Any:
        if isinstance(v, np.generic | np.ndarray):
            return v.tolist()
        if isinstance(v, PurePath):
            return str(v)
        raise TypeError(f"a value of type {type(v).__name__}")

    try:
        return json.loads(json.dumps(value, default=held, allow_nan=False))
    except (TypeError, ValueError) as e:
        raise InputError(
            f"{field}: expected options of text, finite numbers, lists and tables, got {e}; "
            "the key of the run must hold them"
        ) from None


def _code(found: Followed, unfollowed: list[str]) -> dict[str, str]:
    unfollowed += found.unfollowed
    return {"digest": found.digest, "python": python_version()}


def _files(paths: Sequence[str], field: str) -> dict[str, str]:
    found = {}
    for path in paths:
        at = local_path(path, f"{field}.files")
        if at.exists() and not at.is_file():
            raise InputError(
                f"{field}.files: expected a file, got a folder, pipe or device at {path!r}; correct "
                "the path"
            )
        try:
            found[path] = hashlib.sha256(at.read_bytes()).hexdigest()
        except OSError as e:
            raise InputError(
                f"{field}.files: expected a file that can be read at {path!r}, got "
                f"{e.strerror or e}; correct the path"
            ) from None
    return found


def _stated(
    version: str | None, follow_it: Callable[[], Followed], unfollowed: list[str]
) -> dict[str, Any]:
    """The user's own version where there is one, else what was followed."""
    return {"version": version} if version is not None else _code(follow_it(), unfollowed)


def _function(function: Function, unfollowed: list[str]) -> dict[str, Any]:
    return {
        "name": function.called,
        "standardise": function.standardise,
        **_stated(function.version, lambda: follow(function.function), unfollowed),
        "files": _files(function.files, "train"),
    }


def _defense(defense: Defense, unfollowed: list[str]) -> dict[str, Any]:
    """Options and the code of the rules: its class and what that takes from the package."""
    told = {k: _told(v, unfollowed) for k, v in as_config(defense).items()}
    # A class that writes its own constructor may hold more than its fields.
    fields = getattr(defense, "__dataclass_fields__", {})
    held = {k: v for k, v in sorted(getattr(defense, "__dict__", {}).items()) if k not in fields}
    kinds = sorted(_kinds(defense), key=lambda k: (k.__module__, k.__qualname__))
    return {
        "name": told.pop("name"),
        "options": told,
        **_code(follow(*kinds, *([held] if held else []), package=True), unfollowed),
    }


def _told(value: Any, unfollowed: list[str]) -> Any:
    """An option as JSON has it; a function, an array, or a tensor by its digest."""
    if isinstance(value, Mapping):
        return {str(k): _told(v, unfollowed) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_told(v, unfollowed) for v in value]
    if value is None or isinstance(value, bool | int | str | np.generic | PurePath):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _code(follow(value), unfollowed)


def _kinds(value: Any) -> set[type]:
    """The classes of a defence and of the defences and options inside it."""
    if isinstance(value, list | tuple):
        return {k for v in value for k in _kinds(v)}
    if not hasattr(value, "__dataclass_fields__"):
        return set()
    inner = (getattr(value, name, None) for name in value.__dataclass_fields__)
    return {type(value)}.union(*(_kinds(v) for v in inner))


def _signal(name: str, rule: SignalRule, unfollowed: list[str]) -> Any:
    """Ours by name, the user's own by name and code."""
    if name in SIGNALS or any(rule is r for t in TASKS.values() for r in t.rules.values()):
        return name
    return {"name": name, **_code(follow(rule), unfollowed)}


def _extra(extra: ExtraSignal, unfollowed: list[str]) -> Any:
    if type(extra).__module__.partition(".")[0] == "seepage":
        # Ours may hold an estimator or an indicator of the user's.
        held = getattr(extra, "__dict__", {}).values()
        theirs = sorted(
            {k for v in held for k in _kinds(v) | {type(v)} if not _ours(k)},
            key=lambda k: (k.__module__, k.__qualname__),
        )
        if not theirs:
            return repr(extra)
        return {"signal": repr(extra), **_code(follow(*theirs), unfollowed)}
    return {"names": list(extra.names), **_code(follow(extra), unfollowed)}


def _ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("builtins", "seepage", "numpy", "torch")


def _model(
    model: Model, in_shape: tuple[int, ...], classes: int, unfollowed: list[str]
) -> dict[str, Any]:
    """A network by name, options, structure, code of the user's parts, and starting values.

    Values that two seeds share, such as pretrained weights, count by their bytes; those that are
    drawn count by shape and by the root mean square of each tensor, summed: other machines may
    round draws otherwise, but no other initialisation has the same.
    """
    first, other, again = (_made(model, in_shape, classes, seed) for seed in (0, 1, 0))
    fixed, drawn, parts = hashlib.sha256(), 0.0, []
    for name, value in first.items():
        parts.append((name, str(value.dtype), tuple(value.shape)))
        if _same_values(value, other[name]):
            fixed.update(name.encode())
            fixed.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")  # fmt: skip
        else:
            drawn += float(value.double().abs().square().mean().sqrt())
        if not _same_values(value, again[name]):
            unfollowed.append(
                f"model {model.name}: {name} starts from values that torch's seed does not decide"
            )
            drawn = math.nan
    own = not known(model.name) or model.factory is not None
    network = _network(model, in_shape, classes, 0)
    # An adapter is known by its options: another version of `peft` holds other attributes.
    plain = model if model.adapter is None else _without_adapter(model)
    seen = network if plain is model else _network(plain, in_shape, classes, 0)
    followed = follow(model.factory, seen) if own else follow(seen)
    if own and follow(model.factory, _network(plain, in_shape, classes, 0)) != followed:
        unfollowed.append(
            f"model {model.name}: an attribute of the network is another each time it is made"
        )
        followed = follow(model.factory)
    code = (
        _stated(model.version, lambda: followed, unfollowed) if own else {"digest": followed.digest}
    )
    return {
        "name": model.name,
        "options": dict(model.options),
        "parameters": sum(math.prod(p.shape) for p in network.parameters()),
        "structure": hashlib.sha256(repr(parts).encode()).hexdigest(),
        **code,
        "start": {"fixed": fixed.hexdigest(), "drawn": None if math.isnan(drawn) else drawn},
        "files": _files(model.files, "model"),
        **(_start(model, network) if model.starts else {}),
    }


def _start(model: Model, network: nn.Module) -> dict[str, Any]:
    """What every run starts from: the file by its bytes, patterns, and how much of it trains."""
    return {
        "weights": None if model.weights is None else weights_digest(model.weights),
        "frozen": list(model.frozen),
        "reset": list(model.reset),
        "trainable": trainable(network),
        **({} if model.adapter is None else {"adapter": model.adapter.model_dump()}),
    }


def _without_adapter(model: Model) -> Model:
    plain: Model = model.changed(adapter=None)
    return plain if plain.weights is not None else plain.changed(reset=())


def _network(model: Model, in_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.bare(in_shape, classes)


def _made(
    model: Model, in_shape: tuple[int, ...], classes: int, seed: int
) -> dict[str, torch.Tensor]:
    network = _network(model, in_shape, classes, seed)
    # Buffers that are not saved decide the outputs too; what is saved beside tensors is followed.
    held = {**dict(network.named_buffers()), **network.state_dict()}
    lazy = [k for k, v in held.items() if nn.parameter.is_lazy(v)]
    if lazy:
        raise InputError(
            f"model: expected {model.name} to return a network whose shapes are known, got "
            f"{lazy[0]!r} without one; name the sizes instead of a lazy layer"
        )
    return {k: v.detach().cpu().contiguous() for k, v in held.items() if torch.is_tensor(v)}


def _same_values(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a, b))


def differing(there: Any, here: Any, at: str = "") -> list[tuple[str, Any, Any]]:
    """Leaves in which two nested mappings differ: (dotted field, value there, value here).

    Numbers count as equal within 1e-4 of each other where they are sums of drawn values.

    >>> differing({"recipe": {"epochs": 40, "lr": 1}}, {"recipe": {"epochs": 20, "lr": 1}})
    [('recipe.epochs', 40, 20)]
    """
    if isinstance(there, dict) and isinstance(here, dict):
        found = []
        for key in sorted({*there, *here}):
            found += differing(there.get(key), here.get(key), f"{at}.{key}" if at else key)
        return found
    if at.endswith("start.drawn") and isinstance(there, float) and isinstance(here, float):
        return [] if math.isclose(there, here, rel_tol=_CLOSE) else [(at, there, here)]
    return [] if there == here else [(at, there, here)]
