"""Every preset run from the command line: to its end, resumed to the same bits, and with the right settings recorded."""

import itertools
import json
import math
import re
import shutil
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from small_runs import last_json, numbers_of, without_pictures

from gpgan.cli import main
from gpgan.records import curves
from gpgan.settings.presets import presets_of
from gpgan.tasks.adversarial import adversarial_panels
from gpgan.tasks.configure import from_settings

# Of the presets' settings only sizes and the lazy interval are changed: every 2nd step has no penalty, among them the 4th,
# which is the first after the stop.
QUICK = [
    "--steps", "6", "--batch", "8", "--network.width", "4", "--network.latent", "4", "--tick", "3", "--checkpoint", "3",
    "--snapshot", "3", "--threads", "1",
]  # fmt: skip
MORE = {"stylegan-r1": ["--penalty.lazy", "2"]}
DATA = {
    "ring": ["ring"],
    "digits": ["digits", "--network.kind", "conv"],
    "resnet": ["digits", "--network.kind", "resnet"],
}
PRESETS = presets_of("generation")
RUNS = [*itertools.product(PRESETS, ("ring", "digits")), ("sngan", "resnet"), ("r3gan", "resnet")]
JS, W1 = ("Jensen-Shannon divergence", "JS"), ("Wasserstein-1 distance", "W1")
# Divergence and its symbol; the points of the gradient norm, if any, and its target.
SAYS = {
    "auto": (*W1, "at the interpolates", 1),
    "gan": (*JS, None, None),
    "nsgan": (*JS, None, None),
    "wgan": (*W1, None, None),
    "wgan-gp": (*W1, "at the interpolates", 1),
    "wgan-gp-toy": (*W1, "at the interpolates", 1),
    "wgan-lp": (*W1, "at the interpolates", 1),
    "dragan": (*JS, "at noisy real samples", 1),
    "lsgan": ("triangular discrimination", "TD", None, None),
    "sngan": ("total variation", "TV", None, None),
    "stylegan-r1": (*JS, "at real samples", 0),
    "r3gan": ("relativistic paired divergence", "RpD", "at real and fake samples", 0),
}


# Each source's settings, by the names of config.json, except lambda, and gamma / 2 for R1 and R2.
ADAM, SGD, RMSPROP = ({"optimizer.kind": kind} for kind in ("adam", "sgd", "rmsprop"))
GP = {"penalty.target": 1, "penalty.points": "between", "penalty.one_sided": False, "penalty.lazy": 1}
ZERO = {"penalty.target": 0, "penalty.one_sided": False}


def rates(lr, beta1, beta2):
    return {"optimizer.lr": lr, "optimizer.beta1": beta1, "optimizer.beta2": beta2}


PAPERS = {
    # 1406.2661 and its code for MNIST: minibatches of 100, momentum 0.5 at first; one critic step.
    "gan": {"objective": "minimax", "n_critic": 1, "batch": 100, "penalty.weight": 0, **SGD, "optimizer.beta1": 0.5},
    # 1511.06434, section 4: Adam 0.0002 with beta1 0.5, minibatches of 128.
    "nsgan": {"objective": "non-saturating", "n_critic": 1, "batch": 128, "penalty.weight": 0, **ADAM, **rates(2e-4, 0.5, 0.999)},
    # 1701.07875, algorithm 1: alpha 0.00005, c 0.01, m 64, n_critic 5, RMSProp.
    "wgan": {
        "objective": "wasserstein", "n_critic": 5, "batch": 64, "penalty.weight": 0, "weight_clip": 0.01, **RMSPROP,
        "optimizer.lr": 5e-5,
    },
    # 1704.00028, algorithm 1: lambda 10, n_critic 5, alpha 0.0001, beta1 0, beta2 0.9; m 64.
    "wgan-gp": {
        "objective": "wasserstein", "n_critic": 5, "batch": 64, "penalty.weight": 10, **GP, **ADAM, **rates(1e-4, 0, 0.9),
        "optimizer.schedule": "linear", "steps": 100_000, "network.latent": 128,
    },
    # Its code, gan_toy.py: DIM 512, LAMBDA .1, CRITIC_ITERS 5, BATCH_SIZE 256, ITERS 100000; Adam 1e-4, 0.5, 0.9; 2 latents.
    "wgan-gp-toy": {
        "objective": "wasserstein", "n_critic": 5, "batch": 256, "penalty.weight": 0.1, **GP, **ADAM, **rates(1e-4, 0.5, 0.9),
        "optimizer.schedule": "constant", "steps": 100_000, "network.latent": 2, "network.width": 512, "network.depth": 3,
        "network.kind": "mlp",
    },
    # 1709.08894: max(0, |grad| - 1)^2 in place of the two-sided penalty.
    "wgan-lp": {
        "objective": "wasserstein", "n_critic": 5, "batch": 64, "penalty.weight": 10, **GP, "penalty.one_sided": True, **ADAM,
        **rates(1e-4, 0, 0.9),
    },
    # 1705.07215's code: mb_size 128, lambd 10, Adam 1e-4, 0.5, 0.9, one critic step, noise around the data.
    "dragan": {
        "objective": "non-saturating", "n_critic": 1, "batch": 128, "penalty.weight": 10, **GP, "penalty.points": "noisy", **ADAM,
        **rates(1e-4, 0.5, 0.9),
    },
    # 1611.04076, section 4: Adam with beta1 0.5.
    "lsgan": {"objective": "least-squares", "n_critic": 1, "batch": 64, "penalty.weight": 0, **ADAM, **rates(2e-4, 0.5, 0.999)},
    # 1802.05957, section 4: n_dis 5, alpha 0.0002, beta1 0, beta2 0.9 for residual networks, batch 64, hinge.
    "sngan": {
        "objective": "hinge", "n_critic": 5, "batch": 64, "penalty.weight": 0, "network.spectral_norm": True, **ADAM,
        **rates(2e-4, 0, 0.9),
    },
    # 1812.04948, appendix C: R1 with gamma 10; beta1 0, beta2 0.99. 1912.04958, appendix B: every 16 steps.
    "stylegan-r1": {
        "objective": "non-saturating", "n_critic": 1, "batch": 32, "penalty.weight": 10 / 2, **ZERO, "penalty.points": "real",
        "penalty.lazy": 16, **ADAM, **rates(1e-3, 0, 0.99),
    },
    # 2501.05441: relativistic, R1 and R2 of the same gamma; the mean over both batches is half of their sum.
    "r3gan": {
        "objective": "relativistic", "n_critic": 1, "batch": 256, "penalty.weight": 2 * 1 / 2, **ZERO, "penalty.points": "both",
        "penalty.lazy": 1, **ADAM, **rates(2e-4, 0, 0.9),
    },
}  # fmt: skip


