"""Files that commands read: TOML in, a checked model out, every problem one line."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic
from pydantic import BaseModel

from seepage.config.recipe import first_problem
from seepage.errors import InputError, nearest

__all__ = ["checked", "read_toml"]

M = TypeVar("M", bound=BaseModel)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a file; `what` names it in errors: "a study file"."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: expected {what}, found none; check the path") from None
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: cannot be read ({e})") from None
    except tomllib.TOMLDecodeError as e:
        raise InputError(f"{path}: expected TOML, got {e}; correct that line") from None


def checked(kind: type[M], content: Mapping[str, Any], where: str) -> M:
    """The model of that content. `where` begins the error: a file, or a table within it.

    Raises InputError naming the field, what was expected and what came; an unknown field with the
    nearest known one.
    """
    try:
        return kind(**content)
    except pydantic.ValidationError as e:
        raise _explain(e, kind, where) from None


def _explain(e: pydantic.ValidationError, kind: type[BaseModel], where: str) -> InputError:
    first = e.errors(include_url=False)[0]
    if first["type"] != "extra_forbidden":
        return first_problem(e, f"{where}: ")
    fields = kind
    for part in first["loc"][:-1]:
        inner = fields.model_fields[str(part)].annotation if part in fields.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            # Inside a list or a map of tables: the names known there are not looked up.
            return first_problem(e, f"{where}: ")
        fields = inner
    name = ".".join(str(p) for p in first["loc"])
    return InputError(
        f"{where}: {name}: unknown field; {nearest(str(first['loc'][-1]), fields.model_fields)}"
    )
