"""How people read findings: an HTML report, tables, an animation, a page that follows a run."""

from __future__ import annotations

from seepage.report.animation import write_animation
from seepage.report.compare_runs import write_comparison
from seepage.report.html import render, write_report
from seepage.report.tables import paths_table, samples_table

__all__ = [
    "paths_table",
    "render",
    "samples_table",
    "write_animation",
    "write_comparison",
    "write_report",
]