@pytest.mark.parametrize("preset", PAPERS)
@pytest.mark.parametrize("data", ["digits", "images.npy"])
def test_presets_are_the_papers(cli, tmp_path, preset, data):
    """Whatever the defaults for the data are."""
    if data != "digits":
        data = tmp_path / data
        np.save(data, np.random.default_rng(0).integers(0, 255, (512, 16, 16), dtype=np.uint8))
    status, out, err = cli("train", data, "--preset", preset, "--out", tmp_path, "--dry-run")
    assert (status, err) == (0, "")
    config = json.loads(out)
    flat = {
        f"{tree}.{name}": value for tree in ("network", "penalty", "optimizer") for name, value in config[tree].items()
    }
    flat |= config
    # The critic is regularised only as in the paper.
    wanted = {"preset": preset, "weight_clip": 0, "network.spectral_norm": False, "pack": 1, "network.norm": "none"}
    wanted |= {"optimizer.clip": 0, "optimizer.schedule": "constant", **PAPERS[preset]}
    assert {name: flat[name] for name in wanted} == wanted


def test_every_preset_is_in_the_tables():
    assert set(SAYS) == set(PRESETS) == {"auto", *PAPERS}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder and the output of a preset's run of 6 steps on some data."""
    made = {}

    def trained(preset, data, *more):
        key = (preset, data, *more)
        if key not in made:
            out = tmp_path_factory.mktemp("runs")
            with pytest.MonkeyPatch.context() as patch:
                without_pictures(patch)
                arguments = [
                    "--preset",
                    preset,
                    *QUICK,
                    *MORE.get(preset, []),
                    *more,
                    "--out",
                    str(out),
                    "--name",
                    "run",
                ]
                assert main(["train", *DATA[data], *arguments]) == 0
            made[key] = out / "run"
        return made[key]

    return trained


def state_of(run):
    """The content of a checkpoint, without times."""
    state = torch.load(run / "checkpoints" / "latest.pt", weights_only=True)
    return {name: value for name, value in state.items() if name not in ("seconds", "cpu_seconds", "sha256")}


