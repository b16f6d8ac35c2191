"""One unit of the study: a target and a shadow trained, every layer probed and attacked."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from seepage.data import Dataset, load
from seepage.data.transform import relabel
from seepage.errors import InputError, SeepageError
from seepage.fleet import optim
from seepage.fleet.feed import Feed
from seepage.fleet.recipe import Recipe, learning_rate
from seepage.layers import (
    AttackTable,
    DegreesOfFreedom,
    Jacobian,
    Logistic,
    ShadowTransfer,
    SmallMLP,
    attack_layers,
    feature_norms,
    gather_outputs,
    gradient_norms,
    probe,
    reconstruction_error,
)
from seepage.models import build
from seepage.record import Resident
from seepage.study.layers.plan import DOF, LayersConfig, Unit

__all__ = ["measure"]

Rows = NDArray[np.int64]
_PATCH = {
    "rank_float": "jac_rank_float",
    "rank_1e2": "jac_rank_1e2",
    "patch_participation": "jac_participation",
    "patch_stable_rank": "stable_rank",
}


def chosen_device(name: str) -> torch.device:
    """The device of that name, "auto" a GPU where there is one."""
    gpu = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if gpu else "cpu")
    if name not in ("cpu", "cuda") or (name == "cuda" and not gpu):
        raise InputError(f"device: expected auto, cpu{' or cuda' if gpu else ''}, got {name!r}")
    return torch.device(name)


def measure(unit: Unit, config: LayersConfig) -> dict[str, Any]:
    """Everything the claims are judged by, as plain numbers; the same unit gives the same result.

    The pool has four disjoint parts of `members` samples: members and non-members of the target,
    and of the shadow, which the attacker trains alike. Label noise falls on all of them, so that
    members and non-members differ in nothing but training. The probe set are members of the target.
    """
    began = time.perf_counter()
    device = chosen_device(config.device)
    data, parts, truth = _pool(unit, config)
    inside, outside, shadow_in, shadow_out = parts
    pool = Resident(Resident.layout(data), data.labels.numpy(), device)
    recipe = config.training(unit.architecture)
    # Single precision as it is written: reduced products would show as rank.
    with _single_precision():
        scale = data.member_scale(inside)
        probed = inside[: config.samples]
        x = pool.batch(probed, *scale)
        looks = _Looks(config, x, pool, scale, inside, outside, truth)
        target = _train(data, pool, inside, unit, recipe, config.checkpoints, looks, run=0)
        trained = time.perf_counter() - began - looks.seconds
        at = time.perf_counter()
        own = data.member_scale(shadow_in)
        shadow = _train(data, pool, shadow_in, unit, recipe, (), None, run=1)
        _ready(device)
        shadow_seconds = time.perf_counter() - at
        attacks, seconds = _attacks(
            config, target, shadow, pool, scale, own, (inside, outside), (shadow_in, shadow_out)
        )
        at = time.perf_counter()
        others = np.concatenate([shadow_in, shadow_out])[: config.fit]
        told = reconstruction_error(
            target,
            pool.batch(np.sort(others), *scale),
            pool.batch(outside[: config.judge], *scale),
        )
        seconds["reconstruction"] = time.perf_counter() - at
    seconds |= {"training": trained, "shadow": shadow_seconds, **looks.costs()}
    series = looks.series()
    return {
        "unit": {"architecture": unit.architecture, "dataset": unit.dataset, "noise": unit.noise,
                 "seed": unit.seed},
        "data": {"name": data.name, "digest": data.digest},
        "layers": list(looks.layers),
        "width": [int(d) for d in looks.widths],
        "inputs": int(np.prod(data.shape)),
        "epochs": list(config.checkpoints),
        "accuracy": looks.accuracy,
        "series": {k: _plain(v) for k, v in series.items()},
        "spread": {k: _plain(v) for k, v in looks.spread().items()},
        "sample_bound": [[bool(b) for b in row] for row in looks.bound],
        "attacks": attacks,
        "reconstruction": _plain([told[name] for name in looks.layers]),
        "seconds": {k: round(v, 3) for k, v in seconds.items()},
        "settings": config.model_dump(
            mode="json",
            include={"members", "recipe", "recipes", "samples", "images", "probes", "patch",
                     "patch_images", "attack_seeds", "passes", "gradients", "fit", "judge"},
        ),
        "hardware": _hardware(device),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }  # fmt: skip


def _plain(values: ArrayLike) -> Any:
    """Nested lists of five significant digits; None where nothing was measured."""
    a = np.asarray(values, dtype=np.float64)
    if a.ndim:
        return [_plain(v) for v in a]
    return float(f"{float(a):.5g}") if np.isfinite(a) else None


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def _ready(device: torch.device) -> None:
    """Wait for the device, so that a clock read afterwards counts its work, and hand memory back.

    Units run side by side on one GPU: what one has finished with, another needs.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


