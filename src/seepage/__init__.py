"""seepage: when, where and for whom a neural network leaks its training data.

    data = seepage.load("digits")
    plan = seepage.half_split(len(data), models=32, seed=0)
    run = seepage.train(data, plan, model="mlp", recipe=seepage.Recipe(epochs=40), out="runs/digits")
    seepage.write_report(run, "report.html")

Names are imported when first used, so that `import seepage` and `seepage --help` are immediate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seepage.faces import lazily

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
    from seepage import comparison as comparison
    from seepage import config as config
    from seepage import findings as findings
    from seepage import fleet as fleet
    from seepage import models as models
    from seepage import plan as plan
    from seepage import probes as probes
    from seepage import report as report
    from seepage import scoring as scoring
    from seepage import signals as signals
    from seepage import store as store
    from seepage import study as study
    from seepage import tokens as tokens
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
else:
    __getattr__, __dir__ = lazily(__name__)

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
