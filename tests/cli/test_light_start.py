"""What a command imports: help nothing that computes, commands on stored signals no torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from seepage.fleet.imported import import_arrays
from seepage.plan import half_split

_COMPUTES = {"numba", "numpy", "pyarrow", "scipy", "sklearn", "torch", "zarr"}

# Every command and subcommand is asked for its help in one process.
_HELP = """
import sys, typer
from seepage.cli import app
group = typer.main.get_command(app)
def helps(command, path):
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from helps(inner, [*path, name])
asked = [["--version"], *([*path, "--help"] for path in helps(group, []))]
for words in asked:
    app(words, standalone_mode=False)
print(len(asked), *sorted(sys.modules), file=sys.stderr)
"""


def _imported(code: str, *words: str) -> set[str]:
    """Names of modules that a process of `code` has imported in the end, which it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_help_imports_nothing_that_computes() -> None:
    found = _imported(_HELP)
    assert {"seepage.cli.audit", "typer"} <= found
    assert not found & _COMPUTES


# After each command of one process it is asked whether torch has come in.
_STORED = """
import sys
from seepage.cli import app
for line in sys.argv[1:]:
    try:
        app(line.split(), standalone_mode=False)
    except SystemExit:
        pass
    if "torch" in sys.modules:
        raise SystemExit(f"{line}: torch was imported")
print(*sorted(sys.modules), file=sys.stderr)
"""


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small run of imported arrays."""
    rng = np.random.default_rng(0)
    groups = np.arange(60) // 2
    member = half_split(60, models=8, seed=0, groups=groups).member
    phi = rng.normal(size=(8, 3, 60)) + member[:, None]
    labels = rng.integers(0, 3, 60)
    out = tmp_path_factory.mktemp("stored") / "run"
    arrays = {"member": member, "phi": phi, "labels": labels, "groups": groups}
    import_arrays(arrays | {"correct": phi > 0, "loss": np.logaddexp(0, -phi)}, out)
    return str(out)


def test_commands_on_stored_signals_never_import_torch(stored: str) -> None:
    found = _imported(
        _STORED,
        f"check {stored} --max-auc 1",
        f"attack {stored} -a lira -a rmia --by class",
        f"dynamics show {stored}",
        f"dynamics early {stored}",
        f"report {stored}",
    )
    assert "seepage.report.html" in found
