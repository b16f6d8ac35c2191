"""The digest of code that a user brings, followed from what is called to everything that it reads.

Followed are: the instructions of functions, without comments, docstrings and positions; their
default values, what their closures and globals hold, the attributes that they take from modules;
partial functions, bound methods, callable objects and their attributes; classes with their bases
and methods; arrays, tensors and data frames by what they hold; and modules of the user's own project that are
imported inside a function, as whole files. What an installed package or the standard library
provides is known by its name alone: versions of packages are in a run's manifest.

What cannot be followed is listed and never passed over: code that is not Python, objects without
attributes that can be read, the state of random generators, modules that are found by a computed
name.

Instructions are those of the running Python, so digests of another minor version differ.
"""

from __future__ import annotations

import bisect
import builtins
import dataclasses
import dis
import enum
import functools
import hashlib
import importlib.util
import os
import random
import re
import sys
import sysconfig
import types
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import nn

from seepage.frames import columns_of, is_frame, is_series

__all__ = ["Followed", "follow", "python_version"]

_INSTALLED = tuple(
    os.path.realpath(p) + os.sep
    for p in {sysconfig.get_path(k) for k in ("stdlib", "platstdlib", "purelib", "platlib")}
    if p
)
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_NOT_CODE = frozenset(
    [
        "__doc__",
        "__module__",
        "__dict__",
        "__weakref__",
        "__annotations__",
        "__qualname__",
        "__firstlineno__",
        "__static_attributes__",
        "__abstractmethods__",
        "_abc_impl",
        "__parameters__",
        "__orig_bases__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__match_args__",
        "__annotations_cache__",
        "__annotate__",
        "__annotate_func__",
        "__slotnames__",
    ]
)
_TENSORS = frozenset({"_parameters", "_buffers", "_modules"})
_KEPT_BY_TORCH = frozenset(
    [
        "training",
        "_non_persistent_buffers_set",
        "_is_full_backward_hook",
        "_forward_hooks_with_kwargs",
        "_forward_pre_hooks_with_kwargs",
        "_forward_hooks_always_called",
        "_state_dict_pre_hooks",
        "_load_state_dict_post_hooks",
        "_backward_pre_hooks",
        "_compiled_call_impl",
    ]
)
_AT_RUN_TIME = frozenset(
    [
        "importlib.import_module",
        "os.environ",
        "os.getenv",
        "sys.modules",
        "runpy.run_path",
        "runpy.run_module",
    ]
)
_NAMED = frozenset({*dis.hasname, *dis.haslocal, *dis.hasfree})
_JUMPS = frozenset({*dis.hasjrel, *dis.hasjabs})
# What `dataclass` writes: its fields and the names of what it wrote tell the same.
_BY_DATACLASS = frozenset(
    [
        *("__init__", "__repr__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__"),
        *("__setattr__", "__delattr__", "__replace__", "__getstate__", "__setstate__"),
    ]
)
_TAKES = ("LOAD_ATTR", "LOAD_METHOD")
# What a class body or a module stores beside its code: told to readers, and positions.
_NOT_DONE = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
_BEHAVIOUR = 0x2AF  # flags of a code object that change what it does, not how it is nested


@dataclasses.dataclass(frozen=True)
class Followed:
    """The digest of everything that was followed, and what could not be, each as one sentence."""

    digest: str
    unfollowed: tuple[str, ...]


