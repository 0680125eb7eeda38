"""What the processes of one run share, as torchrun starts them. With a single process everything here does nothing."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gpgan.util.errors import first_line

T = TypeVar("T")
# A process that has not answered for this long is lost. Rank 0 also draws and saves between collectives.
TIMEOUT = timedelta(minutes=5)
GLOO = re.compile(r"\[[^\]]*\bgloo/[^\]]*\]")


class ProcessLostError(RuntimeError):
    """Another process of the run has ended or no longer answers."""


# Whether this process has joined a group, even if it has left it since.
joined = False


class Processes:
    """This process among the processes of its run.

    Attributes:
        rank: 0 for the process that writes files.
        size: The number of processes.
        group: The process group that averages gradients; None with a single process.
    """

    def __init__(self) -> None:
        """Uses the existing process group, or joins the one that torchrun's environment announces."""
        self.size = 1
        self.joined = not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1
        if self.joined:
            # The processes agree over the CPU, so that none has to wait for a GPU.
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            global joined
            joined = True
            with self.watching(), _free_port():
                dist.init_process_group(backend, timeout=TIMEOUT)
        many = dist.is_initialized() and dist.get_world_size() > 1
        self.rank = dist.get_rank() if many else 0
        self.size = dist.get_world_size() if many else 1
        self.group: dist.ProcessGroup | None = dist.group.WORLD if many else None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def share(self, batch: Tensor, dim: int = 0) -> Tensor:
        """This process's rows, along ``dim``, of a batch that all processes hold; ``size`` must divide its length."""
        rows = batch.shape[dim] // self.size
        return batch.narrow(dim, self.rank * rows, rows)

    def largest(self, number: int) -> int:
        """The largest of the processes' numbers; they use it to agree to stop."""
        if self.size == 1:
            return number
        agreed = torch.tensor(number)
        dist.all_reduce(agreed, dist.ReduceOp.MAX)
        return int(agreed)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over processes of a tensor on the CPU."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def maximum(self, values: Tensor) -> Tensor:
        """The element-wise maximum over processes of a tensor on the CPU."""
        if self.size > 1:
            dist.all_reduce(values, dist.ReduceOp.MAX)
        return values

    def by_first(self, do: Callable[[], T]) -> T:
        """Runs ``do`` on the first process and returns its result on all; a ValueError there is raised on all."""
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
        """Raises ValueError, in all processes, if one of them has a different value from the first."""
        firsts = self.by_first(lambda: mine)
        if self.largest(int(mine != firsts)):
            raise ValueError(
                f"the processes do not see the same {what} (here {mine}, in the first {firsts}); expected one folder "
                f"shared by all machines"
            )

    def agree_on(self, what: str, mine: Mapping[str, Any]) -> None:
        """Raises the same ValueError in all processes if one of them has other values than the first; it names one value.

        Args:
            what: What the values are, for the message.
            mine: This process's values by name.
        """
        if self.size == 1:
            return
        every: list[Mapping[str, Any]] = [{}] * self.size
        dist.all_gather_object(every, mine)
        for rank, theirs in enumerate(every):
            for name in {**every[0], **theirs}:
                first, other = every[0].get(name), theirs.get(name)
                if first != other:
                    raise ValueError(
                        f"{name} is {first!r} in process 0 and {other!r} in process {rank}; expected the same {what} in every "
                        "process: start all with the same command"
                    )

    def align(self, modules: Iterable[nn.Module]) -> None:
        """Copies the first process's weights and buffers to all processes.

        Raises:
            ValueError: The networks of one of them have other shapes.
        """
        modules = list(modules)
        if self.size > 1:
            states = [(at, module.state_dict()) for at, module in enumerate(modules, 1)]
            shapes = {
                f"the shape of {name} in network {at}": tuple(value.shape)
                for at, state in states
                for name, value in state.items()
            }
            self.agree_on("networks", shapes)
            for module in modules:
                for tensor in module.state_dict().values():
                    dist.broadcast(tensor, src=0)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Turns the error that a collective raises when another process has died into ``ProcessLostError``."""
        try:
            yield
        except RuntimeError as error:
            if not (self.joined or self.size > 1):
                raise
            # gloo raises a plain RuntimeError whose text begins with the name of a gloo source file.
            if isinstance(error, dist.DistError) or GLOO.match(str(error)):
                raise ProcessLostError(first_line(error)) from error
            raise

    def leave(self) -> None:
        """Destroys the process group if it was joined here."""
        if self.joined and dist.is_initialized():
            dist.destroy_process_group()


@contextlib.contextmanager
def _free_port() -> Iterator[None]:
    """Turns the error of the first process that cannot listen at its port into a ValueError."""
    try:
        yield
    except RuntimeError as error:
        if "EADDRINUSE" not in str(error):
            raise
        raise ValueError(
            f"MASTER_PORT is {os.environ.get('MASTER_PORT')}, and another program uses this port on this machine; expected a "
            "free one: with torchrun --standalone, or another --rdzv-endpoint or MASTER_PORT"
        ) from error
