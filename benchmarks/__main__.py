"""`make bench`: every benchmark after another, each figure with its reference from the same run.

Results go to benchmarks/results/<date>-<host>-<name>.json; `python -m benchmarks.pages` writes the
docs from them. Options after `--` are passed on to nobody: run a module by itself to change sizes.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ALL = {
    "training": ["--seconds", "4"],
    "scoring": [],
    "attack_table": [],
    "peers": [],
    "streaming": [],
    "recorder": [],
    "looking": [],
    "plane": [],
    "curvature": [],
    "layers": [],
    "report": [],
    "traces": [],
    "kept_weights": [],
    "growth": [],
    "dry_runs": [],
    "ten_million": [],
}


def main() -> None:
    """Run what was asked for, all by default; a benchmark that fails is named at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*ALL, []], help="which; all by default")
    parser.add_argument("--host", default="2-core", help="how results name this machine")
    args = parser.parse_args()
    stamp = f"{datetime.date.today().isoformat()}-{re.sub(r'[^a-z0-9-]', '-', args.host.lower())}"
    failed = []
    for name in args.names or ALL:
        out = HERE / "results" / f"{stamp}-{name}.json"
        print(f"== {name} ({platform.processor() or platform.machine()})", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *ALL[name], "--out", str(out)]
        if subprocess.run(command, cwd=HERE.parent, check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
