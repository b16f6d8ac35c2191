"""`seepage.train`: every run of a plan, into a run folder, resumed where it was interrupted."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import psutil
from torch import nn

from seepage.config.execution import Execution
from seepage.config.function import Function, as_function
from seepage.config.model import Model, as_model
from seepage.config.prepare import Prepared, check_defense
from seepage.config.recipe import Recipe
from seepage.config.record import Record
from seepage.config.starting_point import weights_digest
from seepage.data import CopiesWarning, Dataset, count_copies
from seepage.data.copies import Copies
from seepage.data.dataset import check_dataset
from seepage.defenses import Defense
from seepage.defenses.composed import changes_outputs
from seepage.errors import InputError, StorageFailed, nearest
from seepage.fleet.backends import (
    check_machine,
    choose_backend,
    group,
)
from seepage.fleet.budget import Budget
from seepage.fleet.contradictions import warn_of
from seepage.fleet.disk import check_disk, disk_bytes, weights_bytes
from seepage.fleet.estimators import say_notes, without_network
from seepage.fleet.first_look import first_look
from seepage.fleet.folder import create, ensure, signal_shapes
from seepage.fleet.free_folder import check_free
from seepage.fleet.identity import differing, run_key
from seepage.fleet.local import Watcher, run_inline, run_local
from seepage.fleet.machine import choose_device, choose_precision, hardware
from seepage.fleet.pool_files import shared_pool
from seepage.fleet.pretrained import started
from seepage.fleet.rehearsal import check_function, learn_epochs
from seepage.fleet.saved import remove_states
from seepage.fleet.spec import FleetSpec, TrainFunction
from seepage.plan import SubsetPlan, refuse_offline, refuse_split_groups
from seepage.record import parse_views
from seepage.store.evidence import read_records, stamp
from seepage.store.keys import row_of
from seepage.store.lock import Lock, in_turn
from seepage.store.package_code import package_digest
from seepage.store.run import Run
from seepage.store.storage import Storage

__all__ = ["AccuracyWarning", "ProvenanceWarning", "Silent", "train", "train_prepared"]


class ProvenanceWarning(UserWarning):
    """A fleet is resumed with other code of the package than it was begun with."""


class AccuracyWarning(UserWarning):
    """A training function measures another accuracy of its members than the Recorder."""


# By so much the loop's own accuracy may be higher, and lower: it may be a mean over an epoch in which the network
# still learnt, with dropout and augmentation.
_APART, _BEHIND = 0.05, 0.25


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
    out: str | os.PathLike[str],
    model: str | Callable[[], nn.Module] | Model = "mlp",
    function: str | TrainFunction | Function | None = None,
    recipe: Recipe | None = None,
    record: Record | None = None,
    execution: Execution | None = None,
    defense: Defense | None = None,
    reference: Dataset | None = None,
    shard: tuple[int, int] | None = None,
    rows: Iterable[int] | None = None,
    budget: Budget | None = None,
    watcher: Watcher | None = None,
    **fields: Any,
) -> Run:
    """Train every run of `plan` on `data` and record signals at every checkpoint.

    out: the run folder or an `s3://` address. If it already holds finished or half-finished runs
    of the same content (data, plan, recipe, model, function, defence, `TRAINING_VERSION`), training
    resumes there; if anything differs it is refused and the field is named. model: a name,
    "package.module:factory", any `() -> nn.Module`, or a `Model` with options, a version or files
    of its own. function: your own training, `train(members, seed, recorder) -> model`, its name,
    or a `Function` with a version or files, instead of the built-in loop; before a new folder it is
    tried whether it obeys its members and its seed (`seepage.fleet.function_check`). recipe, record,
    execution: how runs are trained, what is written down, where they run. defense: acts on
    training; reference: non-members set apart for it. shard (i, n), 1-based: only every n-th task
    (a run, or runs that are stacked), for job arrays that share a folder. rows: only these runs of
    the plan now, with those that they are stacked with; a later call trains others. budget: the
    seconds that this may take (`seepage.fleet.Budget`). fields: a field of
    `Record` or `Execution`, or `model_options`, may be passed by its own name:
    `checkpoints=[0, 10]`, `workers=2`. Returns the opened run.

    Code of the user's own is followed as far as it can be (`seepage.fleet.user_code`); what could
    not be is listed in the manifest under provenance.

    Raises InputError for bad values, a plan that splits the data's groups or has groups that the data
    lack, Locked when another process owns the folder.
    """
    check_dataset(data)
    if not isinstance(plan, SubsetPlan):
        raise InputError(
            f"plan: expected a seepage.SubsetPlan, got {type(plan).__name__}; make one with "
            "seepage.half_split(len(data), models=…), or of a matrix (R, N) of truth values "
            'seepage.SubsetPlan(member, seeds=numpy.arange(R), kind="mine", seed=0)'
        )
    recipe = recipe if recipe is not None else Recipe()
    stated = "epochs" in recipe.model_fields_set
    record, execution, model = _with_fields(record, execution, model, fields)
    if plan.samples != len(data):
        raise InputError(
            f"plan: expected as many samples as the data has ({len(data)}), got {plan.samples}; "
            "make the plan with len(data)"
        )
    refuse_split_groups(plan, data.groups)
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise InputError(f"shard: expected i/n with 1 <= i <= n, got {shard[0]}/{shard[1]}")
    chosen_rows = list(range(plan.models)) if rows is None else sorted(set(rows))
    if chosen_rows and not 0 <= chosen_rows[0] <= chosen_rows[-1] < plan.models:
        raise InputError(
            f"rows: expected runs of the plan, 0 to {plan.models - 1}, got {chosen_rows[0]} to "
            f"{chosen_rows[-1]}"
        )
    smallest = int(plan.member.sum(axis=1).min())
    if smallest < 2:
        raise InputError(f"plan: expected at least 2 members in every run, got {smallest}")
    refuse_offline(plan.member, "plan", figures=False)
    watcher = watcher if watcher is not None else Silent()
    network, own = as_model(model).for_task(data.task), as_function(function)
    if own is not None and network.starts:
        raise InputError(
            f"model: expected no weights, adapter, frozen or reset parts with {own.called}, which "
            "builds its network itself; load them there"
        )
    network.check_adapter()
    if network.weights is not None:
        # Every worker sees that it reads the same file.
        network = network.changed(expected=weights_digest(network.weights))
    if own is None or own.network or own.standardise:
        data.needs_values("a network" if own is None or own.network else "standardise")
    elif data.has_missing and getattr(own.function, "takes_missing", True) is False:
        data.needs_values(own.called)
    if own is not None and callable(getattr(own.function, "check_data", None)):
        own.function.check_data(data)
    if own is not None and not own.network:
        record, recipe = without_network(own, record, recipe, defense)
    elif own is not None and not stated and not isinstance(record.checkpoints, tuple):
        # The recipe is that of the built-in loop; this one has epochs of its own.
        recipe = recipe.changed(epochs=learn_epochs(own, data, plan))
    record = record.as_begun(_signals_there(out), data.task).for_task(data.task)
    if defense is not None:
        data.takes_defense(defense.name, defense.of_texts)
    times = record.times(recipe.epochs)
    parse_views(record.views)
    extra = record.measured(times)
    if extra:
        data.needs_classes(f"record: {extra[0].names[0]}")
        if data.file is not None:
            raise InputError(
                f"record: expected a pool that memory holds with {extra[0].names[0]}, which is measured "
                f"on all samples at once, got {data.file.nbytes / 2**30:.1f} GiB in a file; leave it "
                "out, or set data.limit"
            )
    device = choose_device(execution.device)
    key, unfollowed = run_key(
        data, plan, recipe, network, own, defense, reference, record, times, extra
    )
    code = package_digest()
    outputs = len(data.classes)
    if own is None:
        # The network of a training function is seen by the Recorder that it is handed to.
        exact = defense is not None
        outputs = first_look(network, data, plan, recipe, device, exact=exact)
    if defense is not None:
        check_defense(defense, data, reference, network, recipe)
    # Whatever can be refused is refused before a folder is made.
    backend = choose_backend(
        execution.backend,
        network,
        recipe,
        plan,
        device,
        plain=own is None and defense is None and data.targets is None and not network.starts,
        own=own is not None,
        resident=data.file is None,
    )
    _often(plan, own)
    check_free(out)
    copies = _noticed(data, plan)
    begun = _begun(out)
    shapes = {} if begun else signal_shapes(data, record, extra, network, outputs)
    kept = {"none": 0, "final": 1, "all": len(times)}[record.keep]
    # What a function of the user's own trains is not known before.
    size = weights_bytes(network, data.shape, len(data.classes)) if own is None else 0
    tried = None
    if own is not None and not begun:
        tried = check_function(own, data, plan, times, execution.changed(device=device))
    at_once = execution.workers or psutil.cpu_count(logical=False) or 1
    if not begun:
        check_disk(
            out,
            disk_bytes(
                shapes, len(chosen_rows), len(times), weights=size, kept=kept, unfinished=at_once
            ),
        )
    storage = Storage(out, write=True)
    with Lock(storage, shard):
        # Shards that start together must not measure and choose each for itself.
        with in_turn(storage, "founding"):
            manifest = storage.get_json("manifest.json")
            if manifest is not None:
                _same(storage, manifest, key, code)
                ensure(storage, manifest, data, plan)
            else:
                check_free(out)
                precision: str = "fp32"
                seconds: dict[str, float] = {}
                if own is None:
                    shape, classes = data.shape, len(data.classes)
                    fused = backend == "fused"
                    asked = recipe.changed(precision="bf16") if fused else recipe
                    precision, seconds = choose_precision(network, shape, classes, asked, device)
                chosen = {
                    "precision": precision,
                    "step_seconds": seconds,
                    "device": device,
                    "backend": backend,
                    "threads": execution.threads,
                    "compiled": execution.compiled,
                }
                shapes = shapes or signal_shapes(data, record, extra, network, outputs)
                for e in extra:
                    # Rows of a signal per layer have names, known from its first measurement.
                    if getattr(e, "axis", None) == "layer":
                        chosen["layers"] = list(e.layers)  # type: ignore[attr-defined]
                provenance: dict[str, Any] = {"code": code, "unfollowed": unfollowed}
                if defense is not None and changes_outputs(defense):
                    provenance["changes_outputs"] = defense.name
                if tried is not None:
                    provenance["function_check"] = tried.told()
                manifest = create(
                    storage,
                    data,
                    plan,
                    key,
                    chosen,
                    times,
                    shapes,
                    record.views,
                    provenance,
                    copies,
                )
        held = {k: manifest["chosen"][k] for k in ("device", "backend", "threads", "compiled")}
        check_machine(held["backend"], storage.where)
        with shared_pool(data) as pool, shared_pool(reference) as apart:
            assert pool is not None
            spec = FleetSpec(
                store=storage.where,
                pool=pool,
                reference=apart,
                model=network,
                function=own,
                recipe=recipe.changed(precision=manifest["chosen"]["precision"]),
                record=record,
                execution=execution.changed(**held),
                defense=defense,
                times=times,
                extra=extra,
                manifest=stamp(manifest),
                often=_often(plan, own),
            )
            # A record of another run or folder is no run that ended.
            ended = read_records(storage, manifest)
            remove_states(storage, ended)
            if begun and storage.local is not None:
                _check_rest(storage, manifest, chosen_rows, ended, size, kept)
            _run(spec, storage, plan, chosen_rows, shard, watcher, ended, budget)
    run = Run(out)
    if own is not None:
        _compare_accuracy(run)
        say_notes(run)
        warn_of(run)
    return run


def _compare_accuracy(run: Run) -> None:
    """Say where the accuracy of members is another than the user's own loop says at the end.

    Higher by more than 0.05 in the loop, lower by more than 0.25, or no share at all.
    """
    for row in run.models.tolist():
        record = run.records[row]
        told = (record.get("facts") or {}).get("own_accuracy")
        if not told or told[-1] is None or not record["accuracy"]:
            continue
        seen, own = record["accuracy"][-1][0], float(told[-1])
        text = f"{run.path}: run {row} answers {seen:.3f} of its members correctly as it is evaluated here, your loop says "
        if 1 < own <= 100:
            text += f"{own:g}, where a share from 0 to 1 is expected (accuracy={own / 100:.3f})"
            if -_APART <= seen - own / 100 <= _BEHIND:
                warnings.warn(text, AccuracyWarning, stacklevel=3)
                return
            own /= 100
        else:
            text += f"{own:.3f}"
        if not -_APART <= seen - own <= _BEHIND:
            warnings.warn(
                f"{text}: a mean over the epoch, or one with dropout or augmentation, may differ, and is lower as a "
                "rule; else check that both prepare inputs alike (preprocess= of recorder.start, of the callback in Lightning), number "
                "classes alike and evaluate in eval mode",
                AccuracyWarning,
                stacklevel=3,
            )
            return


def _often(plan: SubsetPlan, own: Function | None) -> tuple[tuple[int, int], ...]:
    """Positions that are shown several times in each epoch, and how often."""
    if plan.canaries is None or plan.canaries.repeats is None:
        return ()
    index, repeats = plan.canaries.index.tolist(), plan.canaries.repeats.tolist()
    several = tuple((i, k) for i, k in zip(index, repeats, strict=True) if k > 1)
    if several and own is not None:
        raise InputError(
            f"plan.canaries.repeats: expected 1 with {own.called}, which is told who is a member and not how "
            f"often, got {max(k for _, k in several)}; set it to [1]"
        )
    return several


def _noticed(data: Dataset, plan: SubsetPlan) -> Copies:
    """The exact copies in the pool, said aloud where the plan does not keep them together."""
    planted = None if plan.canaries is None else plan.canaries.index
    copies = count_copies(data, plan.member, leave_out=planted)
    if copies.split:
        warnings.warn(
            f"{data.name}: {copies.split} of {len(data)} samples have an exact copy that other runs "
            "train on, which hides what they leak; keep copies together "
            '(data.copies = "group", or seepage.data.group_copies) or drop them',
            CopiesWarning,
            stacklevel=3,
        )
    return copies


def _check_rest(
    storage: Storage,
    manifest: Mapping[str, Any],
    rows: Iterable[int],
    ended: Iterable[int],
    weights: int,
    kept: int,
) -> None:
    """Refuse to go on where what is left to write does not fit on the disk."""
    shapes = {k: (tuple(s["shape"]), s["dtype"]) for k, s in manifest["signals"].items()}
    left = set(rows) - set(ended)
    parts = disk_bytes(
        shapes, len(left), len(manifest["checkpoints"]), weights=weights, kept=kept, unfinished=0
    )
    for part in ("signals", "weights"):
        written = (k for k in storage.keys(f"{part}/") if row_of(k) in left)
        parts[part] = max(0, parts[part] - sum(storage.size(k) or 0 for k in written))
    check_disk(storage.where, parts)


def _begun(out: str | os.PathLike[str]) -> bool:
    """Whether a run folder is there already."""
    try:
        return Storage(out).exists("manifest.json")
    except InputError:
        return False


def _signals_there(out: str | os.PathLike[str]) -> list[Any] | None:
    """The signals in the key of a run folder that is there already, as they lie in it."""
    if not _begun(out):
        return None
    key = Storage(out).get_json("manifest.json").get("key", {})
    found: list[Any] | None = key.get("signals")
    return found


def _with_fields(
    record: Record | None,
    execution: Execution | None,
    model: str | Callable[[], nn.Module] | Model,
    fields: dict[str, Any],
) -> tuple[Record, Execution, str | Callable[[], nn.Module] | Model]:
    """Fields that were passed by their own names, put into the objects that hold them."""
    options = fields.pop("model_options", None)
    if options is not None:
        if not isinstance(model, str):
            raise InputError(
                "model_options: expected a reference network by name with them, got "
                f"{type(model).__name__}; set them in the function that makes it"
            )
        model = Model(name=model, options=dict(options))
    known = [*Record.model_fields, *Execution.model_fields, "model_options"]
    for name in fields:
        if name not in known:
            raise InputError(f"train: {name}: unknown argument; {nearest(name, known)}")
    mine = {k: v for k, v in fields.items() if k in Record.model_fields}
    theirs = {k: v for k, v in fields.items() if k in Execution.model_fields}
    return (
        (record or Record()).changed(**mine),
        (execution or Execution()).changed(**theirs),
        model,
    )


def train_prepared(
    audit: Prepared,
    watcher: Watcher | None = None,
    shard: tuple[int, int] | None = None,
    beginning: Callable[[float], None] = lambda epochs: None,
) -> Run:
    """Train what is not there yet and open the run folder; beginning: called with the epochs of its start."""
    c = audit.config
    model = c.model
    if audit.start is not None:
        model = started(c.start, audit.start, model, c.out, c.execution, beginning)
    return train(
        audit.data,
        audit.plan,
        out=c.out,
        model=model,
        function=c.train,
        recipe=c.recipe,
        record=c.record,
        execution=c.execution,
        defense=audit.defense,
        reference=audit.reference,
        shard=shard,
        watcher=watcher,
    )


def _run(
    spec: FleetSpec,
    storage: Storage,
    plan: SubsetPlan,
    rows: list[int],
    shard: tuple[int, int] | None,
    watcher: Watcher,
    ended: Mapping[int, Any],
    budget: Budget | None,
) -> None:
    # Shards are cut from tasks, not from runs: what is trained together stays together.
    tasks = group(spec, range(plan.models), plan.models)
    mine = tasks if shard is None else tasks[shard[0] - 1 :: shard[1]]
    wanted = set(rows) - set(ended)
    left = [t for t in mine if wanted.intersection(t)]
    if not left:
        return
    e = spec.execution
    count = e.workers or max(1, (psutil.cpu_count(logical=False) or 1) // e.threads)
    if e.device == "cuda":
        count = e.workers or 1
    if e.executor == "inline":
        count = 1
    began = time.time()
    watcher.start([r for t in left for r in t], float(spec.recipe.epochs))
    trained: list[int] = []
    try:
        if e.executor == "ray":
            from seepage.fleet.ray_executor import run_ray

            run_ray(
                spec,
                left,
                e.workers,
                watcher,
                lambda row, _: trained.append(row),
                e.address,
                budget,
            )
        elif e.executor == "inline":
            run_inline(spec, left, watcher, lambda row, _: trained.append(row), budget)
        else:
            run_local(spec, left, count, watcher, lambda row, _: trained.append(row), budget)
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
                    "executor": e.executor,
                    "runs": sorted(trained),
                    "hardware": hardware(),
                },
            )


def _same(storage: Storage, manifest: dict[str, Any], key: dict[str, Any], code: str) -> None:
    """Refuse a folder of other content; warn of one that another state of the package began."""
    where, there = storage.where, manifest["key"]
    if "imported" in there:
        raise InputError(
            f"{where}: holds imported arrays, which cannot be trained; choose another folder"
        )
    if manifest["format"] == 1:
        ended, planned = len(read_records(storage)), manifest["plan"]["models"]
        state = (
            "it opens, scores and reports as it is"
            if ended == planned
            else f"{ended} of its {planned} runs have ended: finish it with that version"
        )
        raise InputError(
            f"{where}: was begun by seepage 0.1.0, whose folders do not identify what was trained; "
            f"{state}, or choose another folder"
        )
    changed = differing(there, key)
    if changed:
        field, a, b = changed[0]
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        ended = len(read_records(storage))
        holds = (
            "holds runs of another configuration"
            if ended
            else ("was begun with another configuration and holds no run that ended")
        )
        raise InputError(
            f"{where}: {holds}: {_differs(field, a, b)}{more}; choose another folder or remove this one"
        )
    if manifest["provenance"]["code"] != code:
        warnings.warn(
            f"{where}: was begun with another state of the package's code "
            f"({manifest['provenance']['code'][:12]}, now {code[:12]}); training continues",
            ProvenanceWarning,
            stacklevel=3,
        )


def _differs(field: str, there: Any, here: Any) -> str:
    """In what a part of the key is another; of lists of names by those that one of them lacks."""
    if isinstance(there, list) and isinstance(here, list):
        both = [*there, *here]
        one = [v for v in both if (v in there) != (v in here)]
        if one and all(isinstance(v, str) for v in both):
            with_it, not_there = ("without", "") if one[0] in here else ("with", "not ")
            names = ", ".join(v for v in one if (v in here) == (one[0] in here))
            return f"{field} is {with_it} {names} there, which is {not_there}configured"
    return f"{field} is {_short(there)} there, {_short(here)} is configured"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"
