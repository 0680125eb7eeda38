"""Trains every preset on both mixtures with several seeds. Each run's numbers are on disk as soon as it ends."""

from __future__ import annotations

import itertools
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.toy import settings
from benchmarks.toy.protocol import DATA, load_scaled, score
from gpgan.settings.merging import settings_of
from gpgan.tasks.configure import configure
from gpgan.tasks.generation.config import Config
from gpgan.training.trainer import DivergedError, Trainer

WORKERS = 2


@dataclass(frozen=True)
class Job:
    data: str
    preset: str
    seed: int
    steps: int
    """Generator steps; 0: as the table has them."""

    @property
    def name(self) -> str:
        return f"{self.data}-{self.preset}-{self.seed}"


def jobs(steps: int = 0) -> list[Job]:
    """All runs of the table: every preset once before any has a second run, so that an unfinished table compares them too."""
    last = max(settings.SEEDS.values())
    every = itertools.product(range(last), settings.SEEDS, DATA)
    return [Job(data, preset, seed, steps) for seed, preset, data in every if seed < settings.SEEDS[preset]]


def configuration(job: Job) -> Config:
    """The preset with the shared settings and its own departures, see settings.py."""
    values = settings.of(job.preset) | {"steps": job.steps or settings.STEPS[job.data]}
    config = configure(job.data, load_scaled(job.data), preset=job.preset, seed=job.seed, threads=1, **values)
    # The run's folder is deleted: few lines of statistics, one checkpoint and one picture are enough.
    return replace(config, tick=min(config.steps, 1000), snapshot=config.steps, checkpoint=config.steps)


def train(job: Job) -> dict[str, Any] | None:
    """A run's record: its settings, its time and its averaged generator's score; None if it was interrupted."""
    dataset, config = load_scaled(job.data), configuration(job)
    record: dict[str, Any] = {"data": job.data, "preset": job.preset, "seed": job.seed}
    record |= {"settings": _settings(config), "diverged": None}
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(replace(config, out=Path(folder)), dataset=dataset)
        begun = time.process_time()
        try:
            if trainer.fit().reason != "done":
                return None
            try:
                record |= score(trainer.sampler, config.network.latent, dataset, job.seed)
            except ValueError as error:  # finite weights, but samples that are not
                raise DivergedError(str(error)) from error
        except DivergedError as error:
            record |= {"captured": 0, "high_quality": 0.0, "reverse_kl": math.nan, "diverged": str(error)}
        record["seconds"] = time.process_time() - begun
    if math.isnan(record["reverse_kl"]):  # which JSON cannot express
        record["reverse_kl"] = None
    return record


def recorded(job: Job, folder: Path) -> dict[str, Any] | None:
    """The job's record, or None if there is none with the same settings."""
    path = folder / f"{job.name}.json"
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return record if record["settings"] == _settings(configuration(job)) else None


def run(jobs: list[Job], folder: Path, workers: int = WORKERS) -> Iterator[dict[str, Any]]:
    """The jobs' records: first those in the folder, then the others, each written into the folder as its run ends."""
    folder.mkdir(parents=True, exist_ok=True)
    left = []
    for job in jobs:
        record = recorded(job, folder)
        if record is None:
            left.append(job)
        else:
            yield record
    waiting, running = iter(left), dict[Future[dict[str, Any] | None], Job]()
    # A fresh interpreter for each worker: forked ones would share torch's threads. Never more jobs than workers are
    # submitted, so that after an interrupt none is left to start.
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        while True:
            running |= {pool.submit(train, job): job for job in itertools.islice(waiting, workers - len(running))}
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                job, record = running.pop(future), future.result()
                if record is not None:
                    _write(folder / f"{job.name}.json", record)
                    yield record


def _settings(config: Config) -> Mapping[str, Any]:
    """The settings that the result depends on, as JSON returns them."""
    own = settings_of(config)
    del own["out"]
    return json.loads(json.dumps(own))  # type: ignore[no-any-return]


def _write(path: Path, record: Mapping[str, Any]) -> None:
    """Writes the whole record or nothing, even if interrupted."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    os.replace(part, path)
