"""Checkpoints that were trained elsewhere: evaluated as the Recorder does, or refused in one line."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from tests.tiny_fleet import table
from torch import nn
from typer.testing import CliRunner

import seepage
from seepage.attacks import LOSS, LiRA
from seepage.cli import app
from seepage.curvature.estimate import estimator
from seepage.data import Dataset, from_arrays
from seepage.errors import InputError, StorageFailed
from seepage.findings.collect import collect
from seepage.findings.notes import import_doubts
from seepage.fleet import checkpoint_inputs, checkpoints
from seepage.fleet.imported import ImportedWarning
from seepage.fleet.kept import kept_curvature, kept_layers
from seepage.fleet.rebuild import rebuild
from seepage.plan import half_split
from seepage.record import DEFAULT_SIGNALS
from seepage.report.words import first_screen
from seepage.signals import SIGNALS

R = 6
DATA = table()
PLAN = half_split(len(DATA), models=R, seed=1)


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def trained(seed: int, members: np.ndarray, inputs: torch.Tensor | None = None) -> nn.Module:
    """A network that knows its members somewhat."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make()
    x = DATA.inputs if inputs is None else inputs
    at = torch.from_numpy(np.flatnonzero(members))
    opt = torch.optim.SGD(net.parameters(), 0.2)
    for _ in range(40):
        opt.zero_grad()
        nn.functional.cross_entropy(net(x[at]), DATA.labels[at]).backward()  # type: ignore[no-untyped-call]
        opt.step()
    return net


NETS = [trained(r, PLAN.member[r]) for r in range(R)]


def files(
    folder: Path,
    save: Callable[[Any, Path], None] = torch.save,
    suffix: str = "pt",
    prefix: str = "",
) -> Path:
    """A file of weights per model beside members.npz."""
    folder.mkdir(parents=True)
    for r, net in enumerate(NETS):
        weights = {prefix + k: v for k, v in net.state_dict().items()}
        save(weights, folder / f"net-{r}.{suffix}")
    np.savez(folder / "members.npz", **{f"net-{r}": PLAN.member[r] for r in range(R)})
    return folder


def opened(folder: Path, out: Path, **options: Any) -> seepage.Run:
    return seepage.import_checkpoints(folder, out, **({"model": make, "data": DATA} | options))


def by_hand(name: str) -> np.ndarray:
    """The signal of every network at its last weights, in float64: (R, N)."""
    with torch.no_grad():
        return np.stack([SIGNALS[name](net(DATA.inputs), DATA.labels).numpy() for net in NETS])


@pytest.mark.parametrize(
    ("save", "suffix", "prefix", "told"),
    [
        (torch.save, "pt", "", None),
        (safetensors.torch.save_file, "safetensors", "", None),
        (torch.save, "pth", "module.", "module. was removed from the names in 6 of 6 files"),
        (torch.save, "pt", "_orig_mod._module.", "_module. was removed"),
    ],
)
def test_networks_say_what_they_say_by_hand(
    tmp_path: Path, save: Any, suffix: str, prefix: str, told: str | None
) -> None:
    run = opened(files(tmp_path / "nets", save, suffix, prefix), tmp_path / "run")
    for name in DEFAULT_SIGNALS:
        np.testing.assert_allclose(run.signal(name)[:, 0], by_hand(name), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(run.member, PLAN.member)
    assert run.manifest["key"]["checkpoints"] is False
    notes = " ".join(run.manifest["provenance"]["notes"])
    assert told is None or told in notes
    assert "inputs as the data has them" in notes
    assert run.verify() == []
    with torch.no_grad():
        kept = rebuild(run, 2, model=make, data=DATA)
        np.testing.assert_array_equal(kept.model(kept.inputs), NETS[2](DATA.inputs))


def test_layers_and_curvature_of_what_was_imported(tmp_path: Path) -> None:
    data = seepage.load("digits", limit=60)

    def network() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))

    folder = tmp_path / "nets"
    folder.mkdir()
    plan = half_split(len(data), models=2, seed=0)
    for r in range(2):
        torch.save(network().state_dict(), folder / f"{r}.pt")
    np.save(folder / "members.npy", plan.member)
    with pytest.warns(ImportedWarning, match=r"the most frequent class alone would be on"):
        run = seepage.import_checkpoints(
            folder, tmp_path / "run", model=network, data=data, divide=16
        )
    assert len(kept_layers(run, models=1, samples=20, model=network).risk().layer) == 2
    found = kept_curvature(run, 1, estimator=estimator("exact"), model=network).found
    x = data.inputs.float() / 16
    net = network()
    net.load_state_dict(torch.load(folder / "1.pt", weights_only=True))
    want = seepage.curvature.curvature(net, x, data.labels, estimator("exact"))
    np.testing.assert_allclose(found.score, want.score, rtol=1e-4)
    with pytest.raises(InputError, match="a name in a run folder is never imported"):
        kept_layers(run, models=1)


