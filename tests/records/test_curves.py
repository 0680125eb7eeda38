"""curves.png: it shows the content of stats.jsonl."""

import json

import numpy as np
import pytest
from PIL import Image

from gpgan.objectives import OBJECTIVES, Objective
from gpgan.records import curves
from gpgan.records.curves import PANEL_HEIGHT, PANEL_WIDTH, Curves
from gpgan.settings.config import AdversarialConfig, PenaltyConfig
from gpgan.tasks.adversarial import WHERE, adversarial_panels

NAMES = (
    *("estimate", "held_out", "norm_mean", "norm_std", "norm_max"),
    *("critic_loss", "generator_loss", "penalty"),
)
NULLS = dict.fromkeys(["step", *NAMES])
PANELS = adversarial_panels(AdversarialConfig())


def line(step, **values):
    return json.dumps({**NULLS, "step": step, **values}) + "\n"


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, as lists of their three panels."""
    figures = []

    class Recorded(curves.Figure):
        def savefig(self, *args, **kwargs):
            figures.append(self.axes)
            super().savefig(*args, **kwargs)

    monkeypatch.setattr(curves, "Figure", Recorded)
    return figures


def curve(panel, label):
    """The points of a curve: x, y."""
    [found] = [one for one in panel.lines if one.get_label() == label]
    return list(map(float, found.get_xdata())), list(map(float, found.get_ydata()))


def test_every_number_is_drawn(tmp_path, drawn):
    names = NAMES
    text = "".join(line(10 * i, **{name: i + k / 10 for k, name in enumerate(names)}) for i in (1, 2, 3))
    (tmp_path / "stats.jsonl").write_text(text)
    Curves(tmp_path, adversarial_panels(AdversarialConfig(penalty=PenaltyConfig(target=1.5)))).draw()

    [[distance, norm, loss]] = drawn
    places = {
        "estimate": (distance, "training data"),
        "held_out": (distance, "held-out data"),
        "norm_mean": (norm, "mean ± standard deviation"),
        "norm_max": (norm, "largest"),
        "critic_loss": (loss, "critic"),
        "generator_loss": (loss, "generator"),
        "penalty": (loss, "penalty (part of the critic's)"),
    }
    for name, (panel, label) in places.items():
        x, y = curve(panel, label)
        assert x == [10, 20, 30], name
        assert y == pytest.approx([i + names.index(name) / 10 for i in (1, 2, 3)]), name
        assert label in [text.get_text() for text in panel.get_legend().get_texts()]
    assert curve(norm, "target 1.5")[1] == [1.5, 1.5]
    [band] = norm.collections
    # norm_mean is i + 0.2, norm_std is i + 0.3.
    assert {tuple(np.round(point, 6)) for path in band.get_paths() for point in path.vertices} == {
        *((10.0 * i, -0.1) for i in (1, 2, 3)),
        *((10.0 * i, round(2 * i + 0.5, 6)) for i in (1, 2, 3)),
    }
    assert [panel.get_ylabel() for panel in drawn[0]] == ["W1", "|gradient of f|", "loss"]
    assert loss.get_xlabel() == "step"


def test_the_picture_is_whole_and_coloured(tmp_path):
    (tmp_path / "stats.jsonl").write_text("".join(line(i, estimate=i, critic_loss=-i) for i in range(1, 60)))
    Curves(tmp_path, PANELS).draw()
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size == (curves.WIDTH, 3 * PANEL_HEIGHT)
        pixels = np.asarray(image.convert("RGB"))
    blue = np.array([int(curves.COLOURS[0][i : i + 2], 16) for i in (1, 3, 5)])
    rows = np.flatnonzero((abs(pixels.astype(int) - blue).max(2) < 20).any(1))
    # In the first and last panels, but not in that of the norms, which are unknown.
    third = PANEL_HEIGHT
    assert (rows < third).any()
    assert (rows > 2 * third).any()
    assert not ((rows > 1.2 * third) & (rows < 1.9 * third)).any()
    assert [path.name for path in tmp_path.glob("*.png")] == ["curves.png"]


def test_unknown_numbers_are_passed_over(tmp_path, drawn):
    text = "".join(line(i, estimate=1.0, held_out=None if i % 5 else i) for i in range(1, 21))
    (tmp_path / "stats.jsonl").write_text(text)
    Curves(tmp_path, PANELS).draw()
    assert curve(drawn[0][0], "held-out data") == ([5, 10, 15, 20], [5, 10, 15, 20])
    assert len(curve(drawn[0][0], "training data")[0]) == 20


def test_one_line_is_a_point(tmp_path, drawn):
    (tmp_path / "stats.jsonl").write_text(line(25, estimate=3.0, norm_mean=1.0, norm_std=0.5))
    Curves(tmp_path, PANELS).draw()
    [point] = drawn[0][0].lines
    assert point.get_marker() == "."
    assert curve(drawn[0][0], "training data") == ([25], [3.0])
    low, high = drawn[0][0].get_xlim()
    assert low < 25 <= high


@pytest.mark.parametrize("text", [None, "", '{"step": 1, "wass', "no JSON\n"])
def test_nothing_is_drawn_of_nothing(tmp_path, text):
    if text is not None:
        (tmp_path / "stats.jsonl").write_text(text)
    Curves(tmp_path, PANELS).draw()
    assert not (tmp_path / "curves.png").exists()


def test_torn_and_foreign_lines_are_left_out(tmp_path, drawn):
    foreign = '[1]\n{"estimate": 9}\n{"step": "x"}\n\0\0\n\n{"step": 3, "estimate": "9"}\n{"step": 4, "wass\n'
    text = line(1, estimate=1.0) + foreign + line(5, estimate=5.0) + '{"step": 6, "estimate": 7'
    (tmp_path / "stats.jsonl").write_text(text)
    Curves(tmp_path, PANELS).draw()
    assert curve(drawn[0][0], "training data") == ([1, 5], [1.0, 5.0])


def test_each_line_is_read_once_and_a_torn_one_when_it_is_whole(tmp_path, drawn, monkeypatch):
    read = []
    row = curves._row
    monkeypatch.setattr(curves, "_row", lambda one, columns: read.append(one) or row(one, columns))
    board, path = Curves(tmp_path, PANELS), tmp_path / "stats.jsonl"
    board.draw()
    whole = "".join(line(i, estimate=i) for i in (1, 2, 3))
    path.write_text(whole[:-20])
    board.draw()
    path.write_text(whole)
    board.draw()
    assert [curve(axes[0], "training data")[0] for axes in drawn] == [[1, 2], [1, 2, 3]]
    assert len(read) == 3


def test_the_last_line_of_a_step_counts(tmp_path, drawn):
    # A run that was killed at 50 and resumed from 20.
    first = "".join(line(i, estimate=1.0) for i in (10, 20, 30, 40, 50))
    again = "".join(line(i, estimate=2.0) for i in (25, 35, 45))
    (tmp_path / "stats.jsonl").write_text(first + again)
    Curves(tmp_path, PANELS).draw()
    assert curve(drawn[0][0], "training data") == ([10, 20, 25, 35, 45], [1.0, 1.0, 2.0, 2.0, 2.0])


def test_many_lines_show_mean_and_extremes(tmp_path, drawn):
    count = 20_000
    rng = np.random.default_rng(0)
    values, largest = rng.normal(size=count), rng.uniform(1, 2, size=count)
    largest[12_345] = 77.0
    text = (line(i + 1, estimate=w, norm_max=m) for i, (w, m) in enumerate(zip(values, largest, strict=True)))
    (tmp_path / "stats.jsonl").write_text("".join(text))
    Curves(tmp_path, PANELS).draw()
    distance, norm, _ = drawn[0]
    x, y = curve(distance, "training data")
    assert len(x) == PANEL_WIDTH
    assert np.average(y, weights=np.diff([*x, count + 1])) == pytest.approx(values.mean())
    [spread] = distance.collections
    heights = np.concatenate([path.vertices[:, 1] for path in spread.get_paths()])
    assert heights.min() == pytest.approx(values.min())
    assert heights.max() == pytest.approx(values.max())
    x, y = curve(norm, "largest")
    assert max(y) == 77.0
    assert x[int(np.argmax(y))] == pytest.approx(12_346, abs=count / PANEL_WIDTH)


def test_an_outlier_neither_flattens_the_rest_nor_vanishes(tmp_path, drawn):
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 2, size=500)
    values[0] = 1000.0
    (tmp_path / "stats.jsonl").write_text("".join(line(i + 1, estimate=w) for i, w in enumerate(values)))
    Curves(tmp_path, PANELS).draw()
    distance = drawn[0][0]
    assert distance.get_ylim()[1] < 4
    assert any("beyond this axis: up to 1e+03" in text.get_text() for text in distance.texts)


def test_the_target_is_in_sight(tmp_path, drawn):
    panels = adversarial_panels(AdversarialConfig(penalty=PenaltyConfig(target=30.0)))
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 2, size=500)
    values[0] = 1000.0
    (tmp_path / "stats.jsonl").write_text("".join(line(i + 1, norm_mean=w) for i, w in enumerate(values)))
    Curves(tmp_path, panels).draw()
    low, high = drawn[0][1].get_ylim()
    assert low < 1
    assert 30 < high < 40


@pytest.mark.parametrize("points", WHERE)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_legend_lies_on_a_title(tmp_path, drawn, objective, points):
    config = AdversarialConfig(objective=objective, penalty=PenaltyConfig(weight=1.0, target=0.25, points=points))
    numbers = dict.fromkeys(NAMES, 1.0)
    (tmp_path / "stats.jsonl").write_text("".join(line(step, **numbers) for step in (1, 2)))
    Curves(tmp_path, adversarial_panels(config)).draw()
    [panels] = drawn
    for axes in panels:
        title, legend = axes.texts[0].get_window_extent(), axes.get_legend().get_window_extent()
        assert title.x1 < legend.x0, axes.texts[0].get_text()


def test_an_objective_without_a_divergence_has_its_loss_drawn(tmp_path, drawn, monkeypatch):
    margin = Objective("margin", OBJECTIVES["hinge"].critic, OBJECTIVES["hinge"].generator)
    monkeypatch.setitem(OBJECTIVES, "margin", margin)
    (tmp_path / "stats.jsonl").write_text(line(1, estimate=-2.0))
    Curves(tmp_path, adversarial_panels(AdversarialConfig(objective="margin"))).draw()
    [[distance, _, _]] = drawn
    assert distance.texts[0].get_text() == "The critic's loss, negated"
    assert distance.get_ylabel() == "-loss"
