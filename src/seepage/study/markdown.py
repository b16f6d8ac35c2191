"""Markdown that pages of studies are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["interval", "looked_at", "number", "percent", "table"]


def number(value: float | None, digits: int = 3) -> str:
    """A figure; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(e: Mapping[str, Any] | None, digits: int = 3) -> str:
    """A figure and its interval, from "value", "low" and "high".

    >>> interval({"value": 0.5, "low": 0.25, "high": 0.75}), interval(None)
    ('0.500 [0.250, 0.750]', '–')
    """
    if e is None:
        return "–"
    text = number(e["value"], digits)
    if e["value"] is None or e["low"] is None:
        return text
    return f"{text} [{number(e['low'], digits)}, {number(e['high'], digits)}]"


def looked_at(found: Mapping[str, Any], models: int, samples: int) -> str:
    """On which part of a fleet an attack was run, from its "models" and "samples".

    >>> looked_at({"models": 8, "samples": 500}, 32, 1990), looked_at({"models": 8, "samples": 9}, 8, 9)
    ('8 models, 500 samples', 'all')
    """
    parts = []
    if found["models"] < models:
        parts.append(f"{found['models']} models")
    if found["samples"] < samples:
        parts.append(f"{found['samples']:,} samples")
    return ", ".join(parts) or "all"


def percent(share: float) -> str:
    """A rate in percent.

    >>> percent(0.001)
    '0.1 %'
    """
    return f"{100 * share:g} %"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; bars inside cells are escaped."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"
