"""What a run leaves behind: the only place that knows the names of its files, the checkpoints' apart."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from gpgan import objectives
from gpgan.data import Dataset
from gpgan.records.animation import write_animation
from gpgan.records.board import Board
from gpgan.records.curves import Curves
from gpgan.records.pictures import draw, snapshots
from gpgan.records.provenance import facts
from gpgan.records.report import write_report
from gpgan.records.stats import Stats, as_line, summary
from gpgan.settings.config import Config
from gpgan.settings.merging import settings_of
from gpgan.util import random_states
from gpgan.util.files import append, replacing, write_json

COUNTS = {"points": 2500, "images": 100, "volumes": 16}
# The share of a run's time that redrawing curves and page may take, and after how many curves the page is due.
DRAWING = 0.01
REPORT = 5


class Recorder:
    """Writes everything but the checkpoints into a run's folder.

    Args:
        config: With nothing left open.
        dataset: After its split.
        fixed: Latents ``[n, latent]`` of every picture.
        labels: int64 ``[n]`` of the same, for conditional runs.
    """

    def __init__(self, config: Config, dataset: Dataset, fixed: Tensor, labels: Tensor | None) -> None:
        self.run = Path()
        self._config, self._dataset = config, dataset
        self._fixed, self._labels = fixed, labels
        self._symbol = objectives.get(config.objective).symbol
        self._drawing, self._drawn = 0.0, 0
        self._board: Board | None = None
        self._curves: Curves | None = None
        # Spread over the whole data set, which may be sorted.
        chosen = torch.linspace(0, len(dataset) - 1, min(len(fixed), len(dataset))).long()
        self._reals = dataset.samples(chosen)

    def begin(self, run: Path, sampler: nn.Module, critic: nn.Module) -> None:
        """The first files of a run, into its folder, which is still to get its name."""
        self.run = run
        self.configured()
        self.log(f"{self._config.data}: {len(self._dataset)} samples of {self._dataset.shape}")
        for line in self._dataset.skipped:
            self.log(f"left out: {line}")
        self._picture("reals.png", self._reals, None, "Real points")
        self._picture("fakes_init.png", self.sample(sampler, self._fixed, self._labels), critic, "Before training")

    def resume(self, run: Path, step: int) -> None:
        """Goes on in a folder: what was written after ``step`` is taken back."""
        self.run = run
        path = run / "stats.jsonl"
        if path.exists():
            with replacing(path) as file:
                for line in path.read_bytes().splitlines(keepends=True):
                    try:
                        written = json.loads(line)["step"]
                    except (ValueError, KeyError, TypeError):  # torn as the run was killed
                        continue
                    # A line that an interrupt brought forward is written again at its tick.
                    if written <= step and written % self._config.tick == 0:
                        file.write(line)
        for at, picture in snapshots(run, sys.maxsize):
            if at > step:
                picture.unlink()
        self._board, self._curves = Board(run, purge_step=step + 1), None
        self.configured()

    def configured(self) -> None:
        """Writes config.json."""
        write_json(
            self.run / "config.json", {"config": settings_of(self._config), **facts(self._config, self._dataset)}
        )

    def log(self, text: str) -> None:
        """Adds a line to log.txt, with the time."""
        append(self.run / "log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}")

    def tick(self, stats: Stats, last: bool) -> None:
        """Adds a line to stats.jsonl and draws curves.png, the latter only where drawing has not taken too much time."""
        line = as_line(stats)
        append(self.run / "stats.jsonl", json.dumps(line, allow_nan=False))
        self.log(f"step {stats.step}  {summary(stats, self._symbol)}  {stats.images_per_second:.0f} images/s")
        self._events().add(line, stats.step)
        if last or self._drawing <= DRAWING * stats.seconds:
            begun = time.monotonic()
            if self._curves is None:
                self._curves = Curves(self.run)
            self._curves.draw()
            if self._drawn % REPORT == 0:
                write_report(self.run)
            self._drawn += 1
            self._drawing += time.monotonic() - begun

    def snapshot(self, step: int, sampler: nn.Module, critic: nn.Module) -> None:
        """Writes fakes_NNNNNN.png."""
        name = f"fakes_{step:06d}.png"
        fakes = self.sample(sampler, self._fixed, self._labels)
        self._picture(name, fakes, critic, f"After {step} generator steps")
        self._events().add_image(self.run / name, step)

    def weights(self, sampler: nn.Module) -> None:
        """Writes generator.safetensors."""
        with replacing(self.run / "generator.safetensors") as file:
            file.write(as_safetensors(sampler, self._config, self._dataset.shape))

    def end(self, sampler: nn.Module, critic: nn.Module) -> None:
        """Writes samples.png of fresh latents, the animation and the page."""
        rng = torch.Generator().manual_seed(self._config.seed + 1)
        latents = torch.randn(self._fixed.shape, generator=rng).to(self._fixed.device)
        self._picture(
            "samples.png", self.sample(sampler, latents, self._labels), critic, "Samples of the trained generator"
        )
        if self._reals.dim() == 2:
            write_animation(self.run)
        write_report(self.run)
        self._events().close()
        self._board = None

    @staticmethod
    @torch.no_grad()
    def sample(sampler: nn.Module, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Samples in eval mode; the module's own mode is given back."""
        was = sampler.training
        with random_states.borrowed():  # a network of a user's own may draw
            samples: Tensor = sampler.eval()(latents, *(() if labels is None else (labels,)))
        sampler.train(was)
        return samples

    def _events(self) -> Board:
        if self._board is None:
            self._board = Board(self.run)
        return self._board

    def _picture(self, name: str, samples: Tensor, critic: nn.Module | None, title: str) -> None:
        scores_points = not self._config.conditional and self._config.pack == 1
        draw(self.run / name, samples, self._reals, critic if scores_points else None, title)


def kind(shape: tuple[int, ...]) -> str:
    """points, images or volumes."""
    return {1: "points", 3: "images", 4: "volumes"}[len(shape)]


def as_safetensors(sampler: nn.Module, config: Config, shape: tuple[int, ...]) -> bytes:
    """A generator's weights, and in the metadata what it takes and gives."""
    weights = {name: value.detach().cpu().contiguous() for name, value in sampler.state_dict().items()}
    # One key: safetensors writes several in any order, and the same weights would give other bytes.
    return save(weights, {"gpgan": json.dumps({"latent": config.network.latent, "shape": list(shape)})})
