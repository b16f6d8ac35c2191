"""A name that the user writes, resolved once: seepage's own, the user's, or an installed plug-in's.

Four ways to name a thing, tried in this order:

1. a name of the package's own table: "lira";
2. "package.module:Name", imported; the working directory is searched last, so a file
   there never replaces an installed package;
3. "path/file.py:Name", the file executed once as a module of its own; what it imports beside it is
   found after everything that is installed;
4. the name of an entry point of an installed package, in the group "seepage.attacks",
   "seepage.defenses", "seepage.models", "seepage.functions", "seepage.readers" or
   "seepage.signals". Entry points are loaded only when they are named.

Names come from the user: from an argument, or from a configuration that the user passes. A name
that a run folder or a data file holds is never given to this module.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar, cast

from seepage.errors import InputError, nearest
from seepage.local_paths import local_path

__all__ = ["FROM_FILE", "GROUPS", "make", "names", "outside", "resolve", "searched"]

Base = TypeVar("Base")

GROUPS = {
    "attack": "seepage.attacks",
    "defense": "seepage.defenses",
    "model": "seepage.models",
    "function": "seepage.functions",
    "reader": "seepage.readers",
    "signal": "seepage.signals",
}
"""Entry point group by kind of thing."""

FROM_FILE = "seepage_file_"
"""How modules are called that were executed from a file: no other interpreter finds them."""

_FILE = re.compile(r".+\.py:[A-Za-z_][\w.]*", re.DOTALL)


def outside(name: str) -> bool:
    """Whether a name has the form "package.module:Name" or "path/file.py:Name".

    >>> outside("mine.attacks:Mine"), outside("../net.py:make"), outside("lira"), outside("s3://bucket")
    (True, True, False, False)
    """
    if _FILE.fullmatch(name):
        return True
    module, colon, thing = name.partition(":")
    parts = [*module.split("."), *thing.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def resolve(
    kind: str,
    name: str,
    table: Mapping[str, Any],
    *,
    accepts: Callable[[Any], bool],
    expected: str,
    field: str | None = None,
) -> Any:
    """What `name` names.

    kind: one of `GROUPS`; table: the package's own by name; accepts: whether what was found is of
    the kind; expected: the kind in words, "a subclass of seepage.attacks.Attack"; field: what
    errors call the value (by default the kind).

    Raises InputError, in one line, for a name that is nowhere, a module that cannot be imported or
    raises while it is, a module of the standard library, a private object, or a thing of another
    kind.

    >>> resolve("model", "mlp", {"mlp": dict}, accepts=callable, expected="a function")
    <class 'dict'>
    """
    called = field or kind
    if name in table:
        return table[name]
    if _FILE.fullmatch(name):
        found = _from_file(called, name)
    elif outside(name):
        found = _imported(called, name)
    else:
        plugged = _entry_points(kind)
        if name not in plugged:
            known = [*table, *plugged]
            raise InputError(
                f"{called}: expected a known name or 'package.module:Name', got {name!r}; "
                f"{nearest(name, known)}"
            )
        try:
            with _installed_first():
                found = plugged[name].load()
        except KeyboardInterrupt:
            raise
        except BaseException as e:
            raise InputError(
                f"{called}: the entry point {name!r} ({plugged[name].value}) raised "
                f"{_said(e)} while it was loaded; fix or remove that package"
            ) from None
    if not accepts(found):
        raise InputError(f"{called}: expected {name!r} to name {expected}, got {_shown(found)}")
    return found


def make(
    kind: str,
    name: str,
    table: Mapping[str, type[Base]],
    base: type[Any],
    options: Mapping[str, Any],
) -> Base:
    """An object of the class that `name` names: an attack or a defence, ready to be used.

    kind, name, table: as in `resolve`; base: the class that it must derive from; options: fields
    of the dataclass. What comes from outside may be an instance too, which takes no options, and
    must carry a `name` that none of ours has, and a `title`.

    Raises InputError in one line where `resolve` does, for unknown options, for a class that is
    abstract or lacks its name, and when the constructor raises.
    """
    of = f"{base.__module__.split('.')[0]}.{base.__module__.split('.')[1]}.{base.__name__}"
    found = resolve(
        kind,
        name,
        table,
        accepts=lambda f: isinstance(f, base) or (inspect.isclass(f) and issubclass(f, base)),
        expected=f"a subclass or an instance of {of}",
    )
    if name not in table:
        _complete(kind, name, table, found)
    if not inspect.isclass(found):
        if options:
            raise InputError(
                f"{kind}: {name!r} names an object that is made already, so it takes no options, "
                f"got {next(iter(options))}; name its class"
            )
        return cast("Base", found)
    known = [f.name for f in dataclasses.fields(cast("Any", found)) if f.init]
    for option in options:
        if option not in known:
            remedy = nearest(option, known) if known else "it has no options"
            raise InputError(f"{option}: unknown option of {name!r}; {remedy}")
    try:
        return cast("Base", found(**options))
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as e:
        raise InputError(
            f"{kind}: {name!r} raised {_said(e)} while it was made; fix it or its options"
        ) from None


def _complete(kind: str, name: str, table: Mapping[str, Any], found: Any) -> None:
    """Raise InputError for a thing from outside without name or title, or that cannot be made."""
    left = sorted(getattr(found, "__abstractmethods__", ()))
    if left:
        raise InputError(
            f"{kind}: expected {name!r} to be complete, it does not implement {', '.join(left)}"
        )
    for field in ("name", "title"):
        said = getattr(found, field, None)
        if not isinstance(said, str) or not said:
            raise InputError(
                f"{kind}: expected {name!r} to have a {field}, a class attribute of text, got "
                f"{said!r}; add one"
            )
    if table.get(found.name, found) not in (found, type(found)):
        raise InputError(
            f"{kind}: {name!r} calls itself {found.name!r}, which is one of seepage's own; "
            "give it another name"
        )


def names(kind: str, table: Mapping[str, Any]) -> list[str]:
    """All short names of a kind: the package's own and those of installed plug-ins, not loaded."""
    return [*table, *(n for n in _entry_points(kind) if n not in table)]


