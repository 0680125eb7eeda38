"""gpgan sample: the right network, the data's values, and reproducible by seed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import last_json

import gpgan
from gpgan.nn import build
from gpgan.records import checkpoint

ROOT = Path(gpgan.__file__).parent.parent


def array(cli, run, *arguments, out="a.npy"):
    path = run.parent / out
    status, _, err = cli("sample", run, "--out", path, *arguments)
    assert (status, err) == (0, "")
    return np.load(path)


def test_picture(cli, trained):
    run = trained()
    status, out, err = cli("sample", run, "--json")
    assert (status, err) == (0, "")
    assert f"64 samples at step 4: {run}/sample.png" in out
    assert last_json(out) == {"run": str(run), "out": str(run / "sample.png")}
    assert np.asarray(Image.open(run / "sample.png")).std() > 1
    again = (run / "sample.png").read_bytes()
    assert cli("sample", run)[0] == 0
    assert (run / "sample.png").read_bytes() == again
    assert cli("sample", run, "--seed", 1)[0] == 0
    assert (run / "sample.png").read_bytes() != again


def test_arrays_are_the_averaged_generators_in_the_values_of_the_data(cli, trained):
    run = trained()
    samples = array(cli, run, "-n", 300, "--seed", 5)
    assert (samples.shape, samples.dtype) == ((300, 1, 8, 8), np.float32)
    state = checkpoint.newest(run)[0]
    generator, _ = build("mlp", (1, 8, 8), latent=4, width=4, depth=3, rng=torch.Generator())
    generator.load_state_dict(state["average"])
    with torch.no_grad():
        wanted = generator(torch.randn(300, 4, generator=torch.Generator().manual_seed(5)))
    np.testing.assert_allclose(samples, wanted * 8 + 8, rtol=1e-5, atol=1e-5)
    # The data's original values: 0 to 16, not -1 to 1.
    assert 0 <= samples.min() < samples.max() <= 16
    assert 4 < samples.mean() < 12


def test_same_seed_same_bytes(cli, trained):
    run = trained("conv")
    files = []
    for name, seed in (("a.npy", 3), ("b.npy", 3), ("c.npy", 4)):
        torch.manual_seed(seed * 17)
        array(cli, run, "-n", 20, "--seed", seed, out=name)
        files.append((run.parent / name).read_bytes())
    assert files[0] == files[1] != files[2]


def test_samples_do_not_depend_on_how_many(cli, trained):
    """More than one batch; torch draws fewer than 16 normal numbers in a different order."""
    run = trained()
    np.testing.assert_allclose(array(cli, run, "-n", 600)[:100], array(cli, run, "-n", 100), rtol=1e-5, atol=1e-5)


def test_truncation_narrows(cli, trained):
    run = trained()
    spread = [
        array(cli, run, "-n", 500, *cut).std(0).mean() for cut in ([], ["--truncation", 1], ["--truncation", 0.1])
    ]
    assert spread[0] > 1.2 * spread[1] > 1.2 * 3 * spread[2] > 0


def test_truncation_cuts_the_latents(cli, tmp_path, monkeypatch, undrawn):
    """With a generator that returns its latents."""
    (tmp_path / "echo_network.py").write_text(
        "from torch import nn\nclass Echo(nn.Module):\n"
        "    def __init__(self, latent, shape):\n        super().__init__()\n        self.scale = nn.Parameter(nn.init.ones_(nn.Linear(1, 1, bias=False).weight)[0])\n"
        "    def forward(self, latents):\n        return latents * self.scale\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    np.save("points.npy", np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32))
    flags = [
        "--network.generator",
        "echo_network:Echo",
        "--network.latent",
        "3",
        "--steps",
        "1",
        "--n-critic",
        "1",
        "--batch",
        "8",
        "--optimizer.lr",
        "1e-9",
    ]
    assert cli("train", "points.npy", *flags, "--name", "mine")[0] == 0
    data = json.loads(Path("runs/mine/config.json").read_text())["data"]
    latents = (array(cli, Path("runs/mine"), "-n", 4000, "--truncation", 0.5) - data["offset"]) / data["scale"]
    assert 0.49 < np.abs(latents).max() <= 0.5 + 1e-5
    # A normal distribution truncated at 0.5 is nearly uniform: 0.5 / sqrt(3) = 0.289, exactly 0.2826.
    assert latents.std() == pytest.approx(0.2826, abs=0.01)


def test_conditional_runs_cycle_through_the_classes(cli, trained):
    run = trained("conditional")
    status, out, err = cli("sample", run, "-n", 25, "--out", run / "a.npy", "--seed", 2)
    assert (status, err) == (0, "")
    assert "classes in turn: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in out
    state = checkpoint.newest(run)[0]
    generator, _ = build("conv", (1, 8, 8), latent=4, width=4, depth=3, classes=10, rng=torch.Generator())
    generator.load_state_dict(state["average"])
    latents = torch.randn(25, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        right, wrong = (generator.eval()(latents, (torch.arange(25) + k) % 10) * 8 + 8 for k in (0, 1))
    samples = np.load(run / "a.npy")
    np.testing.assert_allclose(samples, right, rtol=1e-4, atol=1e-4)
    assert np.abs(samples - wrong.numpy()).max() > 1e-2


def test_points(cli, trained):
    run = trained("ring")
    samples = array(cli, run, "-n", 10)
    assert samples.shape == (10, 2)
    assert cli("sample", run, "-n", 10)[0] == 0
    assert np.asarray(Image.open(run / "sample.png")).std() > 1


def test_a_damaged_checkpoint_is_told(cli, trained):
    run = trained()
    (run / "checkpoints" / "latest.pt").write_bytes(b"damaged")
    status, out, err = cli("sample", run, "--out", run / "a.npy")
    assert (status, err.count("\n")) == (0, 1)
    assert err.endswith("; an older checkpoint is used\n")
    assert "64 samples at step 2" in out


def test_a_run_that_was_killed_still_samples(cli, tmp_path):
    command = [
        sys.executable,
        "-m",
        "gpgan",
        "train",
        "ring",
        "--out",
        str(tmp_path),
        "--name",
        "mine",
        "--checkpoint",
        "5",
    ]
    process = subprocess.Popen(
        [*command, "--batch", "32", "--n-critic", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 100
    while not (tmp_path / "mine" / "checkpoints" / "previous.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert not (tmp_path / "mine" / "samples.png").exists()
    assert array(cli, tmp_path / "mine", "-n", 7).shape == (7, 2)


BAD = {
    "no run": ([], "RUN is missing; expected a run's folder"),
    "none": (["{tmp}/none"], "{tmp}/none has no checkpoint; expected a run's folder"),
    "no samples": (["{run}", "-n", "0"], "n is 0; expected a whole number from 1 to 10000 for a .png file"),
    "a large picture": (["{run}", "-n", "10001"], "n is 10001; expected"),
    "a large array": (["{run}", "-n", "1000001", "--out", "{tmp}/a.npy"], "expected a whole number from 1 to 1000000 for a .npy"),
    "no number": (["{run}", "-n", "x"], "-n is 'x'; expected a whole number"),
    "seed": (["{run}", "--seed", "-1"], "seed is -1; expected a whole number from 0 to"),
    "large seed": (["{run}", "--seed", str(2**63)], "seed is 9223372036854775808; expected"),
    "kind": (["{run}", "--out", "{tmp}/a.jpg"], "a.jpg'; expected a file that ends in .png or .npy"),
    "no folder": (["{run}", "--out", "{tmp}/none/a.npy"], "No such file or directory"),
    "no folder for a picture": (["{run}", "--out", "{tmp}/none/a.png"], "No such file or directory"),
    "drawn and given": (["{run}", "--input", "{tmp}", "-n", "5"], "--input is given with -n, --seed or --truncation"),
    "truncation 0": (["{run}", "--truncation", "0"], "truncation is 0.0; expected"),
    "truncation below": (["{run}", "--truncation", "-1"], "truncation is -1.0; expected"),
    "truncation nan": (["{run}", "--truncation", "nan"], "truncation is nan; expected"),
    "truncation inf": (["{run}", "--truncation", "inf"], "truncation is inf; expected"),
    "unknown flag": (["{run}", "--truncate", "1"], "did you mean --truncation?"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(cli, trained, tmp_path, case):
    run = trained()
    before = sorted(tmp_path.rglob("*"))
    arguments, message = BAD[case]
    status, out, err = cli("sample", *[argument.format(run=run, tmp=tmp_path) for argument in arguments])
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message.format(tmp=tmp_path) in err
    assert sorted(tmp_path.rglob("*")) == before
