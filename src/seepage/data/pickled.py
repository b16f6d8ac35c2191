"""Reading the pickled CIFAR batches without unpickling anything.

A pickle is a program for a small stack machine, and Python's reader of it can call any importable
function. This one cannot: it walks the opcodes and builds arrays, bytes, strings, numbers, lists,
tuples and dicts; the few names that NumPy writes into a pickled array are matched as text and never
looked up. Any other name or opcode is refused with its position.
"""

from __future__ import annotations

import math
import pickletools
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from seepage.data.reading import one_line
from seepage.errors import InputError
from seepage.short_repr import of_type

__all__ = ["unpickle_arrays"]

# Modules under which NumPy 1 and NumPy 2 write the same three functions.
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NAMES: dict[tuple[str, str], str] = {
    **{(module, "_reconstruct"): "reconstruct" for module in _MULTIARRAY},
    **{(module, "scalar"): "scalar" for module in _MULTIARRAY},
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    # How Python 3 writes an empty string of bytes in the protocols of Python 2.
    ("__builtin__", "bytes"): "bytes",
}
_PLAIN_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_TRUSTED_LEAVES = (str, bytes, int, float, bool, type(None), np.ndarray)


class _Refused(Exception):
    """Why the stream is not accepted; the caller adds the file and the position."""


class _Name:
    """A name that NumPy writes, as a mark on the stack; nothing is imported for it."""

    def __init__(self, role: str) -> None:
        self.role = role


class _Dtype:
    """A plain dtype; BUILD may still set its byte order."""

    def __init__(self, code: str) -> None:
        self.plain = np.dtype(code)


class _Blank:
    """An array under construction, with the memo keys to replace once BUILD gives its content."""

    def __init__(self) -> None:
        self.memo: list[int] = []


_MARK = object()


def unpickle_arrays(data: bytes, *, where: str | Path = "pickle") -> Any:
    """The object that a pickle describes, if it holds nothing but data.

    data: the file's bytes; where: its name in messages. Returns arrays of booleans, integers or
    floats, bytes, strings, numbers, None, lists, tuples and dicts of these. Strings of Python 2
    come back as bytes. Nothing in the stream is imported, called or executed; arrays own their
    memory, and their size is checked against the bytes that are there before any is taken.

    Raises `InputError` for any other name, opcode, dtype or a stream that ends early.

    >>> import pickle
    >>> unpickle_arrays(pickle.dumps({"labels": [6, 9], "data": np.arange(3)}))
    {'labels': [6, 9], 'data': array([0, 1, 2])}
    """
    position = 0
    machine = _Machine()
    try:
        with warnings.catch_warnings():
            # A text with an escape that is none: the standard library only warns of it.
            warnings.simplefilter("error")
            for opcode, argument, at in pickletools.genops(data):
                position = at or 0
                if opcode.name == "STOP":
                    return machine.finish()
                machine.step(opcode.name, argument)
    except _Refused as error:
        raise InputError(
            f"{where}: expected a pickle of arrays, strings, numbers, lists and dicts, got "
            f"{one_line(error)} "
            f"at byte {position}; do not trust this file, fetch the official one"
        ) from error
    except (
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        MemoryError,
        Warning,
    ) as error:
        raise InputError(
            f"{where}: expected a whole pickle, got a truncated or corrupt one "
            f"({one_line(error)} after byte {position}); fetch it again"
        ) from error
    raise InputError(f"{where}: expected a whole pickle, got no end mark; fetch it again")


