"""`seepage.train`: every run of a plan, into a run folder, going on where it was."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from torch import nn

from seepage.config.prepare import Prepared
from seepage.config.recipe import Recipe
from seepage.data import Dataset
from seepage.errors import InputError, StorageFailed
from seepage.fleet.backends import choose_backend, group
from seepage.fleet.choose import choose_device, choose_precision, hardware
from seepage.fleet.folder import ensure, found, signal_shapes
from seepage.fleet.local import Watcher, run_inline, run_local
from seepage.fleet.spec import (
    FleetSpec,
    TrainFunction,
    code_digest,
    defense_digest,
    differing,
    model_digest,
    source_digest,
)
from seepage.models.reference import user_model
from seepage.plan import SubsetPlan
from seepage.record import DEFAULT_SIGNALS, ExtraSignal, Resident, parse_views
from seepage.record import checkpoints as schedule
from seepage.store.lock import Lock, in_turn
from seepage.store.run import Run, read_records
from seepage.store.storage import Storage

__all__ = ["Silent", "train", "train_prepared"]


class Silent:
    """A watcher that says nothing."""

    def start(self, rows: list[int], epochs: float) -> None:
        """Nothing."""

    def progress(self, row: int, epoch: float) -> None:
        """Nothing."""

    def done(self, row: int, record: dict[str, Any]) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


def train(
    data: Dataset,
    plan: SubsetPlan,
    *,
    model: str | Callable[[], nn.Module] = "mlp",
    out: str | os.PathLike[str],
    model_options: dict[str, Any] | None = None,
    recipe: Recipe | None = None,
    function: TrainFunction | None = None,
    checkpoints: str | int | Sequence[float] = "log",
    signals: Sequence[str] = DEFAULT_SIGNALS,
    views: Sequence[str] = ("identity",),
    logits: bool = False,
    extra: Sequence[ExtraSignal] = (),
    defense: Any = None,
    reference: Dataset | None = None,
    keep: str = "final",
    workers: int | None = None,
    threads: int = 1,
    device: str = "auto",
    backend: str = "auto",
    executor: str = "local",
    address: str | None = None,
    compiled: bool = False,
    save_every: float = 30.0,
    shard: tuple[int, int] | None = None,
    watcher: Watcher | None = None,
) -> Run:
    """Train every run of `plan` on `data` and record signals at every checkpoint.

    model: a name, "package.module:factory" or any `() -> nn.Module`; function: your own training,
    `train(members, seed, recorder) -> model`, instead of the built-in loop. out: the run folder
    or an `s3://` address. If it already holds finished or half-finished runs of the same content
    (data, plan, recipe, model, code), training goes on from there; if anything differs it is
    refused and the field is named. keep: weights kept, "none", "final" or "all" checkpoints.
    workers: processes (default one per core); shard (i, n), 1-based: only every n-th task (a run,
    or runs that are stacked), for job arrays that share a folder. executor: "local" processes,
    "inline" in this very process, or "ray" tasks, on the cluster at `address` or on one started
    here. Returns the opened run.

    Raises InputError for bad values, Locked when another process owns the folder.
    """
    recipe = recipe if recipe is not None else Recipe()
    if plan.samples != len(data):
        raise InputError(
            f"plan: expected as many samples as the data has ({len(data)}), got {plan.samples}; "
            "make the plan with len(data)"
        )
    if keep not in ("none", "final", "all"):
        raise InputError(f"keep: expected 'none', 'final' or 'all', got {keep!r}")
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise InputError(f"shard: expected i/n with 1 <= i <= n, got {shard[0]}/{shard[1]}")
    if executor not in ("local", "inline", "ray"):
        raise InputError(f"executor: expected 'local', 'inline' or 'ray', got {executor!r}")
    smallest = int(plan.member.sum(axis=1).min())
    if smallest < 2:
        raise InputError(f"plan: expected at least 2 members in every run, got {smallest}")
    watcher = watcher if watcher is not None else Silent()
    ref = user_model(model, model_options)
    times = schedule(checkpoints, recipe.epochs)
    parse_views(views)
    device = choose_device(device)
    key = {
        "data": data.digest,
        "plan": plan.digest,
        "recipe": recipe.model_dump(),
        "model": model_digest(ref, data.shape, len(data.classes)),
        "function": None if function is None else source_digest(function),
        "defense": None if defense is None else repr(defense),
        "defense_code": None if defense is None else defense_digest(),
        "reference": None if reference is None else reference.digest,
        "checkpoints": list(times),
        "signals": list(signals),
        "extra": [repr(e) for e in extra],
        "views": list(views),
        "logits": logits,
        "code": code_digest(),
    }
    storage = Storage(out, write=True)
    with Lock(storage, shard):
        # Shards that start together must not measure and choose each for itself.
        with in_turn(storage, "founding"):
            manifest = storage.get_json("manifest.json")
            if manifest is not None:
                _same(storage.where, manifest["key"], key)
                ensure(storage, manifest, data, plan)
            else:
                precision, seconds = (
                    ("fp32", {})
                    if function is not None
                    else choose_precision(ref, data.shape, len(data.classes), recipe, device)
                )
                chosen = {
                    "precision": precision,
                    "step_seconds": seconds,
                    "device": device,
                    "backend": choose_backend(
                        backend,
                        ref,
                        recipe,
                        plan,
                        device,
                        plain=function is None and defense is None,
                    ),
                    "threads": threads,
                    "compiled": compiled,
                }
                shapes = signal_shapes(data, signals, views, logits, extra, ref)
                for e in extra:
                    # Rows of a signal per layer have names, which its first look told it.
                    if getattr(e, "axis", None) == "layer":
                        chosen["layers"] = list(e.layers)  # type: ignore[attr-defined]
                manifest = found(storage, data, plan, key, chosen, times, shapes, views)
        with _shared(data) as pixels, _shared(reference) as apart:
            spec = FleetSpec(
                store=storage.where,
                pixels=pixels or "",
                kind=data.kind,
                classes=data.classes,
                numeric=None if data.numeric is None else tuple(data.numeric.tolist()),
                in_shape=data.shape,
                model=ref,
                train=function,
                recipe=recipe,
                precision=manifest["chosen"]["precision"],
                checkpoints=times,
                signals=tuple(signals),
                views=tuple(views),
                logits=logits,
                extra=tuple(extra),
                defense=defense,
                reference=apart,
                keep=keep,
                device=manifest["chosen"]["device"],
                backend=manifest["chosen"]["backend"],
                compiled=manifest["chosen"]["compiled"],
                threads=manifest["chosen"]["threads"],
                save_every=save_every,
            )
            _run(spec, storage, plan, shard, workers, watcher, (executor, address))
    return Run(out)


def train_prepared(
    audit: Prepared, watcher: Watcher | None = None, shard: tuple[int, int] | None = None
) -> Run:
    """Train what is not there yet and open the run folder."""
    c = audit.config
    return train(
        audit.data,
        audit.plan,
        model=c.model.name,
        model_options=c.model.options,
        recipe=audit.recipe,
        out=c.out,
        checkpoints=c.record.checkpoints,
        views=c.record.views,
        logits=c.record.logits,
        keep=c.record.keep,
        extra=audit.extra,
        defense=audit.defense,
        reference=audit.reference,
        workers=c.fleet.workers,
        threads=c.fleet.threads,
        device=c.fleet.device,
        backend=c.fleet.backend,
        executor=c.fleet.executor,
        address=c.fleet.address,
        save_every=c.fleet.save_every,
        shard=shard,
        watcher=watcher,
    )


def _run(
    spec: FleetSpec,
    storage: Storage,
    plan: SubsetPlan,
    shard: tuple[int, int] | None,
    workers: int | None,
    watcher: Watcher,
    place: tuple[str, str | None],
) -> None:
    ended = read_records(storage)
    # Shards are cut from tasks, not from runs: what is trained together stays together.
    tasks = group(spec, range(plan.models), plan.models)
    mine = tasks if shard is None else tasks[shard[0] - 1 :: shard[1]]
    left = [t for t in mine if any(r not in ended for r in t)]
    if not left:
        return
    executor, address = place
    count = workers or max(1, (psutil.cpu_count(logical=False) or 1) // spec.threads)
    if spec.device == "cuda":
        count = workers or 1
    if executor == "inline":
        count = 1
    began = time.time()
    watcher.start([r for t in left for r in t], float(spec.recipe.epochs))
    trained: list[int] = []
    try:
        if executor == "ray":
            from seepage.fleet.ray_executor import run_ray

            run_ray(spec, left, workers, watcher, lambda row, _: trained.append(row), address)
        elif executor == "inline":
            run_inline(spec, left, watcher, lambda row, _: trained.append(row))
        else:
            run_local(spec, left, count, watcher, lambda row, _: trained.append(row))
    finally:
        watcher.stop()
        # A note for the report; when the disk is full, what ended the fleet says so itself.
        with contextlib.suppress(StorageFailed):
            storage.put_json(
                f"sessions/{uuid.uuid4().hex}.json",
                {
                    "began": began,
                    "seconds": round(time.time() - began, 3),
                    "workers": count,
                    "executor": executor,
                    "runs": sorted(trained),
                    "hardware": hardware(),
                },
            )


def _same(where: str, there: dict[str, Any], here: dict[str, Any]) -> None:
    changed = differing(there, here)
    if changed:
        field, a, b = changed[0]
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise InputError(
            f"{where}: holds runs of another configuration: {field} is {_short(a)} there, "
            f"{_short(b)} was asked for{more}; choose another folder or remove this one"
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"


@contextlib.contextmanager
def _shared(data: Dataset | None) -> Iterator[str | None]:
    """The pool's inputs in a file that all workers map: one copy in memory, however many read."""
    if data is None:
        yield None
        return
    layout = Resident.layout(data)
    fast = Path("/dev/shm")
    room = fast.is_dir() and shutil.disk_usage(fast).free > 2 * layout.nbytes + 2**26
    place = fast if room else Path(tempfile.gettempdir())
    _sweep(place)
    folder = Path(tempfile.mkdtemp(prefix=f"seepage-{os.getpid()}-", dir=place))
    try:
        try:
            np.save(folder / "pixels.npy", layout, allow_pickle=False)
            np.save(folder / "pixels.npy.labels.npy", data.labels.numpy(), allow_pickle=False)
        except OSError as e:
            raise StorageFailed(
                f"{place}: expected room for {layout.nbytes / 2**20:.0f} MiB that workers share, "
                f"got {e}; make room or set TMPDIR"
            ) from None
        yield str(folder / "pixels.npy")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Remove what a killed process left there: a file in memory outlives its owner."""
    for left in place.glob("seepage-*-*"):
        pid = left.name.split("-")[1]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
