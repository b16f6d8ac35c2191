"""Every command with malformed words by the hundred: status 2 and one line, or what it accepts is right.

Each option says by a rule of its own, not the command's, which texts it may accept. A call with one
that it may not must be refused, with nothing written.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import seepage
from malformed import Tally, damaged
from seepage.attacks import ATTACKS
from seepage.epsilon import natural_game
from seepage.findings.label_inference import write_game
from seepage.plan import half_split
from seepage.report import serve

pytestmark = pytest.mark.slow
EACH = 240

Holds = Callable[[str, Path], bool | None]
"""Whether a text is acceptable in a folder: True, False, or None where that hangs on the rest."""

GENERAL = (
    "", " ", "0", "1", "-1", "2", "0.5", "-0.0", "1e308", "1e-320", "nan", "inf", "-inf", "1e400", "9" * 40,
    "9" * 5000, "0x10", "1_0", " 1", "1 ", "٣", "½", "1,5", "true", "None", "[]", "{}", "[", "]", "'", '"',
    "\\", "a:b:c", "x:y", "os:system", "builtins:eval", "seepage.attacks:get", "../x", "/", "/dev/null",
    "~", "*", "s3:/b", "nowhere://b/k", "\udcff", "é", "🙂", "a" * 300, "a" * 5000, "\n", "a\nb", "\t",
    "\x1b[31m", "%s", "{0}", "$HOME", "[red]x[/]", "[/x]", ".", "..", "a/../b", "absent", "absent/x.html",
    "file", "file/x.html", "empty", "pipe", "loop", "x.html", "x.txt", "x.gif", "run", "run/manifest.json", "--",
    "=", "a=b", "=1", "a=", "a.b=1", ":warning:",
)  # fmt: skip
OUTSIDE = ("/dev/null", "/proc/x", "/proc/x.html", "/dev/null/x.html")
"""Absolute places that nothing can be made in."""


@dataclass(frozen=True)
class Slot:
    """An option or, with an empty flag, an argument: sound texts, a rule, further odd ones.

    writes: what is named is made. needed: in every call; the others in every third.
    """

    flag: str
    sound: tuple[str, ...]
    holds: Holds
    odd: tuple[str, ...] = ()
    what: str = ""
    writes: bool = False
    needed: bool = False
    general: bool = True

    def text(self, rng: np.random.Generator, odd: bool) -> str:
        """A sound text, or one drawn from the odd ones, all that trip readers, and damaged sound ones."""
        sound = str(rng.choice(self.sound))
        if not odd:
            return sound
        pools = [self.odd or GENERAL, GENERAL if self.general else self.odd]
        if rng.random() < 0.3:
            raw = damaged(sound.encode(), rng).replace(b"\0", b"0")
            text = raw.decode("utf-8", "surrogateescape")
        else:
            pool = pools[int(rng.integers(2))]
            text = pool[int(rng.integers(len(pool)))]
        if self.writes and (text.startswith("/") or ".." in text) and text not in OUTSIDE:
            text = "absent/deep/x"
        return text if self.flag or not text.startswith("-") else f"./{text}"


def number(low: float, high: float, kind: type = float, open_low: bool = False) -> Holds:
    """A number in low..high as Python reads it."""

    def holds(text: str, at: Path) -> bool:
        try:
            value = kind(text)
        except (ValueError, OverflowError):
            return False
        return value == value and (low < value if open_low else low <= value) and value <= high

    return holds


def one_of(*names: str) -> Holds:
    """One of these words."""
    return lambda text, at: text in names


def where(text: str, at: Path) -> Path | None:
    """The place that a text names, None where it cannot be one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return None
    if not text or re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):
        return None
    if any(len(p.encode()) > 255 for p in text.split("/")) or len(text.encode()) > 4000:
        return None
    return at / text


def a_run(text: str, at: Path) -> bool | None:
    """The folder of a run; None for damaged ones, which are refused where what is read is damaged."""
    path = where(text, at)
    name = None if path is None else os.path.relpath(os.path.realpath(path), os.path.realpath(at))
    return (
        None
        if name and name.startswith("damaged") and os.sep not in name
        else name in ("run", "other")
    )


def a_file(*suffixes: str) -> Holds:
    """A file that can be made in a folder that is there."""

    def holds(text: str, at: Path) -> bool:
        path = where(text, at)
        if path is None or (suffixes and path.suffix.lower() not in suffixes):
            return False
        if len(path.name.encode()) > 240 or path.is_dir() or text.endswith("/"):
            return False
        return path.parent.is_dir()

    return holds


def a_new_folder(text: str, at: Path) -> bool | None:
    """A folder that is not there, or empty, or holds a run, which must be of the same configuration."""
    path = where(text, at)
    if path is None:
        return False
    for above in path.parents:
        if above.exists():
            if not above.is_dir():
                return False
            break
    if (
        path.is_symlink()
        or path.is_file()
        or path.is_fifo()
        or os.path.realpath(path) == "/dev/null"
    ):
        return False
    return None if path.exists() else True


def attack_name(text: str, at: Path) -> bool | None:
    """A known attack; None where the run lacks what it reads."""
    return None if text in ATTACKS else False


def names_of(folder: str, suffix: str) -> Holds:
    """A file of the workspace whose name begins with "good"."""

    def holds(text: str, at: Path) -> bool:
        path = where(text, at)
        if path is None or not path.is_file() or path.suffix != suffix:
            return False
        return path.name.startswith("good")

    return holds


