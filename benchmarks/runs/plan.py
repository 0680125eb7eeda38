"""What a table of training runs is, and what it costs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from gpgan.training.trainer import Trainer

Scale = Literal["small", "full", "smoke"]
Record = dict[str, Any]
# The machine that plans are made for, and the most CPU minutes of each of its cores that a table may take.
CORES, MOST_MINUTES = 2, 45
# CPU seconds: of a slice beside its training (start, data, pictures), of an evaluation beside its images, of 1000 images'
# features and metrics, and, once, of the real images' features and the floors.
START, EVALUATION, THOUSAND, REALS = 8.0, 5.0, 7.0, 240.0
# Samples of an evaluation that selects a checkpoint.
SELECTION = 1000


@dataclass(frozen=True)
class Job:
    """One training run.

    Attributes:
        method: The row of the table.
        seed: Of the run.
        settings: As for ``gpgan.configure``, without the seed.
    """

    method: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{slug(self.method)}-{self.seed}"


@dataclass(frozen=True)
class Table:
    """A table: its runs take turns, a slice each, so that a disturbance of the machine affects all of them.

    Attributes:
        name: Of its files.
        data: As for ``gpgan train``.
        smoke_data: Small data of the same kind, for tests.
        methods: Settings by row, as for ``gpgan.configure``.
        seeds: Each method trains once with each of the seeds 0, 1, ...
        seconds: Training time of each run: CPU seconds, or seconds on a GPU.
        slices: The parts that a run is trained in.
        text: The Markdown that the documents show, from a result.
        steps: Steps of each run, whatever their time; 0: as many as ``seconds`` allow. ``seconds`` is then an estimate.
        metrics: Names for ``gpgan eval``; () if it is not called.
        n: Samples of that evaluation.
        selects: Whether each slice ends with an evaluation on the selection part, so that the best one can be chosen.
        sizes: The first run is also evaluated with other numbers of samples: these, by these metrics.
        tick: Steps between lines of statistics.
        prepare: Changes a trainer before it trains, given the method.
        own: Further numbers of a trained run, given the trainer and the number of samples.
        own_n: That number.
        own_seconds: What they cost.
        figures: Draws its figures into a folder, from a result.
        pictures: Of a run's folder, e.g. "samples", that the documents show for each method's first run.
    """

    name: str
    data: str
    smoke_data: str
    methods: Mapping[str, Mapping[str, Any]]
    seeds: int
    seconds: float
    slices: int
    text: Callable[[Record], str]
    steps: int = 0
    metrics: Sequence[str] = ()
    n: int = 0
    selects: bool = False
    sizes: Mapping[int, Sequence[str]] = field(default_factory=dict)
    tick: int = 100
    prepare: Callable[[Trainer, str], None] = lambda trainer, method: None
    own: Callable[[Trainer, int], Record] | None = None
    own_n: int = 0
    own_seconds: float = 0.0
    figures: Callable[[Record, Path], None] = lambda result, folder: None
    pictures: Sequence[str] = ()

    @property
    def jobs(self) -> list[Job]:
        """All runs, every method once before any has a second seed."""
        return [Job(name, seed, values) for seed in range(self.seeds) for name, values in self.methods.items()]

    def minutes(self) -> float:
        """The planned CPU minutes of each of ``CORES`` cores."""
        slice_seconds = START + self.selects * (EVALUATION + SELECTION / 1000 * THOUSAND)
        evaluations = (1 + self.selects) * bool(self.metrics)
        each = self.seconds + self.slices * slice_seconds + evaluations * cost(self.n) + self.own_seconds
        once = bool(self.metrics) * REALS + sum(map(cost, self.sizes))
        return (len(self.jobs) * each + once) / CORES / 60

    def scaled(self, scale: Scale) -> Table:
        """The same on a GPU with ten times the training, or in seconds with small data."""
        if scale == "full":
            return replace(
                self,
                seconds=10 * self.seconds,
                steps=10 * self.steps,
                n=min(10_000, 10 * self.n),
                sizes={2 * size: names for size, names in self.sizes.items()},
            )
        if scale == "smoke":
            return replace(
                self,
                data=self.smoke_data,
                methods=dict(list(self.methods.items())[:4]),
                seeds=1,
                seconds=0.2,
                slices=2,
                steps=12 if self.steps else 0,
                n=min(self.n, 128),
                sizes={32: ["kd"]} if self.sizes else {},
                metrics=[name for name in self.metrics if not name.startswith("fd")],  # which need many samples
                own_n=min(self.own_n, 40),
            )
        return self


def cost(n: int) -> float:
    """The CPU seconds of an evaluation with n samples."""
    return EVALUATION + n / 1000 * THOUSAND


def slug(name: str) -> str:
    """A name for files."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
