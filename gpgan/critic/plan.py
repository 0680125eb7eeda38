"""Chooses a critic's path and its fallbacks, and says so in words."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gpgan.critic import cuda_graph
from gpgan.critic.autograd import General
from gpgan.critic.common import CriticStats, Inputs, Path, PenaltyTerm, Settings
from gpgan.critic.compiled import Compiled, NotCompiled
from gpgan.critic.cuda_graph import CudaGraphs, Update
from gpgan.critic.scheduled import Scheduled, run
from gpgan.penalty import Penalty
from gpgan.penalty.checks import check_scores, is_compiled, warn_if_compiled
from gpgan.penalty.probe import warn_of_scores
from gpgan.schedule.maps import Convolution
from gpgan.schedule.sweeps import Schedule
from gpgan.schedule.tape import Unsupported
from gpgan.torch_private import grad_mode_functions
from gpgan.util import threads
from gpgan.util.errors import first_line

NO_DOUBLE_BACKWARD = "torch.compile has no double backward, which this path needs"


class Plan:
    """How a critic's steps are computed.

    Args:
        penalty: The penalty of the steps that have one.
        compile: Compile the scheduled path.
        cuda_graph: Capture whole steps.
        distributed: Whether gradients are averaged over processes.
    """

    def __init__(
        self, settings: Settings, penalty: Penalty | None, compile: bool, cuda_graph: bool, distributed: bool
    ) -> None:
        self.settings, self.penalty = settings, penalty
        self.compile, self.cuda_graph, self.distributed = compile, cuda_graph, distributed
        self._restored_serial: bool | None = None
        self._forget()

    def _forget(self) -> None:
        self._path: Path | None = None
        self._graphs: CudaGraphs | None = None
        self._not_compiled = self._not_captured = ""

    @property
    def serial(self) -> bool | None:
        """Whether a step on a CPU runs on one thread. None if not known yet."""
        return self._restored_serial if self._path is None else self._path.serial

    @property
    def learned(self) -> Sequence[Tensor]:
        """The parameters that got gradients in the last step, in the optimizer or not."""
        assert self._path is not None
        return self._path.learned

    def restore(self, serial: bool | None) -> None:
        """Sets ``serial`` to its saved value: the general path counts its operations at its first step only."""
        self._restored_serial = serial

    def __str__(self) -> str:
        path = self._path
        if path is None:
            return "not known before the first step"
        parts = [_words(path)]
        if path.serial and self._graphs is None and threads.may_set():
            parts.append("on one CPU thread, too small for more")
        if self.compile and not isinstance(path, Compiled):
            parts.append(f"not compiled: {self._not_compiled or NO_DOUBLE_BACKWARD}")
        if self._graphs is not None:
            parts.append(f"captured as a CUDA graph after {cuda_graph.WARM_UP} steps")
        elif self.cuda_graph:
            parts.append(f"no CUDA graph: {self._not_captured}")
        return "; ".join(parts)

    def step(self, update: Update, inputs: Inputs, penalty: Penalty | None) -> CriticStats:
        """Runs one step by ``update``, which calls ``gradients``; as a CUDA graph if requested and possible."""
        first = self._path is None
        if first:
            self._path = self._choose(inputs)
            if isinstance(self._path, General) and self._restored_serial is not None:
                self._path.serial = self._restored_serial
            if self.cuda_graph:
                scaled = self.settings.scaler is not None
                reason = "its losses are scaled" if scaled else cuda_graph.why_not(inputs, self.distributed)
                self._not_captured = reason or ""
                self._graphs = CudaGraphs(update, self.settings.optimizer) if reason is None else None
        try:
            if self._graphs is not None:
                try:
                    return self._graphs(inputs, penalty)
                except RuntimeError as error:
                    self._graphs, self._not_captured = None, first_line(error)
            stats = update(inputs, penalty)
        except Exception:
            if first:  # a failed first step must not fix the plan
                self._forget()
            raise
        if first and stats.norms is not None and not isinstance(self._path, General):
            warn_of_scores(self.settings.critic, stats.real_scores, stats.norms.amax().item())
        return stats

    def gradients(self, inputs: Inputs, term: PenaltyTerm | None) -> CriticStats:
        """Computes the gradients of all parameters, by another path if the chosen one fails."""
        looked_again = False
        while True:
            path = self._path
            assert path is not None
            try:
                return path(inputs, term)
            except NotCompiled as reason:
                assert isinstance(path, Compiled)
                self._not_compiled, self._path = str(reason), path.scheduled
            except Unsupported as reason:  # the critic does not run the operations of its trial run
                self._path = General(self.settings, str(reason)) if looked_again else self._choose(inputs)
                looked_again = True

    def _choose(self, inputs: Inputs) -> Path:
        path = choose(self.settings, inputs, self.penalty)
        return Compiled(path) if isinstance(path, Scheduled) and self.compile and not self._not_compiled else path


def _words(path: Path) -> str:
    cost = "" if path.cost is None else f" ({path.cost:.2f}F with the penalty, F being one forward over B)"
    if isinstance(path, General):
        if path.counted and path.cost is None:
            cost = " (operations not counted: its operators have no formulas)"
        return f"general path: autograd with the pruned penalty{cost}, because {path.why}"
    compiled = ", traced and compiled" if isinstance(path, Compiled) else ""
    return (
        "scheduled path: the critic is a sum of chains of linear maps and piecewise-linear activations, whose "
        f"derivatives are computed without autograd{cost}{compiled}"
    )


def choose(settings: Settings, inputs: Inputs, penalty: Penalty | None) -> Scheduled | General:
    """The path for a critic, found by a trial run of its forward that restores buffers and random states."""
    reason = _static_reason(settings, inputs, penalty)
    if reason is not None:
        if penalty is not None and penalty.method == "exact":
            warn_if_compiled(settings.critic)
        return General(settings, reason)
    critic = settings.critic
    assert isinstance(critic, nn.Module)
    buffers = [(buffer, buffer.clone()) for buffer in critic.buffers()]
    devices = [inputs.real.device] if inputs.real.is_cuda else []
    try:
        with torch.random.fork_rng(devices), torch.no_grad(), settings.casting(inputs.real.device):
            # Stand-ins for the penalty's points: only their number matters.
            batches = 1 if penalty is None else penalty.batches
            batch = torch.cat([inputs.real, inputs.fake, *[inputs.real, inputs.fake][:batches]])
            rows = len(inputs.real)
            schedule = _trial(critic, batch, rows * batches)
            memory_format = torch.contiguous_format
            # Points in the same batch save calls and fill matrix products. Convolutions on a CPU gain nothing from
            # that, and their activations would take more memory.
            convolutions_on_cpu = not batch.is_cuda and any(isinstance(map, Convolution) for map in schedule.maps)
            # oneDNN's convolutions are faster in channels_last, unless the critic needs a view that it forbids.
            if convolutions_on_cpu and batch.dim() == 4:
                with contextlib.suppress(Exception):
                    _trial(critic, batch.contiguous(memory_format=torch.channels_last), schedule.point_rows)
                    memory_format = torch.channels_last
    except Exception as error:  # the autograd path will raise the original error
        return General(settings, str(error) if isinstance(error, Unsupported) else "its trial run failed")
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    return Scheduled(settings, schedule, rows, convolutions_on_cpu, memory_format)


def _trial(critic: nn.Module, batch: Tensor, rows: int) -> Schedule:
    """The schedule of a batch whose last ``rows`` rows are points, checked against autograd on these rows alone.

    Raises:
        Unsupported: There is no schedule; or the two differ, because the scores depend on the batch size, say, or the
            critic has a backward of its own.
    """
    tape, scores = run(critic, batch)
    schedule = Schedule(tape, scores, rows)
    points = batch[-rows:].detach().requires_grad_()
    with torch.enable_grad():
        alone = check_scores(critic(points), rows)
        (expected,) = torch.autograd.grad(alone.sum(), points)
    _check_close(scores[-rows:], alone.detach())
    _check_close(schedule.input_gradient(torch.ones_like(scores)), expected)
    return schedule


def _check_close(value: Tensor, expected: Tensor) -> None:
    tolerance = 16 * torch.finfo(expected.dtype).eps ** 0.5
    if not (value - expected).norm() <= tolerance * expected.norm():
        raise Unsupported("its scores or their gradient differ from those of its recorded operations")


def _static_reason(settings: Settings, inputs: Inputs, penalty: Penalty | None) -> str | None:
    """Why a critic cannot be scheduled, if that is clear without running it."""
    critic = settings.critic
    if settings.scaler is not None:
        return "its losses are scaled"
    if not isinstance(critic, nn.Module):
        return "critic is not an nn.Module"
    if isinstance(critic, DistributedDataParallel):
        return "critic is wrapped in DistributedDataParallel"
    if is_compiled(critic):
        return "critic is compiled"
    if not grad_mode_functions():
        return "this torch does not show where a critic switches grad mode"
    if inputs.args or inputs.kwargs:
        return "critic takes more than samples"
    if penalty is not None and (penalty.method != "exact" or penalty.second_order != "pruned"):
        return "of the penalty's method or second_order"
    return None
