"""What arrays of another tool say, all of it checked before any of it is written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from seepage.array_types import AnyArray, BoolArray, Float64Array, Int64Array
from seepage.data.npz import class_names
from seepage.data.reading import as_text, name_labels
from seepage.errors import InputError, nearest
from seepage.fleet.array_looks import Progress, looked_over
from seepage.fleet.given_signals import (
    Array,
    FromLogits,
    Given,
    Related,
    Signal,
    parts,
)
from seepage.fleet.task_arrays import OneColumn, Targets, by_task, targets_of
from seepage.fleet.token_arrays import PER_TOKEN, TokenArrays, taken
from seepage.metrics.own_labels import renumbered
from seepage.plan import refuse_offline
from seepage.remedies import of_scores
from seepage.signals.related import loss_of_phi, phi_of_loss
from seepage.signals.tasks import Task
from seepage.signals.tasks import task as task_named

__all__ = ["Checked", "Progress", "check", "check_member"]

_KNOWN = ("member", "checkpoints", "labels", "ids", "classes", "groups")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_USUAL = ("phi", "loss", "correct", "mentr")
_PER_VIEW = (*_USUAL, "entropy")
_BY_VIEW = (*_PER_VIEW, "residual", "predictions")
_NOT_GIVEN = "(not given)"
# 32-bit losses below it are a few of their steps from 0: φ is then as coarse as they are.
_COARSE = 1e-5


@dataclass(frozen=True)
class Pool:
    """What a run folder says of a pool whose inputs are not known."""

    ids: NDArray[np.str_]
    labels: torch.Tensor
    classes: tuple[str, ...]
    name: str
    groups: NDArray[np.str_] | None = None
    shape: tuple[int, ...] = ()
    kind: str = "table"
    source: dict[str, Any] = field(default_factory=dict)
    task: str = "classification"
    targets: str = ""
    offsets: Int64Array | None = None
    zlib: Int64Array | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def digest(self) -> str:
        """SHA-256 over classes, ids and labels, and groups, another task, its targets, documents."""
        h = hashlib.sha256(repr((self.classes, self.ids.tolist())).encode())
        h.update(self.labels.numpy().astype("<i8").tobytes())
        if self.groups is not None:
            h.update(repr(self.groups.tolist()).encode())
        if self.task != "classification":
            h.update(repr((self.task, self.targets)).encode())
        for values in (self.offsets, self.zlib):
            if values is not None:
                h.update(values.astype("<i8").tobytes())
        return h.hexdigest()


@dataclass(frozen=True)
class Checked:
    """What is imported, all of it checked.

    notes: what was derived and how, for the manifest; doubts: what a reader of the numbers must
    know, for the user as well.
    """

    member: BoolArray
    signals: dict[str, Signal]
    times: Float64Array
    pool: Pool
    views: tuple[str, ...]
    key: dict[str, Any]
    notes: tuple[str, ...]
    doubts: tuple[str, ...]


def check(
    where: str,
    arrays: Mapping[str, Array],
    *,
    task: str | None = None,
    noise: float | None = None,
    cross_entropy: bool = False,
    further: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Checked:
    """All arrays, looked at once, and what follows from them.

    where: what messages call them. task: what labels are; by default what an array `task` says, or
    classification. noise: of a regression, see `import_arrays`. cross_entropy: whether phi and loss are those of unweighted,
    unsmoothed cross-entropy in nats, so that one follows from the other. further: facts for the
    run's key.

    Raises InputError as `import_arrays` says.
    """
    arrays, kind = _with_task(where, arrays, task)
    if noise is not None and (kind.name != "regression" or not 0 < noise < np.inf):
        raise InputError(
            f"{where}: noise: expected a standard deviation above 0 with the task regression, got "
            f"{noise:g} with {kind.name}; leave it out"
        )
    known = {k: np.asarray(arrays[k][...]) for k in _KNOWN if k in arrays}
    member = check_member(where, known, arrays)
    r, n = member.shape
    given, tokens = taken(where, {k: a for k, a in arrays.items() if k not in _KNOWN}, r, n)
    _check_names(where, given)
    epochs = known.get("checkpoints")
    count = None if epochs is None else epochs.size
    signals = {k: _signal(where, k, a, (r, n), count) for k, a in given.items()}
    counts = {k: a.checkpoints for k, a in signals.items()}
    if tokens is not None:
        counts["token_logp"] = tokens.checkpoints
    if len(set(counts.values())) != 1:
        raise InputError(
            f"{where}: expected at least one signal, all with the same checkpoints, got "
            f"{counts or 'none'}; save one such as phi"
        )
    times = next(iter(counts.values()))
    doubts, least = looked_over(signals, member, times, progress, kind)
    if tokens is not None:
        doubts += tokens.look(member, times)
    # Other signals may have a further axis of their own, such as one value per layer.
    wide = {k: a.shape[1] for k, a in signals.items() if k in _BY_VIEW and len(a.shape) == 2}
    if len(set(wide.values())) > 1:
        raise InputError(
            f"{where}: expected signals with the same views, got {wide}; save the same of each"
        )
    at = _times(where, epochs, times)
    wanted = signals.get("logits") or signals.get("probabilities")
    targets = None
    if kind.name == "language" and "labels" in known:
        raise InputError(
            f"{where}: labels: expected none with the task language, whose targets are the next tokens, "
            "got some; leave them out"
        )
    if not kind.classes and "labels" in known:
        names = class_names(where, known["classes"]) if "classes" in known else None
        targets = targets_of(where, known["labels"], kind, n, names)
    pool = _pool(where, known, n, wanted, kind, targets)
    if tokens is not None:
        pool = replace(pool, offsets=tokens.offsets, zlib=tokens.zlib)
    if wanted is not None and kind.classes and "labels" in known:
        middle = 0.0 if "logits" in signals else 0.5
        doubts = [*doubts, *_check_numbers(where, wanted, pool, member[0], times - 1, middle)]
    if not kind.classes:
        found, notes, more = _derived_by_task(
            where, signals, targets, kind, member, least, noise, cross_entropy, (r, times), tokens
        )
    elif "labels" in known:
        found, notes, more = _derived(where, signals, pool, least, cross_entropy, (r, times))
    else:
        found, notes, more = _derived(where, signals, None, least, cross_entropy, (r, times))
    left = ("probabilities", "predictions") if kind.name == "regression" else ("probabilities",)
    stored: dict[str, Signal] = {k: s for k, s in signals.items() if k not in left}
    stored |= found
    if tokens is not None:
        stored |= tokens.signals
    if not stored:
        raise InputError(
            f"{where}: probabilities: expected labels with them, got none; save `labels`, from which "
            "and the probabilities signals are derived"
        )
    views = next((s.shape[1] for k, s in stored.items() if k in _BY_VIEW and len(s.shape) == 2), 1)
    key = {
        "imported": Path(where).name,
        "arrays": _digest(arrays),
        # What was not given is not known, and nothing may be derived from it.
        "labels": "labels" in known,
        "checkpoints": epochs is not None,
        **({"derived": sorted(found)} if found else {}),
        **(further or {}),
    }
    return Checked(
        member,
        stored,
        at,
        pool,
        ("identity", *(f"view {k + 1}" for k in range(1, views))),
        key,
        notes,
        (*doubts, *more),
    )


def _with_task(
    where: str, arrays: Mapping[str, Array], named: str | None
) -> tuple[Mapping[str, Array], Task]:
    """The arrays without `task`, one logit in two columns, and the task that is named."""
    told = None
    if "task" in arrays:
        held = np.asarray(arrays["task"][...])
        if held.ndim or held.dtype.kind not in "SU":
            raise InputError(
                f"{where}: task: expected one name, got {held.dtype} of shape {held.shape}; leave it out"
            )
        told = str(held.astype(np.str_))
    if named is not None and told not in (None, named):
        raise InputError(
            f"{where}: task: expected {told}, as its arrays say, got {named}; correct it"
        )
    of_tokens = any(name in PER_TOKEN for name in arrays)
    kind = task_named(named or told or ("language" if of_tokens else "classification"))
    if of_tokens and kind.name != "language":
        raise InputError(
            f"{where}: task: expected language with signals of tokens, got {kind.name}; correct it"
        )
    found = {k: a for k, a in arrays.items() if k != "task"}
    if kind.name == "binary":
        for name in ("logits", "probabilities"):
            if name in found and found[name].ndim > 2 and found[name].shape[-1] == 1:
                found[name] = OneColumn(found[name], name == "logits")
    return found, kind


def _derived_by_task(
    where: str,
    signals: Mapping[str, Given],
    targets: Targets | None,
    kind: Task,
    member: BoolArray,
    least: float | None,
    noise: float | None,
    cross_entropy: bool,
    size: tuple[int, int],
    tokens: TokenArrays | None,
) -> tuple[dict[str, Signal], tuple[str, ...], tuple[str, ...]]:
    """As `_derived`, of a task without classes."""
    if cross_entropy and kind.name != "multi-label":
        raise InputError(
            f"{where}: cross_entropy: expected where φ and loss follow from each other, got the task "
            f"{kind.name}, which has no φ; leave it out"
        )
    found, notes = by_task(where, signals, targets, kind, member, least, noise)
    doubts: list[str] = []
    if tokens is not None:
        made = tokens.documents(signals)
        found |= made
        if made:
            notes += (f"{', '.join(made)}: mean over a document's tokens, in float64",)
    held = {**signals, **found}
    if cross_entropy and "phi" not in held and "loss" in signals:
        doubts += _check_loss(where, signals["loss"], size)
        found["phi"] = Related(signals["loss"], phi_of_loss)
        notes += ("phi: derived from loss in float64, −log of the probability of the whole vector",)
    elif cross_entropy and "loss" not in held and "phi" in signals:
        found["loss"] = Related(signals["phi"], loss_of_phi)
        notes += ("loss: derived from phi in float64",)
    left = [name for name in kind.rules if name not in {**signals, **found}]
    if left:
        notes += (f"{', '.join(left)}: not given, and nothing that was given tells them",)
    return found, notes, tuple(doubts)


def check_member(where: str, known: Mapping[str, AnyArray], arrays: Mapping[str, Any]) -> BoolArray:
    """Membership (R, N), a member in every run."""
    if "member" not in known:
        raise InputError(
            f"{where}: expected an array `member` (models, samples), found none; "
            + nearest("member", arrays)
            if arrays
            else f"{where}: expected arrays, found none; save member and signals"
        )
    member = known["member"]
    if member.ndim != 2 or member.dtype.kind not in "biuf" or not np.isin(member, (0, 1)).all():
        raise InputError(
            f"{where}: member: expected 0 and 1 of shape (models, samples), got {member.dtype} of "
            f"shape {member.shape}; correct it"
        )
    if 0 in member.shape:
        raise InputError(
            f"{where}: member: expected at least one model and one sample, got shape "
            f"{member.shape}; save some"
        )
    member = member.astype(np.bool_)
    without = np.flatnonzero(~member.any(axis=1))
    if without.size:
        raise InputError(
            f"{where}: member: expected a member in every run, got none in run {without[0]}; runs "
            "that trained on other data alone are references of an offline target, which run folders "
            "cannot hold yet: leave them out, or pass them to an offline attack's `score`"
        )
    refuse_offline(member, f"{where}: member")
    return cast("BoolArray", member)


def _check_names(where: str, given: Mapping[str, Array]) -> None:
    """Names become names of files: plain ones alone, and none that a disk could take for another."""
    for name, a in given.items():
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{where}: expected names of signals in letters, digits, '_', '-' and '.', at most "
                f"100, got {name[:100]!r}; rename it"
            )
        if a.ndim < 2:
            raise InputError(
                f"{where}: {name}: expected a signal (models, checkpoints, samples[, views]), got "
                f"shape {a.shape}; {nearest(name, _KNOWN)}"
            )
    lower = [name.lower() for name in (*given, *_KNOWN)]
    twice = sorted({name for name in lower if lower.count(name) > 1})
    if twice:
        raise InputError(
            f"{where}: expected names that differ in more than case, got several {twice[0]!r}; "
            "rename one"
        )


def _signal(where: str, name: str, a: Array, size: tuple[int, int], count: int | None) -> Given:
    """One signal, its shape and type understood; its values are looked at later."""
    r, n = size
    if a.dtype.kind not in "fiub":
        raise InputError(f"{where}: {name}: expected numbers, got {a.dtype}; convert them")
    by_class = name in ("logits", "probabilities")
    deep = 4 if by_class else 3
    # One checkpoint has one axis less, and may look like several without views.
    one = a.shape[:2] == (r, n) and a.ndim in (deep - 1, 3)
    many = a.ndim in (deep, 5 if by_class else 4) and a.shape[0] == r and a.shape[2] == n
    if one and many:
        one, many = count == 1, count is not None and count == a.shape[1] != 1
        if one == many:
            raise InputError(
                f"{where}: {name}: expected a shape of one meaning, got {a.shape} for {r} models and "
                f"{n} samples; save (models, checkpoints, samples, views)"
            )
    if not (one or many) or 0 in a.shape:
        tail = "[, views], classes)" if by_class else "[, views])"
        raise InputError(
            f"{where}: {name}: expected shape ({r}, checkpoints, {n}{tail}, got {a.shape}; correct "
            "it"
        )
    return Given(where, name, a, one, first=by_class and a.ndim == 5)


def _derived(
    where: str,
    signals: Mapping[str, Given],
    pool: Pool | None,
    least: float | None,
    cross_entropy: bool,
    size: tuple[int, int],
) -> tuple[dict[str, Signal], tuple[str, ...], tuple[str, ...]]:
    """(signals that follow, what was done and could not be, doubts)."""
    notes: list[str] = []
    doubts: list[str] = []
    found: dict[str, Signal] = {}
    source = signals.get("logits") or signals.get("probabilities")
    missing = [name for name in _PER_VIEW if name not in signals]
    views = {s.shape[1:] for k, s in signals.items() if k in _PER_VIEW}
    if source is not None and missing:
        fits = views <= {source.inner[1:-1]}
        if pool is not None and fits:
            found |= {
                k: FromLogits(
                    k, source, pool.labels.numpy(), least if source.name != "logits" else None
                )
                for k in missing
            }
            notes.append(f"{', '.join(missing)}: derived from {source.name} and labels in float64")
        elif pool is None:
            notes.append(f"{', '.join(missing)}: not derived from {source.name}, without labels")
        else:
            notes.append(
                f"{', '.join(missing)}: not derived from {source.name}, whose views are others than "
                "those of the signals"
            )
    held = {**signals, **found}
    if cross_entropy and "phi" not in held and "loss" in signals:
        doubts += _check_loss(where, signals["loss"], size)
        found["phi"] = Related(signals["loss"], phi_of_loss)
        notes.append(
            "phi: derived from loss in float64, which was said to be unweighted, unsmoothed "
            "cross-entropy in nats"
        )
    elif cross_entropy and "loss" not in held and "phi" in signals:
        found["loss"] = Related(signals["phi"], loss_of_phi)
        notes.append("loss: derived from phi in float64, which was said to be log p − log(1 − p)")
    elif cross_entropy and not {"phi", "loss"} & held.keys():
        raise InputError(
            f"{where}: cross_entropy: expected phi or loss, got {', '.join(signals)}; save one"
        )
    # The entropy is what few attacks read: that it is not given is no news.
    left = [name for name in _USUAL if name not in {**signals, **found}]
    if left:
        how = (
            " (phi and loss follow from each other where they are those of plain cross-entropy: "
            "cross_entropy=True, --cross-entropy)"
            if len({"phi", "loss"} & set(left)) == 1 and not cross_entropy
            else ""
        )
        notes.append(
            f"{', '.join(left)}: not given, and nothing that was given tells them{how}{of_scores(signals)}"
        )
    return found, tuple(notes), tuple(doubts)


def _check_loss(where: str, loss: Given, size: tuple[int, int]) -> list[str]:
    """Whether losses can be cross-entropies, fine enough for φ."""
    dtype = loss.values.dtype
    if dtype == np.float16:
        raise InputError(
            f"{where}: loss: expected 32- or 64-bit floats for phi, got half precision, in which "
            "small losses are 0; evaluate it again in float32, or save logits"
        )
    zeros = coarse = seen = 0
    for r in range(size[0]):
        for t in range(size[1]):
            a = loss.raw(r, t)
            if (a < 0).any():
                raise InputError(
                    f"{where}: loss: expected cross-entropies from 0, got {a.min():g}; leave "
                    "cross_entropy out for a loss of another kind"
                )
            zeros += int((a == 0).sum())
            coarse += int((a < _COARSE).sum())
            seen += a.size
    if zeros:
        raise InputError(
            f"{where}: loss: expected losses above 0 for phi, got {zeros} of {seen} that are exactly "
            "0, of which phi is infinite; evaluate the loss in float64, or save logits"
        )
    if coarse and dtype != np.float64:
        return [
            f"loss: {coarse} of {seen} are below {_COARSE:g} in {dtype}, a few steps of rounding from "
            "0, so phi is coarse there; evaluate the loss in float64, or save logits"
        ]
    return []


def _check_numbers(
    where: str, source: Given, pool: Pool, members: BoolArray, last: int, middle: float
) -> tuple[str, ...]:
    """Refuse labels that number classes otherwise than the outputs, by the first model's members.

    What is no such numbering and yet another than the labels' is returned as a doubt.

    middle: above it one column stands for class 1.
    """
    outputs = source.raw(0, last)
    outputs = outputs[:, 0] if outputs.ndim == 3 else outputs
    outputs = outputs.reshape(len(outputs), -1)
    one = outputs.shape[1] == 1
    answers = (outputs[:, 0] > middle).astype(np.int64) if one else outputs.argmax(axis=1)
    wide = max(outputs.shape[1], 2)
    found = renumbered(answers[members], pool.labels.numpy()[members], wide)
    if found is None:
        return ()
    if found.likely:
        raise InputError(f"{where}: labels: {found.named(pool.classes)}")
    return (f"answers: {found.named(pool.classes)}",)


def _times(where: str, epochs: AnyArray | None, count: int) -> Float64Array:
    if epochs is None:
        return np.arange(1.0, count + 1.0)
    if epochs.dtype.kind not in "fiu":
        raise InputError(f"{where}: checkpoints: expected numbers, got {epochs.dtype}; save epochs")
    times = np.atleast_1d(epochs).astype(np.float64)
    rising = np.isfinite(times).all() and (times >= 0).all() and (np.diff(times) > 0).all()
    if times.shape != (count,) or not rising:
        raise InputError(
            f"{where}: checkpoints: expected {count} epochs from 0, ascending and finite, got "
            f"{times.ravel()[:4].tolist()} of shape {times.shape}; correct them"
        )
    return times


def _pool(
    where: str,
    arrays: Mapping[str, AnyArray],
    n: int,
    by_class: Given | None,
    kind: Task,
    targets: Targets | None,
) -> Pool:
    ids = as_text(f"{where}: ids", arrays.get("ids", np.arange(n)))
    if ids.shape != (n,) or len(set(ids.tolist())) < n or "" in ids.tolist():
        raise InputError(
            f"{where}: ids: expected {n} different names, got {len(set(ids.ravel().tolist()))} in "
            f"shape {ids.shape}; results are joined on ids"
        )
    _check_utf8(where, "ids", ids.tolist())
    groups = _groups(where, arrays, n)
    name = Path(where).stem
    if "labels" not in arrays:
        if "classes" in arrays:
            raise InputError(f"{where}: classes: expected labels with them, got none; save both")
        none = torch.zeros(n, dtype=torch.int64)
        return Pool(ids, none, (_NOT_GIVEN,), name, groups, task=kind.name)
    if targets is not None:
        _check_utf8(where, "classes", targets.classes)
        numbered = torch.from_numpy(targets.labels)
        return Pool(
            ids, numbered, targets.classes, name, groups, task=kind.name, targets=targets.digest
        )
    labels = arrays["labels"]
    matrix = labels.ndim == 2 and len(labels) == n and labels.shape[1] > 1
    real = labels.dtype.kind == "f" and bool(
        (np.isfinite(labels) & (np.floor(labels) != labels)).any()
    )
    if matrix or real:
        got = f"shape {labels.shape}" if matrix else "numbers with fractions"
        raise InputError(
            f"{where}: labels: expected one class for each of the {n} samples, got {got}; of other tasks "
            "name the task (task=, --task), or leave labels out, docs/tasks.md"
        )
    if labels.shape != (n,):
        raise InputError(
            f"{where}: labels: expected one for each of the {n} samples, got shape {labels.shape}; "
            "correct them"
        )
    classes = class_names(where, arrays["classes"]) if "classes" in arrays else None
    _check_utf8(where, "classes", classes or ())
    if by_class is not None:
        columns, what = by_class.inner[-1], by_class.name
        if classes is None and labels.dtype.kind in "SU":
            raise InputError(
                f"{where}: labels: expected whole numbers with {what}, got names; save `classes`, "
                f"the names in the order of the {what}"
            )
        if columns < 2 or len(classes or range(columns)) != columns:
            raise InputError(
                f"{where}: {what}: expected a column for each of at least two classes, got "
                f"{columns} for {'an unknown number' if classes is None else len(classes)}; save "
                "one per class"
            )
        classes = classes or tuple(str(k) for k in range(columns))
    named, names = name_labels(f"{where}: labels", {"train": labels}, classes)
    _check_utf8(where, "labels", names)
    numbers: Int64Array = named["train"]
    if kind.name == "binary" and len(names) != 2:
        raise InputError(
            f"{where}: labels: expected two classes with the task binary, got {len(names)}; say "
            "classification"
        )
    return Pool(ids, torch.from_numpy(numbers), names, name, groups, task=kind.name)


def _groups(where: str, arrays: Mapping[str, AnyArray], n: int) -> NDArray[np.str_] | None:
    if "groups" not in arrays:
        return None
    groups = as_text(f"{where}: groups", arrays["groups"])
    if groups.shape != (n,) or "" in groups.tolist():
        raise InputError(
            f"{where}: groups: expected the name of whose sample each of the {n} is, got shape "
            f"{groups.shape}{', with empty names' if '' in groups.ravel().tolist() else ''}; correct "
            "them"
        )
    _check_utf8(where, "groups", groups.tolist())
    return groups


def _check_utf8(where: str, what: str, texts: Any) -> None:
    for text in texts:
        if "\0" in text or (not text.isascii() and text != text.encode("utf-8", "ignore").decode()):
            raise InputError(f"{where}: {what}: expected text in UTF-8, got {text!r}; correct it")


def _digest(arrays: Mapping[str, Array]) -> str:
    """SHA-256 over every array as it came: names, types, shapes and values."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        a = arrays[name]
        little = a.dtype.newbyteorder("<")
        h.update(repr((name, little.str, a.shape)).encode("utf-8", "surrogatepass"))
        for part in parts(a):
            h.update(np.ascontiguousarray(part).astype(little, copy=False).tobytes())
    return h.hexdigest()
