"""What a run is known by: every change of training is noticed, nothing else strands a run."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seepage
from seepage import defenses
from seepage.errors import InputError
from seepage.fleet import ProvenanceWarning
from seepage.fleet.identity import differing
from seepage.fleet.user_code import follow
from seepage.record import Recorder
from tiny_fleet import contents, fleet

Given = Callable[[], dict[str, Any]]


class Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.scale


class Borrowing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(operations.activation(self.first(x)))
        return out


operations = types.ModuleType("operations")
RATE = 0.1
POOL = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")


def core(
    members: np.ndarray, seed: int, recorder: Recorder, rate: float = 0.1, data: Any = None
) -> nn.Module:
    torch.manual_seed(seed % 2**63)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), rate)
    x = torch.from_numpy(POOL[members] if data is None else data[members])
    recorder.start(model)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), torch.zeros(len(x), dtype=torch.int64)).backward()
        optimizer.step()
        recorder.epoch_end()
    return model


def closure(rate: float) -> Callable[..., nn.Module]:
    def train(members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
        return core(members, seed, recorder, rate=rate)

    return train


def reads_global(members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
    return core(members, seed, recorder, rate=RATE)


class Loop:
    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
        return core(members, seed, recorder, rate=self.rate)

    def by_name(self, members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
        return self(members, seed, recorder)


def with_global(rate: float) -> dict[str, Any]:
    global RATE
    RATE = rate
    return {"function": reads_global}


def helper_module(rate: float) -> dict[str, Any]:
    module = types.ModuleType("helper_of_test")
    module.go = lambda *given: core(*given, rate=rate)  # type: ignore[attr-defined]
    namespace: dict[str, Any] = {"helper": module, "__name__": "loop_of_test"}
    exec(  # the test stands for a user's module that calls another one
        "def train(members, seed, recorder):\n    return helper.go(members, seed, recorder)\n",
        namespace,
    )
    return {"function": namespace["train"]}


def borrowing(activation: Any) -> dict[str, Any]:
    operations.activation = activation  # type: ignore[attr-defined]
    return {"model": Borrowing}


def factory(middle: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(4, 8), middle(), nn.Linear(8, 3))


def started(scale: float) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        layer = nn.Linear(4, 3)
        nn.init.normal_(layer.weight, std=scale)
        return layer

    return make


PAIRS: dict[str, tuple[Given, Given]] = {
    "partial": (
        lambda: {"function": functools.partial(core, rate=0.1)},
        lambda: {"function": functools.partial(core, rate=5.0)},
    ),
    "closure": (lambda: {"function": closure(0.1)}, lambda: {"function": closure(5.0)}),
    "global": (lambda: with_global(0.1), lambda: with_global(5.0)),
    "callable object": (lambda: {"function": Loop(0.1)}, lambda: {"function": Loop(5.0)}),
    "bound method": (
        lambda: {"function": Loop(0.1).by_name},
        lambda: {"function": Loop(5.0).by_name},
    ),
    "helper in another module": (lambda: helper_module(0.1), lambda: helper_module(5.0)),
    "array in a partial": (
        lambda: {"function": functools.partial(core, data=POOL)},
        lambda: {"function": functools.partial(core, data=POOL + 1)},
    ),
    "default argument": (lambda: {"function": core}, lambda: {"function": _other_default()}),
    "layer of a factory": (
        lambda: {"model": factory(nn.ReLU)},
        lambda: {"model": factory(nn.Tanh)},
    ),
    "rate of dropout": (
        lambda: {"model": factory(lambda: nn.Dropout(0.1))},
        lambda: {"model": factory(lambda: nn.Dropout(0.5))},
    ),
    "attribute of a network": (
        lambda: {"model": lambda: Scaled(1.0)},
        lambda: {"model": lambda: Scaled(9.0)},
    ),
    "function of another module": (
        lambda: borrowing(torch.relu),
        lambda: borrowing(torch.tanh),
    ),
    "scale of the start": (lambda: {"model": started(0.1)}, lambda: {"model": started(0.2)}),
}


def _other_default() -> Callable[..., nn.Module]:
    changed = types.FunctionType(core.__code__, core.__globals__, "core", (5.0, None))
    changed.__module__ = core.__module__
    return changed


def ask(out: Path, given: dict[str, Any]) -> Any:
    return fleet(out, checkpoints=[0, 2], executor="inline", keep="none", **given)


@pytest.mark.parametrize("what", PAIRS)
def test_a_change_is_noticed_and_an_unchanged_call_goes_on(tmp_path: Path, what: str) -> None:
    first, second = PAIRS[what]
    ask(tmp_path / "run", first())
    before = contents(tmp_path / "run")
    with pytest.raises(InputError, match=r"holds runs of another configuration: (function|model)"):
        ask(tmp_path / "run", second())
    ask(tmp_path / "run", first())
    assert contents(tmp_path / "run") == before


WEIGHTS = """
import torch
from pathlib import Path
from torch import nn
import numpy as np

