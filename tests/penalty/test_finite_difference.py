"""method="finite_difference": the exact value and, without double backward, the gradient within the documented error."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from critics import CRITICS, Case, linear, operations, parameter_grads, quadratic
from tolerances import assert_near
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpgan import gradient_penalty
from gpgan.penalty.finite_difference import STEP, FiniteDifference

# The documented relative error: norm of the difference over norm, all parameters as one vector.
ERROR = {torch.float64: 1e-6, torch.float32: 1e-2}
finite = functools.partial(gradient_penalty, method="finite_difference")


def relative_error(got: list[Tensor], wanted: list[Tensor]) -> float:
    one, other = (torch.cat([g.flatten() for g in grads]).double() for grads in (got, wanted))
    assert other.norm() > 0
    return float((one - other).norm() / other.norm())


def errors(critic: nn.Module, real: Tensor, fake: Tensor, alpha: Tensor, **options: Any) -> float:
    """The gradient's relative error against stock double backward of a float64 copy."""
    twin = copy.deepcopy(critic).double()
    penalty = finite(critic, real, fake, alpha=alpha, **options)
    exact = gradient_penalty(twin, real.double(), fake.double(), alpha=alpha.double(), second_order="stock", **options)
    assert penalty.item() == pytest.approx(exact.item(), rel=1e-3 if real.dtype == torch.float32 else 1e-9)
    return relative_error(parameter_grads(critic, penalty), parameter_grads(twin, exact))


def smooth(activation: Callable[[], nn.Module], inputs: int, width: int = 32) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), activation(), nn.Linear(width, width), activation(), nn.Linear(width, 1)
    )


class Transformer(nn.Module):
    """Sequences [B, T, 6] to scores [B], with layer norms and fused attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(2))
        self.project, self.mix, self.score = nn.Linear(16, 48), nn.Linear(16, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        query, key, value = (
            part.unflatten(-1, (4, 4)).transpose(1, 2) for part in self.project(self.norms[0](h)).chunk(3, -1)
        )
        h = h + F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return self.score(h + F.gelu(self.mix(self.norms[1](h)))).sum((1, 2))


class LSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.score = nn.LSTM(3, 16, batch_first=True), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.cell(x)[0][:, -1])


SMOOTH = {
    "SiLU, 2": Case(lambda: smooth(nn.SiLU, 2), (16, 2)),
    "SiLU, 784": Case(lambda: smooth(nn.SiLU, 784), (8, 784)),
    "tanh, 50": Case(lambda: smooth(nn.Tanh, 50), (16, 50)),
    "Softplus, 784": Case(lambda: smooth(nn.Softplus, 784), (8, 784)),
    "LayerNorm": Case(lambda: nn.Sequential(nn.Linear(20, 32), nn.LayerNorm(32), *smooth(nn.SiLU, 32)), (16, 20)),
    "convolutions": Case(
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 4, 2, 1), nn.SiLU(), nn.Conv2d(8, 16, 4, 2, 1), nn.SiLU(), nn.Flatten(), nn.Linear(256, 1)
        ),
        (8, 3, 16, 16),
    ),
    "attention": Case(Transformer, (8, 10, 6)),
    "LSTM": Case(LSTM, (8, 12, 3)),
}


# --- the documented error


@pytest.mark.parametrize("gain", [1.0, 3.0], ids=["as initialised", "weights times 3"])
@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("dtype", ERROR)
def test_smooth_critics_within_the_stated_error(name: str, dtype: torch.dtype, gain: float) -> None:
    case = SMOOTH[name]
    critic = case.build(dtype)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.mul_(gain if parameter.dim() > 1 else 1)
    with sdpa_kernel(SDPBackend.MATH):
        assert errors(critic, *case.samples(dtype)) < ERROR[dtype]


@pytest.mark.parametrize("name", CRITICS)
@pytest.mark.parametrize("dtype", ERROR)
def test_every_architecture_within_the_stated_error(name: str, dtype: torch.dtype) -> None:
    case = CRITICS[name]
    assert errors(case.build(dtype), *case.samples(dtype), critic_args=case.args()) < ERROR[dtype]


@pytest.mark.parametrize("target", [1.0, 0.0])
@pytest.mark.parametrize("one_sided", [False, True])
def test_exact_to_rounding_where_the_critic_is_piecewise_linear(target: float, one_sided: bool) -> None:
    case = CRITICS["ResNet, average pooling"]
    critic, (real, fake, alpha) = case.build(), case.samples()
    _, norms = gradient_penalty(critic, real, fake, alpha=alpha, return_norms=True)
    with torch.no_grad():
        critic.score.weight.div_(norms.median())  # norms on both sides of 1
    assert errors(critic, real, fake, alpha, weight=3.0, target=target, one_sided=one_sided) < 1e-9


def test_fused_attention_runs_as_it_is() -> None:
    case = SMOOTH["attention"]
    critic = case.build()
    real, fake, alpha = case.samples()
    got = finite(critic, real, fake, alpha=alpha)
    with sdpa_kernel(SDPBackend.MATH):
        wanted = gradient_penalty(critic, real, fake, alpha=alpha)
    with pytest.raises(RuntimeError, match="flash_attention_for_cpu"):
        gradient_penalty(critic, real, fake, alpha=alpha)
    assert relative_error(parameter_grads(critic, got), parameter_grads(critic, wanted)) < 1e-8


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["LSTM", "attention", "convolutions"])
def test_on_a_gpu_as_the_libraries_have_it(name: str) -> None:
    case = SMOOTH[name]
    critic, (real, fake, alpha) = case.build(torch.float32).cuda(), (t.cuda() for t in case.samples(torch.float32))
    twin = copy.deepcopy(critic).double()
    with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
        exact = parameter_grads(twin, gradient_penalty(twin, real.double(), fake.double(), alpha=alpha.double()))
    got = parameter_grads(critic, finite(critic, real, fake, alpha=alpha))
    assert relative_error(got, exact) < 5e-2  # TF32 in convolutions and RNNs


# --- kinks


class Kinked(nn.Module):
    """Every activation and pooling operator that is held, in its functional, module and in-place forms."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = (
            nn.Conv2d(2, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Linear(8, 1),
        )
        self.slopes, self.relu = nn.PReLU(8), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        h = F.max_pool2d(F.leaky_relu(self.first(x), 0.2), 2)
        h = self.slopes(h) + 0.3 * F.hardtanh(self.middle(h), -0.4, 0.5) + self.relu(h - 0.2).abs()
        h = self.middle(h).relu_() + F.leaky_relu_(self.middle(h), 0.1) + F.relu6(8 * h) + torch.abs(h - 0.5)
        # A saturated value must be kept if a curved function follows.
        h = F.tanh(F.hardtanh_(self.middle(h), -0.3, 0.3) + 0.1 * F.hardtanh(h, -2.0, 0.1)) + F.relu(input=h)
        side = self.middle(h)
        side.relu_()  # the changed tensor is used, not the result
        h = h + F.tanh(side)
        h = F.adaptive_max_pool2d(nn.MaxPool2d(2, ceil_mode=True)(h), 2)
        return self.last(F.max_pool1d(h.flatten(2), 4).flatten(1))


