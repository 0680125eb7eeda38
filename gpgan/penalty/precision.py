"""The precision that a critic computes in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gpgan.torch_private import OPAQUE_NODES

TF32_EPS = 2.0**-10


def epsilon(x: Tensor, scores: Tensor, kinds: set[str]) -> float:
    """The machine epsilon of the critic's computation: the largest of its input's, scores' and autocast's dtypes, and
    of TF32 if enabled.

    Args:
        kinds: The kinds of node that the scores depend on.
    """
    device = x.device.type
    dtypes = {x.dtype, scores.dtype}
    if torch.is_autocast_enabled(device) and x.dtype != torch.float64:
        dtypes.add(torch.get_autocast_dtype(device))
    eps = max(torch.finfo(dtype).eps for dtype in dtypes)
    if x.is_cuda and x.dtype != torch.float64:
        used: list[Any] = [torch.backends.cuda.matmul]
        if kinds & {"ConvolutionBackward0", *OPAQUE_NODES}:
            used.append(torch.backends.cudnn.conv)  # type: ignore[attr-defined]
        if kinds & {"CudnnRnnBackward0", *OPAQUE_NODES}:
            used.append(torch.backends.cudnn.rnn)
        if any(library.fp32_precision == "tf32" for library in used):
            eps = max(eps, TF32_EPS)
    return eps
