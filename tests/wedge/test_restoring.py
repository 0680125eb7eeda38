"""Baselines, tiles, networks and files of restorations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_matching import blobs, rng

from gpgan.nn.unet import UNet
from gpgan.wedge.baselines import BASELINES, gerchberg_papoulis, spherical_mean, wiener, zero_filling
from gpgan.wedge.files import Volume, read_volume, write_volume
from gpgan.wedge.mask import Wedge
from gpgan.wedge.operators import Filter, rotate, transform
from gpgan.wedge.particles import particles_of, restore_particles
from gpgan.wedge.restored import Restored, scores, within
from gpgan.wedge.restorer import Restorer
from gpgan.wedge.rotations import random_rotations
from gpgan.wedge.scores import wedge_correlation
from gpgan.wedge.tiles import restore_tiled, tiles_at_once

SHAPE, VOXEL = (16, 16, 16), 15.0
WEDGE = Wedge()
MEASURED = WEDGE.mask(SHAPE)
NONE = torch.zeros(MEASURED.shape, dtype=torch.float64)


def particles(count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Turned blobs, and what a wedge leaves of them."""
    truth = rotate(blobs(SHAPE)[None, None], random_rotations(count, 3, rng(3)))[:, 0]
    return truth, Filter(MEASURED.float(), SHAPE)(truth)


def test_zero_filling_and_wieners_filter_restore_nothing_of_the_wedge():
    truth, seen = particles()
    assert torch.equal(zero_filling(seen, MEASURED, NONE, 0.9), seen)
    assert wedge_correlation(wiener(seen, MEASURED, NONE, 0.9), truth, WEDGE).abs().max() == 0
    torch.testing.assert_close(wiener(seen, MEASURED, NONE, 0.9), seen, atol=1e-5, rtol=0)


def test_wieners_filter_is_signal_over_signal_and_noise():
    _, seen = particles()
    power = transform(seen).abs().double().square().mean(0)
    noise = torch.where(MEASURED, power.mean(), 0.0)
    found = transform(wiener(seen + 0.0, MEASURED, 1e9 * noise, 0.9))
    assert found.abs().max() < 1e-3  # no signal above the noise


def test_a_spherical_mean_fills_each_shell_with_its_mean():
    """Of a spherical object it is the object; of others it keeps what was measured."""
    places = torch.stack(torch.meshgrid(*(torch.arange(16) - 7.5,) * 3, indexing="ij"))
    ball = torch.exp(-places.square().sum(0) / 8)[None]
    seen = Filter(MEASURED.float(), SHAPE)(ball)
    made = spherical_mean(seen, MEASURED, NONE, 0.9)
    assert float((made - ball).norm() / ball.norm()) < 0.15  # shells are a voxel wide
    assert float(wedge_correlation(made, ball, WEDGE)[0]) > 0.97
    _, seen = particles()
    kept = Filter(MEASURED.float(), SHAPE)
    torch.testing.assert_close(kept(spherical_mean(seen, MEASURED, NONE, 0.9)), kept(seen), atol=1e-4, rtol=0)


def test_gerchberg_and_papoulis_keep_what_was_measured_and_restore_some_of_the_rest():
    truth, seen = particles()
    made = gerchberg_papoulis(seen, MEASURED, NONE, 1.0)
    kept = Filter(MEASURED.float(), SHAPE)
    torch.testing.assert_close(kept(made), seen, atol=1e-4, rtol=0)
    assert float(wedge_correlation(made, truth, WEDGE, VOXEL).mean()) > 0.5
    assert set(BASELINES) == {"zero", "wiener", "spherical-mean", "gerchberg-papoulis"}


def test_scores_are_perfect_for_the_truth():
    truth, _ = particles(4)
    found = scores(Restored(truth, truth[None].expand(4, *truth.shape)), truth, WEDGE, VOXEL)
    assert found["s"] == pytest.approx(1)
    assert found["resolution"] == found["wedge_resolution"] == 2 * VOXEL
    assert found["within"] > 0.99


