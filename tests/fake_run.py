"""A finished run made of Gaussians: members' phi shifted, the shift growing over training.

`hardness` (N,) scales each sample's shift, so that who is exposed is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seepage.data import Dataset
from seepage.plan import half_split


class FakeRun:
    def __init__(
        self,
        *,
        models: int = 16,
        samples: int = 200,
        checkpoints: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0),
        shift: float = 4.0,
        leaky: float = 0.1,
        kind: str = "image",
        classes: tuple[str, ...] = ("cat", "dog", "ship"),
        ids: NDArray[np.str_] | None = None,
        name: str = "synthetic",
        failed: dict[int, str] | None = None,
        seed: int = 0,
        side: int = 8,
        member: NDArray[np.bool_] | None = None,
        views: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.path = "runs/synthetic"
        self.checkpoints = np.array(checkpoints)
        self.classes = classes
        self.failed = dict(failed or {})
        self.signals = ("loss", "phi", "correct", "mentr")
        self.member = (
            half_split(samples, models=models, seed=seed).member if member is None else member
        )
        self.models = np.arange(len(self.member))
        self._views = views
        self.labels = rng.integers(0, len(classes), samples).astype(np.int64)
        width = len(str(samples - 1))
        self.ids = np.array([f"s{i:0{width}d}" for i in range(samples)]) if ids is None else ids
        self.hardness = np.where(np.arange(samples) < leaky * samples, 1.0, 0.05)
        self._centre = rng.normal(2.0 - 3.0 * self.hardness, 0.5).astype(np.float32)
        self._shift, self._seed = shift, seed
        self._phi = [self._draw(t) for t in range(len(checkpoints))]
        self._data = self._pool(rng, kind, name, side)
        self.manifest: dict[str, Any] = {
            "name": name,
            "data": {"name": name, "samples": samples, "classes": list(classes),
                     "digest": self._data.digest},
            "plan": {"kind": "half_split", "seed": seed, "models": models},
            "hardware": {"cpu": "none: the signals are synthetic", "cores": 1},
            "wall_seconds": 1.5,
        }  # fmt: skip

    def _draw(self, t: int) -> NDArray[np.float32]:
        rng = np.random.default_rng([self._seed, t])
        grown = self.checkpoints[t] / max(self.checkpoints[-1], 1.0)
        phi = rng.standard_normal(self.member.shape, dtype=np.float32)
        phi += self._centre * np.float32(grown)
        phi += self.member * np.float32(self._shift * grown) * self.hardness.astype(np.float32)
        if self._views:
            noise = rng.standard_normal((*phi.shape, self._views), dtype=np.float32)
            return phi[..., None] + np.float32(0.1) * noise
        return phi

    def _pool(self, rng: np.random.Generator, kind: str, name: str, side: int) -> Dataset:
        n = len(self.labels)
        if kind == "image":
            inputs = torch.from_numpy(rng.integers(0, 256, (n, 1, side, side), dtype=np.uint8))
            columns: tuple[str, ...] = ()
        else:
            inputs = torch.from_numpy(rng.normal(size=(n, 12)).astype(np.float32))
            columns = tuple(f"column {k}" for k in range(12))
        return Dataset(
            inputs, torch.from_numpy(self.labels), self.ids, self.classes, name,
            "image" if kind == "image" else "table", columns=columns,
        )  # fmt: skip

    def signal_at(self, name: str, t: int, /) -> NDArray[np.float32]:
        phi = self._phi[t]
        if name == "phi":
            return phi
        if name == "loss":
            return np.logaddexp(0, -phi)
        if name == "mentr":
            return np.logaddexp(0, -phi) * 2
        if name == "correct":
            return (phi > 0).astype(np.float32)
        raise KeyError(name)

    def signal(self, name: str) -> NDArray[np.float32]:
        return np.stack([self.signal_at(name, t) for t in range(len(self.checkpoints))], axis=1)

    def data(self) -> Dataset | None:
        return self._data
