"""Malformed data files by the hundred: one line each, nothing written, and what is read is right."""

from __future__ import annotations

import csv
import gzip
import io
import pickle
import shutil
import struct
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seepage.data import CopiesWarning, Dataset, load
from seepage.errors import SeepageError
from seepage.fleet.imported import import_arrays
from seepage.plan import half_split

pytestmark = pytest.mark.slow
EACH = 250
Damage = Callable[[bytes, np.random.Generator], bytes]


def damaged(raw: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with a few changed, cut, doubled, moved or set to what readers trip over."""
    out = bytearray(raw)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, max(1, len(out))))
        match int(rng.integers(0, 8)):
            case 0:
                out = out[:at]
            case 1:
                out[at : at + 1] = bytes([int(rng.integers(0, 256))])
            case 2:
                out[at:at] = out[at : at + int(rng.integers(1, 40))]
            case 3:
                out[at : at + 4] = rng.choice(
                    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"]
                )
            case 4:
                del out[at : at + int(rng.integers(1, 20))]
            case 5:
                out[at:at] = rng.choice(
                    [b"\n", b"\r", b'"', b",", b"nan", b"1e999", b"\0", b"\xff"]
                )
            case 6:
                other = int(rng.integers(0, max(1, len(out))))
                out[at : at + 8], out[other : other + 8] = out[other : other + 8], out[at : at + 8]
            case _:
                out = out[at:] + out[:at]
    return bytes(out)


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b""
        for p in folder.rglob("*")
    }


def tried(call: Callable[[], object], folder: Path) -> object | None:
    """What the call returned, or None where it refused in one line; nothing else may happen."""
    before = everything(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", CopiesWarning)
            found = call()
    except SeepageError as error:
        text = str(error)
        assert 0 < len(text.encode()) < 1000
        assert "\n" not in text
        found = None
    if found is None or isinstance(found, Dataset):
        assert everything(folder) == before
    return found


def sound(data: Dataset) -> None:
    """What every accepted pool is: finite, labelled within its classes, its ids unique."""
    assert len(data) == len(data.labels) == len(set(data.ids.tolist())) > 0
    assert 0 <= int(data.labels.min()) <= int(data.labels.max()) < len(data.classes)
    assert len(set(data.classes)) == len(data.classes)
    assert bool(np.isfinite(data.inputs.numpy()).all())


CELLS = (
    "1", "2.5", "-3", "1e3", "nan", "NA", "", "?", "x", "yes", "1,5", "1,000", "5%", "$3", "inf", "1_0",
    "0x10", "a b", "é", "v1.", "v1", "9007199254740993", "9007199254740992", "1.0", "01", "#x", '"', "'",
)  # fmt: skip


def _table(rng: np.random.Generator) -> list[list[str]]:
    """Rows of few different cells, so that many tables are accepted."""
    kinds = [
        [str(v) for v in rng.choice(CELLS, size=int(rng.integers(2, 5)), replace=False)]
        if rng.random() < 0.5
        else [f"{v:g}" for v in rng.normal(size=9)]
        for _ in range(3)
    ]
    return [[str(rng.choice(k)) for k in kinds] for _ in range(int(rng.integers(2, 30)))]


def test_tables_of_odd_cells(tmp_path: Path) -> None:
    """What is accepted is what Python's own reader finds: every number, every class."""
    accepted = 0
    for seed in range(2 * EACH):
        rng = np.random.default_rng([0, seed])
        rows = _table(rng)
        path = tmp_path / "t.csv"
        with path.open("w", newline="", encoding="utf-8") as f:
            csv.writer(f).writerows([["a", "b", "y"], *rows])
        data = tried(lambda path=path: load(path, label="y"), tmp_path)
        if data is None:
            continue
        assert isinstance(data, Dataset)
        sound(data)
        accepted += 1
        for j, name in enumerate("ab"):
            if name in data.columns:
                column = data.inputs[:, data.columns.index(name)].tolist()
                assert column == [float(np.float32(r[j])) for r in rows]
            else:
                for i, row in enumerate(rows):
                    level = row[j].strip() or "?"
                    assert data.inputs[i, data.columns.index(f"{name}={level}")] == 1
        for label, row in zip(data.labels.tolist(), rows, strict=True):
            text, named = row[2].strip(), data.classes[label]
            assert text == named or text == f"{named}." or int(float(text)) == int(named)
        texts = {r[2].strip() for r in rows}
        assert len(texts) - len(data.classes) <= sum(t in ("1.0", "01", "1e3") for t in texts)
    assert accepted > EACH / 10


def test_damaged_tables(tmp_path: Path) -> None:
    text = "pid,a,b,y\n" + "".join(f"p{i},{i / 7:.3f},{'uvw'[i % 3]},{i % 2}\n" for i in range(30))
    packed = io.BytesIO()
    pq.write_table(
        pa.table({"a": np.arange(30) / 7, "b": list("uvw") * 10, "y": [0, 1, 1] * 10}), packed
    )
    for name, raw, options in (
        ("t.csv", text.encode(), {"id_column": "pid"}),
        ("t.csv.gz", gzip.compress(text.encode()), {"id_column": "pid"}),
        ("t.parquet", packed.getvalue(), {}),
    ):
        for seed in range(EACH):
            path = tmp_path / name
            path.write_bytes(damaged(raw, np.random.default_rng([1, seed])))
            data = tried(lambda path=path, o=options: load(path, label="y", **o), tmp_path)
            if data is not None:
                sound(data)  # type: ignore[arg-type]
            path.unlink()


def test_damaged_archives(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    plain, packed = io.BytesIO(), io.BytesIO()
    arrays = {"x": rng.normal(size=(12, 3)), "y": np.arange(12) % 3, "ids": np.arange(12)}
    np.savez(plain, **arrays)
    np.savez_compressed(packed, **arrays)
    for seed in range(EACH):
        for raw in (plain.getvalue(), packed.getvalue()):
            path = tmp_path / "a.npz"
            path.write_bytes(damaged(raw, np.random.default_rng([2, seed])))
            data = tried(lambda path=path: load(path), tmp_path)
            if data is not None:
                sound(data)  # type: ignore[arg-type]


def test_damaged_official_files(tmp_path: Path) -> None:
    images = struct.pack(">IIII", 0x803, 6, 2, 2) + bytes(range(24))
    labels = struct.pack(">II", 0x801, 6) + bytes([0, 1, 2, 0, 1, 2])
    batch = pickle.dumps(
        {b"data": np.zeros((3, 3072), np.uint8) + np.arange(3, dtype=np.uint8)[:, None],
         b"labels": [0, 1, 2]},
        protocol=2,
    )  # fmt: skip
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        info = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        info.size = len(batch)
        archive.addfile(info, io.BytesIO(batch))
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for seed in range(EACH):
        rng = np.random.default_rng([3, seed])
        for name, first, second in (("mnist", images, labels),):
            spoiled = [damaged(first, rng), second] if seed % 2 else [first, damaged(second, rng)]
            for file, raw in zip(("images-idx3", "labels-idx1"), spoiled, strict=True):
                (tmp_path / f"train-{file}-ubyte").write_bytes(raw)
            data = tried(lambda name=name: load(name, root=tmp_path), tmp_path)
            if data is not None:
                sound(data)  # type: ignore[arg-type]
        (folder / "data_batch_1").write_bytes(damaged(batch, rng))
        data = tried(lambda: load("cifar10", root=tmp_path), tmp_path)
        if data is not None:
            sound(data)  # type: ignore[arg-type]
    (folder / "data_batch_1").unlink()
    folder.rmdir()
    for seed in range(EACH):
        rng = np.random.default_rng([4, seed])
        (tmp_path / "cifar-10-python.tar.gz").write_bytes(damaged(tar.getvalue(), rng))
        data = tried(lambda: load("cifar10", root=tmp_path), tmp_path)
        if data is not None:
            sound(data)  # type: ignore[arg-type]


def test_damaged_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(rng.integers(0, 256, (6, 5, 3)).astype(np.uint8)).save(
            tmp_path / name / "1.png"
        )
    for suffix in ("png", "jpg"):
        whole = io.BytesIO()
        image = Image.fromarray(rng.integers(0, 256, (6, 5, 3)).astype(np.uint8))
        image.save(whole, "PNG" if suffix == "png" else "JPEG")
        for seed in range(EACH):
            path = tmp_path / "b" / f"2.{suffix}"
            path.write_bytes(damaged(whole.getvalue(), np.random.default_rng([5, seed])))
            data = tried(lambda: load(tmp_path), tmp_path)
            if data is not None:
                assert isinstance(data, Dataset)
                sound(data)
                assert len(data) == 3
            path.unlink()


NAMES = (
    "phi",
    "loss",
    "..",
    "../x",
    "/abs",
    "a/b",
    "[/x]",
    "é",
    "labels",
    "ids",
    "classes",
    "checkpoints",
)


def _odd(rng: np.random.Generator, r: int, t: int, n: int) -> np.ndarray:
    """An array of a random shape and type with values that readers trip over."""
    shapes = [
        (r, n),
        (r, t, n),
        (r, t, n, 2),
        (n,),
        (t,),
        (n, r),
        (),
        (0,),
        (r, 0, n),
        (r, t, n, 0),
    ]
    values = rng.normal(size=shapes[int(rng.integers(len(shapes)))])
    match int(rng.integers(0, 8)):
        case 0:
            values = np.where(values > 1, np.nan, values)
        case 1:
            values = values * 1e300
        case 2:
            values = np.round(values).astype(np.int64)
        case 3:
            values = values > 0
        case 4:
            values = np.abs(np.round(values)).astype(np.str_)
        case 5:
            values = values + 0j
        case 6:
            values = np.cumsum(np.ones(values.shape), axis=-1) if values.ndim else values
    return np.asarray(values)


def test_imports_of_odd_arrays(tmp_path: Path) -> None:
    """Refused before anything is written, or stored as what it is."""
    accepted = 0
    for seed in range(2 * EACH):
        rng = np.random.default_rng([6, seed])
        r, t, n = 4, int(rng.integers(1, 3)), 6
        arrays = {"member": half_split(n, models=r, seed=seed).member}
        arrays["phi"] = rng.normal(size=(r, t, n))
        for _ in range(int(rng.integers(0, 3))):
            arrays[str(rng.choice(NAMES))] = _odd(rng, r, t, n)
        source, out = tmp_path / "a.npz", tmp_path / "deep" / "run"
        np.savez(source, **arrays)
        if rng.random() < 0.3:
            source.write_bytes(damaged(source.read_bytes(), rng))
        run = tried(lambda source=source, out=out: import_arrays(source, out), tmp_path)
        if run is None:
            continue
        accepted += 1
        assert set(everything(tmp_path)) - {"a.npz", "deep"} <= {
            f"deep/{k}" for k in everything(tmp_path / "deep")
        }
        np.testing.assert_array_equal(run.member, arrays["member"])  # type: ignore[attr-defined]
        for name in run.signals:  # type: ignore[attr-defined]
            given = arrays[name][:, None] if arrays[name].shape[:2] == (r, n) else arrays[name]
            stored = run.signal(name)  # type: ignore[attr-defined]
            np.testing.assert_array_equal(stored, given.astype(np.float32))
        shutil.rmtree(tmp_path / "deep")
    assert accepted > EACH / 10
