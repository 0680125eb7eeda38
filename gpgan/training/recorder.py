"""What a run leaves behind: the only place that knows the names of its files."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import gpgan
from gpgan.data import Dataset
from gpgan.training.config import Config
from gpgan.training.files import write, write_json
from gpgan.training.pictures import image_grid, point_scatter
from gpgan.training.stats import Stats

IMAGES = 100
POINTS = 2500


class Recorder:
    """Writes config.json, stats.jsonl, pictures and the generator's weights into a run's folder.

    Args:
        run: The folder, which exists.
        config: Written to config.json, with the data's shape and scale and the versions.
        dataset: Tells images from vectors.
    """

    def __init__(self, run: Path, config: Config, dataset: Dataset) -> None:
        self.run = run
        self._is_image = len(dataset.shape) == 3
        self.count = IMAGES if self._is_image else POINTS
        self._dataset = dataset
        self._config = config

    def begin(self, samples: Tensor, generator: nn.Module, critic: nn.Module, fixed: Tensor) -> None:
        """Writes config.json, reals.png and fakes_init.png. ``fixed`` [n, latent] are the latents of every snapshot."""
        write_json(self.run / "config.json", {"config": asdict(self._config), **self._facts()})
        # Spread over the whole data set, which may be sorted.
        chosen = torch.linspace(0, len(samples) - 1, min(self.count, len(samples))).long()
        self._reals = samples[chosen.to(samples.device)]
        self._picture("reals.png", self._reals, None, "Real points")
        self._picture("fakes_init.png", self._sample(generator, fixed), critic, "Before training")

    def tick(self, stats: Stats) -> None:
        """Adds a line to stats.jsonl."""
        with (self.run / "stats.jsonl").open("a") as file:
            file.write(json.dumps(asdict(stats), allow_nan=False) + "\n")

    def snapshot(self, step: int, generator: nn.Module, critic: nn.Module, fixed: Tensor) -> None:
        """Writes fakes_NNNNNN.png."""
        self._picture(f"fakes_{step:06d}.png", self._sample(generator, fixed), critic, f"After {step} generator steps")

    def end(self, generator: nn.Module, critic: nn.Module, latents: Tensor) -> None:
        """Writes samples.png of fresh latents [n, latent], and generator.pt, which loads with ``weights_only=True``."""
        self._picture("samples.png", self._sample(generator, latents), critic, "Samples of the trained generator")
        weights = {name: value.cpu() for name, value in generator.state_dict().items()}
        content = {"weights": weights, "network": asdict(self._config.network), "data": self._facts()["data"]}
        write(self.run / "generator.pt", lambda file: torch.save(content, file))

    def _facts(self) -> dict[str, Any]:
        data = self._dataset
        return {
            "data": {
                "samples": len(data.samples),
                "shape": list(data.shape),
                # original = sample * scale + offset
                "scale": data.scale,
                "offset": data.offset,
            },
            "versions": {
                "gpgan": gpgan.__version__,
                "torch": str(torch.__version__),
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
        }

    @torch.no_grad()
    def _sample(self, generator: nn.Module, latents: Tensor) -> Tensor:
        generator.eval()
        samples: Tensor = generator(latents)
        generator.train()
        return samples

    def _picture(self, name: str, samples: Tensor, critic: nn.Module | None, title: str) -> None:
        if self._is_image:
            image_grid(self.run / name, samples)
        else:
            is_fake = critic is not None
            point_scatter(self.run / name, self._reals, samples if is_fake else None, critic, title)
