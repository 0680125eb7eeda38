"""Shapes of the networks' outputs, their initial weights, and independence of the critic's samples."""

import math

import pytest
import torch
from torch import nn

from gpgan import CriticStep
from gpgan.nn import build
from gpgan.nn.conv import ladder
from gpgan.nn.labels import Projection

IMAGES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 9, 9), (2, 13, 30), (3, 5, 64), (1, 3, 3), (1, 1, 1)]
SIGNALS = [(1, 8), (3, 200), (2, 33), (1, 1)]
VOLUMES = [(1, 8, 8, 8), (2, 5, 9, 16), (1, 2, 2, 2)]


def make(kind, shape, seed=0, latent=6, width=4, depth=2):
    rng = torch.Generator().manual_seed(seed)
    return build(kind, shape, latent=latent, width=width, depth=depth, rng=rng)


@pytest.mark.parametrize("shape", SIGNALS + IMAGES + VOLUMES, ids=str)
@pytest.mark.parametrize("kind", ["conv", "mlp"])
def test_signals_images_and_volumes(kind, shape):
    generator, critic = make(kind, shape)
    images = generator(torch.randn(5, 6))
    assert images.shape == (5, *shape)
    assert images.abs().max() <= 1
    assert critic(images).shape == (5,)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_vectors(size):
    generator, critic = make("mlp", (size,))
    vectors = generator(100 * torch.randn(5, 6))
    assert vectors.shape == (5, size)
    assert vectors.abs().max() > 1, "vectors are unbounded"
    assert critic(vectors).shape == (5,)


def test_depth_counts_hidden_layers():
    _, critic = make("mlp", (2,), width=4, depth=3)
    assert [(m.in_features, m.out_features) for m in critic.modules() if isinstance(m, nn.Linear)] == [
        (2, 4),
        (4, 4),
        (4, 4),
        (4, 1),
    ]


def test_ladder_halves_down_to_four():
    assert ladder(200) == [(200,), (100,), (50,), (25,), (13,), (7,), (4,)]
    assert ladder(28, 28) == [(28, 28), (14, 14), (7, 7), (4, 4)]
    assert ladder(9, 64) == [(9, 64), (5, 32), (3, 16)]
    assert ladder(3, 3) == [(3, 3)]
    assert ladder(16, 9, 7) == [(16, 9, 7), (8, 5, 4)]


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        *[("mlp", (2,)), ("mlp", (1, 8, 8)), ("conv", (1, 8, 8)), ("conv", (3, 32, 32)), ("conv", (1, 8, 8, 8))],
        *[("conv", (1, 8)), ("conv", (3, 33))],
        *[("resnet", (1, 8, 8)), ("resnet", (3, 40, 40))],
    ],
)
def test_critic_scores_each_sample_by_itself(kind, shape):
    _, critic = make(kind, shape)
    samples = torch.randn(4, *shape, requires_grad=True)
    (gradient,) = torch.autograd.grad(critic(samples)[1], samples)
    assert gradient[1].abs().sum() > 0
    assert gradient[[0, 2, 3]].abs().sum() == 0


DRAWN = [
    ("mlp", (1, 8, 8)),
    ("conv", (2, 16)),
    ("conv", (1, 8, 8)),
    ("conv", (1, 8, 8, 8)),
    ("resnet", (1, 8, 8)),
    ("resnet", (3, 40, 40)),
]


