from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from seepage.attacks import LiRA
from seepage.errors import InputError
from seepage.findings import collect
from seepage.report import render, words, write_report

HOSTILE = '</script><img src=x onerror="window.owned=1">&amp;\u2028\'"'


class Seen(HTMLParser):
    """Tags and attributes as a browser's parser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_the_report_and_its_tables_hold_the_same_numbers(
    run: Any, findings: Any, tmp_path: Path
) -> None:
    path = write_report(run, tmp_path / "report.html", findings=findings)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "report.html", "report.json", "report.paths.parquet", "report.samples.parquet",
    ]  # fmt: skip
    summary = json.loads((tmp_path / "report.json").read_text())
    assert summary["attacks"][1]["auc"]["mean"] == findings.main_attack.auc.mean
    assert summary["failed_runs"] == {"5": "loss became NaN at step 120"}
    samples = pq.read_table(tmp_path / "report.samples.parquet")
    assert samples.num_rows == findings.samples
    assert samples["id"].to_pylist() == run.ids.tolist()
    np.testing.assert_allclose(
        samples["advantage"].to_numpy(), findings.paths.advantage()[-1], equal_nan=True
    )
    assert sorted(samples["rank"].to_pylist()) == list(range(1, findings.samples + 1))
    paths = pq.read_table(tmp_path / "report.paths.parquet")
    assert paths.num_rows == findings.samples * len(findings.checkpoints)
    last = paths.slice(paths.num_rows - findings.samples)
    np.testing.assert_array_equal(last["tp"].to_numpy(), findings.paths.tp[-1])
    text = path.read_text()
    assert f"{findings.main_attack.auc.mean:.3f}" in text
    assert "loss became NaN at step 120" in text


def test_the_files_keep_their_fields(run: Any, findings: Any, tmp_path: Path) -> None:
    write_report(run, tmp_path / "r.html", findings=findings)
    summary = json.loads((tmp_path / "r.json").read_text())
    assert list(summary) == [
        "format", "title", "dataset", "run", "models", "samples", "unit", "subjects", "judged",
        "non_members_per_target", "checkpoints", "main_attack", "decision_rule", "verdict", "leaks", "undecided", "utility",
        "blind_baseline", "attacks", "precision", "agreement", "strongest", "references", "unjudged_samples", "notes", "contradictions", "doubts", "pool_share", "naming",
        "false_positive_rates_of_samples", "skipped_attacks",
        "risk_over_training", "dynamics", "early_determination", "exposed", "groups", "slices", "tail_estimate",
        "half_width_of_a_samples_auc", "curvature", "layers", "as_released", "label_inference", "canaries", "accountant", "evidence", "failed_runs",
        "provenance",
    ]  # fmt: skip
    assert summary["format"] == "seepage.report/2"
    assert list(summary["attacks"][0]) == [
        "name", "title", "auc", "auc_wide", "null_auc", "per_target", "pooled", "roc_fpr", "roc_tpr",
    ]  # fmt: skip
    assert list(summary["attacks"][0]["auc"]) == ["mean", "low", "high", "level", "groups"]
    assert list(summary["attacks"][0]["pooled"][0]) == [
        "fpr",
        "tpr",
        "realised",
        "null",
        "resolved",
        "negatives",
        "realised_low",
        "realised_high",
        "least",
    ]
    assert list(summary["risk_over_training"]) == [
        "auc", "low", "high", "null", "null_low", "null_high", "fpr", "tpr", "null_tpr",
        "permutations",
    ]  # fmt: skip
    assert list(summary["early_determination"]) == ["recall", "precision", "chance", "null_recall"]
    assert list(summary["exposed"]) == [
        "level", "count", "count_per_checkpoint", "null_count_per_checkpoint",
        "high_count_per_checkpoint", "null_high_count_per_checkpoint", "smallest_p_possible",
        "false_at_most_95", "most_exposed", "records_of_most_exposed",
    ]  # fmt: skip
    assert pq.read_table(tmp_path / "r.samples.parquet").column_names == [
        "row", "id", "label", "class", "n_in", "n_out", "tp", "fp", "tpr", "fpr", "advantage", "p", "q", "exposed", "rank", "exposed_since",
        "accuracy_in", "accuracy_out", "score_in", "score_out", "auc", "auc_low",
        "auc_high",
    ]  # fmt: skip
    assert pq.read_table(tmp_path / "r.paths.parquet").column_names == [
        "checkpoint", "row", "id", "tp", "fp", "n_in", "n_out", "null_tp", "null_fp",
    ]  # fmt: skip


def test_nothing_in_the_page_asks_for_the_network(run: Any, findings: Any) -> None:
    text = render(findings, run.data())
    seen = Seen(text)
    for name, value in seen.attributes:
        if name in ("src", "href", "action", "poster", "srcset"):
            assert value is not None
            assert value.startswith(("#", "data:image/png;base64,"))
    assert "@import" not in text
    assert not re.search(r"url\(", text)
    assert "default-src 'none'" in text
    assert not [n for n, _ in seen.attributes if n.startswith("on") or n == "style"]


@pytest.mark.parametrize("kind", ["image", "table"])
def test_hostile_names_stay_text(make_run: Any, kind: str) -> None:
    ids = np.array([f"{HOSTILE}{i}" for i in range(60)])
    run = make_run(
        samples=60, kind=kind, ids=ids, classes=(HOSTILE, HOSTILE + "b"), name=HOSTILE,
        failed={1: HOSTILE}, checkpoints=(0.0, 1.0, 2.0),
    )  # fmt: skip
    findings = collect(run, attacks=[LiRA()], permutations=1)
    clean = collect(make_run(samples=60, kind=kind, classes=("a", "b"), failed={1: "why"},
                             checkpoints=(0.0, 1.0, 2.0)),
                    attacks=[LiRA()], permutations=1)  # fmt: skip
    hostile, plain = Seen(render(findings, run.data())), Seen(render(clean, run.data()))
    assert "onerror" not in {n for n, _ in hostile.attributes}
    for tag in ("script", "style", "iframe", "object", "link"):
        assert hostile.tags.count(tag) == plain.tags.count(tag)
    assert HOSTILE not in render(findings, run.data())


def test_without_records_no_sample_is_shown(run: Any, findings: Any) -> None:
    text = render(findings, None)
    assert "data:image/png" not in text
    assert 'data-block="pictures"' not in text
    assert "Handle with care" not in text
    assert "Handle with care" in render(findings, run.data())


def test_a_single_checkpoint_and_a_table_are_enough(make_run: Any, tmp_path: Path) -> None:
    run = make_run(checkpoints=(3.0,), kind="table", samples=80, models=8)
    path = write_report(run, tmp_path / "r.html", attacks=[LiRA()], permutations=1)
    assert "column 3" in path.read_text()


def test_the_same_findings_give_the_same_bytes(run: Any, findings: Any) -> None:
    assert render(findings, run.data()) == render(findings, run.data())


def test_bad_places(run: Any, findings: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"path: expected a name that ends in \.html"):
        write_report(run, tmp_path / "report.pdf", findings=findings)
    with pytest.raises(InputError, match="expected a file name in a folder that exists"):
        write_report(run, tmp_path / "absent" / "report.html", findings=findings)


def test_a_failed_write_leaves_the_old_report(
    run: Any, findings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seepage.report.tables.pq.write_table", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_report(run, path, findings=findings)
    assert path.read_text() == "old"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_names_under_priors_and_the_agreement_of_attacks_are_shown(findings: Any) -> None:
    page = render(findings, None)
    assert "How many of those called members are members" in page
    at = findings.main_attack.pooled[0]
    first = at.precisions[-1]
    assert (
        f"<b>{words.percent(first.mean)}</b><small>{words.interval_percent(first)}</small>" in page
    )
    assert "Whether attacks find the same samples" in page
    a = findings.agreement
    assert a is not None
    assert f"<b>{words.percent(a.found.coverage.mean)}</b> of members (" in page
    assert f"<b>{a.found.jaccard[1, 0]:.2f}</b>" in page
    assert page.count("like a coin") == 1
    assert "●" in page
    told = findings.summary()["agreement"]
    assert told["found"]["attacks"] == list(a.found.attacks)
    alone = replace(findings, agreement=None)
    assert "Whether attacks find" not in render(alone, None)
    one = replace(findings, agreement=replace(a, stability=()))
    assert "like a coin" not in render(one, None)
