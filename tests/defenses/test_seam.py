"""The contract every defence shares."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seepage.defenses import Undefended, forward
from seepage.defenses.networks import eval_logits, head_of, still_statistics
from seepage.errors import InputError


def test_undefended_is_the_plain_loop_bit_for_bit(kit):
    context = kit.context(epochs=3)
    model, loop = kit.train(Undefended(), context)

    plain = kit.fresh()
    sgd = torch.optim.SGD(plain.parameters(), **loop.sgd)
    order = torch.Generator().manual_seed(7)
    data = context.members
    for _ in range(3):
        for rows in torch.randperm(len(data), generator=order).split(16):
            sgd.zero_grad()
            F.cross_entropy(plain(data.inputs[rows]), data.labels[rows]).backward()
            sgd.step()
    assert all(
        torch.equal(p, q) for p, q in zip(model.parameters(), plain.parameters(), strict=True)
    )


def test_samples_prepare_only_what_is_taken(kit):
    data = kit.samples(10)
    doubled = type(data)(data.inputs, data.labels, lambda x: 2 * x)
    x, y = doubled.take(torch.tensor([3, 1]))
    assert torch.equal(x, 2 * data.inputs[[3, 1]])
    assert torch.equal(y, data.labels[[3, 1]])
    assert torch.equal(torch.cat([x for x, _ in doubled.batches(4)]), 2 * data.inputs)
    sub = doubled.subset(torch.tensor([5]))
    assert len(sub) == 1
    assert torch.equal(sub.take(torch.tensor([0]))[0], 2 * data.inputs[[5]])


def test_features_are_what_enters_the_head(kit):
    model = kit.fresh()
    x = torch.randn(4, 6)
    logits, features = forward(model, x, features=True)
    assert torch.equal(features, model.features(x))
    assert torch.equal(logits, model(x))
    assert forward(model, x)[1] is None
    assert not head_of(model)._forward_pre_hooks
    with pytest.raises(InputError, match="model: expected a linear layer as head"):
        forward(nn.Sequential(nn.Flatten()), x, features=True)


def test_still_statistics_leaves_no_trace_and_keeps_gradients():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with still_statistics(model):
        out = model(torch.randn(8, 3)).square().sum()
    out.backward()
    after = model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert model[0].weight.grad is not None
    model(torch.randn(8, 3))
    assert not torch.equal(model[0].running_mean, before["0.running_mean"])


def test_eval_logits_restores_each_modules_mode(kit):
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    model[0].eval()
    data = kit.samples(10)
    logits, labels = eval_logits(model, data, size=4)
    assert logits.shape == (10, 3)
    assert torch.equal(labels, data.labels)
    assert [m.training for m in model] == [False, True, True]