def python_version() -> str:
    """The minor version whose instructions digests are made of: "3.11"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def follow(*roots: Any, package: bool = False) -> Followed:
    """The digest of objects and of all that decides what they do; see the module's docstring.

    roots: functions, classes, callable objects, networks, in order. package: whether code of this
    package is followed too (for a defence) instead of being known by its name. Tensors of a
    network that is itself a root count by shape and type alone: its values are compared apart.

    >>> from functools import partial
    >>> follow(partial(pow, 2)).digest == follow(partial(pow, 2)).digest
    True
    >>> follow(partial(pow, 2)).digest == follow(partial(pow, 3)).digest
    False
    """
    walk = _Walk(package)
    for root in roots:
        if isinstance(root, nn.Module):
            walk.compared_apart.update(id(m) for m in root.modules())
    for k, root in enumerate(roots):
        try:
            walk.value(root, f"argument {k + 1}")
        except RecursionError:
            walk.cannot(f"argument {k + 1}", "it is nested too deeply")
    return Followed(walk.hash.hexdigest(), tuple(dict.fromkeys(walk.unfollowed)))


class _Walk:
    """One pass over a graph of objects; each object is entered once."""

    def __init__(self, package: bool) -> None:
        self.package = package
        self.hash = hashlib.sha256()
        self.unfollowed: list[str] = []
        self.seen: dict[int, int] = {}
        self.classes: set[type] = set()
        self.compared_apart: set[int] = set()
        self.files: set[str] = set()
        self.alive: list[Any] = []  # an id is an object's own only while it lives

    def feed(self, *parts: str | bytes) -> None:
        for part in parts:
            raw = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
            self.hash.update(len(raw).to_bytes(8, "little"))
            self.hash.update(raw)

    def cannot(self, where: str, why: str) -> None:
        self.unfollowed.append(f"{where}: {why}")
        self.feed("unfollowed", where)

    def library(self, module: str | None) -> bool:
        """Whether a module is known by its name: built in, installed, or of this package."""
        if module is None or module == "__main__":
            return False
        root = module.partition(".")[0]
        if root == "seepage":
            return not self.package or module in ("seepage.errors", "seepage.array_types")
        held = sys.modules.get(module)
        if held is None:
            return False
        file = getattr(held, "__file__", None)
        if file is None:
            spec = getattr(held, "__spec__", None)
            return spec is not None and spec.origin in ("built-in", "frozen")
        return _installed(os.path.realpath(file))

    # -- values ---------------------------------------------------------------------------------

    def value(self, x: Any, where: str) -> None:
        kind = type(x)
        if kind in _PLAIN:
            self.feed(kind.__name__, repr(x))
            return
        if id(x) in self.seen:
            self.feed("again", str(self.seen[id(x)]))
            return
        self.seen[id(x)] = len(self.seen)
        self.alive.append(x)
        if isinstance(x, enum.Enum):
            self.feed("enum", str(x.name))
            self.klass(kind)
            self.value(x.value, where)
        elif isinstance(x, types.FunctionType):
            self.function(x)
        elif isinstance(x, types.MethodType):
            self.feed("method")
            self.value(x.__self__, where)
            self.value(x.__func__, where)
        elif isinstance(x, functools.partial):
            self.feed("partial")
            self.value(x.func, where)
            self.value(list(x.args), where)
            self.value(dict(x.keywords), where)
        elif isinstance(x, type):
            self.klass(x)
        elif isinstance(x, types.ModuleType):
            self.module(x)
        elif isinstance(x, types.CodeType):
            self.code(x, {}, where)
        elif isinstance(x, staticmethod | classmethod):
            self.feed(kind.__name__)
            self.value(x.__func__, where)
        elif isinstance(x, property):
            self.feed("property")
            for part in (x.fget, x.fset, x.fdel):
                self.value(part, where)
        elif isinstance(x, functools.cached_property):
            self.feed("cached_property")
            self.value(x.func, where)
        elif isinstance(x, torch.Tensor):
            self.tensor(x, where)
            self.beside(x, (torch.Tensor, nn.Parameter), where)
        elif isinstance(x, np.ndarray | np.generic):
            self.array(np.asarray(x), where)
            if isinstance(x, np.ndarray):
                self.beside(x, (np.ndarray,), where)
        elif is_frame(x) or is_series(x):
            self.frame(x, where)
        elif isinstance(x, torch.dtype | torch.device | torch.Size | np.dtype | range | slice):
            self.feed(kind.__name__, repr(x))
        elif isinstance(x, PurePath):
            self.feed("path", str(x))
        elif isinstance(x, list | tuple):
            self.feed(kind.__qualname__, str(len(x)))
            for k, item in enumerate(x):
                self.value(item, f"{where}[{k}]")
            self.beside(x, (list, tuple), where)
        elif isinstance(x, dict | types.MappingProxyType):
            self.feed(kind.__qualname__, str(len(x)))
            for key, item in x.items():
                self.value(key, where)
                self.value(item, f"{where}[{key!r}]")
            self.value(getattr(x, "default_factory", None), f"{where}.default_factory")
            self.beside(x, (dict, types.MappingProxyType), where)
        elif isinstance(x, set | frozenset):
            self.unordered(x, where)
            self.beside(x, (set, frozenset), where)
        elif isinstance(x, re.Pattern):
            self.feed("pattern", repr(x.pattern), str(x.flags))
        elif isinstance(
            x, np.random.Generator | np.random.RandomState | torch.Generator | random.Random
        ):
            self.cannot(where, "the state of a random generator changes with use")
        elif isinstance(x, nn.Module):
            self.network(x, where)
        elif kind in weakref.ProxyTypes:
            self.cannot(where, "a weak reference stands for another object")
        elif x is os.environ:
            self.cannot(where, "the environment is known only when it runs")
        elif isinstance(x, types.BuiltinFunctionType | np.ufunc) or kind.__name__ in (
            "method_descriptor", "wrapper_descriptor", "method-wrapper", "builtin_function_or_method",
        ):  # fmt: skip
            self.builtin(x, where)
        else:
            self.other(x, where)

    def beside(self, x: Any, plain: tuple[type, ...], where: str) -> None:
        """Class and attributes of what is more than a plain container or tensor."""
        kind = type(x)
        if kind in plain:
            if isinstance(x, torch.Tensor) and vars(x):
                self.attributes(x, where)
            return
        self.klass(kind)
        if not self.library(kind.__module__) or isinstance(x, np.ndarray | torch.Tensor):
            self.attributes(x, where)

    def attributes(self, x: Any, where: str) -> None:
        """What an object holds, slots first."""
        for name in sorted({s for c in type(x).__mro__ for s in _slots(c) if hasattr(x, s)}):
            self.feed(name)
            self.value(getattr(x, name), f"{where}.{name}")
        held = getattr(x, "__dict__", None) or {}
        for name in sorted(held, key=str):
            self.feed(str(name))
            self.value(held[name], f"{where}.{name}")

    def unordered(self, x: Iterable[Any], where: str) -> None:
        digests = []
        for item in x:
            inner = _Walk(self.package)
            inner.compared_apart = self.compared_apart
            inner.value(item, where)
            self.unfollowed += inner.unfollowed
            digests.append(inner.hash.hexdigest())
        self.feed("set", *sorted(digests))

    def array(self, a: np.ndarray, where: str) -> None:
        if a.dtype.hasobject:
            self.feed("objects", str(a.shape))
            self.value(a.ravel().tolist(), where)
            return
        self.feed("array", repr(a.dtype), str(a.shape), np.ascontiguousarray(a).tobytes())

    def frame(self, x: Any, where: str) -> None:
        """A data frame or Series by all that it says, not by how its library keeps it."""
        self.feed("frame", type(x).__module__.partition(".")[0], type(x).__name__, str(len(x)))
        for name, dtype, values, levels in columns_of(x):
            self.feed(name, dtype)
            self.value(values, f"{where}[{name}]")
            self.value(levels, f"{where}[{name}]")

    def tensor(self, t: torch.Tensor, where: str) -> None:
        self.feed("tensor", str(t.dtype), str(t.layout), str(t.requires_grad))
        if t.device.type == "meta":
            self.feed(str(tuple(t.shape)))
            return
        try:
            held = t.detach().cpu()
            held = held.dequantize() if held.is_quantized else held
            held = held if held.layout == torch.strided else held.to_dense()
            held = held.resolve_conj().resolve_neg().contiguous().clone()
            raw = held.reshape(-1).view(torch.uint8) if held.numel() else held
            self.feed(str(tuple(held.shape)), raw.numpy().tobytes())
        except (RuntimeError, NotImplementedError, TypeError):
            self.cannot(where, f"a tensor of layout {t.layout} cannot be read")

    def network(self, m: nn.Module, where: str) -> None:
        """Structure, plain attributes, hooks; values too, unless they are compared apart."""
        kind = type(m)
        self.feed("network")
        self.klass(kind)
        for name in ("_parameters", "_buffers"):
            for key, t in getattr(m, name).items():
                told = "none" if t is None else f"{t.dtype} {tuple(t.shape)} {t.requires_grad}"
                self.feed(name, key, told)
                if t is not None and id(m) not in self.compared_apart:
                    self.tensor(t, f"{where}.{key}")
        if id(m) not in self.compared_apart:
            self.feed("training", str(m.training))
        for key in sorted(vars(m)):
            if key in _TENSORS or key in _KEPT_BY_TORCH:
                continue
            if key.endswith("_hooks"):
                # Their handles are numbered over the whole process.
                for hook in vars(m)[key].values():
                    self.feed(key)
                    self.value(hook, f"{where}.{key}")
                continue
            self.feed(key)
            self.value(vars(m)[key], f"{where}.{key}")
        for key, child in m._modules.items():
            self.feed("child", key)
            self.value(child, f"{where}.{key}")

    def builtin(self, x: Any, where: str) -> None:
        name = getattr(x, "__qualname__", getattr(x, "__name__", type(x).__name__))
        self.feed("builtin", str(getattr(x, "__module__", "")), str(name))
        owner = getattr(x, "__self__", None)
        if owner is not None and not isinstance(owner, types.ModuleType | type):
            self.value(owner, where)

    def other(self, x: Any, where: str) -> None:
        kind = type(x)
        held: dict[str, Any] | None = getattr(x, "__dict__", None)
        slots = [s for c in kind.__mro__ for s in _slots(c) if hasattr(x, s)]
        if not isinstance(held, Mapping) and not slots:
            # Immutable values of libraries show what they are when printed; addresses do not.
            text = repr(x)
            if self.library(kind.__module__) and " at 0x" not in text:
                self.feed("printed", kind.__module__, kind.__qualname__, text)
            else:
                self.cannot(where, f"a {kind.__module__}.{kind.__qualname__} cannot be read")
            return
        self.feed("object")
        self.klass(kind)
        for plain in (int, float, complex, str, bytes, bytearray):
            if isinstance(x, plain):
                self.feed(plain.__name__, plain.__repr__(x))
        self.attributes(x, where)

    # -- code -----------------------------------------------------------------------------------

    def function(self, fn: types.FunctionType) -> None:
        where = f"{fn.__module__}:{fn.__qualname__}"
        if self.library(fn.__module__):
            self.feed("function", where)
            if f"{fn.__module__}.{fn.__qualname__}" in _AT_RUN_TIME:
                self.cannot(where, "what it gives is known only when it runs")
            return
        self.feed("function", fn.__name__)
        self.code(fn.__code__, fn.__globals__, where)
        self.value(fn.__defaults__, where)
        self.value(fn.__kwdefaults__, where)
        for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
            self.feed(name)
            try:
                held = cell.cell_contents
            except ValueError:
                self.feed("empty")
            else:
                self.value(held, f"{where}, {name}")
        for name in sorted(vars(fn)):
            self.feed(name)
            self.value(vars(fn)[name], f"{where}.{name}")

    def code(self, c: types.CodeType, scope: Mapping[str, Any], where: str) -> None:
        """Instructions by what they do: constants, names and jumps instead of their numbers."""
        self.feed(
            "code", c.co_name, str((c.co_argcount, c.co_posonlyargcount, c.co_kwonlyargcount)),
            str(c.co_flags & _BEHAVIOUR), " ".join(c.co_varnames[: c.co_argcount + c.co_kwonlyargcount]),
        )  # fmt: skip
        steps = _done(c)
        # Targets count by the instruction, not by the byte: a docstring moves every byte.
        offsets = [s.offset for s in steps]
        for e in dis.Bytecode(c).exception_entries:  # type: ignore[attr-defined]
            places = (bisect.bisect_left(offsets, o) for o in (e.start, e.end, e.target))
            self.feed("except", str((*places, e.depth, e.lasti)))
        at = 0
        while at < len(steps):
            step = steps[at]
            at += 1
            self.feed(step.opname)
            if step.opname == "KW_NAMES":
                # Whose value `dis` does not tell: the names of the arguments of the call.
                self.constant(c.co_consts[step.arg or 0], scope, where)
            elif step.opcode in dis.hasconst:
                self.constant(step.argval, scope, where)
            elif step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                self.feed(str(step.argval))
                at = self.name(str(step.argval), steps, at, scope, where)
            elif step.opname == "IMPORT_NAME":
                level, wanted = (s.argval for s in steps[at - 3 : at - 1])
                self.imported(str(step.argval), level, wanted, scope, where)
            elif step.opcode in _JUMPS:
                self.feed(str(bisect.bisect_left(offsets, step.argval)))
            elif step.arg is not None:
                self.feed(str(step.argval if step.opcode in _NAMED else step.arg))

    def constant(self, held: Any, scope: Mapping[str, Any], where: str) -> None:
        if isinstance(held, types.CodeType):
            self.code(held, scope, where)
        elif isinstance(held, tuple):
            self.feed("tuple", str(len(held)))
            for item in held:
                self.constant(item, scope, where)
        elif isinstance(held, frozenset):
            self.unordered(held, where)
        else:
            self.feed(type(held).__name__, repr(held))

    def name(
        self,
        name: str,
        steps: list[dis.Instruction],
        at: int,
        scope: Mapping[str, Any],
        where: str,
    ) -> int:
        """Follow a global, through the attributes that are taken of a module; the next step."""
        if name not in scope:
            self.feed("builtin" if hasattr(builtins, name) else "undefined", name)
            if name in ("__import__", "eval", "exec", "globals", "open"):
                self.cannot(where, f"what {name} does is known only when it runs")
            return at
        held = scope[name]
        path = name
        while isinstance(held, types.ModuleType) and at < len(steps):
            step = steps[at]
            if step.opname not in _TAKES:
                break
            self.feed(str(step.argval))
            path = f"{path}.{step.argval}"
            at += 1
            if self.library(held.__name__):
                # What a library holds is known by its name; what it reads when it runs is not.
                if f"{held.__name__}.{step.argval}" in _AT_RUN_TIME:
                    self.cannot(where, f"what {path} gives is known only when it runs")
                mine = getattr(held, str(step.argval), None)
                for further in steps[at:]:
                    if not isinstance(mine, types.ModuleType) or further.opname not in _TAKES:
                        break
                    mine = getattr(mine, str(further.argval), None)
                if isinstance(mine, types.FunctionType) and not self.library(mine.__module__):
                    # Put there by the user, in place of what the library has.
                    self.value(mine, f"{where}, {path}")
                return at
            try:
                held = getattr(held, str(step.argval))
            except AttributeError:
                self.feed("undefined", path)
                return at
        self.value(held, f"{where}, {path}")
        return at

    def imported(
        self, name: str, level: Any, wanted: Any, scope: Mapping[str, Any], where: str
    ) -> None:
        """Follow an import: the module, and those of the names it takes that are modules."""
        self.feed(str(level), name)
        if isinstance(level, int) and level:
            package = str(scope.get("__package__") or "")
            above = package.rsplit(".", level - 1)[0] if package else ""
            name = ".".join(p for p in (above, name) if p)
        inner = wanted if isinstance(wanted, tuple) else ()
        parts = name.split(".")
        parents = [".".join(parts[:k]) for k in range(1, len(parts))]
        for full in (*parents, name, *(f"{name}.{part}" for part in inner)):
            self.by_import(full)

    def by_import(self, full: str) -> None:
        """A module that code imports when it runs: the same whether it was imported already."""
        held = sys.modules.get(full)
        try:
            spec = importlib.util.find_spec(full) if held is None else held.__spec__
        except (ImportError, ValueError, AttributeError):
            spec = None
        if held is None and spec is None:
            return  # a name that the module holds, or nothing
        self.feed("module", full)
        origin = getattr(held, "__file__", None) or getattr(spec, "origin", None)
        if self.library(full) if held is not None else _known_by_name(full, origin, self.package):
            return
        if origin is not None and str(origin).endswith(".py"):
            self.file(full, os.path.realpath(str(origin)))
        elif held is not None and spec is None:
            self.cannot(full, "a module without a Python file")

    def module(self, m: types.ModuleType) -> None:
        """A module that code holds: of the user's project as a whole, with its plain constants."""
        self.by_import(m.__name__)
        if self.library(m.__name__):
            return
        for name in sorted(vars(m)):
            held = vars(m)[name]
            if not name.startswith("__") and isinstance(held, (*_PLAIN, tuple, frozenset)):
                self.feed(name)
                self.value(held, f"{m.__name__}.{name}")

    def file(self, name: str, path: str) -> None:
        if path in self.files:
            return
        self.files.add(path)
        try:
            text = Path(path).read_bytes()
            code = compile(text, "<module>", "exec", dont_inherit=True)
        except (OSError, SyntaxError, ValueError) as e:
            self.cannot(name, f"its file cannot be read ({type(e).__name__})")
            return
        package = Path(path).name == "__init__.py"
        scope = {"__package__": name if package else name.rpartition(".")[0]}
        self.code(code, scope, name)

    def klass(self, c: type) -> None:
        if self.library(c.__module__):
            self.feed("class", c.__module__, c.__qualname__)
            return
        # In which file it stands is not what it does.
        self.feed("class", c.__qualname__)
        if c in self.classes:
            return
        self.classes.add(c)
        for base in (*c.__bases__, type(c)):
            if base not in (object, type):
                self.klass(base)
        for field in getattr(c, "__dataclass_fields__", {}).values():
            self.feed("field", field.name, str(field.init), str(field.compare))
            if field.default is not dataclasses.MISSING:
                self.value(field.default, f"{c.__qualname__}.{field.name}")
            if field.default_factory is not dataclasses.MISSING:
                self.value(field.default_factory, f"{c.__qualname__}.{field.name}")
        for name in sorted(vars(c)):
            held = vars(c)[name]
            if name in _NOT_CODE or isinstance(held, _FOR_A_SLOT):
                continue
            self.feed(name)
            if name in _BY_DATACLASS and "__dataclass_fields__" in vars(c) and _generated(held):
                continue
            self.value(held, f"{c.__module__}:{c.__qualname__}.{name}")


