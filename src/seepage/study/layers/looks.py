"""What is measured of a network at the checkpoints of its training."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.data import Dataset
from seepage.layers import DegreesOfFreedom, Jacobian, probe
from seepage.record import Resident
from seepage.study.layers.plan import DOF, LayersConfig, Unit
from seepage.study.layers.training import Rows, hardware, ready

__all__ = ["Looks", "described", "plain"]

_PATCH = {
    "rank_float": "jac_rank_float",
    "rank_1e2": "jac_rank_1e2",
    "patch_participation": "jac_participation",
    "patch_stable_rank": "stable_rank",
}


def plain(values: ArrayLike) -> Any:
    """Nested lists of five significant digits; None where nothing was measured."""
    a = np.asarray(values, dtype=np.float64)
    if a.ndim:
        return [plain(v) for v in a]
    return float(f"{float(a):.5g}") if np.isfinite(a) else None


class Looks:
    """What was seen of the target at its checkpoints, and what seeing it cost."""

    def __init__(
        self,
        config: LayersConfig,
        x: torch.Tensor,
        pool: Resident,
        scale: tuple[NDArray[np.float32], NDArray[np.float32]],
        inside: Rows,
        outside: Rows,
        truth: Int64Array,
    ) -> None:
        self.config, self.x, self.pool, self.scale = config, x, pool, scale
        self.inside, self.outside, self.truth = inside, outside, truth
        self.layers: tuple[str, ...] = ()
        self.widths: Float64Array = np.zeros(0)
        self.accuracy: list[dict[str, float]] = []
        self.bound: list[BoolArray] = []
        self.seconds = 0.0
        self._costs: dict[str, list[float]] = {"dof": [], "jacobian": [], "patch": []}
        self._seen: list[dict[str, Float64Array]] = []
        self._spread: list[dict[str, Float64Array]] = []

    def __call__(self, epoch: float, model: nn.Module) -> None:
        began = time.perf_counter()
        c = self.config
        patch = c.patch
        found: dict[str, DegreesOfFreedom | Jacobian] = {
            "dof": DegreesOfFreedom(),
            "jacobian": Jacobian(images=c.images, probes=c.probes, exact=0, power=0),
            "patch": Jacobian(images=c.patch_images, patch=patch, exact=4096, double=False),
        }
        tables = {}
        for name, indicator in found.items():
            at = time.perf_counter()
            tables[name] = probe(model, self.x, indicators=[indicator])
            ready(self.pool.device)
            self._costs[name].append(time.perf_counter() - at)
        dof, exact = tables["dof"], tables["patch"]
        self.layers, self.widths = dof.layer, dof["d"]
        self.bound.append(dof.sample_bound)
        seen = {k: dof[k] for k in DOF}
        seen |= {k: exact[c] for k, c in _PATCH.items()}
        seen["jac_participation"] = tables["jacobian"]["jac_participation"]
        self._seen.append(seen)
        self._spread.append(
            {k: exact[f"{_PATCH[k]}_std"] for k in ("rank_float", "rank_1e2")}
            | {"jac_participation": tables["jacobian"]["jac_participation_error"]}
        )
        self.accuracy.append(self._accuracy(model))
        self.seconds += time.perf_counter() - began

    def _accuracy(self, model: nn.Module) -> dict[str, float]:
        """Of members on the labels they were trained with, on wrong ones among them, of others."""
        given = self.pool.labels_host
        wrong = given[self.inside] != self.truth[self.inside]
        hit = self.answers(model, self.inside) == given[self.inside]
        others = self.answers(model, self.outside)
        return {
            "members": round(float(hit.mean()), 5),
            "memorised": round(float(hit[wrong].mean()), 5) if wrong.any() else 0.0,
            "others": round(float((others == given[self.outside]).mean()), 5),
            "others_clean": round(float((others == self.truth[self.outside]).mean()), 5),
        }

    def answers(self, model: nn.Module, rows: Rows) -> Rows:
        """The classes that the network gives these samples, in evaluation mode."""
        was = model.training
        model.eval()
        with torch.no_grad():
            parts = np.array_split(rows, max(len(rows) // 500, 1))
            said = [model(self.pool.batch(p, *self.scale)).argmax(1).cpu().numpy() for p in parts]
        model.train(was)
        return np.concatenate(said)

    def series(self) -> dict[str, Float64Array]:
        """Indicators (T, L)."""
        return {k: np.stack([s[k] for s in self._seen]) for k in self._seen[0]}

    def spread(self) -> dict[str, Float64Array]:
        """Standard deviations over images of the ranks, standard error of the participation."""
        return {k: np.stack([s[k] for s in self._spread]) for k in self._spread[0]}

    def costs(self) -> dict[str, float]:
        """Median seconds of one look; the first also pays for what is loaded and compiled."""
        return {k: float(np.median(v)) for k, v in self._costs.items()}


def described(unit: Unit, config: LayersConfig, data: Dataset, looks: Looks) -> dict[str, Any]:
    """What every result says, attacked or not: the unit, its curves, how it was measured."""
    said = {"architecture": unit.architecture, "dataset": unit.dataset, "noise": unit.noise,
            "seed": unit.seed}  # fmt: skip
    return {
        "unit": said | ({"fresh": True} if unit.fresh else {}),
        "data": {"name": data.name, "digest": data.digest},
        "layers": list(looks.layers),
        "width": [int(d) for d in looks.widths],
        "inputs": int(np.prod(data.shape)),
        "epochs": list(config.checkpoints),
        "accuracy": looks.accuracy,
        "series": {k: plain(v) for k, v in looks.series().items()},
        "spread": {k: plain(v) for k, v in looks.spread().items()},
        "sample_bound": [[bool(b) for b in row] for row in looks.bound],
        "settings": config.model_dump(
            mode="json",
            include={"members", "recipe", "recipes", "samples", "images", "probes", "patch",
                     "patch_images", "attack_seeds", "passes", "gradients", "fit", "judge"},
        ),
        "hardware": hardware(looks.pool.device),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }  # fmt: skip
