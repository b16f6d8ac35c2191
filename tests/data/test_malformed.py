"""Malformed data files by the hundred: one line each, nothing written, and what is read is right."""

from __future__ import annotations

import csv
import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from malformed import Tally, damaged
from seepage.data import Dataset, load
from seepage.fleet.imported import import_arrays
from seepage.plan import half_split
from seepage.store import Run

pytestmark = pytest.mark.slow
EACH = 250
Record = Callable[[str, object], None]


def sound(data: Dataset) -> Dataset:
    """What every accepted pool is: finite, labelled within its classes, its ids unique."""
    assert len(data) == len(data.labels) == len(set(data.ids.tolist())) > 0
    assert 0 <= int(data.labels.min()) <= int(data.labels.max()) < len(data.classes)
    assert len(set(data.classes)) == len(data.classes)
    assert bool(np.isfinite(data.inputs.numpy()).all())
    return data


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


def as_written(data: Dataset, rows: list[list[str]]) -> Dataset:
    """Every number and every class as Python's own reader finds them."""
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
    return sound(data)


def test_tables_of_odd_cells(tmp_path: Path, record_property: Record) -> None:
    tally = Tally("CSV tables of odd cells", tmp_path)
    path = tmp_path / "t.csv"
    for seed in range(2 * EACH):
        rows = _table(np.random.default_rng([0, seed]))
        with path.open("w", newline="", encoding="utf-8") as f:
            csv.writer(f).writerows([["a", "b", "y"], *rows])
        tally.read(
            lambda rows=rows: as_written(load(path, label="y"), rows),
            rows,
            "numbers and names, one meaning each",
        )
    tally.close(record_property)
    assert tally.accepted.total() > EACH / 10


def test_damaged_tables(tmp_path: Path, record_property: Record) -> None:
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
        tally = Tally(f"damaged {name[2:]}", tmp_path)
        for seed in range(EACH):
            path = tmp_path / name
            path.write_bytes(damaged(raw, np.random.default_rng([1, seed])))

            def read(path: Path = path, options: dict[str, str] = options) -> Dataset:
                data = load(path, label="y", **options)
                if path.suffix == ".csv":
                    lines = path.read_text("utf-8-sig").splitlines()
                    rows = list(csv.DictReader(lines))
                    assert data.ids.tolist() == [r["pid"] for r in rows]
                elif path.suffix == ".parquet":
                    table = pq.read_table(path)
                    read = data.inputs[:, data.columns.index("a")].numpy()
                    np.testing.assert_array_equal(read, table["a"].to_numpy().astype(np.float32))
                return sound(data)

            tally.read(read, seed, "damaged, and still a table that says one thing")
        (tmp_path / name).unlink()
        tally.close(record_property)


def test_damaged_archives(tmp_path: Path, record_property: Record) -> None:
    rng = np.random.default_rng(0)
    plain, packed = io.BytesIO(), io.BytesIO()
    arrays = {"x": rng.normal(size=(12, 3)), "y": np.arange(12) % 3, "ids": np.arange(12)}
    np.savez(plain, **arrays)
    np.savez_compressed(packed, **arrays)
    tally = Tally("damaged npz", tmp_path)
    path = tmp_path / "a.npz"

    def read() -> Dataset:
        data = sound(load(path))
        with np.load(path, allow_pickle=False) as held:
            np.testing.assert_array_equal(data.ids, held["ids"].astype(str))
        return data

    for seed in range(EACH):
        for raw in (plain.getvalue(), packed.getvalue()):
            path.write_bytes(damaged(raw, np.random.default_rng([2, seed])))
            tally.read(read, seed, "damaged where no value or checksum is")
    tally.close(record_property)


