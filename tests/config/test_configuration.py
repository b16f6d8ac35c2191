"""One configuration for TOML, Python and workers; every field is told in one sentence."""

from __future__ import annotations

import pickle
import re
import resource
import tomllib
from pathlib import Path
from typing import Any

import pytest

import seepage
from seepage.attacks.reference_counts import fewest_references
from seepage.config import AuditConfig, Execution, Function, Model, Recipe, Record, read_config
from seepage.config.base import Part
from seepage.config.function import as_function
from seepage.config.model import as_model
from seepage.config.reference import entries, markdown
from seepage.errors import InputError

ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    path = folder / "a.toml"
    path.write_text(text)
    return path


def test_a_file_makes_the_objects_that_python_makes(tmp_path: Path) -> None:
    text = (
        'out = "r"\n[model]\nname = "cnn-2"\n[recipe]\nepochs = 3\n[record]\ncheckpoints = [0, 3]\n'
        "[execution]\nworkers = 2\n"
    )
    read = read_config(written(tmp_path, text))
    assert read == AuditConfig(
        out="r",
        model=Model(name="cnn-2"),
        recipe=Recipe(epochs=3),
        record=Record(checkpoints=(0, 3)),
        execution=Execution(workers=2),
    )
    assert pickle.loads(pickle.dumps(read)) == read  # noqa: S301 - ours, made a line above


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Recipe(epochs=0), "recipe.epochs: input should be greater than or equal to 1"),
        (lambda: Recipe(epoch=3), "recipe.epoch: unknown field; did you mean 'epochs'?"),
        (lambda: Record(keep="some"), "record.keep: input should be 'none', 'final' or 'all'"),
        (lambda: Execution(worker=2), "execution.worker: unknown field; did you mean 'workers'?"),
        (lambda: Recipe(nesterov=True, momentum=0), "nesterov needs momentum above 0"),
    ],
)
def test_a_wrong_value_in_python_is_one_line(make: Any, says: str) -> None:
    with pytest.raises(InputError) as refused:
        make()
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[recipe]\nepochs = 0\n", "recipe.epochs: input should be greater than or equal to 1"),
        ("[recipe]\nepoch = 3\n", "recipe.epoch: unknown field; did you mean 'epochs'?"),
        ("[recip]\nepochs = 3\n", "recip: unknown field; did you mean 'recipe'?"),
        ("[plan.canaries]\nblnk = 3\n", "plan.canaries.blnk: unknown field; did you mean 'blank'?"),
        ("[recipe]\nnesterov = true\nmomentum = 0.0\n", "recipe: nesterov needs momentum above 0"),
        ("[model]\nname = 'mine:make'\n", "expected a module 'mine'"),
        ("[model]\nfactory = 'x'\n", "a factory is set from Python"),
        ("[record]\nextra = ['x']\n", "they are set from Python"),
        ("[recipe]\nepochs = true\n", "recipe.epochs: expected a number, got True"),
        ("[recipe]\nlr = '0.1'\n", "recipe.lr: expected a number, got '0.1'"),
        ("[recipe]\nflip = 1\n", "recipe.flip: expected true or false, got 1"),
        ("[record]\nlayers = 1\n", "record.layers: expected true, false or text, got 1"),
        ("[record]\ncheckpoints = [0, true]\n", "record.checkpoints: expected a number"),
    ],
)
def test_a_wrong_value_in_a_file_names_the_file(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as refused:
        as_model(read_config(path).model)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_files_of_the_version_before_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, "[fleet]\nworkers = 3\n")
    assert read_config(path).execution.workers == 3
    assert read_config(path, ["fleet.threads=2"]).execution.threads == 2


def _parts(kind: type[Part]) -> set[type[Part]]:
    inner = (f.annotation for f in kind.model_fields.values())
    found = {a for a in inner if isinstance(a, type) and issubclass(a, Part)}
    return {kind}.union(*(_parts(a) for a in found))


@pytest.mark.parametrize("kind", sorted(_parts(AuditConfig), key=lambda k: k.__name__))
def test_every_field_has_one_sentence(kind: type[Part]) -> None:
    for name, field in kind.model_fields.items():
        told = field.description or ""
        assert told.endswith("."), f"{kind.__name__}.{name} lacks its sentence"
        assert told[0].isupper() or told.startswith(("float32", "'package")), told


