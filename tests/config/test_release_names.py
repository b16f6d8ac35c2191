"""Names of variants: each says one release, anything else is refused in one line."""

from __future__ import annotations

import re
from typing import Any

import pytest

from seepage.config.audit import AuditConfig
from seepage.config.prepare import prepare
from seepage.config.release import Variant, as_variant, as_variants
from seepage.errors import InputError
from seepage.models.released import BF16, Int8, Pruned
from seepage.signals.released import LabelOnly, Rounded, Temperature, TopK


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("as-trained", Variant()),
        ("label-only", Variant(outputs=(LabelOnly(),))),
        ("top-5", Variant(outputs=(TopK(5),))),
        ("rounded-0", Variant(outputs=(Rounded(0),))),
        ("temperature-0.5", Variant(outputs=(Temperature(0.5),))),
        ("int8", Variant(weights=(Int8(),))),
        ("bf16", Variant(weights=(BF16(),))),
        ("pruned-0.25", Variant(weights=(Pruned(0.25),))),
        ("pruned-0.5+int8+top-1", Variant((Pruned(0.5), Int8()), (TopK(1),))),
    ],
)
def test_names_and_objects_say_the_same(name: str, variant: Variant) -> None:
    assert as_variant(name) == variant
    assert variant.name == name
    for step in (*variant.weights, *variant.outputs) if "+" not in name else ():
        assert as_variant(step) == variant


@pytest.mark.parametrize(
    "name",
    [
        "",
        "top",
        "top-",
        "top--1",
        "top-1.5",
        "rounded-x",
        "int-8",
        "top-1+",
        "pruned-1e-3",
        "top-²",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="variant: expected one of as-trained") as caught:
        as_variant(name)
    assert "\n" not in str(caught.value)


def test_values_out_of_range_name_the_whole() -> None:
    with pytest.raises(InputError, match=re.escape("variant: 'int8+pruned-2': share: expected")):
        as_variant("int8+pruned-2")


def test_each_once() -> None:
    with pytest.raises(InputError, match="got top-1 twice"):
        as_variants(["top-1", TopK(1)])
    with pytest.raises(InputError, match="each kind of output once"):
        as_variant("top-1+top-2")
    with pytest.raises(InputError, match="each kind of change of weights once"):
        as_variant("int8+" * 5000 + "int8")
    with pytest.raises(InputError, match="each kind of change of weights once"):
        as_variant("pruned-0.5+pruned-0.9")
    with pytest.raises(InputError, match="at least one"):
        as_variants([])
    assert [v.name for v in as_variants("top-1")] == ["top-1"]


def test_what_is_quantised_is_changed_no_more() -> None:
    """Of quantised layers bfloat16 would round weights that nobody holds, and pruning would see none."""
    with pytest.raises(InputError, match=re.escape("write bf16+int8+top-1")):
        as_variant("int8+bf16+top-1")


def test_what_cannot_be_judged_is_refused_before_training() -> None:
    config = {"release": ["top-1", "int8"], "record": {"keep": "none", "logits": True}}
    with pytest.raises(InputError, match="release: int8 is judged on kept weights"):
        prepare(AuditConfig.model_validate(config))
    with pytest.raises(InputError, match="release: expected one of"):
        prepare(AuditConfig.model_validate({"release": ["tpo-1"]}))


@pytest.mark.parametrize(
    ("defense", "refused"),
    [
        ({"name": "hamp"}, True),
        (
            {
                "name": "chain",
                "options": {"parts": ["memguard", "label-smoothing"]},
                "reference": 20,
            },
            True,
        ),
        ({"name": "label-smoothing"}, False),
    ],
)
def test_weights_under_a_defence_of_outputs_are_refused_before_training(
    defense: dict[str, Any], refused: bool
) -> None:
    small = {"data": {"name": "digits", "limit": 60}, "plan": {"models": 8}, "defense": defense}
    attacks = {"names": ["loss"], "main": "loss"}
    for released, keep, logits in (("int8", "final", True), ("top-1", "final", False)):
        told = {
            "release": [released],
            "record": {"keep": keep, "logits": logits},
            "attacks": attacks,
        }
        config = AuditConfig.model_validate(small | told)
        if refused:
            with pytest.raises(InputError, match=f"release: {released} .* which changes outputs"):
                prepare(config)
        else:
            prepare(config)
    both = {"release": ["top-1"], "record": {"keep": "final", "logits": True}, "attacks": attacks}
    prepare(AuditConfig.model_validate(small | both))