def test_kinks_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(Kinked, (16, 2, 12, 12))
    critic, samples = case.build(torch.float32), case.samples(torch.float32)
    assert errors(critic, *samples) < 1e-3
    free = FiniteDifference.__init__

    def init(self: FiniteDifference, *args: Any, **kwargs: Any) -> None:
        free(self, *args, **kwargs)
        self.kinks = None

    monkeypatch.setattr(FiniteDifference, "__init__", init)
    with pytest.warns(UserWarning, match="kinks"):
        assert errors(critic, *samples) > 0.1


def test_max_pooling_with_all_arguments_by_position() -> None:
    """The last of them is ceil_mode, not inplace."""
    net, last = nn.Conv2d(3, 4, 3).double(), nn.Linear(36, 1).double()

    def critic(x: Tensor) -> Tensor:
        return last(torch.max_pool2d(F.tanh(net(x)), 2, 2, 0, 1, True).flatten(1))

    real, fake, alpha = CRITICS["DCGAN"].samples()
    got = parameter_grads(net, finite(critic, real, fake, alpha=alpha))
    wanted = parameter_grads(net, gradient_penalty(critic, real, fake, alpha=alpha))
    assert relative_error(got, wanted) < 1e-6


@pytest.mark.parametrize("other", ["another operator", "another shape"])
def test_a_critic_that_takes_another_way_runs_as_it_is(other: str) -> None:
    case = CRITICS["MLP"]
    critic = case.build()
    calls: list[int] = []

    def restless(x: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 1:
            return critic(x)
        if other == "another shape":
            return critic(F.leaky_relu(x + 100, 0.2) - 100)
        return critic[1:](F.relu(critic[0](x) + 100) - 100)

    real, fake, alpha = case.samples()
    got = parameter_grads(critic, finite(restless, real, fake, alpha=alpha))
    wanted = parameter_grads(critic, gradient_penalty(critic, real, fake, alpha=alpha))
    assert len(calls) == 3
    assert relative_error(got, wanted) < 1e-6  # no kink is near in float64


# --- value and options


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("points", ["between", "real", "fake", "noisy", "given"])
def test_value_and_norms_are_the_exact_ones(points: str, reduction: str, impl: str) -> None:
    case = SMOOTH["SiLU, 2"]
    critic = case.build()
    real, fake, alpha = case.samples()
    options: dict[str, Any] = {"reduction": reduction, "impl": impl, "return_norms": True, "alpha": alpha}
    options["points"] = 0.5 * real if points == "given" else points
    results = []
    for method in ("finite_difference", "exact"):
        torch.manual_seed(4)
        results.append(gradient_penalty(critic, real, fake, method=method, **options))
    (penalty, norms), (exact, exact_norms) = results
    assert not norms.requires_grad
    assert penalty.shape == exact.shape
    assert_near(penalty, exact)
    assert_near(norms, exact_norms)
    upstream = torch.linspace(-1, 2, len(real)).double() if reduction == "none" else torch.ones(())
    got, wanted = (parameter_grads(critic, (value * upstream).sum()) for value in (penalty, exact))
    assert relative_error(got, wanted) < 1e-7


def test_flat_samples_and_samples_at_the_target_have_no_gradient(impl: str) -> None:
    # f = w x^2 / 2: the norm is |w x|; at x = 0 it is zero, at x = 1 the target.
    w = torch.ones((), dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    each = finite(lambda x: w * x.square().sum(1) / 2, x, x, weight=1.0, reduction="none", impl=impl)
    assert each.tolist() == [1.0, 0.0, 4.0]
    grads = [torch.autograd.grad(value, w, retain_graph=True)[0].item() for value in each]
    assert grads[:2] == [0.0, 0.0]
    assert grads[2] == pytest.approx(2 * 2 * 3, rel=1e-9)


def test_a_batch_of_zeros_has_a_step(impl: str) -> None:
    w = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)
    x = torch.zeros(4, 2, dtype=torch.float64)
    penalty = finite(lambda x: (x * w).sum(1), x, x, weight=1.0, impl=impl)
    (grad,) = torch.autograd.grad(penalty, w)
    assert penalty.item() == pytest.approx(16)
    assert_near(grad, 2 * 4 * w.detach() / 5)


@pytest.mark.parametrize(("dtype", "eps"), [(torch.float64, 2.0**-52), (torch.float32, 2.0**-23)])
def test_the_step_is_the_documented_one(dtype: torch.dtype, eps: float) -> None:
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return quadratic(x)

    x = torch.tensor([[3.0, 4.0], [0.3, 0.4], [30.0, 40.0], [0.0, 0.0]], dtype=dtype)
    finite(critic, x, x)
    length = (seen[1] - seen[2]).norm(dim=1) / 2
    mean = 55.5 / 4
    wanted = STEP * eps ** (1 / 3) * torch.tensor([mean, mean, 50.0, 0.0])  # the last sample has no gradient and stays
    assert torch.allclose(length.float(), wanted, rtol=1e-2)


def test_the_step_follows_autocast() -> None:
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return quadratic(x)

    x = torch.tensor([[3.0, 4.0]])
    with torch.autocast("cpu", torch.bfloat16):
        finite(critic, x, x)
    assert ((seen[1] - seen[2]).norm() / 2).item() == pytest.approx(STEP * 2 ** (-7 / 3) * 5, rel=1e-4)


def test_arguments_reach_all_three_forwards_and_a_conditions_graph_stays() -> None:
    critic, encoder = SMOOTH["SiLU, 2"].build(), nn.Linear(3, 2).double()
    real, fake, alpha = SMOOTH["SiLU, 2"].samples()
    labels = torch.randn(len(real), 3, dtype=torch.float64)
    calls: list[float] = []

    def conditional(x: Tensor, c: Tensor, *, scale: float) -> Tensor:
        calls.append(scale)
        return critic(x * c).squeeze(1) * scale

    grads = []
    for method in ("finite_difference", "exact"):
        condition = encoder(labels)
        penalty = gradient_penalty(
            conditional,
            real,
            fake,
            alpha=alpha,
            method=method,
            critic_args=(condition,),
            critic_kwargs={"scale": 2.0},
        )
        grads.append(
            torch.autograd.grad(penalty, [*critic.parameters(), *encoder.parameters()], materialize_grads=True)
        )
    assert calls == [2.0] * 4
    assert relative_error(list(grads[0]), list(grads[1])) < 1e-7
    assert relative_error(list(grads[0][-2:]), list(grads[1][-2:])) < 1e-7


def test_no_parameter_is_left_without_a_gradient() -> None:
    critic = SMOOTH["SiLU, 2"].build()
    real, fake, alpha = SMOOTH["SiLU, 2"].samples()
    finite(critic, real, fake, alpha=alpha).backward()
    assert critic[-1].bias.grad.item() == 0
    assert all(parameter.grad is not None for parameter in critic.parameters())


# --- half precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_grad_scale(dtype: torch.dtype) -> None:
    critic = CRITICS["DCGAN"].build(torch.float32)
    real, fake, alpha = CRITICS["DCGAN"].samples(torch.float32)
    wanted = gradient_penalty(critic, real, fake, alpha=alpha)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0) if dtype == torch.float16 else None
    with torch.autocast("cpu", dtype):
        got = finite(critic, real, fake, alpha=alpha, grad_scale=scaler)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(wanted.item(), rel=16 * torch.finfo(dtype).eps)
    assert relative_error(parameter_grads(critic, got), parameter_grads(critic, wanted)) < 0.1


