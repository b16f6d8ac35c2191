#!/usr/bin/env bash
# peft 0.21.2 with torch 2.13.0: a low-rank adapter on the linear layers of `nn.TransformerEncoderLayer`
# is trained, and is not there in evaluation. In eval mode without gradients the layer takes its fused
# path, which reads the weights of `linear1` and `linear2` itself and never calls the wrapped layers: the
# answers are those of the base model, to the bit, without a word. Whoever measures the leak of such a model
# in eval mode measures the model before fine-tuning.
#
# Seen, as the largest difference of logits from the base model: in training mode (no dropout) .81, in eval
# mode exactly 0, after merging the adapter into the weights .81 again, equal to training mode to 1e-6. An
# adapter on a linear layer outside of the block is there in eval mode.
# Fails if the adapter is used in eval mode, if it is not in training mode, or if merging does not bring it back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "peft==0.21.2" "transformers==5.24.0" "accelerate==1.15.0" "torch==2.13.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import peft
import torch
from torch import nn

warnings.simplefilter("ignore")


class Classifier(nn.Module):
    """One encoder block, the mean over positions, two classes."""

    def __init__(self):
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, inputs):
        return self.head(self.block(inputs).mean(1))


@torch.no_grad()
def differences(adapted):
    """From the base model: adapted in training mode, in eval mode, merged; and merged from training."""
    torch.manual_seed(0)
    network, inputs = Classifier().eval(), torch.randn(4, 5, 8)
    base = network(inputs)
    wrapped = peft.get_peft_model(
        network, peft.LoraConfig(r=2, target_modules=adapted, lora_dropout=0.0)
    )
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:  # as training leaves it: no longer zero
            nn.init.normal_(weight)
    training, evaluation = wrapped.train()(inputs), wrapped.eval()(inputs)
    merged = wrapped.merge_and_unload().eval()(inputs)
    pairs = (training, base), (evaluation, base), (merged, base), (merged, training)
    return [float((a - b).abs().max()) for a, b in pairs]


inside, outside = differences(["linear1", "linear2"]), differences(["head"])
print(f"peft {peft.__version__}, torch {torch.__version__}")
for name, found in (("in the block", inside), ("on the head", outside)):
    print("adapter {}: training {:.2f}, evaluation {:.2f}, merged {:.2f}; merged from training {:.1e}".format(name, *found))
assert inside[0] > 0.1, "the adapter does nothing in training mode"
assert inside[1] == 0.0, "the adapter is used in eval mode now"
assert inside[2] > 0.1 and inside[3] < 1e-5, "merging does not bring it back"
assert outside[1] > 0.1, "an adapter outside of the block is not used either"
PYTHON
