"""Pictures of each kind of data, read back as pixels."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

from gpgan.data.drawing import GAP, GREY, LABELS, TILE, image_grid, point_scatter, signal_grid, volume_grid, write_image
from gpgan.data.kinds import kind_of


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def tile(grid, row, column, size):
    top, left = GAP + row * (size + GAP), GAP + column * (size + GAP)
    return grid[top : top + size, left : left + size]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_image_grid_shows_each_image_in_its_place(tmp_path, channels):
    images = torch.linspace(-1.2, 1.2, 5 * channels * 16).reshape(5, channels, 4, 4)
    image_grid(tmp_path / "a.png", images)
    grid = pixels(tmp_path / "a.png")
    # Five images of 4 x 4, enlarged to 56 x 56, in two rows of three.
    assert grid.shape == (2 * (TILE + GAP) + GAP, 3 * (TILE + GAP) + GAP, 3)
    for index, image in enumerate(images):
        wanted = ((image.clamp(-1, 1) + 1) * 127.5).round()
        wanted = wanted if channels == 3 else wanted[:1].expand(3, -1, -1)
        shown = tile(grid, index // 3, index % 3, TILE)[::14, ::14].transpose(2, 0, 1)
        assert np.array_equal(shown, wanted.numpy())
    assert (tile(grid, 1, 2, TILE) == GREY).all()
    assert (grid[:GAP] == GREY).all()


def test_four_channels_are_shown_in_colour_on_white(tmp_path):
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 56, 56)
    opacities = (-1.0, 0.0, 1.0, 1.2)
    images = torch.stack([torch.cat([red, torch.full((1, 56, 56), opacity)]) for opacity in opacities])
    image_grid(tmp_path / "a.png", images)
    write_image(tmp_path / "b.png", images[2])
    volume_grid(tmp_path / "c.png", images[2:3, :, None].expand(1, 4, 56, 56, 56))
    grid = pixels(tmp_path / "a.png")
    wanted = [(255, 255, 255), (255, 128, 128), (255, 0, 0), (255, 0, 0)]
    for index, colour in enumerate(wanted):
        assert (tile(grid, index // 2, index % 2, 56) == colour).all()
    assert (pixels(tmp_path / "b.png") == (255, 0, 0)).all()
    assert (pixels(tmp_path / "c.png")[LABELS + GAP : LABELS + GAP + 56, GAP : GAP + 56] == (255, 0, 0)).all()


def test_large_images_keep_their_size(tmp_path):
    image_grid(tmp_path / "a.png", torch.zeros(1, 3, 100, 120))
    assert pixels(tmp_path / "a.png").shape == (100 + 2 * GAP, 120 + 2 * GAP, 3)


def test_volume_grid_shows_the_three_slices_through_the_centre(tmp_path):
    volumes = torch.rand(2, 1, 6, 8, 14, generator=torch.Generator().manual_seed(0)) * 2 - 1
    volume_grid(tmp_path / "a.png", volumes)
    grid = pixels(tmp_path / "a.png")[LABELS:]
    zoom, side, inner = 4, 14 * 4, GAP // 4
    assert grid.shape == (2 * (side + GAP) + GAP, 3 * (side + inner) + 2 * GAP, 3)
    values = ((volumes + 1) * 127.5).round().numpy()
    for row in range(2):
        wanted = [values[row, 0, 3], values[row, 0, :, 4], values[row, 0, :, :, 7]]
        for place, expected in enumerate(wanted):
            height, width = expected.shape
            top = GAP + row * (side + GAP) + (14 - height) // 2 * zoom
            left = GAP + place * (side + inner) + (14 - width) // 2 * zoom
            part = grid[top : top + height * zoom, left : left + width * zoom]
            assert np.array_equal(part[zoom // 2 :: zoom, zoom // 2 :: zoom, 0], expected), (row, place)
            # Only the frame above, below, left and right of it.
            assert (grid[top - 1, left : left + width * zoom] == GREY).all()
            assert (grid[top : top + height * zoom, left - 1] == GREY).all()


def test_volume_grid_has_its_axes_named(tmp_path, monkeypatch):
    figures = []

    class Recorded(Figure):
        def savefig(self, *args, **kwargs):
            figures.append(self)
            super().savefig(*args, **kwargs)

    monkeypatch.setattr("matplotlib.figure.Figure", Recorded)
    volume_grid(tmp_path / "a.png", torch.zeros(7, 3, 16, 8, 4))
    [[axes]] = [figure.axes for figure in figures]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["z = 8", "y = 4", "x = 2"] * 2
    # Each centred over its slices, and inside the picture.
    pitch = 3 * (16 * 4 + GAP // 4) + GAP
    assert axes.get_xticks()[0] == pytest.approx(GAP + 32, abs=2)
    assert axes.get_xticks()[3] - axes.get_xticks()[0] == pitch
    for text in axes.get_xticklabels():
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 > axes.bbox.y1
        assert box.y1 <= axes.bbox.y1 + LABELS


def test_colour_volumes_are_in_colour(tmp_path):
    volume_grid(tmp_path / "a.png", torch.tensor([1.0, -1.0, 0.0]).reshape(1, 3, 1, 1, 1).expand(1, 3, 4, 4, 4))
    assert pixels(tmp_path / "a.png")[LABELS + GAP + 5, GAP + 5].tolist() == [255, 0, 128]


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("conditional", [False, True])
def test_point_scatter_of_any_number_of_coordinates(tmp_path, width, conditional):
    calls = []

    class Critic(nn.Linear):
        def forward(self, points):
            calls.append(points.shape)
            return super().forward(points)[:, 0]

    rng = torch.Generator().manual_seed(0)
    real, fake = torch.rand(50, width, generator=rng), torch.rand(50, width, generator=rng) + 5
    point_scatter(tmp_path / "real.png", real, real, None, "a title")
    point_scatter(tmp_path / "a.png", fake, real, None if conditional else Critic(width, 1), "a title")
    first, second = pixels(tmp_path / "real.png"), pixels(tmp_path / "a.png")
    assert first.shape == second.shape == (660, 770, 3)
    assert not np.array_equal(first, second)
    assert len(calls) == (width == 2 and not conditional)


def test_point_scatter_keeps_its_places(tmp_path, monkeypatch):
    """The axes are in the same place for two critics with scores of different magnitude."""
    figures = []

    class Recorded(Figure):
        def savefig(self, *args, **kwargs):
            figures.append(self)
            super().savefig(*args, **kwargs)

    monkeypatch.setattr("matplotlib.figure.Figure", Recorded)
    real = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    for scale in (0.01, 1000.0):
        critic = nn.Linear(2, 1)
        nn.init.constant_(critic.weight, scale)
        point_scatter(tmp_path / "a.png", real, real.clone(), critic, "a title")
    boxes = [[axes.get_position().bounds for axes in figure.axes] for figure in figures]
    assert boxes[0] == boxes[1]
    assert len(boxes[0]) == 2
    for figure in figures:
        box = figure.get_tightbbox()
        assert box.x0 >= 0
        assert box.x1 <= 7
        assert box.y0 >= 0
        assert box.y1 <= 6


def test_generated_points_alone_are_not_called_real(tmp_path, monkeypatch):
    """As `gpgan sample` draws them."""
    legends = []

    class Recorded(Figure):
        def savefig(self, *args, **kwargs):
            legends.append([text.get_text() for text in self.axes[0].get_legend().get_texts()])
            super().savefig(*args, **kwargs)

    monkeypatch.setattr("matplotlib.figure.Figure", Recorded)
    points = torch.randn(20, 2)
    kind_of((2,)).draw(tmp_path / "a.png", points, None, None, "samples")
    kind_of((2,)).draw(tmp_path / "a.png", points, points, None, "real ones")
    kind_of((2,)).draw(tmp_path / "a.png", points, points + 1, None, "both")
    assert legends == [["generated"], ["real"], ["real", "generated"]]


def test_signal_grid_has_a_curve_per_channel_and_named_axes(tmp_path, monkeypatch):
    figures = []

    class Recorded(Figure):
        def savefig(self, *args, **kwargs):
            figures.append(self)
            super().savefig(*args, **kwargs)

    monkeypatch.setattr("matplotlib.figure.Figure", Recorded)
    signals = torch.rand(5, 2, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    signal_grid(tmp_path / "a.png", signals, None, None, "five of them")
    [figure] = figures
    shown = [axes for axes in figure.axes if axes.lines]
    assert len(shown) == 5
    for axes, signal in zip(shown, signals, strict=True):
        np.testing.assert_allclose([line.get_ydata() for line in axes.lines], signal)
    assert figure.get_supxlabel() == "sample index"
    assert figure.get_supylabel().startswith("amplitude")
    assert figure.get_suptitle() == "five of them"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["channel 0", "channel 1"]
