"""What people wait for: commands of this checkout beside those of another one, in turns.

    python -m benchmarks.first_minute OTHER [--tries 5] [--only help audit report check dynamics]

OTHER is a source tree of an earlier commit (`git worktree add --detach OTHER COMMIT`), which this
Python can import with what is installed. Each command is a process of its own, the two checkouts in
turns; seconds are of all its processes (processor) and by the clock, medians. Kernels that the other
compiles when it runs are compiled anew where a row says that nothing is kept, and else kept. Bytecode
of either is written before, as an installation writes it. Both import the same arrays and each reads
the folder that it made.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.stored import ROOT
from seepage.fleet.machine import hardware
from seepage.plan import half_split

HERE = "here"
EARLIER = (
    "loss", "mentr", "attack-p", "attack-r", "calibrated", "lira", "lira-offline-one-sided",
    "lira-offline-two-sided", "rmia", "rmia-offline", "base", "base-offline", "shadow-classifier",
)  # fmt: skip
"""Attacks of a report at commit faf2258, which takes no choice of them."""


def run(tree: Path, home: Path, *command: str) -> tuple[float, float]:
    """Processor seconds and seconds by the clock of one command; a failure ends the benchmark."""
    env = os.environ | {"PYTHONPATH": str(tree / "src"), "NUMBA_CACHE_DIR": str(home / "compiled")}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "seepage", *command],
        env=env, cwd=home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    clock, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{tree}: {' '.join(command)}: {done.stderr[-2000:]}")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, clock


def arrays(path: Path, samples: int, models: int, epochs: np.ndarray[Any, Any]) -> None:
    """Signals of Gaussians in which a tenth of the samples leaks, ever more, as an .npz."""
    rng = np.random.default_rng(0)
    member = half_split(samples, models=models, seed=0).member
    weight = np.where(rng.random(samples) < 0.1, 1.0, 0.08).astype(np.float32)
    phi = np.empty((models, len(epochs), samples), np.float32)
    for t, epoch in enumerate(epochs):
        grown = np.float32(epoch / epochs[-1])
        phi[:, t] = np.random.default_rng([0, t]).standard_normal(member.shape, dtype=np.float32)
        phi[:, t] += grown * (3 - 3 * weight + 3.5 * weight * member)
    loss = np.logaddexp(np.float32(0), -phi)
    np.savez(
        path, member=member, phi=phi, checkpoints=epochs, labels=rng.integers(0, 10, samples),
        correct=phi > 0, loss=loss, mentr=loss,
    )  # fmt: skip


class Pair:
    """Both checkouts, a home for what each makes, and where the rows go that are measured."""

    def __init__(self, other: Path, commit: str, place: Path, out: Path, tries: int) -> None:
        self.trees = {HERE: ROOT, "other": other}
        self.homes = {side: place / side for side in self.trees}
        self.place, self.tries = place, tries
        self.commit, self.out = commit, out
        for home in self.homes.values():
            home.mkdir()
        for tree in self.trees.values():
            # An installed package has it, a source tree not where Python is told to write none.
            subprocess.run(
                [sys.executable, "-m", "compileall", "-q", str(tree / "src")], check=True
            )

    def measure(
        self, name: str, command: Mapping[str, list[str]] | list[str], wanted: float | None,
        before: Callable[[Path], None] = lambda home: None,
    ) -> None:  # fmt: skip
        """One row: the command, or that of each checkout, in turns; `before` prepares each home."""
        told = command if isinstance(command, Mapping) else dict.fromkeys(self.trees, command)
        if before is not nothing_kept:
            # What the other compiles when it runs is kept from here on.
            run(self.trees["other"], self.homes["other"], *told["other"])
        spent: dict[str, list[tuple[float, float]]] = {side: [] for side in self.trees}
        for _ in range(self.tries):
            for side, tree in self.trees.items():
                before(self.homes[side])
                spent[side].append(run(tree, self.homes[side], *told[side]))
        row: dict[str, Any] = {"name": name, "wanted": wanted, "tries": self.tries}
        for side, found in spent.items():
            row[side] = {
                "cpu": float(np.median([f[0] for f in found])),
                "wall": float(np.median([f[1] for f in found])),
                "all": found,
            }
        row["ratio"] = row["other"]["cpu"] / row[HERE]["cpu"]
        row["load"] = os.getloadavg()[0]
        self.store(row)
        print(f"{name}: {row[HERE]['cpu']:.2f} s, {row['other']['cpu']:.2f} s, {row['ratio']:.2f}")

    def store(self, row: dict[str, Any]) -> None:
        """The row in the file of results, in the place of an earlier one of its name."""
        rows = {}
        if self.out.exists():
            rows = {r["name"]: r for r in json.loads(self.out.read_text())["rows"]}
        rows[row["name"]] = row
        found = {"commit": self.commit, "rows": list(rows.values()), "hardware": hardware()}
        self.out.write_text(json.dumps(found, indent=1) + "\n")

    def imported(self, name: str, samples: int, models: int, epochs: np.ndarray[Any, Any]) -> None:
        """The same arrays in the home of either."""
        source = self.place / f"{name}.npz"
        arrays(source, samples, models, epochs)
        for side, tree in self.trees.items():
            run(tree, self.homes[side], "import", str(source), name)
        source.unlink()


def nothing_kept(home: Path) -> None:
    """As after an installation."""
    for name in ("compiled", "runs"):
        shutil.rmtree(home / name, ignore_errors=True)


def nothing_derived(home: Path) -> None:
    """No result of an earlier command in the run folder."""
    shutil.rmtree(home / "stored" / "derived", ignore_errors=True)


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("other", type=Path)
    parser.add_argument("--tries", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=["help", "audit", "report", "alike", "check", "dynamics"])  # fmt: skip
    parser.add_argument("--checkpoints", type=int, default=50, help="of dynamics")
    parser.add_argument("--samples", type=int, default=50_000, help="of dynamics")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/first-minute.json")
    given = parser.parse_args()
    commit = subprocess.run(
        ["git", "-C", str(given.other), "rev-parse", "--short", "HEAD"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        pair = Pair(given.other.resolve(), commit, Path(place), given.out, given.tries)
        if "help" in given.only:
            pair.measure("`--help`", ["--help"], 15)
        if "audit" in given.only:
            what = ["audit", str(ROOT / "examples" / "digits.toml")]
            pair.measure("`audit examples/digits.toml`, nothing kept", what, 4, nothing_kept)
        if {"report", "alike", "check"} & set(given.only):
            epochs = np.array((0.0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40))
            pair.imported("stored", 10_000, 64, epochs)
        size = "64 × 12 × 10,000"
        if "report" in given.only:
            pair.measure(f"`report`, {size}, first time", ["report", "stored"], 6, nothing_derived)
            pair.measure(f"`report`, {size}, second time", ["report", "stored"], 15)
        if "alike" in given.only:
            alike = [part for name in EARLIER for part in ("-a", name)]
            what = {HERE: ["report", "stored", *alike], "other": ["report", "stored"]}
            name = f"`report`, {size}, first time, both the {len(EARLIER)} attacks of then"
            pair.measure(name, what, None, nothing_derived)
        if "check" in given.only:
            what = ["check", "stored", "--max-auc", "0.99"]
            pair.measure(f"`check`, {size}, nothing derived", what, 5, nothing_derived)
            pair.measure(f"`check`, {size}, second time", what, 5)
        if "dynamics" in given.only:
            pair.imported(
                "path", given.samples, 128, np.arange(given.checkpoints, dtype=np.float64)
            )
            size = f"{given.samples:,} × 128 × {given.checkpoints}"
            for command in ("early", "show", "show --rates gaussian"):
                verb, *more = command.split()
                what = ["dynamics", verb, "path", *more]
                pair.measure(f"`dynamics {command}`, {size}", what, 5)


if __name__ == "__main__":
    main()
