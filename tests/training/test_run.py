"""The files in a run's folder."""

import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from small_runs import Do, numbers_of, small, stats_of, without_pictures

import gpgan
from gpgan.data import Dataset, load
from gpgan.data.drawing import image_grid
from gpgan.nn import build
from gpgan.records import checkpoint
from gpgan.tasks.configure import from_settings
from gpgan.training import interrupt
from gpgan.training.trainer import Trainer

WHOLE = {"steps": 20, "snapshot": 10, "checkpoint": 10, "keep": 10}


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return Trainer(small(out, seed=3, **WHOLE, **{"network.kind": "conv"})).fit().run


@pytest.fixture(scope="module")
def ring_run(tmp_path_factory):
    return Trainer(small(tmp_path_factory.mktemp("runs"), "ring", **WHOLE)).fit().run


FILES = {
    "config.json", "log.txt", "stats.jsonl", "reals.png", "fakes_init.png", "fakes_000010.png", "fakes_000020.png",
    "samples.png", "curves.png", "report.html", "generator.safetensors", "checkpoints/latest.pt", "checkpoints/previous.pt",
    "checkpoints/best.pt", "checkpoints/step-0000010.pt", "checkpoints/step-0000020.pt",
}  # fmt: skip


def files_of(run):
    """All files but TensorBoard's."""
    paths = (path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    return {path for path in paths if "tfevents" not in path}


def test_every_file_is_there_and_no_other(digits_run, ring_run):
    assert files_of(digits_run) == FILES
    assert files_of(ring_run) == FILES | {"fakes.gif"}
    for run in (digits_run, ring_run):
        assert len(list(run.rglob("*tfevents*"))) == 1


def test_files_are_as_readable_as_others(digits_run):
    (digits_run.parent / "mine").mkdir(exist_ok=True)
    assert digits_run.stat().st_mode == (digits_run.parent / "mine").stat().st_mode


def test_config_is_resolved_and_says_what_the_run_was_made_of(digits_run):
    written = json.loads((digits_run / "config.json").read_text("utf-8"))
    assert list(written) == ["id", "config", "data", "device", "versions", "git", "numbers"]
    _, config = from_settings(written["config"])
    assert (config.data, config.steps, config.seed, config.n_critic, config.keep) == ("digits", 20, 3, 2, 10)
    assert (config.device, config.impl, config.threads) == ("cpu", "native", 1)
    assert (config.network.kind, config.network.width, config.network.latent) == ("conv", 4, 4)
    data = load("digits")
    assert written["data"] == {
        "name": "digits",
        "samples": 1797 - 179,
        "held_out": 179,
        "shape": [1, 8, 8],
        "scale": 8.0,
        "offset": 8.0,
        "classes": list("0123456789"),
        "fingerprint": data.fingerprint(),
    }
    assert re.fullmatch(r"[0-9a-f]{64}", written["data"]["fingerprint"])
    assert written["versions"]["gpgan"] == gpgan.__version__
    assert written["versions"]["torch"] == torch.__version__
    assert written["versions"]["numpy"] == np.__version__
    assert written["device"].endswith(", 1 thread") or torch.cuda.is_available()
    root = Path(gpgan.__file__).parent.parent
    if (root / ".git").exists():
        head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        assert written["git"].removesuffix("-dirty") == head.stdout.strip()


def test_log(digits_run):
    lines = (digits_run / "log.txt").read_text("utf-8").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \S", line) for line in lines)
    text = [line[21:] for line in lines]
    assert text[0] == "digits: 1618 samples of (1, 8, 8)"
    assert [line.split()[1] for line in text if line.startswith("step ")] == ["5", "10", "15", "20"]
    assert text[-1] == "ended at step 20: done"


def test_what_was_left_out_on_loading_is_in_the_log(tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    dataset = Dataset("made", torch.randn(30, 3), skipped=("a.png: broken", "b.png: too small"))
    run = Trainer(small(tmp_path, "made", dataset, steps=1), dataset=dataset).fit().run
    log = (run / "log.txt").read_text("utf-8")
    assert "skipped: a.png: broken" in log
    assert "skipped: b.png: too small" in log


def test_stats(digits_run):
    lines = stats_of(digits_run)
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    for line in lines:
        assert all(math.isfinite(value) for value in line.values())
        assert line["critic_loss"] == pytest.approx(line["penalty"] - line["estimate"], rel=1e-5, abs=1e-5)
        assert line["norm_max"] > line["norm_mean"] > 0


def test_image_grid_is_of_the_data_in_its_order(digits_run):
    picture = (matplotlib.image.imread(digits_run / "reals.png")[..., :3] * 255).round().astype(int)
    tile, gap, frame = 56, 8, 40
    assert picture.shape == (10 * (tile + gap) + gap, 10 * (tile + gap) + gap, 3)
    trained = gpgan.Trainer(small(digits_run.parent / "none")).dataset
    first, last = ((trained.samples(slice(i, i + 1))[0, 0].numpy() + 1) * 127.5 for i in (0, len(trained) - 1))
    for pixels, corner in ((first, gap), (last, 9 * (tile + gap) + gap)):
        shown = picture[corner + 3 : corner + tile : 7, corner + 3 : corner + tile : 7, 0]
        assert np.abs(shown - pixels).max() <= 1
    assert (picture[:gap] == frame).all()
    assert (picture[:, gap + tile : gap + tile + gap] == frame).all()


def test_pictures_are_of_the_averaged_generator_at_fixed_latents(digits_run, tmp_path):
    names = ("fakes_init.png", "fakes_000010.png", "fakes_000020.png", "samples.png", "reals.png")
    assert len({(digits_run / name).read_bytes() for name in names}) == len(names)
    for step in (10, 20):
        state = checkpoint.read(digits_run / "checkpoints" / f"step-{step:07d}.pt")
        generator, _ = build("conv", (1, 8, 8), latent=4, width=4, depth=2, rng=torch.Generator())
        generator.load_state_dict(state["average"])
        latents = torch.randn(100, 4, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            image_grid(tmp_path / "again.png", generator.eval()(latents))
        again, shown = (np.asarray(Image.open(p)).astype(int) for p in (tmp_path / "again.png", digits_run / f"fakes_{step:06d}.png"))  # fmt: skip
        assert np.abs(again - shown).max() <= 1


def test_animation_has_every_picture_and_pages_are_whole(ring_run, digits_run):
    with Image.open(ring_run / "fakes.gif") as animation:
        assert animation.n_frames >= 3
    for run in (ring_run, digits_run):
        page = (run / "report.html").read_text("utf-8")
        assert page.rstrip().endswith("</html>")
        assert page.count("data:image/") >= 3
        assert np.asarray(Image.open(run / "curves.png")).std() > 1


def test_weights_load_without_pickled_code_and_are_the_averaged_ones(digits_run):
    generator, _ = build("conv", (1, 8, 8), latent=4, width=4, depth=2, rng=torch.Generator())
    state = torch.load(digits_run / "checkpoints" / "latest.pt", weights_only=True)
    with safe_open(digits_run / "generator.safetensors", "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dictionary)
        assert json.loads(file.metadata()["gpgan"]) == {"latent": 4, "shape": [1, 8, 8]}
    generator.load_state_dict(weights)
    assert all(torch.equal(value, state["average"][name]) for name, value in weights.items())
    assert not all(torch.equal(value, state["generator"][name]) for name, value in weights.items())
    assert generator.eval()(torch.randn(3, 4)).shape == (3, 1, 8, 8)


def test_checkpoints_are_of_the_steps_they_say(digits_run):
    steps = {path.name: checkpoint.read(path)["step"] for path in (digits_run / "checkpoints").iterdir()}
    assert steps.pop("best.pt") in (0, 10, 20)
    assert steps == {"latest.pt": 20, "previous.pt": 10, "step-0000010.pt": 10, "step-0000020.pt": 20}


def test_a_run_that_is_there_can_always_be_resumed(tmp_path, monkeypatch):
    """Its folder gets its name only when its first checkpoint is in it."""
    without_pictures(monkeypatch)
    seen = []

    class Begin(gpgan.Callback):
        def on_begin(self, trainer):
            seen.append((files_of(trainer.run), checkpoint.newest(trainer.run)[0]["step"]))
            raise RuntimeError("as if killed")

    with pytest.raises(RuntimeError, match="as if killed"):
        Trainer(small(tmp_path), callbacks=[Begin()]).fit()
    assert seen[0][1] == 0
    assert {"config.json", "log.txt", "generator.safetensors", "checkpoints/latest.pt"} <= seen[0][0]
    assert [path.name for path in tmp_path.iterdir()] == ["00000-digits"]
    assert Trainer.resume(tmp_path / "00000-digits").fit().step == 20


@pytest.fixture
def quick(monkeypatch):
    without_pictures(monkeypatch)


def test_same_seed_same_bits(tmp_path, digits_run):
    torch.manual_seed(99)
    np.random.seed(99)
    again = Trainer(small(tmp_path, seed=3, **WHOLE, **{"network.kind": "conv"})).fit().run
    assert numbers_of(again) == numbers_of(digits_run)
    for name in ("samples.png", "fakes_000010.png", "generator.safetensors"):
        assert (again / name).read_bytes() == (digits_run / name).read_bytes()


def test_another_seed_differs(tmp_path, digits_run, quick):
    other = Trainer(small(tmp_path, seed=4, **WHOLE, **{"network.kind": "conv"})).fit().run
    pairs = zip(numbers_of(other), numbers_of(digits_run), strict=True)
    assert all(a["critic_loss"] != b["critic_loss"] for a, b in pairs)


def test_what_is_recorded_does_not_change_the_training(tmp_path, digits_run, quick):
    settings = {**WHOLE, "snapshot": 3, "checkpoint": 4, "keep": 0, "network.kind": "conv"}
    more = Trainer(small(tmp_path, seed=3, **settings)).fit().run
    assert numbers_of(more) == numbers_of(digits_run)
    assert (more / "generator.safetensors").read_bytes() == (digits_run / "generator.safetensors").read_bytes()


def test_runs_are_numbered(tmp_path, quick):
    config = {"steps": 1, "n_critic": 1}
    names = [Trainer(small(tmp_path, **config)).fit().run.name for _ in range(2)]
    assert names == ["00000-digits", "00001-digits"]
    assert Trainer(small(tmp_path, name="mine", **config)).fit().run == tmp_path / "mine"
    with pytest.raises(ValueError, match=r"mine already exists; to continue it: gpgan resume .*/mine"):
        Trainer(small(tmp_path, name="mine", **config)).fit()


def test_any_folder_name(tmp_path):
    name = "[x] žluťoučký 馬 %d ':smile: <b>"
    np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).normal(size=(50, 2)))
    run = Trainer(small(tmp_path / name, str(tmp_path / f"{name}.npy"), steps=2, name=name)).fit().run
    assert run == tmp_path / name / name
    assert {"report.html", "curves.png", "samples.png", "fakes.gif"} <= files_of(run)
    assert Trainer.resume(run, steps=3).fit().step == 3


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 6, 6, 6)], ids=str)
def test_samples_of_other_shapes(tmp_path, shape):
    values = np.random.default_rng(0).integers(0, 256, (40, *shape), dtype=np.uint8)
    np.save(tmp_path / "a.npy", values)
    run = Trainer(small(tmp_path, str(tmp_path / "a.npy"), steps=2, **{"network.kind": "auto"})).fit().run
    assert np.asarray(Image.open(run / "samples.png")).std() > 1
    assert ("fakes.gif" in files_of(run)) == (len(shape) == 1)


