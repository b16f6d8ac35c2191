"""`seepage dynamics` and `seepage study` from the terminal's side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import seepage
from seepage.cli import app
from seepage.errors import InputError
from seepage.fleet.imported import import_arrays
from seepage.plan import half_split
from seepage.store import open_run
from seepage.store.result_files import write_result
from seepage.study import read_study
from seepage.study.dynamics.study import DynamicsStudy

STUDY = """
kind = "dynamics"
runs = "{place}/runs"
results = "{place}/results"
page = "{place}/page.md"
null_draws = 2

[base]
data = {{ name = "digits", limit = 60 }}
plan = {{ models = 16 }}
model = {{ name = "mlp", options = {{ hidden = [8] }} }}
recipe = {{ epochs = 2, batch = 16, lr = 0.1, precision = "fp32" }}
record = {{ checkpoints = [0, 1, 2], keep = "none" }}
attacks = {{ names = ["lira"] }}
fleet = {{ device = "cpu", workers = 1 }}

[fleets.sgd]

[fleets.adam]
recipe = {{ optimizer = "adam" }}

[factors]
sgd = "sgd"
sam = "adam"
"""


def call(*arguments: object):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def recorded(out: Path, shift: float, seed: int = 0, models: int = 12) -> Path:
    """A run folder with a known leak that grows over three checkpoints."""
    rng = np.random.default_rng(seed)
    member = half_split(80, models=models, seed=seed).member
    grow = np.array([0.0, 0.5, 1.0])[None, :, None]
    phi = rng.normal(size=(models, 3, 80)) + shift * grow * member[:, None]
    arrays = out.with_suffix(".npz")
    np.savez(
        arrays,
        member=member,
        checkpoints=np.array([0.0, 1.0, 3.0]),
        phi=phi.astype(np.float32),
        loss=np.logaddexp(0, -phi).astype(np.float32),
        correct=(phi > 0).astype(np.float32),
    )
    import_arrays(arrays, out)
    return out


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("dynamics") / "leaking", 4.0)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(place=tmp_path.as_posix()))
    return path


def test_show_prints_every_checkpoint_with_nulls(leaking: Path):
    text = call("dynamics", "show", leaking).output
    assert "12 models, 80 samples" in text
    assert "displacement net" in text
    assert "null" in text
    assert "reconstructions" in text


def test_show_takes_closed_form_rates_and_regions_by_epsilon(leaking: Path):
    counted = call("dynamics", "show", leaking).output
    laws = call("dynamics", "show", leaking, "--rates", "gaussian", "--regions", "epsilon").output
    assert counted != laws
    assert "clusters of the plane" in laws


def test_early_prints_recall_beside_chance_null_and_proxies(tmp_path: Path):
    run = recorded(tmp_path / "sixteen", 4.0, models=16)
    text = call("dynamics", "early", run, "--share", "0.1").output
    for part in ("recall ever", "Jaccard", "chance", "are known by epoch", "recall of the other"):
        assert part in text
    assert "LT-IQR" in text
    small = call("dynamics", "early", recorded(tmp_path / "twelve", 4.0)).output
    assert "recall of the other" not in small


def test_difficulty_correlates_measures_and_the_user_s_own_column(leaking: Path, tmp_path: Path):
    mine = tmp_path / "mine.csv"
    ids = open_run(leaking).ids
    mine.write_text("id,value\n" + "".join(f"{i},{k}\n" for k, i in enumerate(ids)))
    text = call("dynamics", "difficulty", leaking, "--column", mine).output
    assert "epoch learned" in text
    assert "mine" in text
    mine.write_text("id,score\n1,2\n")
    with pytest.raises(InputError, match=r"expected the columns id and value"):
        call("dynamics", "difficulty", leaking, "--column", mine)
    mine.write_text("id,value\nnobody,2\n")
    with pytest.raises(InputError, match=r"expected ids of the pool"):
        call("dynamics", "difficulty", leaking, "--column", mine)
    with pytest.raises(InputError, match=r"imported from arrays and holds no networks"):
        call("dynamics", "difficulty", leaking, "--depth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,value\n1,2\n1,3\n", "expected every id once, got '1' twice"),
        (b"id,value\n1,nan\n", "expected a number for every id, got 'nan' for '1'"),
        (b"id,value\n1\n", "expected a number for every id, got None for '1'"),
        (b"id,value\n1,1,5\r2\0\n", "cannot be read as id, value|expected"),
        (b"id,value\n\xff,1\n", "cannot be read as id, value"),
        (b"", "expected the columns id and value, got None"),
    ],
)
def test_a_column_of_one_s_own_that_cannot_be_read(
    leaking: Path, tmp_path: Path, content: bytes, message: str
):
    """Before anything is scored."""
    mine = tmp_path / "mine.csv"
    mine.write_bytes(content)
    with pytest.raises(InputError, match=message):
        call("dynamics", "difficulty", leaking, "--column", mine)


def test_pages_that_cannot_be_written_are_found_before_scoring(leaking: Path, tmp_path: Path):
    for args, message in (
        (
            ("compare", leaking, f"{leaking}/", "--page", tmp_path / "no" / "x.html"),
            "--page: expect",
        ),
        (
            ("compare", leaking, f"{leaking}/", "--page", tmp_path / "x.txt"),
            "--page: expected a name",
        ),
        (("animate", leaking, tmp_path / "no" / "x.gif"), "path: expected a file in a folder that"),
        (("animate", leaking, tmp_path / "x.png"), r"path: expected a name that ends in \.gif"),
    ):
        with pytest.raises(InputError, match=message):
            call("dynamics", *args)
    assert not list(tmp_path.iterdir())


def test_prediction_depth_is_read_from_kept_networks(tmp_path: Path):
    data = seepage.load("digits", limit=120)
    seepage.train(
        data, seepage.half_split(120, models=8, seed=0), model="mlp",
        model_options={"hidden": [16, 8]}, out=tmp_path / "kept", device="cpu", workers=1,
        recipe=seepage.Recipe(epochs=2, batch=16, precision="fp32"), checkpoints=[0, 1, 2],
    )  # fmt: skip
    text = call("dynamics", "difficulty", tmp_path / "kept", "--depth", "--aside", "0.3").output
    assert "prediction depth" in text
    assert "120" in text


def test_show_asks_for_a_rate_where_there_is_no_threshold(leaking: Path):
    with pytest.raises(InputError, match=r"--fpr: expected a rate, since loss has no threshold"):
        call("dynamics", "show", leaking, "-a", "loss")
    assert "AUC" in call("dynamics", "show", leaking, "-a", "loss", "--fpr", "0.1").output


def test_show_holds_a_rate_for_each_sample(leaking: Path):
    for own in ((), ("--own-fpr",)):
        said = " ".join(call("dynamics", "show", leaking, "--fpr", 0.2, *own).stdout.split())
        assert "it differs between samples: sd" in said
        assert "(counting alone" in said
    with pytest.raises(InputError, match="--own-fpr: expected with a rate"):
        call("dynamics", "show", leaking, "--own-fpr")


def test_show_refuses_a_null_without_spread(leaking: Path):
    with pytest.raises(InputError, match=r"--draws: expected at least 2, got 1"):
        call("dynamics", "show", leaking, "--draws", "1")


def test_compare_needs_two_runs(leaking: Path):
    with pytest.raises(InputError, match=r"runs: expected at least two different ones, got 1"):
        call("dynamics", "compare", leaking, leaking)


def test_compare_prints_both(leaking: Path, tmp_path: Path):
    quiet = recorded(tmp_path / "quiet", 0.0)
    page = tmp_path / "both.html"
    text = call("dynamics", "compare", leaking, quiet, "--page", page).output
    assert "12 models each" in text
    assert "Dynamics side by side" in page.read_text()
    assert "peak to high" in text


def test_animate_writes_a_gif(leaking: Path, tmp_path: Path):
    out = tmp_path / "plane.gif"
    call("dynamics", "animate", leaking, out)
    assert out.read_bytes()[:4] == b"GIF8"
    with pytest.raises(InputError, match=r"path: expected a name that ends in .gif, got 'a.mp4'"):
        call("dynamics", "animate", leaking, tmp_path / "a.mp4")


def test_study_lists_trains_analyses_and_goes_on(study: Path, tmp_path: Path):
    assert call("study", study, "--dry-run").output.count("0 of 16") == 2
    call("study", study, "--only", "train", "--fleet", "sgd")
    text = call("study", study, "--dry-run").output
    assert "16 of 16" in text
    assert "0 of 16" in text
    call("study", study, "--only", "analyse")
    assert [p.stem for p in (tmp_path / "results").iterdir()] == ["sgd"]
    found = json.loads((tmp_path / "results" / "sgd.json").read_text())
    assert found["models"] == 16
    assert set(found["attacks"]) == {"lira", "rmia", "shadow-classifier"}
    assert found["attacks"]["lira"]["population"]["displacement_net"]["null"] is not None
    assert found["provenance"]["data"]["digest"]
    assert found["attacks"]["shadow-classifier"]["halves"]["models"] == 8
    # What is there is not done again, and a fleet on its own leaves the page alone.
    kept = (tmp_path / "results" / "sgd.json").read_bytes()
    (tmp_path / "page.md").unlink()
    call("study", study, "--only", "analyse", "--fleet", "sgd")
    assert (tmp_path / "results" / "sgd.json").read_bytes() == kept
    assert not (tmp_path / "page.md").exists()
    # Keys once held a digest of the package's code; such a result is known by its provenance.
    old = {k: v for k, v in found.items() if k != "analysis"} | {"key": "0" * 64}
    write_result(tmp_path / "results" / "sgd.json", old)
    assert read_study(study).tasks(["sgd"], "analyse")[0].done()
    study.write_text(study.read_text().replace("null_draws = 2", "null_draws = 3"))
    assert read_study(study).tasks(["sgd"], "analyse")[0].stored() is None
    study.write_text(study.read_text().replace("null_draws = 3", "null_draws = 2"))
    call("study", study, "--only", "page")
    page = (tmp_path / "page.md").read_text()
    assert "Every fleet computes in float32" in page
    assert "Not trained yet: adam" in page
    assert all(f"## B{k}: " in page for k in range(1, 9))
    before = page.replace("\n", "")
    call("study", study, "--only", "page")
    assert (tmp_path / "page.md").read_text().replace("\n", "") == before


def test_study_is_checked_before_anything_is_trained(study: Path, tmp_path: Path):
    with pytest.raises(
        InputError, match=r"--only: expected train, analyse or page for a .*, got 'all'"
    ):
        call("study", study, "--only", "all")
    with pytest.raises(
        InputError, match=r"--fleet: expected names of the study, got 'sdg'; did you"
    ):
        call("study", study, "--fleet", "sdg")
    with pytest.raises(InputError, match=r"none.toml: expected a study file, found none"):
        call("study", tmp_path / "none.toml")
    with pytest.raises(
        InputError, match=r"expected results of the study, found none; run the same"
    ):
        call("study", study, "--only", "page")
    text = study.read_text()
    study.write_text(text.replace('sam = "adam"', 'sam = "adem"'))
    with pytest.raises(InputError, match=r"factors.sam: expected names of fleets, got 'adem'"):
        read_study(study)
    study.write_text(text.replace("[fleets.adam]", "[fleets.adam]\nmodel = { name = 'cnn-1' }"))
    with pytest.raises(InputError, match=r"factors.sam: .* differ in one section, got model, rec"):
        read_study(study)
    study.write_text(text.replace("[factors]", "[factors]\nsize = 3"))
    with pytest.raises(InputError, match=r"factors.size"):
        read_study(study)


def test_overrides_reach_every_fleet(study: Path):
    wanted = read_study(study, ["plan.models=64"])
    assert isinstance(wanted, DynamicsStudy)
    audit = wanted.settings.audit
    assert {audit(n).plan.models for n in wanted.names} == {64}
    assert audit("adam").recipe.optimizer == "adam"
    assert audit("adam").recipe.epochs == 2


@pytest.mark.parametrize("name", ["dynamics", "rates"])
def test_studies_of_the_repository_are_valid(name: str):
    wanted = read_study(Path(__file__).parents[2] / "studies" / f"{name}.toml")
    assert isinstance(wanted, DynamicsStudy)
    assert all(wanted.settings.audit(n).plan.models >= 32 for n in wanted.names)
