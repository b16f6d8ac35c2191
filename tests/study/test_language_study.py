"""The study of language models, end to end on fleets of a few texts, and its settings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seepage.cli import app
from seepage.config.audit import read_config
from seepage.errors import InputError
from seepage.study import read_study
from seepage.study.language.named import KNOWN, attack_named, every_name
from seepage.study.language.study import LanguageStudy

ROOT = Path(__file__).parents[2]
STUDY = """
kind = "language"
runs = "runs"
results = "results"
page = "page.md"
attacks = {attacks}
course = ["loss", "lira"]
copies = ["loss", "reference-ratio", "lira"]
[base]
data = {{ name = "python-topics", task = "language", context = 16, long = "split", limit = 60, copies = "drop" }}
plan = {{ models = 6 }}
model = {{ name = "gpt", options = {{ width = 8, depth = 1, heads = 2 }} }}
recipe = {{ epochs = 1, batch = 8, optimizer = "adamw", lr = 1e-2 }}
record = {{ checkpoints = [0, 1] }}
execution = {{ executor = "inline", device = "cpu" }}
[base.start]
samples = 20
weights = "runs/full-start.safetensors"
recipe = {{ epochs = 1, batch = 8, optimizer = "adamw", lr = 1e-2 }}
[fleets.full]
[fleets.duplicates]
data = {{ repeats = [1, 4] }}
"""


def test_fleets_are_trained_and_asked_and_the_page_is_made_of_what_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "study.toml"
    file.write_text(STUDY.format(attacks='["loss", "lira", "gap"]'))

    def command(*more: str) -> str:
        result = CliRunner().invoke(app, ["study", "study.toml", *more])
        assert result.exit_code == 0, result.output
        return result.output

    assert "0 of 6" in command("--dry-run")
    command("--only", "train")
    assert {p.name for p in Path("runs").iterdir() if p.is_dir()} >= {"full", "duplicates"}
    command("--only", "analyse")
    whole = {"facts", "attacks", "course"}
    assert {p.stem for p in Path("results").iterdir()} == {
        *(f"{f}-{w}" for f in ("full", "duplicates") for w in whole),
        "duplicates-copies",
    }
    page = Path("page.md").read_text()
    before = {p.name: p.read_bytes() for p in Path("results").iterdir()}
    # The same page from the stored results alone, whatever became of the runs.
    Path("runs").rename("gone")
    command("--only", "page")
    assert Path("page.md").read_text() == page
    Path("gone").rename("runs")

    full, held = (json.loads(before[f"{f}-facts.json"]) for f in ("full", "duplicates"))
    # One start for all: at epoch 0 all answer alike, of members and of others.
    assert held["losses"][0] == pytest.approx(full["losses"][0], abs=1e-3)
    assert full["losses"][0][0] == pytest.approx(full["losses"][0][1], abs=1e-5)
    # Topics are worded by the version of Python, and so is how many windows of them are alike.
    once, often = held["copies"]["1"], held["copies"]["4"]
    assert held["texts"] == full["texts"] == once + often
    assert 0 <= once - often <= 1
    assert held["samples"] == once + 4 * often
    assert full["blind"]["auc"]["low"] <= 0.5 <= full["blind"]["auc"]["high"]
    course = json.loads(before["full-course.json"])
    ended = json.loads(before["full-attacks.json"])
    assert course["found"]["loss"]["steps"][-1]["auc"] == ended["found"]["loss"]["auc"]
    assert course["found"]["lira"]["steps"][0]["auc"]["value"] == 0.5
    assert set(json.loads(before["duplicates-copies.json"])["found"]["lira"]["copies"]) == {
        "1", "4"
    }  # fmt: skip
    assert "- `gap`: needs correct" in page
    assert f"{once} × 1, {often} × 4" in page
    _every_table_is_whole(page)

    # An attack that was added is run alone.
    file.write_text(STUDY.format(attacks='["loss", "lira", "gap", "lira:min_k"]'))
    assert "training of" not in command("--only", "analyse")
    for name, content in before.items():
        now = (Path("results") / name).read_bytes()
        if not name.endswith("-attacks.json"):
            assert now == content
            continue
        earlier = json.loads(content)["found"]
        assert {n: f for n, f in json.loads(now)["found"].items() if n in earlier} == earlier
    assert "| `lira:min_k` |" in Path("page.md").read_text()


def _every_table_is_whole(page: str) -> None:
    """Rows have as many cells as their head, and no value is one of Python's."""
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        lines = block.splitlines()
        assert len(lines) > 2
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "None" not in page
    assert "nan" not in page


def test_the_fleet_full_is_the_example() -> None:
    """So that what an audit of the example trained is taken for it."""
    study = read_study(ROOT / "studies/language-models.toml")
    assert isinstance(study, LanguageStudy)
    full = study.settings.audit("full").model_dump(exclude={"out"})
    example = read_config(ROOT / "examples/text.toml").model_dump(exclude={"out"})
    start = full["start"].pop("weights")
    example["start"].pop("weights")
    assert full == example
    assert start == f"{study.settings.audit('full').out}-start.safetensors"


def test_every_name_is_an_attack_of_its_own() -> None:
    said = {name: repr(attack_named(name)) for name in KNOWN}
    assert len(set(said.values())) == len(KNOWN)
    assert set(every_name()) <= set(KNOWN)
    with pytest.raises(InputError, match="did you mean 'lira:min_k'"):
        attack_named("lira:mink")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('attacks = ["lir"]', "attacks: expected names of attacks, got 'lir'; did you mean 'lira'"),
        ('course = ["lira:loss"]', "course: expected names of attacks, got 'lira:loss'"),
        ('copies = ["loss", "loss"]', "copies: expected every attack once, got loss, loss"),
        ("attacks = []", "attacks"),
        ("null_draws = 0", "null_draws"),
    ],
)
def test_a_bad_field_is_named(given: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(f'kind = "language"\n{given}\n[fleets.a]\ndata = {{ task = "language" }}\n')
    with pytest.raises(InputError, match=message):
        read_study(file)


def test_fleets_of_classes_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('kind = "language"\n[fleets.a]\ndata = { name = "digits" }\n')
    with pytest.raises(InputError, match=r'fleets.a.data.task: expected "language", got \'classif'):
        read_study(file)
