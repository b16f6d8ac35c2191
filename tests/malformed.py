"""Malformed input by the hundred: called in a closed folder, watched, and counted.

Each input is refused in one line or accepted; anything else is a fault, kept with what caused it, so
that one run shows all of them. `Tally.close` asserts that there were none and leaves a row for
`python -m benchmarks.fuzz`.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
import signal
import stat
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from seepage.data import CopiesWarning
from seepage.errors import SeepageError

WATCHED = 60
"""Seconds after which a call is taken for one that hangs."""
LEAST = 200
"""Inputs to every command and reader."""

Property = Callable[[str, object], None]


class Hangs(BaseException):
    """A call took longer than the watch allows."""


@contextlib.contextmanager
def watched(seconds: float = WATCHED) -> Iterator[None]:
    """Raises Hangs in the caller after so long; an alarm that was set goes on afterwards."""

    def rings(number: int, frame: object) -> None:
        raise Hangs

    began = time.monotonic()
    before = signal.signal(signal.SIGALRM, rings)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 0.01))


State = dict[str, tuple[int, ...]]


def state(folder: Path) -> State:
    """Every file and folder below: its kind, and a file's length, time and number."""
    found: State = {}
    waiting = [folder]
    while waiting:
        at = waiting.pop()
        for entry in os.scandir(at):
            s = entry.stat(follow_symlinks=False)
            name = os.path.relpath(entry.path, folder)
            if stat.S_ISDIR(s.st_mode):
                found[name] = (stat.S_IFDIR,)
                waiting.append(Path(entry.path))
            else:
                found[name] = (stat.S_IFMT(s.st_mode), s.st_size, s.st_mtime_ns, s.st_ino)
    return found


@dataclass
class Tally:
    """What became of many inputs to one command or reader, all of whose files lie in `folder`."""

    name: str
    folder: Path
    inputs: int = 0
    refused: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def fault(self, kind: str, what: object, why: object = "") -> None:
        """Count a fault and keep the first few whole."""
        self.faults[kind] += 1
        if self.faults[kind] <= 12:
            self.told.append(f"{kind}: {self.name}: {what}: {why}")

    def read(
        self,
        call: Callable[[], Any],
        what: object,
        why: str | None = "sound",
        *,
        targets: Sequence[str] = (),
        refusals: tuple[type[Exception], ...] = (SeepageError,),
    ) -> Any:
        """What `call` returned, or None where it refused in one line.

        `call` reads, and asserts that what it read is what an independent parse finds. why: what makes it acceptable, None where it must be refused. targets: patterns of the names
        that it may make in the folder when it accepts.
        """
        before = state(self.folder)
        self.inputs += 1
        found = None
        try:
            with warnings.catch_warnings(), watched():
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", CopiesWarning)
                found = call()
        except refusals as error:
            self.refused += 1
            text = str(error)
            if not 0 < len(text.encode(errors="surrogateescape")) < 3000 or "\n" in text:
                self.fault("not one line", what, repr(text[:300]))
            self._unchanged(before, what, ())
            return None
        except Hangs:
            self.fault("hang", what)
            return None
        except AssertionError as error:
            self.fault("read otherwise", what, str(error)[:300])
        except Exception as error:
            self.fault("traceback", what, _short(error))
            return None
        self._accepted(what, why)
        self._unchanged(before, what, targets)
        return found

    def command(
        self,
        words: Sequence[str],
        why: str | None = "sound",
        *,
        targets: Sequence[str] = (),
        ended: tuple[int, ...] = (0, 1),
    ) -> int | None:
        """The command's exit status, from the folder as working directory; `why` as in `read`."""
        before = state(self.folder)
        self.inputs += 1
        shown = " ".join(map(repr, words))
        try:
            with watched():
                status, err = called(words, self.folder)
        except Hangs:
            self.fault("hang", shown)
            return None
        except BaseException as error:
            self.fault("traceback", shown, _short(error))
            self._unchanged(before, shown, ())
            return None
        lines = err.rstrip("\n").split("\n") if err else []
        if status == 2:
            self.refused += 1
            *notes, last = lines or [""]
            if not last.startswith("seepage: ") or any(
                not n.startswith(("note: ", "warning: ")) for n in notes
            ):
                self.fault("not one line", shown, repr(err[:600]))
            self._unchanged(before, shown, ())
        elif status in ended:
            self._accepted(shown, why)
            if "Traceback" in err or "Warning: " in err:
                self.fault("traceback", shown, repr(err[-600:]))
            self._unchanged(before, shown, targets)
        else:
            self.fault("status", shown, f"{status} {err[:300]!r}")
        return status

    def _accepted(self, what: object, why: str | None) -> None:
        if why is None:
            self.fault("accepted silently", what)
        self.accepted[why or "must be refused"] += 1

    def _unchanged(self, before: State, what: object, targets: Sequence[str]) -> None:
        """What is new lies among the targets, what was there is as it was; the folder is cleared."""
        after = state(self.folder)
        new, gone = after.keys() - before.keys(), before.keys() - after.keys()
        changed = {k for k in before.keys() & after.keys() if before[k] != after[k]}
        strays = [k for k in new | gone | changed if not any(fnmatch(k, t) for t in targets)]
        if strays:
            self.fault("file outside the target" if targets else "left behind", what, strays[:5])
        for k in sorted(new, reverse=True):
            path = self.folder / k
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()

    def row(self) -> dict[str, Any]:
        """Plain values for `benchmarks.fuzz`."""
        return {
            "name": self.name,
            "inputs": self.inputs,
            "refused": self.refused,
            "accepted": dict(self.accepted.most_common()),
            "faults": dict(self.faults),
        }

    def close(self, record: Property | None = None, least: int = LEAST) -> None:
        """Assert that there were enough inputs, that some were refused, and that nothing was wrong."""
        if record is not None:
            record("malformed", self.row())
        assert not self.told, "\n".join([f"{sum(self.faults.values())} faults", *self.told])
        assert self.inputs >= least
        assert self.refused > 0
        assert self.refused + self.accepted.total() == self.inputs


