"""gpgan compare: what it shows, and what it refuses to compare."""

import json

import pytest
from PIL import Image
from small_runs import last_json

METRICS = ("kd", "coverage")


def line(step=100, score=5.0, **changes):
    """A line of metrics.jsonl."""
    result = {"score": score, "floor": 1.0, "floor_deviation": 0.1, "n": 50}
    made = {
        "step": step, "images": 64 * step, "cpu_seconds": 2.0 * step, "part": "report", "n": 50, "kind": "images", "data": "abc",
        "network": "lite0 123", "metrics": dict.fromkeys(METRICS, result),
    }  # fmt: skip
    return {**made, **changes}


def make_run(folder, *lines, tracked=True):
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines), "utf-8")
    stats = [
        {"step": s, "images": 64 * s, "cpu_seconds": 2.0 * s, "kd": 900 / s if tracked else None} for s in (1, 2, 3)
    ]
    (folder / "stats.jsonl").write_text("".join(json.dumps(each) + "\n" for each in stats), "utf-8")
    return folder


def test_the_last_evaluations_in_one_table_and_one_plot(cli, tmp_path):
    a = make_run(tmp_path / "a", line(10, 99.0), line(100, 5.0))
    b = make_run(tmp_path / "b", line(200, 7.0))
    status, out, err = cli("compare", a, b, "--out", tmp_path / "c.png", "--json")
    assert (status, err) == (0, "")
    rows = [row.split() for row in out.splitlines()]
    assert rows[0] == ["run", "step", "CPU", "s", "images", "kd", "coverage"]
    assert rows[1] == ["a", "100", "200", "6400", "5", "5"]
    assert rows[2] == ["b", "200", "400", "12800", "7", "7"]
    assert rows[3] == ["real", "samples", "1", "1"]
    assert last_json(out)["a"]["step"] == 100
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.width > 800


def test_chosen_metrics(cli, tmp_path):
    a, b = (make_run(tmp_path / name, line()) for name in "ab")
    status, out, _ = cli("compare", a, b, "--metrics", "coverage", "--out", tmp_path / "c.png")
    assert (status, out.splitlines()[0].split()[-1]) == (0, "coverage")
    status, _, err = cli("compare", a, b, "--metrics", "fd", "--out", tmp_path / "c.png")
    assert status == 2
    assert "metrics has 'fd'; expected metrics that every run has: kd, coverage" in err


def test_without_evaluation_during_training_there_is_no_plot(cli, tmp_path):
    a, b = (make_run(tmp_path / name, line(), tracked=False) for name in "ab")
    status, out, _ = cli("compare", a, b, "--out", tmp_path / "c.png")
    assert status == 0
    assert "no plot: none of these runs was evaluated during training" in out
    assert not (tmp_path / "c.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 60}, "the samples of each set of a is 50 and of b 60; expected the same"),
        ({"network": "raw 1"}, "the feature network of a is lite0 123 and of b raw 1"),
        ({"data": "other"}, "the data of a is abc and of b other"),
    ],
)
def test_what_cannot_be_compared(cli, tmp_path, change, message):
    a, b = make_run(tmp_path / "a", line()), make_run(tmp_path / "b", line(**change))
    status, out, err = cli("compare", a, b, "--out", tmp_path / "c.png")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_bad_input(cli, tmp_path):
    a = make_run(tmp_path / "a", line())
    empty = make_run(tmp_path / "b")
    for arguments, message in (
        ([a], "1 runs are given; expected two or more"),
        ([a, empty], f"{empty} has not been evaluated; expected a run with metrics.jsonl: gpgan eval {empty}"),
        ([a, tmp_path / "none"], "has not been evaluated"),
    ):
        status, out, err = cli("compare", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert message in err


def test_runs_of_the_same_name(cli, tmp_path):
    (tmp_path / "x").mkdir()
    a, b = make_run(tmp_path / "a", line()), make_run(tmp_path / "x" / "a", line())
    _, out, _ = cli("compare", a, b, "--out", tmp_path / "c.png")
    assert [row.split()[0] for row in out.splitlines()[1:3]] == [str(a), str(b)]
