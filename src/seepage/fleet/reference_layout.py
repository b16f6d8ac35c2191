"""The folder that LiRA's reference code leaves: an experiment per model, its membership and outputs.

The layout, as its source has it (github.com/tensorflow/privacy, research/mi_lira_2021, commit
3d499e6, `train.py`, `inference.py`, `score.py`, `plot.py`)::

    FOLDER/y_train.npy                              labels (at least N,)
    FOLDER/experiment-I_R/keep.npy                  membership (at least N,) bool
    FOLDER/experiment-I_R/logits/0000000100.npy     (N, 1, A, K) float32, the name being the epoch
    FOLDER/experiment-I_R/scores/0000000100.npy     (N, A) float64, log p_y − log(1 − p_y)

N is the dataset_size with which it was run; x_train.npy, ckpt/, tb/ and hparams.json are not read. The
A views are, for each of the picture and its mirror image, its shifts by −s..s pixels in both
directions, row by row: with the shift of 0 that the code sets, the picture and its mirror image.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seepage.array_types import AnyArray
from seepage.data.mapped import MappedArray, map_npy
from seepage.errors import InputError
from seepage.fleet.array_checks import Progress, check
from seepage.fleet.given_signals import Array
from seepage.fleet.imported import write_arrays
from seepage.fleet.whole_folder import check_new
from seepage.local_paths import local_path
from seepage.signals import phi
from seepage.store.run import Run

__all__ = ["import_reference", "is_reference"]

_EPOCH = re.compile(r"(\d+)\.npy")
# score.py adds 1e-45 to probabilities before their logarithm: no score lies beyond about 103.3.
_SATURATED = 87.0
_APART = 0.01
_EXPECTED = (
    "experiment folders, each with keep.npy and logits/EPOCH.npy or scores/EPOCH.npy, as "
    "research/mi_lira_2021 leaves them"
)


def is_reference(folder: Path) -> bool:
    """Whether a folder has this layout: an experiment in it has its membership."""
    return next(folder.glob("experiment*/keep.npy"), None) is not None


def import_reference(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    logits: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Make a run folder from the experiments of LiRA's reference code (arXiv 2112.03570).

    folder: experiment folders beside y_train.npy, see the module. labels: another .npy of labels
    (N,). logits: whether those of the first view are stored as well; nothing of ours reads them.

    From logits and labels phi, loss, correct, mentr, entropy are derived in float64, at every view, and
    compared with the scores where these are there; from scores alone phi and, because they are
    log p − log(1 − p), the loss. Checkpoints are the epochs of the file names. Longer `keep` and
    labels are cut to the N of the outputs, as the code does. Models are in the order of the
    experiments' numbers. Files are read a model and a checkpoint at a time.

    Differs from `plot.py`, which takes the last epoch of each experiment: all must have the same.
    inference.py evaluates with batch statistics (`training=True`), so a sample's logits there
    depend on its batch; this cannot be undone here.

    Raises InputError for another layout, experiments with other epochs or shapes, scores that are
    not those of logits and labels, views of which the unmoved one is not known, and as
    `import_arrays` does.
    """
    check_new(out)
    path = local_path(folder, "folder")
    arrays, further, notes, doubts = _arrays(path, labels, logits)
    checked = check(
        str(path),
        arrays,
        cross_entropy="phi" in arrays and "logits" not in arrays,
        further=further,
        progress=progress,
    )
    if not logits:
        checked.signals.pop("logits", None)
    if not checked.signals:
        raise InputError(
            f"{path}: expected y_train.npy beside the experiments, found none; logits without labels "
            "tell nothing, name the labels with labels= (--labels)"
        )
    told = replace(checked, notes=(*checked.notes, *notes), doubts=(*checked.doubts, *doubts))
    return write_arrays(told, out, progress)


class _Stacked:
    """Arrays of one shape in a file for each model and checkpoint, as one array (R, T, ...)."""

    def __init__(self, files: list[list[MappedArray]], order: list[int], drop: int | None) -> None:
        self.files, self.order, self.drop = files, order, drop
        one = self._shaped(np.empty(files[0][0].shape, np.bool_))
        self.shape = (len(files), len(files[0]), *one.shape)
        self.dtype: np.dtype[Any] = np.result_type(*{f.dtype for row in files for f in row})
        self.ndim = len(self.shape)

    def _shaped(self, a: AnyArray) -> AnyArray:
        """Without the axis of one that the code keeps, the unmoved view first, or no views."""
        a = a[:, 0] if self.drop == 1 else a
        return a[:, 0] if len(self.order) == 1 else a[:, self.order]

    def __getitem__(self, at: Any) -> AnyArray:
        if isinstance(at, tuple):
            r, t = at
            return self._shaped(self.files[r][t][...]).astype(self.dtype, copy=False)
        return np.stack([self[at, t] for t in range(self.shape[1])])


