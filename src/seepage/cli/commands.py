"""The verbs of the command line; importing this module registers them."""

from __future__ import annotations

from seepage.cli import audit, care, config, curvature, defend, dynamics, early, layers, study  # noqa: F401
