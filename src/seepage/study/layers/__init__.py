"""The study of layers: units trained, probed and attacked, and the claims A1 to A7 judged."""

from __future__ import annotations

from seepage.study.layers.plan import LayersConfig, Unit
from seepage.study.layers.unit import measure

__all__ = ["LayersConfig", "Unit", "measure"]
