"""Residual networks: the sizes they take, the paper's architecture, and their derivatives."""

from __future__ import annotations

import re

import pytest
import torch
from critics import PaperResNet, operations, pool_by_average
from torch import Tensor, nn
from torch.func import functional_call

from gpgan import CriticStep, gradient_penalty
from gpgan.nn import ResNetCritic, ResNetGenerator, build
from gpgan.nn.resnet import doubling, halving, halvings

# Sides that can be halved, with their base.
BASES = {8: 4, 10: 5, 12: 6, 14: 7, 16: 4, 20: 5, 24: 6, 28: 7, 32: 4, 40: 5, 48: 6, 56: 7, 64: 4, 80: 5, 128: 4}
REFUSED = {
    30: "28 or 32",
    33: "32 or 40",
    9: "8 or 10",
    18: "16 or 20",
    63: "56 or 64",
    100: "96 or 112",
    7: "8",
    4: "8",
    1: "8",
}


def make(shape: tuple[int, ...], width: int = 2, seed: int = 0, **options: object) -> tuple[nn.Module, nn.Module]:
    rng = torch.Generator().manual_seed(seed)
    return build("resnet", shape, latent=6, width=width, depth=1, rng=rng, **options)


def weights_of(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


# --- sizes


@pytest.mark.parametrize(("side", "base"), BASES.items())
def test_sides_that_halve(side: int, base: int) -> None:
    assert side == base << halvings((3, side, side))
    generator, critic = make((3, side, side), width=1)
    assert generator.smallest[1:] == (base, base)
    images = generator(torch.randn(2, 6))
    assert images.shape == (2, 3, side, side)
    assert images.abs().max() <= 1
    assert critic(images).shape == (2,)


def test_no_other_side_is_refused_or_taken() -> None:
    taken = {base * 2**k for base in (4, 5, 6, 7) for k in range(1, 9)}
    for side in range(1, 300):
        if side in taken:
            halvings((1, side, side))
        else:
            below, above = (max((s for s in taken if s < side), default=None), min(s for s in taken if s > side))
            near = f"size .* is {above}\\." if below is None else f"sizes .* are {below} or {above}\\."
            with pytest.raises(ValueError, match=near):
                halvings((1, side, side))


@pytest.mark.parametrize(("side", "near"), REFUSED.items())
def test_sides_that_do_not(side: int, near: str) -> None:
    message = (
        rf"\(1, {side}, {side}\), whose side {side} is not .*; the nearest sizes? that can be halved (is|are) {near}\. "
    )
    for network in (lambda: ResNetGenerator(6, (1, side, side), 2), lambda: ResNetCritic((1, side, side), 2)):
        with pytest.raises(ValueError, match=message):
            network()


@pytest.mark.parametrize("shape", [(2,), (8, 8), (1, 8, 16), (1, 8, 8, 8)], ids=str)
def test_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=rf"samples have shape {re.escape(str(shape))}; expected square images"
    ) as raised:
        make(shape)
    assert ("'conv'" in str(raised.value)) == (len(shape) >= 2)


# --- architecture


def test_parameters_of_the_cifar_networks() -> None:
    """By hand from the paper's table of kernels and output shapes (128 channels in every row, 3 of the image).

    A convolution with kernel k from i to o channels has k * k * i * o weights and o biases.
    """
    generator, critic = ResNetGenerator(128, (3, 32, 32), 128), ResNetCritic((3, 32, 32), 128)
    first = (9 * 3 * 128 + 128) + (9 * 128 * 128 + 128) + (3 * 128 + 128)
    two = 2 * (9 * 128 * 128 + 128)
    second = two + (128 * 128 + 128)
    assert weights_of(critic) == first + second + 2 * two + (128 + 1) == 1_053_825

    # Without the 3 biases of each block, which a BatchNorm would remove; 2 * 128 parameters per BatchNorm.
    up = 2 * (2 * 128) + 2 * (9 * 128 * 128) + 128 * 128
    linear, last = 128 * (128 * 4 * 4) + 128 * 4 * 4, 2 * 128 + 9 * 128 * 3 + 3
    assert weights_of(generator) == linear + 3 * up + last == 1_203_331