def test_scaled_gradient_does_not_underflow() -> None:
    # A gradient of 2^-26 underflows in float16, but not times 2^14.
    x, factor = torch.randn(3, 4).half(), torch.tensor(2.0**-13).half()
    critic = lambda x: (x * factor * factor).sum(1)  # noqa: E731
    _, plain = finite(critic, x, x, return_norms=True)
    _, scaled = finite(critic, x, x, grad_scale=65536.0, return_norms=True)
    assert plain.tolist() == [0.0] * 3
    assert_near(scaled * 2.0**25, torch.ones(3))


# --- batch coupling


def with_batch_norm() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 1))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_coupled_samples_have_the_exact_gradient(reduction: str) -> None:
    case = Case(with_batch_norm, (16, 3))
    critic, twin = case.build(), case.build()
    real, fake, alpha = case.samples()
    options: dict[str, Any] = {"alpha": alpha, "allow_batch_coupling": True, "reduction": reduction}
    with pytest.raises(ValueError, match="BatchNorm in training mode"):
        finite(copy.deepcopy(critic), real, fake)
    got = parameter_grads(critic, finite(critic, real, fake, **options))
    wanted = parameter_grads(twin, gradient_penalty(twin, real, fake, **options))
    assert relative_error(got, wanted) < 1e-6
    # Running statistics change as by one forward.
    assert critic[1].num_batches_tracked.item() == 1
    assert torch.allclose(critic[1].running_mean, twin[1].running_mean, rtol=1e-4)


