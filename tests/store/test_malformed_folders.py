"""Run folders that are damaged or forged by the hundred: refused in one line, or read as what they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from malformed import Tally, changed, damaged
from seepage.errors import CorruptStore
from seepage.store import Run, open_run
from seepage.store.arrays import pack, unpack
from seepage.store.evidence import stamp
from seepage.store.storage import Storage
from seepage.store.verify import verify
from tiny_fleet import contents

pytestmark = pytest.mark.slow
EACH = 300
Record = Callable[[str, object], None]


def everything(run: Run) -> dict[str, Any]:
    """All that a reader takes from a folder."""
    found: dict[str, Any] = {
        "member": run.member, "labels": run.labels, "ids": run.ids, "models": run.models,
        "checkpoints": run.checkpoints,
    }  # fmt: skip
    found |= {name: run.signal(name) for name in run.signals}
    for row in range(len(run.models)):
        weights = run.weights(row)
        assert weights is not None
        found |= {f"{row}.{k}": v.numpy() for k, v in weights.items()}
    return found


def equal(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Every array that is read, bit for bit; runs that are missing left out, which `Run` says."""
    assert found.keys() == wanted.keys(), found.keys() ^ wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    return found


def storable(content: Any) -> bool:
    """Whether it can be written as JSON at all."""
    try:
        json.dumps(content, allow_nan=False).encode()
    except ValueError:
        return False
    return True


def test_damaged_bytes(copied: Path, record_property: Record) -> None:
    """Any file of a folder: readers refuse or are not concerned, `verify` names it."""
    tally, named = (
        Tally("run folders, damaged bytes", copied),
        Tally("verify, damaged bytes", copied),
    )
    wanted, files = everything(open_run(copied)), contents(copied)
    keys = [k for k in files if k != "manifest.copy.json"]
    for seed in range(EACH):
        rng = np.random.default_rng([0, seed])
        key = keys[int(rng.integers(len(keys)))]
        raw = damaged(files[key], rng)
        (copied / key).write_bytes(raw)
        tally.read(
            lambda: equal(everything(open_run(copied)), wanted),
            key,
            "the same bytes" if raw == files[key] else "what readers take from elsewhere",
        )

        def names(key: str = key, same: bool = raw == files[key]) -> bool:
            found = verify(copied)
            said = {d.key for d in found.damage} | {f"records/{r:05d}.json" for r in found.missing}
            assert same == found.whole
            assert same or key in said, said
            return True

        named.read(names, key, "named")
        (copied / key).write_bytes(files[key])
    tally.close(record_property)
    # Both copies of a manifest lost is all that it refuses.
    named.refused += 1
    named.inputs += 1
    named.close(record_property)


def test_forged_manifests(copied: Path, record_property: Record) -> None:
    """Sealed as a forger would: refused, or every value is the one that stands there."""
    tally, checked = Tally("forged manifests", copied), Tally("verify, forged manifests", copied)
    storage = Storage(copied, write=True)
    manifest, wanted = storage.get_json("manifest.json"), everything(open_run(copied))
    files = contents(copied)
    records = {k: storage.get_json(k) for k in storage.keys("records/")}
    for seed in range(EACH):
        forged, where = changed(manifest, np.random.default_rng([1, seed]))
        if not storable(forged):
            continue
        for key in ("manifest.json", "manifest.copy.json"):
            storage.put_json(key, forged)
        if isinstance(forged, dict):
            for key, record in records.items():
                storage.put_json(key, record | {"manifest": stamp(forged)})

        def read(forged: Any = forged) -> dict[str, Any]:
            run = open_run(copied)
            assert run.manifest == forged
            assert run.classes == tuple(forged["data"]["classes"])
            assert run.checkpoints.tolist() == forged["checkpoints"]
            _ = run.digest, run.missing, run.failed, run.groups, str(run)
            found = everything(run)
            return equal(found, wanted | {"checkpoints": np.array(forged["checkpoints"])})

        tally.read(read, (seed, where), f"not evidence: {where.partition('.')[0]}")
        checked.read(lambda: verify(copied), (seed, where), "verified")
    for key, raw in files.items():
        (copied / key).write_bytes(raw)
    tally.close(record_property)
    checked.close(record_property)


def test_forged_records(copied: Path, record_property: Record) -> None:
    tally, storage = Tally("forged records", copied), Storage(copied, write=True)
    wanted = everything(open_run(copied))
    for seed in range(EACH):
        rng = np.random.default_rng([2, seed])
        key = f"records/{int(rng.integers(4)):05d}.json"
        before = storage.get_json(key)
        forged, where = changed(before, rng)
        if not storable(forged):
            continue
        storage.put_json(key, forged)

        def read() -> dict[str, Any]:
            run = open_run(copied)
            _ = run.digest, run.missing, str(run)
            # A run that is told to have failed is left out, and said to be.
            if run.failed:
                assert len(run.models) == 3
                return {}
            return equal(everything(run), wanted)

        tally.read(
            read, (key, where), f"told of a run, not its evidence: {where.partition('.')[0]}"
        )
        storage.put_json(key, before)
    tally.close(record_property)


def test_forged_ids(copied: Path, record_property: Record) -> None:
    tally, storage = Tally("forged ids", copied), Storage(copied, write=True)
    ids = storage.get_json("data/ids.json")
    for seed in range(EACH):
        forged, where = changed(ids, np.random.default_rng([3, seed]))
        if storable(forged):
            storage.put_json("data/ids.json", forged)
            why = "the same" if forged == ids else None
            tally.read(lambda: open_run(copied).ids.tolist(), (where, str(forged)[:80]), why)
    storage.put_json("data/ids.json", ids)
    tally.close(record_property)


def test_damaged_weights(tmp_path: Path, record_property: Record) -> None:
    tally = Tally("weights (safetensors)", tmp_path)
    raw = pack({"w": torch.arange(12.0).reshape(3, 4), "b": torch.ones(3)}, {"epoch": 3})
    for seed in range(EACH):
        spoiled = damaged(raw, np.random.default_rng([4, seed]))
        why = "the same bytes" if spoiled == raw else None
        tally.read(lambda b=spoiled: unpack(b, "w"), seed, why, refusals=(CorruptStore,))
    tally.close(record_property)
