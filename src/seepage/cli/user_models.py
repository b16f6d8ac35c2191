"""A model that the user names on the command line: `module:factory`, or `file.py:factory`."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from seepage.errors import InputError, SeepageError, nearest
from seepage.extensions import resolve
from seepage.local_paths import local_path

__all__ = ["made", "named", "names_code"]

_CODE = re.compile(r"(?:.+\.py|[A-Za-z_][\w.]*):[A-Za-z_][\w.]*")


def names_code(text: str) -> bool:
    """Whether an argument names something in a module rather than a file.

    >>> names_code("net.py:make"), names_code("../a b/net.py:make"), names_code("pkg.net:make")
    (True, True, True)
    >>> names_code("audit.toml"), names_code("s3://bucket")
    (False, False)
    """
    return bool(_CODE.fullmatch(text))


def named(name: str, option: str) -> Any:
    """What a name leads to; `option` names the value in messages. InputError where nothing is."""
    place, _, thing = name.rpartition(":")
    if not place.endswith(".py"):
        return resolve("model", name, {}, accepts=lambda found: True, expected="", field=option)
    found: Any = _module(Path(local_path(place, option)), option)
    for part in thing.split("."):
        if not hasattr(found, part):
            public = [n for n in vars(found) if not n.startswith("_")]
            raise InputError(
                f"{option}: expected {part!r} in {place}, found none; {nearest(part, public)}"
            )
        found = getattr(found, part)
    return found


def made(name: str, option: str) -> Any:
    """The model that a name leads to: itself, what its factory returns, or a function of inputs.

    A function or class that can be called without arguments is a factory; a function of one
    argument is a model, from inputs to probabilities.
    """
    found = named(name, option)
    whole = not inspect.isclass(found)
    if whole and (isinstance(found, nn.Module) or hasattr(found, "predict_proba")):
        return found
    if not callable(found):
        raise InputError(
            f"{option}: expected {name!r} to name a factory, a model or a function from inputs to "
            f"probabilities, got a value of type {type(found).__name__}"
        )
    try:
        parameters = list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    wanted = [p for p in parameters if p.default is p.empty and p.kind not in free]
    if len(wanted) == 1 and whole:
        return found
    if wanted:
        raise InputError(
            f"{option}: expected {name!r} to take no arguments, as a factory, or one, the inputs, got "
            f"a function of {len(wanted)}; wrap it"
        )
    try:
        return found()
    except (SeepageError, KeyboardInterrupt):
        raise
    except BaseException as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{option}: {name} raised {text}; mend the factory") from None


def _module(path: Path, option: str) -> ModuleType:
    if not path.is_file():
        raise InputError(f"{option}: expected a Python file, found no {path}; check the path")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        # What the file imports beside it; last, so that nothing there replaces what is installed.
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(f"user_file_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{option}: expected a Python file, got {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(f"{option}: {path} raised {text} while it was imported; mend it") from None
    return module
