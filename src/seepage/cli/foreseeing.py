"""What an audit will take, foreseen: a few real steps of its fleet, and its report on a small run."""

from __future__ import annotations

import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from seepage.config.function import as_function
from seepage.errors import SeepageError
from seepage.fleet.cost import Cost, Workload, estimate, measure, workload
from seepage.fleet.pretrained import untrained

if TYPE_CHECKING:
    from seepage.config.prepare import Prepared

__all__ = ["age", "foreseen", "report_seconds"]

# Values of a signal, and samples, of the run that the report is tried on.
_VALUES, _SAMPLES, _FEWEST = 4_000_000, 1024, 64


def age() -> float:
    """Seconds since this process began: what a command takes before it trains."""
    return max(0.0, time.time() - float(psutil.Process().create_time()))


def foreseen(audit: Prepared, opening: float = 0.0) -> tuple[Workload, int, Cost]:
    """What `seepage audit` of a checked configuration is, by how many workers, and what it will cost.

    opening: seconds that the command took so far, and will take again.
    """
    c = audit.config
    function = as_function(c.train)
    tried = report_seconds(audit)
    model = c.model
    with tempfile.TemporaryDirectory(prefix="seepage-cost-") as folder:
        if audit.start is not None:
            model = untrained(audit.start, c.model, folder)
        rates, workers = measure(
            audit.data,
            audit.plan,
            c.recipe,
            audit.attacks if tried is None else (),
            model=model,
            record=c.record,
            execution=c.execution,
            function=function,
            defense=audit.defense,
            reference=audit.reference,
        )
        work = workload(audit.data, audit.plan, c.recipe, model, c.record, function)
    cost = estimate(work, rates, workers)
    if audit.start is not None:
        # Its own recipe; a step takes as long as its batch is larger.
        first = c.start.recipe
        steps = first.epochs * max(1, len(audit.start) // first.batch)
        cost.seconds["the weights to start from"] = (
            steps * rates.step * first.batch / c.recipe.batch
        )
    seconds = {"opening": opening} | cost.seconds
    if tried is not None:
        del seconds["scoring"]
        seconds["report"] = tried
    return work, workers, replace(cost, seconds=seconds)


def report_seconds(audit: Prepared) -> float | None:
    """How long the report will take, from reports of as many models and checkpoints on a part of the pool.

    On two sizes, between which the time is taken to grow evenly; what is loaded the first time
    counts once. None where signals of the task cannot be made up.
    """
    from seepage.fleet.imported import import_arrays

    c = audit.config
    times = c.record.times(c.recipe.epochs)
    values = audit.plan.models * len(times) * len(c.record.views)
    whole = len(audit.data)
    most = min(whole, max(_FEWEST, min(_SAMPLES, _VALUES // values)))
    took = []
    with tempfile.TemporaryDirectory(prefix="seepage-report-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, size in enumerate((most // 2, most // 2, most)):
            rows = np.linspace(0, whole - 1, size).astype(np.int64)
            part = replace(audit.data.take(rows), source={})
            try:
                run = import_arrays(_made_up(audit, rows, part.labels.numpy()), f"{folder}/{i}")
                began = time.perf_counter()
                _reported(run, Path(folder) / f"{i}.html", audit, part)
            except SeepageError:
                return None
            took.append(time.perf_counter() - began)
    first, small, large = took
    slope = max(0.0, (large - small) / (most - most // 2))
    return max(first, small) + slope * (whole - most // 2)


def _reported(run: Any, path: Path, audit: Prepared, part: Any) -> None:
    from seepage.findings import collect
    from seepage.report import write_report

    found = collect(run, attacks=audit.attacks, data=part)
    write_report(run, path, findings=found, data=part)


def _made_up(audit: Prepared, rows: Any, labels: Any) -> dict[str, Any]:
    """Signals of a run that leaks a little, for these samples."""
    c, plan = audit.config, audit.plan
    rng = np.random.default_rng(0)
    member = plan.member[:, rows]
    times = np.asarray(c.record.times(c.recipe.epochs), dtype=np.float64)
    shape = (plan.models, len(times), len(rows), len(c.record.views))
    phi = rng.normal(1.0, 2.0, size=shape).astype(np.float32) + member[:, None, :, None]
    loss = np.logaddexp(np.float32(0), -phi)
    own = {"phi": phi, "correct": (phi > 0).astype(np.float32)}
    signals = {name: own.get(name, loss) for name in c.record.rules()}
    if len(c.record.views) == 1:
        signals = {name: v[..., 0] for name, v in signals.items()}
    found: dict[str, Any] = {"member": member, "checkpoints": times, "labels": labels, **signals}
    data = audit.data
    found["ids"] = data.ids[rows]
    if data.groups is not None:
        found["groups"] = data.groups[rows]
    return found
