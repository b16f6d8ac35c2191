"""Tables, folders of arrays, the reference layout, and what follows from what was recorded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import seepage
from seepage.attacks import AttackP
from seepage.attacks.binding import lacks
from seepage.data import archive
from seepage.errors import InputError
from seepage.fleet.imported import ImportedWarning
from seepage.plan import half_split
from seepage.signals import SIGNALS
from seepage.store import Run

# Logits are random: they know no label.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*answers. members are right in:seepage.fleet.ContradictionWarning"
)

R, T, N, K = 6, 2, 20, 3
MEMBER = half_split(N, models=R, seed=0).member
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(R, T, N, K)).astype(np.float32) * 3
LABELS = np.arange(N) % K


def by_rule(name: str, logits: np.ndarray, labels: np.ndarray = LABELS) -> np.ndarray:
    """The signal of every sample by the package's own rule, in float64: (..., N)."""
    flat = torch.from_numpy(logits.astype(np.float64).reshape(-1, logits.shape[-1]))
    y = torch.from_numpy(np.tile(labels, flat.shape[0] // len(labels)))
    return SIGNALS[name](flat, y).numpy().reshape(logits.shape[:-1])


def imported(folder: Path, **arrays: Any) -> Run:
    return seepage.import_arrays({"member": MEMBER, **arrays}, folder / "run")


def test_all_signals_follow_from_logits_and_labels(tmp_path: Path) -> None:
    run = imported(tmp_path, logits=LOGITS, labels=LABELS)
    assert set(run.signals) == {"logits", *SIGNALS}
    for name in SIGNALS:
        want = by_rule(name, LOGITS).astype(np.float32)
        np.testing.assert_array_equal(run.signal(name), want)
    inside, outside = run.records[0]["accuracy"][1]
    right = by_rule("correct", LOGITS)[0, 1]
    assert inside == pytest.approx(right[MEMBER[0]].mean())
    assert outside == pytest.approx(right[~MEMBER[0]].mean())
    assert run.manifest["key"]["derived"] == ["correct", "entropy", "loss", "mentr", "phi"]
    assert "derived from logits and labels in float64" in run.manifest["provenance"]["notes"][0]


def test_views_of_logits(tmp_path: Path) -> None:
    views = np.stack([LOGITS, LOGITS + 1.5 * RNG.normal(size=LOGITS.shape)], axis=3)
    run = imported(tmp_path, logits=views, labels=LABELS)
    assert run.signal("phi").shape == (R, T, N, 2)
    np.testing.assert_allclose(run.signal("phi")[..., 1], by_rule("phi", views[..., 1, :]), 1e-6)
    np.testing.assert_array_equal(run.signal("logits"), LOGITS)


def test_what_is_given_stays_and_the_rest_is_derived(tmp_path: Path) -> None:
    phi = RNG.normal(size=(R, T, N))
    run = imported(tmp_path, logits=LOGITS, labels=LABELS, phi=phi)
    np.testing.assert_array_equal(run.signal("phi"), phi.astype(np.float32))
    assert run.manifest["key"]["derived"] == ["correct", "entropy", "loss", "mentr"]


def test_probabilities_are_logits_in_another_form(tmp_path: Path) -> None:
    p = np.exp(LOGITS.astype(float))
    p /= p.sum(-1, keepdims=True)
    run = imported(tmp_path, probabilities=p, labels=LABELS)
    assert set(run.signals) == set(SIGNALS)
    for name in SIGNALS:
        np.testing.assert_allclose(run.signal(name), by_rule(name, LOGITS), rtol=2e-6, atol=2e-6)


def test_probabilities_that_are_exactly_one(tmp_path: Path) -> None:
    """They end φ, at a value that is told with their number."""
    p = np.tile(np.float32([0.5, 0.25, 0.25]), (R, T, N, 1))
    p[0, 0, 0] = (1, 0, 0)
    with pytest.warns(
        ImportedWarning,
        match=r"2 of 720 are exactly 0 and 1 exactly 1 in float32; 0 is taken for 0\.125",
    ):
        run = imported(tmp_path, probabilities=p, labels=LABELS)
    assert run.signal("phi")[0, 0, 0] == pytest.approx(-np.log(2 * 0.125))
    assert np.isfinite(run.signal("phi")).all()


def test_phi_follows_from_cross_entropy_only_where_it_is_said(tmp_path: Path) -> None:
    loss = by_rule("loss", LOGITS)
    silent = imported(tmp_path, loss=loss)
    assert silent.signals == ("loss",)
    assert "--cross-entropy" in silent.manifest["provenance"]["notes"][0]
    run = seepage.import_arrays(
        {"member": MEMBER, "loss": loss}, tmp_path / "told", cross_entropy=True
    )
    np.testing.assert_allclose(run.signal("phi"), by_rule("phi", LOGITS), rtol=1e-6, atol=1e-6)
    back = seepage.import_arrays(
        {"member": MEMBER, "phi": by_rule("phi", LOGITS)}, tmp_path / "back", cross_entropy=True
    )
    np.testing.assert_allclose(back.signal("loss"), loss, rtol=1e-6)


def test_what_an_attack_then_lacks(tmp_path: Path) -> None:
    run = imported(tmp_path, phi=RNG.normal(size=(R, T, N)))
    told = lacks(AttackP(), run)
    assert told is not None
    assert "needs loss, which was not recorded" in told


LOSS = np.full((R, T, N), 0.5)
REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"loss": np.where(MEMBER[:, None], 0.0, LOSS)},
        r"got 120 of 240 that are exactly 0, of which",
    ),
    ({"loss": LOSS.astype(np.float16)}, "loss: expected 32- or 64-bit floats for phi, got half"),
    ({"loss": -LOSS}, r"loss: expected cross-entropies from 0, got -0\.5"),
    ({"mentr": LOSS}, "cross_entropy: expected phi or loss, got mentr"),
]


