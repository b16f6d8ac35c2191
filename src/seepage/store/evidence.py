"""What holds a run folder together: digests of its parts, compared as they are read, and one over all.

The manifest carries a digest of each part of the plan and of what is told of the pool. A record
carries its own row, the digest of the manifest it was written under and a digest of every chunk and
weight of its run. So a sound file from elsewhere, another run's, another folder's or an older copy,
is as visible as a flipped byte. Folders made before these digests were written are checked by what
they have: the digest of the plan, and those of the chunks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seepage.array_types import AnyArray, Int64Array
from seepage.errors import CorruptStore, InputError
from seepage.plan import SubsetPlan
from seepage.store import arrays
from seepage.store.arrays import chunk_digest
from seepage.store.keys import record_key, row_of
from seepage.store.storage import Storage, json_digest

__all__ = [
    "ARRAYS",
    "FOREIGN",
    "FORMAT",
    "array_parts",
    "check_manifest",
    "check_record",
    "content_digests",
    "evidence_digest",
    "holders",
    "planned_runs",
    "read_array",
    "read_records",
    "read_texts",
    "stamp",
    "text_parts",
    "unchecked",
    "whose",
]

FORMAT = 2
"""What is written; 1, of version 0.1.0, is still read: its key held digests of code."""

ARRAYS = ("plan/member", "plan/seeds", "data/labels")
"""Arrays of a single chunk that every run folder has."""

_OF_TOKENS = ("data/offsets", "data/zlib")

FOREIGN = "what no run of this folder wrote: another folder's, or an older copy"


def array_parts(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Arrays of a single chunk that this folder has; with signals of tokens, where documents begin too.

    >>> array_parts({"data": {"tokens": 7}})[3:]
    ('data/offsets', 'data/zlib')
    """
    return ARRAYS if manifest["data"].get("tokens") is None else (*ARRAYS, *_OF_TOKENS)


def stamp(manifest: Mapping[str, Any]) -> str:
    """The digest of a manifest, which every record written under it carries."""
    return json_digest(dict(manifest))


_MOST = 10**7


def check_manifest(where: str, manifest: Any) -> None:
    """Refuse a manifest of another format, or one that lacks what a reader needs.

    Its checksum says that it was written whole, not that seepage wrote it. Raises InputError naming
    the field.
    """

    def need(field: str, held: bool, expected: str) -> None:
        if not held:
            raise InputError(
                f"{where}/manifest.json: {field}: expected {expected}, got something else; it is no "
                "manifest of a run folder"
            )

    def count(value: Any, most: int) -> bool:
        return type(value) is int and 1 <= value <= most

    need("content", isinstance(manifest, dict), "a table")
    if manifest.get("format") not in (1, FORMAT):
        raise InputError(
            f"{where}: expected format 1 or {FORMAT}, got {manifest.get('format')}; "
            "it was written by another version of seepage"
        )
    for field in ("key", "data", "plan", "signals", "descriptions"):
        need(field, isinstance(manifest.get(field), dict), "a table")
    data, plan, texts = manifest["data"], manifest["plan"], manifest["descriptions"]
    need("data.samples", count(data.get("samples"), 1000 * _MOST), "a number of samples")
    for field in ("name", "digest"):
        need(f"data.{field}", isinstance(data.get(field), str), "text")
    classes = data.get("classes")
    need("data.classes", isinstance(classes, list) and _all(classes, str), "a list of names")
    need("plan.models", count(plan.get("models"), _MOST), "a number of runs")
    need("plan.digest", isinstance(plan.get("digest"), str), "text")
    for field in ("provenance", "versions", "hardware", "chosen"):
        need(field, isinstance(manifest.get(field, {}), dict), "a table")
    times = manifest.get("checkpoints")
    whole = isinstance(times, list) and len(times) > 0 and _all(times, (int, float))
    need("checkpoints", whole, "a list of epochs")
    shapes: dict[str, tuple[int, ...]] = {
        "plan/member": (plan["models"], data["samples"]),
        "plan/seeds": (plan["models"],),
        "data/labels": (data["samples"],),
    }
    if data.get("tokens") is not None:
        need("data.tokens", count(data["tokens"], 100_000 * _MOST), "a number of tokens")
        shapes |= {"data/offsets": (data["samples"] + 1,), "data/zlib": (data["samples"],)}
    for name, signal in manifest["signals"].items():
        shape = signal.get("shape") if isinstance(signal, dict) else None
        sound = isinstance(shape, list) and all(count(v, 1000 * _MOST) for v in shape)
        need(f"signals.{name}", sound and "/" not in name and name not in ("", ".."), "a shape")
        shapes[f"signals/{name}"] = (plan["models"], len(manifest["checkpoints"]), *(shape or ()))
    need("descriptions", texts.keys() == shapes.keys(), "one for each array of a run folder")
    for name, shape in shapes.items():
        try:
            told = json.loads(texts[name])
            chunk = list(shape) if name in array_parts(manifest) else [1, 1, *shape[2:]]
            held = (
                told["node_type"] == "array"
                and told["shape"] == list(shape)
                and told["chunk_grid"]["configuration"]["chunk_shape"] == chunk
                # Nothing that unfolds into more bytes than lie there.
                and [c["name"] for c in told["codecs"]] == ["bytes", "crc32c"]
            )
        except (ValueError, KeyError, TypeError, RecursionError):
            held = False
        need(f"descriptions.{name}", held, "an array of the shape that the plan and the data have")
    if "content" in manifest:
        content = manifest["content"]
        parts = {*array_parts(manifest), *text_parts(manifest)}
        sound = (
            isinstance(content, dict) and content.keys() == parts and _all(content.values(), str)
        )
        need("content", sound, "a digest of every part of plan and pool")


