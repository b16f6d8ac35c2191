"""Bad input is refused with the remedy, and what was there stays as it was."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from seepage.curvature import (
    CurvatureWarning,
    ExactGaussNewton,
    FiniteDifference,
    Hutchinson,
    LogitProbes,
    Shared,
    TopK,
    ZerothOrder,
    curvature,
    piecewise_linear,
)
from seepage.errors import InputError


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def inputs(*shape: int) -> torch.Tensor:
    return torch.from_numpy(rng().standard_normal(shape)).float()


def plain() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


class Counting(nn.Module):
    """Keeps a running mean in forward even in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        return self.layer(x)


class Replacing(Counting):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = self.seen + 1
        return self.layer(x) * self.seen


class Drifting(nn.Module):
    """Changes a weight in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.layer.weight.mul_(0.999999)
        return self.layer(x)


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(self.layer(x), 0.5, training=True)


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.detach())


Y = torch.zeros(6, dtype=torch.int64)
COUPLED = nn.Sequential(
    nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3)
)
TRAINING = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


@pytest.mark.parametrize("estimator", [ExactGaussNewton(), ZerothOrder(n=2)], ids=["exact", "zo"])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (TRAINING.train(), r"eval mode, got BatchNorm1d '1' in training mode.*model.eval\(\)"),
        (nn.Sequential(nn.Dropout(), nn.Linear(5, 3)), r"Dropout '0'.*adds noise.*model.eval\(\)"),
        (COUPLED.eval(), "not to depend on the others in its batch.*running or per-sample"),
        (Counting().eval(), r"changes buffer 'seen'.*model.eval\(\)"),
        (Replacing().eval(), "changes buffer 'seen'"),
        (Drifting().eval(), "changes parameter 'layer.weight'"),
        (Noisy().eval(), "same logits for the same inputs.*dropout"),
        (nn.Sequential(nn.Linear(5, 1)), r"\(4, 1\), one output unit.*return \(0, z\)"),
        (nn.Sequential(nn.Linear(5, 6), nn.Unflatten(1, (2, 3))), r"logits of shape \(4, classes\)"),
        (nn.Sequential(nn.Linear(5, 3), nn.Softmax(1)), "expected logits, got probabilities"),
    ],
    ids=[
        "norm", "dropout", "coupled", "counter", "replaced", "weight", "noise", "one", "shape",
        "softmax",
    ],
)  # fmt: skip
def test_models_that_cannot_be_measured_are_refused(model, message, estimator) -> None:
    with pytest.raises(InputError, match=message):
        curvature(model, inputs(6, 5), Y, estimator, generator=rng())


@pytest.mark.parametrize("build", [Counting, Replacing])
def test_a_refused_model_keeps_its_buffers(build) -> None:
    model = build().eval()
    model.seen.fill_(7)
    with pytest.raises(InputError, match="without effects"):
        curvature(model, inputs(6, 5), Y)
    assert model.seen == 7


def test_a_forward_pass_that_fails_is_told_in_one_line() -> None:
    with pytest.raises(InputError, match=r"inputs of shape \(4, 7\), got .*; check the shape"):
        curvature(plain(), inputs(6, 7), Y)


def test_a_diverged_model_is_refused() -> None:
    model = plain()
    with torch.no_grad():
        model[0].weight.fill_(torch.nan)
    with pytest.raises(InputError, match=r"finite logits.*leave out the run"):
        curvature(model, inputs(6, 5), Y)


@pytest.mark.parametrize(
    "estimator", [ExactGaussNewton(), Hutchinson(2), FiniteDifference(n=2)], ids=range(3)
)
def test_white_box_estimators_need_a_gradient(estimator) -> None:
    with pytest.raises(InputError, match=r"differentiable in the inputs.*ZerothOrder\(\)"):
        curvature(Detached().eval(), inputs(6, 5), Y, estimator, generator=rng())
    with pytest.raises(InputError, match=r"needs a torch module and its gradients.*ZerothOrder"):
        curvature(lambda x: x, inputs(6, 5), Y, estimator, generator=rng())


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(6, 5, dtype=torch.uint8), "floating point, got torch.uint8.*normalised"),
        (np.zeros((6, 5), np.int64), "floating point, got torch.int64"),
        (torch.zeros(6), r"shape \(samples, ...\), got \(6,\)"),
        (torch.zeros(0, 5), r"shape \(samples, ...\), got \(0, 5\)"),
        (torch.tensor([[0.0], [torch.nan]]), "NaN or infinity in row 1"),
    ],
)  # fmt: skip
def test_bad_inputs_are_refused(x, message) -> None:
    with pytest.raises(InputError, match=message):
        curvature(plain(), x, torch.zeros(len(x), dtype=torch.int64))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (torch.zeros(6), "integers of shape"),
        (torch.zeros(5, dtype=torch.int64), r"integers of shape \(6,\)"),
        (torch.full((6,), -1), "values from 0, got -1"),
        (torch.full((6,), 3), r"values in 0..2.*got 3"),
    ],
)
def test_bad_labels_are_refused(y, message) -> None:
    with pytest.raises(InputError, match=message):
        curvature(plain(), inputs(6, 5), y)


def test_bad_options_are_refused() -> None:
    with pytest.raises(InputError, match=r"generator: Hutchinson draws.*default_rng"):
        curvature(plain(), inputs(6, 5), Y, Hutchinson())
    with pytest.raises(InputError, match="batch: expected at least 1, got 0"):
        curvature(plain(), inputs(6, 5), Y, batch=0)
    with pytest.raises(InputError, match=r"TopK: expected k below classes − 1 = 2.*AllClasses"):
        curvature(plain(), inputs(6, 5), Y, ExactGaussNewton(TopK(2)), generator=rng())
    for bad, message in [
        (lambda: TopK(0), "TopK: expected k >= 1"),
        (lambda: LogitProbes(2), "LogitProbes: expected n >= 3"),
        (lambda: Hutchinson(1), "Hutchinson: expected n >= 2"),
        (lambda: FiniteDifference(h=0), "FiniteDifference: expected h > 0"),
        (lambda: ZerothOrder(n=1), "ZerothOrder: expected h > 0 and n >= 2"),
        (lambda: ZerothOrder(precision=torch.float16), "precision float32 or float64"),
    ]:
        with pytest.raises(InputError, match=message):
            bad()


def test_the_model_and_the_inputs_stay_as_they_were() -> None:
    model = plain()
    model[0].bias.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = inputs(6, 5)
    kept = x.clone()
    for estimator in (ExactGaussNewton(), Hutchinson(2), FiniteDifference(n=2), ZerothOrder(n=2)):
        curvature(model, x, Y, estimator, generator=rng())
    assert torch.equal(x, kept)
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


class WritesIntoInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = plain()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.mul_(0.5))


def test_models_that_write_into_their_input_are_measured_right() -> None:
    model = WritesIntoInput().eval()
    x = inputs(6, 5)
    np.testing.assert_allclose(
        curvature(model, x, Y).trace, curvature(model.layer, x / 2, Y).trace / 4, rtol=1e-5
    )


class Viewing(nn.Module):
    """Flattens by view, which channels-last maps do not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(36, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).relu().view(len(x), -1))


