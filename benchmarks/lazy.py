"""Lazy penalties with and without StyleGAN2's correction: ``python -m benchmarks.lazy``, told in docs/objectives.md.

StyleGAN2 computes its penalty at every k-th step only, in an optimizer step of its own, and multiplies the learning rate by
c = k / (k + 1) and raises the betas to the power c, because k + 1 updates take the place of k (Karras et al., arXiv 1912.04958,
appendix B). CriticStep's penalty shares the update of the loss. Each way trains the preset stylegan-r1 for the same number
of steps, from the same seeds. The result is the exact W1 to held-out samples at four moments of the run.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import machine
from benchmarks.documents import write_into
from gpgan import CriticStep, gradient_penalty
from gpgan.critic.common import CriticStats
from gpgan.metrics.modes import mode_coverage
from gpgan.metrics.transport import wasserstein1
from gpgan.tasks.adversarial import Adversarial, penalty_of
from gpgan.tasks.configure import configure
from gpgan.training.callbacks import Callback
from gpgan.training.trainer import Trainer

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- lazy: written by python -m benchmarks.lazy -->", "<!-- lazy: end -->"
STEPS = {"ring": 10_000, "fashion": 800}
# The number of seeds for each data set and k.
SEEDS = {("ring", 1): 3, ("ring", 16): 3, ("ring", 4): 2, ("fashion", 16): 2}
MOMENTS = 4
COUNT = 2500
WORKERS = 2
EVERY, PLAIN, SHARED, OWN = (
    "penalty at every step",
    "shared step, no correction",
    "shared step, StyleGAN2's correction",
    "own step, StyleGAN2's correction",
)


@dataclass(frozen=True)
class Job:
    data: str
    way: str
    k: int
    seed: int
    steps: int


class Corrected:
    """A critic step with StyleGAN2's learning rate and betas, and with the penalty in a step of its own if ``own``."""

    def __init__(self, task: Adversarial, own: bool) -> None:
        self.critic, self.optimizer = task.critic, task.critic_optimizer
        self.k = task.config.penalty.lazy
        self.penalty = penalty_of(task.config, task.critic)
        self.step = task.critic_step
        if own:
            self.step = CriticStep(task.critic, self.optimizer, penalty=None, objective=task.objective)
        self.own, self.share = own, self.k / (self.k + 1)
        self.state_dict = self.step.state_dict
        for group in self.optimizer.param_groups:
            group["betas"] = tuple(beta**self.share for beta in group["betas"])

    def __call__(self, real: Tensor, fake: Tensor, *, alpha: Tensor, critic_args: tuple[Any, ...] = ()) -> CriticStats:
        [group] = self.optimizer.param_groups
        rate = group["lr"]
        group["lr"] = rate * self.share
        due = self.step.steps % self.k == 0
        stats = self.step(real, fake, alpha=alpha, critic_args=critic_args)
        if self.own and due:
            stats = self._penalty_alone(stats, real, fake, alpha, critic_args)
        group["lr"] = rate
        return stats

    def _penalty_alone(
        self, stats: CriticStats, real: Tensor, fake: Tensor, alpha: Tensor, args: tuple[Any, ...]
    ) -> CriticStats:
        assert self.penalty is not None
        self.optimizer.zero_grad()
        settings = {"target": self.penalty.target, "one_sided": self.penalty.one_sided, "points": self.penalty.points}
        value, norms = gradient_penalty(
            self.critic,
            real,
            fake,
            weight=self.k * self.penalty.weight,
            alpha=alpha,
            critic_args=args,
            return_norms=True,
            **settings,
        )
        value.backward()
        self.optimizer.step()
        return replace(stats, penalty=value.detach(), norms=norms)


