"""Data frames as a pool: encoded as the CSV of the same table, and refused where that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seepage.data import from_arrays, load
from seepage.errors import InputError

N = 30
RNG = np.random.default_rng(0)
Y = np.where(np.arange(N) % 2, ">50K", "<=50K")
FRAME = pd.DataFrame(
    {
        "count": RNG.integers(0, 50, N),
        "size": RNG.normal(size=N).astype(np.float32),
        "holes": [np.nan if k % 5 == 0 else 0.1 * k for k in range(N)],
        "whole": pd.array([None if k % 7 == 0 else k for k in range(N)], dtype="Int64"),
        "old": RNG.random(N) < 0.5,
        "told": pd.array([None if k % 7 == 0 else k % 2 == 0 for k in range(N)], dtype="boolean"),
        "text": RNG.choice(["x", "y z", " q", "NA", ""], N),
        "object": RNG.choice(np.array(["k", None, True, False], dtype=object), N),
        "kind": pd.Categorical(RNG.choice(["u", "v"], N), categories=["w", "v", "u"]),
        "digits": [str(k) for k in range(N)],
    },
    index=RNG.permutation(N),
)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("missing", ["keep", "indicator"])
def test_a_frame_is_encoded_as_its_csv(tmp_path: Path, library: str, missing: Any) -> None:
    given: Any = FRAME
    labels: Any = pd.Series(Y, index=FRAME.index)
    if library == "pandas":
        FRAME.assign(label=Y).to_csv(tmp_path / "t.csv", index=False)
    else:
        polars = pytest.importorskip("polars")
        given = polars.from_pandas(FRAME.drop(columns="object").reset_index(drop=True))
        labels = polars.Series(Y.tolist())
        given.with_columns(labels.alias("label")).write_csv(tmp_path / "t.csv")
    there = load(tmp_path / "t.csv", label="label", missing=missing)
    here = from_arrays(given, labels, missing=missing)
    assert here.columns == there.columns
    assert here.has_missing == (missing == "keep")
    assert here.digest == there.digest


def test_numbers_of_type_category_are_categories(tmp_path: Path) -> None:
    codes = pd.DataFrame({"zip": np.arange(N) % 3, "size": FRAME["size"].to_numpy()})
    codes.assign(label=Y).to_csv(tmp_path / "t.csv", index=False)
    here = from_arrays(codes.astype({"zip": "category"}), Y)
    assert here.columns == ("zip=0", "zip=1", "zip=2", "size")
    assert here.digest == load(tmp_path / "t.csv", label="label", categorical=["zip"]).digest


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (pd.Series(Y).astype(object), ("<=50K", ">50K")),
        (pd.Series(Y).astype("category"), ("<=50K", ">50K")),
        (pd.Series(Y == ">50K"), ("0", "1")),
        (pd.Series(Y == ">50K").astype(object), ("0", "1")),
        (pd.Series(Y == ">50K").astype("Int64").astype(object), ("0", "1")),
    ],
)
def test_labels_of_a_series_are_its_values(labels: Any, classes: tuple[str, ...]) -> None:
    data = from_arrays(np.arange(N, dtype=float)[:, None], labels)
    assert data.classes == classes
    assert data.labels.tolist() == (Y == ">50K").astype(int).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 1}, r"vary, got only 1 in column 'k'; pass the frame without \"k\"$"),
        ({"k": [f"a{i}" for i in range(300)]}, "256 levels .* got 300; .* or join rare levels"),
        ({"k": pd.Timestamp("2020-01-01")}, "numbers, text or booleans in column 'k', got timest"),
        ({"k": [(1,)] * 300}, "in column 'k', got tuple at row 0; convert it or pass the frame"),
        ({"k": ["1,5", "2,5"] * 150}, r'frame.astype\({"k": "category"}\)'),
        ({"k": [np.nan, 1.0, 2.0] * 100}, '100 missing, first at row 0; pass missing="indicator"'),
        ({"": range(300)}, "a name for every column"),
    ],
)
def test_what_a_csv_would_not_be_read_as_is_refused(change: Any, message: str) -> None:
    frame = pd.DataFrame({"x": np.arange(300.0)}).assign(**change)
    with pytest.raises(InputError, match=message):
        from_arrays(frame, np.arange(300) % 2)


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (
            FRAME.to_numpy(),
            Y,
            "got object with text, .* pass the pandas or polars DataFrame itself",
        ),
        (np.full((N, 2), "a"), Y, "<U1 with text, 'a'; pass the pandas or polars DataFrame itself"),
        (FRAME[["count"]].to_numpy(object), Y, r"pass inputs.astype\(float\)"),
        (FRAME[["count"]], np.array(["a", None] * 15, object), "got None at row 1; drop"),
        (FRAME[["count"]], np.array(["a", 1] * 15, object), r"got int and str; .*astype\(str\)"),
        (pd.concat([FRAME[["count"]]] * 2, axis=1), Y, "got 'count' twice"),
        (FRAME[[]], Y, "at least one column"),
    ],
)
def test_objects_are_refused_with_what_helps(inputs: Any, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_arrays(inputs, labels)