@contextmanager
def _single_precision() -> Iterator[None]:
    """No reduced-precision products inside float32 convolutions on a GPU."""
    was = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = was


def _pool(unit: Unit, config: LayersConfig) -> tuple[Dataset, list[Rows], NDArray[np.int64]]:
    """The pool with its noisy labels, its four parts, and the labels before the noise."""
    clean = load(unit.dataset, limit=4 * config.members, seed=unit.seed)
    order = np.random.default_rng([unit.seed, 4]).permutation(len(clean))
    parts = [np.sort(p) for p in np.split(order, 4)]
    data = relabel(clean, unit.noise, seed=unit.seed) if unit.noise > 0 else clean
    return data, parts, clean.labels.numpy()


Look = Callable[[float, nn.Module], None]


def _train(
    data: Dataset,
    pool: Resident,
    members: Rows,
    unit: Unit,
    recipe: Recipe,
    checkpoints: Sequence[float],
    look: Look | None,
    *,
    run: int,
) -> nn.Module:
    """One network trained on `members`; `look(epoch, model)` at every checkpoint, 0 included."""
    device = pool.device
    seed = int(np.random.SeedSequence([unit.seed, run]).generate_state(1)[0])
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model: nn.Module = build(unit.architecture, data.shape, len(data.classes))
    if len(data.shape) == 3:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = model.to(device)
    feed = Feed(pool, members, recipe, seed, data.member_scale(members))
    optimizer = optim.make(recipe, model)
    steps, step = feed.steps * recipe.epochs, 0
    wanted = {round(e * feed.steps): e for e in checkpoints}
    if len(wanted) != len(checkpoints):
        raise InputError(
            f"checkpoints: expected each at a step of its own, got {list(checkpoints)} of epochs of "
            f"{feed.steps} steps; leave out fractions or train on more members"
        )
    half = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16")
    if look is not None and 0 in wanted:
        look(wanted[0], model)
    for epoch in range(recipe.epochs):
        model.train()
        for x, y in feed.batches(epoch):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step, steps)
            with half:
                logits = model(x)
            torch.autograd.backward(nn.functional.cross_entropy(logits.float(), y))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if look is not None and step in wanted:
                look(wanted[step], model)
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        raise SeepageError(f"{unit.name}: training diverged; lower the rate of {recipe.lr}")
    return model.eval()


