"""Super-resolution: the network's input, the losses, and the commands on such a run."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from small_runs import stats_of, without_pictures
from torch import nn

import gpgan
from gpgan import objectives
from gpgan.cli import main
from gpgan.data import Dataset, load, split
from gpgan.data.degrade import downscale, upscale
from gpgan.data.drawing import GAP, LABELS
from gpgan.metrics.restoration import psnr
from gpgan.tasks import superresolve
from gpgan.tasks.superresolve import Config, Enlarger
from gpgan.training.saved import open_run
from gpgan.training.trainer import Trainer

NETWORK = {"width": 4, "depth": 1, "critic_width": 4}
FEW = ["--steps", "4", "--batch", "8", "--tick", "2", "--threads", "1"]
FEW += [f"--network.{name.replace('_', '-')}={value}" for name, value in NETWORK.items()]


def config(out, data="digits", dataset=None, task=None, **settings):
    task = {"name": "superresolve", **(task or {})}
    few = {"steps": 6, "batch": 8, "tick": 2, "threads": 1, "network": NETWORK}
    return gpgan.configure(data, dataset, out=out, **{**few, "task": task, **settings})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    command = ["train", "digits", "--preset", "superresolve", "--out", str(folder), "--name", "sharper", *FEW]
    assert main(command) == 0
    return folder / "sharper"


def test_an_untrained_network_is_bicubic_interpolation(tmp_path):
    trainer = Trainer(config(tmp_path))
    images = torch.rand(3, 1, 4, 4) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(trainer.generator(images), upscale(images, 2))
        assert trainer.generator(torch.zeros(1, 1, 6, 10)).shape == (1, 1, 12, 20)


@pytest.mark.parametrize("scale", [2, 3, 4, 5])
def test_every_scale_and_number_of_channels(scale):
    assert Enlarger(3, scale, 4, 2)(torch.zeros(2, 3, 5, 6)).shape == (2, 3, 5 * scale, 6 * scale)


def test_the_generator_sees_small_images_and_is_compared_with_the_same_large_ones(tmp_path):
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(()))

        def forward(self, small):
            seen.append(small.detach().clone())
            return upscale(small, 2) + self.shift

    trainer = Trainer(config(tmp_path, n_critic=2), generator=Spy())
    seen.clear()
    numbers = trainer.task.step(1)
    real = trainer.dataset.samples(trainer.task.order.indices(0, 16)).view(2, 8, 1, 8, 8)
    # One forward for each critic step; the generator's own step takes that of the last.
    for small, large in zip(seen, (real[0], real[1]), strict=True):
        torch.testing.assert_close(small, downscale(large, 2))
    expected = (upscale(downscale(real[1], 2), 2) - real[1]).abs().mean()
    torch.testing.assert_close(numbers["l1_loss"], expected)
    torch.testing.assert_close(numbers["generator_loss"], numbers["l1_loss"] + numbers["adversarial_loss"])


def test_the_critic_s_weight_is_that_of_the_settings(tmp_path):
    shares = []
    for weight in (0.01, 0.1):
        trainer = Trainer(config(tmp_path, task={"critic": weight}))
        shares.append(float(trainer.task.step(1)["adversarial_loss"]))
    assert shares[1] == pytest.approx(10 * shares[0], rel=1e-5)


def test_without_a_critic_none_is_trained(tmp_path):
    trainer = Trainer(config(tmp_path, task={"critic": 0.0}))
    before = {name: value.clone() for name, value in trainer.critic.state_dict().items()}
    lines = [json.loads(line) for line in (trainer.fit().run / "stats.jsonl").read_text().splitlines()]
    assert all(torch.equal(value, before[name]) for name, value in trainer.critic.state_dict().items())
    assert {"psnr", "ssim", "detail", "l1_loss", "generator_loss"} <= lines[-1].keys()
    assert not {"critic_loss", "estimate", "penalty"} & lines[-1].keys()
    assert lines[-1]["l1_loss"] == lines[-1]["generator_loss"]


def test_it_learns(tmp_path, monkeypatch):
    """Stripes whose phase follows from their mean; interpolation makes them grey."""
    without_pictures(monkeypatch)
    phase = torch.randint(2, (400, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    stripes = ((torch.arange(8) + phase) % 2 * 2.0 - 1).expand(400, 1, 8, 8) * 0.8 + 0.1 * (2 * phase - 1)
    dataset = Dataset("stripes", stripes.contiguous())
    network = {"width": 8, "depth": 1, "critic_width": 4, "ema": 0.0}
    settings = config(
        tmp_path, "stripes", dataset, steps=80, tick=20, batch=16, network=network, optimizer={"lr": 0.01}
    )
    lines = stats_of(Trainer(settings, dataset=dataset).fit().run)
    interpolated = float(psnr(torch.zeros_like(stripes), stripes).mean())
    assert interpolated < 8
    assert lines[-1]["psnr"] > 15
    assert lines[-1]["ssim"] > 0.9
    assert 0.5 < lines[-1]["detail"] < 1.5  # the interpolation has none


def test_a_run_leaves_what_every_run_leaves(run):
    names = {path.name for path in run.iterdir()}
    assert {"config.json", "stats.jsonl", "curves.png", "reals.png", "fakes_init.png", "samples.png"} <= names
    assert {"report.html", "generator.safetensors", "checkpoints"} <= names
    page = (run / "report.html").read_text("utf-8")
    assert "PSNR on held-out images, dB" in page
    told = (run / "log.txt").read_text("utf-8")
    assert "PSNR" in told
    with safe_open(run / "generator.safetensors", "pt") as file:
        about = json.loads(file.metadata()["gpgan"])
    assert about == {"input": [1, 4, 4], "scale": 2, "shape": [1, 8, 8]}


def test_pictures_are_triples_of_input_output_and_truth(run):
    with Image.open(run / "fakes_init.png") as image:
        pixels = np.asarray(image.convert("L")).astype(int)[LABELS:]
    side, inner = 56, GAP // 4
    tile = pixels[GAP : GAP + side, GAP : GAP + 3 * (side + inner)]
    small, _, truth = (tile[:, i * (side + inner) : i * (side + inner) + side] for i in range(3))
    # Both are enlarged without interpolation: each input pixel is the mean of the truth's pixels it covers.
    truth = truth.reshape(8, 7, 8, 7)[:, 3, :, 3]
    small = small.reshape(4, 14, 4, 14)[:, 7, :, 7]
    np.testing.assert_allclose(truth.reshape(4, 2, 4, 2).mean((1, 3)), small, atol=1.0)


def test_eval(run, capsys):
    assert main(["eval", str(run), "-n", "50", "--json"]) == 0
    out = capsys.readouterr().out
    metrics = json.loads(out.splitlines()[-1])
    assert list(metrics) == ["psnr", "ssim", "detail"]
    assert metrics["psnr"]["n"] == 50
    # After four steps the network is still close to the interpolation that it starts as.
    dataset = split(load("digits"))
    truths = dataset.scaled(dataset.held_out)
    usual = float(psnr(upscale(downscale(truths, 2), 2).clamp(-1, 1), truths).mean())
    assert metrics["psnr"]["score"] == pytest.approx(usual, abs=1)


def test_samples_of_held_out_images(run, tmp_path, capsys):
    assert main(["sample", str(run), "-n", "5", "--out", str(tmp_path / "a.npy")]) == 0
    samples = np.load(tmp_path / "a.npy")
    assert samples.shape == (5, 1, 8, 8)
    assert -0.01 <= samples.min() <= samples.max() <= 16.01  # the data's original values
    assert main(["sample", str(run), "-n", "5", "--out", str(tmp_path / "a.png")]) == 0
    assert "5 samples" in capsys.readouterr().out
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > image.height


def test_a_folder_of_images_is_enlarged_file_by_file(run, tmp_path, capsys):
    """Each in its own size, in grey as the run's data, under its own name; what is no image is skipped and said."""
    folder = tmp_path / "small"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (10, 14), dtype=np.uint8)
    Image.fromarray(grey).save(folder / "a.png")
    Image.fromarray(rng.integers(0, 256, (7, 5, 3), dtype=np.uint8)).save(folder / "deep" / "b.jpg")
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "text.txt").touch()
    assert main(["sample", str(run), "--input", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["out"] == str((run / "enlarged").resolve())
    assert err.startswith("skipped: broken.png: ")
    written = {path.relative_to(run / "enlarged").as_posix() for path in (run / "enlarged").rglob("*.*")}
    assert written == {"a.png", "deep/b.png"}
    with Image.open(run / "enlarged" / "deep" / "b.png") as image:
        assert image.size == (10, 14)
    with Image.open(run / "enlarged" / "a.png") as image:
        shown = np.asarray(image.convert("L")).astype(int)
    assert shown.shape == (20, 28)
    saved = open_run(run)
    small = torch.from_numpy(grey).float()[None, None] / 127.5 - 1
    with torch.no_grad():
        expected = (saved.task.sampler(small).clamp(-1, 1) + 1) * 127.5
    assert np.abs(shown - expected[0, 0].numpy()).max() <= 1


def test_images_that_differ_in_their_suffix_alone_stay_apart(run, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.bmp", "b.bmp"):
        Image.fromarray(np.full((6, 6), 9, dtype=np.uint8)).save(tmp_path / "in" / name)
    assert main(["sample", str(run), "--input", str(tmp_path / "in"), "--out", str(tmp_path / "big")]) == 0
    assert {path.name for path in (tmp_path / "big").iterdir()} == {"a.png.png", "a.bmp.png", "b.png"}


def test_one_image_is_enough_and_out_names_the_folder(run, tmp_path):
    (tmp_path / "one").mkdir()
    Image.fromarray(np.full((6, 6), 9, dtype=np.uint8)).save(tmp_path / "one" / "x.bmp")
    assert main(["sample", str(run), "--input", str(tmp_path / "one"), "--out", str(tmp_path / "big")]) == 0
    assert [path.name for path in (tmp_path / "big").iterdir()] == ["x.png"]


@pytest.mark.parametrize(("more", "words"), [
    (["--truncation", "1"], "truncation is 1, and super-resolution has no latents"),
    (["--input", "empty"], "empty has no image that can be read; expected a folder of images"),
    (["--input", "nowhere"], "input is 'nowhere', which is not a folder; expected a folder of images"),
])  # fmt: skip
def test_samples_that_cannot_be_had(run, tmp_path, monkeypatch, capsys, more, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["sample", str(run), *more]) == 2
    assert words in capsys.readouterr().err


def test_export(run, tmp_path, capsys):
    assert main(["export", str(run), "--out", str(tmp_path)]) == 0
    module = torch.export.load(tmp_path / "generator.pt2").module()
    network = open_run(run).task.sampler
    for shape in ((3, 1, 4, 4), (1, 1, 4, 4), (2, 1, 9, 5)):  # any size of image
        images = torch.rand(shape)
        torch.testing.assert_close(module(images), network(images))
    assert "its samples differ from the generator's by at most" in capsys.readouterr().out


def test_resume_by_the_command_and_ls(run, tmp_path, capsys):
    assert main(["train", "digits", "--task", "superresolve", "--out", str(tmp_path), "--name", "a", *FEW]) == 0
    assert main(["resume", str(tmp_path / "a"), "--steps", "6"]) == 0
    capsys.readouterr()
    assert main(["ls", str(tmp_path)]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "data", "step", "age", "PSNR", "SSIM", "detail"]
    assert "6/6" in row
    assert all(math.isfinite(float(number)) for number in row.split()[-3:])


@pytest.mark.parametrize(("arguments", "words"), [
    (["ring", "--task", "superresolve"], "task is 'superresolve' and ring holds points of shape (2,); expected images"),
    (["digits", "--task", "superresolve", "--task.scale", "3"], "task.scale is 3 and images have 8 x 8 pixels"),
    (["digits", "--task", "superresolve", "--task.scale", "1"], "task.scale is 1; expected a whole number from 2 to 8"),
    (["digits", "--task", "superresolve", "--conditional"], "unrecognized arguments: --conditional"),
    (["digits", "--task.scale", "2"], "unrecognized arguments: --task.scale"),
    (["digits", "--task", "superesolve"], "task is 'superesolve'; expected generation or superresolve, or one of gpgan wedge fit; did you mean superresolve?"),
    (["digits", "--task", "superresolve", "--preset", "wgan-gp"], "a preset of the task generation"),
    (["digits", "--task", "generation", "--preset", "superresolve"], "a preset of the task superresolve"),
])  # fmt: skip
def test_settings_that_cannot_be(tmp_path, capsys, arguments, words):
    assert main(["train", *arguments, "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_of_one_task_does_not_list_another_s_options(capsys):
    assert main(["train", "--task", "superresolve", "--help"]) == 0
    own = capsys.readouterr().out
    assert main(["train", "--help"]) == 0
    usual = capsys.readouterr().out
    for option in ("--task.scale", "--task.critic", "--network.critic-width"):
        assert (option in own, option in usual) == (True, False)
    for option in ("--conditional", "--pack", "--network.latent"):
        assert (option in own, option in usual) == (False, True)
    assert "auto, superresolve: the settings of a paper" in own


def test_a_task_by_a_file_or_in_python(tmp_path):
    (tmp_path / "a.toml").write_text('task = "superresolve"\nsteps = 7')
    (tmp_path / "b.toml").write_text('[task]\nname = "superresolve"\nscale = 4')
    assert gpgan.configure("digits", file=tmp_path / "a.toml").steps == 7
    read = gpgan.configure("digits", file=tmp_path / "b.toml")
    assert isinstance(read, Config)
    assert read.task.scale == 4
    assert gpgan.configure("digits", preset="superresolve", task={"scale": 4}).task == read.task


def test_a_configuration_of_another_task_is_refused(tmp_path):
    wrong = gpgan.Config("digits", task=superresolve.SuperResolutionConfig())
    with pytest.raises(TypeError, match=r"config is a .*generation.* and task.name is 'superresolve'; expected"):
        Trainer(wrong)
    with pytest.raises(
        TypeError,
        match="critik is not a network of the task superresolve; expected critic or generator; did you mean critic",
    ):
        Trainer(config(tmp_path), critik=nn.Linear(1, 1))


def test_images_equal_to_their_truth_and_without_detail_do_not_end_a_run(tmp_path, monkeypatch):
    """Black images are restored exactly: no infinite PSNR, and no detail to compare."""
    without_pictures(monkeypatch)
    images = torch.full((60, 1, 8, 8), -1.0)
    images[0] = 1.0
    dataset = Dataset("blank", images)
    settings = config(tmp_path, "blank", dataset, task={"critic": 0.0}, network={**NETWORK, "ema": 0.0})
    last = stats_of(Trainer(settings, dataset=dataset).fit().run)[-1]
    assert 40 < last["psnr"] <= 100
    assert last["detail"] is None


def test_a_critic_without_a_limit_is_warned_of(tmp_path):
    with pytest.warns(UserWarning, match="nothing limits the slope"):
        Trainer(config(tmp_path, penalty={"weight": 0.0}))
    network = {"width": 4, "depth": 1}
    trainer = Trainer(config(tmp_path, task={"critic": 0.0}, penalty={"weight": 0.0}, network=network))
    assert list(trainer.warnings) == []


def test_settings_of_a_critic_that_is_not_trained_are_warned_of(tmp_path):
    with pytest.warns(UserWarning, match="no critic is trained") as caught:
        Trainer(config(tmp_path, task={"critic": 0.0}, objective="hinge", penalty={"points": "real"}))
    (said,) = [str(warning.message) for warning in caught]
    assert "which leaves objective and network.critic-width and penalty.points without effect" in said


@pytest.mark.parametrize("objective", ["wasserstein", "hinge"])
def test_the_estimate_has_the_objective_s_symbol(tmp_path, monkeypatch, objective):
    without_pictures(monkeypatch)
    run = Trainer(config(tmp_path, objective=objective)).fit().run
    told = (run / "log.txt").read_text("utf-8")
    assert f"  {objectives.get(objective).symbol} " in told
    assert ("  W1 " in told) == (objective == "wasserstein")


def test_the_best_checkpoint_is_that_of_the_highest_psnr(tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    values = iter([20.0, 23.0, 22.0])
    trainer = Trainer(config(tmp_path, tick=1, steps=3, checkpoint=1))
    told = {"ssim": 0.5, "detail": 0.5}
    monkeypatch.setattr(trainer.task, "held_out", lambda step: {"psnr": next(values), **told})
    folder = trainer.fit().run / "checkpoints"
    assert torch.load(folder / "best.pt", weights_only=True)["step"] == 2
    assert torch.load(folder / "latest.pt", weights_only=True)["step"] == 3
