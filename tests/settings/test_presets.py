"""The precedence of settings: defaults for the data, then a preset, then a file, then the user's settings."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gpgan.data import Dataset
from gpgan.settings.config import OptimizerConfig, PenaltyConfig, options
from gpgan.settings.merging import settings_of
from gpgan.settings.presets import PRESETS, presets_of
from gpgan.tasks.configure import configure, from_settings
from gpgan.tasks.generation.config import Config
from gpgan.tasks.generation.task import Generation

RING = Dataset("ring", torch.randn(1000, 2))
DIGITS = Dataset("digits", torch.randn(1000, 1, 8, 8))
IMAGES = Dataset("made", torch.zeros(1000, 1, 28, 28))


@pytest.fixture
def toml(tmp_path):
    """Writes a TOML file."""

    def toml(text):
        path = tmp_path / "my settings.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return toml


def value(config, name):
    for part in name.split("."):
        config = getattr(config, part)
    return config


def test_defaults_follow_the_data():
    points, small = configure("ring", RING), configure("digits", DIGITS)
    large = configure("made", IMAGES)
    assert (points.batch, points.n_critic, points.network.latent, points.penalty.weight) == (256, 5, 2, 0.1)
    assert (small.batch, small.network.latent, small.optimizer.lr, small.threads) == (64, 16, 2e-3, 1)
    assert (large.batch, large.n_critic, large.objective, large.eval) == (16, 1, "non-saturating", 2500)
    assert large.penalty == PenaltyConfig(weight=0.1, target=0.0, points="real", lazy=16)
    sound = configure("made", Dataset("made", torch.zeros(1000, 1, 1024)))
    assert sound == dataclasses.replace(Config(), data="made")


def test_presets_do_not_have_the_defaults_that_were_tuned_for_small_steps():
    paper, usual = configure("made", IMAGES, preset="wgan-gp"), Config()
    assert (paper.tick, paper.snapshot, paper.checkpoint, paper.eval) == (
        usual.tick,
        usual.snapshot,
        usual.checkpoint,
        500,
    )
    assert (paper.penalty, paper.optimizer.schedule) == (PenaltyConfig(), "linear")


def test_defaults_that_were_tuned_for_what_is_replaced_are_dropped():
    """A weight of 0 leaves points, target and interval without effect, another optimizer Adam's decay."""
    bare = configure("made", IMAGES, **{"penalty.weight": 0, "optimizer.kind": "sgd"})
    assert bare.penalty == PenaltyConfig(weight=0)
    assert bare.optimizer == OptimizerConfig(kind="sgd")
    assert configure("made", IMAGES, **{"penalty.weight": 2}).penalty.points == "real"


@pytest.mark.parametrize("count", [5, 40])
def test_a_batch_is_no_larger_than_the_data(count):
    for shape in ((3,), (1, 8, 8)):
        dataset = Dataset("few", torch.zeros(count, *shape))
        for preset in presets_of("generation"):
            assert configure("few", dataset, preset=preset).batch <= count


def test_presets_are_the_papers():
    paper = configure("digits", DIGITS, preset="wgan-gp")
    # Gulrajani et al., arXiv 1704.00028, algorithm 1: lambda 10, 5 critic steps, Adam 1e-4, 0, 0.9.
    adam = paper.optimizer
    assert (paper.penalty.weight, paper.penalty.target, paper.n_critic, paper.batch) == (10, 1, 5, 64)
    assert (adam.lr, adam.beta1, adam.beta2, adam.schedule) == (1e-4, 0.0, 0.9, "linear")
    toy = configure("ring", RING, preset="wgan-gp-toy")
    assert (toy.penalty.weight, toy.n_critic, toy.batch, toy.network.width, toy.network.kind) == (
        0.1,
        5,
        256,
        512,
        "mlp",
    )
    assert (toy.optimizer.lr, toy.optimizer.beta1, toy.optimizer.beta2) == (1e-4, 0.5, 0.9)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_its_name_and_changes_what_it_says(name):
    config = configure("digits", DIGITS, preset=name)
    assert config.preset == name
    assert {key: value(config, key) for key in PRESETS[name]} == PRESETS[name]


