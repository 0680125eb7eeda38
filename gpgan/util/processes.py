"""A run's share of several processes, as torchrun starts them; alone, everything here does nothing."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")
# A process that has not answered for so long is lost. Rank 0 also draws and saves between two answers.
TIMEOUT = timedelta(minutes=5)
GLOO = re.compile(r"\[[^\]]*\bgloo/[^\]]*\]")


class ProcessLostError(RuntimeError):
    """Another process of the run has ended or no longer answers."""


class Processes:
    """This process among those of its run.

    Attributes:
        rank: 0 for the one that writes.
        size: How many there are.
        group: For gradients; None where there is one.
    """

    def __init__(self) -> None:
        """Joins the group that is there, or the one that torchrun's environment announces."""
        self.size = 1
        self.joined = not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1
        if self.joined:
            # What the processes agree on travels on the CPU, so that no GPU has to be waited for.
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            with self.watching():
                dist.init_process_group(backend, timeout=TIMEOUT)
        many = dist.is_initialized() and dist.get_world_size() > 1
        self.rank = dist.get_rank() if many else 0
        self.size = dist.get_world_size() if many else 1
        self.group: dist.ProcessGroup | None = dist.group.WORLD if many else None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, batch: Tensor, dim: int = 0) -> Tensor:
        """This process's rows of a batch that all have, along ``dim``, whose length must divide by ``size``."""
        rows = batch.shape[dim] // self.size
        return batch.narrow(dim, self.rank * rows, rows)

    def largest(self, number: int) -> int:
        """The largest of the processes' numbers: how they agree to stop."""
        if self.size == 1:
            return number
        agreed = torch.tensor(number)
        dist.all_reduce(agreed, dist.ReduceOp.MAX)
        return int(agreed)

    def mean(self, values: Tensor) -> Tensor:
        """The processes' mean of a tensor on the CPU."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def maximum(self, values: Tensor) -> Tensor:
        """The processes' element-wise maximum of a tensor on the CPU."""
        if self.size > 1:
            dist.all_reduce(values, dist.ReduceOp.MAX)
        return values

    def by_first(self, do: Callable[[], T]) -> T:
        """What ``do`` returns on the first process, on all; a ValueError there is raised by all."""
        if self.size == 1:
            return do()
        answer: list[tuple[T | None, str | None]] = [(None, None)]
        if self.first:
            try:
                answer = [(do(), None)]
            except ValueError as error:
                answer = [(None, str(error))]
        dist.broadcast_object_list(answer, src=0)
        value, message = answer[0]
        if message is not None:
            raise ValueError(message)
        return value  # type: ignore[return-value]

    def agree(self, what: str, mine: Any) -> None:
        """Raises ValueError, in all processes, where one of them sees another value than the first."""
        firsts = self.by_first(lambda: mine)
        if self.largest(int(mine != firsts)):
            raise ValueError(
                f"the processes do not see the same {what} (here {mine}, in the first {firsts}); expected one folder that all "
                f"machines share"
            )

    def align(self, modules: Iterable[nn.Module]) -> None:
        """Gives all processes the weights and buffers of the first."""
        if self.size > 1:
            for module in modules:
                for tensor in module.state_dict().values():
                    dist.broadcast(tensor, src=0)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Turns what a collective raises when another process is gone into ``ProcessLostError``."""
        try:
            yield
        except RuntimeError as error:
            if not (self.joined or self.size > 1):
                raise
            # gloo raises a plain RuntimeError, which begins with the file of its own source that it comes from.
            if isinstance(error, dist.DistError) or GLOO.match(str(error)):
                raise ProcessLostError(str(error).splitlines()[0]) from error
            raise

    def leave(self) -> None:
        """Ends the group where it was joined here."""
        if self.joined and dist.is_initialized():
            dist.destroy_process_group()
