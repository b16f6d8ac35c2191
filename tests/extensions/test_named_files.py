"""Names of the form "path/file.py:Name": the file is executed once, what is wrong is one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.tiny_fleet import fleet

from seepage.config.model import as_model
from seepage.errors import InputError
from seepage.extensions import resolve

CODE = """
from beside import width
from torch import nn

COUNT = []
COUNT.append(1)

def make():
    return nn.Linear(width, 3)

class Of:
    inner = staticmethod(make)

def _private():
    return 1
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a factory that imports what lies beside it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "beside.py").write_text("width = 4\n")
    (tmp_path / "a b" / "net.py").write_text(CODE)
    return tmp_path / "a b" / "net.py"


def found(name: str) -> Any:
    return resolve("model", name, {}, accepts=lambda f: True, expected="anything")


def test_a_factory_in_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_model(f"{file}:make").make((4,), 3).in_features == 4
    assert found(f"{file}:make") is found(f"{file}:Of.inner")
    monkeypatch.chdir(file.parent)
    assert found("net.py:COUNT") == [1]  # executed once, whatever it was called
    file.write_text(CODE.replace("append(1)", "append(2)"))
    assert found("net.py:COUNT") == [2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{}:mak", "model: expected a public 'mak' in .*net.py, found none; did you mean 'make'"),
        ("{}:_private", "expected a public '_private'"),
        ("{}:Of.outer", "expected a public 'outer'"),
        ("nowhere.py:make", "model: expected a Python file at nowhere.py, got No such file"),
        ("{}/x.py:make", "model: expected a Python file at .*x.py, got"),
    ],
)
def test_names_that_lead_nowhere(file: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        found(name.format(file))
    assert "\n" not in str(raised.value)


def test_a_file_that_raises(file: Path) -> None:
    before = set(sys.modules)
    file.write_text("1 / 0\n")
    with pytest.raises(InputError, match="raised ZeroDivisionError: division by zero while it was"):
        found(f"{file}:make")
    assert not [m for m in set(sys.modules) - before if m.startswith("seepage_file")]


def test_options_belong_to_reference_networks(file: Path) -> None:
    from seepage.config import Model

    with pytest.raises(InputError, match="a factory takes no arguments"):
        as_model(Model(name=f"{file}:make", options={"width": 2}))


def test_workers_train_a_network_from_a_file(file: Path, tmp_path: Path) -> None:
    run = fleet(tmp_path / "run", model=f"{file}:make", workers=2)
    assert len(run.models) == 4
    assert run.manifest["key"]["model"]["name"] == f"{file}:make"
