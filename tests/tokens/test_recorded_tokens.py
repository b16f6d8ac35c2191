"""Runs that hold tokens: imported, read as signals of documents, scored by every attack on texts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import seepage
from seepage.attacks import CAMIA, Calibrated, Combined, LiRA, MinK, Zlib, usual
from seepage.errors import CorruptStore, InputError
from seepage.fleet.import_run import import_run
from seepage.metrics import operating_points, unit_of
from seepage.plan import permute_membership
from seepage.scoring import applicable, lacks
from seepage.tokens import Tokens, document_signal, documents_at, lacks_tokens
from unigrams import unigrams

F = np.ndarray


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tokens") / "run"
    import_run(unigrams(documents=120).arrays(), place)
    return place


def test_signals_of_documents_follow(folder: Path) -> None:
    u, run = unigrams(documents=120), seepage.open(folder)
    assert run.manifest["data"]["task"] == "language"
    assert {"loss", "logp", "min_k", "error_zone", "others_ratio"} <= set(run.signals)
    assert not [name for name in run.signals if name.startswith("token_")]
    expected = [
        document_signal(
            Tokens(u.offsets, x.astype(np.float32), reference=u.reference), "window_share"
        )
        for x in u.logp
    ]
    np.testing.assert_allclose(run.signal_at("window_share", -1), expected, atol=1e-6)
    logp = [
        [row[a:b].mean() for a, b in zip(u.offsets, u.offsets[1:], strict=False)] for row in u.logp
    ]
    np.testing.assert_allclose(run.signal_at("logp", 0), logp, rtol=1e-5)


def test_every_attack_on_texts_tells_members_and_nothing_of_shuffled_ones(folder: Path) -> None:
    run = seepage.open(folder)
    found, skipped = applicable(run, [a for a in usual(tokens=True) if a.of_texts])
    assert len(found) == 9
    assert not skipped
    shuffled = permute_membership(run.member, np.random.default_rng(0))
    for attack in (*found, LiRA(signal="logp"), Calibrated()):
        scores = seepage.score(run, attack)
        # Of one text under models that saw it and models that did not.
        known = run.member.sum(axis=0)
        apart = (scores * run.member).sum(axis=0) / known - (scores * ~run.member).sum(axis=0) / (
            len(scores) - known
        )
        assert (apart > 0).mean() > 0.55, attack.name
        null = operating_points(seepage.score(run, attack, member=shuffled), shuffled)
        assert abs(null.auc.mean() - 0.5) < 0.06, attack.name


def test_signals_are_kept_and_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEPAGE_COMPUTED", "on")
    first = seepage.open(folder).signal_at("hard_tokens", 0)
    monkeypatch.setattr("seepage.store.run.documents_at", lambda *_: 1 / 0)
    again = seepage.open(folder)
    np.testing.assert_array_equal(again.signal_at("hard_tokens", 0), first)
    assert ("token_logp", 0) in again.reads
    assert ("token_reference", 0) in again.reads
    again.reads.clear()
    again.signal_at("hard_tokens", 0)
    assert ("token_logp", 0) in again.reads
    again.reads.clear()
    again.compare([("token_logp", 0)])  # for the second time
    assert ("token_logp", 0) in again.reads


def test_a_changed_token_is_found(tmp_path: Path) -> None:
    run = import_run(unigrams(models=4).arrays(), tmp_path / "run")
    run.signal_at("min_k", 0)
    chunk = tmp_path / "run" / "signals" / "token_logp" / "c" / "3" / "0" / "0"
    raw = bytearray(chunk.read_bytes())
    raw[9] ^= 1
    chunk.write_bytes(raw)
    with pytest.raises(CorruptStore, match="token_logp/c/3/0/0"):
        seepage.open(tmp_path / "run").signal_at("min_k", 0)
    assert [str(d.key) for d in seepage.store.verify.verify(tmp_path / "run").damage]


def test_a_learned_combiner_takes_them(folder: Path) -> None:
    run = seepage.open(folder)
    scores = seepage.score(run, Combined((MinK(), Zlib(), CAMIA())))
    assert np.isfinite(scores).all()
    assert (scores[run.member].mean() - scores[~run.member].mean()) > 0


def test_users_are_judged_by_all_their_texts(tmp_path: Path) -> None:
    u = unigrams(models=4, documents=90)
    of_users = np.repeat(u.member[:, :30], 3, axis=1)
    arrays = {**u.arrays(), "member": of_users, "groups": np.repeat(np.arange(30), 3)}
    run = import_run(arrays, tmp_path / "run")
    scores = seepage.score(run, seepage.attacks.ReferenceRatio(), unit=unit_of(run.groups))
    assert scores.shape == (4, 30)


def test_files_and_half_precision(tmp_path: Path) -> None:
    arrays = unigrams(models=2).arrays()
    texts = arrays.pop("texts")
    half = {k: v.astype(np.float16) if k == "token_logp" else v for k, v in arrays.items()}
    save_file({k: np.ascontiguousarray(v) for k, v in half.items()}, tmp_path / "a.safetensors")
    run = import_run(tmp_path / "a.safetensors", tmp_path / "a")
    assert run.token_signal("token_logp", 0).dtype == np.float16
    assert "the texts are not known" in str(lacks(run, Zlib()))
    np.savez(tmp_path / "b.npz", texts=texts, **arrays)
    other = import_run(tmp_path / "b.npz", tmp_path / "b")
    assert lacks(other, Zlib()) is None
    np.testing.assert_allclose(
        run.signal_at("min_k", 0), other.signal_at("min_k", 0), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(
    ("model", "first", "held"),
    [
        ({"weights": "a1"}, 0.0, True),
        ({"weights": "a1", "reset": ["head*"]}, 0.0, False),
        ({"weights": None}, 0.0, False),
        ({"weights": "a1"}, 1.0, False),
        (None, 0.0, False),
    ],
)
def test_the_start_of_all_runs_is_their_reference(
    model: dict[str, Any] | None, first: float, held: bool
) -> None:
    u = unigrams(models=2)
    source = SimpleNamespace(
        member=u.member,
        checkpoints=np.array([first, 4.0]),
        offsets=u.offsets,
        manifest={"signals": {"token_logp": {}}, "key": {"model": model}},
        token_signal=lambda name, r, t: u.logp[r] - t,
    )
    assert (lacks_tokens("hard_tokens", source) is None) == held
    if held:
        found = documents_at(source, "reference_ratio", 1)
        np.testing.assert_allclose(found, np.full((2, 40), -1.0), rtol=1e-6)


def test_runs_without_tokens_say_so(tmp_path: Path) -> None:
    member = unigrams().member
    run = import_run({"member": member, "loss": np.ones(member.shape)}, tmp_path / "run")
    assert "log p of every token" in str(lacks(run, MinK()))
    assert not [a for a in usual() if a.of_texts]


def broken(**changes: Any) -> dict[str, F]:
    arrays = {**unigrams().arrays(), **changes}
    return {k: v for k, v in arrays.items() if v is not None}


U = unigrams()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"offsets": None}, "offsets: expected where documents begin with token_logp, got none"),
        ({"token_logp": None}, "token_logp: expected log p of every token"),
        ({"offsets": U.offsets[:-1]}, "offsets: expected 41 for 40 documents, got 40"),
        ({"offsets": np.r_[U.offsets[:-2], U.offsets[-3:-2], U.offsets[-1:]]}, "in every document"),
        ({"token_logp": -U.logp}, r"of at most 0, got .*; save their negative"),
        (
            {"token_logp": np.where(U.logp < -3, np.nan, U.logp)},
            "expected finite values, got nan at",
        ),
        ({"token_first": 2 * U.first}, "token_first: expected 0 and 1"),
        ({"token_std": U.std[:, :-1]}, r"token_std: expected shape \(8, checkpoints, "),
        ({"token_std": U.std[:, None].repeat(2, 1)}, "tokens at the same checkpoints"),
        ({"zlib": np.zeros(40, int), "texts": None}, "zlib: expected the bytes"),
        ({"texts": np.array(["a"])}, "texts: expected one for each of 40"),
        ({"labels": np.zeros(40, int)}, "labels: expected none with the task language"),
        ({"task": np.array("binary")}, "expected language with signals of tokens, got binary"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    changes: dict[str, Any], match: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=match) as told:
        import_run(broken(**changes), tmp_path / "run")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()
