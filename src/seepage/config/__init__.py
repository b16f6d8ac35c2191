"""The frozen objects of every option: read from TOML, made in Python, sent to workers alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seepage.faces import lazily

if TYPE_CHECKING:
    from seepage.config.audit import AuditConfig, read_config
    from seepage.config.execution import Execution
    from seepage.config.function import Function
    from seepage.config.limits import Limits, TprLimit, read_limits
    from seepage.config.low_rank import LowRank
    from seepage.config.model import Model
    from seepage.config.recipe import Recipe
    from seepage.config.record import Record
    from seepage.config.start import Start
else:
    __getattr__, __dir__ = lazily(__name__)

__all__ = [
    "AuditConfig",
    "Execution",
    "Function",
    "Limits",
    "LowRank",
    "Model",
    "Recipe",
    "Record",
    "Start",
    "TprLimit",
    "read_config",
    "read_limits",
]
