"""The options of ``build`` for every kind: the critic's norm and depth, spectral normalisation, packs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gpgan import gradient_penalty
from gpgan.nn import DEEP, NORMS, MLPCritic, SyncedBatchNorm, build
from gpgan.nn.packing import pack

SHAPES = [
    ("mlp", (6,)),
    ("mlp", (1, 8, 8)),
    ("conv", (2, 16)),
    ("conv", (1, 16, 16)),
    ("conv", (1, 8, 8, 8)),
    ("resnet", (1, 8, 8)),
    ("resnet", (2, 40, 40)),
]
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
kinds = pytest.mark.parametrize(("kind", "shape"), SHAPES, ids=str)


def make(kind: str, shape: tuple[int, ...], **options: object) -> tuple[nn.Module, nn.Module]:
    rng = torch.Generator().manual_seed(0)
    return build(kind, shape, **{"latent": 6, "width": 4, "depth": 3, "rng": rng, **options})


def others_share(critic: nn.Module, x: Tensor) -> float:
    """The share of the gradient of one sample's score that goes to the other samples."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x)[1], x)
    norms = gradient.flatten(1).norm(dim=1)
    assert norms[1] > 0
    return float((norms.sum() - norms[1]) / norms[1])


# --- norm


@kinds
def test_only_batch_norm_couples_samples(kind: str, shape: tuple[int, ...]) -> None:
    x = torch.randn(4, *shape, dtype=torch.float64)
    for norm in NORMS:
        critic = make(kind, shape, norm=norm)[1].double()
        if norm == "batch":
            assert others_share(critic, x) > 1e-3
            with pytest.raises(ValueError, match="critic has a BatchNorm in training mode"):
                gradient_penalty(critic, x, x)
            assert others_share(critic.eval(), x) == 0
        else:
            assert others_share(critic, x) == 0
            gradient_penalty(critic, x, x)


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize(
    ("kind", "shape", "channels"),
    [
        ("mlp", (6,), [4, 4]),
        ("conv", (2, 16), [8, 16]),
        ("conv", (1, 16, 16), [8, 16]),
        ("resnet", (1, 8, 8), [4] * 6),
        ("resnet", (2, 40, 40), [4, 4, 8, 8, 16, 16]),
    ],
    ids=str,
)
def test_where_the_norms_are(kind: str, shape: tuple[int, ...], channels: list[int], norm: str) -> None:
    _, critic = make(kind, shape, norm=norm)
    found = [m for m in critic.modules() if isinstance(m, (SyncedBatchNorm, nn.GroupNorm))]
    assert [len(m.weight) for m in found] == channels
    assert {type(m) for m in found} == {{"batch": SyncedBatchNorm, "layer": nn.GroupNorm}[norm]}
    layers = [m for m in critic.modules() if not list(m.children())]
    weighted = [m for m in layers if isinstance(m, WEIGHTED)]
    # A norm comes directly before an activation, and not after the first layer.
    assert all(isinstance(layers[layers.index(m) + 1], (nn.ReLU, nn.LeakyReLU)) for m in found)
    assert min(map(layers.index, found)) > layers.index(weighted[0])
    assert layers[-1] is weighted[-1]


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_a_critic_without_a_place_for_a_norm(norm: str) -> None:
    with pytest.raises(ValueError, match=f"norm is '{norm}' and this critic has no place for one"):
        make("mlp", (6,), norm=norm, critic_depth=1)
    make("mlp", (6,), norm=norm, critic_depth=2, depth=1)


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 4, 2), (3, 5, 2, 4, 2)], ids=str)
def test_layer_norm_is_over_a_whole_sample(shape: tuple[int, ...]) -> None:
    (norm,) = NORMS["layer"](5)
    x = 3 * torch.randn(shape) + 2
    torch.testing.assert_close(norm(x), nn.functional.layer_norm(x, shape[1:]))


@kinds
@pytest.mark.parametrize("norm", NORMS)
def test_biases_left_out_of_a_critic_would_change_nothing(kind: str, shape: tuple[int, ...], norm: str) -> None:
    critic = make(kind, shape, norm=norm)[1].double()
    x = torch.randn(6, *shape, dtype=torch.float64)
    before = critic(x)
    without = [m for m in critic.modules() if isinstance(m, WEIGHTED) and m.bias is None]
    assert bool(without) == (norm == "batch")
    for layer in without:
        layer.bias = nn.Parameter(torch.randn(len(layer.weight), dtype=torch.float64))
    torch.testing.assert_close(critic(x), before)


@kinds
@pytest.mark.parametrize("norm", NORMS)
def test_gradients_reach_every_parameter(kind: str, shape: tuple[int, ...], norm: str) -> None:
    _, critic = make(kind, shape, norm=norm)
    critic(torch.randn(6, *shape)).square().sum().backward()
    assert {name for name, p in critic.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-7} == set()