class _Looks:
    """What was seen of the target at its checkpoints, and what seeing it cost."""

    def __init__(
        self,
        config: LayersConfig,
        x: torch.Tensor,
        pool: Resident,
        scale: tuple[NDArray[np.float32], NDArray[np.float32]],
        inside: Rows,
        outside: Rows,
        truth: NDArray[np.int64],
    ) -> None:
        self.config, self.x, self.pool, self.scale = config, x, pool, scale
        self.inside, self.outside, self.truth = inside, outside, truth
        self.layers: tuple[str, ...] = ()
        self.widths: NDArray[np.float64] = np.zeros(0)
        self.accuracy: list[dict[str, float]] = []
        self.bound: list[NDArray[np.bool_]] = []
        self.seconds = 0.0
        self._costs: dict[str, list[float]] = {"dof": [], "jacobian": [], "patch": []}
        self._seen: list[dict[str, NDArray[np.float64]]] = []
        self._spread: list[dict[str, NDArray[np.float64]]] = []

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
            _ready(self.pool.device)
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
        was = model.training
        model.eval()
        sides = {}
        with torch.no_grad():
            for name, rows in (("members", self.inside), ("others", self.outside)):
                parts = np.array_split(rows, max(len(rows) // 500, 1))
                sides[name] = np.concatenate(
                    [model(self.pool.batch(p, *self.scale)).argmax(1).cpu().numpy() for p in parts]
                )
        model.train(was)
        given = self.pool.labels_host
        wrong = given[self.inside] != self.truth[self.inside]
        hit = sides["members"] == given[self.inside]
        return {
            "members": round(float(hit.mean()), 5),
            "memorised": round(float(hit[wrong].mean()), 5) if wrong.any() else 0.0,
            "others": round(float((sides["others"] == given[self.outside]).mean()), 5),
            "others_clean": round(float((sides["others"] == self.truth[self.outside]).mean()), 5),
        }

    def series(self) -> dict[str, NDArray[np.float64]]:
        """Indicators (T, L)."""
        return {k: np.stack([s[k] for s in self._seen]) for k in self._seen[0]}

    def spread(self) -> dict[str, NDArray[np.float64]]:
        """Standard deviations over images of the ranks, standard error of the participation."""
        return {k: np.stack([s[k] for s in self._spread]) for k in self._spread[0]}

    def costs(self) -> dict[str, float]:
        """Median seconds of one look; the first also pays for what is loaded and compiled."""
        return {k: float(np.median(v)) for k, v in self._costs.items()}


def _attacks(
    config: LayersConfig,
    target: nn.Module,
    shadow: nn.Module,
    pool: Resident,
    scale: tuple[NDArray[np.float32], NDArray[np.float32]],
    own: tuple[NDArray[np.float32], NDArray[np.float32]],
    parts: tuple[Rows, Rows],
    shadows: tuple[Rows, Rows],
) -> tuple[dict[str, Any], dict[str, float]]:
    """Every attack on every layer at the end of training, and the seconds of each."""
    seconds: dict[str, float] = {}
    seeds = range(config.attack_seeds)

    def clock(name: str, work: Callable[[], Any]) -> Any:
        at = time.perf_counter()
        out = work()
        _ready(pool.device)
        seconds[name] = time.perf_counter() - at
        return out

    rows, member = _joined(parts)
    theirs, theirs_member = _joined(shadows)
    x = pool.batch(rows, *scale)
    outputs = clock("outputs", lambda: gather_outputs(target, x))
    imitated = clock("shadow_outputs", lambda: gather_outputs(shadow, pool.batch(theirs, *own)))
    transfer = ShadowTransfer(imitated, theirs_member)
    mlp = SmallMLP(passes=config.passes)
    found: dict[str, AttackTable] = {}
    attackers: tuple[tuple[str, Logistic | SmallMLP], ...] = (
        ("logistic", Logistic()),
        ("mlp", mlp),
    )
    for kind, attacker in attackers:
        for variant, how in (("audit", None), ("shadow", transfer)):
            name = f"{variant}-{kind}"
            found[name] = clock(
                name,
                partial(
                    attack_layers, outputs, member, attacker=attacker, variant=how, seeds=seeds
                ),
            )
    norms = {k: feature_norms(v)[:, None] for k, v in outputs.items()}
    found["feature-norm"] = clock("feature-norm", lambda: attack_layers(norms, member, seeds=seeds))
    some = tuple(p[: config.gradients] for p in parts)
    few, few_member = _joined((some[0], some[1]))
    labels = torch.from_numpy(pool.labels_host[few])
    gradients = clock(
        "gradients",
        lambda: gradient_norms(
            target, pool.batch(few, *scale), labels, batch=_gradient_batch(pool)
        ),
    )
    with_weights = {k: np.log(v + 1e-12)[:, None] for k, v in gradients.items()}
    found["gradient-norm"] = clock(
        "gradient-norm", lambda: attack_layers(with_weights, few_member, seeds=seeds)
    )
    return {k: _figures(v, list(outputs)) for k, v in found.items()}, seconds


def _gradient_batch(pool: Resident) -> int:
    return 32 if pool.device.type == "cuda" else 16


def _joined(parts: tuple[Rows, Rows]) -> tuple[Rows, NDArray[np.bool_]]:
    rows = np.concatenate(parts)
    return rows, np.arange(len(rows)) < len(parts[0])


def _figures(table: AttackTable, layers: Sequence[str]) -> Mapping[str, Any]:
    """Per layer and seed; None for a layer that has no weights to take a gradient of."""
    place = {name: i for i, name in enumerate(table.layer)}

    def of(values: NDArray[np.float64]) -> Any:
        blank = np.full(values.shape[1], np.nan)
        return _plain(np.stack([values[place[n]] if n in place else blank for n in layers]))

    return {
        "auc": of(table.auc),
        "balanced_accuracy": of(table.balanced_accuracy),
        "tpr": of(table.tpr),
        "realised_fpr": of(table.realised_fpr),
        "judged": table.judged,
    }
