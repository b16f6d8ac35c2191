"""What `seepage audit --dry-run` foretells against what then happens: seconds and memory.

    python -m benchmarks.dry_runs [--only CASE] [--out FILE]

Three audits, each foretold in an interpreter of its own and then run: `seepage train` and `seepage
audit` into fresh folders, by the clock from start to end of the process. Memory is the largest sum over
all processes of what each holds alone and its share of what they hold together (Pss of
/proc/PID/smaps_rollup), looked at ten times a second. Fashion-MNIST and the table are looked for
below SEEPAGE_DATA.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
FASHION = (
    "data.limit=4000", "plan.models=8", "recipe.epochs=4", "record.checkpoints=4",
)  # fmt: skip
TABLE = """
out = "runs/table"
[data]
name = "{table}"
label = "income"
limit = 8000
[plan]
models = 16
[model]
name = "mlp"
[recipe]
epochs = 10
batch = 64
lr = 0.02
"""
COLUMNS = (
    "age,workclass,fnlwgt,education,education_num,marital_status,occupation,relationship,race,"
    "sex,capital_gain,capital_loss,hours_per_week,native_country,income"
)


def cases(scratch: Path) -> dict[str, list[str]]:
    """Configuration and what is set in it, by name."""
    found = {
        "mlp, digits": ["examples/digits.toml"],
        "cnn-2, Fashion-MNIST": [
            "examples/fashion-mnist.toml",
            *(word for option in FASHION for word in ("--set", option)),
        ],
    }
    adult = Path(os.environ.get("SEEPAGE_DATA", "data")) / "adult" / "adult.data"
    if adult.exists():
        lines = [w.strip() for w in adult.read_text().splitlines() if w.strip()]
        plain = [",".join(cell.strip() for cell in line.split(",")) for line in lines]
        (scratch / "adult.csv").write_text("\n".join([COLUMNS, *plain]) + "\n")
        config = scratch / "table.toml"
        config.write_text(TABLE.format(table=scratch / "adult.csv"))
        found["mlp, Adult table"] = [str(config)]
    return found


def _held(pid: int) -> int:
    """Bytes of memory of a process and those below it, what they share counted once."""
    total = 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
    return total


def run(arguments: list[str]) -> tuple[float, int]:
    """Seconds of a command by the clock, and the most memory that its processes held."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "seepage", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    most, done = 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not done.wait(0.1):
            most = max(most, _held(process.pid))

    thread = threading.Thread(target=look)
    thread.start()
    _, said = process.communicate()
    seconds = time.perf_counter() - began
    done.set()
    thread.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {said.decode()[-400:]}")
    return seconds, most


def foretell(arguments: list[str]) -> dict[str, Any]:
    """What a dry run says, by part."""
    from seepage.cli.foreseeing import age, foreseen
    from seepage.config.audit import read_config
    from seepage.config.prepare import prepare

    wanted = prepare(read_config(Path(arguments[0]), arguments[2::2]))
    began = time.perf_counter()
    work, workers, cost = foreseen(wanted, age())
    return {
        "took": time.perf_counter() - began,
        "workers": workers,
        "samples": work.samples,
        "models": work.models,
        "checkpoints": work.checkpoints,
        "seconds": cost.seconds,
        "memory": cost.memory,
        "train_seconds": cost.train_seconds,
        "total_seconds": cost.total_seconds,
        "peak_memory": cost.peak_memory,
    }


def compare(name: str, given: list[str], scratch: Path) -> dict[str, Any]:
    """A case: foretold, then run."""
    command = [sys.executable, "-m", "benchmarks.dry_runs", "--foretell", json.dumps(given)]
    told = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = {"name": name, "foretold": json.loads(told.stdout.splitlines()[-1])}
    safe = name.replace(", ", "-").replace(" ", "-")
    for what in ("train", "audit"):
        seconds, memory = run([what, *given, "--out", str(scratch / f"{safe}-{what}")])
        row[what] = {"seconds": seconds, "memory": memory}
    row["time_ratio"] = row["foretold"]["total_seconds"] / row["audit"]["seconds"]
    row["train_ratio"] = row["foretold"]["train_seconds"] / row["train"]["seconds"]
    row["memory_ratio"] = row["foretold"]["peak_memory"] / row["audit"]["memory"]
    return row


def main() -> None:
    """Every case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only")
    parser.add_argument(
        "--foretell", type=json.loads, help="foretell this, print JSON, nothing else"
    )
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    if a.foretell:
        print(json.dumps(foretell(a.foretell)))
        return
    from seepage.fleet.machine import hardware

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        rows = []
        for name, given in cases(scratch).items():
            if a.only in (None, name):
                rows.append(compare(name, given, scratch))
                print(json.dumps(rows[-1]), flush=True)
    if a.out:
        found = {"hardware": hardware(), "load": os.getloadavg()[1], "rows": rows}
        a.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