def searched() -> str:
    """PYTHONPATH for a process that shall find what this one does, the working directory last."""
    places, here = _here_last()
    return os.pathsep.join([*places, *here])


def _here_last() -> tuple[list[str], list[str]]:
    """Where modules are searched, apart from the working directory; and that, if it is searched."""
    try:
        here = os.path.realpath(os.getcwd())
    except FileNotFoundError:
        return list(sys.path), []  # it was removed
    places = [p for p in sys.path if os.path.realpath(p or ".") != here]
    return places, [here] if len(places) < len(sys.path) else []


def _entry_points(kind: str) -> dict[str, importlib.metadata.EntryPoint]:
    found: dict[str, importlib.metadata.EntryPoint] = {}
    with _installed_first():
        for e in importlib.metadata.entry_points(group=GROUPS[kind]):
            # The first stays: a folder of metadata that lies here replaces no installed package.
            found.setdefault(e.name, e)
    return found


@contextmanager
def _installed_first() -> Iterator[None]:
    """While this lasts, the working directory is searched last, where Python has it first."""
    before = list(sys.path)
    places, here = _here_last()
    sys.path[:] = [*places, *here]
    try:
        yield
    finally:
        added = [p for p in sys.path if p not in (*places, *here)]
        sys.path[:] = [*before, *added]


