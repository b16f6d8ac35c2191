"""What helps where an object of another library, or another kind, was passed: one clause each.

Objects are told by the modules and the names of their classes, so that nothing is imported for it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

__all__ = ["is_pipeline", "of_data", "of_model", "of_scores", "reads_tokens"]

# What tools and people call the one number per model and sample that an attack reads.
_SCORES = ("scores", "score", "confidences", "confidence", "stats", "stat")


def of_data(given: Any) -> str:
    """How data of another kind becomes a `seepage.Dataset`.

    >>> of_data(([[0.0]], [1]))
    'pass seepage.data.from_arrays(inputs, labels)'
    """
    names = _names(given)
    if "torch.DataLoader" in names:
        return (
            "pass its data set as seepage.data.from_torch(loader.dataset): batches would be drawn and "
            "shuffled anew"
        )
    if "torch.Dataset" in names:
        return "pass seepage.data.from_torch(dataset)"
    if "datasets.Dataset" in names:
        return "pass seepage.data.from_hugging_face(split, inputs=…, label=…)"
    if isinstance(given, str):
        return "pass seepage.load(name)"
    if names & {"pandas.DataFrame", "polars.DataFrame"}:
        return "pass seepage.data.from_arrays(frame without the label's column, labels)"
    return "pass seepage.data.from_arrays(inputs, labels)"


def of_model(given: Any) -> str:
    """How something that is no model for an audit becomes one.

    >>> of_model({"0.weight": 1})
    'put weights into their network: net.load_state_dict(weights), or --weights of the command'
    """
    names = _names(given)
    if isinstance(given, type):
        call = f"{given.__name__}()"
        if hasattr(given, "fit"):
            return f"pass an object that is fitted, {call}.fit(inputs, labels)"
        return f"pass an object that is trained, not its class: {call} and its weights"
    if "xgboost.Booster" in names:
        return (
            "load it into XGBClassifier(), whose load_model reads what booster.save_model wrote, or pass "
            "a function: lambda x: booster.predict(xgboost.DMatrix(x)), of categorical columns "
            "xgboost.DMatrix(x, enable_categorical=True)"
        )
    if "lightgbm.Booster" in names:
        return "pass its function of inputs to probabilities, booster.predict"
    if isinstance(given, dict):
        return "put weights into their network: net.load_state_dict(weights), or --weights of the command"
    if isinstance(given, str):
        return "pass the model itself; names are for the command, seepage audit file.py:make"
    return "wrap it in a function from a batch of inputs to probabilities"


def of_scores(names: Collection[str]) -> str:
    """What to do where signals were given without phi, one of which may be it: a clause, or nothing.

    >>> of_scores(["scores"])
    "; rename `scores` to `phi` if these are LiRA's logit-scaled confidences"
    >>> of_scores(["loss"])
    ''
    """
    found = [] if "phi" in names else [name for name in names if name.lower() in _SCORES]
    if not found:
        return ""
    return f"; rename `{found[0]}` to `phi` if these are LiRA's logit-scaled confidences"


def reads_tokens(model: Any) -> bool:
    """Whether it is a model of Transformers that takes token numbers and a mask beside them."""
    return getattr(model, "main_input_name", None) == "input_ids" and hasattr(model, "config")


def is_pipeline(model: Any) -> bool:
    """Whether it is a pipeline of Transformers, which answers with lists of names and scores."""
    return "transformers.Pipeline" in _names(model)


def _names(given: Any) -> set[str]:
    """Package and name of every class that it is one of."""
    return {f"{c.__module__.partition('.')[0]}.{c.__name__}" for c in type(given).__mro__}
