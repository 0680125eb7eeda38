"""The lock of a run: only one process trains it at a time.

The system holds the lock for the process that trains, and drops it when that process ends, however it ends. The file's
text is only for messages. If training does not end as it should, the file stays behind, unlocked: ``was_cut_short``.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from pathlib import Path
from types import TracebackType

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
# Another process may only be looking at the lock, which takes microseconds.
PATIENCE = 0.5
# What a file system without locks answers.
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
WITHOUT = "this file system has no locks; nothing will stop a second process from training this run at the same time"
_held: set[RunLock] = set()


class LockedError(ValueError):
    """Another process trains the run, or has trained it meanwhile."""


class RunLock:
    """Holds the lock of a run from ``take`` to the end of the block.

    Attributes:
        run: The run's folder; it may change while the lock is held.
    """

    def __init__(self) -> None:
        self.run = Path()
        self._handle: int | None = None

    def take(self, run: Path) -> str:
        """Locks the run; returns a warning if the file system has no locks, else "".

        Raises:
            LockedError: Another process, or another trainer in this one, holds the lock.
        """
        end = time.monotonic() + PATIENCE
        while self._handle is None:
            handle = os.open(run / NAME, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                warning = _lock(handle)
                if _is_current(handle, run / NAME):  # the last holder deletes it at its end
                    self.run, self._handle, handle = run, handle, -1
            except BlockingIOError:
                if time.monotonic() > end:
                    raise LockedError(_refusal(run)) from None
                time.sleep(0.02)
            finally:
                if handle >= 0:
                    os.close(handle)
        _held.add(self)
        try:
            os.ftruncate(self._handle, 0)
            about = f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}"
            os.write(self._handle, about.encode())
        except OSError:  # a full disk; the lock itself needs no room
            pass
        return warning

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is None:
            return
        if cls is None:
            (self.run / NAME).unlink(missing_ok=True)
        _held.discard(self)
        os.close(self._handle)
        self._handle = None


def check_free(run: Path) -> None:
    """Raises LockedError if a process is training the run. Writes nothing."""
    if is_free(run) is False:
        raise LockedError(_refusal(run))


def is_free(run: Path) -> bool | None:
    """Whether no process is training the run; None if the file system has no locks. Writes nothing."""
    try:
        handle = os.open(run / NAME, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a FIFO would wait for ever
    except OSError:
        return True
    try:
        return None if _lock(handle, shared=True) else True
    except BlockingIOError:
        return False
    finally:
        os.close(handle)


def was_cut_short(run: Path) -> bool:
    """Whether the last training of the run did not come to its end, or has not yet: its lock's file is there."""
    return (run / NAME).exists()


def _lock(handle: int, shared: bool = False) -> str:
    """Locks an open file, and returns a warning if that is impossible; raises BlockingIOError if another has it."""
    if fcntl is None:
        return WITHOUT
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno == errno.EACCES:  # how some file systems say that another has it
            raise BlockingIOError(error.errno, error.strerror) from None
        if error.errno not in NO_LOCKS:
            raise
        return WITHOUT
    return ""


def _is_current(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _refusal(run: Path) -> str:
    try:
        who = (run / NAME).read_text("utf-8", "replace").strip()
    except OSError:
        who = ""
    return (
        f"{run} is being trained by {who or 'another process'}; expected a run that no process is training: wait for its "
        f"end, or stop it with Ctrl-C or SIGTERM, which save it"
    )


def _forget() -> None:
    """In a forked child: closes its copies of the locked files, or the lock would outlive the process that trains."""
    for lock in _held:
        if lock._handle is not None:
            os.close(lock._handle)
            lock._handle = None
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
