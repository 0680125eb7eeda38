"""The folder of a run: complete or absent, each with its own number."""

import multiprocessing
import os
import stat

import pytest

from gpgan.cli import main
from gpgan.records import lock, run_folder
from gpgan.util import files


def fill(folder):
    (folder / "config.json").write_text("{}")


def create(out, name=None, data="digits"):
    return run_folder.create_run(out, name, data, fill)


def test_numbers_go_on_after_the_largest(tmp_path):
    (tmp_path / "00007-ring").mkdir()
    (tmp_path / "named").mkdir()
    (tmp_path / "00009").mkdir()  # not the name of a run
    assert create(tmp_path).name == "00008-digits"
    assert create(tmp_path / "new" / "deep").name == "00000-digits"
    (tmp_path / "99999-ring").mkdir()
    assert create(tmp_path).name == "100000-digits"
    assert create(tmp_path).name == "100001-digits"


def test_a_run_appears_only_when_it_is_filled(tmp_path):
    seen = []

    def look(folder):
        fill(folder)
        seen.append([path.name for path in tmp_path.iterdir() if not path.name.startswith(".")])

    run = run_folder.create_run(tmp_path, "mine", "digits", look)
    assert seen == [[]]
    assert [path.name for path in run.iterdir()] == ["config.json"]
    assert list(tmp_path.iterdir()) == [run]


def test_a_run_that_cannot_be_filled_leaves_nothing(tmp_path):
    def fail(folder):
        fill(folder)
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        run_folder.create_run(tmp_path, None, "digits", fail)
    assert list(tmp_path.iterdir()) == []


def test_number_taken_by_another_process_meanwhile(tmp_path, monkeypatch):
    real = run_folder._next_number

    def late(out):
        number = real(out)
        if number == 0:
            fill_other = out / "00000-digits"
            fill_other.mkdir()
            fill(fill_other)
        return number

    monkeypatch.setattr(run_folder, "_next_number", late)
    assert create(tmp_path).name == "00001-digits"


def create_many(out, gate, made):
    gate.wait()
    made.put([create(out).name for _ in range(20)])


def test_two_processes_at_once_take_different_numbers(tmp_path):
    # Forked: nothing of torch runs in the children.
    context = multiprocessing.get_context("fork")
    gate, made = context.Barrier(2), context.Queue()
    processes = [context.Process(target=create_many, args=(tmp_path, gate, made)) for _ in range(2)]
    for process in processes:
        process.start()
    names = [name for _ in processes for name in made.get(timeout=30)]
    for process in processes:
        process.join(30)
    assert sorted(names) == [f"{number:05d}-digits" for number in range(40)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert all((tmp_path / name / "config.json").exists() for name in names)


def test_existing_name_offers_to_resume(tmp_path, capsys):
    out = tmp_path / "my runs"
    run = create(out, "mine")
    message = f"{run} already exists; to continue it: gpgan resume '{run}'; for a new run choose another --name"
    with pytest.raises(ValueError, match="already exists") as error:
        create(out, "mine")
    assert message in str(error.value)
    assert main(["train", "digits", "--out", str(out), "--name", "mine"]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in run.iterdir()] == ["config.json"]
    assert list(out.iterdir()) == [run]


def test_name_taken_while_the_run_was_being_made(tmp_path):
    def late(folder):
        fill(folder)
        create(tmp_path, "mine")
        (tmp_path / "mine" / "mark").touch()

    with pytest.raises(ValueError, match="mine already exists; to continue it: gpgan resume"):
        run_folder.create_run(tmp_path, "mine", "digits", late)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "mark").exists()


@pytest.mark.parametrize("below", ["", "runs"])
def test_file_in_place_of_the_folder(tmp_path, below, capsys):
    (tmp_path / "file").touch()
    message = "file is not a folder, so no run can be created in it; choose another --out"
    with pytest.raises(ValueError, match=message):
        create(tmp_path / "file" / below)
    assert main(["train", "ring", "--out", str(tmp_path / "file" / below)]) == 2
    assert message in capsys.readouterr().err


def test_folder_that_is_not_writable(tmp_path, monkeypatch):
    # Permissions do not restrict root.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match="is not writable; choose another --out"):
        create(tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_folder_that_the_system_refuses(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(type(tmp_path), "mkdir", refuse)
    with pytest.raises(
        ValueError, match=r"no run can be created in .* \(Read-only file system\); choose another --out"
    ):
        create(tmp_path / "runs")


def test_permissions_are_those_that_the_user_s_mask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        run = create(tmp_path)
        files.write_json(run / "a.json", {})
        assert os.umask(0o027) == 0o027  # read without being changed
    finally:
        os.umask(before)
    assert stat.S_IMODE(run.stat().st_mode) == 0o750
    assert stat.S_IMODE((run / "a.json").stat().st_mode) == 0o640


@pytest.fixture
def begun(tmp_path):
    """Beginnings of runs: one of a process that was killed, one that is being filled, and one that just began."""
    dead, live, young = (tmp_path / f".run-{name}.partial" for name in ("dead", "live", "young"))
    for folder in (dead, live, young):
        folder.mkdir()
        fill(folder)
    (dead / lock.NAME).touch()
    with lock.RunLock() as held:
        held.take(live)
        for folder in (dead, live):
            os.utime(folder, (0, 0))
        yield dead, live, young


def test_the_beginning_of_a_run_whose_process_was_killed_is_cleared(tmp_path, begun):
    _, live, young = begun
    run = create(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([live, young, run])


def test_without_locks_no_beginning_is_cleared(tmp_path, begun, monkeypatch):
    """It could be that of another process."""
    monkeypatch.setattr(lock, "fcntl", None)
    create(tmp_path)
    assert all(folder.exists() for folder in begun)
