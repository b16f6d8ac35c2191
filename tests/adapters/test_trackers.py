"""Figures of each checkpoint reach TensorBoard, MLflow and W&B by their own interfaces."""

from __future__ import annotations

import csv
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import mlflow
import numpy as np
import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.adapters import test_lightning as lit
from tests.adapters import test_transformers as hf
from torch.utils.tensorboard import SummaryWriter

import seepage
from seepage.plane import Monitor
from seepage.record import Memory, Recorder, Resident, Watching
from seepage.transformers import watch

TIMES = [0.0, 1.0, 3.0]
WANTED = ["auc", "gap", "member_accuracy", "member_loss", "nonmember_accuracy", "nonmember_loss"]


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    # Its database needs more than mlflow-skinny brings.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    mlflow.set_tracking_uri(f"file:{tmp_path}/mlruns")  # which it remembers


def written(folder: Path, prefix: str) -> dict[str, list[float]]:
    """Values by name from TensorBoard's own files."""
    found: dict[str, list[float]] = {}
    for place in {p.parent for p in folder.rglob("events.out.*")}:
        events = EventAccumulator(str(place))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            if tag.startswith(prefix):
                found[tag.removeprefix(prefix)] = [e.value for e in events.Scalars(tag)]
    return found


def by_hand(memory: Memory, member: np.ndarray) -> dict[str, list[float]]:
    """The same from what was recorded."""
    inside = [v["loss"][member].mean() for v in memory.values.values()]
    outside = [v["loss"][~member].mean() for v in memory.values.values()]
    return {
        "auc": [seepage.metrics.auc(-v["loss"], member) for v in memory.values.values()],
        "gap": [o - i for i, o in zip(inside, outside, strict=True)],
        "member_loss": inside,
        "nonmember_loss": outside,
        "member_accuracy": [v["correct"][member].mean() for v in memory.values.values()],
        "nonmember_accuracy": [v["correct"][~member].mean() for v in memory.values.values()],
    }


def same(found: dict[str, list[float]], wanted: dict[str, list[float]]) -> None:
    assert sorted(found) == WANTED
    for name in WANTED:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-6, err_msg=name)


def fitted(folder: Path, logger: Any) -> dict[str, list[float]]:
    look, memory = lit.recorder(TIMES)
    recording = seepage.lightning.callback(look, member=lit.MEMBER)
    lightning.seed_everything(7, verbose=False)
    lightning.Trainer(
        max_epochs=3, accelerator="cpu", devices=1, callbacks=[recording], logger=logger,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder,
    ).fit(lit.Module(), lit.batches())  # fmt: skip
    return by_hand(memory, lit.MEMBER)


def test_tensorboard_by_lightning(tmp_path: Path) -> None:
    wanted = fitted(tmp_path, TensorBoardLogger(tmp_path / "tb"))
    same(written(tmp_path / "tb", "seepage/"), wanted)


def test_csv_by_lightning(tmp_path: Path) -> None:
    wanted = fitted(tmp_path, CSVLogger(tmp_path / "csv"))
    (file,) = tmp_path.rglob("metrics.csv")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    found = {n: [float(r[f"seepage/{n}"]) for r in rows if r.get(f"seepage/{n}")] for n in WANTED}
    same(found, wanted)


def test_mlflow_by_lightning(tmp_path: Path) -> None:
    logger = MLFlowLogger("lightning", tracking_uri=f"file:{tmp_path}/mlruns")
    wanted = fitted(tmp_path, logger)
    client = mlflow.MlflowClient(f"file:{tmp_path}/mlruns")
    histories = {n: client.get_metric_history(logger.run_id, f"seepage/{n}") for n in WANTED}
    same({n: [m.value for m in h] for n, h in histories.items()}, wanted)


def test_wandb_by_lightning(tmp_path: Path) -> None:
    logger = WandbLogger(project="seepage", save_dir=tmp_path, offline=True)
    wanted = fitted(tmp_path, logger)
    last = {n: float(logger.experiment.summary[f"seepage/{n}"]) for n in WANTED}
    wandb.finish()
    same({n: [v] for n, v in last.items()}, {n: v[-1:] for n, v in wanted.items()})


def test_tensorboard_by_the_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "tb"))
    look, memory = hf.recorder(TIMES)
    made = hf.trainer(tmp_path / "out", report_to=["tensorboard"])
    watch(made, look, member=hf.MEMBER)
    made.train()
    wanted = by_hand(memory, hf.MEMBER)
    same(written(tmp_path / "tb", "train/seepage/"), wanted)
    told = [row for row in made.state.log_history if "seepage/auc" in row]
    np.testing.assert_allclose([row["seepage/auc"] for row in told], wanted["auc"])


def test_a_plain_loop(tmp_path: Path) -> None:
    """As the page has it: TensorBoard's writer, MLflow and W&B take the same figures."""
    memory, monitor = Memory(), Monitor()
    look = Recorder(
        Resident.of(lit.DATA), TIMES[:1], Watching(monitor, lit.MEMBER, TIMES[:1], into=memory)
    )
    look.start(lit.Module())
    figures = {f"seepage/{k}": v for k, v in asdict(monitor.history[-1]).items() if k != "epoch"}
    with SummaryWriter(str(tmp_path / "tb")) as writer:
        for name, value in figures.items():
            writer.add_scalar(name, value, 0)
    same(written(tmp_path / "tb", "seepage/"), by_hand(memory, lit.MEMBER))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mlflow.start_run() as run:
            mlflow.log_metrics(figures, step=0)
        assert mlflow.get_run(run.info.run_id).data.metrics == pytest.approx(figures)
    tracked = wandb.init(project="seepage", dir=tmp_path, mode="offline")
    tracked.log(figures)
    assert tracked.summary["seepage/auc"] == pytest.approx(figures["seepage/auc"])
    tracked.finish()


def test_mlflow_by_the_trainer(tmp_path: Path) -> None:
    look, memory = hf.recorder(TIMES)
    made = hf.trainer(tmp_path / "out", report_to=["mlflow"], run_name="trainer")
    watch(made, look, member=hf.MEMBER)
    made.train()
    run = mlflow.last_active_run()
    mlflow.end_run()
    client = mlflow.MlflowClient(f"file:{tmp_path}/mlruns")
    held = {n: client.get_metric_history(run.info.run_id, f"seepage/{n}") for n in WANTED}
    same({n: [m.value for m in h] for n, h in held.items()}, by_hand(memory, hf.MEMBER))


def test_wandb_by_the_trainer(tmp_path: Path) -> None:
    look, memory = hf.recorder(TIMES)
    made = hf.trainer(tmp_path / "out", report_to=["wandb"])
    watch(made, look, member=hf.MEMBER)
    made.train()
    last = {n: [float(wandb.run.summary[f"train/seepage/{n}"])] for n in WANTED}
    wandb.finish()
    same(last, {n: v[-1:] for n, v in by_hand(memory, hf.MEMBER).items()})
