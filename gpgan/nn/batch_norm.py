"""Batch norm over the joint batch of all processes, on any device.

torch.nn.SyncBatchNorm does not accept tensors on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class SyncedBatchNorm(nn.BatchNorm1d):
    """nn.BatchNorm1d, 2d and 3d in one, with the same parameters, buffers and arguments: [B, C, ...] to the same shape.

    In training mode with several torch.distributed processes, mean and variance are computed over the samples of all
    processes. N processes with B/N samples each then train as one process with B, if parameter gradients are averaged over
    the processes. Every process must take part in every forward and backward, with the same number of samples: a process
    waits until all others have arrived. In eval mode nothing is sent.

    Communication: 2 * C numbers per process in the forward, and the same in the backward.

    Source:
        Ioffe and Szegedy, Batch Normalization, arXiv 1502.03167, algorithm 1.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"input has shape {tuple(input.shape)}; expected [B, C, ...]")

    def forward(self, input: Tensor) -> Tensor:
        processes = dist.get_world_size() if self.training and dist.is_available() and dist.is_initialized() else 1
        if processes == 1:
            return super().forward(input)
        self._check_input_dim(input)
        # As in torch's own: statistics of half-precision samples are float32.
        x = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        dims = [0, *range(2, x.dim())]
        # From each process's mean and variance, not from sums of x and x^2, whose difference would lose the digits of a
        # variance that is small compared with the mean.
        var, mean = torch.var_mean(x, dims, correction=0)
        means, variances = _everyones(torch.stack([mean, var])).unbind(1)
        mean = means.mean(0)
        var = variances.mean(0) + (means - mean).square().mean(0)
        self._track(mean.detach(), var.detach(), processes * (x.numel() // x.shape[1]))

        scale = torch.rsqrt(var + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale
        if self.bias is not None:
            shift = shift + self.bias
        column = (1, -1, *[1] * (x.dim() - 2))
        return torch.addcmul(shift.view(column), x, scale.view(column)).to(input.dtype)

    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Updates the running statistics; count is the number of values per channel, for the unbiased variance."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_((var * (count / (count - 1))).to(self.running_var.dtype), momentum)


class _Everyones(torch.autograd.Function):
    """A process's tensor [...] to the tensors of all processes [processes, ...], bitwise equal on each."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        everyones = own.new_zeros(dist.get_world_size(), *own.shape)
        everyones[dist.get_rank()] = own
        dist.all_reduce(everyones)
        return everyones

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # The loss of every process depends on this process's tensor.
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad[dist.get_rank()]


def _everyones(own: Tensor) -> Tensor:
    return _Everyones.apply(own)  # type: ignore[no-any-return,no-untyped-call,unused-ignore]
