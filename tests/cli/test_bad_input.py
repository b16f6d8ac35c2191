"""Every bad input: one clear line on standard error, exit status 2, nothing that existed changed."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seepage import cli
from seepage.store.storage import Storage
from tiny_fleet import fingerprint

Seepage = Callable[..., tuple[int, str]]


@pytest.fixture
def seepage(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Seepage:
    """The command in this process: (exit status, standard error)."""

    def run(*args: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["seepage", *map(str, args)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), capfd.readouterr().err

    return run


def refused(seepage: Seepage, *args: object) -> str:
    """The one line with which the command refused."""
    status, errors = seepage(*args)
    assert status == 2, errors
    assert errors.count("\n") == 1, errors
    assert errors.startswith("seepage: ")
    return errors


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Data files, each bad in one way."""
    at = tmp_path / "data"
    at.mkdir()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 3)), np.arange(30) % 3
    np.savez(at / "good.npz", x=x, y=y)
    raw = (at / "good.npz").read_bytes()
    (at / "empty.npz").write_bytes(b"")
    (at / "cut.npz").write_bytes(raw[: len(raw) // 2])
    broken = bytearray(raw)
    broken[len(raw) // 3] ^= 0xFF
    (at / "corrupt.npz").write_bytes(bytes(broken))
    np.savez(at / "negative.npz", x=x, y=y - 5)
    np.savez(at / "fractions.npz", x=x, y=y + 0.5)
    np.savez(at / "nan.npz", x=np.where(np.arange(90).reshape(30, 3) == 7, np.nan, x), y=y)
    np.savez(at / "constant.npz", x=np.ones((30, 3)), y=y)
    np.savez(at / "one-class.npz", x=x, y=np.zeros(30, int))
    np.savez(at / "none.npz", x=x[:0], y=y[:0])
    np.savez(at / "lengths.npz", x=x, y=y[:20])
    (at / "table.csv").write_text("a,b,label\n1,2,x\n3,4,y\n")
    (at / "ragged.csv").write_text("a,b,label\n1,2,x\n3,4\n")
    (at / "header.csv").write_text("a,b,label\n")
    (at / "words.txt").write_text("hello")
    (at / "classes").mkdir()
    idx = at / "mnist"
    idx.mkdir()
    images = struct.pack(">IIII", 0x803, 4, 2, 2) + bytes(16)
    for name, content in (
        ("train-images-idx3-ubyte.gz", images[:-3]),
        ("train-labels-idx1-ubyte.gz", struct.pack(">II", 0x801, 4) + bytes([0, 1, 0, 1])),
        ("t10k-images-idx3-ubyte.gz", images),
        ("t10k-labels-idx1-ubyte.gz", struct.pack(">II", 0x801, 4) + bytes([0, 1, 0, 1])),
    ):
        (idx / name).write_bytes(gzip.compress(content))
    return at


DATA = {
    "absent.npz": r"absent.npz: expected a data file or folder, found none",
    "empty.npz": r"empty.npz",
    "cut.npz": r"cut.npz",
    "corrupt.npz": r"corrupt.npz",
    "negative.npz": r"negative",
    "fractions.npz": r"fractions",
    "nan.npz": r"nan.*(NaN|finite)",
    "constant.npz": r"constant.*expected columns that vary",
    "one-class.npz": r"one-class.*two classes",
    "none.npz": r"none.*sample",
    "lengths.npz": r"lengths",
    "table.csv": r"label",
    "ragged.csv": r"ragged.csv",
    "header.csv": r"header",
    "words.txt": r"words.txt",
    "classes": r"classes",
}


@pytest.mark.parametrize("name", DATA)
def test_data(seepage: Seepage, data: Path, tmp_path: Path, name: str) -> None:
    import re

    before = fingerprint(data)
    out = tmp_path / "run"
    line = refused(seepage, "audit", "-s", f'data.name="{data / name}"', "-o", out)
    assert re.search(DATA[name], line), line
    assert "got" in line or "found" in line, line
    assert not out.exists()
    assert fingerprint(data) == before


def test_a_truncated_official_file(seepage: Seepage, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    line = refused(
        seepage, "audit", "-s", 'data.name="mnist"', "-s", f'data.root="{data}"', "-o", out
    )
    assert "train-images-idx3-ubyte.gz" in line
    assert not out.exists()


CONFIGURATION = [
    (["plan.models=4"], r"plan.models: \S+ needs \d+ IN and \d+ OUT references .* use at least"),
    (["plan.models=7"], r"models: expected an even number"),
    (["plan.models=1"], r"plan.models: "),
    (["plan.model=8"], r"plan.model: unknown field; did you mean 'models'"),
    (['attacks.main="lirra"'], r"expected a known name or .*, got 'lirra'; did you mean 'lira'"),
    (['attacks.names=["rmja"]'], r"got 'rmja'; did you mean 'rmia'"),
    (['model.name="cnm"'], r"got 'cnm'; did you mean 'cnn'"),
    (['model.name="nowhere:net"'], r"expected a module 'nowhere' for 'nowhere:net', found none"),
    (['model.options={"widht": 3}'], r"widht"),
    (['data.name="digist"'], r"got 'digist'; did you mean 'digits'"),
    (['data.part="validation"'], r"data.part"),
    (["data.limit=1"], r"data.limit"),
    (['defense.name="dropuot"'], r"dropuot"),
    (["recipe.epochs=0"], r"recipe.epochs: .*greater than or equal to 1, got 0"),
    (["recipe.lr=-1"], r"recipe.lr: .*greater than 0, got -1"),
    (['recipe.optimizer="sdg"'], r"recipe.optimizer: .*got 'sdg'"),
    (["recipe.epoch=3"], r"recipe.epoch: "),
    (["record.checkpoints=[3, 1]"], r"checkpoints: expected ascending epochs"),
    (['record.views=["flip"]'], r"views: expected 'identity' first"),
    (["execution.device="], r"execution.device"),
    (['execution.executor="slurm"'], r"execution.executor"),
    (["record.checkpoints=[NaN]"], r"checkpoints: expected ascending epochs in 0\.\.20, got \[nan"),
    (['defense.options={"x":1}'], r"defense.options: expected with a defence, got x and none"),
    (['model.options={"hidden":[1000000000000]}'], r"a network that fits into memory, got"),
    (['model.files=["/dev/zero"]'], r"model.files: expected a file, got a folder, pipe or device"),
    (["recipe.lr=1e308"], r"recipe.lr: .*less than or equal to 1000+, got 1e\+308"),
    (["recipe.weight_decay=1e308"], r"recipe.weight_decay: .*less than or equal to"),
    (["execution.threads=1000000"], r"execution.threads: .*less than or equal to 256, got 1000000"),
    (["execution.workers=1000000"], r"execution.workers: .*less than or equal to 1024"),
    (["model.options=" + "[" * 3000], r"--set: expected a value, got brackets too deep in '\[\[\["),
    (["model.options=" + '{"a":' * 40 + "1" + "}" * 40], r"--set: .* at most 32 deep, got more"),
    ([f"{'a.' * 3000}b=1"], r"--set: expected table.field=value, got 'a\.a\."),
    (["model.name=" + "x" * 3000], r"expected a known name or"),
    (["plan.models=" + "9" * 5000], r"plan.models: "),
    ([r'data.name="a\u0000b.csv"'], r"data: expected a path, got a zero byte"),
    (['data.name="' + "x" * 300 + '.csv"'], r"data: expected names of at most 255 bytes"),
    (
        ['report="nosuchdir/x.html"'],
        r"report: expected a file in a folder that exists, got nosuchdir",
    ),
    (['report="x.txt"'], r"report: expected a name that ends in .html, got 'x.txt'"),
    (["nonsense"], r"--set: expected table.field=value, got 'nonsense'"),
    (["out.x=1"], r"out"),
]


@pytest.mark.parametrize(("sets", "message"), CONFIGURATION)
def test_configuration(seepage: Seepage, tmp_path: Path, sets: list[str], message: str) -> None:
    import re

    out = tmp_path / "run"
    more = [x for s in sets for x in ("-s", s)]
    where = [] if sets[0].startswith("out") else ["-o", out]
    line = refused(seepage, "audit", *where, *more)
    assert re.search(message, line), line
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[plan\n", "expected TOML"),
        (b"\xff\xfe", "cannot be read"),
        (b"[plan]\nmodels = 'many'\n", "plan.models"),
        (b"plan = 3\n", "plan"),
        (b"[[plan]]\nmodels = 8\n", "plan"),
        (b"x = " + b"[" * 3000, "expected TOML, got brackets too deep"),
        (b"x = " + b"[" * 40 + b"]" * 40, "expected tables and lists at most 32 deep"),
        (b"[plan]\nmodels = " + b"9" * 5000, "expected TOML, got"),
    ],
)
def test_a_configuration_file(
    seepage: Seepage, tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "audit.toml"
    path.write_bytes(content)
    line = refused(seepage, "audit", path)
    assert message in line
    assert "audit.toml" in line
    assert "found none" in refused(seepage, "audit", tmp_path / "absent.toml")
    os.mkfifo(tmp_path / "pipe.toml")
    for odd in (tmp_path / "pipe.toml", "/dev/zero"):
        assert "got a pipe, socket or device" in refused(seepage, "audit", odd)


def test_a_folder_of_another_configuration(seepage: Seepage, copied: Path) -> None:
    before = fingerprint(copied)
    line = refused(seepage, "train", "-s", "plan.models=8", "-o", copied)
    assert "holds runs of another configuration: " in line
    assert fingerprint(copied) == before


@pytest.mark.parametrize("verb", ["attack", "report", "check"])
def test_folders_that_are_none(seepage: Seepage, tmp_path: Path, verb: str) -> None:
    limits = ["--max-auc", "0.6"] if verb == "check" else []
    where = [tmp_path / "r.html"] if verb == "report" else []
    assert "expected a run folder, found none" in refused(
        seepage, verb, tmp_path / "absent", *where, *limits
    )
    (tmp_path / "empty").mkdir()
    assert "expected a run folder with a manifest.json" in refused(
        seepage, verb, tmp_path / "empty", *where, *limits
    )
    assert not (tmp_path / "r.html").exists()


def test_changed_bytes(seepage: Seepage, copied: Path) -> None:
    record = copied / "records" / "00001.json"
    raw = bytearray(record.read_bytes())
    raw[-9] ^= 1
    record.write_bytes(bytes(raw))
    before = fingerprint(copied)
    for verb in ("attack", "report"):
        line = refused(seepage, verb, copied, *([copied / "r.html"] if verb == "report" else []))
        assert "records/00001.json: its bytes are not those that were written; run" in line
    assert fingerprint(copied) == before


def test_a_place_that_cannot_be_written(seepage: Seepage, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    line = refused(seepage, "train", "-o", tmp_path / "file" / "run")
    assert "expected a folder that can be written" in line
    assert (tmp_path / "file").read_text() == "here"


def test_no_permission(seepage: Seepage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    # A test may run as root, whom no permission stops.
    monkeypatch.setattr("seepage.store.storage.os.access", lambda path, mode: False)
    assert "expected write permission, got none" in refused(
        seepage, "train", "-o", tmp_path / "run"
    )
    assert not list((tmp_path / "run").iterdir())


def test_a_report_where_there_is_no_folder(seepage: Seepage, copied: Path, tmp_path: Path) -> None:
    before = fingerprint(copied)
    refused(seepage, "report", copied, tmp_path / "file.txt" / "deeper" / "r.html")
    assert fingerprint(copied) == before


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nosuchdir/x.html", "--report: expected a file in a folder that exists, got nosuchdir/x"),
        ("x.pdf", "--report: expected a name that ends in .html, got 'x.pdf'"),
        ("here.html", "--report: expected the name of a file, got the folder here.html"),
        ("s3://bucket/x.html", "--report: expected a local file or folder, got the address"),
        ("x" * 250 + ".html", "--report: expected a file name of at most 240 bytes"),
        ("file/x.html", "--report: expected a file in a folder that exists"),
    ],
)
def test_a_report_that_cannot_be_written_is_found_before_training(
    seepage: Seepage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.html").mkdir()
    (tmp_path / "file").write_text("here")
    assert message in refused(seepage, "audit", "-o", tmp_path / "run", "--report", place)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("x" * 300, "run folder: expected names of at most 255 bytes"),
        (r"a\u0000b", "run folder: expected a path, got a zero byte"),
    ],
)
def test_a_run_folder_that_cannot_be_named(
    seepage: Seepage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(seepage, "train", "-s", f'out="{out}"')
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_no_data(seepage: Seepage, tmp_path: Path) -> None:
    for name in ("a.csv", "a.npz", "a.parquet"):
        os.mkfifo(tmp_path / name)
        line = refused(
            seepage, "train", "-s", f'data.name="{tmp_path / name}"', "-s", 'data.label="y"',
            "-o", tmp_path / "run",
        )  # fmt: skip
        assert f"{name}: expected a data file or folder, got a pipe, socket or device" in line
    assert not (tmp_path / "run").exists()


def test_names_that_are_no_utf8(seepage: Seepage, tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv")
    assert "expected a name in UTF-8, got" in refused(seepage, "audit", name)
    assert "expected a name in UTF-8, got" in refused(seepage, "attack", name)
    assert "expected a name in UTF-8, got" in refused(seepage, "import", name, tmp_path / "r")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a:b:c", ":warning:", "[/x]", "[red]x", "a\\"])
def test_names_are_printed_as_they_are(seepage: Seepage, tmp_path: Path, name: str) -> None:
    """No emoji for `:warning:`, no colour for `[red]`."""
    for verb in ("attack", "train"):
        given = ["-s", f"data.name='{tmp_path / name}.csv'"] if verb == "train" else [name]
        assert name in refused(seepage, verb, *given)


def test_an_import_says_where_it_went(
    seepage: Seepage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from seepage.plan import half_split

    member = half_split(12, models=8).member
    np.savez(tmp_path / "a.npz", member=member, phi=member + np.arange(12) / 7)
    out = tmp_path / "[red]a:b:c"
    assert seepage("import", tmp_path / "a.npz", out)[0] == 0
    assert out.is_dir()
    monkey = sorted(p.name for p in tmp_path.iterdir())
    assert monkey == ["[red]a:b:c", "a.npz"]
    assert seepage("attack", out, "-a", "lira")[0] == 0
    assert "expected a new or empty folder" in refused(seepage, "import", tmp_path / "a.npz", out)
    (tmp_path / "deep").mkdir()
    assert "out: expected the name of a file or folder, got ''" in refused(
        seepage, "import", tmp_path / "a.npz", ""
    )
    assert "got the address 's3:/b'" in refused(seepage, "import", tmp_path / "a.npz", "s3:/b")


NETWORKS = """
from torch import nn

class Then(nn.Module):
    def __init__(self, then, outputs=2):
        super().__init__()
        self.layer, self.then = nn.Linear(2, outputs), then
    def forward(self, x):
        return self.then(self.layer(x))

def pair(): return Then(lambda z: (z, z))
def softmax(): return Then(lambda z: z.softmax(1))
def wide(): return nn.Linear(3, 2)
def loop(members, seed, recorder):
    recorder.start(softmax())
"""


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.name=shown_networks:pair", "got a tuple of (32, 2) and (32, 2)"),
        ("model.name=shown_networks:softmax", "expected logits, got probabilities"),
        (
            "model.name=shown_networks:wide",
            "on inputs of shape (32, 2), torch.float32, got Runtime",
        ),
        ("train.function=shown_networks:loop", "expected logits, got probabilities"),
    ],
)
def test_networks_that_do_not_return_logits(
    seepage: Seepage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, message: str
) -> None:
    (tmp_path / "shown_networks.py").write_text(NETWORKS)
    rows = "\n".join(f"{k * 37 % 101},{k * 17 % 23},{k % 2}" for k in range(60))
    (tmp_path / "d.csv").write_text(f"a,b,y\n{rows}")
    monkeypatch.chdir(tmp_path)
    options = [
        *("data.name=d.csv", "data.label=y", "plan.models=6", "recipe.epochs=1", "recipe.batch=16"),
        *("recipe.precision=fp32", "fleet.workers=1", option),
    ]
    given = [part for o in options for part in ("-s", o)]
    status, errors = seepage("train", "-o", "run", *given)
    *progress, told = errors.splitlines()
    assert status == 2
    assert message in told
    # A training function's outputs are known only in a worker, when there is a folder.
    own = option.startswith("train")
    assert (tmp_path / "run").exists() == own
    assert len(progress) <= own


def test_a_locked_folder(seepage: Seepage, copied: Path) -> None:
    from seepage.store.lock import Lock

    before = fingerprint(copied)
    with Lock(Storage(copied, write=True)):
        assert "still running; wait for it or stop it" in refused(seepage, "train", "-o", copied)
    assert fingerprint(copied) == before


def test_both_manifests_lost(seepage: Seepage, copied: Path) -> None:
    for name in ("manifest.json", "manifest.copy.json"):
        (copied / name).write_bytes(b"{")
    before = fingerprint(copied)
    assert "both are lost" in refused(seepage, "repair", "-o", copied)
    assert fingerprint(copied) == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["audit", "--no-such-option"], "No such option"),
        (["attack"], "Missing argument"),
        (["adit"], "No such command"),
        (["audit", "--shard", "4/3"], "--shard: expected i/n"),
        (["audit", "--shard", "a"], "--shard: expected i/n"),
        (["serve", "x", "--port", "99999"], "port"),
        (["check", "x"], "expected a limit, got none"),
        (["check", "x", "--max-auc", "1.5"], "--max-auc: expected a value in 0..1"),
        (["import", "absent.npz", "run"], "expected an .npz file of arrays, found no such file"),
    ],
)
def test_arguments(seepage: Seepage, args: list[str], message: str) -> None:
    assert message in refused(seepage, *args)


@pytest.mark.parametrize("verb", ["train", "audit"])
def test_a_folder_of_other_files_is_left_alone(
    seepage: Seepage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    project = tmp_path / "project"
    for name in ("data/patients.csv", "plan/2026.md"):
        (project / name).parent.mkdir(parents=True)
        (project / name).write_text("mine")
    before = fingerprint(project)
    for out in (project, "project", f"{project}/"):
        line = refused(seepage, verb, "-o", out, "-s", "data.limit=60", "-s", "plan.models=8")
        assert "expected a run folder or an empty one, got one that holds '" in line
    assert fingerprint(project) == before
    assert [p.name for p in tmp_path.iterdir()] == ["project"]


@pytest.mark.parametrize("name", ["n" * 300, "é" * 130, "a\udcff", "a\0b", ""])
@pytest.mark.parametrize(
    "words",
    [
        ("verify", "NAME"), ("serve", "NAME"), ("report", "NAME"), ("attack", "NAME"),
        ("repair", "-o", "NAME"), ("train", "-o", "NAME"), ("audit", "--report", "NAME"),
        ("import", "NAME", "out"), ("layers", "NAME"), ("curvature", "NAME"),
        ("train", "-s", "data.name=NAME.csv", "-s", "data.label=x"), ("audit", "NAME"),
    ],
)  # fmt: skip
def test_names_that_cannot_be(
    seepage: Seepage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if not name and ("-o" in words or "--report" in words or "data.name=NAME.csv" in words):
        pytest.skip("an empty option is the default, or another name")
    refused(seepage, *(w.replace("NAME", name) for w in words))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("train", "--shard", "¹/2"), "--shard: expected i/n"),
        (("audit", "--dry-run", "--shard", "1.0/2"), "--shard: expected i/n"),
        (("curvature", "bound", "-e", "0.5", "--sigma", "inf"), "sigma: expected a finite number"),
        (("curvature", "bound", "-e", "0.5", "--loss", "inf"), "expected a finite loss > 0"),
    ],
)
def test_numbers_that_are_none(
    seepage: Seepage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in refused(seepage, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_whose_data_is_no_table(
    seepage: Seepage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.toml").write_text('[[defences]]\nname = "label-smoothing"\n')
    line = refused(seepage, "defend", "--dry-run", "d.toml", "-s", "base.data=3")
    assert "base.data: expected a table, got 3" in line
