"""gpgan export: its files work without gpgan, at any batch size, and damaged files are detected."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gpgan.records import checkpoint

# Uses only torch and safetensors; the weights are loaded into the program's state.
ELSEWHERE = """
import json
import sys
for name in ("gpgan", "gpgan.nn", "gpgan.training", "sklearn"):
    sys.modules[name] = None
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
for folder in sys.argv[1:]:
    program = torch.export.load(f"{folder}/generator.pt2")
    with safe_open(f"{folder}/generator.safetensors", "pt") as file:
        latent = json.loads(file.metadata()["gpgan"])["latent"]
    weights = load_file(f"{folder}/generator.safetensors")
    state = program.state_dict
    assert weights.keys() == state.keys(), (weights.keys(), state.keys())
    assert all(torch.equal(weights[name], state[name]) for name in weights)
    latents = torch.randn(13, latent, generator=torch.Generator().manual_seed(0))
    labels = [torch.arange(13) % 10] if "conditional" in folder else []
    module = program.module()
    samples = module(latents, *labels)
    one = module(latents[:1], *[each[:1] for each in labels])
    assert one.shape[0] == 1
    np.save(f"{folder}/elsewhere.npy", samples.detach().numpy())
    print(folder)
assert not any(name.startswith("gpgan") and module for name, module in sys.modules.items())
"""


def test_what_is_written_works_without_gpgan(cli, trained, tmp_path):
    folders = []
    for kind in ("digits", "conv", "conditional", "ring"):
        run = trained(kind)
        folder = tmp_path / f"exported {kind}"
        status, out, err = cli("export", run, "--out", folder)
        assert (status, err) == (0, "")
        assert f"generator of step 4: {folder}/generator.safetensors" in out
        assert f"{folder}/generator.pt2; its samples differ from the generator's by at most " in out
        assert sorted(path.name for path in folder.iterdir()) == ["generator.pt2", "generator.safetensors"]
        folders.append(folder)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *map(str, folders)], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stdout.splitlines()) == (0, [str(folder) for folder in folders]), done.stderr
    for kind, folder in zip(("digits", "conv", "conditional", "ring"), folders, strict=True):
        assert cli("sample", tmp_path / "runs" / kind, "-n", 13, "--out", tmp_path / "a.npy")[0] == 0
        wanted, samples = np.load(tmp_path / "a.npy"), np.load(folder / "elsewhere.npy")
        scale, offset = (1.0, 0.0) if kind == "ring" else (8.0, 8.0)
        np.testing.assert_allclose(samples * scale + offset, wanted, rtol=1e-4, atol=1e-4)


def test_into_the_runs_own_folder(cli, trained):
    run = trained()
    assert cli("export", run)[0] == 0
    weights = load_file(run / "export" / "generator.safetensors")
    average = checkpoint.newest(run)[0]["average"]
    assert weights.keys() == average.keys()
    assert all(torch.equal(value, average[name]) for name, value in weights.items())
    # Again, overwriting the files.
    assert cli("export", run)[0] == 0


def test_a_checkpoint_that_is_damaged_is_told(cli, trained):
    run = trained()
    (run / "checkpoints" / "latest.pt").write_bytes(b"damaged")
    status, out, err = cli("export", run)
    assert (status, err.count("\n")) == (0, 1)
    assert "generator of step 2" in out
    assert "an older checkpoint is used" in err


def other_weights(path):
    weights = load_file(path)
    next(iter(weights.values())).view(-1)[0] += 1e-3
    save_file(weights, path)


def fewer_weights(path):
    weights = load_file(path)
    weights.popitem()
    save_file(weights, path)


def other_program(path):
    program = torch.export.load(path)
    with torch.no_grad():
        next(iter(program.state_dict.values())).add_(1e-2)
    torch.export.save(program, path)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("generator.safetensors", other_weights),
        ("generator.safetensors", fewer_weights),
        ("generator.pt2", other_program),
    ],
)
def test_a_damaged_file_is_noticed(cli, trained, monkeypatch, name, damage):
    """The file changes between writing and reading it back."""
    from gpgan.cli import export

    write = export.write

    def damaging(path, save):
        write(path, save)
        if path.name == name:
            damage(path)

    monkeypatch.setattr(export, "write", damaging)
    run = trained()
    status, out, err = cli("export", run)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert f"{run}/export was written, but does not reproduce the generator's samples; do not use it" in err


def test_bad_input_is_one_line(cli, trained, tmp_path):
    run = trained()
    (tmp_path / "file").touch()
    cases = {
        (): "RUN is missing; expected a run's folder",
        (tmp_path / "none",): "has no checkpoint; expected a run's folder",
        (run, "--out", tmp_path / "file"): "File exists",
        (run, "--uot", tmp_path): "did you mean --out?",
        (run, "--steps", "3"): "unrecognized arguments: --steps 3",
    }
    for arguments, message in cases.items():
        status, out, err = cli("export", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert message in err
    assert not (run / "export").exists()


def test_networks_that_only_their_own_code_can_build(cli, tmp_path, undrawn):
    from small_runs import small
    from torch import nn

    from gpgan import Dataset, Trainer

    dataset = Dataset("mine", torch.randn(30, 2))
    config = small(tmp_path, "mine", dataset, steps=1, name="own")
    Trainer(config, dataset=dataset, generator=nn.Linear(4, 2), critic=nn.Linear(2, 1)).fit()
    for command in (["export"], ["sample", "--out", tmp_path / "a.npy"]):
        status, out, err = cli(command[0], tmp_path / "own", *command[1:])
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "was trained with custom networks passed as objects" in err


def test_a_network_that_is_no_program(cli, tmp_path, undrawn, monkeypatch):
    """A generator whose forward depends on a sample's value cannot be traced; its weights are still written."""
    from small_runs import small

    from gpgan import Trainer

    (tmp_path / "asking.py").write_text(
        "import torch\n"
        "class Generator(torch.nn.Linear):\n"
        "    def __init__(self, latent, shape):\n"
        "        super().__init__(latent, *shape)\n"
        "    def forward(self, latents):\n"
        "        samples = super().forward(latents)\n"
        "        return samples if float(samples.detach().sum()) > 0 else -samples\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    Trainer(small(tmp_path, "ring", steps=1, name="own", **{"network.generator": "asking:Generator"})).fit()
    status, out, err = cli("export", tmp_path / "own")
    assert (status, out) == (2, "")
    # torch.export logs its own messages before it.
    assert err.splitlines()[-1].startswith("gpgan: torch.export cannot export the generator")
    assert sorted(path.name for path in (tmp_path / "own" / "export").iterdir()) == ["generator.safetensors"]
