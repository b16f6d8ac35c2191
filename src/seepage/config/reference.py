"""The reference of every option, made from the objects themselves: for `seepage config` and docs."""

from __future__ import annotations

import collections.abc
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from seepage.config.audit import AuditConfig
from seepage.config.base import Part, table_of

__all__ = ["Entry", "entries", "markdown"]


@dataclass(frozen=True)
class Entry:
    """One field: its dotted name, type, default and limits in words, its sentence, an example."""

    name: str
    type: str
    default: str
    description: str
    example: str


# A value to show where the default is none or empty.
_EXAMPLES: dict[str, str] = {
    "report": '"report.html"',
    "data.repeats": "[1, 2, 4, 8]",
    "data.root": '"data"',
    "data.limit": "10000",
    "data.label": '"income"',
    "data.test": '"test.csv"',
    "data.columns": '["age", "income"]',
    "data.id_column": '"record"',
    "data.group": '"patient"',
    "data.header": "false",
    "data.mapped": "true",
    "data.delimiter": '";"',
    "data.drop": '["name"]',
    "data.categorical": '["postcode"]',
    "data.missing": '"indicator"',
    "data.size": "32",
    "data.context": "256",
    "data.long": '"cut"',
    "data.vocabulary": '"tokenizer.json"',
    "data.documents": '"paragraphs"',
    "data.text": '"note"',
    "plan.parts": "4",
    "plan.members": "1000",
    "model.options": "{ hidden = [128, 64] }",
    "model.version": '"2"',
    "model.files": '["vocabulary.txt"]',
    "model.weights": '"pretrained.safetensors"',
    "model.frozen": '["features.*"]',
    "model.reset": '["head.*"]',
    "model.adapter.targets": '["features.*"]',
    "start.weights": '"runs/start.safetensors"',
    "train.function": '"yourpackage.training:train"',
    "train.version": '"2"',
    "train.files": '["vocabulary.txt"]',
    "record.curvature": '"exact"',
    "record.noise": "0.5",
    "record.curvature_options": "{ n = 20 }",
    "record.curvature_checkpoints": "[10, 40]",
    "record.layer_options": "{ samples = 1000 }",
    "execution.workers": "4",
    "execution.address": '"10.0.0.1:6379"',
    "attacks.names": '["lira", "rmia"]',
    "defense.options": "{ gamma = 0.9 }",
    "label_game.law": "[0.7, 0.3]",
}


def entries(kind: type[Part] = AuditConfig, table: str = "") -> Iterator[Entry]:
    """Every field that a file can set, in the order in which its table states them.

    >>> [e.name for e in entries()][:2]
    ['out', 'report']
    """
    inner: list[tuple[type[Part], str]] = []
    for name, field in kind.model_fields.items():
        if field.exclude:
            continue  # from Python alone
        full = f"{table}.{name}" if table else name
        annotation = field.annotation
        if (table_kind := _part(annotation)) is not None:
            inner.append((table_kind, full))
            continue
        default = _toml(field.default)
        yield Entry(
            full,
            _type(annotation) + _limits(field),
            "none" if field.default in (None, {}, [], ()) else default,
            str(field.description),
            _EXAMPLES.get(full, default),
        )
    for part, full in inner:
        yield from entries(part, full)


def _type(annotation: Any) -> str:
    if annotation is Any:
        return "any"
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " | ".join(_toml(a) for a in inside)
    if origin in (Union, types.UnionType):
        named = (a for a in inside if typing.get_origin(a) is not collections.abc.Callable)
        return " | ".join(_type(a) for a in named if a is not type(None))
    if origin in (list, tuple):
        return f"list of {_type(inside[0])}"
    if origin is dict:
        return "table"
    names = {str: "text", bool: "true | false", int: "integer", float: "number"}
    return names.get(annotation, str(getattr(annotation, "__name__", annotation)))


def _limits(field: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    told = []
    for limit in field.metadata:
        for key, word in words.items():
            if getattr(limit, key, None) is not None:
                told.append(f"{word} {getattr(limit, key)}")
    return f", {' and '.join(told)}" if told else ""


def _toml(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "{}"
    if value is None:
        return "none"
    if isinstance(value, tuple):
        value = list(value)
    return json.dumps(value)


def markdown() -> str:
    """The reference as a page: a section per table, a row per field.

    >>> "## [recipe]" in markdown()
    True
    """
    out = [
        "# Configuration reference",
        "",
        "Every field that `seepage audit`, `train` and `doctor` read from a TOML file or from",
        "`--set table.field=value`, and that `seepage.Record`, `seepage.Execution`,",
        "`seepage.Recipe`, `seepage.Model` and `seepage.Function` take in Python.",
        "This page is written by `seepage config --markdown`.",
    ]
    tables = {"": AuditConfig} | {e: k for k, e in _tables(AuditConfig)}
    rows = list(entries())
    for table, kind in tables.items():
        mine = [e for e in rows if e.name.rpartition(".")[0] == table]
        if not mine:
            continue
        title = f"[{table}]" if table else "At the top"
        told = (kind.__doc__ or "").strip().splitlines()[0]
        out += ["", f"## {title}", "", told.removeprefix(f"[{table}]: ").capitalize(), ""]
        out += ["| field | type | default | what it says | example |", "|---|---|---|---|---|"]
        for e in mine:
            field = e.name.rpartition(".")[2]
            cells = (
                f"`{field}`",
                e.type.replace("|", "\\|"),
                f"`{e.default}`",
                e.description,
                f"`{field} = {e.example}`",
            )
            out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def _tables(kind: type[Part], table: str = "") -> Iterator[tuple[type[Part], str]]:
    for name, field in kind.model_fields.items():
        inner = _part(field.annotation)
        if inner is not None:
            full = f"{table}.{name}" if table else name
            yield inner, full
            yield from _tables(inner, full)


def _part(annotation: Any) -> type[Part] | None:
    kind = table_of(annotation)
    return kind if kind is not None and issubclass(kind, Part) else None
