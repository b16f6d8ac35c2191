"""Tables from CSV and Parquet."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seepage.data import load, reload
from seepage.errors import InputError

SMALL = "age,job,income\n39,nurse,low\n50,?,high\n38,nurse,high\n"


def write(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def test_numbers_raw_and_categories_one_hot(tmp_path: Path) -> None:
    data = load(write(tmp_path, SMALL), label="income")
    assert data.kind == "table"
    assert data.columns == ("age", "job=?", "job=nurse")
    assert data.numeric is not None
    assert data.numeric.tolist() == [True, False, False]
    assert data.inputs.tolist() == [[39, 0, 1], [50, 1, 0], [38, 0, 1]]
    assert data.classes == ("high", "low")
    assert data.labels.tolist() == [1, 0, 0]
    assert data.ids.tolist() == ["train/0", "train/1", "train/2"]
    scale, shift = data.member_scale(np.array([0, 1]))
    np.testing.assert_allclose(data.inputs.numpy() * scale + shift, [
        [-1, 0, 1], [1, 1, 0], [(38 - 44.5) / 5.5, 0, 1],
    ], rtol=1e-5)  # fmt: skip
    again = reload(data.source, data.digest)
    assert again is not None
    assert again.columns == data.columns


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (SMALL, "t.csv.gz"),
        (SMALL.replace(",", "\t"), "t.tsv"),
        (SMALL.replace(",", ", "), "t.csv"),
        (SMALL.replace("\n", "\r\n"), "t.csv"),
        ("\ufeff" + SMALL, "t.csv"),
        ("# made by hand\n\n|1x3 Cross validator\n" + SMALL, "t.csv"),
        (SMALL.replace("?", ""), "t.csv"),
        (SMALL.replace("age", '"age"').replace("nurse", '"nurse"'), "t.csv"),
        (SMALL + "\n", "t.data"),
        (SMALL.replace("low\n", "low.\n").replace("high\n", "high.\n"), "t.csv"),
    ],
)
def test_the_same_table_in_other_clothes(tmp_path: Path, text: str, name: str) -> None:
    plain = load(write(tmp_path, SMALL, "plain.csv"), label="income")
    data = load(write(tmp_path, text, name), label="income")
    assert data.digest == plain.digest
    assert data.columns == plain.columns


def test_a_file_without_header_needs_names(tmp_path: Path) -> None:
    path = write(tmp_path, SMALL.split("\n", 1)[1])
    data = load(path, columns=["age", "job", "income"], label="income")
    assert data.digest == load(write(tmp_path, SMALL, "b.csv"), label="income").digest
    assert data.source["columns"] == ["age", "job", "income"]
    assert reload(data.source, data.digest) is not None


def test_train_and_test_file_share_columns_and_classes(tmp_path: Path) -> None:
    first = write(tmp_path, SMALL, "a.csv")
    second = write(tmp_path, "|note\nage,job,income\n20,cook,low.\n21,nurse,high.\n", "b.csv")
    both = load(first, test=second, label="income", part="both")
    assert both.columns == ("age", "job=?", "job=cook", "job=nurse")
    assert both.ids.tolist()[3:] == ["test/0", "test/1"]
    assert both.labels.tolist() == [1, 0, 0, 1, 0]
    test = load(first, test=second, label="income", part="test")
    assert test.columns == both.columns
    assert reload(both.source, both.digest) is not None
    other = write(tmp_path, "x,y,income\n1,2,low\n3,4,high\n", "c.csv")
    with pytest.raises(InputError, match=r"c\.csv: expected the columns of a\.csv"):
        load(first, test=other, label="income")


def test_an_id_column_is_used_and_not_trained_on(tmp_path: Path) -> None:
    path = write(tmp_path, "pid,x,y\nP9,1,0\nP3,2,1\n")
    data = load(path, label="y", id_column="pid")
    assert data.ids.tolist() == ["P9", "P3"]
    assert data.columns == ("x",)
    twice = write(tmp_path, "pid,x,y\nP9,1,0\nP9,2,1\n")
    with pytest.raises(InputError, match="expected unique ids, got 'P9' 2 times"):
        load(twice, label="y", id_column="pid")


def test_missing_numbers_are_refused_or_marked(tmp_path: Path) -> None:
    path = write(tmp_path, "x,z,y\n5,1,a\n?,2,b\n7,NA,a\n9,4,b\n")
    with pytest.raises(
        InputError, match=r"column 'x', got 1 missing, first at row 1; pass missing"
    ):
        load(path, label="y")
    data = load(path, label="y", missing="indicator")
    assert data.columns == ("x", "x missing", "z", "z missing")
    assert data.inputs.tolist() == [[5, 0, 1, 0], [0, 1, 2, 0], [7, 0, 0, 1], [9, 0, 4, 0]]
    assert data.numeric is not None
    assert data.numeric.tolist() == [True, False, True, False]
    filled = load(path, label="y", missing="indicator", fill={"x": 6.0})
    assert filled.inputs[1].tolist() == [6, 1, 2, 0]
    assert filled.inputs[2, 2] == 0
    assert reload(filled.source, filled.digest) is not None


def test_codes_can_be_categories(tmp_path: Path) -> None:
    path = write(tmp_path, "zip,y\n10115,0\n80331,1\n10115,1\n")
    assert load(path, label="y", categorical=["zip"]).columns == ("zip=10115", "zip=80331")
    assert load(path, label="y").columns == ("zip",)


def test_labels_as_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    data = load(write(tmp_path, "x,y\n1,10\n2,9\n3,10.0\n4,-1\n"), label="y")
    assert data.classes == ("-1", "9", "10")
    assert data.labels.tolist() == [2, 1, 2, 0]


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    table = pa.table(
        {
            "age": pa.array([39, 50, 38], pa.int16()),
            "job": pa.array(["nurse", None, "nurse"]).dictionary_encode(),
            "income": ["low", "high", "high"],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    data = load(tmp_path / "t.parquet", label="income")
    assert data.digest == load(write(tmp_path, SMALL), label="income").digest
    assert reload(data.source, data.digest) is not None


def test_parquet_types(tmp_path: Path) -> None:
    def saved(**columns: Any) -> Path:
        pq.write_table(pa.table(columns | {"y": [0, 1, 1]}), tmp_path / "t.parquet")
        return tmp_path / "t.parquet"

    flags = load(saved(b=[True, False, None], n=pa.array([1.5, 2, 3], pa.float32())), label="y")
    assert flags.columns == ("b=?", "b=false", "b=true", "n")
    with pytest.raises(InputError, match="column 'n', got 1 missing, first at row 1"):
        load(saved(n=[1.0, None, 2.0]), label="y")
    with pytest.raises(InputError, match=r"booleans in column 'l', got list<.*pass drop=\[\"l\"\]"):
        load(saved(l=[[1], [2], [3]]), label="y")
    path = saved(n=[1, 2, 3])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"t\.parquet: expected a (Parquet )?table"):
        load(path, label="y")


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        ("", {}, r"t\.csv: expected a CSV table, got an empty file"),
        ("x,y\n", {}, "expected at least one row, got none"),
        ("x,y\n1,0\n2\n", {}, "expected a table of one width, got .*2 columns, got 1"),
        ("x,x\n1,0\n2,1\n", {}, "expected a first line of unique column names, got 'x,x'"),
        (
            "x,y\n1,0\n2,1\n",
            {"label": "Y1"},
            "label: expected a column of the table, got 'Y1'; known",
        ),
        ("x,y\n1,0\n2,1\n", {"label": None}, "label: expected the name of the label column"),
        ("x,y\n1,0\n2,1\n", {"drop": ["w"]}, "drop: expected a column of the table, got 'w'"),
        ("x,y\n1,0\n2,1\n", {"drop": ["y"]}, "label: expected a column of its own, got 'y'"),
        ("x,y\n1,0\n2,1\n", {"drop": ["x"]}, "expected a column besides the label, got none"),
        (
            "x,y\n1,0\n2,1\n",
            {"missing": "guess"},
            "missing: expected 'refuse', 'indicator', 'keep'",
        ),
        ("x,y\n1,0\n2,1\n", {"size": 3}, r"size: not an option for a \.csv file"),
        ("x,y\n1,0\n2,0\n", {}, "at least two classes in column 'y', got only '0'"),
        ("x,y\n1,0\n2,\n", {}, "expected a label in every row, got none in column 'y' at row 1"),
        ("x,y\n1,a\n2,?\n", {}, "expected a label in every row, got '\\?' in column 'y' at row 1"),
        ("x,z,y\n1,5,0\n2,5,1\n", {}, r"got only 5 in column 'z'; pass drop=\[\"z\"\]"),
        ("x,z,y\n1,k,0\n2,k,1\n", {}, "got only 'k' in column 'z'"),
        ("x,y\n1,0\ninf,1\n", {}, "expected finite numbers in column 'x', got infinity at row 1"),
        ("x,y\n1700000000,0\n1700000001,1\n", {}, "a spread that 32-bit floats can hold, column"),
        ("x,y\na,0\nb,1\nc,0\n", {"max_levels": 2}, "at most 2 levels in text column 'x', got 3"),
        (
            "x,y\n" + "".join(f"{i},{i}\n" for i in range(1200)),
            {},
            "expected at most 1000 classes in column 'y', got 1200; it looks continuous",
        ),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, options: Any, match: str) -> None:
    with pytest.raises(InputError, match=match) as raised:
        load(write(tmp_path, text), **({"label": "y"} | options))
    assert "\n" not in str(raised.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"x,y\n\xff\xfe,0\nb,1\n")
    with pytest.raises(InputError, match=r"t\.csv: expected UTF-8 text, got byte 0xff at"):
        load(path, label="y")
    path.write_bytes("x,y\n1,0\n2,1\n".encode("utf-16"))
    with pytest.raises(InputError, match="expected UTF-8 text, got UTF-16"):
        load(path, label="y")


MISSING = ("NA", "NULL", "nan", "NaN", "n/a", "null", "None", "<NA>", "?")


@pytest.mark.parametrize("text", MISSING)
@pytest.mark.parametrize("others", ["01", "ab"])
def test_a_label_that_is_missing_is_no_class(tmp_path: Path, text: str, others: str) -> None:
    path = write(tmp_path, f"x,y\n1,{others[0]}\n2,{others[1]}\n3,{text}\n")
    with pytest.raises(InputError, match=r"expected a label in every row, .* column 'y' at row 2"):
        load(path, label="y")
    # A class may really be called that: Namibia, or no illness.
    data = load(path, label="y", categorical=["y"])
    assert text in data.classes
    assert reload(data.source, data.digest) is not None


def test_a_missing_label_of_parquet(tmp_path: Path) -> None:
    for y in ([0.0, 1.0, None], [0.0, 1.0, float("nan")], ["a", "b", None]):
        pq.write_table(pa.table({"x": [1, 2, 3], "y": y}), tmp_path / "t.parquet")
        with pytest.raises(InputError, match=r"expected a label in every row, got .* at row 2"):
            load(tmp_path / "t.parquet", label="y")


def test_real_numbers_are_no_classes(tmp_path: Path) -> None:
    path = write(tmp_path, "x,y\n" + "".join(f"{i},{(i * 37 % 101) / 7}\n" for i in range(200)))
    with pytest.raises(
        InputError, match=r"whole numbers or names in column 'y', .*task=.regression"
    ):
        load(path, label="y")
    grades = write(tmp_path, "x,y\n1,1.0\n2,1.3\n3,1.7\n", "g.csv")
    with pytest.raises(InputError, match=r"got '1\.3' at row 1"):
        load(grades, label="y")
    assert load(grades, label="y", categorical=["y"]).classes == ("1.0", "1.3", "1.7")
    for odd in ("inf", "-Infinity", "1e999", "1e-3"):
        with pytest.raises(InputError, match=rf"whole numbers .*, got '{odd}' at row 1"):
            load(write(tmp_path, f"x,y\n1,0\n2,{odd}\n", "o.csv"), label="y")


def test_large_whole_numbers_stay_apart(tmp_path: Path) -> None:
    big = [2**53, 2**53 + 1, 2**53 + 2, 2**70]
    text = "x,y\n" + "".join(f"{i},{v}\n" for i, v in enumerate(big))
    assert load(write(tmp_path, text), label="y").classes == tuple(map(str, big))
    pq.write_table(
        pa.table({"x": [1, 2, 3], "y": big[:3], "pid": [10**17 + i for i in range(3)]}),
        tmp_path / "t.parquet",
    )
    data = load(tmp_path / "t.parquet", label="y", id_column="pid")
    assert data.classes == tuple(map(str, big[:3]))
    assert data.ids.tolist() == [str(10**17 + i) for i in range(3)]


def test_a_dot_belongs_to_a_class_unless_all_end_in_one(tmp_path: Path) -> None:
    mixed = write(tmp_path, "x,y\n1,v1.\n2,v1\n3,v2\n")
    assert load(mixed, label="y").classes == ("v1", "v1.", "v2")


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["1,5", "2,25", "3,0"], "'1,5'"),
        (["1,000", "2,000", "12,500"], "'1,000'"),
        (["5%", "6 %", "7%"], "'5%'"),
        (["1_000", "1", "2"], "'1_000'"),
        (["$3.50", "$4", "$5"], r"'\$3.50'"),
        (["3 €", "4 €", "5 €"], "'3 €'"),
        (["1 000", "2 000", "7"], "'1 000'"),
        (["(1,000)", "5", "6"], r"'\(1,000\)'"),
        # Nearly a number: a column of numbers with a mark for missing values that no one knows.
        (["1.5", "-", "2.5"], "'-'"),
        (["1", "2", "unknown"], "'unknown'"),
    ],
)
def test_numbers_with_marks_are_no_categories(
    tmp_path: Path, values: list[str], shown: str
) -> None:
    lines = "".join(f'"{v}",{i % 2}\n' for i, v in enumerate(values))
    path = write(tmp_path, "x,y\n" + lines)
    with pytest.raises(InputError, match=rf"plain numbers .* column 'x', got .*{shown}, at row"):
        load(path, label="y")
    data = load(path, label="y", categorical=["x"])
    assert sorted(data.columns) == sorted(f"x={v}" for v in values)
    labels = write(
        tmp_path, "x,y\n" + "".join(f'{i},"{v}"\n' for i, v in enumerate(values)), "l.csv"
    )
    if shown not in ("'-'", "'unknown'"):
        with pytest.raises(InputError, match=f"whole numbers or names in column 'y', got {shown}"):
            load(labels, label="y")


def test_codes_with_letters_stay_categories(tmp_path: Path) -> None:
    path = write(tmp_path, "x,z,y\nA1,>50,0\nB2,<=50,1\n7,a,1\n")
    assert load(path, label="y").columns == ("x=7", "x=A1", "x=B2", "z=<=50", "z=>50", "z=a")


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        ("x,y\r1,0\r2,1\r", {}, "expected lines that end in a line feed, got carriage returns"),
        ("x,y\n1,0\n2,\0\n", {}, "expected text, got a zero byte at position 10"),
        (",x,y\n0,1,0\n1,2,1\n", {}, r"got '', which looks like a stored row number; pass drop="),
        ("Unnamed: 0,x,y\n0,1,0\n1,2,1\n", {}, "got 'Unnamed: 0', which looks like a stored row"),
        (
            "x;y\n1;0\n2;1\n",
            {},
            "label: expected a column of the table, got 'y'; it has one column: pass delimiter",
        ),
        ("1,1,0\n2,2,1\n", {"columns": ["x", "x", "y"]}, "columns: expected every name once"),
        ("x,y\n1,0\n2,1\n", {"delimiter": ";;"}, "delimiter: expected one ASCII character"),
        ("p,x,y\n1,1,0\n2,2,1\n", {"id_column": "p", "drop": ["p"]}, "id_column: expected a col"),
        ('x,y\r1,"0\r\n2,1', {}, r"t\.csv: expected a first line of column names"),
    ],
)
def test_odd_files_are_refused_in_one_line(
    tmp_path: Path, text: str, options: Any, match: str
) -> None:
    with pytest.raises(InputError, match=match) as raised:
        load(write(tmp_path, text), **({"label": "y"} | options))
    assert "\n" not in str(raised.value)
    if text.startswith(","):
        assert load(write(tmp_path, text), label="y", drop=[""]).columns == ("x",)


def test_what_memory_cannot_hold_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = SMALL + "39,nurse,low\n" * 300_000
    packed = write(tmp_path, long, "t.csv.gz")
    assert packed.stat().st_size < len(long) / 100
    flat = tmp_path / "t.parquet"
    pq.write_table(pa.table({"age": [1.0] * 300_000, "income": ["low"] * 300_000}), flat)
    assert flat.stat().st_size < 10_000
    read: list[int] = []
    unpacked = gzip.GzipFile.read

    def counted(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        found = unpacked(self, min(size or -1, 2**18))
        read.append(len(found))
        return found

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    for module in ("reading", "table"):
        monkeypatch.setattr(f"seepage.data.{module}.most_bytes", lambda: 2**20)
    for path, what in ((packed, "a CSV table"), (flat, "a Parquet table")):
        with pytest.raises(InputError) as raised:
            load(path, label="income")
        assert str(raised.value) == (
            f"{path}: expected {what} that memory holds, at most 1 MiB unpacked, got more; "
            "read a part of it"
        )
    assert sum(read) <= 2**20 + 2**18
    monkeypatch.undo()
    assert len(load(packed, label="income")) == 300_003
