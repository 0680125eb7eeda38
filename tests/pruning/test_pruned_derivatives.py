"""Derivatives of the pruned penalty: of higher order, checked numerically, and of critics that differentiate."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from activation_forms import ALL
from against_stock import Around, assert_same
from critics import CRITICS, assert_exact, script_penalty, smooth
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gpgan import gradient_penalty


def higher(make: Callable[[], nn.Module], x: Tensor, args: tuple[Tensor, ...], second_order: str) -> list[Tensor]:
    """The gradient of |d penalty / d parameters|^2 by the parameters; "plain" is a penalty without gpgan."""
    torch.manual_seed(5)
    critic = make()
    parameters = list(critic.parameters())
    if second_order == "plain":
        penalty = script_penalty(critic, x, x, torch.ones(len(x), dtype=x.dtype), args)
    else:
        penalty = gradient_penalty(critic, None, None, points=x, critic_args=args, second_order=second_order)
    first = torch.autograd.grad(penalty, parameters, create_graph=True, allow_unused=True)
    size = sum(g.square().sum() for g in first if g is not None)
    grads = torch.autograd.grad(size, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)]


@pytest.mark.parametrize("name", CRITICS)
def test_third_derivatives_are_stocks(name: str) -> None:
    case = CRITICS[name]
    x, args = case.samples()[0], case.args()
    try:
        higher(case.build, x, args, "plain")
    except RuntimeError:  # torch 2.14 has no third derivative of batch_norm, which computes InstanceNorm
        with pytest.raises(RuntimeError):
            higher(case.build, x, args, "pruned")
        return
    expected = higher(case.build, x, args, "stock")
    assert sum(float(g.norm()) for g in expected) > 0
    assert_exact(higher(case.build, x, args, "pruned"), expected, relative=1e-11)


# Excludes forms with weights for three channels: here there are two channels.
SMALL_LAYERS = {
    "pooling": lambda: (F.silu, lambda h: F.max_pool2d(h, 2, 1), torch.sin, lambda h: F.avg_pool2d(h, 2), F.softplus),
    "convolution": lambda: (nn.Conv2d(2, 3, 3, stride=2, padding=1).double(), F.silu),
    "transposed": lambda: (nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1).double(), F.silu),
    **{name: lambda f=form: (torch.sin, f(), F.silu) for name, form in ALL.items() if "many" not in name},
}


@pytest.mark.parametrize("name", [name for name in SMALL_LAYERS if name not in ALL or name.startswith(("F.", "nn."))])
def test_third_derivatives_of_every_operator_are_stocks(name: str) -> None:
    def make() -> nn.Module:
        torch.manual_seed(1)
        return Around((2, 4, 4), *SMALL_LAYERS[name]())

    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    wanted = higher(make, x, (), "stock")
    assert sum(float(g.norm()) for g in wanted) > 0
    assert_exact(higher(make, x, (), "pruned"), wanted, relative=1e-11)


@pytest.mark.parametrize("layers", [
    (nn.Conv2d(1, 2, 2, stride=2), nn.Softplus(), nn.Conv2d(2, 2, 2, padding=1, groups=2), nn.Tanh()),
    (nn.ConvTranspose2d(1, 2, 2, stride=2), nn.Softplus(), nn.AvgPool2d(2), nn.Tanh()),
    (nn.Conv2d(1, 2, 2), nn.LeakyReLU(0.2), nn.Conv2d(2, 2, 2, bias=False), nn.Softplus()),
    (nn.Conv2d(1, 3, 2), nn.Softplus(), nn.PReLU(3), nn.MaxPool2d(2), nn.Tanh()),
], ids=["convolutions", "transposed and average", "leaky", "prelu and max"])  # fmt: skip
def test_numerical_derivatives(layers: tuple[nn.Module, ...]) -> None:
    critic = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(1)).double()
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    critic(x)
    names = [name for name, _ in critic.named_parameters()]
    condition = torch.rand(2, 1, 1, 1, dtype=torch.float64).requires_grad_()

    def penalty(condition: Tensor, *parameters: Tensor) -> Tensor:
        values = dict(zip(names, parameters, strict=True))
        return gradient_penalty(
            lambda x, c: torch.func.functional_call(critic, values, (x * c,)),
            None,
            None,
            points=x,
            critic_args=(condition,),
        )

    inputs = (condition, *[p.detach().requires_grad_() for p in critic.parameters()])
    assert torch.autograd.gradcheck(penalty, inputs)
    assert torch.autograd.gradgradcheck(penalty, inputs, atol=1e-4)


# --- critics that differentiate


class Energy(Around):
    """A critic that is the size of a piecewise-linear and convolutional network's gradient."""

    def __init__(self, how: str) -> None:
        super().__init__((2, 4, 4))
        torch.manual_seed(1)
        self.net = nn.Sequential(
            nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Softplus(), nn.Flatten(), nn.Linear(12, 1)
        ).double()
        self.how = how

    def energy(self, sample: Tensor) -> Tensor:
        return self.net(sample.view(1, 2, 4, 4)).sum()

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "autograd.grad":
            x = x if x.requires_grad else x.detach().requires_grad_()
            (grad,) = torch.autograd.grad(self.net(x).sum(), x, create_graph=True)
        elif self.how == "torch.func.grad":
            grad = torch.func.grad(lambda x: self.net(x).sum())(x)
        elif self.how == "vmap of grad":
            grad = torch.func.vmap(torch.func.grad(self.energy))(x)
        elif self.how == "vmap":
            grad = torch.func.vmap(lambda sample: self.net[:3](sample.unsqueeze(0)))(x)
        elif self.how == "jacrev":
            grad = torch.stack([torch.func.jacrev(self.energy)(sample) for sample in x])
        elif self.how == "jvp":
            grad = torch.func.jvp(self.net, (x,), (x.cos(),))[1]
        elif self.how == "jacfwd":
            grad = torch.stack([torch.func.jacfwd(self.energy)(sample) for sample in x])
        else:
            with forward_ad.dual_level():
                grad = forward_ad.unpack_dual(self.net(forward_ad.make_dual(x, x.cos()))).tangent
        h = F.leaky_relu(grad.flatten(1) + 0.01, 0.2)
        return super().forward(x) * 0.1 + h.square().sum(1) + self.net(x).squeeze(1)


