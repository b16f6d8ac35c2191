"""Results as bytes and back: trees of known dataclasses, of arrays and of JSON values.

Nothing that a file names is run or imported: a class is found by its name among those that the
annotations of the wanted type lead to, and an array is never an object's.
"""

from __future__ import annotations

import dataclasses
import io
import json
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from seepage.array_types import AnyArray

__all__ = ["Unkept", "from_bytes", "to_bytes"]

T = TypeVar("T")


class Unkept(TypeError):
    """A value that no bytes stand for."""


def to_bytes(value: T) -> bytes:
    """The value as bytes; raises Unkept where it holds what is no JSON value, array or dataclass that
    its annotations lead to."""
    arrays: list[AnyArray] = []
    tree = _encoded(value, arrays, _kinds(type(value)))
    held = {str(k): a for k, a in enumerate(arrays)}
    raw = io.BytesIO()
    np.savez(raw, tree=np.frombuffer(json.dumps(tree).encode(), np.uint8), **held)  # type: ignore[arg-type]
    return raw.getvalue()


def from_bytes(raw: bytes, kind: type[T]) -> T:
    """What `to_bytes` was given, an instance of `kind`. Raises ValueError or KeyError for other bytes.

    >>> from seepage.metrics import Estimate
    >>> from_bytes(to_bytes(Estimate(0.5, float("nan"), 0.6, 0.95, 4)), Estimate)
    Estimate(mean=0.5, low=nan, high=0.6, level=0.95, groups=4)
    """
    with np.load(io.BytesIO(raw), allow_pickle=False) as held:
        tree = json.loads(held["tree"].tobytes())
        arrays = [held[str(k)] for k in range(len(held.files) - 1)]
    found: T = _decoded(tree, arrays, _kinds(kind))
    return found


def _encoded(value: Any, arrays: list[AnyArray], kinds: Mapping[str, type]) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.hasobject:
            raise Unkept(f"an array of {value.dtype}")
        arrays.append(np.asarray(value))
        return {"array": len(arrays) - 1, "scalar": isinstance(value, np.generic)}
    if type(value) in (tuple, list):
        return {type(value).__name__: [_encoded(v, arrays, kinds) for v in value]}
    if isinstance(value, Mapping):
        pairs = [[_encoded(part, arrays, kinds) for part in pair] for pair in value.items()]
        return {"mapping": pairs}
    if dataclasses.is_dataclass(value) and kinds.get(_name(type(value))) is type(value):
        told = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return {
            "class": _name(type(value)),
            "fields": {k: _encoded(v, arrays, kinds) for k, v in told.items()},
        }
    raise Unkept(f"a {type(value).__name__}")


def _decoded(tree: Any, arrays: list[AnyArray], kinds: Mapping[str, type]) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        found = arrays[tree["array"]]
        return found[()] if tree["scalar"] else found
    if "tuple" in tree:
        return tuple(_decoded(v, arrays, kinds) for v in tree["tuple"])
    if "list" in tree:
        return [_decoded(v, arrays, kinds) for v in tree["list"]]
    if "mapping" in tree:
        return {_decoded(k, arrays, kinds): _decoded(v, arrays, kinds) for k, v in tree["mapping"]}
    held = {k: _decoded(v, arrays, kinds) for k, v in tree["fields"].items()}
    return kinds[tree["class"]](**held)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _kinds(kind: Any) -> dict[str, type]:
    """The dataclasses that a type and the annotations of its fields lead to, by their names."""
    found: dict[str, type] = {}
    ahead = [kind]
    while ahead:
        one = ahead.pop()
        ahead += typing.get_args(one)
        if dataclasses.is_dataclass(one) and isinstance(one, type) and _name(one) not in found:
            found[_name(one)] = one
            ahead += typing.get_type_hints(one).values()
    return found
