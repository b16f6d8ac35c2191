"""A run folder with kept weights from checkpoints of networks that were trained elsewhere."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.array_types import AnyArray, BoolArray
from seepage.config.model import Factory, Model, as_model
from seepage.data import Dataset, count_copies, load
from seepage.data.archive import map_archive
from seepage.data.dataset import check_dataset
from seepage.data.mapped import map_npy
from seepage.errors import InputError, SeepageError, nearest
from seepage.fleet.array_checks import Progress, check_member
from seepage.fleet.checkpoint_inputs import (
    best_scale,
    check_inputs,
    doubt_inputs,
    told_inputs,
)
from seepage.fleet.disk import check_disk, disk_bytes
from seepage.fleet.folder import Shapes, create
from seepage.fleet.given_inputs import Inputs
from seepage.fleet.sink import StoreSink
from seepage.fleet.whole_folder import check_new, whole
from seepage.given_arrays import given_array
from seepage.local_paths import local_path
from seepage.models.answers import TARGET_SCALE
from seepage.models.outputs import bounded, check_answers, check_trained, try_outputs
from seepage.plan import SubsetPlan
from seepage.record import DEFAULT_SIGNALS, Diverged, Memory, Recorder, Resident, observing
from seepage.record.recorder import rules_of
from seepage.store.derived import keep_derived
from seepage.store.evidence import stamp
from seepage.store.package_code import package_digest
from seepage.store.run import Run
from seepage.store.storage import Storage
from seepage.store.weight_files import SUFFIXES, load_weights, put_weights

__all__ = ["Members", "has_checkpoints", "import_checkpoints"]

Members = str | os.PathLike[str] | AnyArray | Mapping[str, Any]
"""Who trained which model: a file, a boolean matrix, or a mask or list of ids for each model."""

_MEMBERS = ("members.npz", "members.npy")
_NOTES = (".json", ".txt", ".md", ".log", ".yaml", ".yml", ".toml", ".csv")
_EPOCH = re.compile(r"epoch[-_=]?(\d+(?:\.\d+)?)", re.IGNORECASE)
_LAST = re.compile(r"(\d+(?:\.\d+)?)$")
_LOOK = 64
_EXPECTED = (
    "a file of weights for each model (NAME.pt, .pth or .safetensors), or a folder for each with a file "
    "per epoch (NAME/epoch-12.pt)"
)


def has_checkpoints(folder: Path) -> bool:
    """Whether a folder holds files of weights, or folders of them."""
    return any(p.suffix in SUFFIXES for p in (*folder.glob("*"), *folder.glob("*/*")))


def import_checkpoints(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    model: str | Factory | Model,
    data: Dataset | str,
    members: Members | None = None,
    task: str | None = None,
    noise: float | None = None,
    divide: float = 1.0,
    standardise: bool = False,
    views: Sequence[str] = ("identity",),
    logits: bool = False,
    batch: int = 512,
    progress: Progress | None = None,
) -> Run:
    """Evaluate checkpoints that were trained elsewhere on a whole pool, as a run with kept weights.

    folder: `NAME.pt`, `.pth` or `.safetensors` for each model, or `NAME/…12.pt` for each model and
    epoch, the epoch after the word epoch or at the end of the name; models in the natural order of
    their names. Weights alone are read, and nothing that a file names is run. Prefixes of wrappers
    (`module.`, `_orig_mod.`, `_module.`) are removed, which the manifest tells.

    model: the factory, a function without arguments that returns the network, "package.module:name"
    or a reference network. data: the pool, all samples that any of the models may have seen and
    others, or what `seepage.load` takes. members: who trained which model; by default `members.npz`
    or `members.npy` in the folder. A boolean array `member` (R, N) in the order of the models, or for
    each model by name a mask (N,), row numbers of the data, or ids as text. task: that of the data, or
    as which data that is named is loaded; its signals are recorded. Networks of a regression answer
    in the target's units, unless seepage trained them: then the scale lies in their weights. noise:
    of a regression σ, by default the root mean square of the residuals of a model's non-members.

    divide, standardise: how inputs are prepared, see `seepage.fleet.given_inputs.Inputs`; as the data
    has them by default: pictures as 0..255. Anything else belongs into the factory's network. views,
    logits, batch: as `seepage.record.Recorder` has them.

    Every network is evaluated on all samples by the Recorder, in eval mode. All files are read and
    compared with the factory before anything is written, and a local folder appears when it is whole.

    `seepage layers` and `seepage curvature` take the factory again: a name in a folder is never
    imported. Inputs of classes on which members of the first model are right far less often than prepared
    otherwise, standardised for example (`seepage.models.preparations`), are refused. Warns
    (`ImportedWarning`) where inputs may be prepared otherwise than in training: where
    the networks know no more than the largest class, where the last one does far better on inputs that
    are 10 or 255 times smaller or larger (`seepage.models.input_scale`), or where they are far surer than
    training usually makes them. Accuracy alone may not tell: a network of ReLUs is nearly the same on
    inputs that are 255 times as large.

    Raises InputError for another layout, weights that do not fit the factory (the first missing and
    the first unexpected key), members that are not in the data, and what `Recorder` refuses.
    """
    check_new(out)
    pool = data if isinstance(data, Dataset) else load(data, task=task or "classification")
    check_dataset(pool)
    if task not in (None, pool.task):
        raise InputError(
            f"task: expected that of the data, {pool.task}, got {task!r}; load the data as it, or leave "
            "it out"
        )
    if noise is not None and (pool.task != "regression" or not 0 < noise < np.inf):
        raise InputError(
            f"noise: expected a standard deviation above 0 with the task regression, got {noise:g} with "
            f"{pool.task}; leave it out"
        )
    pool.needs_values("networks")
    prepared = Inputs(divide, standardise)
    given = as_model(model).for_task(pool.task)
    found = _found(local_path(folder, "folder"))
    member = _members(found, members, pool)
    recorder_fields: dict[str, Any] = {"views": tuple(views), "logits": logits, "batch": batch}
    if noise is not None:
        recorder_fields["noise"] = noise
    resident = Resident.of(pool)
    Recorder(resident, [0.0], Memory(), signals=(), **recorder_fields)
    with torch.random.fork_rng(devices=[]):
        network = given.make(pool.shape, len(pool.classes))
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in network.parameters()):
        raise InputError(
            f"model: expected a network whose shapes are known, got lazy layers from {given.name}; pass "
            "an input through it once in the factory"
        )
    plan = SubsetPlan(member, np.zeros(len(member), np.uint64), "imported", 0)
    digest, noticed, outputs = _looked_over(
        found, network, pool, resident, prepared.recorder(pool, plan.members(0)), progress
    )
    notes = [f"signals: evaluated on all {len(pool)} samples, {told_inputs(prepared)}", *noticed]
    key = {
        "imported": found.folder.name,
        "weights": digest,
        "names": list(found.names),
        "data": pool.digest,
        "plan": plan.digest,
        "model": {"name": given.name, "options": dict(given.options)},
        "inputs": prepared.told(),
        "labels": True,
        "checkpoints": found.epochs is not None,
        "views": list(views),
        "logits": logits,
    }
    shapes = _shapes(resident, len(views), outputs if logits else None)
    size = sum(t.numel() * t.element_size() for t in (*network.parameters(), *network.buffers()))
    times = len(found.times)
    check_disk(out, disk_bytes(shapes, len(member), times, weights=size, kept=times, unfinished=0))
    with whole(out) as storage:
        doubts = _write(
            storage, found, pool, resident, plan, key, notes, network, prepared, recorder_fields,
            shapes, progress,
        )  # fmt: skip
    run = Run(out)
    how = prepared.recorder(pool, plan.members(-1))
    # The network holds what was evaluated last: the last model as it was trained at its end.
    doubts += doubt_inputs(run, pool, best_scale(network, pool, resident, plan.member[-1], how))
    if doubts:
        # For every report and gate that reads the folder.
        keep_derived(run.path, run.manifest, "import", {"doubts": doubts})
    return run


@dataclass(frozen=True)
class _Found:
    """Files by model and checkpoint. epochs: None where the names tell none."""

    folder: Path
    names: tuple[str, ...]
    files: tuple[tuple[Path, ...], ...]
    epochs: tuple[float, ...] | None

    @property
    def count(self) -> int:
        return sum(map(len, self.files))

    @property
    def times(self) -> tuple[float, ...]:
        """Epochs, or numbers from 1."""
        return self.epochs or tuple(float(t + 1) for t in range(len(self.files[0])))


def _found(folder: Path) -> _Found:
    if not folder.is_dir():
        raise InputError(
            f"{folder}: expected a folder with {_EXPECTED}, found none; check the path"
        )
    held = [p for p in folder.iterdir() if not p.name.startswith(".") and p.name not in _MEMBERS]
    folders = sorted((p for p in held if p.is_dir()), key=lambda p: _natural(p.name))
    files = sorted(_weights(folder, held), key=lambda p: _natural(p.stem))
    if bool(folders) == bool(files):
        got = "both" if files else "neither"
        raise InputError(f"{folder}: expected {_EXPECTED}, got {got}; keep to one")
    if files:
        names = tuple(p.stem for p in files)
        _check_once(folder, names)
        return _Found(folder, names, tuple((p,) for p in files), None)
    by_model = [_by_epoch(p) for p in folders]
    first = list(by_model[0])
    for p, epochs in zip(folders, by_model, strict=True):
        if list(epochs) != first:
            raise InputError(
                f"{p}: expected the same epochs as in {folders[0].name}, "
                f"{', '.join(f'{e:g}' for e in first[:6])}, got "
                f"{', '.join(f'{e:g}' for e in list(epochs)[:6]) or 'none'}; add or move the others away"
            )
    return _Found(
        folder,
        tuple(p.name for p in folders),
        tuple(tuple(epochs.values()) for epochs in by_model),
        tuple(first),
    )


def _weights(folder: Path, held: Sequence[Path]) -> list[Path]:
    """The files of weights; other files are refused, but for notes."""
    files = [p for p in held if not p.is_dir() and p.suffix.lower() not in _NOTES]
    other = next((p for p in files if p.suffix not in SUFFIXES), None)
    if other is not None:
        raise InputError(
            f"{folder}: expected {_EXPECTED}, got {other.name!r}; rename it or put it elsewhere"
        )
    return files


def _by_epoch(folder: Path) -> dict[float, Path]:
    """Files of one model by their epochs, ascending."""
    found: dict[float, Path] = {}
    held = [p for p in folder.iterdir() if not p.name.startswith(".")]
    for p in _weights(folder, held):
        told = _EPOCH.search(p.stem) or _LAST.search(p.stem)
        if told is None:
            raise InputError(
                f"{p}: expected a name that ends in the epoch, such as epoch-12{p.suffix}, got "
                f"{p.name!r}; rename it, 0 is the initialisation"
            )
        epoch = float(told.group(1))
        if epoch in found:
            raise InputError(
                f"{folder}: expected every epoch once, got {found[epoch].name!r} and {p.name!r}; keep "
                "one"
            )
        found[epoch] = p
    if not found:
        raise InputError(f"{folder}: expected a file of weights per epoch, got none; add them")
    return dict(sorted(found.items()))


def _check_once(folder: Path, names: Sequence[str]) -> None:
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise InputError(f"{folder}: expected every model once, got {twice!r} twice; keep one")


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers in a name compare as numbers: run-2 before run-10."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name) if p]


def _members(found: _Found, members: Members | None, data: Dataset) -> BoolArray:
    """Membership (R, N), whatever says it."""
    where = "members"
    given: Any = members
    if given is None:
        here = [found.folder / name for name in _MEMBERS if (found.folder / name).exists()]
        if len(here) != 1:
            raise InputError(
                f"{found.folder}: expected members.npz or members.npy, who trained which model (an array "
                f"by each model's name, of row numbers counted from 0 or true and false), found "
                f"{'both; keep one' if here else 'neither; add it'}, or name it with members= (--members)"
            )
        given = here[0]
    if isinstance(given, str | os.PathLike):
        path = local_path(given, "members")
        where = str(path)
        given = map_npy(path)[...] if path.suffix == ".npy" else map_archive(path)
    if isinstance(given, Mapping):
        arrays = {
            str(k): given_array(a[...] if hasattr(a, "path") else a, f"{where}: {k}")
            for k, a in given.items()
        }
        if "member" not in arrays or "member" in found.names:
            return _by_name(where, arrays, found.names, data)
        if len(arrays) > 1:
            raise InputError(
                f"{where}: expected `member` alone, or an array for each model, got both; keep one"
            )
        given = arrays["member"]
    matrix = check_member(where, {"member": given_array(given, where)}, {"member": None})
    if matrix.shape != (len(found.names), len(data)):
        raise InputError(
            f"{where}: expected membership of {len(found.names)} models and {len(data)} samples, got "
            f"shape {matrix.shape}; rows are models in the order {', '.join(found.names[:4])}, "
            f"...{_fewer(matrix.shape[1:], len(data))}"
        )
    return matrix


def _by_name(
    where: str, arrays: Mapping[str, AnyArray], names: Sequence[str], data: Dataset
) -> BoolArray:
    missing = [n for n in names if n not in arrays]
    other = [n for n in arrays if n not in names]
    if missing or other:
        what = (
            f"none for {missing[0]!r}, {nearest(missing[0], arrays)}"
            if missing
            else f"{other[0]!r}, of which there is no file"
        )
        raise InputError(
            f"{where}: expected the members of each of the {len(names)} models by its name, got {what}"
        )
    rows = [_rows(f"{where}: {n}", arrays[n], data) for n in names]
    return check_member(where, {"member": np.stack(rows)}, {"member": None})


def _fewer(shape: tuple[int, ...], n: int) -> str:
    """A remedy where masks are of fewer samples than the data has: it may be a part that is meant."""
    if len(shape) != 1 or not 0 < shape[0] < n:
        return ""
    return (
        f", or name the data that the models were trained on: an .npz of these {shape[0]} inputs and "
        f"labels, or, if seepage.load(limit={shape[0]}) drew them, a .toml whose [data] has that limit "
        "(a random draw, not the first ones)"
    )


def _rows(where: str, told: AnyArray, data: Dataset) -> BoolArray:
    """One model's members as a mask (N,)."""
    n = len(data)
    if told.dtype == np.bool_:
        if told.shape != (n,):
            raise InputError(
                f"{where}: expected a mask of {n} samples, got shape {told.shape}; save one per "
                f"sample{_fewer(told.shape, n)}"
            )
        return told
    if told.ndim != 1 or told.dtype.kind not in "iuSU":
        raise InputError(
            f"{where}: expected a mask, row numbers or ids as text, got {told.dtype} of shape "
            f"{told.shape}; save one of these"
        )
    if told.dtype.kind in "iu":
        if any(v.isdigit() for v in data.ids.tolist()):
            raise InputError(
                f"{where}: expected ids as text, or a mask, got whole numbers, which may be row numbers "
                f"or ids of data whose ids are numbers; save {where.rsplit(': ', 1)[-1]} as text"
            )
        at, beyond = told, told[(told < 0) | (told >= n)]
        if beyond.size:
            # Rows that were counted from 1 lie in 1..N, and hold N itself for about every second model.
            from_one = beyond.min() == n and beyond.max() == n and told.min() >= 1
            remedy = (
                "counted from 1? they count from 0"
                if from_one
                else "name the data that the models were trained on"
            )
            raise InputError(
                f"{where}: expected row numbers in 0..{n - 1}, got {beyond[0]}; {remedy}"
            )
    else:
        place = {v: i for i, v in enumerate(data.ids.tolist())}
        texts = told.astype(np.str_).tolist()
        lost = [v for v in texts if v not in place]
        if lost:
            raise InputError(
                f"{where}: expected members of the data, got {len(lost)} of {len(texts)} that are not "
                f"in it, the first {lost[0]!r}; its ids are like {str(data.ids[0])!r}"
            )
        at = np.array([place[v] for v in texts], dtype=np.int64)
    if len(told) == n > 2 and told.dtype.kind in "iu" and np.isin(told, (0, 1)).all():
        raise InputError(
            f"{where}: expected truth values or row numbers, got 0 and 1 for each of the {n} samples, "
            "which are a mask as whole numbers; save mask.astype(bool)"
        )
    if len(np.unique(at)) < len(at):
        raise InputError(
            f"{where}: expected every member once, got {len(at) - len(np.unique(at))} twice; save each "
            "once"
        )
    mask = np.zeros(n, np.bool_)
    mask[at] = True
    return mask


