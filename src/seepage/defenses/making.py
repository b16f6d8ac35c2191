"""A defence from its name and options, nested ones included, as a configuration file gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from seepage import extensions
from seepage.defenses.base import Defense
from seepage.defenses.pptp import VARIANTS, Variant
from seepage.errors import InputError, nearest

__all__ = ["made"]


def made(name: str, options: Mapping[str, Any], table: Mapping[str, type[Defense]]) -> Defense:
    """`seepage.defenses.make` over a table of defences by name."""
    given = dict(options)
    if "base" in given:
        given["base"] = _nested("base", given["base"], table)
    if "parts" in given:
        given["parts"] = tuple(_nested("parts", p, table) for p in given["parts"])
    if "variant" in given:
        given["variant"] = _variant(given["variant"])
    if name == "chain" and "parts" not in given:
        raise InputError("parts: a chain needs its defences, got none; list at least one")
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return extensions.make("defense", name, table, Defense, given)


def _variant(value: Any) -> Variant:
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        built: Variant = value
        return built
    name = table.get("name")
    if name not in VARIANTS:
        raise InputError(
            f"variant: expected a known name, got {name!r}; {nearest(str(name), VARIANTS)}"
        )
    rest = {str(k): v for k, v in table.items() if k != "name"}
    known = [f.name for f in fields(VARIANTS[name])]
    for key in rest:
        if key not in known:
            raise InputError(f"{key}: unknown option of variant {name!r}; it has {known}")
    made: Variant = VARIANTS[name](**rest)
    return made


def _nested(where: str, value: Any, table: Mapping[str, type[Defense]]) -> Defense:
    if isinstance(value, Defense):
        return value
    if isinstance(value, str):
        return made(value, {}, table)
    if isinstance(value, Mapping) and "name" in value:
        rest = {str(k): v for k, v in value.items() if k != "name"}
        return made(str(value["name"]), rest, table)
    raise InputError(
        f"{where}: expected the name of a defence or a table with 'name', got {value!r}"
    )
