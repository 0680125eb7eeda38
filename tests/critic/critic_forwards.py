"""Forwards of many kinds: those that are scheduled, those that need autograd, and those that couple the samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

Forward = Callable[["Parts", Tensor], Tensor]


class Parts(nn.Module):
    """Layers that a given forward function uses."""

    def __init__(self, forward_of: Forward) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)
        self.free = nn.Parameter(torch.randn(6))
        self.register_buffer("constant", torch.randn(6))
        self.forward_of = forward_of
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_of(self, x)


def _split(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    left, right = h[:, :3], h[:, 3:]
    return net.c(torch.cat([right, left], 1) + F.leaky_relu(net.b(h), 0.2))


def _in_place_chain(net: Parts, x: Tensor) -> Tensor:
    h = F.relu_(net.a(x))
    h2 = net.b(h)
    h2 += h
    F.leaky_relu(h2, 0.1, inplace=True)
    return net.c(h2)


def _in_place_on_a_view(net: Parts, x: Tensor) -> Tensor:
    h = net.a(x)
    F.relu_(h[:, ::2])
    return net.c(F.leaky_relu(h, 0.2))


def _old_view(net: Parts, x: Tensor) -> Tensor:
    h = net.a(x)
    view = h.view(-1, 2, 3)
    F.relu_(h)
    return net.c(net.b(view.flatten(1)))


def saved_value_changed(net: Parts, x: Tensor) -> Tensor:
    h = net.a(x)
    before = net.b(h)
    h = h.mul_(2.0)
    return net.c(F.relu(before + h))


def _result_changed(net: Parts, x: Tensor) -> Tensor:
    h = F.leaky_relu(net.a(x), 0.2)
    h += x
    h2 = F.hardtanh(net.b(h), -0.3, 0.6)
    h2 -= h
    return net.c(h2)


def _input_changed(net: Parts, x: Tensor) -> Tensor:
    y = x * 1.0
    y += x
    return net.c(F.relu(net.a(y) - net.b(x)))


def _no_grad_part(net: Parts, x: Tensor) -> Tensor:
    with torch.no_grad():
        side = F.relu(net.b(x))
    return net.c(F.relu(net.a(x)) + side)


def _detached_part(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(net.a(x)) + F.relu(net.b(x)).detach())


def _data_part(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(net.a(x)) + F.relu(net.b(x)).data)


def _numbers_read(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    return net.c(h * float(h.abs().max()))


def _branch_on_numbers(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(net.a(x))) if bool((x.sum() > 0).item()) else net.c(F.relu(net.b(x)))


def _looks_at_the_batch(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(net.a(x)) / len(x))


def _mean_of_the_batch(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    return net.c(h - h.mean(0, keepdim=True))


def _across_samples(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    return net.c(h + h.flip(0))


def _rows_as_features(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    return net.c(h.t().contiguous().view(6, len(x)).t())


def _scaled_by_parameter(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(net.a(x)) * net.free + net.constant)


def _weight_scaled(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(F.linear(x, net.a.weight * 0.5, net.a.bias)))


def _weight_as_tensor(net: Parts, x: Tensor) -> Tensor:
    return F.relu(x @ net.a.weight.t() + net.a.bias) @ net.c.weight.t()


def _weight_by_data(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(F.linear(x, net.a.weight.detach(), net.a.bias)))


def _free_bias(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(F.linear(x, net.a.weight, net.free)))


def _multiplied(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    return net.c(h * F.leaky_relu(net.b(x), 0.2))


def _squared(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(net.a(x)) ** 2)


def _twice_itself(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    return net.c(h + h - 0.5 * h)


def _sequence(net: Parts, x: Tensor) -> Tensor:
    steps = x.view(-1, 3, 2).repeat(1, 1, 3)
    return net.c(F.relu(net.a(steps))).sum(1)


def _rows_of_rows(net: Parts, x: Tensor) -> Tensor:
    wide = net.b(x).unsqueeze(1)
    return net.c(F.relu(net.a(F.leaky_relu(wide, 0.2)))).mean(1)


def _checkpointed(net: Parts, x: Tensor) -> Tensor:
    return net.c(checkpoint(lambda x: F.relu(net.a(x)), x, use_reentrant=False))


def _no_parameters_first(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(x) - 0.5 * x
    return net.c(F.hardtanh(net.a(h) + h, -0.4, 0.8)) + h.sum(1, keepdim=True)


def _dead_end(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    net.b(h)
    return net.c(h)


def _ignored_first(net: Parts, x: Tensor) -> Tensor:
    return net.c(x) + 0 * net.a(x).sum(1, keepdim=True)


def _zero_slope(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.leaky_relu(net.a(x), -0.2)) + net.c(F.leaky_relu(net.b(x), 0.0))


def _slices(net: Parts, x: Tensor) -> Tensor:
    h = F.relu(net.a(x))
    return net.c(net.b(h) - h) + h[:, 2:3] * 2 - h[:, -1:] / 3


def _same_input_in_place_later(net: Parts, x: Tensor) -> Tensor:
    h = net.a(x)
    side = h * 2.0
    return net.c(F.relu_(h) + side)


class _StraightThrough(torch.autograd.Function):
    """relu whose backward negates the gradient and ignores the sign of the input."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        return F.relu(h)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return -grad


def _own_function(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.leaky_relu(net.b(_StraightThrough.apply(net.a(x))), 0.2))


def _max(net: Parts, x: Tensor) -> Tensor:
    return net.c(F.relu(net.a(x))) + net.b(x).amax(1, keepdim=True)


def _rebound(net: Parts, x: Tensor) -> Tensor:
    x = x.requires_grad_() if x.is_leaf and not x.requires_grad and torch.is_grad_enabled() else x
    return net.c(F.relu(net.a(x)))


SCHEDULED: dict[str, Forward] = {
    "in place, in a chain": _in_place_chain,
    "a value twice in a sum": _twice_itself,
    "a linear map of a sequence": _rows_of_rows,
    "linear and activation before the first parameters": _no_parameters_first,
    "a dead end": _dead_end,
    "a bias of its own": _free_bias,
    "slices": _slices,
}
# Forwards that the schedule must either leave to autograd or compute correctly.
ANY_PATH: dict[str, Forward] = {
    "split and joined": _split,
    "in place on a view": _in_place_on_a_view,
    "a view from before a change": _old_view,
    "the input's copy changed": _input_changed,
    "results of activations changed": _result_changed,
    "a part under no_grad": _no_grad_part,
    "a detached part": _detached_part,
    "a part by .data": _data_part,
    "a factor from the numbers": _numbers_read,
    "features times parameter": _scaled_by_parameter,
    "a scaled weight": _weight_scaled,
    "products written out": _weight_as_tensor,
    "a detached weight": _weight_by_data,
    "a product of branches": _multiplied,
    "a square": _squared,
    "a sequence": _sequence,
    "checkpointed": _checkpointed,
    "nothing times a layer": _ignored_first,
    "slopes of zero and below": _zero_slope,
    "in place after a factor": _same_input_in_place_later,
    "maximum": _max,
    "an autograd.Function of its own": _own_function,
    "requires_grad_ inside": _rebound,
}
# Forwards whose scores depend on the whole batch: with allow_batch_coupling the numbers must be those of three batches of B.
COUPLED: dict[str, Forward] = {
    "the batch's size": _looks_at_the_batch,
    "the batch's mean": _mean_of_the_batch,
    "other samples": _across_samples,
    "rows as features": _rows_as_features,
    "a branch on the numbers": _branch_on_numbers,
}