def test_the_layout_of_images_changes_nothing() -> None:
    model, x = Viewing().eval(), inputs(6, 2, 5, 5)
    free = nn.Sequential(model.conv, nn.ReLU(), nn.Flatten(), model.head)
    want = curvature(copy.deepcopy(free).double(), x.double(), Y).trace
    np.testing.assert_allclose(curvature(model, x, Y).trace, want, rtol=1e-4)
    np.testing.assert_allclose(curvature(free, x, Y).trace, want, rtol=1e-4)


def test_measured_inside_no_grad_autocast_and_inference_mode() -> None:
    model, x = plain(), inputs(6, 5)
    want = curvature(model, x, Y).trace
    with torch.no_grad():
        np.testing.assert_array_equal(curvature(model, x, Y).trace, want)
    with torch.inference_mode():
        np.testing.assert_array_equal(curvature(model, x, Y).trace, want)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(curvature(model, x, Y).trace, want)


def test_half_precision_models_are_measured_in_float32() -> None:
    model = plain().bfloat16()
    got = curvature(model, inputs(6, 5), Y)
    want = curvature(plain().bfloat16().float(), inputs(6, 5), Y)
    np.testing.assert_array_equal(got.trace, want.trace)
    assert model[0].weight.dtype == torch.bfloat16


