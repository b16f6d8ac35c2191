"""Attacks bound to what a run holds: which signals, which population, what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from oracles import leaking_signals
from seepage import attacks, scoring
from seepage.attacks.base import AttackError
from seepage.attacks.binding import ReadOnce, bind, inputs, lacks, signals_at
from seepage.attacks.population import chosen
from seepage.errors import InputError
from seepage.plan import half_split
from seepage.plane import GlobalFPR, trajectories
from seepage.signals import SIGNALS
from seepage.signals.traces import loss_iqr


class Held:
    """A run as binding sees it."""

    def __init__(self, models: int = 8, samples: int = 30, **signals: Any) -> None:
        self.member = half_split(samples, models=models, seed=0).member
        self.checkpoints = np.array([0.0, 5.0])
        self.labels = np.arange(samples) % 3
        self.manifest: dict[str, Any] = {"views": ["identity"]}
        self.values = signals
        self.reads: list[str] = []

    @property
    def signals(self) -> tuple[str, ...]:
        return tuple(self.values)

    def signal_at(self, name: str, t: int, /) -> np.ndarray:
        self.reads.append(name)
        return self.values[name]


def logits(models: int = 8, samples: int = 30) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (3 * rng.normal(size=(models, samples, 3))).astype(np.float32)


@pytest.mark.parametrize("name", ["phi", "loss", "correct", "mentr", "entropy"])
def test_what_follows_from_logits_is_what_would_have_been_recorded(name: str) -> None:
    source = Held(logits=logits())
    found = signals_at(source, [name], -1)[name]
    y = torch.from_numpy(source.labels)
    want = [SIGNALS[name](torch.from_numpy(z), y).float().numpy() for z in source.values["logits"]]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.stack(want))


def test_every_attack_on_signals_runs_on_logits_alone() -> None:
    held = leaking_signals(np.random.default_rng(0), Held().member, 1)
    plain = Held(**{k: v[..., 0] for k, v in held.items() if k in SIGNALS})
    source = Held(logits=logits())
    for name in ("lira", "rmia", "loss", "mentr", "shadow-classifier"):
        attack = attacks.get(name)
        assert lacks(attack, source) is None
        assert lacks(attack, plain) is None
        assert attack.leave_one_out(inputs(attack, source), source.member).shape == (8, 30)


def test_logits_are_one_view() -> None:
    source = Held(logits=logits())
    source.manifest["views"] = ["identity", "flip"]
    assert lacks(attacks.LOSS(), source) is None
    assert lacks(attacks.AttackR(), source) is None
    why = lacks(attacks.LiRA(), source)
    assert why == (
        "needs phi, which was not recorded; it is read at every view, and logits are those of the "
        "first"
    )


def test_logits_of_fewer_classes_than_labels_are_refused() -> None:
    source = Held(logits=logits()[..., :2])
    with pytest.raises(InputError, match="a column for each of the labels 0 to 2"):
        inputs(attacks.LOSS(), source)


@pytest.mark.parametrize(
    ("attack", "signals", "says"),
    [
        (attacks.LiRA(), {"loss": 0}, "needs phi, which was not recorded; record it, or the"),
        (attacks.LOSS(), {"scores": 0}, "; rename `scores` to `phi` if these are LiRA's logit-sc"),
        (attacks.Entropy(), {"phi": 0}, "entropy, .* record it, or the logits with record.logits"),
        (attacks.CurvatureLR(), {"phi": 0}, 'curvature_zo, .* set record.curvature = "zeroth-'),
        (attacks.CurvatureLR("curvature_trace"), {"phi": 0}, 'set record.curvature = "exact"'),
        (attacks.RMIA(population=attacks.Untrained()), {"loss": 0}, "no run trained on, got 0"),
    ],
)
def test_what_is_missing_is_said(attack: attacks.Attack, signals: Any, says: str) -> None:
    source = Held(**signals)
    why = lacks(attack, source)
    assert why is not None
    assert "\n" not in why
    with pytest.raises(InputError, match=says):
        inputs(bind(attack, source), source)


def test_too_few_models_are_counted() -> None:
    source = Held(models=4, phi=0)
    assert lacks(attacks.LiRA(), source) == (
        "needs at least 2 IN and 2 OUT references for every sample, got 1 and 1 from 4 models; "
        "train more models, at least 6 of half_split"
    )
    assert lacks(attacks.LiRA(), Held(models=6, phi=0)) is None
    assert lacks(attacks.RMIA(), Held(models=4, loss=0)) is None


def test_curvature_that_was_recorded_is_read() -> None:
    source = Held(phi=0, curvature_trace=0, curvature_frobenius=0)
    bound = bind(attacks.CurvatureAndConfidence(), source)
    assert bound.requires == ("phi", "curvature_frobenius")
    assert bound.title == "Curvature and confidence (frobenius)"
    assert (bound.access, attacks.CurvatureLR().access) == ("weights", "scores")
    assert bind(attacks.CurvatureLR(), Held(phi=0)).requires == ("curvature_zo",)


def test_the_untrained_population_is_what_no_run_saw() -> None:
    source = Held(loss=np.abs(np.random.default_rng(0).normal(size=(8, 30))))
    source.member[:, [3, 7, 21]] = False
    for kind in (attacks.RMIA, attacks.RMIAOffline, attacks.AttackP):
        bound = bind(kind(population=attacks.Untrained()), source)
        np.testing.assert_array_equal(bound.population, [3, 7, 21])
        assert bind(bound, source) is bound
    with pytest.raises(InputError, match="is known only with a run"):
        chosen(attacks.Untrained(), 30)
    # A run that failed trained on its members all the same.
    planned = source.member.copy()
    planned[0, 3] = True
    source.plan_member = planned  # type: ignore[attr-defined]
    np.testing.assert_array_equal(
        bind(attacks.AttackP(population=attacks.Untrained()), source).population, [7, 21]
    )


def test_a_source_that_does_not_tell_what_it_holds_is_taken_at_its_word() -> None:
    class Bare:
        member = Held().member
        checkpoints = np.array([0.0])

        def signal_at(self, name: str, t: int, /) -> np.ndarray:
            return np.full((8, 30), 0.5)

    assert lacks(attacks.LiRA(), Bare()) is None
    assert set(inputs(attacks.LiRA(), Bare(), also=("loss",))) == {"phi", "loss"}


def test_a_checkpoint_that_was_not_measured_is_named() -> None:
    source = Held(curvature_zo=np.full((8, 30), np.nan))
    with pytest.raises(InputError, match="curvature_zo: was not measured at epoch 5; choose"):
        inputs(attacks.CurvatureLR(), source)


def test_several_attacks_read_a_signal_once() -> None:
    held = Held(loss=np.ones((8, 30)))
    source = ReadOnce(held)
    for attack in (attacks.LOSS(), attacks.RMIA()):
        inputs(attack, source, -1)
    assert (held.reads, source.signals) == (["loss"], ("loss",))
    inputs(attacks.LOSS(), source, 0)
    assert held.reads == ["loss", "loss"]


@dataclass(frozen=True, eq=False)
class Broken(attacks.Attack):
    out: Any = None

    name: ClassVar[str] = "broken"
    title: ClassVar[str] = "Broken"

    def run(self, target: Any, references: Any, member: Any) -> Any:
        return self.out


@pytest.mark.parametrize(
    ("out", "says"),
    [
        (np.zeros(3), r"broken: expected scores of shape \(30,\), got \(3,\); fix Broken"),
        (np.full(30, np.nan), "broken: expected scores that are numbers, got 30 NaN; fix Broken"),
        (np.zeros(30, complex), "broken: expected real numbers as scores, got complex128"),
    ],
)
def test_an_attack_that_breaks_its_contract_is_named(out: Any, says: str) -> None:
    phi, member = np.zeros((8, 30)), Held().member
    with pytest.raises(AttackError, match=says):
        Broken(out).score(phi[0], phi, member)


def test_ranks_and_labels_become_float64() -> None:
    phi, member = np.zeros((8, 30)), Held().member
    assert Broken(np.arange(30)).score(phi[0], phi, member).dtype == np.float64


class Trained(Held):
    """A run whose signals differ from checkpoint to checkpoint, (T, R, N) each."""

    def signal_at(self, name: str, t: int, /) -> np.ndarray:
        return self.values[name][t]


def trained(checkpoints: int = 3) -> Trained:
    rng = np.random.default_rng(0)
    source = Trained(loss=rng.gamma(2.0, size=(checkpoints, 8, 30)))
    source.checkpoints = np.array([0.0, 1.0, 5.0, 6.0])[:checkpoints]
    return source


@pytest.mark.parametrize("t", [0, 1, 2, -1])
def test_a_trajectory_is_every_checkpoint_so_far(t: int) -> None:
    source = trained()
    bound = bind(attacks.LossTraceIQR(), source)
    read = inputs(bound, source, t)["loss"]
    so_far = source.values["loss"][: 3 + t + 1 if t < 0 else t + 1]
    np.testing.assert_array_equal(read, np.moveaxis(so_far, 0, 2))
    want = loss_iqr(np.moveaxis(so_far, 0, 1), source.checkpoints[: len(so_far)])
    np.testing.assert_allclose(bound.leave_one_out(read, source.member), want)
    np.testing.assert_array_equal(scoring.score(source, attacks.LossTraceIQR(), t), want)


def test_a_trajectory_is_followed_over_training() -> None:
    source = trained(4)
    path = trajectories(source, attack=attacks.LossTraceIQR(), rule=GlobalFPR(0.1))
    assert path.fpr.shape == (4, 30)


def test_one_checkpoint_is_no_trajectory() -> None:
    source = trained(1)
    why = lacks(attacks.LossTraceIQR(), source)
    assert why == (
        "lt-iqr: needs several checkpoints of training, and one was recorded; set record.checkpoints"
    )
    with pytest.raises(InputError, match="does not read at all of them, got loss"):
        inputs(attacks.LossTraceIQR(), trained(), also=("loss",))
    with pytest.raises(InputError, match="expected one of each of the 3 checkpoints, got 2"):
        attacks.LossTraceIQR(epochs=(0, 1)).score(
            *(inputs(attacks.LossTraceIQR(), trained())["loss"][r] for r in (0, slice(2, 8))),
            trained().member[2:],
        )


def test_a_trajectory_has_views() -> None:
    source = trained()
    loss = np.stack([source.values["loss"]] * 2, axis=-1)
    read = np.moveaxis(loss, 0, 2)
    assert read.shape == (8, 30, 3, 2)
    with_views = attacks.LossTraceIQR().leave_one_out(read, source.member)
    plain = attacks.LossTraceIQR().leave_one_out(read[..., 0], source.member)
    np.testing.assert_array_equal(with_views, plain)


@dataclass(frozen=True, eq=False)
class PerClass(attacks.Attack):
    """Reads labels beside a trajectory."""

    name: ClassVar[str] = "per-class"
    title: ClassVar[str] = "Per class"
    requires: ClassVar[tuple[str, ...]] = ("loss", "labels")
    trajectory: ClassVar[bool] = True

    def run(self, target: Any, references: Any, member: Any) -> Any:
        assert target["loss"].shape[1:] == (3, 1)
        assert references["labels"].shape == (*member.shape, 1)
        return target["labels"][:, 0] * 1.0


def test_labels_are_read_with_a_run_and_have_no_checkpoints() -> None:
    source = trained()
    scores = scoring.score(source, PerClass())
    np.testing.assert_array_equal(scores, np.tile(source.labels, (8, 1)))
    source.manifest["key"] = {"imported": "arrays", "labels": False}
    assert lacks(PerClass(), source) == "needs the labels, which were not imported"
    for kind in (attacks.AttackS, attacks.PMIA, attacks.PrivacyRiskScore):
        assert not bind(kind(), source).by_class
        assert "labels" not in bind(kind(), source).requires
        assert bind(kind(), trained()).by_class
    source.manifest = {"data": {"task": "regression"}}
    assert lacks(PerClass(), source) == (
        "needs the class of every sample, which regression does not have"
    )
