"""What an attack of the package must bring with it: forgetting any of it fails here.

That it has a row in the table of generic tests is said by `test_attack_table.py`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from seepage import attacks
from seepage.attacks import ATTACKS, Access, Attack

DOCS = Path(__file__).parents[2] / "docs"
ROWS = Path(attacks.__file__).read_text()


def defined() -> Iterator[type[Attack]]:
    """Every attack that a file of the room defines, exported or not."""
    for module in pkgutil.walk_packages(attacks.__path__, "seepage.attacks."):
        for name, kind in vars(importlib.import_module(module.name)).items():
            own = inspect.isclass(kind) and kind.__module__ == module.name
            if own and issubclass(kind, Attack) and not inspect.isabstract(kind):
                assert not name.startswith("_"), f"{name} is an attack that nobody can name"
                yield kind


@pytest.mark.parametrize("kind", list(defined()), ids=lambda k: k.__name__)
def test_what_a_file_defines_is_exported(kind: type[Attack]) -> None:
    assert ATTACKS.get(kind.name) is kind, f"give {kind.__name__} a row in attacks/__init__.py"
    assert getattr(attacks, kind.__name__) is kind


def test_names_and_titles_are_told_apart() -> None:
    assert len({kind.title for kind in ATTACKS.values()}) == len(ATTACKS)
    assert all(name == kind.name for name, kind in ATTACKS.items())


@pytest.mark.parametrize("name", ATTACKS)
def test_the_class_says_what_it_is(name: str) -> None:
    own = vars(ATTACKS[name])
    for field in ("name", "title", "reference"):
        assert own.get(field), f"{name} has no {field} of its own"
    assert re.search(r"arXiv \d{4}\.\d{4,5}", own["reference"])
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert ATTACKS[name].access in get_args(Access)
    doc = (ATTACKS[name].__doc__ or "").lower()
    assert ATTACKS[name].reconstruction == ("*reconstruction*" in doc)


@pytest.mark.parametrize("name", ATTACKS)
def test_it_has_a_card(name: str) -> None:
    pages = [(DOCS / page).read_text() for page in ("attacks.md", "curvature.md")]
    card = re.compile(rf"^(\| `{name}` \||#+ `{name}`)", re.MULTILINE)
    assert any(card.search(page) for page in pages), f"no card for {name} in docs/attacks.md"


@pytest.mark.parametrize("name", ATTACKS)
def test_its_card_says_what_it_takes(name: str) -> None:
    kind = ATTACKS[name]()
    row = re.search(rf"^\| `{name}` \|(.*)\|$", (DOCS / "attacks.md").read_text(), re.MULTILINE)
    if row is None:  # on the page of curvature, whose attacks read alike
        assert name.startswith("curvature")
        return
    _, reads, access, models, rule = (cell.strip() for cell in row[1].split("|"))
    own = ", ".join(kind.requires) + (", at all checkpoints" if kind.trajectory else "")
    assert (reads, access, models) == (own, kind.access, str(kind.models))
    assert (kind.threshold is not None) <= bool(rule)
    assert ("(reconstruction)" in row[1]) == kind.reconstruction


def test_what_it_takes_is_said_of_every_kind() -> None:
    for kind in ATTACKS.values():
        attack = kind()
        assert attack.queries >= 1
        assert attack.trajectory <= (attack.access in ("trajectory", "weights"))
        assert attack.models == 1 or (attack.min_in + attack.min_out > 0)
        assert not attack.fitted or attack.min_out > 0


def test_an_attack_takes_one_line_of_the_package() -> None:
    for kind in ATTACKS.values():
        assert len(re.findall(rf"\b{kind.__name__}\b", ROWS)) == 2, "`import X as X`, once"
