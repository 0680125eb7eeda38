"""In-place activations: they change the input's memory, and no later change in place is silently wrong."""

from __future__ import annotations

import contextlib

import pytest
import torch
from activation_forms import ALL, IN_PLACE, Activation, points
from against_stock import Around, assert_same
from critics import parameter_grads
from torch import Tensor, nn

from gpgan import gradient_penalty
from gpgan.pruning.mode import Pruning


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_changes_the_tensor_itself_and_all_that_share_it(name: str) -> None:
    activation = IN_PLACE[name]()
    reference = activation(points(3, 2))
    shared: dict[str, bool] = {}

    def critic(x: Tensor) -> Tensor:
        h = x * 1.0
        base = torch.cat([h.flatten(1), h.flatten(1)], 1)
        view, row = base[:, 6:], base[0, 6:]
        version = base._version
        out = activation(view.view(-1, 3, 2))
        shared["values"] = torch.equal(base[:, 6:], reference.flatten(1)) and torch.equal(row, reference[0].flatten())
        shared["untouched"] = torch.equal(base[:, :6], h.flatten(1))
        shared["storage"] = out.data_ptr() == view.data_ptr()
        shared["version"] = base._version > version
        whole = h * 2.0
        shared["same object"] = activation(whole) is whole
        return (base**2).sum(1) + (view * out.flatten(1)).sum(1) + whole.square().sum((1, 2))

    gradient_penalty(critic, None, None, points=points(3, 2))
    assert shared == dict.fromkeys(shared, True)


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_gradients_reach_base_and_views(name: str) -> None:
    class Aliased(Around):
        def forward(self, x: Tensor) -> Tensor:
            h = torch.sin(x.flatten(1) @ self.into + self.bias)
            base = torch.cat([h, 2 * h], 1)
            early, late = base[:, 2:7], base[:, 5:9]
            self.layers[0](base[:, 3:9].view(-1, 3, 2))
            return (base**2).sum(1) + (early * 0.3).square().sum(1) + late.square().sum(1)

    assert_same(lambda: Aliased((3, 2), IN_PLACE[name]()), points(3, 2))


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("second_order", ["pruned", "stock"])
def test_in_place_on_a_leaf_is_an_error(name: str, second_order: str) -> None:
    activation, leaf = IN_PLACE[name](), points(3, 2).requires_grad_()
    mode = Pruning() if second_order == "pruned" else contextlib.nullcontext()
    with mode, pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        activation(leaf)


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("second_order", ["pruned", "stock"])
def test_a_critic_may_begin_in_place(name: str, second_order: str) -> None:
    activation, x = IN_PLACE[name](), points(3, 2)
    values = [
        gradient_penalty(
            lambda x, copy=copy: activation(x * 1.0 if copy else x).square().sum((1, 2)),
            None,
            None,
            points=x,
            second_order=second_order,
        )
        for copy in (True, False)
    ]
    assert torch.equal(*values)
    assert torch.equal(x, points(3, 2))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("changed", ["input", "result"])
def test_a_change_in_place_afterwards_is_right_or_an_error(name: str, changed: str) -> None:
    def changing(activation: Activation, copy: bool) -> Activation:
        def layer(h: Tensor) -> Tensor:
            h = h * 1.0
            out = activation(h.clone() if copy else h)
            out = out.clone() if copy else out
            late = h if changed == "input" else out
            if late is h and name in IN_PLACE:
                return out.mul_(3.0)
            late.mul_(3.0)
            return out + (0 if late is out else h)

        return layer

    def make(copy: bool) -> nn.Module:
        activation = ALL[name]()
        critic = Around((3, 2), changing(activation, copy))
        if isinstance(activation, nn.Module):
            critic.modules_among.append(activation.double())
        return critic

    def grads(second_order: str, copy: bool = False) -> list[Tensor]:
        critic = make(copy)
        return parameter_grads(
            critic, gradient_penalty(critic, None, None, points=points(3, 2), second_order=second_order)
        )

    try:
        got = grads("pruned")
    except RuntimeError:
        for second_order in ("pruned", "stock"):
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                grads(second_order)
    else:
        for mine, theirs in zip(got, grads("stock", copy=True), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