def test_damaged_official_files(tmp_path: Path, record_property: Record) -> None:
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
    idx, one, whole = (Tally(f"damaged {n}", tmp_path) for n in ("IDX", "CIFAR batch", "CIFAR tar"))

    def read_idx() -> Dataset:
        data = sound(load("mnist", root=tmp_path))
        raw = (tmp_path / "train-images-idx3-ubyte").read_bytes()
        assert data.inputs.numpy().tobytes() == raw[16:]
        assert (
            bytes(data.labels.tolist()) == (tmp_path / "train-labels-idx1-ubyte").read_bytes()[8:]
        )
        return data

    for seed in range(EACH):
        rng = np.random.default_rng([3, seed])
        spoiled = [damaged(images, rng), labels] if seed % 2 else [images, damaged(labels, rng)]
        for file, raw in zip(("images-idx3", "labels-idx1"), spoiled, strict=True):
            (tmp_path / f"train-{file}-ubyte").write_bytes(raw)
        idx.read(read_idx, seed, "a byte that is a pixel or a label changed")
        (folder / "data_batch_1").write_bytes(damaged(batch, rng))
        one.read(lambda: sound(load("cifar10", root=tmp_path)), seed, "a pixel or label changed")
    (folder / "data_batch_1").unlink()
    folder.rmdir()
    for seed in range(EACH):
        rng = np.random.default_rng([4, seed])
        (tmp_path / "cifar-10-python.tar.gz").write_bytes(damaged(tar.getvalue(), rng))
        whole.read(
            lambda: sound(load("cifar10", root=tmp_path)), seed, "damaged where no checksum is"
        )
    for tally in (idx, one, whole):
        tally.close(record_property)


def test_damaged_pictures(tmp_path: Path, record_property: Record) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(rng.integers(0, 256, (6, 5, 3)).astype(np.uint8)).save(
            tmp_path / name / "1.png"
        )

    def read() -> Dataset:
        data = sound(load(tmp_path))
        assert len(data) == 3
        return data

    for suffix in ("png", "jpg"):
        whole = io.BytesIO()
        image = Image.fromarray(rng.integers(0, 256, (6, 5, 3)).astype(np.uint8))
        image.save(whole, "PNG" if suffix == "png" else "JPEG")
        tally = Tally(f"damaged {suffix}", tmp_path)
        path = tmp_path / "b" / f"2.{suffix}"
        for seed in range(EACH):
            path.write_bytes(damaged(whole.getvalue(), np.random.default_rng([5, seed])))
            tally.read(read, seed, "damaged where the format has no checksum")
        path.unlink()
        tally.close(record_property)


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


def test_imports_of_odd_arrays(tmp_path: Path, record_property: Record) -> None:
    """Refused before anything is written, or stored as what it is."""
    tally = Tally("arrays to import", tmp_path)
    source, out = tmp_path / "a.npz", tmp_path / "deep" / "run"
    for seed in range(2 * EACH):
        rng = np.random.default_rng([6, seed])
        r, t, n = 4, int(rng.integers(1, 3)), 6
        arrays = {"member": half_split(n, models=r, seed=seed).member}
        arrays["phi"] = rng.normal(size=(r, t, n))
        for _ in range(int(rng.integers(0, 3))):
            arrays[str(rng.choice(NAMES))] = _odd(rng, r, t, n)
        np.savez(source, **arrays)
        if rng.random() < 0.3:
            source.write_bytes(damaged(source.read_bytes(), rng))

        def read(arrays: dict[str, np.ndarray] = arrays, rn: tuple[int, int] = (r, n)) -> Run:
            run = import_arrays(source, out)
            np.testing.assert_array_equal(run.member, arrays["member"])
            for name in run.signals:
                given = arrays[name][:, None] if arrays[name].shape[:2] == rn else arrays[name]
                np.testing.assert_array_equal(run.signal(name), given.astype(np.float32))
            return run

        tally.read(
            read,
            (seed, list(arrays)),
            "finite arrays of the shapes that are told",
            targets=["deep", "deep/*"],
        )
    tally.close(record_property)
    assert tally.accepted.total() > EACH / 10
