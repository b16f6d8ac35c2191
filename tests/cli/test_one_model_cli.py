"""`seepage audit MODEL`: the same as `seepage.audit`, one line for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import seepage as package
from seepage import cli
from seepage.attacks import ATTACKS
from seepage.single.reference_free import TITLES

Ran = tuple[int, str, str]
Seepage = Callable[..., Ran]

CODE = """
import numpy as np
from torch import nn

def make():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))

def probabilities(x):
    p = np.exp(x[:, :3].astype(float))
    return p / p.sum(axis=1, keepdims=True)

def two(x, y):
    return x

def broken():
    raise RuntimeError("not today")

class Forest:
    def __init__(self):
        self.classes_ = np.arange(3)
    def predict_proba(self, x):
        return probabilities(x)

def train(inputs, labels, seed):
    rng = np.random.default_rng(seed)
    kept = {tuple(row) for row in inputs}
    def model(x):
        inside = np.array([tuple(row) in kept for row in x])
        p = np.exp(x[:, :3].astype(float) * (1 + inside[:, None]))
        return p / p.sum(axis=1, keepdims=True)
    return model

LIMIT = 3
"""


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must never run",)


@pytest.fixture
def seepage(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Seepage:
    """The command in this process, in a folder with a model, its members and others."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(160, 4)).astype(np.float32), rng.integers(0, 3, 160)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    safetensors.torch.save_file(net.state_dict(), "w.safetensors")
    other = net.state_dict()
    other["head.bias"] = other.pop("2.bias")
    safetensors.torch.save_file(other, "other.safetensors")
    torch.save({"state_dict": net.state_dict(), "own": Code()}, "code.pt")
    np.savez("m.npz", x=x[:80], y=y[:80])
    np.savez("o.npz", x=x[80:], y=y[80:])
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "net.py").write_text(CODE)
    with torch.no_grad():
        z = net(torch.from_numpy(x)).numpy()
    np.savez("mz.npz", logits=z[:80], labels=y[:80])
    np.savez("oz.npz", logits=z[80:], labels=y[80:])

    def run(*args: object) -> Ran:
        monkeypatch.setattr("sys.argv", ["seepage", "audit", *map(str, args)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


SIDES = ("--members", "m.npz", "--others", "o.npz")
NET = ("models/net.py:make", "--weights", "w.safetensors", *SIDES)


def test_a_network_is_audited_and_the_page_written(seepage: Seepage) -> None:
    status, out, err = seepage(*NET, "--out", "one.html")
    assert status == 0, err
    for words in ("AUC", "LOSS", "Quantile", "blind", "What this does not say", "Next:", "80"):
        assert words in out
    needing = [n for n, k in ATTACKS.items() if not k.trajectory and n not in TITLES]
    assert f"{len(needing)} attacks need reference models" in out
    assert "curvature (is measured of networks with curvature=True (--curvature))" in out
    assert out.splitlines()[0] in Path("one.html").read_text()
    held = json.loads(Path("one.json").read_text())
    status, out, err = seepage(*NET, "--json")
    assert (status, json.loads(out)) == (0, held)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    net.load_state_dict(safetensors.torch.load_file("w.safetensors"))
    direct = package.audit(net, "m.npz", "o.npz", name="models/net.py:make")
    assert {k: v for k, v in direct.summary().items() if k != "notes"} == {
        k: v for k, v in held.items() if k != "notes"
    }
    status, out, err = seepage(*NET, "--curvature")
    assert status == 0, err
    assert "Input curvature" in out
    # Recorded logits of the same weights, by the door without a model.
    status, out, err = seepage("--members", "mz.npz", "--others", "oz.npz", "--json")
    assert status == 0, err
    by_name = {a["name"]: a["auc"]["mean"] for a in json.loads(out)["attacks"]}
    for name in ("loss", "mentr", "entropy", "gap"):
        assert by_name[name] == pytest.approx(direct.attack(name).auc.mean, abs=1e-3)


def test_functions_estimators_and_references(seepage: Seepage) -> None:
    for name in ("probabilities", "Forest"):
        status, out, err = seepage(f"models/net.py:{name}", *SIDES, "--cache", f"{name}.answers")
        assert status == 0, err
    assert "asked about" in seepage("models/net.py:probabilities", *SIDES)[1]
    assert Path("probabilities.answers").exists()
    status, out, err = seepage(
        "models/net.py:probabilities", *SIDES, "--train", "models/net.py:train", "--minutes", "0.01"
    )
    assert status == 0, err
    assert "models trained in" in out
    rng = np.random.default_rng(0)
    member = package.half_split(160, models=8, seed=0).member
    np.savez("r.npz", member=member, phi=rng.normal(size=(8, 160)))
    status, out, err = seepage(*NET, "--references", "r.npz", "--json")
    assert status == 0, err
    assert json.loads(out)["references"] == 8
    assert "lira" in {a["name"] for a in json.loads(out)["attacks"]}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("models/net.py:make", "--members", "m.npz"), "expected both"),
        (("models/net.py:make",), "expected both"),
        (("models/net.py:mak", *SIDES), "did you mean 'make'"),
        (("models/none.py:make", *SIDES), "expected a Python file at models/none.py"),
        (("no_such_module:make", *SIDES), "expected a module 'no_such_module'"),
        (("models/net.py:two", *SIDES), "a function of 2"),
        (("models/net.py:broken", *SIDES), "RuntimeError: not today"),
        (("models/net.py:LIMIT", *SIDES), "got a value of type int"),
        (("models/net.py:make", "--members", "m.npz", "--others", "m.npz"), "80 of 80 others"),
        (("models/net.py:make", "--members", "none.npz", "--others", "o.npz"), "no such file"),
        ((*NET, "--set", "plan.models=4"), "--set: expected only with a configuration"),
        ((*NET, "--dry-run"), "--dry-run: expected only with"),
        ((*NET, "--out", "page.txt"), "ends in .html"),
        ((*NET, "--references", "m.npz"), "an array `member`"),
        ((*NET, "--train", "models/net.py:nothing"), "--train: expected a public 'nothing'"),
        (("models/net.py:make", "--weights", "code.pt", *SIDES), "names code"),
        (
            ("models/net.py:make", "--weights", "other.safetensors", *SIDES),
            "1 missing, the first '2.bias' and 1 unexpected, the first 'head.bias'",
        ),
        (("models/net.py:Forest", "--weights", "w.safetensors", *SIDES), "--weights: expected a t"),
        (("--members", "m.npz", "--others", "o.npz"), "recorded outputs"),
        (("--members", "mz.npz", "--others", "oz.npz", "--weights", "w.safetensors"), "--weights"),
        (("none.toml", "--json"), "--json: expected only with one model"),
        (("none.toml",), "none.toml"),
    ],
)
def test_bad_input_is_one_line(seepage: Seepage, args: tuple[str, ...], said: str) -> None:
    status, out, err = seepage(*args)
    assert status == 2, (out, err)
    assert said in err
    assert err.count("\n") == 1, err
    assert out == ""
