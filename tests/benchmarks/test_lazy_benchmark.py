"""The comparison of lazy penalties: what its ways do, and that its table is written from its runs."""

from __future__ import annotations

import contextlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from same_runs import draw_bits
from torch import Tensor, nn

from benchmarks import lazy
from gpgan import gradient_penalty
from gpgan.data import load
from gpgan.tasks.configure import configure
from gpgan.training.trainer import Trainer


@pytest.mark.parametrize("own", [False, True], ids=["shared step", "own step"])
def test_a_corrected_step_is_the_papers(tmp_path: Path, own: bool) -> None:
    config = configure("ring", load("ring"), preset="stylegan-r1", seed=0, threads=1, out=tmp_path, penalty={"lazy": 3})
    critics = [Trainer(config).task for _ in range(2)]
    step, other = lazy.Corrected(critics[0], own), critics[1].critic
    optimizer = torch.optim.Adam(other.parameters(), lr=1e-3 * 3 / 4, betas=(0.0, 0.99**0.75))

    def update(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    rng = torch.Generator().manual_seed(3)
    for number in range(4):
        real, fake = torch.randn(2, 8, 2, generator=rng)
        stats = step(real, fake, alpha=torch.full((8,), 0.5))
        due = number in (0, 3)
        assert (stats.penalty is not None) == due
        loss = nn.functional.softplus(-other(real)).mean() + nn.functional.softplus(other(fake)).mean()
        if own or not due:
            update(loss)
            loss = torch.zeros(())
        if due:
            update(loss + gradient_penalty(other, real, fake, points="real", target=0, weight=15.0))
    for mine, theirs in zip(critics[0].critic.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert step.optimizer.param_groups[0]["lr"] == 1e-3


def test_runs_are_kept_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pool(*_: Any, **__: Any) -> Any:
        return contextlib.nullcontext(types.SimpleNamespace(map=map))

    draw_bits(monkeypatch)
    monkeypatch.setattr(lazy, "ProcessPoolExecutor", pool)
    monkeypatch.setattr(lazy, "COUNT", 20)
    monkeypatch.setattr(lazy, "SEEDS", {("ring", 1): 1, ("ring", 2): 1})
    monkeypatch.setattr(lazy.os, "nice", lambda _: None)
    document = tmp_path / "page.md"
    document.write_text(f"{lazy.BEGIN}\n{lazy.END}\n")
    given = ["--steps", "4", "--data", "ring", "--output", str(tmp_path / "results"), "--doc", str(document)]
    monkeypatch.setattr(sys, "argv", ["lazy", *given])
    assert lazy.main() == 0
    [numbers] = (tmp_path / "results").iterdir()
    runs = json.loads(numbers.read_text())["runs"]
    assert [(run["k"], run["way"]) for run in runs] == [
        (1, lazy.EVERY),
        *((2, w) for w in (lazy.PLAIN, lazy.SHARED, lazy.OWN)),
    ]
    assert [[each["step"] for each in run["history"]] for run in runs] == [[1, 2, 3, 4]] * 4
    assert len({run["history"][-1]["w1"] for run in runs}) == 4
    for run in runs:
        assert f"| ring | {run['k']} | {run['way']} |" in document.read_text()
    monkeypatch.setattr(lazy, "train", lambda job: pytest.fail(f"{job} was finished"))
    assert lazy.main() == 0
