"""A run folder as evidence: whatever is damaged, exchanged or lost is named, and never read."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seepage
from seepage.cli import main
from seepage.errors import CorruptStore, InputError
from seepage.fleet.kept import keep_result
from seepage.fleet.repair import forget
from seepage.plan import half_split
from seepage.store import open_run
from seepage.store.storage import Storage
from seepage.store.verify import verify
from tiny_fleet import contents, fleet, rewrite_manifest

GOLDEN = Path(__file__).parent.parent / "golden" / "run-of-version-0.1.0.zip"
PLAN = "plan/member/c/0/0"
Command = Callable[..., tuple[int, str, str]]
Wrong = set[tuple[str, str]]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the same shape: other halves, everything else alike."""
    out = tmp_path_factory.mktemp("other") / "run"
    fleet(out, plan=half_split(48, models=4, seed=2))
    return out


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def read_all(folder: Path) -> None:
    """Everything that a reader of a run folder ever reads."""
    run = open_run(folder)
    _ = run.member, run.labels, run.ids, run.groups, run.digest
    for name in run.signals:
        run.signal(name)
    for row in range(len(run.models)):
        assert run.weights(row) is not None


def exchange(folder: Path, a: str, b: str) -> None:
    first, second = (folder / a).read_bytes(), (folder / b).read_bytes()
    (folder / a).write_bytes(second)
    (folder / b).write_bytes(first)


def flipped(run: Path, other: Path) -> Wrong:
    raw = bytearray((run / "signals/phi/c/2/1/0").read_bytes())
    raw[17] ^= 4
    (run / "signals/phi/c/2/1/0").write_bytes(raw)
    return {("changed", "signals/phi/c/2/1/0")}


def chunks_of_two_runs(run: Path, other: Path) -> Wrong:
    pair = ("signals/phi/c/0/2/0", "signals/phi/c/3/2/0")
    exchange(run, *pair)
    return {("swapped", k) for k in pair}


def chunks_of_two_checkpoints(run: Path, other: Path) -> Wrong:
    pair = ("signals/phi/c/1/1/0", "signals/phi/c/1/2/0")
    exchange(run, *pair)
    return {("swapped", k) for k in pair}


def weights_of_two_runs(run: Path, other: Path) -> Wrong:
    pair = ("weights/00000/0002.safetensors", "weights/00002/0002.safetensors")
    exchange(run, *pair)
    return {("swapped", k) for k in pair}


def records_of_two_runs(run: Path, other: Path) -> Wrong:
    pair = ("records/00000.json", "records/00002.json")
    exchange(run, *pair)
    return {("swapped", k) for k in pair}


def whole_runs_exchanged(run: Path, other: Path) -> Wrong:
    """Record, chunks and weights together, which agree with each other."""
    exchange(run, "records/00000.json", "records/00001.json")
    exchange(run, "weights/00000/0002.safetensors", "weights/00001/0002.safetensors")
    for name in ("phi", "correct"):
        for t in range(3):
            exchange(run, f"signals/{name}/c/0/{t}/0", f"signals/{name}/c/1/{t}/0")
    return {("swapped", f"records/0000{r}.json") for r in (0, 1)}


def taken(*keys: str) -> Callable[[Path, Path], Wrong]:
    def take(run: Path, other: Path) -> Wrong:
        for key in keys:
            shutil.copy(other / key, run / key)
        return {("foreign", k) for k in keys}

    return take


def a_whole_run_of_another_folder(run: Path, other: Path) -> Wrong:
    for part in ("signals/phi/c/2", "signals/correct/c/2", "weights/00002"):
        shutil.copytree(other / part, run / part, dirs_exist_ok=True)
    return taken("records/00002.json")(run, other)


def labels_of_another_pool(run: Path, other: Path) -> Wrong:
    """The same digits in another order: sound, and of the same shape."""
    array = open_run(run)
    labels = np.roll(array.labels, 1)
    import zarr

    zarr.open_array(str(run / "data" / "labels"), mode="r+")[...] = labels
    return {("foreign", "data/labels/c/0")}


def ids_of_another_pool(run: Path, other: Path) -> Wrong:
    Storage(run, write=True).put_json("data/ids.json", [f"x{i}" for i in range(48)])
    return {("foreign", "data/ids.json")}


