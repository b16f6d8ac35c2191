"""Files of studies and comparisons, and a column of one's own: odd ones by the hundred."""

from __future__ import annotations

import csv
import json
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from malformed import Tally, changed, damaged
from seepage.cli.early import _own
from seepage.comparison.config import ComparisonConfig
from seepage.study import read_study

pytestmark = pytest.mark.slow
EACH = 300
Record = Callable[[str, object], None]
FLEET = {
    "data": {"name": "digits", "limit": 100},
    "plan": {"models": 8, "seed": 1},
    "model": {"name": "mlp", "options": {"hidden": [4]}},
    "recipe": {"epochs": 2, "batch": 64, "lr": 0.05},
}
PLACES = {"runs": "runs", "results": "results", "page": "page.md"}
FILES: dict[str, dict[str, Any]] = {
    "dynamics": {
        "kind": "dynamics", **PLACES, "base": FLEET, "aside": 0.25, "null_draws": 2,
        "fleets": {"a": {"recipe": {"optimizer": "sgd"}}, "b": {"recipe": {"optimizer": "sam", "rho": 0.05}}},
        "factors": {"sgd": "a", "sam": "b", "datasets": ["a"], "architectures": ["a", "a"]},
    },
    "rates": {
        "kind": "rates", **PLACES, "base": FLEET, "fleets": {"a": {}},
        "rates": {"reference": 64, "sizes": [8, 16], "tolerance": 0.1, "coverage": 0.9},
    },
    "attacks": {
        "kind": "attacks", **PLACES, "base": FLEET, "fleets": {"a": {}, "b-c": {"recipe": {"lr": 0.1}}},
        "attacks": ["loss", "lira", "seqmia"], "sizes": [4, 6], "parts": {"seqmia": {"models": 4, "samples": 50}}, "null_draws": 1,
    },
    "language": {
        "kind": "language", **PLACES,
        "base": {
            "data": {"name": "python-topics", "task": "language", "context": 32, "long": "split", "limit": 100, "copies": "drop"},
            "start": {"samples": 40, "weights": "start.safetensors"}, "plan": {"models": 8}, "model": {"name": "gpt"},
            "recipe": {"epochs": 2, "lr": 0.001}, "record": {"checkpoints": [0, 1, 2]},
        },
        "fleets": {"full": {}, "low-rank": {"model": {"adapter": {"rank": 2}}}, "held": {"data": {"repeats": [1, 2]}}},
        "attacks": ["loss", "lira:min_k"], "course": ["lira"], "copies": ["loss"], "null_draws": 1,
    },
    "layers": {
        "kind": "layers", "locks": "runs", "results": "results", "page": "page.md", "architectures": ["cnn-2", "cnn-4"],
        "datasets": ["fashion-mnist"], "noise": [0.0, 0.2], "seeds": [0, 1], "added": [], "changes": ["x"],
        "controls": ["cnn-4"], "members": 100, "checkpoints": [0, 0.5, 1, 2], "samples": 50, "images": 4, "probes": 8,
        "patch": 4, "patch_images": 2, "attack_seeds": 2, "passes": 4, "recipe": {"batch": 64, "lr": 0.05},
        "recipes": {"cnn-2": {"batch": 32}},
    },
    "curvature": {
        "kind": "curvature", **PLACES, "changes": ["x"],
        "tables": {"digits": {"data": FLEET["data"], "model": {"name": "mlp"}, "models": 8, "scored": 20, "recipe": FLEET["recipe"]}},
        "sizes": {"table": "digits", "sizes": [20, 40], "targets": 1, "scored": 20, "every": 10},
        "private": {"data": FLEET["data"], "model": {"name": "mlp"}, "models": 8, "recipe": FLEET["recipe"], "epsilons": [1, 4], "scored": 20},
        "estimators": {"tables": ["digits"], "models": 4, "samples": 20, "probes": [2, 4]},
        "mislabel": {"digits": {"data": FLEET["data"], "model": {"name": "mlp"}, "recipe": FLEET["recipe"], "rates": [0.1]}},
    },
}  # fmt: skip
COMPARISON: dict[str, Any] = {
    "runs": "runs", "results": "results", "report": "r.html", "page": "p.md", "seeds": [0, 1], "top": 2,
    "attacks": ["lira", "rmia"], "fprs": [0.01, 0.001], "base": FLEET,
    "pools": {"one": {"data": {"limit": 80}}, "two": {}}, "again": ["dp"], "fleets": ["none"],
    "fgsm": {"epsilon": 0.03, "models": 2, "samples": 10},
    "defences": [
        {"name": "relaxloss", "grid": {"alpha": [0.3, 0.6]}},
        {"name": "label-smoothing", "label": "ls", "options": {"smoothing": 0.1}, "pools": ["one"], "recipe": {"lr": 0.5}},
    ],
    "pptp": {"bases": ["relaxloss"], "variants": ["two-phase"], "regions": ["head"], "models": 2, "budget": 0.01, "tau": 0.1},
}  # fmt: skip


