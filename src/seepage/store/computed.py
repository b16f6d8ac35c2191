"""What was computed of a run folder, kept beside it: nothing is computed twice.

A kept result lies in `derived/computed/` of the folder, or in the user's cache where the folder cannot
be written. Its key is what it was computed of and by: the digest of the evidence, what was asked, and
the code. It carries a seal made with a secret of this user: a changed byte, another user's file and
a forged one are not believed but computed again. Before it is believed the signals that it was
computed of are compared with the digests of their records, as they were then.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import hmac
import json
import os
import secrets
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import platformdirs

from seepage.store.keys import COMPUTED
from seepage.store.package_code import computing_digest
from seepage.store.storage import Storage
from seepage.store.trees import Unkept, from_bytes, to_bytes

__all__ = ["ComputedWarning", "computed"]

T = TypeVar("T")


class Evidenced(ABC):
    """A whole run folder of which results are kept: its evidence, and what was read of it so far."""

    storage: Storage
    reads: set[tuple[str, int]]

    @property
    @abstractmethod
    def digest(self) -> str:
        """One SHA-256 over the evidence."""

    @abstractmethod
    def compare(self, reads: Iterable[tuple[str, int]]) -> None:
        """Compare what was read with the records; raises CorruptStore."""


class ComputedWarning(UserWarning):
    """A kept result is not believed."""


# The newest results of a folder that stay, of all kinds together but those named here.
_MOST = 24
_MOST_OF = {"documents": 256}
_SEAL = 32


def computed(
    run: Any,
    what: str,
    asked: Mapping[str, Any],
    kind: type[T],
    compute: Callable[[], T],
    *,
    worth: Callable[[T], bool] = lambda found: True,
) -> T:
    """What `compute` returns, or what it returned when the same was asked of the same run before.

    run: of a whole run folder, `seepage.store.Run`, results are kept, of anything else not. what: a name of the result,
    in letters. asked: whatever it depends on besides the run's evidence: numbers, text, arrays and
    dataclasses of this package. kind: its type, a dataclass of arrays, JSON values and dataclasses.
    worth: whether a result is kept.

    Nothing is kept of a result that was warned about, since a warning must be said every time, or
    that depends on code of the user's. Raises what `compute` raises, and CorruptStore where the
    signals changed. `SEEPAGE_COMPUTED=off` in the environment keeps and believes nothing.
    """
    if not isinstance(run, Evidenced) or os.environ.get("SEEPAGE_COMPUTED") == "off":
        return compute()
    try:
        told = json.dumps([what, run.digest, computing_digest(), _told(asked)])
    except Unkept:
        return compute()
    secret = _secret()
    if secret is None:
        return compute()
    key = hashlib.sha256(told.encode()).hexdigest()
    name = f"{what}-{computing_digest()[:8]}-{key[:32]}.bin"
    for place in _places(run):
        held = _read(place / name, secret, key, kind)
        if held is not None:
            run.compare(held[1])
            return held[0]
    before, run.reads = run.reads, set()
    try:
        with warnings.catch_warnings(record=True) as said:
            found = compute()
    finally:
        reads, run.reads = run.reads, run.reads | before
    for w in said:
        warnings.showwarning(w.message, w.category, w.filename, w.lineno)
    if not said and worth(found):
        with suppress(Unkept):
            # Without what it read a result could not be compared with the evidence.
            head = json.dumps(sorted(reads)).encode() + b"\n"
            _write(_places(run), name, _sealed(head + to_bytes(found), secret, key))
    return found


def _told(value: Any) -> Any:
    """A value as JSON from which no other has the same; raises Unkept where that is not known."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, enum.Enum):
        return [type(value).__qualname__, value.name]
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.hasobject:
            raise Unkept("objects")
        raw = np.ascontiguousarray(value).tobytes()
        return [str(value.dtype), list(value.shape), hashlib.sha256(raw).hexdigest()]
    if isinstance(value, (tuple, list)):
        return [type(value).__name__, *(_told(v) for v in value)]
    if isinstance(value, Mapping):
        return ["mapping", *([_told(k), _told(v)] for k, v in value.items())]
    own = type(value).__module__.partition(".")[0] == "seepage"
    if own and dataclasses.is_dataclass(value):
        told = {f.name: _told(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return [type(value).__module__, type(value).__qualname__, told]
    raise Unkept(type(value).__qualname__)


def _secret() -> bytes | None:
    """This user's secret, made when it is first needed; None where none can be kept."""
    path = platformdirs.user_state_path("seepage") / "seal"
    with suppress(OSError):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
                f.write(secrets.token_bytes(_SEAL))
            # Whichever process was first, all read the same.
            with suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        held = path.read_bytes()
        return held if len(held) == _SEAL else None
    return None


def _places(run: Evidenced) -> list[Path]:
    """Where results of a run may lie: its folder, and this user's cache."""
    cache = platformdirs.user_cache_path("seepage") / COMPUTED / run.digest
    return [*([run.storage.local / COMPUTED] if run.storage.local is not None else []), cache]


def _sealed(raw: bytes, secret: bytes, key: str) -> bytes:
    return hmac.digest(secret, key.encode() + raw, "sha256") + raw


def _read(
    path: Path, secret: bytes, key: str, kind: type[T]
) -> tuple[T, list[tuple[str, int]]] | None:
    """What is kept under `path`, and what it was computed of: signals by name and checkpoint.

    None where there is nothing that may be believed.
    """
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    raw = whole[_SEAL:]
    if hmac.compare_digest(whole, _sealed(raw, secret, key)):
        with suppress(ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile):
            head, _, tree = raw.partition(b"\n")
            return from_bytes(tree, kind), [(str(n), int(t)) for n, t in json.loads(head)]
    warnings.warn(
        f"{path}: not what this user kept there; it is computed again",
        ComputedWarning,
        stacklevel=3,
    )
    return None


def _write(places: list[Path], name: str, whole: bytes) -> None:
    """Whole, in the first place that can be written; where none can, nothing is kept."""
    for place in places:
        draft = place / f".{name}.{secrets.token_hex(8)}.partial"
        try:
            place.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(whole)
            draft.replace(place / name)
            _forget(place, name.partition("-")[0])
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            continue
        return


def _forget(place: Path, what: str) -> None:
    """Remove all but the newest results."""
    kinds = ((p, p.name.partition("-")[0]) for p in place.glob("*.bin"))
    alike = [p for p, k in kinds if (k == what if what in _MOST_OF else k not in _MOST_OF)]
    held = sorted(alike, key=lambda p: p.stat().st_mtime, reverse=True)
    for path in held[_MOST_OF.get(what, _MOST) :]:
        path.unlink(missing_ok=True)
