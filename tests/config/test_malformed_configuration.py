"""Odd configurations by the hundred: each is made real or refused in one line, nothing is written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from malformed import Tally
from seepage.config.audit import AuditConfig, read_config
from seepage.config.base import Part
from seepage.config.prepare import prepare

pytestmark = pytest.mark.slow
EACH = 1000
Record = Callable[[str, object], None]
VALUES: tuple[Any, ...] = (
    0, 1, -1, 2, 3, 7, 64, 0.5, 1e-30, 1e308, -1e308, float("nan"), float("inf"), 10**30, True, False, None,
    "", "a", "x:y", "os:system", "../x", "/", "/dev/null", "\0", "\udcff", "x" * 300, "[/x]", "é", "NaN",
    "identity", "loss", "lira", "mlp", "cnn", "digits", "none", "log", "auto", [], [0], ["a"], ["loss"], [1, 2],
    [0.0, 0.5], [float("nan")], [[]], {}, {"a": 1}, {"hidden": [4]}, {"hidden": []}, {"": {}},
)  # fmt: skip
TEXTS = (
    "[", "]", "=", "a", "[plan", "plan = 3", "[plan]\nmodels = 8", "[[plan]]", "x = 'y'", '"""', "\0", "\t", "\r",
    "a.b.c = 1", "[recipe]\nlr = 1e400", "[data]\nlimit = 9999999999999999999999", "é = 1", "[a]\n[a]", "# c",
    "= 1", "out = ''", "inf", "nan", "1979-05-27", "[record]\nsignals = [[[[1]]]]",
)  # fmt: skip


def _fields(kind: type[Part] = AuditConfig, prefix: str = "") -> list[str]:
    found = []
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Part):
            found += _fields(inner, f"{prefix}{name}.")
        found.append(prefix + name)
    return found


def as_said(config: Part, said: Mapping[str, Any]) -> None:
    """Every value of the file is the configuration's, and of no other type."""
    for name, value in said.items():
        held = getattr(config, name)
        if isinstance(held, Part):
            as_said(held, value)
            continue
        if isinstance(value, list):
            held, value = list(held), list(value)
        assert type(held) is type(value) or isinstance(held, float), (name, held, value)
        assert held == (float(value) if isinstance(held, float) else value), (name, held, value)


def made(path: Path | None, overrides: list[str]) -> AuditConfig:
    """The configuration, made real, as tomllib and json read what was said."""
    config = read_config(path, overrides)
    if path is not None:
        as_said(config, tomllib.loads(path.read_text("utf-8")))
    for text in overrides:
        name, _, value = text.partition("=")
        said: Any = json.loads(value)
        for part in reversed(name.split(".")):
            said = {part: said}
        as_said(config, said)
    prepare(config)
    return config


def test_every_field_with_odd_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    monkeypatch.chdir(tmp_path)
    tally, fields = Tally("fields of a configuration", tmp_path), _fields()
    for seed in range(EACH):
        rng = np.random.default_rng([0, seed])
        chosen: dict[str, str] = {}
        for _ in range(int(rng.integers(1, 3))):
            field = fields[int(rng.integers(len(fields)))]
            value = VALUES[int(rng.integers(len(VALUES)))]
            # A table and a field of it say two things; "/" would be searched.
            if not any(field.startswith(f) or f.startswith(field) for f in chosen) and (
                field != "data.root" or value != "/"
            ):
                chosen[field] = f"{field}={json.dumps(value)}"
        # Small, so that what is accepted is quick.
        small = [] if {"data", "data.limit"} & chosen.keys() else ["data.limit=60"]
        given = [*small, *chosen.values()]
        tally.read(lambda given=given: made(None, given), given, f"allowed: {', '.join(chosen)}")
    tally.close(record_property)
    assert tally.accepted.total() > 10


def test_files_of_odd_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    monkeypatch.chdir(tmp_path)
    tally, path = Tally("configuration files", tmp_path), tmp_path / "audit.toml"
    whole = "[data]\nlimit = 60\n[plan]\nmodels = 16\nseed = 3\n[recipe]\nepochs = 2\nlr = 0.1\n"
    for seed in range(EACH):
        rng = np.random.default_rng([1, seed])
        lines = whole.splitlines()
        for _ in range(int(rng.integers(1, 4))):
            lines.insert(int(rng.integers(len(lines) + 1)), TEXTS[int(rng.integers(len(TEXTS)))])
        raw = "\n".join(lines).encode()
        if rng.random() < 0.3:
            at = int(rng.integers(len(raw)))
            raw = raw[:at] + bytes([int(rng.integers(256))]) + raw[at + 1 :]
        path.write_bytes(raw)
        tally.read(lambda: made(path, []), raw, "comments, or other values that are allowed")
    tally.close(record_property)