def same(a, b):
    """Whether two trees of tensors and plain values are equal in every bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.parametrize(("preset", "data"), RUNS)
def test_every_preset_runs_and_resumes_to_the_same_bits(cli, trained, undrawn, tmp_path, preset, data):
    run = trained(preset, data)
    lines = numbers_of(run)
    assert [line["step"] for line in lines] == [3, 6]
    penalised = SAYS[preset][2] is not None
    for line in lines:
        known = [line[name] for name in ("critic_loss", "generator_loss", "estimate", "held_out")]
        measured = [line[name] for name in ("penalty", "norm_mean", "norm_std", "norm_max")]
        assert all(map(math.isfinite, [*known, *(measured if penalised else [])]))
        assert penalised or measured == [None] * 4

    other = tmp_path / "other"
    shutil.copytree(run, other)
    (other / "checkpoints" / "latest.pt").unlink()
    (other / "generator.safetensors").unlink()
    status, out, err = cli("resume", other)
    assert (status, err) == (0, "")
    assert f"resuming {other} at step 3" in out
    assert same(state_of(other), state_of(run))
    assert numbers_of(other) == lines
    weights = [(each / "generator.safetensors").read_bytes() for each in (run, other)]
    assert weights[0] == weights[1]


def test_another_phase_or_noise_would_show(trained):
    """The comparison in the test above notices runs that differ in one number."""
    states = [state_of(trained("dragan", "ring", *more)) for more in ([], ["--seed", "1"])]
    assert same(states[0], states[0])
    assert not same(states[0]["critic"], states[1]["critic"])
    one, other = (state_of(trained("stylegan-r1", "ring", *more)) for more in ([], ["--penalty.lazy", "3"]))
    assert one["critic_step"]["steps"] == 6
    assert not same(one["critic"], other["critic"])


@pytest.mark.parametrize("preset", PRESETS)
def test_curves_and_lines_say_what_is_measured(trained, monkeypatch, preset):
    divergence, symbol, where, target = SAYS[preset]
    run = trained(preset, "ring")
    figures = []

    class Recorded(curves.Figure):
        def savefig(self, *args, **kwargs):
            figures.append(self.axes)

    monkeypatch.setattr(curves, "Figure", Recorded)
    _, config = from_settings(json.loads((run / "config.json").read_bytes())["config"])
    curves.Curves(run, adversarial_panels(config)).draw()
    [[distance, norm, loss]] = figures
    assert [text.get_text() for text in distance.texts[:1]] == [f"The critic's estimate of the {divergence}"]
    assert distance.get_ylabel() == symbol
    wanted = [f"Gradient norm {where}"] if where else ["Gradient norm", "not computed without a penalty"]
    assert [text.get_text() for text in norm.texts[: len(wanted)]] == wanted
    levels = [line.get_label() for line in norm.lines if line.get_linestyle() == "--"]
    assert levels == ([] if target is None else [f"target {target}"])
    assert ("penalty (part of the critic's)" in loss.get_legend_handles_labels()[1]) == (where is not None)
    told = [line.split("  ", 1)[1] for line in (run / "log.txt").read_text("utf-8").splitlines()]
    steps = [line for line in told if line.startswith("step ")]
    number = r"-?\d+\.\d{3}"
    assert [bool(re.match(rf"step \d  {symbol} {number} \(held out {number}\)  ", line)) for line in steps] == [
        True
    ] * 2
    assert [("penalty" in line and "|grad|" in line) for line in steps] == [where is not None] * 2


# A critic that sees packs, and one with spectral normalisation.
MEASURED = [
    ("nsgan", "digits", ["--pack", "4"]),
    ("wgan-gp", "ring", ["--pack", "2"]),
    ("sngan", "digits", []),
    ("sngan", "ring", []),
]


@pytest.mark.parametrize(("preset", "data", "more"), MEASURED)
def test_eval_and_sample(cli, trained, undrawn, tmp_path, monkeypatch, preset, data, more):
    run = tmp_path / "run"
    shutil.copytree(trained(preset, data, *more), run)
    before = (run / "checkpoints" / "latest.pt").read_bytes()
    monkeypatch.setattr("gpgan.cli.eval.write_report", MagicMock())
    status, out, err = cli("eval", run, "-n", 60, "--json")
    assert (status, err) == (0, "")
    metrics = last_json(out)
    assert all(math.isfinite(metrics["coverage"][name]) for name in ("score", "floor"))
    assert (metrics["coverage"]["n"], metrics["gradient_norm"]["score"] > 0) == (60, True)
    if preset == "sngan" and data == "ring":  # a perceptron of weights of norm 1, and of LeakyReLU
        assert metrics["gradient_norm"]["details"]["max"] < 1.2
    line = json.loads((run / "metrics.jsonl").read_text("utf-8").splitlines()[-1])
    assert (line["step"], line["metrics"]) == (6, metrics)
    assert cli("eval", run, "-n", 2)[0] == 0  # fewer than a pack

    status, out, err = cli("sample", run, "-n", 7, "--out", tmp_path / "x.npy")
    assert (status, err) == (0, "")
    samples = np.load(tmp_path / "x.npy")
    assert samples.shape == ((7, 2) if data == "ring" else (7, 1, 8, 8))
    assert np.isfinite(samples).all()
    assert len(np.unique(samples.reshape(7, -1), axis=0)) == 7
    assert (run / "checkpoints" / "latest.pt").read_bytes() == before


@pytest.mark.parametrize(("preset", "more"), [("sngan", []), ("nsgan", ["--pack", "2"])])
def test_once_with_all_pictures(cli, tmp_path, preset, more):
    """The critic's contour lines are drawn if it scores single points, and not if it scores packs."""
    status, _, err = cli("train", "ring", "--preset", preset, *QUICK, *more, "--out", tmp_path, "--name", "run")
    assert (status, err) == (0, "")
    for name in ("curves.png", "samples.png", "fakes_000006.png", "reals.png", "fakes.gif", "report.html"):
        assert (tmp_path / "run" / name).stat().st_size > 500, name
