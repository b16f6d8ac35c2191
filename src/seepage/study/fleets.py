"""Studies of fleets: each an override of one configuration, trained as far as it is not yet, opened and asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import Field

from seepage.config.audit import AuditConfig
from seepage.config.base import Part
from seepage.config.prepare import prepare
from seepage.config.reading import checked, merge, override
from seepage.fleet import train_prepared
from seepage.store import Run, open_run
from seepage.study.runner import Progress, Result, Study, key_of

__all__ = [
    "FleetSettings",
    "FleetStudy",
    "ended",
    "fleet_key",
    "opened",
    "override_fleets",
    "train_fleet",
    "trained",
]


class FleetSettings(Part):
    """A base configuration, fleets as overrides of it, and where what is found goes.

    runs: where run folders go; results: where small JSON files go; page: the Markdown written from
    them.
    """

    runs: str = "runs/study"
    results: str = "results"
    page: str | None = None
    base: dict[str, Any] = Field(default_factory=dict)
    fleets: dict[str, dict[str, Any]] = Field(min_length=1)

    def audit(self, name: str) -> AuditConfig:
        """The configuration of one fleet."""
        content = merge(self.base, self.fleets[name])
        content["out"] = str(Path(self.runs) / name)
        return checked(AuditConfig, content, f"fleets.{name}")

    def check(self) -> None:
        """Raises InputError for settings that do not fit each other."""


S = TypeVar("S", bound=FleetSettings)


class FleetStudy(Study, Generic[S]):
    """A study whose fleets are trained, then analysed, then told in a page.

    form: the settings that its file is checked by.
    """

    parts = ("train", "analyse", "page")
    form: ClassVar[type[FleetSettings]]

    def __init__(self, settings: S) -> None:
        super().__init__(settings.page, settings.results, settings.runs)
        self.settings = settings

    @classmethod
    def read(
        cls, content: dict[str, Any], where: str, overrides: Sequence[str], places: dict[str, str]
    ) -> Self:
        """From a file's content; overrides change fields of every fleet's configuration.

        Raises InputError naming the file and the field.
        """
        content |= places
        override_fleets(content, overrides)
        settings = checked(cls.form, content, where)
        settings.check()
        return cls(settings)  # type: ignore[arg-type]  # `form` is S

    def progress_of(self, fleet: str) -> str:
        """How many of a fleet's runs have ended, "3 of 8"."""
        there = len(ended(opened(self.settings, fleet)))
        return f"{there} of {self.settings.audit(fleet).plan.models}"


def override_fleets(content: dict[str, Any], overrides: Sequence[str]) -> None:
    """Change fields of every fleet's configuration, "plan.models=64", in a file's content."""
    fleets = content.get("fleets")
    for fleet in fleets.values() if isinstance(fleets, dict) else ():
        # What is no table is refused when the file is checked, by its name.
        if isinstance(fleet, dict):
            override(fleet, overrides)


def train_fleet(
    settings: FleetSettings,
    name: str,
    before: Result,
    save: Callable[[Result], None],
    progress: Progress,
) -> None:
    """The work of a task: the runs of a fleet that are not there yet."""
    train_prepared(prepare(settings.audit(name)), progress.watcher())


def opened(settings: FleetSettings, name: str) -> Run | None:
    """A fleet's run folder; None where there is none."""
    out = settings.audit(name).out
    return open_run(out) if (Path(out) / "manifest.json").exists() else None


def ended(run: Run | None) -> list[int]:
    """Rows of the plan whose runs are done or failed."""
    return [] if run is None else sorted([*run.models.tolist(), *run.failed])


def fleet_key(settings: FleetSettings, name: str, **asked: Any) -> str | None:
    """Digest of a fleet, its runs that ended, and what is asked of it; None where no fleet lies here."""
    run = opened(settings, name)
    if run is None:
        return None
    return key_of({"run": run.manifest["key"], "ended": ended(run), **asked})


def trained(settings: FleetSettings, name: str, progress: Progress) -> Run | None:
    """A fleet's run folder where all of its runs have ended; None, and a line that says so, where not."""
    run, models = opened(settings, name), settings.audit(name).plan.models
    there = len(ended(run))
    if there < models:
        progress.say(f"{name}: {there} of {models} runs are done; not analysed")
        return None
    return run
