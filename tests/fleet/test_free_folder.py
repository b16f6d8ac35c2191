"""Runs begin in a new folder, an empty one, or where a beginning was cut off; nowhere else."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from seepage.errors import CorruptStore, InputError
from seepage.fleet.free_folder import check_free
from seepage.store.storage import Storage
from tiny_fleet import contents, fleet


def listing(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt", "a/b/c.txt", "data/patients.csv", "data/ids.csv", "plan/a.docx",
        "records/patients.json", "report.html", "manifest.json.txt", "signals/phi/notes",
        "data/labels/c/0/mine", "locks/key.pem", "manifest (conflict copy).json", "audit.toml",
    ],
)  # fmt: skip
def test_a_folder_of_other_files_is_refused_and_left_as_it_was(tmp_path: Path, name: str) -> None:
    out = tmp_path / "project"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    (out / "plan").mkdir(exist_ok=True)
    (out / "plan" / ".hidden").write_text("mine too")
    before = listing(out)
    with pytest.raises(InputError, match="expected a run folder or an empty one, got one that hol"):
        fleet(out)
    assert listing(out) == before
    assert (out / name).read_text() == "mine"


@pytest.mark.parametrize("names", [(), (".DS_Store",), ("lost+found/x", ".git/config", "plan/")])
def test_hidden_files_are_passed_over(
    tmp_path: Path, trained: Path, names: tuple[str, ...]
) -> None:
    out = tmp_path / "run"
    for name in names:
        at = out / name
        (at if name.endswith("/") else at.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            at.write_text("mine")
    fleet(out)
    assert (
        contents(out, "signals", "records").keys() == contents(trained, "signals", "records").keys()
    )
    for name in names:
        assert name.endswith("/") or (out / name).read_text() == "mine"


@pytest.mark.parametrize("kept", ["records/00001.json", "signals/phi/c/0/0/0", "report.html"])
def test_runs_without_a_manifest_are_named_as_such(copied: Path, kept: str) -> None:
    (copied / "report.html").write_text("")
    for path in sorted(copied.rglob("*"), reverse=True):
        name = str(path.relative_to(copied))
        if path.is_file() and name != kept and name.split("/")[0] not in ("plan", "weights"):
            path.unlink()
    with pytest.raises(CorruptStore, match=r"manifest.json: expected that of the runs that lie"):
        check_free(copied)


class Cut(BaseException):
    """The process ends here."""


def test_a_beginning_that_was_cut_off_anywhere_goes_on(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Storage.put
    for most in itertools.count():
        out = tmp_path / f"run-{most}"
        left = [most]

        def cut(self: Storage, key: str, value: bytes, left: list[int] = left) -> None:
            if not key.startswith("locks"):
                if not left[0]:
                    raise Cut
                left[0] -= 1
            put(self, key, value)

        monkeypatch.setattr(Storage, "put", cut)
        try:
            fleet(out, executor="inline")
        except Cut:
            founded = (out / "manifest.json").exists()
            monkeypatch.undo()
            if founded:
                break
            check_free(out)
            continue
        break
    assert most > 5
    for k in (1, most // 2, most - 1):
        fleet(tmp_path / f"run-{k}")
        assert contents(tmp_path / f"run-{k}", "signals") == contents(trained, "signals")
