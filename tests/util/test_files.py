"""Files: complete or absent."""

import os
import stat
from pathlib import Path

import pytest

from gpgan.util import files


def test_files_are_whole_or_as_they_were(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": float("nan")})

    def save(file):
        file.write(b"half")
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        files.write(path, save)
    assert path.read_text() == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_there_before_is_kept_where_asked(tmp_path):
    path, kept = tmp_path / "a", tmp_path / "b"
    for content in (b"1", b"2", b"3"):
        with files.replacing(path, keep=kept) as file:
            file.write(content)
            assert not path.exists() or path.read_bytes() < content
    assert (path.read_bytes(), kept.read_bytes()) == (b"3", b"2")
    with pytest.raises(RuntimeError, match="half-way"), files.replacing(path, keep=kept) as file:
        raise RuntimeError("half-way")
    assert (path.read_bytes(), kept.read_bytes()) == (b"3", b"2")
    assert sorted(tmp_path.iterdir()) == [path, kept]


def test_content_is_on_the_disk_before_it_has_its_name_and_the_name_after(tmp_path, monkeypatch):
    """Without it, a power cut can leave half a file, or an empty one."""
    events = []
    real = os.fsync, Path.replace

    def fsync(handle):
        folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        events.append("folder" if folder else f"file of {os.fstat(handle).st_size} bytes")
        real[0](handle)

    def replace(self, target):
        events.append(f"rename to {Path(target).name}")
        return real[1](self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    for content in (b"12345", b"123"):
        with files.replacing(tmp_path / "a", keep=tmp_path / "b") as file:
            file.write(content)
    first = ["file of 5 bytes", "rename to a", "folder"]
    assert events == [*first, "file of 3 bytes", "rename to b", "rename to a", "folder"]


def test_two_that_write_one_file_do_not_disturb_each_other(tmp_path):
    """As two ``gpgan eval`` of one run, or one while the run is training."""
    path = tmp_path / "a"
    with files.replacing(path) as one:
        one.write(b"one")
        with files.replacing(path) as other:
            other.write(b"the other")
        assert path.read_bytes() == b"the other"
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


def test_the_longest_name_that_a_file_can_have(tmp_path):
    path = tmp_path / ("x" * 255)
    files.write_json(path, 1)
    assert path.read_text() == "1\n"


def test_errors_name_the_file_and_not_its_partial_one(tmp_path):
    with (
        pytest.raises(OSError, match=r"No such file or directory: '.*/none/a'") as error,
        files.replacing(tmp_path / "none" / "a"),
    ):
        pass
    assert error.value.filename == str(tmp_path / "none" / "a")


def test_partial_files_of_dead_processes_are_cleared(tmp_path):
    dead, old, mine, running = ".999999999-0a.partial", ".a.png.partial", f".{os.getpid()}-0a.partial", ".1-0a.partial"
    for name in (dead, old, mine, running, "a.partial"):
        (tmp_path / name).touch()
    files.clear_partials(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {running, "a.partial"}
    files.clear_partials(tmp_path, every=True)
    assert {path.name for path in tmp_path.iterdir()} == {"a.partial"}