# penalty.weight: 10 by default for images, 0.1 for points, and the preset's is 0.1.
PAIRS = {
    "default": ({}, "", {}, 10.0),
    "preset over default": ({"preset": "wgan-gp-toy"}, "", {}, 0.1),
    "file over default": ({}, "[penalty]\nweight = 3", {}, 3.0),
    "setting over default": ({}, "", {"penalty": {"weight": 4}}, 4.0),
    "file over preset": ({"preset": "wgan-gp-toy"}, "penalty.weight = 3", {}, 3.0),
    "setting over preset": ({"preset": "wgan-gp-toy"}, "", {"penalty.weight": 4}, 4.0),
    "setting over file": ({}, "[penalty]\nweight = 3", {"penalty": {"weight": 4}}, 4.0),
    "setting over all": ({"preset": "wgan-gp-toy"}, "[penalty]\nweight = 3", {"penalty": {"weight": 4}}, 4.0),
    "setting over all, to the default": ({"preset": "wgan-gp-toy"}, "penalty.weight = 3", {"penalty.weight": 10}, 10.0),
    "preset of the file": ({}, 'preset = "wgan-gp-toy"', {}, 0.1),
    "preset of the file under the file": ({}, 'preset = "wgan-gp-toy"\npenalty.weight = 3', {}, 3.0),
    "preset over that of the file": ({"preset": "wgan-gp"}, 'preset = "wgan-gp-toy"', {}, 10.0),
    "auto over that of the file": ({"preset": "auto"}, 'preset = "wgan-gp-toy"', {}, 10.0),
}


@pytest.mark.parametrize("case", PAIRS)
def test_precedence(toml, case):
    preset, text, settings, wanted = PAIRS[case]
    config = configure("digits", DIGITS, file=toml(text), **preset, **settings)
    assert config.penalty.weight == wanted
    assert isinstance(config.penalty.weight, float)


def test_the_preset_that_counted_is_named(toml):
    file = toml('preset = "wgan-gp-toy"')
    assert configure("digits", DIGITS, file=file).preset == "wgan-gp-toy"
    assert configure("digits", DIGITS, file=file, preset="wgan-gp").preset == "wgan-gp"
    assert configure("digits", DIGITS, file=file, preset="auto").preset == "auto"


def test_what_no_one_mentions_stays_as_it_was(toml):
    file = toml("steps = 77\n[optimizer]\nbeta1 = 0.25")
    plain, config = settings_of(configure("digits", DIGITS)), settings_of(configure("digits", DIGITS, file=file))
    plain["steps"], plain["optimizer"]["beta1"] = 77, 0.25
    assert config == plain


def test_names_with_hyphens(toml):
    config = configure("digits", DIGITS, file=toml("n-critic = 2\n[penalty]\none-sided = true"))
    assert (config.n_critic, config.penalty.one_sided) == (2, True)


def test_settings_that_only_fit_together(toml):
    """A file and the settings that override it are checked together, not one by one."""
    file = toml("keep = 100\npenalty.lazy = 100")
    config = configure("digits", DIGITS, file=file, checkpoint=50, tick=200)
    assert (config.keep, config.checkpoint, config.penalty.lazy) == (100, 50, 100)
    with pytest.raises(ValueError, match="keep is 100 and checkpoint is 500"):
        configure("digits", DIGITS, file=file, tick=200)


