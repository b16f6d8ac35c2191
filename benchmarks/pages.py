"""Writes docs/performance.md and docs/examples/fashion-mnist.md from stored results alone.

python -m benchmarks.pages                              # from what is stored
python -m benchmarks.pages --audit runs/fashion-mnist   # stores that audit's figures first
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
EXAMPLE = ROOT / "docs" / "examples" / "fashion-mnist.json"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]
    return "\n".join(lines)


def stored(pattern: str) -> list[tuple[str, Any]]:
    """Result files that match, the newest last."""
    return [(p.name, json.loads(p.read_text())) for p in sorted(RESULTS.glob(pattern))]


def machine(hardware: dict[str, Any]) -> str:
    """A machine in a few words."""
    gpu = f", {hardware['gpu']}" if hardware.get("gpu") else ""
    return f"{hardware['processor']}, {hardware['cores']} cores{gpu}"


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
                    f"{r['chosen']['backend']}, {r['chosen']['precision']}",
                    *(
                        f"{r['samples_per_second'] * r['flops_per_sample'] / 1e9 / peak:.1%}"
                        for peak in (r["peak_gflops"]["bf16"], r["peak_gflops"]["fp32"])
                    ),
                    f"`{name}`",
                )
            )
    head = ("case", "plain loop /s", "fleet /s", "ratio", "wanted", "chosen")
    head += ("of bf16 peak", "of fp32 peak", "file")
    return (
        "Two workers of one thread against one process with two threads, a DataLoader over "
        "per-sample transforms and float32; medians of three, alternated. The last shares are what "
        "the fleet reaches of the rate of matrix products measured in the same run; above 100 % of "
        "the float32 rate it computes in bf16.\n\n"
        + table(head, rows)
        + "\n\nThe `amx` file is from 2 cores with bf16 matrix units; the other `2-core` file is "
        "from a processor without them, where the measurement at start keeps float32 and "
        "convolutions are the same library calls in both loops (bf16 products are the slower there)."
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
        f"medians of {m['repeats']}.\n\n" + table(head, rows)
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


def gpu() -> str:
    """Models side by side on a GPU."""
    rows = [
        (
            r["model"],
            r["backend"],
            r["models_at_once"] if r["backend"] == "graphs" else 1,
            f"{r['samples_per_second']:,.0f}",
            f"{r['fraction_of_peak']:.1%}",
            f"`{name}`",
        )
        for name, result in (*stored("*h100-cnn*.json"), *stored("*h100-resnet9*.json"))
        for r in (result["side"] if isinstance(result, dict) else result)
    ]
    head = ("model", "backend", "at once", "samples /s", "of bf16 peak", "file")
    text = table(head, rows)
    for name, result in stored("*h100-cnn*.json"):
        a = result["agreement"]
        text += (
            f"\n\nBackends agree (`{name}`, cnn-2, float32, 4 epochs): the median |Δφ| between "
            f"the plain loop and graphs is {a['median_by_epoch'][-1]:.3f} against a spread of φ of "
            f"{a['spread_of_phi']:.2f}; graphs repeated: "
            f"{'bit-identical' if a['graphs_repeat_bit_identical'] else 'not bit-identical'}."
        )
    return text


def gpu_fleet() -> str:
    """A whole fleet on one GPU, as far as it was trained."""
    found = [(n, r) for n, r in stored("*gpu-fleet*.json") if not r["smoke"]]
    if not found:
        return (
            "A fleet of 64 ResNet-9 at 90 % accuracy was not measured: "
            "`python -m benchmarks.gpu_fleet` does it where there is a GPU."
        )
    name, r = found[-1]
    rows = []
    for way in ("graphs", "compiled"):
        for at_once, rate in r.get(way, {}).get("rates", {}).items():
            rows.append((way, at_once, f"{rate:,.0f}", f"{_of_peak(r, rate):.1%}"))
        if "error" in r.get(way, {}):
            rows.append((way, "", "failed", f"`{r[way]['error'][:80]}`"))
    head = ("captured step", "at once", "samples /s", "of bf16 peak")
    text = (
        f"Captured steps of {r['model']} on CIFAR-10, bf16 ({machine(r['hardware'])}; `{name}`; "
        f"bf16 matrix products {r['peak_bf16_gflops'] / 1e3:,.0f} TFLOP/s):\n\n" + table(head, rows)
    )
    for precision in ("fp32", "bf16"):
        a = r.get(f"agreement {precision}", {})
        if "median_gap_over_spread" in a:
            gaps = ", ".join(f"{g:.2g}" for g in a["median_gap_over_spread"])
            text += (
                f"\n\nMedian difference of the logits of one run between the two, in {precision}, "
                f"over their spread, after {', '.join(map(str, a['steps']))} steps: {gaps}."
            )
    f = r.get("fleet", {})
    if not f.get("models_finished"):
        return text + "\n\nNo model of the fleet was trained to the end."
    d = r["data"]
    whole = f["models_finished"] == f["models_asked"]
    return text + (
        f"\n\n**{f['models_finished']} of {f['models_asked']}** models "
        f"{'' if whole else '(the time at hand ended there) '}were trained in "
        f"{f['wall_seconds']:.0f} s, {f['wall_seconds_per_model']:.1f} s each, by {f['backend']} in "
        f"{f['precision']}: {f['recipe']['epochs']} epochs of {f['members_of_a_run']:,} images, "
        f"{len(f['checkpoints'])} checkpoints of all {d['images']:,}. Only {d['images']:,} of "
        f"CIFAR-10's {d['images_of_cifar10']:,} images were at hand; each run leaves out an eighth "
        f"of them. Accuracy on the images that a run did not see: mean "
        f"**{f['accuracy_unseen'][0]:.3f}**, lowest {f['accuracy_unseen'][1]:.3f}; "
        f"{f['share_of_runs_at_90']:.0%} of the runs reach 90 %. With the looks, which took "
        f"{f['looking_share']:.0%} of the time, {f['fraction_of_bf16_peak']:.1%} of the bf16 peak "
        f"over the whole wall time; {f['samples_per_second_training']:,.0f} samples/s while training."
    )


def _of_peak(result: dict[str, Any], rate: float) -> float:
    from benchmarks.training import flops

    return rate * flops(result["model"], (3, 32, 32), 10) / 1e9 / float(result["peak_bf16_gflops"])


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
            "Changing the precision changes per-sample evidence less than changing the seeds does."
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


def performance() -> str:
    """The whole page."""
    other = []
    other += [
        f"- {r['rows'][0]['name']}: {r['rows'][0]['overhead']:+.1%} beyond its evaluations (`{name}`)."
        for name, r in stored("*recorder*.json")
    ]
    for name, r in stored("*streaming*.json"):
        row = r["rows"][0]
        other.append(
            f"- {row['name']}, N = {row['samples']:,}, R = {row['models']}: {row['seconds']:.1f} s, "
            f"peak of the whole process {row['peak_mib']:.0f} MiB (`{name}`)."
        )
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

### Beside other packages

{peers()}

## One GPU

{gpu()}

{gpu_fleet()}

## Around training

{chr(10).join(other)}

## On paper: ImageNet

{imagenet()}
"""


