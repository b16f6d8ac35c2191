"""An attack, a defence, a model, a reader and a signal in files of the user's, from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import seepage
from seepage import attacks, defenses
from seepage.cli import main
from seepage.config.model import as_model
from seepage.defenses import as_config
from seepage.errors import InputError
from seepage.record import Memory, Recorder, Resident

ATTACK = '''
from dataclasses import dataclass
from typing import ClassVar

from seepage.attacks import Attack


@dataclass(frozen=True, eq=False)
class Margin(Attack):
    """How far the confidence lies above the mean of the OUT references."""

    weight: float = 1.0

    name: ClassVar[str] = "margin"
    title: ClassVar[str] = "Margin of confidence"
    requires: ClassVar[tuple[str, ...]] = ("phi",)
    min_out: ClassVar[int] = 1

    def run(self, target, references, member):
        phi = references["phi"].mean(axis=-1)
        outside = (phi * ~member).sum(axis=0) / (~member).sum(axis=0)
        return self.weight * (target["phi"].mean(axis=-1) - outside)


half = Margin(weight=0.5)
'''
DEFENSE = '''
from dataclasses import dataclass
from typing import ClassVar

from seepage.defenses import Defense
from seepage.defenses.networks import cross_entropy


@dataclass(frozen=True)
class Capped(Defense):
    """The loss of a batch is never pushed below a floor."""

    floor: float = 0.5

    name: ClassVar[str] = "capped"
    title: ClassVar[str] = "Loss with a floor"

    def loss(self, logits, targets, labels, context):
        loss = cross_entropy(logits, targets)
        return (loss - self.floor).abs() + self.floor
'''
CONFIG = """
out = "run"
[data]
limit = 120
[plan]
models = 4
[model]
options = { hidden = [8] }
[recipe]
epochs = 2
batch = 16
precision = "fp32"
[record]
checkpoints = [0, 2]
[fleet]
workers = 1
device = "cpu"
[attacks]
names = ["rmia", "mine_attack:Margin"]
main = "rmia"
[defense]
name = "mine_defense:Capped"
options = { floor = 0.3 }
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of the user's: a working directory with their files, nothing installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    for name in [m for m in sys.modules if m.startswith("mine_")]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "mine_attack.py").write_text(ATTACK)
    (tmp_path / "mine_defense.py").write_text(DEFENSE)
    return tmp_path


def seepage_says(*words: str) -> tuple[int, str, str]:
    """The command line in an interpreter of its own, in the working directory."""
    env = os.environ | {"PYTHONPATH": str(Path(seepage.__file__).parents[1]), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "seepage", *words],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def here_says(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The command line in this process, which has loaded what another would load again."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("default")
        patch.setattr(sys, "argv", ["seepage", *words])
        patch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_attack_and_defence_from_the_command_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "audit.toml").write_text(CONFIG)
    status, _, err = seepage_says("audit", "audit.toml")
    assert status == 0, err
    summary = json.loads((here / "run" / "report.json").read_text())
    assert {"margin": "Margin of confidence"}.items() <= {
        a["name"]: a["title"] for a in summary["attacks"]
    }.items()
    run = seepage.open("run")
    told = run.manifest["key"]["defense"]
    assert told["options"] == {"floor": 0.3}, told

    status, out, err = here_says(capsys, "attack", "run", "-a", "mine_attack:Margin", "-a", "loss")
    assert status == 0, err
    assert "margin" in out
    own = attacks.get("mine_attack:Margin")
    from seepage.metrics import operating_points

    auc = operating_points(seepage.score(run, own), run.member, (0.01,)).auc.mean()
    assert f"{auc:.4f}" in out

    # The few steps of CONFIG teach the networks nothing.
    check = ("check", "run", "--learnt-nothing", "--attack", "mine_attack:Margin", "--max-auc")
    assert here_says(capsys, *check, "1")[0] == 0
    assert here_says(capsys, *check, "0")[0] == 1
    status, _, err = here_says(capsys, "report", "run", "again.html", "-a", "mine_attack:half")
    assert status == 0, err
    assert [a["name"] for a in json.loads((here / "again.json").read_text())["attacks"]] == [
        "margin"
    ]