@pytest.mark.parametrize(("kind", "shape"), DRAWN, ids=str)
def test_weights_depend_on_the_given_random_state_alone(kind, shape):
    torch.manual_seed(1)
    first = make(kind, shape, seed=3)
    torch.manual_seed(2)
    again, other = make(kind, shape, seed=3), make(kind, shape, seed=4)
    for a, b, c in zip(first, again, other, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
        assert any(not torch.equal(x, y) for x, y in zip(a.parameters(), c.parameters(), strict=True))


@pytest.mark.parametrize("shape", [(1, 1024), (1, 32, 32), (1, 16, 16, 16)], ids=str)
def test_scores_begin_neither_vanishing_nor_huge(shape):
    generator, critic = make("conv", shape, width=8, latent=64)
    assert 0.05 < critic(torch.randn(64, *shape)).std() < 20
    assert 0.1 < generator(torch.randn(16, 64)).std() < 0.95


def test_names_that_checkpoints_know():
    generator, critic = make("conv", (1, 8, 8))
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert list(generator.state_dict()) == [
        "first.weight",
        *(f"layers.0.{name}" for name in norm),
        "layers.2.weight",
        *(f"layers.3.{name}" for name in norm),
        "layers.5.weight",
        "layers.5.bias",
    ]
    assert list(critic.state_dict()) == [f"layers.{i}.{name}" for i in (0, 2, 5) for name in ("weight", "bias")]
    generator, critic = make("mlp", (2,))
    for net in (generator, critic):
        assert list(net.state_dict()) == [f"layers.{i}.{name}" for i in (0, 2, 4) for name in ("weight", "bias")]


@pytest.mark.parametrize(("kind", "shape"), DRAWN, ids=str)
def test_weights_are_drawn_in_the_order_of_the_layers(kind, shape):
    rng = torch.Generator().manual_seed(0)
    for net in make(kind, shape, seed=0):
        for weight in (p.detach() for p in net.parameters() if p.dim() > 1):
            draw = torch.randn(weight.shape, generator=rng)
            torch.testing.assert_close(weight / weight.std(), draw / draw.std())


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("mlp", (2,)), ("mlp", (1, 8, 8)), ("conv", (2, 16)), ("conv", (1, 8, 8)), ("conv", (1, 8, 8, 8))],
    ids=str,
)
def test_critics_run_by_the_schedule(kind, shape):
    _, critic = make(kind, shape)
    step = CriticStep(critic, torch.optim.Adam(critic.parameters()))
    step(torch.randn(4, *shape), torch.randn(4, *shape))
    assert step.plan.startswith("scheduled path"), step.plan


@pytest.mark.parametrize("shape", [(2,), (1, 2, 2, 2, 2)], ids=str)
def test_convolution_needs_signals_images_or_volumes(shape):
    with pytest.raises(
        ValueError,
        match=r"network.kind is 'conv' and samples have shape \(.*\); expected \[C, T\], \[C, H, W\] or "
        r"\[C, D, H, W\], or kind 'mlp'",
    ):
        make("conv", shape)


def test_unknown_kind():
    with pytest.raises(ValueError, match=r"network.kind is 'transformer'; expected one of 'mlp', 'conv', 'resnet'$"):
        make("transformer", (2,))


WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def taps(layer):
    """How many terms an output sums: its response to ones, in the middle. Biases are initially 0."""
    size = (layer.in_features,) if isinstance(layer, nn.Linear) else (layer.in_channels, *[12] * len(layer.kernel_size))
    response = torch.func.functional_call(layer, {"weight": torch.ones_like(layer.weight)}, torch.ones(1, *size))
    return response[(0, 0, *[side // 2 for side in response.shape[2:]])].item()


@pytest.mark.parametrize("classes", [0, 5])
@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        *[("mlp", (20,)), ("conv", (1, 64)), ("conv", (1, 16, 16)), ("conv", (1, 8, 8, 8))],
        *[("resnet", (3, 32, 32)), ("resnet", (3, 64, 64))],
    ],
    ids=str,
)
def test_first_weights_keep_the_size_of_what_goes_through(kind, shape, classes):
    """He et al., equation 15: a standard deviation of sqrt(2 / ((1 + slope^2) fan_in)), where fan_in is the number of terms of an output."""
    rng = torch.Generator().manual_seed(0)
    for net in build(kind, shape, latent=32, width=32, depth=3, classes=classes, rng=rng):
        for layer in net.modules():
            if isinstance(layer, Projection):
                linear = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
                fan_in, slope = layer.weight.shape[1], getattr(linear, "input_slope", 0.2)
                assert slope == {("resnet", 32): 0, ("resnet", 64): 1}.get((kind, shape[-1]), 0.2)
            elif isinstance(layer, WEIGHTED):
                fan_in, slope = taps(layer), getattr(layer, "input_slope", 0.2)
            else:
                continue
            expected = math.sqrt(2 / (1 + slope**2) / fan_in)
            count = layer.weight.numel()
            # Five standard errors of a standard deviation, (2 n)^-1/2 of it each.
            assert layer.weight.std(correction=0).item() == pytest.approx(expected, rel=5 / math.sqrt(2 * count)), layer