def test_checkpoints_by_epoch(tmp_path: Path) -> None:
    """Epochs come from names, in the order of numbers, whatever else a name holds."""
    folder = tmp_path / "nets"
    for r, net in enumerate(NETS):
        place = folder / f"run{r + 8}"
        place.mkdir(parents=True)
        torch.save(make().state_dict(), place / "epoch=2-step=99.pt")
        torch.save({"epoch": 10, "state_dict": net.state_dict()}, place / "epoch=10-step=8.pt")
    members = {f"run{r + 8}": np.flatnonzero(PLAN.member[r]) for r in range(R)}
    run = opened(folder, tmp_path / "run", members=members)
    assert run.checkpoints.tolist() == [2.0, 10.0]
    assert run.manifest["key"]["names"] == ["run8", "run9", "run10", "run11", "run12", "run13"]
    np.testing.assert_allclose(run.signal("phi")[:, 1], by_hand("phi"), rtol=1e-5, atol=1e-6)
    assert len(run.records[0]["weights"]) == 2


def test_same_weights_through_every_door(tmp_path: Path) -> None:
    """A loop of one's own, its checkpoints, its logits: one φ, one score, one judgement."""
    nets = tmp_path / "nets"
    nets.mkdir()

    rows = {PLAN.members(r).tobytes(): r for r in range(R)}

    def loop(members: np.ndarray, seed: int, recorder: seepage.record.Recorder) -> nn.Module:
        row = rows[members.tobytes()]
        x = recorder.inputs(np.arange(len(DATA)))
        net = trained(row, PLAN.member[row], x)
        recorder.start(net)
        recorder.checkpoint(1.0)
        (nets / f"{row}").mkdir()
        torch.save(net.state_dict(), nets / f"{row}" / "epoch-1.pt")
        np.save(tmp_path / f"logits-{row}.npy", net(x).detach().numpy())
        return net

    # It knows the members of its plan alone, and writes files.
    own = seepage.Function(function=loop, check=False)
    plain = seepage.train(
        DATA, PLAN, out=tmp_path / "loop", function=own, checkpoints=[1.0], executor="inline",
        recipe=seepage.Recipe(epochs=1), keep="final",
    )  # fmt: skip
    logits = np.stack([np.load(tmp_path / f"logits-{r}.npy") for r in range(R)])
    np.save(nets / "members.npy", PLAN.member)
    kept = opened(nets, tmp_path / "checkpoints")
    given = seepage.import_arrays(
        {
            "member": PLAN.member, "logits": logits, "labels": DATA.labels.numpy(), "ids": DATA.ids,
            "classes": np.array(DATA.classes), "checkpoints": np.array([1.0]),
        },
        tmp_path / "logits",
    )  # fmt: skip
    runs = (plain, kept, given)
    phi = [run.signal("phi") for run in runs]
    assert np.abs(phi[0]).max() > 1
    for other in phi[1:]:
        np.testing.assert_allclose(other, phi[0], rtol=0, atol=1e-5)
    for attack in (LiRA(), LOSS()):
        scores = [seepage.score(run, attack) for run in runs]
        for other in scores[1:]:
            np.testing.assert_allclose(other, scores[0], rtol=1e-3, atol=1e-3)
    for name in SIGNALS:
        for run in runs[1:]:
            np.testing.assert_allclose(run.signal(name), plain.signal(name), rtol=1e-4, atol=1e-5)
    assert [r.records[0]["accuracy"] for r in runs[1:]] == [plain.records[0]["accuracy"]] * 2
    found = [collect(run, blind=False, permutations=1) for run in runs]
    for other in found[1:]:
        assert [a.name for a in other.attacks] == [a.name for a in found[0].attacks]
        assert other.skipped.keys() == found[0].skipped.keys()
        for mine, first in zip(other.attacks, found[0].attacks, strict=True):
            assert mine.auc.mean == pytest.approx(first.auc.mean, abs=1e-6)
            assert mine.null_auc == pytest.approx(first.null_auc, abs=1e-6)


