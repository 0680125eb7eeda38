"""``python -m benchmarks loop``: what the trainer's loop adds to the steps of critic and generator.

A run trains as ``gpgan train`` does, with statistics, curves, pictures and checkpoints at their default intervals. After
every tick a callback pauses it, and times as many steps of each of these in turn:

- steps: the generator's forward and CriticStep for each critic step, then the generator's update, on prepared real samples,
  latents and alphas;
- updates: the same without the forwards, on prepared fakes;
- rounds: the trainer's own steps, which also draw data and random numbers and average the weights.

The run's time beyond the steps is the loop's.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import functools
import itertools
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from pytest_benchmark.utils import get_commit_info
from torch import Tensor

from benchmarks import machine, measure
from benchmarks.critic_step.command import THREADS, use_threads
from benchmarks.table import markdown, time_text
from gpgan import CriticStep
from gpgan.data import load
from gpgan.tasks.configure import configure
from gpgan.tasks.generation.config import Config
from gpgan.tasks.updates import verdict
from gpgan.training.callbacks import Callback
from gpgan.training.trainer import Trainer

# Data sets, and the number of periods measured: one of fashion takes minutes.
DATA = {"ring": 5, "digits": 5, "fashion": 1}
LIMIT = 1.05
QUICK = {"tick": 2, "snapshot": 4, "checkpoint": 4, "batch": 8}

Part = Callable[[], Any]


class SkippingClock:
    """time.monotonic without the skipped time: a paused run does not see it pass, and so draws no more curves than it would
    alone."""

    def __init__(self) -> None:
        self.real, self.skipped = time.monotonic, 0.0

    def __call__(self) -> float:
        return self.real() - self.skipped


class Stops(Callback):
    """Pauses a run after every ``chunk`` steps, from the first step on, and times as many steps of each part.

    Attributes:
        seconds: For each part, the seconds of each chunk; ``fit`` is the run itself.
    """

    def __init__(self, parts: Mapping[str, Part], chunk: int, clock: SkippingClock, wait: Part) -> None:
        self.parts, self.chunk, self.clock, self.wait = parts, chunk, clock, wait
        self.seconds: dict[str, list[float]] = {name: [] for name in ("fit", *parts)}
        self.begun: float | None = None

    def on_step(self, trainer: Trainer) -> None:
        if (trainer.step - 1) % self.chunk:
            return
        self.wait()
        stopped = self.clock.real()
        if self.begun is not None:
            self.seconds["fit"].append(stopped - self.begun)
        for name, part in self.parts.items():
            if self.begun is None:
                part()  # warm-up
                continue
            begin = time.perf_counter()
            for _ in range(self.chunk):
                part()
            self.wait()
            self.seconds[name].append(time.perf_counter() - begin)
        self.begun = self.clock.real()
        self.clock.skipped += self.begun - stopped


class Steps:
    """Only the arithmetic of a step, on copies of a trainer's networks."""

    def __init__(self, trainer: Trainer) -> None:
        config, device = trainer.config, trainer.config.device
        self.critics = range(config.n_critic)
        self.generator, self.critic = (copy.deepcopy(net) for net in (trainer.generator, trainer.critic))
        adam = functools.partial(
            torch.optim.Adam, lr=config.optimizer.lr, betas=(config.optimizer.beta1, config.optimizer.beta2), fused=True
        )
        self.optimizer = adam(self.generator.parameters())
        self.objective = trainer.task.objective
        self.critic_step = CriticStep(
            self.critic,
            adam(self.critic.parameters()),
            penalty=trainer.task.critic_step.penalty,
            objective=self.objective.critic,
            lazy=config.penalty.lazy,
        )
        self.real = trainer.dataset.samples(torch.arange(config.batch)).to(device)
        self.latents = torch.randn(config.batch, config.network.latent).to(device)
        self.alpha = torch.rand(config.batch).to(device)
        self.fake = self._make_fake()

    def steps(self) -> None:
        for _ in self.critics:
            self.critic_step(self.real, self._make_fake(), alpha=self.alpha)
        self._update_generator()

    def updates(self) -> None:
        for _ in self.critics:
            self.critic_step(self.real, self.fake, alpha=self.alpha)
        self._update_generator()

    @torch.no_grad()
    def _make_fake(self) -> Tensor:
        fake: Tensor = self.generator(self.latents)
        return fake

    def _update_generator(self) -> None:
        self.critic.requires_grad_(False)
        self.optimizer.zero_grad()
        verdict(self.objective, self.critic, self.generator(self.latents), self.real, ()).backward()
        self.optimizer.step()
        self.critic.requires_grad_(True)

    def check(self) -> None:
        """Raises if a weight is not finite: arithmetic on such numbers may take a different time."""
        if not all(bool(p.isfinite().all()) for net in (self.generator, self.critic) for p in net.parameters()):
            raise FloatingPointError("the bare steps diverged, so their times are meaningless")