def test_parameters_of_the_64x64_networks() -> None:
    """By hand from the published code: 64 channels at 64x64, then 128, 256, 512, 512 at 4x4."""
    generator, critic = ResNetGenerator(128, (3, 64, 64), 64), ResNetCritic((3, 64, 64), 64)
    expected = 9 * 3 * 64 + 64
    for i, o in ((64, 128), (128, 256), (256, 512), (512, 512)):
        expected += (9 * i * i + i) + (9 * i * o + o) + (i * o + o)
    assert weights_of(critic) == expected + 512 * 4 * 4 + 1 == 7_488_961

    expected = 128 * 512 * 4 * 4 + 512 * 4 * 4
    for i, o in ((512, 512), (512, 256), (256, 128), (128, 64)):
        expected += 2 * i + 9 * i * o + 2 * o + 9 * o * o + i * o
    assert weights_of(generator) == expected + 2 * 64 + 9 * 64 * 3 + 3

    # Two LayerNorms per block, one before each convolution, with a scale and a shift per channel of the block's input.
    normed = ResNetCritic((3, 64, 64), 64, norm="layer")
    assert weights_of(normed) - weights_of(critic) == 2 * 2 * (64 + 128 + 256 + 512)


def test_critic_is_the_papers() -> None:
    """The same function as one written from the paper's text, whose shortcuts are pooled after their convolution."""
    ours, papers = ResNetCritic((3, 32, 32), 4), PaperResNet(4, pool_by_average)
    with torch.no_grad():
        for mine, theirs in zip(ours.parameters(), papers.parameters(), strict=True):
            theirs.copy_(mine.normal_(0, 0.3))
    x = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(ours(x), papers(x))


def test_the_form_changes_above_32_pixels() -> None:
    small, large = (make((3, side, side), width=2) for side in (32, 40))
    widths = [
        [[(m.in_channels, m.out_channels) for m in net.modules() if isinstance(m, nn.Conv2d)] for net in pair]
        for pair in (small, large)
    ]
    assert widths[0][0] == [(2, 2)] * 9 + [(2, 3)]
    assert widths[0][1] == [(3, 2), (2, 2), (3, 2), (2, 2), (2, 2), (2, 2)] + [(2, 2)] * 4
    assert widths[1][0] == [(16, 8), (8, 8), (16, 8), (8, 4), (4, 4), (8, 4), (4, 2), (2, 2), (4, 2), (2, 3)]
    assert widths[1][1] == [(3, 2), (2, 2), (2, 4), (2, 4), (4, 4), (4, 8), (4, 8), (8, 8), (8, 16), (8, 16)]


@pytest.mark.parametrize(("side", "left"), [(8, 4), (16, 4), (24, 6), (28, 7), (32, 8)])
def test_four_blocks_of_which_two_halve_where_two_can(side: int, left: int) -> None:
    critic = ResNetCritic((1, side, side), 2)
    assert critic.layers[:4](torch.randn(1, 1, side, side)).shape == (1, 2, left, left)


def test_order_within_blocks() -> None:
    def names(layers: nn.Sequential) -> str:
        return " ".join(type(m).__name__ + (str(m.kernel_size[0]) if isinstance(m, nn.Conv2d) else "") for m in layers)

    inner = halving(2, 3, 2, "layer")
    assert names(inner.branch) == "GroupNorm ReLU Conv2d3 GroupNorm ReLU Conv2d3 AvgPool2d"
    assert names(inner.shortcut) == "AvgPool2d Conv2d1"
    first = halving(2, 3, 3, "layer", first=True)
    assert names(first.branch) == "Conv2d3 ReLU Conv2d3 AvgPool2d"
    up = doubling(3, 2)
    assert names(up.branch) == "SyncedBatchNorm ReLU Upsample Conv2d3 SyncedBatchNorm ReLU Conv2d3"
    assert names(up.shortcut) == "Conv2d1 Upsample"
    x = torch.randn(2, 3, 4, 4)
    conv = up.shortcut[0]
    torch.testing.assert_close(up.shortcut(x), conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3)))


def test_biases_left_out_of_the_generator_would_change_nothing() -> None:
    generator, _ = make((1, 16, 16))
    generator = generator.double()
    latents = torch.randn(4, 6, dtype=torch.float64)
    before = generator(latents)
    inner = [m for block in generator.layers[:2] for m in block.modules() if isinstance(m, nn.Conv2d)]
    assert len(inner) == 6
    for conv in inner:
        assert conv.bias is None
        conv.bias = nn.Parameter(torch.randn(conv.out_channels, dtype=torch.float64))
        torch.testing.assert_close(generator(latents), before)


# --- first weights