def _short(error: BaseException) -> str:
    at = traceback.extract_tb(error.__traceback__)[-1]
    ours = [f for f in traceback.extract_tb(error.__traceback__) if "/seepage/" in f.filename]
    place = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in (at, *ours[:-4:-1]))
    return f"{type(error).__name__}: {str(error)[:200]} ({place})"


def called(words: Sequence[str], folder: Path) -> tuple[int, str]:
    """Exit status and standard error of `seepage WORDS` in this process, from `folder`."""
    from seepage.cli import main

    argv, here, shown = sys.argv, os.getcwd(), warnings.showwarning
    out, err = (io.TextIOWrapper(tempfile.TemporaryFile(), "utf-8") for _ in range(2))  # noqa: SIM115
    streams, doubles = (sys.stdout, sys.stderr), [os.dup(1), os.dup(2)]
    for stream in streams:
        stream.flush()
    status: Any = None
    try:
        os.chdir(folder)
        sys.argv = ["seepage", *words]
        # Forked workers write to the descriptors.
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.stdout, sys.stderr = out, err
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            try:
                main()
            except SystemExit as ended:
                status = ended.code or 0
    finally:
        sys.stdout, sys.stderr = streams
        sys.argv, warnings.showwarning = argv, shown
        os.chdir(here)
        for number, double in enumerate(doubles, start=1):
            os.dup2(double, number)
            os.close(double)
    out.close()
    err.flush()
    err.seek(0)
    with err:
        return status, err.read()


Damage = Callable[[bytes, np.random.Generator], bytes]


def damaged(raw: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with a few changed, cut, doubled, moved or set to what readers trip over."""
    out = bytearray(raw)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, max(1, len(out))))
        match int(rng.integers(0, 8)):
            case 0:
                out = out[:at]
            case 1:
                out[at : at + 1] = bytes([int(rng.integers(0, 256))])
            case 2:
                out[at:at] = out[at : at + int(rng.integers(1, 40))]
            case 3:
                out[at : at + 4] = rng.choice(
                    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"]
                )
            case 4:
                del out[at : at + int(rng.integers(1, 20))]
            case 5:
                out[at:at] = rng.choice(
                    [b"\n", b"\r", b'"', b",", b"nan", b"1e999", b"\0", b"\xff"]
                )
            case 6:
                other = int(rng.integers(0, max(1, len(out))))
                out[at : at + 8], out[other : other + 8] = out[other : other + 8], out[at : at + 8]
            case _:
                out = out[at:] + out[:at]
    return bytes(out)


ODD: tuple[Any, ...] = (
    None, True, 0, 1, -1, 1.5, 10**30, -0.0, 1e308, float("nan"), "", "x", "../x", "/", "\0", "\udcff", "é", "0" * 64,
    "x" * 300, [], [[]], {}, {"": {}}, [0], ["a"], ["a", "b", "c"], [1, 2, 3], {"a": 1}, [None], [float("inf")],
)  # fmt: skip


def changed(content: Any, rng: np.random.Generator) -> tuple[Any, str]:
    """A copy of JSON with one value anywhere exchanged, taken out or added, and where."""
    content = copy.deepcopy(content)
    at, path = content, []
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = keys[int(rng.integers(len(keys)))]
        path.append(str(key))
        if not isinstance(at[key], dict | list) or not at[key] or rng.random() < 0.3:
            break
        at = at[key]
    value = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
    if not keys:
        return value, ".".join(path)
    match int(rng.integers(0, 4)):
        case 0:
            del at[key]
        case 1 if isinstance(at, dict):
            at["".join(map(str, rng.integers(0, 9, 3)))] = value
        case 1:
            at.insert(key, value)
        case _:
            at[key] = value
    return content, ".".join(path)
