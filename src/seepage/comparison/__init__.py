"""Defences side by side: what each costs, how much risk it removes, and which statements hold."""

from __future__ import annotations

from seepage.comparison.compare import ComparedDefense, ComparisonResult, compare_defenses
from seepage.comparison.config import ComparisonConfig

__all__ = ["ComparedDefense", "ComparisonConfig", "ComparisonResult", "compare_defenses"]
