"""The arithmetic of an audit's cost, and the rates that a few real steps give."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier

import seepage
from seepage.attacks import LOSS
from seepage.config import Execution, Function, Recipe, Record
from seepage.config.model import as_model
from seepage.errors import InputError
from seepage.fleet.cost import Rates, Workload, estimate, interval_width, measure, workload
from seepage.metrics import sample_auc
from seepage.plan import half_split
from tiny_fleet import FACTORY, RECIPE, table


def test_parts_by_hand() -> None:
    work = Workload(
        samples=1000, models=5, checkpoints=3, epochs=4, batch=100, input_bytes=10,
        signal_bytes=13, parameters=7, kept=2,
    )  # fmt: skip
    assert work.steps == 4 * 5
    rates = Rates(step=0.1, look=0.001, start=2.0, score_all=1e-3, score_main=1e-4, worker_bytes=50)
    cost = estimate(work, rates, workers=2)
    # Five runs on two workers take three turns.
    assert cost.seconds == pytest.approx(
        {
            "start": 2.0,
            "training": 3 * 20 * 0.1,
            "evaluation": 3 * 3 * 1.0,
            "scoring": 5000 * 1.3e-3,
        }
    )
    assert cost.disk == {"signals": 5 * 3 * 1000 * 13, "weights": 5 * 2 * 7 * 4, "plan": 5000}
    assert cost.memory["data"] == 10_000
    assert cost.total_seconds == pytest.approx(2 + 6 + 9 + 6.5)
    assert cost.peak_memory >= 10_000 + 2 * 50


def test_imagenet_on_sixteen_devices_takes_a_sixteenth() -> None:
    work = Workload(samples=1_281_167, models=64, checkpoints=50, epochs=90, batch=256)
    rates = Rates(step=0.1, look=1e-4)
    one, sixteen = (estimate(work, rates, w) for w in (1, 16))
    assert one.seconds["training"] == pytest.approx(16 * sixteen.seconds["training"])
    assert one.disk == sixteen.disk
    assert one.disk["signals"] == 1_281_167 * 64 * 50 * 17


@pytest.mark.parametrize(("inside", "outside"), [(4, 4), (16, 16), (16, 48), (64, 64)])
def test_the_width_is_that_of_a_sample_that_hardly_leaks(inside: int, outside: int) -> None:
    rng = np.random.default_rng(0)
    member = np.arange(inside + outside)[:, None] < np.full(400, inside)
    found = sample_auc(rng.normal(size=member.shape), member)
    near = np.abs(found.auc - 0.5) < 0.05
    typical = float(np.median((found.high - found.low)[near]))
    assert interval_width(inside, outside) == pytest.approx(typical, rel=0.1)


def test_no_workers() -> None:
    with pytest.raises(InputError, match="workers: expected at least 1, got 0"):
        estimate(Workload(10, 2, 1, 1), Rates(1.0, 1.0), workers=0)


def test_rates_of_a_few_real_steps() -> None:
    data, recipe = table(), Recipe(**RECIPE | {"epochs": 5})
    plan = half_split(len(data), models=6, seed=1)
    model = as_model(FACTORY)
    # Later than the short runs that are timed.
    record = Record(signals=("phi", "correct"), checkpoints=(0, 5), keep="all")
    execution = Execution(workers=2, device="cpu")
    rates, workers = measure(
        data, plan, recipe, (LOSS(),), model=model, record=record, execution=execution
    )
    assert workers == 2
    assert 0 < rates.step < 1
    assert 0 < rates.look < 1
    assert rates.score_all == rates.score_main > 0
    assert rates.worker_bytes > 2**20
    work = workload(data, plan, recipe, model, record)
    assert (work.samples, work.models, work.checkpoints, work.kept) == (48, 6, 2, 2)
    assert work.signal_bytes == 5
    assert work.parameters == 4 * 8 + 8 + 8 * 3 + 3


def test_a_recipe_under_which_every_run_diverges() -> None:
    data, recipe = table(), Recipe(**RECIPE | {"lr": 1e30})
    with pytest.raises(InputError, match=r"expected runs that converge, got .* not finite at step"):
        measure(
            data,
            half_split(len(data), models=4),
            recipe,
            model=as_model(FACTORY),
            execution=Execution(workers=1, device="cpu"),
        )


def test_of_an_estimator_one_fit_to_half_of_the_pool_is_a_step() -> None:
    """It can be asked where it says, whatever the short run of a network would be asked at."""
    data, recipe = table(), Recipe(**RECIPE)
    plan = half_split(len(data), models=6, seed=1)
    boosted = GradientBoostingClassifier(n_estimators=3)
    function = Function(function=seepage.sklearn.fit(boosted, stages=[1, 3]))
    record, execution = Record(signals=("phi",)), Execution(workers=1, device="cpu")
    rates, _ = measure(
        data, plan, recipe, record=record, execution=execution, function=function, model="mlp"
    )
    assert rates.step > 0
    work = workload(data, plan, recipe, "mlp", record, function)
    assert (work.steps, work.checkpoints, work.parameters, work.kept) == (1, 2, 0, 0)
    with pytest.raises(InputError, match=r"record.checkpoints: expected some of 1, 3"):
        workload(data, plan, recipe, "mlp", Record(checkpoints=(0, 1)), function)
