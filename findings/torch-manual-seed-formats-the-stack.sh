#!/usr/bin/env bash
# torch 2.13.0, CPU build, no accelerator: torch.manual_seed formats the caller's whole Python stack
# three times at every call, once for each kind of device that is absent, and keeps the last text.
# Its cost therefore grows with the depth of the stack: a loop that seeds every epoch from deep inside
# a framework pays milliseconds for what torch.default_generator.manual_seed does in microseconds,
# with the same stream.
#
# Seen (2 cores): 3 stacks a call; about 0.25 ms at the top of a script, 6 ms under 400 frames;
# the generator's own method: no stack, about 1 microsecond at any depth.
# Fails if the number of stacks changes, or if the two give different streams.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "torch==2.13.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PYTHON'
import time
import traceback

import torch

if any((torch.cuda.is_available(), torch.backends.mps.is_available(), torch.xpu.is_available())):
    raise SystemExit("this machine has an accelerator: nothing to see here")

formatted = 0
original = traceback.format_stack


def counting(*args, **kwargs):
    global formatted
    formatted += 1
    return original(*args, **kwargs)


def under(frames, call):
    return call() if frames == 0 else under(frames - 1, call)


def microseconds(call, repeats=200):
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - began) / repeats * 1e6


traceback.format_stack = counting
torch.manual_seed(7)
stacks, first = formatted, torch.rand(5)
formatted = 0
torch.default_generator.manual_seed(7)
none, second = formatted, torch.rand(5)
traceback.format_stack = original

print(f"torch {torch.__version__}: {stacks} stacks formatted by torch.manual_seed, {none} by the generator")
for frames in (0, 50, 400):
    whole = under(frames, lambda: microseconds(lambda: torch.manual_seed(7)))
    own = under(frames, lambda: microseconds(lambda: torch.default_generator.manual_seed(7)))
    print(f"{frames:4d} frames deep: manual_seed {whole:8.1f} us, generator {own:6.1f} us")
assert torch.equal(first, second), "the streams differ"
assert (stacks, none) == (3, 0), f"expected 3 stacks and none, got {stacks} and {none}"
print("as described")
PYTHON
