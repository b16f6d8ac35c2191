"""Weights of a user's file: what fits is loaded, what does not is said, nothing is unpickled."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from seepage.errors import InputError
from seepage.single import load_weights


class Boom:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must never run",)


def _net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "prefix", "two prefixes"])
def test_weights_of_torch_files_fit(tmp_path: Path, wrap: str) -> None:
    net, path = _net(), tmp_path / "w.pt"
    state: dict[str, object] = dict(net.state_dict())
    if wrap == "state_dict":
        state = {"epoch": 3, "state_dict": state}
    elif wrap == "prefix":
        state = {f"module.{k}": v for k, v in state.items()}
    elif wrap == "two prefixes":
        state = {"state_dict": {f"model._orig_mod.{k}": v for k, v in state.items()}}
    torch.save(state, path)
    loaded = load_weights(_net(), path)
    assert all(bool((v == net.state_dict()[k]).all()) for k, v in loaded.state_dict().items())


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    state = dict(_net().state_dict())
    del state["2.weight"]
    safetensors.torch.save_file(state | {"head.bias": torch.zeros(2)}, path)
    with pytest.raises(InputError, match=r"1 missing, the first '2.weight', and 1 unexpected, the first 'head.bias'"):  # fmt: skip
        load_weights(_net(), path)
    safetensors.torch.save_file(_net().state_dict() | {"2.weight": torch.zeros(2, 5)}, path)
    with pytest.raises(InputError, match=r"2.weight of shape \(2, 4\), got \(2, 5\)"):
        load_weights(_net(), path)
    safetensors.torch.save_file(_net().state_dict() | {"2.bias": torch.full((2,), torch.nan)}, path)
    with pytest.raises(InputError, match=r"finite weights, got NaN or infinity in '2\.bias'"):
        load_weights(_net(), path)


def test_pickles_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("w.pt", "w.ckpt"):
        torch.save({"state_dict": _net().state_dict(), "own": Boom()}, tmp_path / name)
        with pytest.raises(InputError, match="nothing is unpickled"):
            load_weights(_net(), tmp_path / name)
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(Boom()))
    with pytest.raises(InputError, match=r"expected \.safetensors, or a torch file"):
        load_weights(_net(), tmp_path / "w.pkl")
    (tmp_path / "w.pkl").rename(tmp_path / "raw.pt")
    with pytest.raises(InputError, match="nothing is unpickled"):
        load_weights(_net(), tmp_path / "raw.pt")
    assert "never run" not in capfd.readouterr().out


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_weights(_net(), tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="expected safetensors"):
        load_weights(_net(), tmp_path / "bad.safetensors")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="names and tensors"):
        load_weights(_net(), tmp_path / "list.pt")
    with pytest.raises(InputError, match=r"expected a torch\.nn\.Module"):
        load_weights(object(), tmp_path / "list.pt")  # type: ignore[arg-type]