def test_coupled_samples_have_no_penalty_of_their_own() -> None:
    x = torch.randn(4, 3)
    with pytest.raises(ValueError, match=r'reduction is "none".*expected "mean" or "sum"'):
        finite(with_batch_norm(), x, x, allow_batch_coupling=True, reduction="none")


def test_linear_critic_in_closed_form(impl: str) -> None:
    w = torch.tensor([[3.0, 4.0]]).double()
    x = torch.randn(6, 2).double()
    penalty, norms = finite(linear(w), x, -x, impl=impl, return_norms=True)
    assert_near(penalty, torch.tensor(160.0).double())
    assert_near(norms, torch.full((6,), 5.0).double())


def test_nan_in_the_data_reaches_the_penalty(impl: str) -> None:
    x = torch.randn(4, 3)
    x[1, 2] = torch.nan
    each = finite(quadratic, x, x, reduction="none", impl=impl)
    assert torch.isnan(each).tolist() == [False, True, False, False]


def test_an_exact_critic_is_not_warned_of() -> None:
    case = CRITICS["MLP"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finite(case.build(), *case.samples()[:2]).backward()


def test_operations_are_twice_those_of_the_exact_method() -> None:
    layers = (nn.Linear(2, 256), nn.LeakyReLU(0.2), nn.Linear(256, 256), nn.LeakyReLU(0.2))
    critic = nn.Sequential(*layers, nn.Linear(256, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1))
    real, fake = torch.randn(2, 16, 2)
    with torch.no_grad():
        forward = operations(lambda: critic(real))

    def forwards(**options: str) -> float:
        return operations(lambda: gradient_penalty(critic, real, fake, **options).backward()) / forward

    assert forwards() == pytest.approx(4, abs=0.1)
    assert forwards(second_order="stock") == pytest.approx(6, abs=0.1)
    assert forwards(method="finite_difference") == pytest.approx(8, abs=0.1)
