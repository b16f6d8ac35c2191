"""`study` on a file of kind "curvature": units of their own, each with its result, then a page."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from seepage.cli.console import FleetBar, console, errors
from seepage.config.reading import checked, override
from seepage.errors import InputError, SeepageError, nearest

if TYPE_CHECKING:
    from seepage.study.curvature import CurvatureStudy

__all__ = ["read_curvature_study", "run_curvature_study"]


def read_curvature_study(
    content: dict[str, Any], where: Path, overrides: Sequence[str] = ()
) -> CurvatureStudy:
    """The checked study of a read file; overrides are "table.field=value" within the file."""
    from seepage.study.curvature import CurvatureStudy

    override(content, overrides)
    return checked(CurvatureStudy, content, str(where))


def run_curvature_study(
    study: CurvatureStudy, file: Path, only: str | None, asked: Sequence[str], dry_run: bool
) -> None:
    """Every asked unit that has no result yet, one after another, then the page.

    asked: names or patterns ("size-*"); all when empty. No page is written when some are asked
    for, so that processes for some units each can run side by side. A unit that fails is named, the others
    are computed all the same, and the first failure is raised at the end.
    """
    from seepage.study.curvature import Workshop, curvature_page, units

    if only not in (None, "page"):
        raise InputError(
            f"--only: expected page for a study of curvature, whose units train and analyse in "
            f"one, got {only!r}"
        )
    known = units(study)
    names = [n for n in known if not asked or any(fnmatchcase(n, a) for a in asked)]
    for a in asked:
        if not any(fnmatchcase(n, a) for n in known):
            raise InputError(
                f"--fleet: expected units of the study, got {a!r}; {nearest(a, known)}"
            )
    places = {n: Path(study.results) / f"{n}.json" for n in known}
    if dry_run:
        table = Table(title="study: curvature")
        table.add_column("unit")
        table.add_column("done")
        for n in names:
            table.add_row(n, "yes" if places[n].exists() else "no")
        console.print(table)
        return
    failed: list[SeepageError] = []
    if only is None:
        shop = Workshop(study, FleetBar)
        for n in names:
            if places[n].exists():
                continue
            began = time.perf_counter()
            try:
                found = known[n](shop)
            except SeepageError as e:
                failed.append(e)
                errors.print(f"{n}: failed: {e}")
                continue
            seconds = round(time.perf_counter() - began, 1)
            content = {"unit": n, **found, "unit_seconds": seconds}
            text = json.dumps(content, separators=(",", ":"), allow_nan=False)
            places[n].parent.mkdir(parents=True, exist_ok=True)
            part = places[n].with_suffix(".part")
            part.write_text(text + "\n")
            part.replace(places[n])
            errors.print(f"{n}: {seconds:.1f} s, {places[n]}")
    there = {n: json.loads(at.read_text()) for n, at in places.items() if at.exists()}
    if study.page and there and not (asked and only is None):
        page = Path(study.page)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(curvature_page(there, study, file.as_posix()))
        console.print(f"page: {page}")
    elif only == "page" and study.page:
        raise InputError(f"{study.results}: expected results of a unit, found none; run some first")
    if failed:
        raise failed[0]
