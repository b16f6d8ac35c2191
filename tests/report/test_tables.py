"""Columns of the report's Parquet files are what pyarrow makes of the same values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from seepage.report.tables import _column, _repeated, _table, _text

WORDS = ["b", "", "ä 雪 🙂", "a", "b", "c\x00d", "a"]


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "uint16", "int32", "int64", "uint64", "float32", "float64"]
)
@pytest.mark.parametrize("samples", [0, 1, 8, 19])
def test_numbers_and_booleans(dtype: str, samples: int) -> None:
    values = np.random.default_rng(0).integers(0, 3, samples).astype(dtype)
    if values.dtype.kind == "f" and samples:
        values[0] = np.nan
    found = _column(values)
    found.validate(full=True)
    assert found.equals(pa.array(values)) or values.dtype.kind == "f"
    assert found.type == pa.array(values).type
    assert found.null_count == 0
    np.testing.assert_array_equal(found.to_numpy(zero_copy_only=False), values)
    # Every second value: what lies between is not read.
    apart = np.repeat(values, 2)[::2]
    np.testing.assert_array_equal(_column(apart).to_numpy(zero_copy_only=False), values)


@pytest.mark.parametrize("values", [[], [""], WORDS])
def test_text(values: list[str]) -> None:
    found = _text(values)
    found.validate(full=True)
    assert found.equals(pa.array(values, pa.string()))


@pytest.mark.parametrize("times", [1, 3])
def test_text_that_is_kept_once(times: int) -> None:
    found = _repeated(WORDS, times)
    found.validate(full=True)
    wanted: Any = pa.array(WORDS, pa.string()).dictionary_encode()
    assert found.equals(wanted.take(pa.array(np.tile(np.arange(len(WORDS)), times))))


def test_a_table_keeps_names_and_order() -> None:
    columns = {
        "row": np.arange(3),
        "id": _text(["x", "y", "z"]),
        "exposed": np.array([1, 0, 1]) > 0,
    }
    wanted = {"row": np.arange(3), "id": ["x", "y", "z"], "exposed": [True, False, True]}
    assert _table(columns).equals(pa.table(wanted))