def make():
    layer = nn.Linear(4, 3)
    layer.load_state_dict({"weight": torch.from_numpy(np.load("w.npy")), "bias": torch.zeros(3)})
    return layer
"""


def test_other_pretrained_values_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "pretrained_of_test.py").write_text(WEIGHTS)
    np.save("w.npy", np.ones((3, 4), np.float32))
    given = {"model": "pretrained_of_test:make"}
    run = ask(tmp_path / "run", given)
    assert run.manifest["key"]["model"]["start"]["drawn"] == 0.0
    np.save("w.npy", np.full((3, 4), 2, np.float32))
    with pytest.raises(InputError, match=r"model\.start\.fixed is "):
        ask(tmp_path / "run", given)


def test_declared_files_count(tmp_path: Path) -> None:
    side = tmp_path / "vocabulary.txt"
    side.write_text("a b c")
    function = seepage.Function(function=core, files=(str(side),))
    ask(tmp_path / "run", {"function": function})
    side.write_text("a b d")
    with pytest.raises(InputError, match=r"function\.files"):
        ask(tmp_path / "run", {"function": function})
    with pytest.raises(InputError, match=r"train\.files: expected a file that can be read"):
        ask(tmp_path / "other", {"function": seepage.Function(function=core, files=("no.txt",))})
    assert not (tmp_path / "other").exists()


def test_a_stated_version_is_the_users_word(tmp_path: Path) -> None:
    def stated(rate: float, version: str) -> dict[str, Any]:
        return {"function": seepage.Function(function=closure(rate), version=version)}

    ask(tmp_path / "run", stated(0.1, "1"))
    ask(tmp_path / "run", stated(5.0, "1"))
    with pytest.raises(InputError, match=r"function\.version is 1 there, 2 is configured"):
        ask(tmp_path / "run", stated(0.1, "2"))


def test_what_cannot_be_followed_is_said(tmp_path: Path) -> None:
    stream = np.random.default_rng(0)

    def train(members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
        stream.random()
        return core(members, seed, recorder)

    run = ask(tmp_path / "run", {"function": train})
    (said,) = run.manifest["provenance"]["unfollowed"]
    assert "stream: the state of a random generator changes with use" in said


def test_the_environment_is_said_and_strands_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(members: np.ndarray, seed: int, recorder: Recorder) -> nn.Module:
        return core(members, seed, recorder, rate=float(os.environ.get("RATE_OF_TEST", "0.1")))

    run = ask(tmp_path / "run", {"function": train})
    (said,) = run.manifest["provenance"]["unfollowed"]
    assert "what os.environ gives is known only when it runs" in said
    monkeypatch.setenv("ANOTHER_OF_TEST", "1")
    ask(tmp_path / "run", {"function": train})


def test_other_bytes_of_the_package_warn_and_never_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet(tmp_path / "run")
    before = contents(tmp_path / "run")
    monkeypatch.setattr("seepage.fleet.start.package_digest", lambda: "0" * 64)
    with pytest.warns(ProvenanceWarning, match="another state of the package's code") as caught:
        fleet(tmp_path / "run")
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert contents(tmp_path / "run") == before


def test_comments_docstrings_and_positions_do_not_count() -> None:
    def made(text: str) -> Callable[..., Any]:
        namespace: dict[str, Any] = {"__name__": "written_by_a_user"}
        exec(text, namespace)
        found: Callable[..., Any] = namespace["f"]
        return found

    plain = follow(made("def f(x):\n    return x + 1\n")).digest
    told = follow(made('\n\n# why\ndef f(x):\n    """What."""\n    return x + 1  # how\n')).digest
    other = follow(made("def f(x):\n    return x + 2\n")).digest
    assert plain == told != other


TRAIN = "def train(m, s, r):\n    "


def _with(before: str, after: str = "return x") -> tuple[str, str]:
    """A module whose constant is 1, and the same with 2."""
    text = before + "\n" + TRAIN + after
    return text.replace("ONE", "1"), text.replace("ONE", "2")


NOTICED = {
    "names of arguments": (TRAIN + "return dict(lr=s)", TRAIN + "return dict(rate=s)"),
    "values of a network that the function holds": _with(
        "import torch\nx = torch.nn.Linear(1, 1)\ntorch.nn.init.constant_(x.weight, ONE)\n"
        "torch.nn.init.constant_(x.bias, ONE)"
    ),
    "default of a dataclass with slots": _with(
        "import dataclasses\n@dataclasses.dataclass(slots=True)\nclass x:\n    y: int = ONE"
    ),
    "method of a subclass of dict": _with(
        "class D(dict):\n    def f(self): return ONE\nx = D()", "return x.f()"
    ),
    "value of a subclass of float": _with("class F(float): pass\nx = F(ONE)"),
    "value of an enumeration": _with(
        "import enum\nclass E(enum.Enum):\n    A = ONE\nx = E.A", "return x.value"
    ),
    "factory of a defaultdict": _with(
        "import collections\nx = collections.defaultdict(lambda: ONE)"
    ),
    "metaclass": _with(
        "class M(type):\n    def __call__(cls): return ONE\nclass x(metaclass=M): pass"
    ),
    "end of a long pattern": _with("import re\nx = re.compile('a' * 300 + 'ONE')"),
    "conjugated tensor": _with("import torch\nx = torch.tensor([1j + ONE]).conj()"),
    "sparse tensor": _with("import torch\nx = torch.tensor([[0.0, ONE]]).to_sparse()"),
    "function put into a library": _with(
        "import torch\ntorch.nn.functional.of_test = lambda: ONE",
        "return torch.nn.functional.of_test()",
    ),
}


def _train_of(text: str) -> Any:
    module = types.ModuleType("written_by_a_user_of_test")
    exec(compile(text + "\n", "theirs", "exec", dont_inherit=True), module.__dict__)
    return follow(module.train)


@pytest.mark.parametrize("what", NOTICED)
def test_what_a_function_reads_counts(what: str) -> None:
    first, second = NOTICED[what]
    before = _train_of(first).digest
    assert _train_of(second).digest != before
    assert _train_of(first).digest == before


def test_what_is_read_while_it_runs_is_said() -> None:
    for text, name in (
        (TRAIN + "return open('rate.txt')", "open"),
        ("from importlib import import_module\n" + TRAIN + "import_module('x')", "import_module"),
        ("import sys\n" + TRAIN + "return sys.modules['x']", "sys.modules"),
        (TRAIN + "return globals()['x']", "globals"),
    ):
        (said,) = _train_of(text).unfollowed
        assert name in said
        assert "known only when it runs" in said


def test_the_docstring_of_an_inner_class_does_not_count() -> None:
    lines = ["class A:", "    'What.'", "    for k in range(3):", "        if k: x = k"]
    bare = TRAIN + "\n    ".join(line for line in lines if "'" not in line)
    assert _train_of(TRAIN + "\n    ".join(lines)).digest == _train_of(bare).digest


def test_packages_around_an_imported_module_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "package_of_test"
    package.mkdir()
    (package / "__init__.py").write_text("from .rates import RATE\n")
    rates, inner = package / "rates.py", package / "inner.py"
    rates.write_text("RATE = 1\n")
    inner.write_text("import package_of_test\n")
    text = TRAIN + "import package_of_test.inner as inner; return inner"
    before = _train_of(text)
    assert before.unfollowed == ()
    rates.write_text("RATE = 2\n")
    assert _train_of(text).digest != before.digest


def test_hooks_and_unsaved_buffers_of_a_network_count(tmp_path: Path) -> None:
    value = tmp_path / "scale.txt"
    value.write_text("1")

    def buffered() -> nn.Module:
        layer = nn.Linear(4, 3)
        layer.register_buffer("b", torch.tensor(float(value.read_text())), persistent=False)
        return layer

    ask(tmp_path / "run", {"model": buffered})
    value.write_text("2")
    with pytest.raises(InputError, match=r"model\.start\.fixed"):
        ask(tmp_path / "run", {"model": buffered})
    plain = nn.Linear(4, 3)
    before = follow(plain).digest
    plain.register_forward_hook(lambda m, i, o: o * 2)
    assert follow(plain).digest != before


def test_an_attribute_drawn_anew_strands_no_run(tmp_path: Path) -> None:
    def named() -> nn.Module:
        layer = nn.Linear(4, 3)
        layer.told = os.urandom(4)  # type: ignore[assignment]
        return layer

    run = ask(tmp_path / "run", {"model": named})
    ask(tmp_path / "run", {"model": named})
    assert any(
        "is another each time it is made" in said
        for said in run.manifest["provenance"]["unfollowed"]
    )


def test_options_come_back_as_they_were_stored(tmp_path: Path) -> None:
    given = {"model": "mlp", "model_options": {"hidden": (4,)}}
    run = ask(tmp_path / "run", given)
    assert run.manifest["key"]["model"]["options"] == {"hidden": [4]}
    ask(tmp_path / "run", given)
    with pytest.raises(InputError, match="a network whose shapes are known, got 'weight'"):
        ask(tmp_path / "other", {"model": lambda: nn.LazyLinear(3)})
    assert not (tmp_path / "other").exists()


def test_the_rule_of_a_signal_of_the_users_own_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = tmp_path / "signals_of_test.py"
    given = {"model": "mlp", "signals": ("phi", "signals_of_test:first")}
    for rule in ("logits[:, 0]", "logits[:, 1]"):
        sys.modules.pop("signals_of_test", None)
        source.write_text(f"def first(logits, labels):\n    return {rule}\n")
        importlib.invalidate_caches()
        if rule.endswith("0]"):
            ask(tmp_path / "run", given)
            ask(tmp_path / "run", given)
            continue
        with pytest.raises(InputError, match="another configuration: signals is"):
            ask(tmp_path / "run", given)
    with pytest.raises(InputError, match="nowhere"):
        ask(tmp_path / "other", {"model": "mlp", "signals": ("phi", "nowhere")})
    assert not (tmp_path / "other").exists()


def test_a_defence_is_known_by_its_own_rules(tmp_path: Path) -> None:
    """Another defence's code, or a new file beside it, changes no other key."""
    package = Path(seepage.__file__).parent
    copy = tmp_path / "seepage"
    subprocess.run(["cp", "-r", str(package), str(copy)], check=True)
    ask = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from seepage import defenses; from seepage.fleet.identity import _defense;"
        "print([_defense(defenses.make(n), [])['digest'] for n in ('hamp', 'relaxloss')])"
    )

    def digests() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", ask, str(tmp_path)], capture_output=True, text=True, check=True
        )
        return [part.strip("'[]\n ") for part in done.stdout.split(",")]

    before = digests()
    (copy / "defenses" / "brand_new.py").write_text('"""A new one."""\n')
    hamp, losses = copy / "defenses" / "hamp.py", copy / "defenses" / "losses.py"
    hamp.write_text("# A comment.\n" + hamp.read_text())
    assert digests() == before
    head, rule, rest = losses.read_text().partition("class RelaxLoss(Defense):")
    assert "    def loss(" in rest
    losses.write_text(
        head + rule + rest.replace("    def loss(", "    SEEN = 1\n\n    def loss(", 1)
    )
    after = digests()
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_what_is_imported_inside_counts_alike_before_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner_of_test.py").write_text(
        "import wave\nRATE = 2\n\ndef go(x):\n    return x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def train(members: np.ndarray, seed: int, recorder: Recorder) -> Any:
        import colorsys

        import inner_of_test  # type: ignore[import-not-found]

        return inner_of_test.go(colorsys)

    before = follow(train).digest
    importlib.import_module("inner_of_test")
    importlib.import_module("colorsys")
    assert follow(train).digest == before
    (tmp_path / "inner_of_test.py").write_text(
        "import wave\nRATE = 3\n\ndef go(x):\n    return x\n"
    )
    assert follow(train).digest != before


