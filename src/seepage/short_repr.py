"""How objects that hold arrays show themselves: in one short line, whatever their size."""

from __future__ import annotations

import reprlib
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

__all__ = ["of_type", "short_repr", "shown"]

Class = TypeVar("Class", bound=type)

_LONGEST = 60
_FEW = 4
_WHOLE = 400


def of_type(value: object) -> str:
    """The type of a value with its article, for messages that say what was got.

    >>> of_type(3), of_type([3]), of_type(None)
    ('an int', 'a list', 'None')
    """
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def short_repr(kind: Class) -> Class:
    """A class decorator, above `dataclass`: the fields in one line, arrays as their type and shape.

    Texts and collections are cut, fields that are None or empty left out; a line is 400 characters at
    most. Not for what is known by its `repr`: attacks, defences, rules.

    >>> import numpy as np
    >>> from dataclasses import dataclass
    >>> @short_repr
    ... @dataclass
    ... class Seen:
    ...     name: str
    ...     values: np.ndarray
    ...     names: tuple = ()
    >>> Seen("a", np.zeros((2, 3)))
    Seen(name='a', values=float64 (2, 3))
    """

    def __repr__(self: Any) -> str:
        told = [(f.name, getattr(self, f.name)) for f in fields(self) if f.repr]
        parts = [f"{name}={shown(value)}" for name, value in told if not _nothing(value)]
        text = f"{type(self).__name__}({', '.join(parts)})"
        return text if len(text) <= _WHOLE else text[: _WHOLE - 2] + "…)"

    kind.__repr__ = __repr__  # type: ignore[assignment]
    return kind


def shown(value: Any) -> str:
    """A value in one short line.

    >>> shown(list(range(9))), shown("x" * 99)[:8], shown((1, 2))
    ('list of 9', "'xxxxxxx", '(1, 2)')
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None:
        kind = (
            "text"
            if getattr(dtype, "kind", "") in ("U", "S")
            else str(dtype).removeprefix("torch.")
        )
        return f"{kind} {tuple(shape)}" if shape else f"{value.item()!r}"
    if isinstance(value, str):
        return _TEXT.repr(value)
    if isinstance(value, (tuple, list, set, frozenset, dict)):
        if len(value) > _FEW or isinstance(value, (dict, set, frozenset)):
            return f"{type(value).__name__} of {len(value)}"
        inside = [shown(v) for v in value]
        ends = ("(", ",)" if len(inside) == 1 else ")") if isinstance(value, tuple) else ("[", "]")
        text = ends[0] + ", ".join(inside) + ends[1]
        return text if len(text) <= 2 * _LONGEST else f"{type(value).__name__} of {len(value)}"
    text = repr(value)
    if len(text) <= 2 * _LONGEST and "\n" not in text:
        return text
    return f"{type(value).__name__}(…)" if is_dataclass(value) else of_type(value)


def _nothing(value: Any) -> bool:
    return value is None or (isinstance(value, (str, tuple, list, dict)) and not value)


_TEXT = reprlib.Repr()
_TEXT.maxstring = _LONGEST
