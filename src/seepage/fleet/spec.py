"""What a fleet trains, as plain values that travel to workers, and the key of its content."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import seepage
from seepage.config.recipe import Recipe
from seepage.data import Dataset
from seepage.models.reference import ModelRef, importable
from seepage.record import ExtraSignal, Recorder

__all__ = [
    "FleetSpec",
    "TrainFunction",
    "code_digest",
    "differing",
    "room_digest",
]

TrainFunction = Callable[[np.ndarray, int, Recorder], nn.Module]
"""The user's own training: `train(members, seed, recorder) -> model`, members as positions."""

_ROOMS = ("data", "plan.py", "signals", "models", "fleet", "record")


@dataclass(frozen=True)
class FleetSpec:
    """Everything a worker needs to train any run of the plan; membership lies in the store."""

    store: str
    pixels: str
    kind: str
    classes: tuple[str, ...]
    numeric: tuple[bool, ...] | None
    in_shape: tuple[int, ...]
    model: ModelRef
    train: TrainFunction | None
    recipe: Recipe
    precision: str
    checkpoints: tuple[float, ...]
    signals: tuple[str, ...]
    views: tuple[str, ...]
    logits: bool
    extra: tuple[ExtraSignal, ...]
    defense: Any
    reference: str | None
    keep: str
    device: str
    backend: str
    compiled: bool
    threads: int
    save_every: float

    @property
    def travels(self) -> bool:
        """Whether workers can be fresh interpreters; otherwise they are forked."""
        own = [x for x in (self.train,) if x is not None]
        kinds = [type(x) for x in (*self.extra, *([self.defense] if self.defense else []))]
        return self.model.travels() and all(importable(x) for x in [*own, *kinds])

    def dataset(self) -> Dataset:
        """The pool over the shared file, mapped copy-on-write: nothing is read until used."""
        return self._mapped(self.pixels, "pool")

    def reference_set(self) -> Dataset | None:
        """Non-members set apart for a defence that needs them."""
        return None if self.reference is None else self._mapped(self.reference, "reference")

    def _mapped(self, path: str, name: str) -> Dataset:
        x = torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
        labels = torch.from_numpy(np.load(f"{path}.labels.npy", allow_pickle=False))
        return Dataset(
            inputs=x.permute(0, 3, 1, 2) if x.ndim == 4 else x,
            labels=labels,
            ids=np.arange(len(labels)).astype(np.str_),
            classes=self.classes,
            name=name,
            kind="image" if self.kind == "image" else "table",
            numeric=None if self.numeric is None else np.array(self.numeric),
        )


def _digest_files(paths: Sequence[Path]) -> str:
    h = hashlib.sha256()
    for path in sorted(paths):
        h.update(path.name.encode())
        h.update(path.read_bytes())
    return h.hexdigest()


def code_digest() -> str:
    """SHA-256 over the sources of the rooms that decide a signal's value."""
    return room_digest(*_ROOMS)


def room_digest(*rooms: str) -> str:
    """SHA-256 over the sources of these rooms, or single files of them."""
    root = Path(seepage.__file__).parent
    files: list[Path] = []
    for room in rooms:
        at = root / room
        files += [at] if at.is_file() else sorted(at.rglob("*.py"))
    return _digest_files(files)


def defense_digest() -> str:
    """SHA-256 over the rules of the defences; what only judges them is left out."""
    return _digest_files(sorted((Path(seepage.__file__).parent / "defenses").rglob("*.py")))


def source_digest(fn: Callable[..., Any] | type) -> str:
    """SHA-256 of a function's or class's source text, else of its qualified name."""
    try:
        text = inspect.getsource(fn)
    except (OSError, TypeError):
        text = f"{getattr(fn, '__module__', '')}:{getattr(fn, '__qualname__', repr(fn))}"
    return hashlib.sha256(text.encode()).hexdigest()


def model_digest(ref: ModelRef, in_shape: tuple[int, ...], classes: int) -> dict[str, Any]:
    """What identifies a network: its name, options, structure and the code of its classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ref.make(in_shape, classes)
    shapes = {k: list(v.shape) for k, v in model.state_dict().items()}
    own = sorted(
        {type(m) for m in model.modules() if not type(m).__module__.startswith("torch.")},
        key=lambda c: c.__qualname__,
    )
    text = repr(model) + repr(shapes) + "".join(source_digest(c) for c in own)
    if ref.factory is not None:
        text += source_digest(ref.factory)
    parameters = sum(math.prod(p.shape) for p in model.parameters())
    return {
        "name": ref.name,
        "options": dict(ref.options),
        "parameters": parameters,
        "digest": hashlib.sha256(text.encode()).hexdigest(),
    }


def differing(there: Any, here: Any, at: str = "") -> list[tuple[str, Any, Any]]:
    """Leaves in which two nested mappings differ: (dotted field, value there, value here).

    >>> differing({"recipe": {"epochs": 40, "lr": 1}}, {"recipe": {"epochs": 20, "lr": 1}})
    [('recipe.epochs', 40, 20)]
    """
    if isinstance(there, dict) and isinstance(here, dict):
        found = []
        for key in sorted({*there, *here}):
            found += differing(there.get(key), here.get(key), f"{at}.{key}" if at else key)
        return found
    return [] if there == here else [(at, there, here)]
