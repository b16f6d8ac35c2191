"""Which code is at work: the bytes of the package, and the libraries that decide a number."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

__all__ = ["computing_digest", "package_digest"]

_LIBRARIES = ("numpy", "scipy", "scikit-learn")


@cache
def package_digest() -> str:
    """SHA-256 over the sources of the package: provenance, never identity."""
    return _over("*.py")


@cache
def computing_digest() -> str:
    """SHA-256 over whatever a figure may depend on but its inputs: this package's sources and what
    was compiled of them, Python, the machine's kind, and the versions of numerical libraries."""
    told = [package_digest(), _over("*.so"), platform.python_version(), platform.machine()]
    for name in _LIBRARIES:
        try:
            told.append(metadata.version(name))
        except metadata.PackageNotFoundError:
            told.append("")
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _over(pattern: str) -> str:
    root = Path(__file__).parent.parent
    h = hashlib.sha256()
    for path in sorted(root.rglob(pattern)):
        h.update(path.relative_to(root).as_posix().encode())
        h.update(path.read_bytes())
    return h.hexdigest()
