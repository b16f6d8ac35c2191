"""What the accountants of several private runs say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["joint_spending"]


def joint_spending(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The largest ε of all runs, whether it holds for all, and else why not; {} without any.

    told: the facts of each run. "epsilon_rdp", "accountant" and "epsilon_why_not" are absent where
    the runs were trained before they were told.

    >>> joint_spending([{"epsilon": 1.0, "delta": 1e-5, "epsilon_holds": True}])
    {'epsilon': 1.0, 'delta': 1e-05, 'epsilon_holds': True}
    """
    if not told or not all("epsilon_holds" in f for f in told):
        return {}
    facts: dict[str, Any] = {
        "epsilon": _largest([f["epsilon"] for f in told]),
        "delta": told[0]["delta"],
        "epsilon_holds": all(f["epsilon_holds"] for f in told),
    }
    if all("epsilon_rdp" in f for f in told):
        facts["epsilon_rdp"] = _largest([f["epsilon_rdp"] for f in told])
        names = [n for f in told for n in str(f["accountant"]).split(", ")]
        facts["accountant"] = ", ".join(sorted(set(names)))
    why = [f["epsilon_why_not"] for f in told if f.get("epsilon_why_not")]
    if why:
        facts["epsilon_why_not"] = "; ".join(dict.fromkeys(why))
    return facts


def _largest(values: Sequence[float | None]) -> float | None:
    """None stands for infinity."""
    finite = [v for v in values if v is not None]
    return max(finite) if len(finite) == len(values) else None
