"""What the documents say can be done: links lead somewhere, commands parse, examples are read."""

from __future__ import annotations

import dataclasses
import importlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from seepage.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PLACE = re.compile(r"`((?:docs|examples|studies|tests|benchmarks)/[\w./-]+\.(?:md|toml|py|sh))`")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ +(.*)$", page.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", h.lower().replace("`", "")) for h in heads)
    return {h.strip().replace(" ", "-") for h in plain}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text())
    dead = []
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue  # elsewhere on the web
        place, _, anchor = target.partition("#")
        file = page if not place else (page.parent / place).resolve()
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in _anchors(file)):
            dead.append(target)
    dead += [p for p in PLACE.findall(text) if not (ROOT / p).exists()]
    assert not dead, f"{_name(page)} names what is not there: {dead}"


def _shell_lines(page: Path) -> Iterator[str]:
    """Command lines of a page, without prompts and comments; continued lines joined."""
    text = page.read_text()
    for language, block in BLOCK.findall(text):
        if language in ("sh", "bash", "shell", "console", ""):
            for line in block.replace("\\\n", " ").splitlines():
                yield line.strip().removeprefix("$ ")
    # Indented blocks, and commands within a sentence.
    yield from (
        m.strip() for m in re.findall(r"^ {4,}((?:\$ )?(?:seepage|make|python) .*)$", text, re.M)
    )


def _words(lines: Iterable[str]) -> list[list[str]]:
    found = []
    for line in lines:
        line = re.split(r"\s+#|\s*[|;>]|\s+&&", line.removeprefix("$ "))[0]
        if re.match(r"(seepage|make|python3? -m) ", line + " ") and "…" not in line:
            found.append(shlex.split(line))
    return found


def _commands(page: Path) -> list[tuple[list[str], bool]]:
    """(words, whole): in a block a command stands whole; in a sentence it may only be named."""
    text = BLOCK.sub("", page.read_text())
    named = re.findall(r"`((?:seepage|make|python -m) [^`]+)`", text)
    return [(w, True) for w in _words(_shell_lines(page))] + [(w, False) for w in _words(named)]


# What a sentence may leave out: arguments, and values that stand as a capital letter.
UNFINISHED = ("NoArgsIsHelpError", "MissingParameter", "BadOptionUsage", "BadParameter")


def _parse(words: list[str]) -> None:
    """Give the words to the command line's own parser; nothing is run."""
    command: Any = typer.main.get_command(app)
    words = [re.sub(r"[\[\]]", "", w) for w in words]
    name = "seepage"
    context = None
    while True:
        group = hasattr(command, "commands")
        if group and words and words[0] in ("--help", "--version"):
            return
        context = command.make_context(name, list(words), parent=context)
        if not group:
            return
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, command, words = command.resolve_command(context, rest)


def test_a_command_that_does_not_parse_is_noticed() -> None:
    for words in (["nothing"], ["audit", "--nothing"], ["check"], ["dynamics", "nowhere", "run"]):
        with pytest.raises(Exception, match=r"(?i)no such|missing|unexpected"):
            _parse(words)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_parses(page: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong = []
    for words, whole in _commands(page):
        line = " ".join(words)
        if words[0] == "make":
            wrong += [
                f"{line}: no such target" for w in words[1:] if w.isalpha() and w not in targets
            ]
        elif words[0] == "seepage":
            try:
                _parse(words[1:])
            except Exception as e:  # click's errors have no common public class here
                if not whole and type(e).__name__ in UNFINISHED:
                    continue
                wrong.append(f"{line}: {getattr(e, 'message', e)}")
        elif words[1:2] == ["-m"] and words[2].partition(".")[0] in ("benchmarks", "seepage"):
            at = ROOT / (words[2].replace(".", "/"))
            at = ROOT / "src" / "seepage" if words[2] == "seepage" else at
            if not (at.with_suffix(".py").exists() or (at / "__main__.py").exists()):
                wrong.append(f"{line}: no such module")
    assert not wrong, f"{_name(page)}: {wrong}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_blocks_of_code_can_be_read(page: Path) -> None:
    for language, block in BLOCK.findall(page.read_text()):
        if language == "python":
            compile(block, _name(page), "exec")
        elif language == "toml":
            tomllib.loads(block)


def _resolve(name: str) -> None:
    """Import what a dotted name names: a module, an object in one, or a field of a dataclass."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if dataclasses.is_dataclass(found) and part in found.__dataclass_fields__:
                return
            found = getattr(found, part)
        return
    raise ModuleNotFoundError(name)


def test_new_names_of_the_migration_notes_import() -> None:
    rows = [
        line.strip("| ").split(" | ")
        for line in (ROOT / "docs" / "migration.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    names = {
        name for row in rows for name in re.findall(r"`(seepage\.[\w.]+)(?:[(\[][^`]*)?`", row[-1])
    }
    assert all(len(row) == 2 for row in rows)
    assert len(names) > 100
    gone = []
    for name in sorted(names):
        try:
            _resolve(name)
        except (ImportError, AttributeError) as e:
            gone.append(f"{name}: {e}")
    assert not gone


def _python_of(page: Path, folder: Path) -> str:
    """The Python blocks of a page as one program; a block that begins `# FILE` is that file."""
    program = []
    for language, block in BLOCK.findall(page.read_text()):
        if language == "python":
            named = re.match(r"# (\w+\.py)\n", block)
            if named:
                (folder / named[1]).write_text(block)
            else:
                program.append(block)
    return "\n".join(program)


@pytest.mark.parametrize("page", ["estimators.md", "extending.md", "migration.md", "one-model.md"])
def test_python_of_the_page_runs(page: str, tmp_path: Path) -> None:
    """In an interpreter of its own, one block after another, in an empty working directory."""
    (tmp_path / "page_run.py").write_text(
        "import warnings\nwarnings.simplefilter('error')\n"
        + _python_of(ROOT / "docs" / page, tmp_path)
    )
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "page_run.py"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# Entry points, and a file.
NO_MODULES = {"seepage.functions", "seepage.readers", "seepage.safetensors"}


def test_names_that_the_pages_spell_come_with_the_package_alone() -> None:
    """`import seepage` is enough for what they write, whatever else has been imported before."""
    spelt: set[str] = set()
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        if page.name != "migration.md":  # names of other versions
            text = re.sub(r"\b(?:from|import) +seepage[\w.]*", "", page.read_text())
            spelt |= set(re.findall(r"(?<![\w/.])seepage(?:\.[A-Za-z_]\w*)+", text))
    asked = """
import pkgutil, sys, types, seepage
for name in sys.argv[1:]:
    for bound, value in [*vars(seepage).items()]:  # by imports of other names
        if isinstance(value, types.ModuleType) and value.__name__ == f"seepage.{bound}":
            delattr(seepage, bound)
    try:
        getattr(seepage, name.split(".")[1])
        pkgutil.resolve_name(name)
    except (AttributeError, ImportError) as error:
        print(name, error)
"""
    known = sorted(spelt - NO_MODULES)
    assert "seepage.data.from_arrays" in known
    told = subprocess.run(
        [sys.executable, "-c", asked, *known], capture_output=True, text=True, check=True
    )
    assert told.stdout == ""