@pytest.mark.parametrize(("arrays", "message"), REFUSED)
def test_losses_that_do_not_tell_phi(tmp_path: Path, arrays: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        seepage.import_arrays({"member": MEMBER, **arrays}, tmp_path / "run", cross_entropy=True)
    assert not list(tmp_path.iterdir())


def test_losses_near_the_last_step_of_their_type(tmp_path: Path) -> None:
    loss = np.full((R, T, N), 1e-7, dtype=np.float32)
    with pytest.warns(ImportedWarning, match="240 of 240 are below 1e-05 in float32, a few steps"):
        seepage.import_arrays(
            {"member": MEMBER, "loss": loss}, tmp_path / "run", cross_entropy=True
        )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"logits": LOGITS * 1e37, "labels": LABELS}, "logits: expected values of at most 1e"),
        ({"probabilities": LOGITS, "labels": LABELS}, "expected rows in .0, 1. that sum to 1, got"),
        (
            {"probabilities": np.full((R, T, N, K), 1 / K)},
            "probabilities: expected labels with them",
        ),
        (
            {"phi": np.ma.masked_less(LOSS, 1)},
            "arrays: phi: expected values everywhere, got a mask",
        ),
        ({"phi": LOSS, "groups": np.arange(3)}, "groups: expected the name of whose sample"),
    ],
)
def test_what_is_no_logits(tmp_path: Path, arrays: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        imported(tmp_path, **arrays)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_arrays_is_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mapped or not, in C order or not: the same run."""
    arrays = {"member": MEMBER, "logits": np.asfortranarray(LOGITS), "labels": LABELS}
    (tmp_path / "arrays").mkdir()
    for name, a in arrays.items():
        np.save(tmp_path / "arrays" / f"{name}.npy", a)
    np.savez(tmp_path / "arrays.npz", **arrays)
    whole = seepage.import_run(tmp_path / "arrays.npz", tmp_path / "whole")
    monkeypatch.setattr(archive, "LARGE", 0)
    mapped = seepage.import_run(tmp_path / "arrays.npz", tmp_path / "mapped")
    folder = seepage.import_run(tmp_path / "arrays", tmp_path / "folder")
    assert mapped.manifest["key"] == whole.manifest["key"]
    assert folder.manifest["key"]["arrays"] == whole.manifest["key"]["arrays"]
    for run in (mapped, folder):
        assert run.records[0]["digests"] == whole.records[0]["digests"]
    (tmp_path / "arrays" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"expected a folder of \.npy files.*got 'notes.txt'"):
        seepage.import_run(tmp_path / "arrays", tmp_path / "other")


def rows() -> dict[str, Any]:
    """The long form of MEMBER and φ, in a random order."""
    phi = by_rule("phi", LOGITS)
    r, t, n = (a.ravel() for a in np.meshgrid(range(R), range(T), range(N), indexing="ij"))
    order = np.random.default_rng(1).permutation(len(r))
    table = {
        "model": [f"run-{i}" for i in r],
        "checkpoint": (t * 5).astype(float),
        "sample": [f"p{i:02d}" for i in n],
        "member": MEMBER[r, n],
        "label": [f"class {k}" for k in LABELS[n]],
        "phi": phi[r, t, n],
    }
    return {k: np.array(v)[order] for k, v in table.items()}


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_a_table_of_scores(tmp_path: Path, kind: str) -> None:
    table, path = rows(), tmp_path / f"scores.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table(table), path)
    else:
        sep = "," if kind == "csv" else "\t"
        lines = zip(*(map(str, v.tolist()) for v in table.values()), strict=True)
        path.write_text("\n".join([sep.join(table), *map(sep.join, lines)]) + "\n")
    run = seepage.import_run(path, tmp_path / "run")
    models = list(dict.fromkeys(table["model"].tolist()))
    at = np.array([int(m[4:]) for m in models])
    place = np.array([int(s[1:]) for s in run.ids.tolist()])
    np.testing.assert_array_equal(run.member, MEMBER[at][:, place])
    want = by_rule("phi", LOGITS).astype(np.float32)
    np.testing.assert_array_equal(run.signal("phi"), want[at][:, :, place])
    assert run.checkpoints.tolist() == [0.0, 5.0]
    assert run.classes == ("class 0", "class 1", "class 2")
    assert run.labels.tolist() == LABELS[place].tolist()


def without(table: dict[str, Any], name: str) -> dict[str, Any]:
    return {k: v for k, v in table.items() if k != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: without(t, "sample"),
            "expected a table of scores with the columns model, sample",
        ),
        (lambda t: without(t, "phi"), "got none for a signal such as phi"),
        (lambda t: {k: v[1:] for k, v in t.items()}, "240 in all, got 239; add the missing"),
        (
            lambda t: {k: np.r_[v[:1], v[:-1]] for k, v in t.items()},
            "every model, sample and checkpoint once, got one twice",
        ),
        (
            lambda t: t | {"member": np.arange(240) % 3},
            "member: expected 0 or 1 in every row, got '2'",
        ),
        (
            lambda t: t | {"member": np.arange(240) % 2},
            "member: expected the same in all rows of one",
        ),
        (
            lambda t: t | {"label": np.arange(240) % 2},
            "label: expected the same in all rows of one",
        ),
        (lambda t: t | {"phi": np.array(["x"] * 240)}, "phi: expected numbers, got string"),
        (lambda t: t | {"sample": np.array(["NA"] * 240)}, "sample: expected a value in every row"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "scores.parquet"
    pq.write_table(pa.table(change(rows())), path)
    with pytest.raises(InputError, match=message):
        seepage.import_run(path, tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["scores.parquet"]


def test_a_table_with_text_among_numbers(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("model,sample,member,phi\na,x,1,0.5\na,y,0,high\n")
    with pytest.raises(InputError, match="phi: expected a number in every row, got 'high'"):
        seepage.import_run(path, tmp_path / "run")
    path.write_text("model,sample,member,phi\n")
    with pytest.raises(InputError, match="got no rows; write them"):
        seepage.import_run(path, tmp_path / "run")


def experiments(folder: Path, views: int = 2, *, logits: bool = True, scores: bool = True) -> Path:
    """The layout of the reference code, a little larger than the pool as there."""
    folder.mkdir()
    np.save(folder / "y_train.npy", np.r_[LABELS, LABELS[:3]])
    for r in range(R):
        place = folder / f"experiment-{r}_{R}"
        for kind in ("logits", "scores", "ckpt"):
            (place / kind).mkdir(parents=True)
        np.save(place / "keep.npy", np.r_[MEMBER[r], MEMBER[r, :3]])
        for t, epoch in enumerate((20, 100)):
            z = np.repeat(LOGITS[r, t][:, None], views, axis=1).copy()
            z[:, 1:] += 1
            if logits:
                np.save(place / "logits" / f"{epoch:010d}.npy", z[:, None])
            if scores:
                phi = np.stack([by_rule("phi", z[:, v]) for v in range(views)], axis=1)
                np.save(place / "scores" / f"{epoch:010d}.npy", phi)
        if not logits:
            (place / "logits").rmdir()
    return folder


def test_the_layout_of_the_reference_code(tmp_path: Path) -> None:
    run = seepage.import_run(experiments(tmp_path / "exp"), tmp_path / "run")
    np.testing.assert_array_equal(run.member, MEMBER)
    assert run.checkpoints.tolist() == [20.0, 100.0]
    assert set(run.signals) == set(SIGNALS)
    assert run.signal("phi").shape == (R, T, N, 2)
    for name in SIGNALS:
        want = by_rule(name, LOGITS).astype(np.float32)
        np.testing.assert_array_equal(run.signal(name)[..., 0], want)
    notes = " ".join(run.manifest["provenance"]["notes"])
    assert "keep: cut from 23 to the 20 samples" in notes
    scores = seepage.import_run(
        experiments(tmp_path / "scores", logits=False), tmp_path / "run-of-scores"
    )
    assert set(scores.signals) == {"phi", "loss"}
    for name in scores.signals:
        np.testing.assert_allclose(scores.signal(name), run.signal(name), rtol=1e-5, atol=1e-6)
    (tmp_path / "exp" / "y_train.npy").unlink()
    unlabelled = seepage.import_run(tmp_path / "exp", tmp_path / "unlabelled")
    np.testing.assert_array_equal(unlabelled.signal("phi"), scores.signal("phi"))
    assert not unlabelled.manifest["key"]["labels"]


def test_the_unmoved_view_comes_first(tmp_path: Path) -> None:
    """Shifts by -1..1 are nine views, of which the fifth is the picture itself."""
    folder = experiments(tmp_path / "exp", 9, scores=False)
    file = folder / f"experiment-0_{R}" / "logits" / "0000000100.npy"
    z = np.load(file)
    z[:, :, 4] += RNG.normal(size=z[:, :, 4].shape)
    np.save(file, z)
    run = seepage.import_run(folder, tmp_path / "run")
    np.testing.assert_allclose(run.signal("phi")[0, 1, :, 0], by_rule("phi", z[:, 0, 4]), 1e-6)


def _drop(folder: Path) -> None:
    (folder / f"experiment-2_{R}" / "logits" / "0000000020.npy").unlink()


def _other_labels(folder: Path) -> None:
    np.save(folder / "y_train.npy", np.roll(LABELS, 1))


def _fewer(folder: Path) -> None:
    np.save(folder / f"experiment-1_{R}" / "keep.npy", MEMBER[1, :5])


def _bare(folder: Path) -> None:
    (folder / f"experiment-3_{R}" / "keep.npy").unlink()


def _named(folder: Path) -> None:
    np.save(folder / f"experiment-1_{R}" / "logits" / "last.npy", MEMBER)


def _three(folder: Path) -> None:
    shutil.rmtree(folder)
    experiments(folder, 3)


def _without_an_axis(folder: Path) -> None:
    for file in folder.glob("*/logits/*.npy"):
        np.save(file, np.load(file)[:, 0])


def _unlabelled(folder: Path) -> None:
    (folder / "y_train.npy").unlink()
    for scores in folder.glob("*/scores"):
        shutil.rmtree(scores)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            _drop,
            r"the same epochs in every experiment, got 20, 100 in experiment-0_6 and 100 in exper",
        ),
        (
            _other_labels,
            r"expected log p − log\(1 − p\) of the logits and labels, got another value",
        ),
        (_fewer, r"keep.npy: expected membership of 20 samples"),
        (
            _bare,
            r"experiment-3_6: expected keep.npy, the membership, in every experiment, found none",
        ),
        (_named, "expected files named by their epoch, such as 0000000100.npy, got 'last.npy'"),
        (_three, "got 3, of which the unmoved one is not known"),
        (_without_an_axis, r"views, classes\), got shape \(20, 2, 3\); save the axes"),
        (_unlabelled, "expected y_train.npy beside the experiments, found none"),
    ],
)
def test_experiments_that_do_not_agree(tmp_path: Path, damage: Any, message: str) -> None:
    folder = experiments(tmp_path / "exp")
    damage(folder)
    with pytest.raises(InputError, match=message):
        seepage.import_run(folder, tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["exp"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": "mlp"},
            "arrays: takes task, noise, cross_entropy alone, got model; leave it out",
        ),
        ({"labels": "y.npy"}, "arrays: takes task, noise, cross_entropy alone, got labels"),
    ],
)
def test_options_of_another_door(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        seepage.import_run({"member": MEMBER, "phi": LOSS}, tmp_path / "run", **options)


def test_a_folder_of_nothing_known(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match=r"expected a folder of \.npy files, of experiments with"):
        seepage.import_run(tmp_path / "a", tmp_path / "run")
