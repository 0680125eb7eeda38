"""gpgan eval: its numbers compared with direct computations."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from small_runs import last_json

from gpgan.data import load, split
from gpgan.nn import build
from gpgan.records import checkpoint

COUNT = 60


def networks(run, kind, shape, latent, width, classes=0):
    """The saved generator (the average) and critic."""
    state = checkpoint.newest(run)[0]
    generator, critic = build(kind, shape, latent=latent, width=width, depth=3, classes=classes, rng=torch.Generator())
    generator.load_state_dict(state["average"])
    critic.load_state_dict(state["critic"])
    return generator.eval(), critic.eval()


def evaluated(cli, run, *arguments):
    status, out, err = cli("eval", run, "--json", *arguments)
    assert (status, err) == (0, "")
    metrics = json.loads((run / "eval.json").read_text("utf-8"))
    assert last_json(out) == {"run": str(run), **metrics}
    return metrics, out


def test_numbers_of_digits(cli, trained):
    run = trained()
    metrics, out = evaluated(cli, run, "-n", COUNT, "--seed", 7)
    generator, _ = networks(run, "mlp", (1, 8, 8), 4, 4)
    with torch.no_grad():
        fakes = generator(torch.randn(COUNT, 4, generator=torch.Generator().manual_seed(7))).flatten(1)
    held_out = split(load("digits"))
    held_out = held_out.scaled(held_out.held_out).flatten(1)
    real = held_out[torch.randperm(len(held_out), generator=torch.Generator().manual_seed(7))[:COUNT]]
    # Equal counts: the optimal transport is an assignment.
    costs = cdist(fakes.double(), real.double())
    assert metrics["w1"] == pytest.approx(costs[linear_sum_assignment(costs)].mean(), rel=1e-9)
    assert (metrics["step"], metrics["samples"], metrics["reals"], metrics["reals_held_out"]) == (4, COUNT, COUNT, True)
    assert 0 < metrics["w1_floor"] < metrics["w1"]
    assert f"W1             {metrics['w1']:.4f}  exact, between 60 generated and as many real samples, held out" in out
    assert "modes" not in out
    assert not any(name.startswith("modes") for name in metrics)


def test_the_floor_is_between_real_samples(cli, trained):
    """The floor is the distance between two random sets of 179 of the 1618 training digits."""
    metrics, _ = evaluated(cli, trained())
    assert (metrics["samples"], metrics["reals"]) == (2500, 179)
    data = split(load("digits")).samples().flatten(1).double()
    floors = []
    for seed in range(5):
        drawn = data[torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:358]]
        costs = cdist(drawn[:179], drawn[179:])
        floors.append(costs[linear_sum_assignment(costs)].mean())
    assert metrics["w1_floor"] == pytest.approx(np.mean(floors), abs=6 * np.std(floors))


@pytest.mark.parametrize("kind", ["digits", "conditional"])
def test_gradient_norms(cli, trained, kind):
    """Gradient norms between real and fake samples: the largest is a slope of the critic, and the mean is below it."""
    run = trained(kind)
    metrics, _ = evaluated(cli, run, "-n", COUNT, "--seed", 3)
    classes = 10 if kind == "conditional" else 0
    generator, critic = networks(run, "mlp" if kind == "digits" else "conv", (1, 8, 8), 4, 4, classes)
    data, rng = split(load("digits")), torch.Generator().manual_seed(3)
    torch.randperm(len(data.held_out), generator=rng)
    torch.randperm(len(data), generator=rng)
    chosen = torch.randperm(len(data), generator=rng)[:COUNT]
    labels = (data.labels[chosen],) if classes else ()
    with torch.no_grad():
        fakes = generator(torch.randn(COUNT, 4, generator=torch.Generator().manual_seed(3)), *labels)
    alpha = torch.rand(COUNT, generator=torch.Generator().manual_seed(3)).view(-1, 1, 1, 1)
    points = (alpha * data.samples(chosen) + (1 - alpha) * fakes).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(points, *labels).sum(), points)
    norms = gradient.flatten(1).norm(dim=1).double()
    wanted = {"norm_mean": norms.mean(), "norm_std": norms.std(correction=0), "norm_max": norms.max()}
    for name, value in wanted.items():
        assert metrics[name] == pytest.approx(float(value), rel=1e-4), name


def test_ring_has_modes(cli, trained):
    run = trained("ring")
    metrics, out = evaluated(cli, run, "-n", 200, "--seed", 2)
    generator, _ = networks(run, "mlp", (2,), 4, 4)
    with torch.no_grad():
        samples = generator(torch.randn(200, 4, generator=torch.Generator().manual_seed(2)))
    angles = torch.arange(8) * math.pi / 4
    distances = torch.cdist(samples, torch.stack([angles.cos(), angles.sin()], 1))
    near, mode = distances.min(1)
    good = mode[near <= 3 * 0.01]
    assert metrics["modes_modes"] == 8
    assert metrics["modes_captured"] == len(good.unique())
    assert metrics["modes_high_quality"] == pytest.approx(len(good) / 200)
    assert f"modes          {metrics['modes_captured']} of 8" in out
    if not len(good):
        assert metrics["modes_reverse_kl"] is None


def test_ring_of_a_perfect_generator(cli, trained, monkeypatch):
    """All modes, evenly covered, nearly all samples within three standard deviations: 1 - exp(-9 / 2) = 0.9889; and W1 at its floor."""
    data = load("ring")
    monkeypatch.setattr(
        "gpgan.tasks.generation.task.run_sampler",
        lambda sampler, inputs, batch: data.samples(slice(500, 500 + len(inputs[0]))),
    )
    metrics, _ = evaluated(cli, trained("ring"), "-n", 1000)
    assert metrics["modes_captured"] == 8
    assert metrics["modes_high_quality"] == pytest.approx(0.9889, abs=0.015)
    assert metrics["modes_reverse_kl"] < 0.02
    assert metrics["w1"] < 2 * metrics["w1_floor"] < 0.3


@pytest.mark.parametrize("shape", [(1, 6, 6, 6), (3, 8, 8), (1,)], ids=["volumes", "colours", "numbers"])
def test_samples_of_other_shapes(cli, tmp_path, quick, undrawn, shape):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (40, *shape), dtype=np.uint8))
    assert cli("train", tmp_path / "a.npy", *quick, "--out", tmp_path, "--name", "mine")[0] == 0
    metrics, _ = evaluated(cli, tmp_path / "mine", "-n", 30)
    assert metrics["reals"] == 4
    assert 0 < metrics["w1"] < 50


def test_the_page_has_the_numbers(cli, trained):
    run = trained()
    metrics, _ = evaluated(cli, run, "-n", 20)
    page = (run / "report.html").read_text("utf-8")
    for name in ("w1", "w1_floor", "norm_mean"):
        assert str(metrics[name])[:5] in page


def test_same_seed_same_numbers(cli, trained):
    run = trained("ring")
    first, again, other = (evaluated(cli, run, "-n", 50, "--seed", seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first["w1"] != other["w1"]


BAD = {
    "no run": ([], "RUN is missing; expected a run's folder"),
    "none": (["{tmp}/none"], "{tmp}/none has no checkpoint"),
    "one sample": (["{run}", "-n", "1"], "n is 1; expected a whole number from 2 to 10000"),
    "many samples": (["{run}", "-n", "10001"], "n is 10001; expected"),
    "seed": (["{run}", "--seed", "-1"], "seed is -1; expected a whole number from 0 to"),
    "unknown flag": (["{run}", "--sed", "1"], "did you mean --seed?"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(cli, trained, tmp_path, case):
    run = trained()
    arguments, message = BAD[case]
    status, out, err = cli("eval", *[argument.format(run=run, tmp=tmp_path) for argument in arguments])
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message.format(tmp=tmp_path) in err
    assert not (run / "eval.json").exists()


def test_data_that_changed(cli, tmp_path, quick, undrawn):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(30, 2)))
    assert cli("train", tmp_path / "a.npy", *quick, "--out", tmp_path, "--name", "mine")[0] == 0
    np.save(tmp_path / "a.npy", np.random.default_rng(1).normal(size=(30, 2)))
    status, out, err = cli("eval", tmp_path / "mine")
    assert (status, out) == (2, "")
    assert f"the data of {tmp_path}/mine changed since it was saved; expected the same data: {tmp_path}/a.npy" in err
