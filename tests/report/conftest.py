from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("fake_run", Path(__file__).with_name("fake_run.py"))
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Any]:
    return _module.FakeRun


@pytest.fixture(scope="session")
def run(make_run: Callable[..., Any]) -> Any:
    return make_run(failed={5: "loss became NaN at step 120"})


@pytest.fixture(scope="session")
def findings(run: Any) -> Any:
    from seepage.attacks import LOSS, RMIA, LiRA
    from seepage.report import collect

    return collect(run, attacks=[LOSS(), LiRA(), RMIA()], permutations=2)
