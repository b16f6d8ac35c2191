"""A pool of which the models were trained on a part alone: every number is of that part."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import seepage
from seepage.findings import collect


def test_samples_that_no_model_saw_are_no_tests(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    member = np.zeros((24, 3000), bool)
    member[:, :100] = rng.random((24, 100)).argsort(axis=0) < 12
    phi = rng.normal(size=member.shape) + 2.5 * member
    run = seepage.import_run({"member": member, "phi": phi}, tmp_path / "whole")
    whole = collect(run)
    part = collect(
        seepage.import_run({"member": member[:, :100], "phi": phi[:, :100]}, tmp_path / "part")
    )
    assert (whole.exposure.tested, whole.samples) == (100, 3000)
    assert whole.judged_in == part.judged_in == whole.judged_out == 12
    # The test of a sample reads itself alone, so that nobody else in the pool changes who is named.
    np.testing.assert_array_equal(whole.exposure.exposed[:100], part.exposure.exposed)
    np.testing.assert_array_equal(whole.exposure.q[:100], part.exposure.q)
    assert whole.exposure.exposed.any()
    assert not whole.exposure.exposed[100:].any()
    assert whole.exposure.at_most_false == part.exposure.at_most_false
    page = seepage.write_report(run, tmp_path / "whole.html", findings=whole).read_text()
    assert "3,000 samples, 100 of them members of some models and not of others" in page
    assert "At checkpoint 1, the attack does better" in page
    assert "alf of the final excess" not in page