def lost(*keys: str) -> Callable[[Path, Path], Wrong]:
    def lose(run: Path, other: Path) -> Wrong:
        for key in keys:
            (run / key).unlink()
        return {("missing", k) for k in keys}

    return lose


def an_older_record(run: Path, other: Path) -> Wrong:
    """Of the same run, when it had fewer checkpoints."""
    storage = Storage(run, write=True)
    record = storage.get_json("records/00001.json")
    record["digests"] = {k: v[:2] for k, v in record["digests"].items()}
    storage.put_json("records/00001.json", record)
    return {("swapped", "records/00001.json")}


def an_older_manifest(run: Path, other: Path) -> Wrong:
    storage = Storage(run, write=True)
    older = storage.get_json("manifest.json") | {"created": "2020-01-01T00:00:00Z"}
    storage.put_json("manifest.json", older)
    return {("foreign", "manifest.json")}


CASES: list[Callable[[Path, Path], Wrong]] = [
    flipped,
    chunks_of_two_runs,
    chunks_of_two_checkpoints,
    weights_of_two_runs,
    records_of_two_runs,
    whole_runs_exchanged,
    taken(PLAN),
    taken("signals/phi/c/2/0/0"),
    taken("weights/00003/0002.safetensors"),
    taken("records/00003.json"),
    taken("manifest.json"),
    a_whole_run_of_another_folder,
    labels_of_another_pool,
    ids_of_another_pool,
    lost("signals/phi/c/3/1/0"),
    lost(PLAN),
    lost("data/labels/c/0"),
    lost("data/ids.json"),
    lost("weights/00000/0002.safetensors"),
    an_older_record,
    an_older_manifest,
]


@pytest.mark.parametrize("damage", CASES, ids=lambda c: c.__qualname__)
def test_what_is_wrong_is_named_and_never_read(
    copied: Path, other: Path, damage: Callable[[Path, Path], Wrong]
) -> None:
    assert verify(copied).whole
    expected = damage(copied, other)
    found = verify(copied)
    assert {(d.kind, d.key) for d in found.damage} == expected
    assert not found.whole
    with pytest.raises(CorruptStore, match="seepage repair") as caught:
        read_all(copied)
    assert str(caught.value).startswith(tuple(f"{copied}/{key}: " for _, key in expected))
    assert "\n" not in str(caught.value)


def test_a_swapped_chunk_is_told_whose_it_is(copied: Path, other: Path) -> None:
    chunks_of_two_runs(copied, other)
    first, second = verify(copied).damage
    assert first.what == "it is phi of run 3 at checkpoint 2"
    assert second.what == "it is phi of run 0 at checkpoint 2"
    with pytest.raises(CorruptStore, match="wrote at checkpoint 2, got phi of run 3 at checkpoint"):
        open_run(copied).signal_at("phi", 2)
    assert open_run(copied).signal_at("phi", 1).shape == (4, 48), "what is sound is still read"


def test_everything_that_verify_names_is_repaired(copied: Path, other: Path) -> None:
    before = contents(copied, "signals", "plan", "data", "weights")
    for damage in (chunks_of_two_checkpoints, taken(PLAN), ids_of_another_pool, an_older_manifest):
        damage(copied, other)
    with pytest.raises(CorruptStore, match="seepage repair"):
        fleet(copied)
    taken("records/00003.json")(copied, other)
    (copied / "records" / "00002.json").unlink()
    digests = forget(str(copied), verify(copied).damage)
    assert sorted(digests) == [1, 3]
    fleet(copied)
    assert verify(copied).whole
    assert contents(copied, "signals", "plan", "data", "weights") == before


def test_training_does_not_go_on_from_another_runs_state(tmp_path: Path) -> None:
    from seepage.fleet.saved import SavedRun
    from seepage.fleet.sink import StoreSink

    fleet(tmp_path / "run")
    storage = Storage(tmp_path / "run", write=True)
    member = np.ones(48, bool)

    def saved(row: int, manifest: str) -> SavedRun:
        return SavedRun(storage, row, StoreSink(storage, row, (), 0, "none", member, manifest), 0)

    saved(0, "ours").save(0, {"epoch": 3})
    raw = storage.get("state/00000.safetensors")
    assert raw is not None
    for row, manifest, kept in ((0, "ours", True), (1, "ours", False), (0, "theirs", False)):
        storage.put(f"state/0000{row}.safetensors", raw)
        state = saved(row, manifest)
        state.load()
        assert (state.current is not None) == kept


