"""The user's own training loop, instead of the built-in one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pydantic
from pydantic import Field

from seepage.config.base import Part
from seepage.errors import InputError
from seepage.extensions import resolve

__all__ = ["Function", "as_function"]


class Function(Part):
    """[train]: your own training, `train(members, seed, recorder) -> model`.

    `members` are positions in the pool (int64, ascending), `seed` is the run's own, and `recorder`
    is called at the start, after epochs and at the end (`seepage.record.Recorder`). Inputs reach the
    network at a look as the data holds them, or as `recorder.start(model, preprocess=...)` says.

    >>> Function(function=print, version="2").version
    '2'
    """

    function: Any = Field(
        None,
        description="'package.module:name' of a function train(members, seed, recorder) -> model, "
        "used instead of the built-in loop.",
    )
    version: str | None = Field(
        None,
        min_length=1,
        description="Your own version of the function: with it, this text and not the function's "
        "code says whether the training is the same.",
    )
    files: tuple[str, ...] = Field(
        (), description="Files that the function reads; their bytes are part of what was trained."
    )

    standardise: bool = Field(
        False,
        description="Whether inputs are standardised by the members when the network is evaluated, "
        "because your loop does the same.",
    )
    check: bool = Field(
        True,
        description="Whether the function is tried before the fleet: does it obey the members and "
        "the seed that it is given; docs/extending.md.",
    )
    check_seconds: float = Field(
        60.0, gt=0, description="Seconds after which that check makes no further call."
    )

    @pydantic.model_validator(mode="after")
    def _of_something(self) -> Function:
        if self.function is None and (self.version is not None or self.files or self.standardise):
            raise ValueError(
                "a version, files or standardise belong to a function, and none is named"
            )
        return self

    @property
    def network(self) -> bool:
        """Whether the function trains a torch network; one that does not says `network = False`."""
        return getattr(self.function, "network", True) is not False

    @property
    def called(self) -> str:
        """How the function is named in messages and manifests."""
        inner = getattr(self.function, "func", self.function)
        return str(getattr(inner, "__qualname__", type(self.function).__qualname__))


def as_function(given: str | Callable[..., Any] | Function | None) -> Function | None:
    """A `Function` whose name is resolved, or None where there is none."""
    if given is None or (isinstance(given, Function) and given.function is None):
        return None
    asked = given if isinstance(given, Function) else Function(function=given)
    if isinstance(asked.function, str):
        found = resolve(
            "function",
            asked.function,
            {},
            accepts=callable,
            expected="a function",
            field="train.function",
        )
        resolved: Function = asked.changed(function=found)
        return _takes_a_run(resolved)
    if callable(getattr(asked.function, "fit", None)):
        call = "()" if isinstance(asked.function, type) else ""
        name = getattr(asked.function, "__name__", type(asked.function).__name__)
        raise InputError(
            f"function: expected train(members, seed, recorder) -> model, got the estimator {name}; "
            f"pass seepage.sklearn.fit({name}{call or '(…)'})"
        )
    if not callable(asked.function):
        raise InputError(
            f"function: expected train(members, seed, recorder) -> model or its name, got "
            f"{asked.function!r}"
        )
    return _takes_a_run(asked)


def _takes_a_run(asked: Function) -> Function:
    """Refuse a function that cannot be called with members, seed and recorder."""
    try:
        inspect.signature(asked.function).bind(None, 0, None)
    except TypeError as e:
        raise InputError(
            f"function: expected {asked.called}(members, seed, recorder) -> model, got a function "
            f"that cannot take these three ({e}); correct its arguments"
        ) from None
    except ValueError:
        pass  # of code that is not Python the signature is not known
    return asked