@kinds
def test_the_norm_leaves_the_weights_as_drawn(kind: str, shape: tuple[int, ...]) -> None:
    weights = [
        [m.weight for net in make(kind, shape, norm=norm) for m in net.modules() if isinstance(m, WEIGHTED)]
        for norm in NORMS
    ]
    for none, batch, layer in zip(*weights, strict=True):
        assert torch.equal(none, batch)
        assert torch.equal(none, layer)


# --- depth


def test_critic_depth() -> None:
    def linear(net: nn.Module) -> int:
        return sum(isinstance(m, nn.Linear) for m in net.modules())

    assert [linear(net) for net in make("mlp", (2,), depth=3)] == [4, 4]
    assert [linear(net) for net in make("mlp", (2,), depth=3, critic_depth=5)] == [4, 6]
    deep = make("mlp", (2,), depth=3, critic_depth=DEEP)[1]
    assert linear(deep) == 12
    assert linear(MLPCritic((2,), 4, DEEP)) == 12


def test_gradients_pass_a_deep_critic() -> None:
    _, critic = make("mlp", (2,), width=256, critic_depth=DEEP)
    x = torch.randn(64, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(critic(x).sum(), x)
    assert 0.1 < gradient.norm(dim=1).mean() < 10


# --- spectral normalisation


@kinds
def test_spectral_norm(kind: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    plain_generator, plain = make(kind, shape)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    generator, critic = make(kind, shape, spectral_norm=True)
    assert torch.equal(torch.get_rng_state(), state), "only torch's constructors draw from the global random state"
    for ours, without in zip(generator.parameters(), plain_generator.parameters(), strict=True):
        assert torch.equal(ours, without)
    normed, bare = ([m for m in net.modules() if isinstance(m, WEIGHTED)] for net in (critic, plain))
    assert len(normed) == len(bare) > 2
    for _ in range(100):
        critic(torch.randn(2, *shape))  # one power iteration each
    for mine, before in zip(normed, bare, strict=True):
        assert torch.linalg.matrix_norm(mine.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)
        torch.testing.assert_close(mine.parametrizations.weight.original, before.weight)

    # The projection of a conditional critic too.
    _, conditional = make(kind, shape, spectral_norm=True, classes=3)
    assert torch.linalg.matrix_norm(conditional.projection.weight, 2).item() == pytest.approx(1, abs=0.1)

    torch.manual_seed(2)
    again = make(kind, shape, spectral_norm=True)[1].state_dict()
    first = make(kind, shape, spectral_norm=True)[1].state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(hasattr(m, "parametrizations") for m in [*generator.modules(), *plain.modules()])


# --- packs


@kinds
def test_packs(kind: str, shape: tuple[int, ...]) -> None:
    generator, critic = make(kind, shape, pack=3)
    samples = generator(torch.randn(6, 6))
    assert samples.shape == (6, *shape)
    packs = pack(samples, 3)
    assert packs.shape == (2, 3 * shape[0], *shape[1:])
    assert critic(packs).shape == (2,)
    for ours, without in zip(generator.parameters(), make(kind, shape)[0].parameters(), strict=True):
        assert torch.equal(ours, without)


@kinds
def test_a_score_depends_on_each_sample_of_its_pack_and_on_no_other(kind: str, shape: tuple[int, ...]) -> None:
    _, critic = make(kind, shape, pack=3)
    samples = torch.randn(6, *shape, requires_grad=True)
    scores = critic(pack(samples, 3))
    seen = (
        torch.stack([torch.autograd.grad(s, samples, retain_graph=True)[0].flatten(1).norm(dim=1) for s in scores]) > 0
    )
    assert seen.sum(0).tolist() == [1] * 6
    assert seen.sum(1).tolist() == [3] * 2


# --- bad input


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mlp", {"norm": "batchh"}, "norm is 'batchh'; expected none, batch, layer; did you mean batch?"),
        ("conv", {"norm": "group"}, "norm is 'group'; expected none, batch, layer"),
        ("resnet", {"norm": "layers"}, "norm is 'layers'; expected none, batch, layer; did you mean layer?"),
        ("resent", {}, "network.kind is 'resent'; expected one of 'mlp', 'conv', 'resnet'; did you mean resnet?"),
        ("mlp", {"critic_depth": -1}, "critic_depth is -1; expected the number of hidden layers"),
        ("conv", {"critic_depth": 12}, "critic_depth is 12 and network.kind is 'conv'.*; expected 0, or kind 'mlp'"),
        ("resnet", {"critic_depth": 12}, "critic_depth is 12 and network.kind is 'resnet'"),
        ("mlp", {"pack": 0}, "pack is 0; expected the number of samples the critic sees at once, 1 or more"),
        (
            "conv",
            {"pack": 2, "classes": 10},
            "pack is 2 and classes is 10: .*; expected pack 1, or networks without classes",
        ),
    ],
)
def test_arguments_that_do_not_fit(kind: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(kind, (1, 8, 8), **options)