@pytest.mark.parametrize(
    "how", ["autograd.grad", "torch.func.grad", "vmap of grad", "vmap", "jacrev", "jvp", "jacfwd", "forward mode"]
)
def test_critics_that_differentiate(how: str) -> None:
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    assert_same(lambda: Energy(how), x)


class Nested(nn.Module):
    """A critic whose forward calls gradient_penalty."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = smooth(3), CRITICS["mixed activations"].build()

    def forward(self, x: Tensor) -> Tensor:
        inner = gradient_penalty(self.inner, None, None, points=x, reduction="none")
        return self.outer(F.relu(x)).squeeze(1) * (1 + inner)


def test_a_critic_that_takes_a_penalty_itself() -> None:
    assert_same(Nested, torch.randn(3, 3, dtype=torch.float64))


class Checkpointed(nn.Module):
    def __init__(self, critic: nn.Module, **options: object) -> None:
        super().__init__()
        self.critic, self.options = critic, options

    def forward(self, x: Tensor, *args: Tensor) -> Tensor:
        return checkpoint(self.critic, x, *args, use_reentrant=False, **self.options)


@pytest.mark.parametrize("name", ["MLP", "DCGAN", "ResNet, average pooling", "mixed activations", "projection"])
@pytest.mark.parametrize("early_stop", [True, False])
def test_checkpointed_critics(name: str, early_stop: bool) -> None:
    case = CRITICS[name]
    x = case.samples()[0]
    assert_same(lambda: Checkpointed(case.build(), early_stop=early_stop), x, case.args())
    # A checkpoint around part of a critic, with pruned layers before and after.
    around = Around(x.shape[1:], F.leaky_relu, Checkpointed(case.build(), early_stop=early_stop), F.silu)
    if not case.args():
        assert_same(lambda: around, x)


CHECKPOINTED = {
    "max pooling": lambda: lambda h: F.max_pool2d(h, 2, 1),
    "average pooling": lambda: lambda h: F.avg_pool2d(h, 2),
    "convolution": lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1).double(),
    **{name: form for name, form in ALL.items() if "many" not in name},
}


@pytest.mark.parametrize("name", CHECKPOINTED)
def test_checkpointed_operators(name: str) -> None:
    """The part runs again outside of the penalty's forward and must save the same tensors there."""

    def make() -> nn.Module:
        torch.manual_seed(1)
        layer = CHECKPOINTED[name]()

        def checkpointed(h: Tensor) -> Tensor:
            return checkpoint(lambda h: F.silu(layer(h * 2.0)).sin(), h, use_reentrant=False)

        critic = Around((2, 4, 4), torch.sin, checkpointed, F.leaky_relu)
        if isinstance(layer, nn.Module):
            critic.modules_among.append(layer.double())
        return critic

    assert_same(make, torch.randn(3, 2, 4, 4, dtype=torch.float64))


@pytest.mark.parametrize("name", ["DCGAN", "ResNet, average pooling", "mixture"])
def test_saved_tensors_may_be_packed_away(name: str) -> None:
    case = CRITICS[name]

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.critic = case.build()

        def forward(self, x: Tensor, *args: Tensor) -> Tensor:
            with torch.autograd.graph.save_on_cpu():
                return self.critic(x, *args)

    assert_same(Packed, case.samples()[0], case.args())
    with torch.autograd.graph.save_on_cpu():
        assert_same(case.build, case.samples()[0], case.args())
