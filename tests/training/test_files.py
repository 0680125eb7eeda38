"""Folders and files of a run."""

import os

import pytest

from gpgan.training import files


def test_numbers_go_on_after_the_largest(tmp_path):
    (tmp_path / "00007-ring").mkdir()
    (tmp_path / "named").mkdir()
    assert files.create_run(tmp_path, None, "digits").name == "00008-digits"
    assert files.create_run(tmp_path / "new" / "deep", None, "digits").name == "00000-digits"


def test_number_taken_by_another_process_meanwhile(tmp_path, monkeypatch):
    made = []
    mkdir = type(tmp_path).mkdir

    def late(self, *args, **kwargs):
        if self.name == "00000-digits" and not made:
            made.append(True)
            mkdir(self)
        return mkdir(self, *args, **kwargs)

    monkeypatch.setattr(type(tmp_path), "mkdir", late)
    assert files.create_run(tmp_path, None, "digits").name == "00001-digits"


def test_existing_name(tmp_path):
    files.create_run(tmp_path, "mine", "digits")
    with pytest.raises(ValueError, match=r"mine exists already; wanted a new run: choose another --name"):
        files.create_run(tmp_path, "mine", "digits")


@pytest.mark.parametrize("below", ["", "runs"])
def test_file_in_place_of_the_folder(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file is no folder, so that no run can be made in it; choose another --out"):
        files.create_run(tmp_path / "file" / below, None, "digits")


def test_folder_that_is_not_writable(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match="is not writable; choose another --out"):
        files.create_run(tmp_path / "runs", None, "digits")
    assert not (tmp_path / "runs").exists()


def test_folder_that_the_system_refuses(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "mkdir", refuse)
    with pytest.raises(ValueError, match=r"no run can be made in .* \(No space left on device\); choose another --out"):
        files.create_run(tmp_path / "runs", None, "digits")


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
