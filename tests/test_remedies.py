"""What is passed by mistake: one line each, which names the thing that helps."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import seepage
from seepage import lightning
from seepage.data import from_arrays
from seepage.errors import InputError

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
Y = np.arange(40) % 2
NAMES = np.array(["no", "yes"])[Y]
DATA = from_arrays(X, Y)
PLAN = seepage.half_split(40, models=4)
PAIRS = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
TREE = DecisionTreeClassifier().fit(X, NAMES)


class Tokens(nn.Module):
    """As models of Transformers are: the logits of tokens and a mask."""

    main_input_name = "input_ids"
    config = None


class Pipeline:
    """As Transformers': called with texts it gives names and scores."""

    def __call__(self, texts: Any) -> list[dict[str, Any]]:
        return [{"label": "yes", "score": 0.9} for _ in texts]


Pipeline.__module__ = "transformers.pipelines.base"


class Booster:
    """As XGBoost's: neither an estimator nor a function."""


Booster.__module__ = "xgboost.core"


class Hollow(nn.Module):
    """Without a forward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 2)


def audited(model: Any, labels: Any = Y, **options: Any) -> Callable[[Path], Any]:
    return lambda out: seepage.audit(model, (X[:20], labels[:20]), (X[20:], labels[20:]), **options)


def trained(data: Any = DATA, plan: Any = PLAN, **options: Any) -> Callable[[Path], Any]:
    return lambda out: seepage.train(data, plan, out=out / "run", **options)


def imported(members: Any) -> Callable[[Path], Any]:
    def call(out: Path) -> Any:
        (out / "nets").mkdir()
        torch.save(nn.Linear(3, 2).state_dict(), out / "nets" / "a.pt")
        return seepage.import_checkpoints(
            out / "nets", out / "run", model=lambda: nn.Linear(3, 2), data=DATA, members=members
        )

    return call


MISTAKES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a model of Transformers": (audited(Tokens()), "seepage.transformers.Logits(model)"),
    "a pipeline of Transformers": (
        audited(type("TextClassificationPipeline", (Pipeline,), {})(), NAMES),
        "pass seepage.transformers.Logits(pipeline.model), and texts as seepage.transformers.pool(",
    ),
    "a Booster": (audited(Booster()), "XGBClassifier()"),
    "weights": (audited(nn.Linear(3, 2).state_dict()), "net.load_state_dict(weights)"),
    "a name": (audited("net.py:make"), "seepage audit file.py:make"),
    "a class of networks": (audited(nn.Linear), "Linear() and its weights"),
    "a class of estimators": (audited(DecisionTreeClassifier), "DecisionTreeClassifier().fit"),
    "a module without forward": (audited(Hollow()), "module.net"),
    "text labels of a function": (audited(TREE.predict_proba, NAMES), "the estimator itself"),
    "text labels of a network": (audited(nn.Linear(3, 2), NAMES), "searchsorted(model.classes_"),
    "a loader to audit": (
        lambda out: seepage.audit(nn.Linear(3, 2), DataLoader(PAIRS), (X, Y)),
        "seepage.data.from_torch(loader.dataset)",
    ),
    "a loader to read": (
        lambda out: seepage.data.from_torch(DataLoader(PAIRS)),  # type: ignore[arg-type]
        "seepage.data.from_torch(loader.dataset)",
    ),
    "a module of Lightning": (
        lambda out: lightning._part(Hollow(), None),
        "pass its name, network='net'",
    ),
    "a loader to train on": (trained(DataLoader(PAIRS)), "from_torch(loader.dataset)"),
    "a data set of PyTorch": (trained(PAIRS), "seepage.data.from_torch(dataset)"),
    "arrays to train on": (trained((X, Y)), "seepage.data.from_arrays(inputs, labels)"),
    "arrays to load": (lambda out: seepage.load((X, Y)), "seepage.data.from_arrays(inputs"),
    "a name to train on": (trained("digits"), "pass seepage.load(name)"),
    "a matrix as plan": (trained(plan=PLAN.member), "seepage.SubsetPlan(member, seeds="),
    "an estimator as function": (trained(function=TREE), "seepage.sklearn.fit(DecisionTree"),
    "a class as function": (trained(function=DecisionTreeClassifier), "Classifier())"),
    "an estimator as model": (trained(model=TREE), "function=seepage.sklearn.fit("),
    "a network as model": (trained(model=nn.Linear(3, 2)), "the function that made it"),
    "positions as a mask": (
        lambda out: seepage.fixed_target([0, 1, 5, 7], models=2),  # type: ignore[list-item]
        "numpy.isin(numpy.arange(n), positions)",
    ),
    "a mask as positions": (lambda out: DATA.take(Y), "numpy.flatnonzero(mask)"),
    "a mask as whole numbers": (imported({"a": Y}), "save mask.astype(bool)"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered_by_what_helps(name: str, tmp_path: Path) -> None:
    call, remedy = MISTAKES[name]
    with pytest.raises(InputError, match=re.escape(remedy)) as refused:
        call(tmp_path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()