GOOD = """out = "out"
[data]
name = "good.npz"
[plan]
models = 8
[model]
name = "mlp"
options = { hidden = [4] }
[recipe]
epochs = 1
batch = 16
precision = "fp32"
[record]
checkpoints = [0, 1]
[attacks]
names = ["loss"]
main = "loss"
[execution]
workers = 1
device = "cpu"
"""
SETS = {
    "recipe.lr=0.2": True, "recipe.lr=0.1": True, "plan.seed=3": True, "plan.seed=5": True, "recipe.lr=1e-30": True, "plan.models=10": True,
    'record.signals=["loss"]': True, "data.limit=40": True, "recipe.momentum=0": True, "recipe.lr=1e-320": True,
    "label_game.canaries=0": True, "label_game.canaries=-1": False, "label_game.canaries=x": False, "label_game.canaries=9999": False,
    "label_game.canaries=1.5": False, "label_game.law=[0.5]": False, "label_game.law=[0.5, 0.5]": False, "label_game.law=x": False, "label_game.seed=-1": False,
    "label_game=3": False, "label_game.x=1": False, "label_game.canaries.x=1": False, "label_game.canaries=nan": False,
    # Nothing is recorded to judge labels by.
    "label_game.canaries=8": None,
    "recipe.nesterov=true": True, 'name.x="y"': False, "plan.models=7": False, "plan.models=1": False,
    "plan.models=-8": False, "plan.models=8.5": False, "plan.models=1e1": None, 'plan.models="8"': None,
    "plan.models=": False, "plan.models=nan": False, "plan.models=[8]": False, "plan.model=8": False,
    'plan.kind="fixed"': False, "plan.seed=-1": False, "plan.seed=1e30": False, "recipe.epochs=0": False,
    "recipe.epochs=-1": False, "recipe.epochs=0.5": False, "recipe.lr=0": None, "recipe.lr=-1": False,
    "recipe.lr=nan": False, "recipe.lr=inf": False, "recipe.lr=1e308": False, "recipe.lr=1e400": False,
    "recipe.lr=fast": False, "recipe.lr={}": False, "recipe.batch=0": False, "recipe.batch=-3": False,
    'recipe.optimizer="sdg"': False, 'recipe.schedule="none"': False, "recipe.momentum=2": False,
    'recipe.precision="fp8"': False, "recipe.epoch=3": False, "recipe=3": False, "recipe.lr.x=1": False,
    'attacks.main="lirra"': False, 'attacks.names=["rmja"]': False, "attacks.names=[]": False,
    'attacks.names="loss"': False, 'attacks.main="os:system"': False, 'model.name="cnm"': False,
    'model.name="os:system"': False, 'model.name="builtins:eval"': False, 'model.name="nowhere:net"': False,
    'model.options={"widht": 3}': False, 'model.options={"hidden": [0]}': False,
    'model.options={"hidden": [-4]}': False, 'model.options={"hidden": ["x"]}': False,
    'model.options={"hidden":[1000000000000]}': False, 'model.files=["/dev/zero"]': False,
    'data.name="digist"': False, 'data.name="bad.npz"': False, 'data.name="absent.csv"': False,
    'data.name="pipe"': False, 'data.name="run"': False, 'data.part="validation"': None, "data.limit=1": False,
    "data.limit=-5": False, "data.limit=nan": False, 'data.label="absent"': None, 'data.root="absent"': None,
    'defense.name="dropuot"': False, 'defense.options={"x":1}': False, "record.checkpoints=[3, 1]": False,
    "record.checkpoints=[NaN]": False, "record.checkpoints=[]": False, "record.checkpoints=[0, 99]": False,
    "record.checkpoints=[-1, 1]": False, 'record.checkpoints="x"': False, 'record.views=["flip"]': False,
    'record.signals=[]': False, 'record.signals=["phi", "phi"]': False, 'record.signals=["nothing"]': False,
    'record.keep="some"': False, "execution.device=": False, 'execution.device="tpu"': False,
    'execution.executor="slurm"': False, "execution.threads=1000000": False, "execution.workers=1000000": False,
    "execution.workers=-1": False, "nonsense": False, "=1": False, "": False, ".=1": False,
    "..=1": False, "out=": None, 'out=["x"]': None, "out.x=1": None, "report=x.txt": None, "model.options=" + "[" * 3000: False,
    "a." * 3000 + "b=1": False, "plan.models=" + "9" * 5000: False, "[/x]=1": False, "é=1": False,
    "\udcff=1": False, "recipe.lr=\udcff": False, "recipe.lr=\x1b[31m": False, 'train="x"': False,
    'train="os:system"': False, "plan.canaries.mislabelled=-1": False, "plan.canaries.mislabelled=9999": False,
    "plan.canaries.random=4": False, "plan.canaries.rare=4": False, "plan.canaries.random=-1": False, "plan.canaries.random=x": False, "plan.canaries.random=0": True,
    "plan.canaries.repeats=[1, 4]": False, "plan.canaries.repeats=[]": False, "plan.canaries.repeats=4": False, "plan.canaries.candidates=9": False, "plan.canaries.candidates=0": False,
    "plan.canaries.length=8": False, "plan.canaries.length=1": False, "plan.canaries.length=x": False,
    "defense.reference=9999": False, "defense.reference=-1": False,
    'release=["top-1"]': None, 'release=["int8"]': None, 'release="top-1"': False, "release=[]": True, "release=3": False,
    'release=["tpo-1"]': False, 'release=["top-1", "top-1"]': False, "release=[3]": False, 'release={"a": 1}': False,
    'release=["int8+int8"]': False, 'release=["' + "int8+" * 900 + 'bf16"]': False,
    # Of the network that the file names no weights are given.
    "model.adapter={}": False, 'model.adapter={"rank": 2}': False, "model.adapter=3": False, 'model.adapter="lora"': False,
    "model.adapter.rank=0": False, "model.adapter.rank=x": False, "model.adapter.rank=1e30": False, "model.adapter.rnk=2": False,
    "model.adapter.alpha=nan": False, "model.adapter.alpha=-1": False, "model.adapter.targets=[]": False,
    'model.adapter.targets=["x"]': False, "model.adapter.targets=x": False, "model.adapter.rank.x=1": False,
}  # fmt: skip
CONFIGURATIONS = {
    "bad-1.toml": b"[plan\n", "bad-2.toml": b"\xff\xfe", "bad-3.toml": b"[plan]\nmodels = 'many'\n",
    "bad-4.toml": b"plan = 3\n", "bad-5.toml": b"[[plan]]\nmodels = 8\n", "bad-6.toml": b"x = " + b"[" * 3000,
    "bad-7.toml": b"x = " + b"[" * 40 + b"]" * 40, "bad-8.toml": b"[plan]\nmodels = " + b"9" * 5000,
    "bad-9.toml": b"\0", "bad-10.toml": b"[recipe]\nweight_decay = 1979-05-27\n", "bad-11.toml": b"kind = 'audit'\n",
    "bad-12.toml": b"[recipe]\nlr = 1\nlr = 2\n", "bad-13.toml": b"report = 3\n", "bad-14.toml": b"{}\n",
    "bad-15.toml": b"[limits]\nmax_acu = 0.6\n", "bad-16.toml": b"[limits]\n", "bad-17.toml": b"[limits]\nmax_auc = true\n",
    "bad-18.toml": b"[limits]\nmax_tpr = 0.1\n", "bad-19.toml": b"[limits]\nmax_tpr = ['0.1@0.1', '0.2@0.1']\n", "bad-20.toml": b"[limits]\nmax_auc = 0.6\n[limit]\n",
    "bad-21.toml": b"[limits]\nmax_exposed = -1\n", "bad-22.toml": b"[limits]\nmax_eps = inf\n", "bad-23.toml": b"limits = 0.6\n", "bad-24.toml": b"[limits.max_auc]\nx = 1\n",
}  # fmt: skip
COMPARISON = """runs = "runs"
results = "results"
report = "defences.html"
[base]
data = { name = "good.npz" }
plan = { models = 4 }
model = { name = "mlp", options = { hidden = [4] } }
recipe = { epochs = 1, batch = 16, precision = "fp32" }
execution = { workers = 1, device = "cpu" }
[[defences]]
name = "label-smoothing"
"""
LIMITED = (
    '[limits]\nmax_auc = 1\nmax_tpr = ["1@0.1", "0.9@0.2"]\nmax_eps = 9.0\nmax_exposed = 0.5\n'
)
STUDIES = {
    "good-dynamics.toml": """kind = "dynamics"
runs = "runs"
results = "results"
page = "page.md"
[base]
data = { name = "good.npz" }
plan = { models = 8 }
model = { name = "mlp", options = { hidden = [4] } }
[fleets.a]
recipe = { epochs = 1 }
[fleets.b]
recipe = { epochs = 2 }
""",
    "good-layers.toml": """kind = "layers"
locks = "runs"
results = "results"
page = "page.md"
architectures = ["cnn-1"]
datasets = ["digits"]
noise = [0.0]
seeds = [0]
members = 100
""",
    "good-curvature.toml": """kind = "curvature"
runs = "runs"
results = "results"
page = "page.md"
[tables.digits]
data = { name = "digits", limit = 100 }
model = { name = "mlp" }
models = 8
scored = 20
recipe = { epochs = 1, batch = 64, lr = 0.05 }
""",
}
BAD_FILES = ("", "absent.toml", "empty", "file", "pipe", "/dev/zero", *CONFIGURATIONS)

