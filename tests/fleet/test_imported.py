"""Arrays of another tool: taken for what they are, or refused before anything is written."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seepage
from seepage.attacks import LiRA
from seepage.errors import InputError, Locked
from seepage.fleet import imported, whole_folder
from seepage.fleet.imported import ImportedWarning, import_arrays
from seepage.plan import half_split
from seepage.store.lock import Lock
from seepage.store.storage import Storage

R, N = 8, 30
MEMBER = half_split(N, models=R, seed=0).member
RNG = np.random.default_rng(0)
PHI = RNG.normal(size=(R, 2, N)) + MEMBER[:, None]
GOOD: dict[str, Any] = {"member": MEMBER, "phi": PHI}
LOGITS = RNG.normal(size=(R, 2, N, 3))


def saved(folder: Path, name: str = "theirs.npz", **arrays: Any) -> Path:
    np.savez(folder / name, **arrays)
    return folder / name


def everything(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


REFUSED = [
    ({"phi": np.where(PHI > 2, 1e300, PHI)}, r"phi: expected values that 32-bit floats hold, got 1e"),
    ({"phi": np.where(PHI > 2, 1e-300, PHI)}, r"phi: expected values that 32-bit floats hold"),
    ({"phi": np.full(PHI.shape, 2**24 + 1)}, r"hold, got 16777217 at \(0, 0, 0\); scale them"),
    ({"phi": PHI + 0j}, "phi: expected numbers, got complex128"),
    ({"phi": np.where(PHI > 2, np.nan, PHI)}, r"phi: expected finite values, got nan at \(0"),
    ({"phi": PHI[..., None][..., :0]}, r"phi: expected shape \(8, checkpoints, 30\[, views\]\), got"),
    ({"phi": PHI[:, :0]}, r"phi: expected shape \(8, checkpoints, 30"),
    ({"phi": PHI.T}, r"phi: expected shape \(8, checkpoints, 30\[, views\]\), got \(30, 2, 8\)"),
    ({"loss": PHI[:, :1]}, "all with the same checkpoints, got {'phi': 2, 'loss': 1}"),
    ({"correct": PHI}, "correct: expected 0 and 1, got values in"),
    ({"correct": (PHI > 0) * 0.5}, r"correct: expected 0 and 1, got values in 0\.\.0\.5"),
    ({"phi": np.zeros((R, 2, N, 3)), "loss": np.zeros((R, 2, N, 2))}, "the same views, got"),
    ({"[/x]": PHI}, r"letters, digits, '_', '-' and '\.', at most 100, got '\[/x\]'; rename"),
    ({"a b": PHI}, "expected names of signals"),
    ({"x" * 101: PHI}, "expected names of signals"),
    ({"..": PHI}, "expected names of signals"),
    ({".hidden": PHI}, "expected names of signals"),
    ({"PHI": PHI}, "names that differ in more than case, got several 'phi'"),
    ({"label": np.zeros(N)}, r"label: expected a signal .*, got shape \(30,\); did you mean 'labels'"),
    ({"member": MEMBER[:, :0], "phi": PHI[..., :0]}, "at least one model and one sample"),
    ({"member": MEMBER[:0], "phi": PHI[:0]}, "at least one model and one sample"),
    ({"member": MEMBER * 2}, "member: expected 0 and 1 of shape"),
    ({"member": np.where(MEMBER, 1.0, np.nan)}, "member: expected 0 and 1 of shape"),
    ({"member": MEMBER.astype(str)}, "member: expected 0 and 1 of shape"),
    ({"member": np.concatenate([MEMBER[:1], MEMBER[1:] & False])}, "got none in run 1; runs that"),
    ({"checkpoints": [np.nan, 1]}, "checkpoints: expected 2 epochs from 0, ascending and finite"),
    ({"checkpoints": [1, np.inf]}, "checkpoints: expected 2 epochs from 0, ascending and finite"),
    ({"checkpoints": [-1, 1]}, "checkpoints: expected 2 epochs"),
    ({"checkpoints": [2, 2]}, "checkpoints: expected 2 epochs"),
    ({"checkpoints": [1, 2, 3]}, "checkpoints: expected 2 epochs"),
    ({"checkpoints": ["a", "b"]}, "checkpoints: expected numbers, got <U1"),
    ({"labels": np.full(N, 0.5)}, r"labels: expected one class for .*, got numbers with fractions"),
    ({"labels": np.where(np.arange(N) == 3, np.nan, 1.0)}, "whole-number labels, got nan at row 3"),
    ({"labels": np.full(N, 1e300)}, r"labels: expected labels 0\.\.K-1, got 1e\+300"),
    ({"labels": np.full(N, np.inf)}, "labels: expected whole-number labels, got inf"),
    ({"labels": 1 + np.arange(N) % 3}, "expected labels 0..K-1 without gaps, got 1 but no 0; renumb"),
    ({"labels": np.arange(N) % 3 - 1}, r"labels: expected labels in 0\.\.K-1, got -1 at row"),
    ({"labels": np.array(["a", "NA"] * (N // 2))}, "a label for every sample, got 'NA' at row 1"),
    ({"labels": np.zeros(N - 1, int)}, "labels: expected one for each of the 30 samples"),
    ({"labels": np.arange(N) % 3, "classes": ["a", "b"]}, r"expected labels in 0\.\.1, got 2"),
    ({"labels": np.arange(N) % 2, "classes": ["a", "a"]}, "every class once, got 'a' twice"),
    ({"labels": np.arange(N) % 2, "classes": [0.5, 1.5]}, "expected text or whole numbers, got flo"),
    ({"classes": ["a", "b"]}, "classes: expected labels with them, got none"),
    ({"logits": LOGITS, "labels": np.arange(N) % 4}, r"expected labels in 0\.\.2, got 3"),
    ({"logits": LOGITS, "labels": np.array(list("abc") * 10)}, "whole numbers with logits, got names"),
    ({"logits": LOGITS[..., :1], "labels": np.zeros(N, int)}, "a column for each of at least two"),
    ({"logits": LOGITS, "labels": np.arange(N) % 2, "classes": ["a", "b"]}, "got 3 for 2; save one"),
    (
        {"logits": np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True), "labels": np.arange(N) % 3},
        "logits: expected logits, got probabilities: every row",
    ),
    ({"ids": np.zeros(N, int)}, "ids: expected 30 different names, got 1 in shape"),
    ({"ids": np.arange(N + 1)}, "ids: expected 30 different names, got 31 in shape"),
    ({"ids": np.arange(N) / 2}, "ids: expected text or whole numbers, got float64"),
    ({"ids": np.array(["", *map(str, range(1, N))])}, "ids: expected 30 different names"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "message"), REFUSED)
def test_what_cannot_be_stored_as_it_is(tmp_path: Path, changed: Any, message: str) -> None:
    source = saved(tmp_path, **(GOOD | changed))
    with pytest.raises(InputError, match=message) as raised:
        import_arrays(source, tmp_path / "deep" / "run")
    assert "\n" not in str(raised.value)
    assert everything(tmp_path) == {"theirs.npz"}


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "signals/x", "a\\b"])
def test_no_name_leads_outside(tmp_path: Path, name: str) -> None:
    source = saved(tmp_path, **GOOD)
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr(f"{name}.npy", archive.read("phi.npy"))
    with pytest.raises(InputError, match="expected names of signals in letters, digits"):
        import_arrays(source, tmp_path / "run")
    assert everything(tmp_path) == {"theirs.npz"}


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("", "out: expected the name of a file or folder, got ''"),
        (Path("s3://bucket/run"), "out: expected a local file or folder, got the address 's3:/"),
        ("a\0b", "out: expected a path, got a zero byte"),
        ("x" * 256, "out: expected names of at most 255 bytes"),
        ("\udcff", "out: expected a name in UTF-8"),
        ("nosuch://bucket/run", "expected an address whose driver is installed"),
        ("theirs.npz", "expected a new folder, got a file"),
        ("theirs.npz/run", "expected a folder that can be written"),
    ],
)
def test_places_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: Any, message: str
) -> None:
    saved(tmp_path, **GOOD)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        import_arrays("theirs.npz", out)
    assert everything(tmp_path) == {"theirs.npz"}


def test_a_folder_that_holds_something_stays_as_it_is(tmp_path: Path) -> None:
    source = saved(tmp_path, **GOOD)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(
        InputError, match="expected a new or empty folder, got one that holds files"
    ):
        import_arrays(source, tmp_path / "run")
    assert everything(tmp_path) == before
    (tmp_path / "run" / "notes.txt").unlink()
    import_arrays(source, tmp_path / "run")
    with pytest.raises(InputError, match="got one that holds a run; choose another"):
        import_arrays(source, tmp_path / "run")


def test_nothing_is_invented(tmp_path: Path) -> None:
    """Without labels and epochs there are no classes, and no model is called untrained."""
    run = import_arrays(saved(tmp_path, member=MEMBER, phi=PHI[:, 0]), tmp_path / "run")
    assert run.manifest["data"]["classes"] == ["(not given)"]
    assert not run.manifest["key"]["labels"]
    assert not run.manifest["key"]["checkpoints"]
    assert run.checkpoints.tolist() == [1.0]
    assert (seepage.score(run, LiRA()) > 0.0).any()


def test_what_is_accepted_keeps_its_meaning(tmp_path: Path) -> None:
    ids = np.array([f"p{i:03d}" for i in range(N)])
    source = saved(
        tmp_path, member=MEMBER.astype(float), phi=PHI.astype(np.float16), loss=PHI[..., None],
        correct=(PHI > 0).astype(int), checkpoints=np.array([0, 3]), logits=LOGITS.astype(np.float16), ids=ids,
        labels=np.arange(N) % 3, classes=np.array(["low", "mid", "high"]), groups=ids[np.arange(N) // 2],
    )  # fmt: skip
    with pytest.warns(ImportedWarning, match="(phi|logits): was given in half precision"):
        run = import_arrays(source, tmp_path / "run")
    np.testing.assert_array_equal(run.member, MEMBER)
    np.testing.assert_array_equal(run.signal("phi"), PHI.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(run.signal("loss"), PHI[..., None].astype(np.float32))
    np.testing.assert_array_equal(
        run.signal("logits"), LOGITS.astype(np.float16).astype(np.float32)
    )
    np.testing.assert_array_equal(run.signal("correct"), PHI > 0)
    assert run.manifest["signals"]["correct"]["dtype"] == "bool"
    assert run.classes == ("low", "mid", "high")
    assert run.labels.tolist() == (np.arange(N) % 3).tolist()
    assert run.ids.tolist() == ids.tolist()
    assert run.groups is not None
    assert run.groups.tolist() == ids[np.arange(N) // 2].tolist()
    assert run.checkpoints.tolist() == [0.0, 3.0]
    assert run.manifest["key"]["labels"]
    assert run.verify() == []


def test_names_as_labels_are_numbered_by_the_classes(tmp_path: Path) -> None:
    labels = np.array(["b", "a"] * (N // 2))
    run = import_arrays(
        saved(tmp_path, **GOOD, labels=labels, classes=["b", "a", "c"]), tmp_path / "x"
    )
    assert (run.classes, run.labels[:2].tolist()) == (("b", "a", "c"), [0, 1])
    run = import_arrays(saved(tmp_path, **GOOD, labels=labels), tmp_path / "y")
    assert (run.classes, run.labels[:2].tolist()) == (("a", "b"), [1, 0])


def test_a_shape_of_two_meanings(tmp_path: Path) -> None:
    """(R, N, N) is N checkpoints, or one with N views: only `checkpoints` can tell."""
    cube = RNG.normal(size=(R, N, N))
    with pytest.raises(InputError, match="phi: expected a shape of one meaning"):
        import_arrays(saved(tmp_path, member=MEMBER, phi=cube), tmp_path / "run")
    one = saved(tmp_path, member=MEMBER, phi=cube, checkpoints=[4])
    assert import_arrays(one, tmp_path / "one").signal("phi").shape == (R, 1, N, N)
    many = saved(tmp_path, member=MEMBER, phi=cube, checkpoints=np.arange(N))
    assert import_arrays(many, tmp_path / "many").signal("phi").shape == (R, N, N)


def test_the_manifest_holds_what_was_imported(tmp_path: Path) -> None:
    keys = []
    for name, phi in (("a", PHI), ("b", PHI), ("c", PHI + 1e-9)):
        run = import_arrays(saved(tmp_path, member=MEMBER, phi=phi), tmp_path / name)
        keys.append(run.manifest["key"]["arrays"])
    assert keys[0] == keys[1] != keys[2]


def test_a_failing_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(tmp_path, **GOOD)

    def full(*args: object, **facts: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(imported.StoreSink, "write", full)
    with pytest.raises(InputError, match="No space left"):
        import_arrays(source, tmp_path / "deep" / "run")
    assert everything(tmp_path) == {"theirs.npz"}


def test_a_killed_import_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(tmp_path, **GOOD)

    class Killed(BaseException):
        pass

    def killed(*args: object, **facts: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(imported.StoreSink, "done", killed)
        patched.setattr(whole_folder.shutil, "rmtree", lambda *a, **k: None)
        with pytest.raises(Killed):
            import_arrays(source, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (left,) = [p for p in tmp_path.iterdir() if p.name.endswith(".importing")]
    assert (left / "manifest.json").exists()
    (left / "stale").mkdir()
    run = import_arrays(source, tmp_path / "run")
    assert len(run.models) == R
    assert not any(p.name.endswith(".importing") for p in tmp_path.iterdir())
    assert not (tmp_path / "run" / "stale").exists()


def test_two_imports_at_a_time(tmp_path: Path) -> None:
    source = saved(tmp_path, **GOOD)
    with whole_folder.new_folder(tmp_path / "run") as draft:
        with Lock(Storage(draft, write=True)):
            with pytest.raises(Locked):
                import_arrays(source, tmp_path / "run")
            assert (draft / "locks").is_dir()
        (draft / "mine").write_text("kept")
    assert (tmp_path / "run" / "mine").read_text() == "kept"


def test_an_address_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = saved(tmp_path, **GOOD)
    run = import_arrays(source, "memory://bucket/run")
    np.testing.assert_array_equal(run.signal("phi"), PHI.astype(np.float32))
    with pytest.raises(InputError, match="expected an address that holds nothing"):
        import_arrays(source, "memory://bucket/run")
    assert everything(tmp_path) == {"theirs.npz"}
    json.dumps(run.manifest)


def test_a_failing_address_is_left_bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(tmp_path, **GOOD)

    def full(*args: object, **facts: object) -> None:
        raise InputError("no more")

    with monkeypatch.context() as patched:
        patched.setattr(imported.StoreSink, "done", full)
        with pytest.raises(InputError, match="no more"):
            import_arrays(source, "memory://bucket/failed")
    assert len(import_arrays(source, "memory://bucket/failed").models) == R


@pytest.mark.slow
def test_kills_at_random_moments_leave_no_part(tmp_path: Path) -> None:
    """After a kill there is no run folder or a whole one, and the same command makes it."""
    member = half_split(200, models=40).member
    phi = np.random.default_rng(1).normal(size=(40, 5, 200))
    source = saved(tmp_path, member=member, phi=phi)
    code = (
        "import sys; from seepage.fleet.imported import import_arrays; print('ready', flush=True);"
        "import_arrays(sys.argv[1], sys.argv[2])"
    )
    moments = np.random.default_rng(0).uniform(0, 0.8, 12)
    unfinished = 0
    for k, moment in enumerate(moments):
        out = tmp_path / f"run{k}"
        command = [sys.executable, "-c", code, str(source), str(out)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(moment)
            process.kill()
        if not out.exists():
            unfinished += 1
            import_arrays(source, out)
        run = seepage.open(out)
        assert run.verify() == []
        np.testing.assert_array_equal(run.signal("phi"), phi.astype(np.float32))
    assert unfinished > 0
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".importing")]
