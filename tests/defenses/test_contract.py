"""What a defence of the package must bring with it: forgetting any of it fails here."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from seepage import defenses
from seepage.defenses import DEFENSES, Defense

CARDS = (Path(__file__).parents[2] / "docs" / "defences.md").read_text()
OURS = {"none", "chain"}  # of no paper
TRAITS = {"reference", "features", "hard_labels", "batchwise", "mixes", "clips"}
HOOKS = ("plan", "train", "start", "targets", "mix", "loss", "gradients", "parameters", "outputs")


def defined() -> Iterator[type[Defense]]:
    """Every defence that a file of the room defines for users to name, exported or not."""
    for module in pkgutil.walk_packages(defenses.__path__, "seepage.defenses."):
        for name, kind in vars(importlib.import_module(module.name)).items():
            own = inspect.isclass(kind) and kind.__module__ == module.name
            if not own or not issubclass(kind, Defense) or kind is Defense:
                continue
            if not name.startswith("_") and kind.__dict__.get("name") and not kind.inner:
                yield kind


@pytest.mark.parametrize("kind", list(defined()), ids=lambda k: k.__name__)
def test_what_a_file_defines_is_exported(kind: type[Defense]) -> None:
    assert DEFENSES.get(kind.name) is kind, f"give {kind.__name__} a row in defenses/__init__.py"
    assert getattr(defenses, kind.__name__) is kind


@pytest.mark.parametrize("name", DEFENSES)
def test_the_class_says_what_it_is(name: str) -> None:
    kind = DEFENSES[name]
    assert vars(kind).get("name") == name
    assert vars(kind).get("title"), f"{name} has no title"
    if name not in OURS:
        assert re.fullmatch(r"arXiv \d{4}\.\d{4,5}", kind.source), f"{name} names no paper"
        assert any(_acts(kind, hook) for hook in HOOKS)
    assert kind.traits <= TRAITS
    assert kind.__doc__


def _acts(kind: type[Defense], hook: str) -> bool:
    return getattr(kind, hook) is not getattr(Defense, hook)


def test_titles_are_told_apart() -> None:
    assert len({kind.title for kind in DEFENSES.values()}) == len(DEFENSES)


@pytest.mark.parametrize("name", [n for n in DEFENSES if n != "none"])
def test_it_has_a_card(name: str) -> None:
    heads = [line for line in CARDS.splitlines() if line.startswith("### ")]
    own = [line for line in heads if f"`{name}`" in line]
    assert len(own) == 1, f"expected one card for {name} in docs/defences.md, found {len(own)}"
    assert DEFENSES[name].reconstruction == ("(reconstruction)" in own[0])


@pytest.mark.parametrize("kind", DEFENSES.values(), ids=lambda k: k.name)
def test_it_is_tested_by_name(kind: type[Defense]) -> None:
    """Beside the stages that every defence goes through, a test of its own rule."""
    here = Path(__file__).parent
    texts = [p.read_text() for p in here.glob("test_*.py") if p.name != Path(__file__).name]
    assert any(re.search(rf"\b{kind.__name__}\b", t) for t in texts), f"test {kind.__name__}'s rule"
