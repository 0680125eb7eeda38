"""gpgan eval: a run's numbers compared with direct computations, and comparisons of any two sets."""

import json
import math

import numpy as np
import pytest
import torch
from small_runs import last_json

from gpgan.data import load, split
from gpgan.metrics import mode_coverage, wasserstein1
from gpgan.nn import build
from gpgan.records import checkpoint

COUNT = 60


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def samples_of(run, kind, shape, count, seed, classes=0):
    """The saved generator's samples (the average's), and the critic."""
    state = checkpoint.newest(run)[0]
    generator, critic = build(kind, shape, latent=4, width=4, depth=3, classes=classes, rng=torch.Generator())
    generator.load_state_dict(state["average"])
    critic.load_state_dict(state["critic"])
    with torch.no_grad():
        return generator.eval()(torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))), critic.eval()


def evaluated(cli, run, *arguments):
    status, out, err = cli("eval", run, "--json", *arguments)
    assert (status, err) == (0, "")
    line = json.loads((run / "metrics.jsonl").read_text("utf-8").splitlines()[-1])
    assert last_json(out) == line["metrics"]
    return line["metrics"], out


def test_numbers_of_a_run(cli, trained):
    run = trained("ring")
    metrics, out = evaluated(cli, run, "-n", COUNT, "--seed", 7)
    samples, _ = samples_of(run, "mlp", (2,), COUNT, 7)
    held_out = split(load("ring"))
    chosen = torch.randperm(len(held_out.held_out), generator=torch.Generator().manual_seed(7))[:COUNT]
    real = held_out.scaled(held_out.held_out[chosen])
    assert metrics["w1"]["score"] == pytest.approx(wasserstein1(samples, real), rel=1e-6)
    coverage = mode_coverage(samples, held_out.modes)
    assert metrics["modes"]["score"] == coverage.captured
    assert metrics["modes"]["details"]["high_quality"] == pytest.approx(coverage.high_quality)
    assert metrics["w1"]["n"] == COUNT
    assert metrics["w1"]["draws"] == 5
    assert 0 < metrics["w1"]["floor"] < metrics["w1"]["score"]
    assert out.splitlines()[0].split() == ["metric", "score", "real", "samples", "score", "n"]


def test_the_record_of_an_evaluation(cli, trained):
    run = trained()
    evaluated(cli, run, "-n", COUNT)
    line = json.loads((run / "metrics.jsonl").read_text("utf-8").splitlines()[-1])
    assert (line["step"], line["n"], line["part"], line["held_out"], line["kind"]) == (
        4,
        COUNT,
        "report",
        True,
        "images",
    )
    assert line["images"] == 4 * 8
    assert line["cpu_seconds"] > 0
    assert line["network"].startswith("digits ")
    assert {"kd", "precision", "recall", "coverage", "class_kl", "gradient_norm"} <= set(line["metrics"])
    assert "fd" not in line["metrics"]  # 60 samples have no Fréchet distance of 64 features


def test_a_perfect_generator_scores_the_floor(cli, trained, monkeypatch):
    data = split(load("ring"))
    monkeypatch.setattr(
        "gpgan.tasks.generation.task.run_sampler", lambda sampler, inputs, batch: data.samples(slice(len(inputs[0])))
    )
    metrics, _ = evaluated(cli, trained("ring"), "-n", 1000)
    for name in ("w1", "sliced_w", "coverage", "recall", "precision"):
        entry = metrics[name]
        assert abs(entry["score"] - entry["floor"]) <= max(6 * entry["floor_deviation"], 0.02), name
    assert metrics["modes"]["score"] == 8
    # They are training samples, of which 60,000 are searched.
    searched = metrics["copied_share"]["settings"]["training samples"]
    assert metrics["copied_share"]["score"] == pytest.approx(searched / len(data), abs=0.06)


def test_named_metrics_only(cli, trained):
    metrics, _ = evaluated(cli, trained(), "-n", COUNT, "--metrics", "kd, coverage", "--features", "raw")
    assert list(metrics) == ["kd", "coverage"]


def test_few_samples(cli, trained):
    run = trained()
    status, _, err = cli("eval", run, "-n", 500, "--metrics", "kd")
    assert status == 0
    assert "n is 500 and only 179 samples of each set can be compared" in err
    status, out, err = cli("eval", run, "-n", 40, "--metrics", "fd")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "fd" in err
    assert "kd" in err


