"""Stored results, and the few words and tables that pages make of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "machine", "stored", "table"]

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]
    return "\n".join(lines)


def stored(pattern: str) -> list[tuple[str, Any]]:
    """Result files that match, the newest last."""
    return [(p.name, json.loads(p.read_text())) for p in sorted(RESULTS.glob(pattern))]


def machine(hardware: dict[str, Any]) -> str:
    """A machine in a few words."""
    gpu = f", {hardware['gpu']}" if hardware.get("gpu") else ""
    return f"{hardware['processor']}, {hardware['cores']} cores{gpu}"
