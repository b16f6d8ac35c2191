"""Stored results, and the few words and tables that pages make of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "machine", "measured_page", "stored", "table"]

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


def measured_page(
    doc: str | None,
    study: Callable[..., Any],
    page: Callable[[Any], str],
    *,
    at: tuple[Path, Path],
    size: tuple[str, int],
) -> None:
    """The command of a simulated study: measure, store, write the page; status 1 where it does not hold.

    at: the result and the page; size: name and default of the option that `study` takes.
    """
    name, usual = size
    out, place = at
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--page", action="store_true", help="write the page alone")
    parser.add_argument("--out", type=Path, default=out)
    given = parser.parse_args()
    if not given.page:
        found = study(**{name: getattr(given, name)})
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    result = json.loads(given.out.read_text())
    if given.out == out:
        place.write_text(page(result))
    sys.exit(0 if result["holds"] else 1)
