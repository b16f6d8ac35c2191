"""Runs and scores as Ray tasks on a local cluster; nothing here is simulated."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from seepage import attacks
from seepage.errors import InputError
from seepage.fleet.ray_executor import Distributed, cluster
from seepage.plan import half_split
from seepage.record import Recorder
from tiny_fleet import contents, fleet, importable

KEPT = ("signals", "plan", "data", "weights")


pytest.importorskip("ray", reason="the extra seepage[ray] is not installed")


def example(seed: int = 0, models: int = 12, samples: int = 30) -> tuple[dict, np.ndarray]:
    rng = np.random.default_rng(seed)
    member = half_split(samples, models=models, seed=seed).member
    phi = rng.normal(size=(models, samples, 1)) + member[..., None]
    return {
        "phi": phi, "loss": np.log1p(np.exp(-phi)), "mentr": np.exp(-phi),
        "correct": (phi > 0).astype(np.float64), "curvature": np.exp(-phi),
        "curvature_trace": np.exp(-phi),
    }, member  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> object:
    with cluster(None, 2) as ray:
        yield ray


@pytest.mark.slow
def test_runs_are_the_same_bits_as_those_of_local_workers(trained: Path, tmp_path: Path) -> None:
    run = fleet(tmp_path / "run", executor="ray", workers=2)
    assert run.models.tolist() == [0, 1, 2, 3]
    assert contents(tmp_path / "run", *KEPT) == contents(trained, *KEPT)


@pytest.mark.slow
def test_a_killed_ray_worker_costs_its_run_only(trained: Path, tmp_path: Path) -> None:
    flag = tmp_path / "died"
    third = int(half_split(48, models=4, seed=1).seeds[2]) % 2**63

    def dies_once() -> nn.Module:
        if torch.initial_seed() == third and not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

    fleet(tmp_path / "run", model=dies_once, executor="ray", workers=2)
    assert flag.exists()
    assert contents(tmp_path / "run", *KEPT) == contents(trained, *KEPT)


@pytest.mark.slow
def test_a_training_function_is_tried_on_a_worker(tmp_path: Path) -> None:
    def looped(follows: bool) -> Callable[..., nn.Module]:
        def train(members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
            import ray

            # Of the process that drives the fleet it is none.
            (tmp_path / str(ray.get_runtime_context().get_task_id())).touch()
            torch.manual_seed(seed % 2**63)
            net = importable()
            recorder.start(net, epochs=2)
            rows = members if follows else np.arange(20)
            for _ in range(2):
                labels = recorder.pool.labels[torch.from_numpy(rows)]
                loss = nn.functional.cross_entropy(net(recorder.inputs(rows)), labels)
                loss.backward()
                with torch.no_grad():
                    for p in net.parameters():
                        p -= 0.1 * p.grad
                        p.grad = None
                recorder.epoch_end()
            return net

        return train

    with pytest.raises(InputError, match="to train on"):
        fleet(tmp_path / "wrong", function=looped(False), executor="ray", checkpoints=[2])
    assert not (tmp_path / "wrong").exists()
    assert (tried := {p.name for p in tmp_path.iterdir()})
    assert "None" not in tried
    run = fleet(tmp_path / "run", function=looped(True), executor="ray", checkpoints=[2])
    assert run.manifest["provenance"]["function_check"]["members"] == "obeyed"
    assert run.models.tolist() == [0, 1, 2, 3]


@pytest.mark.slow
def test_errors_are_the_users_or_ours(tmp_path: Path) -> None:
    def wrong() -> nn.Module:
        if torch.initial_seed() != 0:
            raise InputError("model: expected something else")
        return importable()

    with pytest.raises(InputError, match="model: expected something else"):
        fleet(tmp_path / "run", model=wrong, executor="ray")


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack", [attacks.LiRA(variance=attacks.PerSample()), attacks.LiRA(), attacks.RMIA()]
)
def test_scores_over_blocks_are_the_attacks_own(attack: attacks.Attack) -> None:
    signals, member = example()
    spread = Distributed(attack, blocks=5)
    assert (spread.name, spread.requires) == (attack.name, attack.requires)
    np.testing.assert_allclose(
        spread.leave_one_out(signals, member), attack.leave_one_out(signals, member),
        rtol=1e-9, atol=1e-9,
    )  # fmt: skip


@pytest.mark.slow
def test_an_address_where_nothing_listens() -> None:
    import ray

    ray.shutdown()
    with (
        pytest.raises(InputError, match=r"expected a Ray cluster at 127.0.0.1:1, got"),
        cluster("127.0.0.1:1"),
    ):
        pass


@pytest.mark.slow
def test_own_functions_and_estimators_are_the_same_bits_as_in_this_process(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    import seepage
    from tiny_fleet import table

    data = table()

    def loop(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
        torch.manual_seed(seed % 2**63)
        model = importable()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        recorder.start(model, epochs=2)
        for _ in range(2):
            optimizer.zero_grad()
            nn.functional.cross_entropy(
                model(data.inputs[members]), data.labels[members]
            ).backward()
            optimizer.step()
            recorder.epoch_end()
        return model

    fitted = seepage.sklearn.fit(LogisticRegression())
    for name, function, times in (("loop", loop, [0, 2]), ("fitted", fitted, "log")):
        for executor in ("ray", "inline"):
            out = tmp_path / name / executor
            run = fleet(out, function=function, executor=executor, checkpoints=times)
            assert run.models.tolist() == [0, 1, 2, 3]
        a, b = (contents(tmp_path / name / x, "signals", "plan") for x in ("ray", "inline"))
        assert a == b


@pytest.mark.slow
def test_what_an_own_function_raises_on_ray_is_told(tmp_path: Path) -> None:
    import seepage
    from seepage.fleet import FleetError

    def broken(members: np.ndarray, seed: int, recorder: seepage.Recorder) -> nn.Module:
        raise RuntimeError("no such optimiser")

    own = seepage.Function(function=broken, check=False)
    with pytest.raises(FleetError, match=r"(?s)Traceback.*no such optimiser"):
        fleet(tmp_path / "run", function=own, executor="ray", checkpoints=[0, 2])
