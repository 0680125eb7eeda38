"""A run that was saved, to sample from."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpgan.records import checkpoint
from gpgan.settings.config import Config
from gpgan.settings.merging import from_settings
from gpgan.tasks.setup import build_networks

# Samples that are made at once.
BATCH = 256


@dataclass(frozen=True)
class Saved:
    """The newest whole checkpoint of a run.

    Attributes:
        run: The folder.
        config: Of the run, for a CPU.
        state: What the checkpoint holds.
        problems: What is wrong with newer checkpoints.
    """

    run: Path
    config: Config
    state: dict[str, Any]
    problems: list[str]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample."""
        return tuple(self.state["data"]["shape"])

    @property
    def classes(self) -> int:
        """0 for an unconditional generator."""
        return len(self.state["data"]["classes"]) if self.config.conditional else 0

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """The sampling generator (the average, where there is one) and the critic, in eval mode, on the CPU.

        Raises:
            ValueError: The run was started with modules of a user's own as objects, which only that code can rebuild.
        """
        generator, critic = build_networks(self.config, self.shape, self.classes)
        try:
            generator.load_state_dict(self.state["average"] or self.state["generator"])
            critic.load_state_dict(self.state["critic"])
        except RuntimeError as error:
            raise ValueError(
                f"{self.run} was trained with networks of its own ({str(error).splitlines()[0]}); expected a run whose "
                f"networks gpgan knows, or names as network.generator and network.critic"
            ) from error
        return generator.eval().requires_grad_(False), critic.eval()

    def original(self, samples: Tensor) -> Tensor:
        """Samples in the values that the data came in."""
        data = self.state["data"]
        return samples * float(data["scale"]) + float(data["offset"])


def open_run(run: Path) -> Saved:
    """Reads a run's folder.

    Raises:
        ValueError: It has no whole checkpoint.
    """
    state, _, problems = checkpoint.newest(run)
    config = replace(from_settings(json.loads(state["config"])), device="cpu")
    return Saved(run, config, state, problems)


@torch.no_grad()
def draw_samples(
    saved: Saved, count: int, seed: int, truncation: float | None = None, labels: Tensor | None = None
) -> Tensor:
    """Samples ``[count, ...]`` of a saved run, scaled as the networks see them.

    Args:
        saved: The run.
        count: How many.
        seed: Same seed, same samples.
        truncation: Latents are drawn from a normal distribution cut off at plus and minus this (Brock et al., arXiv
            1809.11096, section 3.1); None for all of it.
        labels: int64 ``[count]``, of a conditional run; None for all classes in turn.
    """
    rng = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, saved.config.network.latent, generator=rng)
    if truncation is not None:
        torch.nn.init.trunc_normal_(latents, a=-truncation, b=truncation, generator=rng)
    if saved.classes and labels is None:
        labels = torch.arange(count) % saved.classes
    generator, _ = saved.networks()
    inputs = (latents,) if labels is None else (latents, labels)
    batches = zip(*(torch.split(each, BATCH) for each in inputs), strict=True)
    return torch.cat([generator(*parts) for parts in batches])
