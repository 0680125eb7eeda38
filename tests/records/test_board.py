"""TensorBoard events, read back with TensorBoard's own reader."""

import builtins
import io
import os

import numpy as np
import pytest
from PIL import Image

from gpgan.records.board import Board


def read(run):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard")
    events = reader.EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def scalars(run, name):
    return [(event.step, event.value) for event in read(run).Scalars(name)]


def test_numbers_under_their_names(tmp_path):
    board = Board(tmp_path)
    board.add({"step": 10, "estimate": 2.5, "held_out": None, "images": 640}, 10)
    board.add({"step": 20, "estimate": 1.25, "held_out": 1.5, "images": 1280}, 20)
    board.close()
    assert scalars(tmp_path, "estimate") == [(10, 2.5), (20, 1.25)]
    assert scalars(tmp_path, "held_out") == [(20, 1.5)]
    assert sorted(read(tmp_path).Tags()["scalars"]) == ["estimate", "held_out", "images"]


def test_pictures_of_a_kind_are_one_series(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    for name in ("fakes_init", "fakes_000500", "reals"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    board = Board(tmp_path)
    board.add_image(tmp_path / "fakes_init.png", 0)
    board.add_image(tmp_path / "fakes_000500.png", 500)
    board.add_image(tmp_path / "reals.png", 0)
    board.close()
    events = read(tmp_path)
    assert sorted(events.Tags()["images"]) == ["fakes", "reals"]
    first, second = events.Images("fakes")
    assert (first.step, second.step) == (0, 500)
    with Image.open(io.BytesIO(second.encoded_image_string)) as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_a_resumed_run_goes_on(tmp_path):
    board = Board(tmp_path)
    for step in (10, 20, 30):
        board.add({"penalty": 1.0}, step)
    board.close()
    # Resumed from a checkpoint at step 20.
    board = Board(tmp_path, purge_step=21)
    for step in (25, 35):
        board.add({"penalty": 2.0}, step)
    board.close()
    assert scalars(tmp_path, "penalty") == [(10, 1.0), (20, 1.0), (25, 2.0), (35, 2.0)]


def test_without_tensorboard_nothing_happens(tmp_path, monkeypatch):
    find = builtins.__import__

    def missing(name, *rest):
        if name.split(".")[0] == "tensorboard" or name == "torch.utils.tensorboard":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return find(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    board = Board(tmp_path)
    board.add({"penalty": 1.0}, 10)
    board.add_image(tmp_path / "fakes_init.png", 0)
    board.close()
    assert list(tmp_path.iterdir()) == []


def test_a_closed_board_takes_nothing(tmp_path):
    board = Board(tmp_path)
    board.add({"penalty": 1.0}, 10)
    board.close()
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    board.add({"penalty": 2.0}, 20)
    board.close()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert scalars(tmp_path, "penalty") == [(10, 1.0)]


def test_a_folder_whose_name_is_not_text_gets_none(tmp_path):
    run = tmp_path / os.fsdecode(b"caf\xe9")
    run.mkdir()
    board = Board(run)
    board.add({"step": 10, "estimate": 2.5}, 10)
    board.close()
    assert list(run.iterdir()) == []
