"""A run folder from arrays that another tool recorded: all of it, or nothing."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seepage.data.archive import map_archive
from seepage.data.mapped import map_npy
from seepage.errors import InputError
from seepage.fleet.array_checks import Checked, Progress, check
from seepage.fleet.contradictions import warn_of
from seepage.fleet.disk import check_disk, disk_bytes
from seepage.fleet.folder import Shapes, create
from seepage.fleet.given_signals import Array
from seepage.fleet.score_table import TABLES, read_score_table
from seepage.fleet.sink import StoreSink
from seepage.fleet.whole_folder import check_new, whole
from seepage.given_arrays import given_array
from seepage.local_paths import local_path
from seepage.plan import SubsetPlan
from seepage.store.derived import keep_derived
from seepage.store.evidence import stamp
from seepage.store.package_code import package_digest
from seepage.store.run import Run
from seepage.store.storage import Storage

__all__ = ["ImportedWarning", "import_arrays", "write_arrays"]


class ImportedWarning(UserWarning):
    """What was imported is less than it seems: half precision, clipped probabilities, ..."""


def import_arrays(
    source: str | os.PathLike[str] | Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    task: str | None = None,
    noise: float | None = None,
    cross_entropy: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Make a run folder from arrays by name: `member` (R, N) of 0 and 1, signals (R, T, N[, A]).

    source: an .npz; a folder of .npy files, each named after its array; a table of scores (.csv,
    .tsv, .parquet) with a row per model, sample and checkpoint and the columns `model`, `sample`,
    `member`, optionally `checkpoint`, `label` and `group`, every other column a signal; or the
    arrays themselves. Large arrays that are not compressed stay in their files and are read a model
    and a checkpoint at a time; a table is held in memory, 4 bytes per value.

    Every array besides those named here is a signal under its own name; (R, N[, A]) is one
    checkpoint. `logits` are (R, T, N[, A], K) or (R, N, K), stored for the first view.
    `probabilities` have the shapes of logits and are not stored. Values are stored as 32-bit floats,
    `correct` as 0 and 1. Optional: `checkpoints` (T,) epochs, ascending from 0, the initialisation;
    without them checkpoints are numbered from 1. `labels` (N,) whole numbers 0..K−1 or names; without
    them nothing is said by class, and nothing that needs a label is derived. `classes` (K,) names in
    the order of the numbers and of the logits. `ids` (N,) text or whole numbers. `groups` (N,) whose
    sample each is.

    Of language models: `token_logp` (R, T, S), log p of every predicted token of all documents one after
    the other, in nats, and `offsets` (N + 1,), document i's tokens from offsets[i] to offsets[i + 1];
    optional beside it, of the same shape, `token_first`, `token_mean`, `token_std`
    (`seepage.tokens.Tokens`) and `token_reference`, also (S,) where it is one for all; `zlib` (N,) bytes
    of the compressed texts, or `texts` (N,), which are not stored. Half precision is stored as such, but of the reference.
    `loss` and `logp` of documents follow. An .safetensors file may hold such arrays too.

    task: one of `seepage.signals.tasks.TASKS`; by default what an array `task` says, else language where
    there are tokens, else classification. labels are then real numbers (N,) of "regression", 0 and 1 (N, L) of
    "multi-label", distributions (N, K) of "soft-labels", and outputs `predictions` (R, T, N), which
    are not stored, logits or probabilities (R, T, N, L), of "binary" one column or two. Of a
    regression follow residual and loss, of the others the signals that the task has. noise: of a
    regression σ; by default, of each model and checkpoint, the root mean square of the residuals of
    samples that the model was not trained on.

    Derived where they are missing, in float64 and by the rules of `seepage.signals`: phi, loss,
    correct, mentr and entropy from logits, or probabilities, and labels. Probabilities of exactly 0 are
    taken for half of the smallest that is above it. cross_entropy: loss is −log p_y in nats,
    without class weights and label smoothing, and phi is log p_y − log(1 − p_y): then one is
    derived from the other, φ = −ℓ − log(1 − e^{−ℓ}). Nothing else is derived. What was, and what
    could not be, is in the manifest under `provenance.notes`.

    out: a folder that is not there or is empty, or such an address. progress: called with what is
    done, how many blocks and of how many. Nothing in a file is ever executed, and nothing is written
    before all of it is checked: a local folder appears when it is whole.

    Warns (`ImportedWarning`) of half precision, of probabilities that are exactly 0 or 1, and of
    32-bit losses so small that φ is coarse, with their number. Raises InputError for arrays that are
    missing, disagree, or would not be stored as what they are; for losses of 0, below 0 or in half
    precision from which φ is asked; for logits that are probabilities; and for an `out` that holds
    something already.
    """
    check_new(out)
    where, arrays = _opened(source)
    checked = check(
        where, arrays, task=task, noise=noise, cross_entropy=cross_entropy, progress=progress
    )
    return write_arrays(checked, out, progress)


