"""The averaged generator, which makes the samples."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gpgan.torch_private import lerp_all


class Average:
    """An exponential moving average of a module's weights and buffers.

    The decay rises from 0.1 to ``decay`` as min(decay, (1 + t) / (10 + t)), so that the random initial weights are
    soon forgotten (TensorFlow's ExponentialMovingAverage; for GANs: Yazici et al., arXiv 1806.04498).

    Attributes:
        module: A copy of the module, in eval mode, that holds the average.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.decay = decay
        # Collected once: for the smallest networks this takes as long as averaging.
        pairs = list(zip(_tensors(self.module), _tensors(module), strict=True))
        self._floats = [pair for pair in pairs if pair[0].is_floating_point()]
        self._others = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Averages in the module's weights after generator step ``step``; non-float buffers are copied."""
        decay = min(self.decay, (1 + step) / (10 + step))
        lerp_all([mine for mine, _ in self._floats], [its for _, its in self._floats], 1 - decay)
        for mine, its in self._others:
            mine.copy_(its)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*(p.detach() for p in module.parameters()), *module.buffers()]