def test_colours_are_shown(tmp_path):
    np.save(tmp_path / "c.npy", np.random.default_rng(0).integers(0, 256, (20, 3, 9, 7), dtype=np.uint8))
    run = Trainer(small(tmp_path, str(tmp_path / "c.npy"), steps=1)).fit().run
    picture = matplotlib.image.imread(run / "reals.png")
    assert (picture[..., 0] != picture[..., 1]).any()


def test_interrupt_saves_at_the_end_of_the_step(tmp_path):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    trainer = Trainer(small(tmp_path), callbacks=[Do(lambda t: t.step == 7 and os.kill(os.getpid(), signal.SIGTERM))])
    result = trainer.fit()
    assert (result.reason, result.signal, result.step) == ("signal", signal.SIGTERM, 7)
    assert {number: signal.getsignal(number) for number in before} == before
    assert stats_of(result.run)[-1]["step"] == 7
    assert {"fakes_000007.png", "samples.png", "curves.png", "report.html"} <= files_of(result.run)
    assert checkpoint.newest(result.run)[0]["step"] == 7


@pytest.fixture
def ctrl_c():
    """SIGINT as for programs in a terminal; a shell's background jobs start with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("pause", [0.0, 0.05], ids=["the same request twice", "a second request"])
def test_second_interrupt_is_immediate(tmp_path, monkeypatch, quick, ctrl_c, pause):
    monkeypatch.setattr(interrupt, "ECHO", 0.04)

    def twice(trainer):
        # To this thread, so that the first is handled before the second: two pending signals become one.
        signal.raise_signal(signal.SIGINT)
        time.sleep(pause)
        signal.raise_signal(signal.SIGINT)

    trainer = Trainer(small(tmp_path), callbacks=[Do(twice)])
    if pause:
        with pytest.raises(KeyboardInterrupt):
            trainer.fit()
    else:
        assert trainer.fit().reason == "signal"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert checkpoint.newest(tmp_path / "00000-digits")[0]["step"] == (0 if pause else 1)


def test_drawing_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    """Curves and report are redrawn at a tick only if that takes a small share of the time, and always at the end."""
    from gpgan.records import recorder

    without_pictures(monkeypatch)
    drawn, clock = [], itertools.count()

    class Curves:
        def __init__(self, run, panels):
            self.run = run

        def draw(self):
            drawn.append(stats_of(self.run)[-1]["step"])

    monkeypatch.setattr(recorder, "Curves", Curves)
    monkeypatch.setattr(recorder.time, "monotonic", lambda: float(next(clock)))
    Trainer(small(tmp_path, steps=40)).fit()
    assert drawn[0] == 5
    assert drawn[-1] == 40
    assert len(drawn) < 8


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_a_run_has_no_revision_where_gpgan_was_installed(tmp_path, monkeypatch):
    from gpgan.records import provenance

    monkeypatch.setattr(provenance.gpgan, "__file__", str(tmp_path / "gpgan" / "__init__.py"))
    assert provenance._revision() is None