def _done(c: types.CodeType) -> list[dis.Instruction]:
    """The instructions of a code object, without those that store docstrings and positions."""
    steps = [s for s in dis.get_instructions(c) if s.opname != "EXTENDED_ARG"]
    left = []
    for k, step in enumerate(steps):
        after = steps[k + 1] if k + 1 < len(steps) else step
        stored = step if step.opname == "STORE_NAME" else after
        if (
            stored.opname == "STORE_NAME"
            and stored.argval in _NOT_DONE
            and (step is stored or step.opname == "LOAD_CONST")
            and steps[k - (step is stored)].opname == "LOAD_CONST"
        ):
            continue
        left.append(step)
    return left


_FOR_A_SLOT = (types.MemberDescriptorType, types.GetSetDescriptorType)


def _generated(held: Any) -> bool:
    """Whether a method of a dataclass was written by `dataclass`, not by hand."""
    inner = getattr(held, "__wrapped__", held)
    return isinstance(inner, types.FunctionType) and inner.__code__.co_filename == "<string>"


def _known_by_name(full: str, origin: str | None, package: bool) -> bool:
    """Whether a module that is not imported yet is built in, installed, or of this package."""
    if full.partition(".")[0] == "seepage":
        return not package
    return (
        origin is None or origin in ("built-in", "frozen") or _installed(os.path.realpath(origin))
    )


def _installed(path: str) -> bool:
    parts = Path(path).parts
    return path.startswith(_INSTALLED) or "site-packages" in parts or "dist-packages" in parts


def _slots(c: type) -> list[str]:
    """Names of a class's slots, as `getattr` finds them."""
    told = c.__dict__.get("__slots__", ())
    names = (told,) if isinstance(told, str) else tuple(told)
    private = "_" + c.__name__.lstrip("_")
    return [
        f"{private}{n}" if n.startswith("__") and not n.endswith("__") else n
        for n in names
        if n not in ("__dict__", "__weakref__")
    ]
