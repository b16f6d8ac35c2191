"""Faces of rooms: names that are imported when they are first used, and not before."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["lazily"]


def lazily(room: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose names are imported when they are first used.

    room: the package's name. Its names are the imports under its `if TYPE_CHECKING:`, which type
    checkers follow, so that none is listed twice; whoever imports one file of the package pays for
    no other. Assumes that its source is there, and that no name is that of another of its files:
    whichever was imported first would be found.

        if TYPE_CHECKING:
            from seepage.fleet.budget import Budget
        else:
            __getattr__, __dir__ = lazily(__name__)

    >>> find, names = lazily("seepage.models")
    >>> find("known")("wrn-40-4"), "known" in names()
    (True, True)
    >>> find("unknown")
    Traceback (most recent call last):
    AttributeError: module 'seepage.models' has no attribute 'unknown'
    """
    where = {name: (module, own) for module, own, name in _listed(_source(room))}

    def find(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        module, own = where[name]
        if module == room:
            return importlib.import_module(f"{room}.{own}")
        found = getattr(importlib.import_module(module), own)
        setattr(sys.modules[room], name, found)
        return found

    def names() -> list[str]:
        return sorted({*vars(sys.modules[room]), *where})

    return find, names


def _source(room: str) -> str:
    spec = sys.modules[room].__spec__ if room in sys.modules else importlib.util.find_spec(room)
    loader: Any = None if spec is None else spec.loader
    found: str | None = None if loader is None else loader.get_source(room)
    if found is None:
        raise ImportError(
            f"{room}: expected a package with its source, found none; install it again"
        )
    return found


def _listed(source: str) -> Iterator[tuple[str, str, str]]:
    """(module, its name there, its name here) of every import under `if TYPE_CHECKING:`."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for line in node.body:
                if isinstance(line, ast.ImportFrom) and line.module is not None:
                    for alias in line.names:
                        yield line.module, alias.name, alias.asname or alias.name