def _opened(source: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[str, Mapping[str, Array]]:
    """What messages call it, and its arrays by name."""
    if isinstance(source, Mapping):
        return "arrays", {str(k): given_array(a, f"arrays: {k}") for k, a in source.items()}
    path = local_path(source, "arrays")
    if path.is_dir():
        return str(path), _folder(path)
    if path.suffix.lower() == ".safetensors":
        return str(path), _safe(path)
    if path.suffix.lower() in TABLES:
        return str(path), read_score_table(path)
    return str(path), map_archive(path)


def _safe(path: Path) -> dict[str, Array]:
    """A file of safetensors, by the names of its arrays; all of it in memory."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as e:
        why = " ".join(str(e).split())[:120]
        raise InputError(
            f"{path}: expected safetensors of types that NumPy has, got an error ({why}); save 16- or "
            "32-bit floats"
        ) from None


def _folder(path: Path) -> dict[str, Array]:
    """A folder of .npy files, by the names of their arrays."""
    files = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    other = next((p for p in files if p.suffix != ".npy" or p.is_dir()), None)
    if other is not None or not files:
        raise InputError(
            f"{path}: expected a folder of .npy files, member.npy and signals such as phi.npy, got "
            f"{other.name if other is not None else 'an empty one'!r}; put only them there"
        )
    return {p.stem: map_npy(p) for p in files}


def write_arrays(
    arrays: Checked, out: str | os.PathLike[str], progress: Progress | None = None
) -> Run:
    """What was checked, as a run folder; the doubts as warnings."""
    shapes = {k: (s.shape, s.dtype) for k, s in arrays.signals.items()}
    check_disk(out, disk_bytes(shapes, len(arrays.member), len(arrays.times), unfinished=0))
    with whole(out) as storage:
        _write(storage, arrays, shapes, progress)
    for doubt in arrays.doubts:
        warnings.warn(doubt, ImportedWarning, stacklevel=3)
    run = Run(out)
    # Of precision the notes tell; what contradicts the figures is for every report and gate.
    if contrary := [d for d in arrays.doubts if d.startswith(("answers: ", "phi: all "))]:
        keep_derived(run.path, run.manifest, "import", {"doubts": contrary})
    warn_of(run)
    return run


def _write(storage: Storage, arrays: Checked, shapes: Shapes, progress: Progress | None) -> None:
    member, times = arrays.member, arrays.times.tolist()
    plan = SubsetPlan(member, np.zeros(len(member), np.uint64), "imported", 0)
    key = arrays.key | {"data": arrays.pool.digest, "plan": plan.digest}
    provenance = {
        "code": package_digest(),
        "unfollowed": [],
        "notes": [*arrays.notes, *arrays.doubts],
    }
    manifest = create(storage, arrays.pool, plan, key, {}, times, shapes, arrays.views, provenance)
    written = stamp(manifest)
    total = len(member) * len(times)
    for row in range(len(member)):
        sink = StoreSink(
            storage, row, tuple(arrays.signals), len(times), "none", member[row], written
        )
        for t in range(len(times)):
            sink.write(t, {k: s.block(row, t) for k, s in arrays.signals.items()})
            if progress is not None:
                progress("writing", row * len(times) + t + 1, total)
        sink.done(seconds=0.0, looking=0.0, steps=0, members=int(member[row].sum()))
