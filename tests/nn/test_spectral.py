"""Spectral normalisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from critics import CRITICS
from torch import nn

from gpgan.nn.labels import Projection
from gpgan.nn.spectral import spectral_norm

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Linear": lambda: nn.Linear(5, 7),
    "Conv1d": lambda: nn.Conv1d(3, 6, 3),
    "Conv2d": lambda: nn.Conv2d(3, 6, 3),
    "Conv3d": lambda: nn.Conv3d(2, 6, 3),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(6, 3, 3),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(6, 3, 3),
    "ConvTranspose3d": lambda: nn.ConvTranspose3d(6, 2, 3),
    "Embedding": lambda: nn.Embedding(4, 6),
    "Projection": lambda: Projection(4, 6),
}


def largest_singular_value(layer: nn.Module) -> float:
    weight = layer.weight.detach()
    if "Transpose" in type(layer).__name__:
        weight = weight.transpose(0, 1)
    return float(torch.linalg.matrix_norm(weight.flatten(1), 2))


@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_layer_has_norm_one(name: str) -> None:
    layer = LAYERS[name]().double()
    parameters = {each: id(p) for each, p in layer.named_parameters()}
    critic = nn.Sequential(layer)
    assert spectral_norm(critic) is critic
    for _ in range(200):  # in training mode each access runs a power iteration
        assert layer.weight.isfinite().all()
    assert largest_singular_value(layer.eval()) == pytest.approx(1.0, abs=1e-6)
    assert {id(p) for p in layer.parameters()} == set(parameters.values())


def test_a_critic_of_linear_layers_has_slope_one_at_most() -> None:
    before, critic = CRITICS["MLP"].build(), CRITICS["MLP"].build()
    for each in (before, critic):
        with torch.no_grad():
            for layer in each[::2]:
                layer.weight.mul_(4)
    spectral_norm(critic)
    x = 3 * torch.randn(256, 2, dtype=torch.float64, requires_grad=True)

    def steepest(module: nn.Module) -> float:
        return float(torch.autograd.grad(module(x).sum(), x)[0].norm(dim=1).max())

    for _ in range(100):
        critic(x)
    assert steepest(before) > 1.2
    assert 0.01 < steepest(critic) <= 1 + 1e-9


def test_one_forward_in_training_mode_is_one_power_iteration() -> None:
    layer = spectral_norm(nn.Linear(5, 7).double())
    weight = layer.parametrizations.weight.original.detach()
    v = layer.parametrizations.weight[0]._v.clone()
    u = weight @ v
    u = u / u.norm()
    v = weight.T @ u
    v = v / v.norm()
    x = torch.randn(3, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x), x @ (weight / (u @ weight @ v)).T + layer.bias)
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_normalised_once_only() -> None:
    critic = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.utils.spectral_norm(nn.Linear(4, 4)), nn.Linear(4, 1))
    names = list(spectral_norm(critic).state_dict())
    assert list(spectral_norm(critic).state_dict()) == names
    assert len(critic[0].parametrizations.weight) == 1
    assert not hasattr(critic[2], "parametrizations")


def test_weights_normalised_in_another_way_are_normalised_on_top() -> None:
    layer = spectral_norm(nn.utils.parametrizations.weight_norm(nn.Linear(5, 7).double()))
    for _ in range(200):
        layer(torch.ones(1, 5, dtype=torch.float64))
    assert largest_singular_value(layer.eval()) == pytest.approx(1.0, abs=1e-6)


def test_weights_of_zeros_are_drawn() -> None:
    torch.manual_seed(1)
    table = Projection(4, 6)
    assert not table.weight.any()
    spectral_norm(table)
    assert table.weight.isfinite().all()
    assert 0.5 < float(table.parametrizations.weight.original.detach().std()) < 1.5
    assert torch.isfinite(table(torch.ones(2, 6), torch.tensor([0, 3]))).all()


@pytest.mark.parametrize(("critic", "error", "words"), [
    (nn.Sequential(nn.ReLU(), nn.LayerNorm(3)), ValueError, ["module", "Sequential", "without"]),
    (lambda x: x, TypeError, ["module", "function", "nn.Module"]),
])  # fmt: skip
def test_critics_that_cannot_be_normalised(critic: Any, error: type[Exception], words: list[str]) -> None:
    with pytest.raises(error) as raised:
        spectral_norm(critic)
    assert [word for word in words if word not in str(raised.value)] == []
