"""Malformed input to every command and reader, counted: `python -m benchmarks.fuzz`.

Runs the tests of the slow tier that feed malformed input, with their fixed seeds, prints one row per
command and reader and what was accepted and why, and fails where there was a fault, fewer than 200
inputs to one of them, or fewer than 10,000 in all.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LEAST, EACH = 10_000, 200
FILES = (
    "tests/data/test_malformed.py",
    "tests/config/test_malformed_configuration.py",
    "tests/study/test_malformed_studies.py",
    "tests/study/test_malformed_results.py",
    "tests/store/test_malformed_folders.py",
    "tests/test_malformed_arrays.py",
    "tests/cli/test_malformed_commands.py",
)
FAULTS = {
    "tracebacks": ("traceback", "not one line", "status"),
    "hangs": ("hang",),
    "files outside": ("file outside the target",),
    "left behind": ("left behind",),
    "read otherwise": ("read otherwise", "accepted silently"),
}


class Rows:
    """What the tests record of themselves, as they end."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One test's rows."""
        if report.when == "call":
            self.rows += [row for name, row in report.user_properties if name == "malformed"]


def table(rows: list[dict[str, Any]]) -> str:
    """One row per command and reader, and their sums."""
    head = ["to", "inputs", "refused", "accepted", *FAULTS]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' --: |' * (len(head) - 1)}"]
    sums: Counter[str] = Counter()
    for row in rows:
        cells = {k: row[k] for k in ("inputs", "refused")} | {
            "accepted": sum(row["accepted"].values())
        }
        cells |= {k: sum(row["faults"].get(f, 0) for f in kinds) for k, kinds in FAULTS.items()}
        sums.update(cells)
        lines.append(f"| {row['name']} | {' | '.join(f'{v:,}' for v in cells.values())} |")
    lines.append(f"| together | {' | '.join(f'{sums[k]:,}' for k in head[1:])} |")
    return "\n".join(lines)


def main() -> int:
    """Exit status 0 where nothing was wrong."""
    found = Rows()
    status = pytest.main(
        ["-q", "-m", "slow", "--timeout", "3600", "--tb=short", "-p", "no:cacheprovider",
         *(str(ROOT / name) for name in FILES)],
        plugins=[found],
    )  # fmt: skip
    rows = sorted(found.rows, key=lambda row: str(row["name"]))
    print(table(rows))
    print("\nAccepted, and why:")
    for row in rows:
        why = Counter(row["accepted"])
        for text, count in why.most_common(8):
            print(f"- {row['name']}: {count} × {text}")
        if len(why) > 8:
            print(
                f"- {row['name']}: {sum(why.values()) - sum(c for _, c in why.most_common(8))} × others like these"
            )
    few = [row["name"] for row in rows if row["inputs"] < EACH]
    total = sum(row["inputs"] for row in rows)
    print(f"\n{total:,} inputs" + (f"; fewer than {EACH}: {', '.join(few)}" if few else ""))
    return int(status != 0 or bool(few) or total < LEAST)


if __name__ == "__main__":
    sys.exit(main())