def test_every_example_can_be_read() -> None:
    for e in entries():
        if e.example == "none":
            raise AssertionError(f"{e.name} has no example")
        tables = e.name.split(".")
        head = f"[{'.'.join(tables[:-1])}]\n" if len(tables) > 1 else ""
        text = f"{head}{tables[-1]} = {e.example}\n"
        if e.name.startswith("train.") and e.name != "train.function":
            text += 'function = "mine:train"\n'
        content = tomllib.loads(text)
        AuditConfig.model_validate(content)


def test_the_page_is_what_the_command_prints() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == markdown()


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.toml")), ids=lambda p: p.name)
def test_the_examples_are_read(file: Path) -> None:
    read_config(file)


def test_fields_may_be_passed_by_their_own_names(tmp_path: Path) -> None:
    data = seepage.load("digits", limit=24)
    plan = seepage.half_split(24, models=2)
    given: dict[str, Any] = {"out": tmp_path / "run", "recipe": Recipe(epochs=1, batch=4)}
    with pytest.raises(InputError, match=r"train: chekpoints: unknown argument; did you mean"):
        seepage.train(data, plan, **given, chekpoints=[0])
    with pytest.raises(InputError, match=r"record\.keep: input should be"):
        seepage.train(data, plan, **given, keep="some")
    with pytest.raises(InputError, match="model_options: expected a reference network"):
        seepage.train(data, plan, **given, model=lambda: None, model_options={"width": 3})
    assert not (tmp_path / "run").exists()


def test_options_of_a_factory_are_refused() -> None:
    with pytest.raises(InputError, match=r"model\.options: expected none for 'tiny_fleet:import"):
        as_model(Model(name="tiny_fleet:importable", options={"width": 3}))


def test_a_function_is_named_or_passed() -> None:
    assert as_function(None) is None
    assert as_function(Function()) is None
    named = as_function("tiny_fleet:contents")
    assert named is not None
    assert named.called == "contents"
    with pytest.raises(InputError, match="function: expected train"):
        as_function(Function(function=3))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Record(signals=()), "record.signals: expected at least one, each once"),
        (lambda: Record(views=("identity", "identity")), "record.views: expected at least one"),
        (lambda: Function(version="2"), "a version, files or standardise belong to a function"),
        (lambda: Model(version=""), "model.version: string should have at least 1 character"),
        (lambda: Recipe(batch=10**22), "recipe.batch: input should be less than or equal"),
        (
            lambda: as_function(lambda members: None),
            "(members, seed, recorder) -> model, got a fun",
        ),
        (
            lambda: as_model(lambda width: None).make((4,), 2),
            "model: test_.<lambda> raised TypeError",
        ),
    ],
)
def test_what_says_nothing_is_refused(make: Any, says: str) -> None:
    with pytest.raises(InputError) as refused:
        make()
    message = re.sub(r"model: \S*<lambda>", "model: test_.<lambda>", str(refused.value))
    assert says in message
    assert "\n" not in message


def test_refusals_come_before_a_folder_is_made(tmp_path: Path) -> None:
    data = seepage.load("digits", limit=40)
    plan = seepage.half_split(40, models=2)
    given: dict[str, Any] = {"out": tmp_path / "run", "recipe": Recipe(epochs=1, batch=4)}
    for more, says in (
        ({"backend": "graphs"}, "backend: 'graphs' needs a CUDA device"),
        ({"layers": ("zzz",)}, "zzz"),
        ({"signals": ("x",)}, "record.signals: expected a known name"),
        ({"defense": seepage.defenses.make("mixup-mmd")}, "needs non-members set apart"),
    ):
        with pytest.raises(InputError, match=says):
            seepage.train(data, plan, **given, **more)
        assert not (tmp_path / "run").exists(), more


def test_a_plan_of_many_runs_is_checked_in_little_memory() -> None:
    member = seepage.half_split(8, models=20_000).member
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert fewest_references(member) == (9_999, 9_999)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 1024, "memory grows with runs squared"