def _looked_over(
    found: _Found,
    network: nn.Module,
    data: Dataset,
    resident: Resident,
    how: Mapping[str, Any],
    progress: Progress | None,
) -> tuple[str, list[str], int]:
    """Every file read and put into the network once: (digest, what was noticed, outputs)."""
    h = hashlib.sha256()
    removed: dict[str, int] = {}
    rows = np.unique(np.linspace(0, len(data) - 1, _LOOK).astype(np.int64))
    x = Recorder(resident, [0.0], Memory(), signals=(), **how).inputs(rows)
    outputs, done, half = 0, 0, 0
    for name, files in zip(found.names, found.files, strict=True):
        for file in files:
            weights = _weights_of(file, network)
            for key in sorted(weights):
                tensor = weights[key].detach().contiguous()
                h.update(
                    repr((name, file.name, key, str(tensor.dtype), tuple(tensor.shape))).encode()
                )
                h.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
            for prefix in put_weights(network, weights, file):
                removed[prefix] = removed.get(prefix, 0) + 1
            half += any(v.dtype in (torch.float16, torch.bfloat16) for v in weights.values())
            if not done:
                with observing(network), torch.no_grad(), try_outputs(x):
                    told = check_answers(network(x.clone()), x, len(data.classes), resident.task)
                outputs = int(told.shape[1]) if told.ndim > 1 else 1
                if resident.task.name not in ("multi-label", "regression"):
                    with observing(network):
                        check_trained(network, x, len(data.classes))
                elif resident.task.name == "multi-label" and bounded([told]):
                    raise InputError(
                        f"{file}: expected logits, got outputs that all lie in [0, 1], as those of "
                        "sigmoids do; return what enters the sigmoids"
                    )
            done += 1
            if progress is not None:
                progress("checking", done, found.count)
    notes = [
        f"{prefix} was removed from the names in {n} of {found.count} files"
        for prefix, n in removed.items()
    ]
    if half:
        notes.append(f"{half} of {found.count} files hold weights in half precision")
    return h.hexdigest(), notes, outputs