RUN = Slot("", ("run", "./run", "run/", "other"), a_run,
           ("absent", "empty", "file", "pipe", "loop", "run/records", "run/manifest.json", "good.npz",
            "damaged-1", "damaged-2", "damaged-3", "damaged-4", "damaged-5", "damaged-6", "s3:/b/k", "nowhere://x",
            "run\n", " run", "run/../absent", "a" * 300, "\udcff", "[/x]", ""),
           "a run folder", needed=True)  # fmt: skip
CONFIG = Slot("", ("good.toml",), names_of("", ".toml"), BAD_FILES, "a configuration", needed=True, general=False)  # fmt: skip


def a_field(text: str, at: Path) -> bool | None:
    """As listed, but for spaces around a value, which JSON leaves out."""
    name, _, value = text.partition("=")
    bare = value.strip(" \t\r\n")
    return SETS.get(text, SETS.get(f"{name}={bare}", False))


SET = Slot("-s", ("plan.seed=3", "recipe.lr=0.1"), a_field, tuple(SETS), "a field", general=False)  # fmt: skip
OUT = Slot("-o", ("out", "deep/out"), a_new_folder,
           ("file/run", "pipe", "loop", "run", "a" * 300, "\udcff", "s3:/b", "nowhere://b", "empty", "[/x]", "é",
            "", "a:b", "/dev/null", "/proc/x"),
           "a new folder", writes=True)  # fmt: skip


def shard(text: str, at: Path) -> bool:
    """i/n with 1 <= i <= n."""
    found = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
    return found is not None and 1 <= int(found[1]) <= int(found[2])


SHARD = Slot("--shard", ("1/1", "1/2"), shard, ("0/1", "2/1", "1/0", "a/b", "1", "/", "1/2/3", "-1/2", "1.0/2", "¹/2", "+1/2"), "a share")  # fmt: skip
ATTACK = Slot("-a", ("loss",), attack_name,
              ("lirra", "LOSS", "os:system", "seepage.attacks:get", "x:y", "", "[/x]", "loss,lira", "rmia-offlin"),
              "an attack")  # fmt: skip
UNIT = Slot("--unit", ("sample",), one_of("sample"), ("subject", "samples", "SAMPLE", ""), "a unit")
FACTORY = Slot("--model", ("seepage.models:MODELS",), lambda t, at: None,
               ("os:system", "x:y", "mlp", "builtins:eval", "seepage.models:mlp"), "a factory")  # fmt: skip
FPR = Slot(
    "--fpr",
    ("0.1", "0.2"),
    number(0, 1, open_low=True),
    ("0", "1.5", "-0.1", "nan", "1e-320"),
    "a rate",
)
SEED = Slot(
    "--seed", ("0", "7"), number(0, 10**4300, int), ("-1", "1.5", "9" * 30), "a whole number"
)


def whole(flag: str, low: int, high: int, *sound: str) -> Slot:
    """An option of a whole number."""
    odd = (str(low - 1), "1.5", "1e3", "-1", "9" * 30, "x")
    return Slot(flag, sound, number(low, high, int), odd, f"a whole number from {low}")


def real(flag: str, low: float, high: float, *sound: str) -> Slot:
    """An option of a number."""
    return Slot(
        flag, sound, number(low, high), ("-1", "nan", "inf", "1e400", "x"), f"a number from {low:g}"
    )


PAGE = Slot("", ("r.html", "R.HTM"), a_file(".html", ".htm"),
            ("absent/r.html", "file/r.html", "r.txt", "r", "empty", "a" * 260 + ".html", ".html", "s3:/b/r.html",
             "nowhere://b/r.html", "/dev/null", "/proc/x.html", "é.html", "[/x].html", "\udcff.html"),
            "a page", writes=True)  # fmt: skip


def a_release(text: str, at: Path) -> bool | None:
    """Names of variants by a grammar of its own; None, since the run or the model may not have it."""
    if text == "as-trained":
        return None
    kinds = []
    for part in text.split("+"):
        kind, _, value = part.partition("-")
        if part in ("label-only", "int8", "bf16"):
            kinds.append(part)
            continue
        if kind not in ("top", "rounded", "temperature", "pruned") or not value.isascii():
            return False
        whole = kind in ("top", "rounded")
        if not re.fullmatch(r"\d+" if whole else r"\d+\.?\d*|\.\d+", value):
            return False
        low, high = {"top": (1, 1e99), "rounded": (0, 15), "temperature": (1e-99, 1e99), "pruned": (0, 0.999999)}[kind]  # fmt: skip
        if not low <= float(value) <= high:
            return False
        kinds.append(kind)
    outputs = [k for k in kinds if k in ("top", "rounded", "temperature", "label-only")]
    weights = [k for k in kinds if k not in outputs]
    if len(set(kinds)) < len(kinds) or "int8" in weights[:-1]:
        return False
    return None


