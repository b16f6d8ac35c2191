"""Pages written from damaged results: the result is named, or the page is that of the sound ones."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from malformed import Tally, called, changed, damaged

pytestmark = pytest.mark.slow
EACH = 220
ROOT = Path(__file__).parents[2]
COMMANDS = {
    "study --only page": ("curvature.toml", "curvature", ["study", "asked.toml", "--only", "page"]),
    "defend --only report": (
        "defences.toml",
        "defences",
        ["defend", "asked.toml", "--only", "report", "--pool", "fashion-mnist"],
    ),
}
MADE = ("page.md", "report.*")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", COMMANDS)
def test_damaged_results(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    file, folder, words = COMMANDS[name]
    at = tmp_path / "work"
    shutil.copytree(ROOT / "docs/reproductions/results" / folder, at / "results")
    text = re.sub(r"(?m)^cards = .*$", "", (ROOT / "studies" / file).read_text())
    for key, place in {
        "runs": "runs", "results": "results", "page": "page.md", "report": "report.html",
    }.items():  # fmt: skip
        text = re.sub(rf'(?m)^{key} = ".*"$', f'{key} = "{place}"', text)
    (at / "asked.toml").write_text(text)
    status, err = called(words, at)
    assert status == 0, err
    sound = (at / "page.md").read_text()
    read = at / "results" if folder == "curvature" else at / "results" / "fashion-mnist"
    files = sorted(read.rglob("*.json"))
    tally = Tally(f"seepage {name}", at)
    for seed in range(EACH):
        rng = np.random.default_rng([12, seed])
        path = files[int(rng.integers(len(files)))]
        raw = path.read_bytes()
        if seed % 3:
            content, where = changed(json.loads(raw), rng)
            new = json.dumps(content).encode()
        else:
            new, where = damaged(raw, rng), "bytes"
        try:
            same = json.loads(new) == json.loads(raw)
        except ValueError:
            same = False
        path.write_bytes(new)
        why = "values that are as they were" if same else None
        status = tally.command([*words], why, targets=MADE)
        if status == 0 and (at / "page.md").read_text() != sound:
            tally.fault("read otherwise", f"{path.name}: {where}")
        path.write_bytes(raw)
    tally.close(record_property)
