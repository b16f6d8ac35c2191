"""The study of curvature as tasks, in the order in which they are most worth their time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from seepage.config.reading import checked, override
from seepage.study.curvature.mislabel import mislabel_unit
from seepage.study.curvature.page import curvature_page
from seepage.study.curvature.private import budgets, private_unit
from seepage.study.curvature.runs import StudyRuns
from seepage.study.curvature.settings import CurvatureSettings
from seepage.study.curvature.sizes import matched_unit, size_unit
from seepage.study.curvature.table import estimators_unit, table_unit
from seepage.study.runner import Progress, Result, Study, Task, key_of

__all__ = ["CurvatureStudy"]

ANALYSIS = 1
"""Raised when a unit gives other figures for the same settings."""

Find = Callable[[StudyRuns], dict[str, Any]]


class CurvatureStudy(Study):
    """Units that each train what they need and evaluate it; claims C1 to C8."""

    kind = "curvature"
    parts = ("page",)

    def __init__(self, settings: CurvatureSettings) -> None:
        super().__init__(settings.page, settings.results, settings.runs)
        self.settings = settings
        self._tasks = {t.name: t for t in self._listed()}

    @classmethod
    def read(
        cls, content: dict[str, Any], where: str, overrides: Sequence[str], places: dict[str, str]
    ) -> CurvatureStudy:
        """From a file's content; overrides are "table.field=value" within it."""
        content |= places
        override(content, overrides)
        return cls(checked(CurvatureSettings, content, where))

    @property
    def names(self) -> list[str]:
        """Tables first, then what rests on them.

        >>> from seepage.study.curvature.settings import TableSettings
        >>> CurvatureStudy(CurvatureSettings(tables={"digits": TableSettings()})).names
        ['table-digits']
        """
        return list(self._tasks)

    def tasks(self, names: Sequence[str], only: str | None = None) -> list[Task]:
        """One per unit: training and analysis are one."""
        return [self._tasks[n] for n in names]

    def listing(self, names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
        """Which units are done."""
        return ["unit", "done"], [[n, "yes" if self._tasks[n].done() else "no"] for n in names]

    def markdown(self, results: Mapping[str, Any], file: str) -> str:
        """Verdicts, then a section for each part."""
        return curvature_page(results, self.settings, self.names, file)

    def _listed(self) -> list[Task]:
        """What shares a fleet comes after the first that trains it."""
        s = self.settings
        out: list[Task] = []
        for n, table in s.tables.items():
            out.append(self._task(f"table-{n}", partial(table_unit, name=n), [table]))
        if s.sizes is not None:
            rests = [s.sizes, s.tables[s.sizes.table]]
            for order in ("random", "lowest"):
                after = [f"table-{s.sizes.table}"]
                for m in s.sizes.sizes:
                    find = partial(size_unit, asked=s.sizes, order=order, size=m)
                    out.append(self._task(f"size-{order}-m{m}", find, rests, after=after))
                    after = [after[0], f"size-{order}-m{s.sizes.sizes[0]}"]
        if s.matched is not None:
            for m in s.matched.sizes:
                find = partial(matched_unit, given=s.matched, size=m)
                out.append(self._task(f"size-matched-m{m}", find, [s.matched], without="sizes"))
        if s.private is not None:
            for name in budgets(s.private):
                find = partial(private_unit, given=s.private, name=name)
                out.append(self._task(f"dp-eps-{name}", find, [s.private], without="epsilons"))
        if s.estimators is not None:
            for n in s.estimators.tables:
                find = partial(estimators_unit, asked=s.estimators, name=n)
                rests, after = [s.estimators, s.tables[n]], [f"table-{n}"]
                name = f"estimators-{n}"
                out.append(self._task(name, find, rests, without="tables", after=after))
        for n, given in s.mislabel.items():
            for rate in given.rates:
                find = partial(mislabel_unit, given=given, name=n, rate=rate)
                name = f"mislabel-{n}-{100 * rate:g}"
                out.append(self._task(name, find, [given], without="rates"))
        return out

    def _task(
        self,
        name: str,
        find: Find,
        rests: Sequence[BaseModel],
        *,
        without: str = "",
        after: Sequence[str] = (),
    ) -> Task:
        """rests: the parts of the settings that its result rests on, but for the field `without`."""
        asked = {
            "analysis": ANALYSIS,
            "unit": name,
            "probes": self.settings.probes,
            "step": self.settings.step,
            "settings": [r.model_dump(mode="json", exclude={without}) for r in rests],
        }
        return Task(
            name,
            partial(_found, name, find, self.settings),
            Path(self.results) / f"{name}.json",
            key_of(asked),
            after=tuple(after),
        )


def _found(
    name: str,
    find: Find,
    settings: CurvatureSettings,
    before: Result,
    save: Callable[[Result], None],
    progress: Progress,
) -> Result:
    began = time.perf_counter()
    found = find(StudyRuns(settings, progress.watcher))
    return {"unit": name, **found, "unit_seconds": round(time.perf_counter() - began, 1)}