def test_a_calibrated_spread_holds_two_thirds_of_the_truth():
    noise = torch.randn(33, 4, *SHAPE, generator=rng())
    restored = Restored(torch.zeros(4, *SHAPE), noise[1:])
    assert within(restored, noise[0], WEDGE) == pytest.approx(0.68, abs=0.02)
    assert restored.deviation is not None
    assert float(restored.deviation.mean()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("shape", [(32, 40, 47), (5, 33, 20), (16, 16, 16)])
def test_tiles_blend_without_seams_or_borders(shape: tuple[int, ...]):
    """Of a restoration that changes nothing the blend is the volume, at every voxel."""
    halves = torch.randn(2, *shape, generator=rng())
    told: list[tuple[int, int]] = []
    made = restore_tiled(halves, 16, lambda tiles: tiles.mean(1), 3, lambda done, total: told.append((done, total)))
    torch.testing.assert_close(made, halves.mean(0), atol=1e-5, rtol=0)
    assert told[-1][0] == told[-1][1]


def test_tiles_fit_into_memory():
    assert tiles_at_once(32, 200) == (200 << 20) // (700 * 32**3)
    with pytest.raises(
        ValueError, match="memory is 1 MiB, and a tile of 32 voxels takes 22; expected at least as much"
    ):
        tiles_at_once(32, 1)


@pytest.mark.parametrize("dims", [2, 3])
def test_an_untrained_unet_returns_its_first_channel_once_its_last_layer_is_zero(dims: int):
    net = UNet(2, dims, 4, 2)
    torch.nn.init.zeros_(net.last.weight)
    torch.nn.init.zeros_(net.last.bias)
    x = torch.randn(3, 2, *(11, 8, 9)[:dims])
    assert torch.equal(net(x), x[:, :1])


def test_a_restorer_keeps_measured_components_and_can_be_saved():
    restorer = Restorer(SHAPE, 4, 2, 0.9)
    restorer.gain.copy_(MEASURED.float())
    _, seen = particles(2)
    made = restorer(seen[:, None])
    assert made.shape == (2, 1, *SHAPE)
    kept = Filter(MEASURED.float(), SHAPE)
    torch.testing.assert_close(kept(made[:, 0]), seen, atol=1e-4, rtol=0)
    again = Restorer(SHAPE, 4, 2, 0.9)
    again.load_state_dict(restorer.state_dict())
    assert torch.equal(again(seen[:, None]), made)


def files(folder: Path, count: int = 3, side: int = 8) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"a.b_{number}.mrc" for number in range(count)]
    for number, path in enumerate(paths):
        data = np.random.default_rng(number + len(str(folder))).normal(size=(side,) * 3).astype(np.float32)
        write_volume(path, Volume(data, 10.0, (1.0, 2.0, 3.0), labels=("own",)))
    return paths


def test_restored_files_keep_names_and_headers(tmp_path: Path):
    files(tmp_path / "even")
    files(tmp_path / "odd")
    found = particles_of(tmp_path / "even", tmp_path / "odd")
    assert [each.name for each in found] == ["a.b_0", "a.b_1", "a.b_2"]

    def restore(halves: torch.Tensor) -> Restored:
        mean = halves.mean(1)
        return Restored(mean, torch.stack([mean + 1, mean - 1]))

    star = restore_particles(found, restore, tmp_path / "out", label="made", spread=True, samples=2)
    assert star.exists()
    for number in range(3):
        even, odd = (read_volume(tmp_path / part / f"a.b_{number}.mrc") for part in ("even", "odd"))
        made = read_volume(tmp_path / "out" / f"a.b_{number}.mrc")
        assert np.allclose(made.data, (even.data + odd.data) / 2, atol=1e-6)
        assert (made.voxel, made.origin, made.labels) == (even.voxel, even.origin, (*even.labels, "made"))
        sample = read_volume(tmp_path / "out" / "samples" / f"a.b_{number}_2.mrc")
        assert np.allclose(sample.data, made.data - 1, atol=1e-5)


def test_halves_that_do_not_match_are_refused(tmp_path: Path):
    files(tmp_path / "even")
    files(tmp_path / "odd", 2)
    with pytest.raises(ValueError, match=r"odd is .* with 2 files, and .* has 3 rows of 1; expected as many"):
        particles_of(tmp_path / "even", tmp_path / "odd")
    with pytest.raises(ValueError, match="is both the even and the odd half"):
        particles_of(tmp_path / "even", tmp_path / "even")
    (tmp_path / "odd" / "other.mrc").write_bytes((tmp_path / "odd" / "a.b_0.mrc").read_bytes())
    with pytest.raises(ValueError, match="expected files of the same name"):
        particles_of(tmp_path / "even", tmp_path / "odd")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no MRC file"):
        particles_of(tmp_path / "empty")


def test_files_of_one_name_in_several_folders_keep_their_folder(tmp_path: Path):
    for name in ("one", "two"):
        files(tmp_path / "all" / name, 1)
    assert [each.name for each in particles_of(tmp_path / "all")] == ["one_a.b_0", "two_a.b_0"]