def test_options_and_instances(here: Path) -> None:
    assert attacks.get("mine_attack:Margin", weight=2.0).weight == 2.0
    assert attacks.get("mine_attack:half").weight == 0.5
    assert defenses.make("mine_defense:Capped", floor=0.1).floor == 0.1
    nested = defenses.make("chain", parts=["mine_defense:Capped", "memguard"])
    again = as_config(nested)
    assert again["parts"][0] == {"name": "mine_defense:Capped", "floor": 0.5}
    name = again.pop("name")
    assert defenses.make(name, **again) == nested


HEAD = "from dataclasses import dataclass\nfrom seepage.attacks import Attack, LiRA\n"
BODY = "    def run(self, target, references, member):\n        return target['phi'][:, 0]\n"


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("class Mine(Attack):\n    name, title = 'mine', 'Mine'\n", {}, "does not implement run"),
        ("class Mine(Attack):\n    title = 'Mine'\n" + BODY, {}, "to have a name, a class attr"),
        ("class Mine(Attack):\n    name = 'mine'\n" + BODY, {}, "to have a title, a class attr"),
        ("class Mine(Attack):\n    name, title = 3, 'Mine'\n" + BODY, {}, "a name, .* got 3"),
        (
            "class Mine(Attack):\n    name, title = 'lira', 'Mine'\n" + BODY,
            {},
            "calls itself 'lira'",
        ),
        (
            "class Mine(Attack):\n    name, title = 'mine', 'Mine'\n    def __init__(self):\n"
            "        raise ValueError('two\\nlines')\n" + BODY,
            {},
            "raised ValueError: two lines while it was made",
        ),
        (
            "class Mine(Attack):\n    name, title = 'mine', 'M'\n" + BODY,
            {"a": 1},
            "a: unknown option",
        ),
        ("Mine = LiRA()\n", {"centre": 1}, "made already, so it takes no options, got centre"),
        ("Mine = 3\n", {}, "a subclass or an instance of seepage.attacks.Attack, got a value of"),
        (
            "class Mine:\n    pass\n",
            {},
            "an instance of seepage.attacks.Attack, got the class Mine",
        ),
    ],
)
def test_what_is_no_attack_is_refused_in_one_line(
    here: Path, text: str, options: dict[str, int], says: str
) -> None:
    (here / "mine_bad.py").write_text(HEAD + text)
    with pytest.raises(InputError, match=says) as refused:
        attacks.get("mine_bad:Mine", **options)
    assert "\n" not in str(refused.value)


def test_ours_by_their_own_place(here: Path) -> None:
    assert attacks.get("seepage.attacks:LiRA").name == "lira"


def test_an_attack_that_breaks_its_contract_ends_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = CONFIG.partition("[attacks]")[0]
    (here / "audit.toml").write_text(short + '[attacks]\nnames = ["loss"]\nmain = "loss"\n')
    (here / "mine_attack.py").write_text(
        ATTACK.replace("- outside)", "- outside + np.nan)").replace(
            "from dataclasses", "import numpy as np\nfrom dataclasses"
        )
    )
    assert here_says(capsys, "audit", "audit.toml")[0] == 0
    status, _, err = here_says(capsys, "attack", "run", "-a", "mine_attack:Margin")
    assert status == 2
    # What the networks are worth is said before.
    said = [line for line in err.strip().splitlines() if not line.startswith("warning: run: ")]
    assert len(said) == 1
    assert "margin: expected scores that are numbers, got 480 NaN; fix Margin" in err
    status, _, err = here_says(
        capsys, "check", "run", "--attack", "nowhere_at_all:X", "--max-auc", "1"
    )
    assert (status, err.strip().count("\n")) == (2, 0)
    assert "expected a module 'nowhere_at_all'" in err


