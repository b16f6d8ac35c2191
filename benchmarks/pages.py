"""Writes docs/performance.md, docs/examples/fashion-mnist.md and a table of docs/dynamics.md.

From stored results alone:

python -m benchmarks.pages                              # from what is stored
python -m benchmarks.pages --audit runs/fashion-mnist   # stores that audit's figures first
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from benchmarks import kept_weights
from benchmarks.example_page import EXAMPLE, example, store_example
from benchmarks.gpu_page import gpu, gpu_fleet
from benchmarks.stored import RESULTS, ROOT, machine, stored, table
from benchmarks.traces import written


def training() -> str:
    """The fleet against the plain loop, every stored machine."""
    rows = []
    for name, result in stored("*training*.json"):
        for r in result["rows"]:
            verdict = "holds" if r["ratio"] >= r["target"] else "does not hold"
            rows.append(
                (
                    r["name"].removeprefix("training "),
                    f"{r['reference_samples_per_second']:,.0f}",
                    f"{r['samples_per_second']:,.0f}",
                    f"**{r['ratio']:.2f}**",
                    f"{r['target']}: {verdict}",
                    f"{r['ratio_to_expert']:.2f}" if "ratio_to_expert" in r else "–",
                    f"{r['chosen']['backend']}, {r['chosen']['precision']}",
                    *(
                        f"{r['samples_per_second'] * r['flops_per_sample'] / 1e9 / peak:.1%}"
                        for peak in (r["peak_gflops"]["bf16"], r["peak_gflops"]["fp32"])
                    ),
                    f"`{name}`",
                )
            )
    head = ("case", "plain loop /s", "fleet /s", "ratio", "wanted", "to expert", "chosen")
    head += ("of bf16 peak", "of fp32 peak", "file")
    return (
        "Two workers of one thread against one process with two threads, a DataLoader over "
        "per-sample transforms and float32; medians, alternated. The last shares are what "
        "the fleet reaches of the rate of matrix products measured in the same run; above 100 % of "
        "the float32 rate it computes in bf16. *To expert*: the fleet beside as many processes of the loop that "
        "an expert writes (channels-last, bfloat16 where it is faster, all data normalised and resident).\n\n"
        + table(head, rows)
        + "\n\nThe `amx` file is from 2 cores with bf16 matrix units; the first `2-core` file is "
        "from a processor without bf16 instructions, where the measurement at start keeps float32 and "
        "convolutions are the same library calls in both loops (bf16 products are the slower there); the last is from one with AVX-512's bf16 and no matrix units."
    )


def scoring() -> str:
    """Attacks at full size."""
    found = stored("*scoring*.json")
    if not found:
        return "Not stored yet: `make bench`."
    name, result = found[-1]
    rows = [
        (
            r["name"],
            f"{r['seconds']:.2f} s",
            f"{r['ratio']:,.0f} ×",
            f"{r['peak_mb']:.0f} MB",
            r["reference"],
        )
        for r in result["rows"]
    ]
    head = ("what", "time", "against its reference", "peak beyond input", "reference")
    m = result["machine"]
    return (
        f"From `{name}`: {m['samples']:,} samples × {m['models']} models, {m['threads']} threads, "
        f"medians of {m['repeats']}.\n\n" + table(head, rows) + experts(result)
    )


def experts(result: dict[str, Any]) -> str:
    """Against what an expert writes in NumPy, where the run has it."""
    rows = [
        (
            r["name"],
            f"{r['processor_seconds']:.3f} s",
            f"{r['reference_processor_seconds']:.2f} s",
            f"**{r['ratio']:.1f} ×**",
            f"{r['wall_ratio']:.1f} ×",
            f"{r['error']:.0e}",
        )
        for r in result.get("experts", [])
    ]
    head = (
        "all targets",
        "here",
        "NumPy",
        "ratio",
        "by the clock",
        "largest difference / (1 + score)",
    )
    return (
        "\n\nThe same scores in NumPy as an expert writes them, sums over all models less those of a "
        "pair, and RMIA by sorting and searching; processor seconds, alternated, into arrays that are "
        "there:\n\n" + table(head, rows)
        if rows
        else ""
    )


def peers() -> str:
    """Other packages, from environments of their own."""
    found = stored("*peers*.json")
    if not found:
        return ""
    name, result = found[-1]
    rows = [
        (
            r["name"],
            f"{r['seconds']:.2f} s",
            r["reference"],
            f"{r['reference_seconds_one_target']:.2f} s",
            f"{r['ratio']:,.0f} ×",
        )
        for r in result["rows"]
    ]
    head = ("attack", "every target, here", "there", "one target, there", "for every target")
    return (
        f"From `{name}` (`python -m benchmarks.peers`): {result['samples']:,} samples × "
        f"{result['models']} models, medians of {result['repeats']}; a peer's time of one target "
        "is multiplied by the number of models.\n\n" + table(head, rows)
    )


def precision() -> str:
    """bf16 against float32."""
    parts = []
    for name, r in stored("*precision*.json"):
        rows = [
            (
                key,
                "{:+.4f} [{:+.4f}, {:+.4f}]".format(*r[key]["auc"]),
                "{:+.4f} [{:+.4f}, {:+.4f}]".format(*r[key]["tpr_at_1pct"]),
                f"{r[key]['spearman_of_sample_evidence']:.3f}",
            )
            for key in ("bf16 minus fp32", "fp32, other seeds minus fp32")
        ]
        head = ("difference", "AUC", "TPR at 1 % FPR", "Spearman of per-sample evidence")
        parts.append(
            f"LiRA on {r['models']} cnn-2 models, {r['samples']:,} Fashion-MNIST samples, "
            f"{r['epochs']} epochs ({machine(r['hardware'])}; `{name}`):\n\n{table(head, rows)}\n\n"
            "Changing the precision changes per-sample evidence less than changing the seeds does. Noise "
            f"reads 0 in a difference; both rates are at thresholds that {r['samples'] // 200:,} of "
            f"{r['samples'] // 2:,} non-members of a target pass."
        )
    return "\n\n".join(parts) or "Not stored yet."


def imagenet() -> str:
    """On paper: what an audit of ImageNet would cost."""
    from seepage.fleet.cost import Rates, Workload, estimate

    # ResNet-50 as in the curvature paper's fleets: 4.1 GFLOP forward; a third of an H100's
    # measured bf16 rate is assumed, three forwards a training step.
    rate = 2.6e14
    batch = 256
    work = Workload(samples=1_281_167, models=64, checkpoints=50, epochs=90, batch=batch)
    look = 8.2e9 / rate
    lines = []
    for gpus in (1, 16):
        cost = estimate(work, Rates(step=3 * batch * look, look=look), gpus)
        lines.append(
            (
                gpus,
                f"{cost.seconds['training'] / 3600:,.0f}",
                f"{cost.seconds['evaluation'] / 3600:,.0f}",
                f"{cost.total_disk / 2**30:,.1f} GiB",
                f"{cost.memory['scoring'] / 2**30:,.1f} GiB",
            )
        )
    head = ("GPUs", "training, h", "evaluation, h", "disk", "memory of scoring")
    return (
        "1,281,167 samples × 64 models × 50 checkpoints, 90 epochs on half of the data each, "
        "ResNet-50 at 8.2 GFLOP a forward pass and an assumed 260 TFLOP/s (a third of the rate of "
        "matrix products measured on an H100), by `seepage.fleet.cost.estimate`:\n\n"
        + table(head, lines)
    )


def larger_than_memory(name: str, result: dict[str, Any]) -> str:
    """One epoch over a pool in its file."""
    row, machine_memory = result["rows"][0], result["hardware"]["memory_gib"]
    members, looked = sum(row["members"]), 2 * row["samples"]
    trained = sum(row["run_seconds"]) - sum(row["look_seconds"])
    one = row["bytes"] / row["samples"] / 1e6
    most = max(w["VmHWM"] for w in row["workers"]) / 2**20
    held = max(w["RssAnon"] for w in row["workers"]) / 2**20
    steps = {k: float(np.median(v)) for k, v in row["step_seconds"].items()}
    return (
        f"- A pool of {row['bytes'] / 1e9:.0f} GB that stays in its file ({row['samples']:,} images of "
        f"3 × {row['side']} × {row['side']} random bytes) on a machine of {machine_memory} GiB that other work "
        f"shared: two runs of a perceptron, one epoch each in shuffled order, and one evaluation of all "
        f"samples, by {row['worker_count']} workers: {row['train_seconds']:.0f} s, search for copies "
        f"included, after {row['load_seconds']:.0f} s of loading and {row['digest_seconds']:.0f} s of the "
        f"digest. Peak memory: {most:.0f} MiB of a worker ({held:.0f} MiB without mapped libraries), "
        f"{row['main']['VmHWM'] / 2**20:.0f} MiB of the main process; "
        f"{row['main']['read'] / 1e9:.0f} GB were read from the disk. A worker trained on "
        f"{members * one / trained:.0f} MB/s and evaluated {looked * one / sum(row['look_seconds']):.0f} "
        f"MB/s. A step from a cold file, batches of 256 shuffled samples: {1e3 * steps['2']:.0f} ms where "
        f"the next two batches are asked for early, {1e3 * steps['0']:.0f} ms where they are not, medians of "
        f"three (`{name}`)."
    )


def ten_million() -> str:
    """Scoring of a run whose scores do not fit into memory."""
    parts = []
    for name, r in stored("*ten_million*.json")[-1:]:
        rows = []
        for row in r["rows"]:
            rate = r["signal_bytes"] / row["seconds"] / 1e9
            rows.append(
                (
                    row["name"],
                    f"{row['seconds']:.0f} s",
                    f"{row.get('opening_seconds', row.get('comparing_seconds')):.0f} s",
                    f"{row['processor_seconds']:.0f} s",
                    f"{row['rss_bytes'] / 2**30:.1f} GiB",
                    f"{row['anonymous_bytes'] / 2**30:.1f} GiB",
                    f"{rate:.2f} GB/s",
                    f"{row['copy_gb_s']:.1f} GB/s",
                )
            )
        head = ("what", "time", "before it", "processor", "ru_maxrss", "RssAnon")
        head += ("signal over time", "copying, same run")
        aucs = ", ".join(f"{row['auc']:.4f}" for row in r["rows"] if "auc" in row)
        parts.append(
            f"{r['samples']:,} samples × {r['models']} models, one checkpoint, from a run folder on disk "
            f"({machine(r['hardware'])}, {r['hardware']['memory_gib']} GiB, {r['threads']} threads; load "
            f"{r['load']:.1f}; `{name}`, `python -m benchmarks.ten_million`). The signal is "
            f"{r['signal_bytes'] / 1e9:.1f} GB, all scores would be {2 * r['signal_bytes'] / 1e9:.1f} GB; wanted: "
            f"at most 12 GiB. AUC {aucs}.\n\n{table(head, rows)}\n\n"
            "*Before it*: opening, comparing every chunk with its digest, and what contradicts itself in the run; of "
            "the score comparing alone. "
            "Memory is the most that the process reached: `ru_maxrss`, with files that it maps, and anonymous "
            "memory alone; the kernel's cache of the run folder is neither. *Signal over time* is the size of "
            "the signal by the time, in which it is read once for each group of targets, and again for the prior and the "
            "common threshold; copying is reading and writing of as many threads."
        )
    return "\n\n".join(parts) or "Not stored yet."


def growth() -> str:
    """How the time of commands grows, every axis."""
    parts = []
    for name, r in stored("*growth*.json"):
        axes = list(dict.fromkeys(row["axis"] for row in r["rows"]))
        found = {(row["command"], row["axis"]): row for row in r["rows"]}
        rows = []
        for command in dict.fromkeys(row["command"] for row in r["rows"]):
            cells = []
            for axis in axes:
                row = found.get((command, axis))
                cells.append(
                    "–"
                    if row is None
                    else f"{row['exponent']:.2f} [{row['low']:.2f}, {row['high']:.2f}]; "
                    f"{row['last']:.2f}; {min(row['seconds'][-1]):.1f} s"
                )
            rows.append((command, *cells))
        longest = {
            row["axis"]: row["sizes"] for row in r["rows"] if row["command"] != "curvature show"
        }
        curved = any(row["command"] == "curvature show" for row in r["rows"])
        sizes = "; ".join(f"{axis} {', '.join(f'{s:,}' for s in longest[axis])}" for axis in axes)
        base = ", ".join(f"{v:,} {k}" for k, v in r["base"].items())
        parts.append(
            f"Exponents of processor time on one thread ({machine(r['hardware'])}, load {r['load']:.1f}; "
            f"`{name}`, `python -m benchmarks.growth`). One axis grows ({sizes}), the others stay at {base}. "
            + ("`curvature show` measures perceptrons on 400 to 1,600 digits. " if curved else "")
            + "In each cell: the slope of log time with its "
            "95 % interval, that between the two largest sizes, and the time of the largest.\n\n"
            + table(("command", *axes), rows)
        )
    if not parts:
        return "Not stored yet."
    parts.append(
        "What grows with the square of the models: `rmia-tuned`, one of those that `attack` runs unless "
        "others are named, judges the references of every left-out tuple by each other, on at most 1,000 samples; and the look "
        "for lists that are not the models' own compares each list with each model, on fewer samples the more "
        "models there are."
    )
    return "\n\n".join(parts)


def dry_runs() -> str:
    """What dry runs foretold against what happened."""
    for name, r in stored("*dry_runs*.json")[-1:]:
        rows = []
        for row in r["rows"]:
            told, held = row["foretold"], max(row["audit"]["memory"], row["train"]["memory"])
            within = max(row["time_ratio"], 1 / row["time_ratio"]) <= 1.5
            close = max(row["memory_ratio"], 1 / row["memory_ratio"]) <= 1.2
            rows.append(
                (
                    f"{row['name']}, {told['samples']:,} × {told['models']} × {told['checkpoints']}",
                    f"{told['train_seconds']:.1f} s of {row['train']['seconds']:.1f} s, {row['train_ratio']:.2f}",
                    f"{told['total_seconds']:.1f} s of {row['audit']['seconds']:.1f} s, "
                    f"**{row['time_ratio']:.2f}** ({'holds' if within else 'does not hold'})",
                    f"{told['peak_memory'] / 2**20:,.0f} MiB of {held / 2**20:,.0f} MiB, "
                    f"**{row['memory_ratio']:.2f}** ({'holds' if close else 'does not hold'})",
                    f"{told['took']:.1f} s",
                )
            )
        head = ("samples × models × checkpoints", "`train`", "`audit`, wanted within 1.5 times")
        head += ("memory, wanted within 1.2 times", "the dry run took")
        return (
            f"Foretold, of what happened ({machine(r['hardware'])}, load {r['load']:.1f}; `{name}`, "
            "`python -m benchmarks.dry_runs`); memory is that of all processes together, what they share counted "
            "once.\n\n" + table(head, rows)
        )
    return "Not stored yet."


def first_minute(found: dict[str, Any]) -> str:
    """What people wait for, beside an earlier commit."""
    rows = []
    for r in found["rows"]:
        wanted = r["wanted"]
        holds = "yes" if wanted is None or r["ratio"] >= wanted else "no"
        asked = "–" if wanted is None else f"{wanted:g} × or more: {holds}"
        here, other = r["here"], r["other"]
        rows.append(
            [
                r["name"], f"{here['cpu']:.2f} s", f"{other['cpu']:.2f} s", f"**{r['ratio']:.1f} ×**",
                asked, f"{here['wall']:.1f} s",
                f"{other['wall']:.1f} s", r["tries"], f"{r['load']:.0f}",
            ]
        )  # fmt: skip
    head = (
        "command", "processor time", f"at `{found['commit']}`", "ratio", "wanted", "by the clock",
        f"at `{found['commit']}`", "tries", "load",
    )  # fmt: skip
    return (
        f"`python -m benchmarks.first_minute`: {machine(found['hardware'])}, in turns with commit "
        f"`{found['commit']}`, medians. The machine was shared (load beside each row), so that the clock says more "
        "of what else ran than of the command: the ratio is of processor time, that of all processes. A report and a "
        "check do more now than there: more attacks run (a check judged by one attack there), and what contradicts itself is looked for.\n\n"
        + table(head, rows)
    )


def performance() -> str:
    """The whole page."""
    other = []
    other += [
        f"- {r['rows'][0]['name']}: {r['rows'][0]['overhead']:+.1%} beyond its evaluations (`{name}`)."
        for name, r in stored("*recorder*.json")
    ]
    for name, r in stored("*looking*.json")[-1:]:
        other += [
            f"- {row['name'][0].upper()}{row['name'][1:]}, one thread: {row['look_to_own_passes']:.2f} of its own "
            f"forward passes (wanted 1.15); an expert's passes are {row['expert_to_own_passes']:.2f} of "
            f"those (wanted 1.5) and {row['expert_to_look']:.2f} of the whole look (`{name}`)."
            for row in r["rows"]
        ]
    for name, r in stored("*streaming*.json"):
        row = r["rows"][0]
        other.append(
            f"- {row['name']}, N = {row['samples']:,}, R = {row['models']}: {row['seconds']:.1f} s, "
            f"peak of the whole process {row['peak_mib']:.0f} MiB (`{name}`)."
        )
    for name, r in stored("*texts*.json")[-1:]:
        each = ", ".join(f"{row['attack']} {row['processor']:.1f} s" for row in r["attacks"])
        other.append(
            f"- Attacks on texts, {r['documents']:,} documents of {r['tokens']} tokens on average "
            f"({r['all_tokens'] / 1e6:.1f} million), {r['models']} models, {r['checkpoints']} checkpoints, a "
            f"folder of {r['folder_bytes'] / 1e9:.1f} GB: peak of the whole process {r['peak_mib']:.0f} MiB "
            f"(wanted 4,096); processor time of all models and checkpoints, reading and digests included: "
            f"{each}, of a signal that was held (`{name}`)."
        )
    for name, r in stored("*larger-than-memory*.json")[-1:]:
        other.append(larger_than_memory(name, r))
    for name, r in stored("*plane*.json")[-1:]:
        size = f"N = {r['samples']:,}, R = {r['models']}, T = {r['checkpoints']}"
        other += [
            f"- {row['name']}, {size}: {row['wall_s']} s wall, {row['cpu_s']} s of processor time, "
            f"peak {row['peak_mib']} MiB (`{name}`, load {r['load']})."
            for row in r["rows"]
        ]
    for name, r in stored("*layers*.json")[-1:]:
        other.append(
            f"- DoF of all blocks of ResNet-18 on {r['samples']:,} samples: "
            f"{r['dof_median_ratio']:.2f} forward passes of that set; Jacobian participation ratio "
            f"with 64 probes {r['jacobian_median_ratio']:.0f} times cheaper than the full Jacobian "
            f"(`{name}`)."
        )
    return f"""# Performance

