"""Names that users write: found, refused in one line, and never in place of what is installed."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

import pytest

from seepage.errors import InputError
from seepage.extensions import names, resolve, searched


class Base:
    pass


def is_kind(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Base)


def ask(name: str) -> object:
    return resolve("attack", name, {"ours": Base}, accepts=is_kind, expected="a subclass of Base")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    return tmp_path


def test_own_names_come_first() -> None:
    assert ask("ours") is Base


def test_a_file_in_the_working_directory_is_found(here: Path) -> None:
    (here / "mine_found.py").write_text("import pathlib\nclass Mine: pass\n")
    found = resolve("model", "mine_found:Mine", {}, accepts=callable, expected="a function")
    assert found.__name__ == "Mine"
    assert sys.path[-1] == str(here)


def test_an_installed_module_is_never_replaced_by_one_that_lies_here(here: Path) -> None:
    (here / "rich.py").write_text("raise SystemExit('hostile')\n")
    with pytest.raises(InputError, match="expected 'rich:print' to name a subclass of Base"):
        ask("rich:print")


def test_what_lies_here_comes_last_even_where_python_has_it_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `python -c`, notebooks and the interactive prompt have it."""
    here, site = tmp_path / "here", tmp_path / "site"
    for place, kind in ((here, "hostile"), (site, "installed")):
        place.mkdir()
        (place / "plug_twice.py").write_text(f"class Mine: kind = {kind!r}\n")
        meta = place / f"plug_{kind}-1.0.dist-info"
        meta.mkdir()
        (meta / "METADATA").write_text(f"Name: plug-{kind}\nVersion: 1.0\n")
        points = "[seepage.attacks]\ntwice = plug_twice:Mine\n"
        (meta / "entry_points.txt").write_text(points)
    (here / "plug_here.py").write_text("class Mine: pass\n")
    monkeypatch.chdir(here)
    path = ["", *(p for p in sys.path if p), str(site)]
    monkeypatch.setattr(sys, "path", list(path))

    def ask_for(name: str) -> type:
        found: type = resolve("attack", name, {}, accepts=callable, expected="a class")
        return found

    assert ask_for("plug_twice:Mine").kind == "installed"  # type: ignore[attr-defined]
    del sys.modules["plug_twice"]
    assert names("attack", {}).count("twice") == 1
    assert importlib.metadata.entry_points(group="seepage.attacks", name="twice")
    assert ask_for("twice").kind == "installed"  # type: ignore[attr-defined]
    del sys.modules["plug_twice"]
    assert ask_for("plug_here:Mine").__name__ == "Mine"
    assert sys.path == path, "the user's own order stays"
    assert searched().split(os.pathsep)[-1] == str(here)


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        (None, "nowhere_at_all:Mine", "expected a module 'nowhere_at_all' for .* found none"),
        ("raise ValueError('no luck')", "m_raises:Mine", "raised ValueError: no luck while it was"),
        ("raise SystemExit(3)", "m_exits:Mine", "raised SystemExit: 3 while it was imported"),
        ("import no_such_thing", "m_needs:Mine", "raised ModuleNotFoundError: .*no_such_thing"),
        ("class Mine: pass", "m_other:Mine", "to name a subclass of Base, got the class Mine"),
        ("x = 3", "m_value:x", "got a value of type int"),
        ("class Mine: pass", "m_missing:Mina", "expected 'Mina' in 'm_missing', found none; did"),
        ("class _Mine: pass", "m_private:_Mine", "whose '_Mine' is private"),
        ("import os", "m_through:os.system", "lies in the standard library"),
        ("from os import system", "m_borrowed:system", "lies in the standard library"),
        (None, "os:system", "lies in the standard library"),
        (None, "builtins:eval", "lies in the standard library"),
        (None, "orus", "got 'orus'; did you mean 'ours'"),
        (None, "a:b:c", "expected a known name or 'package.module:Name', got 'a:b:c'"),
    ],
)
def test_refusals_are_one_line(here: Path, text: str | None, name: str, says: str) -> None:
    if text is not None:
        (here / f"{name.partition(':')[0]}.py").write_text(text + "\n")
    with pytest.raises(InputError, match=says) as refused:
        ask(name)
    assert "\n" not in str(refused.value)


def test_entry_points_are_listed_and_loaded_only_when_named(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "plug_good.py").write_text(
        "from tests_extension_base import Base\nclass Mine(Base): pass\n"
    )
    (here / "plug_bad.py").write_text("raise RuntimeError('loaded')\n")
    monkeypatch.setitem(sys.modules, "tests_extension_base", sys.modules[__name__])
    monkeypatch.syspath_prepend(str(here))
    points = [
        importlib.metadata.EntryPoint("good", "plug_good:Mine", "seepage.attacks"),
        importlib.metadata.EntryPoint("bad", "plug_bad:Mine", "seepage.attacks"),
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    assert names("attack", {"ours": Base}) == ["ours", "good", "bad"]
    assert "plug_bad" not in sys.modules
    assert is_kind(ask("good"))
    with pytest.raises(InputError, match=r"entry point 'bad' .* raised RuntimeError: loaded"):
        ask("bad")