AS = Slot("--as", ("top-1", "label-only", "int8", "pruned-0.5+top-2", "as-trained", "rounded-1"), a_release,
          ("tpo-1", "top-0", "top--1", "top-1.5", "top-", "top", "rounded-16", "rounded-x", "temperature-0", "temperature-nan",
           "temperature-1.2.3", "pruned-1", "pruned--0.1", "int-8", "int8+", "+", "int8++bf16", "int8+int8", "int8+bf16", "pruned-0.5+pruned-0.9", "top-1+top-2", "label-only+label-only",
           "as-trained+int8", "TOP-1", "top-1 ", "top-٣", "os:system", "top-" + "9" * 5000, "int8+" * 500 + "bf16", "[/x]", ""),
          "a variant")  # fmt: skip
SAMPLE_FILES = (
    "absent.csv",
    "file",
    "file.csv",
    "pipe",
    "loop",
    "run",
    "empty",
    "bad.csv",
    "twice.csv",
    "wide.csv",
    "ids.txt",
    "good.npz",
    "s3:/b/x.csv",
    "class,",
    "Class",
    "x0",
    "",
    "[/x].csv",
    "a" * 300 + ".csv",
    "\udcff.csv",
)
BY = Slot("--by", ("class", "correctness", "difficulty", "kinds.csv", "./good.csv"),
          one_of("class", "correctness", "difficulty", "kinds.csv", "good.csv", "./kinds.csv", "./good.csv"), SAMPLE_FILES, "a part", general=False)  # fmt: skip
USED = Slot("--used", ("ids.txt", "./ids.txt"), lambda t, at: None if t in ("ids.txt", "./ids.txt") else False,
            ("kinds.csv", "good.csv", *SAMPLE_FILES[:-8], *SAMPLE_FILES[-6:]), "a list of ids", needed=True, general=False)  # fmt: skip
RANGES = Slot("--ranges", ("pairs.csv", "./pairs.csv"), lambda t, at: None if t in ("pairs.csv", "./pairs.csv") else False,
              ("uneven.csv", "kinds.csv", *SAMPLE_FILES), "ranges", needed=True, general=False)  # fmt: skip
KEEP = Slot(
    "--keep",
    ("0.5", "1"),
    number(0, 1, open_low=True),
    ("0", "-1", "1.5", "nan", "x", ""),
    "a share",
)
DELTA = Slot("--delta", ("1e-5", "0"), lambda t, at: None if number(0, 0.999999)(t, at) else False,
             ("-1", "1", "nan", "2", "x", "1e400"), "a δ")  # fmt: skip
LEVEL = Slot("--level", ("0.95",), lambda t, at: None if number(0, 0.999999, open_low=True)(t, at) else False,
             ("0", "1", "-1", "nan", "2", "x"), "a level")  # fmt: skip
BUDGETS = ("x", "2:2", "nan:1", "-1:1", "2:x", "inf:1", ":", "2:0.5")


def a_rate_at(text: str, at: Path) -> bool:
    """LIMIT or LIMIT@FPR, both from 0 to 1 in ASCII digits."""
    parts = text.split("@")
    if len(parts) > 2 or not all(re.fullmatch(r"[-+.0-9eE]+", p) for p in parts):
        return False
    return all(number(0, 1)(p, at) for p in parts)


def count_or_share(text: str, at: Path) -> bool | None:
    """A whole number in ASCII digits, or a number from 0 to 1."""
    return re.fullmatch(r"[0-9]{1,4300}", text) is not None or number(0, 1)(text, at)


MAX_TPR = Slot("--max-tpr", ("0.5", "0.5@0.1", "1@0"), a_rate_at,
               ("@", "0.5@", "@0.1", "0.5@0.1@0.1", "2@0.1", "0.5@2", "nan@0.1", "0.1@nan", "-1@0.1", "0.1 @ 0.1", "0.1@0,1", "x@y", "0.5:0.1"),
               "a limit at a rate")  # fmt: skip
MAX_EXPOSED = Slot("--max-exposed", ("5", "0", "0.05", "1.0"), count_or_share, ("-1", "1.5", "5%", "nan", "+5", "1e3", "five", "٥"), "a count or a share")  # fmt: skip
LIMITS = Slot("--limits", ("good-limits.toml", "./good-limits.toml"), one_of("good-limits.toml", "./good-limits.toml"),
              (*BAD_FILES, "good.toml", "good-defences.toml"), "limits", general=False)  # fmt: skip
JUNIT = Slot("--junit", ("o.xml", "O.XML"), a_file(".xml"), ("absent/o.xml", "file/o.xml", "o.txt", "o", ".xml", "empty", "s3:/b/o.xml", "/proc/o.xml", "a" * 260 + ".xml", "\udcff.xml", "[/x].xml"), "a file", writes=True)  # fmt: skip


def a_game(text: str, at: Path) -> bool:
    """The game that was drawn with the labels of the runs."""
    path = where(text, at)
    return path is not None and os.path.realpath(path) == os.path.realpath(at / "game.json")


FREE = Slot("--made-up", ("1",), lambda t, at: False, what="an option that is none")

NPZ = (
    "good.npz",
    "good-arrays.npz",
    "bad.npz",
    "absent.npz",
    "empty",
    "pipe",
    "file",
    "run",
    "loop",
    "",
    "net.safetensors",
    "code.py",
    "/dev/zero",
    "s3:/b/m.npz",
    "\udcff.npz",
    "[/x].npz",
)

