"""Run folders: signals, membership and manifest, checked and never half-written."""

from seepage.store.run import Run, open_run

__all__ = ["Run", "open_run"]