def _arrays(
    path: Path, labels: str | os.PathLike[str] | None, keep_logits: bool
) -> tuple[dict[str, Array], dict[str, Any], list[str], list[str]]:
    """Arrays by name as `check` takes them, facts for the key, notes and doubts."""
    if not path.is_dir():
        raise InputError(f"{path}: expected a folder of {_EXPECTED}, found none; check the path")
    folders = sorted(
        (p for p in path.iterdir() if p.is_dir() and p.name.startswith("experiment")), key=_number
    )
    bare = [p.name for p in folders if not (p / "keep.npy").exists()]
    if bare and len(bare) < len(folders):
        raise InputError(
            f"{path / bare[0]}: expected keep.npy, the membership, in every experiment, found none in "
            f"{len(bare)} of {len(folders)}; put it there, or move the experiment away"
        )
    if bare or not folders:
        raise InputError(f"{path}: expected {_EXPECTED}, found no keep.npy; check the path")
    kind = _kind(path, folders, labels)
    epochs = _epochs(folders, kind)
    names = [f"{e:010d}.npy" for e in epochs]
    files = [[map_npy(_named(p / kind, n)) for n in names] for p in folders]
    axes = 4 if kind == "logits" else 2
    first = files[0][0].shape
    for p, row in zip(folders, files, strict=True):
        for name, f in zip(names, row, strict=True):
            if len(f.shape) != axes or f.shape != first or (axes == 4 and f.shape[1] != 1):
                meant = "(samples, 1, views, classes)" if axes == 4 else "(samples, views)"
                if f.shape == first:
                    raise InputError(
                        f"{p / kind / name}: expected {meant}, got shape {f.shape}; save the axes that "
                        "the reference code does"
                    )
                raise InputError(
                    f"{p / kind / name}: expected {meant} as in the first experiment, {first}, got "
                    f"{f.shape}; run inference of that experiment again"
                )
    n, views = first[0], first[2 if axes == 4 else 1]
    notes: list[str] = []
    order = _order(path, views)
    if order[0]:
        notes.append(f"views: the unmoved one, number {order[0]} of {views}, was put first")
    keep = [map_npy(p / "keep.npy")[...] for p in folders]
    for p, k in zip(folders, keep, strict=True):
        if k.ndim != 1 or k.size < n or k.dtype.kind not in "biu":
            raise InputError(
                f"{p / 'keep.npy'}: expected membership of {n} samples, bool, got {k.dtype} of shape "
                f"{k.shape}; take that of the run whose {kind} these are"
            )
    arrays: dict[str, Array] = {
        "member": np.stack([k[:n] for k in keep]),
        "checkpoints": np.array(epochs, dtype=np.float64),
    }
    longest = max(k.size for k in keep)
    if longest > n:
        notes.append(f"keep: cut from {longest} to the {n} samples of the {kind}")
    told = _labels(path, labels, n, notes)
    if told is not None:
        arrays["labels"] = told
    arrays["logits" if kind == "logits" else "phi"] = _Stacked(
        files, order, 1 if kind == "logits" else None
    )
    if kind == "logits" and told is not None and not keep_logits:
        notes.append("logits: not stored, the signals that follow from them are")
    doubts: list[str] = []
    if kind == "logits" and told is not None:
        _compare_scores(path, folders, names, arrays, order, told)
    if kind == "scores":
        beyond = sum(int((np.abs(f[...]) > _SATURATED).sum()) for row in files for f in row)
        if beyond:
            doubts.append(
                f"scores: {beyond} lie beyond {_SATURATED:g}, where their 32-bit exponentials end; "
                "keep the logits, from which phi is exact"
            )
    return arrays, {"layout": "mi_lira_2021"}, notes, doubts


def _kind(path: Path, folders: list[Path], labels: str | os.PathLike[str] | None) -> str:
    """What is read: logits, unless labels are missing and scores are there."""
    held = {k for k in ("logits", "scores") if any((p / k).is_dir() for p in folders)}
    labelled = labels is not None or (path / "y_train.npy").exists()
    return "logits" if "logits" in held and (labelled or "scores" not in held) else "scores"


def _number(folder: Path) -> tuple[int, str]:
    found = re.search(r"(\d+)", folder.name)
    return (int(found.group(1)) if found else -1, folder.name)