COMMANDS: dict[str, tuple[list[str], list[Slot]]] = {
    "train": (["train"], [CONFIG, OUT, SET, SHARD]),
    "audit": (["audit"], [CONFIG, OUT, SET, SHARD, Slot("--report", ("r.html",), PAGE.holds, PAGE.odd, "a page", writes=True)]),
    "audit --dry-run": (["audit", "--dry-run"], [CONFIG, SET, SHARD]),
    "audit MODEL": (["audit"], [Slot("", ("code.py:make", "./code.py:make"), one_of("code.py:make", "./code.py:make"),
                                     ("code.py:absent", "code.py:two", "code.py:broken", "code.py:LIMIT", "code.py", "absent.py:make", "os:system", "builtins:eval", "file:make", "pipe:make", "empty:make", "bad.npz:make", "code.py:make:x", ":make", "code.py:", "[/x]:make", "run:make", "sub/code.py:make"), "a factory", needed=True, general=False),
                                Slot("--members", ("members.npz",), one_of("members.npz"), ("others.npz", *NPZ), "recorded members", needed=True, general=False),
                                Slot("--others", ("others.npz",), one_of("others.npz"), ("members.npz", *NPZ), "recorded others", needed=True, general=False),
                                Slot("--weights", ("net.safetensors",), one_of("net.safetensors"), ("wide.safetensors", "cut.safetensors", "code.pt", "absent.pt", "file", "pipe", "run", "members.npz", "", "os:system", "loop"), "weights", general=False),
                                Slot("--references", ("references.npz",), one_of("references.npz"), ("members.npz", *NPZ), "references", general=False),
                                whole("--batch", 1, 10**4300, "7"), whole("--retries", 0, 10**4300, "1"), real("--minutes", 0, float("inf"), "5"), Slot("--timeout", ("30",), number(0, float("inf"), open_low=True), ("0", "-1", "nan", "inf", "x"), "seconds"),
                                Slot("--cache", ("answers",), lambda t, at: None, OUT.odd, "a cache", writes=True), Slot("-o", PAGE.sound, PAGE.holds, PAGE.odd, "a page", writes=True), AS,
                                Slot("--by", ("class", "sides.csv", "./sides.csv"), lambda t, at: None if t in ("correctness", "difficulty") else t in ("class", "sides.csv", "./sides.csv"), ("correctness", "difficulty", *SAMPLE_FILES), "a part", general=False)]),
    "doctor": (["doctor"], [CONFIG, SET]),
    "repair": (["repair"], [CONFIG, Slot("-o", ("run",), lambda t, at: None, OUT.odd, "a run folder", needed=True), SET]),
    "report": (["report"], [RUN, Slot("", PAGE.sound, PAGE.holds, PAGE.odd, PAGE.what, True, True), Slot("-a", ("loss",), attack_name, ATTACK.odd, "an attack", needed=True), BY]),
    "attack": (["attack"], [RUN, Slot("-a", ("loss",), attack_name, ATTACK.odd, "an attack", needed=True), UNIT, AS]),
    "attack --by": (["attack"], [RUN, Slot("-a", ("loss",), attack_name, ATTACK.odd, "an attack", needed=True), UNIT, replace(BY, needed=True)]),
    "attack --option": (["attack"], [RUN, Slot("-a", ("merlin",), one_of("merlin"), ("loss", "lirra", "os:system", ""), "an attack", needed=True, general=False),
                                     Slot("--option", ("copies=2", "noisy-loss.copies=3", "sigma=0.5"), lambda t, at: None if t in ("copies=2", "noisy-loss.copies=3", "sigma=0.5") else False,
                                          ("copies=0", "copies=-1", "copies=1.5", "copies=x", "copies=true", "copies=[2]", "copies=null", "copies", "=", "=3", "copies=NaN", "sigma=0", "sigma=-1", "sigma=NaN", "sigma=Infinity", "sigma=1e400", "sigma=x", "sigma={}", "draws=3", "augmented.copies=3", "noisy-loss.", ".copies=2", "..=1", "copies=" + "[" * 3000, "copies=" + "9" * 5000, "sigma=\udcff", "é=1", "__class__=1"), "an option", needed=True, general=False),
                                     Slot("--budget", ("1 hour",), lambda t, at: None if t in ("1 hour", "1e9 queries") else False, ("1 query", "0 s", "-1 s", "nan s", "1e400 s", "x", "", "1 day"), "a budget", general=False)]),
    "attack --json": (["attack", "--json"], [RUN, Slot("-a", ("loss",), attack_name, ATTACK.odd, "an attack", needed=True), UNIT, BY]),
    "attack --used": (["attack"], [RUN, Slot("-a", ("loss",), attack_name, ATTACK.odd, "an attack", needed=True), USED]),
    "attack --ranges": (["attack"], [RUN, Slot("-a", ("loss",), attack_name, ATTACK.odd, "an attack", needed=True), RANGES, KEEP]),
    "check": (["check"], [RUN, Slot("--max-auc", ("0.6", "1", "0"), number(0, 1), ("1.5", "-1", "nan"), "a limit", needed=True),
                          MAX_TPR, real("--fpr", 0, 1, "0.01"), real("--max-eps", 0, 1e308, "2", "0"), DELTA, MAX_EXPOSED, LIMITS, JUNIT, ATTACK, UNIT, AS]),
    "check --learnt-nothing": (["check", "--learnt-nothing"], [RUN, Slot("--max-auc", ("0.6", "1", "0"), number(0, 1), ("1.5", "-1", "nan"), "a limit", needed=True)]),
    "epsilon bound": (["epsilon", "bound"], [RUN, Slot("-a", ("loss",), attack_name, ATTACK.odd, "an attack", needed=True), DELTA, LEVEL, UNIT, SEED,
                                             Slot("--target", ("0",), lambda t, at: None, ("-1", "99", "x", "1.5"), "a run"), Slot("--sample", ("0",), lambda t, at: None, ("absent", ""), "a sample")]),
    "epsilon labels": (["epsilon", "labels"], [RUN, Slot("--game", ("game.json", "./game.json"), a_game,
                                                         ("cut-game.json", "changed-game.json", "other-game.json", "run/manifest.json", "good.toml", *NPZ), "a game", needed=True),
                                               Slot("--target", ("0",), lambda t, at: None if number(0, 7, int)(t, at) else False, ("-1", "99", "8", "x", "1.5"), "a run"), DELTA, LEVEL]),
    "epsilon labels --config": (["epsilon", "labels"], [RUN, Slot("--config", ("game.toml", "./game.toml"), lambda t, at: None if t in ("game.toml", "./game.toml") else False,
                                                                  (*BAD_FILES, "good.toml", "game.json"), "a configuration", needed=True, general=False), DELTA, LEVEL]),
    "epsilon plan": (["epsilon", "plan"], [Slot("-t", ("2", "0.5"), lambda t, at: None if number(0, 1e300, open_low=True)(t, at) else False, ("0", "-1", "nan", "inf", "x"), "an ε", needed=True),
                                           Slot("--truth", ("4",), lambda t, at: None if number(0, 1e300, open_low=True)(t, at) else False, ("0", "-1", "nan", "inf", "x"), "an ε"), DELTA, LEVEL,
                                           Slot("--power", ("0.8",), lambda t, at: None if number(0, 1, open_low=True)(t, at) else False, ("0", "-1", "nan", "2", "x"), "a share")]),
    "epsilon curve": (["epsilon", "curve"], [Slot("--noise", ("1", "0"), number(0, 1e300), ("-1", "nan", "inf", "x"), "a noise", needed=True), Slot("--rate", ("0.01", "0"), number(0, 1), ("-1", "2", "nan"), "a rate", needed=True),
                                             Slot("--steps", ("10", "0"), number(0, 1000, int), ("-1", "1.5", "x"), "a count", needed=True), DELTA]),
    "epsilon personal": (["epsilon", "personal"], [Slot("-b", ("2:1",), lambda t, at: False if t in BUDGETS else None, BUDGETS, "a budget", needed=True),
                                                   Slot("--rate", ("0.1",), lambda t, at: None if number(0, 1, open_low=True)(t, at) else False, ("0", "1", "-1", "2", "nan", "x"), "a rate", needed=True),
                                                   Slot("--steps", ("10",), lambda t, at: None if number(1, 10**4300, int)(t, at) else False, ("0", "-1", "1.5", "x"), "a count", needed=True)]),
    # The runs have no canaries among texts, as they are told.
    "canaries": (["canaries"], [replace(RUN, holds=lambda t, at: None if a_run(t, at) else a_run(t, at)), DELTA, LEVEL, Slot("--target", ("0",), lambda t, at: None if number(0, 7, int)(t, at) else False, ("-1", "x", "1.5"), "a run")]),
    "extract": (["extract"], [replace(RUN, holds=lambda t, at: None if a_run(t, at) else a_run(t, at)), whole("--prefix", 1, 10**9, "2", "50"), whole("--suffix", 1, 10**9, "2"), whole("-n", 1, 10**18, "1", "100"), whole("--top-k", 1, 10**9, "40"),
                             Slot("-p", ("0.5",), lambda t, at: None if number(0, 1, open_low=True)(t, at) else False, ("0", "1", "-1", "nan", "x"), "a probability"),
                             Slot("--temperature", ("0.8",), lambda t, at: None if number(0, 1e300, open_low=True)(t, at) else False, ("0", "-1", "nan", "inf", "x"), "a temperature")]),
    "power-law": (["power-law"], [RUN, Slot("-a", ("loss",), attack_name, ATTACK.odd, "an attack", needed=True), FPR, LEVEL,
                                  Slot("--advantage", ("0.1",), lambda t, at: None if number(0, 1, open_low=True)(t, at) else False, ("0", "1", "-1", "nan", "x"), "TPR − FPR")]),
    "verify": (["verify"], [RUN, Slot("--digest", ("0" * 64, "A" * 64), lambda t, at: re.fullmatch(r"\s*[0-9a-fA-F]{64}\s*", t, re.ASCII) is not None,
                                      ("0" * 63, "0" * 65, "g" * 64, "sha256:" + "0" * 64), "a digest")]),
    "serve": (["serve"], [RUN, whole("--port", 0, 65535, "0")]),
    "import": (["import"], [Slot("", ("good-arrays.npz",), names_of("", ".npz"), ("good.npz", "bad.npz", "absent.npz", "empty", "pipe", "file", "run"), "arrays", needed=True, general=False),
                            Slot("", ("made", "deep/made"), a_new_folder, (*OUT.odd, "run"), "a new folder", True, True)]),
    "config": (["config"], [Slot("", ("recipe", "plan", "plan.canaries", "model.adapter"), one_of("", "data", "plan", "plan.canaries", "model", "model.adapter", "recipe", "record", "attacks", "defense", "execution", "train"), ("recpie", "plan.", ".plan", "Plan", "recipe.lr"), "a table", needed=True)]),
    "dynamics show": (["dynamics", "show"], [RUN, FPR, whole("--draws", 2, 50, "2"), Slot("-a", ("lira",), attack_name, ATTACK.odd, "an attack"),
                                             Slot("--rates", ("counting",), one_of("counting", "gaussian", "student-t"), ("count", ""), "a way"),
                                             Slot("--regions", ("advantage",), one_of("advantage", "epsilon"), ("eps", ""), "a kind")]),
    "dynamics compare": (["dynamics", "compare", "other"], [RUN, FPR, whole("--draws", 2, 50, "2"), Slot("--page", ("p.html",), PAGE.holds, PAGE.odd, "a page", writes=True),
                                                            Slot("--allow", ("recipe.lr",), lambda t, at: None, what="a field")]),
    "dynamics animate": (["dynamics", "animate"], [RUN, Slot("", ("a.gif",), a_file(".gif"), (*PAGE.odd, "a.png", "absent/a.gif"), "an animation", True, True), FPR, ATTACK]),
    "dynamics early": (["dynamics", "early"], [RUN, FPR, Slot("--share", ("0.1",), number(0, 1, open_low=True), ("0", "1.5", "nan"), "a share"), Slot("--aside", ("0.25", "0.5"), number(0, 1, open_low=True), ("0", "1", "nan", "1e-9"), "a share")]),
    "dynamics difficulty": (["dynamics", "difficulty"], [RUN, FPR, Slot("--aside", ("0.25", "0.5"), number(0, 1, open_low=True), ("0", "1", "nan"), "a share"),
                                                         Slot("--column", ("good.csv",), names_of("", ".csv"), ("bad.csv", "absent.csv", "pipe", "empty", "file", "run"), "a column", general=False)]),
    "curvature show": (["curvature", "show"], [RUN, Slot("-e", ("exact", "hutchinson"), lambda t, at: None if t in ("exact", "hutchinson", "finite-difference", "zeroth-order") else False, ("Exact", "hutchinson ", ""), "an estimator"),
                                               Slot("--option", ("n=4",), lambda t, at: None if t == "n=4" else False, ("n=0", "n=-1", "n=x", "n", "m=3", "n=[1]", "=", "n=1e9", "n=" + "[" * 3000), "an option", general=False),
                                               whole("-n", 1, 10**4300, "1", "2"), Slot("--epoch", ("2", "1"), lambda t, at: None if number(0, 2)(t, at) else False, ("3", "-1", "nan", "0.5"), "a checkpoint"),
                                               whole("--top", 1, 10**4300, "1"), Slot("-o", ("c.parquet",), a_file(), PAGE.odd, "a file", writes=True), SEED]),
    "curvature compare": (["curvature", "compare"], [RUN, Slot("--samples", ("10", "20"), number(10, 10**4300, int), ("9", "0", "1.5"), "a whole number", needed=True), Slot("--n", ("2",), number(2, 10**4300, int), ("1", "0", "-1", "x"), "a whole number", needed=True, general=False),
                                                     Slot("--target", ("0", "3"), lambda t, at: None if number(0, 7, int)(t, at) else False, ("8", "-1", "x"), "a run"), SEED]),
    "curvature bound": (["curvature", "bound"], [Slot("-e", ("1", "0", "0.5"), number(0, 1e300), ("-1", "nan", "inf"), "a budget", needed=True),
                                                 *(Slot(f, ("1", "0.5"), lambda t, at: None if number(0, 1e308)(t, at) else False, ("-1", "nan", "inf", "1e400"), "a number") for f in ("--sigma", "--loss", "--generalisation", "--bias", "--lipschitz", "--displacement")), whole("--size", 1, 10**4300, "100")]),
    "layers": (["layers", "--no-jacobian"], [RUN, Slot("-l", ("head*",), lambda t, at: None, ("absent", "", "[", "conv*", "*"), "layers"), whole("-n", 1, 10**4300, "1", "2"), Slot("--samples", ("20", "10"), number(2, 10**4300, int), ("1", "0", "-2"), "a whole number", needed=True),
                                             Slot("--variant", ("audit",), one_of("audit", "shadow"), ("Audit", ""), "a variant"), Slot("--attacker", ("logistic",), one_of("logistic", "mlp"), ("svm", ""), "an attacker"),
                                             Slot("--top", ("1",), lambda t, at: None if number(1, 2, int)(t, at) else False, ("0", "99", "x"), "a number of layers")]),
    "defend": (["defend", "--dry-run"], [Slot("", ("good-defences.toml",), names_of("", ".toml"), (*BAD_FILES, "good.toml"), "a comparison", needed=True, general=False), Slot("-p", ("good",), one_of("good"), ("digits", "goood", ""), "a pool"),
                                         Slot("--only", ("train",), one_of("train", "report"), ("all", "Train", ""), "a part"), whole("--jobs", 1, 10**4300, "1"), Slot("--report", ("r.html",), lambda t, at: None, PAGE.odd, "a page", writes=True), Slot("--results", ("results",), lambda t, at: None, OUT.odd, "a folder", writes=True),
                                         Slot("-s", ("base.plan.models=6",), lambda t, at: None if t.startswith("base.") else False, ("base.plan.models=3", "base.plan.models=x", "base.plan=3", "base=3", "pools=3", "pools.a=3", "defences=[]", "defences=3", "defences=[3]", 'defences=[{"name":"x"}]', "defences=[{}]", "seeds=[]", "seeds=[-1]", "seeds=x", "top=0", "fprs=[2]", "fprs=[]", "fprs=[0]", 'fprs=["x"]', "attacks=[]", 'attacks=["x"]', 'attacks=["os:system"]', "fgsm=3", "fgsm.epsilon=-1", "fgsm.samples=0", "pptp=3", "pptp.bases=[]", 'pptp.bases=["x"]', "pptp.bases=[3]", "base.data=3", "base.data.name=3", 'base.defense.name="x"', "x=1", "nonsense", "=", "runs=3", "report=3"), "a field", general=False)]),
    "study": (["study", "--dry-run"], [Slot("", tuple(STUDIES), names_of("", ".toml"), (*BAD_FILES, "good.toml"), "a study", needed=True, general=False), Slot("--only", ("train", "page"), lambda t, at: None if t in ("train", "analyse", "page") else False, ("all", "Train", ""), "a part"),
                                       Slot("-f", ("*",), lambda t, at: None, ("absent", "", "["), "fleets"), whole("--jobs", 1, 10**4300, "1"), Slot("--page", ("p.md",), lambda t, at: None, PAGE.odd, "a page", writes=True), Slot("--results", ("results",), lambda t, at: None, OUT.odd, "a folder", writes=True),
                                       Slot("-s", ("recipe.lr=0.1",), lambda t, at: None, ("recipe=3", "recipe.lr=x", "recipe.lr=-1", "plan=3", "plan.models=x", "fleets=3", "tables=3", "members=-1", "members=x", "seeds=x", "noise=[2]", "noise=x", "architectures=3", "x=1", "nonsense", "=", "data=3", "data.name=3", "sizes=3", "matched=3", "estimators=3", "mislabel=3", "private=3"), "a field", general=False)]),
}  # fmt: skip


