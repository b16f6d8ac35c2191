"""The study of layers as tasks: one per unit, all of them independent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from seepage.config.reading import checked, override
from seepage.errors import InputError
from seepage.study.layers.page import layers_page
from seepage.study.layers.plan import LayersConfig, Unit
from seepage.study.layers.unit import measure
from seepage.study.runner import Progress, Result, Study, Task, key_of

__all__ = ["LayersStudy"]

ANALYSIS = 1
"""Raised when `measure` gives other figures for the same settings."""
MEASURED = {
    "members", "checkpoints", "samples", "images", "probes", "patch", "patch_images",
    "attack_seeds", "passes", "gradients", "fit", "judge",
}  # fmt: skip
"""Settings that a unit's result depends on, beside its recipe."""


class LayersStudy(Study):
    """Units trained, probed and attacked; claims A1 to A7."""

    kind = "layers"
    parts = ("train", "page")

    def __init__(self, settings: LayersConfig) -> None:
        super().__init__(settings.page, settings.results, settings.locks, settings.workers)
        self.settings = settings
        self.units = {u.name: u for u in settings.units()}

    @classmethod
    def read(
        cls, content: dict[str, Any], where: str, overrides: Sequence[str], places: dict[str, str]
    ) -> LayersStudy:
        """From a file's content; overrides change its fields, "recipe.lr=0.1"."""
        content |= {"locks" if k == "runs" else k: v for k, v in places.items()}
        override(content, overrides)
        return cls(checked(LayersConfig, content, where))

    @property
    def names(self) -> list[str]:
        """Whole rounds of cells first."""
        return list(self.units)

    def tasks(self, names: Sequence[str], only: str | None = None) -> list[Task]:
        """One per unit: training and measuring are one."""
        return [
            Task(
                n,
                partial(_measured, self.units[n], self.settings),
                Path(self.results) / f"{n}.json",
                _key(self.units[n], self.settings),
            )
            for n in names
        ]

    def listing(self, names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
        """What each unit is, and whether it is measured."""
        rows = []
        for task in self.tasks(names):
            u = self.units[task.name]
            done = "yes" if task.done() else "no"
            rows.append([u.name, u.dataset, f"{u.noise:g}", str(u.seed), done])
        return ["unit", "data", "label noise", "seed", "measured"], rows

    def markdown(self, results: Mapping[str, Any], file: str) -> str:
        """Raises InputError when there is nothing but controls."""
        if all(r["unit"].get("fresh") for r in results.values()):
            raise InputError(
                f"{self.results}: expected results of a unit besides controls, found none; train first"
            )
        s = self.settings
        return layers_page(results, self.names, file, added=s.added, changes=s.changes)


def _key(unit: Unit, config: LayersConfig) -> str:
    return key_of(
        {
            "analysis": ANALYSIS,
            "unit": [unit.architecture, unit.dataset, unit.noise, unit.seed, unit.fresh],
            "recipe": config.training(unit.architecture).model_dump(mode="json"),
            "settings": config.model_dump(mode="json", include=MEASURED),
        }
    )


def _measured(
    unit: Unit,
    config: LayersConfig,
    before: Result,
    save: Callable[[Result], None],
    progress: Progress,
) -> Result:
    return measure(unit, config)
