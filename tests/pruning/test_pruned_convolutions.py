"""Convolutions of every geometry: stock's gradients with fewer operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from against_stock import Around, Between, assert_same, penalty_operations
from critics import assert_exact, operations
from torch import Tensor, nn
from torch.nn import functional as F

from gpgan import gradient_penalty

INNER = {1: (4, 7), 2: (4, 6, 5), 3: (4, 4, 5, 3)}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"kernel_size": 3},
    "one by one": {"kernel_size": 1},
    "no bias": {"kernel_size": 3, "bias": False},
    "stride": {"kernel_size": 3, "stride": 2},
    "stride that leaves a rest": {"kernel_size": 2, "stride": 3},
    "padding": {"kernel_size": 3, "padding": 2},
    "DCGAN": {"kernel_size": 4, "stride": 2, "padding": 1},
    "valid": {"kernel_size": 3, "padding": "valid"},
    "same": {"kernel_size": 3, "padding": "same"},
    "same, even kernel": {"kernel_size": 2, "padding": "same"},
    "same, dilated": {"kernel_size": 2, "padding": "same", "dilation": 2},
    "dilation": {"kernel_size": 2, "dilation": 2, "padding": 1},
    "groups": {"kernel_size": 3, "groups": 2},
    "depthwise": {"kernel_size": 3, "groups": 4, "padding": 1},
    "all of it": {"kernel_size": 2, "stride": 2, "padding": 1, "dilation": 2, "groups": 2, "bias": False},
    "circular": {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
    "replicate": {"kernel_size": 3, "padding": 1, "padding_mode": "replicate"},
}
TRANSPOSED_OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"kernel_size": 3},
    "no bias": {"kernel_size": 2, "bias": False},
    "stride": {"kernel_size": 3, "stride": 2},
    "DCGAN": {"kernel_size": 4, "stride": 2, "padding": 1},
    "output_padding": {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    "groups": {"kernel_size": 2, "groups": 2},
    "depthwise": {"kernel_size": 2, "groups": 4, "stride": 2},
    "dilation": {"kernel_size": 2, "dilation": 2},
    "all of it": {"kernel_size": 2, "stride": 3, "padding": 1, "output_padding": 1, "groups": 2, "dilation": 2},
}
FORMS = {f"{n}d {name}": (n, f"Conv{n}d", options) for n in INNER for name, options in OPTIONS.items()} | {
    f"{n}d transposed, {name}": (n, f"ConvTranspose{n}d", options)
    for n in INNER
    for name, options in TRANSPOSED_OPTIONS.items()
}


def make(name: str) -> nn.Module:
    _, kind, options = FORMS[name]
    torch.manual_seed(1)
    return getattr(nn, kind)(4, 4 if options.get("groups") == 4 else 6, **options).double()


def points(n: int) -> Tensor:
    return torch.randn(3, *INNER[n], dtype=torch.float64, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("name", FORMS)
def test_penalty_and_gradients_are_stocks(name: str) -> None:
    n = FORMS[name][0]
    assert_same(lambda: Around(INNER[n], make(name), F.silu), points(n))
    assert_same(lambda: Around(INNER[n], torch.sin, make(name), F.leaky_relu), points(n))


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if "padding_mode" not in form[2]])
def test_functional_form_with_arguments_by_name_and_by_position(name: str) -> None:
    n, kind, options = FORMS[name]
    layer = make(name)
    transposed = "Transpose" in kind
    convolve = getattr(F, f"conv_transpose{n}d" if transposed else f"conv{n}d")
    by_name = {k: v for k, v in options.items() if k not in ("kernel_size", "bias")}
    defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    if transposed:
        defaults = {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}
    by_position = [by_name.get(k, default) for k, default in defaults.items()]
    wanted = gradient_with(lambda h, w, b: convolve(h, w, b, **by_name), layer, n, "stock")
    assert_exact(gradient_with(lambda h, w, b: convolve(h, w, b, **by_name), layer, n, "pruned"), wanted)
    assert_exact(gradient_with(lambda h, w, b: convolve(h, w, b, *by_position), layer, n, "pruned"), wanted)
    named = gradient_with(lambda h, w, b: convolve(input=h, weight=w, bias=b, **by_name), layer, n, "pruned")
    assert_exact(named, wanted)


def gradient_with(convolve: Callable[..., Tensor], layer: nn.Module, n: int, second_order: str) -> tuple[Tensor, ...]:
    penalty = gradient_penalty(
        lambda x: convolve(x.sin(), layer.weight, layer.bias).flatten(1).square().sum(1),
        None,
        None,
        points=points(n),
        second_order=second_order,
    )
    return torch.autograd.grad(penalty, list(layer.parameters()))


@pytest.mark.parametrize("name", FORMS)
def test_samples_one_at_a_time(name: str) -> None:
    n = FORMS[name][0]
    layer = make(name)

    def each(second_order: str) -> tuple[Tensor, ...]:
        return gradient_with(lambda h, w, b: torch.stack([layer(sample) for sample in h]), layer, n, second_order)

    assert_exact(each("pruned"), each("stock"))


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_channels_last(n: int, kind: str) -> None:
    memory_format = torch.channels_last if n == 2 else torch.channels_last_3d
    torch.manual_seed(1)
    layer = getattr(nn, f"{kind}{n}d")(4, 6, 3, stride=2, padding=1).double().to(memory_format=memory_format)
    strides = []

    def last(h: Tensor) -> Tensor:
        out = layer(h.contiguous(memory_format=memory_format))
        strides.append(out.stride())
        return out

    def critic() -> nn.Module:
        around = Around(INNER[n], torch.sin, last, F.leaky_relu)
        around.modules_among.append(layer)
        return around

    assert_same(critic, points(n))
    # Three forwards each. The output's memory layout is stock's too.
    assert strides[0] == strides[-1]


@pytest.mark.parametrize("n", INNER)
@pytest.mark.parametrize("transposed", [False, True])
def test_weight_and_bias_that_depend_on_the_samples(n: int, transposed: bool) -> None:
    """A hypernetwork: the gradient with respect to x flows through all three arguments of the convolution."""
    convolve = getattr(F, f"conv_transpose{n}d" if transposed else f"conv{n}d")
    shape = (4, 3, *[2] * n) if transposed else (3, 4, *[2] * n)

    def each(h: Tensor) -> Tensor:
        out = []
        for sample in h:
            numbers = sample.flatten().repeat(4)
            weight = numbers[: torch.Size(shape).numel()].sin().view(shape)
            out.append(convolve(sample.unsqueeze(0), weight, numbers[-3:].tanh(), 2))
        return torch.cat(out)

    assert_same(lambda: Around(INNER[n], each, F.silu), points(n))


@pytest.mark.parametrize("frozen", [("weight",), ("bias",), ("weight", "bias")])
def test_frozen_layer(frozen: tuple[str, ...]) -> None:
    grads = []
    for second_order in ("pruned", "stock"):
        layer = make("2d DCGAN")
        for name in frozen:
            getattr(layer, name).requires_grad_(False)
        critic = Around(INNER[2], torch.sin, layer, F.silu)
        gradient_penalty(critic, None, None, points=points(2), second_order=second_order).backward()
        assert all(getattr(layer, name).grad is None for name in frozen)
        grads.append([p.grad for p in critic.parameters() if p.grad is not None])
    assert len(grads[0]) == 4 - len(frozen)
    assert_exact(*grads)


@pytest.mark.parametrize("name", FORMS)
def test_between_linear_maps_each_derivative_is_one_convolution(name: str) -> None:
    """Forward, input gradient, tangent, weight gradient: four times the operations of one; stock's fourth is larger."""
    n = FORMS[name][0]
    layer, x = make(name), points(n)
    outputs = layer(x).flatten(1).shape[1]
    critic, other = (Between(f, INNER[n], outputs) for f in (layer, lambda h: h.flatten(1).repeat(1, 40)[:, :outputs]))
    around = penalty_operations(other, x, "stock")
    with torch.no_grad():
        once = operations(lambda: layer(x))
    stock = penalty_operations(critic, x, "stock")
    if "even" in name or name.endswith("same, dilated") or "padding_mode" in FORMS[name][2]:
        assert penalty_operations(critic, x, "pruned") <= stock
        return
    # torch's formula for the gradient of a weight ignores groups.
    groups = FORMS[name][2].get("groups", 1)
    assert penalty_operations(critic, x, "pruned") - around == (3 + groups) * once
    assert stock - around >= 4 * once


@pytest.mark.parametrize(("input_shape", "weight_shape"), [((3, 5, 6, 6), (6, 4, 3, 3)), ((3, 4, 2, 2), (6, 4, 3, 3))])
def test_bad_shapes_are_stocks_error(input_shape: tuple[int, ...], weight_shape: tuple[int, ...]) -> None:
    weight = torch.randn(weight_shape, requires_grad=True)
    messages = []
    for second_order in ("pruned", "stock"):
        with pytest.raises(RuntimeError) as error:
            gradient_penalty(
                lambda x: F.conv2d(x, weight).flatten(1).sum(1),
                None,
                None,
                points=torch.randn(input_shape),
                second_order=second_order,
            )
        messages.append(str(error.value))
    assert messages[0] == messages[1]
