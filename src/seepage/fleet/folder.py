"""The layout of a run folder: which arrays it holds, made once, and again where one is missing."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from seepage.array_types import Int64Array
from seepage.config.model import Model
from seepage.config.record import Record
from seepage.data import Dataset
from seepage.data.copies import Copies
from seepage.data.documents import zlib_lengths
from seepage.errors import CorruptStore
from seepage.fleet.machine import hardware, versions
from seepage.plan import Canaries, SubsetPlan
from seepage.record import ExtraSignal, Memory, Recorder, Resident, observing
from seepage.record.tokens import offsets_of
from seepage.store import arrays
from seepage.store.evidence import FORMAT, array_parts, content_digests, read_array, read_texts
from seepage.store.storage import Storage

__all__ = ["create", "ensure", "expected_arrays", "signal_shapes"]

Shapes = dict[str, tuple[tuple[int, ...], str]]
Layout = dict[str, tuple[tuple[int, ...], str, tuple[int, ...]]]


class Pool(Protocol):
    """What a run folder says of a pool: a Dataset, or one whose inputs are not known."""

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def kind(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def source(self) -> dict[str, Any]: ...
    @property
    def labels(self) -> torch.Tensor: ...
    @property
    def ids(self) -> NDArray[np.str_]: ...
    @property
    def groups(self) -> NDArray[np.str_] | None: ...
    def __len__(self) -> int: ...


def signal_shapes(
    data: Dataset, record: Record, extra: Sequence[ExtraSignal], model: Model, outputs: int
) -> Shapes:
    """Shape and type of what one checkpoint of one run writes, by signal.

    outputs: how many the network has, at least one for each class.
    """
    n = len(data)
    tail = (len(record.views),) if len(record.views) > 1 else ()
    shapes: Shapes = {
        name: ((n, *tail), "bool" if name == "correct" else "float32") for name in record.rules()
    }
    tokens = record.of_tokens()
    if tokens:
        count = int(offsets_of(data.inputs.numpy())[-1])
        shapes |= {name: ((count,), kind) for name, kind in tokens.items()}
    if record.logits:
        shapes["logits"] = ((n, outputs), "float32")
    if extra:
        # Only the measuring code knows its shapes: one measurement of an untrained model shows
        # them.
        pool = Resident.of(data)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = model.make(data.shape, len(data.classes))
        inputs = Recorder(
            pool, [0.0], Memory(), signals=(), scale=data.member_scale(np.arange(n))
        ).inputs(np.arange(n))
        for e in extra:
            with observing(network):
                measured = e.measure(network, inputs, pool.labels, torch.Generator().manual_seed(0))
            shapes |= {name: (values.shape, "float32") for name, values in measured.items()}
    return shapes


def expected_arrays(manifest: dict[str, Any]) -> Layout:
    """Every array of a run folder: name -> (shape, type, chunk shape)."""
    r, n, t = manifest["plan"]["models"], manifest["data"]["samples"], len(manifest["checkpoints"])
    layout: Layout = {
        "plan/member": ((r, n), "bool", (r, n)),
        "plan/seeds": ((r,), "uint64", (r,)),
        "data/labels": ((n,), "int64", (n,)),
    }
    if "data/offsets" in array_parts(manifest):
        layout["data/offsets"] = ((n + 1,), "int64", (n + 1,))
        layout["data/zlib"] = ((n,), "int64", (n,))
    for name, s in manifest["signals"].items():
        shape = tuple(s["shape"])
        layout[f"signals/{name}"] = ((r, t, *shape), s["dtype"], (1, 1, *shape))
    return layout


def ensure(storage: Storage, manifest: dict[str, Any], data: Pool, plan: SubsetPlan) -> None:
    """Make what a run folder must hold and does not: descriptions, membership, labels, ids.

    Raises CorruptStore when what it holds is not what was written, or not this plan and this data.
    """
    static = {
        "plan/member": plan.member,
        "plan/seeds": plan.seeds,
        "data/labels": data.labels.numpy(),
    }
    if "data/offsets" in manifest["descriptions"]:
        static["data/offsets"], static["data/zlib"] = _documents(data)
    for name, description in manifest["descriptions"].items():
        if not storage.exists(f"{name}/zarr.json"):
            storage.put(f"{name}/zarr.json", description.encode())
        array = arrays.open_array(storage, name, description)
        if name in static:
            if not storage.keys(f"{name}/c/"):
                array[...] = static[name]
            held = read_array(storage, manifest, name)
            if not np.array_equal(held, static[name]):
                raise _other(storage, f"{name}/c" + "/0" * held.ndim)
    texts = {"ids": data.ids, "groups": data.groups}
    for name, values in texts.items():
        if values is None:
            continue
        key = f"data/{name}"
        if not storage.exists(f"{key}.json"):
            storage.put_json(f"{key}.json", values.tolist())
        if read_texts(storage, manifest, key) != values.tolist():
            raise _other(storage, f"{key}.json")


def _documents(data: Pool) -> tuple[Int64Array, Int64Array]:
    """Where the tokens of each document begin (N + 1,), and the bytes that zlib makes of it (N,).

    Of a pool whose inputs are not known they are its own attributes.
    """
    if isinstance(data, Dataset):
        rows = data.inputs.numpy()
        return offsets_of(rows), zlib_lengths(rows, data.classes)
    told: Any = data
    return np.asarray(told.offsets, dtype=np.int64), np.asarray(told.zlib, dtype=np.int64)


def _told(canaries: Canaries) -> dict[str, Any]:
    """What a manifest says of planted samples."""
    told: dict[str, Any] = {"index": canaries.index.tolist(), "kind": list(canaries.kind)}
    if canaries.repeats is not None and canaries.begin is not None:
        told |= {"repeats": canaries.repeats.tolist(), "begin": canaries.begin.tolist()}
    return told


def _other(storage: Storage, key: str) -> CorruptStore:
    return CorruptStore(
        f"{storage.where}/{key}: expected that of this plan and this data, got another one; "
        "run `seepage repair` on this folder"
    )


def create(
    storage: Storage,
    data: Pool,
    plan: SubsetPlan,
    key: dict[str, Any],
    chosen: dict[str, Any],
    times: Sequence[float],
    shapes: Shapes,
    views: Sequence[str],
    provenance: dict[str, Any],
    copies: Copies | None = None,
) -> dict[str, Any]:
    """Make a new run folder: its arrays, then the manifest, with which it exists.

    copies: the exact copies in the pool, None where its inputs are not known.
    """
    canaries = plan.canaries
    of_tokens = _documents(data) if any(k.startswith("token_") for k in shapes) else None
    manifest: dict[str, Any] = {
        "format": FORMAT,
        # Two folders of the same content, made in the same second, are two.
        "id": uuid.uuid4().hex,
        "key": key,
        "chosen": chosen,
        "data": {
            "name": data.name,
            "digest": data.digest,
            "samples": len(data),
            "subjects": None if data.groups is None else len(set(data.groups.tolist())),
            "shape": list(data.shape),
            "kind": data.kind,
            "classes": list(data.classes),
            "task": getattr(data, "task", "classification"),
            "source": data.source,
            "copies": None if copies is None else asdict(copies),
            **({} if of_tokens is None else {"tokens": int(of_tokens[0][-1])}),
        },
        "plan": {
            "kind": plan.kind,
            "seed": plan.seed,
            "options": plan.options,
            "models": plan.models,
            "digest": plan.digest,
            "canaries": None if canaries is None else _told(canaries),
        },
        "content": content_digests(plan, data.labels.numpy(), data.ids, data.groups, of_tokens),
        "checkpoints": list(times),
        "signals": {k: {"shape": list(s), "dtype": d} for k, (s, d) in shapes.items()},
        "views": list(views),
        "hardware": hardware(),
        "versions": versions(),
        "provenance": provenance,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    # Kept as text: another release of Zarr may describe the same array in other words.
    manifest["descriptions"] = {
        name: arrays.describe(*how) for name, how in expected_arrays(manifest).items()
    }
    # What an interrupted beginning left, perhaps of another plan.
    for left in [*storage.keys("plan/"), *storage.keys("data/")]:
        storage.delete(left)
    ensure(storage, manifest, data, plan)
    # The copy lets `repair` bring back a manifest whose bytes changed.
    storage.put_json("manifest.copy.json", manifest)
    storage.put_json("manifest.json", manifest)
    return manifest
