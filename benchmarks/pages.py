"""Writes docs/performance.md, docs/examples/fashion-mnist.md and a table of docs/dynamics.md.

From stored results alone:

python -m benchmarks.pages                              # from what is stored
python -m benchmarks.pages --audit runs/fashion-mnist   # stores that audit's figures first
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from benchmarks import kept_weights
from benchmarks.example_page import EXAMPLE, example, store_example
from benchmarks.gpu_page import gpu, gpu_fleet
from benchmarks.stored import ROOT, machine, stored, table
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

## Scoring

{scoring()}

### Compared with other packages

{peers()}

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
