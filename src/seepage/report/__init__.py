"""Findings of a run, and how people read them: HTML, tables, animation, a live page."""

from __future__ import annotations

from seepage.report.animation import write_animation
from seepage.report.collect import ReportSource, collect
from seepage.report.compare import write_comparison
from seepage.report.findings import Findings
from seepage.report.html import render, write_report
from seepage.report.tables import paths_table, samples_table

__all__ = [
    "Findings",
    "ReportSource",
    "collect",
    "paths_table",
    "render",
    "samples_table",
    "write_animation",
    "write_comparison",
    "write_report",
]
