"""Files that commands read: TOML in, a checked object out; overrides of single fields."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
from pydantic import BaseModel

from seepage.config.base import problem
from seepage.errors import InputError
from seepage.local_paths import local_path

__all__ = ["checked", "merge", "override", "read_toml"]

M = TypeVar("M", bound=BaseModel)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The content of a file; `what` names it in errors: "a study file"."""
    path = local_path(path, what)
    # Another process hands its output over below /dev/fd; a pipe elsewhere may never be written.
    piped = path.is_fifo() and not str(path).startswith("/dev/")
    if piped or path.is_socket() or (path.is_char_device() and str(path) != "/dev/stdin"):
        raise InputError(f"{path}: expected {what}, got a pipe, socket or device; name a file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        _check_depth(content, str(path))
        return content
    except FileNotFoundError:
        raise InputError(f"{path}: expected {what}, found none; check the path") from None
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: cannot be read ({e})") from None
    except tomllib.TOMLDecodeError as e:
        raise InputError(f"{path}: expected TOML, got {e}; correct that line") from None
    except (RecursionError, ValueError) as e:
        if isinstance(e, InputError):
            raise
        raise InputError(f"{path}: expected TOML, got {_unread(e)}; correct it") from None


def checked(kind: type[M], content: Mapping[str, Any], where: str) -> M:
    """The object of that content. `where` begins the error: a file, or a table within it.

    Raises InputError naming the field, what was expected and what came; an unknown field with the
    nearest known one.
    """
    try:
        return kind.model_validate(dict(content))
    except pydantic.ValidationError as e:
        raise problem(e, kind, f"{where}: ") from None


def _value(text: str) -> Any:
    """A value of `--set`: JSON or TOML if it is, else the text itself."""
    for parse in (json.loads, lambda t: tomllib.loads(f"v = {t}")["v"]):
        try:
            value = parse(text)
            _check_depth(value, "--set")
            return value
        except InputError:
            raise
        except ValueError:
            continue
        except RecursionError as e:
            raise InputError(
                f"--set: expected a value, got {_unread(e)} in {text[:40]!r}…; correct it"
            ) from None
    return text


_DEEPEST = 32


def _check_depth(value: Any, where: str) -> None:
    """Refuse nesting that no field has, and that ends the stack of whoever prints it."""
    level, depth = [value], 0
    while level:
        inner: list[Any] = []
        for held in level:
            if isinstance(held, dict):
                inner += held.values()
            elif isinstance(held, list):
                inner += held
        level, depth = inner, depth + 1
        if depth > _DEEPEST:
            raise InputError(
                f"{where}: expected tables and lists at most {_DEEPEST} deep, got more; correct it"
            )


def _unread(error: Exception) -> str:
    return "brackets too deep" if isinstance(error, RecursionError) else str(error)


def override(content: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set fields of a read configuration in place; each of `overrides` is "table.field=value"."""
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"--set: expected table.field=value, got {text[:200]!r}")
        at = content
        *tables, field = name.split(".")
        if len(tables) > _DEEPEST:
            raise InputError(f"--set: expected table.field=value, got {name[:60]!r}…; correct it")
        for table in tables:
            at = at.setdefault(table, {})
            if not isinstance(at, dict):
                raise InputError(f"--set: {name}: {table} is a value, not a table")
        at[field] = _value(value)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables, the second's values first."""
    out = dict(base)
    for key, value in over.items():
        there = out.get(key)
        both = isinstance(value, Mapping) and isinstance(there, Mapping)
        out[key] = merge(there, value) if both else value  # type: ignore[arg-type]
    return out
