"""The lock of a run: one holder, gone with its process, and nothing in the way of readers."""

import errno
import os
import re
import signal
import socket

import pytest

from gpgan.records import lock
from gpgan.records.lock import LockedError, RunLock, check_free, is_free, was_cut_short

HOLDER = rf"is being trained by process {os.getpid()} on {re.escape(socket.gethostname())} since \d{{4}}-\d\d-\d\d"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 0.05)


def in_child(do):
    """Runs ``do`` in a forked process that is then killed; returns when it is dead."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            do()
            os.write(there, b"1")
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(there)
    assert os.read(here, 1) == b"1"
    os.close(here)
    os.waitpid(child, 0)


def test_one_holder_and_the_others_are_told_who(tmp_path):
    with RunLock() as held:
        assert held.take(tmp_path) == ""
        for refused in (RunLock().take, check_free):
            with pytest.raises(LockedError, match=HOLDER):
                refused(tmp_path)
        assert is_free(tmp_path) is False
    assert list(tmp_path.iterdir()) == []
    with RunLock() as again:
        assert again.take(tmp_path) == ""


def test_looking_writes_nothing_and_refuses_nobody(tmp_path):
    check_free(tmp_path)
    assert is_free(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / lock.NAME).touch()
    looking = os.open(tmp_path / lock.NAME, os.O_RDONLY)
    lock._lock(looking, shared=True)
    check_free(tmp_path)
    os.close(looking)


def test_a_lock_goes_with_its_process(tmp_path):
    in_child(lambda: RunLock().take(tmp_path))
    assert (tmp_path / lock.NAME).read_text() != ""
    assert is_free(tmp_path)
    assert was_cut_short(tmp_path)
    with RunLock() as held:
        assert held.take(tmp_path) == ""
    assert not was_cut_short(tmp_path)


def test_a_child_does_not_keep_the_lock(tmp_path):
    """A pool of processes that outlives the one that trains, for example."""
    here, there = os.pipe()
    with RunLock() as held:
        held.take(tmp_path)
        child = os.fork()
        if child == 0:
            os.close(there)
            os.read(here, 1)  # until the parent has asked
            os._exit(0)
        assert is_free(tmp_path) is False
    (tmp_path / lock.NAME).touch()
    assert is_free(tmp_path)
    os.close(there)
    os.waitpid(child, 0)
    os.close(here)


def test_a_fifo_in_place_of_the_file_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / lock.NAME)
    check_free(tmp_path)


def test_what_ends_with_an_error_leaves_its_mark(tmp_path):
    held = RunLock()
    held.take(tmp_path)
    held.__exit__(OSError, OSError(errno.ENOSPC, "full"), None)
    assert was_cut_short(tmp_path)
    assert is_free(tmp_path)


def test_the_last_holder_deletes_the_file_while_the_next_opens_it(tmp_path, monkeypatch):
    first, real = RunLock(), lock._lock
    first.take(tmp_path)

    def late(handle, shared=False):
        monkeypatch.setattr(lock, "_lock", real)
        first.__exit__(None, None, None)
        return real(handle, shared)

    monkeypatch.setattr(lock, "_lock", late)
    with RunLock() as second:
        second.take(tmp_path)
        assert is_free(tmp_path) is False


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_locks_there_is_a_warning(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with RunLock() as one, RunLock() as other:
        assert "has no locks; nothing will stop a second process" in one.take(tmp_path)
        assert other.take(tmp_path) != ""
        check_free(tmp_path)
        assert is_free(tmp_path) is None
    monkeypatch.setattr(lock, "fcntl", None)  # as on Windows
    assert "has no locks" in RunLock().take(tmp_path)


def test_a_lock_needs_no_room_on_the_disk(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with RunLock() as held:
        held.take(tmp_path)
        with pytest.raises(LockedError, match="is being trained by another process"):
            check_free(tmp_path)
