"""Known corruptions, and the tables of what they score."""

import json

import pytest
import torch

from gpgan.metrics import ladder
from gpgan.metrics.corruptions import blur, missing, noise, repeats
from gpgan.metrics.registry import HEADLINE, METRICS


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_blur_of_a_point_is_a_gaussian():
    point = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    point[0, 0, 20, 20] = 1
    squares = (torch.arange(41, dtype=torch.float64) - 20).square()
    density = torch.exp(-(squares[:, None] + squares) / (2 * 1.5**2)) / (2 * torch.pi * 1.5**2)
    assert (blur(point, 1.5)[0, 0] - density).abs().max() < 1e-4


def test_blur_keeps_means_and_constant_images():
    images = torch.full((2, 3, 9, 5), 0.25)
    assert torch.allclose(blur(images, 2.0), images, atol=1e-6)


def test_noise_has_its_strength_and_stays_in_range():
    images = torch.zeros(4, 1, 64, 64)
    noisy = noise(images, 0.1, torch.Generator().manual_seed(0))
    assert float(noisy.std()) == pytest.approx(0.2, rel=0.05)
    assert float(noise(images + 1, 0.5, torch.Generator().manual_seed(0)).max()) == 1


def test_missing_classes_and_repeats():
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    assert missing(labels, 4, 2, 3).tolist() == [2, 3, 6]
    with pytest.raises(ValueError, match="strength is 4 and there are 4 classes"):
        missing(labels, 4, 4, 3)
    assert torch.bincount(repeats(20, 5)).tolist() == [5, 5, 5, 5]


def table(n=100, **about):
    return ladder.Ladder(
        {"fingerprint": "f", "identity": "i", "n": n, **about}, {"blur": {"kd": [(0.0, 1.0), (1.0, 9.0)]}}
    )


def test_a_ladder_is_found_only_for_its_own_data_and_network():
    ladder.save(table())
    assert ladder.find("f", "i", 100).rungs == table().rungs
    assert ladder.find("other", "i", 100) is None
    assert ladder.find("f", "other", 100) is None


def test_a_ladder_of_as_many_samples_is_preferred():
    for n in (50, 100, 200):
        ladder.save(table(n))
    assert ladder.find("f", "i", 100).about["n"] == 100
    assert ladder.find("f", "i", 70) is not None


def test_damaged_ladders_are_skipped():
    path = ladder.save(table())
    for content in (b"", b"[1]", b'{"rungs": {}, "about": {}}', b'{"rungs": {"blur": 3}, "about": {"n": 1}}'):
        path.write_bytes(content)
        assert ladder.find("f", "i", 100) is None


COMMITTED = sorted(ladder.COMMITTED.glob("*.json"))


def test_ladders_are_committed_for_three_data_sets():
    assert {json.loads(path.read_text("utf-8"))["about"]["data"] for path in COMMITTED} == {
        "fashion",
        "digits",
        "emoji",
    }


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_each_rung_is_worse_than_the_one_before_in_every_metric_that_claims_to_see_it(path):
    rungs = ladder.read(path).rungs
    assert {"blur", "noise", "repeats", "copies"} <= set(rungs)
    for kind, metrics in rungs.items():
        for name, steps in metrics.items():
            if kind not in METRICS[name].sees:
                continue
            sign = -1 if METRICS[name].better == "higher" else 1
            scores = [sign * score for _, score in steps]
            assert scores == sorted(scores), (kind, name, steps)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_no_corruption_scores_better_than_the_floor_in_a_headline_metric(path):
    """By more than two standard deviations of the floor; a share varies by at least that of n coins."""
    table = ladder.read(path)
    for kind, metrics in table.rungs.items():
        for name in set(HEADLINE) & set(metrics):
            sign = -1 if METRICS[name].better == "higher" else 1
            floor, *scores = (sign * score for _, score in metrics[name])
            coins = 0.0 if name == "kd" else (abs(floor) * (1 - abs(floor)) / table.about["n"]) ** 0.5
            assert min(scores) > floor - 2 * max(table.deviations[name], coins), (kind, name, metrics[name])