def _imported(called: str, name: str) -> Any:
    where, _, thing = name.partition(":")
    private = [p for p in (*where.split("."), *thing.split(".")) if p.startswith("_")]
    if private:
        raise InputError(
            f"{called}: expected a public name, got {name!r}, whose {private[0]!r} is private; "
            "name a public object"
        )
    if where.split(".")[0] in sys.stdlib_module_names:
        raise _standard(called, name)
    found: Any = _module(called, name, where)
    for part in thing.split("."):
        if inspect.ismodule(found) and found.__name__.split(".")[0] in sys.stdlib_module_names:
            raise _standard(called, name)
        try:
            found = getattr(found, part)
        except AttributeError:
            public = [n for n in dir(found) if not n.startswith("_")]
            remedy = nearest(part, public) if 0 < len(public) <= 200 else "check the name"
            raise InputError(
                f"{called}: expected {part!r} in {where!r}, found none; {remedy}"
            ) from None
    # A function or class that the module merely imported.
    home = getattr(found, "__module__", None) or ""
    of_python = inspect.isroutine(found) or inspect.isclass(found)
    if of_python and home.split(".")[0] in sys.stdlib_module_names - {"__main__"}:
        raise _standard(called, name)
    return found


def _from_file(called: str, name: str) -> Any:
    """What a name in a file of the user's leads to; the file is executed once while it is the same."""
    place, _, thing = name.rpartition(":")
    path = local_path(place, called)
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise InputError(
            f"{called}: expected a Python file at {place}, got {e.strerror or e}; check the path"
        ) from None
    where = os.path.realpath(path)
    told = hashlib.sha256(where.encode() + b"\0" + raw).hexdigest()[:16]
    module = sys.modules.get(f"{FROM_FILE}{told}")
    if module is None:
        module = _executed(called, place, where, f"{FROM_FILE}{told}")
    found: Any = module
    for part in thing.split("."):
        if part.startswith("_") or not hasattr(found, part):
            public = [n for n in vars(found) if not n.startswith("_")]
            raise InputError(
                f"{called}: expected a public {part!r} in {place}, found none; "
                f"{nearest(part, public) if public else 'define it'}"
            )
        found = getattr(found, part)
    return found


def _executed(called: str, place: str, where: str, module_name: str) -> ModuleType:
    if os.path.dirname(where) not in sys.path:
        sys.path.append(os.path.dirname(where))
    spec = importlib.util.spec_from_file_location(module_name, where)
    if spec is None or spec.loader is None:
        raise InputError(
            f"{called}: expected a Python file, got {place}; name one that ends in .py"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as e:
        del sys.modules[module_name]
        if isinstance(e, KeyboardInterrupt):
            raise
        raise InputError(
            f"{called}: {place} raised {_said(e)} while it was executed; fix it"
        ) from None
    return module


def _standard(called: str, name: str) -> InputError:
    return InputError(
        f"{called}: expected a module of yours or of an installed package, got {name!r}, "
        "which lies in the standard library; name your own"
    )


def _module(called: str, name: str, where: str) -> ModuleType:
    here = os.getcwd()
    if not any(os.path.abspath(p or ".") == here for p in sys.path):
        # It stays, since worker processes search what we search.
        sys.path.append(here)
    importlib.invalidate_caches()
    try:
        with _installed_first():
            return importlib.import_module(where)
    except ModuleNotFoundError as e:
        if e.name is not None and (where == e.name or where.startswith(f"{e.name}.")):
            raise InputError(
                f"{called}: expected a module {where!r} for {name!r}, found none; check the name, "
                "the working directory and the Python path"
            ) from None
        raise InputError(
            f"{called}: {where!r} raised {_said(e)} while it was imported; install what it needs"
        ) from None
    except KeyboardInterrupt:
        raise
    except BaseException as e:
        raise InputError(
            f"{called}: {where!r} raised {_said(e)} while it was imported; fix it"
        ) from None


def _said(e: BaseException) -> str:
    text = " ".join(str(e).split())
    return f"{type(e).__name__}: {text[:200]}" if text else type(e).__name__


def _shown(found: Any) -> str:
    if isinstance(found, type):
        return f"the class {found.__name__}"
    name = getattr(found, "__name__", None)
    return f"{type(found).__name__} {name}" if name else f"a value of type {type(found).__name__}"
