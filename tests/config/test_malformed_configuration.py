"""Odd configurations by the hundred: each is made real or refused in one line, nothing is written."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seepage.config.audit import AuditConfig, read_config
from seepage.config.base import Part
from seepage.config.prepare import prepare
from seepage.data import CopiesWarning
from seepage.errors import SeepageError

pytestmark = pytest.mark.slow
EACH = 1000
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


def tried(path: Path | None, overrides: list[str]) -> bool:
    """Whether it was made real; anything but a refusal in one line fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", CopiesWarning)
            prepare(read_config(path, overrides))
    except SeepageError as error:
        text = " ".join(str(error).splitlines())
        assert 0 < len(text) < 3000
        return False
    return True


def test_every_field_with_odd_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fields, accepted = _fields(), 0
    for seed in range(EACH):
        rng = np.random.default_rng([0, seed])
        chosen = []
        for _ in range(int(rng.integers(1, 3))):
            field = fields[int(rng.integers(len(fields)))]
            value = VALUES[int(rng.integers(len(VALUES)))]
            if field == "data.root" and value == "/":
                continue
            chosen.append(f"{field}={json.dumps(value)}")
        # Small, so that what is accepted is quick.
        accepted += tried(None, ["data.limit=60", *chosen])
        assert os.listdir(tmp_path) == []
    assert accepted > 10


def test_files_of_odd_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
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
        path = tmp_path / "audit.toml"
        path.write_bytes(raw)
        tried(path, [])
        assert os.listdir(tmp_path) == ["audit.toml"]