class _Machine:
    """Stack and memo of the pickle virtual machine, for the opcodes that describe data."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise _Refused("a list without a beginning")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def step(self, name: str, argument: Any) -> None:
        push = self.stack.append
        match name:
            case "PROTO" | "FRAME":
                pass
            case "NONE":
                push(None)
            case "NEWTRUE":
                push(True)
            case "NEWFALSE":
                push(False)
            case "BININT" | "BININT1" | "BININT2" | "INT" | "LONG" | "LONG1" | "LONG4":
                push(argument)
            case "BINFLOAT" | "FLOAT":
                push(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8" | "UNICODE":
                push(argument)
            case "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8":
                push(argument)
            case "BYTEARRAY8":
                push(bytes(argument))
            case "BINSTRING" | "SHORT_BINSTRING" | "STRING":
                push(argument.encode("latin-1"))
            case "MARK":
                push(_MARK)
            case "EMPTY_LIST":
                push([])
            case "EMPTY_DICT":
                push({})
            case "EMPTY_TUPLE":
                push(())
            case "LIST":
                push(self.since_mark())
            case "TUPLE":
                push(tuple(self.since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                last = tuple(self.stack[-count:])
                del self.stack[-count:]
                push(last)
            case "DICT":
                items = self.since_mark()
                push({})
                self.fill(items)
            case "APPEND":
                item = self.stack.pop()
                self.top(list).append(item)
            case "APPENDS":
                items = self.since_mark()
                self.top(list).extend(items)
            case "SETITEM":
                items = self.stack[-2:]
                del self.stack[-2:]
                self.fill(items)
            case "SETITEMS":
                self.fill(self.since_mark())
            case "MEMOIZE":
                self.remember(len(self.memo))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.remember(int(argument))
            case "GET" | "BINGET" | "LONG_BINGET":
                push(self.memo[int(argument)])
            case "GLOBAL":
                module, _, qualified = argument.partition(" ")
                push(self.lookup(module, qualified))
            case "STACK_GLOBAL":
                qualified, module = self.stack.pop(), self.stack.pop()
                push(self.lookup(module, qualified))
            case "REDUCE":
                arguments, function = self.stack.pop(), self.stack.pop()
                push(_reduce(function, arguments))
            case "BUILD":
                state = self.stack.pop()
                self.build(state)
            case _:
                raise _Refused(f"the opcode {name}")

    def top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise _Refused(f"items for something that is no {kind.__name__}")
        return self.stack[-1]

    def fill(self, items: list[Any]) -> None:
        target = self.top(dict)
        if len(items) % 2:
            raise _Refused("a dict key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | bytes | int):
                raise _Refused(f"a dict key of type {type(key).__name__}")
            target[key] = value

    def remember(self, key: int) -> None:
        value = self.stack[-1]
        self.memo[key] = value
        if isinstance(value, _Blank):
            value.memo.append(key)

    def lookup(self, module: Any, qualified: Any) -> _Name:
        role = _NAMES.get((module, qualified)) if isinstance(module, str) else None
        if role is None:
            raise _Refused(f"the name {str(module)[:60]}.{str(qualified)[:60]}")
        return _Name(role)

    def build(self, state: Any) -> None:
        """Complete the unfinished dtype or array on top of the stack."""
        blank = self.stack[-1]
        if isinstance(blank, _Dtype) and isinstance(state, tuple):
            # (version, byte order, subarray, names, fields, size, alignment, flags)
            if len(state) < 5 or any(part is not None for part in state[2:5]):
                raise _Refused("a structured dtype")
            order = _text(state[1])
            if order not in ("<", ">", "|", "="):
                raise _Refused("a dtype without byte order")
            blank.plain = blank.plain.newbyteorder(order)  # type: ignore[arg-type]
        elif isinstance(blank, _Blank) and isinstance(state, tuple) and len(state) == 5:
            _, shape, dtype, fortran, content = state
            built = _array(content, dtype, shape, "F" if fortran else "C")
            for key in blank.memo:
                self.memo[key] = built
            self.stack[-1] = built
        else:
            raise _Refused("a state for something that is no array")

    def finish(self) -> Any:
        if len(self.stack) != 1:
            raise _Refused("an unbalanced stack")
        seen: set[int] = set()
        waiting = [self.stack[0]]
        while waiting:
            item = waiting.pop()
            if id(item) in seen:
                continue
            seen.add(id(item))
            if type(item) is dict:
                waiting.extend(item.values())
            elif type(item) in (list, tuple):
                waiting.extend(item)
            elif type(item) not in _TRUSTED_LEAVES:
                raise _Refused("an unfinished value")
        return self.stack[0]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value
    raise _Refused(f"{of_type(value)} where text belongs")


def _reduce(function: Any, arguments: Any) -> Any:
    """What the call of one of the known names would have given, computed from the data alone."""
    role = function.role if isinstance(function, _Name) else None
    match role, arguments:
        case "reconstruct", (_Name(role="ndarray"), (0,), bytes() | str()):
            return _Blank()
        case "dtype", (bytes() | str() as code, *_):
            if not _PLAIN_DTYPE.fullmatch(_text(code)):
                raise _Refused(f"the dtype {_text(code)[:20]!r}")
            return _Dtype(_text(code))
        case "encode", (str() as text, "latin1" | "latin-1"):
            return text.encode("latin-1")
        case "bytes", ():
            return b""
        case "frombuffer", (
            bytes() as content,
            _Dtype() as dtype,
            tuple() as shape,
            str() as order,
        ):
            return _array(content, dtype, shape, order)
        case "scalar", (_Dtype() as dtype, bytes() as content):
            return _array(content, dtype, (1,), "C")[0].item()
    raise _Refused(f"a call of {role or 'something'} with other arguments than an array has")


def _array(content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray[Any, Any]:
    if not isinstance(content, bytes) or not isinstance(dtype, _Dtype):
        raise _Refused("an array whose content is not plain bytes")
    if order not in ("C", "F") or not isinstance(shape, tuple):
        raise _Refused("an array without a shape")
    if not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 32:
        raise _Refused("an array of impossible shape")
    if math.prod(shape) * dtype.plain.itemsize != len(content):
        raise _Refused(f"an array of shape {shape} over {len(content)} bytes")
    flat = np.frombuffer(content, dtype=dtype.plain).reshape(shape, order=order)  # type: ignore[call-overload]
    return np.array(flat, dtype=dtype.plain.newbyteorder("="))
