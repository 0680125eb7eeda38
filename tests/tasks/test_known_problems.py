"""Warnings of known problems: given if they apply and only then; the run continues."""

import math
import warnings

import pytest
import torch
from small_runs import small, stats_of, without_pictures
from torch import nn

from gpgan.cli import main
from gpgan.data import Dataset
from gpgan.nn.spectral import spectral_norm
from gpgan.settings.presets import PRESETS, presets_of
from gpgan.tasks.adversarial import describe_critic, largest_distance
from gpgan.tasks.known_problems import known_problems
from gpgan.training.trainer import Trainer

POINTS = Dataset("points", torch.randn(60, 3, generator=torch.Generator().manual_seed(0)))
IMAGES = Dataset("images", torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
BATCH_NORM, ELU, OPEN, MOMENTUM = "BatchNorm and a gradient penalty", "ELU activations", "no lower bound", "momentum"
FREE = {"penalty.weight": 0.0}
CLIPPED = {**FREE, "weight_clip": 0.1}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    without_pictures(monkeypatch)


def of(*layers):
    return nn.Sequential(nn.Flatten(), nn.Linear(3, 4), *layers, nn.Linear(4, 1))


CRITICS = {
    "plain": lambda: of(nn.ReLU()),
    "normalised": lambda: spectral_norm(of(nn.ReLU())),
    "batch": lambda: of(nn.BatchNorm1d(4), nn.LeakyReLU()),
    "synced": lambda: of(nn.SyncBatchNorm(4)),
    "group": lambda: of(nn.GroupNorm(1, 4), nn.SELU()),
    "elu": lambda: of(nn.Sequential(nn.ELU())),
    "both": lambda: of(nn.BatchNorm1d(4), nn.ELU()),
}
# critic, settings, warnings
CASES = [
    ("plain", {}, []),
    ("plain", {"objective": "minimax"}, []),
    ("group", {}, []),
    ("batch", {}, [BATCH_NORM]),
    ("synced", {}, [BATCH_NORM]),
    ("batch", {"objective": "hinge"}, [BATCH_NORM]),
    ("batch", {"penalty.points": "real", "penalty.lazy": 4}, [BATCH_NORM]),
    ("batch", {"objective": "hinge", **FREE}, []),
    ("elu", {}, [ELU]),
    ("elu", {"objective": "relativistic", "penalty.points": "both"}, [ELU]),
    ("elu", {"objective": "hinge", **FREE}, []),
    ("both", {}, [BATCH_NORM, ELU]),
    ("plain", FREE, [OPEN]),
    ("batch", FREE, [OPEN]),
    *(("plain", {"objective": name, **FREE}, []) for name in ("minimax", "non-saturating", "least-squares", "hinge")),
    ("plain", {"objective": "relativistic", **FREE}, []),
    ("normalised", FREE, []),
    ("plain", CLIPPED, []),
    ("plain", {**CLIPPED, "optimizer.beta1": 0.5}, [MOMENTUM]),
    ("plain", {**CLIPPED, "optimizer.beta1": 0.5, "objective": "hinge"}, [MOMENTUM]),
    ("plain", {**CLIPPED, "optimizer.beta1": 0.5, "optimizer.kind": "sgd"}, [MOMENTUM]),
    ("plain", {**CLIPPED, "optimizer.beta1": 0.5, "optimizer.kind": "rmsprop"}, []),
    ("plain", {"optimizer.beta1": 0.5}, []),
    ("plain", {**FREE, "optimizer.beta1": 0.5}, [OPEN]),
    ("plain", {**FREE, "objective": "hinge", "penalty.points": "real"}, ["which leaves penalty.points without effect"]),
    (
        "plain",
        {**CLIPPED, "penalty.target": 0.0, "penalty.one_sided": True},
        ["which leaves penalty.target and penalty.one-sided without effect"],
    ),
    ("plain", {"penalty.target": 0.0, "penalty.one_sided": True, "penalty.points": "both"}, []),
    ("normalised", {**FREE, "penalty.lazy": 4}, ["which leaves penalty.lazy without effect"]),
]


@pytest.mark.parametrize(("critic", "settings", "words"), CASES, ids=str)
def test_each_is_told_exactly_where_it_applies(tmp_path, critic, settings, words):
    problems = known_problems(small(tmp_path, "points", POINTS, **settings), CRITICS[critic]())
    assert len(problems) == len(words), problems
    assert all(word in problem for word, problem in zip(words, problems, strict=True))
    # Each names the fix.
    assert all("; use " in problem and "\n" not in problem for problem in problems)


# gpgan's own networks that a user may choose, with each preset.
NETWORKS = [
    (POINTS, {"network.kind": "mlp"}),
    (IMAGES, {"network.kind": "mlp"}),
    (IMAGES, {"network.kind": "conv"}),
    (IMAGES, {"network.kind": "resnet"}),
    (IMAGES, {"network.kind": "conv", "network.norm": "layer"}),
]


@pytest.mark.parametrize("preset", presets_of("generation"))
def test_no_preset_is_warned_of(tmp_path, preset):
    for dataset, network in NETWORKS:
        depth = {} if network["network.kind"] == "mlp" else {"network.depth": 3}
        config = small(tmp_path, dataset.name, dataset, preset=preset, n_critic=20, **network, **depth)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert Trainer(config, dataset=dataset).warnings == []


@pytest.mark.parametrize("preset", presets_of("generation"))
def test_batch_norm_in_the_critic_is_warned_of_where_a_preset_has_a_penalty(tmp_path, preset):
    settings = {"network.kind": "conv", "network.norm": "batch", "network.depth": 3, "n_critic": 20}
    config = small(tmp_path, "images", IMAGES, preset=preset, **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = Trainer(config, dataset=IMAGES)
    penalised = PRESETS[preset].get("penalty.weight", 10.0) > 0
    assert [BATCH_NORM in problem for problem in trainer.warnings] == [True] * penalised
    assert [str(warning.message) for warning in caught] == trainer.warnings


def test_each_is_one_user_warning_that_points_at_the_caller(tmp_path):
    config = small(tmp_path, "points", POINTS, **{**CLIPPED, "optimizer.beta1": 0.5})
    with pytest.warns(UserWarning, match="clipped weights") as caught:
        trainer = Trainer(config, dataset=POINTS)
    run = trainer.fit().run
    assert [str(warning.message) for warning in caught] == trainer.warnings
    assert len(trainer.warnings) == 1
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="clipped weights") as caught:
        Trainer.resume(run, steps=21, dataset=POINTS)
    assert len(caught) == 1


@pytest.mark.parametrize("kind", ["by name", "by object"])
@pytest.mark.parametrize("lazy", [1, 3])
def test_a_penalised_critic_with_batch_norm_trains(tmp_path, kind, lazy):
    """It gives a warning, not an error."""
    own = {"critic": CRITICS["batch"]()} if kind == "by object" else {}
    settings = {} if own else {"network.norm": "batch"}
    config = small(tmp_path, "points", POINTS, **settings, **{"penalty.lazy": lazy})
    with pytest.warns(UserWarning, match=BATCH_NORM):
        trainer = Trainer(config, dataset=POINTS, **own)
    before = {name: value.clone() for name, value in trainer.critic.state_dict().items()}
    assert trainer.fit().step == 20
    # Before a BatchNorm, and in the last layer, a bias changes no loss.
    moved = {name for name, value in trainer.critic.state_dict().items() if not torch.equal(value, before[name])}
    assert moved >= {name for name in before if not name.endswith("bias")}
    assert all(line["penalty"] > 0 and line["norm_mean"] > 0 for line in stats_of(trainer.run))


def told(text):
    return [line for line in text.splitlines() if "warning: " in line]


def test_on_the_command_line_and_in_the_log(tmp_path, capsys):
    arguments = ["ring", "--out", str(tmp_path), "--name", "a", "--penalty.weight", "0", "--network.width", "4"]
    arguments += ["--steps", "2", "--batch", "8", "--n-critic", "1", "--threads", "1", "--weight-clip", "0.1"]
    arguments += ["--optimizer.beta1", "0.5"]
    wanted = "warning: a critic with clipped weights trains unstably"

    assert main(["train", *arguments, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert [line[: len(wanted)] for line in err.splitlines()] == [wanted]
    assert told(out) == []
    assert list(tmp_path.iterdir()) == []

    assert main(["train", *arguments]) == 0
    out, err = capsys.readouterr()
    assert ([line[: len(wanted)] for line in told(out)], err) == ([wanted], "")
    [logged] = told((tmp_path / "a" / "log.txt").read_text("utf-8"))
    assert logged.split("  ", 1)[1] == told(out)[0]

    assert main(["resume", str(tmp_path / "a"), "--steps", "3"]) == 0
    out, err = capsys.readouterr()
    assert ([line[: len(wanted)] for line in told(out)], err) == ([wanted], "")
    assert len(told((tmp_path / "a" / "log.txt").read_text("utf-8"))) == 2


def test_nothing_is_told_of_a_run_without_problems(tmp_path, capsys):
    arguments = ["ring", "--out", str(tmp_path), "--name", "a", "--network.width", "4", "--steps", "2", "--batch", "8"]
    assert main(["train", *arguments, "--n-critic", "1", "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    assert (told(out), err) == ([], "")
    assert told((tmp_path / "a" / "log.txt").read_text("utf-8")) == []


class Flat(nn.Linear):
    def __init__(self):
        super().__init__(4, 64)

    def forward(self, latents):
        return super().forward(latents).reshape(-1, 1, 8, 8)


# settings, own networks, what is said to have no effect
IDLE = [
    ({"network.kind": "conv"}, {}, "network.depth is 2 and has no effect: network.kind is 'conv', whose depth follows"),
    ({"network.kind": "resnet"}, {}, "network.depth is 2 and has no effect: network.kind is 'resnet'"),
    ({"network.kind": "conv", "network.depth": 3}, {}, None),
    ({}, {}, None),
    ({}, {"critic": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 1))}, None),
    ({}, {"critic": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), "generator": Flat}, "both networks are your own"),
    ({"network.critic_depth": 3}, {"generator": Flat}, "both networks are your own"),
    ({"optimizer.kind": "rmsprop", "optimizer.beta1": 0.5}, {}, "optimizer.beta1 is 0.5 and has no effect: optimizer.kind is"),
    ({"optimizer.kind": "sgd", "optimizer.beta1": 0.5}, {}, None),
    ({"optimizer.kind": "sgd", "optimizer.beta2": 0.5}, {}, "optimizer.beta2 is 0.5 and has no effect: optimizer.kind is 'sgd'"),
    ({"optimizer.kind": "rmsprop", "optimizer.beta2": 0.5}, {}, None),
    ({"penalty.target": 0.0, "penalty.one_sided": True}, {}, "penalty.one-sided has no effect: penalty.target is 0"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "networks", "said"), IDLE)
def test_settings_without_effect_are_told(tmp_path, settings, networks, said):
    settings = small(tmp_path, "images", IMAGES, **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Trainer(settings, dataset=IMAGES, **{name: make() for name, make in networks.items()})
    told = [str(warning.message) for warning in caught]
    assert len(told) == (said is not None), told
    assert not said or said in told[0]
    assert all("drop it" in each for each in told)


def test_an_estimate_above_every_distance_is_not_called_one():
    rows = torch.linspace(-1, 1, 128).reshape(2, 1, 8, 8)
    assert largest_distance(Dataset("images", rows)) == 2 * 64**0.5
    assert largest_distance(Dataset("images", rows), pack=4) == 2 * 256**0.5
    assert largest_distance(Dataset("images", 3 * rows)) == largest_distance(POINTS) == math.inf
    numbers = {"estimate": 16.5, "held_out": 3.0, "penalty": None}
    assert describe_critic(numbers, "W1", 16.0) == "estimate 16.500, no distance: at most 16.0 (held out 3.000)"
    assert describe_critic(numbers, "W1", 17.0) == "W1 16.500 (held out 3.000)"
    assert describe_critic(numbers, "TV", 16.0) == "TV 16.500 (held out 3.000)"
