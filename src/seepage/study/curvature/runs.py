"""The fleets of the study, trained and measured as far as they are not yet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from seepage.array_types import BoolArray, Float64Array, Int64Array
from seepage.config.recipe import Recipe
from seepage.curvature import Curvature, ExactGaussNewton, ZerothOrder, curvature
from seepage.curvature.base import Estimator
from seepage.data import Dataset, load
from seepage.errors import InputError
from seepage.fleet.local import Watcher
from seepage.fleet.machine import choose_device
from seepage.fleet.rebuild import rebuild
from seepage.fleet.start import Silent, train
from seepage.plan import SubsetPlan
from seepage.record import ExtraSignal
from seepage.signals import SIGNALS
from seepage.store import Run
from seepage.store.files import replacing
from seepage.study.curvature.settings import CurvatureSettings, Pool, Trained

__all__ = ["Signals", "StudyRuns", "norm_of", "plan_of"]

Signals = dict[str, Float64Array]


def plan_of(member: BoolArray, seed: int) -> SubsetPlan:
    """A plan of any membership; seeds of the runs are spawned from `seed`.

    >>> plan_of(np.ones((2, 3), bool), 0).models
    2
    """
    streams = np.random.SeedSequence(seed).spawn(len(member))
    seeds = np.array([s.generate_state(1, np.uint64)[0] for s in streams], dtype=np.uint64)
    return SubsetPlan(member, seeds, "given", seed)


@dataclass(frozen=True)
class StudyRuns:
    """What a study trains and measures, and what receives the progress of training."""

    settings: CurvatureSettings
    watch: Callable[[], Watcher] = field(default=Silent)

    @property
    def device(self) -> str:
        """Where models are measured."""
        return choose_device(self.settings.fleet.device)

    def load(self, pool: Pool) -> Dataset:
        """The samples of a pool; read once, however many units ask."""
        return _loaded(pool.name, "train", pool.limit, pool.seed)

    def test_part(self, pool: Pool, limit: int = 2000) -> Dataset | None:
        """Samples of the test part, where the dataset has one: what is left of a pool is none."""
        try:
            return _loaded(pool.name, "test", limit, pool.seed)
        except InputError:
            return None

    def train(
        self,
        name: str,
        data: Dataset,
        plan: SubsetPlan,
        given: Trained,
        *,
        checkpoints: Sequence[float] | None = None,
        extra: Sequence[ExtraSignal] = (),
        defense: Any = None,
        keep: str = "final",
    ) -> Run:
        """The fleet `name`: trained as far as it is not yet, and opened."""
        recipe = Recipe(**{"precision": "fp32", **given.recipe})
        run = train(
            data,
            plan,
            model=given.model.name,
            model_options=given.model.options,
            recipe=recipe,
            out=Path(self.settings.runs) / name,
            checkpoints=checkpoints if checkpoints is not None else (float(recipe.epochs),),
            signals=("loss", "phi", "correct"),
            extra=extra,
            defense=defense,
            keep=keep,
            workers=self.settings.fleet.workers,
            device=self.settings.fleet.device,
            watcher=self.watch(),
        )
        if run.failed:
            row, why = next(iter(run.failed.items()))
            raise InputError(f"{run.path}: run {row} failed ({why}); lower recipe.lr")
        return run

    def estimators(self, *, published: bool = True) -> dict[str, Estimator]:
        """What the attacks read: the zeroth order in both precisions, and the exact norm."""
        n, h = self.settings.probes, self.settings.step
        out: dict[str, Estimator] = {"curvature_zo": ZerothOrder(h, n)}
        if published:
            out["curvature_zo32"] = ZerothOrder(h, n, precision=torch.float32)
        out["curvature_frobenius"] = ExactGaussNewton()
        return out

    def measure(
        self,
        run: Run,
        data: Dataset,
        rows: Int64Array | None = None,
        *,
        models: Sequence[int] | None = None,
        estimators: Mapping[str, Estimator] | None = None,
        seed: int = 0,
    ) -> Signals:
        """Every signal of the kept models under two views: name -> (models, len(rows), views).

        Views are the identity and, for images, the mirrored image. Confidence of the label and of
        the largest probability, loss, modified entropy, whether right, and the estimators'. What
        was measured on a model is kept with the run and read again when the settings are the same.
        """
        rows = np.arange(len(data)) if rows is None else rows
        ask = self.estimators() if estimators is None else dict(estimators)
        key = repr((run.manifest["key"]["plan"], sorted(ask.items()), rows.tolist(), seed))
        found = []
        for k in range(len(run.models)) if models is None else models:
            at = Path(f"{run.path}-measured") / f"{_short(key)}-{int(run.models[k]):05d}.npz"
            if at.exists():
                with np.load(at, allow_pickle=False) as kept:
                    found.append({n: kept[n] for n in kept.files})
                continue
            signals = self._one(run, data, k, rows, ask, seed)
            at.parent.mkdir(parents=True, exist_ok=True)
            with replacing(at) as draft, draft.open("wb") as file:
                np.savez(file, **signals)  # type: ignore[arg-type]
            found.append(signals)
        return {name: np.stack([f[name] for f in found]) for name in found[0]}

    def _one(
        self,
        run: Run,
        data: Dataset,
        k: int,
        rows: Int64Array,
        ask: dict[str, Estimator],
        seed: int,
    ) -> Signals:
        built = rebuild(run, k, data=data)
        device = torch.device(self.device)
        at = torch.from_numpy(rows)
        x, y = built.inputs[at].to(device), built.labels[at].to(device)
        model = built.model.to(device)
        views = (x, x.flip(-1)) if x.ndim == 4 else (x,)
        columns: dict[str, list[Float64Array]] = {}
        for view, inputs in enumerate(views):
            logits = _logits(model, inputs)
            found = {n: SIGNALS[n](logits, y) for n in ("phi", "loss", "mentr", "correct")}
            found["phi_max"] = SIGNALS["phi"](logits, logits.argmax(1))
            for name, values in found.items():
                columns.setdefault(name, []).append(values.cpu().numpy())
            for i, (name, estimator) in enumerate(ask.items()):
                # Fresh directions for every model, view and estimator, as the released code has.
                rng = np.random.default_rng([seed, int(run.models[k]), view, i])
                result = curvature(
                    model, inputs, y, estimator, batch=self.batch, generator=rng
                )  # fmt: skip
                exact = isinstance(estimator, ExactGaussNewton)
                columns.setdefault(name, []).append(norm_of(result) if exact else result.score)
                if "zeros" in result.extra:
                    columns.setdefault(f"{name}_zeros", []).append(result.extra["zeros"])
        return {name: np.stack(values, axis=-1) for name, values in columns.items()}

    @property
    def batch(self) -> int:
        """Samples measured at a time: many on a GPU, whose launches cost more than its work."""
        return self.settings.fleet.batch or (1000 if self.device == "cuda" else 100)


@lru_cache(maxsize=4)
def _loaded(name: str, part: Literal["train", "test"], limit: int | None, seed: int) -> Dataset:
    return load(name, part=part, limit=limit, seed=seed)


def norm_of(found: Curvature) -> Float64Array:
    """The Frobenius norm; raises ValueError for what an estimator of traces alone found."""
    if found.frobenius is None:
        raise ValueError("estimator: expected one that tells the norm, got one of traces alone")
    return found.frobenius


def _short(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _logits(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    with (
        torch.no_grad(),
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
    ):
        return torch.cat([model(part) for part in torch.split(inputs, 1000)])
