"""A model that the user names on the command line: `module:factory`, or `file.py:factory`."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from seepage.errors import InputError, SeepageError
from seepage.extensions import resolve

__all__ = ["made"]


def made(name: str, option: str) -> Any:
    """The model that a name leads to: itself, what its factory returns, or a function of inputs.

    A function or class that can be called without arguments is a factory; a function of one
    argument is a model, from inputs to probabilities.
    """
    found = resolve("model", name, {}, accepts=lambda found: True, expected="", field=option)
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
