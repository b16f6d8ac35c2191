"""The configuration of an audit: TOML in, checked values out, before anything is trained."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from seepage.config.reading import checked, read_toml
from seepage.errors import InputError

__all__ = ["AuditConfig", "Part", "merge", "override", "read_config"]


class Part(BaseModel):
    """A table of the configuration: unknown fields are errors, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Part):
    """[data]: which pool. `name` is a dataset's name or a path; see docs/data.md."""

    name: str = "digits"
    root: str | None = None
    part: Literal["train", "test", "both"] = "train"
    limit: int | None = Field(None, ge=2)
    seed: int = Field(0, ge=0)
    download: bool = False
    label: str | None = None
    test: str | None = None
    columns: list[str] | None = None
    id_column: str | None = None
    drop: list[str] = []
    categorical: list[str] = []
    missing: Literal["refuse", "indicator"] | None = None
    size: int | tuple[int, int] | None = None
    label_noise: float = Field(0.0, ge=0, le=1)


class CanaryConfig(Part):
    """[plan.canaries]: how many samples of each kind are planted to be found."""

    mislabelled: int = Field(0, ge=0)
    blank: int = Field(0, ge=0)
    duplicated: int = Field(0, ge=0)


class PlanConfig(Part):
    """[plan]: who trains on what. `parts`, 4 unless told, is for kind = "subsets" alone."""

    kind: Literal["half_split", "subsets", "leave_out"] = "half_split"
    models: int = Field(32, ge=2, le=100_000)
    parts: int | None = Field(None, ge=2)
    seed: int = Field(0, ge=0)
    canaries: CanaryConfig = CanaryConfig()


class ModelConfig(Part):
    """[model]: a reference network by name with its options, or "package.module:factory"."""

    name: str = "mlp"
    options: dict[str, Any] = {}


class RecordConfig(Part):
    """[record]: when to look and what to write down.

    `curvature` names an estimator, `layers` is true for every block or a list of patterns; both
    cost time at every checkpoint (`curvature_checkpoints` limits it to some epochs).
    """

    checkpoints: Literal["log", "every"] | int | list[float] = "log"
    views: list[str] = ["identity"]
    logits: bool = False
    keep: Literal["none", "final", "all"] = "final"
    curvature: Literal["exact", "zeroth-order", "hutchinson", "finite-difference"] | None = None
    curvature_options: dict[str, Any] = {}
    curvature_checkpoints: list[float] | None = None
    layers: bool | list[str] = False
    layer_options: dict[str, Any] = {}


class FleetConfig(Part):
    """[fleet]: how the runs are spread over this machine or many."""

    workers: int | None = Field(None, ge=1)
    threads: int = Field(1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    backend: Literal["auto", "process", "stacked", "graphs", "compiled"] = "auto"
    executor: Literal["local", "inline", "ray"] = "local"
    address: str | None = None
    save_every: float = Field(30.0, ge=0)


class AttackConfig(Part):
    """[attacks]: which attacks judge; all of the table by default."""

    names: list[str] | None = None
    main: str = "lira"


class DefenseConfig(Part):
    """[defense]: a defence by name with its options; `reference` samples are set apart for it."""

    name: str = "none"
    options: dict[str, Any] = {}
    reference: int = Field(0, ge=0)


class AuditConfig(Part):
    """One audit: data, plan, model, recipe, what is recorded, who attacks, where it goes."""

    out: str = "runs/audit"
    report: str | None = None
    data: DataConfig = DataConfig()
    plan: PlanConfig = PlanConfig()
    model: ModelConfig = ModelConfig()
    recipe: dict[str, Any] = {}
    record: RecordConfig = RecordConfig()
    fleet: FleetConfig = FleetConfig()
    attacks: AttackConfig = AttackConfig()
    defense: DefenseConfig = DefenseConfig()


def _value(text: str) -> Any:
    """A value of `--set`: JSON or TOML if it is, else the text itself."""
    for parse in (json.loads, lambda t: tomllib.loads(f"v = {t}")["v"]):
        try:
            return parse(text)
        except ValueError:
            continue
    return text


def override(content: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set fields of a read configuration in place; each of `overrides` is "table.field=value"."""
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"--set: expected table.field=value, got {text!r}")
        at = content
        *tables, field = name.split(".")
        for table in tables:
            at = at.setdefault(table, {})
            if not isinstance(at, dict):
                raise InputError(f"--set: {name}: {table} is a value, not a table")
        at[field] = _value(value)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables, the second's values first."""
    out = dict(base)
    for key, value in over.items():
        there = out.get(key)
        both = isinstance(value, Mapping) and isinstance(there, Mapping)
        out[key] = merge(there, value) if both else value  # type: ignore[arg-type]
    return out


def read_config(path: Path | None, overrides: Sequence[str] = ()) -> AuditConfig:
    """Read and check a configuration; `overrides` are "table.field=value".

    Raises InputError naming the file, the field, what was expected and what came.
    """
    content = {} if path is None else read_toml(path, "a configuration file")
    override(content, overrides)
    return checked(AuditConfig, content, str(path or "configuration"))
