"""Tiny fleets. Models made by closures train in forked workers, which start in no time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import seepage
from seepage.data import Dataset
from seepage.plan import SubsetPlan, half_split
from seepage.store import Run
from seepage.store.evidence import stamp
from seepage.store.storage import Storage

RECIPE = {"epochs": 2, "batch": 8, "lr": 0.1, "precision": "fp32"}


def table(n: int = 48, seed: int = 0) -> Dataset:
    """Two numeric columns and three classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    inputs = rng.normal(size=(n, 4)) + labels[:, None]
    return Dataset(
        torch.from_numpy(inputs.astype(np.float32)),
        torch.from_numpy(labels),
        np.array([f"row-{i}" for i in range(n)]),
        ("a", "b", "c"),
        "tiny",
        "table",
    )


def importable() -> nn.Module:
    """The same network for workers that are fresh interpreters."""
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def linear() -> Callable[[], nn.Module]:
    """A factory that no other interpreter can import."""
    return lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def fleet(
    out: Path | str, *, data: Dataset | None = None, plan: SubsetPlan | None = None, **options: Any
) -> Run:
    """A fleet of four runs, unless told otherwise, one worker."""
    data = table() if data is None else data
    plan = half_split(len(data), models=4, seed=1) if plan is None else plan
    given: dict[str, Any] = {
        "model": FACTORY,
        "recipe": seepage.Recipe(**RECIPE),
        "checkpoints": [0, 0.5, 2],
        "signals": ("phi", "correct"),
        "workers": 1,
        "device": "cpu",
    }
    return seepage.train(data, plan, out=out, **(given | options))


FACTORY = linear()


def rewrite_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest as a forger would: its copy and every record carry the new digest."""
    storage = Storage(folder, write=True)
    manifest = storage.get_json("manifest.json")
    change(manifest)
    for key in ("manifest.json", "manifest.copy.json"):
        storage.put_json(key, manifest)
    for key in storage.keys("records/"):
        storage.put_json(key, storage.get_json(key) | {"manifest": stamp(manifest)})


def contents(folder: Path, *parts: str) -> dict[str, bytes]:
    """Bytes of every file under these parts of a run folder; locks and sessions left out."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
        and p.relative_to(folder).parts[0] not in ("locks", "locks-founding", "sessions")
        and (not parts or p.relative_to(folder).parts[0] in parts)
    }


def fingerprint(folder: Path) -> str:
    """One digest over names and bytes of everything in a folder."""
    h = hashlib.sha256()
    for name, raw in contents(folder).items():
        h.update(f"{name}\0{len(raw)}\0".encode() + raw)
    return h.hexdigest()