def _named(folder: Path, name: str) -> Path:
    """The file of an epoch, whatever zeros its name has."""
    if (folder / name).exists():
        return folder / name
    epoch = int(name.removesuffix(".npy"))
    return next(p for p in folder.iterdir() if _epoch(p) == epoch)


def _epoch(file: Path) -> int | None:
    found = _EPOCH.fullmatch(file.name)
    return int(found.group(1)) if found else None


def _epochs(folders: list[Path], kind: str) -> list[int]:
    """The epochs that all experiments have."""
    held: dict[str, list[int]] = {}
    for p in folders:
        place = p / kind
        files = sorted(place.iterdir()) if place.is_dir() else []
        found = [_epoch(f) for f in files if not f.name.startswith(".")]
        other = next((f.name for f, e in zip(files, found, strict=False) if e is None), None)
        if other is not None:
            raise InputError(
                f"{place}: expected files named by their epoch, such as 0000000100.npy, got {other!r}; "
                "remove it"
            )
        held[p.name] = sorted(e for e in found if e is not None)
    name, epochs = next(iter(held.items()))
    other = next((k for k, e in held.items() if e != epochs), None)
    if other is not None or not epochs:
        raise InputError(
            f"{folders[0].parent}: expected {kind} at the same epochs in every experiment, got "
            f"{_some(epochs)} in {name} and {_some(held[other or name])} in {other or name}; run inference "
            "for the missing ones, or move the others away"
        )
    return epochs


def _some(epochs: list[int]) -> str:
    return (
        f"{', '.join(map(str, epochs[:6]))}{'…' if len(epochs) > 6 else ''}" if epochs else "none"
    )


def _order(path: Path, views: int) -> list[int]:
    """Views with the unmoved one first; the shifts of one picture are an odd square."""
    for each in (views, views // 2 if views % 2 == 0 else 0):
        side = math.isqrt(each)
        if each and side * side == each and side % 2:
            middle = each // 2
            return [middle, *(v for v in range(views) if v != middle)]
    raise InputError(
        f"{path}: expected one view, or the shifts by −s..s of a picture and its mirror image (2, 9, "
        f"18, 25, 50, ...), got {views}, of which the unmoved one is not known; import the logits as "
        "an .npz with it first"
    )


def _labels(
    path: Path, given: str | os.PathLike[str] | None, n: int, notes: list[str]
) -> AnyArray | None:
    file = path / "y_train.npy" if given is None else local_path(given, "labels")
    if given is None and not file.exists():
        notes.append("labels: no y_train.npy beside the experiments")
        return None
    found = map_npy(file)[...]
    found = found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
    if found.ndim != 1 or found.size < n:
        raise InputError(
            f"{file}: expected labels of at least {n} samples, got shape {found.shape}; name those of "
            "the data that the models were trained on"
        )
    if found.size > n:
        notes.append(f"labels: cut from {found.size} to the {n} samples of the outputs")
    return found[:n]


def _compare_scores(
    path: Path,
    folders: list[Path],
    names: list[str],
    arrays: dict[str, Array],
    order: list[int],
    labels: AnyArray,
) -> None:
    """Scores, where there are any, must be those of the logits and labels: of the first experiment."""
    place = folders[0] / "scores"
    if not place.is_dir() or not any(_epoch(p) == int(names[-1][:-4]) for p in place.iterdir()):
        return
    file = _named(place, names[-1])
    scores = map_npy(file)[...]
    logits = np.asarray(arrays["logits"][0, len(names) - 1], dtype=np.float64)
    z = logits if logits.ndim == 2 else logits[:, 0]
    if scores.ndim != 2 or scores.shape != (len(z), len(order)):
        raise InputError(
            f"{file}: expected scores ({len(z)}, {len(order)}) as of the logits, got {scores.shape}; "
            "run score.py again, or move it away"
        )
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= z.shape[1]:
        return  # refused with the labels
    told = phi(torch.from_numpy(z), torch.from_numpy(labels.astype(np.int64))).numpy()
    fine = np.abs(told) < _SATURATED - 10
    apart = np.abs(scores[:, order[0]] - told)[fine] > _APART * np.maximum(1.0, np.abs(told[fine]))
    if apart.mean() > _APART if apart.size else False:
        raise InputError(
            f"{file}: expected log p − log(1 − p) of the logits and labels, got another value at "
            f"{int(apart.sum())} of {apart.size} samples; the labels are not those of these models, or "
            "their order is another"
        )