CODE = """from torch import nn
LIMIT = 3
def make():
    return nn.Linear(4, 3)
def two(x, y):
    return x
def broken():
    raise RuntimeError("not today")
"""


def write_one_model(at: Path, x: np.ndarray, y: np.ndarray) -> None:
    """A factory, weights that fit it and others that do not, members and others, and references."""
    (at / "code.py").write_text(CODE)
    torch.manual_seed(0)
    fits, wide = nn.Linear(4, 3), nn.Linear(5, 3)
    safetensors.torch.save_file(fits.state_dict(), at / "net.safetensors")
    safetensors.torch.save_file(wide.state_dict(), at / "wide.safetensors")
    (at / "cut.safetensors").write_bytes((at / "net.safetensors").read_bytes()[:-9])
    torch.save({"weight": fits.weight, "odd": Fraction(1, 2)}, at / "code.pt")
    np.savez(at / "members.npz", inputs=x[:24], labels=y[:24])
    np.savez(at / "others.npz", inputs=x[24:], labels=y[24:])
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(8, 48, 3))
    np.savez(
        at / "references.npz",
        member=rng.permuted(np.arange(8)[:, None] < np.full((1, 48), 4), axis=0),
        logits=logits,
    )


def write_games(at: Path) -> None:
    """A game about the labels of the runs, of another pool, and two that are no longer what was written."""
    labels = seepage.open(at / "run").labels
    rng = np.random.default_rng(2)
    for name, y in (("game.json", labels), ("other-game.json", labels[:30])):
        write_game(natural_game(y, np.full((len(y), 10), 0.1), rng), at / name)
    text = (at / "game.json").read_text()
    (at / "cut-game.json").write_text(text[: len(text) // 2])
    (at / "changed-game.json").write_text(text.replace("true", "false", 1))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that commands are told of: runs, damaged ones, files good and bad, odd things."""
    at = tmp_path_factory.mktemp("template")
    for name, rate in (("run", 0.05), ("other", 0.1)):
        data = seepage.load("digits", limit=40)
        seepage.train(
            data, half_split(len(data), models=8, seed=1), model=seepage.Model(name="mlp", options={"hidden": [6]}),
            recipe=seepage.Recipe(epochs=2, batch=16, lr=rate, precision="fp32"), out=at / name,
            checkpoints=[0, 2], signals=("loss", "phi", "correct"), keep="final", workers=1, device="cpu",
        )  # fmt: skip
    write_games(at)
    spoil: list[Callable[[Path], object]] = [
        lambda p: (p / "manifest.json").write_bytes(b"{"),
        lambda p: (p / "records" / "00003.json").write_bytes(b"[]"),
        lambda p: (p / "records" / "00002.json").unlink(),
        lambda p: shutil.rmtree(p / "signals" / "phi" / "c" / "1"),
        lambda p: (p / "plan" / "member" / "c" / "0" / "0").write_bytes(b""),
        lambda p: [w.write_bytes(w.read_bytes()[:-9]) for w in (p / "weights").rglob("*.safetensors")],
    ]  # fmt: skip
    for k, how in enumerate(spoil, start=1):
        how(Path(shutil.copytree(at / "run", at / f"damaged-{k}")))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(48, 4)) + (np.arange(48) % 3)[:, None], np.arange(48) % 3
    np.savez(at / "good.npz", x=x, y=y)
    write_one_model(at, x, y)
    (at / "bad.npz").write_bytes((at / "good.npz").read_bytes()[:200])
    member = half_split(12, models=8).member
    np.savez(at / "good-arrays.npz", member=member, phi=member + rng.normal(size=member.shape))
    ids = seepage.open(at / "run").ids
    (at / "good.csv").write_text(
        "id,value\n" + "".join(f"{i},{k / 7}\n" for k, i in enumerate(ids))
    )
    (at / "bad.csv").write_text("id,value\na,nan\n")
    head, some = "id,kind\n", list(enumerate(ids))
    (at / "kinds.csv").write_text(head + "".join(f"{i},{'ab'[k % 2]}\n" for k, i in some))
    (at / "pairs.csv").write_text(head + "".join(f"{i},{k // 2}\n" for k, i in some))
    (at / "uneven.csv").write_text(head + "".join(f"{i},{min(k // 2, 9)}\n" for k, i in some))
    (at / "twice.csv").write_text(head + f"{ids[0]},1\n" * 2)
    (at / "wide.csv").write_text(head + f"{ids[0]},1,2\n")
    sides = [*(f"member/{k}" for k in range(24)), *(f"other/{k}" for k in range(24))]
    (at / "sides.csv").write_text(head + "".join(f"{i},{k % 2}\n" for k, i in enumerate(sides)))
    (at / "ids.txt").write_text("\n".join(ids[:10]))
    for name, raw in CONFIGURATIONS.items():
        (at / name).write_bytes(raw)
    texts = {
        "good-limits.toml": LIMITED,
        "game.toml": 'data = { name = "digits", limit = 40 }\nrecord = { logits = true }\nlabel_game = { canaries = 9 }\n',
        "good.toml": GOOD,
        "good-defences.toml": COMPARISON,
        **STUDIES,
        "file": "here",
    }
    for name, text in texts.items():
        (at / name).write_text(text)
    (at / "empty").mkdir()
    (at / "loop").symlink_to("loop")
    return at


@pytest.fixture
def place(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of one's own, with the user's state folder inside it; a server that is interrupted at its second look."""
    at = tmp_path / "work"
    shutil.copytree(template, at, symlinks=True)
    os.mkfifo(at / "pipe")
    (at / "home").mkdir()
    for name in ("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(at / "home"))

    first = serve.Follower.look

    def once(follower: serve.Follower) -> None:
        if hasattr(follower, "looked"):
            raise KeyboardInterrupt
        first(follower)
        follower.looked = True  # type: ignore[attr-defined]

    monkeypatch.setattr(serve, "EVERY", 0.001)
    monkeypatch.setattr(serve.Follower, "look", once)
    return at


COSTLY = {"train", "audit", "audit --dry-run", "audit MODEL", "doctor", "repair"}
"""Commands that start processes, or take seconds, when they accept."""


def case(name: str, seed: int, at: Path) -> tuple[list[str], str | None, list[str]]:
    """Words of one call, why they are acceptable (None: they are not), and what it may write.

    Of a costly command's calls one in forty may be acceptable.
    """
    rng = np.random.default_rng([7, *name.encode(), seed])
    found = drawn(name, rng, at)
    while name in COSTLY and seed % 40 and found[1] is not None:
        found = drawn(name, rng, at)
    return found


def drawn(name: str, rng: np.random.Generator, at: Path) -> tuple[list[str], str | None, list[str]]:
    """Words of one call, drawn anew with every call."""
    base, slots = COMMANDS[name]
    words, verdicts, targets = list(base), [], ["home/*", "*/derived*", "*/analysis*", "*/locks*"]
    wrong = set(
        rng.choice(
            len(slots), size=min(len(slots), int(rng.integers(1, 3))), replace=False
        ).tolist()
    )
    form = int(rng.integers(0, 20))
    if form > 2:
        form = -1
    told = []
    for k, slot in enumerate(slots):
        odd = k in wrong and form < 0
        if not (slot.needed or odd or rng.random() < 0.3):
            continue
        text = slot.text(rng, odd)
        held = slot.holds(text, at)
        verdicts.append(held)
        if odd:
            told.append(f"{slot.flag or 'argument'} {text[:30]!r}, {slot.what}")
        joined = slot.flag.startswith("--") and rng.random() < 0.5
        words += [f"{slot.flag}={text}"] if joined else [slot.flag, text] if slot.flag else [text]
        if slot.writes:
            named = glob.escape(os.path.normpath(text))
            above = [
                glob.escape(str(p)) for p in Path(os.path.normpath(text)).parents if str(p) != "."
            ]
            # Beside a page lie its figures, of the same name.
            beside = f"{glob.escape(os.path.splitext(os.path.normpath(text))[0])}.*"
            targets += [named, f"{named}/*", beside, *above]
    if form == 0:
        words.append(str(rng.choice(["--made-up", "--made-up=1", "-ß", "--out-of-place"])))
        return words, None, targets
    if form == 1:
        words.append(next((s.flag for s in slots if s.flag), "--x"))
        return words, None, targets
    if form == 2:
        words += ["spare"] * 3
        return words, None if "compare" not in words else "further runs", targets
    if name == "curvature show":
        targets.append("*/curvature.parquet")
    # In a configuration stand `out` and, after it, report.html.
    if base[0] in ("train", "audit"):
        targets += ["out", "out/*"]
    if base[0] == "repair":
        targets += ["run/*"]
    return words, None if False in verdicts else "; ".join(told), targets


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command(name: str, place: Path, record_property: Callable[[str, object], None]) -> None:
    tally = Tally(f"seepage {name}", place)
    for seed in range(EACH):
        words, why, targets = case(name, seed, place)
        tally.command(words, why, targets=targets, ended=(0, 1, 130) if name == "serve" else (0, 1))
    tally.close(record_property)


def test_every_command_is_here() -> None:
    """A new command must be given malformed words too."""
    import typer.main

    from seepage.cli import app

    group = typer.main.get_command(app)
    found = set()
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {name} if inner is None else {f"{name} {n}" for n in inner}
    assert found == COMMANDS.keys() - {
        "audit --dry-run", "audit MODEL", "check --learnt-nothing", "attack --by", "attack --used",
        "attack --ranges", "attack --option", "attack --json", "epsilon labels --config",
    }  # fmt: skip
