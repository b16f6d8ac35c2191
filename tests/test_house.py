"""The house keeps its own rules: imports point downward, core stays light, nothing is unpickled."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import seepage

ROOT = Path(seepage.__file__).parent
FLOORS = [
    {
        "array_types",
        "errors",
        "faces",
        "frames",
        "given_arrays",
        "local_paths",
        "remedies",
        "short_repr",
    },
    {"extensions", "native"},
    {"plan", "signals"},
    {"data", "metrics", "models", "tokens"},
    {"attacks", "curvature", "defenses", "epsilon", "layers"},
    {"plane", "probes"},
    {"record", "store"},
    {"config", "lightning", "sklearn", "transformers"},
    {"fleet"},
    {"scoring"},
    {"comparison", "study"},
    {"findings"},
    {"single"},
    {"report"},
    {"cli", "__main__"},
]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def _imports(path: Path) -> set[str]:
    """Rooms of seepage that a module imports when it is itself imported or run."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("seepage."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "seepage":
            rooms |= {a.name for a in node.names if a.name in FLOOR}
        elif isinstance(node, ast.Import):
            rooms |= {a.name.split(".")[1] for a in node.names if a.name.startswith("seepage.")}
    return rooms


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(ROOT.rglob("*.py")) if p != ROOT / "__init__.py"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_imports_point_downward(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    upward = {r for r in _imports(path) if FLOOR[r] > FLOOR[room]}
    assert not upward, f"{room} imports {upward}, which stand above it"


def test_contributors_are_told_the_floors() -> None:
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| \d+ \| ([^|]+) \|", text, re.MULTILINE)
    listed = [set(re.findall(r"`(\w+)`", row)) for row in rows]
    assert listed == [floor - {"__main__"} for floor in FLOORS]


def test_the_report_computes_nothing_itself() -> None:
    """Of the rooms that compute, `report` takes types only; every number comes from `findings`."""
    computing = (
        "attacks",
        "comparison",
        "metrics",
        "plane",
        "plan",
        "epsilon",
        "curvature",
        "layers",
    )
    for path in (ROOT / "report").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            module = getattr(node, "module", None) or ""
            if isinstance(node, ast.ImportFrom) and module.startswith(
                tuple(f"seepage.{room}" for room in computing)
            ):
                for alias in node.names:
                    found = getattr(importlib.import_module(module), alias.name)
                    assert not callable(found) or isinstance(found, type), (path.name, alias.name)


def _modules() -> dict[str, Path]:
    """Every file of the package by the name under which it is imported."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imported(path: Path, modules: dict[str, Path]) -> set[str]:
    """Files that a file imports anywhere: at the top, in a function, or for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = {f"{node.module}.{a.name}" for a in node.names}
            # `from room import file` is an import of the file; of a name, one of the room's face.
            found |= {name for name in inner if name in modules}
            if any(name not in modules for name in inner):
                found.add(node.module)
    return found & set(modules)


def _circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Sets of two or more that reach each other."""
    reach = {a: set(b) for a, b in graph.items()}
    for middle in graph:
        for a in graph:
            if middle in reach[a]:
                reach[a] |= reach[middle]
    mutual = {a: {b for b in reach[a] if a in reach[b]} | {a} for a in graph}
    return [list(c) for c in sorted({tuple(sorted(m)) for m in mutual.values() if len(m) > 1})]


def test_no_circle_of_files() -> None:
    modules = _modules()
    faces = {"seepage"}  # hands names on when they are first used, and is imported by no file
    graph = {m: _imported(p, modules) - {m} for m, p in modules.items() if m not in faces}
    assert not [m for m, inside in graph.items() if "seepage" in inside and m != "seepage.__main__"]
    graph = {m: inside - faces for m, inside in graph.items()}
    assert _circles(graph) == []


def test_no_circle_of_rooms() -> None:
    modules = _modules()
    graph: dict[str, set[str]] = {room: set() for room in FLOOR}
    for name, path in modules.items():
        if name != "seepage":
            room = name.split(".")[1]
            graph[room] |= {m.split(".")[1] for m in _imported(path, modules) if "." in m} - {room}
    assert _circles(graph) == []


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert _circles(graph) == [["a", "b", "c"]]


def test_core_imports_nothing_heavy() -> None:
    code = (
        "import sys, seepage, seepage.cli, seepage.report;"
        "seepage.train, seepage.load, seepage.audit, seepage.Recorder, seepage.Recipe;"
        "heavy = {'torchvision', 'transformers', 'ray', 'lightning', 'opacus', 'plotly', 'art'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_is_unpickled_or_evaluated() -> None:
    forbidden = re.compile(
        r"pickle\.loads?\(|(?<!safetensors\.)torch\.load\((?!.*weights_only=True)"
        r"|allow_pickle=True|yaml\.load\("
        r"|(?<![.\w])eval\(\w|(?<![.\w])exec\("
    )
    for path in ROOT.rglob("*.py"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = line.split("#")[0]
            assert not forbidden.search(code), f"{path.name}:{number}: {line.strip()}"


def test_the_surface_is_there() -> None:
    for name in seepage.__all__:
        assert getattr(seepage, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = seepage.nothing


def test_what_is_given_is_guarded_by_errors_not_by_assert() -> None:
    """`python -O` drops assertions: those that remain tell a type checker what is known anyway."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Assert):
                continue
            narrows = ast.unparse(node.test)
            assert re.fullmatch(r"[\w.\[\]']+ is not None|isinstance\(.*\)", narrows), (
                f"{path.relative_to(ROOT)}, line {node.lineno}: assert {narrows}"
            )


# Options are known by what they print: attacks, defences, estimators. What is computed or loaded is not.
_PRINTED = ("comparison", "data", "epsilon", "findings", "metrics", "plan", "plane", "single")


def test_what_holds_arrays_prints_one_short_line() -> None:
    """A dataclass with arrays shows their shapes: printed by itself, it would flood a terminal."""
    for path in (p for room in _PRINTED for p in (ROOT / room).rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                continue
            above = [ast.unparse(d) for d in node.decorator_list]
            types = [ast.unparse(a.annotation) for a in node.body if isinstance(a, ast.AnnAssign)]
            if not any("dataclass" in d for d in above) or not re.search(
                "Array|Tensor", str(types)
            ):
                continue
            own = [n.name for n in node.body if isinstance(n, ast.FunctionDef)]
            assert "short_repr" in above or "__repr__" in own, f"{path}: {node.name}"


def test_data_plans_and_audits_print_one_short_line() -> None:
    data = seepage.load("digits", limit=60)
    plan = seepage.half_split(len(data), models=4, groups=range(60))
    z = np.random.default_rng(0).normal(size=(60, 10))
    y = data.labels.numpy()
    one = seepage.audit(seepage.single.Recorded(z[:30], z[30:]), y[:30], y[30:], blind=False)
    for value, said in (
        (data, "Dataset(inputs=uint8 (60, 1, 8, 8), labels=int64 (60,), ids=text (60,), classes="),
        (plan, "SubsetPlan(member=bool (4, 60), seeds=uint64 (4,), kind='half_split', seed=0, "),
        (one, "SingleAudit('recorded outputs': not shown, "),
        (one.attacks[0], "OneAttack(name='"),
    ):
        assert repr(value).startswith(said)
        assert len(repr(value)) <= 400
        assert "\n" not in repr(value)


def test_names_that_are_imported_when_used_lead_somewhere_and_are_no_files() -> None:
    """A file of that name would be found instead of the name, once something had imported it."""
    lazy = [p for p in ROOT.rglob("__init__.py") if "lazily(__name__)" in p.read_text()]
    assert len(lazy) >= 5
    for path in lazy:
        room = importlib.import_module(".".join(path.relative_to(ROOT.parent).parts[:-1]))
        assert set(room.__all__) <= set(dir(room))
        for name in set(dir(room)) - set(vars(room)):
            assert getattr(room, name) is not None
            own = path.parent / name
            assert path.parent == ROOT or not (own.is_dir() or own.with_suffix(".py").exists())
