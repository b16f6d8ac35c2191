"""Every number of the report, computed once: from a run, or from a comparison, to its findings."""

from __future__ import annotations

from seepage.findings.collect import collect
from seepage.findings.result import Findings, SubjectFinding, plain
from seepage.findings.source import ReportSource

__all__ = ["Findings", "ReportSource", "SubjectFinding", "collect", "plain"]