@pytest.mark.parametrize("shape", [(1, 6, 6, 6), (3, 8, 8), (1,)], ids=["volumes", "colours", "numbers"])
def test_samples_of_other_shapes(cli, tmp_path, quick, undrawn, shape):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 256, (400, *shape), dtype=np.uint8))
    assert cli("train", tmp_path / "a.npy", *quick, "--out", tmp_path, "--name", "mine")[0] == 0
    metrics, _ = evaluated(cli, tmp_path / "mine", "-n", 30, "--features", "raw", "--metrics", "w1,coverage")
    assert metrics["w1"]["score"] > 0


def test_the_page_has_the_numbers(cli, trained):
    run = trained()
    metrics, _ = evaluated(cli, run, "-n", 20, "--metrics", "kd,coverage")
    page = (run / "report.html").read_text("utf-8")
    assert f"{metrics['kd']['score']:.6g}" in page
    assert f"{metrics['kd']['floor']:.6g} ± " in page


def test_same_seed_same_numbers(cli, trained):
    run = trained("ring")
    first, again, other = (evaluated(cli, run, "-n", 50, "--seed", seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first["w1"]["score"] != other["w1"]["score"]


def test_the_best_checkpoint(cli, trained):
    run = trained()
    state = checkpoint.read(run / "checkpoints" / "best.pt")
    assert cli("eval", run, "-n", 20, "--metrics", "kd", "--best")[0] == 0
    line = json.loads((run / "metrics.jsonl").read_text("utf-8").splitlines()[-1])
    assert (line["step"], line["best"]) == (state["step"], True)


def near_floor(result):
    return abs(result["score"] - result["floor"]) < 6 * result["floor_deviation"]


class TestTwoSets:
    """``--real A --fake B``."""

    @staticmethod
    def images(path, count, seed=0, scale=1.0, offset=0.0, dtype=np.float32, shape=(8, 8)):
        values = np.random.default_rng(seed).random((count, *shape)) * scale + offset
        np.save(path, values.astype(dtype))
        return path

    def compared(self, cli, tmp_path, real, fake, *more):
        arguments = ("--features", "raw", "--metrics", "kd,coverage", "--json")
        status, out, err = cli("eval", "--real", real, "--fake", fake, *arguments, *more)
        return (last_json(out) if status == 0 else None), status, err

    def test_equal_distributions_score_the_floor(self, cli, tmp_path):
        real, fake = self.images(tmp_path / "a.npy", 1000), self.images(tmp_path / "b.npy", 200, seed=1)
        metrics, _, err = self.compared(cli, tmp_path, real, fake)
        assert err == ""
        assert metrics["kd"]["n"] == 200
        assert near_floor(metrics["kd"])
        assert metrics["coverage"]["score"] == pytest.approx(metrics["coverage"]["floor"], abs=0.1)

    def test_files_of_a_comparison(self, cli, tmp_path):
        real, fake = self.images(tmp_path / "a.npy", 300), self.images(tmp_path / "b.npy", 150, seed=1)
        cli("eval", "--real", real, "--fake", fake, "--features", "raw", "--out", tmp_path / "out")
        assert {path.name for path in (tmp_path / "out").iterdir()} == {
            "metrics.jsonl",
            "report.html",
            "neighbours.png",
        }

    def test_sorted_samples_score_as_shuffled_ones(self, cli, tmp_path):
        """Complaint: the first n samples of a sorted set are of one class."""
        values = np.sort(np.random.default_rng(0).random((400, 1, 8, 8)), axis=0)
        np.save(tmp_path / "a.npy", values.astype(np.float32))
        metrics, _, _ = self.compared(cli, tmp_path, tmp_path / "a.npy", tmp_path / "a.npy", "-n", 100)
        assert near_floor(metrics["kd"])

    def test_too_few_for_a_floor(self, cli, tmp_path):
        real, fake = self.images(tmp_path / "a.npy", 100), self.images(tmp_path / "b.npy", 100, seed=1)
        metrics, _, _ = self.compared(cli, tmp_path, real, fake, "-n", 100)
        assert (metrics["kd"]["n"], metrics["kd"]["floor"]) == (100, None)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"shape": (8, 9)}, "fake has samples of shape (1, 8, 9) and real (1, 8, 8); expected the same shape"),
            ({"scale": 2.0, "offset": -1.0}, "fake has values from -1 to 1 and real from 0 to 1; expected one range"),
            ({"scale": 255.0}, "fake has values from"),
            ({"offset": math.nan}, "NaN or infinite values; expected finite ones"),
        ],
    )
    def test_sets_that_do_not_go_together(self, cli, tmp_path, change, message):
        """Complaint: images from 0 to 1 were compared with images from -1 to 1."""
        real, fake = self.images(tmp_path / "a.npy", 100), self.images(tmp_path / "b.npy", 100, **change)
        _, status, err = self.compared(cli, tmp_path, real, fake)
        assert (status, err.count("\n")) == (2, 1)
        assert message in err

    def test_bytes_and_floats_are_compared_with_a_warning(self, cli, tmp_path):
        real = self.images(tmp_path / "a.npy", 1000)
        fake = self.images(tmp_path / "b.npy", 200, seed=1, scale=255.99, dtype=np.uint8)
        metrics, _, err = self.compared(cli, tmp_path, real, fake)
        assert "fake has values from 0 to 255 and real from 0 to 1: each range is mapped to -1..1" in err
        assert near_floor(metrics["kd"])

    def test_grey_against_colours(self, cli, tmp_path):
        """Complaint: grey images were refused or misread."""
        grey = np.random.default_rng(0).random((700, 1, 8, 8)).astype(np.float32)
        np.save(tmp_path / "grey.npy", grey[:100])
        np.save(tmp_path / "rgb.npy", np.repeat(grey[100:], 3, 1))
        metrics, _, err = self.compared(cli, tmp_path, tmp_path / "rgb.npy", tmp_path / "grey.npy")
        assert "grey images are compared as three equal channels" in err
        assert near_floor(metrics["kd"])

    def test_jpeg_against_png(self, cli, tmp_path):
        """Complaint: PNG was compared with JPEG, whose compression alone raises every distance."""
        from PIL import Image

        for folder, suffix in (("real", "png"), ("fake", "jpg")):
            (tmp_path / folder).mkdir()
            for i in range(40):
                pixels = np.random.default_rng(i).integers(0, 256, (16, 16), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / folder / f"{i}.{suffix}")
        _, status, err = self.compared(cli, tmp_path, tmp_path / "real", tmp_path / "fake")
        assert status == 0
        assert "fake holds JPEG or other lossy images and real does not" in err

    def test_pickled_arrays(self, cli, tmp_path):
        np.save(tmp_path / "b.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
        real = self.images(tmp_path / "a.npy", 100)
        _, status, err = self.compared(cli, tmp_path, real, tmp_path / "b.npy")
        assert (status, err.count("\n")) == (2, 1)

    def test_a_run_against_an_array(self, cli, tmp_path, trained):
        run = trained()
        metrics, status, err = self.compared(cli, tmp_path, "digits", run, "-n", 100)
        assert (status, err) == (0, "")
        itself, _, _ = self.compared(cli, tmp_path, run, run, "-n", 100)
        assert metrics["kd"]["n"] == itself["kd"]["n"] == 100


BAD = {
    "nothing": ([], "expected a run's folder, or both --real and --fake"),
    "only reals": (["--real", "digits"], "expected a run's folder, or both --real and --fake"),
    "run and reals": (["{run}", "--real", "digits"], "expected a run's folder, or both --real and --fake"),
    "none": (["{tmp}/none"], "{tmp}/none has no checkpoint"),
    "one sample": (["{run}", "-n", "1"], "n is 1; expected a whole number from 2 to 60000"),
    "seed": (["{run}", "--seed", "-1"], "seed is -1; expected a whole number from 0 to"),
    "unknown flag": (["{run}", "--sed", "1"], "did you mean --seed?"),
    "unknown metric": (["{run}", "--metrics", "kid"], "metrics has 'kid'; expected all, kd,"),
    "unknown features": (["{run}", "--features", "lite"], "did you mean lite0?"),
    "unknown device": (["{run}", "--device", "cuda:99"], "device is 'cuda:99', which this torch cannot use"),
    "out of a run": (["{run}", "--out", "{tmp}"], "expected no --out"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(cli, trained, tmp_path, case):
    run = trained("conv")
    arguments, message = BAD[case]
    status, out, err = cli("eval", *[argument.format(run=run, tmp=tmp_path) for argument in arguments])
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message.format(tmp=tmp_path) in err
    assert not (run / "metrics.jsonl").exists()


def test_data_that_changed(cli, tmp_path, quick, undrawn):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(30, 2)))
    assert cli("train", tmp_path / "a.npy", *quick, "--out", tmp_path, "--name", "mine")[0] == 0
    np.save(tmp_path / "a.npy", np.random.default_rng(1).normal(size=(30, 2)))
    status, out, err = cli("eval", tmp_path / "mine")
    assert (status, out) == (2, "")
    assert f"the data of {tmp_path}/mine changed since it was saved; expected the same data: {tmp_path}/a.npy" in err
