"""Fixtures that run command lines, and finished runs to use them on."""

import shutil

import pytest
from small_runs import without_pictures

from gpgan.cli import main

QUICK = [
    "--steps", "4", "--batch", "8", "--n-critic", "1", "--network.width", "4", "--network.latent", "4", "--tick", "2",
    "--checkpoint", "2", "--threads", "1", "--eval", "0",
]  # fmt: skip

RUNS = {
    "digits": ["digits"],
    "conv": ["digits", "--network.kind", "conv"],
    "conditional": ["digits", "--network.kind", "conv", "--conditional"],
    "ring": ["ring"],
}


@pytest.fixture
def cli(capsys, monkeypatch):
    """Runs a command line and returns (exit status, stdout, stderr)."""
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it

    def cli(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return (status, *capsys.readouterr())

    return cli


@pytest.fixture
def quick():
    """Flags for a short run."""
    return list(QUICK)


@pytest.fixture
def undrawn(monkeypatch):
    """No pictures, which take far longer than the short runs."""
    without_pictures(monkeypatch)


@pytest.fixture(scope="session")
def _trained(tmp_path_factory):
    made = {}

    def trained(kind):
        if kind not in made:
            with pytest.MonkeyPatch.context() as patch:
                without_pictures(patch)
                out = tmp_path_factory.mktemp("trained")
                assert main(["train", *RUNS[kind], *QUICK, "--out", str(out), "--name", kind]) == 0
            made[kind] = out / kind
        return made[kind]

    return trained


@pytest.fixture
def trained(_trained, tmp_path):
    """A copy of a finished run of 4 steps: digits (mlp), conv, conditional or ring."""

    def trained(kind="digits"):
        copy = tmp_path / "runs" / kind
        shutil.copytree(_trained(kind), copy)
        return copy

    return trained
