"""What a critic's first penalty finds out: coupled samples, gradients that vanish, frozen critics, several scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from critics import CRITICS, parameter_grads, quadratic, smooth
from torch import Tensor, nn
from torch.nn import functional as F

from gpgan import CriticStep, Penalty, gradient_penalty
from gpgan.penalty import probe

METHODS = ("exact", "finite_difference")


class Around(nn.Module):
    """Features, something between them, a score."""

    def __init__(self, between: Callable[[Tensor], Tensor], features: int = 6, out: int = 1) -> None:
        super().__init__()
        self.first, self.between, self.last = nn.Linear(4, features), between, nn.LazyLinear(out)
        self(torch.zeros(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.between(self.first(x))))


def normalised(h: Tensor) -> Tensor:
    return (h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-5).sqrt()


def attention_over_the_batch(h: Tensor) -> Tensor:
    return h + torch.softmax(h @ h.t(), 1) @ h


def minibatch_deviation(h: Tensor) -> Tensor:
    """ProGAN's layer: one more feature, the mean standard deviation of the others over the batch."""
    deviation = (h.var(0, unbiased=False) + 1e-8).sqrt().mean()
    return torch.cat([h, deviation.expand(len(h), 1)], 1)


def recurrent(select: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A critic that takes the first dimension for time."""
    torch.manual_seed(0)
    rnn, last = nn.GRU(5, 8), nn.Linear(8, 1)
    return lambda x: last(select(rnn(x)[0]))


COUPLED = {
    "BatchNorm by hand": (lambda: Around(normalised), (8, 4)),
    "softmax over the batch": (lambda: Around(lambda h: h.softmax(0)), (8, 4)),
    "attention over the batch": (lambda: Around(attention_over_the_batch), (8, 4)),
    "layer_norm of the transpose": (lambda: Around(lambda h: F.layer_norm(h.t(), h.shape[:1]).t()), (8, 4)),
    "scores minus their mean": (lambda: lambda x: quadratic(x) - quadratic(x).mean(), (8, 4)),
    "scores over their sum": (lambda: lambda x: quadratic(x).softmax(0), (8, 4)),
    "sequence first": (lambda: recurrent(lambda h: h), (12, 8, 5)),
    "sequence first, as long as the batch": (lambda: recurrent(lambda h: h[-1]), (8, 8, 5)),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", COUPLED)
def test_coupled_samples_are_refused_unless_allowed(name: str, method: str) -> None:
    build, shape = COUPLED[name]
    critic, x = build(), torch.randn(shape)
    for _ in range(2):  # a critic that was refused is refused again
        with pytest.raises(
            ValueError, match=r"critic couples the samples of a batch: a share of .*allow_batch_coupling"
        ):
            gradient_penalty(critic, x, torch.randn(shape), method=method)
    assert gradient_penalty(critic, x, torch.randn(shape), method=method, allow_batch_coupling=True).isfinite()


def test_the_step_refuses_them_as_well() -> None:
    critic, x = Around(normalised), torch.randn(8, 4)
    before = [p.detach().clone() for p in critic.parameters()]
    optimizer = torch.optim.SGD(critic.parameters(), 0.1)
    with pytest.raises(ValueError, match="couples the samples"):
        CriticStep(critic, optimizer)(x, -x)
    assert all(map(torch.equal, before, critic.parameters()))
    CriticStep(critic, optimizer, penalty=Penalty(allow_batch_coupling=True))(x, -x)
    CriticStep(critic, optimizer, penalty=None)(x, -x)


@pytest.mark.parametrize("method", METHODS)
def test_a_small_share_is_told_once(method: str) -> None:
    critic, x, alpha = Around(minibatch_deviation, features=32), torch.randn(8, 4), torch.rand(8)
    with pytest.warns(UserWarning, match="couples the samples of a batch a little.*minibatch standard deviation"):
        gradient_penalty(critic, x, torch.randn(8, 4), method=method)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = gradient_penalty(critic, x, -x, alpha=alpha, method=method)
        allowed = gradient_penalty(critic, x, -x, alpha=alpha, method=method, allow_batch_coupling=True)
        assert torch.equal(value, allowed)
    for got, expected in zip(parameter_grads(critic, value), parameter_grads(critic, allowed), strict=True):
        assert torch.equal(got, expected)  # finite differences move the whole batch
    if method == "finite_difference":
        with pytest.raises(ValueError, match=r'reduction is "none".*couples the samples'):
            gradient_penalty(critic, x, -x, alpha=alpha, method=method, reduction="none")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [name for name in CRITICS if "BatchNorm" not in name])
def test_critics_of_single_samples_have_no_share(name: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []
    share = probe.share
    monkeypatch.setattr(probe, "share", lambda *each: shares.append(share(*each)) or shares[-1])
    case = CRITICS[name]
    real, fake, alpha = case.samples()
    gradient_penalty(case.build(), real, fake, alpha=alpha, critic_args=case.args(), method=method)
    assert len(shares) == 1
    assert shares[0] < 1e-12


def test_the_share_of_a_known_coupling() -> None:
    # f_i = x_i + c * mean(x): its gradient is 1 + c / B at i and c / B elsewhere, c / 2 from either half to each row.
    b, c = 6, 0.5
    chosen = probe.half(b, torch.device("cpu"))
    jacobian = torch.eye(b) + c / b
    share = probe.share(jacobian.sum(0)[:, None], jacobian[chosen].sum(0)[:, None], chosen)
    assert share == pytest.approx((c / 2) / (1 + c / 2))
    assert chosen.sum() == b // 2


@pytest.mark.parametrize("b", [6, 8, 12, 16, 24, 32, 64])
def test_groups_of_samples_do_not_escape_the_probe(b: int) -> None:
    chosen = probe.half(b, torch.device("cpu"))
    for size in (size for size in range(2, b // 2 + 1) if b % size == 0):
        for groups in (chosen.view(-1, size), chosen.view(size, -1).t()):  # neighbours, and every n-th sample
            divided = groups.any(1) & ~groups.all(1)
            assert divided.float().mean() > 0.2, (size, groups)


class OfTensors:
    """A critic without modules and functions."""

    def __init__(self) -> None:
        self.weight, self.calls = torch.randn(4, 6, requires_grad=True), 0

    def __call__(self, x: Tensor) -> Tensor:
        return minibatch_deviation(torch.tanh(x @ self.weight)) @ torch.tensor([1.0, 2, 3, 4, 5, 6, 0.3])


@pytest.mark.parametrize("method", METHODS)
def test_an_object_without_modules_is_probed_and_told_once(method: str) -> None:
    critic = OfTensors()
    with pytest.warns(UserWarning, match="couples the samples of a batch a little"):
        gradient_penalty(critic, torch.randn(8, 4), torch.randn(8, 4), method=method)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient_penalty(critic, torch.randn(8, 4), torch.randn(8, 4), method=method)


def test_a_critic_is_probed_once() -> None:
    forwards: list[int] = []
    net = smooth(3, torch.float32)
    net.register_forward_hook(lambda *_: forwards.append(1))
    x = torch.randn(4, 3)

    def backwards(critic: Callable[[Tensor], Tensor]) -> int:
        calls: list[int] = []
        grad = torch.autograd.grad
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.autograd, "grad", lambda *a, **k: calls.append(1) or grad(*a, **k))
            gradient_penalty(critic, x, -x)
        return len(calls)

    assert backwards(net) == 2
    assert backwards(net) == 1
    for count in (2, 1, 1):  # a lambda made anew at every step is one critic
        assert backwards(lambda x: net(x)) == count
    assert backwards(lambda x: net(x) * 2) == 2
    net.eval()
    assert backwards(net) == 2  # training mode may change what a critic couples
    single = smooth(3, torch.float32)
    x = torch.randn(1, 3)
    assert backwards(single) == 1  # of one sample there is nothing to see,
    x = torch.randn(4, 3)
    assert backwards(single) == 2  # so the critic is looked at when there are more


def test_a_new_module_at_the_address_of_a_deleted_one_is_another() -> None:
    shared, x = smooth(4, torch.float32), torch.randn(8, 4)

    def penalty(own: nn.Module) -> Tensor:
        return gradient_penalty(lambda x: shared(x) + own(x), x, -x)

    for _ in range(4):
        penalty(Around(nn.Identity(), 4))
        with pytest.raises(ValueError, match="couples the samples"):
            penalty(Around(nn.Softmax(0), 4))


def test_a_restored_step_does_not_probe_a_trained_critic() -> None:
    critic, x = Around(lambda h: 3 * h.mean(0) + h), torch.randn(8, 4)
    step = CriticStep(critic, torch.optim.SGD(critic.parameters(), 0.1))
    with pytest.raises(ValueError, match="couples"):
        step(x, -x)
    step.load_state_dict({"steps": 3, "serial": None, "couples": True})
    step(x, -x)
    assert step.state_dict()["couples"] is True


# --- penalties that cannot teach


class Constant(nn.Module):
    """The mean over what InstanceNorm has centred."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).mean((1, 2, 3))


def zero_at_the_end() -> nn.Sequential:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    nn.init.zeros_(net[-1].weight)
    return net


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("build", [Constant, zero_at_the_end])
def test_norms_that_vanish_are_told_once(build: Callable[[], nn.Module], method: str) -> None:
    critic, x = build(), torch.randn(4, 1, 8, 8)
    with pytest.warns(UserWarning, match=r"gradient is zero up to rounding.*InstanceNorm followed by a mean"):
        gradient_penalty(critic, x, -x, method=method)


def test_norms_that_vanish_are_told_once_whatever_their_size() -> None:
    net, x = smooth(3, torch.float32), torch.randn(1, 3)  # of one sample, which does not settle the probe
    with pytest.warns(UserWarning, match="zero up to rounding"):
        gradient_penalty(lambda x: net(x) * 1e-9, x, -x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient_penalty(lambda x: net(x) * 1e-8, x, -x)


def test_norms_that_vanish_in_a_scheduled_step_are_told() -> None:
    critic, x = zero_at_the_end(), torch.randn(4, 1, 8, 8)
    step = CriticStep(critic, torch.optim.SGD(critic.parameters(), 0.1))
    with pytest.warns(UserWarning, match="zero up to rounding"):
        step(x, -x)
    assert step.plan.startswith("scheduled")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(x, -x)


def test_a_frozen_critic_is_told() -> None:
    critic, x = smooth(3, torch.float32).requires_grad_(False), torch.randn(4, 3)
    with pytest.warns(UserWarning, match="has 6 parameters, none of which requires grad"):
        gradient_penalty(critic, x, -x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient_penalty(quadratic, x, -x)  # a function without parameters
        critic[0].requires_grad_()
        gradient_penalty(critic, x, -x)


@pytest.mark.parametrize("last", [nn.LeakyReLU(0.2), nn.Tanh()], ids=["scheduled", "general"])
def test_ten_scores_are_told_and_a_map_of_scores_is_not(last: nn.Module) -> None:
    net, x = nn.Sequential(nn.Linear(3, 8), last, nn.Linear(8, 10)), torch.randn(4, 3)
    for call in (
        lambda: gradient_penalty(net, x, -x),
        lambda: CriticStep(net, torch.optim.SGD(net.parameters(), 0.1))(x, -x),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gpgan.util.warn._given", set())
            patch.setattr(probe, "_probed", type(probe._probed)())
            with pytest.warns(
                UserWarning, match=r"critic returned 10 scores per sample, shape \(4, 10\).*scores\[:, 0\]"
            ):
                call()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient_penalty(nn.Conv2d(3, 1, 3), torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8))