def test_a_model_from_the_working_directory(here: Path) -> None:
    (here / "mine_model.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    ref = as_model("mine_model:net")
    assert ref.travels()
    assert isinstance(ref.make((1, 8, 8), 10), torch.nn.Sequential)
    with pytest.raises(InputError, match="expected 'net2' in 'mine_model', found none; did you"):
        as_model("mine_model:net2")


def test_a_reader_of_ones_own(here: Path) -> None:
    (here / "mine_reader.py").write_text(
        "import numpy as np\n"
        "from seepage.data import from_arrays\n"
        "def read(root='here'):\n"
        "    rng = np.random.default_rng(0)\n"
        "    x = rng.normal(size=(40, 3)).astype(np.float32)\n"
        "    return from_arrays(x, np.arange(40) % 2, name=root)\n"
        "def not_data():\n    return 3\n"
        "def falls():\n    raise KeyError('gone')\n"
    )
    data = seepage.load("mine_reader:read", limit=20)
    assert (len(data), data.name) == (20, "here")
    assert seepage.load("mine_reader:read", root="there").name == "there"
    from seepage.data import reload

    assert reload(data.source, data.digest) is None
    assert reload({"reader": "mine_reader:falls"}) is None
    for name, says in (
        ("mine_reader:not_data", "to return a seepage.Dataset, got int"),
        ("mine_reader:falls", "raised KeyError: 'gone' when it was called"),
        ("mine_reader:none", "expected 'none' in 'mine_reader'"),
    ):
        with pytest.raises(InputError, match=says):
            seepage.load(name)
    with pytest.raises(InputError, match="label: expected only for names and files"):
        seepage.load("mine_reader:read", label="y")
    # What is there as a path is one.
    (here / "mine_reader:odd").write_text("")
    with pytest.raises(InputError, match=r"expected \.npz"):
        seepage.load("mine_reader:odd")


def test_a_signal_of_ones_own(here: Path) -> None:
    (here / "mine_signal.py").write_text(
        "def gap(logits, labels):\n"
        "    top = logits.topk(2, dim=1).values\n    return top[:, 0] - top[:, 1]\n"
        "def phi(logits, labels):\n    return logits[:, 0]\n"
        "def wide(logits, labels):\n    return logits\n"
    )
    data = seepage.load("digits", limit=20)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    sink = Memory()
    recorder = Recorder(Resident.of(data), [0], sink, signals=["loss", "mine_signal:gap"])
    recorder.start(model)
    assert recorder.names == ("loss", "gap")
    assert sink.values[0]["gap"].shape == (20,)
    assert (sink.values[0]["gap"] >= 0).all()
    for bad, says in (
        ("mine_signal:phi", "would be stored as 'phi', which is one of seepage's own"),
        ("fhi", "expected a known name or 'package.module:Name', got 'fhi'; did you mean 'phi'"),
        (lambda logits, labels: labels, "expected a function with a name, got '<lambda>'"),
    ):
        with pytest.raises(InputError, match=says):
            Recorder(Resident.of(data), [0], Memory(), signals=[bad])
    with pytest.raises(InputError, match=r"expected wide to return \(20,\), one number per sample"):
        Recorder(Resident.of(data), [0], Memory(), signals=["mine_signal:wide"]).start(model)


def test_an_attack_that_raises_or_writes_is_told_in_one_line() -> None:
    @dataclass(frozen=True)
    class Careless(attacks.Attack):
        name: ClassVar[str] = "careless"
        raises: bool = False

        def run(self, target: Any, references: Any, member: Any) -> Any:
            if self.raises:
                raise KeyError("nothing")
            target["phi"][:] = 0
            return target["phi"][:, 0]

    member = np.array([[True, False], [False, True], [True, False], [False, True]])
    phi = np.arange(8.0).reshape(4, 2)
    for raises, says in ((True, "careless: its run raised KeyError"), (False, "read-only")):
        with pytest.raises(attacks.AttackError, match=says):
            Careless(raises).leave_one_out(phi, member)
    assert phi.sum() == 28