def test_one_digest_covers_the_evidence(copied: Path, trained: Path, tmp_path: Path) -> None:
    found = verify(copied)
    assert found.digest == open_run(copied).digest == open_run(trained).digest
    assert (found.chunks, found.weights, found.unknown) == (24, 4, ())
    # What a later command or a clock adds is not part of it.
    keep_result(open_run(copied), "layers", {"layers": ["a"]})
    (copied / "report.html").write_text("a page")
    assert verify(copied).digest == found.digest
    storage = Storage(copied, write=True)
    record = storage.get_json("records/00000.json")
    storage.put_json("records/00000.json", record | {"seconds": 1e6})
    changed = verify(copied)
    assert changed.whole
    assert changed.digest != found.digest


def test_an_analysis_of_another_folder_is_not_shown(copied: Path, other: Path) -> None:
    keep_result(open_run(copied), "layers", {"layers": ["a"]})
    assert open_run(copied).derived("layers") == {"layers": ["a"]}
    theirs = Storage(other, write=True)
    keep_result(open_run(other), "layers", {"layers": ["b"]})
    raw = theirs.get("derived/layers.json")
    theirs.delete("derived/layers.json")
    assert raw is not None
    Storage(copied, write=True).put("derived/layers.json", raw)
    with pytest.raises(CorruptStore, match="got that of another; remove it or run `seepage layers"):
        open_run(copied).derived("layers")


def test_derived_results_are_checked_by_their_own_digest(copied: Path) -> None:
    kept = keep_result(open_run(copied), "layers", {"layers": ["a"]})
    assert kept == f"{copied}/derived/layers.json"
    path = copied / "derived" / "layers.json"
    whole = path.read_text()
    path.write_text(whole.replace('"a"', '"b"'))
    found = verify(copied)
    assert [str(d) for d in found.damage] == [
        "changed: derived/layers.json: its bytes are not those that were written"
    ]
    assert found.digest == open_run(copied).digest
    with pytest.raises(CorruptStore, match="derived/layers"):
        open_run(copied).derived("layers")
    forget(str(copied), found.damage)
    assert verify(copied).whole
    assert open_run(copied).derived("layers") is None
    # Folders of earlier versions have them elsewhere.
    (copied / "analysis").mkdir()
    (copied / "analysis" / "layers.json").write_text(whole)
    assert open_run(copied).derived("layers") == {"layers": ["a"]}
    assert verify(copied).whole


