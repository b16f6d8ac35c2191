"""Where things lie in a run folder, by plan row and checkpoint."""

from __future__ import annotations

import re

__all__ = [
    "COMPUTED",
    "DERIVED",
    "OLDER_DERIVED",
    "derived_key",
    "is_beside",
    "older_derived_key",
    "record_key",
    "row_of",
    "weights_key",
]

DERIVED, OLDER_DERIVED = "derived", "analysis"
COMPUTED = f"{DERIVED}/computed"

_ROWS = (
    re.compile(r"records/(\d{5,})\.json"),
    re.compile(r"weights/(\d{5,})/\d{4,}\.safetensors"),
    re.compile(r"signals/[^/]+/c/(\d+)/\d+(?:/0)+"),
)

# A synchroniser's copies have other names: "00001 (1).json", "x.sync-conflict-….json".
_BESIDE = re.compile(
    r"manifest(\.copy)?\.json|state/\d{5,}(-stage-\d+)?\.safetensors"
    r"|(sessions|locks(-[a-z]+)?)/[0-9a-f]{32}\.json|(derived|analysis)/[\w-]+\.json"
    rf"|{COMPUTED}/[\w-]+\.bin"
)


def is_beside(key: str) -> bool:
    """Whether a key lies beside the evidence: a manifest, state, session, lock, derived result.

    >>> is_beside("manifest.json"), is_beside("manifest (conflict copy).json")
    (True, False)
    """
    return _BESIDE.fullmatch(key) is not None


def record_key(model: int) -> str:
    """Key of the record that makes a run complete."""
    return f"records/{model:05d}.json"


def weights_key(model: int, t: int) -> str:
    """Key of the kept weights of one run and checkpoint."""
    return f"weights/{model:05d}/{t:04d}.safetensors"


def derived_key(name: str) -> str:
    """Key of what was found out about the kept models after training."""
    return f"{DERIVED}/{name}.json"


def older_derived_key(name: str) -> str:
    """Where versions before 0.2 kept the same."""
    return f"{OLDER_DERIVED}/{name}.json"


def row_of(key: str) -> int | None:
    """Plan row of a record, of kept weights or of a signal's chunk; None for any other key.

    >>> row_of("records/00003.json"), row_of("signals/phi/c/12/0/0"), row_of("plan/member/c/0/0")
    (3, 12, None)
    """
    for pattern in _ROWS:
        found = pattern.fullmatch(key)
        if found:
            return int(found[1])
    return None