def toml(value: Any) -> str:
    """A value as TOML writes it; raises ValueError for what it has no way to write."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            value.encode()
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return "{ " + ", ".join(f"{toml(k)} = {toml(v)}" for k, v in value.items()) + " }"
    raise ValueError(f"no TOML for {value!r}")


def odd_files(content: dict[str, Any], path: Path, seed: int) -> tuple[bytes, str] | None:
    """The file with one or two values changed, or bytes damaged; None where TOML cannot say it."""
    rng = np.random.default_rng([seed])
    where = []
    for _ in range(int(rng.integers(1, 3))):
        content, at = changed(content, rng)
        where.append(at)
        if not isinstance(content, dict):
            return None
    try:
        raw = "".join(f"{toml(k)} = {toml(v)}\n" for k, v in content.items()).encode()
    except ValueError:
        return None
    if seed % 5 == 0:
        raw, where = damaged(raw, rng), ["bytes"]
    path.write_bytes(raw)
    return raw, ", ".join(where)


@pytest.mark.parametrize("kind", FILES)
def test_study_files(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    monkeypatch.chdir(tmp_path)
    tally, path = Tally(f"studies of {kind}", tmp_path), tmp_path / "study.toml"
    seed = 0
    while tally.inputs < EACH:
        seed += 1
        given = odd_files(FILES[kind], path, seed)
        if given is None:
            continue

        def read() -> Any:
            study = read_study(path)
            said = tomllib.loads(path.read_text("utf-8"))
            if isinstance(said.get("results"), str):
                assert str(study.results) == said["results"]
            study.listing(study.names)
            return study

        tally.read(read, given[0].decode(errors="replace"), "other values that are allowed")
    tally.close(record_property)


def test_comparison_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    monkeypatch.chdir(tmp_path)
    tally, path = Tally("comparisons of defences", tmp_path), tmp_path / "defences.toml"
    seed = 0
    while tally.inputs < EACH:
        seed += 1
        given = odd_files(COMPARISON, path, seed)
        if given is None:
            continue

        def read() -> Any:
            config = ComparisonConfig.from_toml(path)
            said = tomllib.loads(path.read_text("utf-8"))
            for name in ("seeds", "fprs", "attacks", "top", "runs"):
                if name in said:
                    held = getattr(config, name)
                    assert (list(held) if isinstance(held, tuple) else held) == said[name]
            return config

        tally.read(read, given[0].decode(errors="replace"), "other values that are allowed")
    tally.close(record_property)


def test_columns_of_ones_own(tmp_path: Path, record_property: Record) -> None:
    """`dynamics difficulty --column`: the numbers that Python's own reader finds."""
    ids = [f"s{i}" for i in range(20)]
    text = "id,value\n" + "".join(f"{i},{k / 7:.4f}\n" for k, i in enumerate(ids))
    tally, path = Tally("columns (CSV)", tmp_path), tmp_path / "own.csv"
    for seed in range(EACH):
        path.write_bytes(damaged(text.encode(), np.random.default_rng([9, seed])))

        def read() -> Any:
            found = _own(path, ids)
            with path.open(newline="", encoding="utf-8-sig") as file:
                said = {row["id"]: float(row["value"]) for row in csv.DictReader(file)}
            wanted = [said.get(i, math.nan) for i in ids]
            np.testing.assert_array_equal(found, wanted)
            return found

        tally.read(read, seed, "damaged, and still a number for every id that is there")
    tally.close(record_property)
