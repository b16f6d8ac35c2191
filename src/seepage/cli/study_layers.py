"""`study` of kind "layers": units measured side by side, resumable unit by unit, and the page."""

from __future__ import annotations

import fnmatch
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from seepage.cli.console import console, errors
from seepage.config.reading import checked, override
from seepage.errors import InputError, Locked, SeepageError, nearest

if TYPE_CHECKING:
    from seepage.study.layers import LayersConfig, Unit

__all__ = ["read_layers_study", "run_layers_study"]


def read_layers_study(
    content: dict[str, Any], file: Path, overrides: Sequence[str]
) -> LayersConfig:
    """Check a study of layers; overrides change its fields, "recipe.lr=0.1"."""
    from seepage.study.layers import LayersConfig

    override(content, overrides)
    return checked(LayersConfig, content, str(file))


def run_layers_study(
    config: LayersConfig, file: Path, only: str | None, wanted: Sequence[str], dry_run: bool
) -> None:
    """Measure the units that have no result yet, and write the page from what is there.

    wanted: names or patterns of units. Several processes may run the same command: each unit is
    taken by one of them.
    """
    if only == "analyse":
        raise InputError("--only: units are trained and analysed in one; expected train or page")
    units = _chosen(config, wanted)
    if dry_run:
        console.print(_status(config, units))
        return
    if only in (None, "train"):
        _measure_all(config, units)
    if only in (None, "page") and config.page:
        console.print(f"page: {_page(config, file)}")


def _chosen(config: LayersConfig, wanted: Sequence[str]) -> list[Unit]:
    units = config.units()
    if not wanted:
        return units
    names = [u.name for u in units]
    for pattern in wanted:
        if not fnmatch.filter(names, pattern):
            raise InputError(
                f"--fleet: expected a unit of the study, got {pattern!r}; {nearest(pattern, names)}"
            )
    return [u for u in units if any(fnmatch.fnmatchcase(u.name, p) for p in wanted)]


def _result(config: LayersConfig, unit: Unit) -> Path:
    return Path(config.results) / f"{unit.name}.json"


def _status(config: LayersConfig, units: Sequence[Unit]) -> Table:
    table = Table(title="study: layers")
    for column in ("unit", "data", "label noise", "seed", "measured"):
        table.add_column(column)
    for u in units:
        done = "yes" if _result(config, u).exists() else "no"
        table.add_row(u.name, u.dataset, f"{u.noise:g}", str(u.seed), done)
    return table


def _measure_all(config: LayersConfig, units: Sequence[Unit]) -> None:
    left = [u for u in units if not _result(config, u).exists()]
    errors.print(f"{len(units) - len(left)} of {len(units)} units are measured")
    if config.workers == 1:
        said = [_measure_one(config, u) for u in left]
        failed = [s for s in said if s is not None]
    else:
        failed = _side_by_side(config, left)
    if failed:
        raise SeepageError(f"{len(failed)} of {len(left)} units failed; the first: {failed[0]}")


def _side_by_side(config: LayersConfig, units: Sequence[Unit]) -> list[str]:
    """Spawned processes, each with its share of the cores; what fails is told at the end."""
    share = str(max((os.cpu_count() or 1) // config.workers, 1))
    # Read when a child loads its libraries, so set before it starts.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, share)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    context = multiprocessing.get_context("spawn")
    failed = []
    with ProcessPoolExecutor(config.workers, mp_context=context) as pool:
        for done in as_completed([pool.submit(_measure_one, config, u) for u in units]):
            said = done.result()
            if said is not None:
                failed.append(said)
    return failed


def _measure_one(config: LayersConfig, unit: Unit) -> str | None:
    """Measure a unit unless it is done or another process has it; the problem, if there was one."""
    from seepage.store.lock import Lock
    from seepage.store.storage import Storage
    from seepage.study.layers import measure

    path = _result(config, unit)
    began = time.perf_counter()
    try:
        with Lock(Storage(config.locks, write=True), place=f"locks/{unit.name}"):
            if path.exists():
                return None
            found = measure(unit, config)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(json.dumps(found, separators=(",", ":"), allow_nan=False) + "\n")
            part.replace(path)
    except Locked:
        return None
    except (SeepageError, RuntimeError) as e:
        # Out of memory, as like as not: what another unit took. It costs this unit alone.
        return f"{unit.name}: {str(e).partition(chr(10))[0]}"
    print(f"{unit.name}: {time.perf_counter() - began:.1f} s, {path}", flush=True)
    return None


def _page(config: LayersConfig, file: Path) -> Path:
    from seepage.study.layers.page import layers_page

    units = config.units()
    found = {
        u.name: json.loads(_result(config, u).read_text())
        for u in units
        if _result(config, u).exists()
    }
    if all(r["unit"].get("fresh") for r in found.values()):
        raise InputError(f"{config.results}: expected results of a unit, found none; train first")
    assert config.page is not None
    path = Path(config.page)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(layers_page(found, [u.name for u in units], file.as_posix()))
    return path
