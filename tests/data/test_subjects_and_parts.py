"""Whose sample each is, from every reader; parts of a file; tables without a header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seepage.config.audit import read_config
from seepage.config.prepare import prepare
from seepage.data import load, reload
from seepage.errors import InputError

ROWS = [(f"p{i // 3}", i * 37 % 101, i * 17 % 23, i % 2) for i in range(60)]


def table(path: Path, header: str = "who,a,b,y", sign: str = ",") -> Path:
    lines = [sign.join(map(str, row)) for row in ROWS]
    path.write_text("\n".join([header, *lines] if header else lines))
    return path


def pictures(folder: Path, *places: str) -> Path:
    rng = np.random.default_rng(0)
    for place in places:
        file = folder / place
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (6, 6), dtype=np.uint8)).save(file)
    return folder


def test_a_column_says_whose_row_it_is_and_is_no_input(tmp_path: Path) -> None:
    data = load(table(tmp_path / "t.csv"), label="y", group="who")
    assert data.columns == ("a", "b")
    assert data.groups is not None
    assert data.groups.tolist() == [row[0] for row in ROWS]
    again = reload(data.source, data.digest)
    assert again is not None
    assert again.groups is not None
    assert data.digest != load(table(tmp_path / "t.csv"), label="y", drop=["who"]).digest


def test_numbers_of_subjects_are_compared_exactly(tmp_path: Path) -> None:
    big = [2**53, 2**53 + 1] * 30
    path = tmp_path / "t.csv"
    path.write_text("who,a,y\n" + "\n".join(f"{w},{i},{i % 3}" for i, w in enumerate(big)))
    data = load(path, label="y", group="who")
    assert data.groups is not None
    assert len(set(data.groups.tolist())) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "whose"}, "group: expected a column of the table, got 'whose'"),
        ({"group": "y"}, "group: expected a column of its own, got 'y'"),
        ({"group": "who", "drop": ["who"]}, "group: expected a column of its own"),
        ({"group": "who", "id_column": "who"}, "group: expected a column of its own"),
    ],
)
def test_what_cannot_be_a_subject(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(table(tmp_path / "t.csv"), label="y", **options)


def test_a_row_of_nobody_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("who,a,y\np,1,0\nNA,2,1\nq,3,0\n")
    with pytest.raises(InputError, match="subject in every row, got 'NA' in column 'who' at row 1"):
        load(path, label="y", group="who")


def test_plans_of_a_configuration_keep_subjects_together(tmp_path: Path) -> None:
    toml = tmp_path / "a.toml"
    toml.write_text(
        f'[data]\nname = "{table(tmp_path / "t.csv")}"\nlabel = "y"\ngroup = "who"\n'
        "[plan]\nmodels = 8\n[attacks]\nnames = ['loss']\nmain = 'loss'\n"
    )
    plan = prepare(read_config(toml, [])).plan
    whose = np.array([row[0] for row in ROWS])
    for name in set(whose.tolist()):
        of = plan.member[:, whose == name]
        assert (of == of[:, :1]).all()


def test_folders_of_subjects_below_their_class(tmp_path: Path) -> None:
    places = [f"{c}/{s}/{k}.png" for c in ("ill", "well") for s in ("p1", "p2") for k in range(2)]
    folder = pictures(tmp_path / "f", *places)
    data = load(folder, group="folder")
    assert data.groups is not None
    assert data.groups.tolist() == [p.split("/")[1] for p in places]
    assert load(folder).groups is None
    with pytest.raises(InputError, match='expected "folder"'):
        load(folder, group="patient")
    pictures(folder, "ill/alone.png")
    with pytest.raises(InputError, match=r"alone\.png: expected a folder of its subject"):
        load(folder, group="folder")


def test_groups_of_an_archive_and_its_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, n in (("train", 20), ("val", 6), ("test", 9)):
        arrays[f"{part}_images"] = rng.integers(0, 255, (n, 8, 8, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % 3)[:, None]
    path = tmp_path / "medical.npz"
    np.savez(path, **arrays)
    sizes = {p: len(load(path, part=p)) for p in ("train", "val", "test", "both", "all")}  # type: ignore[arg-type]
    assert sizes == {"train": 20, "val": 6, "test": 9, "both": 29, "all": 35}
    assert load(path, part="all").ids[[0, 20, 26]].tolist() == ["train/0", "val/0", "test/0"]
    np.savez(path, **arrays, groups_train=np.arange(20) // 2)
    with pytest.raises(InputError, match="groups of every part or of none, got them of train"):
        load(path)
    np.savez(path, **arrays, groups=np.arange(20) // 2)
    with pytest.raises(InputError, match="expected groups_train beside several parts"):
        load(path)
    every = {f"groups_{p}": np.arange(n) // 2 for p, n in (("train", 20), ("val", 6), ("test", 9))}
    np.savez(path, **arrays, **every)
    data = load(path, part="both")
    assert data.groups is not None
    # The same name in two parts is the same subject.
    assert len(set(data.groups.tolist())) == 10
    np.savez(tmp_path / "x.npz", x=rng.normal(size=(12, 3)), y=np.arange(12) % 2, groups=[1] * 12)
    one = load(tmp_path / "x.npz")
    assert one.groups is not None
    assert set(one.groups.tolist()) == {"1"}
    with pytest.raises(InputError, match="expected train for 'x', which has no val part"):
        load(tmp_path / "x.npz", part="val")


def test_tables_without_a_header_or_with_another_delimiter(tmp_path: Path) -> None:
    path = table(tmp_path / "t.txt", header="", sign=";")
    data = load(path, label="3", header=False, delimiter=";", group="0")
    assert data.columns == ("1", "2")
    assert len(data) == 60
    with pytest.raises(InputError, match='pass delimiter=";" if that separates columns'):
        load(path, label="3", header=False)
    numbers = tmp_path / "n.csv"
    numbers.write_text("\n".join(f"{i + 1},{i * i},{i % 2 + 7}" for i in range(40)))
    with pytest.raises(InputError, match="its first line holds numbers: pass header=False"):
        load(numbers, label="y")
    toml = tmp_path / "a.toml"
    toml.write_text(
        f'[data]\nname = "{path}"\nlabel = "3"\nheader = false\ndelimiter = ";"\ngroup = "0"\n'
        "[plan]\nmodels = 8\n[attacks]\nnames = ['loss']\nmain = 'loss'\n"
    )
    assert prepare(read_config(toml, [])).data.digest == data.digest


def test_a_header_is_no_option_for_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1, 2, 3], "y": [0, 1, 0]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="header: expected for text tables alone"):
        load(tmp_path / "t.parquet", label="y", header=False)