def store_example(folder: str) -> None:
    """Keep the figures of an audit's report that the example page shows."""
    report = json.loads((Path(folder) / "report.json").read_text())
    import seepage

    run = seepage.open(folder)
    sessions = [run.storage.get_json(k) for k in run.storage.keys("sessions/")]
    rank = {str(i): n for n, i in enumerate(run.ids)}
    correct = run.signal_at("correct", -1).astype(bool)
    top = []
    for name in report["exposed"]["most_exposed"][:10]:
        i = rank[name]
        member = run.member[:, i]
        top.append(
            {
                "id": name,
                "label": run.classes[int(run.labels[i])],
                "right_when_member": float(correct[member, i].mean()),
                "right_when_not": float(correct[~member, i].mean()),
            }
        )
    kept = {k: report[k] for k in (
        "models", "samples", "checkpoints", "utility", "blind_baseline", "attacks",
        "risk_over_training", "exposed", "groups",
    )}  # fmt: skip
    kept["attacks"] = [
        {k: a[k] for k in ("name", "title", "auc", "null_auc", "per_target", "pooled")}
        for a in report["attacks"]
    ]
    kept["top"] = top
    kept["chosen"] = run.manifest["chosen"]
    kept["sessions"] = [
        {k: s[k] for k in ("seconds", "workers", "hardware")} for s in sessions if s["runs"]
    ]
    kept["key"] = {k: run.manifest["key"][k] for k in ("data", "plan", "code")}
    EXAMPLE.parent.mkdir(parents=True, exist_ok=True)
    EXAMPLE.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def _contested(top: list[dict[str, Any]]) -> str:
    wrong = sum(t["right_when_not"] == 0 for t in top)
    return (
        f"{wrong} of the ten are given another label by every network that did not train on them: "
        "what exposes an image is a label that only those know who have seen it."
    )


