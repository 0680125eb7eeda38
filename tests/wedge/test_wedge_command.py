"""``gpgan wedge`` from a structure to a restored volume, on few small particles."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import Do, without_pictures

from gpgan.cli import main
from gpgan.cli.wedge.fit import METHODS
from gpgan.data.star import read_star
from gpgan.tasks.wedge import restoration
from gpgan.training.saved import open_run
from gpgan.training.trainer import Trainer
from gpgan.wedge.files import Volume, read_volume, write_volume

Run = Callable[..., tuple[int, str, str]]
TILT = ("--tilt", "-60", "60")
SMALL = ("--threads", "1", "--batch", "8", "--tick", "2", "--snapshot", "100", "--checkpoint", "2")
NETWORKS = ("--network.critic-width", "2")
# Options of a short run, by method and whether it is amortised.
WAYS = {
    "cryowgen": ("cryowgen", (), ("--task.poses", "8")),
    "cryogen-2": ("cryogen-2", (), ("--task.poses", "8")),
    "cryogen-1": ("cryogen-1", (), NETWORKS),
    "amortised-cryogen-1": ("cryogen-1", ("--amortised",), (*NETWORKS, "--network.width", "2")),
    "amortised-cryogen-2": ("cryogen-2", ("--amortised",), ("--network.width", "2")),
    "amortised-cryowgen": ("cryowgen", ("--amortised",), ("--network.width", "2")),
    "self-supervised": ("self-supervised", ("--amortised",), ("--network.width", "2")),
    "supervised": ("supervised", ("--amortised",), ("--network.width", "2")),
}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(each) for each in arguments])
        return (status, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wedge") / "sim"
    given = ["ribosome", "--out", str(folder), "-n", "44", "--voxel", "26", "--box", "16", "--snr", "1", *TILT]
    assert main(["wedge", "simulate", *given]) == 0
    return folder


def fit(run: Run, data: Path, way: str, out: Path, *more: object) -> tuple[int, str, str]:
    method, amortised, small = WAYS[way]
    return run(
        *("wedge", "fit", data, "--method", method, *amortised, *TILT, *SMALL, *small),
        *("--out", out, "--name", "run", *more),
    )


def test_every_method_is_tried():
    assert {method for method, *_ in WAYS.values()} == set(METHODS)


@pytest.mark.parametrize("way", WAYS)
def test_a_fit_is_recorded_restored_and_measured(run: Run, simulated: Path, tmp_path: Path, way: str):
    star = simulated / "particles.star"
    status, _, err = fit(run, star, way, tmp_path, "--steps", "4", "--truth", simulated / "truth")
    assert status == 0, err
    folder = tmp_path / "run"
    lines = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert -1 <= lines[-1]["s"] <= 1
    assert lines[-1]["distance"] > 0
    for name in ("reals.png", "fakes_init.png", "samples.png", "curves.png"):
        with Image.open(folder / name) as picture:
            assert picture.width > 200
    status, out, err = run("wedge", "restore", folder, "--out", tmp_path / "restored", "--spread", "--samples", "1")
    assert status == 0, err
    rows = read_star(tmp_path / "restored" / "restored.star")
    assert len(rows.files) == 44
    for part, name in (("", "000001"), ("spread", "000001"), ("samples", "000001_1")):
        volume = read_volume(tmp_path / "restored" / part / f"{name}.mrc")
        assert volume.voxel == 26
        assert volume.data.shape == (16, 16, 16)
    assert run("sample", folder, "-n", "3")[0] == 0
    assert run("eval", folder, "-n", "3", "--features", "raw", "--metrics", "w1")[0] == 0
    assert way not in ("cryowgen", "cryogen-1") or run("export", folder)[0] == 0
    status, out, err = run("wedge", "eval", folder, "--json")
    assert status == 0, err
    measured = json.loads(out.splitlines()[-1])
    assert measured["n"] == 4
    assert {"zero", "wiener", "spherical-mean", "gerchberg-papoulis"} < set(measured["scores"])
    assert measured["scores"]["zero"]["s"] == 0
    status, out, err = run(
        "wedge", "eval", "--restored", tmp_path / "restored", "--truth", simulated / "truth", *TILT, "--json"
    )
    assert status == 0, err
    assert json.loads(out.splitlines()[-1])["n"] == 44


@pytest.mark.parametrize("way", WAYS)
def test_a_fit_continues_bit_for_bit(
    run: Run, simulated: Path, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
):
    without_pictures(monkeypatch)
    for name in ("draw_restored", "draw_slices"):
        monkeypatch.setattr(restoration, name, lambda *arguments: None)
    more = ("--steps", "4", "--truth", simulated / "truth")
    assert fit(run, simulated / "particles.star", way, tmp_path / "whole", *more)[0] == 0
    whole = open_run(tmp_path / "whole" / "run")
    config = replace(whole.config, out=tmp_path / "parts")
    Trainer(config, callbacks=[Do(lambda trainer: trainer.stop() if trainer.step == 2 else None)]).fit()
    Trainer.resume(tmp_path / "parts" / "run").fit()
    parts = open_run(tmp_path / "parts" / "run")
    assert parts.state["step"] == whole.state["step"] == 4
    for name, module in whole.task.modules.items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, parts.task.modules[name].state_dict()[key]), (name, key)


def test_a_baseline_is_restored_and_measured(run: Run, simulated: Path, tmp_path: Path):
    status, _, err = run(
        "wedge",
        "restore",
        simulated / "particles.star",
        "--baseline",
        "spherical-mean",
        *TILT,
        "--out",
        tmp_path / "sm",
    )
    assert status == 0, err
    status, out, _ = run(
        "wedge", "eval", "--restored", tmp_path / "sm", "--truth", simulated / "truth", *TILT, "--json"
    )
    assert status == 0
    [scores] = json.loads(out.splitlines()[-1])["scores"].values()
    assert scores["s"] > 0.2
    assert "within" not in scores


def test_a_tomogram_is_cut_trained_on_and_restored_in_tiles(run: Run, tmp_path: Path):
    status, _, err = run(
        *("wedge", "simulate", "ribosome", "--tomogram", "32", "48", "48", "-n", "2", "--voxel", "26", "--snr", "1"),
        *(*TILT, "--out", tmp_path / "tomo.v1"),
    )
    assert status == 0, err
    even, odd = (tmp_path / "tomo.v1" / f"{half}.mrc" for half in ("even", "odd"))
    more = ("--steps", "2", "--size", "16", "--odd", odd)
    status, _, err = fit(run, even, "self-supervised", tmp_path, *more)
    assert status == 0, err
    status, _, err = run(
        "wedge", "restore", tmp_path / "run", even, "--odd", odd, "--out", tmp_path / "out", "--spread"
    )
    assert status == 0, err
    made, given = read_volume(tmp_path / "out" / "even.mrc"), read_volume(even)
    assert made.data.shape == (32, 48, 48)
    assert (made.voxel, made.origin) == (given.voxel, given.origin)
    # No dark border and no seams: an untrained network returns about what it is given.
    assert made.data.std() > 0.3 * given.data.std()
    assert np.abs(made.data[0]).mean() > 0.3 * np.abs(made.data[16]).mean()
    status, _, err = run(
        "wedge", "restore", tmp_path / "run", even, "--odd", odd, "--out", tmp_path / "out", "--memory", "1"
    )
    assert (status, "memory is 1 MiB, and a tile of 16 voxels takes" in err) == (2, True)


def volume(path: Path, data: np.ndarray | None = None, voxel: float = 10.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(path)))
    write_volume(path, Volume(rng.normal(size=(16, 16, 16)) if data is None else data, voxel))
    return path


def broken(tmp_path: Path, case: str) -> tuple[list[object], str]:
    """Arguments of ``gpgan wedge fit`` that are wrong, and what the error says."""
    folder = tmp_path / "data"
    for number in range(24):
        volume(folder / f"{number}.mrc")
    data: list[object] = [folder, *TILT]
    amortised = ["--amortised", "--method", "cryogen-2"]
    if case == "voxel sizes":
        volume(folder / "7.mrc", voxel=12.0)
        return data, "has voxels of 12 angstroms, and"
    if case == "no voxel size":
        with mrcfile.open(folder / "0.mrc", "r+") as file:
            file.voxel_size = 0
        return data, "has the voxel size 0 x 0 x 0 angstroms in its header; expected sizes above 0: pass --voxel"
    if case == "NaN":
        with mrcfile.open(folder / "3.mrc", "r+") as file:
            file.data[0, 0, 0] = np.nan
        return data, "NaN or infinite values"
    if case == "cut short":
        (folder / "3.mrc").write_bytes((folder / "3.mrc").read_bytes()[:-10])
        return data, "it ends before"
    if case == "odd side":
        for path in folder.iterdir():
            volume(path, np.random.default_rng(0).normal(size=(15, 15, 15)))
        return data, "holds volumes of 15 x 15 x 15 voxels; expected cubes with an even side"
    if case == "no tilt":
        return [folder], "--tilt is missing"
    if case == "reversed tilt":
        return [folder, "--tilt", "60", "-60"], "tilt is 60 to -60; expected the smaller angle first: -60 60"
    if case == "tilt of 100":
        return [folder, "--tilt", "-100", "60"], "expected angles from -90 to 90 degrees"
    if case == "no halves":
        return [*data, *amortised], "has no halves; expected the even and the odd half of each volume"
    if case == "halves of another size":
        for number in range(24):
            volume(tmp_path / "odd" / f"{number}.mrc", np.random.default_rng(number).normal(size=(12, 12, 12)))
        return [*data, *amortised, "--odd", tmp_path / "odd"], "24 volumes of 12 x 12 x 12, and"
    if case == "the same halves":
        return [*data, *amortised, "--odd", folder], "whose values are those of"
    if case == "few particles":
        return [*data, "--shared", "4"], "has 22 particles to train on; expected at least 32"
    if case == "no truth":
        return [*data, "--amortised", "--method", "supervised"], "truth is missing"
    if case == "a method without a way":
        return [*data, "--method", "supervised"], "which trains a network; expected --amortised with it"
    if case == "an unknown method":
        return [*data, "--method", "cryogen"], "--method is 'cryogen'; expected cryogen-1 or"
    raise AssertionError(case)


CASES = (
    *("voxel sizes", "no voxel size", "NaN", "cut short", "odd side", "no tilt", "reversed tilt", "tilt of 100"),
    *("no halves", "halves of another size", "the same halves", "few particles", "no truth", "a method without a way"),
    "an unknown method",
)


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_nothing_is_written(run: Run, tmp_path: Path, case: str):
    arguments, expected = broken(tmp_path, case)
    status, out, err = run("wedge", "fit", *arguments, "--out", tmp_path / "runs")
    if case in ("NaN", "cut short"):  # a file that cannot be read is skipped, as for all folders of data, or refused
        assert status == 2 or "skipped" in out + err
        return
    assert (status, out) == (2, ""), err
    assert expected in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["simulate"], "STRUCTURE is missing"),
        (["simulate", "ribosome"], "--out is missing"),
        (["simulate", "ribosome", "--out", "x"], "--tilt is missing"),
        (["simulate", "ribosome", "--out", "x", *TILT, "--voxel", "5", "--box", "68"], "the structure is known at 10"),
        (
            ["simulate", "ribosome", "--out", "x", *TILT, "--voxel", "0"],
            "voxel is 0 angstroms; expected a size above 0",
        ),
        (["simulate", "ribosome", "--out", "x", *TILT, "--box", "12"], "expected a box of"),
        (["simulat"], "VERB is 'simulat'"),
        (["restore"], "--out is missing"),
        (["restore", "--out", "x"], "0 paths given; expected RUN"),
        (["restore", "nothing", "--out", "x"], "nothing"),
        (["restore", "--baseline", "magic", "x", "--out", "x"], "--baseline is 'magic'"),
        (["eval"], "expected either RUN or --restored"),
        (["eval", "--restored", "x"], "--truth is missing"),
        (["fit"], "DATA is missing"),
    ],
)
def test_bad_commands_are_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
):
    monkeypatch.chdir(tmp_path)
    status, out, err = run("wedge", *arguments)
    assert (status, out) == (2, "")
    assert expected in err
    assert err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_a_mirrored_tilt_range_is_noticed(run: Run, tmp_path: Path):
    """Programs differ in the sign of a tilt: data of -40 to 60 that is read as -60 to 40."""
    given = ["ribosome", "--out", tmp_path / "sim", "-n", "24", "--voxel", "26", "--box", "16", "--snr", "1"]
    assert run("wedge", "simulate", *given, "--tilt", "-40", "60")[0] == 0
    star = tmp_path / "sim" / "particles.star"
    few = (*SMALL, "--steps", "2", "--task.poses", "4", "--out", tmp_path, "--name")
    _, out, err = run("wedge", "fit", star, "--tilt", "-60", "40", *few, "a")
    assert "use --tilt -40 60" in out + err
    _, out, err = run("wedge", "fit", star, "--tilt", "-40", "60", *few, "b")
    assert "opposite sign" not in out + err


def test_tiny_values_are_as_good_as_others(run: Run, simulated: Path, tmp_path: Path):
    """Loss 0.0000 and empty pictures came from values of 1e-8 in other programs."""
    for number in range(24):
        for half in ("even", "odd"):
            own = read_volume(simulated / half / f"{number + 1:06d}.mrc")
            (tmp_path / half).mkdir(exist_ok=True)
            write_volume(tmp_path / half / f"{number}.mrc", own.with_data(1e-9 * own.data))
    status, _, err = fit(run, tmp_path / "even", "cryowgen", tmp_path, "--steps", "2", "--odd", tmp_path / "odd")
    assert status == 0, err
    line = json.loads((tmp_path / "run" / "stats.jsonl").read_text().splitlines()[-1])
    assert 0.1 < line["transport_loss"] < 10
    assert run("wedge", "restore", tmp_path / "run", "--out", tmp_path / "out")[0] == 0
    with mrcfile.open(tmp_path / "out" / "0.mrc") as file:
        assert 1e-11 < file.header.rms < 1e-7
        assert file.header.dmax > file.header.dmin


def test_a_star_file_of_other_programs_with_dots_in_names(run: Run, simulated: Path, tmp_path: Path):
    """Files named by several dots, listed by a STAR file elsewhere in the project."""
    (tmp_path / "Extract").mkdir()
    names = []
    for number in range(24):
        name = f"TS_01.rec_bin.4_{number}.mrc"
        shutil.copy(simulated / "particles" / f"{number + 1:06d}.mrc", tmp_path / "Extract" / name)
        names.append(f"Extract/{name}")
    (tmp_path / "job").mkdir()
    star = tmp_path / "job" / "run.star"
    star.write_text("\ndata_particles\n\nloop_\n_rlnImageName #1\n" + "".join(f"{name}\n" for name in names))
    status, _, err = fit(run, star, "cryowgen", tmp_path, "--steps", "2")
    assert status == 0, err
    assert run("wedge", "restore", tmp_path / "run", "--out", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "TS_01.rec_bin.4_3.mrc").exists()


def test_inverted_contrast_is_noticed(run: Run, simulated: Path, tmp_path: Path):
    """Raw tomograms have dark particles; restorations of them would be of their surroundings."""
    for sign, name in ((-1, "dark"), (1, "bright")):
        folder = tmp_path / name
        folder.mkdir()
        for number in range(24):
            own = read_volume(simulated / "particles" / f"{number + 1:06d}.mrc")
            write_volume(folder / f"{number}.mrc", own.with_data(sign * own.data))
        _, out, err = fit(run, folder, "cryowgen", tmp_path / f"runs-{name}", "--steps", "2")
        assert ("multiply the files by -1" in out + err) == (sign < 0)


def test_relion_5_finds_what_it_needs_in_a_star_file(simulated: Path):
    """Its reader asks for these columns of subtomograms; without rlnVoltage it refuses a file as corrupt."""
    from gemmi import cif

    blocks = {block.name: block for block in cif.read(str(simulated / "particles.star"))}
    assert set(blocks) == {"general", "optics", "particles"}
    optics = {
        *("rlnOpticsGroup", "rlnOpticsGroupName", "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"),
        *("rlnTomoTiltSeriesPixelSize", "rlnImagePixelSize", "rlnImageSize", "rlnImageDimensionality"),
        "rlnCtfDataAreCtfPremultiplied",
    }
    assert all(len(blocks["optics"].find_values(f"_{name}")) == 1 for name in optics)
    particles = {
        *("rlnTomoName", "rlnTomoParticleName", "rlnImageName", "rlnCtfImage", "rlnOpticsGroup"),
        *(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ"),
        *(f"rlnAngle{name}" for name in ("Rot", "Tilt", "Psi")),
    }
    assert all(len(blocks["particles"].find_values(f"_{name}")) == 44 for name in particles)


def test_a_tilt_range_is_never_assumed(run: Run, simulated: Path, tmp_path: Path):
    status, _, err = run("train", simulated / "particles.star", "--task", "cryowgen", "--out", tmp_path)
    assert (status, "has no missing wedge; expected the tilt range: --tilt MIN MAX" in err) == (2, True)


def test_shared_volumes_restore_no_tomogram(run: Run, simulated: Path, tmp_path: Path):
    assert fit(run, simulated / "particles.star", "cryowgen", tmp_path, "--steps", "2")[0] == 0
    data = np.random.default_rng(0).normal(size=(24, 32, 32))
    path = volume(tmp_path / "tomogram.mrc", data, 26.0)
    status, _, err = run("wedge", "restore", tmp_path / "run", path, "--out", tmp_path / "out")
    assert (status, "or a run of --amortised for a tomogram" in err) == (2, True)
    assert not (tmp_path / "out").exists()