class Measured(Callback):
    """Keeps W1 at equally spaced steps."""

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = []

    def on_step(self, trainer: Trainer) -> None:
        if trainer.step % (trainer.config.steps // MOMENTS) == 0:
            self.history.append({"step": trainer.step, **measured(trainer)})


def measured(trainer: Trainer) -> dict[str, Any]:
    """W1 to held-out samples and, for a mixture, its modes."""
    data = trainer.dataset
    assert data.held_out is not None
    chosen = torch.randperm(len(data.held_out), generator=torch.Generator().manual_seed(0))[:COUNT]
    samples = trainer.task.generated(data, len(chosen), 0).samples
    numbers: dict[str, Any] = {"w1": wasserstein1(samples, data.scaled(data.held_out[chosen]))}
    if data.modes is not None:
        found = mode_coverage(samples * data.scale + data.offset, data.modes)
        numbers |= {"modes_captured": found.captured, "modes_high_quality": found.high_quality}
    return numbers


def jobs(options: argparse.Namespace) -> list[Job]:
    """All runs, every way once before any has a second seed."""
    return [
        Job(data, way, k, seed, options.steps or STEPS[data])
        for seed in range(max(SEEDS.values()))
        for (data, k), seeds in SEEDS.items()
        for way in ((PLAIN, SHARED, OWN) if k > 1 else (EVERY,))
        if seed < seeds and data in options.data
    ]


def train(job: Job) -> dict[str, Any]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        config = configure(
            job.data, preset="stylegan-r1", seed=job.seed, threads=1, steps=job.steps, out=Path(folder),
            tick=max(job.steps // 10, job.k), snapshot=job.steps, checkpoint=job.steps, penalty={"lazy": job.k},
        )  # fmt: skip
        kept = Measured()
        trainer = Trainer(config, callbacks=[kept])
        if job.way in (SHARED, OWN):
            trainer.task.critic_step = Corrected(trainer.task, own=job.way == OWN)
        begun = time.process_time()
        trainer.fit()
    shown = {"data": job.data, "way": job.way, "k": job.k, "seed": job.seed}
    sys.stderr.write(f"{shown} {kept.history[-1]}\n")
    return {**shown, "seconds": time.process_time() - begun, "history": kept.history}


def recorded(numbers: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The runs of an interrupted call that had the same number of steps."""
    runs = json.loads(numbers.read_text("utf-8"))["runs"] if numbers.exists() else []
    return [run for run in runs if run["history"][-1]["step"] == (options.steps or STEPS[run["data"]])]


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: mean and range over the seeds of W1 at half of the run and at its end."""
    lines = [
        "| data | k | penalty and correction | W1, half-way | W1, at the end | seeds |",
        "|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, int, str], list[list[float]]] = {}
    for run in runs:
        groups.setdefault((run["data"], run["k"], run["way"]), []).append([each["w1"] for each in run["history"]])
    for (data, k, way), curves in groups.items():
        half, end = (_spread([curve[i] for curve in curves]) for i in (MOMENTS // 2 - 1, MOMENTS - 1))
        lines.append(f"| {data} | {k} | {way} | {half} | {end} | {len(curves)} |")
    return "\n".join(lines) + "\n"


def block(record: dict[str, Any], numbers: str) -> str:
    """What the document shows; ``numbers`` is the name of the record's file."""
    about = record["machine"]
    head = (
        f"{about['cpu']}, one thread, torch {about['torch']}, {record['date']}: `{about['command']}`; "
        f"[every run](../benchmarks/results/{numbers})\n\n"
    )
    return head + table(record["runs"])


def _spread(values: list[float]) -> str:
    return f"{statistics.fmean(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lazy", description=__doc__)
    parser.add_argument("--steps", type=int, default=0, help="of every run; 0: as the table has them")
    parser.add_argument("--data", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--doc", type=Path, help="document to write the table into")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the numbers")
    options = parser.parse_args()
    date = str(datetime.date.today())
    described = machine.describe("cpu", "python -m benchmarks.lazy --data " + " ".join(options.data))
    described["cpu_threads"] = 1
    options.output.mkdir(parents=True, exist_ok=True)
    numbers = options.output / f"{machine.slug('cpu')}-lazy-{date}.json"
    os.nice(5)
    runs = recorded(numbers, options)
    done = {(run["data"], run["way"], run["k"], run["seed"]) for run in runs}
    left = [job for job in jobs(options) if (job.data, job.way, job.k, job.seed) not in done]

    def write() -> None:
        record = {"machine": described, "date": date, "steps": STEPS, "runs": runs}
        numbers.write_text(json.dumps(record, indent=1) + "\n", "utf-8")

    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        for run in pool.map(train, left):
            runs.append(run)
            write()  # kept if the rest is interrupted
    write()
    sys.stdout.write(table(runs))
    if options.doc is not None:
        write_into(options.doc, BEGIN, END, block(json.loads(numbers.read_text("utf-8")), numbers.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
