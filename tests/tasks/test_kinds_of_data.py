"""Every kind of data trains, is drawn, sampled and measured through the same code."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import gpgan
from gpgan.cli import main
from gpgan.data import Dataset
from gpgan.data.kinds import KINDS
from gpgan.training.trainer import Trainer

SHAPES = {"points": (3,), "signals": (2, 256), "images": (1, 16, 16), "volumes": (1, 6, 6, 6)}


def test_these_are_all_kinds():
    assert set(SHAPES) == {kind.name for kind in KINDS}


@pytest.mark.parametrize("kind", SHAPES)
def test_a_run_from_the_command(tmp_path, capsys, kind):
    array = np.random.default_rng(0).random((40, *SHAPES[kind])).astype(np.float32)
    np.save(tmp_path / "a.npy", array)
    few = ["--steps", "2", "--batch", "8", "--n-critic", "1", "--tick", "1", "--network.width", "4", "--threads", "1"]
    assert main(["train", str(tmp_path / "a.npy"), *few, "--out", str(tmp_path), "--name", "run"]) == 0
    assert f"36 {kind} of {' x '.join(map(str, SHAPES[kind]))} and 4 held out" in capsys.readouterr().out
    run = tmp_path / "run"
    for name in ("reals.png", "fakes_init.png", "samples.png", "curves.png"):
        with Image.open(run / name) as picture:
            assert picture.width > 50
    assert (run / "fakes.gif").exists() == (kind == "points")
    assert main(["sample", str(run), "-n", "5", "--out", str(tmp_path / "b.npy")]) == 0
    assert np.load(tmp_path / "b.npy").shape == (5, *SHAPES[kind])
    assert main(["eval", str(run), "-n", "4", "--json", "--features", "raw", "--metrics", "w1,kd"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["w1"]["score"] > 0


def test_long_signals_have_small_networks_that_upsample(tmp_path):
    """As one-row images they had 4 million weights in one layer."""
    dataset = Dataset("sound", torch.rand(30, 1, 16384) * 2 - 1)
    trainer = Trainer(gpgan.configure("sound", dataset, out=tmp_path, threads=1, batch=4), dataset=dataset)
    assert trainer.config.network.kind == "conv"
    for network in (trainer.generator, trainer.critic):
        assert sum(p.numel() for p in network.parameters()) < 1_000_000
        assert max(p.numel() for p in network.parameters()) < 100_000
    assert sum(isinstance(layer, nn.ConvTranspose1d) for layer in trainer.generator.modules()) == 12
    assert trainer.sampler(torch.randn(2, 64)).shape == (2, 1, 16384)