def test_a_folder_that_cannot_be_written_has_its_results_in_the_cache(
    copied: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keep_result(open_run(copied), "layers", {"layers": ["first"]})
    allowed = os.access

    def access(path: str | os.PathLike[str], mode: int) -> bool:
        handed_over = Path(path).is_relative_to(copied) and mode == os.W_OK
        return False if handed_over else allowed(path, mode)

    before = {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()}
    monkeypatch.setattr(os, "access", access)
    kept = keep_result(open_run(copied), "layers", {"layers": ["second"]})
    assert Path(kept).is_relative_to(tmp_path / "cache")
    assert open_run(copied).derived("layers") == {"layers": ["second"]}
    assert open_run(other).derived("layers") is None
    assert {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()} == before


def test_missing_runs_are_said_by_every_command(
    copied: Path, tmp_path: Path, command: Command
) -> None:
    assert "planned runs" not in command("attack", copied, "-a", "lira")[2]
    (copied / "records" / "00003.json").unlink()
    run = open_run(copied)
    assert run.missing == (3,)
    assert verify(copied).missing == (3,)
    note = f"note: {copied}: 3 of 4 planned runs are there (missing: 3); figures are of those"
    for words in (
        ("attack", copied, "-a", "lira"),
        ("check", copied, "--max-auc", "1"),
        ("report", copied, tmp_path / "r.html", "-a", "lira"),
        ("dynamics", "show", copied),
        ("layers", copied),
        ("curvature", copied),
    ):
        status, out, err = command(*words)
        assert note in err, words
    status, out, _ = command("verify", copied)
    assert status == 1
    assert "missing: run 3 of 4 planned: no record" in out


def test_the_command(copied: Path, other: Path, command: Command) -> None:
    status, out, err = command("verify", copied)
    assert (status, err) == (0, "")
    digest = open_run(copied).digest
    assert out.splitlines()[-2:] == ["whole: every file is as it was written", f"digest {digest}"]
    assert "4 of 4 planned runs done" in out
    assert f"torch {open_run(copied).manifest['versions']['torch']}" in out
    assert command("verify", copied, "--digest", digest.upper())[0] == 0
    status, out, _ = command("verify", copied, "--digest", "0" * 64)
    assert status == 1
    assert f"digest: expected {'0' * 64}, as passed, got {digest}" in out
    chunks_of_two_runs(copied, other)
    before = contents(copied)
    status, out, _ = command("verify", copied)
    assert status == 1
    assert out.splitlines()[0] == "swapped: signals/phi/c/0/2/0: it is phi of run 3 at checkpoint 2"
    status, out, _ = command("verify", copied, "--json")
    told = json.loads(out)
    assert status == 1
    assert [d["kind"] for d in told["damage"]] == ["swapped", "swapped"]
    assert (told["whole"], told["digest"], told["planned"]) == (False, digest, 4)
    assert contents(copied) == before


def test_what_the_command_refuses(copied: Path, tmp_path: Path, command: Command) -> None:
    for words, message in (
        ((tmp_path / "nowhere",), "expected a run folder, found none"),
        ((tmp_path,), "expected a run folder with a manifest.json, found none"),
        ((copied, "--digest", "5f0c"), "--digest: expected 64 hexadecimal digits, got '5f0c'"),
    ):
        status, _, err = command("verify", *words)
        assert status == 2
        assert message in err


@pytest.mark.parametrize(
    "copy",
    [
        "records/00001 (conflict).json",
        "records/00001 (1).json",
        "records/000001.json",
        "records/00001.sync-conflict-20260101-120000-ABCDEFG.json",
        "manifest (conflict copy).json",
        "manifest.copy (1).json",
        "signals/phi/c/1/0/0 (1)",
        "signals/phi/zarr (1).json",
        "plan/member/zarr.sync-conflict-20260101-120000-ABCDEFG.json",
        "plan/member/c/0/0 2",
        "data/ids (Anna's conflicted copy 2026-01-01).json",
        "weights/00001/0002 (1).safetensors",
        "state/00001 (1).safetensors",
        "sessions/00000000000000000000000000000000 (1).json",
        "locks/00000000000000000000000000000000 (1).json",
    ],
)
def test_files_of_a_synchroniser_are_named_and_passed_over(
    copied: Path, trained: Path, command: Command, copy: str
) -> None:
    # Of another run, so that whoever read it would say so, or show other figures.
    text = copied / "records/00002.json"
    (copied / copy).parent.mkdir(exist_ok=True)
    shutil.copy(text, copied / copy)
    run, whole = open_run(copied), open_run(trained)
    assert run.models.tolist() == [0, 1, 2, 3]
    assert run.digest == whole.digest
    np.testing.assert_array_equal(run.signal("phi"), whole.signal("phi"))
    found = verify(copied)
    assert found.unknown == (copy,)
    assert found.whole
    status, printed, _ = command("verify", copied)
    assert status == 0
    named = [line for line in printed.splitlines() if copy in line]
    assert named == [f"unknown: {copy}: belongs to no run and is read by no command"]
    # Training goes on beside it.
    (copied / "records/00003.json").unlink()
    fleet(copied)
    assert open_run(copied).digest


def test_records_of_runs_that_were_not_planned(copied: Path) -> None:
    shutil.copy(copied / "records/00001.json", copied / "records/00004.json")
    with pytest.raises(CorruptStore, match=r"records/00004.json: expected one of the 4 planned"):
        open_run(copied)
    assert [d.key for d in verify(copied).damage] == ["records/00004.json"]


def test_a_folder_none_of_whose_records_fit(copied: Path, other: Path) -> None:
    for key in ("manifest.json", "manifest.copy.json"):
        shutil.copy(other / key, copied / key)
    with pytest.raises(CorruptStore, match=r"manifest.json: none of the records was written under"):
        open_run(copied)
    assert {d.kind for d in verify(copied).damage} == {"foreign"}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with zipfile.ZipFile(GOLDEN) as archive:
        archive.extractall(tmp_path / "old")
    return tmp_path / "old"


def test_an_earlier_folder_is_checked_by_what_it_has(old: Path) -> None:
    found = verify(old)
    assert found.whole
    assert found.unchecked == ("data/labels", "data/ids")
    assert found.digest == open_run(old).digest
    pair = ("signals/phi/c/0/1/0", "signals/phi/c/1/1/0")
    exchange(old, *pair)
    assert {(d.kind, d.key) for d in verify(old).damage} == {("swapped", k) for k in pair}
    with pytest.raises(CorruptStore, match="got phi of run 1 at checkpoint 1"):
        open_run(old).signal_at("phi", 1)


def test_membership_of_another_seed_in_an_earlier_folder(old: Path) -> None:
    import zarr

    zarr.open_array(str(old / "plan" / "member"), mode="r+")[...] = half_split(
        24, models=6, seed=7
    ).member
    assert {(d.kind, d.key) for d in verify(old).damage} == {
        ("foreign", PLAN),
        ("foreign", "plan/seeds/c/0"),
    }
    with pytest.raises(CorruptStore, match="another folder's or an older copy"):
        _ = open_run(old).member


def test_a_format_of_the_future(copied: Path) -> None:
    rewrite_manifest(copied, lambda m: m.update(format=99))
    with pytest.raises(InputError, match="expected format 1 or 2, got 99"):
        verify(copied)


def damaged_at_random(run: Path, other: Path, count: int, seed: int) -> Iterator[str]:
    """Flips, exchanges, deletions, foreign files and older copies, one at a time; the key of each."""
    rng = random.Random(seed)
    files, theirs = contents(run), contents(other)
    evidence = [k for k in files if k != "manifest.copy.json"]
    chunks = [k for k in evidence if k.startswith("signals/") and "/c/" in k]
    different = [k for k in evidence if theirs[k] != files[k]]
    older = {k: v for k, v in files.items() if k.startswith("records/") or k == "manifest.json"}
    for turn in range(count):
        kind = ("flip", "exchange", "delete", "foreign", "older")[turn % 5]
        key = rng.choice({"exchange": chunks, "foreign": different, "older": list(older)}.get(kind, evidence))  # fmt: skip
        second = rng.choice([k for k in chunks if files[k] != files[key]])
        if kind == "flip":
            raw = bytearray(files[key])
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
            (run / key).write_bytes(raw)
        elif kind == "exchange":
            exchange(run, key, second)
        elif kind == "delete":
            (run / key).unlink()
        elif kind == "foreign":
            (run / key).write_bytes(theirs[key])
        else:
            storage = Storage(run, write=True)
            before = storage.get_json(key)
            if key == "manifest.json":
                storage.put_json(key, before | {"created": f"2020-01-01T00:00:{turn % 60:02d}Z"})
            else:
                storage.put_json(key, before | {"manifest": f"{turn:064x}"})
        yield key
        for k in (key, second):
            (run / k).write_bytes(files[k])


def test_many_random_damages_are_each_named(copied: Path, other: Path) -> None:
    for key in damaged_at_random(copied, other, 60, seed=4):
        found = verify(copied)
        named = {d.key for d in found.damage} | {f"records/{r:05d}.json" for r in found.missing}
        assert key in named, key
        assert not found.whole
    assert verify(copied).whole


@pytest.mark.slow
def test_five_hundred_damages_and_no_figure_without_a_word(
    tmp_path: Path, command: Command
) -> None:
    """`attack` refuses, or notes what is missing, or prints what it prints of the whole folder."""
    copied, other = tmp_path / "run", tmp_path / "other"
    for seed, out in ((1, copied), (2, other)):
        fleet(out, plan=half_split(48, models=8, seed=seed), checkpoints=[0, 2])
    status, figures, _ = command("attack", copied, "-a", "lira")
    assert status == 0
    refused = noted = untouched = 0
    for key in damaged_at_random(copied, other, 500, seed=5):
        found = verify(copied)
        named = {d.key for d in found.damage} | {f"records/{r:05d}.json" for r in found.missing}
        assert key in named
        assert not found.whole
        status, out, err = command("attack", copied, "-a", "lira")
        if status == 2:
            assert err.count("\n") == 1
            refused += 1
        elif "planned runs are there" in err:
            noted += 1
        else:
            # Nothing of what it printed comes from what is damaged.
            assert (status, out) == (0, figures), key
            untouched += 1
    print(f"refused {refused}, noted {noted}, of sound parts alone {untouched}")
    assert refused > 200


FORGED: list[Callable[[dict[str, Any]], Any]] = [
    lambda m: m.pop("plan"),
    lambda m: m["plan"].update(models=10**9),
    lambda m: m["plan"].update(models=5),
    lambda m: m["data"].update(samples=-1),
    lambda m: m["data"].update(samples=49),
    lambda m: m.update(checkpoints=[]),
    lambda m: m.update(checkpoints=["a"]),
    lambda m: m["signals"].update({"../x": {"shape": [48], "dtype": "float32"}}),
    lambda m: m["descriptions"].pop("plan/seeds"),
    lambda m: m["descriptions"].update({"signals/phi": "[]"}),
    lambda m: m["descriptions"].update(
        {"signals/phi": m["descriptions"]["signals/phi"].replace("crc32c", "gzip")}
    ),
    lambda m: m["content"].pop("data/ids"),
    lambda m: m.update(data=[]),
]


@pytest.mark.parametrize("change", FORGED)
def test_a_manifest_that_seepage_did_not_write(
    copied: Path, change: Callable[[dict[str, Any]], Any], command: Command
) -> None:
    rewrite_manifest(copied, change)
    for call in (open_run, verify):
        with pytest.raises(InputError, match="it is no manifest of a run folder"):
            call(copied)
    status, _, err = command("attack", copied, "-a", "lira")
    assert (status, err.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    "record",
    [
        [],
        {},
        {"status": "done"},
        {"status": "done", "digests": {"phi": 3}},
        {"status": "failed", "why": 3},
        {"status": "done", "digests": {}, "weights": {"x": "y"}},
    ],
)
def test_a_record_that_seepage_did_not_write(copied: Path, record: Any) -> None:
    Storage(copied, write=True).put_json("records/00002.json", record)
    with pytest.raises(CorruptStore, match=r"records/00002.json: expected .*seepage repair"):
        open_run(copied)
    assert [d.key for d in verify(copied).damage] == ["records/00002.json"]


def test_an_array_larger_than_its_bytes_makes_no_room(copied: Path) -> None:
    """A hundred thousand million samples, told consistently."""
    count = 10**9

    def change(m: dict[str, Any]) -> None:
        m["data"]["samples"] = count
        for signal in m["signals"].values():
            signal["shape"] = [count]
        for name, text in m["descriptions"].items():
            m["descriptions"][name] = re.sub(r"\b48\b", str(count), text)
            (copied / name / "zarr.json").write_text(m["descriptions"][name])

    rewrite_manifest(copied, change)
    for read in ("member", "labels"):
        with pytest.raises(CorruptStore, match="not those that were written"):
            getattr(open_run(copied), read)
    with pytest.raises(CorruptStore, match="not those that were written"):
        open_run(copied).signal_at("phi", 0)
    assert {d.kind for d in verify(copied).damage} == {"changed"}


def test_runs_whose_manifest_is_lost_are_not_begun_over(copied: Path) -> None:
    before = contents(copied)
    (copied / "manifest.json").unlink()
    with pytest.raises(CorruptStore, match=r"manifest.json: expected that of the runs that lie"):
        fleet(copied)
    forget(str(copied), verify(copied).damage)
    fleet(copied)
    assert contents(copied) == before


def test_what_an_interrupted_beginning_left_is_not_taken_for_the_plan(
    tmp_path: Path, other: Path
) -> None:
    for part in ("plan", "data"):
        shutil.copytree(other / part, tmp_path / "run" / part)
    run = fleet(tmp_path / "run")
    np.testing.assert_array_equal(run.member, half_split(48, models=4, seed=1).member)
    assert verify(tmp_path / "run").whole


def test_a_fleet_is_known_from_another_of_the_same_content(tmp_path: Path) -> None:
    """Trained twice, the same bits; still a record says in which folder it was written."""
    plan = half_split(48, models=2, seed=1)
    runs = [fleet(tmp_path / n, plan=plan, checkpoints=[2]) for n in "ab"]
    np.testing.assert_array_equal(runs[0].signal("phi"), runs[1].signal("phi"))
    assert runs[0].digest != runs[1].digest
    assert seepage.open(tmp_path / "a").digest == runs[0].digest