Written by `python -m benchmarks.pages` from `benchmarks/results/`; `make bench` writes those. Every
figure is a ratio against a reference measured in the same run, or says what it is.

## Training

{training()}

## Precision

{precision()}

## What people wait for

{first_minute(json.loads((RESULTS / "first-minute.json").read_text()))}

## Scoring

{scoring()}

### Compared with other packages

{peers()}

### Ten million samples

{ten_million()}

### Growth

{growth()}

## Dry runs

{dry_runs()}

## One GPU

{gpu()}

{gpu_fleet()}

## Around training

{chr(10).join(other)}

## On paper: ImageNet

{imagenet()}
"""


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--audit", help="a run folder with its report, to store first")
    args = parser.parse_args()
    if args.audit:
        store_example(args.audit)
    (ROOT / "docs" / "performance.md").write_text(performance())
    if EXAMPLE.exists():
        (ROOT / "docs" / "examples" / "fashion-mnist.md").write_text(example())
    page = ROOT / "docs" / "dynamics.md"
    page.write_text(written(page.read_text(), stored("*traces.json")[-1]))
    page = ROOT / "docs" / "attacks.md"
    page.write_text(kept_weights.written(page.read_text(), stored("*kept_weights.json")[-1]))


if __name__ == "__main__":
    main()