def test_inputs_of_another_scale_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks that were trained on pictures in 0..1, given them as 0..255."""
    opened(files(tmp_path / "nets"), tmp_path / "run")  # says nothing
    for factor in (10, 255):
        told = rf"members are right in .* divided by {factor}, with a mean loss .*divide=, standardise="
        with pytest.raises(InputError, match=told):
            opened(tmp_path / "nets", tmp_path / "large", divide=1 / factor)
    # Where members alone do not tell it, others do.
    monkeypatch.setattr(checkpoint_inputs, "better_prepared", lambda *given: None)
    with pytest.warns(
        ImportedWarning, match=r"inputs divided by 255 would be .*divide=, standardise="
    ):
        opened(tmp_path / "nets", tmp_path / "large", divide=1 / 255)


def test_inputs_that_were_standardised_in_training_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = (np.abs(128 + 20 * rng.normal(size=(200, 2)) + 50 * (2 * y[:, None] - 1)) % 255).astype(
        np.float32
    )
    data = from_arrays(x, y)

    def network() -> nn.Module:
        net = nn.Linear(2, 2)
        with torch.no_grad():
            net.weight.copy_(torch.tensor([[-3.0, -3.0], [3.0, 3.0]]))
            net.bias.zero_()
        return net

    folder = tmp_path / "nets"
    folder.mkdir()
    for r in range(2):
        torch.save(network().state_dict(), folder / f"{r}.pt")
    np.save(folder / "members.npy", half_split(200, models=2, seed=0).member)
    for divide in (1, 25.5, 255):
        with pytest.raises(
            InputError,
            match=r"data: inputs: members are right in \d\d\.\d% as given and would be in \d+\.\d% stand.* per col",
        ) as raised:
            seepage.import_checkpoints(
                folder, tmp_path / "run", model=network, data=data, divide=divide
            )
        assert "does that" not in str(raised.value)
        assert not (tmp_path / "run").exists()
    with warnings.catch_warnings():
        # Linear in its inputs, it was copied and not trained.
        warnings.simplefilter("ignore")
        run = seepage.import_checkpoints(
            folder, tmp_path / "run", model=network, data=data, standardise=True
        )
    assert run.records[0]["accuracy"][-1][0] > 0.9


def test_networks_that_are_far_too_sure_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no other scale is better."""
    for name in ("better_scale", "better_prepared", "better_scaled_within"):
        monkeypatch.setattr(checkpoint_inputs, name, lambda *given: None)
    with pytest.warns(
        ImportedWarning, match=r"half of all \|phi\| lie above \d+, and 32-bit training"
    ):
        run = opened(files(tmp_path / "nets"), tmp_path / "large", divide=1 / 255)
    # Whoever reads the folder later is told as well: the report and the gate.
    found = collect(run, blind=False, permutations=1)
    assert "half of all |phi| lie above" in found.notes[0]
    assert found.summary()["doubts"] == list(import_doubts(run))
    first = first_screen(found)
    assert (
        "But inputs or classes may be others than in training: see the first warning"
        in first.headline
    )
    assert "half of all |phi| lie above" in first.warnings[0][1]
    figures = CliRunner().invoke(app, ["attack", run.path, "-a", "loss"])
    assert "surer than training usually makes them" in " ".join(figures.stderr.split())
    told = CliRunner().invoke(app, ["check", run.path, "--max-auc", "1"])
    assert "warning: " in told.stderr
    assert "surer than training usually makes them" in " ".join(told.stderr.split())
    assert seepage.check(run, seepage.Limits(max_auc=1)).doubts == import_doubts(run)
    assert not import_doubts(opened(tmp_path / "nets", tmp_path / "fair"))


class Trojan:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


def _code(folder: Path) -> None:
    (folder / "net-3.pt").write_bytes(pickle.dumps(Trojan()))