def test_a_constant_of_a_module_that_is_passed_on_counts() -> None:
    def train(members: np.ndarray, seed: int, recorder: Recorder) -> Any:
        return {"settings": operations}

    operations.rate = 1  # type: ignore[attr-defined]
    before = follow(train).digest
    operations.rate = 2  # type: ignore[attr-defined]
    assert follow(train).digest != before


def test_a_class_may_move_to_another_file() -> None:
    def written_in(module: str) -> type:
        namespace: dict[str, Any] = {"__name__": module}
        exec("class Rule:\n    def act(self, x):\n        return x + 1\n", namespace)
        found: type = namespace["Rule"]
        return found

    assert follow(written_in("one_file")).digest == follow(written_in("another")).digest


def test_the_key_names_what_was_trained(tmp_path: Path) -> None:
    run = fleet(tmp_path / "run", defense=defenses.make("label-smoothing"))
    key = run.manifest["key"]
    assert key["training"] == 1
    assert key["defense"]["name"] == "label-smoothing"
    assert "code" not in key
    assert run.manifest["provenance"]["unfollowed"] == []
    assert run.manifest["provenance"]["code"]


def test_drawn_values_may_round_otherwise() -> None:
    there = {"model": {"start": {"drawn": 1.0}}}
    assert not differing(there, {"model": {"start": {"drawn": 1.00001}}})
    assert differing(there, {"model": {"start": {"drawn": 1.001}}})