@pytest.mark.parametrize("side", [8, 28, 32, 64])
def test_scores_and_images_begin_neither_vanishing_nor_huge(side: int) -> None:
    generator, critic = make((3, side, side), width=8)
    assert 0.1 < generator(torch.randn(16, 6)).std() < 0.95
    x = torch.randn(32, 3, side, side, requires_grad=True)
    assert 0.02 < critic(x).std() < 20
    (gradient,) = torch.autograd.grad(critic(x).sum(), x)
    assert 0.02 < gradient.flatten(1).norm(dim=1).mean() < 20


def test_gains_are_those_of_the_activation_before() -> None:
    # Variance of a weight times the number of inputs: 2 after a ReLU, 1 without an activation before the layer.
    generator, critic = make((3, 64, 64), width=32)
    block = critic.layers[3]
    scale = {
        "input": critic.layers[0],
        "inner": block.branch[1],
        "shortcut": block.shortcut[1],
        "score": critic.layers[-1],
    }
    scale |= {"first": generator.first, "image": generator.layers[-2]}
    found = {name: layer.weight.var().item() * layer.weight[0].numel() for name, layer in scale.items()}
    expected = {"input": 1, "inner": 2, "shortcut": 1, "score": 1, "first": 1, "image": 2}
    assert found == pytest.approx(expected, rel=0.15)
    assert make((3, 32, 32), width=512)[1].layers[-1].weight.var().item() * 512 == pytest.approx(2, rel=0.25)


# --- derivatives


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 40, 40)], ids=str)
def test_gradients_reach_every_parameter(shape: tuple[int, ...], classes: int) -> None:
    generator, critic = (net.double() for net in make(shape, width=4, classes=classes))
    labels = (torch.arange(6) % 3,) if classes else ()
    critic(generator(torch.randn(6, 6, dtype=torch.float64), *labels), *labels).square().sum().backward()
    for net in (generator, critic):
        assert {name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-9} == set()


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_penalty_has_right_derivatives(norm: str) -> None:
    _, critic = make((1, 8, 8), width=1, norm=norm)
    critic = critic.double()
    names, values = zip(*critic.named_parameters(), strict=True)
    real, fake = (torch.randn(2, 1, 8, 8, dtype=torch.float64) for _ in range(2))
    alpha = torch.rand(2)

    def penalty(*values: Tensor) -> Tensor:
        def run(x: Tensor) -> Tensor:
            return functional_call(critic, dict(zip(names, values, strict=True)), (x,))

        return gradient_penalty(run, real, fake, alpha=alpha)

    assert penalty(*values) > 1e-3
    torch.autograd.gradcheck(penalty, values, fast_mode=True)

    # Like gradgradcheck, which does not accept a gradient of None, as for the last bias.
    def gradient(*values: Tensor) -> Tensor:
        grads = torch.autograd.grad(penalty(*values), values, create_graph=True, materialize_grads=True)
        return torch.cat([grad.flatten() for grad in grads])

    torch.autograd.gradcheck(gradient, values, fast_mode=True)


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 64, 64), (1, 8, 8)], ids=str)
def test_critic_takes_the_schedule_at_ten_forwards(shape: tuple[int, ...]) -> None:
    _, critic = make(shape, width=16)
    step = CriticStep(critic, torch.optim.SGD(critic.parameters(), lr=0.0))
    real, fake = torch.randn(2, 2, *shape)
    step(real, fake)
    assert step.plan.startswith("scheduled path"), step.plan
    taken = operations(lambda: step(real, fake))
    with torch.no_grad():
        forward = operations(lambda: critic(real))
    # The first convolutions take the samples, which need no gradient.
    assert 9.5 < taken / forward <= 10.1


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 40, 40)], ids=str)
def test_scheduled_step_is_the_script(shape: tuple[int, ...]) -> None:
    critics = [make(shape, width=2)[1].double() for _ in range(2)]
    optimizers = [torch.optim.SGD(critic.parameters(), lr=0.01) for critic in critics]
    real, fake = torch.randn(2, 3, *shape, dtype=torch.float64)
    alpha = torch.rand(3, dtype=torch.float64)
    step = CriticStep(critics[0], optimizers[0])
    step(real, fake, alpha=alpha)
    assert step.plan.startswith("scheduled path"), step.plan
    loss = critics[1](fake).mean() - critics[1](real).mean()
    (loss + gradient_penalty(critics[1], real, fake, alpha=alpha, second_order="stock")).backward()
    optimizers[1].step()
    start = make(shape, width=2)[1].double()
    for ours, script, first in zip(*(net.parameters() for net in (*critics, start)), strict=True):
        torch.testing.assert_close(ours, script)
        assert not torch.equal(ours, first) or script.grad.abs().max() < 1e-12
