"""Critics with known gradients, common critic architectures, a plainly written penalty, and an operation count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


def linear(w: Tensor) -> Callable[[Tensor], Tensor]:
    """f(x) = w . x over all elements of a sample: the gradient is w everywhere, its norm |w|."""
    return lambda x: (x * w.to(x)).unsqueeze(-1).flatten(1).sum(1)


def quadratic(x: Tensor) -> Tensor:
    """f(x) = |x|^2 / 2: the gradient is x itself."""
    return x.square().unsqueeze(-1).flatten(1).sum(1) / 2


def smooth(features: int, dtype: torch.dtype = torch.float64, seed: int = 1) -> nn.Sequential:
    """A small critic with derivatives of every order."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(features, 7), nn.Tanh(), nn.Linear(7, 5), nn.Softplus(), nn.Linear(5, 1)).to(
            dtype
        )


def convolutional(channels: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> nn.Sequential:
    """A small critic of images [B, channels, H, W] with even H and W."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(channels, 6, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.GroupNorm(2, 6),
            nn.Conv2d(6, 4, 3, padding=1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 1),
        ).to(dtype)


# --- architectures


def mlp(inputs: int = 2, width: int = 12) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
    )


def dcgan(width: int = 4, halvings: int = 2, size: int = 8) -> nn.Sequential:
    """Kernels of 4 with stride 2 and padding 1, channels 3, width, 2 * width, ..., for images [B, 3, size, size]."""
    layers: list[nn.Module] = []
    channels = [3] + [width << i for i in range(halvings)]
    for inputs, outputs in pairwise(channels):
        layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * (size >> halvings) ** 2, 1))


def pool_by_slices(x: Tensor) -> Tensor:
    """The mean over 2 x 2 pixels, written as in the WGAN-GP authors' code."""
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def pool_by_average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


class ResidualBlock(nn.Module):
    """A residual block of the WGAN-GP critic. The first block takes the image and has no activation before it."""

    def __init__(self, inputs: int, outputs: int, pool: Callable[[Tensor], Tensor] | None, first: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs or pool else None
        self.pool, self.first = pool, first

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if self.shortcut is None or self.pool is None:
            return x + h
        side = self.shortcut(self.pool(x)) if self.first else self.pool(self.shortcut(x))
        return side + self.pool(h)


class PaperResNet(nn.Module):
    """The critic for CIFAR-10 of Gulrajani et al., arXiv 1704.00028, appendix F: [B, 3, 32, 32] (any even size)."""

    def __init__(self, width: int = 4, pool: Callable[[Tensor], Tensor] = pool_by_average) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            ResidualBlock(3, width, pool, first=True),
            ResidualBlock(width, width, pool),
            ResidualBlock(width, width, None),
            ResidualBlock(width, width, None),
        )
        self.score = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(F.relu(self.blocks(x)).mean((2, 3))).squeeze(1)


class SelfAttention(nn.Module):
    """The attention block of SAGAN (arXiv 1805.08318) on [B, C, H, W], with its softmax written out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # No bias of keys or values: it would add a constant to all inputs of the softmax or to all results, and the
        # penalty's gradient with respect to it would be rounding only.
        self.query, self.key = nn.Conv2d(channels, 2, 1), nn.Conv2d(channels, 2, 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        self.gain = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        weights = (query.transpose(1, 2) @ key).softmax(2)
        return x + self.gain * (value @ weights.transpose(1, 2)).view_as(x)


class Recurrent(nn.Module):
    """Sequences [B, T, D] to scores [B]."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.cell, self.score = nn.Linear(3, 4), nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cell(F.relu(self.inputs(x)))
        return self.score(F.leaky_relu(states[:, -1], 0.2)).squeeze(1)


class Projection(nn.Module):
    """psi(phi(x)) + embedding(y) . phi(x), as in Miyato and Koyama, arXiv 1802.05637."""

    def __init__(self, features: nn.Module, width: int, classes: int = 3) -> None:
        super().__init__()
        self.features, self.labels, self.score = features, nn.Embedding(classes, width), nn.Linear(width, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        phi = self.features(x)
        return self.score(phi).squeeze(1) + (self.labels(y) * phi).sum(1)


class Tied(nn.Module):
    """One layer used twice, and a coefficient that may change between calls (as in a progressive GAN's fade-in)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(2, 8), nn.Linear(8, 8), nn.Linear(8, 1)
        self.fade = 0.3

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.first(x), 0.2)
        h = h + self.fade * F.relu(self.middle(h))
        return self.last(F.relu(self.middle(h)))


def layer_norm() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.LayerNorm([4, 8, 8]),
        nn.LeakyReLU(0.2),
        nn.Conv2d(4, 6, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.LayerNorm([6, 4, 4]),
        nn.Flatten(),
        nn.Linear(96, 5),
        nn.LayerNorm(5),
        nn.ReLU(),
        nn.Linear(5, 1),
    )


def instance_norm() -> nn.Sequential:
    # No bias before the norm, which would remove it: its gradient would be rounding only.
    return nn.Sequential(
        nn.Conv2d(3, 4, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
        nn.InstanceNorm2d(6, affine=True),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(96, 1),
    )


def prelu(parameters: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 4, stride=2, padding=1),
        nn.PReLU(parameters),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.PReLU(parameters),
        nn.Flatten(),
        nn.Linear(64, 1),
    )


def mixed_activations() -> nn.Sequential:
    """Smooth activations, which have second derivatives, between piecewise-linear ones, which have none."""
    layers: list[nn.Module] = [nn.Linear(3, 8)]
    for activation in (nn.ReLU(), nn.SiLU(), nn.LeakyReLU(0.1), nn.ELU(), nn.Hardtanh(), nn.Softplus(), nn.Tanh()):
        layers += [activation, nn.Linear(8, 8)]
    return nn.Sequential(*layers, nn.ReLU6(), nn.Linear(8, 1))


def attention() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        SelfAttention(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(16, 1),
    )


def reparametrised(how: Callable[..., nn.Module]) -> nn.Sequential:
    return nn.Sequential(
        how(nn.Conv2d(3, 4, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.2),
        how(nn.Conv2d(4, 6, 4, stride=2, padding=1)),
        nn.ReLU(),
        nn.Flatten(),
        how(nn.Linear(24, 1)),
    )


def mixture() -> Projection:
    """A mixture of many kinds of layer."""
    return Projection(
        nn.Sequential(
            parametrizations.spectral_norm(nn.Conv2d(3, 4, 3, padding=1)),
            nn.PReLU(4),
            ResidualBlock(4, 6, pool_by_slices),
            nn.GroupNorm(2, 6),
            nn.SiLU(),
            SelfAttention(6),
            nn.MaxPool2d(2),
            nn.InstanceNorm2d(6),
            parametrizations.weight_norm(nn.Conv2d(6, 8, 3, padding="same", groups=2)),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.LayerNorm(8),
            nn.Hardtanh(),
        ),
        8,
    )


@dataclass(frozen=True)
class Case:
    """A critic's constructor, the shape [B, ...] of its samples, and the number of its classes (0: no labels)."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int = 0

    def build(self, dtype: torch.dtype = torch.float64, seed: int = 1) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            critic = self.make().to(dtype)
        # torch's initial weights shrink the signal at every layer, so that the slope would be close to 0.
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.mul_(1.8 if parameter.dim() > 1 else 1)
        return critic

    def samples(self, dtype: torch.dtype = torch.float64, seed: int = 2) -> tuple[Tensor, Tensor, Tensor]:
        """real, fake and alpha."""
        rng = torch.Generator().manual_seed(seed)
        real, fake = (torch.randn(self.shape, dtype=dtype, generator=rng) for _ in range(2))
        return real, 0.5 * fake + 0.3, torch.rand(self.shape[0], dtype=dtype, generator=rng)

    def args(self) -> tuple[Tensor, ...]:
        """The critic's arguments after x."""
        return (torch.arange(self.shape[0]) % self.classes,) if self.classes else ()


IMAGES = (4, 3, 8, 8)
CRITICS = {
    "MLP": Case(mlp, (4, 2)),
    "DCGAN": Case(dcgan, IMAGES),
    "ResNet, average pooling": Case(PaperResNet, IMAGES),
    "ResNet, slices": Case(lambda: PaperResNet(pool=pool_by_slices), IMAGES),
    "LayerNorm": Case(layer_norm, IMAGES),
    "InstanceNorm": Case(instance_norm, IMAGES),
    "GroupNorm": Case(lambda: convolutional(3), IMAGES),
    "PReLU, one parameter": Case(lambda: prelu(1), IMAGES),
    "PReLU, one a channel": Case(lambda: prelu(4), IMAGES),
    "mixed activations": Case(mixed_activations, (4, 3)),
    "self-attention": Case(attention, IMAGES),
    "spectral_norm": Case(lambda: reparametrised(parametrizations.spectral_norm), IMAGES),
    "spectral_norm by hooks": Case(lambda: reparametrised(nn.utils.spectral_norm), IMAGES),
    "weight_norm": Case(lambda: reparametrised(parametrizations.weight_norm), IMAGES),
    "LSTM": Case(Recurrent, (4, 6, 3)),
    "projection": Case(lambda: Projection(dcgan()[:-1], 32), IMAGES, classes=3),
    "tied layers": Case(Tied, (4, 2)),
    "mixture": Case(mixture, IMAGES, classes=3),
}


# --- the penalty, plainly written


def plain_penalty(critic: Callable[[Tensor], Tensor], x: Tensor, weight: float = 10.0, target: float = 1.0) -> Tensor:
    """weight * mean((|grad f(x_i)| - target)^2), each sample's gradient computed alone, in a batch of one."""
    total = x.new_zeros(())
    for sample in x.detach().split(1):
        point = sample.clone().requires_grad_()
        (grad,) = torch.autograd.grad(critic(point).sum(), point, create_graph=True)
        total = total + (grad.pow(2).sum().sqrt() - target) ** 2
    return weight * total / len(x)


def script_penalty(
    critic: Callable[..., Tensor],
    real: Tensor,
    fake: Tensor,
    alpha: Tensor,
    args: Sequence[Any] = (),
    weight: float = 10.0,
    target: float = 1.0,
) -> Tensor:
    """The penalty as training scripts write it, by stock autograd."""
    alpha = alpha.view(-1, *[1] * (real.dim() - 1))
    x = (alpha * real + (1 - alpha) * fake).requires_grad_()
    (grad,) = torch.autograd.grad(critic(x, *args).sum(), x, create_graph=True)
    return weight * ((grad.flatten(1).norm(2, dim=1) - target) ** 2).mean()


def parameter_grads(module: nn.Module, loss: Tensor) -> list[Tensor]:
    """d loss / d parameters; zero for a parameter that the loss does not depend on."""
    grads = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(module.parameters(), grads, strict=True)]


def assert_exact(got: Sequence[Tensor], wanted: Sequence[Tensor], relative: float = 1e-12) -> None:
    """Raises unless each tensor differs from the expected one by at most ``relative`` times its norm, i.e. by rounding.

    In a gradient that is a sum with cancellation, rounding is relative to the terms: 1e-15 of the largest norm
    is allowed.
    """
    free = 1e-15 * max((float(theirs.detach().norm()) for theirs in wanted), default=0.0)
    for index, (mine, theirs) in enumerate(zip(got, wanted, strict=True)):
        assert mine.shape == theirs.shape
        error, size = float((mine - theirs).detach().norm()), float(theirs.detach().norm())
        assert error <= relative * size + free, (
            f"tensor {index} {tuple(mine.shape)}: error {error:.3g} in a norm of {size:.3g}"
        )


class _Operations(TorchDispatchMode):
    """Counts by torch's formulas. torch's own FlopCounterMode adds hooks to modules, which changes their behaviour."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in flop_registry:
            self.count += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
        elif packet.__name__ == "_linear_pointwise":  # oneDNN's product, which torch has no formula for
            self.count += 2 * args[0].numel() * args[1].shape[0]
        return out


def operations(call: Callable[[], Any]) -> int:
    """The number of floating-point operations in the matrix products and convolutions of a call."""
    with _Operations() as counter:
        call()
    return counter.count
