"""Studies: fleets that differ in one factor, analysed alike, and what they say about claims."""

from __future__ import annotations

from seepage.study.analyse import JUDGES, Judge, analyse
from seepage.study.claims import Claim, Factors, claims

__all__ = ["JUDGES", "Claim", "Factors", "Judge", "analyse", "claims"]
