#!/usr/bin/env bash
# Opacus 1.6.0 (torch 2.13.0): per-sample gradients of convolutions are wrong, without a word, where
# the batch lies in channels-last memory, as vision networks on tensor cores and AMX are told to have
# it. The rule for convolutions unfolds the activations by their strides as if channels came first.
# Biases and linear layers stay right, shapes too; ε is not touched, because clipping comes after. What
# is trained is another network: the clipped sum points elsewhere.
#
# Seen: difference from autograd, one sample at a time, at most 1e-7 in contiguous memory; in
# channels-last memory as large as the gradients themselves, in both convolutions.
# Fails if the contiguous gradients are wrong, or if the channels-last ones become right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "opacus==1.6.0" "torch==2.13.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import opacus
import torch
from opacus.grad_sample import GradSampleModule
from torch import nn

warnings.simplefilter("ignore")
SAMPLES = 8


def differences(layout):
    """Largest relative difference from autograd, parameter by parameter."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1),
        nn.Flatten(), nn.Linear(4 * 36, 2),
    ).to(memory_format=layout)
    inputs = torch.randn(SAMPLES, 3, 6, 6).to(memory_format=layout)
    labels = torch.arange(SAMPLES) % 2
    alone = []
    for i in range(SAMPLES):
        loss = nn.functional.cross_entropy(network(inputs[i : i + 1]), labels[i : i + 1])
        alone.append(torch.autograd.grad(loss, list(network.parameters())))
    wrapped = GradSampleModule(network, loss_reduction="mean")
    nn.functional.cross_entropy(wrapped(inputs), labels).backward()
    found = {}
    for k, (name, p) in enumerate(network.named_parameters()):
        right = torch.stack([g[k] for g in alone])
        found[name] = float((p.grad_sample - right).abs().max() / right.abs().max())
    return found


plain = differences(torch.contiguous_format)
last = differences(torch.channels_last)
print(f"opacus {opacus.__version__}, torch {torch.__version__}")
for name in plain:
    print(f"{name:9s} contiguous {plain[name]:.1e}, channels last {last[name]:.1e}")
assert max(plain.values()) < 1e-5, "contiguous gradients differ from autograd"
assert min(last["0.weight"], last["2.weight"]) > 0.1, "channels-last convolutions are right now"
assert max(v for k, v in last.items() if not k.endswith(("0.weight", "2.weight"))) < 1e-5
PYTHON