def measure_data(data: str, device: str, quick: bool, periods: int) -> dict[str, Any]:
    """One data set: seconds per generator step with its critic steps, by part, and their ratios, over the periods."""
    dataset = load(data)
    config = configure(data, dataset, device=device, **(QUICK if quick else {}))
    if quick:
        config = replace(config, network=replace(config.network, width=8))
    period = math.lcm(config.tick, config.snapshot, config.checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        # One step more than whole periods: the first step is the warm-up, and the last one's records belong to the end.
        config = replace(config, out=Path(folder), steps=periods * period + 1)
        return _measure_run(data, config, period, functools.partial(Trainer, config, dataset=dataset))


def _measure_run(data: str, config: Config, period: int, make: Callable[..., Trainer]) -> dict[str, Any]:
    clock = SkippingClock()
    wait: Part = torch.cuda.synchronize if config.device.startswith("cuda") else lambda: None
    alone = make()
    bare, numbers = Steps(alone), itertools.count(1)
    parts = {"steps": bare.steps, "updates": bare.updates, "rounds": lambda: alone.task.step(next(numbers))}
    stops = Stops(parts, config.tick, clock, wait)
    trainer = make(callbacks=[stops])
    with mock.patch("time.monotonic", clock):
        begun = time.monotonic()
        trainer.fit()
        whole = time.monotonic() - begun
    bare.check()
    return {
        "data": data,
        "network": f"{trainer.config.network.kind} {trainer.config.network.width}",
        "batch": config.batch,
        "n_critic": config.n_critic,
        "threads": trainer.config.threads,
        "period": period,
        **summary(stops.seconds, period, config.tick),
        "start_and_end_seconds": whole - sum(stops.seconds["fit"]),
    }


def summary(seconds: Mapping[str, list[float]], period: int, chunk: int) -> dict[str, Any]:
    """Times over whole periods, from the chunks' seconds; ``seconds`` of the result are per step."""
    size = period // chunk
    sums = {name: [sum(values[i : i + size]) for i in range(0, len(values), size)] for name, values in seconds.items()}
    return {
        "periods": len(sums["fit"]),
        "seconds": {name: measure.spread([value / period for value in values]) for name, values in sums.items()},
        "times_steps": measure.spread([a / b for a, b in zip(sums["fit"], sums["steps"], strict=True)]),
        "times_updates": measure.spread([a / b for a, b in zip(sums["fit"], sums["updates"], strict=True)]),
        "times_steps_in_all": sum(sums["fit"]) / sum(sums["steps"]),
    }


def _spread(values: dict[str, float]) -> str:
    quartiles = f" ({values['q1']:.3f} to {values['q3']:.3f})" if values["q1"] < values["q3"] else ""
    return f"{values['median']:.3f}{quartiles}"


def _row(case: dict[str, Any], quick: bool) -> list[str]:
    seconds = {name: values["median"] for name, values in case["seconds"].items()}
    parts = (
        seconds["updates"],
        seconds["steps"] - seconds["updates"],
        seconds["rounds"] - seconds["steps"],
        seconds["fit"] - seconds["rounds"],
    )
    ratio = case["times_steps"]
    verdict = "not judged" if quick else "met" if ratio["median"] <= LIMIT else "MISSED"
    return [
        f"{case['data']}: {case['network']}, B {case['batch']}, {case['n_critic']} + 1",
        str(case["threads"]),
        time_text(seconds["fit"]),
        *(f"{100 * part / seconds['fit']:.1f}" for part in parts),
        f"{_spread(ratio)}, {verdict}",
        f"{case['times_steps_in_all']:.3f}",
        _spread(case["times_updates"]),
        f"{case['start_and_end_seconds']:.1f} s",
    ]


HEADER = [
    "data: network, batch, critic + generator steps",
    "threads",
    "time",
    "updates %",
    "fakes %",
    "drawing %",
    "records %",
    f"run / steps, at most {LIMIT}",
    "in all",
    "run / updates",
    "start and end",
]


def render(result: dict[str, Any]) -> str:
    """The Markdown page."""
    title = f"# The trainer's loop: {result['machine'].get('gpu', result['machine']['cpu'])}, {result['date']}"
    about = {**result["machine"], "commit": result["commit"].get("id", "unknown")}
    lines = [title, "", "Written by the command below from the JSON of the same name.", ""]
    lines += markdown(["", ""], [[name, f"`{value}`"] for name, value in about.items()])
    if result["cases"]:
        lines += ["", *markdown(HEADER, [_row(case, result["quick"]) for case in result["cases"]]), ""]
        lines += [
            "Time: a generator step with its critic steps in the run, the median over periods. A period holds whole intervals of",
            "statistics, pictures and checkpoints. Of that time, in percent: the updates on prepared samples; the generator's",
            "forwards for the critic steps, which together with the updates are the steps; what the trainer's steps add (drawing",
            "data, latents and alphas, the averaged generator); what the rest of the run adds (statistics, curves, pictures,",
            "checkpoints). Ratios: median and quartiles over the periods; run and bare steps take turns at every line of",
            "statistics. In all: the sums over all periods. Start and end of a run are separate.",
        ]
    lines += ["", *(f"- {name}: left out, {why}" for name, why in result["left_out"].items())]
    return "\n".join(lines).rstrip() + "\n"


def main(options: argparse.Namespace, given: str) -> int:
    """Returns 1 if the target is missed or nothing was measured. ``given``: the options, for the record in the result."""
    end = math.inf if options.deadline is None else time.monotonic() + options.deadline
    if options.device == "cpu":
        use_threads(1 if options.quick else THREADS)
        if options.memory == "kept":
            measure.keep_freed_memory()
    chosen = [data for data in DATA if (options.only or "") in data]
    if not chosen:
        sys.exit(f"no data set's name contains {options.only!r}; there are {', '.join(DATA)}")
    result: dict[str, Any] = {
        "kind": "loop",
        "device": options.device,
        "quick": options.quick,
        "date": str(datetime.date.today()),
        "machine": machine.describe(options.device, f"python -m benchmarks {given}") | {"memory": options.memory},
        "commit": {name: value for name, value in get_commit_info().items() if name in ("id", "dirty")},
        "cases": [],
        "left_out": {},
    }
    for data in chosen:
        if time.monotonic() > end:
            result["left_out"][data] = "the deadline had passed"
            continue
        sys.stderr.write(f"{data}\n")
        try:
            result["cases"].append(measure_data(data, options.device, options.quick, DATA[data]))
        except (ValueError, ModuleNotFoundError) as error:  # not installed
            result["left_out"][data] = str(error)
    stem = options.output / f"{machine.slug(options.device)}-loop-{result['date']}"
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    stem.with_suffix(".md").write_text(render(result))
    sys.stdout.write(render(result))
    missed = not options.quick and any(case["times_steps"]["median"] > LIMIT for case in result["cases"])
    return int(missed or not result["cases"])
