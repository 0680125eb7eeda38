"""The piecewise-linear activations and pooling operators of torch, under every name that a TorchFunctionMode sees.

This is the only such list: pruning, kinks and the tape read it. A trailing underscore marks the in-place form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpgan.torch_private import nn_operators

RELU = (F.relu, torch.relu, Tensor.relu)
RELU_ = (torch.relu_, Tensor.relu_)
LEAKY_RELU = (F.leaky_relu, *nn_operators("leaky_relu"))
LEAKY_RELU_ = (F.leaky_relu_,)
RRELU = (F.rrelu, torch.rrelu)
RRELU_ = (torch.rrelu_,)
HARDTANH = (F.hardtanh, *nn_operators("hardtanh"))
HARDTANH_ = (F.hardtanh_,)
RELU6 = (F.relu6, *nn_operators("relu6"))
RELU6_ = nn_operators("relu6_")
PRELU = (torch.prelu, Tensor.prelu)
ABS = (torch.abs, torch.absolute, Tensor.abs, Tensor.absolute)
ABS_ = (torch.abs_, Tensor.abs_, Tensor.absolute_)

ACTIVATIONS = frozenset(
    (*RELU, *RELU_, *LEAKY_RELU, *LEAKY_RELU_, *RRELU, *RRELU_, *HARDTANH, *HARDTANH_, *RELU6, *RELU6_)
) | {*PRELU, *ABS, *ABS_}
_IN_PLACE = frozenset((*RELU_, *LEAKY_RELU_, *RRELU_, *HARDTANH_, *RELU6_, *ABS_))
# The position of ``inplace`` among the arguments after the input.
_INPLACE = {F.relu: 0, F.relu6: 0, F.leaky_relu: 1, F.hardtanh: 2, F.rrelu: 3}

# The keys are the number of dimensions that are pooled over.
MAX_POOL = {
    1: (F.max_pool1d, torch.max_pool1d),
    2: (F.max_pool2d, torch.max_pool2d),
    3: (F.max_pool3d, torch.max_pool3d),
}
MAX_POOL_WITH_INDICES = {
    1: (F.max_pool1d_with_indices, torch.max_pool1d_with_indices),
    2: (F.max_pool2d_with_indices,),
    3: (F.max_pool3d_with_indices,),
}
ADAPTIVE_MAX_POOL = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
ADAPTIVE_MAX_POOL_WITH_INDICES = {
    1: (F.adaptive_max_pool1d_with_indices, torch.adaptive_max_pool1d),
    2: (F.adaptive_max_pool2d_with_indices, *nn_operators("adaptive_max_pool2d")),
    3: (F.adaptive_max_pool3d_with_indices, *nn_operators("adaptive_max_pool3d")),
}
AVERAGE_POOL = (
    *(F.avg_pool1d, F.avg_pool2d, F.avg_pool3d),
    *(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d),
    *nn_operators("adaptive_avg_pool2d", "adaptive_avg_pool3d"),
)
POOLING = (
    *(func for funcs in (*MAX_POOL.values(), *MAX_POOL_WITH_INDICES.values()) for func in funcs),
    *ADAPTIVE_MAX_POOL.values(),
    *(func for funcs in ADAPTIVE_MAX_POOL_WITH_INDICES.values() for func in funcs),
    *AVERAGE_POOL,
)


def is_in_place(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call of an activation or pooling operator changes its input. args: the arguments after the input."""
    if func in _IN_PLACE:
        return True
    position = _INPLACE.get(func)
    if position is None:
        return False
    return bool(kwargs.get("inplace", args[position] if len(args) > position else False))
