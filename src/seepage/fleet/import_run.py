"""A run folder from whatever another tool left: which door, by what lies there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seepage.config.model import Factory, Model
from seepage.data import Dataset
from seepage.errors import InputError
from seepage.fleet.array_checks import Progress
from seepage.fleet.checkpoints import Members, has_checkpoints, import_checkpoints
from seepage.fleet.imported import import_arrays
from seepage.fleet.reference_layout import import_reference, is_reference
from seepage.local_paths import local_path
from seepage.store.run import Run

__all__ = ["import_run"]


def import_run(
    source: str | os.PathLike[str] | Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    model: str | Factory | Model | None = None,
    data: Dataset | str | None = None,
    members: Members | None = None,
    divide: float = 1.0,
    standardise: bool = False,
    labels: str | os.PathLike[str] | None = None,
    task: str | None = None,
    noise: float | None = None,
    cross_entropy: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Make a run folder from what another tool recorded, as `seepage import` does.

    source: arrays by name, an .npz, a folder of .npy files or a table of scores (`import_arrays`,
    with task, noise, cross_entropy); the experiments of LiRA's reference code (`import_reference`, with labels);
    a folder of checkpoints (`import_checkpoints`, with model, data, members, task, noise, divide,
    standardise).

    Raises InputError for options that this kind of source does not take, and as those do.

    >>> import numpy as np, tempfile
    >>> member = np.array([[True, False, True, False], [False, True, False, True]])
    >>> with tempfile.TemporaryDirectory() as place:
    ...     run = import_run({"member": member, "phi": 1.0 * member}, f"{place}/run")
    ...     run.signals, run.member.shape
    (('phi',), (2, 4))
    """
    path = None if isinstance(source, Mapping) else local_path(source, "source")
    folder = path is not None and path.is_dir()
    given = {
        "model": model is not None,
        "data": data is not None,
        "members": members is not None,
        "divide": divide != 1.0,
        "standardise": standardise,
        "labels": labels is not None,
        "task": task is not None,
        "noise": noise is not None,
        "cross_entropy": cross_entropy,
    }
    if path is not None and folder and is_reference(path):
        _check_options(given, ("labels",), f"{path}: the layout of LiRA's reference code")
        return import_reference(path, out, labels=labels, progress=progress)
    if path is not None and folder and has_checkpoints(path):
        kind = f"{path}: a folder of checkpoints"
        taken = ("model", "data", "members", "task", "noise", "divide", "standardise")
        _check_options(given, taken, kind)
        if model is None or data is None:
            lacks = "model" if model is None else "data"
            raise InputError(
                f"{kind} needs the factory of its networks and the data, got no {lacks}; name it "
                f"(--{lacks})"
            )
        return import_checkpoints(
            path,
            out,
            model=model,
            data=data,
            members=members,
            task=task,
            noise=noise,
            divide=divide,
            standardise=standardise,
            progress=progress,
        )
    if folder and path is not None:
        _check_folder(path)
    _check_options(given, ("task", "noise", "cross_entropy"), f"{path or 'arrays'}: arrays")
    return import_arrays(
        source, out, task=task, noise=noise, cross_entropy=cross_entropy, progress=progress
    )


def _check_folder(path: Path) -> None:
    if not any(p.suffix == ".npy" for p in path.iterdir()):
        raise InputError(
            f"{path}: expected a folder of .npy files, of experiments with keep.npy, or of "
            "checkpoints (.pt, .pth, .safetensors), found none of these; check the path"
        )


def _check_options(given: Mapping[str, bool], taken: tuple[str, ...], kind: str) -> None:
    other = next((name for name, there in given.items() if there and name not in taken), None)
    if other is not None:
        raise InputError(f"{kind}: takes {', '.join(taken)} alone, got {other}; leave it out")
