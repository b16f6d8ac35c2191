"""The page of what was measured follows from what is stored, and that holds."""

from __future__ import annotations

import json

from benchmarks import one_model


def test_the_page_follows_from_the_stored_result() -> None:
    result = json.loads(one_model.OUT.read_text())
    assert one_model.page(result) == one_model.PAGE.read_text()
    assert one_model.failures(result) == []
    assert set(result) == {*one_model.FLEETS, one_model.NULL}


def test_intervals_that_miss_are_noticed() -> None:
    result = json.loads(one_model.OUT.read_text())
    result["digits"]["rows"]["loss"]["inside"] = 27
    result[one_model.NULL]["inside"] = 170
    assert one_model.failures(result) == ["digits, loss: 27 of 32", "nothing leaks: 170 of 200"]