def test_piecewise_linear_by_type_and_by_derivative() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(nn.functional.silu(self.a(x)))

    x = inputs(4, 5)
    gelu = nn.Sequential(nn.Linear(5, 4), nn.Sequential(nn.ReLU(), nn.GELU()), nn.Linear(4, 3))
    assert piecewise_linear(plain()) is None
    assert piecewise_linear(plain(), x) is None
    assert piecewise_linear(gelu) == "1.1"
    assert piecewise_linear(gelu, x) == "1.1"
    assert piecewise_linear(Gated(), x) == ""
    assert piecewise_linear(nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4))) == "1"


@pytest.mark.parametrize("smooth", [nn.GELU(), nn.LayerNorm(6), nn.Softplus()], ids=repr)
def test_gauss_newton_warns_and_hutchinson_does_not(smooth) -> None:
    model = nn.Sequential(nn.Linear(5, 6), smooth, nn.Linear(6, 3)).eval()
    name = type(smooth).__name__
    with pytest.warns(CurvatureWarning, match=f"{name} '1' is not piecewise linear"):
        curvature(model, inputs(6, 5), Y)
    curvature(model, inputs(6, 5), Y, Hutchinson(2), generator=rng())


def pooled() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
            nn.Linear(8, 4),
        ).double().eval()  # fmt: skip


def pictures(background: float | None) -> torch.Tensor:
    """A bright bar on a constant background, or on noise."""
    x = torch.from_numpy(rng().standard_normal((8, 1, 12, 12)))
    if background is not None:
        x[:] = background
    for i in range(8):
        x[i, 0, 3 + i % 4 : 6 + i % 4, 2:10] = 2.0 + 0.1 * i
    x[:, 0, 3:9, 2:10] += 0.01 * torch.from_numpy(rng().standard_normal((8, 6, 8)))
    return x


def test_ties_make_difference_traces_wrong_and_warn_while_the_exact_one_is_right() -> None:
    model, y = pooled(), torch.arange(8) % 4
    x = pictures(background=-0.4)
    truth = curvature(model, x, y).trace

    def error(estimator) -> float:
        got = curvature(model, x, y, estimator, generator=rng())
        return float(np.median(np.abs(got.trace / truth - 1)))

    errors = []
    for h in (1e-3, 1e-4, 1e-5):
        with pytest.warns(
            CurvatureWarning,
            match="8 of the first 8 lie where the loss is not differentiable.*Exact",
        ):
            errors.append(error(FiniteDifference(h=h, n=30)))
    assert errors[0] > 1
    assert errors[1] > 3 * errors[0]
    assert errors[2] > 3 * errors[1]  # worse as the step falls: not rounding
    with pytest.warns(CurvatureWarning, match="not differentiable"):
        assert error(ZerothOrder(h=1e-5, n=30, directions=Shared())) > 10
    assert error(Hutchinson(200)) < 0.2

    # The exact value is that of inputs beside the tie, without the tie.
    brute = [
        torch.autograd.functional.hessian(
            lambda z, t=t: nn.functional.cross_entropy(model(z[None]), t[None]), s
        )
        .reshape(144, 144)
        .trace()
        .item()
        for s, t in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(truth, brute, rtol=1e-8)


def test_no_ties_no_warning_and_difference_traces_are_right() -> None:
    model, y = pooled(), torch.arange(8) % 4
    x = pictures(background=None)
    truth = curvature(model, x, y).trace
    got = curvature(model, x, y, FiniteDifference(h=1e-6, n=200), generator=rng())
    np.testing.assert_allclose(got.trace, truth, atol=5 * float(got.trace_error.max()))


def test_units_at_exactly_zero_are_found_too() -> None:
    model = nn.Sequential(nn.Linear(5, 6, bias=False), nn.ReLU(), nn.Linear(6, 3)).eval()
    with pytest.warns(CurvatureWarning, match="6 of the first 6"):
        curvature(model, torch.zeros(6, 5), Y, FiniteDifference(n=2), generator=rng())
