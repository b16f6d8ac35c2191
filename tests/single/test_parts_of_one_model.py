"""Parts of one model's members and others: the figures of each part alone, and no part made of the judged answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seepage
from seepage import cli
from seepage.errors import InputError
from seepage.metrics import auc
from seepage.plan import half_split
from seepage.single import Recorded, RecordedReferences

N = 300
WARDS = np.array(["a", "b"])[np.arange(2 * N) // 7 % 2]


def logits(rng: np.random.Generator, labels: Any, inside: Any) -> Any:
    """Three classes; members of ward a are answered more surely, those of ward b as others are."""
    z = rng.normal(size=(len(labels), 3))
    z[np.arange(len(labels)), labels] += 1 + 2.0 * (inside & (WARDS == "a"))
    return z


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 2 * N)
    inside = np.arange(2 * N) < N
    member = half_split(2 * N, models=8, seed=0).member
    references = RecordedReferences(
        member, logits=np.stack([logits(rng, labels, m) for m in member])
    )
    z = logits(rng, labels, inside)
    return {
        "model": Recorded(z[:N], z[N:]),
        "members": labels[:N],
        "others": labels[N:],
        "references": references,
    }


def test_each_part_has_the_figures_of_its_samples_alone(given: dict[str, Any]) -> None:
    both = {"ward": (WARDS[:N], WARDS[N:]), "age": (np.arange(N), np.arange(N) + 0.5)}
    by = ("class", "correctness", "difficulty")
    one = seepage.audit(**given, by=by, slices=both)
    assert [f.by for f in one.slices] == [*by, "ward", "age"]
    assert [len(f.parts) for f in one.slices] == [3, 2, 4, 2, 4]
    scores = one.attack(one.main).scores
    for name, codes in (("class", np.append(given["members"], given["others"])), ("ward", WARDS)):
        found = next(f for f in one.slices if f.by == name)
        for p in found.parts:
            at = codes.astype(str) == p.name
            assert p.found is not None
            assert p.found.auc.mean == pytest.approx(auc(scores[at], one.member[at]))
            assert p.samples == at.sum()
    a, b = (p.found for p in next(f for f in one.slices if f.by == "ward").parts)
    assert a.auc.low > 0.55
    assert b.auc.low < 0.5 < b.auc.high
    assert seepage.audit(**given).summary()["slices"] == []
    told = json.loads(json.dumps(one.summary()))["slices"]
    assert told[3]["parts"][0]["found"]["auc"]["mean"] == pytest.approx(a.auc.mean)


def test_the_page_shows_them(given: dict[str, Any], tmp_path: Path) -> None:
    one = seepage.audit(**given, slices={"ward": (WARDS[:N], WARDS[N:])})
    page = Path(seepage.write_report(one, tmp_path / "one.html")).read_text()
    assert "For whom does it leak?" in page
    assert f"{one.attack(one.main).title} by ward. Parts are values of ward." in page
    assert "at the last checkpoint" not in page


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"by": "class"}, r"by: expected a list of names, got the text 'class'; write \['class'\]"),
        ({"by": ["clas"]}, "by: expected one of class, correctness, difficulty, got 'clas'"),
        ({"by": ["difficulty"]}, "by: difficulty is told by references that did not see a sample"),
        ({"slices": {"w": WARDS}}, r"slices\[w\]: expected a pair \(of members, of others\)"),
        ({"slices": {"w": (WARDS, WARDS)}}, r"slices\[w\]: expected a value for each of the 600"),
        ({"slices": {"w": (WARDS[:N], np.zeros(N))}}, r"slices\[w\]: expected numbers of both"),
        ({"by": ["class"], "slices": {"class": (WARDS[:N], WARDS[N:])}}, "got 'class' twice"),
        (
            {"by": ["class"], "groups": (np.arange(N) // 9, np.arange(N) // 9 + 99)},
            r"slices\[class\]: expected one value for all records of a subject",
        ),
    ],
)
def test_what_makes_no_parts_is_refused(
    given: dict[str, Any], asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        seepage.audit(**{**given, "references": None}, **asked)


def test_the_command_divides_by_a_file(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    model = given["model"]
    np.savez("m.npz", labels=given["members"], logits=model.members)
    np.savez("o.npz", labels=given["others"], logits=model.others)
    ids = [*(f"member/{i}" for i in range(N)), *(f"other/{i}" for i in range(N))]
    rows = "".join(f"{i},{w}\n" for i, w in zip(ids, WARDS, strict=True))
    Path("wards.csv").write_text("id,ward\n" + rows)

    def command(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["seepage", "audit", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), capsys.readouterr().out

    sides = ("--members", "m.npz", "--others", "o.npz", "--by", "class", "--by", "wards.csv")
    status, out = command(*sides, "--json")
    assert status == 0
    one = seepage.audit(
        None, "m.npz", "o.npz", by=["class"], slices={"ward": (WARDS[:N], WARDS[N:])}
    )
    assert json.loads(out)["slices"] == json.loads(json.dumps(one.summary()["slices"]))
    status, out = command(*sides)
    assert status == 0
    assert "by ward" in out
    assert "last checkpoint" not in out
