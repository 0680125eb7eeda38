"""Starts several processes joined as by torchrun. A fork server imports everything once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

PATIENCE = 60.0
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["gpgan.cli.train", "gpgan.cli.resume", "torch.utils.tensorboard", "sklearn.datasets"])


class Together:
    """``size`` processes of one run, each of which calls ``work(rank, *arguments)``; an int it returns is its exit status.

    Their stdout and stderr go to files in ``folder``. Use it in a ``with`` block, which kills them at its end.
    """

    def __init__(self, folder: Path, work: Callable[..., int | None], *arguments: Any, size: int = 2) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.processes: list[BaseProcess] = []
        for rank in range(size):
            environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_PORT": port}
            process = _server.Process(target=_enter, args=(environment, folder, work, arguments), daemon=True)
            process.start()
            self.processes.append(process)

    def __enter__(self) -> Together:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def ended(self, seconds: float = PATIENCE) -> list[int | None]:
        """The exit statuses, or minus the number of a fatal signal; fails if a process is still running after ``seconds``."""
        end = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        codes = [process.exitcode for process in self.processes]
        assert None not in codes, f"processes hang ({codes}): {self.told()} {self.complained()}"
        return codes

    def send(self, rank: int, number: signal.Signals) -> None:
        pid = self.processes[rank].pid
        assert pid is not None
        os.kill(pid, number)

    def told(self) -> list[str]:
        return self._read("out")

    def complained(self) -> list[str]:
        return self._read("err")

    def _read(self, name: str) -> list[str]:
        return [(self.folder / f"{name}-{rank}").read_text("utf-8") for rank in range(len(self.processes))]


def _enter(
    environment: dict[str, int], folder: Path, work: Callable[..., int | None], arguments: tuple[Any, ...]
) -> None:
    os.environ.update({name: str(value) for name, value in environment.items()}, MASTER_ADDR="127.0.0.1")
    rank = environment["RANK"]
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / f"{name}-{rank}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    torch.set_num_threads(1)
    sys.exit(work(rank, *arguments))


def wait_for(happened: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Returns once ``happened()`` is true; fails after ``seconds``."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)
