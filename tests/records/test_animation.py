"""fakes.gif: the snapshots in order, in a small file."""

import pytest
import torch
from PIL import Image
from torch import nn

from gpgan.data.drawing import point_scatter
from gpgan.records.animation import FRAME, FRAMES, LAST, write_animation


def snapshot(run, name, level):
    """A picture of one grey, as wide as it is twice high."""
    Image.new("RGB", (40, 20), (level, level, level)).save(run / f"fakes_{name}.png")


def frames(run):
    """The size, and for each frame the grey of its first pixel and its duration."""
    with Image.open(run / "fakes.gif") as image:
        shown = []
        for index in range(image.n_frames):
            image.seek(index)
            shown.append((image.convert("RGB").getpixel((0, 0))[0], image.info["duration"]))
        return image.size, shown


def test_frames_are_in_the_order_of_steps(tmp_path):
    # Not in the order of names: 1000000 comes after 999999.
    for name, level in {"1000000": 240, "999999": 160, "000500": 80, "init": 0}.items():
        snapshot(tmp_path, name, level)
    Image.new("RGB", (40, 20), "white").save(tmp_path / "fakes_other.png")
    write_animation(tmp_path)
    size, shown = frames(tmp_path)
    assert size == (20, 10)
    assert [level for level, _ in shown] == pytest.approx([0, 80, 160, 240], abs=4)
    *durations, last = [duration for _, duration in shown]
    assert len(set(durations)) == 1
    assert last >= 5 * durations[0]


def test_many_snapshots_are_thinned_evenly(tmp_path):
    snapshot(tmp_path, "init", 0)
    for step in range(1, 201):
        snapshot(tmp_path, f"{step:06d}", step)
    write_animation(tmp_path)
    levels, durations = zip(*frames(tmp_path)[1], strict=True)
    # One palette of 64 colours for 60 greys: neighbours with the same colour become one frame, shown twice as long.
    assert len(levels) > FRAMES * 0.8
    assert sum(durations) == FRAME * (FRAMES - 1) + LAST
    assert levels[0] <= 4
    assert levels[-1] >= 196
    assert list(levels) == sorted(levels)


def test_one_snapshot_is_a_picture(tmp_path):
    snapshot(tmp_path, "init", 90)
    write_animation(tmp_path)
    assert frames(tmp_path)[0] == (20, 10)


def test_no_snapshot_no_animation(tmp_path):
    write_animation(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_animation_stays_small(tmp_path):
    rng = torch.Generator().manual_seed(0)
    angles = torch.arange(2500) % 8 * torch.pi / 4
    real = torch.stack([angles.cos(), angles.sin()], 1)
    critic = nn.Sequential(nn.Linear(2, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1))
    for step in range(3):
        fake = real + 0.3 * torch.randn(real.shape, generator=rng)
        point_scatter(tmp_path / f"fakes_{step:06d}.png", real, fake, critic, f"After {step} generator steps")
    for step in range(3, 80):
        (tmp_path / f"fakes_{step:06d}.png").write_bytes((tmp_path / f"fakes_{step % 3:06d}.png").read_bytes())
    write_animation(tmp_path)
    with Image.open(tmp_path / "fakes.gif") as image:
        assert image.size == (385, 330)
        assert image.n_frames >= FRAMES * 0.6
    assert (tmp_path / "fakes.gif").stat().st_size < 3e6
