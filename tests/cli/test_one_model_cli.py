"""`seepage audit MODEL`: the same as `seepage.audit`, one line for what is wrong."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import seepage as package
from seepage import cli
from seepage.attacks import usual
from seepage.single.reference_free import TITLES
from seepage.store.verify import verify

Ran = tuple[int, str, str]
Seepage = Any

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
    kept = {tuple(row): y for row, y in zip(inputs, labels)}
    def model(x):
        known = np.array([kept.get(tuple(row), -1) for row in x])
        p = np.exp(x[:, :3].astype(float) + (known[:, None] == np.arange(3)))
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
    (tmp_path / "wrong.toml").write_text("[train]\n")
    (tmp_path / "typo.toml").write_text("[recipe]\nepoch = 2\n")
    with torch.no_grad():
        z = net(torch.from_numpy(x)).numpy()
    np.savez("mz.npz", logits=z[:80], labels=y[:80])
    np.savez("oz.npz", logits=z[80:], labels=y[80:])

    def command(*args: object) -> Ran:
        monkeypatch.setattr("sys.argv", ["seepage", *map(str, args)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    def run(*args: object) -> Ran:
        return command("audit", *args)

    run.command = command  # type: ignore[attr-defined]
    return run


SIDES = ("--members", "m.npz", "--others", "o.npz")
NET = ("models/net.py:make", "--weights", "w.safetensors", *SIDES)


def test_a_network_is_audited_and_the_page_written(seepage: Seepage) -> None:
    status, out, err = seepage(*NET, "--out", "one.html")
    assert status == 0, err
    for words in ("AUC", "LOSS", "Quantile", "blind", "What this does not say", "Next:", "80"):
        assert words in out
    needing = [a.name for a in usual() if not a.trajectory and a.name not in TITLES]
    assert f"{len(needing)} attacks need reference models" in out
    assert "training mode" not in out  # of a factory nobody chose it
    assert "curvature (is measured of networks with curvature=True (--curvature))" in out
    assert out.splitlines()[0] in html.unescape(Path("one.html").read_text())
    held = json.loads(Path("one.json").read_text())
    status, out, err = seepage(*NET, "--json")
    assert (status, json.loads(out)) == (0, held)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    net.load_state_dict(safetensors.torch.load_file("w.safetensors"))
    direct = package.audit(net, "m.npz", "o.npz", name="models/net.py:make")
    assert {k: v for k, v in direct.summary().items() if k != "notes"} == {
        k: v for k, v in held.items() if k not in ("notes", "digest")
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
    trained = ("--train", "models/net.py:train", "--minutes", "9", "--references", "2")
    status, out, err = seepage("models/net.py:probabilities", *SIDES, *trained)
    assert status == 0, err
    assert "2 models on random halves" in out
    assert "--folder keeps them" in err
    rng = np.random.default_rng(0)
    member = package.half_split(160, models=8, seed=0).member
    np.savez("r.npz", member=member, phi=rng.normal(size=(8, 160)))
    status, out, err = seepage(*NET, "--references", "r.npz", "--json")
    assert status == 0, err
    assert json.loads(out)["references"] == 8
    assert "lira" in {a["name"] for a in json.loads(out)["attacks"]}


def test_references_by_a_recipe_are_kept_and_repaired(seepage: Seepage) -> None:
    Path("recipe.toml").write_text("[recipe]\nepochs = 2\n[execution]\ndevice = 'cpu'\n")
    asked = (*NET, "--recipe", "recipe.toml", "--references", "2", "--folder", "kept")
    status, out, err = seepage(*asked, "--workers", "1")
    assert (status, err) == (0, ""), err
    assert "; 2 were trained now" in out
    kept = package.open("kept")
    before = kept.signal_at("phi", -1)
    assert verify("kept").whole
    chunk = Path("kept/signals/phi/c/1/0/0")
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    status, out, err = seepage(*asked)
    assert status == 2
    assert "seepage repair" in err
    status, out, err = seepage.command("repair", "kept")
    assert (status, out.count("\n")) == (0, 2), (out, err)
    assert "removed what is damaged of 1 runs" in out
    status, out, err = seepage(*asked)
    assert status == 0, err
    assert "; 1 were trained now" in out
    np.testing.assert_array_equal(package.open("kept").signal_at("phi", -1), before)
    assert seepage.command("verify", "kept")[0] == 0


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
        ((*NET, "--references", "16"), "pass --recipe recipe.toml or --train"),
        ((*NET, "--minutes", "3"), "--minutes: expected with references that are trained"),
        ((*NET, "--folder", "kept"), "--folder: expected with references that are trained"),
        ((*NET, "--recipe", "none.toml"), "none.toml: expected a file with [recipe], found none"),
        ((*NET, "--recipe", "wrong.toml"), "wrong.toml: expected the tables recipe and"),
        ((*NET, "--recipe", "wrong.toml", "--train", "models/net.py:train"), "got both; choose"),
        ((*NET, "--recipe", "typo.toml"), "typo.toml: recipe: epoch: unknown field; did you mean"),
        (
            (*NET, "--train", "models/net.py:train", "--references", "r.npz"),
            "a number of references",
        ),
        ((*NET, "--train", "models/net.py:train", "--references", "3"), "an even number"),
        ((*NET, "--train", "models/net.py:train", "--minutes", "0"), "seconds above 0"),
        ((*SIDES, "--recipe", "typo.toml"), "a model whose factory makes references"),
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