def _weights_of(file: Path, network: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of a file; of a regression with its target's scale, 0 and 1 where it has none."""
    weights = load_weights(file)
    known = [name for name in network.state_dict() if name != TARGET_SCALE]
    if hasattr(network, TARGET_SCALE) and not any(n.endswith(TARGET_SCALE) for n in weights):
        # Beside names that a wrapper may have put a prefix before.
        first = next((n for n in weights if known and n.endswith(known[0])), None)
        prefix = "" if first is None else first[: len(first) - len(known[0])]
        weights[prefix + TARGET_SCALE] = torch.tensor([0.0, 1.0])
    return weights


def _shapes(resident: Resident, views: int, outputs: int | None) -> Shapes:
    """What one checkpoint of one model writes. outputs: how many, where they are kept."""
    n = len(resident)
    tail = (views,) if views > 1 else ()
    shapes: Shapes = {
        name: ((n, *tail), "bool" if name == "correct" else "float32")
        for name in rules_of(resident, DEFAULT_SIGNALS)
    }
    return shapes if outputs is None else shapes | {"logits": ((n, outputs), "float32")}


def _write(
    storage: Storage,
    found: _Found,
    data: Dataset,
    resident: Resident,
    plan: SubsetPlan,
    key: dict[str, Any],
    notes: list[str],
    network: nn.Module,
    prepared: Inputs,
    fields: Mapping[str, Any],
    shapes: Shapes,
    progress: Progress | None,
) -> list[str]:
    times = found.times
    provenance = {"code": package_digest(), "unfollowed": [], "notes": notes}
    copies = count_copies(data, plan.member)
    manifest = create(
        storage, data, plan, key, {}, times, shapes, fields["views"], provenance, copies
    )
    written = stamp(manifest)
    done = 0
    doubts: list[str] = []
    for row, files in enumerate(found.files):
        sink = StoreSink(storage, row, tuple(shapes), len(times), "all", plan.member[row], written)
        recorder = Recorder(
            resident,
            times,
            sink,
            outside=~plan.member[row],
            **fields,
            **prepared.recorder(data, plan.members(row)),
        )
        for t, file in enumerate(files):
            put_weights(network, _weights_of(file, network), file)
            try:
                if t == 0:
                    recorder.start(network, epoch=times[0])
                else:
                    recorder.checkpoint(times[t])
            except Diverged as error:
                raise InputError(
                    f"{file}: expected finite outputs on every sample, got {error}; leave this model out"
                ) from None
            except SeepageError as error:
                raise InputError(f"{file}: {error}") from None
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                text = " ".join(str(error).split())[:200]
                raise InputError(
                    f"{file}: expected a network that takes inputs of shape {data.shape}, got "
                    f"{type(error).__name__}: {text}; correct the factory or the data"
                ) from None
            done += 1
            if progress is not None:
                progress("evaluating", done, found.count)
        if row == 0:
            doubts = check_inputs(network, recorder, data, plan.members(0), prepared)
        sink.done(
            seconds=round(recorder.seconds, 3),
            looking=round(recorder.seconds, 3),
            steps=0,
            members=int(plan.member[row].sum()),
            **({"facts": recorder.facts} if recorder.facts else {}),
        )
    return doubts