def example() -> str:
    """The page of the real audit."""
    r = json.loads(EXAMPLE.read_text())
    s = r["sessions"][0]
    rows = []
    for a in r["attacks"]:
        one, tenth = a["per_target"][0], a["per_target"][1]
        rows.append(
            (
                a["title"],
                "{mean:.4f} [{low:.4f}, {high:.4f}]".format(**a["auc"]),
                f"{a['null_auc']:.3f}",
                f"{one['tpr']['mean']:.4f}",
                "{mean:.4f} [{low:.4f}, {high:.4f}]".format(**tenth["tpr"]),
                f"{tenth['realised']:.5f}",
            )
        )
    head = ("attack", "AUC", "permuted", "TPR at 1 % FPR", "TPR at 0.1 % FPR", "realised FPR")
    risk = r["risk_over_training"]
    over = table(
        ("epoch", "accuracy, members", "accuracy, others", "LiRA AUC", "permuted"),
        [
            (
                f"{e:g}",
                f"{r['utility']['member'][t]:.3f}",
                f"{r['utility']['other'][t]:.3f}",
                f"{risk['auc'][t]:.4f}",
                f"{risk['null'][t]:.4f}",
            )
            for t, e in enumerate(r["checkpoints"])
        ],
    )
    top = table(
        ("id", "label", "right when a member", "right when not"),
        [
            (t["id"], t["label"], f"{t['right_when_member']:.2f}", f"{t['right_when_not']:.2f}")
            for t in r["top"]
        ],
    )
    e = r["exposed"]
    return f"""# A real audit: Fashion-MNIST

    seepage audit examples/fashion-mnist.toml

{r["models"]} two-block convolutional networks on random halves of {r["samples"]:,} images, 20 epochs,
{len(r["checkpoints"])} checkpoints. Training took **{s["seconds"]:.0f} s** with {s["workers"]} workers of one
thread ({machine(s["hardware"])}), in {r["chosen"]["precision"]} as measured at start. Written by
`python -m benchmarks.pages` from `fashion-mnist.json` beside this page; data digest
`{r["key"]["data"][:16]}…`, plan `{r["key"]["plan"][:16]}…`, code `{r["key"]["code"][:16]}…`.

An attack that never sees a model reaches AUC {r["blind_baseline"]["auc"]["mean"]:.3f}
[{r["blind_baseline"]["auc"]["low"]:.3f}, {r["blind_baseline"]["auc"]["high"]:.3f}]: the split is fair.

## Who can tell members apart

Mean over the {r["models"]} targets at the last checkpoint, 95 % intervals; *permuted* is the same attack
on membership redrawn by lot.

{table(head, rows)}

## When

{over}

## Who

{e["count"][-1] if isinstance(e["count"], list) else e["count"]} of {r["samples"]:,} samples can be named as
exposed with at most {e["level"]:.0%} of the names false; {e["null_count_per_checkpoint"][-1]:.0f} would pass
under permuted membership. The ten most exposed:

{top}

The columns are the share of networks that give the image its label, among those trained on it and
among those that were not. {_contested(r["top"])}
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


if __name__ == "__main__":
    main()
