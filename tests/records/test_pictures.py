"""Finding the snapshots in a run's folder."""

import math
from itertools import pairwise

import pytest

from gpgan.records.pictures import snapshots


def test_snapshots_are_in_the_order_of_steps(tmp_path):
    names = ["fakes_1000000.png", "fakes_999999.png", "fakes_000500.png", "fakes_init.png"]
    for name in [*names, "fakes_x.png", "fakes.gif", ".fakes_000600.png.partial", "reals.png"]:
        (tmp_path / name).touch()
    assert snapshots(tmp_path, 10) == [
        (step, tmp_path / name) for step, name in zip((0, 500, 999999, 1000000), reversed(names), strict=True)
    ]


@pytest.mark.parametrize(("count", "most"), [(61, 60), (200, 12), (12, 12), (3, 12), (2, 2), (0, 5)])
def test_snapshots_are_thinned_evenly(tmp_path, count, most):
    for step in range(1, count + 1):
        (tmp_path / f"fakes_{step:06d}.png").touch()
    steps = [step for step, _ in snapshots(tmp_path, most)]
    assert len(steps) == min(count, most)
    if count:
        assert (steps[0], steps[-1]) == (1, count)
        gaps = {after - before for before, after in pairwise(steps)}
        mean = (count - 1) / (len(steps) - 1)
        assert gaps <= {math.floor(mean), math.ceil(mean)}
