"""seepage: when, where and for whom a neural network leaks its training data.

    data = seepage.load("digits")
    plan = seepage.half_split(len(data), models=32, seed=0)
    run = seepage.train(data, plan, model="mlp", recipe=seepage.Recipe(epochs=40), out="runs/digits")
    seepage.write_report(run, "report.html")

Names are imported when first used, so that `import seepage` and `seepage --help` are immediate.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seepage import (
        attacks,
        curvature,
        data,
        defenses,
        epsilon,
        layers,
        lightning,
        metrics,
        plane,
        record,
        single,
        sklearn,
        transformers,
    )
    from seepage.comparison import compare_defenses
    from seepage.config import Execution, Function, Limits, LowRank, Model, Recipe, Record
    from seepage.data import Dataset, load
    from seepage.errors import InputError, SeepageError
    from seepage.findings.gate import check
    from seepage.findings.variants import variants
    from seepage.fleet import train
    from seepage.fleet.checkpoints import import_checkpoints
    from seepage.fleet.import_run import import_run
    from seepage.fleet.imported import import_arrays
    from seepage.fleet.reference_layout import import_reference
    from seepage.plan import (
        SubsetPlan,
        fixed_target,
        fresh_draws,
        half_split,
        leave_out,
        subsets,
    )
    from seepage.record import Recorder
    from seepage.report import write_report
    from seepage.scoring import score
    from seepage.single import audit
    from seepage.store import Run
    from seepage.store import open_run as open

__version__ = "0.2.0.dev0"

__all__ = [
    "Dataset",
    "Execution",
    "Function",
    "InputError",
    "Limits",
    "LowRank",
    "Model",
    "Recipe",
    "Record",
    "Recorder",
    "Run",
    "SeepageError",
    "SubsetPlan",
    "attacks",
    "audit",
    "check",
    "compare_defenses",
    "curvature",
    "data",
    "defenses",
    "epsilon",
    "fixed_target",
    "fresh_draws",
    "half_split",
    "import_arrays",
    "import_checkpoints",
    "import_reference",
    "import_run",
    "layers",
    "leave_out",
    "lightning",
    "load",
    "metrics",
    "open",
    "plane",
    "record",
    "score",
    "single",
    "sklearn",
    "subsets",
    "train",
    "transformers",
    "variants",
    "write_report",
]

_ROOMS = {
    "attacks", "comparison", "config", "curvature", "data", "defenses", "epsilon", "findings", "fleet",
    "layers", "lightning", "metrics", "models", "plan", "plane", "probes", "record", "report", "scoring",
    "signals", "single", "sklearn", "store", "study", "transformers",
}  # fmt: skip
_WHERE = {
    "compare_defenses": "seepage.comparison",
    "Dataset": "seepage.data",
    "load": "seepage.data",
    "InputError": "seepage.errors",
    "SeepageError": "seepage.errors",
    "Execution": "seepage.config",
    "Function": "seepage.config",
    "Limits": "seepage.config",
    "LowRank": "seepage.config",
    "Model": "seepage.config",
    "Recipe": "seepage.config",
    "Record": "seepage.config",
    "train": "seepage.fleet",
    "import_arrays": "seepage.fleet.imported",
    "import_checkpoints": "seepage.fleet.checkpoints",
    "import_reference": "seepage.fleet.reference_layout",
    "import_run": "seepage.fleet.import_run",
    "Recorder": "seepage.record",
    "SubsetPlan": "seepage.plan",
    "fixed_target": "seepage.plan",
    "fresh_draws": "seepage.plan",
    "half_split": "seepage.plan",
    "leave_out": "seepage.plan",
    "subsets": "seepage.plan",
    "check": "seepage.findings.gate",
    "variants": "seepage.findings.variants",
    "write_report": "seepage.report",
    "audit": "seepage.single",
    "score": "seepage.scoring",
    "Run": "seepage.store",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"seepage.{name}")
    if name == "open":
        return importlib.import_module("seepage.store").open_run
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'seepage' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