def _module(folder: Path) -> None:
    torch.save(NETS[3], folder / "net-3.pt")


def _cut(folder: Path) -> None:
    raw = (folder / "net-3.pt").read_bytes()
    (folder / "net-3.pt").write_bytes(raw[: len(raw) // 2])


def _renamed(folder: Path) -> None:
    torch.save({"0.weight": torch.zeros(8, 4), "head": torch.zeros(2)}, folder / "net-3.pt")


def _wide(folder: Path) -> None:
    weights = NETS[3].state_dict() | {"2.bias": torch.zeros(4)}
    torch.save(weights, folder / "net-3.pt")


def _nan(folder: Path) -> None:
    weights = {k: v * float("nan") for k, v in NETS[3].state_dict().items()}
    torch.save(weights, folder / "net-3.pt")


def _huge(folder: Path) -> None:
    torch.save({k: v * 1e30 for k, v in NETS[3].state_dict().items()}, folder / "net-3.pt")


def _list(folder: Path) -> None:
    torch.save([1, 2], folder / "net-3.pt")


def _beside(folder: Path) -> None:
    torch.save({"epoch": 3, "net": NETS[3].state_dict()}, folder / "net-3.pt")


def _other(folder: Path) -> None:
    (folder / "net-3.ckpt").write_bytes(b"x")


def _one_less(folder: Path) -> None:
    np.savez(folder / "members.npz", **{f"net-{r}": PLAN.member[r] for r in range(R - 1)})


def _one_more(folder: Path) -> None:
    np.savez(folder / "members.npz", **{f"net-{r}": PLAN.member[r % R] for r in range(R + 1)})


def _no_members(folder: Path) -> None:
    (folder / "members.npz").unlink()


def _named(values: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        np.savez(folder / "members.npz", **{f"net-{r}": values for r in range(R)})

    return damage


def _sparse(folder: Path) -> None:
    weights = NETS[3].state_dict() | {"0.weight": torch.eye(8, 4).to_sparse()}
    torch.save(weights, folder / "net-3.pt")


REFUSED: list[tuple[Callable[[Path], None], str]] = [
    (_code, r"net-3.pt: expected weights.*names code.*never run; save model.state_dict\(\) alone"),
    (_module, r"net-3.pt: expected weights.*names code \(torch.nn.modules.container.Sequential"),
    (_cut, "net-3.pt: expected weights.*got a corrupt file or other content"),
    (
        _renamed,
        "got 3 missing, the first '0.bias' and 1 unexpected, the first 'head'; name the fac",
    ),
    (_wide, r"expected '2.bias' of shape \(3,\) as the factory makes it, got \(4,\)"),
    (_nan, "net-3.pt: expected finite weights, got NaN or infinity in '0.weight'"),
    (_huge, "net-3.pt: "),
    (_sparse, "net-3.pt: expected dense weights, got sparse or quantised ones under '0.weight'"),
    (_list, "net-3.pt: expected weights.*got a list"),
    (_beside, "got an int under 'epoch'; .* under 'state_dict'; 'net' holds one: save that"),
    (_other, "got 'net-3.ckpt'; rename it or put it elsewhere"),
    (
        _one_less,
        "the members of each of the 6 models by its name, got none for 'net-5', did you mean",
    ),
    (_one_more, "got 'net-6', of which there is no file"),
    (
        _no_members,
        "expected members.npz or members.npy, who trained which model .*found neither; add it, or",
    ),
    (_named(np.zeros(5, bool)), r"net-0: expected a mask of 48 samples, got shape \(5,\)"),
    (
        _named(np.zeros(5, bool)),
        r"an \.npz of these 5 inputs .*limit=5\) drew them, .* \(a random draw, not the first ones\)$",
    ),
    (
        _named(np.array([3, 48])),
        r"net-0: expected row numbers in 0..47, got 48; counted from 1\? th",
    ),
    (_named(np.array([0, 48])), r"got 48; name the data that the models were trained on"),
    (_named(np.array([1, 48, 49])), r"got 48; name the data that the models were trained on"),
    (_named(np.array([3, 3])), "net-0: expected every member once, got 1 twice"),
    (
        _named(np.array(["row-1", "x"])),
        "got 1 of 2 that are not in it, the first 'x'; its ids are li",
    ),
    (_named(np.array([0.5])), "net-0: expected a mask, row numbers or ids as text, got float64"),
]


@pytest.mark.parametrize(("damage", "message"), REFUSED)
def test_what_is_refused_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any, message: str
) -> None:
    folder = files(tmp_path / "nets")
    damage(folder)
    with pytest.raises(InputError, match=message) as raised:
        opened(folder, tmp_path / "deep" / "run")
    assert "\n" not in str(raised.value)
    assert [p.name for p in tmp_path.iterdir()] == ["nets"]
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": lambda: nn.Linear(4, 2)}, "got 2 missing, the first 'weight' and 4 unexpected"),
        (
            {"model": lambda: nn.LazyLinear(3)},
            "got lazy layers from .*; pass an input through it once",
        ),
        ({"model": "nowhere:make"}, "model: expected a module 'nowhere'"),
        ({"model": "nets/none.py:make"}, "model: expected a Python file at nets/none.py"),
        ({"divide": 0.0}, "divide: expected a number above 0"),
        (
            {"divide": None},
            "divide: expected a number above 0, got None; 1 leaves inputs as they are",
        ),
        ({"divide": 2.0, "standardise": True}, "divide: expected without standardise"),
        ({"views": ("identity", "flip")}, "views: expected images"),
        ({"members": PLAN.member[:, :3]}, r"expected membership of 6 models and 48 samples, got"),
        ({"members": "nowhere.npz"}, "nowhere.npz: expected an .npz file of arrays, found no such"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: Any, message: str) -> None:
    folder = files(tmp_path / "nets")
    with pytest.raises(InputError, match=message):
        opened(folder, tmp_path / "run", **options)
    assert [p.name for p in tmp_path.iterdir()] == ["nets"]


def test_a_network_of_other_inputs(tmp_path: Path) -> None:
    data = from_arrays(np.random.default_rng(0).normal(size=(48, 5)), DATA.labels.numpy())
    folder = files(tmp_path / "nets")
    with pytest.raises(InputError, match="expected a forward pass on inputs of shape"):
        opened(folder, tmp_path / "run", data=data)
    assert [p.name for p in tmp_path.iterdir()] == ["nets"]


def test_whole_numbers_of_ids_that_are_numbers(tmp_path: Path) -> None:
    """Row numbers and ids could be meant: neither is taken."""
    data = Dataset(
        DATA.inputs,
        DATA.labels,
        np.array([str(i + 1) for i in range(48)]),
        DATA.classes,
        "t",
        "table",
    )
    folder = files(tmp_path / "nets")
    rows = {f"net-{r}": np.flatnonzero(PLAN.member[r]) for r in range(R)}
    with pytest.raises(InputError, match="expected ids as text, or a mask, got whole numbers"):
        opened(folder, tmp_path / "run", data=data, members=rows)
    texts = {k: (v + 1).astype(str) for k, v in rows.items()}
    run = opened(folder, tmp_path / "run", data=data, members=texts)
    np.testing.assert_array_equal(run.member, PLAN.member)


def test_a_killed_import_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = files(tmp_path / "nets")

    class Killed(BaseException):
        pass

    def killed(*args: object, **facts: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.StoreSink, "done", killed)
        patched.setattr("seepage.fleet.whole_folder.shutil.rmtree", lambda *a, **k: None)
        with pytest.raises(Killed):
            opened(folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert len(opened(folder, tmp_path / "run").models) == R
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".importing")]


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = files(tmp_path / "nets")
    monkeypatch.setattr("seepage.fleet.disk.free_bytes", lambda where: 1000)
    with pytest.raises(StorageFailed, match=r"of free disk \(.* signals, .* weights\), got 1 KiB"):
        opened(folder, tmp_path / "run")
    arrays = {"member": PLAN.member, "phi": np.ones(PLAN.member.shape)}
    with pytest.raises(StorageFailed, match=r"of free disk \(.* signals\), got 1 KiB"):
        seepage.import_arrays(arrays, tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["nets"]


def test_progress_tells_both_passes(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    opened(files(tmp_path / "nets"), tmp_path / "run", progress=lambda *a: told.append(a))
    assert told == [(what, k + 1, R) for what in ("checking", "evaluating") for k in range(R)]