def _all(values: Iterable[Any], kind: type | tuple[type, ...]) -> bool:
    return all(isinstance(v, kind) for v in values)


def _check_form(record: Any) -> str | None:
    """Why this is no record at all, or None."""
    if not isinstance(record, dict) or record.get("status") not in ("done", "failed"):
        return "expected the record of a run, got something else"
    if record["status"] == "failed":
        return None if isinstance(record.get("why"), str) else "expected why the run failed"
    digests, weights = record.get("digests"), record.get("weights", {})
    sound = isinstance(digests, dict) and all(
        isinstance(v, list) and _all(v, str) for v in digests.values()
    )
    kept = isinstance(weights, dict) and all(t.isdecimal() for t in weights)
    if not sound or not kept or not _all(weights.values(), str):
        return "expected the digests of what the run wrote, got something else"
    return None


def text_parts(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Which texts a folder holds of its samples: ids, and groups where there are any."""
    grouped = manifest["data"].get("subjects") is not None
    return ("data/ids", "data/groups") if grouped else ("data/ids",)


def content_digests(
    plan: SubsetPlan,
    labels: Int64Array,
    ids: NDArray[np.str_],
    groups: NDArray[np.str_] | None,
    tokens: tuple[Int64Array, Int64Array] | None = None,
) -> dict[str, str]:
    """SHA-256 of every part of plan and pool that a folder holds, for its manifest.

    tokens: offsets (N + 1,) and zlib lengths (N,) of documents, where there are signals of tokens.
    """
    found = {
        "plan/member": chunk_digest(plan.member),
        "plan/seeds": chunk_digest(plan.seeds),
        "data/labels": chunk_digest(labels),
        "data/ids": json_digest(ids.tolist()),
    }
    if groups is not None:
        found["data/groups"] = json_digest(groups.tolist())
    if tokens is not None:
        found |= {name: chunk_digest(v) for name, v in zip(_OF_TOKENS, tokens, strict=True)}
    return found


def unchecked(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Parts that an older folder's manifest has no digest of."""
    if "content" in manifest:
        return ()
    parts = ("data/labels", *text_parts(manifest))
    return parts if manifest["plan"].get("canaries") is None else (*ARRAYS[:2], *parts)


def _mixed(storage: Storage, key: str, expected: str, got: str) -> CorruptStore:
    return CorruptStore(
        f"{storage.where}/{key}: expected SHA-256 {expected[:12]}…, as the manifest says, got "
        f"{got[:12]}…: it is another folder's or an older copy; run `seepage repair` on this folder"
    )


def read_array(storage: Storage, manifest: Mapping[str, Any], name: str) -> AnyArray:
    """One of `array_parts`, compared with the manifest.

    Raises CorruptStore when it is absent, damaged, or not the one that the manifest was made with.
    """
    values = arrays.read_whole(storage, name, manifest["descriptions"][name])
    key = f"{name}/c" + "/0" * values.ndim
    if "content" in manifest:
        expected, got = manifest["content"][name], chunk_digest(values)
    elif name.startswith("plan/") and name not in unchecked(manifest):
        # One digest covers both; which of the two is wrong it cannot say.
        other = ARRAYS[1 - ARRAYS.index(name)]
        rest = arrays.read_whole(storage, other, manifest["descriptions"][other])
        member, seeds = (values, rest) if name == "plan/member" else (rest, values)
        expected = manifest["plan"]["digest"]
        got = SubsetPlan(member.astype(np.bool_), seeds.astype(np.uint64), "", 0).digest
    else:
        return values
    if got != expected:
        raise _mixed(storage, key, expected, got)
    return values


def read_texts(storage: Storage, manifest: Mapping[str, Any], name: str) -> list[str]:
    """Ids or groups of the samples, "data/ids" or "data/groups", compared with the manifest.

    Raises CorruptStore as `read_array` does.
    """
    key = f"{name}.json"
    found, got = storage.get_checked(key)
    if found is not None and not (isinstance(found, list) and _all(found, str)):
        raise CorruptStore(f"{storage.where}/{key}: expected a list of names, got something else")
    if found is None:
        raise CorruptStore(
            f"{storage.where}/{key}: expected the {'ids' if name == 'data/ids' else 'subjects'} of "
            "the samples, found none; run `seepage repair` on this folder"
        )
    expected = manifest.get("content", {}).get(name, got)
    if got != expected:
        raise _mixed(storage, key, expected, got)
    return [str(v) for v in found]


def check_record(
    manifest: Mapping[str, Any], row: int, record: Mapping[str, Any], stamped: str | None = None
) -> str | None:
    """Why `record` is not that of plan row `row` of this manifest, or None when it is.

    stamped: the manifest's `stamp`, where it is known already.
    """
    form = _check_form(record)
    if form is not None:
        return form
    planned = manifest["plan"]["models"]
    if not 0 <= row < planned:
        return f"expected one of the {planned} planned runs, got run {row}"
    strict = "content" in manifest
    if (strict or "run" in record) and record.get("run") != row:
        return f"expected the record of run {row}, got that of run {record.get('run')}"
    if strict or "manifest" in record:
        wanted, got = stamped or stamp(manifest), str(record.get("manifest"))
        if got != wanted:
            return (
                f"expected a record written under this manifest ({wanted[:12]}…), got one of "
                f"another folder or an older copy ({got[:12]}…)"
            )
    if record["status"] == "done":
        shape = {name: len(digests) for name, digests in record["digests"].items()}
        if shape != dict.fromkeys(manifest["signals"], len(manifest["checkpoints"])):
            return "expected the digests of every signal and checkpoint of the manifest, got others"
    return None


def planned_runs(manifest: Mapping[str, Any], ended: Iterable[int]) -> int:
    """How many runs a folder should hold, of which those of plan rows `ended` have a record.

    All of the plan; of one that is open, which trains as many pairs as a time allows, those up to
    the last pair of which any has ended, at least one pair.

    >>> planned_runs({"plan": {"models": 64}}, [0])
    64
    >>> planned_runs({"plan": {"models": 64, "options": {"open": True}}}, [0, 1, 4])
    6
    """
    plan = manifest["plan"]
    options = plan.get("options")
    if not isinstance(options, Mapping) or options.get("open") is not True:
        return int(plan["models"])
    return 2 * (max(ended, default=0) // 2 + 1)


def read_records(
    storage: Storage, manifest: Mapping[str, Any] | None = None
) -> dict[int, dict[str, Any]]:
    """Records of all runs that ended, by plan row; with `manifest`, each compared with it.

    Files of other names, such as a synchroniser's copies, are passed over. Raises CorruptStore for
    a record that is damaged, another run's or another folder's.
    """
    found: dict[int, dict[str, Any]] = {}
    wrong: dict[str, str] = {}
    stamped = None if manifest is None else stamp(manifest)
    for key in storage.keys("records/"):
        row = row_of(key)
        if row is None or key != record_key(row):
            continue
        record = storage.get_json(key)
        if record is None:
            continue
        found[row] = record
        why = None if manifest is None else check_record(manifest, row, record, stamped)
        if why is not None:
            wrong[key] = why
    if wrong and manifest is not None:
        stamps = {str(r.get("manifest")) for r in found.values() if isinstance(r, dict)}
        if len(wrong) == len(found) > 1 and stamps.isdisjoint({stamped, "None"}):
            key, why = "manifest.json", "none of the records was written under it"
        else:
            key, why = next(iter(wrong.items()))
        raise CorruptStore(f"{storage.where}/{key}: {why}; run `seepage repair` on this folder")
    return found


def holders(records: Mapping[int, Mapping[str, Any]]) -> dict[str, str]:
    """Digest -> what it is the digest of, in words, for every chunk and weight of these records."""
    found: dict[str, str] = {}
    for row, record in sorted(records.items()):
        for name, digests in record.get("digests", {}).items():
            for t, digest in enumerate(digests):
                found.setdefault(digest, f"{name} of run {row} at checkpoint {t}")
        for t, digest in record.get("weights", {}).items():
            found.setdefault(digest, f"weights of run {row} at checkpoint {t}")
    return found


def whose(records: Mapping[int, Mapping[str, Any]], digest: str) -> str:
    """What of this folder has the digest, in words."""
    return holders(records).get(digest, FOREIGN)


def evidence_digest(
    manifest: Mapping[str, Any],
    content: Mapping[str, str | None],
    records: Mapping[int, Mapping[str, Any]],
) -> str:
    """One SHA-256 over a run folder: manifest, plan, labels, ids, groups, and all records.

    content: digests of the parts as they lie there, by the names of `content_digests`, None for one
    that is lost. Records hold the digests of every chunk and of kept weights, so those are covered;
    saved states, sessions and analyses are not.
    """
    return json_digest(
        {
            "manifest": stamp(manifest),
            "content": dict(content),
            "records": {f"{row:05d}": json_digest(dict(r)) for row, r in sorted(records.items())},
        }
    )