BAD_FILES = {
    "unknown key": ("stesp = 3", "unknown setting 'stesp'; did you mean steps?"),
    "unknown key of a table": (
        "[penalty]\nwieght = 3",
        "unknown setting 'penalty.wieght'; did you mean penalty.weight?",
    ),
    "unknown table": ("[penatly]\nweight = 3", "unknown setting 'penatly.weight'; did you mean penalty.weight?"),
    "unknown empty table": ("[penatly]", "unknown setting 'penatly'"),
    "nothing near": ("zzz = 3", "unknown setting 'zzz'"),
    "a truth value for a number": ("steps = true", "steps is True; expected a whole number"),
    "a truth value for a float": ("minutes = false", "minutes is False; expected a number"),
    "a fraction for steps": ("steps = 1.5", "steps is 1.5; expected a whole number"),
    "a whole float for steps": ("steps = 2.0", "steps is 2.0; expected a whole number"),
    "text for steps": ('steps = "many"', "steps is 'many'; expected a whole number"),
    "a table for a value": ("[steps]\nn = 3", "unknown setting 'steps.n'; did you mean steps?"),
    "a value for a table": ("penalty = 3", "unknown setting 'penalty'"),
    "an array": ("batch = [8, 16]", "batch is [8, 16]; expected a whole number"),
    "an array for a choice": ('precision = ["fp32"]', "precision is ['fp32']; expected fp32 or bf16 or fp16"),
    "a number for text": ("name = 3", "name is 3; expected text"),
    "a number for a path": ("out = 3", "out is 3; expected a path"),
    "a number for a truth value": ("conditional = 1", "conditional is 1; expected true or false"),
    "text for a truth value": ('conditional = "true"', "conditional is 'true'; expected true or false"),
    "a date": ("steps = 2020-01-01", "steps is datetime.date(2020, 1, 1); expected a whole number"),
    "out of range": ("n_critic = 0", "n-critic is 0; expected a whole number from 1 to"),
    "not a number": ("minutes = nan", "minutes is nan; expected a finite number"),
    "infinite": ("[optimizer]\nlr = inf", "optimizer.lr is inf; expected a finite number"),
    "unknown choice": ('precision = "fp8"', "precision is 'fp8'; expected fp32 or bf16 or fp16"),
    "unknown preset": ('preset = "wgan-gpp"', f"preset is 'wgan-gpp'; expected {', '.join(PRESETS)}; did you mean wgan-gp?"),
    "broken": ("steps = = 3", "which is not valid TOML"),
    "twice": ("steps = 3\nsteps = 4", "which is not valid TOML"),
    "not UTF-8": (b"name = '\xff'", "which is not valid TOML"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_named(toml, case):
    text, message = BAD_FILES[case]
    file = toml(text)
    with pytest.raises(ValueError, match=r"\w") as raised:
        configure("digits", DIGITS, file=file)
    assert message in str(raised.value)
    # Ranges and presets are checked after merging.
    assert str(file) in str(raised.value) or message.startswith(("preset", "n-critic", "minutes", "optimizer.lr"))


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ValueError, match=r"config is .*, which cannot be read \(.*\); expected a TOML file"):
            configure("digits", DIGITS, file=path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stesp": 3}, "unknown setting 'stesp'; did you mean steps?"),
        ({"penalty": {"wieght": 3}}, "unknown setting 'penalty.wieght'; did you mean penalty.weight?"),
        ({"steps": 1.5}, "steps is 1.5; expected a whole number"),
        ({"penalty": {"weight": -1}}, "penalty.weight is -1.0; expected a finite number, 0 or above"),
        ({"preset": "paper"}, f"preset is 'paper'; expected {', '.join(PRESETS)}"),
        ({"name": 3}, "name is 3; expected text"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=r"\w") as raised:
        configure("digits", DIGITS, **settings)
    assert message in str(raised.value)


def test_every_setting_goes_through_json_and_back(tmp_path):
    changed = {}
    for name, field, wanted in options(Config):
        # Some depend on or contradict others.
        if name in ("data", "preset", "threads", "keep", "weight_clip", "pack", "network.critic", "task.name"):
            continue
        old = value(configure("digits", DIGITS), name)
        new = {bool: not old, int: (old if isinstance(old, int) else 0) + 2, Path: tmp_path}.get(wanted)
        new = "hinge" if name == "objective" else new
        if new is None:
            choices = [c for c in getattr(wanted, "__args__", ()) if isinstance(c, str) and c != old]
            new = choices[-1] if choices else 0.25 if wanted is float else "a word"
        changed[name] = new
        assert field.metadata["metavar"] or wanted is bool
    config = configure("digits", DIGITS, **changed)
    assert all(value(config, name) == new for name, new in changed.items())
    written = json.loads(json.dumps(settings_of(config)))
    assert from_settings(written) == (Generation, config)
    assert from_settings({**written, "out": "elsewhere"})[1] != config


def test_settings_of_a_later_version_are_an_error():
    written = settings_of(configure("digits", DIGITS))
    with pytest.raises(ValueError, match="unknown setting 'wings'"):
        from_settings({**written, "wings": 2})


def test_a_path_is_kept_whole_so_that_a_run_resumes_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.random.default_rng(0).normal(size=(30, 2)))
    assert configure("a.npy").data == str(tmp_path / "a.npy")
    Path("ring").mkdir()
    assert configure("ring", RING).data == "ring"


@pytest.mark.parametrize("size", ["big", -1, 1.5, math.nan, 5000])
def test_a_bad_size_is_named_before_images_are_brought_to_it(tmp_path, size):
    with pytest.raises(ValueError, match=r"^size is"):
        configure(str(tmp_path), size=size)
