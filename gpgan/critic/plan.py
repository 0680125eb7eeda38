"""Which path a critic takes."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gpgan.critic.autograd import General
from gpgan.critic.common import Inputs, Path, Settings
from gpgan.critic.scheduled import Scheduled, run
from gpgan.penalty import Penalty
from gpgan.penalty.checks import is_compiled
from gpgan.schedule.maps import Convolution
from gpgan.schedule.sweeps import Schedule
from gpgan.schedule.tape import Unsupported


def choose(settings: Settings, inputs: Inputs, penalty: Penalty | None) -> Path:
    """The path for a critic, by a trial run of its forward that leaves no trace in buffers and random states."""
    reason = _static_reason(settings, inputs, penalty)
    if reason is not None:
        return General(settings, reason)
    critic = settings.critic
    assert isinstance(critic, nn.Module)
    buffers = [(buffer, buffer.clone()) for buffer in critic.buffers()]
    devices = [inputs.real.device] if inputs.real.is_cuda else []
    try:
        with torch.random.fork_rng(devices), torch.no_grad(), settings.casting(inputs.real.device):
            # The points where the penalty is taken are as many as these; where they lie is of no account.
            points = [inputs.real, inputs.fake][: 1 if penalty is None else penalty.batches]
            batch = torch.cat([inputs.real, inputs.fake, *points])
            rows = len(inputs.real)
            schedule = _trial(critic, batch, rows * len(points))
            memory_format = torch.contiguous_format
            # One batch is one call for each operation, and fuller matrix products. A CPU's convolutions gain nothing
            # from that, and their activations are what fills the memory.
            convolutions_on_cpu = not batch.is_cuda and any(isinstance(map, Convolution) for map in schedule.maps)
            # oneDNN's convolutions are quicker on channels that lie together; a view across them is not possible then.
            if convolutions_on_cpu and batch.dim() == 4:
                with contextlib.suppress(Exception):
                    _trial(critic, batch.contiguous(memory_format=torch.channels_last), schedule.points)
                    memory_format = torch.channels_last
    except Exception as error:  # whatever it is, autograd's path will show it as it is
        return General(settings, str(error) if isinstance(error, Unsupported) else "its trial run failed")
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    return Scheduled(settings, schedule, rows, convolutions_on_cpu, memory_format)


def _trial(critic: nn.Module, batch: Tensor, rows: int) -> Schedule:
    """The schedule of a batch that ends with so many rows of points, checked against autograd over these alone.

    Raises:
        Unsupported: There is none, or the two differ: the critic counts its samples, say, or has a backward of its own.
    """
    tape, scores = run(critic, batch)
    schedule = Schedule(tape, scores, rows)
    points = batch[-rows:].detach().requires_grad_()
    with torch.enable_grad():
        alone = critic(points)
        (expected,) = torch.autograd.grad(alone.sum(), points)
    _check_close(scores[-rows:], alone.detach())
    _check_close(schedule.input_gradient(torch.ones_like(scores)), expected)
    return schedule


def _check_close(value: Tensor, expected: Tensor) -> None:
    tolerance = 16 * torch.finfo(expected.dtype).eps ** 0.5
    if not (value - expected).norm() <= tolerance * expected.norm():
        raise Unsupported("its scores or their gradient are not those of the operations that it was seen to run")


def _static_reason(settings: Settings, inputs: Inputs, penalty: Penalty | None) -> str | None:
    """Why a critic cannot be scheduled, as far as that shows without running it."""
    critic = settings.critic
    if settings.scaler is not None:
        return "its losses are scaled"
    if not isinstance(critic, nn.Module):
        return "critic is no nn.Module"
    if isinstance(critic, DistributedDataParallel):
        return "critic is wrapped in DistributedDataParallel"
    if is_compiled(critic):
        return "critic is compiled"
    if inputs.args or inputs.kwargs:
        return "critic takes more than samples"
    if penalty is not None and (penalty.method != "exact" or penalty.second_order != "pruned"):
        return "of the penalty's method or second_order"
    return None
