"""The saved state of an unfinished run: what it takes to resume and end in the same bits.

A state is written as safetensors, the tensors with a JSON tree that says where each belongs, and
is put back *into* objects of the same structure: code is never read from a file. A file whose bytes
changed, or whose content no longer fits, counts as absent.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.hooks import RemovableHandle

from seepage.errors import CorruptStore
from seepage.fleet.sink import StoreSink
from seepage.store.arrays import pack, unpack
from seepage.store.storage import Storage

__all__ = [
    "SavedRun",
    "SavedState",
    "Unfit",
    "Unsaveable",
    "flatten",
    "remove_states",
    "restore",
]

FORMAT = 2

_OF_RUN = re.compile(r"state/(\d{5,})(?:-stage-\d+)?\.safetensors")


class Unsaveable(Exception):
    """A state holds an object of a kind that cannot be written."""


class Unfit(Exception):
    """What was saved does not fit what is there now, or can no longer be read."""


def flatten(value: Any) -> tuple[dict[str, torch.Tensor], Any]:
    """Tensors by number, and a JSON tree that refers to them.

    Walks None, booleans, numbers, strings, NumPy scalars and arrays, tensors, generators of torch
    and NumPy, dicts, lists, tuples, sets, dataclasses, and whatever has `state_dict()` and
    `load_state_dict()`: modules, optimisers, objects of the user's own. Handles of hooks are passed
    over. Raises Unsaveable for anything else.

    >>> flatten({"loss": 0.5, "seen": (1, None)})
    ({}, {'dict': [['loss', 0.5], ['seen', {'tuple': [1, None]}]]})
    """
    tensors: dict[str, torch.Tensor] = {}
    return tensors, _node(value, tensors)


def _node(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        leaf = value.requires_grad and value.is_leaf
        turned = value.ndim == 4 and not value.is_contiguous()
        return {
            "tensor": _add(value.detach(), tensors),
            "device": value.device.type,
            "learns": leaf,
            # Its layout decides in which order a kernel rounds.
            "channels_last": turned and value.is_contiguous(memory_format=torch.channels_last),
        }
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value)
        if array.dtype.hasobject:
            raise Unsaveable("an array of objects")
        raw = torch.from_numpy(np.frombuffer(array.tobytes(), dtype=np.uint8).copy())
        return {
            "array": _add(raw, tensors),
            "dtype": array.dtype.str,
            "shape": list(np.shape(value)),
            "scalar": isinstance(value, np.generic),
        }
    if isinstance(value, torch.Generator):
        return {"generator": _add(value.get_state(), tensors)}
    if isinstance(value, np.random.Generator):
        return {"numpy": _node(dict(value.bit_generator.state), tensors)}
    if isinstance(value, RemovableHandle):
        return {"hook": None}
    if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
        return {"stateful": _node(dict(value.state_dict()), tensors)}
    if isinstance(value, Mapping):
        return {"dict": [[_node(k, tensors), _node(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list):
        return {"list": [_node(v, tensors) for v in value]}
    if isinstance(value, tuple):
        return {"tuple": [_node(v, tensors) for v in value]}
    if isinstance(value, set | frozenset):
        return {"set": [_node(v, tensors) for v in sorted(value, key=repr)]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value)]
        return {"fields": {n: _node(getattr(value, n), tensors) for n in names}}
    raise Unsaveable(f"an object of type {type(value).__name__}")


def _add(tensor: torch.Tensor, tensors: dict[str, torch.Tensor]) -> str:
    key = str(len(tensors))
    tensors[key] = tensor
    return key


def restore(
    target: Any, tensors: Mapping[str, torch.Tensor], node: Any, device: Any = "cpu"
) -> Any:
    """`target` with the values that `flatten` saw; what can be changed in place is, and kept.

    Tensors of the target's shape are copied into; those that it lacks are made, on `device` if
    they were not on the host. Raises Unfit where the structures differ.
    """
    try:
        return _Restoring(tensors, torch.device(device)).into(target, node)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as e:
        raise Unfit(f"{type(e).__name__}: {e}") from e


class _Restoring:
    def __init__(self, tensors: Mapping[str, torch.Tensor], device: torch.device) -> None:
        self.tensors, self.device = tensors, device

    def into(self, target: Any, node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        kind = next(iter(node))
        return getattr(self, f"_{kind}")(target, node[kind], node)

    def _tensor(self, target: Any, key: str, node: dict[str, Any]) -> torch.Tensor:
        saved = self.tensors[key]
        if (
            isinstance(target, torch.Tensor)
            and target.shape == saved.shape
            and target.dtype == saved.dtype
        ):
            with torch.no_grad():
                # A state may refer to what is shared and never changes; that is left alone.
                if not torch.equal(target.detach().cpu(), saved):
                    target.copy_(saved)
            return target
        made = saved.to(self.device) if node["device"] != "cpu" else saved.clone()
        if node["channels_last"]:
            made = made.contiguous(memory_format=torch.channels_last)
        return made.requires_grad_(node["learns"])

    def _array(self, _: Any, key: str, node: dict[str, Any]) -> Any:
        raw = self.tensors[key].numpy().tobytes()
        array = np.frombuffer(raw, dtype=np.dtype(node["dtype"])).reshape(node["shape"]).copy()
        return array[()] if node["scalar"] else array

    def _generator(self, target: torch.Generator, key: str, _: Any) -> torch.Generator:
        target.set_state(self.tensors[key])
        return target

    def _numpy(self, target: np.random.Generator, node: Any, _: Any) -> np.random.Generator:
        target.bit_generator.state = self.into(None, node)
        return target

    def _hook(self, target: Any, *_: Any) -> Any:
        return target

    def _stateful(self, target: Any, node: Any, _: Any) -> Any:
        target.load_state_dict(self.into(None, node))
        return target

    def _dict(self, target: Any, pairs: list[Any], _: Any) -> Any:
        old = target if isinstance(target, dict) else {}
        new = {}
        for key_node, node in pairs:
            key = self.into(None, key_node)
            new[key] = self.into(old.get(key), node)
        if not isinstance(target, dict):
            return new
        target.clear()
        target.update(new)
        return target

    def _list(self, target: Any, nodes: list[Any], _: Any) -> Any:
        old = target if isinstance(target, list) else []
        if nodes and all(isinstance(n, dict) and "hook" in n for n in nodes):
            return old
        new = self._items(old, nodes)
        if isinstance(target, list):
            target[:] = new
            return target
        return new

    def _tuple(self, target: Any, nodes: list[Any], _: Any) -> Any:
        old = target if isinstance(target, tuple) else ()
        new = self._items(old, nodes)
        if hasattr(target, "_make"):
            return target._make(new)
        return type(target)(new) if isinstance(target, tuple) else tuple(new)

    def _items(self, old: Any, nodes: list[Any]) -> list[Any]:
        return [self.into(old[i] if i < len(old) else None, n) for i, n in enumerate(nodes)]

    def _set(self, target: Any, nodes: list[Any], _: Any) -> Any:
        new = {self.into(None, n) for n in nodes}
        return new if isinstance(target, set) else frozenset(new)

    def _fields(self, target: Any, nodes: dict[str, Any], _: Any) -> Any:
        if {f.name for f in dataclasses.fields(target)} != set(nodes):
            raise ValueError("fields differ")
        for name, node in nodes.items():
            old = getattr(target, name)
            new = self.into(old, node)
            if new is not old:
                object.__setattr__(target, name, new)
        return target


@dataclasses.dataclass(frozen=True)
class SavedState:
    """What `flatten` made of one object, as it was read back."""

    tensors: Mapping[str, torch.Tensor]
    tree: Any

    def into(self, target: dict[str, Any], device: torch.device) -> None:
        """Put it back into a dict of the same structure."""
        restore(target, self.tensors, self.tree, device)


class SavedRun:
    """The saved state of one run: the stage in progress, and the networks of those before it.

    stage: how many stages had finished. A stage that has finished is written with the next save,
    since it is not enough to resume from. due: whether `every` seconds have passed since the last.
    """

    def __init__(self, storage: Storage, row: int, sink: StoreSink, every: float) -> None:
        self.storage, self.row, self.sink, self.every = storage, row, sink, every
        self.stage = 0
        self.current: SavedState | None = None
        self._written = 0
        self._waiting: list[tuple[int, bytes]] = []
        self._at = time.perf_counter()
        self._began = {n: list(d) for n, d in sink.digests.items()}, list(sink.accuracy)

    def _key(self, stage: int | None = None) -> str:
        part = "" if stage is None else f"-stage-{stage}"
        return f"state/{self.row:05d}{part}.safetensors"

    def load(self) -> None:
        """Read what an earlier attempt saved, and let the sink continue after its checkpoints."""
        key = self._key()
        raw = self.storage.get(key)
        if raw is None:
            return
        try:
            tensors, facts = unpack(raw, key)
            if facts.get("format") != FORMAT:
                raise CorruptStore(f"{key}: expected format {FORMAT}")
            self._check_own(key, facts)
        except CorruptStore:
            # It may have finished stages as well, which nothing else records.
            for found in self.storage.keys("state/"):
                if found.startswith(self._key().removesuffix(".safetensors")):
                    self.storage.delete(found)
            return
        self.sink.restore(facts["digests"], facts["accuracy"])
        self.stage = self._written = int(facts["stage"])
        self.current = SavedState(tensors, facts["tree"])

    def _of(self) -> dict[str, Any]:
        return {"run": self.row, "manifest": self.sink.manifest}

    def _check_own(self, key: str, facts: Mapping[str, Any]) -> None:
        """A state of another run or folder would be trained on under this one's name."""
        told = {k: facts[k] for k in ("run", "manifest") if k in facts}
        if told and told != self._of():
            raise CorruptStore(f"{key}: expected the state of run {self.row}, got another's")

    def finished(self, stage: int) -> SavedState:
        """What a stage left that had finished. Raises Unfit when it cannot be read."""
        key = self._key(stage)
        raw = self.storage.get(key)
        try:
            if raw is None:
                raise CorruptStore(f"{key}: absent")
            tensors, facts = unpack(raw, key)
            self._check_own(key, facts)
        except CorruptStore as e:
            raise Unfit(str(e)) from e
        return SavedState(tensors, facts["tree"])

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.perf_counter() - self._at >= self.every

    def stage_ended(self, stage: int, value: dict[str, Any]) -> None:
        """Take what a finished stage left, to be written with the next save."""
        try:
            tensors, tree = flatten(value)
        except Unsaveable:
            self.every = float("inf")
            return
        self._waiting.append((stage, pack(tensors, {**self._of(), "tree": tree})))

    def save(self, stage: int, value: dict[str, Any]) -> None:
        """Write the stage in progress; a state that cannot be written ends the saving instead."""
        try:
            tensors, tree = flatten(value)
        except Unsaveable:
            self.every = float("inf")
            return
        for ended, raw in self._waiting:
            self.storage.put(self._key(ended), raw)
            self._written = ended + 1
        self._waiting.clear()
        facts = {
            "format": FORMAT,
            **self._of(),
            "stage": stage,
            "tree": tree,
            "digests": self.sink.digests,
            "accuracy": self.sink.accuracy,
        }
        self.storage.put(self._key(), pack(tensors, facts))
        self._at = time.perf_counter()

    def discard(self) -> None:
        """Remove what was written; the run is over."""
        self.storage.delete(self._key())
        for stage in range(self._written):
            self.storage.delete(self._key(stage))

    def restart(self) -> None:
        """Remove what was written and let the sink begin again: nothing of it can be used."""
        self.discard()
        self.stage, self.current, self._written = 0, None, 0
        self._waiting.clear()
        self.sink.restore(*self._began)


def remove_states(storage: Storage, ended: Container[int]) -> None:
    """Remove states of runs that have ended: who is killed between a record and this leaves them."""
    for key in storage.keys("state/"):
        of = _OF_RUN.fullmatch(key)
        if of is not None and int(of[1]) in ended:
            storage.delete(key)
