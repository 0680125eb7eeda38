"""gpgan ladder: a table that gpgan eval places scores on."""

import json

import numpy as np
import pytest
from small_runs import last_json


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def images(tmp_path):
    """Images of bars, which blur and noise change."""
    rng = np.random.default_rng(0)
    values = np.zeros((600, 8, 8), dtype=np.uint8)
    for image in values:
        image[:, rng.integers(8)] = rng.integers(100, 256)
        image[rng.integers(8)] = rng.integers(100, 256)
    np.save(tmp_path / "a.npy", values)
    return tmp_path / "a.npy"


def test_scores_are_placed_on_the_ladder_of_their_data(cli, images, tmp_path):
    status, out, _ = cli("ladder", images, "--features", "raw", "-n", 200, "--json")
    table = last_json(out)
    assert status == 0
    assert table["about"]["n"] == 200
    assert list(table["rungs"]) == ["blur", "noise", "repeats", "copies"]
    scores = [score for _, score in table["rungs"]["blur"]["fd"]]
    assert scores == sorted(scores)
    assert table["rungs"]["copies"]["copied_share"][-1] == [1.0, 1.0]
    # The same images blurred by 1 are as bad as blur 1.
    from gpgan.data import load
    from gpgan.metrics.corruptions import blur

    blurred = blur(load(str(images)).samples(), 1.0)
    np.save(tmp_path / "b.npy", ((blurred + 1) * 127.5).round().numpy().astype(np.uint8))
    arguments = ("--real", images, "--fake", tmp_path / "b.npy", "--features", "raw", "--metrics", "fd", "--json")
    status, out, _ = cli("eval", *arguments, "-n", 200)
    word, name, strength = last_json(out)["fd"]["place"].split()
    assert (status, word, name) == (0, "as", "blur")
    assert float(strength) == pytest.approx(1.0, abs=0.15)


def test_a_file_instead_of_the_cache(cli, images, tmp_path):
    assert cli("ladder", images, "--features", "raw", "-n", 100, "--out", tmp_path / "t.json")[0] == 0
    assert json.loads((tmp_path / "t.json").read_text("utf-8"))["about"]["network"] == "raw"
    assert not (tmp_path / "cache" / "gpgan" / "ladders").exists()


def test_bad_input(cli, tmp_path):
    np.save(tmp_path / "points.npy", np.random.default_rng(0).normal(size=(50, 2)))
    for arguments, message in (
        ([], "DATA is missing"),
        ([tmp_path / "points.npy"], "holds points; expected images"),
        (["digits", "-n", 1], "n is 1; expected a whole number from 2"),
        (["digitz"], "DATA: data is 'digitz'"),
    ):
        status, out, err = cli("ladder", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert message in err
